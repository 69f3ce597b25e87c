//! Final ballots a second on three validators, beside what verification alone allows.

use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use quorate::TransactionId;
use quorate_ballot::{
    ballot::{self, Ballot, Choices, ElectionKey},
    batch::{self, BATCH_MAX},
    contest::{Contest, Rules as Contests},
    credential,
    dkg::{self, Dealer, Parties},
    group::SecretScalar,
    random::{Draw as _, SystemDraw},
    record::{
        Body, ContestText, Draft, Entry, ListSignature, Manifest, Officers, Seat, Transaction, list_message,
        transaction_id,
    },
    schnorr,
    transcript::Tag,
};
use serde_json::{Value, json};

use crate::{
    failure::{BenchError, io},
    http::Connection,
    load::{self, Prepared},
    machine,
    network::{Network, Node, Rules},
    options::Options,
    process,
    report::Figure,
    stop::Stop,
};

/// Options of the one contest.
const OPTIONS: u16 = 5;

/// How long the vote is open, in milliseconds: longer than any run.
const OPEN_MS: u64 = 3_600_000;

fn wrong(error: impl ToString) -> BenchError {
    BenchError::answer(error.to_string())
}

/// The election admin's key, which `quorate init` made for trials.
fn admin(network: &Network) -> Result<SecretScalar, BenchError> {
    let path = network.file("keys/election-admin.secret.json");
    let text = fs::read_to_string(&path).map_err(io(path.display().to_string()))?;
    let file: Value = serde_json::from_str(&text).map_err(wrong)?;
    let digits = file.get("secret").and_then(Value::as_str).unwrap_or_default();
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or_default();
    }
    SecretScalar::decode(&bytes).map_err(wrong)
}

/// Submits one transaction and waits until it is final.
fn settle(network: &Network, connection: &mut Connection, transaction: &Transaction) -> Result<(), BenchError> {
    let bytes = transaction.encode();
    let id = TransactionId::new(transaction_id(&bytes));
    connection.call("quorate_submit", &json!([hex(&bytes)]))?;
    network.stop().until("a transaction of the election is final", || {
        let answer = connection.call("quorate_receipt", &json!([id]))?;
        Ok((answer.get("status").and_then(Value::as_str) == Some("final")).then_some(()))
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    bytes.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
    text
}

/// An opened election.
pub(crate) struct Election {
    pub(crate) key: ElectionKey,
    rules: Contests,
    voters: Vec<SecretScalar>,
}

/// From draft to open, with one officer of each kind.
pub(crate) fn open(network: &Network, voters: usize) -> Result<Election, BenchError> {
    let draw = &mut SystemDraw;
    let (admin, officer) = (admin(network)?, draw.secret().map_err(wrong)?);
    let mut voters = (0..voters).map(|_| draw.secret()).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    voters.sort_by_key(|one| *one.public().as_bytes());
    let entries: Vec<Entry> = voters.iter().map(|one| Entry { key: one.public(), pseudonym: [0; 32] }).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = u64::try_from(now).unwrap_or_default();
    let officers = || Officers { keys: vec![officer.public()], needed: 1 };
    let draft = Draft {
        chain_id: *network.chain_id().as_bytes(),
        title: "bench".into(),
        contests: vec![ContestText {
            contest: Contest::new(OPTIONS, 1, 1).map_err(wrong)?,
            title: "bench".into(),
            options: (1..=OPTIONS).map(|number| number.to_string()).collect(),
        }],
        opens_ms: now,
        closes_ms: now + OPEN_MS,
        admin: admin.public(),
        registrars: officers(),
        trustees: officers(),
        ballots_min: 1,
        nonce: [0; 32],
    };
    let (id, rules) = (draft.hash(), draft.rules().map_err(wrong)?);
    let mut connection = network.validator(0)?.connect()?;
    let mut send = |body: Body, by: &SecretScalar| {
        settle(network, &mut connection, &body.sign(by, &mut SystemDraw).map_err(wrong)?)
    };
    send(Body::Draft(Box::new(draft.clone())), &admin)?;
    let mut first = 0u32;
    for part in entries.chunks(1000) {
        send(Body::Entries { draft: id, registrar: 1, first, entries: part.to_vec() }, &officer)?;
        first += u32::try_from(part.len()).unwrap_or_default();
    }
    let root = credential::list_root(&id, &entries);
    let message = list_message(&id, first, &root);
    let signature = schnorr::sign(Tag::RoleSig, &officer, &message, draw).map_err(wrong)?;
    let signatures = vec![ListSignature { registrar: 1, signature }];
    send(Body::List { draft: id, registrar: 1, count: first, root, signatures }, &officer)?;

    let (seat, dealer) = (Seat { draft: id, attempt: 0, trustee: 1 }, Dealer::generate(1, draw).map_err(wrong)?);
    let cid = dkg::ceremony_id(&draft.chain_id, &id, &draft.trustees.keys, 1, 0);
    let parties = Parties { cid, dealer: 1, receiver: 1 };
    let revealed = dkg::Revealed {
        coefficients: dealer.public(),
        proof: dealer.prove(&cid, 1, draw).map_err(wrong)?,
        sealed: vec![dkg::seal(&parties, &officer.public(), &dealer.share(1), draw).map_err(wrong)?],
    };
    send(Body::Commitment { seat, commitment: dkg::commitment(&cid, 1, &revealed.coefficients) }, &officer)?;
    let transcript = dkg::transcript(&cid, std::slice::from_ref(&revealed));
    let dkg::PublicKeys { y, x } = dkg::public_keys(std::slice::from_ref(&revealed.coefficients)).map_err(wrong)?;
    let dkg::Revealed { coefficients, proof, sealed } = revealed;
    send(Body::Reveal { seat, coefficients, proof, sealed }, &officer)?;
    send(Body::Ack { seat, transcript }, &officer)?;
    let manifest = Manifest { draft, transcript, y, x, credentials: first, root };
    send(Body::Open { draft: id, eid: manifest.eid() }, &admin)?;
    Ok(Election { key: manifest.key(), rules, voters })
}

/// Everybody's ballot, made on all cores.
pub(crate) fn cast(election: &Election, stop: &Stop) -> Result<Vec<Vec<u8>>, BenchError> {
    let one = |(index, voter): (usize, &SecretScalar)| {
        stop.check("ballots are made")?;
        let chosen = (0..usize::from(OPTIONS)).map(|at| at == index % usize::from(OPTIONS)).collect();
        let choices = Choices::new(&election.rules, &[chosen]).map_err(wrong)?;
        let at = (u32::try_from(index).unwrap_or(u32::MAX), &voter.public());
        let (sealed, _) =
            ballot::encrypt(&election.key, &election.rules, at, &choices, &mut SystemDraw).map_err(wrong)?;
        sealed.cast(voter, &mut SystemDraw).map_err(wrong)
    };
    let share = election.voters.len().div_ceil(machine::cores()).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..)
            .step_by(share)
            .zip(election.voters.chunks(share))
            .map(|(first, part)| scope.spawn(move || (first..).zip(part).map(one).collect::<Result<Vec<_>, _>>()))
            .collect();
        let mut all = Vec::with_capacity(election.voters.len());
        for worker in workers {
            all.extend(worker.join().map_err(|_| wrong("a thread of the bench panicked"))??);
        }
        Ok(all)
    })
}

/// An election of no network.
#[cfg(test)]
pub(crate) fn trial(voters: usize) -> Election {
    let key = ElectionKey { eid: [3; 32], y: SystemDraw.secret().unwrap().public() };
    let rules = Contests::new(vec![Contest::new(OPTIONS, 1, 1).unwrap()]).unwrap();
    Election { key, rules, voters: (0..voters).map(|_| SystemDraw.secret().unwrap()).collect() }
}

/// Ballots verified in batches, a second, on all cores.
fn ceiling(election: &Election, ballots: &[Vec<u8>], time: Duration) -> f64 {
    let begun = Instant::now();
    let verified: usize = std::thread::scope(|scope| {
        let work = || {
            let mut verified = 0;
            while begun.elapsed() < time || verified == 0 {
                let read = ballots.iter().take(BATCH_MAX).filter_map(|one| Ballot::decode(one, &election.rules).ok());
                let read: Vec<Ballot> = read.collect();
                let verdicts = batch::verify_batch(&election.key, &election.rules, &read.iter().collect::<Vec<_>>());
                verified += verdicts.iter().filter(|verdict| verdict.is_ok()).count();
            }
            verified
        };
        let workers: Vec<_> = (0..machine::cores()).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).sum()
    });
    verified as f64 / begun.elapsed().as_secs_f64()
}

/// Measures the vote of an election.
pub(crate) fn figures(options: &Options, stop: &Stop) -> Result<Vec<Figure>, BenchError> {
    let network = Network::running(options, stop, Rules::VOTING)?;
    let election = open(&network, options.counts.ballots)?;
    let ballots = cast(&election, stop)?;
    let transactions = ballots.iter().map(|one| Body::Ballot(one.clone()).unsigned().encode());
    let named = transactions.map(|bytes| (TransactionId::new(transaction_id(&bytes)), hex(&bytes))).collect();
    let prepared = Prepared::of(&network, named);
    let mut ceilings = vec![ceiling(&election, &ballots, options.counts.ceiling_time)];
    let cpu = || -> Duration { network.validators().iter().filter_map(Node::pid).filter_map(process::cpu).sum() };
    let before = cpu();
    let loaded = load::load(&network, &prepared)?;
    let spent = cpu().saturating_sub(before).as_secs_f64() * 1e6;
    ceilings.push(ceiling(&election, &ballots, options.counts.ceiling_time));
    let validators = network.validators().len() as f64;
    let count = loaded.transactions.max(1) as f64;
    let alone = ceilings.iter().sum::<f64>() / ceilings.len() as f64 / validators;
    let how = format!(
        "{} ballots of {OPTIONS} options at 3 validators, final at all; {} blocks, {} of them late",
        loaded.transactions, loaded.blocks, loaded.late_blocks
    );
    Ok(vec![
        Figure::new("ballots_per_s", "ballots, final", count / loaded.took.as_secs_f64(), "/s")
            .how(how)
            .beside("verified in batches / 3", alone),
        Figure::new("ballots_cpu_us", "ballots, CPU of a validator", spent / validators / count, "us/ballot"),
    ])
}

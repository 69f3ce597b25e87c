//! `quorate election demo`: a whole small election of throwaway keys, opened, with ballots that are ready to be sent. For trying and testing a network.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use quorate_ballot::{
    ballot::{self, Choices, ElectionKey},
    contest::{Contest, Rules},
    credential,
    group::SecretScalar,
    random::{Draw as _, SystemDraw},
    record::{
        Body, ContestText, Draft, ENTRIES_MAX, Entry, ListSignature, Manifest, Officers, list_message, transaction_id,
    },
    schnorr,
    transcript::Tag,
};
use serde_json::{Value, json};

use super::signed;
use crate::{
    commands::{init::ELECTION_ADMIN, trustee},
    exit::Failure,
    output,
    voting::{Elections, Hex, PassphraseArgs, Role, SecretFile, Unlocked},
};

/// Voters of a demo at most.
const VOTERS_MAX: u32 = 100_000;

/// Ballots that have a file of their own.
const SINGLE_FILES_MAX: usize = 20;

/// Options of `election demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// The network's folder: the admin's key is taken from it
    #[arg(long, value_name = "DIR", default_value = "devnet")]
    pub dir: PathBuf,
    /// Where everything is written; must not exist [default: DIR/demo]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How many voters, each with a ballot
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(VOTERS_MAX)))]
    pub voters: u32,
    /// How many options the question has
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=20))]
    pub options: u16,
    /// How long the vote is open, in seconds from now
    #[arg(long, value_name = "S", default_value_t = 3600)]
    pub seconds: u64,
    /// A validator's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn failed(error: impl ToString) -> Failure {
    Failure::failed(error.to_string())
}

/// A new officer's key, in a file without a passphrase.
fn officer(out: &Path, role: Role) -> Result<(SecretScalar, PathBuf), Failure> {
    let secret = SystemDraw.secret().map_err(failed)?;
    let path = out.join(format!("{role}.secret.json"));
    let bytes = Unlocked::new(*secret.expose().as_bytes());
    SecretFile::new(role, &secret.public(), None, &bytes, None)?.save_new(&path)?;
    Ok((secret, path))
}

/// Voters in the order of the list.
struct Voters {
    secrets: Vec<SecretScalar>,
    entries: Vec<Entry>,
}

impl Voters {
    fn new(count: u32) -> Result<Self, Failure> {
        let mut secrets = (0..count).map(|_| SystemDraw.secret()).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        secrets.sort_by_key(|one| *one.public().as_bytes());
        let entries = secrets.iter().map(|one| Entry { key: one.public(), pseudonym: [0; 32] }).collect();
        Ok(Self { secrets, entries })
    }
}

fn draft(
    args: &DemoArgs,
    chain_id: [u8; 32],
    [admin, registrar, trustee]: [&SecretScalar; 3],
) -> Result<Draft, Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let officers = |key: &SecretScalar| Officers { keys: vec![key.public()], needed: 1 };
    let names = ["Ada", "Grace", "none of them"];
    let name = |at: u16| {
        names
            .get(usize::from(at))
            .filter(|_| args.options == 3)
            .map_or_else(|| format!("option {}", at + 1), |name| (*name).to_owned())
    };
    Ok(Draft {
        chain_id,
        title: "Demonstration".into(),
        contests: vec![ContestText {
            contest: Contest::new(args.options, 1, 1).map_err(failed)?,
            title: "Chair".into(),
            options: (0..args.options).map(name).collect(),
        }],
        opens_ms: now,
        closes_ms: now.saturating_add(args.seconds.saturating_mul(1000)),
        admin: admin.public(),
        registrars: officers(registrar),
        trustees: officers(trustee),
        ballots_min: 1,
        nonce: quorate_ballot::random::random_bytes().map_err(failed)?,
    })
}

/// A ballot of every voter, in the order of the list; voter i chooses option i modulo their number. Made on all cores.
fn cast(key: &ElectionKey, rules: &Rules, options: u16, voters: &[SecretScalar]) -> Result<Vec<Vec<u8>>, Failure> {
    let one = |(index, voter): (usize, &SecretScalar)| {
        let chosen = (0..usize::from(options)).map(|at| at == index % usize::from(options)).collect();
        let choices = Choices::new(rules, &[chosen]).map_err(failed)?;
        let at = (u32::try_from(index).unwrap_or(u32::MAX), &voter.public());
        let (sealed, _) = ballot::encrypt(key, rules, at, &choices, &mut SystemDraw).map_err(failed)?;
        sealed.cast(voter, &mut SystemDraw).map_err(failed)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = voters.len().div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        let part =
            |(first, part): (usize, &[SecretScalar])| (first..).zip(part).map(one).collect::<Result<Vec<_>, Failure>>();
        let workers: Vec<_> =
            (0..).step_by(share).zip(voters.chunks(share)).map(|of| scope.spawn(move || part(of))).collect();
        let mut all = Vec::with_capacity(voters.len());
        for worker in workers {
            all.extend(worker.join().map_err(|_| failed("a thread which made ballots panicked"))??);
        }
        Ok(all)
    })
}

/// What is posted to a backend.
fn submission(eid: &Hex<32>, ballot: &[u8]) -> Value {
    json!({ "election_id": eid, "encrypted_vote": STANDARD.encode(ballot) })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::disk(path.display(), &error))
}

/// The part of the ceremony that the one trustee has: all of it.
async fn ceremony(args: &DemoArgs, out: &Path, draft: [u8; 32], secret: PathBuf) -> Result<(), Failure> {
    let (_, done) = trustee::take_part(&trustee::CeremonyArgs {
        draft: Hex(draft),
        secret,
        state: out.join("trustee.state.json"),
        wait: true,
        within: 600,
        rpc: args.rpc.clone(),
        passphrase: PassphraseArgs::default(),
        json: false,
    })
    .await?;
    done.map(drop).map_err(Failure::failed)
}

pub(super) async fn run(args: &DemoArgs) -> Result<(), Failure> {
    let out = args.out.clone().unwrap_or_else(|| args.dir.join("demo"));
    if out.exists() {
        return Err(Failure::failed(format!("{} exists; name another --out", out.display())));
    }
    let path = args.dir.join(ELECTION_ADMIN);
    let admin = SecretFile::load(&path, &[Role::Admin])?.unlock_key(&path, &PassphraseArgs::default())?;
    let elections = Elections::at(&args.rpc)?;
    let chain_id = *elections.chain_id().await?.as_bytes();
    fs::create_dir_all(&out).map_err(|error| Failure::disk(out.display(), &error))?;
    let ((registrar, _), (trustee, trustee_file)) = (officer(&out, Role::Registrar)?, officer(&out, Role::Trustee)?);
    let draft = draft(args, chain_id, [&admin, &registrar, &trustee])?;
    let (id, rules) = (draft.hash(), draft.rules().map_err(failed)?);
    output::note(&format!("draft {} of {} voters", Hex(id), args.voters));
    elections.submit(&signed(Body::Draft(Box::new(draft)), &admin)?).await?;
    let voters = Voters::new(args.voters)?;
    let enrolled = enrol(&elections, &id, &registrar, &voters.entries);
    let (made, sealed) = tokio::join!(ceremony(args, &out, id, trustee_file), enrolled);
    made?;
    sealed?;
    let manifest: Manifest = elections.manifest(&Hex(id)).await?;
    let eid = Hex(manifest.eid());
    elections.submit(&signed(Body::Open { draft: id, eid: eid.0 }, &admin)?).await?;
    output::note(&format!("election {eid} is open for {} s; its ballots are being made", args.seconds));
    let ballots = cast(&manifest.key(), &rules, args.options, &voters.secrets)?;
    let mut lines = String::new();
    for (ballot, number) in ballots.iter().zip(1usize..) {
        let body = submission(&eid, ballot);
        if number <= SINGLE_FILES_MAX {
            write(&out.join(format!("ballot-{number}.json")), &format!("{body}\n"))?;
        }
        lines.push_str(&format!("{body}\n"));
    }
    write(&out.join("ballots.ndjson"), &lines)?;
    let ids: Vec<Hex<32>> =
        ballots.into_iter().map(|ballot| Hex(transaction_id(&Body::Ballot(ballot).unsigned().encode()))).collect();
    let about = json!({
        "eid": eid,
        "draft": Hex(id),
        "closes_ms": manifest.draft.closes_ms,
        "options": args.options,
        "voters": args.voters,
        "transaction_ids": ids,
    });
    write(&out.join("election.json"), &format!("{about}\n"))?;
    if args.json {
        return output::json(&json!({ "eid": eid, "draft": Hex(id), "out": out, "voters": args.voters }));
    }
    output::line(&format!(
        "Election {eid} is open for {seconds} s.\n\
         Vote     curl -d @{out}/ballot-1.json http://127.0.0.1:8000/api/votes/submit\n\
         Then     quorate election close {eid} --rpc {rpc}\n         \
         quorate trustee decrypt {eid} --secret {out}/trustee.secret.json --state {out}/trustee.state.json --rpc {rpc}\n\
         All      {out}/ballots.ndjson has every ballot, one a line",
        seconds = args.seconds,
        out = out.display(),
        rpc = args.rpc,
    ))
}

/// Enters all voters and seals the list.
async fn enrol(
    elections: &Elections,
    draft: &[u8; 32],
    registrar: &SecretScalar,
    entries: &[Entry],
) -> Result<(), Failure> {
    let mut first = 0u32;
    for part in entries.chunks(ENTRIES_MAX) {
        let body = Body::Entries { draft: *draft, registrar: 1, first, entries: part.to_vec() };
        elections.submit(&signed(body, registrar)?).await?;
        first = first.saturating_add(u32::try_from(part.len()).unwrap_or(u32::MAX));
    }
    let root = credential::list_root(draft, entries);
    let message = list_message(draft, first, &root);
    let signature = schnorr::sign(Tag::RoleSig, registrar, &message, &mut SystemDraw).map_err(failed)?;
    let signatures = vec![ListSignature { registrar: 1, signature }];
    let body = Body::List { draft: *draft, registrar: 1, count: first, root, signatures };
    elections.submit(&signed(body, registrar)?).await.map(drop)
}

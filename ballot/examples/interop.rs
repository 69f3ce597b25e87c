//! Ballots for the other implementation, and its ballots checked here; `tests/booth.sh` runs both ways.
//!
//! `interop make COUNT FILE` writes random elections with COUNT ballots and their votes; `interop check FILE` verifies every ballot, and
//! that it holds its votes.

#![expect(clippy::print_stdout, reason = "a program's answer")]

use std::{env, error::Error, fs, process::ExitCode};

use quorate_ballot::{
    ballot::{self, Ballot, Choices, ElectionKey},
    batch,
    contest::{Contest, Rules},
    group::{Element, SecretScalar},
    random::{Draw as _, SystemDraw, random_bytes},
    tally::{Logarithms, Sums},
};
use serde::{Deserialize, Serialize};

/// Ballots of one election.
const ELECTION_BALLOTS: usize = 50;

#[derive(Serialize, Deserialize)]
struct File {
    elections: Vec<Election>,
}

#[derive(Serialize, Deserialize)]
struct Election {
    eid: String,
    secret: String,
    rules: Vec<Rule>,
    ballots: Vec<One>,
}

#[derive(Serialize, Deserialize)]
struct Rule {
    options: u16,
    lo: u16,
    hi: u16,
}

#[derive(Serialize, Deserialize)]
struct One {
    bytes: String,
    votes: Vec<Vec<u8>>,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn below(n: u16) -> Outcome<u16> {
    Ok(u16::try_from(u64::from_le_bytes(random_bytes()?) % u64::from(n))?)
}

fn random_rules() -> Outcome<Vec<Rule>> {
    (0..=below(3)?)
        .map(|_| {
            let options = 1 + below(5)?;
            let hi = 1 + below(options)?;
            Ok(Rule { options, lo: below(hi + 1)?, hi })
        })
        .collect()
}

fn random_votes(rule: &Rule) -> Outcome<Vec<bool>> {
    let mut bits = vec![false; usize::from(rule.options)];
    let mut left = rule.lo + below(rule.hi - rule.lo + 1)?;
    while left > 0 {
        if let Some(bit) = bits.get_mut(usize::from(below(rule.options)?)).filter(|bit| !**bit) {
            *bit = true;
            left -= 1;
        }
    }
    Ok(bits)
}

fn rules_of(rules: &[Rule]) -> Outcome<Rules> {
    let contests = rules.iter().map(|one| Contest::new(one.options, one.lo, one.hi)).collect::<Result<_, _>>()?;
    Ok(Rules::new(contests)?)
}

fn make_election(count: usize) -> Outcome<Election> {
    let given = random_rules()?;
    let rules = rules_of(&given)?;
    let secret = SystemDraw.secret()?;
    let election = ElectionKey { eid: random_bytes()?, y: secret.public() };
    let mut ballots = Vec::with_capacity(count);
    for index in 0..u32::try_from(count)? {
        let credential = SystemDraw.secret()?;
        let votes = given.iter().map(random_votes).collect::<Outcome<Vec<_>>>()?;
        let choices = Choices::new(&rules, &votes)?;
        let (sealed, _) = ballot::encrypt(&election, &rules, (index, &credential.public()), &choices, &mut SystemDraw)?;
        ballots.push(One {
            bytes: hex::encode(sealed.cast(&credential, &mut SystemDraw)?),
            votes: votes.into_iter().map(|bits| bits.into_iter().map(u8::from).collect()).collect(),
        });
    }
    let secret = hex::encode(secret.expose().as_bytes());
    Ok(Election { eid: hex::encode(election.eid), secret, rules: given, ballots })
}

fn array(text: &str) -> Outcome<[u8; 32]> {
    hex::decode(text)?.try_into().map_err(|_| "32 bytes are needed".into())
}

/// How many ballots are good.
fn check_election(election: &Election) -> Outcome<usize> {
    let rules = rules_of(&election.rules)?;
    let secret = SecretScalar::decode(&array(&election.secret)?)?;
    let key = ElectionKey { eid: array(&election.eid)?, y: Element::decode(secret.public().as_bytes())? };
    let decode = |one: &One| Ok(Ballot::decode(&hex::decode(&one.bytes)?, &rules)?);
    let ballots = election.ballots.iter().map(decode).collect::<Outcome<Vec<_>>>()?;
    for verdict in batch::verify_batch(&key, &rules, &ballots.iter().collect::<Vec<_>>()) {
        verdict?;
    }
    for (ballot, one) in ballots.iter().zip(&election.ballots) {
        ballot::verify(&key, &rules, ballot)?;
        let mut sums = Sums::new(&rules);
        sums.add(ballot);
        let found = sums.decrypt_with(&secret, &Logarithms::up_to(1));
        let right: Vec<Option<u32>> = one.votes.concat().into_iter().map(|bit| Some(bit.into())).collect();
        if found != right {
            return Err(format!("a ballot holds {found:?}, not {right:?}").into());
        }
    }
    Ok(ballots.len())
}

fn main() -> Outcome<ExitCode> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", count, file] => {
            let mut left: usize = count.parse()?;
            let mut elections = Vec::new();
            while left > 0 {
                let size = left.min(ELECTION_BALLOTS);
                elections.push(make_election(size)?);
                left -= size;
            }
            fs::write(file, serde_json::to_vec(&File { elections })?)?;
        }
        ["check", file] => {
            let file: File = serde_json::from_slice(&fs::read(file)?)?;
            let checked = file.elections.iter().map(check_election).sum::<Outcome<usize>>()?;
            println!("{{\"checked\":{checked},\"refused\":[]}}");
        }
        _ => {
            println!("usage: interop make COUNT FILE | check FILE");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

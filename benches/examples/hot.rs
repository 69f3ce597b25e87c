//! One hot function, so many times: `tests/instructions.sh` counts its instructions, which do not depend on how busy the machine is.
//!
//!   hot NAME COUNT      `hot` alone lists the names

use std::process::ExitCode;

use quorate::{
    Application as _, Block, Bytes, ChainId, Hash, Header, Height, Round, Timestamp, ValidatorIndex,
    application::{BlockContext, Mode, NoState},
    merkle,
};
use quorate_ballot::{
    ballot::{self, Ballot, Choices, ElectionKey},
    batch,
    contest::{Contest, Rules},
    random::{Draw as _, SystemDraw},
};
use quorate_kv::{Kv, Put};
use quorate_testkit::memory::MemoryState;

/// Transactions of a block, and of what is verified at once.
const MANY: usize = 256;

/// Ballots that are verified at once.
const BALLOTS: usize = 16;

/// Hashes from one of so many leaves to the root.
const PATH: usize = MANY.ilog2() as usize;

/// A hot function with what it needs; what it gives back is used, so that nothing is left out.
type Work = Box<dyn Fn() -> usize>;

/// Each with what it must give back each time: one that fails at once costs few instructions, which must not pass for fast.
fn work(name: &str) -> Option<(Work, usize)> {
    let chain_id = ChainId::new([7; 32]);
    let transactions: Vec<Bytes> =
        (0..MANY).map(|number| Put::sign(&[number as u8; 32], &chain_id, 0, b"key-00000000", &[b'v'; 32])).collect();
    let header = Header {
        version: quorate::block::BLOCK_VERSION,
        chain_id,
        height: Height(7),
        parent_hash: Hash::new([1; 32]),
        time: Timestamp(1_700_000_000_000),
        creator: ValidatorIndex(0),
        created_round: Round(0),
        tx_root: Hash::ZERO,
        evidence_root: Hash::ZERO,
        app_hash: Hash::ZERO,
        receipts_root: Hash::ZERO,
        validators_hash: Hash::ZERO,
        next_validators_hash: Hash::ZERO,
    };
    let application = Kv::new(chain_id, 1024);
    let block = Block::new(header.clone(), &transactions, &[]).ok()?;
    Some(match name {
        "verify-256-signatures" => {
            let verify = move || application.verify(&NoState, &transactions).iter().filter(|one| one.is_ok()).count();
            (Box::new(verify), MANY)
        }
        "verify-1-signature" => {
            let one: Vec<Bytes> = transactions.into_iter().take(1).collect();
            (Box::new(move || application.verify(&NoState, &one).iter().filter(|one| one.is_ok()).count()), 1)
        }
        "make-block-256" => {
            let bytes = block.encoded().len();
            let make = move || Block::new(header.clone(), &transactions, &[]).map_or(0, |block| block.encoded().len());
            (Box::new(make), bytes)
        }
        "decode-block-256" => {
            let encoded = block.encoded().clone();
            let decode = move || Block::decode(encoded.clone()).map_or(0, |block| block.transactions().len());
            (Box::new(decode), MANY)
        }
        "merkle-path-256" => {
            let leaves = block.transaction_leaves();
            (Box::new(move || merkle::path(&leaves, 100).map_or(0, |path| path.steps.len())), PATH)
        }
        "execute-256-writes" => {
            let state = MemoryState::genesis(&application).ok()?;
            let execute = move || {
                let context = BlockContext {
                    chain_id,
                    height: Height(1),
                    time: Timestamp(1),
                    mode: Mode::Apply,
                    transactions: transactions.as_slice().into(),
                    misbehaviour: &[],
                };
                application.execute(&mut state.clone(), &context).map_or(0, |outcome| outcome.receipts.len())
            };
            (Box::new(execute), MANY)
        }
        "verify-16-ballots" => {
            let (key, rules, ballots) = ballots()?;
            let verify = move || {
                let verdicts = batch::verify_batch(&key, &rules, &ballots.iter().collect::<Vec<_>>());
                verdicts.iter().filter(|one| one.is_ok()).count()
            };
            (Box::new(verify), BALLOTS)
        }
        _ => return None,
    })
}

/// Names, in the order of the baseline.
const NAMES: [&str; 7] = [
    "verify-256-signatures",
    "verify-1-signature",
    "make-block-256",
    "decode-block-256",
    "merkle-path-256",
    "execute-256-writes",
    "verify-16-ballots",
];

/// Ballots of two options.
fn ballots() -> Option<(ElectionKey, Rules, Vec<Ballot>)> {
    let key = ElectionKey { eid: [3; 32], y: SystemDraw.secret().ok()?.public() };
    let rules = Rules::new(vec![Contest::new(2, 1, 1).ok()?]).ok()?;
    let choices = Choices::new(&rules, &[vec![true, false]]).ok()?;
    let one = |index: u32| {
        let voter = SystemDraw.secret().ok()?;
        let (sealed, _) = ballot::encrypt(&key, &rules, (index, &voter.public()), &choices, &mut SystemDraw).ok()?;
        Ballot::decode(&sealed.cast(&voter, &mut SystemDraw).ok()?, &rules).ok()
    };
    let ballots = (0..BALLOTS as u32).map(one).collect::<Option<Vec<_>>>()?;
    Some((key, rules, ballots))
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), count) = (arguments.next(), arguments.next()) else {
        NAMES.iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or(1);
    let Some((work, each)) = work(&name) else {
        eprintln!("unknown name `{name}`; known: {}", NAMES.join(", "));
        return ExitCode::from(2);
    };
    let done: usize = (0..count).map(|_| std::hint::black_box(work())).sum();
    if done != each * count || done == 0 {
        eprintln!("{name} gave back {done} in {count} times, not {each} each time");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

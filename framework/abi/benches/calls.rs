//! What a call through the boundary costs beside the same call linked in: `cargo bench -p quorate-abi`.
//!
//! One plugin, once linked in and once loaded. Events to its engine: without bytes, a message of the size of a block, and a block that was
//! built; and an application's execution of a block, whose state is read and written through the boundary. Medians of many rounds, in
//! nanoseconds of the thread's own time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a measurement that fails may panic")]

use std::{path::PathBuf, time::Instant as Clock};

use quorate::{
    Application, Block, Bytes, ChainId, Consensus, Hash, Header, Height, Instant, PeerId, PublicKey, Round, Settings,
    Timestamp, Validator, ValidatorIndex, ValidatorSet,
    application::{BlockContext, Mode, StateRead, StateWrite},
    block::BLOCK_VERSION,
    consensus::{Action, Context, Event},
    plugin::{ApplicationPlugin, ConsensusPlugin},
    storage::StorageError,
};
use quorate_abi::{
    Slot,
    host::{self, Provided},
};

/// Rounds of one figure.
const ROUNDS: usize = 31;

/// How long one round should last, in nanoseconds.
const ROUND_NS: u128 = 5_000_000;

/// The library, which cargo built because this bench depends on its crate.
fn library() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("libquorate_faulty.so")
}

/// The median time of one call, in nanoseconds.
fn median(mut call: impl FnMut()) -> f64 {
    let began = Clock::now();
    call();
    let once = began.elapsed().as_nanos().max(1);
    let calls = (ROUND_NS / once).clamp(1, 100_000);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Clock::now();
            (0..calls).for_each(|_| call());
            began.elapsed().as_nanos() as f64 / calls as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn report(what: &str, linked: f64, loaded: f64) {
    println!("{what:<34} {linked:>12.0} {loaded:>12.0} {:>8.1}x {:>12.0}", loaded / linked, loaded - linked);
}

fn context() -> Context {
    let one = |n: u8| Validator { name: format!("validator-{n}"), public_key: PublicKey::new([n; 32]) };
    Context {
        chain_id: ChainId::new([9; 32]),
        validators: ValidatorSet::new((1..=3).map(one).collect()).unwrap(),
        shared: Settings::from_text(""),
        settings: Settings::from_text(""),
        seed: 0,
    }
}

/// A block of transactions of 250 bytes, `bytes` long or a little more.
fn block(bytes: usize) -> Block {
    let header = Header {
        version: BLOCK_VERSION,
        chain_id: ChainId::new([9; 32]),
        height: Height(1),
        parent_hash: Hash::ZERO,
        time: Timestamp(1),
        creator: ValidatorIndex(0),
        created_round: Round(0),
        tx_root: Hash::ZERO,
        evidence_root: Hash::ZERO,
        app_hash: Hash::ZERO,
        receipts_root: Hash::ZERO,
        validators_hash: Hash::ZERO,
        next_validators_hash: Hash::ZERO,
    };
    let transaction = |n: usize| Bytes::from([n.to_be_bytes().to_vec(), vec![7; 242]].concat());
    let transactions: Vec<Bytes> = (0..bytes.div_ceil(254)).map(transaction).collect();
    Block::new(header, &transactions, &[]).unwrap()
}

fn step(engine: &mut dyn Consensus, event: &Event) {
    let mut out: Vec<Action> = Vec::new();
    engine.step(Instant(1), event.clone(), &mut out);
    std::hint::black_box(out);
}

/// A state in memory which forgets its writes.
#[derive(Default)]
struct Memory(std::collections::BTreeMap<Vec<u8>, Bytes>);

impl StateRead for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        Ok(Vec::new())
    }
}

impl StateWrite for Memory {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        std::hint::black_box((key, value));
    }

    fn delete(&mut self, key: &[u8]) {
        std::hint::black_box(key);
    }
}

fn execute(application: &dyn Application, block: &Block) {
    let context = BlockContext {
        chain_id: ChainId::new([9; 32]),
        height: Height(1),
        time: Timestamp(5),
        mode: Mode::Apply,
        transactions: block.transactions().into(),
        misbehaviour: &[],
    };
    std::hint::black_box(application.execute(&mut Memory::default(), &context).unwrap());
}

fn main() {
    let library = host::load(&library(), "libquorate_faulty.so", None).unwrap_or_else(|error| panic!("{error}"));
    let Ok(Provided::Consensus(consensus)) = library.plugin("", Slot::Consensus, "faulty") else { panic!() };
    let Ok(Provided::Application(application)) = library.plugin("", Slot::Application, "faulty") else { panic!() };
    let mut linked = quorate_faulty::FaultyConsensus.build(&context()).unwrap();
    let mut loaded = consensus.build(&context()).unwrap();
    println!("{:<34} {:>12} {:>12} {:>9} {:>12}", "nanoseconds a call", "linked in", "library", "ratio", "difference");
    let mut both = |what: &str, event: &Event| {
        let linked = median(|| step(linked.as_mut(), event));
        let loaded = median(|| step(loaded.as_mut(), event));
        report(what, linked, loaded);
    };
    both("empty event", &Event::Work { pending: true });
    for (name, bytes) in [("1 KiB", 1 << 10), ("100 KiB", 100 << 10)] {
        let from = PeerId::new([8; 32]);
        let block = block(bytes);
        both(
            &format!("message of {name}, sent back"),
            &Event::Message { from, validator: None, bytes: block.encoded().clone() },
        );
        both(&format!("built block of {name}"), &Event::BlockBuilt { token: 1, block: Some(block) });
    }
    let none = Settings::from_text("");
    let chain = ChainId::new([9; 32]);
    let linked = quorate_faulty::FaultyApplication.build(chain, &none, &none).unwrap();
    let loaded = application.build(chain, &none, &none).unwrap();
    for (name, bytes) in [("1 KiB", 1 << 10), ("100 KiB", 100 << 10)] {
        let block = block(bytes);
        let (linked, loaded) =
            (median(|| execute(linked.as_ref(), &block)), median(|| execute(loaded.as_ref(), &block)));
        report(&format!("executing a block of {name}"), linked, loaded);
    }
    let encoded = block(100 << 10).encoded().clone();
    let hashing = median(|| {
        std::hint::black_box(Hash::of(&[&encoded]));
    });
    println!("{:<34} {hashing:>12.0}", "beside it: SHA-256 of 100 KiB");
}

//! Golden bytes of everything that crosses: a change of these is a change of the ABI.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

use std::{collections::BTreeMap, path::Path, time::Duration};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    ChainId, Hash, Height, Instant, PeerId, PublicKey, Round, Settings, Signature, Timestamp, TransactionId, Validator,
    ValidatorIndex, ValidatorSet,
    application::{Admission, Misbehaviour, Mode, Outcome, QueryError, Rejection},
    borsh,
    consensus::{
        BlockLimits, Certificate, CommitBy, Context, EngineStatus, Guard, ProofError, SignRefused, SignRequest, Tip,
        Verdict,
    },
    diagnostics::Diagnostic,
    node::{BlockId, Pruned, Request, SubmitError},
    plugin::{ConsensusReport, Promise, SignatureKinds},
    transport::{Class, Purpose},
};
use quorate_abi::wire::{
    self, ActionHead, ActorCommand, ActorEvent, EventHead, PromiseAnswer,
    actor::{ActorAbout, ActorContext},
    application::{BlockHead, ExecuteFailure},
    response::{Answer, TransactionAnswer},
    setup::SetupFailure,
    storage::{StorageFailure, SystemError},
};

/// Names with their bytes in hexadecimal.
#[derive(Default)]
struct Vectors(BTreeMap<String, String>);

impl Vectors {
    /// Adds a value, which must read back as itself.
    fn add<T: BorshSerialize + BorshDeserialize + std::fmt::Debug>(&mut self, name: &str, value: &T) {
        let bytes = wire::encode(value);
        let back: T = wire::decode("a vector", &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(format!("{back:?}"), format!("{value:?}"), "{name}");
        assert!(wire::decode::<T>("a vector", &[bytes.as_slice(), &[0]].concat()).is_err(), "{name}: bytes follow");
        for len in 0..bytes.len() {
            assert!(wire::decode::<T>("a vector", &bytes[..len]).is_err(), "{name}: cut at {len}");
        }
        assert!(self.0.insert(name.into(), hex::encode(bytes)).is_none(), "{name} twice");
    }
}

fn hash(byte: u8) -> Hash {
    Hash::new([byte; 32])
}

fn peer() -> PeerId {
    PeerId::new([0xee; 32])
}

fn text(text: &str) -> String {
    text.into()
}

fn validators() -> ValidatorSet {
    let one = |name: &str, byte| Validator { name: name.into(), public_key: PublicKey::new([byte; 32]) };
    ValidatorSet::new(vec![one("a", 1), one("bc", 2)]).unwrap()
}

fn tip() -> Tip {
    Tip { height: Height(7), hash: hash(0x77), time: Timestamp(1_700_000_000_000) }
}

fn guard() -> Guard {
    Guard { height: Height(8), round: Round(2), step: 3, sub: 4 }
}

fn limits() -> BlockLimits {
    BlockLimits { transactions_max: 100, bytes_max: 65536, drift_ms: 2000 }
}

fn misbehaviour() -> Misbehaviour {
    Misbehaviour { height: Height(5), offender: PublicKey::new([2; 32]), offence: text("lied") }
}

fn events(vectors: &mut Vectors) {
    let (me, validators, tip) = (Some(ValidatorIndex(1)), validators(), tip());
    let start = EventHead::Start { tip, validators: validators.clone(), me, saved: true, fresh: false, pending: true };
    let committed = EventHead::Committed { tip, validators, me: None, by: CommitBy::Sync, pending: false };
    let signed = |result| EventHead::Signed { guard: guard(), digest: hash(0xdd), result };
    let checked = |verdict| EventHead::BlockChecked { hash: hash(0xbb), verdict };
    vectors.add("event start", &start);
    vectors.add("event message", &EventHead::Message { from: peer(), validator: me });
    vectors.add("event timer", &EventHead::Timer { id: 9, due: Instant(123_456_789) });
    vectors.add("event block built", &EventHead::BlockBuilt { token: 11, built: true });
    vectors.add("event block checked valid", &checked(Verdict::Valid));
    vectors.add("event block checked invalid", &checked(Verdict::Invalid(text("bad"))));
    vectors.add("event block checked not now", &checked(Verdict::NotNow(text("early"))));
    vectors.add("event signed", &signed(Ok(Signature::new([0x55; 64]))));
    vectors.add("event signed refused guard", &signed(Err(SignRefused::Guard { last: guard() })));
    vectors.add("event signed refused no key", &signed(Err(SignRefused::NoKey)));
    vectors.add("event signed refused malformed", &signed(Err(SignRefused::Malformed(text("long")))));
    vectors.add("event signed refused failed", &signed(Err(SignRefused::Failed(text("disk")))));
    vectors.add("event committed", &committed);
    vectors.add("event work", &EventHead::Work { pending: true });
    vectors.add("event peer up", &EventHead::PeerUp { peer: peer(), validator: None });
    vectors.add("event peer down", &EventHead::PeerDown { peer: peer() });
    vectors.add("event stop", &EventHead::Stop);
}

fn actions(vectors: &mut Vectors) {
    let request = SignRequest { guard: guard(), kind: 3, body: vec![1, 2, 3] };
    vectors.add("action persist", &ActionHead::Persist);
    vectors.add("action sign", &ActionHead::Sign(request));
    vectors.add("action broadcast", &ActionHead::Broadcast);
    vectors.add("action send", &ActionHead::Send { to: peer() });
    vectors.add("action set timer", &ActionHead::SetTimer { id: 9, at: Instant(5_000_000) });
    vectors.add("action cancel timer", &ActionHead::CancelTimer(9));
    vectors.add("action build block", &ActionHead::BuildBlock { token: 11, round: Round(2), limits: limits() });
    vectors.add("action check block", &ActionHead::CheckBlock { limits: limits() });
    vectors.add("action commit", &ActionHead::Commit { hash: hash(0xbb) });
    vectors.add("action evidence", &ActionHead::Evidence);
    vectors.add("action need sync", &ActionHead::NeedSync { height: Height(9), from: peer() });
    vectors.add("action serve", &ActionHead::Serve { to: peer(), from_height: Height(3) });
    vectors.add("action penalise", &ActionHead::Penalise { peer: peer(), reason: text("flood") });
    vectors.add("action halt", &ActionHead::Halt { reason: text("two certificates") });
}

fn consensus(vectors: &mut Vectors) {
    let settings = Settings::new("a.toml", "[consensus]\nx = 1\n", &["consensus"], &["plugin"]);
    let context = Context {
        chain_id: ChainId::new([9; 32]),
        validators: validators(),
        shared: settings.clone(),
        settings: Settings::from_text(""),
        seed: 42,
    };
    let status = EngineStatus {
        height: Height(8),
        round: Round(1),
        proposer: Some(ValidatorIndex(0)),
        phase: text("commit"),
        heard_from: vec![ValidatorIndex(0), ValidatorIndex(1)],
        quorum: 2,
        stalled: Some(text("b is silent")),
        halted: None,
    };
    let certificate =
        Certificate { round: Round(1), signatures: vec![(ValidatorIndex(1), Signature::new([0x55; 64]))] };
    let report = ConsensusReport { tolerates: text("one of three"), warnings: vec![text("slow")] };
    let kinds = Some(SignatureKinds { proposal: 1, prepare: 2, commit: 3, timeout: 4 });
    let promise = Promise { gone: 2, dishonest: 1, delta: Some(Duration::from_millis(200)), kinds };
    vectors.add("Settings", &settings);
    vectors.add("Context", &context);
    vectors.add("ValidatorSet", &validators());
    vectors.add("ConsensusReport", &report);
    vectors.add("Promise in full", &PromiseAnswer::from(promise));
    vectors.add("Promise of nothing", &PromiseAnswer::from(Promise::default()));
    vectors.add("SignatureKinds", &SignatureKinds::TWO_PHASE);
    vectors.add("EngineStatus", &status);
    vectors.add("Certificate", &certificate);
    vectors.add("Misbehaviour", &misbehaviour());
    vectors.add("Height", &Height(5));
    vectors.add("ProofError malformed", &ProofError::Malformed(text("short")));
    vectors.add("ProofError mismatch", &ProofError::Mismatch { found: text("a"), expected: text("b") });
    vectors.add("ProofError no quorum", &ProofError::NoQuorum { found: 1, needed: 2 });
    vectors.add("ProofError bad signature", &ProofError::BadSignature(ValidatorIndex(1)));
    vectors.add("ProofError no misbehaviour", &ProofError::NoMisbehaviour(text("same")));
    vectors.add("ProofError failed", &ProofError::Failed(text("panic")));
}

fn setup_and_storage(vectors: &mut Vectors) {
    let diagnostic = Diagnostic::at("a.toml", "x = 1\n", 0..1, "unknown key `x`").with_help("there are no keys here");
    let source = || SystemError { number: Some(98), text: text("in use") };
    let listen = SetupFailure::Listen { key: text("listen"), address: text("127.0.0.1:1"), source: source() };
    vectors.add("SetupError settings", &SetupFailure::Settings(vec![diagnostic]));
    vectors.add("SetupError storage", &SetupFailure::Storage(StorageFailure::Locked(text("d"))));
    vectors.add("SetupError listen", &listen);
    vectors.add("SetupError other", &SetupFailure::Other(text("no")));
    vectors.add("StorageError io", &StorageFailure::Io { action: text("write"), source: source() });
    vectors.add("StorageError full", &StorageFailure::Full(text("d")));
    vectors.add("StorageError damaged", &StorageFailure::Damaged(text("page")));
    vectors.add("StorageError newer", &StorageFailure::Newer { found: 3, known: 2 });
    vectors.add("StorageError locked", &StorageFailure::Locked(text("d")));
    vectors.add("StorageError too long", &StorageFailure::TooLong { what: text("key"), len: 2000, limit: 1024 });
    vectors.add("StorageError poisoned", &StorageFailure::Poisoned(text("fsync")));
    vectors.add("StorageError plugin", &StorageFailure::Plugin(text("panic")));
}

fn application(vectors: &mut Vectors) {
    let block = BlockHead {
        chain_id: ChainId::new([9; 32]),
        height: Height(8),
        time: Timestamp(1_700_000_000_000),
        mode: Mode::Apply,
        misbehaviour: vec![misbehaviour()],
    };
    let admission =
        Admission { sender: vec![1, 2].into(), sequence: 5, next_sequence: 4, conflict_keys: vec![vec![3].into()] };
    let outcome = Outcome {
        app_hash: hash(0xaa),
        receipts: Vec::new(),
        validators: Some(vec![Validator { name: text("a"), public_key: PublicKey::new([1; 32]) }]),
        left_out: vec![(3, Rejection::NotAllowed(text("no")))],
    };
    let invalid = ExecuteFailure::Invalid { index: 3, rejection: Rejection::Malformed(text("short")) };
    let duplicate = Rejection::Duplicate { winner: TransactionId::new([7; 32]) };
    vectors.add("BlockContext", &block);
    vectors.add("Admission", &admission);
    vectors.add("Outcome", &outcome);
    vectors.add("verdict good", &Ok::<(), Rejection>(()));
    vectors.add("verdict malformed", &Err::<(), _>(Rejection::Malformed(text("short"))));
    vectors.add("Rejection not authentic", &Rejection::NotAuthentic(text("signature")));
    vectors.add("Rejection not allowed", &Rejection::NotAllowed(text("no")));
    vectors.add("Rejection duplicate", &duplicate);
    vectors.add("Rejection state", &Rejection::State(text("disk")));
    vectors.add("ExecuteError invalid", &invalid);
    vectors.add("ExecuteError storage", &ExecuteFailure::Storage(StorageFailure::Full(text("d"))));
    vectors.add("QueryError unknown path", &QueryError::UnknownPath { path: text("x"), known: text("y, z") });
    vectors.add("QueryError bad params", &QueryError::BadParams(text("no JSON")));
    vectors.add("QueryError state", &QueryError::State(text("disk")));
}

fn actors(vectors: &mut Vectors) {
    let context = ActorContext {
        chain_id: Some(ChainId::new([9; 32])),
        chain_name: text("c"),
        name: text("n"),
        role: text("validator"),
        version: text("1"),
        public_key: PublicKey::new([3; 32]),
        peer_address: text("a:1"),
        rpc_url: text("http://a:2"),
        data_dir: text("d"),
        loopback_only: true,
        admin_token: Some(text("t")),
    };
    let about = ActorAbout {
        listening: vec![(Purpose::Peer, text("127.0.0.1:1")), (Purpose::Rpc, text("127.0.0.1:2"))],
        advertised: vec![(Purpose::Rpc, text("http://a"))],
    };
    let disconnect = ActorCommand::Disconnect { peer: peer(), reason: text("flood"), ban_ms: 10_000 };
    let refused = ActorEvent::PeerRefused { address: text("a:1"), reason: text("chain") };
    vectors.add("ActorContext", &context);
    vectors.add("ActorAbout", &about);
    vectors.add("command stop", &ActorCommand::Stop);
    vectors.add("command send", &ActorCommand::Send { to: peer(), class: Class::Pool });
    vectors.add("command broadcast", &ActorCommand::Broadcast { class: Class::Sync });
    vectors.add("command dial", &ActorCommand::Dial { peer: peer(), address: text("a:1") });
    vectors.add("command disconnect", &disconnect);
    vectors.add("command validators", &ActorCommand::Validators(vec![peer()]));
    vectors.add("actor event peer up", &ActorEvent::PeerUp { peer: peer(), name: text("n"), address: text("a:1") });
    vectors.add("actor event peer down", &ActorEvent::PeerDown { peer: peer(), reason: text("gone") });
    vectors.add("actor event message", &ActorEvent::Message { from: peer(), class: Class::Consensus });
    vectors.add("actor event peer refused", &refused);
    vectors.add("actor event found", &ActorEvent::Found { peer: peer(), name: text("n"), address: text("a:1") });
    vectors.add("actor event source", &ActorEvent::Source { reachable: true, detail: text("3 nodes") });
    vectors.add("actor event note", &ActorEvent::Note(text("ready")));
}

fn requests(vectors: &mut Vectors) {
    vectors.add("Request status", &Request::Status);
    vectors.add("Request validators", &Request::Validators(Some(Height(3))));
    vectors.add("Request block", &Request::Block(BlockId::Height(Height(3))));
    vectors.add("Request submit", &Request::Submit(vec![1, 2].into()));
    vectors.add("Request query", &Request::Query { path: text("get"), params: vec![3].into() });
    vectors.add("Request block range", &Request::BlockRange { from: Height(3), bytes_max: 100 });
    vectors.add("Response status", &Answer::Status(Box::default()));
    vectors.add("Response block none", &Answer::Block(None));
    vectors.add("Response submitted", &Answer::Submitted(Ok(TransactionId::new([7; 32]))));
    vectors.add("Response refused", &Answer::Submitted(Err(SubmitError::Unavailable(text("no")))));
    vectors.add("Response transaction", &Answer::Transaction(TransactionAnswer::Pending(vec![1].into())));
    let pruned = Pruned { height: Height(3), blocks_from: Height(9) };
    vectors.add("Response transaction pruned", &Answer::Transaction(TransactionAnswer::Pruned(pruned)));
    vectors.add("Response pruned", &Answer::Pruned(pruned));
    vectors.add("Response query", &Answer::Query(Ok(vec![1].into())));
    vectors.add("Response text", &Answer::Text(text("x")));
    vectors.add("Response blocks", &Answer::Blocks(vec![(vec![1].into(), vec![2].into())]));
    vectors.add("Response unavailable", &Answer::Unavailable(text("stopping")));
}

#[test]
fn what_crosses_has_the_bytes_that_it_had() {
    let mut vectors = Vectors::default();
    events(&mut vectors);
    actions(&mut vectors);
    consensus(&mut vectors);
    setup_and_storage(&mut vectors);
    application(&mut vectors);
    actors(&mut vectors);
    requests(&mut vectors);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/heads.json");
    let made = serde_json::to_string_pretty(&vectors.0).unwrap() + "\n";
    if std::env::var_os("QUORATE_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap();
    assert!(known == made, "the ABI changed; if it should: QUORATE_BLESS=1 cargo test -p quorate-abi --test vectors");
}

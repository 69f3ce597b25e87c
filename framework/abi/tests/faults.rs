//! A loaded plugin is used like a bundled one, and what goes wrong in it stops its work with its name, never with the process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]
#![expect(dead_code, reason = "not every test file uses all of the support")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Instant as Clock,
};

use quorate::{
    Bytes, ChainId, Consensus, Hash, Header, Height, Instant, PeerId, Round, Settings, Timestamp, ValidatorIndex,
    application::{BlockContext, ExecuteError, Mode, Rejection, StateRead, StateWrite},
    consensus::{Action, Event, ProofError, Start, Tip},
    diagnostics::render,
    plugin::SetupError,
    storage::{Batch, StorageError},
};
use quorate_abi::host::SETUP_WAIT;
use support::{application, consensus, context, faulty, storage};

fn engine(fault: &str) -> Box<dyn Consensus> {
    let plugin = consensus(&faulty(), "faulty");
    let made = plugin.build(&context(3, "", &format!("fault = \"{fault}\"")));
    made.unwrap_or_else(|error| panic!("{error}"))
}

fn step(engine: &mut dyn Consensus, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    engine.step(Instant(1), event, &mut out);
    out
}

fn start() -> Event {
    let tip = Tip { height: Height(6), hash: Hash::ZERO, time: Timestamp(0) };
    let validators = context(3, "", "").validators;
    Event::Start(Start { tip, validators, me: Some(ValidatorIndex(1)), saved: None, fresh: true, pending: false })
}

fn timer() -> Event {
    Event::Timer { id: 1, due: Instant(1) }
}

#[test]
fn a_loaded_plugin_says_of_itself_what_a_linked_one_says() {
    use quorate::plugin::ConsensusPlugin as _;
    let library = faulty();
    let loaded = consensus(&library, "faulty").descriptor();
    assert_eq!(loaded, quorate_faulty::FaultyConsensus.descriptor());
    assert_eq!(loaded.promises, ["S1 agreement", "F1 determinism"]);
    let slots: Vec<_> = library.plugins.iter().map(|plugin| plugin.slot().as_str()).collect();
    assert_eq!(slots, ["consensus", "storage", "application"]);
}

#[test]
fn settings_errors_point_into_the_operators_file() {
    let plugin = consensus(&faulty(), "faulty");
    let text = "[node]\nname = \"a\"\n\n[consensus]\nplugin = \"faulty\"\nlibrary = \"x.so\"\nfualt = \"none\"\n";
    let settings = Settings::new("validator-1.toml", text, &["consensus"], &["plugin", "library", "sha256"]);
    let context = quorate::consensus::Context { settings, ..context(3, "", "") };
    let Err(SetupError::Settings(errors)) = plugin.check(&context) else { panic!() };
    let expected = "validator-1.toml:7:1: unknown key `fualt`\n  |\n7 | fualt = \"none\"\n  | ^^^^^\n  help: did you mean `fault`?";
    assert_eq!(render(&errors), expected);
    let report = plugin.check(&support::context(3, "", "")).unwrap();
    assert_eq!((report.tolerates.as_str(), report.warnings), ("nothing, of 3 validators", vec!["it fails".to_owned()]));
}

#[test]
fn a_plugin_that_fails_while_it_is_set_up_is_an_error() {
    let plugin = consensus(&faulty(), "faulty");
    let with = |fault: &str| context(3, "", &format!("fault = \"{fault}\""));
    let refused = plugin.build(&with("is refused")).err().unwrap().to_string();
    assert_eq!(refused, "the key file is empty");
    let panics = plugin.check(&with("panics in check")).unwrap_err().to_string();
    assert!(
        panics.starts_with(
            "`libquorate_faulty.so` panicked in check: planted in check (framework/abi/faulty/src/lib.rs:"
        ),
        "{panics}"
    );
    let began = Clock::now();
    let hangs = plugin.build(&with("hangs in create")).err().unwrap().to_string();
    assert_eq!(hangs, format!("`libquorate_faulty.so` did not return from create within {} s", SETUP_WAIT.as_secs()));
    assert!(began.elapsed() < SETUP_WAIT * 3);
    assert!(plugin.build(&with("none")).is_ok(), "what failed before does not matter to the next");
}

#[test]
fn events_go_in_and_actions_come_out() {
    let mut engine = engine("none");
    assert!(step(engine.as_mut(), start()).is_empty());
    let from = PeerId::new([8; 32]);
    let bytes = Bytes::from(vec![7; 200_000]);
    let out = step(engine.as_mut(), Event::Message { from, validator: None, bytes: bytes.clone() });
    assert!(matches!(&out[..], [Action::Send { to, bytes: back }] if *to == from && *back == bytes), "{out:?}");
    let status = engine.status(Instant(2));
    assert_eq!((status.height, status.round, status.phase.as_str()), (Height(7), Round(3), "propose"));
}

#[test]
fn a_panic_in_a_step_halts_the_consensus_with_a_sentence_and_nothing_else() {
    let mut engine = engine("panics in step");
    step(engine.as_mut(), start());
    let out = step(engine.as_mut(), timer());
    let [Action::Halt { reason }] = &out[..] else { panic!("what it said before is not carried out: {out:?}") };
    assert!(
        reason.starts_with("plugin `faulty` of `libquorate_faulty.so` panicked in step: planted in step ("),
        "{reason}"
    );
    assert!(reason.ends_with("; nothing above block 6 is signed any more"), "{reason}");
    assert!(step(engine.as_mut(), timer()).is_empty(), "it is not called again");
    let status = engine.status(Instant(3));
    assert!(status.halted.unwrap().contains("panicked in step"));
}

#[test]
fn a_panic_in_the_status_halts_at_the_next_step() {
    let mut engine = engine("panics in status");
    step(engine.as_mut(), start());
    assert!(engine.status(Instant(1)).halted.unwrap().contains("panicked in status"));
    let out = step(engine.as_mut(), Event::Work { pending: true });
    assert!(matches!(&out[..], [Action::Halt { .. }]), "{out:?}");
}

#[test]
fn too_many_or_too_large_actions_are_rubbish() {
    for (fault, why) in [
        ("says too much", "returned rubbish from step: more than 4096 answers"),
        ("says something too large", "returned rubbish from step: an answer of 1 and 34603008 bytes"),
    ] {
        let mut engine = engine(fault);
        let out = step(engine.as_mut(), start());
        let [Action::Halt { reason }] = &out[..] else { panic!("{out:?}") };
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn a_panic_while_it_is_dropped_harms_nobody() {
    drop(engine("panics in drop"));
    drop(engine("none"));
}

fn header() -> Header {
    Header {
        version: 1,
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
    }
}

#[test]
fn proofs_are_judged_by_the_library_and_a_failed_judge_judges_nothing() {
    let plugin = consensus(&faulty(), "faulty");
    let context = context(3, "", "");
    let proof = plugin.proof(&context).unwrap_or_else(|error| panic!("{error}"));
    let (header, set) = (header(), &context.validators);
    assert_eq!(proof.verify(&context.chain_id, &header, header.hash().as_bytes(), set), Ok(()));
    assert_eq!(proof.verify(&context.chain_id, &header, b"", set), Err(ProofError::NoQuorum { found: 0, needed: 3 }));
    assert_eq!(proof.certificate(b""), Err(ProofError::Malformed("it is empty".into())));
    assert_eq!(proof.certificate(b"x"), Ok(Default::default()));
    assert_eq!(proof.evidence_height(b"four"), Ok(Height(4)));
    assert_eq!(proof.evidence(&context.chain_id, b"four", set).unwrap().offence, "was late");
    let broken = plugin.proof(&support::context(3, "", "fault = \"panics in verify\"")).unwrap();
    let Err(ProofError::Failed(why)) = broken.verify(&context.chain_id, &header, b"", set) else { panic!() };
    assert!(why.contains("panicked in proof_verify"), "{why}");
    assert!(matches!(broken.certificate(b"x"), Err(ProofError::Failed(_))), "it is not asked again");
}

#[test]
fn a_loaded_store_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = storage(&faulty(), "faulty");
    let store = plugin.open(&Settings::from_text(""), directory.path()).unwrap();
    let empty = store.snapshot().unwrap();
    let mut batch = Batch::new();
    for key in 0..100u8 {
        batch.put(vec![key], vec![key; usize::from(key) * 1000]);
    }
    batch.delete(vec![50]);
    batch.put(vec![51], Vec::new());
    store.commit(batch).unwrap();
    let view = store.snapshot().unwrap();
    assert_eq!(empty.get(&[3]).unwrap(), None, "an old view does not change");
    assert_eq!(view.get(&[3]).unwrap().unwrap(), vec![3; 3000]);
    assert_eq!((view.get(&[50]).unwrap(), view.get(&[51]).unwrap()), (None, Some(Bytes::new())));
    let found = view.scan(&[48], &[53], 4).unwrap();
    assert_eq!(found.iter().map(|(key, _)| key[0]).collect::<Vec<_>>(), [48, 49, 51, 52]);
    assert_eq!(view.scan(&[0], &[255], 2).unwrap().len(), 2);
    let mut batch = Batch::new();
    batch.put(vec![0; 2000], vec![]);
    let error = store.commit(batch).unwrap_err();
    assert!(matches!(error, StorageError::TooLong { what: "key", len: 2000, limit: 1024 }), "{error:?}");
    drop(store);
    assert!(view.get(&[3]).unwrap().is_some(), "a view outlives the handle of its store");
}

#[test]
fn a_stores_errors_are_its_own_and_its_panics_poison_it() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = storage(&faulty(), "faulty");
    let open = |fault: &str| plugin.open(&Settings::from_text(&format!("fault = \"{fault}\"")), directory.path());
    let error = open("is locked").err().unwrap();
    assert!(matches!(error, SetupError::Storage(StorageError::Locked(_))), "{error}");
    let mut batch = Batch::new();
    batch.put(vec![1], vec![1]);
    let error = open("has no room").unwrap().commit(batch.clone()).unwrap_err();
    let StorageError::Io { action: "write", source } = error else { panic!("{error}") };
    assert_eq!(source.raw_os_error(), Some(28));
    let store = open("panics in commit").unwrap();
    let view = store.snapshot().unwrap();
    for error in [store.commit(batch).unwrap_err(), store.snapshot().err().unwrap(), view.get(&[1]).unwrap_err()] {
        let text = error.to_string();
        assert!(matches!(error, StorageError::Plugin(_)), "{text}");
        assert!(text.starts_with("plugin `faulty` of `libquorate_faulty.so` panicked in commit: planted"), "{text}");
    }
}

/// A state in memory.
#[derive(Default)]
struct Memory(std::collections::BTreeMap<Vec<u8>, Bytes>, bool);

impl StateRead for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if self.1 { Err(StorageError::Damaged("page 3".into())) } else { Ok(self.0.get(key).cloned()) }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let range = self.0.range(from.to_vec()..to.to_vec()).take(limit);
        Ok(range.map(|(key, value)| (key.clone().into(), value.clone())).collect())
    }
}

impl StateWrite for Memory {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(key.to_vec(), Bytes::copy_from_slice(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
}

fn block(transactions: &[Bytes]) -> BlockContext<'_> {
    BlockContext {
        chain_id: ChainId::new([9; 32]),
        height: Height(1),
        time: Timestamp(5),
        mode: Mode::Apply,
        transactions: transactions.into(),
        misbehaviour: &[],
    }
}

#[test]
fn a_loaded_application_does_what_a_linked_one_does() {
    use quorate::plugin::ApplicationPlugin as _;
    let none = Settings::from_text("");
    let linked = quorate_faulty::FaultyApplication.build(ChainId::new([9; 32]), &none, &none).unwrap();
    let loaded = application(&faulty(), "faulty").build(ChainId::new([9; 32]), &none, &none).unwrap();
    let transactions: Vec<Bytes> = [b"one".as_slice(), b"two", b"three"].map(Bytes::from_static).to_vec();
    let with_bad = [transactions.clone(), vec![Bytes::new()]].concat();
    let mut states = [Memory::default(), Memory::default()];
    let mut seen = Vec::new();
    for (application, state) in [linked, loaded].iter().zip(&mut states) {
        let genesis = application.genesis(state).unwrap();
        let ids: Vec<_> = transactions.iter().map(|one| application.transaction_id(one)).collect();
        let verdicts = application.verify(&with_bad);
        let admission = application.check(state, &transactions[0]);
        let outcome = application.execute(state, &block(&transactions)).unwrap();
        let again = application.execute(state, &block(&transactions)).unwrap_err().to_string();
        let answers = ["count", "log", "nonsense"].map(|path| application.query(state, path, b"{\"from\": 0}"));
        seen.push((genesis, ids, verdicts, admission, outcome, again, answers));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(states[0].0, states[1].0);
    assert_eq!(seen[0].4.receipts.len(), 3);
}

#[test]
fn an_application_that_fails_stops_the_node_rather_than_judge() {
    let plugin = application(&faulty(), "faulty");
    let none = Settings::from_text("");
    let build = |fault: &str| {
        let settings = Settings::from_text(&format!("fault = \"{fault}\""));
        plugin.build(ChainId::new([9; 32]), &none, &settings).unwrap()
    };
    let transactions = [Bytes::from_static(b"one")];
    for (fault, call) in [
        ("panics in execute", "panicked in execute"),
        ("panics in verify", "panicked in verify"),
        ("panics in transaction_id", "panicked in transaction_id"),
        ("gives too few verdicts", "returned rubbish from verify: 0 verdicts on 1 transactions"),
    ] {
        let (application, mut state) = (build(fault), Memory::default());
        application.genesis(&mut state).unwrap();
        application.transaction_id(&transactions[0]);
        let verdict = application.verify(&transactions).remove(0);
        assert!(verdict.is_ok() || matches!(verdict, Err(Rejection::State(_))), "{fault}: {verdict:?}");
        let error = application.execute(&mut state, &block(&transactions)).unwrap_err();
        let ExecuteError::Storage(StorageError::Plugin(why)) = error else { panic!("{fault}: {error}") };
        assert!(why.starts_with("plugin `faulty` of `libquorate_faulty.so`") && why.contains(call), "{why}");
        assert!(application.query(&state, "count", b"").unwrap_err().to_string().contains(call));
    }
}

#[test]
fn a_state_that_can_not_be_read_is_told_through_the_library() {
    let none = Settings::from_text("");
    let application = application(&faulty(), "faulty").build(ChainId::new([9; 32]), &none, &none).unwrap();
    let mut state = Memory::default();
    application.genesis(&mut state).unwrap();
    state.1 = true;
    let error = application.execute(&mut state, &block(&[Bytes::from_static(b"one")])).unwrap_err();
    assert!(matches!(&error, ExecuteError::Storage(StorageError::Damaged(what)) if what == "page 3"), "{error:?}");
    state.1 = false;
    assert!(application.execute(&mut state, &block(&[Bytes::from_static(b"one")])).is_ok(), "it is asked again");
}

/// Lines of a log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// In a process of its own, as a library asks once for the level which the node logs.
#[test]
fn what_a_plugin_logs_is_in_the_nodes_log_with_its_name() {
    if std::env::var_os("QUORATE_TEST_LOGS").is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_a_plugin_logs_is_in_the_nodes_log_with_its_name", "--nocapture"])
            .env("QUORATE_TEST_LOGS", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let plugin = consensus(&faulty(), "faulty");
    plugin.check(&context(3, "", "fault = \"panics in step\"")).unwrap();
    let mut engine = engine("panics in step");
    step(engine.as_mut(), timer());
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {text}"));
    let checked = line("checked");
    assert!(checked.contains("WARN plugin: checked fault=\"panics in step\" seed=5"), "{checked}");
    assert!(checked.contains("plugin=\"faulty\" place=\"quorate_faulty::consensus\" library=\"libquorate_faulty.so\""));
    assert!(line("planted in step (").contains("ERROR plugin: "), "{text}");
    assert!(line("a plugin failed").contains("plugin=\"faulty\""), "{text}");
    assert!(!text.contains("stepped"), "the node does not log what is that detailed: {text}");
}

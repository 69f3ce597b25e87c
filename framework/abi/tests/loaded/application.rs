//! A loaded application.

use quorate::{
    Bytes, ChainId, Height, Settings, Timestamp,
    application::{BlockContext, ExecuteError, Mode, Rejection, StateRead, StateWrite},
    plugin::ApplicationPlugin as _,
    storage::StorageError,
};

use crate::support::{application, faulty};

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
        let verdicts = application.verify(state, &with_bad);
        let admission = application.check(state, Timestamp(5), &transactions[0]);
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
        let verdict = application.verify(&state, &transactions).remove(0);
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

//! A loaded store.

use quorate::{
    Bytes, Settings,
    plugin::SetupError,
    storage::{Batch, StorageError},
};

use crate::support::{faulty, storage};

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

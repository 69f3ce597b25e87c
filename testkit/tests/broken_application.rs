//! Each rule of the Application slot catches an application that breaks it: the log in memory, with one mistake at a time.
#![expect(clippy::panic, reason = "one of the mistakes is to panic")]

mod broken;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use broken::{assert_all_proven, catches, try_all};
use quorate::{
    Application, Bytes, ChainId, Hash, Settings, Timestamp, TransactionId,
    application::{Admission, BlockContext, ExecuteError, Mode, Outcome, QueryError, Rejection, StateRead, StateWrite},
    plugin::{ApplicationPlugin, Descriptor, SetupError},
    storage::StorageError,
};
use quorate_testkit::{
    conformance::{self, ApplicationSuite},
    memory::{MemoryApplication, MemoryApplicationPlugin},
};

/// One mistake of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    NamedBadly,
    BadExample,
    TakesAnyKey,
    DrawsItsGenesis,
    HasASeed,
    Counts,
    RemembersTheBlock,
    CountsQueries,
    CountsForAll,
    Panics,
    BuildsOtherwise,
    SkipsTheBad,
    NamesBackwards,
    LongReceipts,
    AnswersBackwards,
    TakesItBack,
    CallsItALie,
    ShortIds,
    AdmitsNothing,
    ManyKeys,
    ReadsOn,
    NoJson,
    KnowsEveryPath,
    LeavesThreads,
}

const BUGS: &[(Bug, &str)] = &[
    (Bug::NamedBadly, "the descriptor says who it is"),
    (Bug::BadExample, "the example of its settings parses"),
    (Bug::TakesAnyKey, "an unknown key is refused with its place"),
    (Bug::DrawsItsGenesis, "genesis is the same each time"),
    (Bug::HasASeed, "two objects give the same answers"),
    (Bug::Counts, "a block executed again does the same"),
    (Bug::RemembersTheBlock, "threads do not disturb each other"),
    (Bug::CountsQueries, "queries change nothing"),
    (Bug::CountsForAll, "two applications share nothing"),
    (Bug::Panics, "no input makes it panic"),
    (Bug::BuildsOtherwise, "what a proposer kept others accept"),
    (Bug::SkipsTheBad, "a block with what can't be executed is invalid"),
    (Bug::NamesBackwards, "what is left out is named in order"),
    (Bug::LongReceipts, "receipts are one a transaction, and short"),
    (Bug::AnswersBackwards, "verdicts come in the order of the transactions"),
    (Bug::TakesItBack, "a good verdict holds in every later state"),
    (Bug::CallsItALie, "who is ahead is no liar"),
    (Bug::ShortIds, "one id is one transaction"),
    (Bug::AdmitsNothing, "the pool takes what can be executed"),
    (Bug::ManyKeys, "conflict keys are few"),
    (Bug::ReadsOn, "errors of the state are passed on"),
    (Bug::NoJson, "queries are answered in JSON"),
    (Bug::KnowsEveryPath, "an unknown path is named"),
    (Bug::LeavesThreads, "made and dropped a hundred times leaves nothing"),
];

fn suite(plugin: &WrongPlugin) -> ApplicationSuite<'_> {
    let entries = |_| (0..12u8).map(|n| vec![n % 5; 1 + usize::from(n) * 40].into()).collect();
    conformance::application(plugin, "").transactions(entries).query("count", "").query("log", r#"{"from":1}"#)
}

#[test]
fn every_rule_catches_an_application_that_breaks_it() {
    try_all(BUGS, |bug, rule| catches(&suite(&WrongPlugin(bug)).suite(), rule));
    assert_all_proven("application", BUGS.iter().map(|(_, rule)| *rule));
}

#[test]
fn without_a_mistake_it_breaks_no_rule() {
    suite(&WrongPlugin(Bug::None)).check();
}

struct WrongPlugin(Bug);

impl ApplicationPlugin for WrongPlugin {
    fn descriptor(&self) -> Descriptor {
        let mut descriptor = MemoryApplicationPlugin.descriptor();
        if self.0 == Bug::NamedBadly {
            descriptor.name = "my_log";
        }
        if self.0 == Bug::BadExample {
            descriptor.example = "# A key that it does not have.\nentries = 1\n";
        }
        descriptor
    }

    fn check(&self, shared: &Settings, settings: &Settings) -> Result<(), SetupError> {
        let nothing = Settings::from_text("");
        let settings = if self.0 == Bug::TakesAnyKey { &nothing } else { settings };
        MemoryApplicationPlugin.check(shared, settings)
    }

    fn build(&self, _: ChainId, shared: &Settings, settings: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        self.check(shared, settings)?;
        if self.0 == Bug::LeavesThreads {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
        }
        let seed = OBJECTS.fetch_add(1, SeqCst);
        Ok(Arc::new(Wrong { bug: self.0, seed, count: AtomicU64::new(0) }))
    }
}

static OBJECTS: AtomicU64 = AtomicU64::new(0);

static EXECUTED: AtomicU64 = AtomicU64::new(0);

struct Wrong {
    bug: Bug,
    seed: u64,
    count: AtomicU64,
}

/// Takes an error for nothing there.
struct Careless<'a>(&'a mut dyn StateWrite);

impl StateRead for Careless<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(key).unwrap_or_default())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.0.scan(from, to, limit)
    }
}

impl StateWrite for Careless<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.put(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.delete(key);
    }
}

impl Wrong {
    /// Something that the hash should not depend on.
    fn mixed(&self, block: &BlockContext<'_>) -> u64 {
        match self.bug {
            Bug::HasASeed => self.seed,
            Bug::Counts => self.count.fetch_add(1, SeqCst),
            Bug::CountsQueries => self.count.load(SeqCst),
            Bug::CountsForAll => EXECUTED.fetch_add(1, SeqCst),
            Bug::RemembersTheBlock => {
                self.count.store(block.height.0, SeqCst);
                std::thread::sleep(Duration::from_micros(300));
                self.count.load(SeqCst)
            }
            Bug::BuildsOtherwise => u64::from(block.mode == Mode::Build),
            _ => 0,
        }
    }
}

fn apply_skipping(state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
    let built = MemoryApplication.execute(state, &BlockContext { mode: Mode::Build, ..block.clone() })?;
    Ok(Outcome { left_out: Vec::new(), ..built })
}

impl Application for Wrong {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        let hash = MemoryApplication.genesis(state)?;
        if self.bug == Bug::DrawsItsGenesis {
            state.put(b"drawn", &self.seed.to_be_bytes());
        }
        Ok(hash)
    }

    fn transaction_id(&self, transaction: &[u8]) -> TransactionId {
        match self.bug {
            Bug::ShortIds => TransactionId::new([transaction.first().copied().unwrap_or_default(); 32]),
            _ => MemoryApplication.transaction_id(transaction),
        }
    }

    fn verify(&self, state: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        let mut verdicts = MemoryApplication.verify(state, transactions);
        if self.bug == Bug::AnswersBackwards {
            verdicts.reverse();
        }
        let entries = match self.bug {
            Bug::TakesItBack | Bug::CallsItALie => MemoryApplication.query(state, "count", b"").unwrap_or_default(),
            _ => Vec::new(),
        };
        for (verdict, one) in verdicts.iter_mut().zip(transactions) {
            match self.bug {
                Bug::TakesItBack if entries.as_slice() == br#"{"count":4}"# => {
                    *verdict = Err(Rejection::NotAllowed("four are enough".into()));
                }
                Bug::CallsItALie if entries.as_slice() == br#"{"count":0}"# && one.first() == Some(&4) => {
                    *verdict = Err(Rejection::NotAuthentic("there is no entry before it".into()));
                }
                _ => {}
            }
        }
        verdicts
    }

    fn check(&self, state: &dyn StateRead, now: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        if self.bug == Bug::AdmitsNothing {
            return Err(Rejection::NotAllowed("not today".into()));
        }
        let mut admission = MemoryApplication.check(state, now, transaction)?;
        if self.bug == Bug::ManyKeys {
            admission.conflict_keys = vec![Bytes::from_static(b"key"); 9];
        }
        Ok(admission)
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let mixed = self.mixed(block);
        let mut outcome = match self.bug {
            Bug::SkipsTheBad if block.mode == Mode::Apply => apply_skipping(state, block)?,
            Bug::ReadsOn => MemoryApplication.execute(&mut Careless(state), block)?,
            _ => MemoryApplication.execute(state, block)?,
        };
        if mixed > 0 {
            outcome.app_hash = Hash::of(&[outcome.app_hash.as_bytes(), &mixed.to_be_bytes()]);
        }
        match self.bug {
            Bug::NamesBackwards => outcome.left_out.reverse(),
            Bug::LongReceipts => outcome.receipts.iter_mut().for_each(|receipt| *receipt = vec![0; 4097].into()),
            _ => {}
        }
        Ok(outcome)
    }

    fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
        match self.bug {
            Bug::CountsQueries => {
                self.count.fetch_add(1, SeqCst);
            }
            Bug::Panics if params.ends_with(b"}}") || params.first() == Some(&0xff) => panic!("unreadable"),
            Bug::NoJson => return Ok(b"one, two".to_vec()),
            Bug::KnowsEveryPath => return Ok(b"null".to_vec()),
            _ => {}
        }
        MemoryApplication.query(state, path, params)
    }
}

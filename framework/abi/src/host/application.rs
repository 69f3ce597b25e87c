//! An application in a library, used like a bundled one.
#![expect(unsafe_code, reason = "calls a library's functions")]

use std::sync::Arc;

use bytes::Bytes;
use quorate::{
    Application, ChainId, Hash, Settings, Timestamp, TransactionId,
    application::{Admission, BlockContext, ExecuteError, Outcome, QueryError, Rejection, StateRead, StateWrite},
    plugin::{ApplicationPlugin, Descriptor, SetupError},
    storage::StorageError,
};

use super::{
    call::{Answers, Fault, Origin, SETUP_WAIT, Unanswered, ask, single},
    object::Object,
    setup::set_up,
    state,
};
use crate::{
    raw::{QUORATE_DECODE, QuorateApplication, QuorateBytes, QuorateSink},
    wire::{
        self,
        application::{BlockHead, ExecuteFailure},
        storage::StorageFailure,
    },
};

/// An application of a library.
pub(super) struct LibraryApplication {
    pub(super) origin: Arc<Origin>,
    pub(super) descriptor: Descriptor,
    pub(super) functions: &'static QuorateApplication,
}

impl ApplicationPlugin for LibraryApplication {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn check(&self, shared: &Settings, settings: &Settings) -> Result<(), SetupError> {
        let (shared, settings, check) = (wire::encode(shared), wire::encode(settings), self.functions.check);
        let checked = set_up(&self.origin, "check", SETUP_WAIT, move || {
            let (shared, settings) = (QuorateBytes::of(&shared), QuorateBytes::of(&settings));
            // SAFETY: the library's own function, and arguments which live during the call.
            ask("check", |sink| check.map_or(QUORATE_DECODE, |check| unsafe { check(shared, settings, sink) }))
        });
        checked.map(drop)
    }

    fn build(
        &self,
        chain_id: ChainId,
        shared: &Settings,
        settings: &Settings,
    ) -> Result<Arc<dyn Application>, SetupError> {
        let (shared, settings, functions) = (wire::encode(shared), wire::encode(settings), self.functions);
        let origin = Arc::clone(&self.origin);
        let object = set_up(&self.origin, "create", SETUP_WAIT, move || {
            let (shared, settings) = (QuorateBytes::of(&shared), QuorateBytes::of(&settings));
            let chain_id = chain_id.as_bytes().as_ptr();
            Object::make(&origin, "create", functions.destroy, &|to, sink| {
                // SAFETY: the library's own function, and arguments which live during the call.
                functions
                    .create
                    .map_or(QUORATE_DECODE, |create| unsafe { create(chain_id, shared, settings, to, sink) })
            })
        })?;
        Ok(Arc::new(Machine { object, functions }))
    }
}

struct Machine {
    object: Object,
    functions: &'static QuorateApplication,
}

/// Why there is no answer: the slot's error, or that the plugin failed.
enum Failed {
    Error(Vec<u8>),
    Plugin(String),
}

impl Machine {
    fn ask(&self, call: &'static str, make: impl FnOnce(*const QuorateSink) -> Option<i32>) -> Result<Answers, Failed> {
        if let Some(why) = self.object.poisoned() {
            return Err(Failed::Plugin(why));
        }
        ask(call, |sink| make(sink).unwrap_or(QUORATE_DECODE)).map_err(|unanswered| match unanswered {
            Unanswered::Error(bytes) => Failed::Error(bytes),
            Unanswered::Fault(fault) => Failed::Plugin(self.failed(fault)),
        })
    }

    fn failed(&self, fault: Fault) -> String {
        let why = self.object.sentence(&fault);
        self.object.poison(fault);
        why
    }

    /// The slot's error, or what stands for it when the plugin failed.
    fn error<T: borsh::BorshDeserialize>(
        &self,
        call: &'static str,
        failed: Failed,
        plugin: impl FnOnce(String) -> T,
    ) -> T {
        match failed {
            Failed::Error(bytes) => {
                wire::decode("an error", &bytes).unwrap_or_else(|error| plugin(self.failed(Fault::wire(call, &error))))
            }
            Failed::Plugin(why) => plugin(why),
        }
    }

    fn value<T: borsh::BorshDeserialize>(
        &self,
        call: &'static str,
        what: &'static str,
        answers: Answers,
    ) -> Result<T, String> {
        let value = single(call, answers)
            .and_then(|(head, _)| wire::decode(what, &head).map_err(|error| Fault::wire(call, &error)));
        value.map_err(|fault| self.failed(fault))
    }

    fn try_id(&self, transaction: &[u8]) -> Result<TransactionId, Failed> {
        let (machine, transaction) = (self.object.pointer(), QuorateBytes::of(transaction));
        let mut id = [0; 32];
        let to = id.as_mut_ptr();
        self.ask("transaction_id", |sink| {
            // SAFETY: the library's own function and object, and arguments which live during the call.
            self.functions.transaction_id.map(|call| unsafe { call(machine, transaction, to, sink) })
        })?;
        Ok(TransactionId::new(id))
    }

    fn try_verify(&self, state: &dyn StateRead, transactions: &[Bytes]) -> Result<Vec<Result<(), Rejection>>, String> {
        let call = "verify";
        let lent = lend(transactions);
        let machine = self.object.pointer();
        let answers = self.ask(call, |sink| {
            self.functions.verify.map(|verify| {
                // SAFETY: the library's own function and object, and arguments which live during the call.
                state::lend(state, |state| unsafe { verify(machine, state, lent.as_ptr(), lent.len(), sink) })
            })
        });
        let answers = answers.map_err(|failed| match failed {
            Failed::Error(_) => self.failed(Fault::rubbish(call, "an error, where there is none")),
            Failed::Plugin(why) => why,
        })?;
        if answers.len() != transactions.len() {
            let why = format!("{} verdicts on {} transactions", answers.len(), transactions.len());
            return Err(self.failed(Fault::rubbish(call, why)));
        }
        let verdicts = answers.iter().map(|(head, _)| wire::decode("a verdict", head)).collect::<Result<_, _>>();
        verdicts.map_err(|error| self.failed(Fault::wire(call, &error)))
    }

    fn outcome(&self, mut answers: Answers) -> Result<Outcome, String> {
        let call = "execute";
        let outcome = answers.pop().map_or(Err(Fault::rubbish(call, "no outcome")), |(head, _)| {
            wire::decode::<Outcome>("Outcome", &head).map_err(|error| Fault::wire(call, &error))
        });
        let receipts = answers.into_iter().map(|(_, receipt)| receipt).collect();
        outcome.map(|outcome| Outcome { receipts, ..outcome }).map_err(|fault| self.failed(fault))
    }
}

fn lend(transactions: &[Bytes]) -> Vec<QuorateBytes> {
    transactions.iter().map(|transaction| QuorateBytes::of(transaction)).collect()
}

impl Application for Machine {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        let machine = self.object.pointer();
        let answers = self.ask("genesis", |sink| {
            self.functions.genesis.map(|genesis| {
                // SAFETY: the library's own function and object, and arguments which live during the call.
                state::lend_mut(state, |state| unsafe { genesis(machine, state, sink) })
            })
        });
        let answers =
            answers.map_err(|failed| self.error::<StorageFailure>("genesis", failed, StorageFailure::Plugin).into());
        answers.and_then(|answers| self.value("genesis", "Hash", answers).map_err(StorageError::Plugin))
    }

    fn transaction_id(&self, transaction: &[u8]) -> TransactionId {
        self.try_id(transaction).unwrap_or_else(|failed| {
            if let Failed::Error(_) = failed {
                self.failed(Fault::rubbish("transaction_id", "an error, where there is none"));
            }
            // There is no error to give; whatever is asked next fails.
            TransactionId::new(*Hash::of(&[transaction]).as_bytes())
        })
    }

    fn verify(&self, state: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        self.try_verify(state, transactions).unwrap_or_else(|why| vec![Err(Rejection::State(why)); transactions.len()])
    }

    fn check(&self, state: &dyn StateRead, now: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        let (machine, transaction) = (self.object.pointer(), QuorateBytes::of(transaction));
        let answers = self.ask("admit", |sink| {
            self.functions.admit.map(|admit| {
                // SAFETY: the library's own function and object, and arguments which live during the call.
                state::lend(state, |state| unsafe { admit(machine, state, now.0, transaction, sink) })
            })
        });
        let answers = answers.map_err(|failed| self.error("admit", failed, Rejection::State))?;
        self.value("admit", "Admission", answers).map_err(Rejection::State)
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let (machine, head) = (self.object.pointer(), wire::encode(&BlockHead::from(block)));
        let (head, lent) = (QuorateBytes::of(&head), lend(&block.transactions));
        let answers = self.ask("execute", |sink| {
            self.functions.execute.map(|execute| {
                state::lend_mut(state, |state| {
                    // SAFETY: the library's own function and object, and arguments which live during the call.
                    unsafe { execute(machine, state, head, lent.as_ptr(), lent.len(), sink) }
                })
            })
        });
        let stops = |why: String| ExecuteError::Storage(StorageError::Plugin(why));
        let answers = answers.map_err(|failed| {
            let stops = |why| ExecuteFailure::Storage(StorageFailure::Plugin(why));
            ExecuteError::from(self.error::<ExecuteFailure>("execute", failed, stops))
        })?;
        self.outcome(answers).map_err(stops)
    }

    fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
        let machine = self.object.pointer();
        let (path, params) = (QuorateBytes::of(path.as_bytes()), QuorateBytes::of(params));
        let answers = self.ask("query", |sink| {
            self.functions.query.map(|query| {
                // SAFETY: the library's own function and object, and arguments which live during the call.
                state::lend(state, |state| unsafe { query(machine, state, path, params, sink) })
            })
        });
        let answers = answers.map_err(|failed| self.error("query", failed, QueryError::State))?;
        match single("query", answers) {
            Ok((_, answer)) => Ok(answer.into()),
            Err(fault) => Err(QueryError::State(self.failed(fault))),
        }
    }
}

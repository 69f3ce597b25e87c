//! A log of transactions that fails where it is told to.

use std::sync::Arc;

use quorate::{
    Application, Bytes, ChainId, Hash, Settings, Timestamp, TransactionId,
    application::{Admission, BlockContext, ExecuteError, Outcome, QueryError, Rejection, StateRead, StateWrite},
    plugin::{ApplicationPlugin, Descriptor, SetupError},
    storage::StorageError,
};
use quorate_testkit::memory::MemoryApplication;

use crate::{EXAMPLE, Faults, SCHEMA};

/// The testkit's application, with faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultyApplication;

struct Machine {
    faults: Faults,
    inner: MemoryApplication,
}

impl Application for Machine {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        self.faults.at("genesis");
        self.inner.genesis(state)
    }

    fn transaction_id(&self, transaction: &[u8]) -> TransactionId {
        self.faults.at("transaction_id");
        self.inner.transaction_id(transaction)
    }

    fn verify(&self, state: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        self.faults.at("verify");
        if self.faults.fault == "gives too few verdicts" {
            return Vec::new();
        }
        self.inner.verify(state, transactions)
    }

    fn check(&self, state: &dyn StateRead, now: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        self.faults.at("admit");
        self.inner.check(state, now, transaction)
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        self.faults.at("execute");
        self.inner.execute(state, block)
    }

    fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
        self.faults.at("query");
        self.inner.query(state, path, params)
    }
}

impl ApplicationPlugin for FaultyApplication {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("faulty", "1.2.3", "a log").with_example(EXAMPLE).with_schema(SCHEMA)
    }

    fn check(&self, _: &Settings, settings: &Settings) -> Result<(), SetupError> {
        Faults::read(settings)?.at("check");
        Ok(())
    }

    fn build(&self, _: ChainId, _: &Settings, settings: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        let faults = Faults::read(settings)?;
        faults.at("create");
        Ok(Arc::new(Machine { faults, inner: MemoryApplication }))
    }
}

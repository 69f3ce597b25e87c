//! The same client for programs without a runtime. Don't use it inside one: each call blocks its thread.

use std::time::Duration;

use quorate::{Bytes, Hash, Receipt, TransactionId, service::Rules};

use crate::{
    Accepted, ChainState, ClientError, Confirmation, Disagreement, ElectionResults, Integrity, Settings, SettingsError,
    SubmitError, ValidatorStatus, WaitError,
};

/// A client with a runtime of its own.
#[derive(Debug)]
pub struct Client {
    client: crate::Client,
    runtime: tokio::runtime::Runtime,
}

/// Why a blocking client can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewError {
    /// Of its settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The system gives no event queue.
    #[error("the runtime can't be started: {0}")]
    Runtime(#[from] std::io::Error),
}

impl Client {
    /// As [`crate::Client::new`].
    ///
    /// # Errors
    ///
    /// [`NewError`].
    pub fn new(settings: Settings, rules: Rules) -> Result<Self, NewError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client: crate::Client::new(settings, rules)?, runtime })
    }

    /// As [`crate::Client::submit`].
    ///
    /// # Errors
    ///
    /// [`SubmitError`].
    pub fn submit(&self, transaction: impl Into<Bytes>) -> Result<Accepted, SubmitError> {
        self.runtime.block_on(self.client.submit(transaction))
    }

    /// As [`crate::Client::receipt`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn receipt(&self, id: &TransactionId) -> Result<Option<Receipt>, ClientError> {
        self.runtime.block_on(self.client.receipt(id))
    }

    /// As [`crate::Client::confirmation_status`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn confirmation_status(&self, id: &TransactionId) -> Result<Confirmation, ClientError> {
        self.runtime.block_on(self.client.confirmation_status(id))
    }

    /// As [`crate::Client::wait_for_confirmation`].
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub fn wait_for_confirmation(&self, id: &TransactionId, timeout: Duration) -> Result<Receipt, WaitError> {
        self.runtime.block_on(self.client.wait_for_confirmation(id, timeout))
    }

    /// As [`crate::Client::chain_state`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn chain_state(&self) -> Result<ChainState, ClientError> {
        self.runtime.block_on(self.client.chain_state())
    }

    /// As [`crate::Client::verify_integrity`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn verify_integrity(&self) -> Result<Integrity, ClientError> {
        self.runtime.block_on(self.client.verify_integrity())
    }

    /// As [`crate::Client::election_results`].
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn election_results(&self, election: &Hash) -> Result<ElectionResults, ClientError> {
        self.runtime.block_on(self.client.election_results(election))
    }

    /// As [`crate::Client::refresh_validator_status`].
    pub fn refresh_validator_status(&self) -> Vec<ValidatorStatus> {
        self.runtime.block_on(self.client.refresh_validator_status())
    }

    /// As [`crate::Client::disagreements`].
    pub fn disagreements(&self) -> Vec<Disagreement> {
        self.client.disagreements()
    }
}

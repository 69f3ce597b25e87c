//! Receipts, which are verified, and waiting for one.

use std::time::{Duration, Instant};

use quorate::{Receipt, TransactionId, receipt::ReceiptError};
use serde_json::{Value, json};

use crate::{
    client::{Client, Step, ms},
    error::{Asked, ClientError, Last, WaitError},
    validator::Validator,
};

/// The code of a validator's answer that a transaction is final, in a block which it has removed.
const BLOCK_REMOVED: i64 = -32022;

/// The first pause between two questions for a receipt; it grows by half up to the last.
const POLL_MIN: Duration = Duration::from_millis(20);

/// The longest pause between two questions for a receipt.
const POLL_MAX: Duration = Duration::from_millis(500);

/// How a transaction stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Confirmation {
    /// It is final: the receipt was verified against genesis.
    Final(Box<Receipt>),
    /// It waits in the pool of this validator, as it says.
    Pending(String),
    /// None of those who answered knows it.
    Unknown,
}

impl Client {
    /// Checks a receipt, whoever gave it: the id, the Merkle paths, the header, and that a quorum of genesis' validators signed.
    ///
    /// # Errors
    ///
    /// [`quorate::receipt::ReceiptError`]; also for a network whose validators are no longer those of genesis.
    pub fn verify(&self, receipt: &Receipt) -> Result<(), quorate::receipt::ReceiptError> {
        let rules = self.rules();
        let id = |bytes: &[u8]| rules.application.transaction_id(bytes);
        receipt.verify(&rules.genesis.chain_id(), rules.genesis.validators(), rules.finality.as_ref(), &id)
    }

    /// The verified receipt of a transaction; `None` when none of those who answer shows one.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when nobody answers.
    pub async fn receipt(&self, id: &TransactionId) -> Result<Option<Receipt>, ClientError> {
        Ok(match self.confirmation_status(id).await? {
            Confirmation::Final(receipt) => Some(*receipt),
            Confirmation::Pending(_) | Confirmation::Unknown => None,
        })
    }

    /// How a transaction stands: final when anybody shows a receipt that convinces, pending when anybody says so.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when nobody answers.
    pub async fn confirmation_status(&self, id: &TransactionId) -> Result<Confirmation, ClientError> {
        let mut pending = None;
        let mut unknown = false;
        let mut removed = false;
        let found = self
            .ask("quorate_receipt", json!([id]), |validator, answer| match answer {
                Err(error) => {
                    removed |= error.code == BLOCK_REMOVED;
                    Step::Next(error.message)
                }
                Ok(Value::Null) => {
                    unknown = true;
                    Step::Next("unknown".into())
                }
                Ok(answer) => match answer.get("status").and_then(Value::as_str) {
                    Some("pending") => {
                        pending.get_or_insert_with(|| validator.name().to_owned());
                        Step::Next("pending".into())
                    }
                    Some("final") => match self.shown(validator, id, &answer) {
                        Ok(receipt) => Step::Done(receipt),
                        Err(why) => Step::Next(why),
                    },
                    _ => Step::Next("an answer that is none".into()),
                },
            })
            .await;
        match (found, pending, unknown) {
            (Ok(receipt), _, _) => Ok(Confirmation::Final(receipt)),
            (Err(_), Some(by), _) => Ok(Confirmation::Pending(by)),
            // Who says that its block was removed shows nothing; but unknown it is not.
            (Err(ClientError::Unavailable { .. }), None, true) if !removed => Ok(Confirmation::Unknown),
            (Err(error), None, _) => Err(error),
        }
    }

    /// The receipt in a validator's answer, verified; a lie is noted.
    fn shown(&self, validator: &Validator, id: &TransactionId, answer: &Value) -> Result<Box<Receipt>, String> {
        let lie = |what: String| {
            self.caught(validator, format!("its receipt of {id} proves nothing: {what}"));
            what
        };
        let receipt = answer.get("receipt").cloned().unwrap_or_default();
        let receipt: Receipt = serde_json::from_value(receipt).map_err(|error| lie(error.to_string()))?;
        if receipt.transaction_id != *id {
            return Err(lie(format!("it is of {}", receipt.transaction_id)));
        }
        match self.verify(&receipt) {
            Ok(()) => {}
            // The network may have other validators by now. It proves nothing here, and is no lie.
            Err(error @ ReceiptError::ValidatorsUnknown(_)) => return Err(error.to_string()),
            Err(error) => return Err(lie(error.to_string())),
        }
        self.is_final(validator, receipt.header.height, receipt.block_hash);
        Ok(Box::new(receipt))
    }

    /// Waits until a transaction is final, for `timeout` at most, through failures of all validators too.
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub async fn wait_for_confirmation(&self, id: &TransactionId, timeout: Duration) -> Result<Receipt, WaitError> {
        let begun = Instant::now();
        let mut last = Last::Unanswered;
        let wait = async {
            let mut pause = POLL_MIN;
            loop {
                match self.confirmation_status(id).await {
                    Ok(Confirmation::Final(receipt)) => return *receipt,
                    Ok(Confirmation::Pending(_)) => last = Last::Pending,
                    Ok(Confirmation::Unknown) => last = Last::Unknown,
                    Err(_) => {}
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 3 / 2).min(POLL_MAX);
            }
        };
        let receipt = tokio::time::timeout(timeout, wait).await;
        receipt.map_err(|_| WaitError::TimedOut { id: *id, waited_ms: ms(begun.elapsed()), last })
    }
}

/// What was asked, for those who only want to show it.
impl From<(&Validator, String)> for Asked {
    fn from((validator, outcome): (&Validator, String)) -> Self {
        Self { validator: validator.name().into(), outcome }
    }
}

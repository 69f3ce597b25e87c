//! Submitting: one id, whoever takes it.
//!
//! A validator may lie also when it refuses. A refusal counts when two validators give it, or when it is all that those who answer give; one by the state,
//! which differs from validator to validator for a moment, only when all who answer give it.

use std::time::Instant;

use quorate::{Bytes, TransactionId};
use serde_json::{Value, json};

use crate::{
    client::{Client, ms},
    error::{Asked, ClientError, SubmitError},
    validator::{Called, Validator},
};

/// Transactions in one request at most; validators take batches of 100.
pub const BATCH_MAX: usize = 64;

/// Bytes of transactions in one request at most, so that a validator's limit of 1 MiB is kept in hexadecimal.
const BATCH_BYTES_MAX: usize = 400 << 10;

/// Bytes of one transaction at most; a request with a longer one is turned away unread, whatever else is in it. Nodes take less.
const TRANSACTION_BYTES_MAX: usize = (1 << 19) - 1024;

/// Validators who must refuse before that is believed while others may still be asked.
const REFUSALS: usize = 2;

/// A transaction that a validator took: it is pending, not final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: TransactionId,
    /// Who took it.
    pub validator: String,
}

/// What one validator made of one transaction.
enum Verdict {
    Taken,
    Refused(Refusal),
    /// It can't now, or lies.
    Next(String),
    Full(u64),
}

/// Refusals of one kind.
#[derive(Clone, PartialEq)]
enum Refusal {
    Duplicate(TransactionId),
    Rejected { kind: String, reason: String },
    TooLarge(String),
}

impl Refusal {
    /// Whether two validators mean the same; their words may differ in times.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Duplicate(one), Self::Duplicate(other)) => one == other,
            (Self::Rejected { kind: one, .. }, Self::Rejected { kind: other, .. }) => one == other,
            (Self::TooLarge(_), Self::TooLarge(_)) => true,
            _ => false,
        }
    }

    fn by(self, by: Vec<String>) -> SubmitError {
        match self {
            Self::Duplicate(winner) => SubmitError::Duplicate { winner, by },
            Self::Rejected { kind, reason } => SubmitError::Rejected { reason, kind, by },
            Self::TooLarge(reason) => SubmitError::TooLarge { reason, by },
        }
    }
}

/// A transaction that is being submitted.
struct Job {
    bytes: Bytes,
    id: TransactionId,
    done: Option<Result<Accepted, SubmitError>>,
    refused: Vec<(Refusal, String)>,
    asked: Vec<Asked>,
    full: Option<u64>,
}

impl Client {
    /// The id of a transaction, as the network's application gives it.
    pub fn transaction_id(&self, transaction: &[u8]) -> TransactionId {
        self.rules().application.transaction_id(transaction)
    }

    /// Submits a transaction to one validator after the other until one takes it. The same bytes have the same id, whoever takes them and
    /// however often, and count once.
    ///
    /// # Errors
    ///
    /// [`SubmitError`].
    pub async fn submit(&self, transaction: impl Into<Bytes>) -> Result<Accepted, SubmitError> {
        let mut all = self.submit_all(&[transaction.into()]).await;
        all.pop().unwrap_or_else(|| Err(self.unavailable(Vec::new()).into()))
    }

    /// Submits many, in requests of [`BATCH_MAX`] to one validator at a time; the answers are in the order of `transactions`.
    ///
    /// That one validator took a transaction is that validator's word: one that is dishonest may drop it, and one that dies may lose it.
    /// [`Client::submit_all_again`] hands it to another.
    pub async fn submit_all(&self, transactions: &[Bytes]) -> Vec<Result<Accepted, SubmitError>> {
        self.submit_to_all_but(None, transactions).await
    }

    /// As [`Client::submit_all`], to any validator but `taken_by`: a second one that has them, so that neither's failure matters.
    pub async fn submit_all_again(&self, taken_by: &str, transactions: &[Bytes]) -> Vec<Result<Accepted, SubmitError>> {
        self.submit_to_all_but(Some(taken_by), transactions).await
    }

    async fn submit_to_all_but(
        &self,
        except: Option<&str>,
        transactions: &[Bytes],
    ) -> Vec<Result<Accepted, SubmitError>> {
        let begun = Instant::now();
        let job = |bytes: &Bytes| Job {
            id: self.transaction_id(bytes),
            bytes: bytes.clone(),
            done: is_too_large(bytes).map(Err),
            refused: Vec::new(),
            asked: Vec::new(),
            full: None,
        };
        let mut jobs: Vec<Job> = transactions.iter().map(job).collect();
        let mut timed_out = false;
        for validator in self.candidates().into_iter().filter(|one| Some(one.name()) != except) {
            let open: Vec<usize> =
                jobs.iter().enumerate().filter(|(_, job)| job.done.is_none()).map(|(at, _)| at).collect();
            for part in parts(&jobs, &open) {
                let Some(within) = self.time_left(begun) else {
                    timed_out = true;
                    break;
                };
                let submissions: Vec<(&str, Value)> = part
                    .iter()
                    .filter_map(|at| jobs.get(*at))
                    .map(|job| ("quorate_submit", json!([format!("0x{}", hex::encode(&job.bytes))])))
                    .collect();
                let answers = validator.calls(&self.0.http, self.settings(), &submissions, within).await;
                match answers {
                    Ok(answers) => {
                        for (at, answer) in part.iter().zip(answers) {
                            if let Some(job) = jobs.get_mut(*at) {
                                self.settle(job, &validator, answer);
                            }
                        }
                    }
                    Err(no_answer) => {
                        let outcome = no_answer.why;
                        for at in &open {
                            if let Some(job) = jobs.get_mut(*at).filter(|job| job.done.is_none()) {
                                job.asked.push(Asked { validator: validator.name().into(), outcome: outcome.clone() });
                            }
                        }
                        break;
                    }
                }
            }
            if timed_out || jobs.iter().all(|job| job.done.is_some()) {
                break;
            }
        }
        jobs.into_iter().map(|job| self.finish(job, timed_out)).collect()
    }

    fn settle(&self, job: &mut Job, validator: &Validator, answer: Called) {
        let name = || validator.name().to_owned();
        match verdict(job, answer) {
            Verdict::Taken => job.done = Some(Ok(Accepted { id: job.id, validator: name() })),
            Verdict::Refused(refusal) => {
                job.refused.push((refusal.clone(), name()));
                let alike: Vec<String> = job
                    .refused
                    .iter()
                    .filter(|(other, _)| other.is_like(&refusal))
                    .map(|(_, name)| name.clone())
                    .collect();
                // What the state does not allow here may be allowed where the transaction before it has arrived.
                let is_about_the_state = matches!(&refusal, Refusal::Rejected { kind, .. } if kind == "not_allowed");
                if alike.len() >= REFUSALS && !is_about_the_state {
                    job.done = Some(Err(refusal.by(alike)));
                }
            }
            Verdict::Full(retry_after_ms) => {
                job.full = Some(job.full.map_or(retry_after_ms, |known| known.min(retry_after_ms)));
                job.asked.push(Asked { validator: name(), outcome: "its pool is full".into() });
            }
            Verdict::Next(outcome) => {
                if outcome.starts_with("it answers with another id") {
                    self.caught(validator, outcome.clone());
                }
                job.asked.push(Asked { validator: name(), outcome });
            }
        }
    }

    fn finish(&self, job: Job, timed_out: bool) -> Result<Accepted, SubmitError> {
        if let Some(done) = job.done {
            return done;
        }
        // All that those who answered said.
        if let Some((refusal, by)) = job.refused.first().cloned()
            && job.full.is_none()
        {
            return Err(refusal.by(vec![by]));
        }
        if let Some(retry_after_ms) = job.full {
            return Err(SubmitError::PoolFull { retry_after_ms });
        }
        if timed_out {
            let within_ms = ms(self.settings().call_timeout);
            return Err(ClientError::TimedOut { within_ms, asked: job.asked }.into());
        }
        Err(self.unavailable(job.asked).into())
    }
}

fn is_too_large(bytes: &Bytes) -> Option<SubmitError> {
    let reason = || format!("transaction has {} bytes; a request holds {TRANSACTION_BYTES_MAX}", bytes.len());
    (bytes.len() > TRANSACTION_BYTES_MAX)
        .then(|| SubmitError::TooLarge { reason: reason(), by: vec!["this client".into()] })
}

/// The open ones in requests that are small enough.
fn parts(jobs: &[Job], open: &[usize]) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0usize;
    for at in open {
        let len = jobs.get(*at).map_or(0, |job| job.bytes.len());
        match parts.last_mut() {
            Some(part) if part.len() < BATCH_MAX && bytes + len <= BATCH_BYTES_MAX => {
                part.push(*at);
                bytes += len;
            }
            _ => {
                parts.push(vec![*at]);
                bytes = len;
            }
        }
    }
    parts
}

fn verdict(job: &Job, answer: Called) -> Verdict {
    let error = match answer {
        Ok(id) if id.as_str().and_then(|id| id.parse::<TransactionId>().ok()) == Some(job.id) => return Verdict::Taken,
        Ok(_) => return Verdict::Next("it answers with another id than the transaction has".into()),
        Err(error) => error,
    };
    let message = error.message.clone();
    let text = |key: &str| error.text(key);
    let number = |key: &str| error.data.get(key).and_then(Value::as_u64);
    match error.code {
        -32010 => match text("winner").and_then(|winner| winner.parse::<TransactionId>().ok()) {
            // It counts already.
            Some(winner) if winner == job.id => Verdict::Taken,
            Some(winner) => Verdict::Refused(Refusal::Duplicate(winner)),
            None => Verdict::Next("it names no winner of a duplicate".into()),
        },
        -32011 => Verdict::Refused(Refusal::Rejected {
            kind: text("kind").unwrap_or_default(),
            reason: text("reason").unwrap_or(message),
        }),
        -32013 => Verdict::Refused(Refusal::TooLarge(message)),
        -32012 => Verdict::Full(number("retry_after_ms").unwrap_or(1000)),
        code => Verdict::Next(format!("error {code}: {message}")),
    }
}

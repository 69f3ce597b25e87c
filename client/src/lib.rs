//! The client of a network of validators: it knows how each of them stands, fails over between them, and believes none of them.
//!
//! ```text
//!   submit(bytes) ──► healthy validators in turn ──► degraded ──► those whose breaker lets one try pass
//!                      one id, whoever takes it; a refusal counts when two say so, or all that answer
//!
//!   receipt(id)   ──► transaction ─ Merkle path ─► header ─ quorum certificate ─► validators of genesis
//!                      anything else is a lie: the validator is reported and asked last from then on
//! ```
//!
//! What it trusts is [`Rules`]: genesis, and how the network's plugins check finality. Everything that a validator says of finality is
//! checked against it; what can't be (heights, pools, answers of the application) is told with the names of those who said it.
//!
//! A [`Client`] holds connections and what it learnt, nothing global: clone it freely, drop it and everything is gone. Each call has a deadline, may be
//! dropped at any point, and asks no more than [`Settings::calls_per_validator_max`] questions of one validator at a time. [`Client::watch`] keeps health current
//! beside the calls; without it, calls and [`Client::refresh_validator_status`] do. [`blocking::Client`] is the same without a runtime.
//!
//! # Reading order
//!
//! 1. [`settings`]: what a client is made from. 2. [`health`]: how a validator stands, and the breaker. 3. `http`: one question to one validator.
//! 4. [`Client`] with `submit`, `receipt`, `chain` and `elections`: questions to the network. 5. `bootnode`: finding validators. 6. [`blocking`].
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//! use quorate_client::{Client, Endpoint, Rules, Settings};
//!
//! async fn put(rules: Rules, transaction: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
//!     let validators = [8001, 8002, 8003].map(|port| Endpoint::new(format!("validator-{port}"), format!("http://127.0.0.1:{port}")));
//!     let client = Client::new(Settings::of(validators), rules)?;
//!     let accepted = client.submit(transaction).await?;
//!     println!("{} is pending at {}", accepted.id, accepted.validator);
//!     let receipt = client.wait_for_confirmation(&accepted.id, Duration::from_secs(30)).await?;
//!     println!("final in block {}", receipt.header.height);
//!     Ok(())
//! }
//! ```

pub mod blocking;
pub mod health;
pub mod settings;

mod bootnode;
mod chain;
mod client;
mod elections;
mod error;
mod http;
mod receipt;
mod submit;
mod validator;

pub use chain::{ChainState, HeadOf, Integrity};
pub use client::{Client, DISAGREEMENTS_MAX, Disagreement};
pub use elections::ElectionResults;
pub use error::{Asked, ClientError, Last, SubmitError, WaitError};
pub use health::{Health, ValidatorStatus};
pub use quorate::service::Rules;
pub use receipt::Confirmation;
pub use settings::{Endpoint, Settings, SettingsError};
pub use submit::{Accepted, BATCH_MAX};

//! Elections whose ballots nobody can forge, double or read: cryptography and formats, without I/O.
//!
//! Votes are encrypted by exponential ElGamal on ristretto255 to a key that trustees hold together, with proofs that each is a vote and
//! no more; credentials which registrars listed sign them. Ciphertexts are added up, and only the sums are decrypted. The numbered rules
//! and the tables of bytes stand in `SPEC.md` beside this crate.
//!
//! # Reading order
//!
//! 1. `transcript`, `codec`, `group`: what is hashed, how it is written, what it is made of.
//! 2. `contest`, `proof`, `ballot`, `batch`: a vote from choice to verification.
//! 3. `credential`, `schnorr`: who may vote.
//! 4. `dkg`, `tally`: the key that nobody has, and what is decrypted with it.
//! 5. `record`: what of this stands on a ledger.
//!
//! ```
//! use quorate_ballot::{
//!     ballot::{self, Ballot, Choices, ElectionKey},
//!     contest::{Contest, Rules},
//!     random::{Draw as _, SystemDraw},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let draw = &mut SystemDraw;
//! let election = ElectionKey { eid: [7; 32], y: draw.secret()?.public() };
//! let rules = Rules::new(vec![Contest::new(3, 1, 1)?])?;
//! let voter = draw.secret()?;
//! let choices = Choices::new(&rules, &[vec![false, true, false]])?;
//! let (sealed, openings) = ballot::encrypt(&election, &rules, (0, &voter.public()), &choices, draw)?;
//! assert_eq!(ballot::audit(&election, &rules, sealed.body(), &openings)?, choices);
//!
//! let bytes = sealed.cast(&voter, draw)?;
//! let read = Ballot::decode(&bytes, &rules)?;
//! assert_eq!(ballot::verify(&election, &rules, &read), Ok(()));
//! # Ok(())
//! # }
//! ```

pub mod ballot;
pub mod batch;
pub mod codec;
pub mod contest;
pub mod credential;
pub mod dkg;
pub mod group;
mod proof;
pub mod random;
pub mod record;
pub mod schnorr;
pub mod tally;
pub mod transcript;

//! Hostile bytes for everything that reads bytes.
//!
//! ```text
//!  seeds (golden vectors) --> mutation (seeded) --> target: decoder and what must hold --> report
//! ```
//!
//! A target reads bytes as a node does and says whether it took them, or which promise was broken: what was taken encodes to the very
//! same bytes, what is refused is refused in words, nothing panics. A campaign feeds it mutated seeds. The tests run a short one for each
//! target; a long one is
//!
//! ```text
//! cargo run --release -p quorate-fuzz -- --seconds 60             every target, a minute each
//! cargo run --release -p quorate-fuzz -- block --seed 7           one, as it went with this seed
//! cargo run --release -p quorate-fuzz -- block --input FILE       one input
//! ```
//!
//! It needs no nightly compiler. Under `cargo fuzz` a harness is one line: `fuzz_target!(|bytes: &[u8]| { targets::find("block") .. })`.
//!
//! Reading order: [`targets`], [`campaign`], [`mutation`].

pub mod campaign;
pub mod mutation;
pub mod targets;

//! Where a second opinion on each block can be had: the auditor's tests take this place, and ask it.

use quorate::{Bytes, application::Outcome};

use crate::chain::Chain;

/// A block that the application accepts.
pub(crate) fn accepts(_: &Chain, _: &[Bytes], _: &Outcome) {}

/// A block that it refuses.
pub(crate) fn refuses(_: &Chain, _: &[Bytes], _: &str) {}

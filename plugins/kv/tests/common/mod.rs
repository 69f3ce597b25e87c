//! The state before block 1, and blocks to execute.

use std::borrow::Cow;

use quorate::{
    Application, Bytes, ChainId, Height, Timestamp,
    application::{BlockContext, ExecuteError, Mode, Outcome},
};
use quorate_kv::Kv;
use quorate_testkit::memory::MemoryState;

pub(crate) const CHAIN: ChainId = ChainId::new([9; 32]);

/// The state before block 1.
pub(crate) fn genesis(kv: &Kv) -> MemoryState {
    MemoryState::genesis(kv).unwrap()
}

pub(crate) fn execute(
    kv: &Kv,
    state: &mut MemoryState,
    height: u64,
    mode: Mode,
    transactions: &[Bytes],
) -> Result<Outcome, ExecuteError> {
    let block = BlockContext {
        chain_id: CHAIN,
        height: Height(height),
        time: Timestamp(1_000 * height),
        mode,
        transactions: Cow::Borrowed(transactions),
        misbehaviour: &[],
    };
    kv.execute(state, &block)
}

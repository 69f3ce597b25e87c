//! poa's durable records, as far as its own checks read them.

use quorate::{
    Height, Round,
    borsh::{self, BorshDeserialize},
};
use quorate_poa::{QuorumCertificate, TimeoutCertificate};

/// The beginning of a durable record: version, height, round, why the round began, the lock.
#[derive(BorshDeserialize)]
struct Head {
    _version: u8,
    height: Height,
    _round: Round,
    _entry: Option<TimeoutCertificate>,
    high_qc: Option<QuorumCertificate>,
}

/// Height and lock of a durable record.
pub(crate) fn lock_of(record: &[u8]) -> Option<(Height, Option<Round>)> {
    let mut rest = record;
    let head = <Head as borsh::BorshDeserialize>::deserialize(&mut rest).ok()?;
    Some((head.height, head.high_qc.map(|qc| qc.round)))
}

//! What a durable record says of its lock.

use quorate::{
    Hash, Height, Round, Signature,
    borsh::{self, BorshDeserialize},
};
use quorate_bft_tendermint::{QuorumCertificate, Vote, VoteKind};

/// The beginning of a durable record: all but the blocks.
#[derive(BorshDeserialize)]
struct Head {
    _version: u8,
    height: Height,
    _round: Round,
    _entry: Vec<Vote>,
    _cast: Vec<(VoteKind, Option<Hash>, Option<Signature>)>,
    lock: Option<QuorumCertificate>,
    valid: Option<QuorumCertificate>,
}

/// Height, and rounds of lock and valid block, of a durable record.
pub(crate) fn locks_of(record: &[u8]) -> Option<(Height, Option<Round>, Option<Round>)> {
    let mut rest = record;
    let head = <Head as borsh::BorshDeserialize>::deserialize(&mut rest).ok()?;
    let lock = head.lock.map(|qc| qc.round);
    Some((head.height, lock, head.valid.map(|qc| qc.round).or(lock)))
}

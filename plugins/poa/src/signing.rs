//! What validators sign, and the place of each signature in their one order of signing.

use quorate::{
    Hash, Height, Round,
    consensus::{Guard, SignRequest},
};

use crate::certificate::VoteKind;

/// A proposal; the body is the block's hash and the justifying certificate's round.
pub const KIND_PROPOSAL: u8 = 1;
/// A prepare vote; the body is the block's hash.
pub const KIND_PREPARE: u8 = 2;
/// A commit vote; the body is the block's hash.
pub const KIND_COMMIT: u8 = 3;
/// A timeout; the body is round and block hash of the highest prepare certificate that the signer knows.
pub const KIND_TIMEOUT: u8 = 4;

/// First in a round: the proposal.
pub const STEP_PROPOSE: u8 = 0;
/// Then the prepare vote.
pub const STEP_PREPARE: u8 = 1;
/// Then the commit vote.
pub const STEP_COMMIT: u8 = 2;
/// Last the timeout; its `sub` is one more than the round of the signer's certificate, 0 without one.
pub const STEP_TIMEOUT: u8 = 3;

/// A round as eight bytes, big-endian; -1 for none.
fn round_or_none(round: Option<Round>) -> [u8; 8] {
    round.map_or(-1, |round| i64::from(round.0)).to_be_bytes()
}

fn request(height: Height, round: Round, step: u8, sub: u32, kind: u8, body: Vec<u8>) -> SignRequest {
    SignRequest { guard: Guard { height, round, step, sub }, kind, body }
}

/// A proposal of block `hash`, justified by a prepare certificate of round `justify`.
pub fn proposal_request(height: Height, round: Round, hash: &Hash, justify: Option<Round>) -> SignRequest {
    let mut body = hash.as_bytes().to_vec();
    body.extend_from_slice(&round_or_none(justify));
    request(height, round, STEP_PROPOSE, 0, KIND_PROPOSAL, body)
}

/// A vote for block `hash`.
pub fn vote_request(kind: VoteKind, height: Height, round: Round, hash: &Hash) -> SignRequest {
    let (step, kind) = match kind {
        VoteKind::Prepare => (STEP_PREPARE, KIND_PREPARE),
        VoteKind::Commit => (STEP_COMMIT, KIND_COMMIT),
    };
    request(height, round, step, 0, kind, hash.as_bytes().to_vec())
}

/// A timeout of a signer whose highest prepare certificate is of `high`: round and block.
pub fn timeout_request(height: Height, round: Round, high: Option<(Round, Hash)>) -> SignRequest {
    let sub = high.map_or(0, |(round, _)| round.0.saturating_add(1));
    let mut body = round_or_none(high.map(|(round, _)| round)).to_vec();
    body.extend_from_slice(high.map_or(Hash::ZERO, |(_, hash)| hash).as_bytes());
    request(height, round, STEP_TIMEOUT, sub, KIND_TIMEOUT, body)
}

#[cfg(test)]
mod tests {
    use quorate::ChainId;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Golden: `"quorate/consensus/1\0"`, kind, chain id, height, round, body.
    #[test]
    fn golden_sign_bytes() {
        let chain = ChainId::new([0xcc; 32]);
        let hash = Hash::new([0xbb; 32]);
        let (height, round) = (Height(0x0102), Round(3));
        let head = |kind: &str| {
            format!("71756f726174652f636f6e73656e7375732f3100{kind}{}000000000000010200000003", "cc".repeat(32))
        };
        let block = "bb".repeat(32);
        let none = "f".repeat(16);
        let cases = [
            (proposal_request(height, round, &hash, None), format!("{}{block}{none}", head("01"))),
            (proposal_request(height, round, &hash, Some(Round(2))), format!("{}{block}0000000000000002", head("01"))),
            (vote_request(VoteKind::Prepare, height, round, &hash), format!("{}{block}", head("02"))),
            (vote_request(VoteKind::Commit, height, round, &hash), format!("{}{block}", head("03"))),
            (timeout_request(height, round, None), format!("{}{none}{}", head("04"), "00".repeat(32))),
            (timeout_request(height, round, Some((Round(1), hash))), format!("{}0000000000000001{block}", head("04"))),
        ];
        for (request, expected) in cases {
            assert_eq!(hex(&request.sign_bytes(&chain)), expected, "kind {}", request.kind);
        }
    }

    /// The order which the signer's guard keeps: no vote after a timeout of its round or a later one, but a timeout again with a
    /// higher certificate.
    #[test]
    fn the_order_of_signing() {
        let hash = Hash::new([1; 32]);
        let (height, round) = (Height(1), Round(1));
        let order = [
            timeout_request(height, Round(0), None),
            proposal_request(height, round, &hash, None),
            vote_request(VoteKind::Prepare, height, round, &hash),
            vote_request(VoteKind::Commit, height, round, &hash),
            timeout_request(height, round, None),
            timeout_request(height, round, Some((Round(0), hash))),
            timeout_request(height, round, Some((Round(1), hash))),
            proposal_request(height, Round(2), &hash, None),
            proposal_request(Height(2), Round(0), &hash, None),
        ];
        assert!(order.is_sorted_by(|a, b| a.guard < b.guard));
    }
}

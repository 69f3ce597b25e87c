//! What validators sign, and the place of each signature in their one order of signing.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    Hash, Height, Round,
    consensus::{Guard, SignRequest},
};

/// A proposal; the body is the block's hash, and the round of the polka it rests on as eight bytes, big-endian, -1 for none.
pub const KIND_PROPOSAL: u8 = 1;
/// A prevote for a block; the body is its hash.
pub const KIND_PREVOTE: u8 = 2;
/// A precommit for a block; the body is its hash. 2f+1 of them make it final.
pub const KIND_PRECOMMIT: u8 = 3;
/// A precommit for no block; no body. A kind of its own, so that nobody who reads kind and hash takes it for a vote for a block.
pub const KIND_PRECOMMIT_NIL: u8 = 4;
/// A prevote for no block; no body.
pub const KIND_PREVOTE_NIL: u8 = 5;

/// First in a round: the proposal.
pub const STEP_PROPOSE: u8 = 0;
/// Then the prevote, for a block or for none.
pub const STEP_PREVOTE: u8 = 1;
/// Last the precommit, for a block or for none.
pub const STEP_PRECOMMIT: u8 = 2;

/// The two votes of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum VoteKind {
    /// The block is valid here, and no lock speaks against it.
    Prevote,
    /// A polka for it was seen: 2f+1 prevotes.
    Precommit,
}

impl VoteKind {
    /// The name, for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Prevote => "prevote",
            Self::Precommit => "precommit",
        }
    }
}

/// A proposal of block `hash`, which 2f+1 prevoted in round `polka`, or which is new.
pub fn proposal_request(height: Height, round: Round, hash: &Hash, polka: Option<Round>) -> SignRequest {
    let mut body = hash.as_bytes().to_vec();
    body.extend_from_slice(&polka.map_or(-1, |round| i64::from(round.0)).to_be_bytes());
    SignRequest { guard: Guard { height, round, step: STEP_PROPOSE, sub: 0 }, kind: KIND_PROPOSAL, body }
}

/// A vote for block `hash`, or for none.
pub fn vote_request(kind: VoteKind, height: Height, round: Round, hash: Option<&Hash>) -> SignRequest {
    let (step, kind) = match (kind, hash) {
        (VoteKind::Prevote, Some(_)) => (STEP_PREVOTE, KIND_PREVOTE),
        (VoteKind::Prevote, None) => (STEP_PREVOTE, KIND_PREVOTE_NIL),
        (VoteKind::Precommit, Some(_)) => (STEP_PRECOMMIT, KIND_PRECOMMIT),
        (VoteKind::Precommit, None) => (STEP_PRECOMMIT, KIND_PRECOMMIT_NIL),
    };
    let body = hash.map(|hash| hash.as_bytes().to_vec()).unwrap_or_default();
    SignRequest { guard: Guard { height, round, step, sub: 0 }, kind, body }
}

#[cfg(test)]
mod tests {
    use quorate::ChainId;

    use super::*;

    /// Golden: `"quorate/consensus/1\0"`, kind, chain id, height, round, body.
    #[test]
    fn golden_sign_bytes() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (chain, hash) = (ChainId::new([0xcc; 32]), Hash::new([0xbb; 32]));
        let (height, round) = (Height(0x0102), Round(3));
        let head = |kind: &str| {
            format!("71756f726174652f636f6e73656e7375732f3100{kind}{}000000000000010200000003", "cc".repeat(32))
        };
        let block = "bb".repeat(32);
        let vote = |kind, hash| vote_request(kind, height, round, hash);
        let cases = [
            (proposal_request(height, round, &hash, None), format!("{}{block}{}", head("01"), "f".repeat(16))),
            (proposal_request(height, round, &hash, Some(Round(2))), format!("{}{block}0000000000000002", head("01"))),
            (vote(VoteKind::Prevote, Some(&hash)), format!("{}{block}", head("02"))),
            (vote(VoteKind::Precommit, Some(&hash)), format!("{}{block}", head("03"))),
            (vote(VoteKind::Precommit, None), head("04")),
            (vote(VoteKind::Prevote, None), head("05")),
        ];
        for (request, expected) in cases {
            assert_eq!(hex(request.sign_bytes(&chain)), expected, "kind {}", request.kind);
        }
    }

    /// A vote for a block and a vote for none take the same place: the signer gives one of them only.
    #[test]
    fn the_order_of_signing() {
        let hash = Hash::new([1; 32]);
        let (height, round) = (Height(1), Round(1));
        let order = [
            vote_request(VoteKind::Precommit, height, Round(0), None),
            proposal_request(height, round, &hash, None),
            vote_request(VoteKind::Prevote, height, round, Some(&hash)),
            vote_request(VoteKind::Precommit, height, round, Some(&hash)),
            proposal_request(height, Round(2), &hash, None),
            proposal_request(Height(2), Round(0), &hash, None),
        ];
        assert!(order.is_sorted_by(|a, b| a.guard < b.guard));
        for kind in [VoteKind::Prevote, VoteKind::Precommit] {
            let [some, none] = [Some(&hash), None].map(|hash| vote_request(kind, height, round, hash));
            assert_eq!(some.guard, none.guard);
            assert_ne!(some.kind, none.kind);
        }
    }
}

//! This project's types under the names by which Malachite's driver asks for them.

use std::fmt;

use arc_malachitebft_core_types as tm;
use quorate::{Hash, Height, PublicKey, Signature, ValidatorIndex, ValidatorSet};

/// The types by which the driver is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Types;

/// A validator's place is its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat(pub(super) ValidatorIndex);

/// A height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct At(pub(super) Height);

/// What is decided on: a block, which is known by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockHash(pub(super) Hash);

/// A proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proposed {
    pub(super) height: Height,
    pub(super) round: tm::Round,
    pub(super) value: BlockHash,
    pub(super) polka: tm::Round,
    pub(super) seat: Seat,
}

/// A vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Voted {
    pub(super) kind: tm::VoteType,
    pub(super) height: Height,
    pub(super) round: tm::Round,
    pub(super) value: tm::NilOrVal<Hash>,
    pub(super) seat: Seat,
}

/// One of the seats, all of which weigh the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member(Seat, PublicKey);

/// The seats of a height, in turn order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Members(Vec<Member>);

impl Members {
    pub(super) fn of(validators: &ValidatorSet) -> Self {
        Self(validators.iter().map(|(index, one)| Member(Seat(index), one.public_key)).collect())
    }
}

/// Blocks are proposed whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPart {}

/// Signatures are made and checked outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ed25519;

/// Time is kept outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NoTimeouts;

impl tm::Address for Seat {}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl tm::Height for At {
    const ZERO: Self = At(Height(0));
    const INITIAL: Self = At(Height(1));

    fn increment_by(&self, n: u64) -> Self {
        At(Height(self.0.0.saturating_add(n)))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.0.checked_sub(n).map(|height| At(Height(height)))
    }

    fn as_u64(&self) -> u64 {
        self.0.0
    }
}

impl tm::Value for BlockHash {
    type Id = Hash;

    fn id(&self) -> Hash {
        self.0
    }
}

impl tm::Proposal<Types> for Proposed {
    fn height(&self) -> At {
        At(self.height)
    }

    fn round(&self) -> tm::Round {
        self.round
    }

    fn value(&self) -> &BlockHash {
        &self.value
    }

    fn take_value(self) -> BlockHash {
        self.value
    }

    fn pol_round(&self) -> tm::Round {
        self.polka
    }

    fn validator_address(&self) -> &Seat {
        &self.seat
    }
}

impl tm::Vote<Types> for Voted {
    fn height(&self) -> At {
        At(self.height)
    }

    fn round(&self) -> tm::Round {
        self.round
    }

    fn value(&self) -> &tm::NilOrVal<Hash> {
        &self.value
    }

    fn take_value(self) -> tm::NilOrVal<Hash> {
        self.value
    }

    fn vote_type(&self) -> tm::VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Seat {
        &self.seat
    }

    fn extension(&self) -> Option<&tm::SignedExtension<Types>> {
        None
    }

    fn take_extension(&mut self) -> Option<tm::SignedExtension<Types>> {
        None
    }

    fn extend(self, _: tm::SignedExtension<Types>) -> Self {
        self
    }
}

impl tm::Validator<Types> for Member {
    fn address(&self) -> &Seat {
        &self.0
    }

    fn public_key(&self) -> &PublicKey {
        &self.1
    }

    fn voting_power(&self) -> tm::VotingPower {
        1
    }
}

impl tm::ValidatorSet<Types> for Members {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> tm::VotingPower {
        self.0.len() as u64
    }

    fn get_by_address(&self, seat: &Seat) -> Option<&Member> {
        self.0.get(usize::from(seat.0.0))
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.get(index)
    }
}

impl tm::ProposalPart<Types> for NoPart {
    fn is_first(&self) -> bool {
        false
    }

    fn is_last(&self) -> bool {
        false
    }
}

impl tm::SigningScheme for Ed25519 {
    type DecodingError = &'static str;
    type Signature = Signature;
    type PublicKey = PublicKey;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, &'static str> {
        bytes.try_into().map(Signature::new).map_err(|_| "a signature has 64 bytes")
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.as_bytes().to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, &'static str> {
        bytes.try_into().map(PublicKey::new).map_err(|_| "a public key has 32 bytes")
    }

    fn encode_public_key(key: &PublicKey) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

impl tm::Timeouts<Types> for NoTimeouts {
    fn duration_for(&self, _: tm::Timeout) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

impl tm::Context for Types {
    type Address = Seat;
    type Height = At;
    type ProposalPart = NoPart;
    type Proposal = Proposed;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = NoTimeouts;
    type Value = BlockHash;
    type Vote = Voted;
    type Extension = ();
    type SigningScheme = Ed25519;

    /// The driver is told who proposes and does not ask.
    fn select_proposer<'a>(&self, members: &'a Members, height: At, round: tm::Round) -> &'a Member {
        static NOBODY: Member = Member(Seat(ValidatorIndex(0)), PublicKey::new([0; 32]));
        let turn = height.0.0.saturating_add(u64::from(round.as_u32().unwrap_or(0)));
        let at = turn % (members.0.len().max(1) as u64);
        usize::try_from(at).ok().and_then(|at| members.0.get(at)).unwrap_or(&NOBODY)
    }

    fn new_proposal(&self, height: At, round: tm::Round, value: BlockHash, polka: tm::Round, seat: Seat) -> Proposed {
        Proposed { height: height.0, round, value, polka, seat }
    }

    fn new_prevote(&self, height: At, round: tm::Round, value: tm::NilOrVal<Hash>, seat: Seat) -> Voted {
        Voted { kind: tm::VoteType::Prevote, height: height.0, round, value, seat }
    }

    fn new_precommit(&self, height: At, round: tm::Round, value: tm::NilOrVal<Hash>, seat: Seat) -> Voted {
        Voted { kind: tm::VoteType::Precommit, height: height.0, round, value, seat }
    }
}

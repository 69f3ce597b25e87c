//! Actions on their way from an engine: a small head, and the bytes of the block, message, record or proof beside.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use quorate::{
    Block, Hash, Height, Instant, PeerId, Round,
    consensus::{Action, BlockLimits, SignRequest, TimerId},
};

use super::WireError;

/// An [`Action`] without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ActionHead {
    /// [`Action::Persist`]; the body is the record.
    Persist,
    /// [`Action::Sign`].
    Sign(SignRequest),
    /// [`Action::Broadcast`]; the body is the message.
    Broadcast,
    /// [`Action::Send`]; the body is the message.
    Send {
        /// Whom.
        to: PeerId,
    },
    /// [`Action::SetTimer`].
    SetTimer {
        /// Which.
        id: TimerId,
        /// When.
        at: Instant,
    },
    /// [`Action::CancelTimer`].
    CancelTimer(TimerId),
    /// [`Action::BuildBlock`].
    BuildBlock {
        /// Returned with the answer.
        token: u64,
        /// For this round.
        round: Round,
        /// Its bounds.
        limits: BlockLimits,
    },
    /// [`Action::CheckBlock`]; the body is the block.
    CheckBlock {
        /// The bounds to judge by.
        limits: BlockLimits,
    },
    /// [`Action::Commit`]; the body is the proof.
    Commit {
        /// Which block.
        hash: Hash,
    },
    /// [`Action::Evidence`]; the body is the evidence.
    Evidence,
    /// [`Action::NeedSync`].
    NeedSync {
        /// The height known to be final.
        height: Height,
        /// Who said so.
        from: PeerId,
    },
    /// [`Action::Serve`].
    Serve {
        /// Whom.
        to: PeerId,
        /// From where.
        from_height: Height,
    },
    /// [`Action::Penalise`].
    Penalise {
        /// Who.
        peer: PeerId,
        /// How.
        reason: String,
    },
    /// [`Action::Halt`].
    Halt {
        /// Why.
        reason: String,
    },
}

impl ActionHead {
    /// Takes an action apart.
    pub fn split(action: Action) -> (Self, Bytes) {
        let none = Bytes::new();
        match action {
            Action::Persist(record) => (Self::Persist, record),
            Action::Sign(request) => (Self::Sign(request), none),
            Action::Broadcast(bytes) => (Self::Broadcast, bytes),
            Action::Send { to, bytes } => (Self::Send { to }, bytes),
            Action::SetTimer { id, at } => (Self::SetTimer { id, at }, none),
            Action::CancelTimer(id) => (Self::CancelTimer(id), none),
            Action::BuildBlock { token, round, limits } => (Self::BuildBlock { token, round, limits }, none),
            Action::CheckBlock { block, limits } => (Self::CheckBlock { limits }, block.encoded().clone()),
            Action::Commit { hash, proof } => (Self::Commit { hash }, proof),
            Action::Evidence(bytes) => (Self::Evidence, bytes),
            Action::NeedSync { height, from } => (Self::NeedSync { height, from }, none),
            Action::Serve { to, from_height } => (Self::Serve { to, from_height }, none),
            Action::Penalise { peer, reason } => (Self::Penalise { peer, reason }, none),
            Action::Halt { reason } => (Self::Halt { reason }, none),
        }
    }

    /// Puts an action together. A block's body is checked against its header, as a plugin is not trusted with it.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the body is not a block where one must be.
    pub fn join(self, body: &[u8]) -> Result<Action, WireError> {
        let copied = || Bytes::copy_from_slice(body);
        Ok(match self {
            Self::Persist => Action::Persist(copied()),
            Self::Sign(request) => Action::Sign(request),
            Self::Broadcast => Action::Broadcast(copied()),
            Self::Send { to } => Action::Send { to, bytes: copied() },
            Self::SetTimer { id, at } => Action::SetTimer { id, at },
            Self::CancelTimer(id) => Action::CancelTimer(id),
            Self::BuildBlock { token, round, limits } => Action::BuildBlock { token, round, limits },
            Self::CheckBlock { limits } => {
                let block = Block::decode(copied())
                    .map_err(|error| WireError::new("the block to be checked", error.to_string()))?;
                Action::CheckBlock { block, limits }
            }
            Self::Commit { hash } => Action::Commit { hash, proof: copied() },
            Self::Evidence => Action::Evidence(copied()),
            Self::NeedSync { height, from } => Action::NeedSync { height, from },
            Self::Serve { to, from_height } => Action::Serve { to, from_height },
            Self::Penalise { peer, reason } => Action::Penalise { peer, reason },
            Self::Halt { reason } => Action::Halt { reason },
        })
    }
}

#[cfg(test)]
mod tests {
    use quorate::{ChainId, Header, Timestamp, ValidatorIndex};

    use super::*;

    /// A block in the node's memory is well-formed: one from a plugin whose body is not that of its header must not get there.
    #[test]
    fn a_block_of_a_plugin_is_checked_against_its_header() {
        let header = Header {
            version: quorate::block::BLOCK_VERSION,
            chain_id: ChainId::new([1; 32]),
            height: Height(1),
            parent_hash: Hash::ZERO,
            time: Timestamp(1),
            creator: ValidatorIndex(0),
            created_round: Round(0),
            tx_root: Hash::ZERO,
            evidence_root: Hash::ZERO,
            app_hash: Hash::ZERO,
            receipts_root: Hash::ZERO,
            validators_hash: Hash::ZERO,
            next_validators_hash: Hash::ZERO,
        };
        let block = Block::new(header, &[Bytes::from_static(b"one")], &[]).unwrap();
        let limits = BlockLimits { transactions_max: 1, bytes_max: 1, drift_ms: 1 };
        let head = ActionHead::CheckBlock { limits };
        assert!(head.clone().join(block.encoded()).is_ok());
        let mut changed = block.encoded().to_vec();
        let last = changed.len() - 5;
        changed[last] ^= 1;
        let error = head.join(&changed).unwrap_err().to_string();
        assert!(error.starts_with("the block to be checked: block 1: the body's transaction root is"), "{error}");
    }
}

//! Events on their way to an engine: a small head, and the bytes of the block, message or record beside.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use quorate::{
    Block, Hash, Instant, PeerId, Signature, ValidatorIndex, ValidatorSet,
    consensus::{CommitBy, Event, Guard, SignRefused, Start, TimerId, Tip, Verdict},
};

use super::WireError;

/// An [`Event`] without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum EventHead {
    /// [`Event::Start`]; the body is the saved record.
    Start {
        /// The last final block.
        tip: Tip,
        /// The validators of the next height.
        validators: ValidatorSet,
        /// This node among them.
        me: Option<ValidatorIndex>,
        /// Whether there is a saved record.
        saved: bool,
        /// Whether this key never signed.
        fresh: bool,
        /// Whether something waits.
        pending: bool,
    },
    /// [`Event::Message`]; the body is the message.
    Message {
        /// Who sent it.
        from: PeerId,
        /// Its place among the validators.
        validator: Option<ValidatorIndex>,
    },
    /// [`Event::Timer`].
    Timer {
        /// Which.
        id: TimerId,
        /// When it should have fired.
        due: Instant,
    },
    /// [`Event::BlockBuilt`]; the body is the block, if one was built.
    BlockBuilt {
        /// From the action.
        token: u64,
        /// Whether one was built.
        built: bool,
    },
    /// [`Event::BlockChecked`].
    BlockChecked {
        /// Which block.
        hash: Hash,
        /// The judgement.
        verdict: Verdict,
    },
    /// [`Event::Signed`].
    Signed {
        /// From the request.
        guard: Guard,
        /// Of the signed bytes.
        digest: Hash,
        /// The signature, or why not.
        result: Result<Signature, SignRefused>,
    },
    /// [`Event::Committed`].
    Committed {
        /// The new tip.
        tip: Tip,
        /// The validators of the height after it.
        validators: ValidatorSet,
        /// This node among them.
        me: Option<ValidatorIndex>,
        /// How.
        by: CommitBy,
        /// Whether something waits.
        pending: bool,
    },
    /// [`Event::Work`].
    Work {
        /// Whether something waits.
        pending: bool,
    },
    /// [`Event::PeerUp`].
    PeerUp {
        /// Who.
        peer: PeerId,
        /// Its place among the validators.
        validator: Option<ValidatorIndex>,
    },
    /// [`Event::PeerDown`].
    PeerDown {
        /// Who.
        peer: PeerId,
    },
    /// [`Event::Stop`].
    Stop,
}

impl EventHead {
    /// Takes an event apart.
    pub fn split(event: Event) -> (Self, Bytes) {
        let mut body = Bytes::new();
        let head = match event {
            Event::Start(Start { tip, validators, me, saved, fresh, pending }) => {
                let has = saved.is_some();
                body = saved.unwrap_or_default();
                Self::Start { tip, validators, me, saved: has, fresh, pending }
            }
            Event::Message { from, validator, bytes } => {
                body = bytes;
                Self::Message { from, validator }
            }
            Event::Timer { id, due } => Self::Timer { id, due },
            Event::BlockBuilt { token, block } => {
                let built = block.is_some();
                body = block.map(|block| block.encoded().clone()).unwrap_or_default();
                Self::BlockBuilt { token, built }
            }
            Event::BlockChecked { hash, verdict } => Self::BlockChecked { hash, verdict },
            Event::Signed { guard, digest, result } => Self::Signed { guard, digest, result },
            Event::Committed { tip, validators, me, by, pending } => {
                Self::Committed { tip, validators, me, by, pending }
            }
            Event::Work { pending } => Self::Work { pending },
            Event::PeerUp { peer, validator } => Self::PeerUp { peer, validator },
            Event::PeerDown { peer } => Self::PeerDown { peer },
            Event::Stop => Self::Stop,
        };
        (head, body)
    }

    /// Puts an event together. The node's blocks are well-formed, so that their bodies are not hashed again.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the body is not a block where one must be.
    pub fn join(self, body: &[u8]) -> Result<Event, WireError> {
        let copied = || Bytes::copy_from_slice(body);
        Ok(match self {
            Self::Start { tip, validators, me, saved, fresh, pending } => {
                Event::Start(Start { tip, validators, me, saved: saved.then(copied), fresh, pending })
            }
            Self::Message { from, validator } => Event::Message { from, validator, bytes: copied() },
            Self::Timer { id, due } => Event::Timer { id, due },
            Self::BlockBuilt { token, built: false } => Event::BlockBuilt { token, block: None },
            Self::BlockBuilt { token, built: true } => {
                let block = Block::decode_trusted(copied())
                    .map_err(|error| WireError::new("the built block", error.to_string()))?;
                Event::BlockBuilt { token, block: Some(block) }
            }
            Self::BlockChecked { hash, verdict } => Event::BlockChecked { hash, verdict },
            Self::Signed { guard, digest, result } => Event::Signed { guard, digest, result },
            Self::Committed { tip, validators, me, by, pending } => {
                Event::Committed { tip, validators, me, by, pending }
            }
            Self::Work { pending } => Event::Work { pending },
            Self::PeerUp { peer, validator } => Event::PeerUp { peer, validator },
            Self::PeerDown { peer } => Event::PeerDown { peer },
            Self::Stop => Event::Stop,
        })
    }
}

//! The validators of one height, in turn order.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::primitives::{Hash, PublicKey, ValidatorIndex};

/// Validators in a set at most.
pub const VALIDATORS_MAX: usize = 256;

/// Bytes of a validator's name at most.
pub const NAME_BYTES_MAX: usize = 64;

/// One validator.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// A name for people, 1 to [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// The key which signs its votes and names it on the network.
    pub public_key: PublicKey,
}

/// Why a list of validators is not a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValidatorSetError {
    /// Too few or too many.
    #[error("{0} validators; there must be 1 to {VALIDATORS_MAX}")]
    Count(usize),
    /// A bad name.
    #[error("validator name `{0}` must have 1 to {NAME_BYTES_MAX} bytes and be used once")]
    Name(String),
    /// A key occurs twice.
    #[error("validators `{0}` and `{1}` have the same public key")]
    SameKey(String, String),
}

/// The validators of one height, in turn order: 1 to [`VALIDATORS_MAX`], no name and no key twice.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, Serialize)]
#[serde(transparent)]
pub struct ValidatorSet(Vec<Validator>);

impl ValidatorSet {
    /// Checks the list.
    ///
    /// # Errors
    ///
    /// [`ValidatorSetError`] names the entry that is wrong.
    pub fn new(validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        if validators.is_empty() || validators.len() > VALIDATORS_MAX {
            return Err(ValidatorSetError::Count(validators.len()));
        }
        for (at, one) in validators.iter().enumerate() {
            if one.name.is_empty() || one.name.len() > NAME_BYTES_MAX {
                return Err(ValidatorSetError::Name(one.name.clone()));
            }
            for other in validators.iter().take(at) {
                if other.name == one.name {
                    return Err(ValidatorSetError::Name(one.name.clone()));
                }
                if other.public_key == one.public_key {
                    return Err(ValidatorSetError::SameKey(other.name.clone(), one.name.clone()));
                }
            }
        }
        Ok(Self(validators))
    }

    /// How many there are, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The validators in turn order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ValidatorIndex, &Validator)> {
        self.0.iter().enumerate().map(|(at, one)| {
            // VALIDATORS_MAX fits.
            (ValidatorIndex(u16::try_from(at).unwrap_or(u16::MAX)), one)
        })
    }

    /// The validator at `index`.
    pub fn get(&self, index: ValidatorIndex) -> Option<&Validator> {
        self.0.get(usize::from(index.0))
    }

    /// The place of the validator with this key.
    pub fn index_of(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        self.iter().find(|(_, one)| one.public_key == *key).map(|(index, _)| index)
    }

    /// The validator at `turn mod len`.
    pub fn at_turn(&self, turn: u64) -> ValidatorIndex {
        let index = turn % (self.0.len().max(1) as u64);
        ValidatorIndex(u16::try_from(index).unwrap_or(0))
    }

    /// `SHA-256("quorate/validators/1\0" || borsh(set))`.
    pub fn hash(&self) -> Hash {
        let bytes = borsh::to_vec(&self.0).unwrap_or_default();
        Hash::of(&[b"quorate/validators/1\0", &bytes])
    }
}

impl BorshDeserialize for ValidatorSet {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let validators = Vec::<Validator>::deserialize_reader(reader)?;
        Self::new(validators).map_err(|e| borsh::io::Error::new(borsh::io::ErrorKind::InvalidData, e))
    }
}

impl<'de> Deserialize<'de> for ValidatorSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<Vec<Validator> as Deserialize>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

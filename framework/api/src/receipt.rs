//! Receipts: proof that a transaction is final, which anybody checks offline with genesis alone.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    block::Header,
    consensus::{FinalityProof, ProofError},
    merkle::{self, Path},
    primitives::{ChainId, Hash, TransactionId},
    validators::ValidatorSet,
};

/// Proof that a transaction is in a final block, and what it did there.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Its id.
    pub transaction_id: TransactionId,
    /// Its bytes, in `0x` hexadecimal.
    #[serde(with = "hex_bytes")]
    pub transaction: Bytes,
    /// From the transaction up to `header.tx_root`.
    pub transaction_path: Path,
    /// What the application says it did, in `0x` hexadecimal.
    #[serde(with = "hex_bytes")]
    pub outcome: Bytes,
    /// From the outcome up to `header.receipts_root`.
    pub outcome_path: Path,
    /// The block's header.
    pub header: Header,
    /// The block's hash.
    pub block_hash: Hash,
    /// The validators of its height.
    pub validators: ValidatorSet,
    /// The finality proof, in `0x` hexadecimal.
    #[serde(with = "hex_bytes")]
    pub proof: Bytes,
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Of another network.
    #[error("receipt is of chain {found}, genesis is of chain {expected}")]
    WrongChain {
        /// The receipt's.
        found: ChainId,
        /// Ours.
        expected: ChainId,
    },
    /// The block's hash is not that of the header.
    #[error("block_hash is {found}, the header's hash is {expected}")]
    BlockHash {
        /// As written.
        found: Hash,
        /// As computed.
        expected: Hash,
    },
    /// The id is not that of the transaction.
    #[error("transaction_id is {found}, the transaction's id is {expected}")]
    TransactionId {
        /// As written.
        found: TransactionId,
        /// As computed.
        expected: TransactionId,
    },
    /// A path does not lead to the root in the header.
    #[error("{0} does not lead to the root in the header")]
    Path(&'static str),
    /// The paths are of two different positions.
    #[error("the outcome is of transaction {outcome}, not of {transaction}")]
    Position {
        /// The outcome's place.
        outcome: u32,
        /// The transaction's place.
        transaction: u32,
    },
    /// The listed validators are not those of the header.
    #[error("the listed validators are not those which the header names")]
    Validators,
    /// The listed validators are neither those of genesis nor shown to follow from them.
    #[error(
        "the validators of height {0} are not those of genesis; give the chain of headers (`quorate verify` an export) to show how they changed"
    )]
    ValidatorsUnknown(u64),
    /// The proof does not convince.
    #[error("the finality proof does not convince: {0}")]
    Proof(#[from] ProofError),
}

impl Receipt {
    /// Checks everything: id, both paths, header, validators and finality proof.
    ///
    /// `trusted` are validators which the caller knows to be those of the block's height, usually those of genesis.
    /// `transaction_id` computes a transaction's id ([`crate::Application::transaction_id`]).
    ///
    /// # Errors
    ///
    /// [`ReceiptError`] names what is wrong.
    pub fn verify(
        &self,
        chain_id: &ChainId,
        trusted: &ValidatorSet,
        finality: &dyn FinalityProof,
        transaction_id: &dyn Fn(&[u8]) -> TransactionId,
    ) -> Result<(), ReceiptError> {
        if self.header.chain_id != *chain_id {
            return Err(ReceiptError::WrongChain { found: self.header.chain_id, expected: *chain_id });
        }
        let hash = self.header.hash();
        if hash != self.block_hash {
            return Err(ReceiptError::BlockHash { found: self.block_hash, expected: hash });
        }
        let id = transaction_id(&self.transaction);
        if id != self.transaction_id {
            return Err(ReceiptError::TransactionId { found: self.transaction_id, expected: id });
        }
        if self.transaction_path.root(merkle::leaf(&self.transaction)) != Some(self.header.tx_root) {
            return Err(ReceiptError::Path("transaction_path"));
        }
        if self.outcome_path.root(merkle::leaf(&self.outcome)) != Some(self.header.receipts_root) {
            return Err(ReceiptError::Path("outcome_path"));
        }
        if self.outcome_path.index != self.transaction_path.index
            || self.outcome_path.leaves != self.transaction_path.leaves
        {
            return Err(ReceiptError::Position {
                outcome: self.outcome_path.index,
                transaction: self.transaction_path.index,
            });
        }
        if self.validators.hash() != self.header.validators_hash {
            return Err(ReceiptError::Validators);
        }
        if self.validators != *trusted {
            return Err(ReceiptError::ValidatorsUnknown(self.header.height.0));
        }
        finality.verify(chain_id, &self.header, &self.proof, &self.validators)?;
        Ok(())
    }
}

mod hex_bytes {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::primitives::hexadecimal;

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hexadecimal(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom("expected `0x` and hexadecimal digits"))?;
        hex::decode(digits).map(Bytes::from).map_err(D::Error::custom)
    }
}

//! The node's answers on their way to a plugin.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use quorate::{
    Block, Height, PublicKey, Receipt, TransactionId, ValidatorSet,
    application::QueryError,
    consensus::Certificate,
    node::{EvidenceRecord, FinalBlock, NodeStatus, PoolStatus, Pruned, Response, SubmitError, TransactionState},
};

use super::WireError;

/// A [`FinalBlock`], its block encoded.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FinalBlockAnswer {
    /// The block.
    pub block: Bytes,
    /// The proof.
    pub proof: Bytes,
    /// What it says.
    pub certificate: Certificate,
    /// Ids of the transactions.
    pub transaction_ids: Vec<TransactionId>,
    /// The creator's name.
    pub creator: String,
    /// The creator's key.
    pub creator_key: PublicKey,
}

/// A [`TransactionState`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum TransactionAnswer {
    /// [`TransactionState::Unknown`].
    Unknown,
    /// [`TransactionState::Pending`].
    Pending(Bytes),
    /// [`TransactionState::Final`].
    Final(Box<Receipt>),
    /// [`TransactionState::Pruned`].
    Pruned(Pruned),
}

/// A [`Response`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Answer {
    /// [`Response::Status`].
    Status(Box<NodeStatus>),
    /// [`Response::Validators`].
    Validators {
        /// Whose.
        height: Height,
        /// Who.
        validators: ValidatorSet,
    },
    /// [`Response::Block`].
    Block(Option<Box<FinalBlockAnswer>>),
    /// [`Response::Submitted`].
    Submitted(Result<TransactionId, SubmitError>),
    /// [`Response::Transaction`].
    Transaction(TransactionAnswer),
    /// [`Response::Pool`].
    Pool(PoolStatus),
    /// [`Response::Evidence`].
    Evidence(Vec<EvidenceRecord>),
    /// [`Response::Query`].
    Query(Result<Bytes, QueryError>),
    /// [`Response::Text`].
    Text(String),
    /// [`Response::Blocks`].
    Blocks(Vec<(Bytes, Bytes)>),
    /// [`Response::BackedUp`].
    BackedUp(Height),
    /// [`Response::Unavailable`].
    Unavailable(String),
    /// [`Response::Checked`].
    Checked(Result<TransactionId, SubmitError>),
    /// [`Response::Pruned`].
    Pruned(Pruned),
}

impl From<Arc<FinalBlock>> for FinalBlockAnswer {
    fn from(found: Arc<FinalBlock>) -> Self {
        let FinalBlock { block, proof, certificate, transaction_ids, creator, creator_key } =
            Arc::unwrap_or_clone(found);
        Self { block: block.encoded().clone(), proof, certificate, transaction_ids, creator, creator_key }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        match response {
            Response::Status(status) => Self::Status(status),
            Response::Validators { height, validators } => Self::Validators { height, validators },
            Response::Block(found) => Self::Block(found.map(|found| Box::new(found.into()))),
            Response::Submitted(result) => Self::Submitted(result),
            Response::Transaction(TransactionState::Unknown) => Self::Transaction(TransactionAnswer::Unknown),
            Response::Transaction(TransactionState::Pending(bytes)) => {
                Self::Transaction(TransactionAnswer::Pending(bytes))
            }
            Response::Transaction(TransactionState::Final(receipt)) => {
                Self::Transaction(TransactionAnswer::Final(receipt))
            }
            Response::Transaction(TransactionState::Pruned(pruned)) => {
                Self::Transaction(TransactionAnswer::Pruned(pruned))
            }
            Response::Pool(pool) => Self::Pool(pool),
            Response::Evidence(records) => Self::Evidence(records),
            Response::Query(result) => Self::Query(result),
            Response::Text(text) => Self::Text(text),
            Response::Blocks(blocks) => Self::Blocks(blocks),
            Response::BackedUp(height) => Self::BackedUp(height),
            Response::Unavailable(why) => Self::Unavailable(why),
            Response::Checked(result) => Self::Checked(result),
            Response::Pruned(pruned) => Self::Pruned(pruned),
            _ => Self::Unavailable("this version of the plugin boundary does not carry the answer".into()),
        }
    }
}

impl TryFrom<Answer> for Response {
    type Error = WireError;

    fn try_from(answer: Answer) -> Result<Self, WireError> {
        Ok(match answer {
            Answer::Status(status) => Self::Status(status),
            Answer::Validators { height, validators } => Self::Validators { height, validators },
            Answer::Block(None) => Self::Block(None),
            Answer::Block(Some(found)) => {
                let FinalBlockAnswer { block, proof, certificate, transaction_ids, creator, creator_key } = *found;
                let block = Block::decode_trusted(block)
                    .map_err(|error| WireError::new("the final block", error.to_string()))?;
                let found = FinalBlock { block, proof, certificate, transaction_ids, creator, creator_key };
                Self::Block(Some(Arc::new(found)))
            }
            Answer::Submitted(result) => Self::Submitted(result),
            Answer::Transaction(TransactionAnswer::Unknown) => Self::Transaction(TransactionState::Unknown),
            Answer::Transaction(TransactionAnswer::Pending(bytes)) => {
                Self::Transaction(TransactionState::Pending(bytes))
            }
            Answer::Transaction(TransactionAnswer::Final(receipt)) => {
                Self::Transaction(TransactionState::Final(receipt))
            }
            Answer::Transaction(TransactionAnswer::Pruned(pruned)) => {
                Self::Transaction(TransactionState::Pruned(pruned))
            }
            Answer::Pool(pool) => Self::Pool(pool),
            Answer::Evidence(records) => Self::Evidence(records),
            Answer::Query(result) => Self::Query(result),
            Answer::Text(text) => Self::Text(text),
            Answer::Blocks(blocks) => Self::Blocks(blocks),
            Answer::BackedUp(height) => Self::BackedUp(height),
            Answer::Unavailable(why) => Self::Unavailable(why),
            Answer::Checked(result) => Self::Checked(result),
            Answer::Pruned(pruned) => Self::Pruned(pruned),
        })
    }
}

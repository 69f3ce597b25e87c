//! What the outbox' ledger records: its transactions and its state, in borsh.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{Bytes, Hash, TransactionId};
use quorate_ballot::{
    ballot::{self, BallotHead},
    record,
    schnorr::SIGNATURE_BYTES,
};

/// Entries that are settled in one transaction at most.
pub(crate) const SETTLED_MAX: usize = 256;

/// Bytes of a reason at most.
pub(crate) const REASON_BYTES_MAX: usize = 300;

/// A transaction of the outbox' ledger.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Record {
    /// A ballot is held from now on.
    Accept {
        /// The ballot, as the validators' transaction.
        transaction: Bytes,
        /// When, by this node's clock, in milliseconds since 1970.
        accepted_ms: u64,
    },
    /// Ballots need no more work.
    Settle {
        /// Which, and how they ended.
        entries: Vec<(TransactionId, Settled)>,
        /// When, so that the same again, after a ballot was reopened, is another transaction.
        at_ms: u64,
    },
    /// The operator has a refused ballot tried again.
    Reopen {
        /// Which.
        id: TransactionId,
        /// When, so that a second time is another transaction.
        at_ms: u64,
    },
}

/// How the work on a ballot ended.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Settled {
    /// It is final: a receipt was verified.
    Final {
        /// The block's height.
        height: u64,
        /// The block's hash.
        block_hash: Hash,
        /// Whose chain showed it: `follower`, or `validator:NAME`.
        source: String,
    },
    /// It never will be, by a chain that this node verified.
    Refused {
        /// Why.
        reason: String,
        /// The transaction that counts instead, if one does.
        winner: Option<TransactionId>,
    },
}

/// A ballot in the state.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Entry {
    /// Its place in the order of acceptance, from 1.
    pub(crate) sequence: u64,
    pub(crate) accepted_ms: u64,
    /// Bytes of the transaction.
    pub(crate) len: u64,
    pub(crate) eid: [u8; 32],
    pub(crate) credential: u32,
    pub(crate) tracker: [u8; 32],
    pub(crate) settled: Option<Settled>,
}

/// How much the outbox holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Counts {
    /// Ballots ever accepted.
    pub(crate) accepted: u64,
    /// Ballots that are not settled.
    pub(crate) held: u64,
    /// Their bytes.
    pub(crate) held_bytes: u64,
    /// Ballots that are final.
    pub(crate) finals: u64,
    /// Ballots that were refused.
    pub(crate) refused: u64,
}

/// A ballot as it came, with what must be known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) id: TransactionId,
    pub(crate) transaction: Bytes,
    pub(crate) eid: [u8; 32],
    pub(crate) credential: u32,
    pub(crate) tracker: [u8; 32],
}

impl Parcel {
    /// A ballot's bytes as the validators' transaction. Only the form of the head is checked.
    pub(crate) fn of_ballot(ballot: Vec<u8>) -> Result<Self, String> {
        let head = BallotHead::read(&ballot).map_err(|error| error.to_string())?;
        let tracker = tracker(&ballot).ok_or("ballot: it is shorter than its signature")?;
        let transaction = record::Body::Ballot(ballot).unsigned().encode();
        Ok(Self {
            id: TransactionId::new(record::transaction_id(&transaction)),
            transaction: transaction.into(),
            eid: head.eid,
            credential: head.index,
            tracker,
        })
    }

    /// A ballot of a validators' transaction.
    pub(crate) fn of_transaction(transaction: Bytes) -> Result<Self, String> {
        let decoded = record::Transaction::decode(&transaction).map_err(|error| error.to_string())?;
        let record::Body::Ballot(ballot) = decoded.body else { return Err("the transaction is not a ballot".into()) };
        let head = BallotHead::read(&ballot).map_err(|error| error.to_string())?;
        let tracker = tracker(&ballot).ok_or("ballot: it is shorter than its signature")?;
        let id = TransactionId::new(record::transaction_id(&transaction));
        Ok(Self { id, transaction, eid: head.eid, credential: head.index, tracker })
    }
}

fn tracker(ballot: &[u8]) -> Option<[u8; 32]> {
    let body = ballot.len().checked_sub(SIGNATURE_BYTES).and_then(|len| ballot.get(..len))?;
    Some(ballot::tracker(body))
}

/// A text cut to what is kept of reasons.
pub(crate) fn shorten(text: &str) -> String {
    let mut end = text.len().min(REASON_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

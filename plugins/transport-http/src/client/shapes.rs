//! How blocks and receipts look in native answers.

use quorate::{
    Bytes, Hash, Header, Height, PublicKey, Receipt, Round, Signature, Timestamp, TransactionId, ValidatorIndex,
    consensus, node::FinalBlock,
};
use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::hexadecimal::HexBytes;

/// A quorum certificate: who signed in which round.
#[derive(Debug, Serialize)]
pub(crate) struct Certificate {
    round: Round,
    signatures: Vec<Signed>,
}

#[derive(Debug, Serialize)]
struct Signed {
    validator: ValidatorIndex,
    signature: Signature,
}

impl Certificate {
    pub(crate) fn of(certificate: &consensus::Certificate) -> Self {
        let signatures = certificate.signatures.iter();
        Self {
            round: certificate.round,
            signatures: signatures.map(|&(validator, signature)| Signed { validator, signature }).collect(),
        }
    }
}

/// A final block: the header's fields, and beside them what is known of the block.
#[derive(Debug, Serialize)]
pub(crate) struct Block<'a> {
    hash: Hash,
    #[serde(flatten)]
    header: &'a Header,
    proposer: &'a str,
    proposer_key: PublicKey,
    size: usize,
    transaction_count: usize,
    transactions: &'a [TransactionId],
    #[serde(serialize_with = "list_of_bytes")]
    evidence: &'a [Bytes],
    proof: HexBytes<'a>,
    certificate: Certificate,
}

impl<'a> Block<'a> {
    pub(crate) fn of(block: &'a FinalBlock) -> Self {
        Self {
            hash: block.block.hash(),
            header: block.block.header(),
            proposer: &block.creator,
            proposer_key: block.creator_key,
            size: block.block.encoded().len(),
            transaction_count: block.transaction_ids.len(),
            transactions: &block.transaction_ids,
            evidence: block.block.evidence(),
            proof: HexBytes(&block.proof),
            certificate: Certificate::of(&block.certificate),
        }
    }
}

fn list_of_bytes<S: Serializer>(list: &&[Bytes], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(Some(list.len()))?;
    for bytes in *list {
        sequence.serialize_element(&HexBytes(bytes))?;
    }
    sequence.end()
}

/// What `quorate_receipt` says of a final transaction. `receipt` alone is what anybody can check offline.
#[derive(Debug, Serialize)]
pub(crate) struct Final<'a> {
    status: &'static str,
    transaction_id: TransactionId,
    block_number: Height,
    block_hash: Hash,
    index: u32,
    time: Timestamp,
    certificate: Option<Certificate>,
    receipt: &'a Receipt,
}

impl<'a> Final<'a> {
    pub(crate) fn of(receipt: &'a Receipt, certificate: Option<Certificate>) -> Self {
        Self {
            status: "final",
            transaction_id: receipt.transaction_id,
            block_number: receipt.header.height,
            block_hash: receipt.block_hash,
            index: receipt.transaction_path.index,
            time: receipt.header.time,
            certificate,
            receipt,
        }
    }
}

/// Encoded blocks with their proofs.
#[derive(Debug, Serialize)]
pub(crate) struct Range<'a> {
    from: Height,
    /// The height to ask for next.
    next: Height,
    blocks: Vec<Encoded<'a>>,
}

#[derive(Debug, Serialize)]
struct Encoded<'a> {
    block: HexBytes<'a>,
    proof: HexBytes<'a>,
}

impl<'a> Range<'a> {
    pub(crate) fn of(from: Height, blocks: &'a [(Bytes, Bytes)]) -> Self {
        let count = u64::try_from(blocks.len()).unwrap_or(u64::MAX);
        Self {
            from,
            next: Height(from.0.saturating_add(count)),
            blocks: blocks
                .iter()
                .map(|(block, proof)| Encoded { block: HexBytes(block), proof: HexBytes(proof) })
                .collect(),
        }
    }
}

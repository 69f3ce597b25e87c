//! Blocks, and the proofs about them.

use quorate::{
    Block, Bytes, ChainId, FinalityProof, Header, Height, Receipt, TransactionId, ValidatorSet,
    application::Misbehaviour,
    borsh,
    consensus::{Certificate, ProofError},
    merkle::{self, PATH_STEPS_MAX, Path},
};

use super::{Outcome, Taken, must, strict, taken, vector, vectors};

pub(super) fn block_seeds() -> Vec<Vec<u8>> {
    let full = vector("/block/bytes");
    let empty = Block::decode(full.clone().into()).and_then(|block| Block::new(block.header().clone(), &[], &[]));
    vec![full, empty.map(|block| block.encoded().to_vec()).unwrap_or_default()]
}

pub(super) fn block(bytes: &[u8]) -> Outcome {
    let bytes = Bytes::copy_from_slice(bytes);
    let trusted = Block::decode_trusted(bytes.clone());
    match Block::decode(bytes.clone()) {
        Ok(block) => {
            must(block.encoded() == &bytes, "a block with other bytes than those it was read from")?;
            must(block.header().hash() == block.hash(), "the hash is not the header's")?;
            let made = Block::new(block.header().clone(), block.transactions(), block.evidence());
            must(made.is_ok_and(|made| made.encoded() == &bytes), "made anew of its parts it has other bytes")?;
            must(trusted.is_ok_and(|trusted| trusted == block), "trusted decoding refuses it")?;
            Ok(Taken::Yes)
        }
        Err(error) => {
            must(!error.to_string().is_empty(), "refused without words")?;
            if let Ok(block) = trusted {
                let body: usize = block.transactions().iter().chain(block.evidence()).map(Bytes::len).sum();
                must(body <= bytes.len(), "more bytes in the parts than in the whole")?;
            }
            Ok(Taken::No)
        }
    }
}

pub(super) fn header_seeds() -> Vec<Vec<u8>> {
    vec![vector("/header/bytes")]
}

pub(super) fn header(bytes: &[u8]) -> Outcome {
    let header = strict::<Header>(bytes)?;
    if let Some(header) = &header {
        let text = serde_json::to_vec(header).map_err(|error| error.to_string())?;
        must(serde_json::from_slice::<Header>(&text).is_ok_and(|again| again == *header), "JSON loses something")?;
    }
    Ok(taken(&header))
}

/// Accepts every proof, so that all else about a receipt is what decides.
struct Anything;

impl FinalityProof for Anything {
    fn verify(&self, _: &ChainId, _: &Header, _: &[u8], _: &ValidatorSet) -> Result<(), ProofError> {
        Ok(())
    }

    fn certificate(&self, _: &[u8]) -> Result<Certificate, ProofError> {
        Err(ProofError::NoMisbehaviour("not asked".into()))
    }

    fn evidence_height(&self, _: &[u8]) -> Result<Height, ProofError> {
        Err(ProofError::NoMisbehaviour("not asked".into()))
    }

    fn evidence(&self, _: &ChainId, _: &[u8], _: &ValidatorSet) -> Result<Misbehaviour, ProofError> {
        Err(ProofError::NoMisbehaviour("not asked".into()))
    }
}

fn id(transaction: &[u8]) -> TransactionId {
    TransactionId::new(*quorate::Hash::of(&[transaction]).as_bytes())
}

/// The receipt of the vectors.
fn good_receipt() -> Option<Receipt> {
    borsh::from_slice(&vector("/receipt/bytes")).ok()
}

/// No receipt but the good one passes for its block, whatever was changed (the proof itself is the consensus' to judge).
fn judge(receipt: &Receipt) -> Result<(), String> {
    let Some(good) = good_receipt() else { return Err("the vectors hold no receipt".into()) };
    let verdict = receipt.verify(&good.header.chain_id, &good.validators, &Anything, &id);
    let same_block = receipt.block_hash == good.block_hash;
    match verdict {
        Ok(()) if same_block => {
            // Index and count of leaves say only how to walk the path; others which lead the same way are as good.
            let same_walk = |path: &Path, good: &Path| Path { steps: path.steps.clone(), ..good.clone() };
            let comparable = Receipt {
                proof: good.proof.clone(),
                transaction_path: same_walk(&receipt.transaction_path, &good.transaction_path),
                outcome_path: same_walk(&receipt.outcome_path, &good.outcome_path),
                ..receipt.clone()
            };
            must(comparable == good, "a changed receipt is accepted for the block of the good one")
        }
        Ok(()) => Ok(()),
        Err(error) => must(!error.to_string().is_empty() && *receipt != good, "the good receipt is refused"),
    }
}

pub(super) fn receipt_seeds() -> Vec<Vec<u8>> {
    vec![vector("/receipt/bytes")]
}

pub(super) fn receipt(bytes: &[u8]) -> Outcome {
    let receipt = strict::<Receipt>(bytes)?;
    if let Some(receipt) = &receipt {
        judge(receipt)?;
        let text = serde_json::to_vec(receipt).map_err(|error| error.to_string())?;
        must(serde_json::from_slice::<Receipt>(&text).is_ok_and(|again| again == *receipt), "JSON loses something")?;
    }
    Ok(taken(&receipt))
}

pub(super) fn receipt_json_seeds() -> Vec<Vec<u8>> {
    let vectors = vectors();
    let value = vectors.pointer("/receipt/json");
    vec![
        value.and_then(|value| serde_json::to_vec(value).ok()).unwrap_or_default(),
        value.and_then(|value| serde_json::to_vec_pretty(value).ok()).unwrap_or_default(),
    ]
}

pub(super) fn receipt_json(bytes: &[u8]) -> Outcome {
    let Ok(receipt) = serde_json::from_slice::<Receipt>(bytes) else { return Ok(Taken::No) };
    judge(&receipt)?;
    let encoded = borsh::to_vec(&receipt).map_err(|error| error.to_string())?;
    must(strict::<Receipt>(&encoded)? == Some(receipt), "borsh loses something")?;
    Ok(Taken::Yes)
}

pub(super) fn path_seeds() -> Vec<Vec<u8>> {
    let leaves: Vec<_> = (0..13u8).map(|at| merkle::leaf(&[at])).collect();
    let paths = [0, 5, 12].into_iter().filter_map(|at| merkle::path(&leaves, at));
    paths.filter_map(|path| borsh::to_vec(&path).ok()).collect()
}

pub(super) fn path(bytes: &[u8]) -> Outcome {
    let path = strict::<Path>(bytes)?;
    if let Some(path) = &path {
        let root = path.root(merkle::leaf(b"leaf"));
        let possible = path.index < path.leaves && path.steps.len() <= PATH_STEPS_MAX;
        must(root.is_none() || possible, "a root from an impossible path")?;
        // Another leaf leads to another root.
        must(root.is_none() || root != path.root(merkle::leaf(b"other")), "two leaves with one root")?;
    }
    Ok(taken(&path))
}

pub(super) fn validators_seeds() -> Vec<Vec<u8>> {
    vec![vector("/validators/bytes")]
}

pub(super) fn validators(bytes: &[u8]) -> Outcome {
    let set = strict::<ValidatorSet>(bytes)?;
    if let Some(set) = &set {
        must(set.len() >= 1, "an empty set")?;
        for (index, one) in set.iter() {
            must(set.index_of(&one.public_key) == Some(index), "two validators with one key")?;
        }
        let text = serde_json::to_vec(set).map_err(|error| error.to_string())?;
        must(serde_json::from_slice::<ValidatorSet>(&text).is_ok_and(|again| again == *set), "JSON loses something")?;
    }
    Ok(taken(&set))
}

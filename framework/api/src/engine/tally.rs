//! One vote of each validator for a block, and the proof of finality that enough of them are: for a consensus of one step.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    application::Misbehaviour,
    block::Header,
    consensus::{Certificate, FinalityProof, Guard, ProofError, SignRequest},
    primitives::{ChainId, Hash, Height, Round, Signature, ValidatorIndex},
    validators::ValidatorSet,
};

/// Votes for one block, by who gave them.
pub type Votes = BTreeMap<ValidatorIndex, Signature>;

/// What a vote is, and how many make a block final. There is no evidence: two votes of a validator at one height accuse nobody.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    /// The kind of signature; the body is the block's hash, the round is 0.
    pub kind: u8,
    /// How many votes are needed, of so many validators.
    pub needed: fn(usize) -> usize,
}

impl Tally {
    /// The request for a vote: the only signature of its height.
    pub fn request(&self, height: Height, hash: &Hash) -> SignRequest {
        let guard = Guard { height, ..Guard::default() };
        SignRequest { guard, kind: self.kind, body: hash.as_bytes().to_vec() }
    }

    /// Adds a vote, if it is that validator's for the block with this header.
    pub fn count(
        &self,
        votes: &mut Votes,
        (who, vote): (ValidatorIndex, Signature),
        chain_id: &ChainId,
        header: &Header,
        validators: &ValidatorSet,
    ) {
        if self.is_vote(chain_id, header, validators, who, &vote) {
            votes.insert(who, vote);
        }
    }

    fn is_vote(
        &self,
        chain_id: &ChainId,
        header: &Header,
        validators: &ValidatorSet,
        who: ValidatorIndex,
        vote: &Signature,
    ) -> bool {
        let bytes = self.request(header.height, &header.hash()).sign_bytes(chain_id);
        validators.get(who).is_some_and(|validator| validator.public_key.verifies(&bytes, vote))
    }

    /// The proof of finality that these votes are; `None` while there are too few. They are votes for one block, added by [`Tally::count`].
    pub fn proof(&self, votes: &Votes, validators: &ValidatorSet) -> Option<Bytes> {
        let enough = votes.len() >= (self.needed)(validators.len());
        // Writing to memory does not fail.
        enough.then(|| borsh::to_vec(votes).unwrap_or_default().into())
    }
}

/// Reads a proof: each validator is in it once, in order of their places.
fn read(proof: &[u8]) -> Result<Votes, ProofError> {
    let votes: Vec<(ValidatorIndex, Signature)> =
        borsh::from_slice(proof).map_err(|error| ProofError::Malformed(error.to_string()))?;
    if !votes.is_sorted_by(|before, after| before.0 < after.0) {
        return Err(ProofError::Malformed("its votes are not in the order of their places".into()));
    }
    Ok(votes.into_iter().collect())
}

fn no_evidence<T>() -> Result<T, ProofError> {
    Err(ProofError::Malformed("this consensus has no evidence".into()))
}

impl FinalityProof for Tally {
    fn verify(
        &self,
        chain_id: &ChainId,
        header: &Header,
        proof: &[u8],
        validators: &ValidatorSet,
    ) -> Result<(), ProofError> {
        let votes = read(proof)?;
        let (found, needed) = (votes.len(), (self.needed)(validators.len()));
        if found < needed {
            return Err(ProofError::NoQuorum { found, needed });
        }
        match votes.iter().find(|(who, vote)| !self.is_vote(chain_id, header, validators, **who, vote)) {
            Some((who, _)) => Err(ProofError::BadSignature(*who)),
            None => Ok(()),
        }
    }

    fn certificate(&self, proof: &[u8]) -> Result<Certificate, ProofError> {
        Ok(Certificate { round: Round(0), signatures: read(proof)?.into_iter().collect() })
    }

    fn evidence_height(&self, _evidence: &[u8]) -> Result<Height, ProofError> {
        no_evidence()
    }

    fn evidence(
        &self,
        _chain_id: &ChainId,
        _evidence: &[u8],
        _validators: &ValidatorSet,
    ) -> Result<Misbehaviour, ProofError> {
        no_evidence()
    }
}

#[cfg(test)]
mod tests {
    use ed25519_zebra::{SigningKey, VerificationKey};

    use super::*;
    use crate::{
        primitives::{PublicKey, Timestamp},
        validators::Validator,
    };

    const MOST: Tally = Tally { kind: 1, needed: |validators| validators / 2 + 1 };

    fn key(n: u8) -> SigningKey {
        SigningKey::from([n; 32])
    }

    fn header(height: u64) -> Header {
        Header {
            version: 1,
            chain_id: ChainId::new([9; 32]),
            height: Height(height),
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
        }
    }

    fn validators() -> ValidatorSet {
        let one = |n: u8| Validator {
            name: format!("validator-{n}"),
            public_key: PublicKey::new(VerificationKey::from(&key(n)).into()),
        };
        ValidatorSet::new((0..3).map(one).collect()).unwrap()
    }

    /// The votes of some for a block.
    fn votes(header: &Header, of: &[u8]) -> Votes {
        let bytes = MOST.request(header.height, &header.hash()).sign_bytes(&header.chain_id);
        of.iter().map(|n| (ValidatorIndex(u16::from(*n)), Signature::new(key(*n).sign(&bytes).into()))).collect()
    }

    #[test]
    fn enough_good_votes_are_a_proof_and_nothing_else_is() {
        let (block, other, set) = (header(1), header(2), validators());
        let chain = block.chain_id;
        assert_eq!(MOST.proof(&votes(&block, &[1]), &set), None);
        let good = MOST.proof(&votes(&block, &[0, 2]), &set).unwrap();
        assert_eq!(MOST.verify(&chain, &block, &good, &set), Ok(()));
        let signers: Vec<u16> = MOST.certificate(&good).unwrap().signatures.iter().map(|(who, _)| who.0).collect();
        assert_eq!(signers, [0, 2]);

        let first = Err(ProofError::BadSignature(ValidatorIndex(0)));
        assert_eq!(MOST.verify(&chain, &other, &good, &set), first, "another block");
        assert_eq!(MOST.verify(&ChainId::new([8; 32]), &block, &good, &set), first, "another network");
        let few = borsh::to_vec(&votes(&block, &[1])).unwrap();
        assert_eq!(MOST.verify(&chain, &block, &few, &set), Err(ProofError::NoQuorum { found: 1, needed: 2 }));
        let mut mixed = votes(&block, &[0, 1]);
        mixed.extend(votes(&other, &[2]));
        let mixed = borsh::to_vec(&mixed).unwrap();
        let third = Err(ProofError::BadSignature(ValidatorIndex(2)));
        assert_eq!(MOST.verify(&chain, &block, &mixed, &set), third, "one more that is wrong");
    }

    #[test]
    fn one_vote_twice_is_no_proof() {
        let (block, set) = (header(1), validators());
        let one: Vec<(ValidatorIndex, Signature)> = votes(&block, &[1]).into_iter().collect();
        let twice = borsh::to_vec(&[one.clone(), one].concat()).unwrap();
        assert!(matches!(MOST.verify(&block.chain_id, &block, &twice, &set), Err(ProofError::Malformed(_))));
    }
}

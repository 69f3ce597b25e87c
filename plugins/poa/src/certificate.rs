//! Quorum certificates and timeout certificates.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate::{
    ChainId, Hash, Height, Round, Signature, ValidatorIndex, ValidatorSet,
    consensus::{ProofError, sign_bytes},
    signature::{Signed, verify_batch},
    validators::VALIDATORS_MAX,
};

/// Kinds of signed messages.
pub(crate) const PROPOSAL: u8 = 1;
pub(crate) const PREPARE: u8 = 2;
pub(crate) const COMMIT: u8 = 3;
pub(crate) const TIMEOUT: u8 = 4;

/// A round, or -1 for none, as it is signed.
pub(crate) fn round_or_none(round: Option<Round>) -> i64 {
    round.map_or(-1, |round| i64::from(round.0))
}

/// The signed body of a proposal.
pub(crate) fn proposal_body(hash: &Hash, justify: i64) -> Vec<u8> {
    [hash.as_bytes().as_slice(), &justify.to_be_bytes()].concat()
}

/// The signed body of a timeout.
pub(crate) fn timeout_body(hqc_round: i64, hqc_hash: &Hash) -> Vec<u8> {
    [hqc_round.to_be_bytes().as_slice(), hqc_hash.as_bytes()].concat()
}

/// Votes of a quorum for one block in one round.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Qc {
    pub(crate) kind: u8,
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) hash: Hash,
    /// In ascending order of validators.
    pub(crate) signatures: Vec<(ValidatorIndex, Signature)>,
}

impl Qc {
    /// Checks signers and signatures.
    pub(crate) fn verify(&self, chain_id: &ChainId, set: &ValidatorSet, quorum: usize) -> Result<(), ProofError> {
        let ascending = self.signatures.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0));
        if !ascending || self.signatures.len() > VALIDATORS_MAX {
            return Err(ProofError::Malformed("signers are not in ascending order".into()));
        }
        if self.signatures.len() < quorum {
            return Err(ProofError::NoQuorum { found: self.signatures.len(), needed: quorum });
        }
        let message = sign_bytes(chain_id, self.kind, self.height, self.round, self.hash.as_bytes());
        let mut items = Vec::with_capacity(self.signatures.len());
        for (index, signature) in &self.signatures {
            let validator = set.get(*index).ok_or(ProofError::BadSignature(*index))?;
            items.push(Signed { key: validator.public_key, message: &message, signature: *signature });
        }
        match verify_batch(&items).iter().zip(&self.signatures).find(|(good, _)| !**good) {
            Some((_, (index, _))) => Err(ProofError::BadSignature(*index)),
            None => Ok(()),
        }
    }
}

/// One signed statement that a round took too long.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct TimeoutEntry {
    pub(crate) validator: ValidatorIndex,
    /// The signer's highest Prepare certificate: its round, -1 for none, and its block.
    pub(crate) hqc_round: i64,
    pub(crate) hqc_hash: Hash,
    pub(crate) signature: Signature,
}

/// A quorum's proof that a round may be left.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Tc {
    pub(crate) height: Height,
    pub(crate) round: Round,
    /// In ascending order of validators.
    pub(crate) entries: Vec<TimeoutEntry>,
    /// The certificate of the highest entry, if any has one.
    pub(crate) high_qc: Option<Qc>,
}

impl Tc {
    /// The highest round among the entries, -1 for none.
    pub(crate) fn highest(&self) -> i64 {
        self.entries.iter().map(|entry| entry.hqc_round).max().unwrap_or(-1)
    }

    pub(crate) fn verify(&self, chain_id: &ChainId, set: &ValidatorSet, quorum: usize) -> bool {
        let ascending = self.entries.windows(2).all(|pair| matches!(pair, [a, b] if a.validator < b.validator));
        if !ascending || self.entries.len() < quorum || self.entries.len() > VALIDATORS_MAX {
            return false;
        }
        let highest = self.highest();
        let fits = match &self.high_qc {
            None => highest == -1,
            Some(qc) => {
                qc.kind == PREPARE
                    && qc.height == self.height
                    && i64::from(qc.round.0) == highest
                    && self.entries.iter().any(|entry| entry.hqc_round == highest && entry.hqc_hash == qc.hash)
                    && qc.verify(chain_id, set, quorum).is_ok()
            }
        };
        let messages: Vec<Vec<u8>> = self
            .entries
            .iter()
            .map(|entry| {
                let body = timeout_body(entry.hqc_round, &entry.hqc_hash);
                sign_bytes(chain_id, TIMEOUT, self.height, self.round, &body)
            })
            .collect();
        let items: Option<Vec<Signed<'_>>> = self
            .entries
            .iter()
            .zip(&messages)
            .map(|(entry, message)| {
                let key = set.get(entry.validator)?.public_key;
                Some(Signed { key, message, signature: entry.signature })
            })
            .collect();
        fits && items.is_some_and(|items| verify_batch(&items).into_iter().all(|good| good))
    }
}

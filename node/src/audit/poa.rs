//! Rules of the `poa` protocol which an audit checks by itself: turn, limits, and the quorum of commit signatures.

use std::collections::BTreeSet;

use quorate::{
    Block, Genesis, Header, ValidatorIndex, ValidatorSet,
    consensus::{Certificate, sign_bytes},
};
use serde::Deserialize;

/// The kind of a commit vote under a signature.
const KIND_COMMIT: u8 = 3;

/// What the auditor needs of `[consensus]` in a genesis of `poa`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoaRules {
    byzantine: bool,
    transactions_max: u64,
    bytes_max: u64,
}

#[derive(Deserialize)]
struct File {
    consensus: Table,
}

#[derive(Deserialize)]
struct Table {
    fault_model: String,
    block_transactions_max: u64,
    block_bytes_max: u64,
}

impl PoaRules {
    /// Reads the rules from genesis.
    ///
    /// # Errors
    ///
    /// In words, when a setting is missing or unknown.
    pub fn of(genesis: &Genesis) -> Result<Self, String> {
        let file: File = toml::from_str(genesis.text()).map_err(|error| error.message().to_owned())?;
        let Table { fault_model, block_transactions_max, block_bytes_max } = file.consensus;
        let byzantine = match fault_model.as_str() {
            "byzantine" => true,
            "crash" | "byzantine-sync" => false,
            other => return Err(format!("fault_model `{other}` is none of crash, byzantine-sync, byzantine")),
        };
        Ok(Self { byzantine, transactions_max: block_transactions_max, bytes_max: block_bytes_max })
    }

    /// Votes which a certificate of `validators` needs.
    pub fn quorum(&self, validators: usize) -> usize {
        if self.byzantine { validators * 2 / 3 + 1 } else { validators / 2 + 1 }
    }

    /// Checks that a block keeps within genesis' limits.
    ///
    /// # Errors
    ///
    /// In words, the rule that is broken.
    pub fn check_limits(&self, block: &Block) -> Result<(), String> {
        let (count, bytes) = (block.transactions().len() as u64, block.encoded().len() as u64);
        if count > self.transactions_max {
            return Err(format!("{count} transactions; genesis allows {}", self.transactions_max));
        }
        if bytes > self.bytes_max {
            return Err(format!("{bytes} bytes; genesis allows {}", self.bytes_max));
        }
        Ok(())
    }

    /// Checks whose turn it was, and that a quorum of validators signed the block with this header for commit.
    ///
    /// # Errors
    ///
    /// In words, the rule that is broken.
    pub fn check_certificate(
        &self,
        header: &Header,
        certificate: &Certificate,
        validators: &ValidatorSet,
    ) -> Result<(), String> {
        let (created, decided) = (header.created_round, certificate.round);
        let turn = validators.at_turn(header.height.0.saturating_add(u64::from(created.0)));
        if header.creator != turn {
            return Err(format!("created by validator {} in round {created}, which was {turn}'s turn", header.creator));
        }
        if created > decided {
            return Err(format!("decided in round {decided}, before round {created} in which it was created"));
        }
        let signed = sign_bytes(&header.chain_id, KIND_COMMIT, header.height, decided, header.hash().as_bytes());
        let mut signers: BTreeSet<ValidatorIndex> = BTreeSet::new();
        for (index, signature) in &certificate.signatures {
            let validator = validators.get(*index).ok_or_else(|| format!("signed by {index}, who is no validator"))?;
            if !signers.insert(*index) {
                return Err(format!("{}'s signature is counted twice", validator.name));
            }
            if !validator.public_key.verifies(&signed, signature) {
                return Err(format!("the signature of {} is wrong", validator.name));
            }
        }
        let needed = self.quorum(validators.len());
        if signers.len() < needed {
            return Err(format!("signed by {} of {} validators; {needed} are needed", signers.len(), validators.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_are_those_of_the_three_models() {
        let rules = |byzantine| PoaRules { byzantine, transactions_max: 0, bytes_max: 0 };
        let quorums = |byzantine| [1, 2, 3, 4, 5, 7].map(|n| rules(byzantine).quorum(n));
        assert_eq!(quorums(false), [1, 2, 2, 3, 3, 4]);
        assert_eq!(quorums(true), [1, 2, 3, 3, 4, 5]);
    }
}

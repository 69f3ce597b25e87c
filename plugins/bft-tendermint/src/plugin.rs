//! What the name `bft-tendermint` in TOML stands for.

use std::sync::Arc;

use quorate::{
    Consensus, FinalityProof,
    consensus::Context,
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, Promise, SetupError, SignatureKinds},
};

use crate::{
    describe,
    engine::Engine,
    proof::CommitProof,
    settings::{Rules, tolerated, tolerates},
    signing::{KIND_PRECOMMIT, KIND_PRECOMMIT_NIL, KIND_PREVOTE, KIND_PROPOSAL},
};

/// Tendermint: two votes of more than two thirds make each block final; fewer than a third may be dishonest.
#[derive(Debug, Clone, Copy, Default)]
pub struct TendermintPlugin;

/// An example of `[consensus]` in genesis, without `plugin`.
const EXAMPLE: &str = r#"# Milliseconds from one block to the next; 0: as soon as there is work.
block_interval_ms = 5000
# Transactions in a block at most.
block_transactions_max = 32
# Bytes of a block at most.
block_bytes_max = 1048576
# Blocks without transactions: "always", "never", or "heartbeat" every heartbeat_ms.
empty_blocks = "heartbeat"
heartbeat_ms = 60000
# What follows may be left out; these are the values then.
# Milliseconds for which a proposal, and then missing votes, are waited for in a height's first round; each further round waits half
# of that longer, up to timeout_ms_max.
timeout_propose_ms = 1000
timeout_vote_ms = 500
timeout_ms_max = 30000
# Milliseconds after which everything is said again.
rebroadcast_ms = 2000
# Milliseconds by which a block's time may be ahead of a judge's clock.
drift_ms = 2000
"#;

impl ConsensusPlugin for TendermintPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new(
            "bft-tendermint",
            env!("CARGO_PKG_VERSION"),
            "Tendermint: more than two thirds of the validators make each block final",
        )
        .with_example(EXAMPLE)
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        let rules = Rules::read(context)?;
        let validators = context.validators.len();
        Ok(ConsensusReport { tolerates: tolerates(validators), warnings: rules.warnings(validators) })
    }

    fn promise(&self, context: &Context) -> Option<Promise> {
        Rules::read(context).ok()?;
        let dishonest = tolerated(context.validators.len());
        // Who precommits nil gives up the round.
        let kinds = SignatureKinds {
            proposal: KIND_PROPOSAL,
            prepare: KIND_PREVOTE,
            commit: KIND_PRECOMMIT,
            timeout: KIND_PRECOMMIT_NIL,
        };
        Some(Promise { gone: dishonest, dishonest, delta: None, kinds: Some(kinds) })
    }

    fn describe_message(&self, message: &[u8]) -> Option<String> {
        describe::message(message)
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        let rules = Rules::read(context)?;
        Ok(Box::new(Engine::new(context.chain_id, context.validators.clone(), rules)))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        // A follower's own table has keys of the follower; only what all share matters here.
        Rules::parse(&context.shared)?;
        Ok(Arc::new(CommitProof))
    }
}

#[cfg(test)]
mod tests {
    use quorate::{ChainId, PublicKey, Settings, Validator, ValidatorSet};

    use super::*;

    fn context(shared: &str, own: &str) -> Context {
        let one = |n: u8| Validator { name: format!("validator-{n}"), public_key: PublicKey::new([n; 32]) };
        Context {
            chain_id: ChainId::new([1; 32]),
            validators: ValidatorSet::new((1..=4).map(one).collect()).unwrap(),
            shared: Settings::from_text(shared),
            settings: Settings::from_text(own),
            seed: 0,
        }
    }

    #[test]
    fn the_example_is_what_it_says_the_defaults_are() {
        let whole = Rules::read(&context(EXAMPLE, "")).unwrap();
        let required = EXAMPLE.split("# What follows").next().unwrap();
        assert_eq!(Rules::read(&context(required, "")).unwrap(), whole);
        let report = TendermintPlugin.check(&context(EXAMPLE, "")).unwrap();
        assert!(report.warnings.is_empty(), "{report:?}");
        assert!(report.tolerates.contains("1 may be stopped or dishonest"), "{report:?}");
    }

    #[test]
    fn errors_of_both_tables_come_at_once() {
        let context = context(&EXAMPLE.replace("block_interval_ms", "block_interval"), "drift_ms = 400");
        let Err(error) = TendermintPlugin.build(&context) else { panic!("built") };
        let text = error.to_string();
        for part in ["unknown key `block_interval`", "missing key `block_interval_ms`", "unknown key `drift_ms`"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}

//! What the name `poa` in TOML stands for.

use std::sync::Arc;

use quorate::{
    Consensus, FinalityProof,
    consensus::Context,
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, Promise, SetupError, SignatureKinds},
};

use crate::{
    describe,
    engine::Engine,
    model::FaultModel,
    planted::Bugs,
    proof::CommitProof,
    settings::Rules,
    signing::{KIND_COMMIT, KIND_PREPARE, KIND_PROPOSAL, KIND_TIMEOUT},
};

/// Validators take turns, and a quorum of them makes each block final.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoaPlugin;

/// An example of `[consensus]` in genesis, without `plugin`.
const EXAMPLE: &str = r#"# What may go wrong: "crash", "byzantine-sync" or "byzantine".
fault_model = "byzantine-sync"
# Milliseconds from one block to the next; 0: as soon as there is work.
block_interval_ms = 5000
# Transactions in a block at most.
block_transactions_max = 32
# Bytes of a block at most.
block_bytes_max = 1048576
# Milliseconds in which a message between honest validators has arrived and been handled (network, queue, disk, execution).
# "byzantine-sync" relies on it.
delta_ms = 400
# Blocks without transactions: "always", "never", or "heartbeat" every heartbeat_ms.
empty_blocks = "heartbeat"
heartbeat_ms = 60000
# What follows may be left out; these are the values then.
# Milliseconds of the first round of a height (at least 6 delta_ms with "byzantine-sync"), and of any round at most.
timeout_ms = 1000
timeout_ms_max = 30000
# Milliseconds by which a block's time may be ahead of a judge's clock.
drift_ms = 2000
# Milliseconds after which everything is said again.
rebroadcast_ms = 2000
# A timer this late in milliseconds means that the node was suspended (a quarter of delta_ms, at least 20).
suspension_ms = 100
"#;

/// The simulator's invariants, which hold in all three fault models.
const PROMISES: &[&str] = &[
    "S1 agreement",
    "S2 strong finality",
    "S3 certificate uniqueness",
    "S4 chain",
    "S5 validity",
    "S6 proof",
    "S7 double signature",
    "S8 commit after timeout",
    "S9 evidence",
    "S12 conflict",
    "L1 first honest round",
    "L2 progress",
    "L3 bounds",
    "F1 determinism",
    "H1 halt",
    "H2 panic",
    "P1 accusation",
];

impl ConsensusPlugin for PoaPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new(
            "poa",
            env!("CARGO_PKG_VERSION"),
            "validators take turns, and a quorum of them makes each block final",
        )
        .with_example(EXAMPLE)
        .with_promises(PROMISES)
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        let rules = Rules::read(context)?;
        let validators = context.validators.len();
        Ok(ConsensusReport {
            tolerates: rules.model.tolerates(validators, rules.delta),
            warnings: rules.warnings(validators),
        })
    }

    fn promise(&self, context: &Context) -> Option<Promise> {
        let rules = Rules::read(context).ok()?;
        let gone = rules.model.tolerated(context.validators.len());
        let kinds = SignatureKinds {
            proposal: KIND_PROPOSAL,
            prepare: KIND_PREPARE,
            commit: KIND_COMMIT,
            timeout: KIND_TIMEOUT,
        };
        Some(Promise {
            gone,
            dishonest: if rules.model == FaultModel::Crash { 0 } else { gone },
            delta: rules.model.relies_on_time().then_some(rules.delta),
            kinds: Some(kinds),
        })
    }

    fn describe_message(&self, message: &[u8]) -> Option<String> {
        describe::message(message)
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        let rules = Rules::read(context)?;
        Ok(Box::new(Engine::new(context.chain_id, context.validators.clone(), rules, Bugs::default())))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        // A follower's own table has keys of the follower; only what all share matters here.
        let rules = Rules::parse(&context.shared)?;
        Ok(Arc::new(CommitProof { model: rules.model }))
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
            validators: ValidatorSet::new(vec![one(1), one(2), one(3)]).unwrap(),
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
        let report = PoaPlugin.check(&context(EXAMPLE, "")).unwrap();
        assert!(report.warnings.is_empty(), "{report:?}");
        assert!(report.tolerates.contains("1 may be stopped or dishonest"), "{report:?}");
    }

    #[test]
    fn errors_of_both_tables_come_at_once() {
        let context = context(&EXAMPLE.replace("delta_ms = 400", "delta = 400"), "delta_ms = 400");
        let Err(error) = PoaPlugin.build(&context) else { panic!("built") };
        let text = error.to_string();
        for part in ["unknown key `delta`", "missing key `delta_ms`", "unknown key `delta_ms`"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}

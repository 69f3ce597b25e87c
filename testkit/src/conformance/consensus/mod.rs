//! The Consensus slot's rules: of one engine, and of a network of them in the simulator.

mod engine;
mod hostile;
mod proofs;
mod simulator;
mod tape;

use std::{cell::OnceCell, sync::Arc};

use quorate::{
    Consensus, FinalityProof, Settings,
    consensus::Context,
    plugin::{ConsensusPlugin, SetupError},
};

use self::tape::Tape;
use super::{
    common,
    rule::{OrBroken, Outcome, Rule, Trouble, does_not_apply, ensure},
    suite::{Report, Suite},
};
use crate::sim::{FaultModel, Kinds, Rng, Scenario};

/// Schedules of the simulator, unless the author wants more.
const SCHEDULES: u64 = 24;

/// A consensus plugin, to be asked for its slot's contract.
pub struct ConsensusSuite<'a> {
    plugin: &'a dyn ConsensusPlugin,
    shared: String,
    settings: String,
    validators: usize,
    fault_model: FaultModel,
    kinds: Option<Kinds>,
    schedules: u64,
    tapes: OnceCell<Vec<Tape>>,
}

/// The rules of the Consensus slot for `plugin`; `shared` is `[consensus]` of genesis without `plugin`, a TOML text.
///
/// The network has three validators which may crash, unless [`ConsensusSuite::network`] says otherwise.
pub fn consensus<'a>(plugin: &'a dyn ConsensusPlugin, shared: &str) -> ConsensusSuite<'a> {
    ConsensusSuite {
        plugin,
        shared: shared.to_owned(),
        settings: String::new(),
        validators: 3,
        fault_model: FaultModel::Crash,
        kinds: None,
        schedules: SCHEDULES,
        tapes: OnceCell::new(),
    }
}

impl<'a> ConsensusSuite<'a> {
    /// `[consensus]` of a node, a TOML text.
    #[must_use]
    pub fn settings(mut self, settings: &str) -> Self {
        settings.clone_into(&mut self.settings);
        self
    }

    /// So many validators, and what may go wrong with them. It is what `shared` is made for.
    #[must_use]
    pub fn network(mut self, fault_model: FaultModel, validators: usize) -> Self {
        (self.fault_model, self.validators) = (fault_model, validators);
        self
    }

    /// Which signatures mean what, for the simulator's invariants that look at them.
    #[must_use]
    pub fn kinds(mut self, kinds: Kinds) -> Self {
        self.kinds = Some(kinds);
        self
    }

    /// So many schedules of the simulator, of which each draws its own faults.
    #[must_use]
    pub fn schedules(mut self, schedules: u64) -> Self {
        self.schedules = schedules;
        self
    }

    /// The suite.
    pub fn suite(&self) -> Suite<'_> {
        Suite::new("consensus", self.plugin.descriptor().name, self, TABLE)
    }

    /// Tries every rule.
    pub fn run(&self) -> Report {
        self.suite().run()
    }

    /// Tries every rule; see [`Report::check`].
    ///
    /// # Panics
    ///
    /// When a rule is broken.
    pub fn check(&self) {
        self.run().check();
    }

    fn scenario(&self) -> Scenario {
        Scenario::envelope(self.fault_model, self.validators, crate::sim::campaign::DELTA_MS, &self.shared)
    }

    /// The context of a simulated network with these tables.
    fn context(&self, shared: &Settings, settings: &Settings) -> Result<Context, Trouble> {
        let context = crate::sim::context(&self.scenario()).or_broken("making a network")?;
        Ok(Context { shared: shared.clone(), settings: settings.clone(), ..context })
    }

    fn own_context(&self) -> Result<Context, Trouble> {
        self.context(&Settings::from_text(&self.shared), &Settings::from_text(&self.settings))
    }

    fn check_with(&self, shared: &Settings, settings: &Settings) -> Result<(), SetupError> {
        let context = self.context(shared, settings).map_err(|trouble| SetupError::Other(format!("{trouble:?}")))?;
        self.plugin.check(&context).map(drop)
    }

    fn engine(&self) -> Result<Box<dyn Consensus>, Trouble> {
        self.plugin.build(&self.own_context()?).or_broken("making an engine")
    }

    fn proof(&self) -> Result<Arc<dyn FinalityProof>, Trouble> {
        if self.plugin.observes() {
            return does_not_apply("it watches a network that another plugin decides");
        }
        self.plugin.proof(&self.own_context()?).or_broken("making what checks proofs")
    }
}

const CONTRACT: &str = "consensus.rs";

const STEP: &str = "`step` does not block, read clocks, draw randomness (a seed is in [`Context`]) or iterate hash maps, and its memory and the number of its actions are bounded whatever peers send.";

const WHATEVER: &str =
    "Whatever peers send, it does not panic, and commits no block of which its proof does not convince.";

type Trial = fn(&ConsensusSuite<'_>, &mut Rng) -> Outcome;

/// Each rule, and what tries it.
const TABLE: &[(Rule, Trial)] = &[
    (common::DESCRIPTOR, |suite, _| common::descriptor(&suite.plugin.descriptor())),
    (common::EXAMPLE, |suite, _| {
        common::example(&suite.plugin.descriptor(), |text| {
            suite.check_with(text, &Settings::from_text(&suite.settings))
        })
    }),
    (common::UNKNOWN_KEY, |suite, _| {
        let (shared, settings) = (Settings::from_text(&suite.shared), Settings::from_text(&suite.settings));
        if !suite.plugin.observes() {
            common::unknown_key(&suite.shared, |text| suite.check_with(text, &settings))?;
        }
        common::unknown_key(&suite.settings, |text| suite.check_with(&shared, text))
    }),
    (
        Rule {
            name: "it says what the network tolerates",
            sentence: "What the network tolerates and under what assumption, in one sentence.",
            file: "plugin.rs",
        },
        |suite, _| {
            let report = suite.plugin.check(&suite.own_context()?).or_broken("checking the settings")?;
            let said = report.tolerates.trim();
            ensure(!said.is_empty() && !said.contains('\n'), || format!("it says {said:?}; it must be one sentence"))
        },
    ),
    (Rule { name: "the same events give the same actions", sentence: STEP, file: CONTRACT }, engine::same_actions),
    (Rule { name: "a step does not block", sentence: STEP, file: CONTRACT }, engine::does_not_block),
    (Rule { name: "a step's actions are bounded", sentence: STEP, file: CONTRACT }, engine::bounded_actions),
    (
        Rule {
            name: "records, proofs and messages are bounded",
            sentence: "Make this record, which replaces the one before, durable. At most [`SAVED_BYTES_MAX`] bytes.",
            file: CONTRACT,
        },
        engine::bounded_bytes,
    ),
    (Rule { name: "two engines share nothing", sentence: common::APART, file: "plugin.rs" }, engine::apart),
    (
        Rule {
            name: "it starts again from its own record",
            sentence: "The engine's own record of the height after the tip, if it persisted one.",
            file: CONTRACT,
        },
        engine::starts_from_record,
    ),
    (
        Rule {
            name: "it goes on far above its tip",
            sentence: "By catch-up it may be several heights above the tip before.",
            file: CONTRACT,
        },
        engine::goes_on_far_above,
    ),
    (
        Rule {
            name: "without a place it does not sign",
            sentence: "Without a place among the validators (`me` is `None`) it asks for no signature.",
            file: CONTRACT,
        },
        engine::follower_does_not_sign,
    ),
    (Rule { name: "no message makes it panic", sentence: WHATEVER, file: CONTRACT }, hostile::no_panic),
    (Rule { name: "no forged message makes it commit", sentence: WHATEVER, file: CONTRACT }, hostile::no_commit),
    (
        Rule {
            name: "a proof shows one block of one network",
            sentence: "Whether `proof` shows that the block with `header` is final, `validators` being those of its height.",
            file: CONTRACT,
        },
        proofs::one_block,
    ),
    (
        Rule {
            name: "proofs together are judged as each alone",
            sentence: "As [`FinalityProof::verify`], for blocks with the same validators: the same answers, in the order of `blocks`.",
            file: CONTRACT,
        },
        proofs::together,
    ),
    (
        Rule {
            name: "bytes that are no evidence accuse nobody",
            sentence: "What `evidence` proves, `validators` being those of its height.",
            file: CONTRACT,
        },
        proofs::accuse_nobody,
    ),
    (common::NOTHING_LEFT, |suite, _| common::many_times(|| suite.engine().map(drop))),
    (
        Rule {
            name: "in the simulator nothing goes wrong",
            sentence: "As long as no more fails than its plugin says is tolerated, no two honest nodes commit different blocks at one height.",
            file: CONTRACT,
        },
        simulator::campaign,
    ),
];

pub(super) fn rules() -> Vec<Rule> {
    TABLE.iter().map(|(rule, _)| *rule).collect()
}

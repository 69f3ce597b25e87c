//! The Application slot's rules.

mod blocks;
mod hostile;
mod pool;
mod pure;
mod reads;
mod state;

use std::sync::Arc;

use bytes::Bytes;
use quorate::{Application, ChainId, Settings, plugin::ApplicationPlugin};

use super::{
    common,
    rule::{OrBroken, Outcome, Rule, Trouble, does_not_apply, ensure},
    suite::{Report, Suite},
};
use crate::sim::Rng;

/// The network of the suite's applications.
const CHAIN: ChainId = ChainId::new([0xc0; 32]);

/// Makes transactions for a network.
type Samples<'a> = Box<dyn Fn(ChainId) -> Vec<Bytes> + 'a>;

/// An application plugin, to be asked for its slot's contract.
pub struct ApplicationSuite<'a> {
    plugin: &'a dyn ApplicationPlugin,
    shared: String,
    settings: String,
    samples: Option<Samples<'a>>,
    queries: Vec<(String, Bytes)>,
}

/// The rules of the Application slot for `plugin`; `shared` is `[application]` of genesis without `plugin`, a TOML text.
///
/// Give it transactions ([`ApplicationSuite::transactions`]) and queries: without, most rules find nothing to try.
pub fn application<'a>(plugin: &'a dyn ApplicationPlugin, shared: &str) -> ApplicationSuite<'a> {
    ApplicationSuite { plugin, shared: shared.to_owned(), settings: String::new(), samples: None, queries: Vec::new() }
}

impl<'a> ApplicationSuite<'a> {
    /// `[application]` of the node, a TOML text.
    #[must_use]
    pub fn settings(mut self, settings: &str) -> Self {
        settings.clone_into(&mut self.settings);
        self
    }

    /// Transactions of a network, the same each time, in an order in which they can be executed from genesis on: ten or more of
    /// all kinds. Among them may be some which can't.
    #[must_use]
    pub fn transactions(mut self, samples: impl Fn(ChainId) -> Vec<Bytes> + 'a) -> Self {
        self.samples = Some(Box::new(samples));
        self
    }

    /// A query that is answered, whatever the state: its path and parameters.
    #[must_use]
    pub fn query(mut self, path: &str, params: impl Into<Bytes>) -> Self {
        self.queries.push((path.to_owned(), params.into()));
        self
    }

    /// The suite.
    pub fn suite(&self) -> Suite<'_> {
        Suite::new("application", self.plugin.descriptor().name, self, TABLE)
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

    fn shared_settings(&self) -> Settings {
        Settings::from_text(&self.shared)
    }

    fn own_settings(&self) -> Settings {
        Settings::from_text(&self.settings)
    }

    fn build(&self) -> Result<Arc<dyn Application>, Trouble> {
        self.plugin.build(CHAIN, &self.shared_settings(), &self.own_settings()).or_broken("making the application")
    }

    fn samples(&self) -> Result<Vec<Bytes>, Trouble> {
        let samples = self.samples.as_ref().map(|make| make(CHAIN)).unwrap_or_default();
        if samples.is_empty() {
            return does_not_apply("no transactions were given to try it with");
        }
        Ok(samples)
    }

    /// The samples that `application` verifies, each in the state which those before it leave: a block has no others.
    fn verified(&self, application: &dyn Application) -> Result<Vec<Bytes>, Trouble> {
        let samples = self.samples()?;
        let mut state = state::genesis(application)?;
        let mut good = Vec::with_capacity(samples.len());
        for (height, one) in (1..).zip(samples) {
            if !matches!(application.verify(&state, std::slice::from_ref(&one)).as_slice(), [Ok(())]) {
                continue;
            }
            state = state::build(application, &state, height, std::slice::from_ref(&one))?.1;
            good.push(one);
        }
        ensure(!good.is_empty(), || "it verifies none of the transactions that the suite was given".into())?;
        Ok(good)
    }

    fn queries(&self) -> Result<&[(String, Bytes)], Trouble> {
        if self.queries.is_empty() {
            return does_not_apply("no queries were given to try it with");
        }
        Ok(&self.queries)
    }
}

const CONTRACT: &str = "application.rs";

const PURE: &str = "Pure: it keeps no state of its own between calls, reads no clock, draws no randomness and iterates no hash map; the same calls give the same answers on every machine.";

const BUILT: &str = "A proposer tries candidates: those which can't be executed are left out and named in the outcome.";

type Trial = fn(&ApplicationSuite<'_>, &mut Rng) -> Outcome;

/// Each rule, and what tries it.
const TABLE: &[(Rule, Trial)] = &[
    (common::DESCRIPTOR, |suite, _| common::descriptor(&suite.plugin.descriptor())),
    (common::EXAMPLE, |suite, _| {
        common::example(&suite.plugin.descriptor(), |text| suite.plugin.check(text, &suite.own_settings()))
    }),
    (common::UNKNOWN_KEY, |suite, _| {
        common::unknown_key(&suite.shared, |text| suite.plugin.check(text, &suite.own_settings()))?;
        common::unknown_key(&suite.settings, |text| suite.plugin.check(&suite.shared_settings(), text))
    }),
    (
        Rule {
            name: "genesis is the same each time",
            sentence: "Writes the state before block 1 and returns its hash.",
            file: CONTRACT,
        },
        pure::genesis_repeats,
    ),
    (Rule { name: "two objects give the same answers", sentence: PURE, file: CONTRACT }, pure::two_objects),
    (Rule { name: "a block executed again does the same", sentence: PURE, file: CONTRACT }, pure::again),
    (
        Rule {
            name: "threads do not disturb each other",
            sentence: "Calls come from several threads.",
            file: CONTRACT,
        },
        pure::threads,
    ),
    (Rule { name: "queries change nothing", sentence: PURE, file: CONTRACT }, pure::queries),
    (Rule { name: "two applications share nothing", sentence: common::APART, file: "plugin.rs" }, pure::apart),
    (Rule { name: "no input makes it panic", sentence: "No input makes it panic.", file: CONTRACT }, hostile::no_panic),
    (Rule { name: "what a proposer kept others accept", sentence: BUILT, file: CONTRACT }, blocks::built_is_applied),
    (
        Rule {
            name: "a block with what can't be executed is invalid",
            sentence: "The block stands: a transaction which can't be executed makes it invalid.",
            file: CONTRACT,
        },
        blocks::bad_block_is_invalid,
    ),
    (
        Rule {
            name: "what is left out is named in order",
            sentence: "In [`Mode::Build`]: positions of transactions left out, ascending, with the reason.",
            file: CONTRACT,
        },
        blocks::left_out,
    ),
    (
        Rule {
            name: "receipts are one a transaction, and short",
            sentence: "One a kept transaction, in order; at most [`RECEIPT_BYTES_MAX`] bytes each.",
            file: CONTRACT,
        },
        blocks::receipts,
    ),
    (
        Rule {
            name: "verdicts come in the order of the transactions",
            sentence: "The answers are in the order of `transactions`.",
            file: CONTRACT,
        },
        pool::verdicts_in_order,
    ),
    (
        Rule {
            name: "a good verdict holds in every later state",
            sentence: "An `Ok` is kept for ever: it holds in every later state of the chain, so it rests only on what the state never changes again, such as a public key that is written once.",
            file: CONTRACT,
        },
        pool::verdicts_stay,
    ),
    (
        Rule {
            name: "who is ahead is no liar",
            sentence: "A transaction which rests on a record that is not there, or is made in the same block, is [`Rejection::NotAllowed`], not [`Rejection::NotAuthentic`]: whoever sent it may be ahead of this node, and is not a liar.",
            file: CONTRACT,
        },
        pool::ahead_is_no_lie,
    ),
    (
        Rule {
            name: "one id is one transaction",
            sentence: "Two transactions with one id are one transaction.",
            file: CONTRACT,
        },
        pool::one_id,
    ),
    (
        Rule {
            name: "the pool takes what can be executed",
            sentence: "[`Rejection`] if no later state (other than by this transaction's predecessors) would accept it, or none that is near: what comes too early is refused, not kept.",
            file: CONTRACT,
        },
        pool::takes_what_executes,
    ),
    (
        Rule {
            name: "conflict keys are few",
            sentence: "At most one pending transaction holds each of these keys, the first to come. At most [`CONFLICT_KEYS_MAX`].",
            file: CONTRACT,
        },
        pool::few_conflict_keys,
    ),
    (
        Rule {
            name: "errors of the state are passed on",
            sentence: "The state could not be read: this node stops, the block is not judged.",
            file: CONTRACT,
        },
        reads::errors_are_passed_on,
    ),
    (
        Rule {
            name: "queries are answered in JSON",
            sentence: "Answers `path` with JSON; `params` is JSON too.",
            file: CONTRACT,
        },
        reads::answers_are_json,
    ),
    (Rule { name: "an unknown path is named", sentence: "No such path.", file: CONTRACT }, reads::unknown_path),
    (common::NOTHING_LEFT, |suite, _| common::many_times(|| suite.build().map(drop))),
];

pub(super) fn rules() -> Vec<Rule> {
    TABLE.iter().map(|(rule, _)| *rule).collect()
}

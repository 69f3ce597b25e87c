//! A plugin with the rules of its slot, and what came of trying them.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::rule::{Outcome, Rule, Trouble};
use crate::sim::Rng;

/// The seed of a suite, unless [`SEED_VARIABLE`] or its maker says otherwise.
pub const SEED_DEFAULT: u64 = 1;

/// The environment variable with the seed of every suite.
pub const SEED_VARIABLE: &str = "QUORATE_CONFORMANCE_SEED";

/// The environment variable with the name of the one rule to be tried, or a part of it.
pub const RULE_VARIABLE: &str = "QUORATE_CONFORMANCE_RULE";

/// A trial of one subject.
type Trial<'a> = Box<dyn Fn(&mut Rng) -> Outcome + 'a>;

/// What tries a rule on a subject `S`.
type TrialOf<S> = fn(&S, &mut Rng) -> Outcome;

/// A plugin, ready to be asked for each rule of its slot.
pub struct Suite<'a> {
    slot: &'static str,
    plugin: String,
    seed: u64,
    only: Option<String>,
    trials: Vec<(Rule, Trial<'a>)>,
}

impl fmt::Debug for Suite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("slot", &self.slot).field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl<'a> Suite<'a> {
    /// The rules of `table` for `subject`.
    pub(super) fn new<S>(slot: &'static str, plugin: &str, subject: &'a S, table: &[(Rule, TrialOf<S>)]) -> Self {
        let trials = table.iter().map(|(rule, trial)| {
            let (rule, trial) = (*rule, *trial);
            (rule, Box::new(move |rng: &mut Rng| trial(subject, rng)) as Trial<'a>)
        });
        let seed = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(SEED_DEFAULT);
        let only = std::env::var(RULE_VARIABLE).ok();
        Self { slot, plugin: plugin.to_owned(), seed, only, trials: trials.collect() }
    }

    /// The rules, in the order in which they are tried.
    pub fn rules(&self) -> impl Iterator<Item = Rule> + '_ {
        self.trials.iter().map(|(rule, _)| *rule)
    }

    /// Tries one rule by its name; `None` when there is none such.
    pub fn try_rule(&self, name: &str) -> Option<Finding> {
        self.trials.iter().find(|(rule, _)| rule.name == name).map(|(rule, trial)| self.one(*rule, trial))
    }

    /// Tries every rule, or those that [`RULE_VARIABLE`] names.
    pub fn run(&self) -> Report {
        let wanted = |rule: &Rule| self.only.as_ref().is_none_or(|only| rule.name.contains(only.as_str()));
        let findings =
            self.trials.iter().filter(|(rule, _)| wanted(rule)).map(|(rule, trial)| self.one(*rule, trial)).collect();
        Report { slot: self.slot, plugin: self.plugin.clone(), findings }
    }

    fn one(&self, rule: Rule, trial: &Trial<'a>) -> Finding {
        let mut rng = Rng::new(self.seed);
        // The subject is shared only with the trials that follow, which see for themselves what state it is in.
        let outcome = catch_unwind(AssertUnwindSafe(|| trial(&mut rng)))
            .unwrap_or_else(|panic| Err(Trouble::Broken(format!("the plugin panicked: {}", words(&*panic)))));
        Finding { rule, seed: self.seed, outcome }
    }
}

/// What a panic said.
pub(super) fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".into())
}

/// What came of trying one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// With which seed; the same seed draws the same.
    pub seed: u64,
    /// Held, broken, or not applicable.
    pub outcome: Outcome,
}

impl Finding {
    /// Whether the plugin breaks the rule.
    pub fn is_broken(&self) -> bool {
        matches!(self.outcome, Err(Trouble::Broken(_)))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { name, sentence, file } = self.rule;
        match &self.outcome {
            Ok(()) => write!(f, "held            {name}"),
            Err(Trouble::DoesNotApply(why)) => write!(f, "does not apply  {name}: {why}"),
            Err(Trouble::Broken(detail)) => {
                writeln!(f, "broken          {name}")?;
                writeln!(f, "  the contract  \"{sentence}\" (framework/api/src/{file})")?;
                writeln!(f, "  what was seen {detail}")?;
                write!(f, "  once more     {SEED_VARIABLE}={} {RULE_VARIABLE}=\"{name}\"", self.seed)
            }
        }
    }
}

/// What came of trying a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The slot.
    pub slot: &'static str,
    /// The plugin's name.
    pub plugin: String,
    /// A finding for each rule that was tried.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The rules that the plugin breaks.
    pub fn broken(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_broken())
    }

    /// Panics with what was broken, if anything; prints what did not apply.
    ///
    /// # Panics
    ///
    /// When a rule is broken.
    #[expect(clippy::panic, reason = "the assertion of an author's test")]
    pub fn check(&self) {
        let broken = self.broken().count();
        if broken > 0 {
            panic!("{self}");
        }
        println!("{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} `{}`: {} of {} rules broken",
            self.slot,
            self.plugin,
            self.broken().count(),
            self.findings.len()
        )?;
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

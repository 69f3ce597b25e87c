//! One rule: its name, the contract's sentence, and how a trial of it may end.

use std::fmt;

/// A rule of a slot's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// A few words, unique in its slot.
    pub name: &'static str,
    /// The sentence that it checks, as it stands in the documentation of `framework/api`.
    pub sentence: &'static str,
    /// In which file of `framework/api/src` that is.
    pub file: &'static str,
}

/// Why a trial did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The plugin breaks the rule; how that was seen.
    Broken(String),
    /// The rule says nothing about this plugin; why.
    DoesNotApply(String),
}

/// How a trial ended.
pub type Outcome = Result<(), Trouble>;

/// The plugin breaks the rule.
pub(super) fn broken<T>(detail: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Broken(detail.into()))
}

/// The rule says nothing about the plugin.
pub(super) fn does_not_apply<T>(why: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::DoesNotApply(why.into()))
}

/// Holds, or the rule is broken in the way that `detail` tells.
pub(super) fn ensure(holds: bool, detail: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { broken(detail()) }
}

/// What went wrong where nothing should have.
pub(super) trait OrBroken<T> {
    /// The value, or the rule is broken: `doing` failed.
    fn or_broken(self, doing: impl fmt::Display) -> Result<T, Trouble>;
}

impl<T, E: fmt::Display> OrBroken<T> for Result<T, E> {
    fn or_broken(self, doing: impl fmt::Display) -> Result<T, Trouble> {
        self.map_err(|error| Trouble::Broken(format!("{doing} failed: {error}")))
    }
}

impl<T> OrBroken<T> for Option<T> {
    fn or_broken(self, doing: impl fmt::Display) -> Result<T, Trouble> {
        self.ok_or_else(|| Trouble::Broken(format!("{doing} gave nothing")))
    }
}

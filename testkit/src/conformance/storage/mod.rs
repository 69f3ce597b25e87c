//! The Storage slot's rules.

mod bounds;
mod child;
mod content;
mod processes;
mod views;

use std::{path::Path, process::Command, sync::Arc};

use quorate::{
    Settings, Storage,
    plugin::{SetupError, StoragePlugin},
    storage::StorageError,
};
use tempfile::TempDir;

pub use child::CHILD_VARIABLE;

use super::{
    common,
    rule::{OrBroken, Outcome, Rule, Trouble, broken, ensure},
    suite::{Report, Suite},
};
use crate::sim::Rng;

/// A storage plugin, to be asked for its slot's contract.
pub struct StorageSuite<'a> {
    plugin: &'a dyn StoragePlugin,
    settings: String,
    durable: bool,
    child: Option<Box<dyn Fn() -> Command + 'a>>,
}

/// The rules of the Storage slot for `plugin` with these settings, a TOML text.
///
/// A store that is durable is also killed, which needs a process of its own: [`StorageSuite::child_test`] or
/// [`StorageSuite::child`].
pub fn storage<'a>(plugin: &'a dyn StoragePlugin, settings: &str) -> StorageSuite<'a> {
    StorageSuite { plugin, settings: settings.to_owned(), durable: true, child: None }
}

impl<'a> StorageSuite<'a> {
    /// The store does not outlive its process: rules on what survives do not apply.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.durable = false;
        self
    }

    /// Processes which write until they are killed are this test binary with the one test `name`, that which runs this suite.
    #[must_use]
    pub fn child_test(self, name: &'static str) -> Self {
        self.child(move || {
            // A test binary knows where it is; where not, starting the child fails, and the rule says so.
            let mut command = Command::new(std::env::current_exe().unwrap_or_default());
            command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
            command
        })
    }

    /// Processes which write until they are killed are made by `command`, and come to [`StorageSuite::suite`] of the same
    /// plugin: with [`CHILD_VARIABLE`] set, that does not return.
    #[must_use]
    pub fn child(mut self, command: impl Fn() -> Command + 'a) -> Self {
        self.child = Some(Box::new(command));
        self
    }

    /// The suite. In a child process: writes as it was told to, and ends the process.
    pub fn suite(&self) -> Suite<'_> {
        child::serve(self);
        Suite::new("storage", self.plugin.descriptor().name, self, TABLE)
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

    fn settings(&self) -> Settings {
        Settings::from_text(&self.settings)
    }

    fn try_open(&self, directory: &Path) -> Result<Arc<dyn Storage>, SetupError> {
        self.plugin.open(&self.settings(), directory)
    }

    fn open(&self, directory: &Path) -> Result<Arc<dyn Storage>, Trouble> {
        self.try_open(directory).or_broken("opening the store")
    }

    /// A new folder with a new store.
    fn fresh(&self) -> Result<(TempDir, Arc<dyn Storage>), Trouble> {
        let folder = folder()?;
        let store = self.open(folder.path())?;
        Ok((folder, store))
    }
}

/// A new, empty folder, removed when dropped.
fn folder() -> Result<TempDir, Trouble> {
    tempfile::tempdir().or_broken("making a folder for the test")
}

const CONTRACT: &str = "storage.rs";

type Trial = fn(&StorageSuite<'_>, &mut Rng) -> Outcome;

/// Each rule, and what tries it.
const TABLE: &[(Rule, Trial)] = &[
    (common::DESCRIPTOR, |suite, _| common::descriptor(&suite.plugin.descriptor())),
    (common::EXAMPLE, |suite, _| common::example(&suite.plugin.descriptor(), |text| suite.plugin.check(text))),
    (common::UNKNOWN_KEY, |suite, _| common::unknown_key(&suite.settings, |text| suite.plugin.check(text))),
    (
        Rule { name: "keys order as bytes", sentence: "Keys order as bytes.", file: CONTRACT },
        content::keys_order_as_bytes,
    ),
    (
        Rule {
            name: "ranges are half-open and limited",
            sentence: "At most `limit` pairs with `from <= key < to` in ascending order of bytes.",
            file: CONTRACT,
        },
        content::ranges_are_half_open,
    ),
    (
        Rule {
            name: "a later write to a key wins",
            sentence: "Writes to be applied together, in order; a later write to a key wins.",
            file: CONTRACT,
        },
        content::later_writes_win,
    ),
    (
        Rule { name: "it agrees with a map", sentence: "Applies every write in `batch`, or none.", file: CONTRACT },
        content::agrees_with_a_map,
    ),
    (
        Rule {
            name: "a view sees every commit before it",
            sentence: "A view of everything committed before this call; later commits do not change it, and it does not delay them.",
            file: CONTRACT,
        },
        views::sees_what_was_committed,
    ),
    (
        Rule { name: "a view does not change", sentence: "A consistent, unchanging view of a store.", file: CONTRACT },
        views::does_not_change,
    ),
    (
        Rule {
            name: "a view delays no commit",
            sentence: "A view of everything committed before this call; later commits do not change it, and it does not delay them.",
            file: CONTRACT,
        },
        views::delays_no_commit,
    ),
    (
        Rule {
            name: "readers see a batch whole while others are written",
            sentence: "Applies every write in `batch`, or none.",
            file: CONTRACT,
        },
        views::whole_under_writes,
    ),
    (
        Rule {
            name: "the longest keys and values are kept",
            sentence: "Keys have 1 to [`KEY_BYTES_MAX`] bytes, values 0 to [`VALUE_BYTES_MAX`].",
            file: CONTRACT,
        },
        bounds::longest_are_kept,
    ),
    (
        Rule {
            name: "longer ones are refused with their batch",
            sentence: "A batch with a too long key or value is refused whole and leaves the store usable.",
            file: CONTRACT,
        },
        bounds::longer_are_refused,
    ),
    (
        Rule {
            name: "an empty key is refused",
            sentence: "Keys have 1 to [`KEY_BYTES_MAX`] bytes, values 0 to [`VALUE_BYTES_MAX`].",
            file: CONTRACT,
        },
        bounds::empty_key_is_refused,
    ),
    (
        Rule {
            name: "opened again it holds what was committed",
            sentence: "When this returns `Ok` the writes survive a power cut.",
            file: CONTRACT,
        },
        content::opened_again,
    ),
    (Rule { name: "two stores share nothing", sentence: common::APART, file: "plugin.rs" }, share_nothing),
    (common::NOTHING_LEFT, |suite, _| {
        let folder = folder()?;
        common::many_times(|| suite.open(folder.path()).map(drop))
    }),
    (
        Rule { name: "a store in use is locked", sentence: "Another process has it open.", file: CONTRACT },
        processes::in_use_is_locked,
    ),
    (
        Rule {
            name: "a killed writer loses nothing acknowledged",
            sentence: "When this returns `Ok` the writes survive a power cut.",
            file: CONTRACT,
        },
        processes::killed_while_writing,
    ),
    (
        Rule {
            name: "killed while it is made it can be made again",
            sentence: "Opens the store in `directory`, which exists, or makes it: atomically, whenever the process is killed.",
            file: "plugin.rs",
        },
        processes::killed_while_made,
    ),
    (
        Rule {
            name: "a full disk takes nothing back",
            sentence: "The write did not happen, or will be seen whole after the store is opened again.",
            file: CONTRACT,
        },
        processes::full_disk,
    ),
    (
        Rule {
            name: "a failed store refuses until it is opened again",
            sentence: "After an error the store must be opened again before it is used: every later call answers [`StorageError::Poisoned`].",
            file: CONTRACT,
        },
        processes::poisoned,
    ),
];

pub(super) fn rules() -> Vec<Rule> {
    TABLE.iter().map(|(rule, _)| *rule).collect()
}

fn share_nothing(suite: &StorageSuite<'_>, _: &mut Rng) -> Outcome {
    let ((_one, first), (_two, second)) = (suite.fresh()?, suite.fresh()?);
    content::put(&*first, &[(b"a", b"1")])?;
    content::put(&*second, &[(b"b", b"2")])?;
    for (store, key) in [(&first, b"b"), (&second, b"a")] {
        let found = content::view(&**store)?.get(key).or_broken("get")?;
        ensure(found.is_none(), || "what was put into one store is found in another".into())?;
    }
    Ok(())
}

/// The store's own error, when opening fails with one.
fn storage_error<T>(result: Result<T, SetupError>) -> Result<StorageError, Trouble> {
    match result {
        Err(SetupError::Storage(error)) => Ok(error),
        Err(other) => broken(format!("opening failed with {other:?}, which is not a StorageError")),
        Ok(_) => broken("opening succeeded"),
    }
}

//! Why a library or a plugin in it can't be used: which file, what was found, what was expected.

use std::{fmt, io};

use quorate::Hash;

use super::call::Fault;
use crate::{
    raw::{QUORATE_ABI_MAJOR, QUORATE_ABI_MINOR},
    slot::Slot,
};

/// Why a plugin can't be had from a library.
#[derive(Debug, thiserror::Error)]
#[error("plugin library `{file}`: {kind}")]
pub struct LoadError {
    /// The file as the operator wrote it.
    pub file: String,
    /// What is wrong with it.
    #[source]
    pub kind: LoadErrorKind,
}

/// What is wrong with a library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// There is none.
    #[error("file not found")]
    NotFound,
    /// It can't be read.
    #[error("can't be read: {0}")]
    Unreadable(io::Error),
    /// It is larger than any library.
    #[error("has {found} bytes; the limit is {limit}")]
    TooLarge {
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Something else.
    #[error("is not a shared library")]
    NotALibrary,
    /// Cut short.
    #[error("is truncated: {found} bytes on disk, its headers promise at least {promised}")]
    Truncated {
        /// Its size.
        found: u64,
        /// What there should be.
        promised: u64,
    },
    /// Of another machine.
    #[error("was built for {found}, this node runs on {expected}")]
    Machine {
        /// Its machine.
        found: String,
        /// Ours.
        expected: &'static str,
    },
    /// Another file than the pinned one.
    #[error("has the SHA-256 {found}, the configuration says {expected}")]
    WrongHash {
        /// Of the file.
        found: Hash,
        /// As pinned.
        expected: Hash,
    },
    /// Not the file any more which this process has under that path.
    #[error(
        "was changed after this process loaded it: start the process again, and replace a library only by renaming a new file over it"
    )]
    Changed,
    /// dlopen failed.
    #[error("the system loader refused it: {0}")]
    Refused(String),
    /// No symbol.
    #[error("exports no symbol `QUORATE_PLUGIN`, so it is not a Quorate plugin (is the export line missing?)")]
    NoSymbol,
    /// A symbol of that name that is something else.
    #[error("its symbol `QUORATE_PLUGIN` is not a Quorate plugin's: it begins with {0:02x?}")]
    Magic([u8; 8]),
    /// Another ABI.
    #[error("speaks plugin ABI {}, this node speaks {}; {}", Abi(*.major, *.minor), Abi::OURS, advice(*.major, *.minor))]
    Abi {
        /// Its major version.
        major: u32,
        /// Its minor version.
        minor: u32,
    },
    /// A panic in it would end the node.
    #[error(
        "was built with panic = \"abort\", so that its panics would end the node; build it with panic = \"unwind\""
    )]
    PanicAborts,
    /// What it declares makes no sense.
    #[error("declares {0}")]
    Malformed(String),
    /// It failed while it was loaded.
    #[error("{0}")]
    Fault(Fault),
    /// It has plugins, but not for this slot.
    #[error("provides {provides}, but [{slot}] needs {} {slot} plugin", article(*.slot))]
    WrongSlot {
        /// What it has.
        provides: String,
        /// What is needed.
        slot: Slot,
    },
    /// It has no plugin of this name.
    #[error("provides {provides}, but no {slot} plugin `{wanted}`")]
    NoSuchPlugin {
        /// What it has.
        provides: String,
        /// The slot.
        slot: Slot,
        /// The name.
        wanted: String,
    },
}

fn article(slot: Slot) -> &'static str {
    if slot == Slot::Application { "an" } else { "a" }
}

struct Abi(u32, u32);

impl Abi {
    const OURS: Self = Self(QUORATE_ABI_MAJOR, QUORATE_ABI_MINOR);
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

fn advice(major: u32, minor: u32) -> String {
    if (major, minor) > (QUORATE_ABI_MAJOR, QUORATE_ABI_MINOR) {
        format!("use a newer node, or build the plugin against ABI {}", Abi::OURS)
    } else {
        format!("rebuild the plugin against ABI {QUORATE_ABI_MAJOR}")
    }
}

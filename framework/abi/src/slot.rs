//! The slots of a node, by name and by number.

use std::fmt;

use crate::raw;

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Slot {
    /// Which block is next.
    Consensus = raw::QUORATE_SLOT_CONSENSUS,
    /// Keys and values.
    Storage = raw::QUORATE_SLOT_STORAGE,
    /// What transactions mean.
    Application = raw::QUORATE_SLOT_APPLICATION,
    /// Messages.
    Transport = raw::QUORATE_SLOT_TRANSPORT,
    /// Peers.
    Discovery = raw::QUORATE_SLOT_DISCOVERY,
    /// What runs beside.
    Service = raw::QUORATE_SLOT_SERVICE,
}

impl Slot {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Consensus, Self::Storage, Self::Application, Self::Transport, Self::Discovery, Self::Service];

    /// As in TOML.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Storage => "storage",
            Self::Application => "application",
            Self::Transport => "transport",
            Self::Discovery => "discovery",
            Self::Service => "service",
        }
    }

    /// By its name in TOML.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.as_str() == word)
    }

    /// By its number on the boundary.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| *slot as u32 == number)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

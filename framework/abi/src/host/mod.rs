//! The node's side: loading a library, and objects of its plugins which are used like bundled ones.

mod actor;
mod actors;
mod application;
mod call;
mod consensus;
mod declared;
mod elf;
mod error;
mod library;
mod node;
mod object;
mod offered;
mod probe;
mod proof;
mod setup;
mod state;
mod storage;

pub use self::{
    actor::STOP_WAIT,
    call::{ANSWER_BYTES_MAX, ANSWERS_MAX, END_WAIT, Fault, FaultKind, OPEN_WAIT, Origin, SETUP_WAIT, observe_setup},
    consensus::{ACTIONS_MAX, DESCRIBED_BYTES_MAX},
    declared::{PLUGINS_MAX, TEXT_BYTES_MAX},
    error::{LoadError, LoadErrorKind},
    library::{LIBRARIES_MAX, LIBRARY_BYTES_MAX, Library, Provided, load},
    probe::{Died, PROBE_WAIT, probe, signal},
};

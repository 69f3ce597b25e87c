//! Plugins in a shared library that fail in every way, for the tests of the binary boundary.
//!
//! `fault` in a plugin's settings says how it fails: in which call, and whether by a panic, by ending the process, or by not returning.

#![expect(clippy::panic, reason = "to fail is what it is for")]

mod application;
mod consensus;
mod storage;
mod transport;

use quorate::{Settings, diagnostics::Diagnostic};
use serde::Deserialize;

pub use self::{
    application::FaultyApplication, consensus::FaultyConsensus, storage::FaultyStorage, transport::FaultyTransport,
};

quorate_abi::export!(
    consensus: FaultyConsensus,
    storage: FaultyStorage,
    application: FaultyApplication,
    transport: FaultyTransport,
);

/// An example of the settings of each.
const EXAMPLE: &str = "# Which call fails, and how.\nfault = \"none\"\n";

/// The schema of the settings of each.
const SCHEMA: &str =
    r#"{"type": "object", "additionalProperties": false, "properties": {"fault": {"type": "string"}}}"#;

/// The settings of each.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    #[serde(default)]
    fault: String,
}

impl Faults {
    fn read(settings: &Settings) -> Result<Self, Vec<Diagnostic>> {
        settings.parse()
    }

    /// Fails, if it is to fail in this call.
    fn at(&self, call: &str) {
        let Some(how) = self.fault.strip_suffix(call).and_then(|rest| rest.strip_suffix(" in ")) else { return };
        match how {
            "panics" => panic!("planted in {call}"),
            "aborts" => std::process::abort(),
            "hangs" => loop {
                std::thread::sleep(std::time::Duration::from_secs(60));
            },
            _ => {}
        }
    }
}

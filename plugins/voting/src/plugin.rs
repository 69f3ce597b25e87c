//! The plugin `voting` and its setting in genesis.

use std::sync::Arc;

use quorate::{
    Application, ChainId, Hash, Settings,
    plugin::{ApplicationPlugin, Descriptor, SetupError},
    settings::NoKeys,
};
use quorate_ballot::group::Element;
use serde::Deserialize;

use crate::application::Voting;

/// Election admins of a chain at most.
const ADMINS_MAX: usize = 16;

/// `[application]` of genesis. No default: all nodes must agree.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    admins: Vec<Hash>,
}

fn read(shared: &Settings, own: &Settings) -> Result<Vec<Element>, SetupError> {
    let (read, own) = (shared.parse::<Shared>(), own.parse::<NoKeys>());
    let mut errors = own.err().unwrap_or_default();
    let admins = match read {
        Ok(read) => read.admins,
        Err(more) => {
            errors.extend(more);
            return Err(errors.into());
        }
    };
    if admins.is_empty() || admins.len() > ADMINS_MAX {
        let message = format!("admins has {} keys; it must have 1 to {ADMINS_MAX}", admins.len());
        errors.push(shared.error("admins", message));
    }
    let mut keys = Vec::with_capacity(admins.len());
    for key in &admins {
        match Element::decode(key.as_bytes()) {
            Ok(element) if keys.contains(&element) => {
                errors.push(shared.error("admins", format!("admins names {key} twice")));
            }
            Ok(element) => keys.push(element),
            Err(problem) => errors.push(shared.error("admins", format!("the key {key} {problem}"))),
        }
    }
    if errors.is_empty() { Ok(keys) } else { Err(errors.into()) }
}

/// Verifiable elections.
#[derive(Debug, Clone, Copy, Default)]
pub struct VotingPlugin;

impl ApplicationPlugin for VotingPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("voting", env!("CARGO_PKG_VERSION"), "verifiable elections with encrypted ballots")
            .with_example(
                "\
# In genesis. Who may draft elections: 1 to 16 public keys (`quorate election key`).
admins = [\"0xe2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76\"]
",
            )
    }

    fn check(&self, shared: &Settings, settings: &Settings) -> Result<(), SetupError> {
        read(shared, settings).map(drop)
    }

    fn build(
        &self,
        chain_id: ChainId,
        shared: &Settings,
        settings: &Settings,
    ) -> Result<Arc<dyn Application>, SetupError> {
        Ok(Arc::new(Voting::new(chain_id, read(shared, settings)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(shared: &str, own: &str) -> Vec<String> {
        match VotingPlugin.check(&Settings::from_text(shared), &Settings::from_text(own)) {
            Ok(()) => Vec::new(),
            Err(SetupError::Settings(errors)) => errors.into_iter().map(|error| error.message).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_example_is_fine_and_every_error_is_told() {
        let example = VotingPlugin.descriptor().example;
        assert_eq!(errors(example, ""), [""; 0]);
        assert_eq!(errors("", ""), ["missing key `admins`"]);
        assert_eq!(
            errors("admins = []", "cache = 1"),
            ["unknown key `cache`", "admins has 0 keys; it must have 1 to 16"]
        );
        let zero = format!("0x{}", "00".repeat(32));
        let identity = errors(&format!("admins = [\"{zero}\"]"), "");
        assert_eq!(identity, [format!("the key {zero} is the identity, which is not allowed anywhere")]);
        let one = "0xe2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76";
        assert_eq!(errors(&format!("admins = [\"{one}\", \"{one}\"]"), ""), [format!("admins names {one} twice")]);
    }
}

//! The plugin `kv` and its setting in genesis.

use std::sync::Arc;

use quorate::{
    Application, ChainId, Settings,
    plugin::{ApplicationPlugin, Descriptor, SetupError},
};
use serde::Deserialize;

use crate::{application::Kv, transaction::VALUE_BYTES_CAP};

/// `[application]` of genesis. No default: all nodes must agree.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    value_bytes_max: usize,
}

/// `[application]` of the node: nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {}

fn read(shared: &Settings, own: &Settings) -> Result<Shared, SetupError> {
    let (read, own) = (shared.parse::<Shared>(), own.parse::<Own>());
    let mut errors = own.err().unwrap_or_default();
    match read {
        Ok(read) if errors.is_empty() && (1..=VALUE_BYTES_CAP).contains(&read.value_bytes_max) => return Ok(read),
        Ok(read) if !(1..=VALUE_BYTES_CAP).contains(&read.value_bytes_max) => {
            let message = format!("value_bytes_max is {}; it must be 1 to {VALUE_BYTES_CAP}", read.value_bytes_max);
            errors.push(shared.error("value_bytes_max", message));
        }
        Ok(_) => {}
        Err(more) => errors.extend(more),
    }
    Err(errors.into())
}

/// Signed key-value writes.
#[derive(Debug, Clone, Copy, Default)]
pub struct KvPlugin;

impl ApplicationPlugin for KvPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("kv", env!("CARGO_PKG_VERSION"), "key-value writes, each signed with Ed25519").with_example(
            "\
# In genesis. Bytes of a value at most, 1 to 1024.
value_bytes_max = 1024
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
        Ok(Arc::new(Kv::new(chain_id, read(shared, settings)?.value_bytes_max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(shared: &str, own: &str) -> Vec<String> {
        match KvPlugin.check(&Settings::from_text(shared), &Settings::from_text(own)) {
            Ok(()) => Vec::new(),
            Err(SetupError::Settings(errors)) => errors.into_iter().map(|error| error.message).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_example_is_fine_and_every_error_is_told() {
        assert_eq!(errors(KvPlugin.descriptor().example, ""), [""; 0]);
        assert_eq!(errors("", ""), ["missing key `value_bytes_max`"]);
        assert_eq!(errors("value_bytes_max = 0", ""), ["value_bytes_max is 0; it must be 1 to 1024"]);
        let both = errors("value_bytes_max = 1025", "cache = 1");
        assert_eq!(both, ["unknown key `cache`", "value_bytes_max is 1025; it must be 1 to 1024"]);
    }
}

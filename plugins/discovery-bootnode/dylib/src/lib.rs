//! The discoveries `bootnode` and `static` and the service `bootnode` as a shared library, of the same crate that a node links in.

use quorate_discovery_bootnode::{BootnodeDiscoveryPlugin, RegistryServicePlugin, StaticDiscoveryPlugin};

quorate_abi::export!(
    discovery: BootnodeDiscoveryPlugin,
    discovery: StaticDiscoveryPlugin,
    service: RegistryServicePlugin::default(),
);

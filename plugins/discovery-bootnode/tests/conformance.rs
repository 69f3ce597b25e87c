//! What every discovery and every service promises, asked of those here.

use quorate_discovery_bootnode::{BootnodeDiscoveryPlugin, RegistryServicePlugin, StaticDiscoveryPlugin};
use quorate_testkit::conformance;

const REGISTRY: &str = "listen = \"{listen}\"\n";

#[test]
fn asking_a_bootnode_keeps_the_contract_of_a_discovery() {
    let settings = "url = \"http://{source}\"\nrefresh_s = 1\n";
    conformance::discovery(&BootnodeDiscoveryPlugin, settings)
        .source(&RegistryServicePlugin::default(), REGISTRY)
        .check();
}

#[test]
fn a_list_of_peers_keeps_the_contract_of_a_discovery() {
    let settings = "[[peer]]\nname = \"other\"\npublic_key = \"{peer_key}\"\naddress = \"{peer_address}\"\n";
    conformance::discovery(&StaticDiscoveryPlugin, settings).check();
}

#[test]
fn the_registry_keeps_the_contract_of_a_service() {
    conformance::service(&RegistryServicePlugin::default(), REGISTRY).check();
}

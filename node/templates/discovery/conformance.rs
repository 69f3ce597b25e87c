//! The contract of the Discovery slot, asked of this plugin.

use my_plugin::MyPlugin;
use quorate_testkit::conformance;

#[test]
fn it_keeps_the_contract_of_a_discovery() {
    // The suite puts another node's key and address there.
    conformance::discovery(&MyPlugin, "peers = [\"other {peer_key} {peer_address}\"]\n").check();
}

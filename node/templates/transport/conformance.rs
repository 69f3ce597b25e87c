//! The contract of the Transport slot, asked of this plugin.

use my_plugin::MyPlugin;
use quorate_testkit::conformance;

#[test]
fn it_keeps_the_contract_of_a_transport() {
    // The suite puts an address of its own there.
    conformance::transport(&MyPlugin, "peer_listen = \"{listen}\"\n").check();
}

//! The contract of services, asked of this plugin.

use my_plugin::MyPlugin;
use quorate_testkit::conformance;

#[test]
fn it_keeps_the_contract_of_a_service() {
    // The suite puts an address of its own there.
    conformance::service(&MyPlugin, "listen = \"{listen}\"\n").check();
}

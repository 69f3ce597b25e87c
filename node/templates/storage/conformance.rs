//! The contract of the Storage slot, asked of this plugin. Processes which run this very test are killed while they write.

use my_plugin::MyPlugin;
use quorate_testkit::conformance;

#[test]
fn it_keeps_the_contract_of_a_store() {
    conformance::storage(&MyPlugin, "").child_test("it_keeps_the_contract_of_a_store").check();
}

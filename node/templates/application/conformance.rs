//! The contract of the Application slot, asked of this plugin.

use my_plugin::MyPlugin;
use quorate::{Bytes, plugin::ApplicationPlugin as _};
use quorate_testkit::conformance;

#[test]
fn it_keeps_the_contract_of_an_application() {
    // Some that can be executed, one which comes twice, one that is none.
    let transactions = |_| ["a", "b", "c", "d", "e", "f", "g", "h", "i", "a", ""].map(Bytes::from).to_vec();
    conformance::application(&MyPlugin, MyPlugin.descriptor().example)
        .transactions(transactions)
        .query("count", "{}")
        .check();
}

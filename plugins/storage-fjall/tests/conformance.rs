//! What every store promises, asked of this one.

use quorate_storage_fjall::FjallPlugin;
use quorate_testkit::conformance;

#[test]
fn it_keeps_the_contract_of_a_store() {
    conformance::storage(&FjallPlugin, "").child_test("it_keeps_the_contract_of_a_store").check();
}

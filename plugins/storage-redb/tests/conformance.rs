//! What every store promises, asked of this one.

use quorate_storage_redb::RedbPlugin;
use quorate_testkit::conformance;

#[test]
fn it_keeps_the_contract_of_a_store() {
    conformance::storage(&RedbPlugin, "").child_test("it_keeps_the_contract_of_a_store").check();
}

/// With the smallest journal: most batches go to the tree, and kills meet it while it is made durable.
#[test]
fn it_keeps_the_contract_of_a_store_with_the_smallest_journal() {
    let settings = "journal_bytes = 65536";
    conformance::storage(&RedbPlugin, settings)
        .child_test("it_keeps_the_contract_of_a_store_with_the_smallest_journal")
        .check();
}

//! The store `redb` as a shared library, of the same crate that a node links in.

quorate_abi::export!(storage: quorate_storage_redb::RedbPlugin);

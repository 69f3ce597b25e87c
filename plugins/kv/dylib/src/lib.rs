//! The application `kv` as a shared library, of the same crate that a node links in.

quorate_abi::export!(application: quorate_kv::KvPlugin);

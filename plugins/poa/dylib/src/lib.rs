//! The consensus `poa` as a shared library, of the same crate that a node links in.

quorate_abi::export!(consensus: quorate_poa::PoaPlugin);

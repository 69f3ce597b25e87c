//! The transport `http` as a shared library, of the same crate that a node links in.

quorate_abi::export!(transport: quorate_transport_http::HttpPlugin);

//! What every transport promises, asked of this one.

use quorate_testkit::conformance;
use quorate_transport_http::HttpPlugin;

#[test]
fn it_keeps_the_contract_of_a_transport() {
    conformance::transport(&HttpPlugin, "peer_listen = \"{listen}\"\nrpc_listen = \"127.0.0.1:0\"\n").check();
}

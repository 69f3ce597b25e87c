//! Keys of nodes that exist for a trial only, and what else a node gives to its plugins.

use std::{fmt::Display, net::SocketAddr, sync::Arc, time::Duration};

use ed25519_zebra::{SigningKey, VerificationKeyBytes};
use quorate::{
    PublicKey, Signature,
    node::{Node, NodeHandle, Reply, Request, Response},
    transport::{Identity, IdentityError, IdentityUse, RECORD_TAG},
};
use tokio::{runtime::Runtime, task::JoinHandle, time::timeout};

use super::rule::{OrBroken, Outcome, Trouble, broken, ensure};

/// How long a trial waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing must happen, where that is a rule: long for what would come at once.
pub(super) const QUIET: Duration = Duration::from_millis(400);

/// How long stopping may take: two seconds, and one for a machine that is busy with others.
pub(super) const STOPPING: Duration = Duration::from_secs(3);

/// What settings have in the place of the address to listen on.
pub(super) const LISTEN: &str = "{listen}";

/// A free port of the loopback address.
pub(super) const ANY_PORT: &str = "127.0.0.1:0";

/// A key made of one number.
pub(super) struct Key(SigningKey);

impl Key {
    pub(super) fn new(number: u8) -> Arc<Self> {
        Arc::new(Self(SigningKey::from([number; 32])))
    }
}

impl Identity for Key {
    fn public_key(&self) -> PublicKey {
        PublicKey::new(VerificationKeyBytes::from(&self.0).into())
    }

    fn sign(&self, purpose: IdentityUse, bytes: &[u8]) -> Result<Signature, IdentityError> {
        let signed = match purpose {
            IdentityUse::TlsHandshake if bytes.starts_with(&[b' '; 64]) => bytes.to_vec(),
            IdentityUse::TlsHandshake => return Err(IdentityError("not the transcript of a TLS 1.3 handshake".into())),
            IdentityUse::Record => [RECORD_TAG, bytes].concat(),
        };
        Ok(Signature::new(self.0.sign(&signed).to_bytes()))
    }
}

/// A node that answers nothing.
struct NoNode;

impl Node for NoNode {
    fn call(&self, _: Request, reply: Reply) {
        reply(Response::Unavailable("a trial has no node".into()));
    }
}

pub(super) fn no_node() -> NodeHandle {
    NodeHandle::new(Arc::new(NoNode))
}

/// A runtime for one trial; what still runs on it ends when it is dropped.
pub(super) fn runtime() -> Result<Runtime, Trouble> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().or_broken("making a runtime for the test")
}

/// Waits for an actor which was told to stop.
pub(super) fn stopped<E: Display>(runtime: &Runtime, running: JoinHandle<Result<(), E>>, when: &str) -> Outcome {
    match runtime.block_on(async { timeout(STOPPING, running).await }) {
        Err(_) => broken(format!("{when} it had not returned after {STOPPING:?}")),
        Ok(Err(error)) => broken(format!("{when} it did not return: {error}")),
        Ok(Ok(ended)) => ended.or_broken(format!("{when} it returned, and")),
    }
}

/// Whether addresses are resolved and answered.
pub(super) fn is_listening(addresses: impl IntoIterator<Item = SocketAddr>) -> Outcome {
    for address in addresses {
        ensure(address.port() != 0, || format!("it says that it listens on {address}, which is no port"))?;
        std::net::TcpStream::connect_timeout(&address, PATIENCE).or_broken(format!("connecting to {address}"))?;
    }
    Ok(())
}

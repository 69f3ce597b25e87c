//! Transport: authenticated peers, and clients over JSON-RPC, with hyper.
//!
//! [`peers`](self) are other nodes: TLS 1.3 on both sides with the nodes' Ed25519 keys (`tls`), then a hello which names the network, then
//! length-prefixed messages (`peers`, `link`). Clients speak HTTP/1.1 (`server`) and JSON-RPC 2.0 (`rpc`, `methods`).

mod link;
mod methods;
mod peers;
mod rpc;
mod server;
mod settings;
mod tls;

use std::net::SocketAddr;

use quorate::{
    Settings, Transport, async_trait,
    plugin::{Descriptor, SetupError, TransportPlugin},
    transport::{Io, Purpose, TransportCommand, TransportContext, TransportError, TransportEvent},
};
use tokio::sync::watch;

use crate::{peers::Peers, server::Server, settings::HttpSettings};

/// The plugin `http`.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpPlugin;

impl TransportPlugin for HttpPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            name: "http",
            version: env!("CARGO_PKG_VERSION"),
            summary: "peers over TLS 1.3 with pinned node keys, clients over JSON-RPC",
            example: settings::EXAMPLE,
        }
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        HttpSettings::read(settings).map(drop)
    }

    fn bind(&self, settings: &Settings, context: TransportContext) -> Result<Box<dyn Transport>, SetupError> {
        let settings = HttpSettings::read(settings)?;
        let server = Server::bind(&settings, &context)?;
        let peers = Peers::bind(&settings, context)?;
        Ok(Box::new(Http { settings, server, peers }))
    }
}

struct Http {
    settings: HttpSettings,
    server: Server,
    peers: Peers,
}

#[async_trait]
impl Transport for Http {
    fn listening(&self) -> Vec<(Purpose, SocketAddr)> {
        vec![(Purpose::Peer, self.peers.address()), (Purpose::Rpc, self.server.address())]
    }

    fn advertised(&self, purpose: Purpose) -> Option<String> {
        match purpose {
            Purpose::Peer => self.settings.peer_advertise.clone(),
            Purpose::Rpc => self.settings.rpc_advertise.clone(),
        }
    }

    async fn run(self: Box<Self>, io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError> {
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(self.server.run(stopped));
        let result = self.peers.run(io).await;
        stop.send_replace(true);
        if let Err(error) = serving.await {
            tracing::warn!(%error, "the clients' side ended badly");
        }
        result
    }
}

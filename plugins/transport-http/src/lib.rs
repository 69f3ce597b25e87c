//! Transport: authenticated peers, and clients by JSON-RPC and WebSocket, over hyper.
//!
//! Peers are other nodes: TLS 1.3 on both sides with the nodes' Ed25519 keys (`tls`), then a hello which names the network, then
//! length-prefixed messages (`peers`, `link`). Clients are in [`client`]; addresses and limits in [`settings`].

pub mod client;
pub mod settings;

mod link;
mod peers;
mod tls;

use std::net::SocketAddr;

use quorate::{
    Settings, Transport, async_trait,
    plugin::{Descriptor, SetupError, TransportPlugin},
    transport::{COMMANDS_MAX, Io, Purpose, TransportCommand, TransportContext, TransportError, TransportEvent},
};
use tokio::sync::mpsc;

use crate::{client::Clients, peers::Peers, settings::HttpSettings};

/// The plugin `http`.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpPlugin;

impl TransportPlugin for HttpPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            name: "http",
            version: env!("CARGO_PKG_VERSION"),
            summary: "peers over TLS 1.3 with pinned node keys, clients over JSON-RPC and WebSocket",
            example: settings::EXAMPLE,
        }
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        HttpSettings::read(settings)?;
        Ok(())
    }

    fn bind(&self, settings: &Settings, context: TransportContext) -> Result<Box<dyn Transport>, SetupError> {
        let settings = HttpSettings::read(settings)?;
        peers::refuse_beyond_loopback("rpc_listen", settings.client.listen, context.loopback_only)?;
        let clients = Clients::bind(&settings.client, &context)?;
        let peers = Peers::bind(&settings, context)?;
        Ok(Box::new(Http { settings, clients, peers }))
    }
}

struct Http {
    settings: HttpSettings,
    clients: Clients,
    peers: Peers,
}

#[async_trait]
impl Transport for Http {
    fn listening(&self) -> Vec<(Purpose, SocketAddr)> {
        vec![(Purpose::Peer, self.peers.address()), (Purpose::Rpc, self.clients.address())]
    }

    fn advertised(&self, purpose: Purpose) -> Option<String> {
        match purpose {
            Purpose::Peer => self.settings.peer_advertise.clone(),
            Purpose::Rpc => self.settings.client.advertise.clone(),
        }
    }

    async fn run(self: Box<Self>, io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError> {
        let (to_clients, for_clients) = mpsc::channel(COMMANDS_MAX);
        let (to_peers, for_peers) = mpsc::channel(COMMANDS_MAX);
        let split = async move {
            let mut commands = io.commands;
            while let Some(command) = commands.recv().await {
                let stop = matches!(command, TransportCommand::Stop);
                let sent = match &command {
                    // A slow subscription misses heads rather than holding up votes.
                    TransportCommand::Committed(_) => {
                        drop(to_clients.try_send(command));
                        true
                    }
                    TransportCommand::Stop => {
                        drop(to_clients.send(TransportCommand::Stop).await);
                        to_peers.send(command).await.is_ok()
                    }
                    _ => to_peers.send(command).await.is_ok(),
                };
                if stop || !sent {
                    break;
                }
            }
            Ok(())
        };
        let peers = self.peers.run(Io { commands: for_peers, events: io.events });
        tokio::try_join!(split, self.clients.run(for_clients), peers).map(drop)
    }
}

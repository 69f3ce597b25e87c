//! The plugin `http`: both sides under one name.

use std::net::SocketAddr;

use quorate::{
    diagnostics::Diagnostic,
    plugin::{Descriptor, SetupError, TransportPlugin},
    settings::Settings,
    transport::{
        COMMANDS_MAX, Io, Purpose, Transport, TransportCommand, TransportContext, TransportError, TransportEvent,
    },
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    client::Clients,
    peer::Peers,
    settings::{EXAMPLE, HttpSettings},
};

/// New blocks that may wait for the side of clients; it takes them at once.
const HEADS_MAX: usize = 64;

/// The transport `http`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HttpPlugin;

impl TransportPlugin for HttpPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new(
            "http",
            env!("CARGO_PKG_VERSION"),
            "authenticated peers over TLS 1.3; clients by JSON-RPC 2.0 over HTTP and WebSocket",
        )
        .with_example(EXAMPLE)
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        HttpSettings::read(settings)?;
        Ok(())
    }

    fn bind(&self, settings: &Settings, context: TransportContext) -> Result<Box<dyn Transport>, SetupError> {
        let read = HttpSettings::read(settings)?;
        if context.loopback_only {
            let errors = beyond_loopback(settings, &read);
            if !errors.is_empty() {
                return Err(errors.into());
            }
        }
        let peers = Peers::bind(&read.peer, &context)?;
        let clients = Clients::bind(&read.client, &context)?;
        Ok(Box::new(Http { peers, clients, settings: read }))
    }
}

/// Errors for the addresses that others can reach.
fn beyond_loopback(settings: &Settings, read: &HttpSettings) -> Vec<Diagnostic> {
    let addresses: [(&str, SocketAddr); 2] = [("rpc_listen", read.client.listen), ("peer_listen", read.peer.listen)];
    let beyond = addresses.iter().filter(|(_, address)| !address.ip().to_canonical().is_loopback());
    beyond
        .map(|(key, address)| {
            let message = format!(
                "`{key}` is \"{address}\", but this node's key is a well-known development key: anybody could act as this node"
            );
            settings.error(key, message).with_help("listen on 127.0.0.1, or give the node a key of its own: quorate key new")
        })
        .collect()
}

/// Both sides, bound.
struct Http {
    peers: Peers,
    clients: Clients,
    settings: HttpSettings,
}

#[quorate::async_trait]
impl Transport for Http {
    fn listening(&self) -> Vec<(Purpose, SocketAddr)> {
        vec![(Purpose::Peer, self.peers.address()), (Purpose::Rpc, self.clients.address())]
    }

    fn advertised(&self, purpose: Purpose) -> Option<String> {
        match purpose {
            Purpose::Peer => self.settings.peer.advertise.clone(),
            Purpose::Rpc => self.settings.client.advertise.clone(),
        }
    }

    async fn run(self: Box<Self>, io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError> {
        let Io { mut commands, events } = io;
        let (to_peers, for_peers) = mpsc::channel(COMMANDS_MAX);
        let (to_clients, for_clients) = mpsc::channel(HEADS_MAX);
        let mut sides = JoinSet::new();
        sides.spawn(self.peers.run(for_peers, events));
        sides.spawn(self.clients.run(for_clients));
        let first = loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(TransportCommand::Stop) => break None,
                    Some(command) => {
                        let side = match command {
                            TransportCommand::Committed(_) => &to_clients,
                            _ => &to_peers,
                        };
                        // A side that is gone is seen by the other arm.
                        drop(side.send(command).await);
                    }
                },
                ended = sides.join_next() => break ended,
            }
        };
        // Closing their commands stops both.
        drop((to_peers, to_clients));
        let mut result = first.map_or(Ok(()), flatten);
        while let Some(ended) = sides.join_next().await {
            result = result.and(flatten(ended));
        }
        result
    }
}

fn flatten(ended: Result<Result<(), TransportError>, tokio::task::JoinError>) -> Result<(), TransportError> {
    ended.unwrap_or_else(|error| {
        Err(TransportError::Io { action: "serving peers and clients".into(), source: std::io::Error::other(error) })
    })
}

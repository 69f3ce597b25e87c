//! A transport without a network, which gives back what it is to send, and fails where it is told to.

use std::{net::SocketAddr, time::Duration};

use quorate::{
    Settings, Transport, async_trait,
    node::{Request, Response},
    plugin::{Descriptor, SetupError, TransportPlugin},
    transport::{IdentityUse, Io, Purpose, TransportCommand, TransportContext, TransportError, TransportEvent},
};

use crate::{EXAMPLE, Faults, SCHEMA};

/// Every message comes back from whom it was for; who is dialled refuses, in words of the node.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultyTransport;

struct Echo {
    faults: Faults,
    context: TransportContext,
}

impl Echo {
    /// What the node says of itself and signs.
    async fn asked(&self) -> String {
        let signature = match self.context.identity.sign(IdentityUse::Record, b"record") {
            Ok(signature) => signature.to_string(),
            Err(error) => error.to_string(),
        };
        let refused = self.context.identity.sign(IdentityUse::TlsHandshake, b"anything").is_err();
        match self.context.node.request(Request::Status).await {
            Response::Status(status) => format!("{} {signature} {refused}", status.name),
            other => format!("{other:?}"),
        }
    }
}

#[async_trait]
impl Transport for Echo {
    fn listening(&self) -> Vec<(Purpose, SocketAddr)> {
        vec![(Purpose::Peer, ([127, 0, 0, 1], 7).into())]
    }

    fn advertised(&self, purpose: Purpose) -> Option<String> {
        (purpose == Purpose::Peer).then(|| format!("{}.example:7", self.context.name))
    }

    async fn run(self: Box<Self>, mut io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError> {
        self.faults.at("run");
        if self.faults.fault == "ends" {
            let source = std::io::Error::from_raw_os_error(98);
            return Err(TransportError::Io { action: "accept".into(), source });
        }
        if self.faults.fault == "is slow" {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        while let Some(command) = io.commands.recv().await {
            let event = match command {
                TransportCommand::Send { to, class, bytes } => TransportEvent::Message { from: to, class, bytes },
                TransportCommand::Dial { address, .. } => {
                    TransportEvent::PeerRefused { address, reason: self.asked().await }
                }
                TransportCommand::Stop if self.faults.fault == "does not stop" => std::future::pending().await,
                TransportCommand::Stop => break,
                _ => continue,
            };
            if io.events.send(event).await.is_err() {
                break;
            }
        }
        tracing::info!("stopped");
        Ok(())
    }
}

impl TransportPlugin for FaultyTransport {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("faulty", "1.2.3", "an echo").with_example(EXAMPLE).with_schema(SCHEMA)
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        Faults::read(settings)?.at("check");
        Ok(())
    }

    fn bind(&self, settings: &Settings, context: TransportContext) -> Result<Box<dyn Transport>, SetupError> {
        let faults = Faults::read(settings)?;
        faults.at("create");
        if faults.fault == "can not listen" {
            let source = std::io::Error::from_raw_os_error(98);
            return Err(SetupError::Listen { key: "peer_listen", address: "127.0.0.1:7".into(), source });
        }
        Ok(Box::new(Echo { faults, context }))
    }
}

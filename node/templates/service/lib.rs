//! The service `my-plugin`: tells whoever connects how high the chain is, in one line, and closes.

use std::net::{SocketAddr, TcpListener};

use quorate::{
    Height, Service, Settings, async_trait,
    plugin::{Descriptor, ServicePlugin, SetupError},
    service::{ServiceCommand, ServiceContext, ServiceError, ServiceEvent},
    transport::Io,
};

/// `[[service]]` of a node's file. A key that is not here is refused, with its place in the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    listen: SocketAddr,
}

const EXAMPLE: &str = "# Where it listens.
listen = \"127.0.0.1:7000\"
";

/// Bound, and not yet running.
struct Heights(TcpListener);

#[async_trait]
impl Service for Heights {
    fn listening(&self) -> Vec<SocketAddr> {
        self.0.local_addr().into_iter().collect()
    }

    async fn run(self: Box<Self>, mut io: Io<ServiceCommand, ServiceEvent>) -> Result<(), ServiceError> {
        let listener = tokio::net::TcpListener::from_std(self.0).map_err(|error| ServiceError(error.to_string()))?;
        let mut height = Height::GENESIS;
        loop {
            tokio::select! {
                command = io.commands.recv() => match command {
                    Some(ServiceCommand::Committed(head)) => height = head.header.height,
                    Some(ServiceCommand::Stop) | None => return Ok(()),
                    Some(_) => {}
                },
                accepted = listener.accept() => match accepted {
                    // A line fits into the buffer of a new connection: whoever does not read it holds nobody up.
                    Ok((client, _)) => if client.writable().await.is_ok() {
                        drop(client.try_write(format!("{height}\n").as_bytes()));
                    },
                    // Of one client, or because there is no room for more: later there may be.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                },
            }
        }
    }
}

/// What `plugin = "my-plugin"` stands for.
pub struct MyPlugin;

impl ServicePlugin for MyPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("my-plugin", env!("CARGO_PKG_VERSION"), "tells how high the chain is").with_example(EXAMPLE)
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        settings.parse::<Table>()?;
        Ok(())
    }

    fn build(&self, settings: &Settings, context: ServiceContext) -> Result<Box<dyn Service>, SetupError> {
        let Table { listen } = settings.parse()?;
        if context.loopback_only && !listen.ip().is_loopback() {
            return Err(vec![
                settings.error("listen", "a node with a well-known development key listens on loopback only"),
            ]
            .into());
        }
        // Bound here, so that an address in use is an error at start.
        let failed = |source| SetupError::Listen { key: "listen", address: listen.to_string(), source };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Box::new(Heights(listener)))
    }
}

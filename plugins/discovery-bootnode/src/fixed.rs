//! Discovery from the node's own file: a list of peers.

use quorate::{
    Discovery, PublicKey, Settings,
    diagnostics::Diagnostic,
    discovery::{DiscoveryCommand, DiscoveryContext, DiscoveryError, DiscoveryEvent},
    plugin::{Descriptor, DiscoveryPlugin, SetupError},
    transport::Io,
};
use serde::Deserialize;

use crate::{
    VERSION,
    record::{check_node_id, peer_address},
};

/// Peers that a file may list at most.
pub const PEERS_MAX: usize = 256;

const EXAMPLE: &str = r#"# One for each peer; this node itself may be among them.
# [[discovery.peer]]
# name = "validator-2"
# public_key = "0x..."
# address = "192.0.2.2:30303"
"#;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    name: String,
    pub(crate) public_key: PublicKey,
    address: String,
}

impl From<Peer> for DiscoveryEvent {
    fn from(peer: Peer) -> Self {
        let Peer { name, public_key, address } = peer;
        DiscoveryEvent::Found { peer: public_key.into(), name, address }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StaticSettings {
    #[serde(default)]
    peer: Vec<Peer>,
}

fn read(settings: &Settings) -> Result<Vec<Peer>, Vec<Diagnostic>> {
    let StaticSettings { peer } = settings.parse()?;
    checked(settings, peer)
}

/// The peers of a file, their addresses in one form.
pub(crate) fn checked(settings: &Settings, mut peer: Vec<Peer>) -> Result<Vec<Peer>, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut wrong = |message: String| errors.push(settings.error("peer", message));
    if peer.len() > PEERS_MAX {
        wrong(format!("{} peers; the limit is {PEERS_MAX}", peer.len()));
    }
    for (at, one) in peer.iter().enumerate() {
        if let Err(error) = check_node_id(&one.name) {
            wrong(format!("peer {} `{}`: {}", at + 1, one.name, error.to_string().replace("node_id", "name")));
        }
        if peer_address(&one.address).is_none() {
            wrong(format!(
                "peer `{}`: address `{}` is no address; write it like 192.0.2.1:30303",
                one.name, one.address
            ));
        }
        if let Some(other) = peer.iter().take(at).find(|other| other.public_key == one.public_key) {
            wrong(format!("peers `{}` and `{}` have the same public_key", other.name, one.name));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for one in &mut peer {
        one.address = peer_address(&one.address).unwrap_or_default();
    }
    Ok(peer)
}

/// The discovery `static`: peers as the file lists them.
#[derive(Debug, Clone, Copy, Default)]
pub struct StaticDiscoveryPlugin;

impl DiscoveryPlugin for StaticDiscoveryPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("static", VERSION, "peers as the node's file lists them").with_example(EXAMPLE)
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        read(settings)?;
        Ok(())
    }

    fn build(&self, settings: &Settings, context: DiscoveryContext) -> Result<Box<dyn Discovery>, SetupError> {
        let own = context.identity.public_key();
        let peers = read(settings)?.into_iter().filter(|peer| peer.public_key != own).collect();
        Ok(Box::new(StaticDiscovery { peers }))
    }
}

struct StaticDiscovery {
    peers: Vec<Peer>,
}

#[quorate::async_trait]
impl Discovery for StaticDiscovery {
    async fn run(self: Box<Self>, mut io: Io<DiscoveryCommand, DiscoveryEvent>) -> Result<(), DiscoveryError> {
        let detail = format!("{} peers in the file", self.peers.len());
        let found = self.peers.into_iter().map(DiscoveryEvent::from);
        let tell = async {
            for event in std::iter::once(DiscoveryEvent::Source { reachable: true, detail }).chain(found) {
                if io.events.send(event).await.is_err() {
                    return;
                }
            }
            // The list does not change; there is nothing more to tell.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = tell => {}
            () = stopped(&mut io.commands) => {}
        }
        Ok(())
    }
}

/// Waits until the kernel says stop, or is gone.
pub(crate) async fn stopped(commands: &mut tokio::sync::mpsc::Receiver<DiscoveryCommand>) {
    loop {
        match commands.recv().await {
            Some(DiscoveryCommand::Stop) | None => return,
            Some(_) => {}
        }
    }
}

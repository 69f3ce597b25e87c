//! The discovery `my-plugin`: peers as the node's own file lists them.

use quorate::{
    Discovery, PublicKey, Settings, async_trait,
    diagnostics::Diagnostic,
    discovery::{DiscoveryCommand, DiscoveryContext, DiscoveryError, DiscoveryEvent},
    plugin::{Descriptor, DiscoveryPlugin, SetupError},
    transport::Io,
};

/// `[discovery]` of a node's file. A key that is not here is refused, with its place in the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    peers: Vec<String>,
}

const EXAMPLE: &str = r#"# The other nodes, each as "NAME PUBLIC_KEY HOST:PORT".
peers = ["validator-2 0xd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a 192.0.2.2:30303"]
"#;

/// Peers at most.
const PEERS_MAX: usize = 256;

struct Peer {
    name: String,
    key: PublicKey,
    address: String,
}

/// Reads one entry of the list.
fn peer(text: &str) -> Option<Peer> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [name, key, address] = words[..] else { return None };
    let (host, port) = address.rsplit_once(':')?;
    let good = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0);
    good.then_some(Peer { name: name.into(), key: key.parse().ok()?, address: address.into() })
}

fn read(settings: &Settings) -> Result<Vec<Peer>, Vec<Diagnostic>> {
    let Table { peers } = settings.parse()?;
    if peers.len() > PEERS_MAX {
        return Err(vec![settings.error("peers", format!("{} peers; the limit is {PEERS_MAX}", peers.len()))]);
    }
    let wrong = |text: &String| vec![settings.error("peers", format!("`{text}` is not \"NAME PUBLIC_KEY HOST:PORT\""))];
    peers.iter().map(|text| peer(text).ok_or_else(|| wrong(text))).collect()
}

/// Tells the list, and waits to be stopped.
struct List(Vec<Peer>);

#[async_trait]
impl Discovery for List {
    async fn run(self: Box<Self>, io: Io<DiscoveryCommand, DiscoveryEvent>) -> Result<(), DiscoveryError> {
        let Io { mut commands, events } = io;
        let detail = format!("{} peers in the file", self.0.len());
        let found = self.0.into_iter().map(|Peer { name, key, address }| DiscoveryEvent::Found {
            peer: key.into(),
            name,
            address,
        });
        let tell = async {
            for event in std::iter::once(DiscoveryEvent::Source { reachable: true, detail }).chain(found) {
                if events.send(event).await.is_err() {
                    return;
                }
            }
            // The list does not change; there is nothing more to tell.
            std::future::pending::<()>().await;
        };
        // A full queue must not keep it from stopping. There is one command, and a closed queue means the same.
        tokio::select! {
            () = tell => {}
            _ = commands.recv() => {}
        }
        Ok(())
    }
}

/// What `plugin = "my-plugin"` stands for.
pub struct MyPlugin;

impl DiscoveryPlugin for MyPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("my-plugin", env!("CARGO_PKG_VERSION"), "peers as the node's file lists them")
            .with_example(EXAMPLE)
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        read(settings)?;
        Ok(())
    }

    fn build(&self, settings: &Settings, context: DiscoveryContext) -> Result<Box<dyn Discovery>, SetupError> {
        let me = context.identity.public_key();
        Ok(Box::new(List(read(settings)?.into_iter().filter(|peer| peer.key != me).collect())))
    }
}

//! The discovery over a hub: everyone on it is found at once.

use std::collections::BTreeSet;

use quorate::{
    ChainId, Discovery, PeerId, Settings,
    discovery::{DiscoveryCommand, DiscoveryContext, DiscoveryError, DiscoveryEvent},
    plugin::{Descriptor, DiscoveryPlugin, SetupError},
    transport::Io,
};

use super::{hub::Hub, transport::ADDRESS};

/// The plugin `memory`.
#[derive(Debug, Clone)]
pub struct MemoryDiscoveryPlugin(Hub);

impl MemoryDiscoveryPlugin {
    /// A plugin that finds who is on `hub`.
    pub fn new(hub: &Hub) -> Self {
        Self(hub.clone())
    }
}

impl DiscoveryPlugin for MemoryDiscoveryPlugin {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("memory", env!("CARGO_PKG_VERSION"), "finds the nodes inside this process")
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        super::no_settings(settings)
    }

    fn build(&self, settings: &Settings, context: DiscoveryContext) -> Result<Box<dyn Discovery>, SetupError> {
        self.check(settings)?;
        let me = PeerId::from(context.identity.public_key());
        Ok(Box::new(MemoryDiscovery { hub: self.0.clone(), me, chain_id: context.chain_id }))
    }
}

/// Finds who is on a [`Hub`].
#[derive(Debug)]
pub struct MemoryDiscovery {
    hub: Hub,
    me: PeerId,
    chain_id: ChainId,
}

#[quorate::async_trait]
impl Discovery for MemoryDiscovery {
    async fn run(self: Box<Self>, io: Io<DiscoveryCommand, DiscoveryEvent>) -> Result<(), DiscoveryError> {
        let Io { mut commands, events } = io;
        let mut members = self.hub.members();
        let mut told = BTreeSet::new();
        loop {
            let seen = members.borrow_and_update().clone();
            told.retain(|peer| seen.iter().any(|member| member.peer == *peer));
            for member in seen.into_iter().filter(|one| one.peer != self.me && one.chain_id == self.chain_id) {
                if told.insert(member.peer) {
                    let event = DiscoveryEvent::Found { peer: member.peer, name: member.name, address: ADDRESS.into() };
                    if events.send(event).await.is_err() {
                        return Ok(());
                    }
                }
            }
            tokio::select! {
                // There is one command, and a closed queue means the same.
                _ = commands.recv() => return Ok(()),
                changed = members.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }
}

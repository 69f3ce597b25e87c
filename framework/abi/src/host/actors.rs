//! A transport, a discovery and a service in a library, used like bundled ones.

use std::{net::SocketAddr, sync::Arc};

use quorate::{
    Discovery, Service, Settings, Transport, async_trait,
    discovery::{DiscoveryCommand, DiscoveryContext, DiscoveryError, DiscoveryEvent},
    plugin::{Descriptor, DiscoveryPlugin, ServicePlugin, SetupError, TransportPlugin},
    service::{ServiceCommand, ServiceContext, ServiceError, ServiceEvent},
    transport::{Identity, Io, Purpose, TransportCommand, TransportContext, TransportError, TransportEvent},
};

use super::{
    actor::{self, Actor},
    call::{Fault, Origin},
    setup,
};
use crate::{
    raw::QuorateActor,
    wire::actor::{ActorContext, Event},
};

/// A plugin of a library that runs beside the node.
pub(super) struct LibraryActor {
    pub(super) origin: Arc<Origin>,
    pub(super) descriptor: Descriptor,
    pub(super) functions: &'static QuorateActor,
}

/// An actor that was made, and where it listens.
struct Made<E: Event> {
    actor: Actor<E>,
    listening: Vec<(Purpose, SocketAddr)>,
}

impl LibraryActor {
    /// Reads where an actor listens.
    fn made<E: Event>(&self, actor: Actor<E>) -> Result<Made<E>, SetupError> {
        let mut listening = Vec::new();
        for (purpose, address) in &actor.about.listening {
            let read = address.parse().map_err(|error| Fault::rubbish("create", format!("`{address}`: {error}")));
            listening.push((*purpose, read.map_err(|fault| setup::fault(&self.origin, &fault))?));
        }
        Ok(Made { actor, listening })
    }
}

fn empty(identity: &Arc<dyn Identity>) -> ActorContext {
    ActorContext {
        chain_id: None,
        chain_name: String::new(),
        name: String::new(),
        role: String::new(),
        version: String::new(),
        public_key: identity.public_key(),
        peer_address: String::new(),
        rpc_url: String::new(),
        data_dir: String::new(),
        loopback_only: false,
        admin_token: None,
    }
}

impl TransportPlugin for LibraryActor {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        actor::check(&self.origin, self.functions, settings)
    }

    fn bind(&self, settings: &Settings, context: TransportContext) -> Result<Box<dyn Transport>, SetupError> {
        let TransportContext { chain_id, chain_name, name, role, version, identity, node, loopback_only, admin_token } =
            context;
        let about = ActorContext {
            chain_id: Some(chain_id),
            chain_name,
            name,
            role,
            version,
            loopback_only,
            admin_token: admin_token.as_deref().map(str::to_owned),
            ..empty(&identity)
        };
        let actor = Actor::make(&self.origin, self.functions, settings, &about, identity, Some(node))?;
        Ok(Box::new(self.made::<TransportEvent>(actor)?))
    }
}

#[async_trait]
impl Transport for Made<TransportEvent> {
    fn listening(&self) -> Vec<(Purpose, SocketAddr)> {
        self.listening.clone()
    }

    fn advertised(&self, purpose: Purpose) -> Option<String> {
        let mut all = self.actor.about.advertised.iter();
        all.find(|(of, _)| *of == purpose).map(|(_, address)| address.clone())
    }

    async fn run(self: Box<Self>, io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError> {
        self.actor.run(io).await.map_err(TransportError::Plugin)
    }
}

impl DiscoveryPlugin for LibraryActor {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        actor::check(&self.origin, self.functions, settings)
    }

    fn build(&self, settings: &Settings, context: DiscoveryContext) -> Result<Box<dyn Discovery>, SetupError> {
        let DiscoveryContext { chain_id, name, identity, peer_address, rpc_url } = context;
        let about = ActorContext { chain_id: Some(chain_id), name, peer_address, rpc_url, ..empty(&identity) };
        let actor = Actor::make(&self.origin, self.functions, settings, &about, identity, None)?;
        Ok(Box::new(self.made::<DiscoveryEvent>(actor)?))
    }
}

#[async_trait]
impl Discovery for Made<DiscoveryEvent> {
    async fn run(self: Box<Self>, io: Io<DiscoveryCommand, DiscoveryEvent>) -> Result<(), DiscoveryError> {
        self.actor.run(io).await.map_err(DiscoveryError)
    }
}

impl ServicePlugin for LibraryActor {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn check(&self, settings: &Settings) -> Result<(), SetupError> {
        actor::check(&self.origin, self.functions, settings)
    }

    fn build(&self, settings: &Settings, context: ServiceContext) -> Result<Box<dyn Service>, SetupError> {
        let ServiceContext { name, version, node, identity, data_dir, loopback_only, admin_token, .. } = context;
        let Some(data_dir) = data_dir.to_str().map(str::to_owned) else {
            let message = format!("data_dir {} is not UTF-8, as a plugin in a library needs", data_dir.display());
            return Err(SetupError::Other(message));
        };
        let admin_token = admin_token.as_deref().map(str::to_owned);
        let about = ActorContext { name, version, data_dir, loopback_only, admin_token, ..empty(&identity) };
        let actor = Actor::make(&self.origin, self.functions, settings, &about, identity, Some(node))?;
        Ok(Box::new(self.made::<ServiceEvent>(actor)?))
    }
}

#[async_trait]
impl Service for Made<ServiceEvent> {
    fn listening(&self) -> Vec<SocketAddr> {
        self.listening.iter().map(|(_, address)| *address).collect()
    }

    async fn run(self: Box<Self>, io: Io<ServiceCommand, ServiceEvent>) -> Result<(), ServiceError> {
        self.actor.run(io).await.map_err(ServiceError)
    }
}

//! Transports, discoveries and services as functions.
#![expect(unsafe_code, reason = "functions which a node calls with pointers")]

use std::{ffi::c_void, marker::PhantomData, path::PathBuf, sync::Arc};

use quorate::{
    Settings,
    discovery::{DiscoveryCommand, DiscoveryContext, DiscoveryEvent},
    node::NodeHandle,
    plugin::{Descriptor, DiscoveryPlugin, ServicePlugin, SetupError, TransportPlugin},
    service::{ServiceCommand, ServiceContext, ServiceEvent},
    transport::{Purpose, TransportCommand, TransportContext, TransportEvent},
};

use super::{
    Exported,
    actor::{Actor, Start},
    call::{Refusal, end, frame, frame_of_status, give, shared},
    describe,
    remote::{Remote, RemoteIdentity, Waker},
};
use crate::{
    ffi::Out,
    raw::{
        QUORATE_SLOT_DISCOVERY, QUORATE_SLOT_SERVICE, QUORATE_SLOT_TRANSPORT, QuorateActor, QuorateActorHost,
        QuorateBytes, QuorateDescription, QuoratePlugin, QuorateSink, QuorateWaker,
    },
    wire::{
        self,
        actor::{ActorAbout, ActorContext, Command, Event},
        setup::SetupFailure,
    },
};

/// What was made, or why not.
type Created<C, E> = Result<(Start<C, E>, ActorAbout), SetupError>;

/// What is different in the three slots.
trait Kind: 'static {
    type Command: Command;
    type Event: Event;

    fn descriptor() -> Descriptor;
    fn check(settings: &Settings) -> Result<(), SetupError>;
    fn create(settings: &Settings, context: ActorContext, remote: Remote) -> Created<Self::Command, Self::Event>;
}

fn identity(remote: Remote, context: &ActorContext) -> Arc<RemoteIdentity> {
    Arc::new(RemoteIdentity { remote, public_key: context.public_key })
}

fn chain(context: &ActorContext) -> Result<quorate::ChainId, SetupError> {
    context.chain_id.ok_or_else(|| SetupError::Other("the node has no chain".into()))
}

struct OfTransport<E>(PhantomData<E>);

impl<E: Exported<dyn TransportPlugin>> Kind for OfTransport<E> {
    type Command = TransportCommand;
    type Event = TransportEvent;

    fn descriptor() -> Descriptor {
        E::plugin().descriptor()
    }

    fn check(settings: &Settings) -> Result<(), SetupError> {
        E::plugin().check(settings)
    }

    fn create(settings: &Settings, context: ActorContext, remote: Remote) -> Created<TransportCommand, TransportEvent> {
        let (identity, chain_id) = (identity(remote, &context), chain(&context)?);
        let ActorContext { chain_name, name, role, version, loopback_only, admin_token, .. } = context;
        let node = NodeHandle::new(Arc::new(remote));
        let admin_token = admin_token.map(Arc::from);
        let context =
            TransportContext { chain_id, chain_name, name, role, version, identity, node, loopback_only, admin_token };
        let transport = E::plugin().bind(settings, context)?;
        let both = [Purpose::Peer, Purpose::Rpc];
        let about = ActorAbout {
            listening: transport.listening().into_iter().map(|(of, address)| (of, address.to_string())).collect(),
            advertised: both.into_iter().filter_map(|of| Some((of, transport.advertised(of)?))).collect(),
        };
        let start: Start<_, _> =
            Box::new(|io| Box::pin(async { transport.run(io).await.map_err(|error| error.to_string()) }));
        Ok((start, about))
    }
}

struct OfDiscovery<E>(PhantomData<E>);

impl<E: Exported<dyn DiscoveryPlugin>> Kind for OfDiscovery<E> {
    type Command = DiscoveryCommand;
    type Event = DiscoveryEvent;

    fn descriptor() -> Descriptor {
        E::plugin().descriptor()
    }

    fn check(settings: &Settings) -> Result<(), SetupError> {
        E::plugin().check(settings)
    }

    fn create(settings: &Settings, context: ActorContext, remote: Remote) -> Created<DiscoveryCommand, DiscoveryEvent> {
        let (identity, chain_id) = (identity(remote, &context), chain(&context)?);
        let ActorContext { name, peer_address, rpc_url, .. } = context;
        let context = DiscoveryContext { chain_id, name, identity, peer_address, rpc_url };
        let discovery = E::plugin().build(settings, context)?;
        let start: Start<_, _> =
            Box::new(|io| Box::pin(async { discovery.run(io).await.map_err(|error| error.to_string()) }));
        Ok((start, ActorAbout::default()))
    }
}

struct OfService<E>(PhantomData<E>);

impl<E: Exported<dyn ServicePlugin>> Kind for OfService<E> {
    type Command = ServiceCommand;
    type Event = ServiceEvent;

    fn descriptor() -> Descriptor {
        E::plugin().descriptor()
    }

    fn check(settings: &Settings) -> Result<(), SetupError> {
        E::plugin().check(settings)
    }

    fn create(settings: &Settings, context: ActorContext, remote: Remote) -> Created<ServiceCommand, ServiceEvent> {
        let identity = identity(remote, &context);
        let ActorContext { name, version, data_dir, loopback_only, admin_token, .. } = context;
        let (node, data_dir) = (NodeHandle::new(Arc::new(remote)), PathBuf::from(data_dir));
        let admin_token = admin_token.map(Arc::from);
        let (rules, ledgers) = (None, None);
        let context =
            ServiceContext { name, version, node, identity, data_dir, loopback_only, admin_token, rules, ledgers };
        let service = E::plugin().build(settings, context)?;
        let listening = service.listening().into_iter().map(|address| (Purpose::Rpc, address.to_string()));
        let about = ActorAbout { listening: listening.collect(), advertised: Vec::new() };
        let start: Start<_, _> =
            Box::new(|io| Box::pin(async { service.run(io).await.map_err(|error| error.to_string()) }));
        Ok((start, about))
    }
}

/// Declares a transport.
pub const fn transport<E: Exported<dyn TransportPlugin>>() -> QuoratePlugin {
    declaration::<OfTransport<E>>(QUORATE_SLOT_TRANSPORT)
}

/// Declares a discovery.
pub const fn discovery<E: Exported<dyn DiscoveryPlugin>>() -> QuoratePlugin {
    declaration::<OfDiscovery<E>>(QUORATE_SLOT_DISCOVERY)
}

/// Declares a service.
pub const fn service<E: Exported<dyn ServicePlugin>>() -> QuoratePlugin {
    declaration::<OfService<E>>(QUORATE_SLOT_SERVICE)
}

const fn declaration<K: Kind>(slot: u32) -> QuoratePlugin {
    QuoratePlugin {
        slot,
        flags: 0,
        describe: Some(Shim::<K>::describe),
        functions: std::ptr::from_ref(Shim::<K>::FUNCTIONS).cast(),
    }
}

struct Shim<K>(PhantomData<K>);

fn unmade(error: SetupError) -> Refusal {
    Refusal::error(&SetupFailure::from(error))
}

type Made<K> = Actor<<K as Kind>::Command, <K as Kind>::Event>;

impl<K: Kind> Shim<K> {
    const FUNCTIONS: &'static QuorateActor = &QuorateActor {
        size: size_of::<QuorateActor>() as u32,
        check: Some(Self::check),
        create: Some(Self::create),
        run: Some(Self::run),
        post: Some(Self::post),
        post_ready: Some(Self::post_ready),
        destroy: Some(Self::destroy),
    };

    fn name() -> &'static str {
        K::descriptor().name
    }

    unsafe extern "C" fn describe(to: *mut QuorateDescription, sink: *const QuorateSink) -> i32 {
        // SAFETY: the node promises that the description is valid.
        let body = |_: Out<'_>| unsafe { describe::fill(&K::descriptor(), 0, to) };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn check(settings: QuorateBytes, sink: *const QuorateSink) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let settings: Settings = wire::decode("Settings", unsafe { settings.as_slice() })?;
            K::check(&settings).map_err(unmade)
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn create(
        settings: QuorateBytes,
        context: QuorateBytes,
        host: *const QuorateActorHost,
        to: *mut *mut c_void,
        sink: *const QuorateSink,
    ) -> i32 {
        let body = |out: Out<'_>| {
            // SAFETY: the node promises that the bytes are valid.
            let settings: Settings = wire::decode("Settings", unsafe { settings.as_slice() })?;
            // SAFETY: as above.
            let context: ActorContext = wire::decode("ActorContext", unsafe { context.as_slice() })?;
            // SAFETY: the node promises that its functions are valid as long as the process lives.
            let remote = unsafe { Remote::new(host) }?;
            let (start, about) = K::create(&settings, context, remote).map_err(unmade)?;
            out.put(&wire::encode(&about), &[]);
            // SAFETY: the node promises that there is room for a pointer.
            unsafe { give(Made::<K>::new(Self::name, remote, start), to) }
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn run(actor: *mut c_void, sink: *const QuorateSink) -> i32 {
        let body = |_: Out<'_>| {
            // SAFETY: the node promises that the actor is live.
            let actor: &Made<K> = unsafe { shared(actor) }?;
            actor.run()
        };
        // SAFETY: the node promises that the sink is valid.
        unsafe { frame(Self::name, sink, body) }
    }

    unsafe extern "C" fn post(actor: *mut c_void, command: QuorateBytes, body: QuorateBytes) -> i32 {
        frame_of_status(Self::name, || {
            // SAFETY: the node promises that the actor is live.
            let actor: &Made<K> = unsafe { shared(actor) }?;
            // SAFETY: the node promises that the bytes are valid.
            let command = unsafe { command.as_slice() };
            // SAFETY: as above.
            actor.post(command, unsafe { body.as_slice() })
        })
    }

    unsafe extern "C" fn post_ready(actor: *mut c_void, waker: QuorateWaker) {
        // SAFETY: the node promises that the actor is live.
        match unsafe { shared::<Made<K>>(actor) } {
            Ok(actor) => actor.post_ready(waker),
            Err(_) => drop(Waker::new(waker)),
        }
    }

    unsafe extern "C" fn destroy(actor: *mut c_void) {
        // SAFETY: the node promises that it came from `create` and is not used again.
        unsafe { end::<Made<K>>(Self::name, actor) }
    }
}

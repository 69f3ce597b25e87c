//! A running node: its threads and tasks, and the order in which they start and stop.
//!
//! Start: services are made; store, chain, signer, sockets, consensus; then the loop's thread, transport, discovery and services run. Stop:
//! the reverse. What can go wrong with a setting, a file or an address goes wrong in [`Node::start`].

use std::{collections::BTreeMap, convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use quorate::{
    Height, Receipt, Service, Settings, TransactionId,
    discovery::{DiscoveryCommand, DiscoveryContext},
    node::{Head, NodeHandle, TransactionState, Unavailable},
    plugin::SetupError,
    service::{Ledgers, Rules, ServiceCommand, ServiceContext},
    transport::{COMMANDS_MAX, EVENTS_MAX, Identity, Io, Purpose, TransportCommand, TransportContext},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    ahead::AtHand,
    backup::Backup,
    config::{Assembly, Role},
    core::{self, CONTROLS_MAX, Control, MESSAGES_MAX, Parts},
    intake::{self, INTAKE_MAX, Submission},
    key::{KeyError, NodeKey},
    ledger::{Ledger, LedgerError},
    own::{Opened, Opener},
    pool::Pool,
    requests::{Back, Front},
    router::{self, Router, SERVE_MAX},
    shared::{Identification, Shared},
    signer::{self, GuardError, Signer},
};

pub use crate::core::CoreError;

/// How long everything may take to stop.
pub const STOP_WAIT: Duration = Duration::from_secs(5);

/// What a client of a full pool is told to wait, in milliseconds.
const RETRY_AFTER_MS: u64 = 1000;

/// What the command line adds to the file.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The key is new: make its guard if there is none.
    pub new_validator: bool,
    /// The program's version.
    pub version: &'static str,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The guard can't be used.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// A plugin can't be made.
    #[error("{plugin}: {source}")]
    Setup {
        /// Which, with its slot.
        plugin: String,
        /// Why.
        #[source]
        source: SetupError,
    },
    /// The chain can't be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Blocks were removed that a service reads.
    #[error(
        "the service `{service}` reads the chain from block 1 on, but data_dir {data_dir} has it from block {blocks_from} on; use a data_dir that was never pruned, or a copy of one"
    )]
    History {
        /// The plugin.
        service: String,
        /// Where the chain is.
        data_dir: String,
        /// The lowest height whose block is there.
        blocks_from: Height,
    },
    /// A folder or thread could not be made.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Why a running node stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The loop.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// Another part.
    #[error("{0} stopped: {1}")]
    Part(&'static str, String),
}

/// Starts nodes.
pub struct Node;

/// A node that runs. Dropping it does not stop it; [`Running::stop`] does.
pub struct Running {
    handle: NodeHandle,
    listening: Vec<(String, std::net::SocketAddr)>,
    controls: Option<mpsc::Sender<Control>>,
    transport: Option<mpsc::Sender<TransportCommand>>,
    discovery: Option<mpsc::Sender<DiscoveryCommand>>,
    services: Vec<mpsc::Sender<ServiceCommand>>,
    heads: watch::Receiver<Option<Arc<Head>>>,
    front: Arc<Front>,
    /// Ends when nobody holds the chain any more, and with it its store.
    released: Option<oneshot::Receiver<Infallible>>,
    tasks: Vec<JoinHandle<()>>,
    ended: mpsc::Receiver<Result<(), NodeError>>,
    /// Ledgers of its services' own.
    own: Arc<Opened>,
}

fn setup(slot: &str, name: &str) -> impl FnOnce(SetupError) -> StartError {
    let plugin = format!("[{slot}] plugin \"{name}\"");
    move |source| StartError::Setup { plugin, source }
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

impl Node {
    /// Starts a node inside the current multi-threaded tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running then.
    pub fn start(assembly: Assembly, options: &NodeOptions) -> Result<Running, StartError> {
        let key = NodeKey::load(&assembly.node.key_file)?;
        std::fs::create_dir_all(&assembly.node.data_dir)
            .map_err(io(format!("data_dir {}", assembly.node.data_dir.display())))?;
        let mut start = Starting::new(assembly, options, key);
        // What can fail comes before what runs.
        let rules = start.rules()?;
        let services = start.make_services(rules.as_ref())?;
        if let Some(rules) = rules {
            start.chain(rules)?;
        }
        start.run_services(services);
        Ok(start.running)
    }
}

impl Running {
    /// The node, for asking.
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// The newest final block since the start.
    pub(crate) fn heads(&self) -> watch::Receiver<Option<Arc<Head>>> {
        self.heads.clone()
    }

    /// Gives away what [`Running::failed`] waits for.
    pub(crate) fn take_ended(&mut self) -> mpsc::Receiver<Result<(), NodeError>> {
        std::mem::replace(&mut self.ended, mpsc::channel(1).1)
    }

    /// Where it listens: what, and the address.
    pub fn listening(&self) -> &[(String, std::net::SocketAddr)] {
        &self.listening
    }

    /// Waits until a transaction is final, and gives its receipt. It waits for as long as that takes: without a quorum, for ever.
    ///
    /// # Errors
    ///
    /// [`Unavailable`], also when the node stops meanwhile.
    pub async fn until_final(&self, id: TransactionId) -> Result<Receipt, Unavailable> {
        let mut heads = self.heads.clone();
        loop {
            match self.handle.transaction(id).await? {
                TransactionState::Final(receipt) => return Ok(*receipt),
                TransactionState::Pruned(pruned) => return Err(Unavailable(pruned.to_string())),
                TransactionState::Unknown | TransactionState::Pending(_) => {}
            }
            heads.changed().await.map_err(|_| Unavailable("the node stopped".into()))?;
        }
    }

    /// Has everything stop, and does not wait for it: for what was started and is not wanted after all.
    pub(crate) fn abandon(&self) {
        // A full queue has a stop in it, or a reader who sees it closed.
        self.services.iter().for_each(|service| drop(service.try_send(ServiceCommand::Stop)));
        if let Some(controls) = &self.controls {
            drop(controls.try_send(Control::Stop));
        }
        if let Some(transport) = &self.transport {
            drop(transport.try_send(TransportCommand::Stop));
        }
        self.front.close();
    }

    /// Waits until a part stops by itself.
    ///
    /// # Errors
    ///
    /// [`NodeError`]: always, as nothing stops by itself without a reason.
    pub async fn failed(&mut self) -> Result<(), NodeError> {
        self.ended.recv().await.unwrap_or(Ok(()))
    }

    /// Stops everything in order, within [`STOP_WAIT`]. Then the store is closed, and another node may open it.
    pub async fn stop(mut self) {
        for service in self.services.drain(..) {
            drop(service.send(ServiceCommand::Stop).await);
        }
        if let Some(discovery) = self.discovery.take() {
            drop(discovery.send(DiscoveryCommand::Stop).await);
        }
        if let Some(controls) = self.controls.take() {
            drop(controls.send(Control::Stop).await);
        }
        if let Some(transport) = self.transport.take() {
            drop(transport.send(TransportCommand::Stop).await);
        }
        self.front.close();
        let deadline = tokio::time::Instant::now() + STOP_WAIT;
        for task in self.tasks {
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                tracing::warn!("a part did not stop in time");
            }
        }
        for own in self.own.take() {
            Box::pin(own.stop()).await;
        }
        if let Some(released) = self.released
            && tokio::time::timeout_at(deadline, released).await.is_err()
        {
            tracing::warn!("the store was not closed in time");
        }
    }
}

/// A service with its plugin's name.
type MadeService = (String, Box<dyn Service>);

struct Starting {
    assembly: Assembly,
    version: &'static str,
    new_validator: bool,
    key: NodeKey,
    identity: Arc<dyn Identity>,
    front: Arc<Front>,
    admin_token: Option<Arc<str>>,
    heads: watch::Sender<Option<Arc<Head>>>,
    ended: mpsc::Sender<Result<(), NodeError>>,
    running: Running,
    /// A service which needs every block.
    reads_history: Option<String>,
}

impl Starting {
    fn new(assembly: Assembly, options: &NodeOptions, key: NodeKey) -> Self {
        let front = Arc::new(Front::default());
        let heads = watch::Sender::new(None);
        let (ended, failed) = mpsc::channel(8);
        let admin_token = assembly.node.admin_token_file.as_ref().and_then(|path| {
            let text = std::fs::read_to_string(path);
            text.map(|text| Arc::from(text.trim()))
                .inspect_err(
                    |error| tracing::warn!(path = %path.display(), %error, "operator's token could not be read"),
                )
                .ok()
        });
        Self {
            version: options.version,
            new_validator: options.new_validator,
            identity: Arc::new(key.clone()),
            admin_token,
            running: Running {
                handle: NodeHandle::new(front.clone()),
                heads: heads.subscribe(),
                front: Arc::clone(&front),
                released: None,
                listening: Vec::new(),
                controls: None,
                transport: None,
                discovery: None,
                services: Vec::new(),
                tasks: Vec::new(),
                ended: failed,
                own: Arc::default(),
            },
            heads,
            ended,
            front,
            key,
            reads_history: assembly
                .services
                .iter()
                .find_map(|(plugin, slot)| plugin.needs_history().then(|| slot.plugin.clone())),
            assembly,
        }
    }

    fn spawn(&mut self, part: &'static str, future: impl Future<Output = Result<(), String>> + Send + 'static) {
        let ended = self.ended.clone();
        self.running.tasks.push(tokio::spawn(async move {
            if let Err(why) = future.await {
                tracing::error!(part, why, "a part of the node failed");
                drop(ended.send(Err(NodeError::Part(part, why))).await);
            }
        }));
    }

    /// By what the chain is checked, if there is one.
    fn rules(&self) -> Result<Option<Rules>, StartError> {
        let Some(chain) = &self.assembly.chain else { return Ok(None) };
        let application = chain
            .application
            .build(chain.genesis.chain_id(), &chain.genesis.application_settings(), &chain.application_slot.settings)
            .map_err(setup("application", &chain.application_slot.plugin))?;
        let finality =
            chain.finality.proof(&chain.context).map_err(setup("consensus", &chain.consensus_slot.plugin))?;
        Ok(Some(Rules { genesis: Arc::new(chain.genesis.clone()), finality, application }))
    }

    fn chain(&mut self, rules: Rules) -> Result<(), StartError> {
        let Some(chain) = self.assembly.chain.take() else { return Ok(()) };
        let Rules { application, finality, .. } = rules;
        let name = |settings: &crate::config::SlotConfig| settings.plugin.clone();
        let storage_name = name(&chain.storage_slot);
        let settings: Settings = chain.storage_slot.settings.clone();
        let storage =
            chain.storage.open(&settings, &self.assembly.node.data_dir).map_err(setup("storage", &storage_name))?;
        let consensus_name = name(&chain.consensus_slot);
        let engine = chain.consensus.build(&chain.context).map_err(setup("consensus", &consensus_name))?;
        let (mut ledger, view) = Ledger::open(chain.genesis, application, finality, storage)?;
        ledger.keep_blocks = self.assembly.node.keep_blocks;
        if let Some(service) = self.reads_history.take()
            && view.blocks_from > Height(1)
        {
            let data_dir = self.assembly.node.data_dir.display().to_string();
            return Err(StartError::History { service, data_dir, blocks_from: view.blocks_from });
        }
        let signer = self.signer(&ledger)?;
        let eager_sync = chain.consensus.observes() || signer.is_none();
        let who = Identification {
            name: self.assembly.node.name.clone(),
            role: self.assembly.node.role.to_string(),
            version: self.version.into(),
            key: self.key.public_key(),
            tolerates: chain.report.tolerates.clone(),
        };
        tracing::info!(height = %view.tip.height, blocks_from = %view.blocks_from, chain = ledger.genesis.chain_name(), tolerates = who.tolerates, "chain opened");
        let validators = core::validator_peers(&view);
        let context = TransportContext {
            chain_id: ledger.genesis.chain_id(),
            chain_name: ledger.genesis.chain_name().into(),
            name: who.name.clone(),
            role: who.role.clone(),
            version: self.version.into(),
            identity: Arc::clone(&self.identity),
            node: self.running.handle.clone(),
            loopback_only: self.key.is_development(),
            admin_token: self.admin_token.clone(),
        };
        let transport = chain
            .transport
            .bind(&chain.transport_slot.settings, context)
            .map_err(setup("transport", &name(&chain.transport_slot)))?;
        let (held, released) = oneshot::channel();
        self.running.released = Some(released);
        let pool = Pool::new(self.assembly.pool, RETRY_AFTER_MS);
        let shared = Arc::new(Shared::new(ledger, view, pool, who, held));

        let (messages, messages_rx) = mpsc::channel(MESSAGES_MAX);
        let (controls, controls_rx) = mpsc::channel(CONTROLS_MAX);
        let (submissions, submissions_rx) = mpsc::channel(INTAKE_MAX);
        let (serve, serve_rx) = mpsc::channel(SERVE_MAX);
        let (commands, commands_rx) = mpsc::channel(COMMANDS_MAX);
        let (events, events_rx) = mpsc::channel(EVENTS_MAX);
        let mut found = None;
        if let Some((plugin, slot)) = chain.discovery {
            found =
                Some(self.discovery(plugin.as_ref(), &slot, transport.as_ref(), shared.ledger.genesis.chain_id())?);
        }
        self.running.listening.extend(transport.listening().into_iter().map(|(purpose, address)| {
            let what = match purpose {
                Purpose::Peer => "peers",
                Purpose::Rpc => "rpc",
            };
            (what.to_owned(), address)
        }));
        // The queue is empty and has room.
        drop(commands.try_send(TransportCommand::Validators(validators)));
        let at_hand = AtHand::start(Arc::clone(&shared)).map_err(io("the thread for catch-up could not be made"))?;
        take_in(Arc::clone(&shared), submissions_rx, commands.clone(), controls.clone())?;
        let parts = Parts {
            shared: Arc::clone(&shared),
            engine,
            signer,
            eager_sync,
            at_hand,
            transport: commands.clone(),
            heads: self.heads.clone(),
            messages: messages_rx,
            controls: controls_rx,
            serve: serve.clone(),
        };
        self.core(parts)?;
        self.front.open(Back {
            shared: Arc::clone(&shared),
            intake: submissions.clone(),
            controls: controls.clone(),
            backup: Backup { plugin: chain.storage, settings, running: Arc::default() },
            hot: crate::hot::Hot::default(),
        });
        let io = Io { commands: commands_rx, events };
        self.spawn("transport", async move { transport.run(io).await.map_err(|error| error.to_string()) });
        let router = Router {
            shared: Arc::clone(&shared),
            transport: commands.clone(),
            messages,
            controls: controls.clone(),
            intake: submissions,
            serve,
        };
        self.running.tasks.push(tokio::spawn(router.run(events_rx, found)));
        self.running.tasks.push(tokio::spawn(router::serve_blocks(shared, serve_rx, commands.clone())));
        self.running.controls = Some(controls);
        self.running.transport = Some(commands);
        Ok(())
    }

    fn signer(&self, ledger: &Ledger) -> Result<Option<Signer>, StartError> {
        if self.assembly.node.role != Role::Validator {
            return Ok(None);
        }
        let path = signer::guard_path(&self.assembly.node.key_file);
        if self.new_validator {
            signer::create_guard(&path, &self.key.public_key())?;
        }
        Ok(Some(Signer::open(self.key.clone(), &path, ledger.genesis.chain_id())?))
    }

    fn discovery(
        &mut self,
        plugin: &dyn quorate::plugin::DiscoveryPlugin,
        slot: &crate::config::SlotConfig,
        transport: &dyn quorate::Transport,
        chain_id: quorate::ChainId,
    ) -> Result<mpsc::Receiver<quorate::discovery::DiscoveryEvent>, StartError> {
        let at = |purpose| {
            let listening = transport.listening().into_iter().find(|(of, _)| *of == purpose);
            transport
                .advertised(purpose)
                .or_else(|| listening.map(|(_, address)| address.to_string()))
                .unwrap_or_default()
        };
        let rpc = at(Purpose::Rpc);
        let context = DiscoveryContext {
            chain_id,
            name: self.assembly.node.name.clone(),
            identity: Arc::clone(&self.identity),
            peer_address: at(Purpose::Peer),
            rpc_url: if rpc.contains("://") { rpc } else { format!("http://{rpc}") },
        };
        let discovery = plugin.build(&slot.settings, context).map_err(setup("discovery", &slot.plugin))?;
        let (commands, commands_rx) = mpsc::channel(COMMANDS_MAX);
        let (events, events_rx) = mpsc::channel(EVENTS_MAX);
        let io = Io { commands: commands_rx, events };
        self.running.tasks.push(tokio::spawn(async move {
            if let Err(error) = discovery.run(io).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "discovery failed; the node goes on without it"
                );
            }
        }));
        self.running.discovery = Some(commands);
        Ok(events_rx)
    }

    /// The loop's own thread: fsync and execution never wait for, or hold up, sockets.
    fn core(&mut self, parts: Parts) -> Result<(), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(io("the loop's runtime could not be made"))?;
        let (done, done_rx) = oneshot::channel();
        std::thread::Builder::new()
            .name("quorate-core".into())
            .spawn(move || drop(done.send(runtime.block_on(core::run(parts)))))
            .map_err(io("the loop's thread could not be made"))?;
        let ended = self.ended.clone();
        self.running.tasks.push(tokio::spawn(async move {
            let error = match done_rx.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => NodeError::Core(error),
                Err(_) => NodeError::Part("the loop", "it panicked".into()),
            };
            tracing::error!(error = &error as &dyn std::error::Error, "the node can't go on");
            drop(ended.send(Err(error)).await);
        }));
        Ok(())
    }

    /// Makes every service, with its name; their sockets are bound then.
    fn make_services(&mut self, rules: Option<&Rules>) -> Result<Vec<MadeService>, StartError> {
        let mut made = Vec::new();
        let ledgers: Arc<dyn Ledgers> = Arc::new(Opener {
            registry: self.assembly.registry.clone(),
            version: self.version,
            runtime: tokio::runtime::Handle::current(),
            ended: self.ended.clone(),
            opened: Arc::clone(&self.running.own),
        });
        let mut of_plugin: BTreeMap<String, usize> = BTreeMap::new();
        for (plugin, slot) in std::mem::take(&mut self.assembly.services) {
            // Numbered among those of its plugin: others before it in the file do not give it another folder.
            let at = of_plugin.entry(slot.plugin.clone()).or_default();
            let data_dir: PathBuf = self.assembly.node.data_dir.join("services").join(format!("{at}-{}", slot.plugin));
            *at += 1;
            let context = ServiceContext {
                name: self.assembly.node.name.clone(),
                version: self.version.into(),
                node: self.running.handle.clone(),
                identity: Arc::clone(&self.identity),
                data_dir,
                loopback_only: self.key.is_development(),
                admin_token: self.admin_token.clone(),
                rules: rules.cloned(),
                ledgers: Some(Arc::clone(&ledgers)),
            };
            let service = plugin.build(&slot.settings, context).map_err(setup("service", &slot.plugin))?;
            made.push((slot.plugin, service));
        }
        Ok(made)
    }

    fn run_services(&mut self, services: Vec<MadeService>) {
        for (name, service) in services {
            let listening = service.listening().into_iter().map(|address| (name.clone(), address));
            self.running.listening.extend(listening);
            let (commands, commands_rx) = mpsc::channel(COMMANDS_MAX);
            let (events, mut notes) = mpsc::channel(EVENTS_MAX);
            let io = Io { commands: commands_rx, events };
            self.spawn("a service", async move { service.run(io).await.map_err(|error| error.to_string()) });
            self.running.tasks.push(tokio::spawn(async move {
                while let Some(event) = notes.recv().await {
                    if let quorate::service::ServiceEvent::Note(note) = event {
                        tracing::info!(service = name, note, "service");
                    }
                }
            }));
            self.running.tasks.push(tokio::spawn(tell_heads(self.heads.subscribe(), commands.clone())));
            self.running.services.push(commands);
        }
    }
}

/// The intake's own thread: it ends when nobody can hand in any more.
fn take_in(
    shared: Arc<Shared>,
    submissions: mpsc::Receiver<Submission>,
    transport: mpsc::Sender<TransportCommand>,
    core: mpsc::Sender<Control>,
) -> Result<(), StartError> {
    std::thread::Builder::new()
        .name("quorate-intake".into())
        .spawn(move || intake::run(&shared, submissions, &transport, &core))
        .map_err(io("the intake's thread could not be made"))?;
    Ok(())
}

/// Tells a service of the newest final block; one that is slow misses those between.
async fn tell_heads(mut heads: watch::Receiver<Option<Arc<Head>>>, service: mpsc::Sender<ServiceCommand>) {
    loop {
        tokio::select! {
            changed = heads.changed() => if changed.is_err() { return },
            () = service.closed() => return,
        }
        let head = heads.borrow_and_update().clone();
        if let Some(head) = head
            && service.send(ServiceCommand::Committed(head)).await.is_err()
        {
            return;
        }
    }
}

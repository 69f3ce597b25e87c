//! Ledgers of a service's own: the same node, with one validator, without peers and clients, inside the node that the service runs in.
//!
//! The folder holds `genesis.toml`, `ledger.key` with its guard, and the store. It is made under another name and renamed when it is whole.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use quorate::{
    Application, ChainId, Genesis, Settings, Timestamp, Transport,
    consensus::Context,
    genesis::GENESIS_BYTES_MAX,
    plugin::{ApplicationPlugin, Descriptor, SetupError, TransportPlugin},
    service::{Ledgers, OpenLedger, OwnLedger},
    transport::{Io, Purpose, TransportCommand, TransportContext, TransportError, TransportEvent},
};
use tokio::sync::mpsc;

use crate::{
    config::{Assembly, ChainAssembly, NodeSection, Role, SlotConfig},
    key::NodeKey,
    node::{Node, NodeError, NodeOptions, Running},
    pool::PoolLimits,
    registry::Registry,
    signer,
};

/// The ledger's genesis, in its folder.
const GENESIS: &str = "genesis.toml";

/// The key of its one validator.
const KEY: &str = "ledger.key";

/// What services opened, closed after them.
#[derive(Default)]
pub(crate) struct Opened(Mutex<Vec<Running>>);

impl Opened {
    /// All of them, once.
    pub(crate) fn take(&self) -> Vec<Running> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // Those that were not taken are of a node which did not start.
        self.take().iter().for_each(Running::abandon);
    }
}

/// Opens ledgers for the services of one node.
pub(crate) struct Opener {
    pub(crate) registry: Registry,
    pub(crate) version: &'static str,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) ended: mpsc::Sender<Result<(), NodeError>>,
    pub(crate) opened: Arc<Opened>,
}

impl Ledgers for Opener {
    fn open(&self, ledger: OwnLedger) -> Result<OpenLedger, SetupError> {
        let _inside = self.runtime.enter();
        let assembly = self.assemble(ledger)?;
        let options = NodeOptions { new_validator: false, version: self.version };
        let mut running = Node::start(assembly, &options).map_err(|error| SetupError::Other(error.to_string()))?;
        let open = OpenLedger { node: running.handle(), heads: running.heads() };
        let (mut failed, ended) = (running.take_ended(), self.ended.clone());
        self.runtime.spawn(async move {
            if let Some(end) = failed.recv().await {
                drop(ended.send(end).await);
            }
        });
        self.opened.0.lock().unwrap_or_else(PoisonError::into_inner).push(running);
        Ok(open)
    }
}

fn other(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> SetupError {
    move |error| SetupError::Other(format!("{what}: {error}"))
}

impl Opener {
    fn assemble(&self, ledger: OwnLedger) -> Result<Assembly, SetupError> {
        let OwnLedger { name, directory, application, .. } = &ledger;
        if !directory.exists() {
            make(&ledger)?;
        }
        let path = directory.join(GENESIS);
        let file = path.display().to_string();
        let text = crate::config::read_text(&path, GENESIS_BYTES_MAX)
            .map_err(|why| SetupError::Other(format!("{file} {why}")))?;
        let genesis = Genesis::parse(&file, &text)?;
        let missing = |slot: &str, wanted: &str, known: Vec<&'static str>| {
            SetupError::Other(format!("there is no {slot} plugin `{wanted}`; this program has {}", known.join(", ")))
        };
        let wanted = genesis.consensus_plugin().to_owned();
        let consensus = self.registry.consensus(&wanted).map_err(|known| missing("consensus", &wanted, known))?;
        let storage =
            self.registry.storage(&ledger.storage).map_err(|known| missing("storage", &ledger.storage, known))?;
        let context = Context::of(&genesis);
        let report = consensus.check(&context)?;
        let slot = |slot, plugin: &str| SlotConfig {
            slot,
            plugin: plugin.to_owned(),
            library: None,
            proof_library: None,
            settings: Settings::from_text(""),
        };
        let chain = ChainAssembly {
            genesis,
            finality: Arc::clone(&consensus),
            context,
            report,
            consensus_slot: slot("consensus", &wanted),
            consensus,
            storage,
            storage_slot: slot("storage", &ledger.storage),
            transport: Arc::new(Alone),
            transport_slot: slot("transport", "none"),
            discovery: None,
            application: Arc::new(Given { name, application: Arc::clone(application) }),
            application_slot: slot("application", name),
        };
        let (count_max, bytes_max) = ledger.pool;
        Ok(Assembly {
            node: NodeSection {
                name: (*name).to_owned(),
                role: Role::Validator,
                key_file: directory.join(KEY),
                data_dir: directory.clone(),
                admin_token_file: None,
                keep_blocks: None,
            },
            pool: PoolLimits { count_max, bytes_max, per_sender_max: count_max },
            chain: Some(chain),
            services: Vec::new(),
            plugins: Vec::new(),
            warnings: Vec::new(),
            registry: self.registry.clone(),
        })
    }
}

/// Writes the files of a new ledger.
fn make(ledger: &OwnLedger) -> Result<(), SetupError> {
    let directory = &ledger.directory;
    let new = directory.with_extension("new");
    let what = new.display().to_string();
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(other(&what)(error)),
        _ => {}
    }
    fs::create_dir_all(&new).map_err(other(&what))?;
    let key = NodeKey::generate().map_err(other("a key of its own"))?;
    let key_file = new.join(KEY);
    key.save_new(&key_file).map_err(|error| SetupError::Other(error.to_string()))?;
    signer::create_guard(&signer::guard_path(&key_file), &key.public_key())
        .map_err(|error| SetupError::Other(error.to_string()))?;
    let genesis = genesis(ledger, &key);
    let write = || {
        let mut file = File::create(new.join(GENESIS))?;
        file.write_all(genesis.as_bytes())?;
        file.sync_all()?;
        sync(&new)?;
        fs::rename(&new, directory)?;
        sync(directory.parent().unwrap_or(Path::new(".")))
    };
    write().map_err(other(directory.display()))
}

fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

fn genesis(ledger: &OwnLedger, key: &NodeKey) -> String {
    let OwnLedger { name, consensus, consensus_settings, .. } = ledger;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).utc();
    format!(
        "# A ledger of a service's own: one node seals it, nobody else reads it.\n\
         chain_name = \"{name}\"\ngenesis_time = {time}\n\n\
         [consensus]\nplugin = \"{consensus}\"\n{consensus_settings}\n\
         [application]\nplugin = \"{name}\"\n\n\
         [[validator]]\nname = \"{name}\"\npublic_key = \"{}\"\n",
        key.public_key()
    )
}

/// An application that is there already, as a plugin.
struct Given {
    name: &'static str,
    application: Arc<dyn Application>,
}

impl ApplicationPlugin for Given {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.name, env!("CARGO_PKG_VERSION"), "the application of a service's own ledger")
    }

    fn check(&self, _: &Settings, _: &Settings) -> Result<(), SetupError> {
        Ok(())
    }

    fn build(&self, _: ChainId, _: &Settings, _: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        Ok(Arc::clone(&self.application))
    }
}

/// The transport of a node that nobody reaches.
struct Alone;

impl TransportPlugin for Alone {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new("none", env!("CARGO_PKG_VERSION"), "reaches nobody")
    }

    fn check(&self, _: &Settings) -> Result<(), SetupError> {
        Ok(())
    }

    fn bind(&self, _: &Settings, _: TransportContext) -> Result<Box<dyn Transport>, SetupError> {
        Ok(Box::new(Alone))
    }
}

#[quorate::async_trait]
impl Transport for Alone {
    fn listening(&self) -> Vec<(Purpose, std::net::SocketAddr)> {
        Vec::new()
    }

    fn advertised(&self, _: Purpose) -> Option<String> {
        None
    }

    async fn run(self: Box<Self>, mut io: Io<TransportCommand, TransportEvent>) -> Result<(), TransportError> {
        while let Some(command) = io.commands.recv().await {
            if matches!(command, TransportCommand::Stop) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_half_made_is_made_anew() {
        struct Nothing;
        impl Application for Nothing {
            fn genesis(
                &self,
                _: &mut dyn quorate::application::StateWrite,
            ) -> Result<quorate::Hash, quorate::storage::StorageError> {
                Ok(quorate::Hash::new([0; 32]))
            }
            fn verify(
                &self,
                _: &dyn quorate::application::StateRead,
                transactions: &[quorate::Bytes],
            ) -> Vec<Result<(), quorate::application::Rejection>> {
                vec![Ok(()); transactions.len()]
            }
            fn check(
                &self,
                _: &dyn quorate::application::StateRead,
                _: Timestamp,
                _: &[u8],
            ) -> Result<quorate::application::Admission, quorate::application::Rejection> {
                Err(quorate::application::Rejection::NotAllowed("nothing".into()))
            }
            fn execute(
                &self,
                _: &mut dyn quorate::application::StateWrite,
                _: &quorate::application::BlockContext<'_>,
            ) -> Result<quorate::application::Outcome, quorate::application::ExecuteError> {
                Ok(quorate::application::Outcome::default())
            }
            fn query(
                &self,
                _: &dyn quorate::application::StateRead,
                _: &str,
                _: &[u8],
            ) -> Result<Vec<u8>, quorate::application::QueryError> {
                Ok(Vec::new())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("own");
        fs::create_dir_all(folder.path().join("own.new")).unwrap();
        fs::write(folder.path().join("own.new/ledger.key"), "half").unwrap();
        let ledger = OwnLedger {
            name: "own",
            directory: directory.clone(),
            consensus: "one".into(),
            consensus_settings: "block_interval_ms = 0\n".into(),
            storage: "any".into(),
            application: Arc::new(Nothing),
            pool: (1, 1),
        };
        make(&ledger).unwrap();
        let text = fs::read_to_string(directory.join(GENESIS)).unwrap();
        let genesis = Genesis::parse(GENESIS, &text).unwrap();
        let key = NodeKey::load(&directory.join(KEY)).unwrap();
        assert_eq!(genesis.validators().iter().next().unwrap().1.public_key, key.public_key());
        assert_eq!((genesis.consensus_plugin(), genesis.application_plugin()), ("one", "own"));
        assert!(signer::guard_path(&directory.join(KEY)).exists() && !folder.path().join("own.new").exists());
    }
}

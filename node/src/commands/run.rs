//! `quorate run`: one node in the foreground.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use quorate_kernel::{
    config::{Assembly, ENVIRONMENT_PREFIX},
    key::NodeKey,
    ledger::LedgerError,
    node::{CoreError, Node, NodeError, NodeOptions, Running, StartError},
    signer::guard_path,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{
    bundled,
    commands::init::{guard_failure, key_failure},
    exit::{Exit, Failure, storage_exit},
    libraries::{self, Trial},
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate run --config validator-1.toml
  QUORATE__TRANSPORT__RPC_LISTEN=127.0.0.1:9001 quorate run --config validator-1.toml

SIGINT or SIGTERM stops the node within 5 s; a second one stops it at once. A validator's key needs its guard (NAME.guard beside \
NAME.key): --new-validator makes one, and is right only for a key that never signed anywhere.";

/// Threads for sockets and what runs beside; the node's loop has one of its own.
const WORKERS: usize = 2;

/// How long what is left may hold up the end after a stop.
const RUNTIME_END_WAIT: Duration = Duration::from_millis(100);

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The node's TOML file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The key is new and never signed anywhere: make its guard if there is none
    #[arg(long)]
    pub new_validator: bool,
    /// Stop when stdin ends: how a network's nodes notice that `devnet` is gone
    #[arg(long, hide = true)]
    pub stop_on_stdin_close: bool,
}

/// The environment's variables which override settings.
pub fn overrides() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .collect()
}

/// Reads a node's file and fills its slots.
///
/// # Errors
///
/// [`Exit::Config`] with every error in it.
pub fn assemble(config: &Path) -> Result<Assembly, Failure> {
    if Assembly::names_libraries(config, &overrides()) {
        libraries::try_in_child(Trial::Config(config))?;
    }
    Ok(Assembly::load(config, &overrides(), &bundled::registry())?)
}

/// Runs the node until it is told to stop or fails.
///
/// # Errors
///
/// [`Failure`] with the documented exit codes.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let assembly = assemble(&args.config)?;
    for warning in &assembly.warnings {
        tracing::warn!(warning, "configuration has a warning");
    }
    let new_validator = args.new_validator || is_unguarded_development_key(&assembly);
    let options = NodeOptions { new_validator, version: env!("CARGO_PKG_VERSION") };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime can't be started: {error}")))?;
    let outcome = runtime.block_on(async {
        let mut signals = StopSignals::new()?;
        let closed = args.stop_on_stdin_close.then(stdin_closes);
        let name = assembly.node.name.clone();
        let running = Node::start(assembly, &options).map_err(start_failure)?;
        for (what, address) in running.listening() {
            tracing::info!(node = name, what, %address, "listening");
        }
        tracing::info!(node = name, version = options.version, "node started");
        serve(running, &mut signals, closed).await
    });
    runtime.shutdown_timeout(RUNTIME_END_WAIT);
    outcome
}

/// A well-known key has no secret to keep and no history worth guarding: its first start needs no flag.
fn is_unguarded_development_key(assembly: &Assembly) -> bool {
    let path = &assembly.node.key_file;
    let development = NodeKey::load(path).is_ok_and(|key| key.is_development());
    if development {
        tracing::warn!(
            key = %path.display(),
            "development key in use: everybody can compute it, so this node listens on loopback only"
        );
    }
    development && !guard_path(path).exists()
}

async fn serve(
    mut running: Running,
    signals: &mut StopSignals,
    closed: Option<oneshot::Receiver<()>>,
) -> Result<(), Failure> {
    let input_ended = async {
        match closed {
            Some(closed) => drop(closed.await),
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        failed = running.failed() => failed.map_err(|error| stopped_by_itself(&error)),
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        () = input_ended => {
            tracing::info!("stopping: the network's supervisor is gone");
            Ok(())
        }
    };
    tokio::select! {
        () = running.stop() => {
            tracing::info!("node stopped");
            outcome
        }
        signal = signals.next() => Err(Failure::failed(format!("stopped at once by a second signal ({signal})"))),
    }
}

/// Why a running node stopped by itself; a store or guard that failed has its own exit code.
fn stopped_by_itself(error: &NodeError) -> Failure {
    let exit = match error {
        NodeError::Core(CoreError::Storage { source, .. }) => storage_exit(source),
        NodeError::Core(CoreError::Guard(_)) => Exit::Disk,
        _ => Exit::Failed,
    };
    Failure::new(exit, crate::exit::with_causes(error))
}

/// Asks to stop. SIGXFSZ is not one of them: taken, it leaves the write beyond the largest file's size to fail like one to a full disk;
/// left alone, it would end the process without a word.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    _file_too_large: Signal,
}

impl StopSignals {
    fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::failed(format!("signals can't be received: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            _file_too_large: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Reads stdin on a thread of its own until it ends; what comes is ignored.
fn stdin_closes() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0u8; 64];
        while std::io::stdin().read(&mut buffer).is_ok_and(|read| read > 0) {}
        if sender.send(()).is_err() {
            tracing::debug!("stdin ended after the node had stopped");
        }
    });
    receiver
}

fn start_failure(error: StartError) -> Failure {
    match error {
        StartError::Key(error) => key_failure(error),
        StartError::Guard(error) => guard_failure(error),
        StartError::Setup { plugin, source } => Failure::from(source).within(plugin),
        StartError::Ledger(LedgerError::Storage(error)) => error.into(),
        StartError::Ledger(error @ LedgerError::WrongChain { .. }) => Failure::config(error.to_string()),
        StartError::Ledger(error) => Failure::new(Exit::Plugin, error.to_string()),
        StartError::Io { what, source } => Failure::disk(what, &source),
        other => Failure::failed(other.to_string()),
    }
}

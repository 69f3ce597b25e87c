//! The Service slot's rules.

use std::{io::Write, net::SocketAddr, net::TcpStream, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use quorate::{
    ChainId, Hash, Header, Height, Round, Settings, Timestamp, ValidatorIndex,
    node::Head,
    plugin::{ServicePlugin, SetupError},
    service::{Service, ServiceCommand, ServiceContext, ServiceError, ServiceEvent},
    transport::{COMMANDS_MAX, EVENTS_MAX, Io},
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    bytes::hostile,
    common,
    identity::{ANY_PORT, Key, LISTEN, PATIENCE, QUIET, is_listening, no_node, runtime, stopped},
    rule::{OrBroken, Outcome, Rule, Trouble, broken, does_not_apply, ensure},
    suite::{Report, Suite},
};
use crate::sim::Rng;

/// Blocks told to a service, more than wait in its queue.
const BLOCKS: u64 = 2 * COMMANDS_MAX as u64;

/// Strangers at each address.
const STRANGERS: u64 = 60;

/// A service plugin, to be asked for its slot's contract.
pub struct ServiceSuite<'a> {
    plugin: &'a dyn ServicePlugin,
    settings: String,
}

/// The rules of the Service slot for `plugin`. In `settings`, a TOML text, `{listen}` stands for the address where it listens,
/// such as `127.0.0.1:0`, if it does.
pub fn service<'a>(plugin: &'a dyn ServicePlugin, settings: &str) -> ServiceSuite<'a> {
    ServiceSuite { plugin, settings: settings.to_owned() }
}

impl ServiceSuite<'_> {
    /// The suite.
    pub fn suite(&self) -> Suite<'_> {
        Suite::new("service", self.plugin.descriptor().name, self, TABLE)
    }

    /// Tries every rule.
    pub fn run(&self) -> Report {
        self.suite().run()
    }

    /// Tries every rule; see [`Report::check`].
    ///
    /// # Panics
    ///
    /// When a rule is broken.
    pub fn check(&self) {
        self.run().check();
    }
}

/// What a service of a trial is made from.
fn context(data_dir: &Path) -> ServiceContext {
    ServiceContext {
        name: "trial".into(),
        version: "0".into(),
        node: no_node(),
        identity: Key::new(1),
        data_dir: data_dir.to_owned(),
        loopback_only: true,
        admin_token: None,
        rules: None,
        ledgers: None,
    }
}

/// A service that is made, and the folder of its own.
pub(super) struct Made {
    service: Box<dyn Service>,
    folder: TempDir,
}

/// Makes a service which listens there.
pub(super) fn make(plugin: &dyn ServicePlugin, settings: &str, listen: &str) -> Result<Made, SetupError> {
    let folder = tempfile::tempdir().map_err(|error| SetupError::Other(error.to_string()))?;
    let service = plugin.build(&Settings::from_text(&settings.replace(LISTEN, listen)), context(folder.path()))?;
    Ok(Made { service, folder })
}

/// A service that runs.
pub(super) struct Running {
    pub(super) addresses: Vec<SocketAddr>,
    commands: mpsc::Sender<ServiceCommand>,
    events: mpsc::Receiver<ServiceEvent>,
    running: JoinHandle<Result<(), ServiceError>>,
    _folder: TempDir,
}

impl Running {
    pub(super) fn start(runtime: &Runtime, made: Made) -> Self {
        let addresses = made.service.listening();
        let (commands, for_service) = mpsc::channel(COMMANDS_MAX);
        let (to_kernel, events) = mpsc::channel(EVENTS_MAX);
        let running = runtime.spawn(made.service.run(Io { commands: for_service, events: to_kernel }));
        Self { addresses, commands, events, running, _folder: made.folder }
    }

    fn command(&self, runtime: &Runtime, command: ServiceCommand) -> Outcome {
        match runtime.block_on(async { timeout(PATIENCE, self.commands.send(command)).await }) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => broken("the service has ended by itself"),
            Err(_) => broken(format!("the service took no command for {PATIENCE:?}")),
        }
    }

    pub(super) fn stop(self, runtime: &Runtime, by_command: bool, when: &str) -> Outcome {
        if by_command {
            self.command(runtime, ServiceCommand::Stop)?;
        }
        let Self { commands, events, running, .. } = self;
        if !by_command {
            drop(commands);
        }
        let ended = stopped(runtime, running, when);
        // Held open until then, as a kernel does which is not reading.
        drop(events);
        ended
    }
}

const CONTRACT: &str = "service.rs";

type Trial = fn(&ServiceSuite<'_>, &mut Rng) -> Outcome;

/// Each rule, and what tries it.
const TABLE: &[(Rule, Trial)] = &[
    (common::DESCRIPTOR, |suite, _| common::descriptor(&suite.plugin.descriptor())),
    (common::EXAMPLE, |suite, _| common::example(&suite.plugin.descriptor(), |text| suite.plugin.check(text))),
    (common::UNKNOWN_KEY, |suite, _| {
        let text = suite.settings.replace(LISTEN, ANY_PORT);
        common::unknown_key(&text, |text| suite.plugin.check(text))
    }),
    (Rule { name: "it says where it listens", sentence: "Where it listens, resolved.", file: CONTRACT }, says_where),
    (
        Rule { name: "an address in use is an error", sentence: "An address can't be listened on.", file: "plugin.rs" },
        in_use,
    ),
    (
        Rule {
            name: "a development key stays on loopback",
            sentence: "Whether only loopback may be listened on, because the node's key is a well-known development key.",
            file: CONTRACT,
        },
        loopback_only,
    ),
    (Rule { name: "it takes every block", sentence: "A block is final.", file: CONTRACT }, takes_blocks),
    (
        Rule {
            name: "strangers do not end it",
            sentence: "Runs beside a node, and goes on whatever bytes anybody sends it.",
            file: CONTRACT,
        },
        strangers,
    ),
    (
        Rule {
            name: "it stops within two seconds",
            sentence: "Runs until [`ServiceCommand::Stop`] or until the commands close; returns within two seconds then.",
            file: CONTRACT,
        },
        stops,
    ),
    (Rule { name: "two services share nothing", sentence: common::APART, file: "plugin.rs" }, apart),
    (common::NOTHING_LEFT, nothing_left),
];

pub(super) fn rules() -> Vec<Rule> {
    TABLE.iter().map(|(rule, _)| *rule).collect()
}

impl ServiceSuite<'_> {
    fn try_make(&self, listen: &str) -> Result<Made, SetupError> {
        make(self.plugin, &self.settings, listen)
    }

    fn make(&self) -> Result<Made, Trouble> {
        if self.plugin.needs_chain() {
            return does_not_apply("it runs only beside a node with a chain, and here is none");
        }
        self.try_make(ANY_PORT).or_broken("making the service")
    }

    /// A service that listens, and where.
    fn listening(&self) -> Result<(Made, SocketAddr), Trouble> {
        let made = self.make()?;
        match made.service.listening().first().copied() {
            Some(address) if self.settings.contains(LISTEN) => Ok((made, address)),
            _ => does_not_apply("it listens on no address"),
        }
    }
}

fn says_where(suite: &ServiceSuite<'_>, _: &mut Rng) -> Outcome {
    let runtime = runtime()?;
    let (made, _) = suite.listening()?;
    let running = Running::start(&runtime, made);
    is_listening(running.addresses.iter().copied())
}

fn in_use(suite: &ServiceSuite<'_>, _: &mut Rng) -> Outcome {
    let (_made, address) = suite.listening()?;
    match suite.try_make(&address.to_string()) {
        Err(SetupError::Listen { .. }) => Ok(()),
        Err(other) => broken(format!("an address in use is answered with {other:?}, not with SetupError::Listen")),
        Ok(_) => broken(format!("{address} was bound twice")),
    }
}

fn loopback_only(suite: &ServiceSuite<'_>, _: &mut Rng) -> Outcome {
    suite.listening()?;
    match suite.try_make("0.0.0.0:0") {
        Err(_) => Ok(()),
        Ok(made) => broken(format!("with a development key it listens on {:?}", made.service.listening())),
    }
}

fn head(height: u64) -> Arc<Head> {
    let zero = Hash::ZERO;
    let header = Header {
        version: quorate::block::BLOCK_VERSION,
        chain_id: ChainId::new([1; 32]),
        height: Height(height),
        parent_hash: zero,
        time: Timestamp(1_700_000_000_000 + height),
        creator: ValidatorIndex(0),
        created_round: Round(0),
        tx_root: zero,
        evidence_root: zero,
        app_hash: zero,
        receipts_root: zero,
        validators_hash: zero,
        next_validators_hash: zero,
    };
    Arc::new(Head { hash: header.hash(), header, transaction_ids: Vec::new().into() })
}

fn takes_blocks(suite: &ServiceSuite<'_>, _: &mut Rng) -> Outcome {
    let runtime = runtime()?;
    let running = Running::start(&runtime, suite.make()?);
    (1..=BLOCKS).try_for_each(|height| running.command(&runtime, ServiceCommand::Committed(head(height))))?;
    running.stop(&runtime, true, "told to stop after many blocks")
}

fn strangers(suite: &ServiceSuite<'_>, rng: &mut Rng) -> Outcome {
    let runtime = runtime()?;
    let (made, address) = suite.listening()?;
    let running = Running::start(&runtime, made);
    let beginnings: Vec<Bytes> = [
        &b"GET /peers HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\ncontent-length: 4294967295\r\n\r\n{",
        b"\x16\x03\x01\x02\x00",
        &[0; 300],
    ]
    .map(Bytes::from_static)
    .into();
    let mut open = Vec::new();
    for _ in 0..STRANGERS {
        let mut stranger = TcpStream::connect_timeout(&address, PATIENCE).or_broken("connecting as a stranger")?;
        stranger.set_write_timeout(Some(Duration::from_millis(200))).or_broken("limiting a stranger")?;
        // It may be closed while it is written to.
        drop(stranger.write_all(&hostile(rng, &beginnings)));
        open.push(stranger);
    }
    std::thread::sleep(QUIET);
    ensure(!running.running.is_finished(), || "the service has ended by itself".into())?;
    running.stop(&runtime, true, "told to stop while strangers are connected")
}

fn stops(suite: &ServiceSuite<'_>, _: &mut Rng) -> Outcome {
    let runtime = runtime()?;
    Running::start(&runtime, suite.make()?).stop(&runtime, true, "told to stop at once")?;
    Running::start(&runtime, suite.make()?).stop(&runtime, false, "when its commands were closed")?;
    let running = Running::start(&runtime, suite.make()?);
    let idle: Vec<_> = running.addresses.iter().map(|address| TcpStream::connect_timeout(address, PATIENCE)).collect();
    running.stop(&runtime, true, "told to stop while an idle client is connected")?;
    drop(idle);
    Ok(())
}

fn apart(suite: &ServiceSuite<'_>, _: &mut Rng) -> Outcome {
    let runtime = runtime()?;
    let (one, other) = (Running::start(&runtime, suite.make()?), Running::start(&runtime, suite.make()?));
    one.stop(&runtime, true, "told to stop")?;
    std::thread::sleep(QUIET);
    ensure(!other.running.is_finished(), || "one service was told to stop, and another ended".into())?;
    is_listening(other.addresses.iter().copied())?;
    other.stop(&runtime, true, "told to stop after another")
}

fn nothing_left(suite: &ServiceSuite<'_>, _: &mut Rng) -> Outcome {
    let listen = match suite.listening() {
        Ok((_, address)) => address.to_string(),
        Err(trouble @ Trouble::DoesNotApply(_)) if suite.plugin.needs_chain() => return Err(trouble),
        Err(Trouble::DoesNotApply(_)) => ANY_PORT.to_owned(),
        Err(trouble) => return Err(trouble),
    };
    common::many_times(|| suite.try_make(&listen).or_broken(format!("making a service at {listen} again")).map(drop))
}

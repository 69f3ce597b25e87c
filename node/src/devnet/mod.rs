//! `quorate devnet`: a whole network on one machine, every node a process of its own.

mod banner;
mod child;
mod log_file;
mod member;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use crate::{
    cli::Globals,
    commands::init,
    devnet::child::{Child, Order, Spawning, ending},
    exit::{Exit, Failure},
    network::{Directory, NetworkOptions},
    output,
    rpc::Rpc,
};

pub use member::{Member, Role, check_ports, lookup, members};

/// How long all nodes may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Time between two looks at a node that is not ready.
const READY_POLL: Duration = Duration::from_millis(50);

/// How long nodes have to stop by themselves.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Who runs where, for programs.
pub const NODES_FILE: &str = "nodes.json";

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate devnet                                   three validators, a block every 5 s, in ./devnet
  quorate devnet --fresh --block-interval-ms 0     start over; a block as soon as there is work
  quorate devnet --dir /tmp/n --validators 4 --ports-from 9000
  quorate devnet --dir /tmp/t --validators 4 --consensus bft-tendermint
  quorate devnet --dir /tmp/m --consensus mine --library target/debug/libmine.so

Each node writes its log to DIR/logs/NAME.log (32 MiB at most, and one before); its warnings and errors are shown here too, \
each after the node's name. DIR/nodes.json lists name, role, pid, addresses and files of every node once all are ready. \
Ctrl-C or SIGTERM stops the gateway, then the validators, then the bootnode, each with SIGTERM and, 5 s later, SIGKILL; a second \
Ctrl-C kills all at once. A node that dies is reported and not restarted: `quorate run --config DIR/NAME.toml` does that.";

/// Options of `devnet`.
#[derive(Debug, Clone, Args)]
pub struct DevnetArgs {
    /// Where the network is, or shall be
    #[arg(long, value_name = "DIR", default_value = "devnet")]
    pub dir: PathBuf,
    /// Start over: remove the network in DIR, its keys and its chain
    #[arg(long)]
    pub fresh: bool,
    /// Run without the backend gateway
    #[arg(long)]
    pub no_gateway: bool,
    /// What a new network is made from.
    #[command(flatten)]
    pub network: NetworkOptions,
}

/// One entry of `nodes.json`.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    role: Role,
    pid: u32,
    rpc_url: String,
    p2p_url: Option<String>,
    /// The JSON-RPC of a gateway's own node.
    #[serde(skip_serializing_if = "Option::is_none")]
    node_rpc_url: Option<String>,
    config: &'a Path,
    data_dir: &'a Path,
}

/// Runs the command until it is told to stop.
///
/// # Errors
///
/// [`Failure`]: a bad directory or option, an address in use, a node that does not become ready.
pub fn run(args: &DevnetArgs, globals: &Globals) -> Result<(), Failure> {
    let directory = Directory::lock(&args.dir)?;
    if args.fresh {
        if directory.is_network() {
            // A node that still runs from these files must not lose them under its feet.
            check_ports(&members(directory.path(), true)?)?;
        }
        directory.clear()?;
    }
    if directory.is_network() {
        same_options(directory.path(), &args.network)?;
    } else {
        init::write(&directory, &args.network)?;
    }
    let members = members(directory.path(), !args.no_gateway)?;
    check_ports(&members)?;
    remove_list(directory.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime can't be started: {error}")))?;
    runtime.block_on(supervise(directory.path(), members, globals))
}

/// Options given beside an existing network must be the network's.
fn same_options(directory: &Path, options: &NetworkOptions) -> Result<(), Failure> {
    let read = |name: &str| -> Result<toml::Table, Failure> {
        let path = directory.join(name);
        let text = fs::read_to_string(&path).map_err(|error| Failure::disk(path.display(), &error))?;
        text.parse().map_err(|error| Failure::config(format!("{}: {error}", path.display())))
    };
    let genesis = read("genesis.toml")?;
    let number =
        |path: &[&str]| lookup(&genesis, path).and_then(toml::Value::as_integer).unwrap_or_default().to_string();
    let text = |path: &[&str]| lookup(&genesis, path).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let validators = genesis.get("validator").and_then(toml::Value::as_array).map_or(0, Vec::len).to_string();
    let bootnode = lookup(&read("bootnode.toml")?, &["service", "0", "listen"])
        .and_then(toml::Value::as_str)
        .and_then(|address| address.rsplit(':').next())
        .unwrap_or_default()
        .to_owned();
    let storage = lookup(&read("validator-1.toml")?, &["storage", "plugin"])
        .and_then(toml::Value::as_str)
        .unwrap_or_default()
        .to_owned();
    options.choose()?;
    same_libraries(directory, &options.library, &read("validator-1.toml")?)?;
    let wanted = [
        ("--consensus", options.consensus.clone(), text(&["consensus", "plugin"])),
        ("--validators", options.validators.map(|n| n.to_string()), validators),
        (
            "--block-interval-ms",
            options.block_interval_ms.map(|n| n.to_string()),
            number(&["consensus", "block_interval_ms"]),
        ),
        ("--delta-ms", options.delta_ms.map(|n| n.to_string()), number(&["consensus", "delta_ms"])),
        ("--fault-model", options.fault_model.map(|m| m.as_str().to_owned()), text(&["consensus", "fault_model"])),
        ("--application", options.application.clone(), text(&["application", "plugin"])),
        ("--storage", options.storage.clone(), storage),
        ("--chain-name", options.chain_name.clone(), text(&["chain_name"])),
        ("--ports-from", options.ports_from.map(|n| n.to_string()), bootnode),
    ];
    for (option, wanted, there) in wanted {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != there) {
            return Err(Failure::usage(format!(
                "{option} {wanted}: the network in {} has {there}; leave the option out to go on with it, or add --fresh to start over",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// A library given beside an existing network must be one of its nodes'.
fn same_libraries(directory: &Path, libraries: &[PathBuf], node: &toml::Table) -> Result<(), Failure> {
    let there = |slot: &str| lookup(node, &[slot, "library"]).and_then(toml::Value::as_str).map(PathBuf::from);
    let there: Vec<PathBuf> = ["consensus", "storage", "application"].into_iter().filter_map(there).collect();
    for library in libraries {
        let path = library.canonicalize().map_err(|error| Failure::reading(library.display(), &error))?;
        if !there.contains(&path) {
            return Err(Failure::usage(format!(
                "--library {}: the network in {} does not use it; add --fresh to start over",
                library.display(),
                directory.display()
            )));
        }
    }
    Ok(())
}

fn remove_list(directory: &Path) -> Result<(), Failure> {
    let path = directory.join(NODES_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::disk(path.display(), &error)),
        _ => Ok(()),
    }
}

/// Asks to stop. SIGHUP is left to the system: it ends this process, which the nodes notice, or `nohup` ignores it.
struct StopSignals([Signal; 2]);

impl StopSignals {
    fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::failed(format!("signals can't be received: {error}")));
        Ok(Self([listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?]))
    }

    async fn next(&mut self) {
        let Self([interrupt, terminate]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

async fn supervise(directory: &Path, members: Vec<Member>, globals: &Globals) -> Result<(), Failure> {
    let mut signals = StopSignals::new()?;
    let program = std::env::current_exe().map_err(|error| Failure::failed(format!("this program: {error}")))?;
    let logs = directory.join("logs");
    fs::create_dir_all(&logs).map_err(|error| Failure::disk(logs.display(), &error))?;
    let how = Spawning {
        program: &program,
        logs: &logs,
        log_format: globals.log_format,
        log_level: globals.log_level.as_deref(),
    };
    let mut children = Vec::with_capacity(members.len());
    let mut started = Ok(());
    for member in members {
        match Child::spawn(member, &how) {
            Ok(child) => children.push(child),
            Err(failure) => {
                started = Err(failure);
                break;
            }
        }
    }
    let outcome = match started {
        Err(failure) => Err(failure),
        Ok(()) => tokio::select! {
            outcome = serve(directory, &children) => outcome,
            () = signals.next() => Ok(()),
        },
    };
    stop_all(&children, &mut signals).await;
    let listed = remove_list(directory);
    outcome.and(listed)
}

/// Waits for the nodes, shows the banner, and reports what ends; returns only when no validator is left.
async fn serve(directory: &Path, children: &[Child]) -> Result<(), Failure> {
    ready(children).await?;
    let listed: Vec<Listed<'_>> = children
        .iter()
        .map(|child| Listed {
            name: &child.member.name,
            role: child.member.role,
            pid: child.pid,
            rpc_url: child.member.rpc_url(),
            p2p_url: child.member.p2p_url(),
            node_rpc_url: child.member.node_rpc_address.as_ref().map(|address| format!("http://{address}")),
            config: &child.member.config,
            data_dir: &child.member.data_dir,
        })
        .collect();
    write_list(&directory.join(NODES_FILE), &listed)?;
    match output::line(&banner::text(directory, children)) {
        // Nobody reads the banner; the network runs all the same.
        Err(failure) if failure.exit == Exit::Done => {}
        other => other?,
    }
    let mut watched: tokio::task::JoinSet<usize> = tokio::task::JoinSet::new();
    for (index, child) in children.iter().enumerate() {
        let ended = child.wait();
        watched.spawn(async move {
            ended.await;
            index
        });
    }
    while let Some(joined) = watched.join_next().await {
        let Some(child) = joined.ok().and_then(|index| children.get(index)) else { continue };
        let Member { name, config, .. } = &child.member;
        let ending = child.ended().map(ending).unwrap_or_default();
        tracing::warn!(
            node = name,
            pid = child.pid,
            "node {ending}; the others go on; `quorate run --config {}` starts it again",
            config.display()
        );
    }
    Err(Failure::failed("every node has ended; their logs are in the network's logs folder"))
}

/// Waits until every node answers that it is healthy.
async fn ready(children: &[Child]) -> Result<(), Failure> {
    let deadline = Instant::now() + READY_WITHIN;
    for child in children {
        let rpc = Rpc::new(&child.member.rpc_url())?;
        loop {
            if let Some(status) = child.ended() {
                return Err(did_not_start(child, &ending(status), status.code()));
            }
            let answer = rpc.get("/health", Duration::from_secs(2)).await;
            if answer.is_ok_and(|(status, _)| status.is_success()) {
                break;
            }
            if Instant::now() >= deadline {
                let what = format!("was not ready after {} s at {}/health", READY_WITHIN.as_secs(), rpc.url());
                return Err(did_not_start(child, &what, None));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
    Ok(())
}

fn did_not_start(child: &Child, what: &str, code: Option<i32>) -> Failure {
    let exit = Exit::ALL.into_iter().find(|exit| Some(i32::from(exit.code())) == code && *exit != Exit::Done);
    let tail: String = child.tail().iter().map(|line| format!("\n  {line}")).collect();
    Failure::new(exit.unwrap_or(Exit::Failed), format!("{} {what}; its last lines:{tail}", child.member.name))
}

/// Writes the list under another name first, so that a reader sees all of it or nothing.
fn write_list(path: &Path, listed: &[Listed<'_>]) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(listed).map_err(|error| Failure::failed(error.to_string()))?;
    let temporary = path.with_extension("json.new");
    fs::write(&temporary, text + "\n")
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| Failure::disk(path.display(), &error))
}

async fn stop_all(children: &[Child], signals: &mut StopSignals) {
    let mut impatient = false;
    for role in Role::STOPPING {
        let of_role: Vec<&Child> = children.iter().filter(|child| child.member.role == role).collect();
        let stopped = async {
            for child in &of_role {
                child.wait().await;
            }
        };
        tokio::pin!(stopped);
        if !impatient {
            of_role.iter().for_each(|child| child.order(Order::Terminate));
            tokio::select! {
                () = &mut stopped => continue,
                () = signals.next() => impatient = true,
                () = tokio::time::sleep(STOP_WITHIN) => {
                    let names: Vec<&str> =
                        of_role.iter().filter(|c| c.ended().is_none()).map(|c| c.member.name.as_str()).collect();
                    tracing::warn!(nodes = names.join(", "), "nodes did not stop within 5 s and are killed");
                }
            }
        }
        of_role.iter().for_each(|child| child.order(Order::Kill));
        stopped.await;
    }
}

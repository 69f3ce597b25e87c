//! The nodes of a network in a directory, as their files say.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use serde::Serialize;
use toml::{Table, Value};

use crate::exit::Failure;

/// What a node is for, as `nodes.json` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Answers clients, has no vote.
    Gateway,
    /// Votes.
    Validator,
    /// The registry of nodes.
    Bootnode,
}

impl Role {
    /// In the order in which nodes are stopped: who serves clients first, who is needed by others last.
    pub const STOPPING: [Role; 3] = [Role::Gateway, Role::Validator, Role::Bootnode];
}

/// A node that a directory describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its file.
    pub config: PathBuf,
    /// Where it keeps its chain.
    pub data_dir: PathBuf,
    /// `host:port` for clients.
    pub rpc_address: String,
    /// `host:port` of the JSON-RPC of a gateway's own node.
    pub node_rpc_address: Option<String>,
    /// `host:port` for peers; a bootnode has none.
    pub peer_address: Option<String>,
}

impl Member {
    /// The URL for clients.
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.rpc_address)
    }

    /// The URL for peers.
    pub fn p2p_url(&self) -> Option<String> {
        self.peer_address.as_ref().map(|address| format!("tcp://{address}"))
    }
}

/// The nodes of the network in `directory`: bootnode, validators in order, gateway (when wanted).
///
/// # Errors
///
/// A failure naming the file that can't be read.
pub fn members(directory: &Path, gateway: bool) -> Result<Vec<Member>, Failure> {
    let mut found = vec![member(directory, "bootnode.toml", Role::Bootnode)?];
    for name in validator_files(directory)? {
        found.push(member(directory, &name, Role::Validator)?);
    }
    if found.len() == 1 {
        return Err(Failure::config(format!("{}: no validator-N.toml there", directory.display())));
    }
    if gateway {
        found.push(member(directory, "backend.toml", Role::Gateway)?);
    }
    Ok(found)
}

/// `validator-1.toml`, `validator-2.toml`, .. in the order of their numbers.
fn validator_files(directory: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| Failure::disk(directory.display(), &error);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("validator-")?.strip_suffix(".toml"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| format!("validator-{number}.toml")).collect())
}

fn member(directory: &Path, file: &str, role: Role) -> Result<Member, Failure> {
    let config = directory.join(file);
    let text = fs::read_to_string(&config).map_err(|error| Failure::disk(config.display(), &error))?;
    let wrong = |what: &str| Failure::config(format!("{}: {what}", config.display()));
    let table: Table = text.parse().map_err(|error: toml::de::Error| wrong(&error.to_string()))?;
    let text_at = |path: &[&str]| -> Result<String, Failure> {
        let found = lookup(&table, path).and_then(Value::as_str).map(str::to_owned);
        found.ok_or_else(|| wrong(&format!("`{}` is missing", path.join("."))))
    };
    let (rpc_address, node_rpc_address, peer_address) = match role {
        Role::Bootnode => (text_at(&["service", "0", "listen"])?, None, None),
        _ => {
            let (rpc, peer) = (text_at(&["transport", "rpc_listen"])?, text_at(&["transport", "peer_listen"])?);
            match lookup(&table, &["service", "0", "listen"]).and_then(Value::as_str) {
                Some(gateway) if role == Role::Gateway => (gateway.to_owned(), Some(rpc), Some(peer)),
                _ => (rpc, None, Some(peer)),
            }
        }
    };
    Ok(Member {
        name: text_at(&["node", "name"])?,
        role,
        data_dir: directory.join(text_at(&["node", "data_dir"])?),
        rpc_address,
        node_rpc_address,
        peer_address,
        config,
    })
}

/// The value at a path of keys and, inside arrays, positions.
pub fn lookup<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let mut value = table.get(*first)?;
    for key in rest {
        value = match value {
            Value::Table(inner) => inner.get(*key)?,
            Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// Makes sure that every address is free before anything starts.
///
/// # Errors
///
/// A failure naming each address that is not, with its node.
pub fn check_ports(members: &[Member]) -> Result<(), Failure> {
    let mut taken = Vec::new();
    for member in members {
        let peers = member.peer_address.iter().map(|address| (address, "peers"));
        let node = member.node_rpc_address.iter().map(|address| (address, "clients of the node"));
        for (address, what) in std::iter::once((&member.rpc_address, "clients")).chain(node).chain(peers) {
            if let Err(error) = TcpListener::bind(address.as_str()) {
                taken.push(format!("{address} ({} of {}): {error}", what, member.name));
            }
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "these addresses can't be listened on; stop what uses them, or choose others with --ports-from:\n  {}",
        taken.join("\n  ")
    )))
}

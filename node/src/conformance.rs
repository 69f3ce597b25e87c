//! What a plugin's conformance suite is given, by slot: settings from the plugin's own example, and what the command line adds.

use std::{net::SocketAddr, process::Command, sync::Arc};

use quorate::{
    Bytes,
    plugin::{ConsensusPlugin, Promise, ServicePlugin},
};
use quorate_abi::{Slot, host::Provided};
use quorate_testkit::{
    conformance::{self, Finding},
    sim::{FaultModel, Kinds, Scenario, campaign},
};

/// Sizes of networks that are tried when none is asked for, where the plugin says in numbers what it promises.
const SIZES: [usize; 3] = [3, 4, 1];

/// The same where it does not: of two validators, a quorum is both, so that nobody may be gone for good.
const SIZES_WITHOUT_PROMISE: [usize; 4] = [2, 1, 3, 4];

/// What the suites are given besides the plugin.
#[derive(Default)]
pub struct Inputs {
    /// The plugin's settings, those of genesis where there are two tables; `None` takes its example.
    pub settings: Option<String>,
    /// The node's own settings of a consensus or an application.
    pub node_settings: String,
    /// What a consensus is held to, where it does not say so itself.
    pub fault_model: Option<FaultModel>,
    /// Validators of the simulated network.
    pub validators: Option<usize>,
    /// Transactions for an application.
    pub transactions: Vec<Bytes>,
    /// Queries for an application: path and parameters.
    pub queries: Vec<(String, String)>,
    /// A store does not outlive its process.
    pub volatile: bool,
    /// The service which a discovery asks.
    pub source: Option<Arc<dyn ServicePlugin>>,
}

/// Tries one rule of the plugin's slot; `None` when there is none of that name. A store's writers are made by `child`.
///
/// # Errors
///
/// In words, when there are no settings with which the plugin could be tried.
pub fn try_rule(
    plugin: &Provided,
    inputs: &Inputs,
    rule: &str,
    child: impl Fn() -> Command,
) -> Result<Option<Finding>, String> {
    let example = plugin.descriptor().example;
    let settings = || inputs.settings.clone().unwrap_or_else(|| filled(example, plugin.slot()));
    Ok(match plugin {
        Provided::Consensus(plugin) => {
            let Network { shared, fault_model, validators, kinds } = network(plugin.as_ref(), inputs)?;
            let suite = conformance::consensus(plugin.as_ref(), &shared).settings(&inputs.node_settings);
            let suite = suite.network(fault_model, validators);
            let suite = match kinds {
                Some(kinds) => suite.kinds(kinds),
                None => suite,
            };
            suite.suite().try_rule(rule)
        }
        Provided::Storage(plugin) => {
            let suite = conformance::storage(plugin.as_ref(), &settings()).child(child);
            let suite = if inputs.volatile { suite.volatile() } else { suite };
            suite.suite().try_rule(rule)
        }
        Provided::Application(plugin) => {
            let mut suite = conformance::application(plugin.as_ref(), &settings()).settings(&inputs.node_settings);
            suite = suite.transactions(|_| inputs.transactions.clone());
            for (path, params) in &inputs.queries {
                suite = suite.query(path, params.clone());
            }
            suite.suite().try_rule(rule)
        }
        Provided::Transport(plugin) => conformance::transport(plugin.as_ref(), &settings()).suite().try_rule(rule),
        Provided::Discovery(plugin) => {
            let mut suite = conformance::discovery(plugin.as_ref(), &settings());
            if let Some(source) = &inputs.source {
                suite = suite.source(source.as_ref(), &filled(source.descriptor().example, Slot::Service));
            }
            suite.suite().try_rule(rule)
        }
        Provided::Service(plugin) => conformance::service(plugin.as_ref(), &settings()).suite().try_rule(rule),
        _ => return Err(format!("there is no suite for the {} slot", plugin.slot())),
    })
}

/// The network in which a consensus is tried.
struct Network {
    shared: String,
    fault_model: FaultModel,
    validators: usize,
    kinds: Option<Kinds>,
}

fn network(plugin: &dyn ConsensusPlugin, inputs: &Inputs) -> Result<Network, String> {
    let mut first_error = None;
    if plugin.observes() {
        let shared = inputs.settings.clone().unwrap_or_default();
        return Ok(Network { shared, fault_model: FaultModel::Crash, validators: 3, kinds: None });
    }
    let model = inputs.fault_model.unwrap_or(FaultModel::Crash);
    let sizes = |sizes: &[usize]| inputs.validators.map_or(sizes.to_vec(), |size| vec![size]);
    for shared in candidates(plugin, inputs, model) {
        for validators in sizes(&SIZES) {
            match promise(plugin, &shared, model, validators) {
                Ok(Some(promise)) => {
                    let fault_model = inputs.fault_model.unwrap_or_else(|| model_of(&promise));
                    return Ok(Network { shared, fault_model, validators, kinds: promise.kinds });
                }
                Ok(None) => break,
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        // What it does not say, whoever tries it may; else it is held to the least.
        let least: &[usize] = if inputs.fault_model.is_some() { &SIZES } else { &SIZES_WITHOUT_PROMISE };
        for validators in sizes(least) {
            match promise(plugin, &shared, model, validators) {
                Ok(_) => return Ok(Network { shared, fault_model: model, validators, kinds: None }),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
    }
    let error = first_error.unwrap_or_default();
    Err(format!("no settings were found with which it could be tried; give some with --settings: {error}"))
}

/// What the plugin promises of such a network, if it says so.
fn promise(
    plugin: &dyn ConsensusPlugin,
    shared: &str,
    model: FaultModel,
    validators: usize,
) -> Result<Option<Promise>, String> {
    let scenario = Scenario::envelope(model, validators, campaign::DELTA_MS, shared);
    let context = quorate_testkit::sim::context(&scenario)?;
    plugin.check(&context).map_err(|error| error.to_string())?;
    Ok(plugin.promise(&context))
}

/// As whom a promise makes a simulated network count votes.
fn model_of(promise: &Promise) -> FaultModel {
    match promise {
        Promise { dishonest: 0, .. } => FaultModel::Crash,
        Promise { delta: Some(_), .. } => FaultModel::ByzantineSync,
        Promise { delta: None, .. } => FaultModel::Byzantine,
    }
}

/// `[consensus]` of genesis without `plugin`, the likeliest first: what was given; or the example, with times for short runs where it
/// has such keys; or the example as it is.
fn candidates(plugin: &dyn ConsensusPlugin, inputs: &Inputs, model: FaultModel) -> Vec<String> {
    if let Some(settings) = &inputs.settings {
        return vec![settings.clone()];
    }
    let example = plugin.descriptor().example;
    let wanted = format!("fault_model = \"{model}\"\ndelta_ms = {}\n{}", campaign::DELTA_MS, campaign::WANTED);
    let (Ok(mut table), Ok(wanted)) = (example.parse::<toml::Table>(), wanted.parse::<toml::Table>()) else {
        return vec![example.to_owned()];
    };
    for (key, value) in wanted {
        if let Some(there) = table.get_mut(&key).filter(|there| there.same_type(&value)) {
            *there = value;
        }
    }
    let quick = toml::to_string(&table).unwrap_or_default();
    // Of no use where every interval has its block, and refused by some.
    table.remove("heartbeat_ms");
    vec![toml::to_string(&table).unwrap_or_default(), quick, example.to_owned()]
}

/// Settings for a suite from the plugin's example, each of whose keys is as it stands but for addresses and keys of nodes: what the
/// suite puts in their place.
fn filled(example: &str, slot: Slot) -> String {
    let Ok(mut table) = example.parse::<toml::Table>() else { return example.to_owned() };
    let listening = |key: &str| key.contains("listen") || key.contains("address") || key.contains("bind");
    let peers = table.keys().any(|key| key.contains("peer") && listening(key));
    for (key, value) in &mut table {
        match slot {
            Slot::Transport | Slot::Service => {
                let toml::Value::String(text) = value else { continue };
                if text.parse::<SocketAddr>().is_ok() {
                    let other = slot == Slot::Transport && peers && !key.contains("peer");
                    *text = if other { "127.0.0.1:0" } else { "{listen}" }.to_owned();
                }
            }
            Slot::Discovery => put_peer(value),
            _ => {}
        }
    }
    toml::to_string(&table).unwrap_or_else(|_| example.to_owned())
}

/// Puts the suite's node in the place of a node's key and address, or its source in the place of an address alone.
fn put_peer(value: &mut toml::Value) {
    match value {
        toml::Value::String(text) => {
            let words: Vec<String> = text.split(' ').map(peer_word).collect();
            let words = words.join(" ");
            *text = words;
        }
        toml::Value::Array(values) => values.iter_mut().for_each(put_peer),
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| put_peer(value)),
        _ => {}
    }
}

fn peer_word(word: &str) -> String {
    let is_key =
        word.strip_prefix("0x").is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()));
    match word.strip_prefix("http://") {
        _ if is_key => "{peer_key}".into(),
        Some(rest) if rest.trim_end_matches('/').parse::<SocketAddr>().is_ok() => "http://{source}".into(),
        None if word.parse::<SocketAddr>().is_ok() => "{peer_address}".into(),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_an_example_are_given_to_the_suite() {
        let two = "peer_listen = \"0.0.0.0:30303\"\nrpc_listen = \"127.0.0.1:8001\"\nname = \"x\"\n";
        let filled_in = filled(two, Slot::Transport);
        assert!(filled_in.contains("peer_listen = \"{listen}\""), "{filled_in}");
        assert!(filled_in.contains("rpc_listen = \"127.0.0.1:0\""), "{filled_in}");
        assert_eq!(filled("listen = \"127.0.0.1:80\"\n", Slot::Service), "listen = \"{listen}\"\n");
        assert_eq!(filled("url = \"http://127.0.0.1:80\"\n", Slot::Discovery), "url = \"http://{source}\"\n");
        let peer = format!("peers = [\"a 0x{} 192.0.2.1:30303\"]\n", "0a".repeat(32));
        assert_eq!(filled(&peer, Slot::Discovery), "peers = [\"a {peer_key} {peer_address}\"]\n");
    }
}

//! What a new network shall be: the options of `init` and `devnet`, and what follows from them.

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, ValueEnum};
use quorate::{Hash, PublicKey, Timestamp};
use quorate_abi::Slot;

use crate::{
    exit::Failure,
    network::{Found, FromLibrary, Ports},
};

/// Validators which `init` and `devnet` make at most.
pub const VALIDATORS_MAX: u16 = 64;

/// What a network is made from; what is not given has the default that the help names.
#[derive(Debug, Clone, Default, Args)]
pub struct NetworkOptions {
    /// How many validators [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(VALIDATORS_MAX)))]
    pub validators: Option<u16>,
    /// How blocks are decided: poa, bft-tendermint, or a plugin of a --library with the settings of its example [default: poa]
    #[arg(long, value_name = "PLUGIN")]
    pub consensus: Option<String>,
    /// A shared library with the consensus, the application or the storage; may be repeated
    #[arg(long, value_name = "FILE")]
    pub library: Vec<PathBuf>,
    /// Time between blocks, in milliseconds; 0 makes them as soon as there is work [default: 5000]
    #[arg(long, value_name = "MS")]
    pub block_interval_ms: Option<u64>,
    /// What a network of poa withstands [default: crash below 3 validators, byzantine-sync with 3, byzantine from 4 on]
    #[arg(long, value_enum, value_name = "MODEL")]
    pub fault_model: Option<FaultModel>,
    /// Bound on the delay between honest validators of poa, in milliseconds; byzantine-sync relies on it [default: 400]
    #[arg(long, value_name = "MS")]
    pub delta_ms: Option<u64>,
    /// Use consecutive ports: bootnode P, RPC P+1.., peers P+N+1.., gateway P+2N+1, its node's peers and RPC P+2N+2 and P+2N+3
    /// [default: 8546, 8001.., 30303.., 8000, 30303+N and 8001+N]
    #[arg(long, value_name = "P")]
    pub ports_from: Option<u16>,
    /// The application's plugin [default: voting]
    #[arg(long, value_name = "PLUGIN")]
    pub application: Option<String>,
    /// Who may draft elections on a chain of the application voting: a public key, may be repeated [default: a new key, in
    /// keys/election-admin.secret.json]
    #[arg(long, value_name = "HEX")]
    pub election_admin: Vec<Hash>,
    /// The store's plugin [default: redb]
    #[arg(long, value_name = "PLUGIN")]
    pub storage: Option<String>,
    /// The network's name [default: devnet]
    #[arg(long, value_name = "NAME")]
    pub chain_name: Option<String>,
}

impl NetworkOptions {
    /// How many validators are wanted.
    pub fn validator_count(&self) -> u16 {
        self.validators.unwrap_or(3)
    }

    /// Whence the plugins come that may come from libraries; refuses options which the consensus does not have.
    ///
    /// # Errors
    ///
    /// A usage error which names the option; [`Exit::Plugin`](crate::exit::Exit::Plugin) for a library that can't be used.
    pub fn choose(&self) -> Result<Chosen, Failure> {
        let found = Found::load(&self.library)?;
        let consensus = self.consensus_choice(&found)?;
        let poa = [("--fault-model", self.fault_model.is_some()), ("--delta-ms", self.delta_ms.is_some())];
        if let Some((option, _)) = poa.into_iter().find(|(_, given)| *given && consensus != ConsensusChoice::Poa) {
            let message = format!("{option} is an option of poa; {} has no such setting", consensus.as_str());
            return Err(Failure::usage(message));
        }
        if let (ConsensusChoice::Library(FromLibrary { plugin, example, .. }), Some(_)) =
            (&consensus, self.block_interval_ms)
            && !example.lines().any(|line| is_key(line, "block_interval_ms"))
        {
            return Err(Failure::usage(format!("--block-interval-ms: {plugin} has no such setting")));
        }
        let chosen = Chosen {
            application: Choice::new(&found, Slot::Application, self.application.as_deref().unwrap_or("voting")),
            storage: Choice::new(&found, Slot::Storage, self.storage.as_deref().unwrap_or("redb")),
            consensus,
        };
        if !self.election_admin.is_empty() && !chosen.is_voting() {
            return Err(Failure::usage("--election-admin is an option of the application voting"));
        }
        let consensus = match &chosen.consensus {
            ConsensusChoice::Library(plugin) => Some(plugin),
            _ => None,
        };
        let used = [consensus, chosen.application.from.as_ref(), chosen.storage.from.as_ref()];
        found.check_used(&used.into_iter().flatten().collect::<Vec<_>>())?;
        Ok(chosen)
    }

    fn consensus_choice(&self, found: &Found) -> Result<ConsensusChoice, Failure> {
        let Some(name) = self.consensus.as_deref() else { return Ok(ConsensusChoice::Poa) };
        if let Some(plugin) = found.plugin(Slot::Consensus, name) {
            return Ok(ConsensusChoice::Library(plugin));
        }
        match name {
            "poa" => Ok(ConsensusChoice::Poa),
            "bft-tendermint" => Ok(ConsensusChoice::BftTendermint),
            _ => Err(Failure::usage(format!(
                "--consensus {name}: networks are made of poa or bft-tendermint, or of a plugin that --library FILE has"
            ))),
        }
    }
}

/// Whether a line of TOML sets this key.
pub(super) fn is_key(line: &str, key: &str) -> bool {
    line.split_once('=').is_some_and(|(name, _)| name.trim() == key)
}

/// The plugins which may come from libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// How blocks are decided.
    pub consensus: ConsensusChoice,
    /// What the chain is for.
    pub application: Choice,
    /// Where the chain is kept.
    pub storage: Choice,
}

impl Chosen {
    /// Whether the chain is for elections, by the program's own plugin.
    pub fn is_voting(&self) -> bool {
        self.application.plugin == "voting" && self.application.from.is_none()
    }
}

/// A plugin by its name, and the library that has it, if it is not the program's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The plugin's name.
    pub plugin: String,
    /// Whence it comes.
    pub from: Option<FromLibrary>,
}

impl Choice {
    fn new(found: &Found, slot: Slot, name: &str) -> Self {
        Self { plugin: name.to_owned(), from: found.plugin(slot, name) }
    }
}

/// The consensus of a new network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsensusChoice {
    /// Validators take turns; what the network withstands is chosen by --fault-model
    Poa,
    /// Tendermint: fewer than a third may be stopped or dishonest, on any network; takes four validators for one
    BftTendermint,
    /// A plugin of a library, with the settings of its example
    Library(FromLibrary),
}

impl ConsensusChoice {
    /// The plugin's name.
    pub fn as_str(&self) -> &str {
        match self {
            ConsensusChoice::Poa => "poa",
            ConsensusChoice::BftTendermint => "bft-tendermint",
            ConsensusChoice::Library(plugin) => &plugin.plugin,
        }
    }
}

/// Faults that a network of `poa` is made to withstand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FaultModel {
    /// Validators may stop and return, on any network; a dishonest one is noticed, not withstood
    Crash,
    /// Fewer than half may be dishonest, as long as messages between honest ones arrive within delta
    ByzantineSync,
    /// Fewer than a third may be dishonest, on any network
    Byzantine,
}

impl FaultModel {
    /// The strongest that a number of validators gives.
    pub const fn for_validators(count: u16) -> Self {
        match count {
            0..3 => FaultModel::Crash,
            3 => FaultModel::ByzantineSync,
            _ => FaultModel::Byzantine,
        }
    }

    /// As in genesis.
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultModel::Crash => "crash",
            FaultModel::ByzantineSync => "byzantine-sync",
            FaultModel::Byzantine => "byzantine",
        }
    }
}

/// One node of a planned network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, which its files have too.
    pub name: String,
    /// Its public key.
    pub public_key: PublicKey,
}

/// A network, before its files are written.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The network's name.
    pub chain_name: String,
    /// `genesis_time` as in TOML.
    pub genesis_time: String,
    /// The plugins which may come from libraries.
    pub chosen: Chosen,
    /// What a network of `poa` withstands.
    pub fault_model: FaultModel,
    /// Between blocks, if that was asked for.
    pub block_interval_ms: Option<u64>,
    /// Between honest validators of `poa`.
    pub delta_ms: u64,
    /// In turn order.
    pub validators: Vec<Member>,
    /// Who listens where.
    pub ports: Ports,
    /// Whether there is an operator's token.
    pub admin_token: bool,
    /// Who may draft elections; empty for other applications than voting.
    pub election_admins: Vec<Hash>,
}

impl Plan {
    /// A plan of these options whose validators have these keys; `genesis_time` is `None` for now.
    ///
    /// # Errors
    ///
    /// A usage error for ports that do not fit, and for options which the consensus does not have.
    pub fn new(options: &NetworkOptions, validators: Vec<Member>, genesis_time: Option<&str>) -> Result<Self, Failure> {
        let count = u16::try_from(validators.len()).unwrap_or(u16::MAX);
        Ok(Self {
            chain_name: options.chain_name.clone().unwrap_or_else(|| "devnet".into()),
            genesis_time: genesis_time.map_or_else(now, str::to_owned),
            chosen: options.choose()?,
            fault_model: options.fault_model.unwrap_or(FaultModel::for_validators(count)),
            block_interval_ms: options.block_interval_ms,
            delta_ms: options.delta_ms.unwrap_or(400),
            validators,
            ports: Ports::new(count, options.ports_from)?,
            admin_token: true,
            election_admins: options.election_admin.clone(),
        })
    }
}

/// The present second in UTC, as TOML writes it.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_model_is_the_strongest_that_the_number_gives() {
        let models = [1, 2, 3, 4, 7].map(|count| FaultModel::for_validators(count).as_str());
        assert_eq!(models, ["crash", "crash", "byzantine-sync", "byzantine", "byzantine"]);
    }
}

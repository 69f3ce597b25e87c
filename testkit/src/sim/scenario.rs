//! What a simulated network is like and what may happen to it; a seed turns a scenario into one schedule.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::plan::{Fault, Kind};

/// What a network is built to tolerate, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultModel {
    /// Validators stop and restart with their disk; any network.
    Crash,
    /// Validators do anything, while honest messages arrive within Delta.
    ByzantineSync,
    /// Validators do anything; any network.
    Byzantine,
}

impl FaultModel {
    /// All of them.
    pub const ALL: [FaultModel; 3] = [Self::Crash, Self::ByzantineSync, Self::Byzantine];

    /// The name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::ByzantineSync => "byzantine-sync",
            Self::Byzantine => "byzantine",
        }
    }

    /// Votes of a certificate among `n` validators.
    pub const fn quorum(self, n: usize) -> usize {
        match self {
            Self::Crash | Self::ByzantineSync => n / 2 + 1,
            Self::Byzantine => 2 * n / 3 + 1,
        }
    }

    /// Faulty validators of `n` which may fail.
    pub const fn tolerated(self, n: usize) -> usize {
        n.saturating_sub(self.quorum(n))
    }

    /// Validators of `n` which may do anything.
    pub const fn byzantine(self, n: usize) -> usize {
        match self {
            Self::Crash => 0,
            Self::ByzantineSync => n.saturating_sub(self.quorum(n)),
            Self::Byzantine => n.saturating_sub(1) / 3,
        }
    }
}

impl fmt::Display for FaultModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultModel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|model| model.name() == text)
            .ok_or_else(|| format!("fault model is `{text}`; it must be crash, byzantine-sync or byzantine"))
    }
}

/// How messages travel between honest nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Shortest delay, in microseconds.
    pub delay_min_us: u64,
    /// Longest delay, in microseconds. Each link draws its own usual range within both.
    pub delay_max_us: u64,
    /// Of a thousand messages, how many are lost.
    pub loss_permille: u32,
    /// Of a thousand messages, how many come twice.
    pub duplicate_permille: u32,
    /// Of a thousand messages, how many take up to `late_max_us`.
    pub late_permille: u32,
    /// The longest delay of a late message, in microseconds.
    pub late_max_us: u64,
    /// Of a thousand seeds, in how many the messages of one link keep their order.
    pub in_order_permille: u32,
    /// How far wall clocks are apart at most, in milliseconds.
    pub skew_max_ms: u64,
}

/// How fast a node's own parts answer, and how well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The longest time a signature takes, in microseconds.
    pub sign_max_us: u64,
    /// The longest time a block takes to be executed and judged, in microseconds.
    pub check_max_us: u64,
    /// The longest time a block takes to be built, in microseconds.
    pub build_max_us: u64,
    /// Of a thousand judgements, how many are "not now" at first.
    pub not_now_permille: u32,
    /// How long "not now" lasts at most, in microseconds.
    pub not_now_max_us: u64,
    /// Of a thousand blocks to be built, how many fail.
    pub build_fails_permille: u32,
    /// Of a thousand seeds, in how many nodes tell each other their height unasked, as a whole node does.
    pub status_permille: u32,
}

/// What a signer remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignerModel {
    /// The guard is durable.
    #[default]
    Guarded,
    /// The guard is lost by a restart: a planted bug of the kernel.
    Forgetful,
    /// Everything is signed: a planted bug of the kernel.
    Unguarded,
}

/// Which faults happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// How many at least.
    pub count_min: u64,
    /// How many at most.
    pub count_max: u64,
    /// Which kinds.
    pub kinds: Vec<Kind>,
    /// Honest nodes which may be away at the same time: crashed, cut off or without a signer.
    pub away_max: usize,
    /// How long after a node is back another may go away, in milliseconds.
    pub apart_ms: u64,
    /// The longest time that a fault lasts, in milliseconds.
    pub lasts_max_ms: u64,
    /// Of a thousand messages on their way when their sender crashes, how many are lost.
    pub crash_loses_sent_permille: u32,
    /// Honest nodes that are left away when the rest is healed, at most.
    pub left_away_max: usize,
    /// When there are any: these faults and no others.
    pub fixed: Vec<Fault>,
}

impl Faults {
    /// None.
    pub fn none() -> Self {
        Self {
            count_min: 0,
            count_max: 0,
            kinds: Vec::new(),
            away_max: 0,
            apart_ms: 0,
            lasts_max_ms: 0,
            crash_loses_sent_permille: 0,
            left_away_max: 0,
            fixed: Vec::new(),
        }
    }
}

/// What dishonest validators do, whatever the consensus is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Nothing at all.
    Silent,
    /// Two copies of one key, each connected to a part of the network.
    Twins,
    /// The honest engine, behind which messages are withheld, delayed, replayed, changed and forged.
    Puppet,
    /// Two copies, both of them puppets.
    PuppetTwins,
    /// The honest engine, which forgets its record and its guard again and again.
    Amnesiac,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 5] = [Self::Silent, Self::Twins, Self::Puppet, Self::PuppetTwins, Self::Amnesiac];
}

/// A scenario. [`Scenario::envelope`] makes those in which nothing may go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What the network is built to tolerate.
    pub fault_model: FaultModel,
    /// Validators at height 1, which are also the fewest at any height.
    pub validators: usize,
    /// Honest nodes besides, which the application lets join and leave.
    pub standby: usize,
    /// `[consensus]` of genesis, without `plugin`.
    pub settings: String,
    /// The links.
    pub network: Network,
    /// The nodes.
    pub kernel: Kernel,
    /// The signers.
    pub signer: SignerModel,
    /// The faults.
    pub faults: Faults,
    /// Dishonest validators.
    pub byzantine: usize,
    /// Which ones; `None` draws them.
    pub byzantine_are: Option<Vec<usize>>,
    /// What they do; a seed draws one for each.
    pub strategies: Vec<Strategy>,
    /// How long faults happen, in milliseconds.
    pub chaos_ms: u64,
    /// Blocks that must follow after the last fault.
    pub calm_heights: u64,
    /// How long they may take, in milliseconds.
    pub calm_ms: u64,
    /// How often a transaction is submitted, in milliseconds; 0 is never.
    pub submit_every_ms: u64,
    /// Whether every height must be decided no later than in its first round with an honest leader (L1).
    pub timely: bool,
    /// Messages that an honest node may send in a second on average (L3).
    pub messages_per_s_max: u64,
}

impl Scenario {
    /// A network within what `fault_model` tolerates with `validators`; `delta_ms` bounds delays where that matters.
    ///
    /// `settings` is `[consensus]` of genesis, without `plugin`.
    pub fn envelope(fault_model: FaultModel, validators: usize, delta_ms: u64, settings: &str) -> Self {
        let byzantine = fault_model.byzantine(validators);
        let sync = fault_model == FaultModel::ByzantineSync;
        Self {
            name: format!("{fault_model} n={validators}"),
            fault_model,
            validators,
            standby: 0,
            settings: settings.to_owned(),
            network: if sync { Network::within(delta_ms) } else { Network::wild(delta_ms) },
            kernel: Kernel::within(delta_ms),
            signer: SignerModel::Guarded,
            faults: if sync {
                Faults::suspensions()
            } else {
                Faults::anything(validators, fault_model.tolerated(validators) - byzantine)
            },
            byzantine,
            byzantine_are: None,
            strategies: Strategy::ALL.to_vec(),
            chaos_ms: 12_000,
            calm_heights: 3,
            calm_ms: 240_000,
            submit_every_ms: 700,
            timely: false,
            messages_per_s_max: 400 * validators as u64,
        }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = format!("{} {name}", self.name);
        self
    }

    /// The same, changed by `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Network {
    /// Honest messages arrive within Delta: links take 60% of it, the rest is left for the nodes themselves, of which a quarter of
    /// Delta for being held up unnoticed.
    pub fn within(delta_ms: u64) -> Self {
        Self {
            delay_min_us: 200,
            delay_max_us: delta_ms * 600,
            loss_permille: 0,
            duplicate_permille: 20,
            late_permille: 0,
            late_max_us: 0,
            in_order_permille: 500,
            skew_max_ms: 200,
        }
    }

    /// Messages are lost, late, doubled and overtake each other.
    pub fn wild(delta_ms: u64) -> Self {
        Self {
            loss_permille: 50,
            duplicate_permille: 50,
            late_permille: 50,
            late_max_us: 3_000_000,
            in_order_permille: 300,
            ..Self::within(delta_ms)
        }
    }
}

impl Kernel {
    /// A node's own parts take a seventh of Delta at most.
    pub fn within(delta_ms: u64) -> Self {
        Self {
            sign_max_us: delta_ms * 40,
            check_max_us: delta_ms * 60,
            build_max_us: delta_ms * 40,
            not_now_permille: 0,
            not_now_max_us: 0,
            build_fails_permille: 0,
            status_permille: 500,
        }
    }
}

impl Faults {
    /// Processes which are not scheduled for a while; nothing else.
    pub fn suspensions() -> Self {
        Self { count_min: 0, count_max: 6, kinds: vec![Kind::Suspend], lasts_max_ms: 4000, ..Self::none() }
    }

    /// Everything that may happen to `nodes` under asynchrony, all of them at once if it comes so.
    pub fn anything(nodes: usize, left_away_max: usize) -> Self {
        Self {
            count_min: 1,
            count_max: 10,
            kinds: Kind::ALL.to_vec(),
            away_max: nodes,
            apart_ms: 0,
            lasts_max_ms: 6000,
            crash_loses_sent_permille: 300,
            left_away_max,
            fixed: Vec::new(),
        }
    }
}

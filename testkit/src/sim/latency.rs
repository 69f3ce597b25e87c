//! How long a transaction takes to be final in a network with real delays, and what that costs in messages: in virtual time, the same for a seed everywhere.
//!
//! Each pair of validators has one delay for both ways, drawn from a range. The engine, its messages and their bytes, what is signed and when it must be
//! durable are the real ones; computing takes no time here, and what a validator receives does not share a line.

use quorate::plugin::{ConsensusPlugin, Promise};
use serde::Serialize;

use super::{
    campaign::settings_for,
    hops::Hops,
    meter::{Gauge, Meter},
    rng::Rng,
    scenario::{FaultModel, Faults, Kernel, Network, Scenario},
    setup::context,
    world::{HAPPENINGS_MAX, Item, Setup, World},
};

/// How many validators: one alone takes no time, and sets of nodes are bits of a word.
pub const VALIDATORS: std::ops::RangeInclusive<usize> = 2..=61;

/// Transactions of one block at most.
pub const TRANSACTIONS_MAX: usize = 4_096;

/// Blocks of which figures are taken, at most.
pub const BLOCKS_MAX: u64 = 10_000;

/// Bytes of a transaction: at least its kind and its number, at most what a block of [`TRANSACTIONS_MAX`] has room for.
pub const TRANSACTION_BYTES: std::ops::RangeInclusive<usize> = 5..=2_048;

/// A delay at most, in microseconds.
pub const DELAY_MAX_US: u64 = 10_000_000;

/// Blocks before figures are taken: the first ones of a start may wait for more.
const WARM_UP: u64 = 5;

/// The first transaction comes after this time and ten of the longest delays, in microseconds: everybody is connected.
const SETTLED_US: u64 = 5_000_000;

/// Room for everything else in a block, in bytes.
const BLOCK_BYTES_SPARE: usize = 1 << 20;

/// Virtual time in which nothing became final, after which a network is given up, in microseconds.
const SILENT_MAX_US: u64 = 600_000_000;

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// What the network withstands.
    pub fault_model: FaultModel,
    /// How many validators.
    pub validators: usize,
    /// The shortest delay one way, in microseconds.
    pub delay_min_us: u64,
    /// The longest.
    pub delay_max_us: u64,
    /// `delta_ms`, for a consensus that has one.
    pub delta_ms: u64,
    /// `timeout_ms`, for a consensus that has one.
    pub timeout_ms: u64,
    /// How long a wait for the disk takes, in microseconds.
    pub disk_us: u64,
    /// Of a thousand messages, how many are lost and sent again by TCP.
    pub loss_permille: u32,
    /// What each validator can send, in bytes a second; none is no bound.
    pub bytes_per_s: Option<u64>,
    /// Transactions in a block: 1 is a lone one, the next submitted when all have its block; with more all blocks are full.
    pub transactions: usize,
    /// Bytes of each.
    pub transaction_bytes: usize,
    /// Whether the last validator stops for good before figures are taken.
    pub stop_one: bool,
    /// Blocks of which figures are taken.
    pub blocks: u64,
    /// The seed.
    pub seed: u64,
}

/// What was found, in virtual time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// What the network withstands.
    pub fault_model: FaultModel,
    /// How many validators.
    pub validators: usize,
    /// Those that run.
    pub running: usize,
    /// Transactions in a block at most.
    pub block_transactions: usize,
    /// Blocks of which figures were taken.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// In how much virtual time.
    pub virtual_ms: f64,
    /// From submission at a validator until it has made the block final.
    pub p50_ms: f64,
    /// The same, of the slowest hundredth.
    pub p99_ms: f64,
    /// What the hops of a proposal and two rounds of votes take over the same links, with the waits that the model needs; of lone transactions, without timeouts, and where
    /// the consensus has such votes.
    pub hops_p50_ms: Option<f64>,
    /// Blocks a second.
    pub blocks_per_s: f64,
    /// Transactions a second.
    pub transactions_per_s: f64,
    /// Messages that a validator sends for each block, on average.
    pub messages_per_block: f64,
    /// Their bytes, without those of TLS and TCP.
    pub bytes_per_block: f64,
    /// Blocks made after a timeout.
    pub later_rounds: u64,
    /// Over all that happened: the same on every machine.
    pub fingerprint: String,
}

impl Conditions {
    fn check(&self) -> Result<(), String> {
        let within = [
            (VALIDATORS.contains(&self.validators), "validators"),
            (self.transactions >= 1 && self.transactions <= TRANSACTIONS_MAX, "transactions in a block"),
            (TRANSACTION_BYTES.contains(&self.transaction_bytes), "bytes of a transaction"),
            (self.blocks >= 1 && self.blocks <= BLOCKS_MAX, "blocks"),
            (self.delay_min_us <= self.delay_max_us && self.delay_max_us <= DELAY_MAX_US, "delays"),
            (self.loss_permille <= 500, "loss"),
        ];
        if let Some((_, what)) = within.iter().find(|(fits, _)| !fits) {
            return Err(format!("{what} out of range"));
        }
        if self.stop_one && self.fault_model.tolerated(self.validators) == 0 {
            let Self { fault_model, validators, .. } = self;
            return Err(format!("{validators} validators in {fault_model} do not go on without one"));
        }
        if self.fault_model == FaultModel::ByzantineSync && self.delta_ms * 1000 <= self.delay_max_us {
            return Err(format!(
                "delta_ms is {}, and a message takes up to {} ms: byzantine-sync promises nothing then",
                self.delta_ms,
                self.delay_max_us as f64 / 1000.0
            ));
        }
        Ok(())
    }

    /// The same, with the fault model of a consensus that can't be told one.
    fn as_promised(&self, scenario: &Scenario, promise: Option<&Promise>) -> Self {
        let fault_model = match promise {
            _ if scenario.settings.contains("fault_model") => self.fault_model,
            None => self.fault_model,
            Some(Promise { dishonest: 0, .. }) => FaultModel::Crash,
            Some(Promise { delta: Some(_), .. }) => FaultModel::ByzantineSync,
            Some(Promise { delta: None, .. }) => FaultModel::Byzantine,
        };
        Self { fault_model, ..self.clone() }
    }

    fn scenario(&self, plugin: &dyn ConsensusPlugin) -> Result<Scenario, String> {
        let block_bytes_max = BLOCK_BYTES_SPARE + self.transactions * (self.transaction_bytes + 8);
        let wanted = format!(
            "fault_model = \"{}\"\ndelta_ms = {}\nblock_interval_ms = 0\nblock_transactions_max = {}\nblock_bytes_max = {block_bytes_max}\n\
             empty_blocks = \"never\"\ntimeout_ms = {}\n",
            self.fault_model, self.delta_ms, self.transactions, self.timeout_ms
        );
        let mut scenario = Scenario::envelope(self.fault_model, self.validators, self.delta_ms, "");
        scenario.settings = settings_for(plugin, &scenario, &wanted)?;
        scenario.network = Network {
            delay_min_us: self.delay_min_us,
            delay_max_us: self.delay_max_us,
            duplicate_permille: 0,
            skew_max_ms: 0,
            ..Network::within(self.delta_ms)
        };
        scenario.kernel =
            Kernel { sign_max_us: 0, check_max_us: 0, build_max_us: 0, status_permille: 1000, ..Kernel::within(0) };
        scenario.faults = Faults::none();
        scenario.byzantine = 0;
        scenario.submit_every_ms = 0;
        scenario.messages_per_s_max = u64::MAX;
        Ok(scenario)
    }
}

/// Runs a network until it has made its blocks.
///
/// # Errors
///
/// When conditions and plugin do not fit, or the network stands still or breaks a promise.
pub fn measure(plugin: &dyn ConsensusPlugin, conditions: &Conditions) -> Result<Figures, String> {
    conditions.check()?;
    if plugin.observes() {
        return Err(format!("`{}` only watches what another consensus decides", plugin.descriptor().name));
    }
    let scenario = conditions.scenario(plugin)?;
    let promise = plugin.promise(&context(&scenario)?);
    let conditions = &conditions.as_promised(&scenario, promise.as_ref());
    conditions.check()?;
    let kinds = promise.as_ref().and_then(|promise| promise.kinds);
    let setup = Setup {
        scenario: &scenario,
        engines: &plugin,
        kinds,
        inspector: None,
        adversary: None,
        faults: None,
        told: false,
    };
    let engines = setup.engines;
    let mut world = World::new(setup, conditions.seed)?;
    world.rules.transaction_bytes = conditions.transaction_bytes;
    world.meter = Some(Meter::new(world.nodes(), &gauge(conditions), Rng::new(conditions.seed).fork(0x3e7e)));
    for actor in 0..world.nodes() {
        world.post(0, Item::Start { actor, life: 0 });
    }
    world.post(SETTLED_US + 10 * conditions.delay_max_us, Item::Submit);
    let (mut happenings, mut top, mut moved_us) = (0, 0, 0);
    while world.violation.is_none() && !world.done {
        let Some(((at, _), item)) = world.queue.pop_first() else { break };
        world.now = at;
        world.happen(item, engines);
        if world.checks.height() > top {
            (top, moved_us) = (world.checks.height(), at);
        }
        happenings += 1;
        if at > moved_us + SILENT_MAX_US || happenings > HAPPENINGS_MAX * (conditions.blocks + WARM_UP) {
            return Err(format!("nothing became final after block {top} for {} s", (at - moved_us) / 1_000_000));
        }
    }
    match (&world.violation, &world.meter) {
        (Some(broken), _) => Err(broken.to_string()),
        (None, Some(meter)) => figures(conditions, &world, meter, kinds.is_some()),
        (None, None) => Err("there is no meter".into()),
    }
}

fn gauge(conditions: &Conditions) -> Gauge {
    Gauge {
        delay_min_us: conditions.delay_min_us,
        delay_max_us: conditions.delay_max_us,
        disk_us: conditions.disk_us,
        loss_permille: conditions.loss_permille,
        bytes_per_s: conditions.bytes_per_s,
        load: conditions.transactions,
        transaction_bytes: conditions.transaction_bytes,
        stop_one: conditions.stop_one,
        warm_up: WARM_UP,
        blocks: conditions.blocks,
    }
}

fn figures(conditions: &Conditions, world: &World, meter: &Meter, votes: bool) -> Result<Figures, String> {
    let (Some(begun), Some(ended)) = (meter.begun_us, meter.ended_us) else {
        return Err("the network stood still before its blocks were made".into());
    };
    let up: Vec<usize> = (0..conditions.validators).filter(|node| meter.stopped != Some(*node)).collect();
    let took: Vec<u64> = meter.done.iter().map(|done| done.took_us).collect();
    let lone = conditions.transactions == 1;
    let hops = Hops {
        delays: &meter.delays,
        up: &up,
        quorum: conditions.fault_model.quorum(conditions.validators),
        relays: conditions.fault_model == FaultModel::ByzantineSync,
        vote_wait_us: match conditions.fault_model {
            FaultModel::ByzantineSync => conditions.delta_ms * 1000,
            _ => 0,
        },
        disk_us: conditions.disk_us,
    };
    let predicted: Vec<u64> = meter.done.iter().map(|done| hops.to_final_us(done.node, done.creator)).collect();
    let seconds = (ended - begun).max(1) as f64 / 1e6;
    let of_one = (conditions.blocks * up.len() as u64) as f64;
    Ok(Figures {
        fault_model: conditions.fault_model,
        validators: conditions.validators,
        running: up.len(),
        block_transactions: conditions.transactions,
        blocks: conditions.blocks,
        transactions: meter.finals,
        virtual_ms: (ended - begun) as f64 / 1000.0,
        p50_ms: thousandth_ms(took.clone(), 500),
        p99_ms: thousandth_ms(took, 990),
        hops_p50_ms: (lone && votes && meter.later_rounds == 0).then(|| thousandth_ms(predicted, 500)),
        blocks_per_s: conditions.blocks as f64 / seconds,
        transactions_per_s: meter.finals as f64 / seconds,
        messages_per_block: meter.messages as f64 / of_one,
        bytes_per_block: meter.bytes as f64 / of_one,
        later_rounds: meter.later_rounds,
        fingerprint: format!("{:016x}", world.trace.hash()),
    })
}

/// In milliseconds; 0 of nothing.
fn thousandth_ms(mut of: Vec<u64>, thousandths: usize) -> f64 {
    of.sort_unstable();
    let place = (of.len() * thousandths / 1000).min(of.len().saturating_sub(1));
    of.get(place).copied().unwrap_or(0) as f64 / 1000.0
}

//! The faults of one schedule: drawn from a seed, and dropped one by one to find out which of them matter.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{rng::Rng, scenario::Scenario};

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The process dies between two actions, and starts again with what was durable.
    Crash,
    /// The process stops in order, and starts again.
    Stop,
    /// All processes die.
    PowerCut,
    /// The process is not scheduled for a while.
    Suspend,
    /// The network falls into two parts.
    Partition,
    /// One node is cut off.
    Isolate,
    /// One direction of one link loses everything.
    OneWay,
    /// The signer fails.
    Signer,
    /// The wall clock jumps.
    Clock,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 9] = [
        Self::Crash,
        Self::Stop,
        Self::PowerCut,
        Self::Suspend,
        Self::Partition,
        Self::Isolate,
        Self::OneWay,
        Self::Signer,
        Self::Clock,
    ];
}

/// One fault. Nodes are numbered from 0; times are in microseconds of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    pub at_us: u64,
    /// When it ends; [`NEVER`] for one that is not healed.
    pub until_us: u64,
    /// What it is.
    pub what: What,
}

/// The end of a fault that is not healed.
pub const NEVER: u64 = u64::MAX;

/// When all nodes have started and are connected, in microseconds.
const SETTLED_US: u64 = 600_000;

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The node dies in its next step that does something, after so many of that step's actions (modulo their number + 1).
    Crash {
        /// Which node.
        node: usize,
        /// After how many actions.
        after: u8,
    },
    /// The node is told to stop.
    Stop {
        /// Which node.
        node: usize,
    },
    /// All honest nodes die where they are.
    PowerCut,
    /// The node is not scheduled; with `after`, from the next step of several actions on, after so many of them (modulo).
    Suspend {
        /// Which node.
        node: usize,
        /// After how many actions.
        after: Option<u8>,
    },
    /// Nothing passes between nodes whose bits in `side` differ.
    Partition {
        /// A bit for each node.
        side: u64,
        /// Whether connections are seen to break.
        noticed: bool,
    },
    /// Nothing passes between the node and the others.
    Isolate {
        /// Which node.
        node: usize,
        /// Whether connections are seen to break.
        noticed: bool,
    },
    /// Nothing passes from one to the other.
    OneWay {
        /// From which node.
        from: usize,
        /// To which node.
        to: usize,
    },
    /// The node's signer fails.
    Signer {
        /// Which node.
        node: usize,
    },
    /// The node's wall clock goes wrong by this much, in milliseconds.
    Clock {
        /// Which node.
        node: usize,
        /// By how much.
        by_ms: i64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms: {}", self.at_us / 1000, self.what)?;
        if self.until_us == NEVER {
            write!(f, ", not healed")
        } else {
            write!(f, ", until {} ms", self.until_us / 1000)
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = |noticed: bool| if noticed { "" } else { ", connections stay up" };
        match self {
            Self::Crash { node, .. } => write!(f, "node {node} dies within its next step"),
            Self::Stop { node } => write!(f, "node {node} is stopped in order"),
            Self::PowerCut => write!(f, "power cut: all honest nodes die"),
            Self::Suspend { node, after: None } => write!(f, "node {node} is not scheduled"),
            Self::Suspend { node, after: Some(_) } => {
                write!(f, "node {node} is not scheduled, from within its next step")
            }
            Self::Partition { side, noticed } => {
                write!(f, "partition: nodes {:?} from the rest{}", bits(*side), seen(*noticed))
            }
            Self::Isolate { node, noticed } => write!(f, "node {node} is cut off{}", seen(*noticed)),
            Self::OneWay { from, to } => write!(f, "nothing passes from node {from} to node {to}"),
            Self::Signer { node } => write!(f, "node {node}'s signer fails"),
            Self::Clock { node, by_ms } => write!(f, "node {node}'s wall clock is wrong by {by_ms} ms"),
        }
    }
}

fn bits(side: u64) -> Vec<u32> {
    (0..u64::BITS).filter(|bit| side >> bit & 1 == 1).collect()
}

impl What {
    /// The nodes to which it happens.
    pub(crate) fn hits(&self, nodes: usize) -> Vec<usize> {
        match self {
            Self::Crash { node, .. }
            | Self::Stop { node }
            | Self::Suspend { node, .. }
            | Self::Isolate { node, .. }
            | Self::Signer { node }
            | Self::Clock { node, .. } => vec![*node],
            Self::OneWay { from, to } => vec![*from, *to],
            Self::PowerCut => (0..nodes).collect(),
            Self::Partition { side, .. } => (0..nodes).filter(|node| side >> node & 1 == 1).collect(),
        }
    }

    /// Which nodes are away meanwhile; `None` when it does not count.
    fn away(&self, nodes: usize) -> Option<Vec<usize>> {
        match self {
            Self::Crash { node, .. } | Self::Stop { node } | Self::Isolate { node, .. } | Self::Signer { node } => {
                Some(vec![*node])
            }
            Self::OneWay { from, .. } => Some(vec![*from]),
            Self::PowerCut => Some((0..nodes).collect()),
            Self::Partition { side, .. } => {
                let ones: Vec<usize> = (0..nodes).filter(|node| side >> node & 1 == 1).collect();
                let zeros: Vec<usize> = (0..nodes).filter(|node| side >> node & 1 == 0).collect();
                Some(if ones.len() <= zeros.len() { ones } else { zeros })
            }
            Self::Suspend { .. } | Self::Clock { .. } => None,
        }
    }
}

/// Draws the faults of a schedule. `honest` are the nodes to which they may happen.
pub fn draw(scenario: &Scenario, honest: &[usize], rng: &mut Rng) -> Vec<Fault> {
    let nodes = scenario.validators + scenario.standby;
    let faults = &scenario.faults;
    if !faults.fixed.is_empty() {
        return faults.fixed.clone();
    }
    let chaos_us = scenario.chaos_ms * 1000;
    let mut drawn: Vec<Fault> = Vec::new();
    let left = rng.within(0, faults.left_away_max as u64);
    for _ in 0..left {
        let node = *rng.pick(honest).unwrap_or(&0);
        let what = match rng.below(3) {
            0 => What::Isolate { node, noticed: rng.chance(500) },
            _ => What::Crash { node, after: rng.next_u64().to_le_bytes()[0] },
        };
        let fault = Fault { at_us: rng.below(chaos_us), until_us: NEVER, what };
        if fits(&drawn, &fault, nodes, scenario) {
            drawn.push(fault);
        }
    }
    let count = rng.within(faults.count_min, faults.count_max);
    for _ in 0..count {
        let Some(kind) = rng.pick(&faults.kinds).copied() else { break };
        let fault = one(kind, scenario, honest, rng);
        if fits(&drawn, &fault, nodes, scenario) {
            drawn.push(fault);
        }
    }
    drawn.sort_by_key(|fault| fault.at_us);
    drawn
}

fn one(kind: Kind, scenario: &Scenario, honest: &[usize], rng: &mut Rng) -> Fault {
    let nodes = scenario.validators + scenario.standby;
    let chaos_us = scenario.chaos_ms * 1000;
    let node = *rng.pick(honest).unwrap_or(&0);
    let noticed = rng.chance(500);
    let what = match kind {
        Kind::Crash => What::Crash { node, after: rng.next_u64().to_le_bytes()[0] },
        Kind::Stop => What::Stop { node },
        Kind::PowerCut => What::PowerCut,
        Kind::Suspend => What::Suspend { node, after: rng.chance(600).then(|| rng.next_u64().to_le_bytes()[0]) },
        Kind::Partition => What::Partition { side: rng.within(1, (1 << nodes) - 2), noticed },
        Kind::Isolate => What::Isolate { node, noticed },
        Kind::OneWay => What::OneWay { from: node, to: rng.index(nodes) },
        Kind::Signer => What::Signer { node },
        Kind::Clock => What::Clock { node, by_ms: i64::try_from(rng.below(8000)).unwrap_or(0) - 4000 },
    };
    let mut at_us = rng.below(chaos_us);
    if kind == Kind::Suspend {
        // Not before the first connections stand: what is sent then is lost, not late.
        at_us = at_us.max(SETTLED_US);
    }
    // Short faults are as likely as long ones.
    let longest = faults_longest(scenario);
    let lasts = match rng.below(3) {
        0 => rng.below(longest / 50 + 1),
        1 => rng.below(longest / 5 + 1),
        _ => rng.below(longest + 1),
    };
    Fault { at_us, until_us: (at_us + lasts).clamp(at_us, chaos_us.max(at_us)), what }
}

fn faults_longest(scenario: &Scenario) -> u64 {
    scenario.faults.lasts_max_ms * 1000
}

/// Whether `fault` leaves enough nodes, given those drawn before.
fn fits(drawn: &[Fault], fault: &Fault, nodes: usize, scenario: &Scenario) -> bool {
    let kinds = &scenario.faults.kinds;
    let losing = kinds.iter().any(|kind| matches!(kind, Kind::Crash | Kind::Stop | Kind::PowerCut));
    // One that is not scheduled answers nobody: where others lose messages by restarts, it is as good as away.
    let away = |fault: &Fault| match fault.what {
        What::Suspend { node, .. } if losing => Some(vec![node]),
        _ => fault.what.away(nodes),
    };
    let Some(mut together) = away(fault) else { return true };
    let apart = scenario.faults.apart_ms * 1000;
    for other in drawn {
        let overlap =
            other.at_us < fault.until_us.saturating_add(apart) && fault.at_us < other.until_us.saturating_add(apart);
        if let Some(more) = away(other)
            && overlap
        {
            together.extend(more);
        }
    }
    together.sort_unstable();
    together.dedup();
    together.len() <= scenario.faults.away_max
}

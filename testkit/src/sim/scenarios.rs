//! Scenarios for any consensus, made from what it promises: what may happen without anything going wrong, and what may not.

use std::collections::BTreeSet;

use quorate::plugin::Promise;

use super::{
    plan::Kind,
    scenario::{FaultModel, Faults, Network, Scenario, SignerModel, Strategy},
};

/// A scenario by name.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens in it, in a line.
    pub about: &'static str,
    /// What enough seeds of it must have met, by the names of the counters.
    pub meets: &'static [&'static str],
    /// Whether a consensus that keeps its promise goes through it unharmed.
    pub inside: bool,
    make: fn(&Base) -> Option<Scenario>,
}

/// What scenarios are made from.
struct Base {
    scenario: Scenario,
    promise: Promise,
    delta_ms: u64,
}

impl Base {
    /// Whether a promise rests on messages arriving in time.
    fn timed(&self) -> bool {
        self.scenario.byzantine > 0 && self.promise.delta.is_some()
    }

    /// Only these kinds of faults; where a promise rests on time, nobody is dishonest then, and the network does what it likes.
    fn only(&self, kinds: &[Kind]) -> Scenario {
        self.asynchronous().with(|scenario| {
            scenario.faults.kinds = kinds.to_vec();
            scenario.faults.left_away_max = 0;
        })
    }

    /// With all faults and a wild network; nobody is dishonest if that would be too much.
    fn asynchronous(&self) -> Scenario {
        let mut scenario = self.scenario.clone();
        if self.timed() {
            scenario.byzantine = 0;
            scenario.network = Network::wild(self.delta_ms);
            scenario.faults = anything(&self.promise, scenario.validators, self.promise.gone);
        }
        scenario
    }

    /// Dishonest validators of one kind, if any are withstood.
    fn dishonest(&self, strategy: Strategy) -> Option<Scenario> {
        (self.scenario.byzantine > 0)
            .then(|| self.scenario.clone().with(|scenario| scenario.strategies = vec![strategy]))
    }
}

/// A network in which nothing may go wrong by what `promise` says; `settings` is `[consensus]` of genesis, without `plugin`.
pub fn promised(
    promise: &Promise,
    fault_model: FaultModel,
    validators: usize,
    delta_ms: u64,
    settings: &str,
) -> Scenario {
    let timed = promise.dishonest > 0 && promise.delta.is_some();
    let left_away = promise.gone.saturating_sub(promise.dishonest);
    Scenario::envelope(fault_model, validators, delta_ms, settings).with(|scenario| {
        scenario.byzantine = promise.dishonest;
        scenario.network = if timed { Network::within(delta_ms) } else { Network::wild(delta_ms) };
        scenario.faults = if timed { Faults::suspensions() } else { anything(promise, validators, left_away) };
    })
}

/// All faults that a promise allows. Whose signer fails may stop for good, as if it were gone.
fn anything(promise: &Promise, validators: usize, left_away_max: usize) -> Faults {
    let mut faults = Faults::anything(validators, left_away_max);
    faults.kinds.retain(|kind| *kind != Kind::Signer || promise.gone > 0);
    faults
}

/// Every scenario.
pub const ALL: [Named; 21] = [
    Named {
        name: "everything",
        about: "all that may happen, and as many dishonest validators as may be",
        meets: &["blocks committed by engines"],
        inside: true,
        make: |base| Some(base.scenario.clone()),
    },
    Named {
        name: "calm",
        about: "no faults, nobody dishonest",
        meets: &["blocks committed by engines"],
        inside: true,
        make: |base| {
            Some(base.scenario.clone().with(|scenario| {
                scenario.byzantine = 0;
                scenario.network = Network::within(base.delta_ms);
                scenario.faults = Faults::none();
            }))
        },
    },
    Named {
        name: "asynchrony",
        about: "all faults and any delay, nobody dishonest",
        meets: &["restarts", "crashes between actions"],
        inside: true,
        make: |base| {
            Some(base.asynchronous().with(|scenario| {
                scenario.byzantine = 0;
                scenario.faults = anything(&base.promise, scenario.validators, base.promise.gone);
            }))
        },
    },
    Named {
        name: "loss",
        about: "messages are lost, doubled, late and out of order",
        meets: &["messages lost", "messages late", "messages doubled"],
        inside: true,
        make: |base| {
            Some(base.asynchronous().with(|scenario| {
                scenario.faults = Faults::none();
                scenario.network.loss_permille = 200;
                scenario.network.late_permille = 200;
            }))
        },
    },
    Named {
        name: "crashes",
        about: "processes die between any two actions, or stop, and start again",
        meets: &[
            "crashes before a step's actions",
            "crashes between actions",
            "crashes after a step's actions",
            "restarts",
        ],
        inside: true,
        make: |base| Some(base.only(&[Kind::Crash, Kind::Stop])),
    },
    Named {
        name: "gone",
        about: "as many as may be are gone for good",
        meets: &["crashes"],
        inside: true,
        make: |base| {
            (base.promise.gone > base.scenario.byzantine || base.timed()).then(|| {
                base.asynchronous().with(|scenario| {
                    scenario.faults.left_away_max = base.promise.gone.saturating_sub(scenario.byzantine);
                    scenario.faults.count_max = 2;
                })
            })
        },
    },
    Named {
        name: "power-cuts",
        about: "all processes die at once, again and again",
        meets: &["power cuts"],
        inside: true,
        make: |base| {
            Some(
                base.only(&[Kind::PowerCut, Kind::Crash, Kind::Partition])
                    .with(|scenario| scenario.faults.count_min = 3),
            )
        },
    },
    Named {
        name: "partitions",
        about: "the network falls into parts, nodes are cut off, links fail one way",
        meets: &["partitions", "nodes cut off", "links lost one way", "messages cut off"],
        inside: true,
        make: |base| Some(base.only(&[Kind::Partition, Kind::Isolate, Kind::OneWay])),
    },
    Named {
        name: "suspensions",
        about: "processes are not scheduled for a while, again and again",
        meets: &["suspensions", "suspensions between actions"],
        inside: true,
        make: |base| {
            Some(base.scenario.clone().with(|scenario| {
                scenario.faults = Faults { count_min: 6, count_max: 20, lasts_max_ms: 2000, ..Faults::suspensions() };
            }))
        },
    },
    Named {
        name: "clocks",
        about: "wall clocks are apart, and jump",
        meets: &["clocks moved"],
        inside: true,
        make: |base| {
            Some(base.only(&[Kind::Clock]).with(|scenario| {
                scenario.faults.count_min = 3;
                scenario.network.skew_max_ms = 1000;
            }))
        },
    },
    Named {
        name: "signers",
        about: "signers fail for a while",
        meets: &["signers out of order", "signatures refused"],
        inside: true,
        make: |base| {
            (base.promise.gone > 0).then(|| base.only(&[Kind::Signer]).with(|scenario| scenario.faults.count_min = 2))
        },
    },
    Named {
        name: "slow-kernel",
        about: "blocks can't be judged yet, or can't be built, at first",
        meets: &["judgements put off", "blocks that could not be built"],
        inside: true,
        make: |base| {
            Some(base.asynchronous().with(|scenario| {
                scenario.kernel.not_now_permille = 150;
                scenario.kernel.not_now_max_us = 500_000;
                scenario.kernel.build_fails_permille = 150;
            }))
        },
    },
    Named {
        name: "changes",
        about: "validators join and leave",
        meets: &["validator changes"],
        inside: true,
        make: |base| {
            (base.scenario.validators > 1).then(|| base.scenario.clone().with(|scenario| scenario.standby = 2))
        },
    },
    Named {
        name: "silent",
        about: "dishonest validators say nothing",
        meets: &["validators silent"],
        inside: true,
        make: |base| base.dishonest(Strategy::Silent),
    },
    Named {
        name: "twins",
        about: "dishonest validators run two copies of one key",
        meets: &["validators twinned"],
        inside: true,
        make: |base| base.dishonest(Strategy::Twins),
    },
    Named {
        name: "puppets",
        about: "dishonest validators withhold, delay, replay, change and forge messages",
        meets: &["validators as puppets"],
        inside: true,
        make: |base| base.dishonest(Strategy::Puppet),
    },
    Named {
        name: "puppet-twins",
        about: "both of these",
        meets: &["validators twinned as puppets"],
        inside: true,
        make: |base| base.dishonest(Strategy::PuppetTwins),
    },
    Named {
        name: "amnesiacs",
        about: "dishonest validators forget what they signed, again and again",
        meets: &["records forgotten by dishonest nodes"],
        inside: true,
        make: |base| base.dishonest(Strategy::Amnesiac),
    },
    Named {
        name: "beyond-dishonest",
        about: "one more dishonest validator than is withstood",
        meets: &[],
        inside: false,
        make: |base| {
            (base.scenario.validators > base.promise.dishonest + 1).then(|| {
                base.scenario.clone().with(|scenario| {
                    scenario.byzantine = base.promise.dishonest + 1;
                    scenario.strategies = vec![Strategy::Twins];
                })
            })
        },
    },
    Named {
        name: "beyond-late",
        about: "twins, and messages later than the promise allows",
        meets: &[],
        inside: false,
        make: |base| {
            base.timed().then(|| {
                base.scenario.clone().with(|scenario| {
                    scenario.network = Network::wild(base.delta_ms);
                    scenario.strategies = vec![Strategy::Twins];
                })
            })
        },
    },
    Named {
        name: "beyond-forgetful",
        about: "signers forget by a restart what they signed",
        meets: &["restarts"],
        inside: false,
        make: |base| {
            Some(base.only(&[Kind::Crash, Kind::Stop]).with(|scenario| scenario.signer = SignerModel::Forgetful))
        },
    },
];

/// What enough seeds of these scenarios must have met, by the names of the counters.
pub fn meets(scenarios: &[Scenario]) -> Vec<&'static str> {
    let chosen = |named: &&Named| scenarios.iter().any(|scenario| scenario.name == named.name);
    let all: BTreeSet<&str> = ALL.iter().filter(chosen).flat_map(|named| named.meets).copied().collect();
    all.into_iter().collect()
}

/// The scenarios of these names, of all inside the promise when none is named, as far as they apply.
///
/// # Errors
///
/// When a name is unknown, or its scenario does not apply.
pub fn choose(
    envelope: &Scenario,
    promise: &Promise,
    delta_ms: u64,
    names: &[String],
) -> Result<Vec<Scenario>, String> {
    let base = Base { scenario: envelope.clone(), promise: *promise, delta_ms };
    let make = |named: &Named| (named.make)(&base).map(|scenario| Scenario { name: named.name.into(), ..scenario });
    if names.is_empty() {
        return Ok(ALL.iter().filter(|named| named.inside).filter_map(make).collect());
    }
    let one = |name: &String| {
        let known = || ALL.iter().map(|named| named.name).collect::<Vec<_>>().join(", ");
        let named = ALL.iter().find(|named| named.name == name);
        let named = named.ok_or_else(|| format!("scenario `{name}` is unknown; there are: {}", known()))?;
        make(named)
            .ok_or_else(|| format!("scenario `{name}` does not apply: {} withstands nothing of it", envelope.name))
    };
    names.iter().map(one).collect()
}

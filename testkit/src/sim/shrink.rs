//! Shrinking: of a schedule that breaks an invariant, everything is left out without which it is broken too.

use super::{
    campaign::Campaign,
    plan::{Fault, NEVER},
    scenario::{Scenario, Strategy},
    world,
};

/// Runs by which a schedule is shrunk at most.
pub const SHRINK_RUNS_MAX: usize = 300;

/// How often the length of one fault is halved at most.
const HALVINGS_MAX: usize = 6;

/// A schedule that is small.
pub(crate) struct Small {
    pub(crate) scenario: Scenario,
    pub(crate) faults: Vec<Fault>,
    pub(crate) left_out: Vec<&'static str>,
    pub(crate) runs: usize,
}

impl Small {
    /// One that is as it was drawn.
    pub(crate) fn whole(scenario: Scenario, faults: Vec<Fault>) -> Self {
        Self { scenario, faults, left_out: Vec::new(), runs: 0 }
    }
}

/// What a schedule may do without: in words, and how.
type Omission = (&'static str, fn(&mut Scenario));

const OMISSIONS: [Omission; 12] = [
    ("nothing is submitted", |scenario| scenario.submit_every_ms = 0),
    ("no message is lost", |scenario| scenario.network.loss_permille = 0),
    ("none comes twice", |scenario| scenario.network.duplicate_permille = 0),
    ("none is late", |scenario| scenario.network.late_permille = 0),
    ("none overtakes another", |scenario| scenario.network.in_order_permille = 1000),
    ("wall clocks agree", |scenario| scenario.network.skew_max_ms = 0),
    ("crashes lose nothing that was sent", |scenario| scenario.faults.crash_loses_sent_permille = 0),
    ("blocks can be judged and built at once", |scenario| {
        scenario.kernel.not_now_permille = 0;
        scenario.kernel.build_fails_permille = 0;
        scenario.kernel.check_max_us = 0;
        scenario.kernel.build_max_us = 0;
    }),
    ("signatures take no time", |scenario| scenario.kernel.sign_max_us = 0),
    ("heights are not told unasked", |scenario| scenario.kernel.status_permille = 0),
    ("dishonest validators are only silent", |scenario| scenario.strategies = vec![Strategy::Silent]),
    ("dishonest validators only run two copies", |scenario| {
        if scenario.strategies != [Strategy::Silent] {
            scenario.strategies = vec![Strategy::Twins];
        }
    }),
];

struct Shrinker<'a> {
    campaign: &'a Campaign<'a>,
    seed: u64,
    invariant: &'static str,
    small: Small,
}

/// Shrinks a schedule that breaks `invariant`.
pub(crate) fn shrink(
    campaign: &Campaign<'_>,
    seed: u64,
    invariant: &'static str,
    scenario: Scenario,
    faults: Vec<Fault>,
) -> Result<Small, String> {
    let small = Small::whole(scenario, faults);
    let mut shrinker = Shrinker { campaign, seed, invariant, small };
    shrinker.drop_faults()?;
    shrinker.leave_out()?;
    shrinker.drop_faults()?;
    shrinker.shorten_faults()?;
    Ok(shrinker.small)
}

impl Shrinker<'_> {
    /// Takes the smaller schedule if it breaks the same invariant; says whether it does.
    fn take(&mut self, scenario: &Scenario, faults: Vec<Fault>) -> Result<bool, String> {
        if self.small.runs >= SHRINK_RUNS_MAX {
            return Ok(false);
        }
        self.small.runs += 1;
        let run = world::run(self.campaign.setup(scenario, Some(faults.clone()), false), self.seed)?;
        let same = run.violation.is_some_and(|violation| violation.invariant == self.invariant);
        if same {
            self.small.scenario = scenario.clone();
            self.small.faults = faults;
        }
        Ok(same)
    }

    /// Drops faults: all, halves, quarters and so on, single ones last, until none can go.
    fn drop_faults(&mut self) -> Result<(), String> {
        let mut size = self.small.faults.len();
        while size > 0 {
            let (mut at, mut dropped) = (0, false);
            while at < self.small.faults.len() {
                let mut fewer = self.small.faults.clone();
                fewer.drain(at..(at + size).min(fewer.len()));
                let scenario = self.small.scenario.clone();
                if self.take(&scenario, fewer)? {
                    dropped = true;
                } else {
                    at += size;
                }
            }
            // One that seemed to matter may not any more.
            size = if size == 1 && dropped { 1 } else { size / 2 };
        }
        Ok(())
    }

    /// Does without what is not a fault.
    fn leave_out(&mut self) -> Result<(), String> {
        for (words, omit) in OMISSIONS {
            let scenario = self.small.scenario.clone().with(omit);
            if scenario == self.small.scenario || (words.starts_with("dishonest") && scenario.byzantine == 0) {
                continue;
            }
            let faults = self.small.faults.clone();
            if self.take(&scenario, faults)? {
                self.small.left_out.push(words);
            }
        }
        Ok(())
    }

    fn shorten_faults(&mut self) -> Result<(), String> {
        for at in 0..self.small.faults.len() {
            for _ in 0..HALVINGS_MAX {
                let mut shorter = self.small.faults.clone();
                let Some(fault) = shorter.get_mut(at).filter(|fault| fault.until_us != NEVER) else { break };
                let lasts = fault.until_us.saturating_sub(fault.at_us);
                fault.until_us = fault.at_us + lasts / 2;
                let scenario = self.small.scenario.clone();
                if lasts < 1000 || !self.take(&scenario, shorter)? {
                    break;
                }
            }
        }
        Ok(())
    }
}

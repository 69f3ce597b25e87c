//! How a validator stands, and the breaker which lets it rest after failures. Pure: time comes as an argument.

use std::time::{Duration, Instant};

use quorate::{Hash, PublicKey};
use serde::Serialize;

use crate::settings::Settings;

/// Timeouts in a row after which a validator counts as unreachable.
const TIMEOUTS_MAX: u32 = 2;

/// The weight of the newest latency in the mean, as a fraction of 8.
const LATENCY_WEIGHT: u32 = 2;

/// How a validator stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It answers in time, and keeps up.
    Healthy,
    /// It answers, but is behind, slow, syncing, stalled, failing or caught lying: asked after the healthy ones.
    Degraded,
    /// It does not answer, or was never asked.
    Unreachable,
}

/// How a validator stands, for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValidatorStatus {
    /// Its name.
    pub node_id: String,
    /// Where it answers clients.
    pub rpc_url: String,
    /// Where its peers reach it, if known.
    pub p2p_url: Option<String>,
    /// In a word.
    pub status: Health,
    /// Why it is not healthy.
    pub reason: Option<String>,
    /// Its last final height, as it says.
    pub height: Option<u64>,
    /// The hash of that block, as it says.
    pub hash: Option<Hash>,
    /// How many validators it needs for a block, as it says.
    pub quorum: Option<u64>,
    /// Mean time of its recent answers.
    pub latency_ms: Option<f64>,
    /// Since it last answered.
    pub last_seen_ms: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// Questions to it now.
    pub in_flight: usize,
}

/// How a question failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection, or it broke.
    Connection,
    /// No answer in time.
    Timeout,
    /// An answer that is none, or an internal error.
    Nonsense,
}

/// What a validator says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Said {
    pub(crate) height: u64,
    pub(crate) hash: Option<Hash>,
    pub(crate) status: String,
    pub(crate) detail: Option<String>,
    pub(crate) quorum: Option<u64>,
    /// Its node's key, as it says.
    pub(crate) key: Option<PublicKey>,
}

/// What is known of one validator.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    said: Option<Said>,
    latency: Option<Duration>,
    seen: Option<Instant>,
    failures: u32,
    timeouts: u32,
    failed: Option<(Failure, String)>,
    failed_at: Option<Instant>,
    rests_until: Option<Instant>,
    lied: Option<(Instant, String)>,
}

impl State {
    /// An answer came.
    pub(crate) fn answered(&mut self, now: Instant, took: Duration) {
        self.seen = Some(now);
        self.failures = 0;
        self.timeouts = 0;
        self.failed = None;
        self.rests_until = None;
        self.latency = Some(match self.latency {
            None => took,
            Some(mean) => (mean * (8 - LATENCY_WEIGHT) + took * LATENCY_WEIGHT) / 8,
        });
    }

    /// What it says of itself.
    pub(crate) fn said(&mut self, said: Said) {
        self.said = Some(said);
    }

    /// No answer came to what was asked at `begun`. `jitter` is 0 to 255, drawn at random.
    pub(crate) fn failed(
        &mut self,
        begun: Instant,
        now: Instant,
        (kind, why): (Failure, String),
        jitter: u8,
        settings: &Settings,
    ) {
        // What was under way when another call failed fails for the same reason: once.
        if self.failed_at.is_some_and(|at| begun < at) {
            return;
        }
        self.failed_at = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.timeouts = if kind == Failure::Timeout { self.timeouts.saturating_add(1) } else { 0 };
        if kind == Failure::Nonsense {
            self.seen = Some(now);
        }
        self.failed = Some((kind, why));
        let doubled = settings.backoff_min.saturating_mul(1 << (self.failures - 1).min(16)).min(settings.backoff_max);
        self.rests_until = Some(now + doubled - doubled * u32::from(jitter) / 512);
    }

    /// It was caught with what can't be true.
    pub(crate) fn lied(&mut self, now: Instant, what: String, settings: &Settings) {
        self.lied = Some((now + settings.distrust, what));
    }

    /// Whether it may be asked: not while it rests.
    pub(crate) fn rests(&self, now: Instant) -> Option<Duration> {
        self.rests_until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// The key of a validator that takes part, as it says: it answered last, was not caught lying, and has not stopped voting.
    pub(crate) fn takes_part(&self, now: Instant) -> Option<PublicKey> {
        let said = self.said.as_ref().filter(|said| said.status != "conflict")?;
        said.key.filter(|_| self.failed.is_none() && !self.is_distrusted(now))
    }

    pub(crate) fn height(&self) -> Option<u64> {
        self.said.as_ref().map(|said| said.height)
    }

    pub(crate) fn hash(&self) -> Option<Hash> {
        self.said.as_ref().and_then(|said| said.hash)
    }

    pub(crate) fn quorum(&self) -> Option<u64> {
        self.said.as_ref().and_then(|said| said.quorum)
    }

    pub(crate) fn latency(&self) -> Option<Duration> {
        self.latency
    }

    pub(crate) fn seen(&self) -> Option<Instant> {
        self.seen
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it was caught, and is asked last for that.
    pub(crate) fn is_distrusted(&self, now: Instant) -> bool {
        self.lied.as_ref().is_some_and(|(until, _)| *until > now)
    }

    /// Its place among those who may be asked: the healthy and those never asked, the degraded, the unreachable, and liars.
    pub(crate) fn rank(&self, now: Instant, best: u64, settings: &Settings) -> u8 {
        if self.is_distrusted(now) {
            return 3;
        }
        if self.seen.is_none() && self.failed.is_none() {
            return 0;
        }
        match self.health(now, best, settings).0 {
            Health::Healthy => 0,
            Health::Degraded => 1,
            Health::Unreachable => 2,
        }
    }

    /// In a word, and why; `best` is the height from which nobody should be far.
    pub(crate) fn health(&self, now: Instant, best: u64, settings: &Settings) -> (Health, Option<String>) {
        match &self.failed {
            Some((Failure::Connection, why)) => return (Health::Unreachable, Some(why.clone())),
            Some((Failure::Timeout, why)) if self.timeouts >= TIMEOUTS_MAX => {
                return (Health::Unreachable, Some(why.clone()));
            }
            Some((_, why)) => return (Health::Degraded, Some(why.clone())),
            None => {}
        }
        if let Some((until, what)) = &self.lied
            && *until > now
        {
            return (Health::Degraded, Some(what.clone()));
        }
        let Some(said) = &self.said else {
            return match self.seen {
                Some(_) => (Health::Healthy, None),
                None => (Health::Unreachable, Some("not asked yet".into())),
            };
        };
        if said.status != "ok" {
            let detail = said.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
            return (Health::Degraded, Some(format!("it says `{}`{detail}", said.status)));
        }
        if said.height.saturating_add(settings.behind_max) < best {
            return (Health::Degraded, Some(format!("behind: it is at height {}, others at {best}", said.height)));
        }
        if self.latency.is_some_and(|latency| latency > settings.slow_after) {
            let (took, limit) = (self.latency.unwrap_or_default().as_millis(), settings.slow_after.as_millis());
            return (Health::Degraded, Some(format!("slow: it takes {took} ms, more than {limit}")));
        }
        (Health::Healthy, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::of([])
    }

    fn said(height: u64, status: &str) -> Said {
        Said { height, status: status.into(), ..Said::default() }
    }

    #[test]
    fn a_validator_rests_longer_with_each_failure_up_to_the_limit_and_is_back_with_an_answer() {
        let (settings, now) = (settings(), Instant::now());
        let mut state = State::default();
        let mut rests = Vec::new();
        for _ in 0..8 {
            state.failed(now, now, (Failure::Connection, "refused".into()), 0, &settings);
            rests.push(state.rests(now).unwrap().as_millis());
        }
        assert_eq!(rests, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        state.failed(now, now, (Failure::Connection, "refused".into()), 255, &settings);
        let shortest = state.rests(now).unwrap();
        assert!(shortest >= settings.backoff_max / 2 && shortest < settings.backoff_max, "{shortest:?}");
        assert_eq!(state.health(now, 0, &settings).0, Health::Unreachable);
        state.answered(now, Duration::from_millis(1));
        assert_eq!((state.rests(now), state.health(now, 0, &settings).0), (None, Health::Healthy));
    }

    #[test]
    fn one_timeout_degrades_and_a_second_makes_unreachable() {
        let (settings, now) = (settings(), Instant::now());
        let mut state = State::default();
        state.failed(now, now, (Failure::Timeout, "late".into()), 0, &settings);
        assert_eq!(state.health(now, 0, &settings).0, Health::Degraded);
        state.failed(now, now, (Failure::Timeout, "late".into()), 0, &settings);
        assert_eq!(state.health(now, 0, &settings).0, Health::Unreachable);
    }

    #[test]
    fn behind_syncing_slow_and_lying_are_degraded_with_a_reason() {
        let (settings, now) = (settings(), Instant::now());
        let fresh = || {
            let mut state = State::default();
            state.answered(now, Duration::from_millis(1));
            state.said(said(10, "ok"));
            state
        };
        assert_eq!(fresh().health(now, 12, &settings), (Health::Healthy, None));
        let why = |state: &State, best| {
            let (health, why) = state.health(now, best, &settings);
            assert_eq!(health, Health::Degraded);
            why.unwrap()
        };
        assert!(why(&fresh(), 13).contains("behind"));
        let mut syncing = fresh();
        syncing.said(said(10, "syncing"));
        assert!(why(&syncing, 10).contains("syncing"));
        let mut slow = fresh();
        (0..20).for_each(|_| slow.answered(now, Duration::from_secs(3)));
        assert!(why(&slow, 10).contains("slow"));
        let mut liar = fresh();
        liar.lied(now, "a receipt without quorum".into(), &settings);
        assert_eq!(why(&liar, 10), "a receipt without quorum");
        assert_eq!(liar.health(now + settings.distrust, 10, &settings).0, Health::Healthy);
    }
}

//! The client: who is asked, in what order, and what was noticed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::{Hash, Height};
use serde::Serialize;
use serde_json::Value;

use crate::{
    bootnode,
    error::{Asked, ClientError},
    health::ValidatorStatus,
    http::Http,
    settings::{Endpoint, Settings, SettingsError, VALIDATORS_MAX},
    validator::{RpcError, Validator},
};
use quorate::service::Rules;

/// Disagreements kept at most; the oldest go first.
pub const DISAGREEMENTS_MAX: usize = 64;

/// Final heights remembered, to notice two final blocks at one.
const FINALS_MAX: usize = 4096;

/// Two validators say what can't both be true, or one says what is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Disagreement {
    /// Two blocks of one height, both with valid proofs of finality: more validators are dishonest than the network withstands.
    TwoFinalBlocks {
        /// Where.
        height: u64,
        /// One block.
        one: Hash,
        /// Who showed it.
        by_one: String,
        /// The other.
        other: Hash,
        /// Who showed that.
        by_other: String,
    },
    /// What a validator says can't be verified.
    Lie {
        /// Who.
        validator: String,
        /// What it said, and why that proves nothing.
        what: String,
    },
    /// Two validators answer a question about the same election differently.
    Answers {
        /// Which question.
        about: String,
        /// One.
        one: String,
        /// The other.
        other: String,
    },
}

/// Everything a client holds.
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) rules: Rules,
    pub(crate) http: Http,
    validators: RwLock<Vec<Arc<Validator>>>,
    turn: AtomicUsize,
    disagreements: Mutex<VecDeque<Disagreement>>,
    finals: Mutex<BTreeMap<Height, (Hash, String)>>,
}

/// Asks a network of validators. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// What one validator's answer means for the call.
pub(crate) enum Step<T> {
    /// This is the answer.
    Done(T),
    /// Ask the next; what this one said, in words.
    Next(String),
}

impl Client {
    /// A client which trusts `rules` and nobody else. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`SettingsError`].
    pub fn new(settings: Settings, rules: Rules) -> Result<Self, SettingsError> {
        settings.check()?;
        let mut validators = Vec::with_capacity(settings.validators.len());
        for endpoint in &settings.validators {
            validators.push(Arc::new(Validator::new(endpoint.clone(), &settings)?));
        }
        Ok(Self(Arc::new(Inner {
            http: Http::new(settings.calls_per_validator_max),
            rules,
            validators: RwLock::new(validators),
            turn: AtomicUsize::new(0),
            disagreements: Mutex::default(),
            finals: Mutex::default(),
            settings,
        })))
    }

    /// What it trusts.
    pub fn rules(&self) -> &Rules {
        &self.0.rules
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn validators(&self) -> Vec<Arc<Validator>> {
        self.0.validators.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How each validator stands, by what was last heard of it.
    pub fn validator_status(&self) -> Vec<ValidatorStatus> {
        let (now, validators) = (Instant::now(), self.validators());
        let best = best(&validators, now);
        validators.iter().map(|one| one.status(now, best, self.settings())).collect()
    }

    /// Asks every validator how it stands, also those that rest; and the bootnode, if there is one. Takes
    /// [`Settings::attempt_timeout`] at most, and that once more for validators which the bootnode names for the first time.
    pub async fn refresh_validator_status(&self) -> Vec<ValidatorStatus> {
        let mut probes = tokio::task::JoinSet::new();
        let mut look_at = |validator: Arc<Validator>| {
            let client = self.clone();
            probes.spawn(async move { client.probe(&validator).await });
        };
        let known = self.validators();
        known.iter().cloned().for_each(&mut look_at);
        self.ask_bootnode().await;
        let is_new = |one: &Arc<Validator>| !known.iter().any(|known| Arc::ptr_eq(known, one));
        self.validators().into_iter().filter(is_new).for_each(look_at);
        while probes.join_next().await.is_some() {}
        self.validator_status()
    }

    async fn probe(&self, validator: &Validator) {
        let Ok(chain) = validator.probe(&self.0.http, self.settings()).await else { return };
        let own = self.0.rules.genesis.chain_id().to_string();
        if let Some(chain) = chain.filter(|chain| *chain != own) {
            self.caught(
                validator,
                format!("it is of another network: {}, not {own}", chain.chars().take(80).collect::<String>()),
            );
        }
    }

    /// Keeps health current until it is dropped: each validator is asked every [`Settings::probe_interval`], one that fails when its rest is
    /// over, and the bootnode for validators that are not known yet.
    pub async fn watch(&self) {
        let mut due: BTreeMap<String, Instant> = BTreeMap::new();
        let mut ask_bootnode = Instant::now();
        let mut probes = tokio::task::JoinSet::new();
        loop {
            let now = Instant::now();
            if ask_bootnode <= now {
                ask_bootnode = now + self.settings().probe_interval.saturating_mul(5);
                let client = self.clone();
                probes.spawn(async move { client.ask_bootnode().await });
            }
            let mut next = ask_bootnode;
            for validator in self.validators() {
                let at = due.entry(validator.name().to_owned()).or_insert(now);
                let rests = validator.state().rests(now);
                if let Some(left) = rests.filter(|_| *at <= now) {
                    *at = now + left;
                } else if *at <= now {
                    let interval = self.settings().probe_interval;
                    *at = now + interval;
                    let client = self.clone();
                    probes.spawn(async move { client.probe(&validator).await });
                }
                next = next.min(*at);
            }
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                Some(_) = probes.join_next(), if !probes.is_empty() => {}
            }
        }
    }

    async fn ask_bootnode(&self) {
        let Some(url) = &self.settings().bootnode else { return };
        let found = match bootnode::validators(&self.0.http, url, &self.0.rules, self.settings().attempt_timeout).await
        {
            Ok(found) => found,
            Err(no_answer) => {
                tracing::debug!(url, why = no_answer.why, "the bootnode gives no validators; it is asked again");
                return;
            }
        };
        for endpoint in found {
            self.add(endpoint);
        }
    }

    fn add(&self, endpoint: Endpoint) {
        let mut validators = self.0.validators.write().unwrap_or_else(PoisonError::into_inner);
        let same =
            |known: &Arc<Validator>| known.endpoint.name == endpoint.name || known.endpoint.rpc_url == endpoint.rpc_url;
        let is_configured = |name: &str| self.settings().validators.iter().any(|one| one.name == name);
        match validators.iter().position(same) {
            // It has moved.
            Some(at)
                if validators.get(at).is_some_and(|known| {
                    known.endpoint != endpoint && known.endpoint.name == endpoint.name && !is_configured(&endpoint.name)
                }) =>
            {
                if let (Ok(moved), Some(place)) = (Validator::new(endpoint, self.settings()), validators.get_mut(at)) {
                    *place = Arc::new(moved);
                }
            }
            Some(_) => {}
            None if validators.len() < VALIDATORS_MAX => {
                if let Ok(validator) = Validator::new(endpoint, self.settings()) {
                    tracing::info!(
                        validator = validator.name(),
                        url = validator.endpoint.rpc_url,
                        "a validator was found"
                    );
                    validators.push(Arc::new(validator));
                }
            }
            None => {}
        }
    }

    /// What validators said that can't be true, the oldest first; at most [`DISAGREEMENTS_MAX`].
    pub fn disagreements(&self) -> Vec<Disagreement> {
        self.0.disagreements.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn disagree(&self, what: Disagreement) {
        let mut known = self.0.disagreements.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&what) {
            return;
        }
        tracing::warn!(disagreement = ?what, "validators disagree");
        if known.len() >= DISAGREEMENTS_MAX {
            known.pop_front();
        }
        known.push_back(what);
    }

    /// A validator said what can't be true: noted, and asked last for [`Settings::distrust`].
    pub(crate) fn caught(&self, validator: &Validator, what: String) {
        // Some of it are the liar's own words, as many as it likes.
        let what: String = what.chars().take(300).collect();
        validator.lied(&what, self.settings());
        self.disagree(Disagreement::Lie { validator: validator.name().into(), what });
    }

    /// A block that is verified to be final; notices another one at its height.
    pub(crate) fn is_final(&self, validator: &Validator, height: Height, hash: Hash) {
        let mut finals = self.0.finals.lock().unwrap_or_else(PoisonError::into_inner);
        match finals.get(&height) {
            Some((known, by)) if *known != hash => {
                let what = Disagreement::TwoFinalBlocks {
                    height: height.0,
                    one: *known,
                    by_one: by.clone(),
                    other: hash,
                    by_other: validator.name().into(),
                };
                drop(finals);
                self.disagree(what);
            }
            Some(_) => {}
            None => {
                finals.insert(height, (hash, validator.name().into()));
                if finals.len() > FINALS_MAX {
                    finals.pop_first();
                }
            }
        }
    }

    /// Who may be asked now, the best first: the healthy ones and those never asked in turn, the least busy of them first, then the degraded ones, and
    /// liars last. Those that rest after a failure are left out.
    pub(crate) fn candidates(&self) -> Vec<Arc<Validator>> {
        let (now, validators) = (Instant::now(), self.validators());
        let best = best(&validators, now);
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let mut of_rank: BTreeMap<u8, usize> = BTreeMap::new();
        let mut awake = Vec::with_capacity(validators.len());
        for one in &validators {
            let state = one.state();
            if state.rests(now).is_none() {
                let rank = state.rank(now, best, self.settings());
                let count = of_rank.entry(rank).or_default();
                awake.push((rank, *count, Arc::clone(one)));
                *count += 1;
            }
        }
        // Those of one rank take turns among themselves, so that all get the share of one that is gone; unless one is much busier than others.
        let place = |(rank, at, one): (u8, usize, Arc<Validator>)| {
            let count = of_rank.get(&rank).copied().unwrap_or(1);
            ((rank, one.in_flight() / 4, at.wrapping_add(turn) % count), one)
        };
        let mut sorted: Vec<_> = awake.into_iter().map(place).collect();
        sorted.sort_by_key(|(key, _)| *key);
        sorted.into_iter().map(|(_, one)| one).collect()
    }

    /// Whether anybody may be asked now: not when all rest after failures.
    pub fn can_ask(&self) -> bool {
        let now = Instant::now();
        self.validators().iter().any(|one| one.state().rests(now).is_none())
    }

    /// Nobody gave an answer.
    pub(crate) fn unavailable(&self, asked: Vec<Asked>) -> ClientError {
        let now = Instant::now();
        let soonest = self.validators().iter().map(|one| one.state().rests(now).unwrap_or_default()).min();
        // Not before it is over.
        let retry_after_ms = ms(soonest.unwrap_or_default()).saturating_add(1);
        ClientError::Unavailable { asked, retry_after_ms }
    }

    /// Asks one candidate after the other until `judge` is content with an answer.
    pub(crate) async fn ask<T>(
        &self,
        method: &str,
        params: Value,
        mut judge: impl FnMut(&Validator, Result<Value, RpcError>) -> Step<T>,
    ) -> Result<T, ClientError> {
        let begun = Instant::now();
        let mut asked = Vec::new();
        for validator in self.candidates() {
            let Some(within) = self.time_left(begun) else {
                return Err(ClientError::TimedOut { within_ms: ms(self.settings().call_timeout), asked });
            };
            let answer = validator.call(&self.0.http, self.settings(), method, params.clone(), within).await;
            let outcome = match answer {
                Ok(answer) => match judge(&validator, answer) {
                    Step::Done(done) => return Ok(done),
                    Step::Next(why) => why,
                },
                Err(no_answer) => no_answer.why,
            };
            asked.push(Asked { validator: validator.name().into(), outcome });
        }
        Err(self.unavailable(asked))
    }

    /// How long the next attempt of a call may take, if there is time for one.
    pub(crate) fn time_left(&self, begun: Instant) -> Option<Duration> {
        let left = self.settings().call_timeout.checked_sub(begun.elapsed())?;
        Some(left.min(self.settings().attempt_timeout)).filter(|left| !left.is_zero())
    }

    /// How many of genesis' validators answer, each counted once by the key that it names, and how many of them are needed for a block, as most of these
    /// say; `None` while none has said. Whoever failed to answer last, was caught lying, or has stopped voting does not count.
    pub fn reach(&self) -> (usize, Option<u64>) {
        let now = Instant::now();
        let mut keys = BTreeSet::new();
        let mut quorums = Vec::new();
        for one in self.validators() {
            let state = one.state();
            let key = state.takes_part(now).filter(|key| self.rules().genesis.validators().index_of(key).is_some());
            if key.is_some_and(|key| keys.insert(key)) {
                quorums.extend(state.quorum());
            }
        }
        quorums.sort_unstable();
        (keys.len(), quorums.get(quorums.len() / 2).copied())
    }

    /// How many of genesis' validators say that they are higher than `height`, each counted once.
    pub fn higher_than(&self, height: u64) -> usize {
        let now = Instant::now();
        let validators = self.validators();
        let higher = validators.iter().filter_map(|one| {
            let state = one.state();
            state.takes_part(now).filter(|_| state.height().is_some_and(|said| said > height))
        });
        higher.collect::<BTreeSet<_>>().len()
    }
}

/// The height from which nobody should be far: where three say one, the highest that two have reached, as one voice must not make all
/// others late. Liars have no voice.
fn best(validators: &[Arc<Validator>], now: Instant) -> u64 {
    let height = |one: &Arc<Validator>| Some(one.state()).filter(|state| !state.is_distrusted(now))?.height();
    let mut heights: Vec<u64> = validators.iter().filter_map(height).collect();
    heights.sort_unstable_by(|one, other| other.cmp(one));
    heights.get(usize::from(heights.len() > 2)).copied().unwrap_or(0)
}

pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

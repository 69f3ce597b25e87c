//! One bootnode, seen from a node: registers there, says that it is still there, asks for others, for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use quorate::{ChainId, PublicKey, transport::Identity};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::{
    http::Endpoint,
    record::{Heartbeat, Place, Record},
    table::RECORDS_MAX,
};

/// The first wait after a failure; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(250);

/// The longest wait after failures.
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// The first wait after an answer; it doubles up to the refresh, so that nodes which start together meet soon.
const EAGER_MIN: Duration = Duration::from_secs(1);

/// Peers not known before that one round takes at most: the others wait for the next.
pub(crate) const NEW_PEERS_PER_ROUND_MAX: usize = 64;

/// Records of other networks that are checked at most when there are none of this one: what a wrong genesis is told by.
pub(crate) const ELSEWHERE_MAX: usize = 64;

/// How far ahead of this machine's clock a sequence may be that a bootnode claims to have seen from us. Beyond that it is
/// not followed: it would use our sequences up.
const SEQUENCE_LEAD_MAX_MS: u64 = 366 * 24 * 3600 * 1000;

/// Characters of a bootnode's own words that are repeated at most.
const WORDS_MAX: usize = 200;

/// Gives rising sequences: the time in milliseconds, or one more than the last.
#[derive(Debug, Default)]
pub(crate) struct Sequence(AtomicU64);

impl Sequence {
    fn next(&self, now_ms: u64) -> u64 {
        let after = |last: u64| last.saturating_add(1).max(now_ms);
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last)));
        after(last.unwrap_or_default())
    }

    /// Goes above what a bootnode says it has seen, if that can be; whether it could.
    fn raise(&self, seen: u64, now_ms: u64) -> bool {
        let believable = seen <= now_ms.saturating_add(SEQUENCE_LEAD_MAX_MS);
        if believable {
            self.0.fetch_max(seen, Ordering::Relaxed);
        }
        believable
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What a source tells the discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Which of the sources.
    pub(crate) source: usize,
    /// Whether it answered.
    pub(crate) reachable: bool,
    /// How it went, in a few words that stay the same while nothing changes.
    pub(crate) detail: String,
    /// Checked records of this network that are new from this source.
    pub(crate) records: Vec<(Record, String)>,
    /// Checked records of other networks, asked for when there are none of this one.
    pub(crate) elsewhere: Vec<(Record, String)>,
}

/// One bootnode.
pub(crate) struct Source {
    pub(crate) index: usize,
    pub(crate) url: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) chain_id: ChainId,
    /// What is registered; `None` if this node has no address for others.
    pub(crate) place: Option<Place>,
    pub(crate) identity: Arc<dyn Identity>,
    pub(crate) sequence: Arc<Sequence>,
    pub(crate) refresh: Duration,
    /// The key and sequence of those that the last answers held: at most [`RECORDS_MAX`].
    pub(crate) known: BTreeMap<PublicKey, u64>,
    pub(crate) registered: bool,
}

/// How a round went.
struct Round {
    peers: Peers,
    /// Why the bootnode does not take our record, if so.
    refusal: Option<String>,
}

/// What the bootnode makes of us.
enum Standing {
    Registered(Peers),
    Alive,
    Refused(String),
}

impl Source {
    /// Goes on until the discovery is gone.
    pub(crate) async fn run(mut self, reports: mpsc::Sender<Report>) {
        let (mut eager, mut backoff) = (EAGER_MIN, BACKOFF_MIN);
        loop {
            let (report, wait) = match self.round().await {
                Ok(round) => {
                    let (mut report, more) = self.judge(round).await;
                    if self.known.is_empty() {
                        report.elsewhere = self.elsewhere().await;
                    }
                    backoff = BACKOFF_MIN;
                    eager = if more { EAGER_MIN } else { (eager * 2).min(self.refresh) };
                    (report, eager.min(self.refresh))
                }
                Err(why) => {
                    let detail = format!("{}: {why}", self.url);
                    let wait = backoff;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    eager = EAGER_MIN;
                    (
                        Report {
                            source: self.index,
                            reachable: false,
                            detail,
                            records: Vec::new(),
                            elsewhere: Vec::new(),
                        },
                        wait,
                    )
                }
            };
            if reports.send(report).await.is_err() {
                return;
            }
            tokio::time::sleep(jittered(wait)).await;
        }
    }

    async fn round(&mut self) -> Result<Round, String> {
        let mut refusal = None;
        if self.place.is_some() {
            match self.stand().await? {
                Standing::Registered(peers) => return Ok(Round { peers, refusal: None }),
                Standing::Alive => {}
                Standing::Refused(why) => refusal = Some(why),
            }
        }
        let (status, body) =
            self.endpoint.ask(Method::GET, &format!("/peers?chain_id={}", self.chain_id), Vec::new()).await?;
        if status != StatusCode::OK {
            return Err(format!("GET /peers was answered {}", said(status, &body)));
        }
        let Reply { peers } = serde_json::from_slice(&body).map_err(|error| format!("GET /peers: {error}"))?;
        Ok(Round { peers, refusal })
    }

    /// Registers, or says that we are still there.
    async fn stand(&mut self) -> Result<Standing, String> {
        if self.registered {
            let (status, body) = self.heartbeat().await?;
            if status == StatusCode::OK {
                return Ok(Standing::Alive);
            }
            // It has restarted, or forgotten us, or knows something newer of us.
            self.registered = false;
            self.follow(&body);
        }
        let (mut status, mut body) = self.register().await?;
        if status == StatusCode::CONFLICT && self.follow(&body) {
            (status, body) = self.register().await?;
        }
        if status != StatusCode::OK {
            return Ok(Standing::Refused(said(status, &body)));
        }
        let Reply { peers } = serde_json::from_slice(&body).map_err(|error| format!("POST /register_peer: {error}"))?;
        self.registered = true;
        Ok(Standing::Registered(peers))
    }

    async fn register(&self) -> Result<(StatusCode, Bytes), String> {
        let Some(place) = self.place.clone() else { return Err("this node has no address for peers".into()) };
        let record = Record::sign(self.identity.as_ref(), place, self.sequence.next(now_ms()));
        let record = record.map_err(|error| error.to_string())?;
        let body = serde_json::to_vec(&record).map_err(|error| error.to_string())?;
        self.endpoint.ask(Method::POST, "/register_peer", body).await
    }

    async fn heartbeat(&self) -> Result<(StatusCode, Bytes), String> {
        let node_id = self.place.as_ref().map(|place| place.node_id.clone()).unwrap_or_default();
        let beat = Heartbeat::sign(self.identity.as_ref(), node_id, self.sequence.next(now_ms()));
        let beat = beat.map_err(|error| error.to_string())?;
        let body = serde_json::to_vec(&beat).map_err(|error| error.to_string())?;
        self.endpoint.ask(Method::POST, "/heartbeat", body).await
    }

    /// Goes above the sequence that a refusal names; whether it names one that can be.
    fn follow(&self, body: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Refused {
            last_sequence: u64,
        }
        serde_json::from_slice::<Refused>(body)
            .is_ok_and(|refused| self.sequence.raise(refused.last_sequence, now_ms()))
    }

    /// Checks what was answered; the report, and whether more wait for the next round.
    async fn judge(&mut self, round: Round) -> (Report, bool) {
        let Peers { records, mut wrong } = round.peers;
        let own = self.identity.public_key();
        let mut seen = BTreeSet::new();
        let mut fresh = Vec::new();
        let (mut added, mut more) = (0, false);
        for record in records {
            let key = record.public_key;
            if key == own || record.chain_id != Some(self.chain_id) {
                // Not wrong: other networks may share the bootnode.
                continue;
            }
            let known = self.known.get(&key).copied();
            if known.is_some_and(|sequence| record.sequence <= sequence) {
                seen.insert(key);
                continue;
            }
            if known.is_none() && added >= NEW_PEERS_PER_ROUND_MAX {
                more = true;
                continue;
            }
            match record.check_fields().and_then(|address| record.check_signature().map(|()| address)) {
                Ok(address) => {
                    added += usize::from(known.is_none());
                    seen.insert(key);
                    self.known.insert(key, record.sequence);
                    fresh.push((record, address));
                }
                Err(error) => {
                    wrong += 1;
                    tracing::debug!(url = self.url, %error, "record ignored");
                }
            }
            // A check takes a while: let others run between two.
            tokio::task::yield_now().await;
        }
        self.known.retain(|key, _| seen.contains(key));
        let mut detail = match (&round.refusal, &self.place) {
            (Some(why), _) => format!("{}: answers, but does not take this node's record: {why}", self.url),
            (None, None) => format!(
                "{}: answers; this node has no address that others could dial and is not registered (set the address to advertise)",
                self.url
            ),
            (None, Some(_)) => format!("{}: registered", self.url),
        };
        if wrong > 0 {
            detail.push_str(
                "; it also tells records which their keys did not sign or which are malformed, they are ignored",
            );
        }
        (Report { source: self.index, reachable: true, detail, records: fresh, elsewhere: Vec::new() }, more)
    }

    /// Nodes of other networks, when the bootnode has none of this one: perhaps the genesis here is the wrong one. Best effort.
    async fn elsewhere(&self) -> Vec<(Record, String)> {
        let Ok((StatusCode::OK, body)) = self.endpoint.ask(Method::GET, "/peers", Vec::new()).await else {
            return Vec::new();
        };
        let Ok(Reply { peers }) = serde_json::from_slice(&body) else { return Vec::new() };
        let others = peers.records.into_iter().filter(|record| record.chain_id != Some(self.chain_id));
        let mut found = Vec::new();
        for record in others.filter(|record| record.public_key != self.identity.public_key()).take(ELSEWHERE_MAX) {
            if let Ok(address) = record.check_fields()
                && record.check_signature().is_ok()
            {
                found.push((record, address));
            }
            // A check takes a while: let others run between two.
            tokio::task::yield_now().await;
        }
        found
    }
}

/// A status and what the body says, made harmless and short.
fn said(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Words {
        detail: String,
    }
    let words = serde_json::from_slice::<Words>(body).map(|words| words.detail).unwrap_or_default();
    let words: String = words.chars().take(WORDS_MAX).map(|one| if one.is_control() { '?' } else { one }).collect();
    if words.is_empty() { status.to_string() } else { format!("{} ({words})", status.as_u16()) }
}

/// Between half of `wait` and all of it, so that nodes which were refused together don't come back together.
fn jittered(wait: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    wait / 2 + (wait / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[derive(Deserialize)]
struct Reply {
    peers: Peers,
}

/// The records of an answer, at most [`RECORDS_MAX`].
#[derive(Debug, Default)]
struct Peers {
    records: Vec<Record>,
    /// Entries that are none.
    wrong: usize,
}

impl<'de> Deserialize<'de> for Peers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Peers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Peers, A::Error> {
                let mut peers = Peers::default();
                while peers.records.len() + peers.wrong < RECORDS_MAX {
                    let Some(entry) = entries.next_element::<&RawValue>()? else { return Ok(peers) };
                    match serde_json::from_str(entry.get()) {
                        Ok(record) => peers.records.push(record),
                        Err(_) => peers.wrong += 1,
                    }
                }
                while entries.next_element::<IgnoredAny>()?.is_some() {}
                Ok(peers)
            }
        }

        deserializer.deserialize_seq(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_rises_whatever_the_clock_does() {
        let sequence = Sequence::default();
        assert_eq!([sequence.next(1000), sequence.next(1000), sequence.next(500)], [1000, 1001, 1002]);
        assert_eq!(sequence.next(2000), 2000);
    }

    #[test]
    fn a_lying_bootnode_cannot_use_our_sequences_up() {
        let sequence = Sequence::default();
        assert!(sequence.raise(5000, 1000));
        assert_eq!(sequence.next(1000), 5001);
        assert!(!sequence.raise(u64::MAX, 1000));
        assert_eq!(sequence.next(1000), 5002);
    }

    #[test]
    fn a_long_list_is_read_no_further_than_the_bound() {
        let text = format!("[{}]", vec!["{}"; RECORDS_MAX + 500].join(","));
        let peers: Peers = serde_json::from_str(&text).unwrap();
        assert_eq!((peers.records.len(), peers.wrong), (0, RECORDS_MAX));
    }

    #[test]
    fn waits_differ_and_stay_within_their_bounds() {
        let waits: BTreeSet<_> = (0..50).map(|_| jittered(Duration::from_secs(10))).collect();
        assert!(waits.len() > 1);
        assert!(waits.iter().all(|wait| (Duration::from_secs(5)..=Duration::from_secs(10)).contains(wait)));
    }
}

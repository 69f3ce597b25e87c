//! What all routes and tasks share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quorate::{
    Hash,
    node::{Health, NodeHandle, NodeStatus},
    service::Rules,
};
use quorate_client::Client;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};

use crate::{
    metrics::Metrics,
    outbox::{Outbox, Standing},
    verify::Verifier,
};

/// Questions to validators at a time on behalf of whoever asks about what this node does not know.
pub(crate) const LOOK_UPS_MAX: usize = 8;

/// How many blocks others may be ahead before this node's chain is called stale: those take a moment to arrive.
const AHEAD_MAX: u64 = 2;

/// See the module.
pub(crate) struct Gateway {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The node itself, which follows the chain and verifies it.
    pub(crate) node: NodeHandle,
    pub(crate) rules: Rules,
    pub(crate) client: Client,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) metrics: Metrics,
    /// Wakes the forwarder.
    pub(crate) work: Notify,
    pub(crate) admin_token: Option<Arc<str>>,
    pub(crate) started: Instant,
    /// How long an answer waits for the first validator to take the ballot.
    pub(crate) forward_wait: Duration,
    /// Bounds what validators are asked on behalf of anybody.
    pub(crate) look_ups: Semaphore,
    /// Checks of the chain, and what the last ones found.
    pub(crate) verification: Verifier,
}

/// How many validators answer, and whether that is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Reach {
    /// Validators that answer.
    pub(crate) answering: usize,
    /// Validators there are, by genesis.
    pub(crate) validators: usize,
    /// Validators needed for a block.
    pub(crate) needed: usize,
}

impl Reach {
    pub(crate) fn is_quorum(self) -> bool {
        self.answering >= self.needed
    }

    /// `1 of 3 validators answers, 2 are needed`.
    pub(crate) fn in_words(self) -> String {
        let Self { answering, validators, needed } = self;
        match answering {
            1 => format!("1 of {validators} validators answers, {needed} are needed"),
            _ => format!("{answering} of {validators} validators answer, {needed} are needed"),
        }
    }
}

/// How far this node has verified the chain, for every answer that rests on it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verified {
    /// The last block that this node checked and executed.
    pub(crate) height: u64,
    /// Its hash.
    pub(crate) hash: Option<Hash>,
    /// Its time, in milliseconds since 1970.
    pub(crate) time_ms: u64,
    /// Whether there may be newer blocks that this node can't see.
    pub(crate) stale: bool,
    /// Why.
    pub(crate) detail: Option<String>,
}

impl Gateway {
    /// Which validators answer, and how many are needed.
    pub(crate) fn reach(&self) -> Reach {
        let (answering, quorum) = self.client.reach();
        let validators = self.rules.genesis.validators().len();
        // What a validator says of the quorum counts only as far as it is possible.
        let majority = validators / 2 + 1;
        let said = quorum.and_then(|quorum| usize::try_from(quorum).ok());
        let needed = said.filter(|said| (majority..=validators).contains(said)).unwrap_or(majority);
        Reach { answering, validators, needed }
    }

    /// How the node stands; `None` before its chain is open or after it is closed.
    pub(crate) async fn status(&self) -> Option<NodeStatus> {
        self.node.status().await.ok()
    }

    /// How far the chain is verified here.
    pub(crate) fn verified(&self, status: Option<&NodeStatus>) -> Verified {
        let Some(status) = status else {
            let detail = Some("this node's chain is not open".into());
            return Verified { height: 0, hash: None, time_ms: 0, stale: true, detail };
        };
        let reach = self.reach();
        let peers = status.peers.iter().filter(|peer| peer.connected && peer.validator).count();
        let detail = match status.status {
            Health::Ok | Health::Stalled if peers == 0 => {
                Some(format!("no validator tells of blocks; this is the chain up to height {}", status.height))
            }
            // Those that do not tell are enough to go on without this node seeing it.
            Health::Ok | Health::Stalled if reach.validators.saturating_sub(peers) >= reach.needed => {
                let all = reach.validators;
                Some(format!("{peers} of {all} validators tell of blocks; the others could go on by themselves"))
            }
            // More than may lie, and not only a block ahead.
            Health::Ok | Health::Stalled
                if self.client.higher_than(status.height.0 + AHEAD_MAX) > reach.validators - reach.needed =>
            {
                Some(format!("validators say that they are beyond height {}", status.height.0 + AHEAD_MAX))
            }
            Health::Ok | Health::Stalled => None,
            Health::Syncing | Health::Conflict => status.detail.clone(),
        };
        Verified { height: status.height.0, hash: status.hash, time_ms: status.time.0, stale: detail.is_some(), detail }
    }

    /// Asks the application of this node's own chain.
    pub(crate) async fn query(&self, path: &str, params: Value) -> Result<Value, quorate::application::QueryError> {
        let answer = self.node.query(path, params.to_string()).await?;
        serde_json::from_slice(&answer).map_err(|error| quorate::application::QueryError::State(error.to_string()))
    }

    /// In a word, and a warning where there is something to warn of: `submitted` is said only when a validator took the ballot and enough of them
    /// answer to make it final.
    pub(crate) fn told(&self, standing: &Standing) -> (Word, Option<String>) {
        let reach = self.reach();
        match standing {
            Standing::Taken { .. } if reach.is_quorum() => (Word::Submitted, None),
            Standing::Taken { by } => {
                let why = format!("{by} has it, but {}", reach.in_words());
                (Word::Queued, Some(held(&why)))
            }
            Standing::Queued { reason } => {
                let why = match reason {
                    Some(reason) if reach.is_quorum() => reason.clone(),
                    _ if reach.is_quorum() => "no validator has taken it yet".into(),
                    _ => reach.in_words(),
                };
                (Word::Queued, Some(held(&why)))
            }
        }
    }
}

fn held(why: &str) -> String {
    format!(
        "the vote is held by this backend, not yet recorded by the validators ({why}); it is forwarded as soon as that is possible and counts once"
    )
}

/// How a ballot stands that this backend holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Word {
    /// A validator took it.
    Submitted,
    /// Only held here.
    Queued,
}

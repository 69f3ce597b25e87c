//! Where the in-memory nodes of one process meet: who is there, and the queues between them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use quorate::{ChainId, PeerId, transport::Class};
use tokio::sync::{mpsc, watch};

/// Nodes on one hub at most.
pub const NODES_MAX: usize = 256;

/// Messages of one class that may wait for one node; what comes beyond is dropped, as by a network.
pub const QUEUE_LEN_MAX: usize = 4096;

/// One node on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) peer: PeerId,
    pub(super) name: String,
    pub(super) chain_id: ChainId,
}

/// The ends of a node's queues which others hold, one a class.
#[derive(Debug, Clone)]
struct Senders([mpsc::Sender<(PeerId, Bytes)>; 3]);

/// The ends which the node itself holds.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) consensus: mpsc::Receiver<(PeerId, Bytes)>,
    pub(super) pool: mpsc::Receiver<(PeerId, Bytes)>,
    pub(super) sync: mpsc::Receiver<(PeerId, Bytes)>,
}

#[derive(Debug, Default)]
struct Inner {
    queues: Mutex<BTreeMap<PeerId, Senders>>,
    members: watch::Sender<Vec<Member>>,
}

/// A network inside this process: every node on it is connected to every other of the same chain. Clones are the same hub.
#[derive(Debug, Clone, Default)]
pub struct Hub(Arc<Inner>);

impl Hub {
    /// An empty hub.
    pub fn new() -> Self {
        Self::default()
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<PeerId, Senders>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place; `None` when the hub is full or the key is there already.
    pub(super) fn join(&self, peer: PeerId) -> Option<Inbox> {
        let (consensus_tx, consensus) = mpsc::channel(QUEUE_LEN_MAX);
        let (pool_tx, pool) = mpsc::channel(QUEUE_LEN_MAX);
        let (sync_tx, sync) = mpsc::channel(QUEUE_LEN_MAX);
        let mut queues = self.queues();
        if queues.len() >= NODES_MAX || queues.contains_key(&peer) {
            return None;
        }
        queues.insert(peer, Senders([consensus_tx, pool_tx, sync_tx]));
        Some(Inbox { consensus, pool, sync })
    }

    /// Lets the others see a node that has a place.
    pub(super) fn announce(&self, member: Member) {
        self.0.members.send_modify(|members| members.push(member));
    }

    pub(super) fn leave(&self, peer: &PeerId) {
        self.queues().remove(peer);
        self.0.members.send_modify(|members| members.retain(|member| member.peer != *peer));
    }

    pub(super) fn members(&self) -> watch::Receiver<Vec<Member>> {
        self.0.members.subscribe()
    }

    /// Puts a message into a node's queue; a node that is gone or whose queue is full does not get it.
    pub(super) fn send(&self, from: PeerId, to: &PeerId, class: Class, bytes: Bytes) {
        let sender = self.queues().get(to).map(|senders| {
            let [consensus, pool, sync] = &senders.0;
            match class {
                Class::Consensus => consensus.clone(),
                Class::Pool => pool.clone(),
                Class::Sync => sync.clone(),
            }
        });
        if let Some(sender) = sender {
            drop(sender.try_send((from, bytes)));
        }
    }
}

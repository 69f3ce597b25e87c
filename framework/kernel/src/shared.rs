//! What the loop and everything beside it share: the chain as of the last final block, the pool, who is connected.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use quorate::{
    Bytes, Height, Instant, PeerId, PublicKey, Timestamp, TransactionId,
    consensus::EngineStatus,
    node::{EVIDENCE_LIST_MAX, EvidenceRecord, Health, NodeStatus, PeerStatus, RefusedPeer},
    storage::StorageError,
};
use tokio::sync::oneshot;

use crate::{
    checked::Checked,
    ledger::{Known, Ledger, View},
    metrics::Metrics,
    named::Names,
    pool::Pool,
};

/// Refused addresses remembered at most.
const REFUSED_MAX: usize = 64;

/// Peers remembered after they are gone, at most.
const PEERS_REMEMBERED_MAX: usize = 256;

/// The one reader of clocks.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        // A microsecond is added so that no instant of this process is the origin itself.
        Instant(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
            .after(std::time::Duration::from_micros(1))
    }

    pub(crate) fn wall() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn std(&self, at: Instant) -> std::time::Instant {
        self.origin + std::time::Duration::from_micros(at.0)
    }
}

/// Who is or was connected, and who was turned away.
#[derive(Debug, Default)]
pub(crate) struct PeerTable {
    peers: BTreeMap<PeerId, PeerStatus>,
    refused: BTreeMap<String, RefusedPeer>,
}

impl PeerTable {
    pub(crate) fn up(&mut self, peer: PeerId, name: String, address: String) {
        if self.peers.len() >= PEERS_REMEMBERED_MAX {
            self.peers.retain(|_, known| known.connected);
        }
        self.refused.remove(&address);
        let height = self.peers.get(&peer).map_or(Height::GENESIS, |known| known.height);
        self.peers.insert(peer, PeerStatus { peer, name, connected: true, validator: false, address, height });
    }

    pub(crate) fn down(&mut self, peer: &PeerId) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.connected = false;
        }
    }

    pub(crate) fn height(&mut self, peer: &PeerId, height: Height) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.height = height;
        }
    }

    /// Returns whether this is the first time in a row.
    pub(crate) fn refused(&mut self, address: String, reason: String) -> bool {
        if self.refused.len() >= REFUSED_MAX && !self.refused.contains_key(&address) {
            self.refused.pop_first();
        }
        let entry =
            self.refused.entry(address.clone()).or_insert(RefusedPeer { address, reason: reason.clone(), count: 0 });
        let new = entry.count == 0 || entry.reason != reason;
        entry.reason = reason;
        entry.count += 1;
        new
    }

    pub(crate) fn connected(&self) -> usize {
        self.peers.values().filter(|peer| peer.connected).count()
    }
}

/// What the loop tells about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    pub(crate) engine: EngineStatus,
    pub(crate) best_known: Height,
    pub(crate) syncing: bool,
    /// No peer has the next block, because all removed it: the lowest height that they have.
    pub(crate) out_of_reach: Option<Height>,
    pub(crate) conflict: Option<String>,
}

/// Who this node is.
#[derive(Debug, Clone)]
pub(crate) struct Identification {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) version: String,
    pub(crate) key: PublicKey,
    pub(crate) tolerates: String,
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
    pub(crate) who: Identification,
    pub(crate) metrics: Metrics,
    view: RwLock<Arc<View>>,
    pool: Mutex<Pool>,
    peers: Mutex<PeerTable>,
    board: Mutex<Board>,
    checked: Mutex<Checked>,
    names: Mutex<Names>,
    /// The last field, dropped after the store: whoever waits at the other end knows that it is closed.
    _held: oneshot::Sender<Infallible>,
}

impl Shared {
    pub(crate) fn new(
        ledger: Ledger,
        view: View,
        mut pool: Pool,
        who: Identification,
        held: oneshot::Sender<Infallible>,
    ) -> Self {
        pool.came_to(view.tip.height);
        let metrics = Metrics::new();
        metrics.height.set(i64::try_from(view.tip.height.0).unwrap_or(i64::MAX));
        Self {
            ledger,
            clock: Clock::new(),
            who,
            metrics,
            view: RwLock::new(Arc::new(view)),
            pool: Mutex::new(pool),
            peers: Mutex::default(),
            board: Mutex::default(),
            checked: Mutex::default(),
            names: Mutex::default(),
            _held: held,
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_view(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn peers(&self) -> MutexGuard<'_, PeerTable> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn checked(&self) -> MutexGuard<'_, Checked> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages which were named. The pool may be locked while this is, not the other way round.
    pub(crate) fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What pool and memory know of transactions, in the order of `ids`; `tip` is how far the chain goes on which they are looked at.
    pub(crate) fn known(&self, tip: Height, ids: &[TransactionId], transactions: &[Bytes]) -> Vec<Known> {
        let pool = self.pool();
        let both = || ids.iter().zip(transactions);
        let mut known: Vec<Known> =
            both().map(|(id, bytes)| Known { good: pool.get(id) == Some(bytes), new: pool.is_new(id, tip) }).collect();
        drop(pool);
        let checked = self.checked();
        for (known, (_, bytes)) in known.iter_mut().zip(both()).filter(|(known, _)| !known.good) {
            known.good = checked.contains(bytes);
        }
        known
    }

    /// Transactions for a block on `view`, senders in turn: at most `count` of together `bytes`. Of what the pool does not know to be new the
    /// chain is asked, as whoever judges the block will; what is final leaves the pool.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(crate) fn candidates(&self, view: &View, count: usize, bytes: usize) -> Result<Vec<Bytes>, StorageError> {
        let mut pool = self.pool();
        let chosen = pool.candidates(count, bytes);
        let new: Vec<bool> = chosen.iter().map(|(id, _)| pool.is_new(id, view.tip.height)).collect();
        drop(pool);
        let (mut transactions, mut last) = (Vec::with_capacity(chosen.len()), Vec::new());
        for ((id, bytes), new) in chosen.into_iter().zip(new) {
            if !new && view.chain().transaction(&id)?.is_some() {
                last.push(id);
            } else {
                transactions.push(bytes);
            }
        }
        if !last.is_empty() {
            self.pool().committed(&last);
        }
        Ok(transactions)
    }

    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn evidence(&self) -> Vec<EvidenceRecord> {
        let found = self.view().chain().evidence(EVIDENCE_LIST_MAX);
        let mut records = found.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "evidence could not be read");
            Vec::new()
        });
        records.sort_by_key(|record| std::cmp::Reverse(record.misbehaviour.height));
        records.truncate(EVIDENCE_LIST_MAX);
        records
    }

    /// How the node stands.
    pub(crate) fn status(&self) -> NodeStatus {
        let view = self.view();
        let board = self.board().clone();
        let (mut peers, refused) = {
            let table = self.peers();
            (table.peers.values().cloned().collect::<Vec<_>>(), table.refused.values().cloned().collect())
        };
        for peer in &mut peers {
            if let Some((_, one)) = view.validators.iter().find(|(_, one)| PeerId::from(one.public_key) == peer.peer) {
                peer.validator = true;
                peer.name.clone_from(&one.name);
            }
        }
        let pool = self.pool().status(0);
        let (status, detail) = health(&board, view.tip.height);
        NodeStatus {
            name: self.who.name.clone(),
            role: self.who.role.clone(),
            version: self.who.version.clone(),
            chain_id: Some(self.ledger.genesis.chain_id()),
            chain_name: self.ledger.genesis.chain_name().into(),
            public_key: Some(self.who.key.into()),
            status,
            detail,
            height: view.tip.height,
            hash: Some(view.tip.hash),
            time: view.tip.time,
            blocks_from: view.blocks_from,
            best_known_height: board.best_known.max(view.tip.height),
            tolerates: self.who.tolerates.clone(),
            engine: board.engine,
            peers,
            refused,
            pool,
            evidence: view.evidence_count(),
            uptime_s: self.clock.now().0 / 1_000_000,
        }
    }
}

fn health(board: &Board, height: Height) -> (Health, Option<String>) {
    if let Some(why) = board.conflict.clone().or_else(|| board.engine.halted.clone()) {
        (Health::Conflict, Some(why))
    } else if let Some(from) = board.out_of_reach {
        let why = format!(
            "at height {height}, and every connected peer has blocks only from {from} on: connect this node to one that keeps all, or begin with a backup of one"
        );
        (Health::Syncing, Some(why))
    } else if board.syncing {
        (Health::Syncing, Some(format!("at height {height}, peers are at {}", board.best_known)))
    } else if let Some(why) = board.engine.stalled.clone() {
        (Health::Stalled, Some(why))
    } else {
        (Health::Ok, None)
    }
}

#[cfg(test)]
mod tests {
    use quorate::application::{Admission, Application as _};

    use super::*;
    use crate::sample::{self, Judge, Rows};

    /// The intake may have looked for it before the block that has it was final.
    #[test]
    fn no_block_is_built_with_what_is_final() {
        let shared = sample::shared(Arc::new(Judge));
        let ids = [b"yes 0", b"yes 1", b"yes 2"].map(|one| Judge.transaction_id(one));
        let rows = ids.iter().take(2).fold(Rows::default(), |rows, id| rows.with_removed(id, 3));
        for ((id, tip), number) in ids.iter().zip([2, 3, 2]).zip(0u8..) {
            let admission = Admission { sender: vec![number].into(), ..Admission::default() };
            let added = shared.pool().insert(Instant(1), Height(tip), (*id, vec![number].into()), admission);
            assert_eq!(added, Ok(true));
        }
        let candidates = shared.candidates(&sample::view(3, rows), 10, 1000).unwrap();
        // Of the second the pool says that it was looked for up to the tip: the chain is not asked.
        assert_eq!(candidates, [&[1][..], &[2]]);
        assert!(shared.pool().get(&ids[0]).is_none() && shared.pool().len() == 2);
    }
}

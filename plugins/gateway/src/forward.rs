//! Forwarding what is held to validators, again and again, until it is settled; and settling it.
//!
//! A ballot is settled *final* by a receipt which was verified: its block is in this node's own chain, or a validator showed a receipt that convinces. It
//! is settled *refused* only by this node's own chain: what validators say of a refusal is a reason to ask the own chain, not more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quorate::{
    Hash, Height, Receipt, TransactionId,
    application::Rejection,
    node::{BlockId, Head, Health as NodeHealth, Request, Response, SubmitError, TransactionState},
};
use quorate_client::{BATCH_MAX, ClientError, Confirmation, Health, SubmitError as Refused};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use crate::{
    gateway::Gateway,
    outbox::record::{Settled, shorten},
};

/// Requests to validators at a time: while one is verified the next is on its way.
const REQUESTS_MAX: usize = 4;

/// How long a receipt is waited for before a ballot is sent again, to whoever is asked then.
const AGAIN: Duration = Duration::from_secs(10);

/// The pause after an attempt which failed, while validators can be asked.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked whether anybody can be asked, while nobody can.
const LOOK: Duration = Duration::from_millis(100);

/// How often what is held is looked through for what the chain settled unseen.
const SWEEP: Duration = Duration::from_secs(3);

/// Ballots looked up in the chain in one sweep at most.
const SWEEP_MAX: usize = 512;

/// Ballots for whose receipt validators are asked in one sweep at most, when this node's own chain does not have them.
const RECEIPTS_MAX: usize = 16;

/// Blocks that were not told and are read one by one; beyond, the sweep finds what is in them.
const BLOCKS_MAX: u64 = 4096;

/// Forwards until it is dropped.
pub(crate) async fn forward(gateway: Arc<Gateway>) {
    let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut running = tokio::task::JoinSet::new();
    loop {
        let now = Instant::now();
        let next = gateway.outbox.index().next_due();
        match next {
            Some(at) if at <= now && !gateway.client.can_ask() => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Some(at) if at <= now => {}
            _ => {
                let due = async {
                    match next {
                        Some(at) => tokio::time::sleep_until(at.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = gateway.work.notified() => {}
                    () = due => {}
                    Some(_) = running.join_next(), if !running.is_empty() => {}
                }
                continue;
            }
        }
        let Ok(permit) = Arc::clone(&requests).acquire_owned().await else { return };
        let taken = gateway.outbox.index().take_due(Instant::now(), BATCH_MAX);
        if taken.is_empty() {
            continue;
        }
        let gateway = Arc::clone(&gateway);
        running.spawn(async move {
            send(&gateway, taken).await;
            drop(permit);
        });
        while running.try_join_next().is_some() {}
    }
}

/// Ballots on their way. However sending ends, none of them falls out of the queue.
struct Sending<'a> {
    gateway: &'a Gateway,
    ids: Vec<TransactionId>,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.gateway.outbox.index().stranded(&self.ids, PAUSE);
    }
}

/// Sends ballots that were taken out of the queue, and puts each back.
async fn send(gateway: &Arc<Gateway>, taken: Vec<(TransactionId, Option<Bytes>)>) {
    let _on_their_way = Sending { gateway, ids: taken.iter().map(|(id, _)| *id).collect() };
    let mut batch = Vec::with_capacity(taken.len());
    for (id, bytes) in taken {
        let found = match bytes {
            Some(bytes) => Ok(Some(bytes)),
            None => gateway.outbox.ballot(&id).await,
        };
        match found {
            Ok(Some(bytes)) => batch.push((id, bytes)),
            // It was settled meanwhile.
            Ok(None) => gateway.outbox.index().remove(&id),
            Err(why) => gateway.outbox.index().later(&id, &why, PAUSE),
        }
    }
    let bytes: Vec<Bytes> = batch.iter().map(|(_, bytes)| bytes.clone()).collect();
    let answers = gateway.client.submit_all(&bytes).await;
    let (mut refused, mut copies) = (Vec::new(), BTreeMap::<String, Vec<Bytes>>::new());
    for ((id, bytes), answer) in batch.into_iter().zip(answers) {
        match answer {
            Ok(accepted) => {
                gateway.outbox.index().took(&id, &accepted.validator, AGAIN);
                copies.entry(accepted.validator).or_default().push(bytes);
            }
            Err(Refused::PoolFull { retry_after_ms }) => {
                let pause = Duration::from_millis(retry_after_ms.clamp(50, 10_000));
                gateway.outbox.index().later(&id, "the validators' pools are full", pause);
            }
            Err(Refused::Client(ClientError::Unavailable { retry_after_ms, asked })) => {
                let pause = Duration::from_millis(retry_after_ms.clamp(50, 5_000));
                let last = asked.last().map(|one| format!("{}: {}", one.validator, one.outcome));
                gateway.outbox.index().later(&id, last.as_deref().unwrap_or("no validator answers"), pause);
            }
            Err(Refused::Client(error)) => gateway.outbox.index().later(&id, &error.to_string(), PAUSE),
            Err(error) => refused.push((id, bytes, error)),
        }
    }
    // A second validator has each, so that one that dies, or says that it took a ballot and drops it, costs no time.
    for (by, copies) in copies {
        drop(gateway.client.submit_all_again(&by, &copies).await);
    }
    let mut kept = 0usize;
    for (id, bytes, error) in refused {
        match judged(gateway, &id, &bytes).await {
            Some(settled) => settle(gateway, vec![(id, settled)]).await,
            None => {
                kept += 1;
                gateway.outbox.index().later(&id, &error.to_string(), AGAIN);
            }
        }
    }
    if kept > 0 {
        tracing::warn!(
            ballots = kept,
            "validators refuse ballots which this node's own chain does not refuse; they are kept"
        );
    }
}

/// What this node's own chain says of a ballot, if that is the last word.
async fn judged(gateway: &Gateway, id: &TransactionId, bytes: &Bytes) -> Option<Settled> {
    let refusal = refusal_of(gateway, bytes).await?;
    // It may have become final between the two looks.
    match gateway.node.transaction(*id).await {
        Ok(TransactionState::Final(receipt)) => Some(final_at(&receipt, "follower")),
        Ok(_) => Some(refusal),
        Err(_) => None,
    }
}

fn final_at(receipt: &Receipt, source: &str) -> Settled {
    Settled::Final { height: receipt.header.height.0, block_hash: receipt.block_hash, source: source.into() }
}

async fn refusal_of(gateway: &Gateway, bytes: &Bytes) -> Option<Settled> {
    let refused = |reason: &str, winner| Some(Settled::Refused { reason: shorten(reason), winner });
    match gateway.node.check(bytes.clone()).await {
        // The credential is used in a final block.
        Err(SubmitError::Rejected(Rejection::Duplicate { winner })) => {
            refused("another ballot of this credential is final", Some(winner))
        }
        Err(SubmitError::Rejected(Rejection::NotAllowed(why))) if is_late(&why) => {
            // By the clock voting is over; by the chain it is when a later block is final: no block after that has an earlier time.
            let closed = closes_ms(gateway, bytes).await;
            let status = gateway.status().await?;
            match closed {
                Some(closes) if status.time.0 > closes && status.status != NodeHealth::Syncing => refused(&why, None),
                _ => None,
            }
        }
        // It was found good before, and what is found good stays good: only the two above can change.
        _ => None,
    }
}

fn is_late(why: &str) -> bool {
    why.contains("ballot.late")
}

/// When the voting ends to which a ballot belongs.
async fn closes_ms(gateway: &Gateway, bytes: &Bytes) -> Option<u64> {
    let parcel = crate::outbox::record::Parcel::of_transaction(bytes.clone()).ok()?;
    let election = gateway.query("election", json!({ "id": Hash::new(parcel.eid) })).await.ok()?;
    election.get("closes_ms").and_then(Value::as_u64)
}

/// Makes the end of ballots durable; when that fails they stay and come again.
async fn settle(gateway: &Gateway, entries: Vec<(TransactionId, Settled)>) {
    if entries.is_empty() {
        return;
    }
    for (_, settled) in &entries {
        match settled {
            Settled::Final { .. } => drop(gateway.metrics.settled_final.inc()),
            Settled::Refused { reason, .. } => {
                gateway.metrics.settled_refused.inc();
                tracing::warn!(reason, "a held ballot can't become final any more");
            }
        }
    }
    // Those that are not noted stay, and come again.
    if let Err(why) = gateway.outbox.settle(entries).await {
        tracing::error!(why, "the outbox could not note what is settled; it is noted later");
    }
}

/// Settles what the node's own chain has, block by block, and now and then looks through all that is held; until the outbox can't go on.
pub(crate) async fn track(gateway: Arc<Gateway>, mut heads: watch::Receiver<Option<Arc<Head>>>) -> String {
    let mut seen: Option<Height> = None;
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut unreachable = BTreeSet::new();
    loop {
        tokio::select! {
            changed = heads.changed() => {
                if changed.is_err() {
                    return "the node tells of no blocks any more".into();
                }
                let head = heads.borrow_and_update().clone();
                if let Some(head) = head {
                    on_head(&gateway, seen.replace(head.header.height), &head).await;
                }
            }
            _ = sweep.tick() => {
                if let Err(why) = gateway.outbox.stands().await {
                    return why;
                }
                if gateway.outbox.is_unsure() {
                    match gateway.outbox.load().await {
                        Ok(_) => gateway.work.notify_one(),
                        Err(why) => tracing::error!(why, "the outbox could not be read"),
                    }
                }
                notice_the_lost(&gateway, &mut unreachable);
                look_through(&gateway).await;
            }
        }
    }
}

/// Asks validators for receipts of what is waited for longest, when this node's own chain does not have it; beside the rest, as they may be slow.
pub(crate) async fn ask_for_receipts(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let overdue = gateway.outbox.index().overdue(Instant::now(), AGAIN, RECEIPTS_MAX);
        let mut entries = Vec::new();
        for id in overdue {
            // Verified by the client against genesis.
            if let Ok(Confirmation::Final(receipt)) = gateway.client.confirmation_status(&id).await {
                entries.push((id, final_at(&receipt, "validators")));
            }
        }
        settle(&gateway, entries).await;
    }
}

/// What is held and in the blocks since the last head.
async fn on_head(gateway: &Gateway, seen: Option<Height>, head: &Head) {
    let height = head.header.height.0;
    let from = seen.map_or(height, |seen| seen.0 + 1);
    if gateway.outbox.index().len() == 0 {
        return;
    }
    let mut entries = Vec::new();
    let mut of_block = |height: u64, hash: Hash, ids: &[TransactionId]| {
        let index = gateway.outbox.index();
        let held = ids.iter().filter(|id| index.contains(id));
        entries.extend(held.map(|id| (*id, Settled::Final { height, block_hash: hash, source: "follower".into() })));
    };
    if height.saturating_sub(from) <= BLOCKS_MAX {
        for missed in from..height {
            if let Response::Block(Some(found)) =
                gateway.node.request(Request::Block(BlockId::Height(Height(missed)))).await
            {
                of_block(missed, found.block.hash(), &found.transaction_ids);
            }
        }
    }
    of_block(height, head.hash, &head.transaction_ids);
    settle(gateway, entries).await;
}

/// What a validator took that does not answer any more is not called taken.
fn notice_the_lost(gateway: &Gateway, before: &mut BTreeSet<String>) {
    let status = gateway.client.validator_status();
    let now: BTreeSet<String> =
        status.iter().filter(|one| one.status == Health::Unreachable).map(|one| one.node_id.clone()).collect();
    for gone in now.difference(before) {
        let lost = gateway.outbox.index().lost_by(gone);
        if lost > 0 {
            tracing::warn!(
                validator = gone,
                ballots = lost,
                "a validator that took ballots does not answer; they are sent to others"
            );
            gateway.work.notify_one();
        }
    }
    *before = now;
}

/// Looks up what is held in the node's own chain.
async fn look_through(gateway: &Gateway) {
    let ids = gateway.outbox.index().overdue(Instant::now(), SWEEP, SWEEP_MAX);
    let mut entries = Vec::new();
    for id in ids {
        if let Ok(TransactionState::Final(receipt)) = gateway.node.transaction(id).await {
            entries.push((id, final_at(&receipt, "follower")));
        }
    }
    settle(gateway, entries).await;
    refuse_what_is_over(gateway).await;
}

/// After a start: what is held and final already.
pub(crate) async fn catch_up(gateway: &Gateway) {
    let ids = gateway.outbox.index().ids();
    let mut entries = Vec::new();
    for id in ids {
        if let Ok(TransactionState::Final(receipt)) = gateway.node.transaction(id).await {
            entries.push((id, final_at(&receipt, "follower")));
        }
    }
    let found = entries.len();
    settle(gateway, entries).await;
    if found > 0 {
        tracing::info!(ballots = found, "held ballots had become final while this backend was away");
    }
}

/// Held ballots whose voting is over by the chain itself: nobody may ever refuse them in words, so the own chain is asked about the oldest.
async fn refuse_what_is_over(gateway: &Gateway) {
    let rows = gateway.outbox.index().rows(0, RECEIPTS_MAX);
    let mut entries = Vec::new();
    for row in rows {
        if let Ok(Some(bytes)) = gateway.outbox.ballot(&row.id).await
            && let Some(settled) = judged(gateway, &row.id, &bytes).await
        {
            entries.push((row.id, settled));
        }
    }
    settle(gateway, entries).await;
}

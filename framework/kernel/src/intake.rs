//! The intake: takes transactions from clients and peers in batches, checks them, puts them into the pool and passes them on.
//!
//! Batches form by themselves: while one is checked the next gathers. The cheap check ([`quorate::Application::check`]) comes first; the
//! costly one ([`quorate::Application::verify`]) is made here, once, and not again when a block brings the transaction.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use quorate::{
    PeerId, TransactionId,
    application::{Admission, Rejection},
    node::SubmitError,
    transport::{Class, TransportCommand},
};
use tokio::sync::mpsc;

use crate::{
    core::Control,
    execute::StateView,
    ledger::verify_parallel,
    shared::{Clock, Shared},
    wire::{self, Message},
};

/// Transactions that may wait to be checked.
pub(crate) const INTAKE_MAX: usize = 4096;

/// Transactions checked together at most.
const BATCH_MAX: usize = 512;

/// Bytes of a transaction at most.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 128 << 10;

/// How long a peer is turned away that sends what never can be a transaction.
const BAN_MS: u64 = 10_000;

/// What a client is told.
pub(crate) type SubmitReply = Box<dyn FnOnce(Result<TransactionId, SubmitError>) + Send>;

/// Where a transaction comes from.
pub(crate) enum Origin {
    Client(SubmitReply),
    /// Wants to know, and hands nothing in.
    Asker(SubmitReply),
    Peer(PeerId),
}

impl Origin {
    /// Whether nothing is handed in by it.
    fn only_asks(&self) -> bool {
        matches!(self, Self::Asker(_))
    }

    /// Tells whoever waits for it.
    pub(crate) fn answer(self, result: Result<TransactionId, SubmitError>) {
        match self {
            Self::Client(reply) | Self::Asker(reply) => reply(result),
            Self::Peer(_) => {}
        }
    }
}

/// A transaction to be checked.
pub(crate) struct Submission {
    pub(crate) bytes: Bytes,
    pub(crate) origin: Origin,
}

/// Runs until the node stops.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut submissions: mpsc::Receiver<Submission>,
    transport: mpsc::Sender<TransportCommand>,
    control: mpsc::Sender<Control>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while submissions.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let taken = std::mem::take(&mut batch);
        let worker = Arc::clone(&shared);
        // Signature checks take milliseconds: not on a thread that serves sockets.
        let Ok(done) = tokio::task::spawn_blocking(move || take(&worker, taken)).await else {
            tracing::error!("the application panicked while checking transactions");
            continue;
        };
        if let Some(why) = done.failed {
            // The loop may have stopped for the same reason.
            drop(control.send(Control::Failed(why)).await);
            continue;
        }
        if done.became_ready && control.send(Control::Work).await.is_err() {
            return;
        }
        for message in wire::transaction_messages(done.to_share) {
            let command = TransportCommand::Broadcast { class: Class::Pool, bytes: message.encode() };
            if transport.send(command).await.is_err() {
                return;
            }
        }
        for peer in done.offenders {
            let reason = "sent a transaction that is not authentic".into();
            if transport.send(TransportCommand::Disconnect { peer, reason, ban_ms: BAN_MS }).await.is_err() {
                return;
            }
        }
    }
}

#[derive(Default)]
struct Done {
    to_share: Vec<Bytes>,
    offenders: Vec<PeerId>,
    became_ready: bool,
    /// Why the application can't judge, when it can't.
    failed: Option<String>,
}

fn take(shared: &Shared, batch: Vec<Submission>) -> Done {
    let mut done = Done::default();
    let mut answers: Vec<(Origin, Result<TransactionId, SubmitError>)> = Vec::with_capacity(batch.len());
    let mut fresh: Vec<(TransactionId, Submission)> = Vec::with_capacity(batch.len());
    // One transaction comes from a client and from several peers at about the same time: it is judged once.
    let mut places: HashMap<TransactionId, usize> = HashMap::with_capacity(batch.len());
    let mut again: Vec<(usize, Origin)> = Vec::new();
    let view = shared.view();
    let application = shared.ledger.application.as_ref();
    for submission in batch {
        match known(shared, &view, &submission) {
            Ok(Ok(id)) => answers.push((submission.origin, Ok(id))),
            Ok(Err(id)) => match places.get(&id).map(|at| (*at, fresh.get(*at))) {
                Some((at, Some((_, first)))) if first.bytes == submission.bytes && !first.origin.only_asks() => {
                    again.push((at, submission.origin));
                }
                _ => {
                    places.insert(id, fresh.len());
                    fresh.push((id, submission));
                }
            },
            Err(error) => answers.push((submission.origin, Err(error))),
        }
    }
    let now = Clock::wall();
    // What costs little comes first: whoever sends what the state refuses does not make this node verify proofs.
    let state = StateView(view.snapshot.as_ref());
    let admitted: Vec<Result<Admission, Rejection>> =
        fresh.iter().map(|(_, submission)| application.check(&state, now, &submission.bytes)).collect();
    let good: Vec<bool> = fresh.iter().map(|(id, submission)| shared.known_good(id, &submission.bytes)).collect();
    let wanted = fresh.iter().zip(&admitted).zip(&good).filter(|((_, admission), good)| admission.is_ok() && !**good);
    let bytes: Vec<Bytes> = wanted.map(|(((_, submission), _), _)| submission.bytes.clone()).collect();
    let mut verdicts = verify_parallel(application, &state, &bytes).into_iter();
    let newer = shared.view();
    let newer_state = (newer.tip != view.tip).then(|| StateView(newer.snapshot.as_ref()));
    let mut fresh_answers = Vec::with_capacity(fresh.len());
    for (((id, submission), admission), good) in fresh.into_iter().zip(admitted).zip(good) {
        let checked = admission.and_then(|admission| match if good { Some(Ok(())) } else { verdicts.next() } {
            Some(Ok(())) => Ok(admission),
            Some(Err(rejection)) => Err(rejection),
            None => Err(Rejection::State("the application gave fewer verdicts than it was asked for".into())),
        });
        let checked = match (&newer_state, checked) {
            (Some(state), Ok(_)) => application.check(state, now, &submission.bytes),
            (_, checked) => checked,
        };
        let result = settle(shared, &mut done, (id, &submission), checked);
        fresh_answers.push((submission.bytes, result.clone()));
        answers.push((submission.origin, result));
    }
    for (at, origin) in again {
        let Some((bytes, result)) = fresh_answers.get(at) else { continue };
        match (&origin, result) {
            // A peer's was first, and this node's client wants it spread as well.
            (Origin::Client(_), Ok(_)) if !done.to_share.contains(bytes) => done.to_share.push(bytes.clone()),
            (Origin::Peer(peer), Err(SubmitError::Rejected(Rejection::Malformed(_) | Rejection::NotAuthentic(_)))) => {
                done.offenders.push(*peer)
            }
            _ => {}
        }
        answers.push((origin, result.clone()));
    }
    drop_those_made_final_meanwhile(shared, &newer, &answers);
    for (origin, result) in answers {
        if result.is_err() {
            shared.metrics.submissions_rejected.inc();
        }
        origin.answer(result);
    }
    let pool = shared.pool();
    let status = pool.status(0);
    shared.metrics.pool_transactions.set(i64::try_from(status.count).unwrap_or(i64::MAX));
    shared.metrics.pool_bytes.set(i64::try_from(status.bytes).unwrap_or(i64::MAX));
    done
}

/// Puts a transaction into the pool, or notes what follows from its being refused.
fn settle(
    shared: &Shared,
    done: &mut Done,
    (id, submission): (TransactionId, &Submission),
    checked: Result<Admission, Rejection>,
) -> Result<TransactionId, SubmitError> {
    match checked {
        Ok(_) if matches!(submission.origin, Origin::Asker(_)) => {
            shared.checked().insert(&submission.bytes);
            Ok(id)
        }
        Ok(admission) => {
            let added = shared.pool().insert(shared.clock.now(), id, submission.bytes.clone(), admission);
            if added == Ok(true) && matches!(submission.origin, Origin::Client(_)) {
                done.to_share.push(submission.bytes.clone());
            }
            done.became_ready |= added == Ok(true);
            added.map(|_| id)
        }
        Err(rejection) => {
            if let Rejection::State(why) = &rejection {
                done.failed = Some(why.clone());
            }
            if let (Origin::Peer(peer), Rejection::Malformed(_) | Rejection::NotAuthentic(_)) =
                (&submission.origin, &rejection)
            {
                done.offenders.push(*peer);
            }
            Err(SubmitError::Rejected(rejection))
        }
    }
}

/// `Ok(Ok(id))`: known already; `Ok(Err(id))`: to be checked.
fn known(
    shared: &Shared,
    view: &crate::ledger::View,
    submission: &Submission,
) -> Result<Result<TransactionId, TransactionId>, SubmitError> {
    let bytes = &submission.bytes;
    if bytes.len() > TRANSACTION_BYTES_MAX {
        return Err(SubmitError::TooLarge { len: bytes.len() as u64, limit: TRANSACTION_BYTES_MAX as u64 });
    }
    let id = shared.ledger.application.transaction_id(bytes);
    // Whoever only asks wants to know what the state says now, also of what waits.
    if !matches!(submission.origin, Origin::Asker(_)) && shared.pool().get(&id).is_some() {
        return Ok(Ok(id));
    }
    match view.chain().transaction(&id) {
        Ok(Some(_)) => Ok(Ok(id)),
        Ok(None) if matches!(submission.origin, Origin::Asker(_)) => Ok(Err(id)),
        Ok(None) => shared.pool().room(bytes.len()).map(|()| Err(id)),
        Err(error) => Err(SubmitError::Unavailable(error.to_string())),
    }
}

/// A block may have become final between the check and the pool.
fn drop_those_made_final_meanwhile(
    shared: &Shared,
    checked_on: &crate::ledger::View,
    answers: &[(Origin, Result<TransactionId, SubmitError>)],
) {
    let view = shared.view();
    if view.tip == checked_on.tip {
        return;
    }
    let accepted = answers.iter().filter_map(|(_, result)| result.as_ref().ok());
    let last: Vec<TransactionId> =
        accepted.filter(|id| matches!(view.chain().transaction(id), Ok(Some(_)))).copied().collect();
    shared.pool().committed(&last);
}

/// Passes a peer's transactions to the intake; those it has no room for are dropped, they come again.
pub(crate) fn offer(shared: &Shared, intake: &mpsc::Sender<Submission>, from: PeerId, transactions: Vec<Bytes>) {
    for bytes in transactions {
        if intake.try_send(Submission { bytes, origin: Origin::Peer(from) }).is_err() {
            shared.metrics.messages_dropped.inc();
        }
    }
}

/// Messages which carry everything in the pool, for a peer that came up.
pub(crate) fn whole_pool(shared: &Shared) -> Vec<Message> {
    wire::transaction_messages(shared.pool().all(usize::MAX))
}

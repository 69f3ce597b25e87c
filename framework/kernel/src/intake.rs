//! The intake: takes transactions from clients and peers in batches, checks them, puts them into the pool and passes them on.
//!
//! Batches form by themselves: while one is checked the next gathers. The cheap check ([`quorate::Application::check`]) comes first; the
//! costly one ([`quorate::Application::verify`]) is made here, once, and not again when a block brings the transaction.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use quorate::{
    Height, PeerId, Timestamp, TransactionId,
    application::{Admission, Rejection},
    node::{Reply, Response, SubmitError},
    transport::{Class, TransportCommand},
};
use tokio::sync::mpsc;

use crate::{
    core::Control,
    execute::StateView,
    keyed::{IdMap, Keyed},
    ledger::{View, verify_parallel},
    pool::Pool,
    shared::{Clock, Shared},
    wire::Outgoing,
};

/// Transactions that may wait to be checked.
pub(crate) const INTAKE_MAX: usize = 4096;

/// Of the places for them, as many are for this node's clients alone: however much peers send, a client finds room.
const CLIENTS_ROOM: usize = INTAKE_MAX / 8;

/// When a full intake may have room again, in milliseconds.
const RETRY_MS: u64 = 200;

/// Transactions checked together at most.
const BATCH_MAX: usize = 512;

/// Bytes of a transaction at most.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 128 << 10;

/// How long a peer is turned away that sends what never can be a transaction.
const BAN_MS: u64 = 10_000;

/// Where a transaction comes from.
pub(crate) enum Origin {
    Client(Reply),
    /// Wants to know, and hands nothing in.
    Asker(Reply),
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
            Self::Client(reply) => reply(Response::Submitted(result)),
            Self::Asker(reply) => reply(Response::Checked(result)),
            Self::Peer(_) => {}
        }
    }
}

/// A transaction to be checked.
pub(crate) struct Submission {
    pub(crate) bytes: Bytes,
    pub(crate) origin: Origin,
}

/// Runs until the node stops; on a thread of its own, for signature checks take milliseconds.
pub(crate) fn run(
    shared: &Shared,
    mut submissions: mpsc::Receiver<Submission>,
    transport: &mpsc::Sender<TransportCommand>,
    control: &mpsc::Sender<Control>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while submissions.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        let taken = catch_unwind(AssertUnwindSafe(|| take(shared, batch.drain(..))));
        let Ok(done) = taken else {
            tracing::error!("the application panicked while checking transactions");
            continue;
        };
        if let Some(why) = done.failed {
            // The loop may have stopped for the same reason.
            drop(control.blocking_send(Control::Failed(why)));
            continue;
        }
        if done.became_ready && control.blocking_send(Control::Work).is_err() {
            return;
        }
        for bytes in done.to_share.finish() {
            let command = TransportCommand::Broadcast { class: Class::Pool, bytes };
            if transport.blocking_send(command).is_err() {
                return;
            }
        }
        for peer in done.offenders {
            let reason = "sent a transaction that is not authentic".into();
            if transport.blocking_send(TransportCommand::Disconnect { peer, reason, ban_ms: BAN_MS }).is_err() {
                return;
            }
        }
    }
}

#[derive(Default)]
struct Done {
    to_share: Outgoing,
    /// Which those are.
    shared: HashSet<TransactionId, Keyed>,
    offenders: Vec<PeerId>,
    became_ready: bool,
    /// Why the application can't judge, when it can't.
    failed: Option<String>,
}

impl Done {
    /// Has a transaction that waits spread, once.
    fn share(&mut self, pool: &Pool, id: TransactionId) {
        if let Some(bytes) = pool.get(&id)
            && self.shared.insert(id)
        {
            self.to_share.add(bytes);
        }
    }

    /// Notes who sent what never can be a transaction.
    fn blame(&mut self, origin: &Origin, answer: &Answer) {
        if let (Origin::Peer(peer), Err(SubmitError::Rejected(Rejection::Malformed(_) | Rejection::NotAuthentic(_)))) =
            (origin, answer)
        {
            self.offenders.push(*peer);
        }
    }
}

/// What is told to one who handed in.
type Answer = Result<TransactionId, SubmitError>;

/// Transactions that are judged together.
#[derive(Default)]
struct Fresh {
    ids: Vec<TransactionId>,
    bytes: Vec<Bytes>,
    origins: Vec<Origin>,
    /// The same transaction comes from a client and from several peers at about the same time: whence else, by its place.
    again: Vec<(usize, Origin)>,
}

impl Fresh {
    fn add(&mut self, id: TransactionId, submission: Submission, places: &mut IdMap<usize>) {
        let Submission { bytes, origin } = submission;
        let place = self.ids.len();
        let first = *places.entry(id).or_insert(place);
        let same = self.bytes.get(first) == Some(&bytes) && self.origins.get(first).is_some_and(|one| !one.only_asks());
        if same {
            self.again.push((first, origin));
            return;
        }
        places.insert(id, place);
        self.ids.push(id);
        self.bytes.push(bytes);
        self.origins.push(origin);
    }
}

fn take(shared: &Shared, batch: impl ExactSizeIterator<Item = Submission>) -> Done {
    let mut done = Done::default();
    let view = shared.view();
    let (mut answers, fresh) = sort(shared, &view, batch);
    let now = Clock::wall();
    // What costs little comes first: whoever sends what the state refuses does not make this node verify proofs.
    let judged = judge(shared, &view, now, &fresh);
    let newer = shared.view();
    let checked = if newer.tip == view.tip {
        judged.into_iter().map(|judged| judged.map(Some)).collect()
    } else {
        look_again(shared, &newer, now, &fresh, judged)
    };
    answers.append(&mut settle(shared, &mut done, newer.tip.height, fresh, checked));
    follow(shared, &newer, now, &answers);
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

/// Answers what needs no judgement, and gathers the rest.
fn sort(
    shared: &Shared,
    view: &View,
    batch: impl ExactSizeIterator<Item = Submission>,
) -> (Vec<(Origin, Answer)>, Fresh) {
    let mut answers = Vec::with_capacity(batch.len());
    let mut named = Vec::with_capacity(batch.len());
    for Submission { bytes, origin } in batch {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            let error = SubmitError::TooLarge { len: bytes.len() as u64, limit: TRANSACTION_BYTES_MAX as u64 };
            answers.push((origin, Err(error)));
        } else {
            named.push((shared.ledger.application.transaction_id(&bytes), Submission { bytes, origin }));
        }
    }
    // Locked once for all of them, and not while the store is read.
    let pool = shared.pool();
    let of_pool = |(id, one): &(TransactionId, Submission)| (pool.get(id).is_some(), pool.room(one.bytes.len()));
    let in_pool: Vec<(bool, Result<(), SubmitError>)> = named.iter().map(of_pool).collect();
    drop(pool);
    let mut fresh = Fresh::default();
    let mut places = IdMap::default();
    for ((id, submission), (waits, room)) in named.into_iter().zip(in_pool) {
        // Whoever only asks wants to know what the state says now, also of what waits.
        let asks = submission.origin.only_asks();
        let answer = if waits && !asks {
            Ok(id)
        } else {
            match view.chain().transaction(&id) {
                Ok(Some(_)) => Ok(id),
                Err(error) => Err(SubmitError::Unavailable(error.to_string())),
                Ok(None) => match room {
                    Err(full) if !asks => Err(full),
                    _ => {
                        fresh.add(id, submission, &mut places);
                        continue;
                    }
                },
            }
        };
        answers.push((submission.origin, answer));
    }
    (answers, fresh)
}

/// Checks each, and verifies those which pass and were not found good before.
fn judge(shared: &Shared, view: &View, now: Timestamp, fresh: &Fresh) -> Vec<Result<Admission, Rejection>> {
    let application = shared.ledger.application.as_ref();
    let state = StateView(view.snapshot.as_ref());
    let admitted: Vec<_> = fresh.bytes.iter().map(|bytes| application.check(&state, now, bytes)).collect();
    let known = shared.known(view.tip.height, &fresh.ids, &fresh.bytes);
    let wanted: Vec<bool> =
        admitted.iter().zip(&known).map(|(checked, known)| checked.is_ok() && !known.good).collect();
    let verdicts = if wanted.iter().all(|wanted| *wanted) {
        verify_parallel(application, &state, &fresh.bytes)
    } else {
        let some = fresh.bytes.iter().zip(&wanted).filter(|(_, wanted)| **wanted);
        verify_parallel(application, &state, &some.map(|(bytes, _)| bytes.clone()).collect::<Vec<_>>())
    };
    let mut verdicts = verdicts.into_iter();
    let verified = |(admission, wanted): (Result<Admission, Rejection>, bool)| {
        let admission = admission?;
        match if wanted { verdicts.next() } else { Some(Ok(())) } {
            Some(verdict) => verdict.map(|()| admission),
            None => Err(Rejection::State("the application gave fewer verdicts than it was asked for".into())),
        }
    };
    admitted.into_iter().zip(wanted).map(verified).collect()
}

/// What is found good, or `None` for what is final already.
type Good = Option<Admission>;

/// Looks once more at what passed, on the chain as it went on meanwhile: an application need not refuse what is final.
fn look_again(
    shared: &Shared,
    newer: &View,
    now: Timestamp,
    fresh: &Fresh,
    judged: Vec<Result<Admission, Rejection>>,
) -> Vec<Result<Good, Rejection>> {
    let state = StateView(newer.snapshot.as_ref());
    let again = |(judged, (id, bytes)): (Result<Admission, Rejection>, (&TransactionId, &Bytes))| {
        judged?;
        match newer.chain().transaction(id)? {
            Some(_) => Ok(None),
            None => shared.ledger.application.check(&state, now, bytes).map(Some),
        }
    };
    judged.into_iter().zip(fresh.ids.iter().zip(&fresh.bytes)).map(again).collect()
}

/// Puts what was found good into the pool, and notes what follows from the rest's being refused; `tip` is how far the chain went in which they
/// were looked for.
fn settle(
    shared: &Shared,
    done: &mut Done,
    tip: Height,
    fresh: Fresh,
    checked: Vec<Result<Good, Rejection>>,
) -> Vec<(Origin, Answer)> {
    let Fresh { ids, bytes, origins, again } = fresh;
    let mut answers: Vec<(Origin, Answer)> = Vec::with_capacity(ids.len() + again.len());
    let now = shared.clock.now();
    let mut pool = shared.pool();
    for (((id, bytes), origin), checked) in ids.into_iter().zip(bytes).zip(origins).zip(checked) {
        let answer = match checked {
            Ok(_) if origin.only_asks() => {
                shared.checked().insert(&bytes);
                Ok(id)
            }
            Ok(None) => Ok(id),
            Ok(Some(admission)) => {
                let added = pool.insert(now, tip, (id, of_its_own(bytes, &origin)), admission);
                done.became_ready |= added == Ok(true);
                if added == Ok(true) && matches!(origin, Origin::Client(_)) {
                    done.share(&pool, id);
                }
                added.map(|_| id)
            }
            Err(rejection) => {
                if let Rejection::State(why) = &rejection {
                    done.failed = Some(why.clone());
                }
                Err(SubmitError::Rejected(rejection))
            }
        };
        done.blame(&origin, &answer);
        answers.push((origin, answer));
    }
    for (at, origin) in again {
        let Some((_, answer)) = answers.get(at) else { continue };
        let answer = answer.clone();
        // A peer's was first, and this node's client wants it spread as well.
        if let (Origin::Client(_), Ok(id)) = (&origin, &answer) {
            done.share(&pool, *id);
        }
        done.blame(&origin, &answer);
        answers.push((origin, answer));
    }
    answers
}

/// What a peer sent is a part of a longer message, all of which would be kept as long as the pool keeps the part.
fn of_its_own(bytes: Bytes, origin: &Origin) -> Bytes {
    match origin {
        Origin::Peer(_) => Bytes::copy_from_slice(&bytes),
        Origin::Client(_) | Origin::Asker(_) => bytes,
    }
}

/// A block may have become final between the check and the pool: what it has goes again, and of the rest the pool hears what the state says now.
/// A sender of whom nothing waited had been forgotten with that block, and what comes next of him would seem to wait for what was in it.
fn follow(shared: &Shared, checked_on: &View, now: Timestamp, answers: &[(Origin, Answer)]) {
    let view = shared.view();
    if view.tip == checked_on.tip {
        return;
    }
    let state = StateView(view.snapshot.as_ref());
    let accepted: Vec<TransactionId> = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).copied().collect();
    let held = shared.pool().held(accepted.iter());
    let (mut last, mut admitted) = (Vec::new(), Vec::new());
    for (id, bytes) in accepted.into_iter().zip(held) {
        let Some(bytes) = bytes else { continue };
        match view.chain().transaction(&id) {
            Ok(Some(_)) => last.push(id),
            _ => admitted.extend(shared.ledger.application.check(&state, now, &bytes).map(|admission| (id, admission))),
        }
    }
    let mut pool = shared.pool();
    pool.committed(&last);
    admitted.iter().for_each(|(id, admission)| pool.update(id, admission));
}

/// Passes on what a client hands in, or tells at once why not.
pub(crate) fn hand_in(shared: &Shared, intake: &mpsc::Sender<Submission>, submission: Submission) {
    let (submission, error) = match intake.try_send(submission) {
        Ok(()) => return,
        Err(mpsc::error::TrySendError::Full(submission)) => {
            let pool = shared.pool().status(0);
            let error = SubmitError::PoolFull { count: pool.count, bytes: pool.bytes, retry_after_ms: RETRY_MS };
            (submission, error)
        }
        Err(mpsc::error::TrySendError::Closed(submission)) => {
            (submission, SubmitError::Unavailable("the node is stopping".into()))
        }
    };
    submission.origin.answer(Err(error));
}

/// Passes a peer's transactions to the intake; those it has no room for are dropped, they come again.
pub(crate) fn offer(shared: &Shared, intake: &mpsc::Sender<Submission>, from: PeerId, transactions: Vec<Bytes>) {
    for bytes in transactions {
        let room = intake.capacity() > CLIENTS_ROOM;
        if !room || intake.try_send(Submission { bytes, origin: Origin::Peer(from) }).is_err() {
            shared.metrics.messages_dropped.inc();
        }
    }
}

/// Messages which carry everything in the pool, for a peer that came up.
pub(crate) fn whole_pool(shared: &Shared) -> Vec<Bytes> {
    let all = shared.pool().all(usize::MAX);
    let mut outgoing = Outgoing::default();
    all.iter().for_each(|transaction| outgoing.add(transaction));
    outgoing.finish()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{
            Arc, Mutex, Weak,
            atomic::{AtomicU64, Ordering},
        },
        thread::JoinHandle,
        time::{Duration, Instant},
    };

    use quorate::{
        Application, Hash,
        application::{BlockContext, ExecuteError, Outcome, QueryError, StateRead, StateWrite},
        storage::StorageError,
    };

    use super::*;
    use crate::{
        sample::{self, Judge, Rows},
        wire::Message,
    };

    const PEER: PeerId = PeerId::new([7; 32]);

    fn shared() -> Shared {
        sample::shared(Arc::new(Judge))
    }

    /// What each was told, by its place in `batch`.
    type Told = Arc<Mutex<Vec<(usize, String)>>>;

    /// Takes a batch: from `c`lients, `a`skers and a `p`eer.
    fn take_all(shared: &Shared, batch: &[(char, Bytes)]) -> (Done, Vec<(usize, String)>) {
        let told = Told::default();
        let submission = |(place, (whence, bytes)): (usize, &(char, Bytes))| {
            let told = Arc::clone(&told);
            let reply: Reply = Box::new(move |response| {
                let answer = match response {
                    Response::Submitted(Ok(_)) => "taken".into(),
                    Response::Checked(Ok(_)) => "good".into(),
                    Response::Submitted(Err(error)) | Response::Checked(Err(error)) => error.to_string(),
                    other => format!("{other:?}"),
                };
                told.lock().unwrap().push((place, answer));
            });
            let origin = match whence {
                'c' => Origin::Client(reply),
                'a' => Origin::Asker(reply),
                _ => Origin::Peer(PEER),
            };
            Submission { bytes: bytes.clone(), origin }
        };
        let done = take(shared, batch.iter().enumerate().map(submission));
        let mut told = std::mem::take(&mut *told.lock().unwrap());
        told.sort();
        (done, told)
    }

    fn spread(done: Done) -> Vec<Bytes> {
        let read = |bytes: &Bytes| match Message::decode(bytes) {
            Some(Message::Transactions(items)) => items,
            other => panic!("{other:?}"),
        };
        done.to_share.finish().iter().flat_map(read).collect()
    }

    #[test]
    fn each_is_answered_for_itself_and_what_peers_brought_is_not_spread_again() {
        let shared = shared();
        let long = Bytes::from(vec![b'y'; TRANSACTION_BYTES_MAX + 1]);
        let one = |text: &'static str| Bytes::from_static(text.as_bytes());
        let batch = [
            ('c', one("yes 0")),
            ('c', one("no 1")),
            ('p', one("yes 2")),
            ('p', one("no 3")),
            ('a', one("yes 4")),
            ('c', long),
            // A peer's was first, and a client wants it spread as well; twice handed in by clients it goes once.
            ('c', one("yes 2")),
            ('c', one("yes 0")),
            ('a', one("yes 0")),
        ];
        let (done, told) = take_all(&shared, &batch);
        let answers: Vec<(usize, &str)> = told.iter().map(|(place, answer)| (*place, answer.as_str())).collect();
        let refused =
            format!("transaction has {} bytes; the limit is {TRANSACTION_BYTES_MAX}", TRANSACTION_BYTES_MAX + 1);
        let no = "rejected: b\"no 1\"";
        let expected =
            [(0, "taken"), (1, no), (4, "good"), (5, refused.as_str()), (6, "taken"), (7, "taken"), (8, "good")];
        assert_eq!(answers, expected);
        assert_eq!((done.became_ready, &done.offenders[..]), (true, &[PEER][..]));
        assert_eq!(spread(done), ["yes 0", "yes 2"]);
        assert_eq!(shared.pool().len(), 2);
        // Known by now: taken, and nothing follows from it.
        let (done, told) = take_all(&shared, &[('c', one("yes 0")), ('p', one("yes 2"))]);
        assert_eq!(told, [(0, "taken".to_owned())]);
        assert!(!done.became_ready && spread(done).is_empty());
    }

    #[test]
    fn the_pool_keeps_no_longer_message_of_a_peer_for_one_transaction() {
        let shared = shared();
        let message = Bytes::from_static(b"yes or no, and much else");
        let transaction = message.slice(..3);
        take_all(&shared, &[('p', transaction.clone())]);
        let id = shared.ledger.application.transaction_id(&transaction);
        let pool = shared.pool();
        let kept = pool.get(&id).unwrap();
        assert_eq!(kept, &transaction);
        assert!(!message.as_ptr_range().contains(&kept.as_ptr()));
    }

    /// The store, which is empty, need not be asked again; of a later tip the pool does not know.
    #[test]
    fn what_the_intake_looked_for_is_new_to_the_loop() {
        let shared = shared();
        let transaction = Bytes::from_static(b"yes");
        take_all(&shared, &[('p', transaction.clone())]);
        let ids = [shared.ledger.application.transaction_id(&transaction)];
        let known = |tip| shared.known(Height(tip), &ids, std::slice::from_ref(&transaction));
        assert_eq!(known(3), [crate::ledger::Known { good: true, new: true }]);
        assert_eq!(known(4), [crate::ledger::Known { good: true, new: false }]);
        let other = [Bytes::from_static(b"yes, but of the same id")];
        assert!(!shared.known(Height(3), &ids, &other)[0].good);
    }
    /// Something that happens beside the intake, or nothing.
    type Happens = Option<Box<dyn FnOnce() + Send>>;

    /// [`Judge`], while whose calls other things happen, each during one.
    #[derive(Default)]
    struct Meanwhile(Mutex<VecDeque<Happens>>, Arc<AtomicU64>);

    impl Meanwhile {
        fn called(&self) {
            let happens = self.0.lock().unwrap().pop_front().flatten();
            happens.into_iter().for_each(|happens| happens());
        }
    }

    impl Application for Meanwhile {
        fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
            Judge.genesis(state)
        }

        fn verify(&self, state: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
            self.called();
            Judge.verify(state, transactions)
        }

        fn check(&self, state: &dyn StateRead, now: Timestamp, bytes: &[u8]) -> Result<Admission, Rejection> {
            // The place of what begins so is 1, and the second field says which place is the next.
            let sequence = bytes.starts_with(b"yes, then").into();
            let next_sequence = self.1.load(Ordering::Relaxed);
            self.called();
            Judge.check(state, now, bytes).map(|admission| Admission { sequence, next_sequence, ..admission })
        }

        fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
            Judge.execute(state, block)
        }

        fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
            Judge.query(state, path, params)
        }
    }

    /// A block above the one before becomes final, with a transaction.
    fn becomes_final(shared: &Arc<Shared>, height: u64, id: &TransactionId, cleaned: bool) -> Happens {
        let (shared, id) = (Arc::clone(shared), *id);
        Some(Box::new(move || {
            shared.set_view(sample::view(height, Rows::default().with_removed(&id, height)));
            // The loop comes to this a little later.
            if cleaned {
                let mut pool = shared.pool();
                pool.committed(&[id]);
                pool.came_to(Height(height));
            }
        }))
    }

    /// The application would take it again: that nothing is final twice is the kernel's affair.
    #[test]
    fn what_becomes_final_while_it_is_judged_does_not_come_into_the_pool() {
        let one = |text: &'static str| Bytes::from_static(text.as_bytes());
        let id = Judge.transaction_id(b"yes 0");
        for cleaned in [true, false] {
            let application = Arc::new(Meanwhile::default());
            let shared = Arc::new(sample::shared(application.clone()));
            // Each is checked, then they are verified.
            *application.0.lock().unwrap() = [None, None, becomes_final(&shared, 4, &id, cleaned)].into();
            let (done, told) = take_all(&shared, &[('c', one("yes 0")), ('c', one("yes 1")), ('a', one("yes 0"))]);
            let answers: Vec<&str> = told.iter().map(|(_, answer)| answer.as_str()).collect();
            assert_eq!(answers, ["taken", "taken", "good"]);
            assert_eq!(spread(done), ["yes 1"]);
            let mut pool = shared.pool();
            assert!(pool.get(&id).is_none() && pool.len() == 1, "cleaned: {cleaned}");
            // What was looked for in block 4 as well is new above it.
            pool.came_to(Height(4));
            assert!(pool.is_new(&Judge.transaction_id(b"yes 1"), Height(4)));
        }
    }

    #[test]
    fn nor_does_what_becomes_final_while_it_is_looked_at_again() {
        let application = Arc::new(Meanwhile::default());
        let shared = Arc::new(sample::shared(application.clone()));
        let (id, other) = (Judge.transaction_id(b"yes 0"), Judge.transaction_id(b"yes 1"));
        // It is checked, verified, and checked on block 4.
        *application.0.lock().unwrap() =
            [None, becomes_final(&shared, 4, &other, true), becomes_final(&shared, 5, &id, true)].into();
        let (_, told) = take_all(&shared, &[('c', Bytes::from_static(b"yes 0"))]);
        assert_eq!(told, [(0, "taken".to_owned())]);
        assert!(shared.pool().is_empty());
    }

    #[test]
    fn what_was_checked_before_its_predecessor_became_final_does_not_wait_for_it() {
        let application = Arc::new(Meanwhile::default());
        let shared = Arc::new(sample::shared(application.clone()));
        let (before, next) = (Judge.transaction_id(b"yes"), Arc::clone(&application.1));
        let first = becomes_final(&shared, 4, &TransactionId::new([4; 32]), true);
        let second = becomes_final(&shared, 5, &before, true);
        let second: Happens = Some(Box::new(move || {
            second.into_iter().for_each(|happens| happens());
            next.store(1, Ordering::Relaxed);
        }));
        *application.0.lock().unwrap() = [None, first, second].into();
        let (done, told) = take_all(&shared, &[('c', Bytes::from_static(b"yes, then"))]);
        assert_eq!((told, done.became_ready), (vec![(0, "taken".to_owned())], true));
        assert!(shared.pool().has_ready());
    }

    /// An intake at work, and what it says.
    struct Working {
        queue: mpsc::Sender<Submission>,
        told: Arc<Mutex<Vec<String>>>,
        control: mpsc::Receiver<Control>,
        transport: mpsc::Receiver<TransportCommand>,
        thread: JoinHandle<()>,
        shared: Weak<Shared>,
    }

    /// Begins with `first` in its queue; one command and one control may wait.
    fn work(first: impl IntoIterator<Item = String>) -> Working {
        let shared = Arc::new(shared());
        let (queue, submissions) = mpsc::channel(INTAKE_MAX);
        let (commands, transport) = mpsc::channel(1);
        let (controls, control) = mpsc::channel(1);
        let (told, weak) = (Arc::default(), Arc::downgrade(&shared));
        first.into_iter().for_each(|text| hand_in_to(&queue, &told, text));
        let thread = std::thread::spawn(move || run(&shared, submissions, &commands, &controls));
        Working { queue, told, control, transport, thread, shared: weak }
    }

    /// Notes its name and the answer, which is none when the question is let go of.
    struct Asked(String, Arc<Mutex<Vec<String>>>);

    impl Asked {
        fn hears(mut self, answer: String) {
            self.0 = answer;
        }
    }

    impl Drop for Asked {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(std::mem::take(&mut self.0));
        }
    }

    fn hand_in_to(queue: &mpsc::Sender<Submission>, told: &Arc<Mutex<Vec<String>>>, text: String) {
        let bytes = Bytes::from(text.clone());
        let asked = Asked(format!("{text}: nothing"), Arc::clone(told));
        let reply: Reply = Box::new(move |response| match response {
            Response::Submitted(Ok(_)) => asked.hears(text),
            other => asked.hears(format!("{text}: {other:?}")),
        });
        assert!(queue.try_send(Submission { bytes, origin: Origin::Client(reply) }).is_ok());
    }

    /// Waits for what comes soon.
    fn soon<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it did not come");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    impl Working {
        fn hand_in(&self, text: &str) {
            hand_in_to(&self.queue, &self.told, text.into());
        }

        /// Waits until as many have been told something, and gives it.
        fn told(&self, count: usize) -> Vec<String> {
            soon(|| (self.told.lock().unwrap().len() >= count).then_some(()));
            self.told.lock().unwrap().clone()
        }

        fn pool(&self) -> usize {
            self.shared.upgrade().map_or(0, |shared| shared.pool().len())
        }

        /// The thread ends, and holds the chain no longer.
        fn ends(self) {
            soon(|| self.thread.is_finished().then_some(()));
            self.thread.join().unwrap();
            assert!(self.shared.upgrade().is_none());
        }
    }

    #[test]
    fn batches_are_taken_in_order_and_the_next_waits_until_the_loop_and_the_peers_have_the_last() {
        let text = |number: usize| format!("yes {number}");
        let all: Vec<String> = (0..3 * BATCH_MAX).map(text).collect();
        let mut working = work(all.clone());
        // The first batch is told, of the second the loop's queue has no room for a word.
        soon(|| (working.pool() == 2 * BATCH_MAX).then_some(()));
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(working.pool(), 2 * BATCH_MAX);
        // When that is heard, the peers have not got what the first brought.
        let work = |working: &mut Working| soon(|| working.control.try_recv().ok());
        (0..2).for_each(|_| assert!(matches!(work(&mut working), Control::Work)));
        std::thread::sleep(Duration::from_millis(50));
        assert!(working.control.try_recv().is_err() && working.pool() == 2 * BATCH_MAX);
        let mut shared = Vec::new();
        for _ in 0..3 {
            match soon(|| working.transport.try_recv().ok()) {
                TransportCommand::Broadcast { class: Class::Pool, bytes } => match Message::decode(&bytes) {
                    Some(Message::Transactions(items)) => shared.extend(items),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(work(&mut working), Control::Work));
        assert_eq!(working.told(all.len()), all);
        assert_eq!(shared, all);
        // Known: nothing follows from it.
        working.hand_in(&all[0]);
        working.told(all.len() + 1);
        assert!(working.control.try_recv().is_err() && working.transport.try_recv().is_err());
        working.queue = mpsc::channel(1).0;
        working.ends();
    }

    #[test]
    fn a_panic_of_the_application_loses_its_batch_and_nothing_else() {
        let mut working = work(["yes 0", "panic", "yes 1"].map(String::from));
        let mut lost = working.told(3);
        lost.sort();
        assert_eq!(lost, ["panic: nothing", "yes 0: nothing", "yes 1: nothing"]);
        working.hand_in("yes 0");
        assert_eq!(working.told(4)[3], "yes 0");
        assert!(matches!(soon(|| working.control.try_recv().ok()), Control::Work));
        working.queue = mpsc::channel(1).0;
        working.ends();
    }

    /// What waits is let go of, so that whoever handed it in is told.
    #[test]
    fn it_ends_when_nobody_can_hand_in_or_nobody_hears_it() {
        let mut working = work([]);
        working.queue = mpsc::channel(1).0;
        working.ends();
        for loop_is_gone in [true, false] {
            let mut working = work((0..2 * BATCH_MAX + 1).map(|number| format!("yes {number}")));
            soon(|| (working.pool() == 2 * BATCH_MAX).then_some(()));
            if loop_is_gone {
                working.control = mpsc::channel(1).1;
            } else {
                assert!(matches!(soon(|| working.control.try_recv().ok()), Control::Work));
                working.transport = mpsc::channel(1).1;
            }
            let told = working.told(2 * BATCH_MAX + 1);
            assert_eq!(told.last().unwrap(), &format!("yes {}: nothing", 2 * BATCH_MAX));
            soon(|| working.queue.is_closed().then_some(()));
            working.ends();
        }
    }

    #[test]
    fn peers_leave_room_for_clients_and_who_finds_none_is_told() {
        let shared = shared();
        let (queue, waiting) = mpsc::channel(INTAKE_MAX);
        offer(&shared, &queue, PEER, vec![Bytes::from_static(b"yes"); INTAKE_MAX]);
        assert_eq!(queue.capacity(), CLIENTS_ROOM);
        assert_eq!(shared.metrics.messages_dropped.get(), CLIENTS_ROOM as u64);
        let told = Arc::new(Mutex::new(Vec::new()));
        let client = || {
            let told = Arc::clone(&told);
            let reply: Reply = Box::new(move |response| told.lock().unwrap().push(format!("{response:?}")));
            hand_in(&shared, &queue, Submission { bytes: Bytes::new(), origin: Origin::Client(reply) });
        };
        (0..CLIENTS_ROOM).for_each(|_| client());
        assert_eq!((queue.capacity(), told.lock().unwrap().len()), (0, 0));
        client();
        drop(waiting);
        client();
        let told = told.lock().unwrap();
        assert!(told[0].contains("PoolFull") && told[0].contains(&RETRY_MS.to_string()), "{told:?}");
        assert!(told[1].contains("the node is stopping"), "{told:?}");
    }
}

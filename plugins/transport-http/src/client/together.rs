//! Transactions that are handed in together: one wait, and one waking, for the answers to all of them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quorate::{
    Bytes,
    node::{NodeHandle, Request, Response},
};
use tokio::sync::Notify;

/// The answers that have come.
struct Answers {
    given: Mutex<Vec<Option<Response>>>,
    /// How many are still waited for.
    left: AtomicUsize,
    all: Notify,
}

impl Answers {
    fn given(&self) -> MutexGuard<'_, Vec<Option<Response>>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an answer goes. Without one, the wait for it ends when this is dropped.
struct Place {
    answers: Arc<Answers>,
    at: usize,
}

impl Place {
    fn put(self, response: Response) {
        if let Some(place) = self.answers.given().get_mut(self.at) {
            *place = Some(response);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.answers.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.answers.all.notify_one();
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The node let go of the question.
    Stopping,
    /// The time was over.
    Late,
}

/// Hands in `transactions`, in their order, and gives the answers in their order when all have come or `wait` is over.
pub(crate) async fn submit(
    node: &NodeHandle,
    transactions: Vec<Bytes>,
    wait: Duration,
) -> Vec<Result<Response, Unanswered>> {
    let count = transactions.len();
    if count == 0 {
        return Vec::new();
    }
    let given = Mutex::new((0..count).map(|_| None).collect());
    let answers = Arc::new(Answers { given, left: AtomicUsize::new(count), all: Notify::new() });
    for (at, bytes) in transactions.into_iter().enumerate() {
        let place = Place { answers: Arc::clone(&answers), at };
        node.call(Request::Submit(bytes), Box::new(move |response| place.put(response)));
    }
    let late = tokio::time::timeout(wait, answers.all.notified()).await.is_err();
    let why = if late { Unanswered::Late } else { Unanswered::Stopping };
    let given = std::mem::take(&mut *answers.given());
    given.into_iter().map(|response| response.ok_or(why)).collect()
}

#[cfg(test)]
mod tests {
    use quorate::node::{Node, Reply};

    use super::*;

    /// Says its first byte, the last one handed in first; lets go of `drop`, and keeps `keep`.
    #[derive(Default)]
    struct Fake(Mutex<(Vec<(Bytes, Reply)>, usize)>);

    impl Node for Fake {
        fn call(&self, request: Request, reply: Reply) {
            let Request::Submit(bytes) = request else { panic!("not a submission") };
            let mut state = self.0.lock().unwrap();
            state.0.push((bytes, reply));
            if state.0.len() < state.1 {
                return;
            }
            let waiting = std::mem::take(&mut state.0);
            for (bytes, reply) in waiting.into_iter().rev() {
                match &bytes[..] {
                    b"drop" => drop(reply),
                    b"keep" => state.0.push((bytes, reply)),
                    said => reply(Response::Text(String::from_utf8_lossy(said).into_owned())),
                }
            }
        }
    }

    async fn answers(words: &[&'static str]) -> Vec<String> {
        let node = NodeHandle::new(Arc::new(Fake(Mutex::new((Vec::new(), words.len())))));
        let transactions = words.iter().map(|word| Bytes::from_static(word.as_bytes())).collect();
        let given = submit(&node, transactions, Duration::from_secs(1)).await;
        let said = |one: &Result<Response, Unanswered>| match one {
            Ok(Response::Text(text)) => text.clone(),
            other => format!("{other:?}"),
        };
        given.iter().map(said).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_stand_in_the_order_of_the_questions_and_a_missing_one_is_told() {
        assert!(answers(&[]).await.is_empty());
        assert_eq!(answers(&["a", "b", "c"]).await, ["a", "b", "c"]);
        assert_eq!(answers(&["a", "drop", "c"]).await, ["a", "Err(Stopping)", "c"]);
        assert_eq!(answers(&["a", "keep", "c"]).await, ["a", "Err(Late)", "c"]);
    }
}

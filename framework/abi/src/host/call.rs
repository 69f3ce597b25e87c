//! Calls into a library: their answers, bounded, and what may go wrong with them.

use std::{
    fmt,
    sync::{OnceLock, mpsc},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    ffi::{Receive, with_sink},
    raw::{QUORATE_DECODE, QUORATE_ERROR, QUORATE_OK, QUORATE_PANIC, QuorateSink},
    wire::{BODY_BYTES_MAX, HEAD_BYTES_MAX, WireError},
};

/// Answers to one call at most, where the call does not set a bound itself: one a transaction, and one more.
pub const ANSWERS_MAX: usize = quorate::block::BLOCK_TRANSACTIONS_MAX + 1;

/// Bytes of all answers to one call at most.
pub const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Bytes of a text that says what failed, at most; the rest is cut off.
const WORDS_BYTES_MAX: usize = 4096;

/// How long a library may take to be loaded, to describe and to check, and a plugin to be made.
pub const SETUP_WAIT: Duration = Duration::from_secs(10);

/// How long a store may take to open: what it repairs after a crash is read whole.
pub const OPEN_WAIT: Duration = Duration::from_secs(600);

/// How long the end of a plugin may take.
pub const END_WAIT: Duration = Duration::from_secs(2);

/// A plugin and its file, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name in TOML.
    pub plugin: String,
    /// Its library, as the operator wrote it.
    pub file: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin `{}` of `{}`", self.plugin, self.file)
    }
}

/// What went wrong with a call, so that the object is not called again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The call.
    pub call: &'static str,
    /// What went wrong.
    pub kind: FaultKind,
}

/// How a call went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// It ended with an error of its own.
    Failed(String),
    /// It panicked, with these words.
    Panicked(String),
    /// It did not understand its arguments.
    Misunderstood(String),
    /// What it answered makes no sense.
    Rubbish(String),
    /// It did not return in time.
    Late(Duration),
    /// No thread could be had for it.
    NoThread(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.call;
        match &self.kind {
            FaultKind::Failed(words) => write!(f, "ended: {words}"),
            FaultKind::Panicked(words) => write!(f, "panicked in {call}: {words}"),
            FaultKind::Misunderstood(why) => write!(f, "did not understand {call}: {why}"),
            FaultKind::Rubbish(why) => write!(f, "returned rubbish from {call}: {why}"),
            FaultKind::Late(wait) => write!(f, "did not return from {call} within {} s", wait.as_secs()),
            FaultKind::NoThread(why) => write!(f, "could not be called: {call}: {why}"),
        }
    }
}

impl Fault {
    pub(super) fn rubbish(call: &'static str, why: impl Into<String>) -> Self {
        Self { call, kind: FaultKind::Rubbish(why.into()) }
    }

    pub(super) fn wire(call: &'static str, error: &WireError) -> Self {
        Self::rubbish(call, error.to_string())
    }

    /// What an answer other than done, or an error of the slot, means.
    pub(super) fn of_status(call: &'static str, status: i32, failed: &[u8]) -> Self {
        let words = words(failed);
        let kind = match status {
            QUORATE_PANIC => FaultKind::Panicked(words),
            QUORATE_DECODE => FaultKind::Misunderstood(words),
            QUORATE_ERROR => FaultKind::Rubbish(format!("an error, where there is none: {words}")),
            other => FaultKind::Rubbish(format!("the status {other}")),
        };
        Self { call, kind }
    }
}

fn words(bytes: &[u8]) -> String {
    let cut = bytes.get(..WORDS_BYTES_MAX).unwrap_or(bytes);
    if cut.is_empty() { "it gave no reason".into() } else { String::from_utf8_lossy(cut).into_owned() }
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// An error of the slot, encoded.
    Error(Vec<u8>),
    /// It went wrong.
    Fault(Fault),
}

impl Unanswered {
    /// What it means for a call which has no error of its own.
    pub(super) fn without_error(self, call: &'static str) -> Fault {
        match self {
            Self::Error(_) => Fault::rubbish(call, "an error, where there is none"),
            Self::Fault(fault) => fault,
        }
    }
}

/// The answers of a call.
pub(super) type Answers = Vec<(Bytes, Bytes)>;

struct Collected {
    answers_max: usize,
    answers: Answers,
    bytes: usize,
    failed: Vec<u8>,
    excess: Option<String>,
}

/// Whether one more answer is within the bounds.
pub(super) fn bounded(count: usize, count_max: usize, bytes: usize, head: &[u8], body: &[u8]) -> Result<(), String> {
    if head.len() > HEAD_BYTES_MAX || body.len() > BODY_BYTES_MAX {
        return Err(format!("an answer of {} and {} bytes", head.len(), body.len()));
    }
    if count >= count_max {
        return Err(format!("more than {count_max} answers"));
    }
    if bytes > ANSWER_BYTES_MAX {
        return Err(format!("more than {ANSWER_BYTES_MAX} bytes"));
    }
    Ok(())
}

impl Receive for Collected {
    fn put(&mut self, head: &[u8], body: &[u8]) {
        self.bytes = self.bytes.saturating_add(head.len()).saturating_add(body.len());
        match bounded(self.answers.len(), self.answers_max, self.bytes, head, body) {
            Ok(()) => self.answers.push((Bytes::copy_from_slice(head), Bytes::copy_from_slice(body))),
            Err(why) => self.excess = Some(why),
        }
    }

    fn fail(&mut self, why: &[u8]) {
        self.failed = why.get(..HEAD_BYTES_MAX).unwrap_or(why).to_vec();
    }
}

/// Makes a call and takes its answers.
pub(super) fn ask(call: &'static str, make: impl FnOnce(*const QuorateSink) -> i32) -> Result<Answers, Unanswered> {
    ask_for(ANSWERS_MAX, call, make)
}

/// Makes a call and takes its answers, `answers_max` at most.
pub(super) fn ask_for(
    answers_max: usize,
    call: &'static str,
    make: impl FnOnce(*const QuorateSink) -> i32,
) -> Result<Answers, Unanswered> {
    let mut collected = Collected { answers_max, answers: Vec::new(), bytes: 0, failed: Vec::new(), excess: None };
    let status = with_sink(&mut collected, make);
    match status {
        QUORATE_OK => match collected.excess {
            None => Ok(collected.answers),
            Some(why) => Err(Unanswered::Fault(Fault::rubbish(call, why))),
        },
        QUORATE_ERROR => Err(Unanswered::Error(collected.failed)),
        other => Err(Unanswered::Fault(Fault::of_status(call, other, &collected.failed))),
    }
}

/// The one answer of a call.
pub(super) fn single(call: &'static str, answers: Answers) -> Result<(Bytes, Bytes), Fault> {
    let count = answers.len();
    let mut answers = answers.into_iter();
    match (answers.next(), answers.next()) {
        (Some(answer), None) => Ok(answer),
        _ => Err(Fault::rubbish(call, format!("{count} answers instead of one"))),
    }
}

/// Told of every call that sets something up, before it is made.
static OBSERVER: OnceLock<fn(&str)> = OnceLock::new();

/// Has `observer` told of every call that sets something up, before it is made: what it was told last is what a process died of.
/// Only the first observer of a process is told; whether this is it.
pub fn observe_setup(observer: fn(&str)) -> bool {
    OBSERVER.set(observer).is_ok()
}

/// Makes a call on a thread of its own and waits for it; one that does not return keeps its thread.
pub(super) fn within<T: Send + 'static>(
    who: &dyn fmt::Display,
    call: &'static str,
    wait: Duration,
    make: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    if let Some(observer) = OBSERVER.get() {
        observer(&format!("{who}, in {call}"));
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("plugin {call}"));
    let spawned = thread.spawn(move || {
        // Whoever waited may have given up.
        drop(sender.send(make()));
    });
    if let Err(error) = spawned {
        return Err(Fault { call, kind: FaultKind::NoThread(error.to_string()) });
    }
    match receiver.recv_timeout(wait) {
        Ok(answer) => Ok(answer),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(Fault { call, kind: FaultKind::Late(wait) }),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(Fault::rubbish(call, "no answer: its thread ended")),
    }
}

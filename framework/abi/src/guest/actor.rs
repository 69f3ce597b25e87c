//! What runs beside the node, on a runtime of its own: two bounded queues, supervised, as the library's tokio is not the node's.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use quorate::transport::{COMMANDS_MAX, Io};
use tokio::{
    runtime::{Builder, Handle},
    sync::mpsc,
};

use super::{
    call::{self, Refusal},
    remote::{Remote, Waker},
};
use crate::{
    raw::{QUORATE_CLOSED, QUORATE_ERROR, QUORATE_FULL, QUORATE_OK, QUORATE_PANIC, QuorateWaker},
    wire::{self, ActorCommand, actor},
};

/// Events on their way to the node at most; it holds more itself.
const EVENTS_MAX: usize = 16;

/// Threads of a plugin's runtime.
const WORKERS: usize = 2;

/// How long tasks which a plugin left behind may hold up its end.
const END_WAIT: Duration = Duration::from_secs(1);

/// What the plugin made, waiting to run.
pub(super) type Start<C, E> =
    Box<dyn FnOnce(Io<C, E>) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send>;

/// What was made, with the commands that may come before it runs.
type Waiting<C, E> = (Start<C, E>, mpsc::Receiver<C>);

/// A transport, discovery or service of the library.
pub(super) struct Actor<C, E> {
    name: fn() -> &'static str,
    remote: Remote,
    commands: mpsc::Sender<C>,
    waiting: Mutex<Option<Waiting<C, E>>>,
    runtime: OnceLock<Handle>,
}

impl<C: actor::Command, E: actor::Event> Actor<C, E> {
    pub(super) fn new(name: fn() -> &'static str, remote: Remote, start: Start<C, E>) -> Self {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        Self { name, remote, commands, waiting: Mutex::new(Some((start, receiver))), runtime: OnceLock::new() }
    }

    /// Starts it, once.
    pub(super) fn run(&self) -> Result<(), Refusal> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((start, commands)) = waiting else { return Err(Refusal::Arguments("it runs already".into())) };
        let (name, remote) = (self.name, self.remote);
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name(format!("plugin {}", name()))
            .on_thread_start(move || call::name_thread(name))
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Refusal::Arguments(format!("no runtime: {error}")))?;
        drop(self.runtime.set(runtime.handle().clone()));
        let body = move || {
            call::name_thread(name);
            let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(supervise(start, commands, remote))));
            // Tasks of the plugin end before the node is told, so that nothing comes from it any more.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| runtime.shutdown_timeout(END_WAIT))) {
                std::mem::forget(payload);
            }
            match outcome {
                Ok(Ok(())) => remote.exited(QUORATE_OK, ""),
                Ok(Err(why)) => remote.exited(QUORATE_ERROR, &why),
                Err(payload) => remote.exited(QUORATE_PANIC, &call::panic_words(payload)),
            }
        };
        let thread = std::thread::Builder::new().name(format!("plugin {}", name())).spawn(body);
        thread.map(drop).map_err(|error| Refusal::Arguments(format!("no thread: {error}")))
    }

    /// Takes a command, if there is room.
    pub(super) fn post(&self, head: &[u8], body: &[u8]) -> Result<i32, Refusal> {
        let command = C::join(wire::decode::<ActorCommand>("ActorCommand", head)?, body)?;
        Ok(match self.commands.try_send(command) {
            Ok(()) => QUORATE_OK,
            Err(mpsc::error::TrySendError::Full(_)) => QUORATE_FULL,
            Err(mpsc::error::TrySendError::Closed(_)) => QUORATE_CLOSED,
        })
    }

    /// Wakes when there is room for a command, or never will be again.
    pub(super) fn post_ready(&self, waker: QuorateWaker) {
        let waker = Waker::new(waker);
        if let Some(runtime) = self.runtime.get() {
            let commands = self.commands.clone();
            // Ends with the runtime at the latest; the waker wakes when it is dropped.
            drop(runtime.spawn(async move {
                let _room = commands.reserve().await;
                drop(waker);
            }));
        }
    }
}

/// Runs the plugin, and carries what it says to the node until the last of it is there.
async fn supervise<C: actor::Command, E: actor::Event>(
    start: Start<C, E>,
    commands: mpsc::Receiver<C>,
    remote: Remote,
) -> Result<(), String> {
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    let forward = tokio::spawn(forward(receiver, remote));
    let outcome = start(Io { commands, events }).await;
    // Tasks which the plugin left behind may hold a sender: then this does not end by itself.
    drop(tokio::time::timeout(END_WAIT, forward).await);
    outcome
}

async fn forward<E: actor::Event>(mut events: mpsc::Receiver<E>, remote: Remote) {
    while let Some(event) = events.recv().await {
        let Some((head, body)) = event.split() else { continue };
        let head = wire::encode(&head);
        loop {
            match remote.emit(&head, &body) {
                QUORATE_OK => break,
                QUORATE_FULL => remote.room().await,
                // The node is gone: the plugin finds its queue closed.
                _ => return,
            }
        }
    }
}

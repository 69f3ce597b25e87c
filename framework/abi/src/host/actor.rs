//! Running an actor of a library: the node's queues on one side, two functions with a waker each on the other.
#![expect(unsafe_code, reason = "calls a library's functions")]

use std::{ffi::c_void, sync::Arc, time::Duration};

use bytes::Bytes;
use quorate::{
    node::NodeHandle,
    plugin::SetupError,
    transport::{Identity, Io},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    call::{Fault, FaultKind, Origin, SETUP_WAIT, Unanswered, ask, single},
    object::Object,
    offered::{Ended, Offered},
    setup::{self, set_up},
};
use crate::{
    raw::{QUORATE_CLOSED, QUORATE_DECODE, QUORATE_FULL, QUORATE_OK, QuorateActor, QuorateBytes, QuorateWaker},
    wire::{
        self, ActorCommand,
        actor::{ActorAbout, ActorContext, Command, Event},
    },
};

/// How long an actor may take to return after it was told to stop: the contract says two seconds.
pub const STOP_WAIT: Duration = Duration::from_secs(3);

/// An actor of a library, made but not run.
pub(super) struct Actor<E: Event> {
    object: Object,
    functions: &'static QuorateActor,
    offered: &'static Offered<E>,
    ended: oneshot::Receiver<Ended>,
    pub(super) about: ActorAbout,
}

/// Checks the settings of a plugin.
pub(super) fn check(
    origin: &Arc<Origin>,
    functions: &'static QuorateActor,
    settings: &quorate::Settings,
) -> Result<(), SetupError> {
    let (settings, check) = (wire::encode(settings), functions.check);
    let checked = set_up(origin, "check", SETUP_WAIT, move || {
        ask("check", |sink| {
            // SAFETY: the library's own function, and arguments which live during the call.
            check.map_or(QUORATE_DECODE, |check| unsafe { check(QuorateBytes::of(&settings), sink) })
        })
    });
    checked.map(drop)
}

impl<E: Event> Actor<E> {
    /// Has the library make one.
    pub(super) fn make(
        origin: &Arc<Origin>,
        functions: &'static QuorateActor,
        settings: &quorate::Settings,
        context: &ActorContext,
        identity: Arc<dyn Identity>,
        node: Option<NodeHandle>,
    ) -> Result<Self, SetupError> {
        let (settings, context) = (wire::encode(settings), wire::encode(context));
        let (offered, host, ended) = Offered::<E>::new(identity, node);
        let of = Arc::clone(origin);
        let made = set_up(origin, "create", SETUP_WAIT, move || {
            let host = host;
            let (settings, context) = (QuorateBytes::of(&settings), QuorateBytes::of(&context));
            Object::make_with_answers(&of, "create", functions.destroy, &|to, sink| {
                let create = functions.create;
                // SAFETY: the library's own function; the arguments live during the call, the node's functions for good.
                create.map_or(QUORATE_DECODE, |create| unsafe { create(settings, context, host.0, to, sink) })
            })
        });
        let about = made.and_then(|(object, answers)| {
            let about = single("create", answers)
                .and_then(|(head, _)| wire::decode("ActorAbout", &head).map_err(|error| Fault::wire("create", &error)));
            Ok((object, about.map_err(|fault| setup::fault(origin, &fault))?))
        });
        match about {
            Ok((object, about)) => Ok(Self { object, functions, offered, ended, about }),
            Err(error) => {
                offered.close();
                Err(error)
            }
        }
    }

    /// Runs it until it ends; a sentence if it ended badly.
    pub(super) async fn run<C: Command>(self, io: Io<C, E>) -> Result<(), String> {
        let Self { object, functions, offered, ended, .. } = self;
        let _closing = Closing(offered);
        offered.take_events(io.events.clone());
        let outcome = match start(&object, functions) {
            Err(fault) => Err(fault),
            Ok(()) => {
                let post = Post { object: &object, functions };
                tokio::select! {
                    ended = ended => ended.unwrap_or_else(|_| Err(Fault::rubbish("run", "no end"))),
                    fault = post.all(io.commands) => Err(fault),
                    () = make_room(offered, &io.events) => Ok(()),
                }
            }
        };
        let outcome = outcome.map_err(|fault| {
            let sentence = object.sentence(&fault);
            if !matches!(fault.kind, FaultKind::Failed(_)) {
                object.poison(fault);
            }
            sentence
        });
        // Its end may take a while, which nobody here should wait for.
        drop(tokio::task::spawn_blocking(move || drop(object)));
        outcome
    }
}

fn start(object: &Object, functions: &QuorateActor) -> Result<(), Fault> {
    let started = ask("run", |sink| {
        // SAFETY: the library's own function and object; the sink lives during the call.
        functions.run.map_or(QUORATE_DECODE, |run| unsafe { run(object.pointer(), sink) })
    });
    started.map(drop).map_err(|unanswered| match unanswered {
        Unanswered::Fault(fault) => fault,
        Unanswered::Error(_) => Fault::rubbish("run", "an error, where there is none"),
    })
}

/// Closes the node's side, also when the node drops the actor while it runs.
struct Closing<E: Event>(&'static Offered<E>);

impl<E: Event> Drop for Closing<E> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Wakes the library whenever there is room for an event again.
async fn make_room<E: Event>(offered: &'static Offered<E>, events: &mpsc::Sender<E>) {
    loop {
        offered.asked.notified().await;
        // When the node takes no more events, whoever waits is told so by the next one.
        let _room = events.reserve().await;
        drop(offered.waker());
    }
}

/// Hands commands to a library.
struct Post<'a> {
    object: &'a Object,
    functions: &'static QuorateActor,
}

impl Post<'_> {
    /// Posts every command, and a stop after the last; gives up when the library does not end then.
    async fn all<C: Command>(&self, mut commands: mpsc::Receiver<C>) -> Fault {
        let fault = loop {
            let next = commands.recv().await.map(Command::split);
            let (head, body) = match next {
                None => (ActorCommand::Stop, Bytes::new()),
                Some(None) => continue,
                Some(Some(command)) => command,
            };
            let last = head == ActorCommand::Stop;
            match self.one(&wire::encode(&head), &body).await {
                Ok(true) if !last => {}
                // It takes no more, or there is no more: it ends.
                Ok(_) => break None,
                Err(fault) => break Some(fault),
            }
        };
        if let Some(fault) = fault {
            return fault;
        }
        tokio::time::sleep(STOP_WAIT).await;
        Fault { call: "run", kind: FaultKind::Late(STOP_WAIT) }
    }

    /// Posts one command, when there is room; whether it was taken.
    async fn one(&self, head: &[u8], body: &[u8]) -> Result<bool, Fault> {
        loop {
            match self.try_one(head, body) {
                QUORATE_OK => return Ok(true),
                QUORATE_CLOSED => return Ok(false),
                QUORATE_FULL => self.room().await,
                other => return Err(Fault::of_status("post", other, &[])),
            }
        }
    }

    fn try_one(&self, head: &[u8], body: &[u8]) -> i32 {
        let (actor, post) = (self.object.pointer(), self.functions.post);
        // SAFETY: the library's own function and object, and bytes which live during the call.
        post.map_or(QUORATE_DECODE, |post| unsafe { post(actor, QuorateBytes::of(head), QuorateBytes::of(body)) })
    }

    async fn room(&self) {
        let (sender, receiver) = oneshot::channel();
        self.ask_for_room(sender);
        // Woken, or the library dropped it: either way the next try tells.
        let _woken = receiver.await;
    }

    fn ask_for_room(&self, sender: oneshot::Sender<()>) {
        let Some(ready) = self.functions.post_ready else { return };
        let waker = QuorateWaker { context: Box::into_raw(Box::new(sender)).cast(), wake: Some(wake) };
        // SAFETY: the library's own function and object; it wakes once.
        unsafe { ready(self.object.pointer(), waker) }
    }
}

unsafe extern "C" fn wake(context: *mut c_void) {
    if !context.is_null() {
        // SAFETY: made by `Box::into_raw` above, and the library wakes once.
        let room = unsafe { Box::from_raw(context.cast::<oneshot::Sender<()>>()) };
        // Whoever waited may be gone.
        let _gone = room.send(());
    }
}

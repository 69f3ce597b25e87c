//! What the node offers an actor of a library: to take its events, to sign, to answer.
#![expect(unsafe_code, reason = "functions which a library calls with pointers")]

use std::{
    ffi::c_void,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quorate::{
    node::{NodeHandle, Request, Response},
    transport::{Identity, IdentityUse},
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::call::{Fault, FaultKind};
use crate::{
    ffi::Out,
    raw::{
        QUORATE_CLOSED, QUORATE_DECODE, QUORATE_ERROR, QUORATE_FULL, QUORATE_OK, QUORATE_PANIC, QuorateActorHost,
        QuorateBytes, QuorateReply, QuorateSink, QuorateWaker,
    },
    wire::{self, ActorEvent, HEAD_BYTES_MAX, actor::Event, response::Answer},
};

/// How an actor ended.
pub(super) type Ended = Result<(), Fault>;

/// The node's side of one actor. It lives as long as the process, as a thread of a library may hold it; once it is closed, it does
/// nothing any more.
pub(super) struct Offered<E> {
    identity: Arc<dyn Identity>,
    open: Mutex<Open<E>>,
    /// Told when a waker waits, or something is wrong.
    pub(super) asked: Notify,
}

struct Open<E> {
    node: Option<NodeHandle>,
    events: Option<mpsc::Sender<E>>,
    waker: Option<Waker>,
    ended: Option<oneshot::Sender<Ended>>,
    closed: bool,
}

/// Wakes once, at the latest when it is dropped.
pub(super) struct Waker(Option<QuorateWaker>);

// SAFETY: the library promises that its waker may be woken on any thread.
unsafe impl Send for Waker {}

impl Drop for Waker {
    fn drop(&mut self) {
        if let Some(QuorateWaker { context, wake: Some(wake) }) = self.0.take() {
            // SAFETY: the library's own function and context, called once.
            unsafe { wake(context) }
        }
    }
}

/// Replies once, at the latest when it is dropped.
struct Replying(Option<QuorateReply>);

// SAFETY: the library promises that its reply may be called on any thread.
unsafe impl Send for Replying {}

impl Replying {
    fn reply(mut self, response: Response) {
        self.send(response);
    }

    fn send(&mut self, response: Response) {
        let Some(QuorateReply { context, reply: Some(reply) }) = self.0.take() else { return };
        let mut bytes = wire::encode(&Answer::from(response));
        if bytes.len() > HEAD_BYTES_MAX {
            let why = format!("the answer has {} bytes; the limit is {HEAD_BYTES_MAX}", bytes.len());
            bytes = wire::encode(&Answer::Unavailable(why));
        }
        // SAFETY: the library's own function and context, called once, and bytes which live during the call.
        unsafe { reply(context, QuorateBytes::of(&bytes)) }
    }
}

impl Drop for Replying {
    fn drop(&mut self) {
        self.send(Response::Unavailable("the node is stopping".into()));
    }
}

impl<E: Event> Offered<E> {
    /// Offers it to an actor that is about to be made.
    pub(super) fn new(
        identity: Arc<dyn Identity>,
        node: Option<NodeHandle>,
    ) -> (&'static Self, Functions, oneshot::Receiver<Ended>) {
        let (sender, receiver) = oneshot::channel();
        let open = Open { node, events: None, waker: None, ended: Some(sender), closed: false };
        let offered: &'static Self =
            Box::leak(Box::new(Self { identity, open: Mutex::new(open), asked: Notify::new() }));
        let functions: &'static QuorateActorHost = Box::leak(Box::new(QuorateActorHost {
            size: size_of::<QuorateActorHost>() as u32,
            flags: 0,
            context: std::ptr::from_ref(offered).cast_mut().cast(),
            emit: Some(emit::<E>),
            emit_ready: Some(emit_ready::<E>),
            sign: Some(sign::<E>),
            call: Some(call::<E>),
            exited: Some(exited::<E>),
        }));
        (offered, Functions(functions), receiver)
    }

    fn open(&self) -> MutexGuard<'_, Open<E>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes events from now on.
    pub(super) fn take_events(&self, events: mpsc::Sender<E>) {
        self.open().events = Some(events);
    }

    /// The waker that waits, if one does.
    pub(super) fn waker(&self) -> Option<Waker> {
        self.open().waker.take()
    }

    /// Nothing comes from the actor any more.
    pub(super) fn close(&self) {
        let mut open = self.open();
        open.closed = true;
        open.ended = None;
        let (waker, events, node) = (open.waker.take(), open.events.take(), open.node.take());
        drop(open);
        drop((waker, events, node));
    }

    fn end(&self, ended: Ended) {
        let sender = self.open().ended.take();
        if let Some(sender) = sender {
            // Whoever waited may be gone.
            drop(sender.send(ended));
        }
    }
}

/// The functions for a library.
#[derive(Clone, Copy)]
pub(super) struct Functions(pub(super) &'static QuorateActorHost);

// SAFETY: they are never changed, and their context is a shared `Offered`, whose parts may be used from any thread.
unsafe impl Send for Functions {}

/// The side behind a context.
///
/// # Safety
///
/// `context` is that of the functions made for this type: it lives as long as the process.
unsafe fn side<E>(context: *mut c_void) -> Option<&'static Offered<E>> {
    // SAFETY: as the caller promises.
    unsafe { context.cast::<Offered<E>>().as_ref() }
}

unsafe extern "C" fn emit<E: Event>(context: *mut c_void, event: QuorateBytes, body: QuorateBytes) -> i32 {
    // SAFETY: the library promises to pass the context it was given.
    let Some(side) = (unsafe { side::<E>(context) }) else { return QUORATE_DECODE };
    // SAFETY: the library promises that the bytes are valid during the call.
    let event = unsafe { event.as_slice() };
    // SAFETY: as above.
    let body = unsafe { body.as_slice() };
    let event = if body.len() > quorate::transport::MESSAGE_BYTES_MAX {
        Err(format!("a message of {} bytes", body.len()))
    } else {
        let head = wire::decode::<ActorEvent>("ActorEvent", event);
        head.and_then(|head| E::join(head, body)).map_err(|error| error.to_string())
    };
    match event {
        Ok(event) => match &side.open().events {
            None => QUORATE_CLOSED,
            Some(events) => match events.try_send(event) {
                Ok(()) => QUORATE_OK,
                Err(mpsc::error::TrySendError::Full(_)) => QUORATE_FULL,
                Err(mpsc::error::TrySendError::Closed(_)) => QUORATE_CLOSED,
            },
        },
        Err(why) => {
            side.end(Err(Fault::rubbish("emit", why)));
            QUORATE_DECODE
        }
    }
}

unsafe extern "C" fn emit_ready<E: Event>(context: *mut c_void, waker: QuorateWaker) {
    let waker = Waker(Some(waker));
    // SAFETY: the library promises to pass the context it was given.
    let Some(side) = (unsafe { side::<E>(context) }) else { return };
    let mut open = side.open();
    let before = if open.closed { Some(waker) } else { open.waker.replace(waker) };
    drop(open);
    drop(before);
    side.asked.notify_one();
}

unsafe extern "C" fn sign<E: Event>(
    context: *mut c_void,
    purpose: u32,
    bytes: QuorateBytes,
    signature: *mut u8,
    sink: *const QuorateSink,
) -> i32 {
    // SAFETY: the library promises to pass the context it was given.
    let Some(side) = (unsafe { side::<E>(context) }) else { return QUORATE_DECODE };
    // SAFETY: the library promises that the sink is valid during the call.
    let Some(out) = (unsafe { Out::new(sink) }) else { return QUORATE_DECODE };
    let purpose = match purpose {
        0 => IdentityUse::TlsHandshake,
        1 => IdentityUse::Record,
        other => {
            out.fail(format!("the use {other} is none").as_bytes());
            return QUORATE_ERROR;
        }
    };
    if side.open().closed || signature.is_null() {
        return QUORATE_CLOSED;
    }
    // SAFETY: the library promises that the bytes are valid during the call.
    match side.identity.sign(purpose, unsafe { bytes.as_slice() }) {
        Ok(made) => {
            // SAFETY: not null, and the library promises room for 64 bytes.
            unsafe { signature.cast::<[u8; 64]>().write_unaligned(*made.as_bytes()) };
            QUORATE_OK
        }
        Err(error) => {
            out.fail(error.0.as_bytes());
            QUORATE_ERROR
        }
    }
}

unsafe extern "C" fn call<E: Event>(context: *mut c_void, request: QuorateBytes, reply: QuorateReply) {
    let replying = Replying(Some(reply));
    // SAFETY: the library promises to pass the context it was given.
    let Some(side) = (unsafe { side::<E>(context) }) else { return };
    // SAFETY: the library promises that the bytes are valid during the call.
    let request = wire::decode::<Request>("Request", unsafe { request.as_slice() });
    let node = side.open().node.clone();
    match (request, node) {
        (Ok(request), Some(node)) => node.call(request, Box::new(move |response| replying.reply(response))),
        (Err(error), _) => replying.reply(Response::Unavailable(error.to_string())),
        (_, None) => drop(replying),
    }
}

unsafe extern "C" fn exited<E: Event>(context: *mut c_void, status: i32, why: QuorateBytes) {
    // SAFETY: the library promises to pass the context it was given.
    let Some(side) = (unsafe { side::<E>(context) }) else { return };
    // SAFETY: the library promises that the bytes are valid during the call.
    let why = unsafe { why.as_slice() };
    side.end(match status {
        QUORATE_OK => Ok(()),
        QUORATE_ERROR => Err(Fault { call: "run", kind: FaultKind::Failed(String::from_utf8_lossy(why).into_owned()) }),
        QUORATE_PANIC => Err(Fault::of_status("run", status, why)),
        other => Err(Fault::of_status("run", other, why)),
    });
}

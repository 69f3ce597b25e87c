//! The node as a transport, discovery or service in a library uses it.
#![expect(unsafe_code, reason = "calls the node's functions")]

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
};

use quorate::{
    PublicKey, Signature,
    node::{Node, Reply, Request, Response},
    transport::{Identity, IdentityError, IdentityUse},
};

use super::call::Refusal;
use crate::{
    ffi::{Receive, with_sink},
    raw::{QUORATE_CLOSED, QUORATE_OK, QuorateActorHost, QuorateBytes, QuorateReply, QuorateWaker},
    wire::{self, response::Answer},
};

/// The node's functions for one actor.
#[derive(Clone, Copy)]
pub(super) struct Remote(&'static QuorateActorHost);

// SAFETY: the node promises that its functions may be called from any thread, with its context, as long as the process lives.
unsafe impl Send for Remote {}

// SAFETY: as above.
unsafe impl Sync for Remote {}

/// Wakes once, at the latest when it is dropped.
pub(super) struct Waker(Option<QuorateWaker>);

// SAFETY: whoever makes a waker promises that it may be woken on any thread.
unsafe impl Send for Waker {}

impl Waker {
    pub(super) fn new(waker: QuorateWaker) -> Self {
        Self(Some(waker))
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        if let Some(QuorateWaker { context, wake: Some(wake) }) = self.0.take() {
            // SAFETY: its maker's own function and context, called once.
            unsafe { wake(context) }
        }
    }
}

/// What the node takes and wakes when there is room.
type Room = tokio::sync::oneshot::Sender<()>;

unsafe extern "C" fn wake(context: *mut c_void) {
    if !context.is_null() {
        // SAFETY: made by `Box::into_raw` in `room`, and the node wakes once.
        let room = unsafe { Box::from_raw(context.cast::<Room>()) };
        // Whoever waited may be gone.
        let _gone = room.send(());
    }
}

unsafe extern "C" fn reply(context: *mut c_void, response: QuorateBytes) {
    if context.is_null() {
        return;
    }
    // SAFETY: made by `Box::into_raw` in `call`, and the node replies once.
    let reply = unsafe { Box::from_raw(context.cast::<Reply>()) };
    // SAFETY: the node promises that the bytes are valid during the call.
    let response = unsafe { response.as_slice() };
    let response = wire::decode::<Answer>("Response", response)
        .and_then(Response::try_from)
        .unwrap_or_else(|error| Response::Unavailable(error.to_string()));
    if let Err(payload) = catch_unwind(AssertUnwindSafe(move || reply(response))) {
        std::mem::forget(payload);
    }
}

impl Remote {
    /// The functions at a pointer.
    ///
    /// # Safety
    ///
    /// `host` is null or valid as long as the process lives.
    pub(super) unsafe fn new(host: *const QuorateActorHost) -> Result<Self, Refusal> {
        // SAFETY: as the caller promises.
        match unsafe { host.as_ref() } {
            Some(host) if host.size as usize >= size_of::<QuorateActorHost>() => Ok(Self(host)),
            _ => Err(Refusal::Arguments("no node".into())),
        }
    }

    /// Hands an event to the node.
    pub(super) fn emit(self, head: &[u8], body: &[u8]) -> i32 {
        let Some(emit) = self.0.emit else { return QUORATE_CLOSED };
        // SAFETY: the node's own function and context, and bytes which live during the call.
        unsafe { emit(self.0.context, QuorateBytes::of(head), QuorateBytes::of(body)) }
    }

    /// Waits until the node has room for an event.
    pub(super) async fn room(self) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.ask_for_room(sender);
        // Woken, or the node is gone: either way another event tells.
        let _woken = receiver.await;
    }

    fn ask_for_room(self, sender: Room) {
        let Some(ready) = self.0.emit_ready else { return };
        let waker = QuorateWaker { context: Box::into_raw(Box::new(sender)).cast(), wake: Some(wake) };
        // SAFETY: the node's own function and context; it wakes once.
        unsafe { ready(self.0.context, waker) }
    }

    /// Says how it ended.
    pub(super) fn exited(self, status: i32, why: &str) {
        if let Some(exited) = self.0.exited {
            // SAFETY: the node's own function and context, and bytes which live during the call.
            unsafe { exited(self.0.context, status, QuorateBytes::of(why.as_bytes())) }
        }
    }
}

impl Node for Remote {
    fn call(&self, request: Request, answer: Reply) {
        let Some(call) = self.0.call else { return answer(Response::Unavailable("there is no node".into())) };
        let request = wire::encode(&request);
        let answer = QuorateReply { context: Box::into_raw(Box::new(answer)).cast(), reply: Some(reply) };
        // SAFETY: the node's own function and context, and bytes which live during the call; it replies once.
        unsafe { call(self.0.context, QuorateBytes::of(&request), answer) }
    }
}

/// The node's key, of which only the public half is here.
pub(super) struct RemoteIdentity {
    pub(super) remote: Remote,
    pub(super) public_key: PublicKey,
}

struct Words(String);

impl Receive for Words {
    fn put(&mut self, _: &[u8], _: &[u8]) {}

    fn fail(&mut self, why: &[u8]) {
        self.0 = String::from_utf8_lossy(why).into_owned();
    }
}

impl Identity for RemoteIdentity {
    fn public_key(&self) -> PublicKey {
        self.public_key
    }

    fn sign(&self, purpose: IdentityUse, bytes: &[u8]) -> Result<Signature, IdentityError> {
        let host = self.remote.0;
        let Some(sign) = host.sign else { return Err(IdentityError("there is no node".into())) };
        let purpose = match purpose {
            IdentityUse::TlsHandshake => 0,
            IdentityUse::Record => 1,
        };
        let mut signature = [0; 64];
        let to = signature.as_mut_ptr();
        let mut words = Words("the node is stopping".into());
        let status = with_sink(&mut words, |sink| {
            // SAFETY: the node's own function and context, and arguments which live during the call.
            unsafe { sign(host.context, purpose, QuorateBytes::of(bytes), to, sink) }
        });
        if status == QUORATE_OK { Ok(Signature::new(signature)) } else { Err(IdentityError(words.0)) }
    }
}

//! The slots that run beside the node: transports, discoveries and services, with threads of their own.

use std::ffi::c_void;

use super::{QuorateBytes, QuorateSink};

/// Called once, when what was full has room, or will never have it again; on any thread, and does not block. After that `context` is
/// not valid any more.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct QuorateWaker {
    /// Of whoever made it.
    pub context: *mut c_void,
    /// Wakes.
    pub wake: Option<unsafe extern "C" fn(context: *mut c_void)>,
}

/// Takes the one `Response` to a request; on any thread. After that `context` is not valid any more.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct QuorateReply {
    /// Of whoever made it.
    pub context: *mut c_void,
    /// Takes the response.
    pub reply: Option<unsafe extern "C" fn(context: *mut c_void, response: QuorateBytes)>,
}

/// What an actor may call in the node, from any thread, from `create` on. Valid as long as the process lives; when the actor has
/// ended, it answers [`super::QUORATE_CLOSED`].
#[repr(C)]
#[derive(Debug)]
pub struct QuorateActorHost {
    /// Of this structure.
    pub size: u32,
    /// None yet: 0.
    pub flags: u32,
    /// The node's own.
    pub context: *mut c_void,
    /// Hands an `ActorEvent` to the node, once it runs: taken, [`super::QUORATE_FULL`], or [`super::QUORATE_CLOSED`].
    pub emit: Option<unsafe extern "C" fn(context: *mut c_void, event: QuorateBytes, body: QuorateBytes) -> i32>,
    /// After [`super::QUORATE_FULL`]: wakes when there is room. A newer waker replaces an older one, which is woken.
    pub emit_ready: Option<unsafe extern "C" fn(context: *mut c_void, waker: QuorateWaker)>,
    /// Has the node's key sign for a use (0 a TLS handshake, 1 a discovery record); writes 64 bytes, or fails with a text as
    /// [`super::QUORATE_ERROR`].
    pub sign: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            purpose: u32,
            bytes: QuorateBytes,
            signature: *mut u8,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Asks the node; the `Response` comes through `reply`, always and once, at once or later. For a discovery there is no node to ask.
    pub call: Option<unsafe extern "C" fn(context: *mut c_void, request: QuorateBytes, reply: QuorateReply)>,
    /// Says that what `run` started has ended: with [`super::QUORATE_OK`], or with [`super::QUORATE_ERROR`] or
    /// [`super::QUORATE_PANIC`] and a text. The last call of an actor.
    pub exited: Option<unsafe extern "C" fn(context: *mut c_void, status: i32, why: QuorateBytes)>,
}

/// A transport, discovery or service. Its functions are called from many threads at once, and never block.
#[repr(C)]
#[derive(Debug)]
pub struct QuorateActor {
    /// Of this structure.
    pub size: u32,
    /// Checks `Settings`, or fails with a `SetupError`. Opens nothing.
    pub check: Option<unsafe extern "C" fn(settings: QuorateBytes, sink: *const QuorateSink) -> i32>,
    /// Makes an actor from `Settings` and an `ActorContext`, binds its sockets, and puts an `ActorAbout`; or fails with a `SetupError`.
    pub create: Option<
        unsafe extern "C" fn(
            settings: QuorateBytes,
            about: QuorateBytes,
            host: *const QuorateActorHost,
            actor: *mut *mut c_void,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Starts it, once, on threads of its own, and returns.
    pub run: Option<unsafe extern "C" fn(actor: *mut c_void, sink: *const QuorateSink) -> i32>,
    /// Hands an `ActorCommand` to it: taken, [`super::QUORATE_FULL`], or [`super::QUORATE_CLOSED`].
    pub post: Option<unsafe extern "C" fn(actor: *mut c_void, command: QuorateBytes, body: QuorateBytes) -> i32>,
    /// After [`super::QUORATE_FULL`]: wakes when there is room. A newer waker replaces an older one, which is woken.
    pub post_ready: Option<unsafe extern "C" fn(actor: *mut c_void, waker: QuorateWaker)>,
    /// Ends it, at any point, before `run` too. What still runs is told to stop.
    pub destroy: Option<unsafe extern "C" fn(actor: *mut c_void)>,
}

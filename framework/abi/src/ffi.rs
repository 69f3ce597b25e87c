//! Borrowed bytes and sinks as Rust sees them, on both sides of the boundary.
#![expect(unsafe_code, reason = "turns the boundary's pointers into slices and calls its functions")]

use std::ffi::c_void;

use crate::raw::{QuorateBytes, QuorateSink};

impl QuorateBytes {
    /// No bytes.
    pub const EMPTY: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// Lends a slice; whoever is given the result uses it no longer than the slice lives.
    pub const fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    ///
    /// They stay valid and unchanged for `'a`: the caller of the boundary's function promises it until that returns.
    pub(crate) unsafe fn as_slice<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: not null, and valid for `'a` as the caller promises.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// `len` things at `ptr`, which may be null when there are none.
///
/// # Safety
///
/// They stay valid and unchanged for `'a`, as the caller of the boundary's function promises until that returns.
pub(crate) unsafe fn list<'a, T>(ptr: *const T, len: usize) -> &'a [T] {
    if ptr.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: not null, and valid for `'a` as the caller promises.
    unsafe { std::slice::from_raw_parts(ptr, len) }
}

/// Thirty-two bytes at `ptr`; zeros for a null pointer.
///
/// # Safety
///
/// A pointer that is not null has 32 readable bytes.
pub(crate) unsafe fn digest(ptr: *const u8) -> [u8; 32] {
    // SAFETY: as the caller promises.
    let bytes = unsafe { list(ptr, 32) };
    bytes.try_into().unwrap_or_default()
}

/// A callee's view of a sink.
#[derive(Clone, Copy)]
pub(crate) struct Out<'a>(&'a QuorateSink);

impl<'a> Out<'a> {
    /// The sink at a pointer, if there is one.
    ///
    /// # Safety
    ///
    /// A pointer that is not null points to a sink which is valid for `'a`.
    pub(crate) unsafe fn new(sink: *const QuorateSink) -> Option<Self> {
        // SAFETY: as the caller promises.
        unsafe { sink.as_ref() }.map(Self)
    }

    pub(crate) fn put(self, head: &[u8], body: &[u8]) {
        if let Some(put) = self.0.put {
            // SAFETY: the sink's maker promises that its function takes its own context and bytes valid for the call.
            unsafe { put(self.0.context, QuorateBytes::of(head), QuorateBytes::of(body)) }
        }
    }

    pub(crate) fn fail(self, why: &[u8]) {
        if let Some(fail) = self.0.fail {
            // SAFETY: as for `put`.
            unsafe { fail(self.0.context, QuorateBytes::of(why)) }
        }
    }
}

/// What takes the answers of a call.
pub(crate) trait Receive {
    /// One answer.
    fn put(&mut self, head: &[u8], body: &[u8]);

    /// Why there will be none.
    fn fail(&mut self, why: &[u8]);
}

/// Makes a call whose answers go to `receiver`.
pub(crate) fn with_sink<R: Receive, T>(receiver: &mut R, call: impl FnOnce(*const QuorateSink) -> T) -> T {
    unsafe extern "C" fn put<R: Receive>(context: *mut c_void, head: QuorateBytes, body: QuorateBytes) {
        // SAFETY: the context is the receiver below, which nobody else uses during the call.
        let receiver = unsafe { context.cast::<R>().as_mut() };
        // SAFETY: the callee promises that the bytes are valid until this returns.
        let head = unsafe { head.as_slice() };
        // SAFETY: as for the head.
        let body = unsafe { body.as_slice() };
        if let Some(receiver) = receiver {
            receiver.put(head, body);
        }
    }
    unsafe extern "C" fn fail<R: Receive>(context: *mut c_void, why: QuorateBytes) {
        // SAFETY: the context is the receiver below, which nobody else uses during the call.
        let receiver = unsafe { context.cast::<R>().as_mut() };
        // SAFETY: the callee promises that the bytes are valid until this returns.
        let why = unsafe { why.as_slice() };
        if let Some(receiver) = receiver {
            receiver.fail(why);
        }
    }
    let sink = QuorateSink { context: (&raw mut *receiver).cast(), put: Some(put::<R>), fail: Some(fail::<R>) };
    call(&raw const sink)
}

// SAFETY: a declaration is never changed, and its functions may be called from any thread.
unsafe impl Sync for crate::raw::QuoratePlugin {}

// SAFETY: as for a plugin.
unsafe impl Sync for crate::raw::QuorateLibrary {}

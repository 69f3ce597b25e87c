//! The frame of every function that a node calls: no panic leaves it, and what failed leaves it as text.
#![expect(unsafe_code, reason = "takes the objects which a node holds by pointer")]

use std::{
    any::Any,
    cell::{Cell, RefCell},
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
};

use borsh::BorshSerialize;

use crate::{
    ffi::Out,
    raw::{QUORATE_DECODE, QUORATE_ERROR, QUORATE_OK, QUORATE_PANIC, QuorateSink},
    wire::{self, WireError},
};

/// Why a call is not answered with [`QUORATE_OK`].
pub(super) enum Refusal {
    /// With an error of the slot, encoded.
    Error(Vec<u8>),
    /// The arguments are not understood.
    Arguments(String),
}

impl Refusal {
    pub(super) fn error(error: &impl BorshSerialize) -> Self {
        Self::Error(wire::encode(error))
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::Arguments(error.to_string())
    }
}

thread_local! {
    /// Which plugin works on this thread, for its logs.
    static NAME: Cell<Option<fn() -> &'static str>> = const { Cell::new(None) };
    /// Where this thread panicked last, and with what words.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The plugin that works on this thread.
pub(super) fn current_name() -> Option<&'static str> {
    NAME.get().map(|name| name())
}

/// Keeps what the panic hook saw for the frame around it.
pub(super) fn note_panic(text: String) {
    PANIC.with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(text);
        }
    });
}

/// Runs the body of one function of a plugin.
///
/// # Safety
///
/// `sink` is null or valid during the call.
pub(super) unsafe fn frame(
    name: fn() -> &'static str,
    sink: *const QuorateSink,
    body: impl FnOnce(Out<'_>) -> Result<(), Refusal>,
) -> i32 {
    // SAFETY: as the caller promises.
    let Some(out) = (unsafe { Out::new(sink) }) else { return QUORATE_DECODE };
    let before = NAME.replace(Some(name));
    let outcome = catch_unwind(AssertUnwindSafe(|| body(out)));
    NAME.set(before);
    match outcome {
        Ok(Ok(())) => QUORATE_OK,
        Ok(Err(Refusal::Error(error))) => {
            out.fail(&error);
            QUORATE_ERROR
        }
        Ok(Err(Refusal::Arguments(why))) => {
            out.fail(why.as_bytes());
            QUORATE_DECODE
        }
        Err(payload) => {
            out.fail(panic_words(payload).as_bytes());
            QUORATE_PANIC
        }
    }
}

/// Runs the body of a function that answers by its status alone.
pub(super) fn frame_of_status(name: fn() -> &'static str, body: impl FnOnce() -> Result<i32, Refusal>) -> i32 {
    let before = NAME.replace(Some(name));
    let outcome = catch_unwind(AssertUnwindSafe(body));
    NAME.set(before);
    match outcome {
        Ok(Ok(status)) => status,
        Ok(Err(Refusal::Error(_))) => QUORATE_ERROR,
        Ok(Err(Refusal::Arguments(_))) => QUORATE_DECODE,
        Err(payload) => {
            std::mem::forget(payload);
            QUORATE_PANIC
        }
    }
}

/// Says that a thread is a plugin's own.
pub(super) fn name_thread(name: fn() -> &'static str) {
    NAME.set(Some(name));
}

/// What the hook saw of this thread's panic, or else what is in its payload; which is not dropped, as that could panic again.
pub(super) fn panic_words(payload: Box<dyn Any + Send>) -> String {
    let seen = PANIC.with(|last| last.try_borrow_mut().ok().and_then(|mut last| last.take()));
    let words = seen.unwrap_or_else(|| words(payload.as_ref()).to_owned());
    std::mem::forget(payload);
    words
}

/// Ends an object; a panic in its `Drop` is swallowed, as nothing is left that it could concern.
///
/// # Safety
///
/// `object` is null or came from [`give`] for the same `T`, and is not used again.
pub(super) unsafe fn end<T>(name: fn() -> &'static str, object: *mut c_void) {
    if object.is_null() {
        return;
    }
    // SAFETY: it came from `Box::into_raw` and is taken back once.
    let object = unsafe { Box::from_raw(object.cast::<T>()) };
    let before = NAME.replace(Some(name));
    if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(object))) {
        std::mem::forget(payload);
    }
    NAME.set(before);
}

/// Hands an object to the node.
///
/// # Safety
///
/// `to` is null or has room for a pointer.
pub(super) unsafe fn give<T>(object: T, to: *mut *mut c_void) -> Result<(), Refusal> {
    if to.is_null() {
        return Err(Refusal::Arguments("no place for the object".into()));
    }
    let object = Box::into_raw(Box::new(object)).cast::<c_void>();
    // SAFETY: not null, and has room as the caller promises.
    unsafe { to.write(object) };
    Ok(())
}

/// The object behind a pointer.
///
/// # Safety
///
/// `object` is null or came from [`give`] for the same `T`, was not ended, and stays so for `'a`.
pub(super) unsafe fn shared<'a, T>(object: *mut c_void) -> Result<&'a T, Refusal> {
    // SAFETY: as the caller promises.
    unsafe { object.cast::<T>().as_ref() }.ok_or_else(|| Refusal::Arguments("no object".into()))
}

/// The object behind a pointer, to be changed.
///
/// # Safety
///
/// As for [`shared`], and nobody else uses it during `'a`.
pub(super) unsafe fn exclusive<'a, T>(object: *mut c_void) -> Result<&'a mut T, Refusal> {
    // SAFETY: as the caller promises.
    unsafe { object.cast::<T>().as_mut() }.ok_or_else(|| Refusal::Arguments("no object".into()))
}

/// The words of a panic.
pub(super) fn words(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("panicked without words")
}

//! An object of a plugin: held by pointer, never called again after a fault, ended where it was made.
#![expect(unsafe_code, reason = "holds the pointers of a library's objects")]

use std::{
    ffi::c_void,
    fmt,
    sync::{Arc, OnceLock},
};

use super::call::{Answers, END_WAIT, Fault, Origin, Unanswered, ask, within};
use crate::raw::QuorateSink;

/// Makes an object.
pub(super) type Make<'a> = &'a dyn Fn(*mut *mut c_void, *const QuorateSink) -> i32;

/// Ends an object.
pub(super) type End = unsafe extern "C" fn(*mut c_void);

/// A pointer to an object of a library.
#[derive(Clone, Copy)]
struct Pointer(*mut c_void);

// SAFETY: the boundary's contract is that an object may be used from any thread; each slot says whether from several at once, and
// its wrapper keeps to that.
unsafe impl Send for Pointer {}

// SAFETY: as above.
unsafe impl Sync for Pointer {}

/// An object of a plugin.
pub(super) struct Object {
    origin: Arc<Origin>,
    pointer: Pointer,
    end: Option<End>,
    fault: OnceLock<Fault>,
}

impl Object {
    /// Has a library make one.
    pub(super) fn make(
        origin: &Arc<Origin>,
        call: &'static str,
        end: Option<End>,
        make: Make<'_>,
    ) -> Result<Self, Unanswered> {
        Self::make_with_answers(origin, call, end, make).map(|(object, _)| object)
    }

    /// Has a library make one which says something of itself.
    pub(super) fn make_with_answers(
        origin: &Arc<Origin>,
        call: &'static str,
        end: Option<End>,
        make: Make<'_>,
    ) -> Result<(Self, Answers), Unanswered> {
        let mut pointer = Pointer(std::ptr::null_mut());
        let to = &raw mut pointer.0;
        let answers = ask(call, |sink| make(to, sink))?;
        if pointer.0.is_null() {
            return Err(Unanswered::Fault(Fault::rubbish(call, "no object")));
        }
        Ok((Self { origin: Arc::clone(origin), pointer, end, fault: OnceLock::new() }, answers))
    }

    pub(super) fn pointer(&self) -> *mut c_void {
        self.pointer.0
    }

    pub(super) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Never calls it again.
    pub(super) fn poison(&self, fault: Fault) {
        let Self { origin, .. } = self;
        tracing::error!(target: "plugin", plugin = origin.plugin, library = origin.file, %fault, "a plugin failed");
        // The first fault is the one that matters.
        drop(self.fault.set(fault));
    }

    /// What went wrong with it, in a sentence, if anything did.
    pub(super) fn poisoned(&self) -> Option<String> {
        self.fault.get().map(|fault| Sentence(&self.origin, fault).to_string())
    }

    /// The sentence about a fault.
    pub(super) fn sentence(&self, fault: &Fault) -> String {
        Sentence(&self.origin, fault).to_string()
    }

    /// Ends it at once, on this thread: for objects which are ended often.
    pub(super) fn end_here(mut self) {
        if let (Some(end), None) = (self.end.take(), self.fault.get()) {
            // SAFETY: the object came from its library and is not used again.
            unsafe { end(self.pointer.0) }
        }
    }
}

struct Sentence<'a>(&'a Origin, &'a Fault);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // After a fault nothing is known of its state: it stays where it is.
        let (Some(end), None) = (self.end.take(), self.fault.get()) else { return };
        let pointer = self.pointer;
        let ended = within(&self.origin, "destroy", END_WAIT, move || {
            let pointer = pointer;
            // SAFETY: the object came from its library and is not used again.
            unsafe { end(pointer.0) }
        });
        if let Err(fault) = ended {
            tracing::warn!(target: "plugin", plugin = self.origin.plugin, %fault, "a plugin was left behind");
        }
    }
}

//! A consensus in a library, used like a bundled one.
#![expect(unsafe_code, reason = "calls a library's functions")]

use std::{cell::RefCell, marker::PhantomData, sync::Arc};

use quorate::{
    Consensus, FinalityProof, Height, Instant,
    consensus::{Action, Context, EngineStatus, Event},
    plugin::{ConsensusPlugin, ConsensusReport, Descriptor, Promise, SetupError},
};

use super::{
    call::{Fault, Origin, SETUP_WAIT, ask, ask_for, bounded, single, within},
    object::Object,
    proof::LibraryProof,
    setup::{self, set_up},
};
use crate::{
    ffi::{Receive, with_sink},
    raw::{QUORATE_DECODE, QUORATE_OK, QuorateBytes, QuorateConsensus},
    wire::{self, ActionHead, EventHead, PromiseAnswer},
};

/// Actions of one step at most.
pub const ACTIONS_MAX: usize = 4096;

/// Bytes of the words for one message at most; the rest is cut off.
pub const DESCRIBED_BYTES_MAX: usize = 4096;

/// A consensus of a library.
pub(super) struct LibraryConsensus {
    pub(super) origin: Arc<Origin>,
    pub(super) descriptor: Descriptor,
    pub(super) observes: bool,
    pub(super) functions: &'static QuorateConsensus,
}

impl LibraryConsensus {
    fn try_promise(&self, context: &Context) -> Result<Option<Promise>, Fault> {
        let Some(promise) = self.functions.promise else { return Ok(None) };
        let context = wire::encode(context);
        let answers = within(&self.origin, "promise", SETUP_WAIT, move || {
            ask_for(1, "promise", |sink| {
                // SAFETY: the library's own function, and arguments which live during the call.
                unsafe { promise(QuorateBytes::of(&context), sink) }
            })
        })?;
        let Some((head, _)) = answers.map_err(|unanswered| unanswered.without_error("promise"))?.pop() else {
            return Ok(None);
        };
        let answer: PromiseAnswer = wire::decode("Promise", &head).map_err(|error| Fault::wire("promise", &error))?;
        Ok(Some(answer.into()))
    }

    fn try_describe(&self, message: &[u8]) -> Result<Option<String>, Fault> {
        const CALL: &str = "describe_message";
        let Some(describe) = self.functions.describe_message else { return Ok(None) };
        // SAFETY: the library's own function, and arguments which live during the call.
        let answers = ask_for(1, CALL, |sink| unsafe { describe(QuorateBytes::of(message), sink) });
        let answer = answers.map_err(|unanswered| unanswered.without_error(CALL))?.pop();
        Ok(answer
            .map(|(_, words)| String::from_utf8_lossy(words.get(..DESCRIBED_BYTES_MAX).unwrap_or(&words)).into_owned()))
    }
}

impl ConsensusPlugin for LibraryConsensus {
    fn descriptor(&self) -> Descriptor {
        self.descriptor.clone()
    }

    fn observes(&self) -> bool {
        self.observes
    }

    fn check(&self, context: &Context) -> Result<ConsensusReport, SetupError> {
        let (context, check) = (wire::encode(context), self.functions.check);
        let answers = set_up(&self.origin, "check", SETUP_WAIT, move || {
            ask("check", |sink| {
                // SAFETY: the library's own function, and arguments which live during the call.
                check.map_or(QUORATE_DECODE, |check| unsafe { check(QuorateBytes::of(&context), sink) })
            })
        })?;
        let report = single("check", answers)
            .and_then(|(head, _)| wire::decode("ConsensusReport", &head).map_err(|error| Fault::wire("check", &error)));
        report.map_err(|fault| setup::fault(&self.origin, &fault))
    }

    fn promise(&self, context: &Context) -> Option<Promise> {
        self.try_promise(context).unwrap_or_else(|fault| {
            tracing::error!(plugin = %self.origin, %fault, "promise not known");
            None
        })
    }

    fn describe_message(&self, message: &[u8]) -> Option<String> {
        // Whoever reads the words should read why there are none.
        self.try_describe(message).unwrap_or_else(|fault| Some(format!("({} {fault})", self.origin)))
    }

    fn build(&self, context: &Context) -> Result<Box<dyn Consensus>, SetupError> {
        let (context, functions) = (wire::encode(context), self.functions);
        let origin = Arc::clone(&self.origin);
        let object = set_up(&self.origin, "create", SETUP_WAIT, move || {
            Object::make(&origin, "create", functions.destroy, &|to, sink| {
                // SAFETY: the library's own function, and arguments which live during the call.
                functions
                    .create
                    .map_or(QUORATE_DECODE, |create| unsafe { create(QuorateBytes::of(&context), to, sink) })
            })
        })?;
        Ok(Box::new(Engine {
            object,
            functions,
            head: Vec::new(),
            told: false,
            height: Height::GENESIS,
            last: RefCell::default(),
            one_thread: PhantomData,
        }))
    }

    fn proof(&self, context: &Context) -> Result<Arc<dyn FinalityProof>, SetupError> {
        let (context, functions) = (wire::encode(context), self.functions);
        let origin = Arc::clone(&self.origin);
        let object = set_up(&self.origin, "proof_create", SETUP_WAIT, move || {
            Object::make(&origin, "proof_create", functions.proof_destroy, &|to, sink| {
                // SAFETY: the library's own function, and arguments which live during the call.
                functions
                    .proof_create
                    .map_or(QUORATE_DECODE, |create| unsafe { create(QuorateBytes::of(&context), to, sink) })
            })
        })?;
        Ok(Arc::new(LibraryProof { object, functions }))
    }
}

/// An engine of a library. Not to be shared between threads, as the boundary allows one at a time.
struct Engine {
    object: Object,
    functions: &'static QuorateConsensus,
    head: Vec<u8>,
    /// Whether the fault was told to the node.
    told: bool,
    height: Height,
    last: RefCell<EngineStatus>,
    one_thread: PhantomData<RefCell<()>>,
}

/// The actions of one step, as they come.
struct Step<'a> {
    actions: &'a mut Vec<Action>,
    count: usize,
    bytes: usize,
    failed: Vec<u8>,
    rubbish: Option<String>,
}

impl Receive for Step<'_> {
    fn put(&mut self, head: &[u8], body: &[u8]) {
        self.bytes = self.bytes.saturating_add(head.len()).saturating_add(body.len());
        let action = bounded(self.count, ACTIONS_MAX, self.bytes, head, body).and_then(|()| {
            let head = wire::decode::<ActionHead>("an action", head).map_err(|error| error.to_string())?;
            head.join(body).map_err(|error| error.to_string())
        });
        self.count = self.count.saturating_add(1);
        match action {
            Ok(action) if self.rubbish.is_none() => self.actions.push(action),
            Ok(_) => {}
            Err(why) => self.rubbish = Some(why),
        }
    }

    fn fail(&mut self, why: &[u8]) {
        self.failed = why.to_vec();
    }
}

impl Engine {
    fn try_step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) -> Result<(), Fault> {
        let (head, body) = EventHead::split(event);
        wire::encode_into(&head, &mut self.head);
        let Some(step) = self.functions.step else { return Err(Fault::rubbish("step", "no function")) };
        let mut taken = Step { actions: out, count: 0, bytes: 0, failed: Vec::new(), rubbish: None };
        let (head, body) = (QuorateBytes::of(&self.head), QuorateBytes::of(&body));
        let engine = self.object.pointer();
        // SAFETY: the library's own function and object, which only this thread uses now, and arguments which live during the call.
        let status = with_sink(&mut taken, |sink| unsafe { step(engine, now.0, head, body, sink) });
        match (status, taken.rubbish) {
            (QUORATE_OK, None) => Ok(()),
            (QUORATE_OK, Some(why)) => Err(Fault::rubbish("step", why)),
            (status, _) => Err(Fault::of_status("step", status, &taken.failed)),
        }
    }

    fn try_status(&self, now: Instant) -> Result<EngineStatus, Fault> {
        let Some(status) = self.functions.status else { return Err(Fault::rubbish("status", "no function")) };
        let engine = self.object.pointer();
        // SAFETY: the library's own function and object, which only this thread uses now.
        let answers = ask("status", |sink| unsafe { status(engine, now.0, sink) });
        let answers = answers.map_err(|unanswered| unanswered.without_error("status"))?;
        let (head, _) = single("status", answers)?;
        wire::decode("EngineStatus", &head).map_err(|error| Fault::wire("status", &error))
    }
}

impl Consensus for Engine {
    fn step(&mut self, now: Instant, event: Event, out: &mut Vec<Action>) {
        if let Event::Start(quorate::consensus::Start { tip, .. }) | Event::Committed { tip, .. } = &event {
            self.height = tip.height;
        }
        let before = out.len();
        if self.object.poisoned().is_none()
            && let Err(fault) = self.try_step(now, event, out)
        {
            // What it said before it failed is not carried out.
            out.truncate(before);
            self.object.poison(fault);
        }
        if let (Some(why), false) = (self.object.poisoned(), self.told) {
            self.told = true;
            let reason = format!("{why}; nothing above block {} is signed any more", self.height);
            out.push(Action::Halt { reason });
        }
    }

    fn status(&self, now: Instant) -> EngineStatus {
        if self.object.poisoned().is_none() {
            match self.try_status(now) {
                Ok(status) => {
                    self.last.replace(status.clone());
                    return status;
                }
                Err(fault) => self.object.poison(fault),
            }
        }
        EngineStatus { halted: self.object.poisoned(), ..self.last.borrow().clone() }
    }
}

//! The node as a plugin uses it: where its logs and panics go.
#![expect(unsafe_code, reason = "calls the node's log")]

use std::{
    fmt::{self, Write as _},
    sync::OnceLock,
};

use quorate::signature::{Memo, Signed};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

use super::call::{self, Refusal};
use crate::raw::{QuorateBytes, QuorateHost, QuorateSink};

/// The node, once it has called [`start`].
static HOST: OnceLock<Host> = OnceLock::new();

struct Host(&'static QuorateHost);

// SAFETY: the node promises that its functions may be called from any thread, with its context.
unsafe impl Send for Host {}

// SAFETY: as above.
unsafe impl Sync for Host {}

/// Takes the node's functions, and has this library's logs and panics go to its log.
///
/// # Safety
///
/// `host` is null or valid as long as the process lives; `sink` is null or valid during the call.
pub(super) unsafe extern "C" fn start(host: *const QuorateHost, sink: *const QuorateSink) -> i32 {
    let body = |_: crate::ffi::Out<'_>| {
        // SAFETY: as the caller promises.
        let Some(host) = (unsafe { host.as_ref() }) else { return Err(Refusal::Arguments("no node".into())) };
        if (host.size as usize) < size_of::<QuorateHost>() {
            return Err(Refusal::Arguments(format!("the node's functions have {} bytes", host.size)));
        }
        if HOST.set(Host(host)).is_ok() {
            std::panic::set_hook(Box::new(|panic| {
                let words = call::words(panic.payload());
                let text = match panic.location() {
                    Some(place) => format!("{words} ({}:{})", place.file(), place.line()),
                    None => words.to_owned(),
                };
                log(1, "panic", &text);
                call::note_panic(text);
            }));
            // A library that is also linked into this process leaves that process' own logger alone.
            drop(tracing::subscriber::set_global_default(Logger));
            Memo::ask(knows);
        }
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { call::frame(|| "", sink, body) }
}

/// What the node's thread remembers of a signature.
fn knows(item: &Signed<'_>) -> bool {
    let Some(Host(host)) = HOST.get() else { return false };
    let Some(knows) = host.knows else { return false };
    let (key, signature) = (item.key.as_bytes().as_ptr(), item.signature.as_bytes().as_ptr());
    // SAFETY: the node's own function, and bytes of the right number which live during the call.
    unsafe { knows(key, QuorateBytes::of(item.message), signature) == 1 }
}

fn log(level: u32, place: &str, message: &str) {
    let Some(Host(host)) = HOST.get() else { return };
    let Some(log) = host.log else { return };
    let name = QuorateBytes::of(call::current_name().unwrap_or_default().as_bytes());
    let (place, message) = (QuorateBytes::of(place.as_bytes()), QuorateBytes::of(message.as_bytes()));
    // SAFETY: the node's own function and context, and bytes which live during the call.
    unsafe { log(host.context, level, name, place, message) }
}

/// Hands every event to the node's log, its fields behind its message.
struct Logger;

fn level(metadata: &Metadata<'_>) -> u32 {
    match *metadata.level() {
        tracing::Level::ERROR => 1,
        tracing::Level::WARN => 2,
        tracing::Level::INFO => 3,
        tracing::Level::DEBUG => 4,
        tracing::Level::TRACE => 5,
    }
}

impl Subscriber for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && HOST.get().is_some_and(|Host(host)| level(metadata) <= host.log_max)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let filter = match HOST.get().map_or(0, |Host(host)| host.log_max) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        Some(filter)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        log(level(metadata), metadata.target(), &(text.message + &text.fields));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
        if written.is_err() {
            self.fields.push_str(" (a field could not be written)");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.record_debug(field, &value);
        }
    }
}

//! What a library declares: opened by the system's loader, read before anything in it is called, then started and described.
#![expect(unsafe_code, reason = "loads a library and reads its declaration")]

use std::{ffi::c_void, path::Path, ptr::NonNull, sync::Arc};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use quorate::plugin::Descriptor;

use super::{
    actors::LibraryActor,
    application::LibraryApplication,
    call::{Fault, Origin, Unanswered, ask},
    consensus::LibraryConsensus,
    error::LoadErrorKind,
    library::Provided,
    node,
    storage::LibraryStorage,
};
use crate::{
    raw::{
        QUORATE_ABI_MAJOR, QUORATE_ABI_MINOR, QUORATE_DECODE, QUORATE_LIBRARY_PANIC_ABORTS, QUORATE_MAGIC,
        QUORATE_PLUGIN_OBSERVES, QuorateActor, QuorateApplication, QuorateBytes, QuorateConsensus, QuorateDescription,
        QuorateLibrary, QuoratePlugin, QuorateSink, QuorateStorage,
    },
    slot::Slot,
};

/// Plugins in one library at most.
pub const PLUGINS_MAX: usize = 32;

/// Bytes of one text of a description at most.
pub const TEXT_BYTES_MAX: usize = 256 << 10;

/// What is read of every ABI's declaration: it never changes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Beginning {
    magic: [u8; 8],
    abi_major: u32,
    abi_minor: u32,
    size: u32,
}

/// A library that was started and described.
pub(super) struct Declared {
    pub(super) abi: (u32, u32),
    pub(super) build: String,
    pub(super) plugins: Vec<Provided>,
}

/// Loads a file for good. Its constructors run.
pub(super) fn open(path: &Path, file: &str) -> Result<Declared, LoadErrorKind> {
    // SAFETY: the operator names the file, and thereby trusts its constructors, as every line of a plugin.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| LoadErrorKind::Refused(system_words(&error, path)))?;
    // SAFETY: only the symbol's address is taken; what it points to is looked at below.
    let symbol = unsafe { library.get::<*const c_void>(b"QUORATE_PLUGIN\0") };
    let address = symbol.map(|symbol| *symbol).ok().and_then(|address| NonNull::new(address.cast_mut()));
    // Threads and statics of a library outlive every use of it: it is never unloaded.
    std::mem::forget(library);
    declaration(address.ok_or(LoadErrorKind::NoSymbol)?, file)
}

/// The system's own words, without the path that they begin with.
fn system_words(error: &libloading::Error, path: &Path) -> String {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let path = format!("{}: ", path.display());
    text.strip_prefix(&path).map(str::to_owned).unwrap_or(text)
}

fn declaration(address: NonNull<c_void>, file: &str) -> Result<Declared, LoadErrorKind> {
    // SAFETY: a symbol of this name is a declaration, as the library's maker promises; every ABI's begins in this way.
    let beginning = unsafe { address.cast::<Beginning>().read_unaligned() };
    if beginning.magic != QUORATE_MAGIC {
        return Err(LoadErrorKind::Magic(beginning.magic));
    }
    let (major, minor) = (beginning.abi_major, beginning.abi_minor);
    if major != QUORATE_ABI_MAJOR || minor > QUORATE_ABI_MINOR {
        return Err(LoadErrorKind::Abi { major, minor });
    }
    if (beginning.size as usize) < size_of::<QuorateLibrary>() || !address.cast::<QuorateLibrary>().is_aligned() {
        let needed = size_of::<QuorateLibrary>();
        return Err(LoadErrorKind::Malformed(format!("a library of {} bytes; it has {needed}", beginning.size)));
    }
    // SAFETY: its magic, version and size are those of this structure, and the library is never unloaded.
    let library: &'static QuorateLibrary = unsafe { address.cast().as_ref() };
    if library.flags & QUORATE_LIBRARY_PANIC_ABORTS != 0 {
        return Err(LoadErrorKind::PanicAborts);
    }
    // SAFETY: the library's maker promises that the text is valid as long as the library is loaded.
    let build = text("build", unsafe { library.build.as_slice() })?.to_owned();
    let (len, size) = (library.plugins_len as usize, library.plugin_size as usize);
    if len == 0 || len > PLUGINS_MAX || size < size_of::<QuoratePlugin>() || library.plugins.is_null() {
        let why = format!("{len} plugins of {size} bytes each; there are 1 to {PLUGINS_MAX}");
        return Err(LoadErrorKind::Malformed(why));
    }
    start(library, file)?;
    let mut plugins = Vec::with_capacity(len);
    for index in 0..len {
        // SAFETY: the library's maker promises so many plugins of this size, one behind the other.
        let at = unsafe { library.plugins.byte_add(index * size) };
        // SAFETY: as above; the library is never unloaded.
        let plugin: &'static QuoratePlugin = unsafe { at.as_ref() }.ok_or_else(|| nothing("plugin"))?;
        plugins.push(provided(plugin, file)?);
    }
    for (at, one) in plugins.iter().enumerate() {
        let (slot, name) = (one.slot(), one.descriptor().name);
        if plugins.iter().take(at).any(|other| other.slot() == slot && other.descriptor().name == name) {
            return Err(LoadErrorKind::Malformed(format!("two {slot} plugins `{name}`")));
        }
    }
    Ok(Declared { abi: (major, minor), build, plugins })
}

fn nothing(what: &str) -> LoadErrorKind {
    LoadErrorKind::Malformed(format!("no {what}"))
}

/// Makes a call while loading.
fn call(name: &'static str, make: impl FnOnce(*const QuorateSink) -> Option<i32>) -> Result<(), LoadErrorKind> {
    match ask(name, |sink| make(sink).unwrap_or(QUORATE_DECODE)) {
        Ok(_) => Ok(()),
        Err(Unanswered::Fault(fault)) => Err(LoadErrorKind::Fault(fault)),
        Err(Unanswered::Error(_)) => Err(LoadErrorKind::Fault(Fault::rubbish(name, "an error, where there is none"))),
    }
}

fn start(library: &'static QuorateLibrary, file: &str) -> Result<(), LoadErrorKind> {
    let start = library.start.ok_or_else(|| nothing("function `start`"))?;
    let host = node::functions(file);
    // SAFETY: the library's own function; the node's functions live for good.
    call("start", |sink| Some(unsafe { start(host, sink) }))
}

fn provided(plugin: &'static QuoratePlugin, file: &str) -> Result<Provided, LoadErrorKind> {
    let slot = Slot::from_number(plugin.slot)
        .ok_or_else(|| LoadErrorKind::Malformed(format!("a plugin for slot {}, which is none", plugin.slot)))?;
    let (descriptor, flags) = describe(plugin)?;
    let origin = Arc::new(Origin { plugin: descriptor.name.into(), file: file.into() });
    let address = NonNull::new(plugin.functions.cast_mut()).ok_or_else(|| nothing("functions"))?;
    let missing = |name: Option<&'static str>| match name {
        Some(name) => Err(LoadErrorKind::Malformed(format!("no function `{name}` of its {slot} plugin"))),
        None => Ok(()),
    };
    macro_rules! functions {
        ($type:ty: $($name:ident),+) => {{
            let functions = functions::<$type>(address, slot)?;
            missing([$((stringify!($name), functions.$name.is_none())),+].into_iter().find(|one| one.1).map(|one| one.0))?;
            functions
        }};
    }
    Ok(match slot {
        Slot::Consensus => Provided::Consensus(Arc::new(LibraryConsensus {
            functions: functions!(QuorateConsensus: check, create, step, status, destroy, proof_create, proof_verify,
                proof_certificate, proof_evidence_height, proof_evidence, proof_destroy),
            origin,
            descriptor,
            observes: flags & QUORATE_PLUGIN_OBSERVES != 0,
        })),
        Slot::Storage => Provided::Storage(Arc::new(LibraryStorage {
            functions: functions!(QuorateStorage: check, open, snapshot, commit, destroy, get, scan, snapshot_destroy),
            origin,
            descriptor,
        })),
        Slot::Application => Provided::Application(Arc::new(LibraryApplication {
            functions: functions!(QuorateApplication: check, create, genesis, transaction_id, verify, admit, execute,
                query, destroy),
            origin,
            descriptor,
        })),
        Slot::Transport | Slot::Discovery | Slot::Service => {
            let functions = functions!(QuorateActor: check, create, run, post, post_ready, destroy);
            let actor = Arc::new(LibraryActor { origin, descriptor, functions });
            match slot {
                Slot::Discovery => Provided::Discovery(actor),
                Slot::Service => Provided::Service(actor),
                _ => Provided::Transport(actor),
            }
        }
    })
}

/// The functions of a plugin, which begin with their size.
fn functions<T>(address: NonNull<c_void>, slot: Slot) -> Result<&'static T, LoadErrorKind> {
    // SAFETY: the library's maker promises that the functions of every slot begin with their size.
    let size = unsafe { address.cast::<u32>().read_unaligned() } as usize;
    if size < size_of::<T>() || !address.cast::<T>().is_aligned() {
        let needed = size_of::<T>();
        return Err(LoadErrorKind::Malformed(format!("{size} bytes of functions of a {slot} plugin; it has {needed}")));
    }
    // SAFETY: as large as this structure, as the library's maker promises by the slot, and never unloaded.
    Ok(unsafe { address.cast().as_ref() })
}

fn describe(plugin: &QuoratePlugin) -> Result<(Descriptor, u32), LoadErrorKind> {
    let none = QuorateBytes::EMPTY;
    let mut found = QuorateDescription {
        size: size_of::<QuorateDescription>() as u32,
        flags: 0,
        name: none,
        version: none,
        summary: none,
        example: none,
        schema: none,
        promises: none,
    };
    let to = &raw mut found;
    // SAFETY: the library's own function; description and sink live during the call.
    call("describe", |sink| plugin.describe.map(|describe| unsafe { describe(to, sink) }))?;
    let texts = [
        ("name", found.name),
        ("version", found.version),
        ("summary", found.summary),
        ("example", found.example),
        ("schema", found.schema),
        ("promises", found.promises),
    ];
    let mut read = [""; 6];
    for (to, (what, bytes)) in read.iter_mut().zip(texts) {
        // SAFETY: the library's maker promises that the texts live as long as the process.
        *to = text(what, unsafe { bytes.as_slice() })?;
    }
    let [name, version, summary, example, schema, promises] = read;
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        return Err(LoadErrorKind::Malformed(format!("a plugin named {name:?}; a name has 1 to 64 bytes")));
    }
    let promises: &'static [&'static str] =
        if promises.is_empty() { &[] } else { Box::leak(promises.lines().collect::<Vec<_>>().into_boxed_slice()) };
    let descriptor =
        Descriptor::new(name, version, summary).with_example(example).with_schema(schema).with_promises(promises);
    Ok((descriptor, found.flags))
}

fn text<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a str, LoadErrorKind> {
    if bytes.len() > TEXT_BYTES_MAX {
        let why = format!("a {what} of {} bytes; the limit is {TEXT_BYTES_MAX}", bytes.len());
        return Err(LoadErrorKind::Malformed(why));
    }
    std::str::from_utf8(bytes).map_err(|error| LoadErrorKind::Malformed(format!("a {what} that is not UTF-8: {error}")))
}

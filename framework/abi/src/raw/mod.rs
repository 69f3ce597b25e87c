//! What crosses the boundary, in C's terms: the C header is made from these files, see `ABI.md`.
//!
//! Every structure that may grow begins with its own size and grows at its end only.

mod actor;

pub use actor::{QuorateActor, QuorateActorHost, QuorateReply, QuorateWaker};

use std::ffi::c_void;

/// The first bytes of [`QuorateLibrary`].
pub const QUORATE_MAGIC: [u8; 8] = *b"quorate\0";

/// Of the same major version are a node and its plugins.
pub const QUORATE_ABI_MAJOR: u32 = 1;
/// A plugin's minor version is at most the node's.
pub const QUORATE_ABI_MINOR: u32 = 0;

/// Done; the answers went to the sink's `put`.
pub const QUORATE_OK: i32 = 0;
/// Not done, as the contract allows; the error went to the sink's `fail`, encoded as the call says.
pub const QUORATE_ERROR: i32 = 1;
/// The callee failed; `fail` has a text. The object is not called again.
pub const QUORATE_PANIC: i32 = 2;
/// The callee does not understand its arguments; `fail` has a text. The object is not called again.
pub const QUORATE_DECODE: i32 = 3;
/// No room now; nothing was taken.
pub const QUORATE_FULL: i32 = 4;
/// The other side is gone; nothing was taken.
pub const QUORATE_CLOSED: i32 = 5;

/// [`QuoratePlugin::slot`]: decides which block is next.
pub const QUORATE_SLOT_CONSENSUS: u32 = 1;
/// [`QuoratePlugin::slot`]: keeps keys and values.
pub const QUORATE_SLOT_STORAGE: u32 = 2;
/// [`QuoratePlugin::slot`]: gives transactions their meaning.
pub const QUORATE_SLOT_APPLICATION: u32 = 3;
/// [`QuoratePlugin::slot`]: carries messages.
pub const QUORATE_SLOT_TRANSPORT: u32 = 4;
/// [`QuoratePlugin::slot`]: finds peers.
pub const QUORATE_SLOT_DISCOVERY: u32 = 5;
/// [`QuoratePlugin::slot`]: runs beside the node.
pub const QUORATE_SLOT_SERVICE: u32 = 6;

/// [`QuorateLibrary::flags`]: a panic in it ends the process. A node refuses such a library.
pub const QUORATE_LIBRARY_PANIC_ABORTS: u32 = 1;

/// [`QuorateDescription::flags`]: a consensus which only watches a network that another plugin decides.
pub const QUORATE_PLUGIN_OBSERVES: u32 = 1;

/// Borrowed bytes: valid until the call which has them as an argument returns. `ptr` may be null when `len` is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct QuorateBytes {
    /// The first.
    pub ptr: *const u8,
    /// How many.
    pub len: usize,
}

/// Where a callee puts its answers: the caller copies what it is given before the function returns. Valid, on the calling thread
/// only, until the call which has it as an argument returns.
#[repr(C)]
#[derive(Debug)]
pub struct QuorateSink {
    /// The caller's own.
    pub context: *mut c_void,
    /// Takes one answer: an encoded head, and the bytes that belong to it.
    pub put: Option<unsafe extern "C" fn(context: *mut c_void, head: QuorateBytes, body: QuorateBytes)>,
    /// Takes why the callee will not return [`QUORATE_OK`].
    pub fail: Option<unsafe extern "C" fn(context: *mut c_void, why: QuorateBytes)>,
}

/// What a plugin may call in the node, from any thread. Valid as long as the process lives.
#[repr(C)]
#[derive(Debug)]
pub struct QuorateHost {
    /// Of this structure.
    pub size: u32,
    /// The most detailed level that is logged: 0 nothing, 1 errors, 2 warnings, 3 information, 4 debugging, 5 everything.
    pub log_max: u32,
    /// The node's own.
    pub context: *mut c_void,
    /// Logs a message (UTF-8) of a plugin by its name, or of none while it is not known, from a place in its code.
    pub log: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            level: u32,
            plugin: QuorateBytes,
            place: QuorateBytes,
            message: QuorateBytes,
        ),
    >,
    /// Writes the SHA-256 of some bytes to `digest`, which has room for 32.
    pub sha256: Option<unsafe extern "C" fn(bytes: QuorateBytes, digest: *mut u8)>,
    /// Whether an Ed25519 signature (64 bytes) over a message is of a public key (32 bytes): 1, or 0.
    pub verify: Option<unsafe extern "C" fn(key: *const u8, message: QuorateBytes, signature: *const u8) -> i32>,
    /// Whether the calling thread remembers such a signature as good: 1, or 0, which says nothing of it. In a simulation, where many nodes
    /// share a thread, it remembers most; in a node none.
    pub knows: Option<unsafe extern "C" fn(key: *const u8, message: QuorateBytes, signature: *const u8) -> i32>,
}

/// What a plugin says of itself. The texts are UTF-8 and stay valid as long as the process lives.
#[repr(C)]
#[derive(Debug)]
pub struct QuorateDescription {
    /// Of this structure, as the node knows it: a plugin fills no more.
    pub size: u32,
    /// `QUORATE_PLUGIN_*`.
    pub flags: u32,
    /// The name in TOML.
    pub name: QuorateBytes,
    /// Its version.
    pub version: QuorateBytes,
    /// One line for people.
    pub summary: QuorateBytes,
    /// An example of its settings (TOML); may be empty.
    pub example: QuorateBytes,
    /// The JSON schema of its settings; may be empty.
    pub schema: QuorateBytes,
    /// What it promises, one name a line; may be empty.
    pub promises: QuorateBytes,
}

/// One plugin of a library.
#[repr(C)]
#[derive(Debug)]
pub struct QuoratePlugin {
    /// `QUORATE_SLOT_*`.
    pub slot: u32,
    /// None yet: 0.
    pub flags: u32,
    /// Fills in what the plugin says of itself.
    pub describe: Option<unsafe extern "C" fn(description: *mut QuorateDescription, sink: *const QuorateSink) -> i32>,
    /// Its functions: a [`QuorateConsensus`], [`QuorateStorage`], .. by its slot.
    pub functions: *const c_void,
}

/// The one symbol of a plugin library, `QUORATE_PLUGIN`, is one of these. It is read before anything is called.
#[repr(C)]
#[derive(Debug)]
pub struct QuorateLibrary {
    /// [`QUORATE_MAGIC`].
    pub magic: [u8; 8],
    /// [`QUORATE_ABI_MAJOR`] of the header which it was built with.
    pub abi_major: u32,
    /// [`QUORATE_ABI_MINOR`] of the header which it was built with.
    pub abi_minor: u32,
    /// Of this structure.
    pub size: u32,
    /// `QUORATE_LIBRARY_*`.
    pub flags: u32,
    /// What built it, for people (UTF-8).
    pub build: QuorateBytes,
    /// Called once, before anything else. `host` stays valid as long as the process lives.
    pub start: Option<unsafe extern "C" fn(host: *const QuorateHost, sink: *const QuorateSink) -> i32>,
    /// The plugins, one behind the other.
    pub plugins: *const QuoratePlugin,
    /// How many.
    pub plugins_len: u32,
    /// The size of a [`QuoratePlugin`] as the library knows it.
    pub plugin_size: u32,
}

/// A consensus. An engine is called from one thread at a time, a proof checker from many at once.
///
/// Encodings (borsh) and which bytes are whose: `ABI.md`.
#[repr(C)]
#[derive(Debug)]
pub struct QuorateConsensus {
    /// Of this structure.
    pub size: u32,
    /// Checks a `Context`; puts a `ConsensusReport`, or fails with a `SetupError`.
    pub check: Option<unsafe extern "C" fn(context: QuorateBytes, sink: *const QuorateSink) -> i32>,
    /// Makes an engine from a `Context`, or fails with a `SetupError`.
    pub create:
        Option<unsafe extern "C" fn(context: QuorateBytes, engine: *mut *mut c_void, sink: *const QuorateSink) -> i32>,
    /// Takes an `Event` at a time in microseconds; puts every `Action`, in order.
    pub step: Option<
        unsafe extern "C" fn(
            engine: *mut c_void,
            now_us: u64,
            event: QuorateBytes,
            body: QuorateBytes,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Puts an `EngineStatus`.
    pub status: Option<unsafe extern "C" fn(engine: *mut c_void, now_us: u64, sink: *const QuorateSink) -> i32>,
    /// Ends an engine, at any point.
    pub destroy: Option<unsafe extern "C" fn(engine: *mut c_void)>,
    /// Makes a proof checker from a `Context`, or fails with a `SetupError`.
    pub proof_create:
        Option<unsafe extern "C" fn(context: QuorateBytes, proof: *mut *mut c_void, sink: *const QuorateSink) -> i32>,
    /// Whether `proof` shows that the block with this encoded header is final, for a `ValidatorSet`; or fails with a `ProofError`.
    pub proof_verify: Option<
        unsafe extern "C" fn(
            checker: *mut c_void,
            chain_id: *const u8,
            header: QuorateBytes,
            proof: QuorateBytes,
            validators: QuorateBytes,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Puts the `Certificate` which a proof holds, unchecked, or fails with a `ProofError`.
    pub proof_certificate:
        Option<unsafe extern "C" fn(checker: *mut c_void, proof: QuorateBytes, sink: *const QuorateSink) -> i32>,
    /// Puts the height (u64) of a piece of evidence, unchecked, or fails with a `ProofError`.
    pub proof_evidence_height:
        Option<unsafe extern "C" fn(checker: *mut c_void, evidence: QuorateBytes, sink: *const QuorateSink) -> i32>,
    /// Puts the `Misbehaviour` which evidence proves for a `ValidatorSet`, or fails with a `ProofError`.
    pub proof_evidence: Option<
        unsafe extern "C" fn(
            checker: *mut c_void,
            chain_id: *const u8,
            evidence: QuorateBytes,
            validators: QuorateBytes,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Ends a proof checker.
    pub proof_destroy: Option<unsafe extern "C" fn(checker: *mut c_void)>,
    /// Puts a `Promise` for a `Context`, or nothing when it does not say. May be null: then it says nothing of any.
    pub promise: Option<unsafe extern "C" fn(context: QuorateBytes, sink: *const QuorateSink) -> i32>,
    /// Puts a few words (UTF-8, a body) for a message, or nothing when it has none. May be null: then it has none for any.
    pub describe_message: Option<unsafe extern "C" fn(message: QuorateBytes, sink: *const QuorateSink) -> i32>,
}

/// One write of a batch.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct QuorateWrite {
    /// The key.
    pub key: QuorateBytes,
    /// Its value; not used when the key is removed.
    pub value: QuorateBytes,
    /// 1: the key is removed; 0: it is set.
    pub removes: u32,
}

/// A store. A store and its snapshots are called from many threads at once; `commit` from one at a time.
#[repr(C)]
#[derive(Debug)]
pub struct QuorateStorage {
    /// Of this structure.
    pub size: u32,
    /// Checks `Settings`, or fails with a `SetupError`. Touches nothing.
    pub check: Option<unsafe extern "C" fn(settings: QuorateBytes, sink: *const QuorateSink) -> i32>,
    /// Opens or makes the store in a directory that exists, or fails with a `SetupError`.
    pub open: Option<
        unsafe extern "C" fn(
            settings: QuorateBytes,
            directory: QuorateBytes,
            store: *mut *mut c_void,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// A view of everything committed before, or fails with a `StorageError`.
    pub snapshot:
        Option<unsafe extern "C" fn(store: *mut c_void, snapshot: *mut *mut c_void, sink: *const QuorateSink) -> i32>,
    /// Applies every write, in order, or none; durable on return. Or fails with a `StorageError`.
    pub commit: Option<
        unsafe extern "C" fn(
            store: *mut c_void,
            writes: *const QuorateWrite,
            writes_len: usize,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Ends a store; its snapshots are gone before.
    pub destroy: Option<unsafe extern "C" fn(store: *mut c_void)>,
    /// Puts the value of a key as a body, or nothing; or fails with a `StorageError`.
    pub get: Option<unsafe extern "C" fn(snapshot: *mut c_void, key: QuorateBytes, sink: *const QuorateSink) -> i32>,
    /// Puts at most `limit` pairs with `from <= key < to`, ascending: the key as head, the value as body. Or fails with a
    /// `StorageError`.
    pub scan: Option<
        unsafe extern "C" fn(
            snapshot: *mut c_void,
            from: QuorateBytes,
            to: QuorateBytes,
            limit: u64,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Ends a snapshot.
    pub snapshot_destroy: Option<unsafe extern "C" fn(snapshot: *mut c_void)>,
}

/// The state that an application reads and, where it may, writes. Valid, on the calling thread only, until the call returns.
#[repr(C)]
#[derive(Debug)]
pub struct QuorateState {
    /// Of this structure.
    pub size: u32,
    /// The node's own.
    pub context: *mut c_void,
    /// As [`QuorateStorage::get`].
    pub get: Option<unsafe extern "C" fn(context: *mut c_void, key: QuorateBytes, sink: *const QuorateSink) -> i32>,
    /// As [`QuorateStorage::scan`].
    pub scan: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            from: QuorateBytes,
            to: QuorateBytes,
            limit: u64,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Sets a key. Null where the state is only read.
    pub put: Option<unsafe extern "C" fn(context: *mut c_void, key: QuorateBytes, value: QuorateBytes)>,
    /// Removes a key, if there. Null where the state is only read.
    pub remove: Option<unsafe extern "C" fn(context: *mut c_void, key: QuorateBytes)>,
}

/// An application. It is called from many threads at once.
#[repr(C)]
#[derive(Debug)]
pub struct QuorateApplication {
    /// Of this structure.
    pub size: u32,
    /// Checks the `Settings` of genesis and of the node, or fails with a `SetupError`.
    pub check:
        Option<unsafe extern "C" fn(shared: QuorateBytes, settings: QuorateBytes, sink: *const QuorateSink) -> i32>,
    /// Makes an application for a chain (32 bytes), or fails with a `SetupError`.
    pub create: Option<
        unsafe extern "C" fn(
            chain_id: *const u8,
            shared: QuorateBytes,
            settings: QuorateBytes,
            application: *mut *mut c_void,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Writes the state before block 1 and puts its hash, or fails with a `StorageError`.
    pub genesis: Option<
        unsafe extern "C" fn(application: *mut c_void, state: *const QuorateState, sink: *const QuorateSink) -> i32,
    >,
    /// Writes what names a transaction to `id`, which has room for 32 bytes.
    pub transaction_id: Option<
        unsafe extern "C" fn(
            application: *mut c_void,
            transaction: QuorateBytes,
            id: *mut u8,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Puts one `Result<(), Rejection>` a transaction, in order. The state is only read.
    pub verify: Option<
        unsafe extern "C" fn(
            application: *mut c_void,
            state: *const QuorateState,
            transactions: *const QuorateBytes,
            transactions_len: usize,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Puts the `Admission` of a verified transaction at `now` (milliseconds since 1970), or fails with a `Rejection`.
    pub admit: Option<
        unsafe extern "C" fn(
            application: *mut c_void,
            state: *const QuorateState,
            now: u64,
            transaction: QuorateBytes,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Executes a block; puts every receipt as a body, in order, then its `Outcome` as a head; or fails with an `ExecuteError`.
    pub execute: Option<
        unsafe extern "C" fn(
            application: *mut c_void,
            state: *const QuorateState,
            block: QuorateBytes,
            transactions: *const QuorateBytes,
            transactions_len: usize,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Puts the answer to a question (UTF-8) with its parameters (JSON) as a body of JSON, or fails with a `QueryError`.
    pub query: Option<
        unsafe extern "C" fn(
            application: *mut c_void,
            state: *const QuorateState,
            path: QuorateBytes,
            params: QuorateBytes,
            sink: *const QuorateSink,
        ) -> i32,
    >,
    /// Ends an application.
    pub destroy: Option<unsafe extern "C" fn(application: *mut c_void)>,
}

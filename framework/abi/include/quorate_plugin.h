/* What crosses the boundary between a Quorate node and a plugin in a shared library.
 *
 * Made from framework/abi/src/raw, do not edit: QUORATE_BLESS=1 cargo test -p quorate-abi --test header
 * The encodings of heads are in framework/abi/ABI.md. */

#ifndef QUORATE_PLUGIN_H
#define QUORATE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

// The first bytes of `QuorateLibrary`, with the terminating zero.
#define QUORATE_MAGIC "quorate"

// Of the same major version are a node and its plugins.
#define QUORATE_ABI_MAJOR 1

// A plugin's minor version is at most the node's.
#define QUORATE_ABI_MINOR 0

// Done; the answers went to the sink's `put`.
#define QUORATE_OK 0

// Not done, as the contract allows; the error went to the sink's `fail`, encoded as the call says.
#define QUORATE_ERROR 1

// The callee failed; `fail` has a text. The object is not called again.
#define QUORATE_PANIC 2

// The callee does not understand its arguments; `fail` has a text. The object is not called again.
#define QUORATE_DECODE 3

// No room now; nothing was taken.
#define QUORATE_FULL 4

// The other side is gone; nothing was taken.
#define QUORATE_CLOSED 5

// `QuoratePlugin::slot`: decides which block is next.
#define QUORATE_SLOT_CONSENSUS 1

// `QuoratePlugin::slot`: keeps keys and values.
#define QUORATE_SLOT_STORAGE 2

// `QuoratePlugin::slot`: gives transactions their meaning.
#define QUORATE_SLOT_APPLICATION 3

// `QuoratePlugin::slot`: carries messages.
#define QUORATE_SLOT_TRANSPORT 4

// `QuoratePlugin::slot`: finds peers.
#define QUORATE_SLOT_DISCOVERY 5

// `QuoratePlugin::slot`: runs beside the node.
#define QUORATE_SLOT_SERVICE 6

// `QuorateLibrary::flags`: a panic in it ends the process. A node refuses such a library.
#define QUORATE_LIBRARY_PANIC_ABORTS 1

// `QuorateDescription::flags`: a consensus which only watches a network that another plugin decides.
#define QUORATE_PLUGIN_OBSERVES 1

// Borrowed bytes: valid until the call which has them as an argument returns. `ptr` may be null when `len` is 0.
typedef struct {
  // The first.
  const uint8_t *ptr;
  // How many.
  size_t len;
} QuorateBytes;

// What a plugin may call in the node, from any thread. Valid as long as the process lives.
typedef struct {
  // Of this structure.
  uint32_t size;
  // The most detailed level that is logged: 0 nothing, 1 errors, 2 warnings, 3 information, 4 debugging, 5 everything.
  uint32_t log_max;
  // The node's own.
  void *context;
  // Logs a message (UTF-8) of a plugin by its name, or of none while it is not known, from a place in its code.
  void (*log)(void *context, uint32_t level, QuorateBytes plugin, QuorateBytes place, QuorateBytes message);
  // Writes the SHA-256 of some bytes to `digest`, which has room for 32.
  void (*sha256)(QuorateBytes bytes, uint8_t *digest);
  // Whether an Ed25519 signature (64 bytes) over a message is of a public key (32 bytes): 1, or 0.
  int32_t (*verify)(const uint8_t *key, QuorateBytes message, const uint8_t *signature);
  // Whether the calling thread remembers such a signature as good: 1, or 0, which says nothing of it. In a simulation, where many nodes
  // share a thread, it remembers most; in a node none.
  int32_t (*knows)(const uint8_t *key, QuorateBytes message, const uint8_t *signature);
} QuorateHost;

// Where a callee puts its answers: the caller copies what it is given before the function returns. Valid, on the calling thread
// only, until the call which has it as an argument returns.
typedef struct {
  // The caller's own.
  void *context;
  // Takes one answer: an encoded head, and the bytes that belong to it.
  void (*put)(void *context, QuorateBytes head, QuorateBytes body);
  // Takes why the callee will not return `QUORATE_OK`.
  void (*fail)(void *context, QuorateBytes why);
} QuorateSink;

// What a plugin says of itself. The texts are UTF-8 and stay valid as long as the process lives.
typedef struct {
  // Of this structure, as the node knows it: a plugin fills no more.
  uint32_t size;
  // `QUORATE_PLUGIN_*`.
  uint32_t flags;
  // The name in TOML.
  QuorateBytes name;
  // Its version.
  QuorateBytes version;
  // One line for people.
  QuorateBytes summary;
  // An example of its settings (TOML); may be empty.
  QuorateBytes example;
  // The JSON schema of its settings; may be empty.
  QuorateBytes schema;
  // What it promises, one name a line; may be empty.
  QuorateBytes promises;
} QuorateDescription;

// One plugin of a library.
typedef struct {
  // `QUORATE_SLOT_*`.
  uint32_t slot;
  // None yet: 0.
  uint32_t flags;
  // Fills in what the plugin says of itself.
  int32_t (*describe)(QuorateDescription *description, const QuorateSink *sink);
  // Its functions: a `QuorateConsensus`, `QuorateStorage`, .. by its slot.
  const void *functions;
} QuoratePlugin;

// The one symbol of a plugin library, `QUORATE_PLUGIN`, is one of these. It is read before anything is called.
typedef struct {
  // `QUORATE_MAGIC`.
  uint8_t magic[8];
  // `QUORATE_ABI_MAJOR` of the header which it was built with.
  uint32_t abi_major;
  // `QUORATE_ABI_MINOR` of the header which it was built with.
  uint32_t abi_minor;
  // Of this structure.
  uint32_t size;
  // `QUORATE_LIBRARY_*`.
  uint32_t flags;
  // What built it, for people (UTF-8).
  QuorateBytes build;
  // Called once, before anything else. `host` stays valid as long as the process lives.
  int32_t (*start)(const QuorateHost *host, const QuorateSink *sink);
  // The plugins, one behind the other.
  const QuoratePlugin *plugins;
  // How many.
  uint32_t plugins_len;
  // The size of a `QuoratePlugin` as the library knows it.
  uint32_t plugin_size;
} QuorateLibrary;

// A consensus. An engine is called from one thread at a time, a proof checker from many at once.
//
// Encodings (borsh) and which bytes are whose: `ABI.md`.
typedef struct {
  // Of this structure.
  uint32_t size;
  // Checks a `Context`; puts a `ConsensusReport`, or fails with a `SetupError`.
  int32_t (*check)(QuorateBytes context, const QuorateSink *sink);
  // Makes an engine from a `Context`, or fails with a `SetupError`.
  int32_t (*create)(QuorateBytes context, void **engine, const QuorateSink *sink);
  // Takes an `Event` at a time in microseconds; puts every `Action`, in order.
  int32_t (*step)(void *engine,
                  uint64_t now_us,
                  QuorateBytes event,
                  QuorateBytes body,
                  const QuorateSink *sink);
  // Puts an `EngineStatus`.
  int32_t (*status)(void *engine, uint64_t now_us, const QuorateSink *sink);
  // Ends an engine, at any point.
  void (*destroy)(void *engine);
  // Makes a proof checker from a `Context`, or fails with a `SetupError`.
  int32_t (*proof_create)(QuorateBytes context, void **proof, const QuorateSink *sink);
  // Whether `proof` shows that the block with this encoded header is final, for a `ValidatorSet`; or fails with a `ProofError`.
  int32_t (*proof_verify)(void *checker,
                          const uint8_t *chain_id,
                          QuorateBytes header,
                          QuorateBytes proof,
                          QuorateBytes validators,
                          const QuorateSink *sink);
  // Puts the `Certificate` which a proof holds, unchecked, or fails with a `ProofError`.
  int32_t (*proof_certificate)(void *checker, QuorateBytes proof, const QuorateSink *sink);
  // Puts the height (u64) of a piece of evidence, unchecked, or fails with a `ProofError`.
  int32_t (*proof_evidence_height)(void *checker, QuorateBytes evidence, const QuorateSink *sink);
  // Puts the `Misbehaviour` which evidence proves for a `ValidatorSet`, or fails with a `ProofError`.
  int32_t (*proof_evidence)(void *checker,
                            const uint8_t *chain_id,
                            QuorateBytes evidence,
                            QuorateBytes validators,
                            const QuorateSink *sink);
  // Ends a proof checker.
  void (*proof_destroy)(void *checker);
  // Puts a `Promise` for a `Context`, or nothing when it does not say. May be null: then it says nothing of any.
  int32_t (*promise)(QuorateBytes context, const QuorateSink *sink);
  // Puts a few words (UTF-8, a body) for a message, or nothing when it has none. May be null: then it has none for any.
  int32_t (*describe_message)(QuorateBytes message, const QuorateSink *sink);
} QuorateConsensus;

// One write of a batch.
typedef struct {
  // The key.
  QuorateBytes key;
  // Its value; not used when the key is removed.
  QuorateBytes value;
  // 1: the key is removed; 0: it is set.
  uint32_t removes;
} QuorateWrite;

// A store. A store and its snapshots are called from many threads at once; `commit` from one at a time.
typedef struct {
  // Of this structure.
  uint32_t size;
  // Checks `Settings`, or fails with a `SetupError`. Touches nothing.
  int32_t (*check)(QuorateBytes settings, const QuorateSink *sink);
  // Opens or makes the store in a directory that exists, or fails with a `SetupError`.
  int32_t (*open)(QuorateBytes settings, QuorateBytes directory, void **store, const QuorateSink *sink);
  // A view of everything committed before, or fails with a `StorageError`.
  int32_t (*snapshot)(void *store, void **snapshot, const QuorateSink *sink);
  // Applies every write, in order, or none; durable on return. Or fails with a `StorageError`.
  int32_t (*commit)(void *store, const QuorateWrite *writes, size_t writes_len, const QuorateSink *sink);
  // Ends a store; its snapshots are gone before.
  void (*destroy)(void *store);
  // Puts the value of a key as a body, or nothing; or fails with a `StorageError`.
  int32_t (*get)(void *snapshot, QuorateBytes key, const QuorateSink *sink);
  // Puts at most `limit` pairs with `from <= key < to`, ascending: the key as head, the value as body. Or fails with a
  // `StorageError`.
  int32_t (*scan)(void *snapshot, QuorateBytes from, QuorateBytes to, uint64_t limit, const QuorateSink *sink);
  // Ends a snapshot.
  void (*snapshot_destroy)(void *snapshot);
} QuorateStorage;

// The state that an application reads and, where it may, writes. Valid, on the calling thread only, until the call returns.
typedef struct {
  // Of this structure.
  uint32_t size;
  // The node's own.
  void *context;
  // As `QuorateStorage::get`.
  int32_t (*get)(void *context, QuorateBytes key, const QuorateSink *sink);
  // As `QuorateStorage::scan`.
  int32_t (*scan)(void *context, QuorateBytes from, QuorateBytes to, uint64_t limit, const QuorateSink *sink);
  // Sets a key. Null where the state is only read.
  void (*put)(void *context, QuorateBytes key, QuorateBytes value);
  // Removes a key, if there. Null where the state is only read.
  void (*remove)(void *context, QuorateBytes key);
} QuorateState;

// An application. It is called from many threads at once.
typedef struct {
  // Of this structure.
  uint32_t size;
  // Checks the `Settings` of genesis and of the node, or fails with a `SetupError`.
  int32_t (*check)(QuorateBytes shared, QuorateBytes settings, const QuorateSink *sink);
  // Makes an application for a chain (32 bytes), or fails with a `SetupError`.
  int32_t (*create)(const uint8_t *chain_id,
                    QuorateBytes shared,
                    QuorateBytes settings,
                    void **application,
                    const QuorateSink *sink);
  // Writes the state before block 1 and puts its hash, or fails with a `StorageError`.
  int32_t (*genesis)(void *application, const QuorateState *state, const QuorateSink *sink);
  // Writes what names a transaction to `id`, which has room for 32 bytes.
  int32_t (*transaction_id)(void *application, QuorateBytes transaction, uint8_t *id, const QuorateSink *sink);
  // Puts one `Result<(), Rejection>` a transaction, in order. The state is only read.
  int32_t (*verify)(void *application,
                    const QuorateState *state,
                    const QuorateBytes *transactions,
                    size_t transactions_len,
                    const QuorateSink *sink);
  // Puts the `Admission` of a verified transaction at `now` (milliseconds since 1970), or fails with a `Rejection`.
  int32_t (*admit)(void *application,
                   const QuorateState *state,
                   uint64_t now,
                   QuorateBytes transaction,
                   const QuorateSink *sink);
  // Executes a block; puts every receipt as a body, in order, then its `Outcome` as a head; or fails with an `ExecuteError`.
  int32_t (*execute)(void *application,
                     const QuorateState *state,
                     QuorateBytes block,
                     const QuorateBytes *transactions,
                     size_t transactions_len,
                     const QuorateSink *sink);
  // Puts the answer to a question (UTF-8) with its parameters (JSON) as a body of JSON, or fails with a `QueryError`.
  int32_t (*query)(void *application,
                   const QuorateState *state,
                   QuorateBytes path,
                   QuorateBytes params,
                   const QuorateSink *sink);
  // Ends an application.
  void (*destroy)(void *application);
} QuorateApplication;

// Called once, when what was full has room, or will never have it again; on any thread, and does not block. After that `context` is
// not valid any more.
typedef struct {
  // Of whoever made it.
  void *context;
  // Wakes.
  void (*wake)(void *context);
} QuorateWaker;

// Takes the one `Response` to a request; on any thread. After that `context` is not valid any more.
typedef struct {
  // Of whoever made it.
  void *context;
  // Takes the response.
  void (*reply)(void *context, QuorateBytes response);
} QuorateReply;

// What an actor may call in the node, from any thread, from `create` on. Valid as long as the process lives; when the actor has
// ended, it answers `QUORATE_CLOSED`.
typedef struct {
  // Of this structure.
  uint32_t size;
  // None yet: 0.
  uint32_t flags;
  // The node's own.
  void *context;
  // Hands an `ActorEvent` to the node, once it runs: taken, `QUORATE_FULL`, or `QUORATE_CLOSED`.
  int32_t (*emit)(void *context, QuorateBytes event, QuorateBytes body);
  // After `QUORATE_FULL`: wakes when there is room. A newer waker replaces an older one, which is woken.
  void (*emit_ready)(void *context, QuorateWaker waker);
  // Has the node's key sign for a use (0 a TLS handshake, 1 a discovery record); writes 64 bytes, or fails with a text as
  // `QUORATE_ERROR`.
  int32_t (*sign)(void *context,
                  uint32_t purpose,
                  QuorateBytes bytes,
                  uint8_t *signature,
                  const QuorateSink *sink);
  // Asks the node; the `Response` comes through `reply`, always and once, at once or later. For a discovery there is no node to ask.
  void (*call)(void *context, QuorateBytes request, QuorateReply reply);
  // Says that what `run` started has ended: with `QUORATE_OK`, or with `QUORATE_ERROR` or
  // `QUORATE_PANIC` and a text. The last call of an actor.
  void (*exited)(void *context, int32_t status, QuorateBytes why);
} QuorateActorHost;

// A transport, discovery or service. Its functions are called from many threads at once, and never block.
typedef struct {
  // Of this structure.
  uint32_t size;
  // Checks `Settings`, or fails with a `SetupError`. Opens nothing.
  int32_t (*check)(QuorateBytes settings, const QuorateSink *sink);
  // Makes an actor from `Settings` and an `ActorContext`, binds its sockets, and puts an `ActorAbout`; or fails with a `SetupError`.
  int32_t (*create)(QuorateBytes settings,
                    QuorateBytes about,
                    const QuorateActorHost *host,
                    void **actor,
                    const QuorateSink *sink);
  // Starts it, once, on threads of its own, and returns.
  int32_t (*run)(void *actor, const QuorateSink *sink);
  // Hands an `ActorCommand` to it: taken, `QUORATE_FULL`, or `QUORATE_CLOSED`.
  int32_t (*post)(void *actor, QuorateBytes command, QuorateBytes body);
  // After `QUORATE_FULL`: wakes when there is room. A newer waker replaces an older one, which is woken.
  void (*post_ready)(void *actor, QuorateWaker waker);
  // Ends it, at any point, before `run` too. What still runs is told to stop.
  void (*destroy)(void *actor);
} QuorateActor;

#endif  /* QUORATE_PLUGIN_H */

/* The one symbol which a plugin library exports. */
extern const QuorateLibrary QUORATE_PLUGIN;

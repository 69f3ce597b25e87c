/* The smallest consensus: validators take turns, and the signature of the one whose turn it is makes its block final.
 *
 *     cc -std=c11 -O2 -fPIC -shared -I ../include -o librotate.so rotate.c
 *
 * It is here to be read and changed. It agrees as long as nobody lies and nobody is away: a turn whose validator is away is waited
 * for. The events and actions, and the bytes of both, are tables in ../ABI.md.
 *
 *     message   1 || signature (64) || block     from the one whose turn it is
 *               2 || height (u64)                from everybody, now and then: how far I am
 *     proof     signature (64) over kind 1, the height, round 0 and the block's hash */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quorate_plugin.h"

enum { HEADER = 280, HEIGHT_AT = 34, HASH = 32, SIGNATURE = 64, KIND = 1, SAY_AGAIN_US = 500000, VALIDATORS_MAX = 256 };
enum { EV_START, EV_MESSAGE, EV_TIMER, EV_BUILT, EV_CHECKED, EV_SIGNED, EV_COMMITTED, EV_WORK };
enum { AC_PERSIST = 0, AC_SIGN, AC_BROADCAST, AC_SET_TIMER = 4, AC_BUILD = 6, AC_CHECK, AC_COMMIT, AC_NEED_SYNC = 10 };

static const QuorateHost *host;

/* ---- bytes in ---- */

typedef struct {
    const uint8_t *at;
    size_t left;
    int bad;
} In;

static const uint8_t *take(In *in, size_t len) {
    static const uint8_t none[HASH];
    if (in->bad || in->left < len) {
        in->bad = 1;
        return none;
    }
    const uint8_t *at = in->at;
    in->at += len;
    in->left -= len;
    return at;
}

static uint64_t number(In *in, size_t len) {
    const uint8_t *at = take(in, len);
    uint64_t sum = 0;
    for (size_t i = 0; !in->bad && i < len; i++) sum |= (uint64_t)at[i] << (8 * i);
    return sum;
}

/* ---- bytes out ---- */

typedef struct {
    uint8_t bytes[512];
    size_t len;
} Out;

static void put(Out *out, const void *bytes, size_t len) {
    if (len <= sizeof out->bytes - out->len) {
        memcpy(out->bytes + out->len, bytes, len);
        out->len += len;
    }
}

static void put_number(Out *out, uint64_t value, size_t len) {
    for (size_t i = 0; i < len; i++) put(out, &(uint8_t){(uint8_t)(value >> (8 * i))}, 1);
}

static void act(const QuorateSink *sink, const Out *head, const void *body, size_t len) {
    sink->put(sink->context, (QuorateBytes){head->bytes, head->len}, (QuorateBytes){body, len});
}

/* ---- what both an engine and a checker of proofs know ---- */

typedef struct {
    size_t len;
    uint8_t keys[VALIDATORS_MAX][HASH];
} Validators;

static void read_validators(In *in, Validators *to) {
    to->len = number(in, 4);
    if (to->len == 0 || to->len > VALIDATORS_MAX) in->bad = 1;
    for (size_t i = 0; !in->bad && i < to->len; i++) {
        take(in, number(in, 4)); /* the name */
        memcpy(to->keys[i], take(in, HASH), HASH);
    }
}

static uint64_t height_of(const uint8_t *block) { return number(&(In){block + HEIGHT_AT, 8, 0}, 8); }

static void hash_of(const uint8_t *block, uint8_t hash[HASH]) {
    uint8_t bytes[17 + HEADER] = "quorate/header/1";
    memcpy(bytes + 17, block, HEADER);
    host->sha256((QuorateBytes){bytes, sizeof bytes}, hash);
}

static int is_signed(const Validators *set, const uint8_t *chain, uint64_t height, const uint8_t *hash, const uint8_t *by) {
    Out out = {.len = 0};
    put(&out, "quorate/consensus/1", 20);
    put_number(&out, KIND, 1);
    put(&out, chain, HASH);
    for (int i = 7; i >= 0; i--) put_number(&out, height >> (8 * i), 1);
    put_number(&out, 0, 4); /* round 0, big-endian as the height is */
    put(&out, hash, HASH);
    return host->verify(set->keys[height % set->len], (QuorateBytes){out.bytes, out.len}, by);
}

/* ---- the engine ---- */

typedef struct {
    uint8_t chain[HASH];
    Validators set;
    int64_t me;       /* -1: no validator */
    uint64_t height;  /* that is being decided */
    uint8_t *block;   /* of that height, if any */
    size_t block_len;
    uint8_t hash[HASH];
    uint8_t proof[SIGNATURE];
    int judged, proven, asked, pending;
} Engine;

static void limits(Out *out) {
    put_number(out, 1000, 4);    /* transactions */
    put_number(out, 1 << 20, 4); /* bytes */
    put_number(out, 5000, 8);    /* milliseconds by which a block's time may be ahead */
}

static int my_turn(const Engine *e) { return e->me >= 0 && e->height % e->set.len == (uint64_t)e->me; }

/* Keeps a block and has it judged. */
static void consider(Engine *e, const uint8_t *block, size_t len, const QuorateSink *sink) {
    uint8_t *copy = malloc(len);
    if (copy == NULL || len < HEADER) {
        free(copy);
        return;
    }
    memcpy(copy, block, len);
    free(e->block);
    e->block = copy;
    e->block_len = len;
    e->judged = 0;
    hash_of(block, e->hash);
    Out out = {.len = 0};
    put_number(&out, AC_CHECK, 1);
    limits(&out);
    act(sink, &out, e->block, len);
}

static void work(Engine *e, const QuorateSink *sink) {
    if (!my_turn(e) || e->asked || e->block != NULL || !e->pending) return;
    e->asked = 1;
    Out out = {.len = 0};
    put_number(&out, AC_BUILD, 1);
    put_number(&out, e->height, 8); /* the token */
    put_number(&out, 0, 4);         /* the round */
    limits(&out);
    act(sink, &out, NULL, 0);
}

static void commit(const Engine *e, const QuorateSink *sink) {
    Out out = {.len = 0};
    put_number(&out, AC_COMMIT, 1);
    put(&out, e->hash, HASH);
    act(sink, &out, e->proof, SIGNATURE);
}

/* The tip, the validators and who I am: how `Start` and `Committed` begin. */
static void enter(Engine *e, In *in) {
    e->height = number(in, 8) + 1;
    take(in, HASH + 8);
    read_validators(in, &e->set);
    e->me = number(in, 1) ? (int64_t)number(in, 2) : -1;
    free(e->block);
    e->block = NULL;
    e->judged = e->proven = e->asked = 0;
}

static void say(const Engine *e, uint64_t now, const QuorateSink *sink) {
    Out timer = {.len = 0}, message = {.len = 0}, head = {.len = 0};
    put_number(&timer, AC_SET_TIMER, 1);
    put_number(&timer, 1, 8);
    put_number(&timer, now + SAY_AGAIN_US, 8);
    act(sink, &timer, NULL, 0);
    put_number(&head, AC_BROADCAST, 1);
    put_number(&message, 2, 1);
    put_number(&message, e->height - 1, 8);
    act(sink, &head, message.bytes, message.len);
}

static void message(Engine *e, const uint8_t *from, const uint8_t *bytes, size_t len, const QuorateSink *sink) {
    if (len == 9 && bytes[0] == 2) {
        uint64_t height = number(&(In){bytes + 1, 8, 0}, 8);
        if (height < e->height) return;
        Out out = {.len = 0};
        put_number(&out, AC_NEED_SYNC, 1);
        put_number(&out, height, 8);
        put(&out, from, HASH);
        act(sink, &out, NULL, 0);
    } else if (len >= 1 + SIGNATURE + HEADER && bytes[0] == 1) {
        const uint8_t *signature = bytes + 1, *block = bytes + 1 + SIGNATURE;
        uint8_t hash[HASH];
        hash_of(block, hash);
        if (height_of(block) != e->height || e->proven || !is_signed(&e->set, e->chain, e->height, hash, signature)) return;
        memcpy(e->proof, signature, SIGNATURE);
        e->proven = 1;
        consider(e, block, len - 1 - SIGNATURE, sink);
    }
}

static void sign(const Engine *e, const QuorateSink *sink) {
    Out persist = {.len = 0}, out = {.len = 0};
    put_number(&persist, AC_PERSIST, 1); /* before the signature: after a crash the same block is signed again */
    act(sink, &persist, e->block, e->block_len);
    put_number(&out, AC_SIGN, 1);
    put_number(&out, e->height, 8);
    put_number(&out, 0, 4); /* round */
    put_number(&out, 0, 1); /* step */
    put_number(&out, 0, 4); /* sub */
    put_number(&out, KIND, 1);
    put_number(&out, HASH, 4);
    put(&out, e->hash, HASH);
    act(sink, &out, NULL, 0);
}

static void was_signed(Engine *e, In *in, const QuorateSink *sink) {
    uint64_t height = number(in, 8);
    take(in, 4 + 1 + 4 + HASH);
    if (height != e->height || e->block == NULL || e->proven || !number(in, 1)) return;
    e->proven = 1;
    memcpy(e->proof, take(in, SIGNATURE), SIGNATURE);
    uint8_t *bytes = malloc(1 + SIGNATURE + e->block_len);
    if (bytes == NULL) return;
    bytes[0] = 1;
    memcpy(bytes + 1, e->proof, SIGNATURE);
    memcpy(bytes + 1 + SIGNATURE, e->block, e->block_len);
    Out out = {.len = 0};
    put_number(&out, AC_BROADCAST, 1);
    act(sink, &out, bytes, 1 + SIGNATURE + e->block_len);
    free(bytes);
    commit(e, sink);
}

static int32_t misunderstood(const QuorateSink *sink, const char *what) {
    sink->fail(sink->context, (QuorateBytes){(const uint8_t *)what, strlen(what)});
    return QUORATE_DECODE;
}

static int32_t step(void *engine, uint64_t now, QuorateBytes event, QuorateBytes body, const QuorateSink *sink) {
    Engine *e = engine;
    In in = {event.ptr, event.len, 0};
    const uint8_t *hash, *from;
    switch (number(&in, 1)) {
    case EV_START: {
        enter(e, &in);
        int saved = (int)number(&in, 1);
        take(&in, 1); /* whether the key is fresh */
        e->pending = (int)number(&in, 1);
        if (in.bad) break;
        if (saved && body.len >= HEADER && height_of(body.ptr) == e->height) consider(e, body.ptr, body.len, sink);
        say(e, now, sink);
        work(e, sink);
        break;
    }
    case EV_COMMITTED:
        enter(e, &in);
        take(&in, 1); /* by whom */
        e->pending = (int)number(&in, 1);
        if (!in.bad) work(e, sink);
        break;
    case EV_WORK:
        e->pending = (int)number(&in, 1);
        work(e, sink);
        break;
    case EV_TIMER:
        say(e, now, sink);
        e->asked = 0; /* what could not be built or signed then may be now */
        work(e, sink);
        if (e->judged && !e->proven && my_turn(e)) sign(e, sink);
        break;
    case EV_MESSAGE:
        from = take(&in, HASH);
        if (!in.bad) message(e, from, body.ptr, body.len, sink);
        break;
    case EV_BUILT:
        if (number(&in, 8) == e->height && number(&in, 1) && e->block == NULL) consider(e, body.ptr, body.len, sink);
        break;
    case EV_CHECKED:
        hash = take(&in, HASH);
        if (e->block == NULL || memcmp(hash, e->hash, HASH) != 0 || number(&in, 1) != 0) break;
        e->judged = 1;
        if (e->proven) commit(e, sink);
        else if (my_turn(e)) sign(e, sink);
        break;
    case EV_SIGNED:
        was_signed(e, &in, sink);
        break;
    default:
        break; /* peers come and go; the node stops */
    }
    return in.bad ? misunderstood(sink, "an event that is cut short") : QUORATE_OK;
}

static int32_t status(void *engine, uint64_t now, const QuorateSink *sink) {
    const Engine *e = engine;
    (void)now;
    Out out = {.len = 0};
    put_number(&out, e->height, 8);
    put_number(&out, 0, 4); /* round */
    put_number(&out, e->set.len ? 1 : 0, 1);
    if (e->set.len) put_number(&out, e->height % e->set.len, 2); /* proposer */
    put_number(&out, 4, 4);
    put(&out, e->block ? "sign" : "idle", 4); /* phase */
    put_number(&out, 0, 4);                   /* heard from: nobody is listened to */
    put_number(&out, 1, 2);                   /* quorum */
    put_number(&out, 0, 1);                   /* not stalled */
    put_number(&out, 0, 1);                   /* not halted */
    act(sink, &out, NULL, 0);
    return QUORATE_OK;
}

static void destroy(void *engine) {
    free(((Engine *)engine)->block);
    free(engine);
}

static int32_t check(QuorateBytes context, const QuorateSink *sink) {
    Validators set;
    In in = {context.ptr, context.len, 0};
    take(&in, HASH);
    read_validators(&in, &set);
    if (in.bad) return misunderstood(sink, "a context that is cut short");
    Out out = {.len = 0};
    char text[80];
    int len = snprintf(text, sizeof text, "of %zu validators none may be away and none may lie", set.len);
    put_number(&out, (uint64_t)len, 4);
    put(&out, text, (size_t)len);
    put_number(&out, 0, 4); /* no warnings */
    act(sink, &out, NULL, 0);
    return QUORATE_OK;
}

/* None may be gone, and none may lie. */
static int32_t promise(QuorateBytes context, const QuorateSink *sink) {
    (void)context;
    Out out = {.len = 0};
    put_number(&out, 0, 2); /* gone */
    put_number(&out, 0, 2); /* dishonest */
    put_number(&out, 0, 1); /* no time to rely on */
    put_number(&out, 0, 1); /* its signatures are no votes in rounds */
    act(sink, &out, NULL, 0);
    return QUORATE_OK;
}

/* A message in a few words, for people; nothing is put for what is none. */
static int32_t describe_message(QuorateBytes message, const QuorateSink *sink) {
    char text[80] = "";
    if (message.len == 9 && message.ptr[0] == 2)
        snprintf(text, sizeof text, "I am at %llu", (unsigned long long)number(&(In){message.ptr + 1, 8, 0}, 8));
    else if (message.len >= 1 + SIGNATURE + HEADER && message.ptr[0] == 1)
        snprintf(text, sizeof text, "Block %llu", (unsigned long long)height_of(message.ptr + 1 + SIGNATURE));
    if (text[0]) act(sink, &(Out){.len = 0}, text, strlen(text));
    return QUORATE_OK;
}

static int32_t create(QuorateBytes context, void **engine, const QuorateSink *sink) {
    Engine *e = calloc(1, sizeof *e);
    In in = {context.ptr, context.len, 0};
    if (e == NULL || context.len < HASH) {
        free(e);
        return misunderstood(sink, "no memory, or no context");
    }
    memcpy(e->chain, take(&in, HASH), HASH);
    e->me = -1;
    *engine = e;
    return QUORATE_OK;
}

/* ---- the checker of proofs, which needs to know nothing ---- */

static int32_t proof_create(QuorateBytes context, void **proof, const QuorateSink *sink) {
    (void)context;
    *proof = malloc(1);
    return *proof ? QUORATE_OK : misunderstood(sink, "no memory");
}

/* Fails with `ProofError::Malformed`. */
static int32_t malformed(const QuorateSink *sink, const char *why) {
    Out out = {.len = 0};
    put_number(&out, 0, 1);
    put_number(&out, strlen(why), 4);
    put(&out, why, strlen(why));
    sink->fail(sink->context, (QuorateBytes){out.bytes, out.len});
    return QUORATE_ERROR;
}

static int32_t proof_verify(void *checker, const uint8_t *chain, QuorateBytes header, QuorateBytes proof,
                            QuorateBytes validators, const QuorateSink *sink) {
    Validators set;
    uint8_t hash[HASH];
    In in = {validators.ptr, validators.len, 0};
    (void)checker;
    read_validators(&in, &set);
    if (in.bad || header.len != HEADER) return misunderstood(sink, "validators or a header that are cut short");
    hash_of(header.ptr, hash);
    if (proof.len != SIGNATURE || !is_signed(&set, chain, height_of(header.ptr), hash, proof.ptr))
        return malformed(sink, "it is no signature of the one whose turn it was");
    return QUORATE_OK;
}

static int32_t proof_certificate(void *checker, QuorateBytes proof, const QuorateSink *sink) {
    (void)checker;
    if (proof.len != SIGNATURE) return malformed(sink, "it is no signature");
    Out out = {.len = 0};
    put_number(&out, 0, 4); /* round */
    put_number(&out, 0, 4); /* who signed follows from the height, which is not in the proof */
    act(sink, &out, NULL, 0);
    return QUORATE_OK;
}

static int32_t proof_evidence_height(void *checker, QuorateBytes evidence, const QuorateSink *sink) {
    (void)checker;
    (void)evidence;
    return malformed(sink, "there is no evidence here");
}

static int32_t proof_evidence(void *checker, const uint8_t *chain, QuorateBytes evidence, QuorateBytes validators,
                              const QuorateSink *sink) {
    (void)chain;
    (void)validators;
    return proof_evidence_height(checker, evidence, sink);
}

/* ---- the library ---- */

#define TEXT(text) {(const uint8_t *)(text), sizeof(text) - 1}

static int32_t start(const QuorateHost *functions, const QuorateSink *sink) {
    (void)sink;
    host = functions;
    return QUORATE_OK;
}

static int32_t describe(QuorateDescription *about, const QuorateSink *sink) {
    (void)sink;
    about->name = (QuorateBytes)TEXT("rotate");
    about->version = (QuorateBytes)TEXT("0.1.0");
    about->summary = (QuorateBytes)TEXT("validators take turns, and one signature makes a block final");
    return QUORATE_OK;
}

static const QuorateConsensus functions = {
    .size = sizeof(QuorateConsensus),
    .check = check,
    .create = create,
    .step = step,
    .status = status,
    .destroy = destroy,
    .proof_create = proof_create,
    .proof_verify = proof_verify,
    .proof_certificate = proof_certificate,
    .proof_evidence_height = proof_evidence_height,
    .proof_evidence = proof_evidence,
    .proof_destroy = free,
    .promise = promise,
    .describe_message = describe_message,
};

static const QuoratePlugin plugins[] = {{.slot = QUORATE_SLOT_CONSENSUS, .describe = describe, .functions = &functions}};

const QuorateLibrary QUORATE_PLUGIN = {
    .magic = QUORATE_MAGIC,
    .abi_major = QUORATE_ABI_MAJOR,
    .abi_minor = QUORATE_ABI_MINOR,
    .size = sizeof(QuorateLibrary),
    .build = TEXT("a C compiler"),
    .start = start,
    .plugins = plugins,
    .plugins_len = 1,
    .plugin_size = sizeof(QuoratePlugin),
};

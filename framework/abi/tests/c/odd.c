/* Libraries that are wrong in one way each, chosen by -D when this is compiled. */
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "quorate_plugin.h"

#define TEXT(text) {(const uint8_t *)(text), sizeof(text) - 1}

#ifdef UNDEFINED
extern int missing_dep(void);
int uses_it(void) { return missing_dep(); }
#endif

#ifdef HANGS_WHEN_LOADED
__attribute__((constructor)) static void hang(void) { sleep(3600); }
#endif

#ifdef ABORTS_WHEN_LOADED
__attribute__((constructor)) static void stop(void) { abort(); }
#endif

#ifndef MAJOR
#define MAJOR QUORATE_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR QUORATE_ABI_MINOR
#endif
#ifndef SLOT
#define SLOT QUORATE_SLOT_CONSENSUS
#endif
#ifndef FLAGS
#define FLAGS 0
#endif
#ifndef SIZE
#define SIZE sizeof(QuorateLibrary)
#endif
#ifndef COUNT
#define COUNT 1
#endif
#ifndef NAME
#define NAME "odd"
#endif

static int32_t start(const QuorateHost *host, const QuorateSink *sink) {
    (void)host;
    (void)sink;
#ifdef FAILS_TO_START
    sink->fail(sink->context, (QuorateBytes)TEXT("there is no licence file"));
    return QUORATE_PANIC;
#endif
    return QUORATE_OK;
}

static int32_t describe(QuorateDescription *about, const QuorateSink *sink) {
    (void)sink;
#ifdef HANGS_IN_DESCRIBE
    sleep(3600);
#endif
#ifdef ODD_STATUS
    return 77;
#endif
    about->name = (QuorateBytes)TEXT(NAME);
    about->version = (QuorateBytes)TEXT("0.1.0");
    about->summary = (QuorateBytes)TEXT("odd");
    return QUORATE_OK;
}

static int32_t rubbish(QuorateBytes context, const QuorateSink *sink) {
    (void)context;
    sink->put(sink->context, (QuorateBytes)TEXT("\xff\xff\xff\xff\xff"), (QuorateBytes){NULL, 0});
    return QUORATE_OK;
}

static int32_t no_object(QuorateBytes context, void **object, const QuorateSink *sink) {
    (void)context;
    (void)object;
    (void)sink;
    return QUORATE_OK;
}

#ifndef WITHOUT_STEP
static int32_t step(void *engine, uint64_t now, QuorateBytes event, QuorateBytes body, const QuorateSink *sink) {
    (void)engine;
    (void)now;
    (void)event;
    (void)body;
    (void)sink;
    return QUORATE_OK;
}
#define STEP step
#else
#define STEP NULL
#endif

static int32_t status(void *engine, uint64_t now, const QuorateSink *sink) {
    (void)engine;
    (void)now;
    (void)sink;
    return QUORATE_OK;
}

static void destroy(void *object) { (void)object; }

static int32_t verify(void *checker, const uint8_t *chain, QuorateBytes header, QuorateBytes proof,
                      QuorateBytes validators, const QuorateSink *sink) {
    (void)checker;
    (void)chain;
    (void)header;
    (void)proof;
    (void)validators;
    (void)sink;
    return QUORATE_OK;
}

static int32_t one(void *checker, QuorateBytes bytes, const QuorateSink *sink) {
    (void)checker;
    (void)bytes;
    (void)sink;
    return QUORATE_OK;
}

static int32_t evidence(void *checker, const uint8_t *chain, QuorateBytes bytes, QuorateBytes validators,
                        const QuorateSink *sink) {
    (void)checker;
    (void)chain;
    (void)bytes;
    (void)validators;
    (void)sink;
    return QUORATE_OK;
}

static const QuorateConsensus functions = {
    .size = sizeof(QuorateConsensus),
    .check = rubbish,
    .create = no_object,
    .step = STEP,
    .status = status,
    .destroy = destroy,
    .proof_create = no_object,
    .proof_verify = verify,
    .proof_certificate = one,
    .proof_evidence_height = one,
    .proof_evidence = evidence,
    .proof_destroy = destroy,
};

static const QuoratePlugin plugins[] = {
    {.slot = SLOT, .flags = 0, .describe = describe, .functions = &functions},
    {.slot = SLOT, .flags = 0, .describe = describe, .functions = &functions},
};

#ifdef NO_SYMBOL
#define QUORATE_PLUGIN something_else
#endif

const QuorateLibrary QUORATE_PLUGIN = {
#ifdef NO_MAGIC
    .magic = "ELSE...",
#else
    .magic = QUORATE_MAGIC,
#endif
    .abi_major = MAJOR,
    .abi_minor = MINOR,
    .size = SIZE,
    .flags = FLAGS,
    .build = TEXT("a test"),
    .start = start,
    .plugins = plugins,
    .plugins_len = COUNT,
    .plugin_size = sizeof(QuoratePlugin),
};

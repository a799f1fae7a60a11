/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole streams through a loader. Whatever the bytes: the load ends, the big
 * lock is balanced and never held while bytes are waited for, success and
 * error exclude each other, and it does not matter in which pieces the bytes
 * came, nor whether they came from a file object that the host reads, too.
 *
 * Input: flags, step of the pieces, stream.
 */
#include "../support/fake-file.h"
#include "fuzz.h"

#include <vmload/vmload.h>

enum {
    FLAG_ATOMIC = 1,      /* VMLOAD_COMMIT_ATOMIC */
    FLAG_AUTO = 2,        /* configuration and footers may be missing */
    FLAG_FAIL = 4,        /* unknown sections fail */
    FLAG_MEMORY = 8,      /* RAM goes to memfds, not away */
    FLAG_CALLER_HAS = 16, /* the caller holds the big lock */
    FLAG_DEVICES = 32,    /* register devices of all lock classes */
    FLAG_RESTART = 64,    /* they are restartable */
    FLAG_WAIT = 128,      /* VMLOAD_LOCK_WAIT_ALLOW */
    FLAG_CONCURRENT = 256, /* top bit of the step: parses run on workers */
};

typedef struct {
    uint32_t flags;
    int locked;
    unsigned finished;
    uint32_t loaded; /* sections that devices took */
    int parsed;      /* atomic: parsed and not freed */
    FakeFile *file;  /* nullable: the stream comes from here */
} Host;

static void host_lock(void *opaque)
{
    Host *host = opaque;

    FUZZ_CHECK(host->locked == 0);
    host->locked = 1;
}

static void host_unlock(void *opaque)
{
    Host *host = opaque;

    FUZZ_CHECK(host->locked == 1);
    host->locked = 0;
}

static void host_finish(void *opaque, VmloadLoader *loader,
                        const VmloadOutcome *outcome)
{
    Host *host = opaque;

    FUZZ_CHECK(host->locked == 0 || (host->flags & FLAG_CALLER_HAS) != 0);
    FUZZ_CHECK((outcome->loaded == 1) == (outcome->error == NULL));
    host->finished++;
    vmload_loader_finished(loader, NULL);
}

static bool host_raw(void *opaque, const VmloadSection *section,
                     const uint8_t *data, uint64_t length, GError **error)
{
    uint64_t sum = 0;
    uint64_t i;

    (void)opaque;
    (void)error;
    /* Sanitizers see whether all of it is there. */
    for (i = 0; i < length; i++) {
        sum += data[i];
    }
    FUZZ_CHECK(strlen(section->idstr) < 256 && sum <= 255 * length);
    return true;
}

static VmloadRamBlock *host_block(void *opaque, const char *idstr,
                                  uint64_t length, GError **error)
{
    Host *host = opaque;
    VmloadRamSink *sink = (host->flags & FLAG_MEMORY) != 0
                              ? vmload_ram_sink_new_memfd("fuzz", error)
                              : vmload_ram_sink_new_null();

    return sink == NULL ? NULL
                        : vmload_ram_block_new(idstr, length, length, sink,
                                               error);
}

/* A payload of a length byte and that many bytes. */
static bool take(VmloadReader *reader, GError **error)
{
    uint8_t length;

    return vmload_reader_get_u8(reader, &length, error) &&
           vmload_reader_skip(reader, length, error);
}

/* Counts what it has taken, not how often it was called. */
static bool dev_load(void *opaque, VmloadReader *reader,
                     const VmloadSection *section, GError **error)
{
    Host *host = opaque;

    (void)section;
    if (!take(reader, error)) {
        return false;
    }
    host->loaded++;
    return true;
}

static bool dev_load_locked(void *opaque, VmloadReader *reader,
                            const VmloadSection *section, GError **error)
{
    FUZZ_CHECK(((Host *)opaque)->locked == 1);
    return dev_load(opaque, reader, section, error);
}

/* Where the stream is a file of the host's, it is the host that reads it. */
static bool dev_load_none(void *opaque, VmloadReader *reader,
                          const VmloadSection *section, GError **error)
{
    Host *host = opaque;
    uint8_t payload[255];
    uint8_t length;

    if (host->file == NULL) {
        return dev_load(opaque, reader, section, error);
    }
    if (fake_file_read(host->file, &length, 1) < 1 ||
        fake_file_read(host->file, payload, length) < length) {
        g_set_error(error, g_quark_from_static_string("fuzz"), 1, "cut");
        return false;
    }
    host->loaded++;
    return true;
}

static void *dev_parse(void *opaque, VmloadReader *reader,
                       const VmloadSection *section, GError **error)
{
    Host *host = opaque;

    (void)section;
    FUZZ_CHECK((host->flags & (FLAG_CALLER_HAS | FLAG_CONCURRENT)) != 0 ||
               host->locked == 0);
    if (!take(reader, error)) {
        return NULL;
    }
    g_atomic_int_inc(&host->parsed);
    return opaque;
}

static bool dev_apply(void *opaque, void *parsed, const VmloadSection *section,
                      GError **error)
{
    Host *host = opaque;

    (void)section;
    (void)error;
    FUZZ_CHECK(opaque == parsed && host->locked == 1);
    host->loaded++;
    return true;
}

static void dev_parsed_free(void *opaque, void *parsed)
{
    FUZZ_CHECK(opaque == parsed);
    g_atomic_int_add(&((Host *)opaque)->parsed, -1);
}

static void add_devices(VmloadLoader *loader, Host *host)
{
    const uint32_t flags =
        (host->flags & FLAG_RESTART) != 0 ? VMLOAD_DEVICE_RESTARTABLE : 0;
    const VmloadDeviceOps whole = {VMLOAD_DEVICE_OPS_INIT, .flags = flags,
                                   .load = dev_load_locked};
    const uint32_t workers =
        (host->flags & FLAG_CONCURRENT) != 0 ? VMLOAD_DEVICE_CONCURRENT : 0;
    const VmloadDeviceOps apply = {VMLOAD_DEVICE_OPS_INIT, .flags = workers,
                                   .parse = dev_parse, .apply = dev_apply,
                                   .parsed_free = dev_parsed_free};
    const VmloadDeviceOps none = {VMLOAD_DEVICE_OPS_INIT,
                                  .load = dev_load_none};
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;

    FUZZ_CHECK(vmload_loader_add_device(loader, "whole", 0, 1, 2, NULL, &whole,
                                        host, NULL, NULL));
    plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_APPLY;
    FUZZ_CHECK(vmload_loader_add_device(loader, "apply", 0, 1, 2, &plan,
                                        &apply, host, NULL, NULL));
    plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_NONE;
    FUZZ_CHECK(vmload_loader_add_device(loader, "none", 0, 1, 2, &plan, &none,
                                        host, NULL, NULL));
}

static VmloadLoader *make_loader(Host *host)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .lock = host_lock,
        .unlock = host_unlock,
        .raw_section = host_raw,
        .finish = host_finish,
    };
    VmloadLoader *loader = vmload_loader_new(&ops, host, NULL, NULL);
    VmloadLimits limits;

    FUZZ_CHECK(loader != NULL);
    vmload_limits_init(&limits);
    limits.section_bytes = 1 << 16;
    limits.staged_bytes = 1 << 17;
    limits.vmdesc_bytes = 1 << 16;
    limits.package_bytes = 1 << 16;
    limits.sections = 64;
    limits.ram_blocks = 16;
    limits.ram_bytes = 1 << 24;
    vmload_loader_set_limits(loader, &limits);
    vmload_loader_set_ram_announced(loader, host_block, host, NULL);
    vmload_loader_set_unknown_sections(loader, (host->flags & FLAG_FAIL) != 0
                                                   ? VMLOAD_UNKNOWN_FAIL
                                                   : VMLOAD_UNKNOWN_KEEP);
    if ((host->flags & FLAG_ATOMIC) != 0) {
        vmload_loader_set_commit(loader, VMLOAD_COMMIT_ATOMIC);
    }
    if ((host->flags & FLAG_AUTO) != 0) {
        vmload_loader_set_presence(loader, VMLOAD_PRESENCE_AUTO,
                                   VMLOAD_PRESENCE_AUTO, VMLOAD_PRESENCE_AUTO);
    }
    if ((host->flags & FLAG_WAIT) != 0) {
        vmload_loader_set_lock_wait(loader, VMLOAD_LOCK_WAIT_ALLOW);
    }
    if ((host->flags & FLAG_DEVICES) != 0) {
        add_devices(loader, host);
    }
    return loader;
}

/* The error's code, or -1 for a load that completed. */
static int load(Host *host, const uint8_t *data, size_t size, uint32_t step)
{
    bool caller_locked = (host->flags & FLAG_CALLER_HAS) != 0;
    VmloadStats stats = {.struct_size = sizeof(stats)};
    VmloadLoader *loader = make_loader(host);
    GError *error = NULL;
    FuzzPieces pieces;
    bool loaded;
    int code;

    if (host->file != NULL) {
        fake_file_init(host->file, data, size, step);
        vmload_loader_set_channel(loader,
                                  fake_file_channel(host->file, step % 2 == 0));
    } else {
        fuzz_pieces_init(&pieces, data, size, step);
        vmload_loader_set_channel(loader, fuzz_pieces_channel(&pieces));
    }
    host->locked = caller_locked ? 1 : 0;
    loaded = vmload_loader_run(
        loader, caller_locked ? VMLOAD_RUN_CALLER_LOCKED : 0, &error);
    FUZZ_CHECK(host->locked == (caller_locked ? 1 : 0));
    FUZZ_CHECK(host->finished == 1);
    FUZZ_CHECK(loaded == (error == NULL));
    FUZZ_CHECK(loaded || error->domain == VMLOAD_ERROR);
    FUZZ_CHECK(loaded == (vmload_loader_get_state(loader) ==
                          VMLOAD_STATE_COMPLETED));
    code = loaded ? -1 : error->code;
    vmload_loader_get_stats(loader, &stats);
    FUZZ_CHECK(stats.bytes_total <= size);
    FUZZ_CHECK(caller_locked || (host->flags & FLAG_WAIT) != 0 ||
               stats.lock_io_waits == 0);
    g_clear_error(&error);
    FUZZ_CHECK(g_atomic_int_get(&host->parsed) == 0);
    vmload_loader_free(loader);
    return code;
}

/*
 * Does the outcome not depend on how the bytes come? It may if a device of
 * VMLOAD_LOCK_WHOLE cannot be called again at a false end: what is in memory
 * already makes the difference (docs/staging.md).
 */
static bool is_determined(const Host *host)
{
    return (host->flags & FLAG_DEVICES) == 0 ||
           (host->flags & FLAG_RESTART) != 0;
}

static void check_same(const Host *host, int code, const Host *other,
                       int other_code)
{
    FUZZ_CHECK(!is_determined(host) ||
               ((code == -1) == (other_code == -1) &&
                (code != -1 || host->loaded == other->loaded)));
}

/* The same bytes, in the buffer of a file object. */
static void load_from_file(const Host *whole, int code, const uint8_t *data,
                           size_t size, uint32_t step)
{
    Host other = {.flags = whole->flags};

    other.file = malloc(sizeof(*other.file));
    FUZZ_CHECK(other.file != NULL);
    check_same(whole, code, &other,
               load(&other, data, size, step > 0 ? step : UINT32_MAX));
    free(other.file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Host whole = {0};
    Host parts = {0};
    int code;

    if (size < 2) {
        return 0;
    }
    whole.flags = data[0] | (data[1] & 0x80u) << 1;
    parts.flags = whole.flags;
    code = load(&whole, data + 2, size - 2, 0);
    if ((data[1] & 0x7f) > 0) {
        check_same(&whole, code, &parts,
                   load(&parts, data + 2, size - 2, data[1] & 0x7f));
    }
    load_from_file(&whole, code, data + 2, size - 2, data[1] & 0x7f);
    return 0;
}

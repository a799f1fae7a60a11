/* SPDX-License-Identifier: BSD-3-Clause */
#include "host.h"

#include "samples.h"

#include <string.h>
#include <sys/mman.h>

const char *host_rule_name(HostRule rule)
{
    static const char *const names[] = {
        [HOST_LIBRARY] = "libvmload",
        [HOST_FAIR] = "lock_is_wanted",
        [HOST_SERIES] = "series",
        [HOST_STREAMED] = "streamed",
        [HOST_CONTROL] = "control",
    };

    return names[rule];
}

static void host_lock(void *opaque)
{
    Host *host = opaque;

    big_lock_take(host->lock);
}

static void host_unlock(void *opaque)
{
    Host *host = opaque;

    big_lock_give(host->lock);
}

static bool host_lock_is_held(void *opaque)
{
    Host *host = opaque;

    return big_lock_is_mine(host->lock);
}

static bool host_lock_is_wanted(void *opaque)
{
    Host *host = opaque;

    return big_lock_is_wanted(host->lock);
}

static bool host_pre_load(void *opaque, GError **error)
{
    Host *host = opaque;

    (void)error;
    host->phase_ns = now_ns();
    return true;
}

static bool host_post_load(void *opaque, GError **error)
{
    Host *host = opaque;

    (void)error;
    host->phase_end_ns = now_ns();
    return true;
}

static void host_state_changed(void *opaque, VmloadState from, VmloadState to)
{
    Host *host = opaque;

    (void)from;
    if (to == VMLOAD_STATE_ACTIVE) {
        host->active_ns = now_ns();
    }
}

static void host_finish(void *opaque, VmloadLoader *loader,
                        const VmloadOutcome *outcome)
{
    Host *host = opaque;

    (void)outcome;
    if (!host->hold_finish) {
        vmload_loader_finished(loader, NULL);
    }
    __atomic_store_n(&host->finish_seen, 1, __ATOMIC_RELEASE);
}

/* Devices come in the stream's order, which is known: so is their size. */
static const StreamRecord *next_record(Host *host,
                                       const VmloadSection *section,
                                       GError **error)
{
    while (host->next < host->stream->records->len) {
        const StreamRecord *record = &g_array_index(
            host->stream->records, StreamRecord, host->next++);

        if (stream_record_is_device(record)) {
            if (strcmp(record->idstr, section->idstr) == 0) {
                return record;
            }
            break;
        }
    }
    g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_DEVICE,
                "this section was not in the stream");
    return NULL;
}

/* Reads the state, then does what a device does with it. */
static bool load_state(Host *host, VmloadReader *reader,
                       const VmloadSection *section, GError **error)
{
    const StreamRecord *record;

    if (host->device_ns == 0) {
        host->device_ns = now_ns();
    }
    record = next_record(host, section, error);
    if (record == NULL) {
        return false;
    }
    g_byte_array_set_size(host->scratch, (guint)record->payload_length);
    if (!vmload_reader_read(reader, host->scratch->data,
                            record->payload_length, error)) {
        return false;
    }
    if (host->callback_ns > 0) {
        spin_ns(host->callback_ns);
    }
    return true;
}

static bool device_load(void *opaque, VmloadReader *reader,
                        const VmloadSection *section, GError **error)
{
    Host *host = opaque;
    bool ok;

    if (host->rule != HOST_SERIES) {
        return load_state(host, reader, section, error);
    }
    big_lock_take(host->lock);
    ok = load_state(host, reader, section, error);
    big_lock_give(host->lock);
    return ok;
}

static VmloadRamBlock *announced(void *opaque, const char *idstr,
                                 uint64_t length, GError **error)
{
    Host *host = opaque;
    VmloadRamSink *sink;

    /* The largest block is fresh memory; the rest is not measured. */
    if (strcmp(idstr, host->stream->block) == 0 &&
        length == host->ram_length) {
        sink = vmload_ram_sink_new_memory(host->ram);
    } else {
        sink = vmload_ram_sink_new_null();
    }
    return vmload_ram_block_new(idstr, length, length, sink, error);
}

void host_init(Host *host, HostRule rule, BigLock *lock, const Stream *stream)
{
    memset(host, 0, sizeof(*host));
    host->rule = rule;
    host->lock = lock;
    host->stream = stream;
    host->scratch = g_byte_array_new();
    host->ram_length = stream->block_length;
    host->ram = mmap(NULL, host->ram_length, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (host->ram == MAP_FAILED) {
        g_error("no memory for the guest");
    }
}

void host_clear(Host *host)
{
    munmap(host->ram, host->ram_length);
    g_byte_array_unref(host->scratch);
}

static bool add_device(Host *host, VmloadLoader *loader, GHashTable *known,
                       const StreamRecord *record, GError **error)
{
    const VmloadDeviceOps ops = {VMLOAD_DEVICE_OPS_INIT, .load = device_load};
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;
    char *key = g_strdup_printf("%s/%u", record->idstr, record->instance_id);

    if (!g_hash_table_add(known, key)) {
        return true;
    }
    if (host->rule == HOST_SERIES || host->rule == HOST_STREAMED) {
        plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_NONE;
    }
    return vmload_loader_add_device(loader, record->idstr,
                                    record->instance_id, 0, G_MAXUINT32,
                                    &plan, &ops, host, NULL, error);
}

static bool add_devices(Host *host, VmloadLoader *loader, GError **error)
{
    GHashTable *known =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    bool ok = true;
    guint i;

    for (i = 0; ok && i < host->stream->records->len; i++) {
        const StreamRecord *record =
            &g_array_index(host->stream->records, StreamRecord, i);

        if (stream_record_is_device(record)) {
            ok = add_device(host, loader, known, record, error);
        }
    }
    g_hash_table_unref(known);
    return ok;
}

VmloadLoader *host_new_loader(Host *host, GError **error)
{
    VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .cpu_sync_pre_load = host_pre_load,
        .cpu_sync_post_load = host_post_load,
        .state_changed = host_state_changed,
        .finish = host_finish,
    };
    VmloadLoader *loader;

    if (host->rule != HOST_CONTROL) {
        ops.lock = host_lock;
        ops.unlock = host_unlock;
        ops.lock_is_held = host_lock_is_held;
        ops.lock_is_wanted =
            host->rule == HOST_FAIR ? host_lock_is_wanted : NULL;
    }
    host->next = 0;
    host->finish_seen = 0;
    loader = vmload_loader_new(&ops, host, NULL, error);
    if (loader == NULL) {
        return NULL;
    }
    vmload_loader_set_ram_announced(loader, announced, host, NULL);
    if (!add_devices(host, loader, error)) {
        vmload_loader_free(loader);
        return NULL;
    }
    return loader;
}

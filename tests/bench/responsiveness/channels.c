/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A main loop beside a load over several channels or threads.
 *
 *   responsiveness-channels [OPTION...] URI
 *
 *   --channels=N   multifd channels
 *   --threads=N    readers of a mapped-ram file
 *   --control      a host without a lock: what the machine does
 *   --from-start   count from the start of the load, not from its first byte
 *
 * Prints "ready" when somebody may connect, then one line of JSON, as a case
 * of the host program has it.
 */
#include "probe.h"
#include "samples.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <vmload/vmload.h>

#define PERIOD_NS 1000000u

typedef struct {
    BigLock *lock;
    int channels;
    int threads;
    gboolean control;
    gboolean from_start;
} Host;

static void host_lock(void *opaque)
{
    big_lock_take(((Host *)opaque)->lock);
}

static void host_unlock(void *opaque)
{
    big_lock_give(((Host *)opaque)->lock);
}

static bool host_is_held(void *opaque)
{
    return big_lock_is_mine(((Host *)opaque)->lock);
}

/* A device takes what the library has found to be its section. */
static bool device_load(void *opaque, VmloadReader *reader,
                        const VmloadSection *section, GError **error)
{
    const uint8_t *data;
    uint64_t candidate;
    uint64_t visible;

    (void)opaque;
    (void)section;
    return vmload_reader_get_staged(reader, &data, &candidate, &visible) &&
           vmload_reader_skip(reader, candidate, error);
}

static bool host_find(void *opaque, const VmloadSection *section,
                      VmloadDevice *device, GError **error)
{
    static const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .load = device_load,
    };

    (void)section;
    (void)error;
    device->max_version = G_MAXUINT32;
    device->ops = &ops;
    device->opaque = opaque;
    return true;
}

static VmloadRamBlock *announced(void *opaque, const char *idstr,
                                 uint64_t length, GError **error)
{
    size_t room = MAX((size_t)length, 1);
    void *memory = mmap(NULL, room, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    VmloadRamBlock *block;

    (void)opaque;
    if (memory == MAP_FAILED) {
        g_error("no memory for the guest");
    }
    (void)madvise(memory, room, MADV_HUGEPAGE);
    block = vmload_ram_block_new(idstr, room, room,
                                 vmload_ram_sink_new_memory(memory), error);
    if (block != NULL) {
        vmload_ram_block_set_flags(block, VMLOAD_RAM_KNOWN_ZERO);
    }
    return block;
}

static VmloadLoader *new_loader(Host *host, const char *uri, GError **error)
{
    VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT, .find = host_find};
    VmloadListener *listener = vmload_listener_new(uri, error);
    VmloadLoader *loader;

    if (listener == NULL) {
        return NULL;
    }
    if (!host->control) {
        ops.lock = host_lock;
        ops.unlock = host_unlock;
        ops.lock_is_held = host_is_held;
    }
    loader = vmload_loader_new(&ops, host, NULL, error);
    if (loader == NULL) {
        vmload_listener_free(listener);
        return NULL;
    }
    vmload_loader_set_listener(loader, listener);
    vmload_loader_set_ram_announced(loader, announced, host, NULL);
    if (host->channels > 0) {
        vmload_loader_set_multifd(loader, (uint32_t)host->channels,
                                  VMLOAD_MULTIFD_SYNC_AUTO);
    }
    if (host->threads > 0) {
        vmload_loader_set_ram_threads(loader, (uint32_t)host->threads);
    }
    return loader;
}

static void print_result(const GArray *turns, uint64_t begin, uint64_t end,
                         const VmloadStats *stats, uint64_t held)
{
    GArray *late = samples_new();
    GArray *by_lock = samples_new();
    uint64_t free = 0;
    guint i;

    for (i = 0; i < turns->len; i++) {
        const Turn *turn = &g_array_index(turns, Turn, i);

        free = MAX(turn->tick, free) + turn->wait;
        if (turn->tick >= begin && turn->tick < end) {
            samples_add(late, turn->late);
            samples_add(by_lock, free - turn->tick);
        }
    }
    if (late->len == 0) {
        /* Over before the main loop was due. */
        samples_add(late, 0);
        samples_add(by_lock, 0);
    }
    printf("{\"window_ns\": %" G_GUINT64_FORMAT
           ", \"lock_io_wait_ns\": %" G_GUINT64_FORMAT
           ", \"lock_held_max_ns\": %" G_GUINT64_FORMAT ", \"late\": ",
           end - begin, stats->lock_io_wait_ns, held);
    samples_print(late, stdout);
    printf(", \"by_lock\": ");
    samples_print(by_lock, stdout);
    printf("}\n");
    g_array_unref(late);
    g_array_unref(by_lock);
}

static bool run(Host *host, VmloadLoader *loader, GError **error)
{
    VmloadStats stats = {.struct_size = (uint32_t)sizeof(stats)};
    Probe *probe = probe_start(host->lock, PERIOD_NS);
    uint64_t begin = now_ns();
    uint64_t end;
    GArray *turns;
    bool ok;

    puts("ready");
    fflush(stdout);
    ok = vmload_loader_start(loader, error) &&
         vmload_loader_wait(loader, error);
    end = now_ns();
    turns = probe_stop(probe);
    vmload_loader_get_stats(loader, &stats);
    if (ok) {
        print_result(turns, host->from_start ? begin : stats.start_ns, end,
                     &stats, big_lock_get_longest(host->lock));
    }
    g_array_unref(turns);
    return ok;
}

int main(int argc, char **argv)
{
    Host host = {.channels = 0};
    const GOptionEntry entries[] = {
        {"channels", 0, 0, G_OPTION_ARG_INT, &host.channels, NULL, NULL},
        {"threads", 0, 0, G_OPTION_ARG_INT, &host.threads, NULL, NULL},
        {"control", 0, 0, G_OPTION_ARG_NONE, &host.control, NULL, NULL},
        {"from-start", 0, 0, G_OPTION_ARG_NONE, &host.from_start, NULL, NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    GOptionContext *context = g_option_context_new("URI");
    VmloadLoader *loader = NULL;
    GError *error = NULL;
    bool ok;

    g_option_context_add_main_entries(context, entries, NULL);
    ok = g_option_context_parse(context, &argc, &argv, &error) && argc == 2;
    g_option_context_free(context);
    if (!ok) {
        fprintf(stderr, "usage: responsiveness-channels [OPTION...] URI\n");
        return 2;
    }
    host.lock = big_lock_new();
    loader = new_loader(&host, argv[1], &error);
    ok = loader != NULL && run(&host, loader, &error);
    if (!ok) {
        fprintf(stderr, "responsiveness-channels: %s\n", error->message);
    }
    vmload_loader_free(loader);
    big_lock_free(host.lock);
    return ok ? 0 : 1;
}

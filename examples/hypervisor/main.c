/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hypervisor in small, for those who have a big one: a main loop, a big
 * lock that it takes every millisecond, guest RAM of its own, a timer chip
 * that it knows by its fields and other devices that it does not know. It
 * accepts a guest from QEMU while the main loop goes on; docs/guide-vmm.md
 * goes through it step by step.
 *
 *   hypervisor URI        tcp:[::1]:4444, unix:/run/vm.sock, file:saved ...
 */
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <vmload/vmload.h>

/* --- the timer chip: QEMU's "i8254", version 3 ---------------------------- */

typedef struct {
    int32_t count;
    uint16_t latched_count;
    uint8_t state[8]; /* latches and modes, in the order of the stream */
    uint8_t bcd;
    uint8_t gate;
    int64_t count_load_time;
    int64_t next_transition_time;
} PitChannel;

typedef struct {
    uint32_t irq_disabled;
    PitChannel channels[3];
    int64_t next_transition_time;
} Pit;

static const VmloadField pit_channel_fields[] = {
    VMLOAD_FIELD_I32(count, PitChannel),
    VMLOAD_FIELD_U16(latched_count, PitChannel),
    VMLOAD_FIELD_ARRAY(state, PitChannel, U8),
    VMLOAD_FIELD_U8(bcd, PitChannel),
    VMLOAD_FIELD_U8(gate, PitChannel),
    VMLOAD_FIELD_I64(count_load_time, PitChannel),
    VMLOAD_FIELD_I64(next_transition_time, PitChannel),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc pit_channel_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "pit channel",
    .fields = pit_channel_fields,
};

static const VmloadField pit_fields[] = {
    VMLOAD_FIELD_V(irq_disabled, Pit, U32, 3, NULL),
    VMLOAD_FIELD_ARRAY(channels, Pit, STRUCT(PitChannel, &pit_channel_desc)),
    VMLOAD_FIELD_I64(next_transition_time, Pit),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc pit_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 3,
    .minimum_version_id = 2,
    .name = "i8254",
    .fields = pit_fields,
};

/* --- the hypervisor ------------------------------------------------------- */

#define MAX_BLOCKS 64

typedef struct {
    void *memory;
    size_t size;
} Block;

typedef struct {
    GMutex big_lock;
    gint wanted; /* threads that want it: the library lets them go first */
    GMainLoop *loop;
    VmloadLoader *loader;
    Pit pit; /* under big_lock */
    Block blocks[MAX_BLOCKS];
    unsigned n_blocks;
    unsigned n_unknown;
    unsigned ticks;      /* of the main loop, while the guest came */
    gint64 worst_late_us; /* longest wait of the main loop for the lock */
    gboolean cpus_have_state;
    gboolean guest_runs;
} Host;

static _Thread_local bool big_lock_is_mine;

static void lock(void *opaque)
{
    Host *host = opaque;

    g_atomic_int_inc(&host->wanted);
    g_mutex_lock(&host->big_lock);
    g_atomic_int_add(&host->wanted, -1);
    big_lock_is_mine = true;
}

static void unlock(void *opaque)
{
    Host *host = opaque;

    big_lock_is_mine = false;
    g_mutex_unlock(&host->big_lock);
}

static bool lock_is_held(void *opaque)
{
    (void)opaque;
    return big_lock_is_mine;
}

static bool lock_is_wanted(void *opaque)
{
    Host *host = opaque;

    return g_atomic_int_get(&host->wanted) > 0;
}

/* All devices are loaded, big lock held: here registers go to the CPUs. */
static bool cpu_sync_post_load(void *opaque, GError **error)
{
    Host *host = opaque;

    (void)error;
    host->cpus_have_state = TRUE;
    return true;
}

/* A device that this machine does not have. A real host refuses the guest. */
static bool unknown_device(void *opaque, const VmloadSection *section,
                           const uint8_t *data, uint64_t length,
                           GError **error)
{
    Host *host = opaque;

    (void)section;
    (void)data;
    (void)length;
    (void)error;
    host->n_unknown++;
    return true;
}

/*
 * A hypervisor has its blocks before the guest comes, and adds them with
 * vmload_loader_add_ram_block(); this one takes the sizes from the stream.
 */
static VmloadRamBlock *make_block(void *opaque, const char *idstr,
                                  uint64_t length, GError **error)
{
    Host *host = opaque;
    Block *block = &host->blocks[host->n_blocks];
    VmloadRamBlock *ram;
    void *memory = MAP_FAILED;

    if (host->n_blocks < MAX_BLOCKS) {
        memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    if (memory == MAP_FAILED) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_LIMIT,
                    "no memory for RAM block '%s'", idstr);
        return NULL;
    }
    block->memory = memory;
    block->size = length;
    host->n_blocks++;
    ram = vmload_ram_block_new(idstr, length, length,
                               vmload_ram_sink_new_memory(memory), error);
    if (ram != NULL) {
        /* Fresh from the kernel: zero pages need no work. */
        vmload_ram_block_set_flags(ram, VMLOAD_RAM_KNOWN_ZERO);
    }
    return ram;
}

/* --- the end of a load, in the main loop ---------------------------------- */

static gboolean start_guest(void *opaque)
{
    Host *host = opaque;

    lock(host);
    host->guest_runs = host->cpus_have_state;
    unlock(host);
    printf("the guest runs here; timer channel 0: count %d, mode %u\n",
           host->pit.channels[0].count, host->pit.channels[0].state[7]);
    /* Only now the source may forget it. */
    vmload_loader_finished(host->loader, NULL);
    return G_SOURCE_REMOVE;
}

/* On the library's thread: no machine is started here. */
static void finish(void *opaque, VmloadLoader *loader,
                   const VmloadOutcome *outcome)
{
    Host *host = opaque;

    if (outcome->loaded) {
        g_main_context_invoke(NULL, start_guest, host);
    } else {
        vmload_loader_finished(loader, NULL);
    }
}

static gboolean state_changed(VmloadLoader *loader, VmloadState state,
                              void *opaque)
{
    Host *host = opaque;

    (void)loader;
    if (state == VMLOAD_STATE_COMPLETED || state == VMLOAD_STATE_FAILED ||
        state == VMLOAD_STATE_CANCELLED) {
        g_main_loop_quit(host->loop);
    }
    return G_SOURCE_CONTINUE;
}

/* What a main loop does all day: something small with the lock held. */
static gboolean tick(void *opaque)
{
    Host *host = opaque;
    gint64 begin = g_get_monotonic_time();

    lock(host);
    host->ticks++;
    host->worst_late_us = MAX(host->worst_late_us,
                              g_get_monotonic_time() - begin);
    unlock(host);
    return G_SOURCE_CONTINUE;
}

static gboolean interrupted(void *opaque)
{
    vmload_loader_cancel(((Host *)opaque)->loader);
    return G_SOURCE_CONTINUE;
}

/* --- accept one guest ----------------------------------------------------- */

static bool configure(Host *host, const char *uri, GError **error)
{
    const VmloadStateOptions options = {
        VMLOAD_STATE_OPTIONS_INIT,
        .lock = VMLOAD_LOCK_APPLY, /* decoded without the lock */
        .object_size = sizeof(host->pit),
    };
    VmloadListener *listener = vmload_listener_new(uri, error);

    if (listener == NULL) {
        return false;
    }
    vmload_loader_set_listener(host->loader, listener);
    vmload_loader_set_ram_announced(host->loader, make_block, host, NULL);
    vmload_loader_set_unknown_sections(host->loader, VMLOAD_UNKNOWN_KEEP);
    vmload_loader_set_commit(host->loader, VMLOAD_COMMIT_ATOMIC);
    return vmload_loader_add_state_with_options(host->loader, "i8254", 0,
                                                &pit_desc, &host->pit,
                                                &options, error) &&
           vmload_loader_start(host->loader, error);
}

static void add_source(GSource *source, GSourceFunc func, Host *host)
{
    g_source_set_callback(source, func, host, NULL);
    g_source_attach(source, NULL);
    g_source_unref(source);
}

static bool load(Host *host, const char *uri, GError **error)
{
    if (!configure(host, uri, error)) {
        return false;
    }
    add_source(vmload_loader_create_source(host->loader),
               G_SOURCE_FUNC(state_changed), host);
    add_source(g_timeout_source_new(1), tick, host);
    add_source(g_unix_signal_source_new(SIGINT), interrupted, host);
    g_main_loop_run(host->loop);
    return vmload_loader_wait(host->loader, error);
}

static void summary(const Host *host)
{
    VmloadStats stats = {.struct_size = sizeof(stats)};

    vmload_loader_get_stats(host->loader, &stats);
    printf("%u blocks of RAM, %" G_GUINT64_FORMAT " sections, %u of devices "
           "that this machine does not have\n", host->n_blocks,
           stats.sections, host->n_unknown);
    printf("%u ticks of the main loop meanwhile, worst wait for the lock "
           "%" G_GINT64_FORMAT " us\n", host->ticks, host->worst_late_us);
    printf("longest hold by the load %" G_GUINT64_FORMAT " us (%s), bytes "
           "awaited with the lock held: %" G_GUINT64_FORMAT " times\n",
           stats.lock_held_max_ns / 1000, stats.lock_held_max_site,
           stats.lock_io_waits);
}

int main(int argc, char **argv)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .lock = lock,
        .unlock = unlock,
        .lock_is_held = lock_is_held,
        .lock_is_wanted = lock_is_wanted,
        .cpu_sync_post_load = cpu_sync_post_load,
        .raw_section = unknown_device,
        .finish = finish,
    };
    Host host = {.loop = NULL};
    GError *error = NULL;
    bool loaded;

    if (argc != 2) {
        fprintf(stderr, "usage: hypervisor URI\n");
        return 2;
    }
    g_mutex_init(&host.big_lock);
    host.loop = g_main_loop_new(NULL, FALSE);
    host.loader = vmload_loader_new(&ops, &host, NULL, &error);
    loaded = host.loader != NULL && load(&host, argv[1], &error);
    if (loaded) {
        summary(&host);
    } else {
        fprintf(stderr, "hypervisor: %s\n", error->message);
        g_error_free(error);
    }
    vmload_loader_free(host.loader);
    while (host.n_blocks > 0) {
        host.n_blocks--;
        munmap(host.blocks[host.n_blocks].memory,
               host.blocks[host.n_blocks].size);
    }
    g_main_loop_unref(host.loop);
    g_mutex_clear(&host.big_lock);
    return loaded && host.guest_runs ? 0 : 1;
}

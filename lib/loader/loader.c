/* SPDX-License-Identifier: BSD-3-Clause */
/* The public object: options, start, wait, cancel, queries. */
#include "internal.h"

#include "error.h"
#include "host/clock.h"
#include "host/pool.h"
#include "host/ops.h"
#include "trace.h"

#include <string.h>
#include <sys/eventfd.h>
#include <errno.h>
#include <unistd.h>
#include <vmload/mapped.h>
#include <vmload/prefault.h>

#define MAIN_THREAD_NAME "vmload-main"
#define HANDSHAKE_MS 30000

/* Bit t of row s: a load in state s may go to state t. */
#define TO(state) (1u << VMLOAD_STATE_##state)
static const uint32_t state_table[] = {
    [VMLOAD_STATE_CONFIGURING] = TO(WAITING),
    [VMLOAD_STATE_WAITING] = TO(ACTIVE) | TO(FINISHING),
    [VMLOAD_STATE_ACTIVE] = TO(SWITCHOVER) | TO(FINISHING),
    [VMLOAD_STATE_SWITCHOVER] = TO(FINISHING),
    [VMLOAD_STATE_FINISHING] = TO(COMPLETED) | TO(FAILED) | TO(CANCELLED),
    [VMLOAD_STATE_COMPLETED] = 0,
    [VMLOAD_STATE_FAILED] = 0,
    [VMLOAD_STATE_CANCELLED] = 0,
};
#undef TO

/* Makes an eventfd readable. Cannot fail: its counter is far from full. */
static void level_raise(int fd)
{
    const uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof(one));

    (void)written;
}

static void report_state(VmloadLoader *loader, VmloadState from,
                         VmloadState to)
{
    level_raise(loader->event_fd);
    if (loader->ops.state_changed != NULL) {
        loader->ops.state_changed(loader->opaque, from, to);
    }
}

void vmload_loader_set_state(VmloadLoader *loader, VmloadState to)
{
    VmloadState from = vmload_loader_get_state(loader);

    g_return_if_fail((state_table[from] & (1u << to)) != 0);
    g_atomic_int_set(&loader->state, (int)to);
    report_state(loader, from, to);
}

/* The way out of CONFIGURING, before the loading thread runs. */
static void set_started(VmloadLoader *loader, bool started)
{
    loader->started = started;
    g_atomic_int_set(&loader->state, started ? VMLOAD_STATE_WAITING
                                             : VMLOAD_STATE_CONFIGURING);
}

bool vmload_loader_is_elsewhere(VmloadLoader *loader)
{
    return __atomic_load_n(&loader->self, __ATOMIC_RELAXED) !=
           g_thread_self();
}

void vmload_loader_note_switchover(VmloadLoader *loader)
{
    if (vmload_loader_is_elsewhere(loader)) {
        return;
    }
    if (vmload_loader_get_state(loader) == VMLOAD_STATE_ACTIVE) {
        __atomic_store_n(&loader->counters.switchover_ns, vmload_clock_ns(),
                         __ATOMIC_RELAXED);
        vmload_loader_set_state(loader, VMLOAD_STATE_SWITCHOVER);
    }
}

static bool is_configuring(VmloadLoader *loader)
{
    return loader != NULL &&
           vmload_loader_get_state(loader) == VMLOAD_STATE_CONFIGURING;
}

static VmloadRamBlock *ram_announced(void *opaque, const char *idstr,
                                     uint64_t used_length, GError **error)
{
    VmloadLoader *loader = opaque;
    VmloadRamBlock *block;
    GError *local = NULL;

    if (loader->announced == NULL) {
        vmload_fail(error, VMLOAD_ERROR_MISMATCH, "unknown RAM block '%s'",
                    idstr);
        return NULL;
    }
    block = loader->announced(loader->announced_opaque, idstr, used_length,
                              &local);
    vmload_callback_result(block != NULL, &local, error);
    return block;
}

static void ram_lock(void *opaque)
{
    VmloadLoader *loader = opaque;

    vmload_guard_lock(&loader->guard, &loader->ram_hold, "RAM resize", NULL,
                      0);
}

static void ram_unlock(void *opaque)
{
    VmloadLoader *loader = opaque;

    vmload_guard_unlock(&loader->guard, &loader->ram_hold);
}

static bool ram_check(void *opaque, GError **error)
{
    return vmload_cancel_check(((VmloadLoader *)opaque)->cancel, error);
}

static bool ram_flush(void *opaque, GError **error)
{
    return vmload_loader_flush_multifd(opaque, error);
}

static VmloadPool *ram_pool(void *opaque, const char *name,
                            uint32_t max_threads, GError **error)
{
    VmloadLoader *loader = opaque;

    return vmload_pool_new(&loader->ops, loader->opaque, name, max_threads,
                           error);
}

static void loader_set_defaults(VmloadLoader *loader)
{
    const VmloadRamEnv env = {
        .announced = ram_announced,
        .lock = ram_lock,
        .unlock = ram_unlock,
        .opaque = loader,
        .check = ram_check,
        .flush = ram_flush,
        .pool = ram_pool,
        .cancel = loader->cancel,
    };

    vmload_guard_init(&loader->guard, &loader->ops, loader->opaque);
    g_mutex_init(&loader->mutex);
    vmload_return_path_init(&loader->return_path);
    vmload_configuration_init(&loader->expected);
    vmload_configuration_init(&loader->configuration);
    vmload_limits_init(&loader->limits);
    loader->handshake_ms = HANDSHAKE_MS;
    loader->configuration_presence = VMLOAD_PRESENCE_REQUIRED;
    loader->registry = vmload_registry_new();
    loader->sections = vmload_section_table_new();
    loader->applied = vmload_names_new();
    loader->ledger = vmload_ledger_new();
    loader->ram = vmload_ram_new(&env);
    loader->position.struct_size = (uint32_t)sizeof(loader->position);
    g_strlcpy(loader->position.channel, "main",
              sizeof(loader->position.channel));
}

/* The descriptors that waits, ours and the host's, are woken by. */
static bool loader_open_levels(VmloadLoader *loader, GError **error)
{
    int *fds[] = {&loader->finished_fd, &loader->event_fd};
    size_t i;

    loader->finished_fd = loader->event_fd = -1;
    loader->cancel = vmload_cancel_new(error);
    if (loader->cancel == NULL || !vmload_tasks_init(&loader->tasks, error)) {
        return false;
    }
    for (i = 0; i < G_N_ELEMENTS(fds); i++) {
        *fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (*fds[i] < 0) {
            return vmload_fail_errno(error, errno, "eventfd");
        }
    }
    return true;
}

static void loader_close_levels(VmloadLoader *loader)
{
    vmload_cancel_free(loader->cancel);
    vmload_tasks_clear(&loader->tasks);
    if (loader->finished_fd >= 0) {
        close(loader->finished_fd);
    }
    if (loader->event_fd >= 0) {
        close(loader->event_fd);
    }
}

VmloadLoader *vmload_loader_new(const VmloadHostOps *ops, void *opaque,
                                GDestroyNotify destroy, GError **error)
{
    VmloadLoader *loader;

    g_return_val_if_fail(ops != NULL, NULL);
    loader = g_new0(VmloadLoader, 1);
    if (!vmload_ops_copy(&loader->ops, sizeof(loader->ops), ops,
                         "VmloadHostOps", error)) {
        goto failed;
    }
    if ((loader->ops.lock == NULL) != (loader->ops.unlock == NULL)) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "VmloadHostOps: expected lock and unlock, found one");
        goto failed;
    }
    if (!loader_open_levels(loader, error)) {
        loader_close_levels(loader);
        goto failed;
    }
    loader->ref_count = 1;
    loader->opaque = opaque;
    loader->destroy = destroy;
    loader_set_defaults(loader);
    return loader;

failed:
    g_free(loader);
    if (destroy != NULL) {
        destroy(opaque);
    }
    return NULL;
}

static void loader_join(VmloadLoader *loader)
{
    if (loader->thread != NULL) {
        g_thread_join(loader->thread);
        loader->thread = NULL;
    }
}

void vmload_loader_free(VmloadLoader *loader)
{
    if (loader == NULL) {
        return;
    }
    vmload_loader_cancel(loader);
    loader_join(loader);
    vmload_loader_unref(loader);
}

VmloadLoader *vmload_loader_ref(VmloadLoader *loader)
{
    g_return_val_if_fail(loader != NULL, NULL);
    g_atomic_int_inc(&loader->ref_count);
    return loader;
}

void vmload_loader_unref(VmloadLoader *loader)
{
    if (loader == NULL || !g_atomic_int_dec_and_test(&loader->ref_count)) {
        return;
    }
    vmload_return_path_clear(&loader->return_path);
    vmload_reader_free(loader->reader);
    vmload_channel_unref(loader->channel);
    vmload_listener_free(loader->listener);
    g_tree_unref(loader->applied);
    vmload_section_table_free(loader->sections);
    vmload_ram_free(loader->ram);
    vmload_registry_free(loader->registry);
    vmload_ledger_free(loader->ledger);
    vmload_configuration_clear(&loader->expected);
    vmload_configuration_clear(&loader->configuration);
    if (loader->announced_destroy != NULL) {
        loader->announced_destroy(loader->announced_opaque);
    }
    if (loader->destroy != NULL) {
        loader->destroy(loader->opaque);
    }
    g_clear_error(&loader->outcome);
    g_clear_error(&loader->host_error);
    g_free(loader->vmdesc);
    loader_close_levels(loader);
    g_mutex_clear(&loader->mutex);
    vmload_guard_clear(&loader->guard);
    g_free(loader);
}

void vmload_loader_set_limits(VmloadLoader *loader,
                              const VmloadLimits *limits)
{
    VmloadLimits copy;
    size_t known;
    bool ok;

    g_return_if_fail(is_configuring(loader) && limits != NULL);
    ok = vmload_ops_copy(&copy, sizeof(copy), limits, "VmloadLimits", NULL);
    g_return_if_fail(ok);
    /* What an older caller does not know keeps its default. */
    known = MIN((size_t)limits->struct_size, sizeof(copy));
    vmload_limits_init(&loader->limits);
    memcpy(&loader->limits, &copy, known);
    loader->limits.struct_size = (uint32_t)sizeof(copy);
}

void vmload_loader_set_expected_configuration(
    VmloadLoader *loader, const VmloadConfiguration *expected)
{
    VmloadConfiguration copy;
    bool ok;

    g_return_if_fail(is_configuring(loader) && expected != NULL);
    ok = vmload_ops_copy(&copy, sizeof(copy), expected, "VmloadConfiguration",
                         NULL);
    g_return_if_fail(ok);
    g_return_if_fail((copy.present & VMLOAD_CONFIGURATION_MACHINE) == 0 ||
                     copy.machine != NULL);
    g_return_if_fail(copy.n_capabilities == 0 || copy.capabilities != NULL);
    vmload_configuration_copy(&loader->expected, &copy);
}

void vmload_loader_set_presence(VmloadLoader *loader,
                                VmloadPresence configuration,
                                VmloadPresence footers, VmloadPresence vmdesc)
{
    g_return_if_fail(is_configuring(loader));
    loader->configuration_presence = configuration;
    loader->footer_presence = footers;
    loader->vmdesc_presence = vmdesc;
    g_atomic_int_set(&loader->footers, (int)footers);
}

void vmload_loader_set_unknown_sections(VmloadLoader *loader,
                                        VmloadUnknown policy)
{
    g_return_if_fail(is_configuring(loader));
    loader->unknown = policy;
}

void vmload_loader_set_commit(VmloadLoader *loader, VmloadCommit commit)
{
    g_return_if_fail(is_configuring(loader));
    loader->commit = commit;
}

void vmload_loader_set_lock_wait(VmloadLoader *loader, VmloadLockWait policy)
{
    g_return_if_fail(is_configuring(loader));
    loader->lock_wait = policy;
}

void vmload_loader_set_timeouts(VmloadLoader *loader, uint32_t handshake_ms,
                                uint32_t stall_ms)
{
    g_return_if_fail(is_configuring(loader));
    loader->handshake_ms = handshake_ms;
    loader->stall_ms = stall_ms;
}

void vmload_loader_set_ram_threads(VmloadLoader *loader, uint32_t threads)
{
    g_return_if_fail(is_configuring(loader));
    g_return_if_fail(threads <= VMLOAD_RAM_THREADS_MAX);
    vmload_ram_set_threads(loader->ram, threads);
}

void vmload_loader_set_prefault(VmloadLoader *loader, uint64_t bytes)
{
    g_return_if_fail(is_configuring(loader));
    g_return_if_fail(bytes == VMLOAD_PREFAULT_AUTO ||
                     bytes <= VMLOAD_PREFAULT_MAX);
    vmload_ram_set_prefault(loader->ram, bytes);
}

void vmload_loader_set_direct_io(VmloadLoader *loader, bool enabled)
{
    g_return_if_fail(is_configuring(loader));
    vmload_ram_set_direct_io(loader->ram, enabled);
}

void vmload_loader_set_switchover_ack(VmloadLoader *loader, bool enabled,
                                      VmloadSwitchoverAck mode)
{
    g_return_if_fail(is_configuring(loader));
    loader->switchover_ack = enabled;
    loader->switchover_ack_mode = mode;
}

bool vmload_loader_add_device(VmloadLoader *loader, const char *idstr,
                              uint32_t instance_id, uint32_t min_version,
                              uint32_t max_version,
                              const VmloadLockPlan *plan,
                              const VmloadDeviceOps *ops, void *opaque,
                              GDestroyNotify destroy, GError **error)
{
    g_return_val_if_fail(is_configuring(loader), false);
    g_return_val_if_fail(idstr != NULL && ops != NULL, false);
    return vmload_registry_add(loader->registry, idstr, instance_id,
                               min_version, max_version, plan, ops, opaque,
                               destroy, error);
}

bool vmload_loader_add_ram_block(VmloadLoader *loader, VmloadRamBlock *block,
                                 GError **error)
{
    g_return_val_if_fail(is_configuring(loader) && block != NULL, false);
    loader->has_ram = true;
    return vmload_ram_add_block(loader->ram, block, error);
}

void vmload_loader_set_ram_announced(VmloadLoader *loader,
                                     VmloadRamAnnouncedFunc func,
                                     void *opaque, GDestroyNotify destroy)
{
    g_return_if_fail(is_configuring(loader));
    if (loader->announced_destroy != NULL) {
        loader->announced_destroy(loader->announced_opaque);
    }
    loader->announced = func;
    loader->announced_opaque = opaque;
    loader->announced_destroy = destroy;
    loader->has_ram = loader->has_ram || func != NULL;
}

VmloadRamBlock *vmload_loader_get_ram_block(VmloadLoader *loader,
                                            uint64_t index)
{
    g_return_val_if_fail(loader != NULL, NULL);
    return vmload_ram_get_block(loader->ram, index);
}

void vmload_loader_set_listener(VmloadLoader *loader,
                                VmloadListener *listener)
{
    g_return_if_fail(is_configuring(loader) && listener != NULL);
    g_return_if_fail(loader->listener == NULL && loader->channel == NULL);
    loader->listener = listener;
}

void vmload_loader_set_channel(VmloadLoader *loader, VmloadChannel *channel)
{
    g_return_if_fail(is_configuring(loader) && channel != NULL);
    g_return_if_fail(loader->listener == NULL && loader->channel == NULL);
    loader->channel = channel;
}

/* What start and run have in common. */
static bool loader_begin(VmloadLoader *loader, GError **error)
{
    if (loader->listener == NULL && loader->channel == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "no listener and no channel was set");
    }
    vmload_ram_set_limits(loader->ram, &loader->limits);
    return true;
}

static void *loader_thread(void *data)
{
    VmloadLoader *loader = data;

    VMLOAD_TRACE1(thread_start, MAIN_THREAD_NAME);
    if (loader->ops.thread_enter != NULL) {
        loader->ops.thread_enter(loader->opaque, MAIN_THREAD_NAME);
    }
    report_state(loader, VMLOAD_STATE_CONFIGURING, VMLOAD_STATE_WAITING);
    vmload_loader_main(loader);
    if (loader->ops.thread_leave != NULL) {
        loader->ops.thread_leave(loader->opaque);
    }
    return NULL;
}

bool vmload_loader_start(VmloadLoader *loader, GError **error)
{
    GError *local = NULL;

    g_return_val_if_fail(is_configuring(loader), false);
    if (!loader_begin(loader, error)) {
        return false;
    }
    set_started(loader, true);
    loader->thread = g_thread_try_new(MAIN_THREAD_NAME, loader_thread, loader,
                                      &local);
    if (loader->thread == NULL) {
        set_started(loader, false);
        vmload_fail(error, VMLOAD_ERROR_FAILED, "no thread: %s",
                    local->message);
        g_error_free(local);
        return false;
    }
    return true;
}

bool vmload_loader_run(VmloadLoader *loader, uint32_t flags, GError **error)
{
    g_return_val_if_fail(is_configuring(loader), false);
    if (!loader_begin(loader, error)) {
        return false;
    }
    if ((flags & VMLOAD_RUN_CALLER_LOCKED) != 0) {
        vmload_guard_adopt(&loader->guard);
    }
    set_started(loader, true);
    report_state(loader, VMLOAD_STATE_CONFIGURING, VMLOAD_STATE_WAITING);
    vmload_loader_main(loader);
    return vmload_loader_wait(loader, error);
}

bool vmload_loader_wait(VmloadLoader *loader, GError **error)
{
    g_return_val_if_fail(loader != NULL && loader->started, false);
    loader_join(loader);
    if (loader->outcome == NULL) {
        return true;
    }
    if (error != NULL) {
        *error = g_error_copy(loader->outcome);
    }
    return false;
}

void vmload_loader_cancel(VmloadLoader *loader)
{
    if (loader != NULL) {
        VMLOAD_TRACE1(cancel, loader);
        vmload_cancel_fire(loader->cancel);
        vmload_cancel_fire(loader->tasks.quit);
    }
}

int32_t vmload_loader_get_cancel_fd(VmloadLoader *loader)
{
    g_return_val_if_fail(loader != NULL, -1);
    return vmload_cancel_get_fd(loader->cancel);
}

void vmload_loader_finished(VmloadLoader *loader, const GError *error)
{
    bool first;

    g_return_if_fail(loader != NULL);
    /* A late answer to a load that was cancelled meanwhile is fine. */
    g_return_if_fail(vmload_loader_get_state(loader) >= VMLOAD_STATE_ACTIVE);
    g_mutex_lock(&loader->mutex);
    first = !loader->host_finished;
    if (first) {
        loader->host_finished = true;
        loader->host_error = error != NULL ? g_error_copy(error) : NULL;
        /* Within the mutex: the loader may be freed as soon as it wakes. */
        level_raise(loader->finished_fd);
    }
    g_mutex_unlock(&loader->mutex);
    g_return_if_fail(first);
}

VmloadState vmload_loader_get_state(VmloadLoader *loader)
{
    g_return_val_if_fail(loader != NULL, VMLOAD_STATE_CONFIGURING);
    return (VmloadState)g_atomic_int_get(&loader->state);
}

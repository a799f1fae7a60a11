/* SPDX-License-Identifier: BSD-3-Clause */
/* The way of one load, from its first connection to its final state. */
#include "internal.h"

#include "error.h"
#include "host/clock.h"
#include "trace.h"

#include <poll.h>

/* Silence after EOF that means: this source sends no description. */
#define VMDESC_SETTLE_US G_USEC_PER_SEC

/* A source that takes no last word within this time gets none. */
#define LAST_WORD_US 1000

/* The same if it is bad news, which a closed connection tells as well. */
#define BAD_NEWS_US 200

/* A source that has heard all leaves first; if not, we do after this time. */
#define LEAVE_US (2 * G_USEC_PER_SEC)

static void wait_begin(void *opaque)
{
    VmloadWaitClock *clock = opaque;
    VmloadLoader *loader = clock->loader;

    vmload_guard_check_wait(&loader->guard,
                            loader->lock_wait == VMLOAD_LOCK_WAIT_ALLOW);
    clock->begin_ns = vmload_clock_ns();
}

static void wait_end(void *opaque)
{
    VmloadWaitClock *clock = opaque;
    VmloadLoader *loader = clock->loader;
    uint64_t waited = vmload_clock_ns() - clock->begin_ns;

    __atomic_fetch_add(&loader->counters.io_wait_ns, waited,
                       __ATOMIC_RELAXED);
    vmload_guard_count_io_wait(&loader->guard, waited);
}

/* The watchdog's limit has passed: the host decides whether to go on. */
static bool wait_stalled(void *opaque, const char *channel)
{
    VmloadWaitClock *clock = opaque;
    VmloadLoader *loader = clock->loader;
    uint64_t last = __atomic_load_n(&loader->counters.last_byte_ns,
                                    __ATOMIC_RELAXED);

    if (last == 0) {
        last = clock->begin_ns;
    }
    return loader->ops.stalled != NULL &&
           loader->ops.stalled(loader->opaque, channel,
                               (vmload_clock_ns() - last) / 1000000);
}

void vmload_loader_init_wait(VmloadLoader *loader, VmloadWait *wait,
                             VmloadWaitClock *clock)
{
    clock->loader = loader;
    wait->stalled = wait_stalled;
    wait->cancel = loader->cancel;
    wait->begin = wait_begin;
    wait->end = wait_end;
    wait->opaque = clock;
}

/* Gets the main channel and a reader over it. */
static bool connect_main(VmloadLoader *loader, GError **error)
{
    vmload_loader_init_wait(loader, &loader->wait, &loader->clock);
    if (!vmload_loader_connect(loader, error)) {
        return false;
    }
    /* Nobody knows when the source of a channel that was given will begin. */
    loader->wait.timeout_us = 0;
    loader->reader = vmload_reader_new_channel(loader->channel, &loader->wait,
                                               error);
    if (loader->reader == NULL) {
        return false;
    }
    vmload_channel_count_ram(loader->channel, &loader->rdma_counters);
    vmload_reader_set_counters(loader->reader, &loader->counters.bytes,
                               &loader->counters.last_byte_ns);
    g_mutex_lock(&loader->mutex);
    g_strlcpy(loader->position.channel,
              vmload_channel_get_name(loader->channel),
              sizeof(loader->position.channel));
    g_mutex_unlock(&loader->mutex);
    return true;
}

/* Is there a configuration section? Its type byte is read if so. */
static bool configuration_begins(VmloadLoader *loader, bool *begins,
                                 GError **error)
{
    VmloadReader *reader = loader->reader;
    const uint8_t *next;
    uint64_t available;
    uint8_t type;

    *begins = false;
    if (loader->configuration_presence == VMLOAD_PRESENCE_ABSENT) {
        return true;
    }
    if (!vmload_reader_peek(reader, 1, &next, &available, error)) {
        return false;
    }
    if (loader->configuration_presence == VMLOAD_PRESENCE_AUTO &&
        (available == 0 || next[0] != VMLOAD_RECORD_CONFIGURATION)) {
        return true;
    }
    vmload_loader_note_record(loader, VMLOAD_RECORD_CONFIGURATION,
                              vmload_reader_get_offset(reader), NULL);
    if (!vmload_reader_get_u8(reader, &type, error)) {
        return false;
    }
    if (type != VMLOAD_RECORD_CONFIGURATION) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a configuration section "
                                   "(0x%02x), found 0x%02x",
                                   VMLOAD_RECORD_CONFIGURATION, type);
    }
    *begins = true;
    return true;
}

/* What the configuration says about the rest of the stream. */
static bool apply_configuration(VmloadLoader *loader, GError **error)
{
    const VmloadConfiguration *found = &loader->configuration.view;

    bool mapped = vmload_configuration_has_capability(found, "mapped-ram");

    if (mapped && loader->has_ram &&
        !vmload_reader_is_seekable(loader->reader)) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "expected a file, since the stream has the "
                           "capability mapped-ram, found a channel that "
                           "cannot be read at an offset");
    }
    vmload_ram_set_mapped_ram(loader->ram, mapped);
    if ((found->present & VMLOAD_CONFIGURATION_PAGE_BITS) != 0) {
        vmload_ram_set_page_bits(loader->ram, found->target_page_bits);
    } else if ((loader->expected.view.present &
                VMLOAD_CONFIGURATION_PAGE_BITS) != 0) {
        vmload_ram_set_page_bits(loader->ram,
                                 loader->expected.view.target_page_bits);
    }
    vmload_ram_set_ignore_shared(
        loader->ram,
        vmload_configuration_has_capability(found, "x-ignore-shared"));
    return true;
}

static bool load_configuration(VmloadLoader *loader, GError **error)
{
    GError *local = NULL;
    uint64_t offset = vmload_reader_get_offset(loader->reader);
    bool begins;

    if (!configuration_begins(loader, &begins, error)) {
        return false;
    }
    if (begins &&
        !vmload_configuration_read(loader->reader, &loader->limits,
                                   &loader->configuration, error)) {
        return false;
    }
    if (begins &&
        !vmload_configuration_match(&loader->expected.view,
                                    &loader->configuration.view, error)) {
        return false;
    }
    if (loader->ops.configuration != NULL &&
        !vmload_callback_result(
            loader->ops.configuration(loader->opaque,
                                      &loader->configuration.view, &local),
            &local, error)) {
        return false;
    }
    if (begins) {
        vmload_loader_report_record(
            loader, loader->reader, VMLOAD_RECORD_CONFIGURATION, 0, offset,
            vmload_reader_get_offset(loader->reader) - offset, NULL);
    }
    return apply_configuration(loader, error);
}

static bool load_header(VmloadLoader *loader, GError **error)
{
    const uint8_t *first;
    uint64_t available;

    /*
     * Who connected must begin. Sockets have: that is how they were told
     * apart. Over RDMA nothing comes before it is asked for.
     */
    if (loader->listener != NULL) {
        vmload_reader_set_timeout(loader->reader,
                                  (int64_t)loader->handshake_ms * 1000);
    }
    if (!vmload_reader_peek(loader->reader, 1, &first, &available, error)) {
        return false;
    }
    __atomic_store_n(&loader->counters.start_ns, vmload_clock_ns(),
                     __ATOMIC_RELAXED);
    vmload_reader_set_timeout(loader->reader,
                              (int64_t)loader->handshake_ms * 1000);
    if (!vmload_stream_header_read(loader->reader, error)) {
        return false;
    }
    loader->wait.timeout_us = (int64_t)loader->stall_ms * 1000;
    vmload_reader_set_timeout(loader->reader, loader->wait.timeout_us);
    vmload_loader_set_state(loader, VMLOAD_STATE_ACTIVE);
    return load_configuration(loader, error);
}

/* A phase of the host's as a whole, with the lock. */
static bool host_phase(VmloadLoader *loader,
                       bool (*phase)(void *opaque, GError **error),
                       const char *name, GError **error)
{
    GError *local = NULL;
    VmloadHold hold;
    bool ok;

    if (phase == NULL) {
        return true;
    }
    vmload_guard_lock(&loader->guard, &hold, name, NULL, 0);
    ok = phase(loader->opaque, &local);
    vmload_guard_unlock(&loader->guard, &hold);
    ok = vmload_callback_result(ok, &local, error);
    if (!ok) {
        g_prefix_error(error, "%s: ", name);
    }
    return ok;
}

/*
 * Is there a description? Nothing in the stream tells; a source with a
 * return path that sends none waits for us and stays silent.
 */
static bool vmdesc_begins(VmloadLoader *loader, bool *begins, GError **error)
{
    const uint8_t *next;
    uint64_t available;
    bool required = loader->vmdesc_presence == VMLOAD_PRESENCE_REQUIRED;
    bool got = true;

    *begins = false;
    if (loader->vmdesc_presence == VMLOAD_PRESENCE_ABSENT) {
        return true;
    }
    if (!required && !vmload_reader_poll(loader->reader, VMDESC_SETTLE_US,
                                         &got, error)) {
        return false;
    }
    if (!got) {
        return true;
    }
    if (!vmload_reader_peek(loader->reader, 1, &next, &available, error)) {
        return false;
    }
    *begins = available > 0 && next[0] == VMLOAD_RECORD_VMDESC;
    if (required && !*begins) {
        return vmload_reader_error(loader->reader, error,
                                   VMLOAD_ERROR_MALFORMED,
                                   "expected a description (0x%02x) behind "
                                   "EOF, found none", VMLOAD_RECORD_VMDESC);
    }
    return true;
}

static bool read_vmdesc(VmloadLoader *loader, GError **error)
{
    VmloadReader *reader = loader->reader;
    uint32_t length;
    uint8_t type;

    if (!vmload_reader_get_u8(reader, &type, error) ||
        !vmload_reader_get_be32(reader, &length, error)) {
        return false;
    }
    if (length > loader->limits.vmdesc_bytes) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                   "a description of %u bytes exceeds the "
                                   "limit vmdesc_bytes (%" G_GUINT64_FORMAT
                                   ")", length, loader->limits.vmdesc_bytes);
    }
    loader->vmdesc = g_try_malloc0((gsize)length + 1);
    if (loader->vmdesc == NULL) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                   "no memory for a description of %u bytes",
                                   length);
    }
    loader->vmdesc_length = length;
    return vmload_reader_read(reader, loader->vmdesc, length, error);
}

static bool load_vmdesc(VmloadLoader *loader, GError **error)
{
    uint64_t offset = vmload_reader_get_offset(loader->reader);
    GError *local = NULL;
    bool begins;

    if (!vmdesc_begins(loader, &begins, error)) {
        return false;
    }
    if (!begins) {
        return true;
    }
    vmload_loader_note_record(loader, VMLOAD_RECORD_VMDESC, offset, NULL);
    if (!read_vmdesc(loader, error)) {
        return false;
    }
    if (loader->ops.vmdescription != NULL &&
        !vmload_callback_result(
            loader->ops.vmdescription(loader->opaque, loader->vmdesc,
                                      loader->vmdesc_length, &local),
            &local, error)) {
        return false;
    }
    vmload_loader_report_record(loader, loader->reader, VMLOAD_RECORD_VMDESC,
                                0, offset, 5 + loader->vmdesc_length, NULL);
    return true;
}

/*
 * No task is left. False, with @error replaced, if one of them failed: what
 * the loading thread has seen since then followed from it.
 */
static bool end_tasks(VmloadLoader *loader, GError **error)
{
    GError *local = NULL;

    if (vmload_tasks_join(&loader->tasks, &local)) {
        return true;
    }
    loader->placed = true;
    g_clear_error(error);
    g_propagate_error(error, local);
    return false;
}

/* After EOF: what is still to be done before the host hears of it. */
static bool complete(VmloadLoader *loader, GError **error)
{
    return vmload_loader_complete_multifd(loader, error) &&
           vmload_pending_apply_all(loader, error) &&
           vmload_ram_finish(loader->ram, error) &&
           end_tasks(loader, error) &&
           vmload_devices_all_loaded(loader, error) &&
           host_phase(loader, loader->ops.cpu_sync_post_load,
                      "cpu_sync_post_load", error) &&
           vmload_cancel_check(loader->cancel, error);
}

static bool load_stream(VmloadLoader *loader, GError **error)
{
    VmloadCommandResult result;

    if (!vmload_cancel_check(loader->cancel, error) ||
        !connect_main(loader, error) || !load_header(loader, error) ||
        !vmload_loader_start_multifd(loader, error)) {
        return false;
    }
    /* Under the caller's lock nothing waits for another thread. */
    if (!vmload_guard_is_held(&loader->guard)) {
        vmload_tasks_open(&loader->tasks);
    }
    if (!host_phase(loader, loader->ops.setup, "setup", error) ||
        !vmload_devices_setup(loader, error) ||
        !host_phase(loader, loader->ops.cpu_sync_pre_load,
                    "cpu_sync_pre_load", error)) {
        return false;
    }
    result = vmload_loader_dispatch_records(loader, loader->reader, error);
    if (result == VMLOAD_COMMAND_FAILED) {
        return false;
    }
    /* After QUIT the rest of the stream is the host's (section 7). */
    if (result == VMLOAD_COMMAND_DONE && !load_vmdesc(loader, error)) {
        return false;
    }
    return complete(loader, error);
}

/* "channel 'main', section 'cpu' instance 0 at 0x4e: " before the cause. */
static void place_error(VmloadLoader *loader, GError **error)
{
    const VmloadPosition *position = &loader->position;
    char *idstr;

    if (loader->reader == NULL || loader->placed) {
        return;
    }
    vmload_loader_note_failure(loader,
                               vmload_reader_get_offset(loader->reader));
    if (position->idstr[0] != '\0') {
        idstr = g_strescape(position->idstr, NULL);
        g_prefix_error(error, "channel '%s', section '%s' instance %u at 0x%"
                       G_GINT64_MODIFIER "x: ", position->channel, idstr,
                       position->instance_id, position->record_offset);
        g_free(idstr);
    } else {
        g_prefix_error(error, "channel '%s', record at 0x%" G_GINT64_MODIFIER
                       "x: ", position->channel, position->record_offset);
    }
}

/* CANCELLED is what we say after vmload_loader_cancel(), and nobody else. */
static void disown_cancelled(VmloadLoader *loader, GError *error)
{
    if (error != NULL && error->domain == VMLOAD_ERROR &&
        error->code == VMLOAD_ERROR_CANCELLED &&
        !vmload_cancel_is_set(loader->cancel)) {
        error->code = VMLOAD_ERROR_DEVICE;
    }
}

/* The one error that the load ends with. */
static GError *final_error(VmloadLoader *loader, GError *error)
{
    if (error == NULL) {
        /* Cannot be: every failure says why. Still no crash. */
        vmload_fail(&error, VMLOAD_ERROR_FAILED, "failed for no known cause");
    }
    if (vmload_cancel_is_set(loader->cancel)) {
        g_clear_error(&error);
        vmload_cancel_check(loader->cancel, &error);
    }
    disown_cancelled(loader, error);
    place_error(loader, &error);
    return error;
}

/* Has the host called vmload_loader_finished()? *@ok: it agreed. */
static bool host_has_finished(VmloadLoader *loader, bool *ok, GError **error)
{
    bool finished;

    g_mutex_lock(&loader->mutex);
    finished = loader->host_finished;
    if (finished) {
        *ok = loader->host_error == NULL;
        if (!*ok && error != NULL) {
            *error = g_error_copy(loader->host_error);
        }
    }
    g_mutex_unlock(&loader->mutex);
    return finished;
}

/*
 * Waits until the host has called vmload_loader_finished(). A cancelled load
 * does not wait: the host may never answer. But an answer counts before a
 * cancel that came behind it: the guest may run here already, and must not
 * run at the source as well.
 */
static bool wait_for_host(VmloadLoader *loader, GError **error)
{
    struct pollfd fds[2] = {
        {.fd = loader->finished_fd, .events = POLLIN},
        {.fd = vmload_cancel_get_fd(loader->cancel), .events = POLLIN},
    };
    bool ok;

    while (!host_has_finished(loader, &ok, error)) {
        if (!vmload_cancel_check(loader->cancel, error)) {
            return false;
        }
        vmload_poll(fds, G_N_ELEMENTS(fds), -1);
    }
    return ok;
}

/* The host does its part; true if it agrees that the load is complete. */
static bool finish_host(VmloadLoader *loader, const GError *cause,
                        GError **error)
{
    VmloadOutcome outcome = {0};
    GError *local = NULL;

    if (loader->ops.finish == NULL) {
        return true;
    }
    outcome.struct_size = (uint32_t)sizeof(outcome);
    outcome.loaded = cause == NULL ? 1 : 0;
    outcome.error = cause;
    loader->ops.finish(loader->opaque, loader, &outcome);
    if (wait_for_host(loader, &local)) {
        return true;
    }
    disown_cancelled(loader, local);
    vmload_callback_result(false, &local, error);
    g_prefix_error(error, "finish: ");
    return false;
}

/*
 * SHUT 0 must arrive: without it the source takes its guest back. Nothing is
 * to be done for a source that does not hear of a failure. True: it is on its
 * way, or nobody waits for it.
 */
static bool send_shut(VmloadLoader *loader, bool loaded)
{
    const VmloadWait patient = {.cancel = loader->cancel};
    const VmloadWait hasty = {.timeout_us = loaded ? LAST_WORD_US
                                                   : BAD_NEWS_US};

    return !vmload_return_path_is_open(&loader->return_path) ||
           vmload_return_path_shut(&loader->return_path, loaded ? 0 : 1,
                                   loaded ? &patient : &hasty, NULL) ||
           (loaded && vmload_return_path_flush(&loader->return_path, &hasty,
                                               NULL));
}

/* At the end, whatever it is. */
static void cleanup(VmloadLoader *loader)
{
    VmloadHold hold;

    vmload_devices_cleanup(loader);
    if (loader->ops.cleanup != NULL) {
        vmload_guard_lock(&loader->guard, &hold, "cleanup", NULL, 0);
        loader->ops.cleanup(loader->opaque);
        vmload_guard_unlock(&loader->guard, &hold);
    }
}

/* Tells the source how it went, where it listens, and lets it go. */
static void disconnect(VmloadLoader *loader, bool loaded)
{
    const VmloadWait leave = {.cancel = loader->cancel,
                              .timeout_us = LEAVE_US};
    bool sent = send_shut(loader, loaded);

    vmload_return_path_close(&loader->return_path);
    if (loader->channel != NULL && loaded && sent) {
        vmload_channel_await_peer(loader->channel, &leave);
    }
    if (loader->channel != NULL) {
        vmload_channel_end_ram(loader->channel, loaded, LAST_WORD_US);
        vmload_channel_release_ram(loader->channel);
        /* Others may have a reference: a source that writes on must see it. */
        vmload_channel_shutdown(loader->channel,
                                loaded ? VMLOAD_DIRECTION_WRITE
                                       : VMLOAD_DIRECTION_BOTH,
                                NULL);
    }
    g_clear_pointer(&loader->reader, vmload_reader_free);
    g_clear_pointer(&loader->channel, vmload_channel_unref);
}

void vmload_loader_main(VmloadLoader *loader)
{
    GError *error = NULL;
    VmloadState final = VMLOAD_STATE_COMPLETED;

    __atomic_store_n(&loader->self, g_thread_self(), __ATOMIC_RELAXED);
    if (!load_stream(loader, &error) ||
        !vmload_loader_end_multifd(loader, &error)) {
        vmload_cancel_fire(loader->tasks.quit);
        vmload_loader_end_multifd(loader, &error);
        end_tasks(loader, &error);
        error = final_error(loader, error);
    }
    vmload_ram_stop(loader->ram);
    /* Nobody else writes to the guest's memory once the host may use it. */
    if (loader->channel != NULL) {
        vmload_channel_end_ram(loader->channel, error == NULL, LAST_WORD_US);
    }
    /* What will not be applied goes before the host hears of the end. */
    vmload_ahead_free(g_steal_pointer(&loader->ahead));
    vmload_pending_free(g_steal_pointer(&loader->pending));
    vmload_loader_set_state(loader, VMLOAD_STATE_FINISHING);
    if (error == NULL) {
        vmload_cancel_check(loader->cancel, &error);
    }
    /* The first cause is kept. */
    finish_host(loader, error, error == NULL ? &error : NULL);
    cleanup(loader);
    disconnect(loader, error == NULL);
    if (error != NULL) {
        final = error->code == VMLOAD_ERROR_CANCELLED
                    ? VMLOAD_STATE_CANCELLED
                    : VMLOAD_STATE_FAILED;
    }
    loader->outcome = error;
    __atomic_store_n(&loader->counters.end_ns, vmload_clock_ns(),
                     __ATOMIC_RELAXED);
    vmload_loader_set_state(loader, final);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connections of a load, and the place of multifd in it. Everything here
 * is the loading thread's, but for what a failed channel calls.
 */
#include "internal.h"

#include "channel/handed.h"
#include "error.h"

#include <string.h>

void vmload_loader_set_multifd(VmloadLoader *loader, uint32_t channels,
                               VmloadMultifdSync sync)
{
    g_return_if_fail(loader != NULL &&
                     vmload_loader_get_state(loader) ==
                         VMLOAD_STATE_CONFIGURING);
    g_return_if_fail(channels <= VMLOAD_MULTIFD_MAX);
    loader->multifd_enabled = true;
    loader->multifd_channels = channels;
    loader->multifd_sync = sync;
}

static void connection_refused(void *opaque, const char *connection,
                               const GError *reason)
{
    VmloadLoader *loader = opaque;

    __atomic_fetch_add(&loader->counters.refused, 1, __ATOMIC_RELAXED);
    if (loader->ops.refused != NULL) {
        loader->ops.refused(loader->opaque, connection, reason);
    }
}

bool vmload_loader_add_channel(VmloadLoader *loader, VmloadChannel *channel,
                               GError **error)
{
    VmloadHanded *handed = NULL;
    bool ok;

    g_return_val_if_fail(loader != NULL && channel != NULL, false);
    if (loader->listener != NULL) {
        handed = vmload_listener_get_handed(loader->listener);
    }
    if (handed != NULL) {
        ok = vmload_handed_push(handed, channel, error);
    } else {
        vmload_channel_shutdown(channel, VMLOAD_DIRECTION_BOTH, NULL);
        vmload_channel_unref(channel);
        ok = vmload_fail(error, VMLOAD_ERROR_FAILED,
                         "expected a listener of handed connections, found "
                         "none");
    }
    if (!ok) {
        __atomic_fetch_add(&loader->counters.refused, 1, __ATOMIC_RELAXED);
    }
    return ok;
}

bool vmload_loader_connect(VmloadLoader *loader, GError **error)
{
    const VmloadConfiguration *expected = &loader->expected.view;
    bool all = !loader->multifd_enabled || loader->multifd_channels > 0;
    VmloadWanted wanted = {
        .all = all,
        .handshake_us = (int64_t)loader->handshake_ms * 1000,
        .refused = connection_refused,
        .opaque = loader,
    };

    if (loader->channel != NULL) {
        return true;
    }
    if (loader->multifd_enabled) {
        wanted.multifd = all ? loader->multifd_channels : VMLOAD_MULTIFD_MAX;
    }
    if ((expected->present & VMLOAD_CONFIGURATION_UUID) != 0) {
        wanted.uuid = expected->uuid;
    }
    loader->gathering = vmload_gathering_new(loader->listener, &wanted);
    loader->channel =
        vmload_gathering_get_main(loader->gathering, &loader->wait, error);
    if (!loader->multifd_enabled) {
        /* Whoever comes now or waits yet is refused. */
        g_clear_pointer(&loader->gathering, vmload_gathering_free);
    }
    return loader->channel != NULL;
}

/* The configuration section may have a UUID too. */
static bool multifd_check_uuid(VmloadLoader *loader, GError **error)
{
    const VmloadConfiguration *found = &loader->configuration.view;
    const uint8_t *uuid = vmload_gathering_get_uuid(loader->gathering);

    if (uuid != NULL && (found->present & VMLOAD_CONFIGURATION_UUID) != 0 &&
        memcmp(uuid, found->uuid, sizeof(found->uuid)) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                           "expected multifd channels of the stream's UUID, "
                           "found another");
    }
    return true;
}

/* Starts a thread for each channel that is there and has none. */
static bool multifd_take(VmloadLoader *loader, GError **error)
{
    VmloadChannel *channel;
    uint32_t id;

    if (!multifd_check_uuid(loader, error)) {
        return false;
    }
    for (;;) {
        channel = vmload_gathering_take(loader->gathering, &id);
        if (channel == NULL) {
            return true;
        }
        if (!vmload_multifd_add(loader->multifd, channel, id, error)) {
            return false;
        }
    }
}

/* At a barrier: who has come meanwhile. */
static bool multifd_gather(void *opaque, GError **error)
{
    VmloadLoader *loader = opaque;

    return loader->gathering == NULL ||
           (vmload_gathering_update(loader->gathering, &loader->wait, error) &&
            multifd_take(loader, error));
}

/* On a channel's thread: the loading thread may wait for bytes. */
static void multifd_failed(void *opaque)
{
    VmloadLoader *loader = opaque;

    vmload_channel_shutdown(loader->channel, VMLOAD_DIRECTION_READ, NULL);
}

/* All that are wanted are there, unless the main channel came alone. */
static bool multifd_is_alone(const VmloadLoader *loader)
{
    return loader->multifd_channels > 0 &&
           (loader->gathering == NULL ||
            vmload_gathering_get_uuid(loader->gathering) == NULL);
}

bool vmload_loader_start_multifd(VmloadLoader *loader, GError **error)
{
    const VmloadMultifdEnv env = {
        .ram = loader->ram,
        .wait = &loader->wait,
        .sync = loader->multifd_sync,
        .window_bytes = loader->limits.multifd_window,
        .ops = &loader->ops,
        .opaque = loader->opaque,
        .gather = multifd_gather,
        .failed = multifd_failed,
        .env = loader,
        .counters = &loader->multifd_counters,
    };

    /* A mapped-ram file has no channels, though its source had multifd. */
    if (!loader->multifd_enabled ||
        vmload_configuration_has_capability(&loader->configuration.view,
                                            "mapped-ram")) {
        return true;
    }
    if (multifd_is_alone(loader)) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "expected a listener for the main channel and %u "
                           "multifd channels, found a single channel",
                           loader->multifd_channels);
    }
    loader->multifd = vmload_multifd_new(&env, error);
    if (loader->multifd == NULL) {
        return false;
    }
    if (loader->gathering == NULL) {
        return true;
    }
    if (!multifd_take(loader, error)) {
        return false;
    }
    if (loader->multifd_channels > 0) {
        g_clear_pointer(&loader->gathering, vmload_gathering_free);
    }
    return true;
}

bool vmload_loader_flush_multifd(VmloadLoader *loader, GError **error)
{
    return loader->multifd == NULL ||
           vmload_multifd_flush(loader->multifd, error);
}

bool vmload_loader_load_ram(VmloadLoader *loader,
                            const VmloadSection *section,
                            VmloadReader *reader, GError **error)
{
    if (loader->multifd == NULL) {
        return vmload_ram_load(loader->ram, reader, error);
    }
    vmload_multifd_section_begin(loader->multifd, section->type);
    if (!vmload_ram_load(loader->ram, reader, error) ||
        !vmload_multifd_section_end(loader->multifd, section->type, error)) {
        return false;
    }
    if (section->type == VMLOAD_RECORD_END) {
        g_clear_pointer(&loader->gathering, vmload_gathering_free);
    }
    return true;
}

bool vmload_loader_complete_multifd(VmloadLoader *loader, GError **error)
{
    return loader->multifd == NULL ||
           (vmload_multifd_check_complete(loader->multifd, error) &&
            vmload_loader_end_multifd(loader, error));
}

bool vmload_loader_end_multifd(VmloadLoader *loader, GError **error)
{
    char name[sizeof(loader->position.channel)];
    GError *local = NULL;
    bool ok;

    g_clear_pointer(&loader->gathering, vmload_gathering_free);
    if (loader->listener != NULL &&
        vmload_listener_get_handed(loader->listener) != NULL) {
        /* Also if nobody was ever awaited. */
        vmload_listener_close(loader->listener);
    }
    if (loader->multifd == NULL) {
        return true;
    }
    ok = vmload_multifd_stop(loader->multifd, name, sizeof(name), &local);
    g_clear_pointer(&loader->multifd, vmload_multifd_free);
    if (!ok) {
        g_mutex_lock(&loader->mutex);
        g_strlcpy(loader->position.channel, name,
                  sizeof(loader->position.channel));
        loader->position.idstr[0] = '\0';
        g_mutex_unlock(&loader->mutex);
        loader->placed = true;
        /* What the loading thread has seen followed from it. */
        g_clear_error(error);
        g_propagate_error(error, local);
    }
    return ok;
}

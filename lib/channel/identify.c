/* SPDX-License-Identifier: BSD-3-Clause */
#include "identify.h"

#include "error.h"

#include <string.h>

/* First bytes of a connection, big-endian (channels, section 1). */
#define MAGIC_MAIN 0x5145564du /* "QEVM" */
/* What the header of a TLS handshake begins with. */
#define MAGIC_TLS 0x160301u

/* Takes pending[@index] out of the list. */
static VmloadChannel *identify_remove(VmloadIdentify *identify, uint32_t index)
{
    VmloadChannel *channel = identify->pending[index].channel;

    identify->n_pending--;
    memmove(&identify->pending[index], &identify->pending[index + 1],
            (identify->n_pending - index) * sizeof(identify->pending[0]));
    return channel;
}

static void identify_drop(const VmloadIdentify *identify,
                          VmloadChannel *channel)
{
    if (channel != NULL && identify->shared) {
        vmload_channel_shutdown(channel, VMLOAD_DIRECTION_BOTH, NULL);
    }
    vmload_channel_unref(channel);
}

/* Closes pending[@index], for @reason (transfer full). */
static void identify_refuse(VmloadIdentify *identify, uint32_t index,
                            GError *reason)
{
    VmloadChannel *channel = identify_remove(identify, index);
    const char *name = vmload_channel_get_name(channel);

    g_debug("%s: closed: %s", name, reason->message);
    if (identify->refused != NULL) {
        identify->refused(identify->opaque, name, reason);
    }
    g_error_free(reason);
    identify_drop(identify, channel);
}

void vmload_identify_add(VmloadIdentify *identify, VmloadChannel *channel,
                         int fd)
{
    VmloadPending *pending;
    uint32_t i = 0;

    if (identify->n_pending >= VMLOAD_PENDING_MAX + identify->max_multifd) {
        while (i < identify->n_pending && identify->pending[i].have > 0) {
            i++;
        }
        identify_refuse(
            identify, i < identify->n_pending ? i : 0,
            g_error_new(VMLOAD_ERROR, VMLOAD_ERROR_LIMIT,
                        "expected at most %u connections that say nothing",
                        identify->n_pending));
    }
    pending = &identify->pending[identify->n_pending++];
    memset(pending, 0, sizeof(*pending));
    pending->channel = channel;
    pending->fd = fd;
    pending->deadline = -1;
    identify->count++;
}

/* How many bytes a connection must say before it is known. */
static uint32_t identify_wanted(const VmloadPending *pending)
{
    return pending->have < VMLOAD_MAGIC_SIZE ? VMLOAD_MAGIC_SIZE
                                             : VMLOAD_HANDSHAKE_SIZE;
}

static const char *identify_wanted_name(const VmloadPending *pending)
{
    return pending->have < VMLOAD_MAGIC_SIZE ? "magic" : "handshake";
}

/* The end, or @local (transfer full), instead of the bytes. */
static bool identify_ended(VmloadIdentify *identify, uint32_t index,
                           GError *local, VmloadConnectionKind *kind,
                           GError **error)
{
    VmloadPending *pending = &identify->pending[index];

    if (local == NULL) {
        local = g_error_new(VMLOAD_ERROR, VMLOAD_ERROR_TRUNCATED,
                            "expected %u bytes of %s, found the end after %u",
                            identify_wanted(pending),
                            identify_wanted_name(pending), pending->have);
    }
    if (pending->have < VMLOAD_MAGIC_SIZE) {
        /* Somebody who looked whether the port is open. */
        identify_refuse(identify, index, local);
        *kind = VMLOAD_CONNECTION_REFUSED;
        return true;
    }
    g_propagate_prefixed_error(error, local, "channel %s: ",
                               vmload_channel_get_name(pending->channel));
    return false;
}

void vmload_identify_expire(VmloadIdentify *identify, uint32_t index,
                            int64_t ms)
{
    const VmloadPending *pending = &identify->pending[index];

    identify_refuse(identify, index,
                    g_error_new(VMLOAD_ERROR, VMLOAD_ERROR_TIMEOUT,
                                "expected %u bytes of %s within %"
                                G_GINT64_FORMAT " ms, found %u",
                                identify_wanted(pending),
                                identify_wanted_name(pending), ms,
                                pending->have));
}

static bool identify_main(VmloadIdentify *identify, uint32_t index,
                          VmloadConnectionKind *kind)
{
    VmloadPending *pending = &identify->pending[index];

    if (identify->main != NULL) {
        identify_refuse(identify, index,
                        g_error_new(VMLOAD_ERROR, VMLOAD_ERROR_MALFORMED,
                                    "expected one main channel, found "
                                    "another"));
        *kind = VMLOAD_CONNECTION_REFUSED;
        return true;
    }
    vmload_channel_unread(pending->channel, pending->data, VMLOAD_MAGIC_SIZE);
    identify->main = identify_remove(identify, index);
    *kind = VMLOAD_CONNECTION_MAIN;
    return true;
}

/* Channels of one VM, each with a number of its own. */
static bool identify_check_multifd(VmloadIdentify *identify,
                                   const VmloadHandshake *handshake,
                                   GError **error)
{
    if (identify->has_uuid &&
        memcmp(identify->uuid, handshake->uuid, sizeof(identify->uuid)) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                           "handshake, field uuid: expected that of this VM, "
                           "found another");
    }
    if (handshake->id >= identify->max_multifd) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "handshake, field id: expected 0 to %u, found %u",
                           identify->max_multifd - 1, handshake->id);
    }
    if (identify->seen[handshake->id]) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "handshake, field id: expected each multifd "
                           "channel once, found %u again", handshake->id);
    }
    return true;
}

static bool identify_multifd(VmloadIdentify *identify, uint32_t index,
                             VmloadConnectionKind *kind, GError **error)
{
    VmloadPending *pending = &identify->pending[index];
    VmloadHandshake handshake;
    char *name;

    if (!vmload_handshake_parse(pending->data, &handshake, error) ||
        !identify_check_multifd(identify, &handshake, error)) {
        g_prefix_error(error, "channel %s: ",
                       vmload_channel_get_name(pending->channel));
        return false;
    }
    identify->has_uuid = true;
    memcpy(identify->uuid, handshake.uuid, sizeof(identify->uuid));
    identify->seen[handshake.id] = true;
    identify->n_multifd++;
    identify->multifd[handshake.id] = identify_remove(identify, index);
    name = g_strdup_printf("multifd %u", handshake.id);
    vmload_channel_set_name(identify->multifd[handshake.id], name);
    g_free(name);
    *kind = VMLOAD_CONNECTION_MULTIFD;
    return true;
}

static bool identify_classify(VmloadIdentify *identify, uint32_t index,
                              VmloadConnectionKind *kind, GError **error)
{
    VmloadPending *pending = &identify->pending[index];
    uint32_t magic;

    memcpy(&magic, pending->data, sizeof(magic));
    magic = GUINT32_FROM_BE(magic);
    if (magic == MAGIC_MAIN) {
        return identify_main(identify, index, kind);
    }
    if (magic != VMLOAD_HANDSHAKE_MAGIC) {
        identify_refuse(
            identify, index,
            g_error_new(VMLOAD_ERROR, VMLOAD_ERROR_MALFORMED,
                        "expected magic 0x%08x (QEVM), found 0x%08x%s",
                        MAGIC_MAIN, magic,
                        magic >> 8 == MAGIC_TLS ? " (a TLS handshake)" : ""));
        *kind = VMLOAD_CONNECTION_REFUSED;
        return true;
    }
    if (identify->max_multifd == 0) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "channel %s: expected the main channel, found a "
                           "multifd channel, and multifd is not enabled",
                           vmload_channel_get_name(pending->channel));
    }
    return pending->have < VMLOAD_HANDSHAKE_SIZE ||
           identify_multifd(identify, index, kind, error);
}

bool vmload_identify_read(VmloadIdentify *identify, uint32_t index,
                          VmloadConnectionKind *kind, GError **error)
{
    VmloadPending *pending = &identify->pending[index];
    struct iovec iov = {.iov_base = pending->data + pending->have,
                        .iov_len = identify_wanted(pending) - pending->have};
    GError *local = NULL;
    int64_t got = vmload_channel_try_readv(pending->channel, &iov, 1, &local);

    *kind = VMLOAD_CONNECTION_UNKNOWN;
    if (got == VMLOAD_CHANNEL_WOULD_BLOCK) {
        return true;
    }
    if (got <= 0) {
        return identify_ended(identify, index, local, kind, error);
    }
    pending->have += (uint32_t)got;
    return pending->have < VMLOAD_MAGIC_SIZE ||
           identify_classify(identify, index, kind, error);
}

bool vmload_identify_has_gap(const VmloadIdentify *identify, uint32_t *id)
{
    uint32_t i;

    for (i = 0; i < identify->n_multifd; i++) {
        if (!identify->seen[i]) {
            if (id != NULL) {
                *id = i;
            }
            return true;
        }
    }
    return false;
}

void vmload_identify_clear(VmloadIdentify *identify)
{
    uint32_t i;

    while (identify->n_pending > 0) {
        identify_drop(identify,
                      identify_remove(identify, identify->n_pending - 1));
    }
    for (i = 0; i < VMLOAD_MULTIFD_MAX; i++) {
        identify_drop(identify, identify->multifd[i]);
        identify->multifd[i] = NULL;
    }
    vmload_channel_unref(identify->main);
    identify->main = NULL;
}

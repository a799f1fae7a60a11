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

static void identify_drop(VmloadIdentify *identify, uint32_t index,
                          const char *why)
{
    VmloadChannel *channel = identify_remove(identify, index);

    g_debug("%s: closed: %s", vmload_channel_get_name(channel), why);
    vmload_channel_unref(channel);
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
        identify_drop(identify, i < identify->n_pending ? i : 0,
                      "too many connections that say nothing");
    }
    pending = &identify->pending[identify->n_pending++];
    memset(pending, 0, sizeof(*pending));
    pending->channel = channel;
    pending->fd = fd;
    identify->count++;
}

/* How many bytes a connection must say before it is known. */
static uint32_t identify_wanted(const VmloadPending *pending)
{
    return pending->have < VMLOAD_MAGIC_SIZE ? VMLOAD_MAGIC_SIZE
                                             : VMLOAD_HANDSHAKE_SIZE;
}

/* The end or an error instead of the bytes. */
static bool identify_ended(VmloadIdentify *identify, uint32_t index,
                           GError *local, VmloadConnectionKind *kind,
                           GError **error)
{
    VmloadPending *pending = &identify->pending[index];

    if (pending->have == 0) {
        /* Somebody who looked whether the port is open. */
        identify_drop(identify, index,
                      local != NULL ? local->message : "it said nothing");
        g_clear_error(&local);
        *kind = VMLOAD_CONNECTION_REFUSED;
        return true;
    }
    if (local != NULL) {
        g_propagate_error(error, local);
        return false;
    }
    return vmload_fail(error, VMLOAD_ERROR_TRUNCATED,
                       "channel %s: expected %u bytes of %s, found the end "
                       "after %u", vmload_channel_get_name(pending->channel),
                       identify_wanted(pending),
                       pending->have < VMLOAD_MAGIC_SIZE ? "magic"
                                                         : "handshake",
                       pending->have);
}

static bool identify_main(VmloadIdentify *identify, uint32_t index,
                          VmloadConnectionKind *kind)
{
    VmloadPending *pending = &identify->pending[index];

    if (identify->main != NULL) {
        identify_drop(identify, index, "a second main channel");
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
    const char *name = vmload_channel_get_name(pending->channel);
    uint32_t magic;

    memcpy(&magic, pending->data, sizeof(magic));
    magic = GUINT32_FROM_BE(magic);
    if (magic == MAGIC_MAIN) {
        return identify_main(identify, index, kind);
    }
    if (magic != VMLOAD_HANDSHAKE_MAGIC) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "channel %s: expected magic 0x%08x (QEVM), found "
                           "0x%08x%s", name, MAGIC_MAIN, magic,
                           magic >> 8 == MAGIC_TLS ? " (a TLS handshake)"
                                                   : "");
    }
    if (identify->max_multifd == 0) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "channel %s: expected the main channel, found a "
                           "multifd channel, and multifd is not enabled", name);
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
        identify_drop(identify, identify->n_pending - 1,
                      "nobody asked for it");
    }
    for (i = 0; i < VMLOAD_MULTIFD_MAX; i++) {
        vmload_channel_unref(identify->multifd[i]);
        identify->multifd[i] = NULL;
    }
    vmload_channel_unref(identify->main);
    identify->main = NULL;
}

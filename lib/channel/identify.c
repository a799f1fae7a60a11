/* SPDX-License-Identifier: BSD-3-Clause */
#include "identify.h"

#include "error.h"

#include <string.h>

/* First bytes of a connection, big-endian (channels, section 1). */
#define MAGIC_MAIN 0x5145564du /* "QEVM" */
#define MAGIC_MULTIFD 0x11223344u
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

    if (identify->n_pending == VMLOAD_PENDING_MAX) {
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

/* The end or an error instead of the four bytes. */
static bool identify_ended(VmloadIdentify *identify, uint32_t index,
                           GError *local, VmloadKind *kind, GError **error)
{
    VmloadPending *pending = &identify->pending[index];

    if (pending->have == 0) {
        /* Somebody who looked whether the port is open. */
        identify_drop(identify, index,
                      local != NULL ? local->message : "it said nothing");
        g_clear_error(&local);
        *kind = VMLOAD_KIND_REFUSED;
        return true;
    }
    if (local != NULL) {
        g_propagate_error(error, local);
        return false;
    }
    return vmload_fail(error, VMLOAD_ERROR_TRUNCATED,
                       "channel %s: expected %u bytes of magic, found the end "
                       "after %u", vmload_channel_get_name(pending->channel),
                       VMLOAD_MAGIC_SIZE, pending->have);
}

static bool identify_classify(VmloadIdentify *identify, uint32_t index,
                              VmloadKind *kind, GError **error)
{
    VmloadPending *pending = &identify->pending[index];
    const char *name = vmload_channel_get_name(pending->channel);
    uint32_t magic;

    memcpy(&magic, pending->magic, sizeof(magic));
    magic = GUINT32_FROM_BE(magic);
    if (magic == MAGIC_MULTIFD) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "channel %s: expected the main channel, found a "
                           "multifd channel, and multifd is not enabled", name);
    }
    if (magic != MAGIC_MAIN) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "channel %s: expected magic 0x%08x (QEVM), found "
                           "0x%08x%s", name, MAGIC_MAIN, magic,
                           magic >> 8 == MAGIC_TLS ? " (a TLS handshake)"
                                                   : "");
    }
    if (identify->main != NULL) {
        identify_drop(identify, index, "a second main channel");
        *kind = VMLOAD_KIND_REFUSED;
        return true;
    }
    vmload_channel_unread(pending->channel, pending->magic,
                          VMLOAD_MAGIC_SIZE);
    identify->main = identify_remove(identify, index);
    *kind = VMLOAD_KIND_MAIN;
    return true;
}

bool vmload_identify_read(VmloadIdentify *identify, uint32_t index,
                          VmloadKind *kind, GError **error)
{
    VmloadPending *pending = &identify->pending[index];
    struct iovec iov = {.iov_base = pending->magic + pending->have,
                        .iov_len = VMLOAD_MAGIC_SIZE - pending->have};
    GError *local = NULL;
    int64_t got = vmload_channel_try_readv(pending->channel, &iov, 1, &local);

    *kind = VMLOAD_KIND_UNKNOWN;
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

void vmload_identify_clear(VmloadIdentify *identify)
{
    while (identify->n_pending > 0) {
        identify_drop(identify, identify->n_pending - 1,
                      "nobody asked for it");
    }
    vmload_channel_unref(identify->main);
    identify->main = NULL;
}

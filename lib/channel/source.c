/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel over bytes that the host buffers. The host's file object stays
 * the only owner of the buffer: the reader looks into it and consumes what it
 * has parsed (lib/stream/reader-source.c). Plain reads work too, by copying.
 */
#include "source.h"

#include "channel.h"
#include "error.h"
#include "host/ops.h"

#include <string.h>

struct VmloadSource {
    VmloadSourceOps ops;
    void *opaque;
    GDestroyNotify destroy;
    bool ready; /* the last wait said so */
};

int64_t vmload_source_peek(struct VmloadSource *source, uint32_t n,
                           const uint8_t **data, GError **error)
{
    int64_t have = source->ops.peek(source->opaque, n, data, error);

    if (have < VMLOAD_CHANNEL_WOULD_BLOCK || have > G_MAXINT32) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "peek returned %" G_GINT64_FORMAT " bytes", have);
        return -1;
    }
    return have;
}

void vmload_source_consume(struct VmloadSource *source, uint32_t n)
{
    if (n > 0) {
        source->ops.consume(source->opaque, n);
    }
}

bool vmload_source_get_position(const struct VmloadSource *source,
                                uint64_t *position)
{
    if (source->ops.position == NULL) {
        return false;
    }
    *position = source->ops.position(source->opaque);
    return true;
}

bool vmload_source_is_ready(struct VmloadSource *source)
{
    bool ready = source->ready;

    source->ready = false;
    return ready;
}

static int64_t source_readv(void *opaque, const struct iovec *iov, uint32_t n,
                            GError **error)
{
    struct VmloadSource *source = opaque;
    const uint8_t *data;
    int64_t have = vmload_source_peek(source, 0, &data, error);
    uint32_t taken = 0;
    uint32_t i;

    /* Without bytes and without a wait that saw some, a peek could sleep. */
    if (have == 0 && source->ops.wait != NULL &&
        !vmload_source_is_ready(source)) {
        return VMLOAD_CHANNEL_WOULD_BLOCK;
    }
    if (have == 0) {
        have = vmload_source_peek(source, 1, &data, error);
    }
    if (have <= 0) {
        return have;
    }
    for (i = 0; i < n; i++) {
        uint32_t left = (uint32_t)have - taken;
        uint32_t step = (uint32_t)MIN((uint64_t)iov[i].iov_len, left);

        if (step > 0) {
            memcpy(iov[i].iov_base, data + taken, step);
        }
        taken += step;
    }
    vmload_source_consume(source, taken);
    return (int64_t)taken;
}

static int32_t source_wait(void *opaque, uint32_t direction,
                           int32_t cancel_fd, int64_t deadline,
                           GError **error)
{
    struct VmloadSource *source = opaque;
    int32_t result = source->ops.wait(source->opaque, direction, cancel_fd,
                                      deadline, error);

    source->ready = result > 0;
    return result;
}

static bool source_shutdown(void *opaque, uint32_t direction, GError **error)
{
    struct VmloadSource *source = opaque;

    return (direction & VMLOAD_DIRECTION_READ) == 0 ||
           source->ops.shutdown(source->opaque, VMLOAD_DIRECTION_READ, error);
}

static void source_destroy(void *opaque)
{
    struct VmloadSource *source = opaque;

    if (source->destroy != NULL) {
        source->destroy(source->opaque);
    }
    g_free(source);
}

static bool source_take_ops(struct VmloadSource *source,
                            const VmloadSourceOps *ops, GError **error)
{
    if (!vmload_ops_copy(&source->ops, sizeof(source->ops), ops,
                         "VmloadSourceOps", error)) {
        return false;
    }
    if (source->ops.peek == NULL || source->ops.consume == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "VmloadSourceOps: expected peek and consume, found "
                           "NULL");
    }
    return true;
}

VmloadChannel *vmload_channel_new_from_source(const VmloadSourceOps *ops,
                                              void *opaque,
                                              GDestroyNotify destroy,
                                              GError **error)
{
    VmloadChannelOps plain = {VMLOAD_CHANNEL_OPS_INIT, .readv = source_readv};
    struct VmloadSource *source;
    VmloadChannel *channel;

    g_return_val_if_fail(ops != NULL, NULL);
    source = g_new0(struct VmloadSource, 1);
    source->opaque = opaque;
    source->destroy = destroy;
    if (!source_take_ops(source, ops, error)) {
        source_destroy(source);
        return NULL;
    }
    plain.wait = source->ops.wait != NULL ? source_wait : NULL;
    plain.shutdown = source->ops.shutdown != NULL ? source_shutdown : NULL;
    channel = vmload_channel_new_from_ops(&plain, source, source_destroy,
                                          error);
    if (channel != NULL) {
        vmload_channel_set_source(channel, source);
    }
    return channel;
}

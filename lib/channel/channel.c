/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel.h"

#include "error.h"

#include <string.h>

/* Bytes that can be pushed back: a handshake packet and some. */
#define PUSHBACK_MAX 4096

struct VmloadChannel {
    int ref_count; /* atomic */
    VmloadChannelOps ops;
    void *opaque;
    GDestroyNotify destroy;
    char *name;
    uint8_t *pushback;
    uint32_t pushback_head;
    uint32_t pushback_tail;
};

VmloadChannel *vmload_channel_new_from_ops(const VmloadChannelOps *ops,
                                           void *opaque,
                                           GDestroyNotify destroy,
                                           GError **error)
{
    VmloadChannel *channel = g_new0(VmloadChannel, 1);

    (void)error;
    channel->ref_count = 1;
    channel->ops = *ops;
    channel->opaque = opaque;
    channel->destroy = destroy;
    channel->name = g_strdup("main");
    return channel;
}

VmloadChannel *vmload_channel_ref(VmloadChannel *channel)
{
    g_atomic_int_inc(&channel->ref_count);
    return channel;
}

void vmload_channel_unref(VmloadChannel *channel)
{
    if (channel != NULL && g_atomic_int_dec_and_test(&channel->ref_count)) {
        if (channel->destroy != NULL) {
            channel->destroy(channel->opaque);
        }
        g_free(channel->name);
        g_free(channel->pushback);
        g_free(channel);
    }
}

typedef struct {
    const uint8_t *data;
    uint64_t length;
    uint64_t position;
    GDestroyNotify destroy;
    void *destroy_data;
} Memory;

static int64_t memory_readv(void *opaque, const struct iovec *iov, uint32_t n,
                            GError **error)
{
    Memory *memory = opaque;
    int64_t total = 0;
    uint32_t i;

    (void)error;
    for (i = 0; i < n; i++) {
        uint64_t left = memory->length - memory->position;
        uint64_t step = MIN((uint64_t)iov[i].iov_len, left);

        if (step > 0) {
            memcpy(iov[i].iov_base, memory->data + memory->position, step);
        }
        memory->position += step;
        total += (int64_t)step;
    }
    return total;
}

static void memory_destroy(void *opaque)
{
    Memory *memory = opaque;

    if (memory->destroy != NULL) {
        memory->destroy(memory->destroy_data);
    }
    g_free(memory);
}

VmloadChannel *vmload_channel_new_memory(const uint8_t *data, uint64_t length,
                                         GDestroyNotify destroy,
                                         void *destroy_data)
{
    static const VmloadChannelOps ops = {
        VMLOAD_CHANNEL_OPS_INIT,
        .readv = memory_readv,
    };
    Memory *memory = g_new0(Memory, 1);

    memory->data = data;
    memory->length = length;
    memory->destroy = destroy;
    memory->destroy_data = destroy_data;
    return vmload_channel_new_from_ops(&ops, memory, memory_destroy, NULL);
}

int64_t vmload_channel_readv(VmloadChannel *channel, const struct iovec *iov,
                             uint32_t n, const VmloadWait *wait,
                             GError **error)
{
    (void)wait;
    return channel->ops.readv(channel->opaque, iov, n, error);
}

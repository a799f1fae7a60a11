/* SPDX-License-Identifier: BSD-3-Clause */
/* A channel over bytes that are in memory already. */
#include "channel.h"

#include <string.h>

typedef struct {
    const uint8_t *data;
    uint64_t length;
    uint64_t position;
    GDestroyNotify destroy;
    void *destroy_data;
} Memory;

static int64_t memory_preadv(void *opaque, const struct iovec *iov,
                             uint32_t n, uint64_t offset, GError **error)
{
    const Memory *memory = opaque;
    uint64_t position = MIN(offset, memory->length);
    int64_t total = 0;
    uint32_t i;

    (void)error;
    for (i = 0; i < n; i++) {
        uint64_t left = memory->length - position;
        uint64_t step = MIN((uint64_t)iov[i].iov_len, left);

        if (step > 0) {
            memcpy(iov[i].iov_base, memory->data + position, step);
        }
        position += step;
        total += (int64_t)step;
    }
    return total;
}

static int64_t memory_readv(void *opaque, const struct iovec *iov, uint32_t n,
                            GError **error)
{
    Memory *memory = opaque;
    int64_t total = memory_preadv(opaque, iov, n, memory->position, error);

    memory->position += (uint64_t)total;
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
        .preadv = memory_preadv,
    };
    Memory *memory;

    g_return_val_if_fail(data != NULL || length == 0, NULL);
    memory = g_new0(Memory, 1);
    memory->data = data;
    memory->length = length;
    memory->destroy = destroy;
    memory->destroy_data = destroy_data;
    /* Cannot fail: nothing here waits, so no descriptor is needed. */
    return vmload_channel_new_from_ops(&ops, memory, memory_destroy, NULL);
}

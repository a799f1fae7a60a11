/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VMLOAD_TESTS_DRIP_H
#define VMLOAD_TESTS_DRIP_H

#include <string.h>
#include <vmload/channel.h>

/* A channel that gives its bytes @step by @step. */
typedef struct {
    const uint8_t *data;
    uint64_t length;
    uint64_t step;
    uint64_t given;
} Drip;

static inline int64_t drip_readv(void *opaque, const struct iovec *iov,
                                 uint32_t n, GError **error)
{
    Drip *drip = opaque;
    uint64_t give = MIN(drip->step, drip->length - drip->given);

    (void)n;
    (void)error;
    give = MIN(give, (uint64_t)iov[0].iov_len);
    memcpy(iov[0].iov_base, drip->data + drip->given, give);
    drip->given += give;
    return (int64_t)give;
}

static inline VmloadChannel *drip_channel(Drip *drip)
{
    static const VmloadChannelOps ops = {
        VMLOAD_CHANNEL_OPS_INIT,
        .readv = drip_readv,
    };

    return vmload_channel_new_from_ops(&ops, drip, NULL, NULL);
}

#endif

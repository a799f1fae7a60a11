/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the pages of a packet are packed. A channel keeps to one method, since
 * compression goes on from packet to packet.
 */
#ifndef VMLOAD_MULTIFD_METHOD_H
#define VMLOAD_MULTIFD_METHOD_H

#include "packet.h"

#include <sys/uio.h>

typedef struct VmloadMultifdChannel VmloadMultifdChannel;

/*
 * @flag: in the packet's flags.
 * @open: NULL: nothing to keep. Else the state of one channel.
 * @close: frees it.
 * @receive: reads the packet's data and fills the @n elements of @pages,
 *     which may change, completely. There is room for one more.
 */
typedef struct {
    const char *name;
    uint32_t flag;
    void *(*open)(uint64_t window_bytes, GError **error);
    void (*close)(void *state);
    bool (*receive)(VmloadMultifdChannel *channel, void *state,
                    const VmloadMultifdPacket *packet, struct iovec *pages,
                    uint32_t n, GError **error);
} VmloadMultifdMethod;

extern const VmloadMultifdMethod vmload_multifd_nocomp;
extern const VmloadMultifdMethod vmload_multifd_zlib;
extern const VmloadMultifdMethod vmload_multifd_zstd;

/* NULL with UNSUPPORTED: not in this build, or not at all. */
const VmloadMultifdMethod *vmload_multifd_method_find(uint32_t flags,
                                                      GError **error);

/*
 * For methods that compress: the packet's data, in memory of the channel's
 * that is good until the next packet. NULL with @error.
 */
const uint8_t *vmload_multifd_read_input(VmloadMultifdChannel *channel,
                                         const VmloadMultifdPacket *packet,
                                         GError **error);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file channel.h
 * Where bytes come from.
 */
#ifndef VMLOAD_CHANNEL_H
#define VMLOAD_CHANNEL_H

#include <vmload/error.h>
#include <sys/uio.h>

G_BEGIN_DECLS

/** VmloadChannel: opaque. One connection or file. Since: 0.1 */
typedef struct VmloadChannel VmloadChannel;

/** Return of readv and writev: try again after `wait`. Since: 0.1 */
#define VMLOAD_CHANNEL_WOULD_BLOCK (-2)

/** VmloadDirection: bits for `shutdown` and `wait`. Since: 0.1 */
typedef enum {
    VMLOAD_DIRECTION_READ = 1,
    VMLOAD_DIRECTION_WRITE = 2,
    VMLOAD_DIRECTION_BOTH = 3,
} VmloadDirection;

/**
 * VmloadChannelOps:
 * @struct_size: sizeof (VmloadChannelOps), set by VMLOAD_CHANNEL_OPS_INIT.
 * @reserved: zero.
 * @readv: reads at least one byte into @iov. Returns how many; 0 at the end;
 *     VMLOAD_CHANNEL_WOULD_BLOCK; -1 with @error set. Required.
 * @writev: the same for writing (never 0). Optional: no return path.
 * @preadv: reads at an absolute offset, without moving the position; from
 *     several threads at once. Optional: not seekable.
 * @wait: waits until a direction is ready, or @cancel_fd is readable, or
 *     @deadline (g_get_monotonic_time(), microseconds; -1: none) is past.
 *     Returns 1: ready, or worth a try; 0: cancelled or past the deadline;
 *     -1 with @error set. Required if readv or writev can say
 *     VMLOAD_CHANNEL_WOULD_BLOCK; else optional.
 * @shutdown: ends a direction: waiting and later calls return at once, as
 *     at the end. From any thread, also while readv or wait runs. Optional.
 *
 * A host's own transport.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t reserved;
    int64_t (*readv)(void *opaque, const struct iovec *iov, uint32_t n,
                     GError **error);
    int64_t (*writev)(void *opaque, const struct iovec *iov, uint32_t n,
                      GError **error);
    int64_t (*preadv)(void *opaque, const struct iovec *iov, uint32_t n,
                      uint64_t offset, GError **error);
    int32_t (*wait)(void *opaque, uint32_t direction, int32_t cancel_fd,
                    int64_t deadline, GError **error);
    bool (*shutdown)(void *opaque, uint32_t direction, GError **error);
} VmloadChannelOps;

/** Initialiser for VmloadChannelOps; members follow by name. Since: 0.1 */
#define VMLOAD_CHANNEL_OPS_INIT \
    .struct_size = (uint32_t)sizeof(VmloadChannelOps)

/* A channel over bytes in memory; @destroy frees @data. */
VMLOAD_EXPORT VmloadChannel *
vmload_channel_new_memory(const uint8_t *data, uint64_t length,
                          GDestroyNotify destroy, void *destroy_data);

/*
 * Takes a file descriptor: stream socket, pipe or regular file. Closed by
 * the last unref. The descriptor's flags are not changed.
 */
VMLOAD_EXPORT VmloadChannel *vmload_channel_take_fd(int32_t fd, GError **error);

/* Opens a file read-only; the stream starts at @offset. */
VMLOAD_EXPORT VmloadChannel *
vmload_channel_new_file(const char *path, uint64_t offset, GError **error);

/* A host's own transport. @destroy is called exactly once, also on failure. */
VMLOAD_EXPORT VmloadChannel *
vmload_channel_new_from_ops(const VmloadChannelOps *ops, void *opaque,
                            GDestroyNotify destroy, GError **error);

/* Sets the name for messages ("main" by default once it is used as such). */
VMLOAD_EXPORT void vmload_channel_set_name(VmloadChannel *channel,
                                           const char *name);
VMLOAD_EXPORT const char *vmload_channel_get_name(VmloadChannel *channel);

/* Ends a direction from any thread; wakes a reader. */
VMLOAD_EXPORT bool vmload_channel_shutdown(VmloadChannel *channel,
                                           VmloadDirection direction,
                                           GError **error);

VMLOAD_EXPORT VmloadChannel *vmload_channel_ref(VmloadChannel *channel);
VMLOAD_EXPORT void vmload_channel_unref(VmloadChannel *channel);

G_END_DECLS

#endif

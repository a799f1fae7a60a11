/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file channel.h
 * Where bytes come from: a connection, a pipe, a file, memory, or a
 * transport of the host's own.
 *
 * A channel that a loader reads belongs to it. What others may do meanwhile
 * is vmload_channel_shutdown(), from any thread, with a reference of their
 * own.
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

/**
 * VmloadDirection:
 * @VMLOAD_DIRECTION_READ: from the peer to us.
 * @VMLOAD_DIRECTION_WRITE: from us to the peer.
 * @VMLOAD_DIRECTION_BOTH: both, as bits.
 *
 * Bits for `shutdown` and `wait`.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_DIRECTION_READ = 1,
    VMLOAD_DIRECTION_WRITE = 2,
    VMLOAD_DIRECTION_BOTH = 3,
} VmloadDirection;

/**
 * VmloadChannelOps:
 * @struct_size: sizeof (VmloadChannelOps), set by VMLOAD_CHANNEL_OPS_INIT.
 * @reserved: zero.
 * @readv: reads at least one byte into the @n elements of @iov, of which at
 *     least one is not empty. Returns how many; 0 at the end;
 *     VMLOAD_CHANNEL_WOULD_BLOCK; -1 with @error set. Required.
 * @writev: writes at least one byte. Returns how many;
 *     VMLOAD_CHANNEL_WOULD_BLOCK; -1 with @error set. A peer that is gone is
 *     an error, not a signal. Optional: the channel has no return path.
 * @preadv: reads at an absolute offset, in bytes, without moving the
 *     position; from several threads at once. Returns as @readv, but never
 *     VMLOAD_CHANNEL_WOULD_BLOCK. Offset 0 is the first byte that @readv
 *     gives. Optional: not seekable, so that mapped-ram cannot be loaded.
 * @wait: waits until a direction (VMLOAD_DIRECTION_READ or
 *     VMLOAD_DIRECTION_WRITE) is ready, or @cancel_fd is readable, or
 *     @deadline is past (g_get_monotonic_time(), microseconds; -1: none).
 *     @cancel_fd is for this call only, is not to be read from, and may be
 *     -1: none. Returns 1: ready, or worth a try; 0: cancelled or past the
 *     deadline; -1 with @error set. Required if @readv or @writev can say
 *     VMLOAD_CHANNEL_WOULD_BLOCK; else optional.
 * @shutdown: ends directions (VmloadDirection bits): waits in them return,
 *     and so does a @readv or @writev that sleeps. From any thread, also while
 *     the others run; called at most once for each direction. Optional: waits
 *     end through @cancel_fd.
 *
 * A host's own transport. @readv and its waits are called from one thread at
 * a time, @writev and its waits likewise, the two at once. Nothing is called
 * with a lock of the library held.
 *
 * A transport that sleeps in @readv or @writev instead of saying
 * VMLOAD_CHANNEL_WOULD_BLOCK works, but the library can neither cancel it nor
 * count its waits nor bound them: then vmload_loader_cancel() takes effect
 * when the call returns.
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

/**
 * vmload_channel_new_memory:
 * @data: (array length=length) (nullable): the bytes; borrowed until
 *     @destroy is called, or, without it, until the channel is gone.
 * @length: bytes of @data; 0 is a channel that ends at once.
 * @destroy: (nullable): frees @data.
 * @destroy_data: passed to @destroy.
 *
 * Makes a channel over bytes in memory. It is seekable and has no return
 * path.
 *
 * Return: (transfer full): a channel with one reference.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadChannel *
vmload_channel_new_memory(const uint8_t *data, uint64_t length,
                          GDestroyNotify destroy, void *destroy_data);

/**
 * vmload_channel_take_fd:
 * @fd: (transfer full): a connected stream socket, the read end of a pipe or
 *     FIFO, a regular file or a block device; not negative. Closed when the
 *     last reference goes, or here on failure.
 * @error: (nullable): where to put the error.
 *
 * Makes a channel of a file descriptor. Which kind it is, is found out. Its
 * flags, O_NONBLOCK among them, are never changed, since other processes may
 * share them. A pipe that holds less than 1 MiB is made to hold that, where
 * the system allows it (F_SETPIPE_SZ).
 *
 * A socket has a return path and is shut down with shutdown(2). A pipe has
 * none. A file is read from where it stands and is seekable; its reads do not
 * wait for a peer and cannot be interrupted: on a file system that hangs, they
 * hang.
 *
 * Return: (transfer full) (nullable): a channel with one reference; NULL on
 *     error.
 * Errors: VMLOAD_ERROR_UNSUPPORTED: another kind of descriptor, one that is
 *     not open for reading, or a socket that listens; VMLOAD_ERROR_IO: it is
 *     not open, or there is no descriptor left for the channel's wake-up.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadChannel *vmload_channel_take_fd(int32_t fd, GError **error);

/**
 * vmload_channel_new_file:
 * @path: a regular file or a block device, in the file system's encoding.
 * @offset: where the stream starts, bytes, below 2^63. What lies before is
 *     not touched.
 * @error: (nullable): where to put the error.
 *
 * Opens a file read-only. The channel is seekable and has no return path.
 * Offsets of seeking reads count from the start of the file, not from
 * @offset.
 *
 * Return: (transfer full) (nullable): a channel with one reference; NULL on
 *     error.
 * Errors: VMLOAD_ERROR_IO: it cannot be opened; VMLOAD_ERROR_UNSUPPORTED: it
 *     is something else (open a FIFO yourself, and see
 *     vmload_channel_take_fd()); VMLOAD_ERROR_FAILED: @offset is out of range.
 * States: -. Threads: any. Blocks: as long as open(2) does.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadChannel *
vmload_channel_new_file(const char *path, uint64_t offset, GError **error);

/**
 * vmload_channel_new_from_ops:
 * @ops: the transport; copied, may die after the call.
 * @opaque: passed to every callback of @ops.
 * @destroy: (nullable): frees @opaque; called exactly once, after the last
 *     callback, also when this function fails.
 * @error: (nullable): where to put the error.
 *
 * Makes a channel of a host's own transport.
 *
 * Return: (transfer full) (nullable): a channel with one reference; NULL on
 *     error.
 * Errors: VMLOAD_ERROR_UNSUPPORTED: @ops is longer than this library knows
 *     and uses the surplus, or its struct_size is not set;
 *     VMLOAD_ERROR_FAILED: `readv` is missing; VMLOAD_ERROR_IO: there is no
 *     descriptor left for the channel's wake-up (needed with `wait` but without
 *     `shutdown`).
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadChannel *
vmload_channel_new_from_ops(const VmloadChannelOps *ops, void *opaque,
                            GDestroyNotify destroy, GError **error);

/** Bytes that a source must be able to show at once. Since: 0.1 */
#define VMLOAD_SOURCE_WINDOW 32768u

/**
 * VmloadSourceOps:
 * @struct_size: sizeof (VmloadSourceOps), set by VMLOAD_SOURCE_OPS_INIT.
 * @reserved: zero.
 * @peek: shows the bytes that come next and leaves them where they are. Sets
 *     *@data, good until the next call of @peek or @consume or until the host
 *     itself reads, and returns how many bytes stand there: all that are
 *     buffered. Waits until they are at least @n, at most
 *     VMLOAD_SOURCE_WINDOW; returns fewer only where the bytes end. With @n of
 *     0 it never waits. VMLOAD_CHANNEL_WOULD_BLOCK: fewer than @n, after
 *     `wait` more; -1 with @error set. Required.
 * @consume: takes @n of the bytes that @peek showed. Required.
 * @position: bytes of the stream that were consumed so far, by whomever; it
 *     never goes back. Optional: offsets, in messages and in the ledger, then
 *     leave out what the host read itself.
 * @wait: as in VmloadChannelOps, for VMLOAD_DIRECTION_READ; bytes that the
 *     host's transport holds itself count as ready. Called before each @peek
 *     that would wait. Optional: @peek waits itself, and then
 *     vmload_loader_cancel() takes effect when it returns.
 * @shutdown: as in VmloadChannelOps, with VMLOAD_DIRECTION_READ: a @peek that
 *     waits returns. From any thread. Optional.
 *
 * Bytes that the host buffers itself and reads itself too: a file object with
 * a buffer of its own, which devices are given to read from. Two readers of
 * one stream must have one owner, so the library does not read ahead of it:
 * what the library has parsed is consumed, and nothing else. Whenever a
 * callback runs that may read the stream (`load` with VMLOAD_LOCK_NONE, or
 * `command`) the source stands exactly where the callback's reader does, and
 * the callback may read from either; the library goes on where the source
 * stands then. While a staged section is loaded (VMLOAD_LOCK_WHOLE,
 * VMLOAD_LOCK_APPLY) the source is not to be read: what is staged is in the
 * callback's reader.
 *
 * @peek, @consume, @position and @wait are called from the thread that loads,
 * one at a time. Nothing is called with a lock of the library held.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t reserved;
    int64_t (*peek)(void *opaque, uint32_t n, const uint8_t **data,
                    GError **error);
    void (*consume)(void *opaque, uint32_t n);
    uint64_t (*position)(void *opaque);
    int32_t (*wait)(void *opaque, uint32_t direction, int32_t cancel_fd,
                    int64_t deadline, GError **error);
    bool (*shutdown)(void *opaque, uint32_t direction, GError **error);
} VmloadSourceOps;

/** Initialiser for VmloadSourceOps; members follow by name. Since: 0.1 */
#define VMLOAD_SOURCE_OPS_INIT .struct_size = (uint32_t)sizeof(VmloadSourceOps)

/**
 * vmload_channel_new_from_source:
 * @ops: the source; copied, may die after the call.
 * @opaque: passed to every callback of @ops.
 * @destroy: (nullable): frees @opaque; called exactly once, after the last
 *     callback, also when this function fails.
 * @error: (nullable): where to put the error.
 *
 * Makes a channel of bytes that the host buffers itself. It has no return
 * path and is not seekable.
 *
 * Return: (transfer full) (nullable): a channel with one reference; NULL on
 *     error.
 * Errors: VMLOAD_ERROR_UNSUPPORTED: @ops is longer than this library knows
 *     and uses the surplus, or its struct_size is not set;
 *     VMLOAD_ERROR_FAILED: `peek` or `consume` is missing; VMLOAD_ERROR_IO:
 *     there is no descriptor left for the channel's wake-up (needed with
 *     `wait` but without `shutdown`).
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadChannel *
vmload_channel_new_from_source(const VmloadSourceOps *ops, void *opaque,
                               GDestroyNotify destroy, GError **error);

/**
 * vmload_channel_set_name:
 * @channel: the channel.
 * @name: what messages call it; copied. "main" by default.
 *
 * Sets the channel's name in messages. A listener names those that it
 * accepts.
 *
 * Errors: none.
 * States: configuring (before a loader has the channel). Threads: owner.
 * Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_channel_set_name(VmloadChannel *channel,
                                           const char *name);

/**
 * vmload_channel_get_name:
 * @channel: the channel.
 *
 * Gets the channel's name in messages.
 *
 * Return: (transfer none): the name, borrowed until it is set again or the
 *     channel is gone.
 * Errors: none.
 * States: any. Threads: any, but not at the same time as
 * vmload_channel_set_name(). Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT const char *vmload_channel_get_name(VmloadChannel *channel);

/**
 * vmload_channel_shutdown:
 * @channel: the channel.
 * @direction: what to end.
 * @error: (nullable): where to put the error.
 *
 * Ends one direction or both, for good. A reader that waits, and every later
 * read, sees the end of the bytes, those not yet read included; a writer gets
 * VMLOAD_ERROR_IO. A socket's peer sees it as after shutdown(2). A direction
 * that is shut down already stays so. To end a load, use
 * vmload_loader_cancel() instead: it tells the host what happened.
 *
 * Return: true if the transport did it too. On false the directions are shut
 *     down here all the same.
 * Errors: VMLOAD_ERROR_IO: shutdown(2) failed, for another reason than a peer
 *     that is gone; those of the host's `shutdown`.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_channel_shutdown(VmloadChannel *channel,
                                           VmloadDirection direction,
                                           GError **error);

/**
 * vmload_channel_ref:
 * @channel: the channel.
 *
 * Takes a reference.
 *
 * Return: (transfer full): @channel.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadChannel *vmload_channel_ref(VmloadChannel *channel);

/**
 * vmload_channel_unref:
 * @channel: (nullable) (transfer full): the channel.
 *
 * Gives a reference back. With the last one the descriptor is closed, or the
 * host's `destroy` is called, on this thread.
 *
 * Errors: none.
 * States: any. Threads: any. Blocks: as long as close(2) or the host's
 * `destroy` does.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_channel_unref(VmloadChannel *channel);

G_END_DECLS

#endif

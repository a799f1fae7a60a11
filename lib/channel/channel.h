/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the rest of the library uses of a channel: blocking calls whose every
 * wait includes the cancel level.
 */
#ifndef VMLOAD_CHANNEL_INTERNAL_H
#define VMLOAD_CHANNEL_INTERNAL_H

#include <vmload/channel.h>
#include <vmload/listener.h>
#include "host/cancel.h"
#include "placement.h"

#include <poll.h>

struct VmloadSource;

/*
 * How a call waits. All members may be zero.
 * @cancel: ends the wait with VMLOAD_ERROR_CANCELLED.
 * @timeout_us: microseconds without a byte before VMLOAD_ERROR_TIMEOUT; 0:
 *     no bound.
 * @stalled: asked when @timeout_us have passed; true: wait as long again.
 *     NULL: false.
 * @begin, @end: called around each real wait (not around a read that has its
 *     bytes at once), for the accounting of the big lock.
 */
typedef struct {
    VmloadCancel *cancel;
    int64_t timeout_us;
    bool (*stalled)(void *opaque, const char *channel);
    void (*begin)(void *opaque);
    void (*end)(void *opaque);
    void *opaque;
} VmloadWait;

/*
 * Reads at least one byte. Returns how many, 0 at the end, -1 with @error set
 * (IO, CANCELLED, TIMEOUT). Bytes pushed back come first.
 */
int64_t vmload_channel_readv(VmloadChannel *channel, const struct iovec *iov,
                             uint32_t n, const VmloadWait *wait,
                             GError **error);

/*
 * The same without waiting and without looking at a cancel level:
 * VMLOAD_CHANNEL_WOULD_BLOCK if there is nothing yet. (A host's transport
 * that has no wait may block here.)
 */
int64_t vmload_channel_try_readv(VmloadChannel *channel,
                                 const struct iovec *iov, uint32_t n,
                                 GError **error);

/*
 * Writes all bytes, whatever the size of the transport's buffer. One thread
 * at a time; readers may run meanwhile. After a cancel: pass a @wait without
 * its level, but with a timeout.
 */
bool vmload_channel_write(VmloadChannel *channel, const void *data,
                          uint64_t length, const VmloadWait *wait,
                          GError **error);

/*
 * Writes what the transport takes without waiting: how many bytes, or
 * VMLOAD_CHANNEL_WOULD_BLOCK, or -1 with @error set. One thread at a time.
 */
int64_t vmload_channel_try_write(VmloadChannel *channel, const void *data,
                                 uint64_t length, GError **error);

/* Waits until a write is worth a try. Any thread. */
bool vmload_channel_wait_writable(VmloadChannel *channel,
                                  const VmloadWait *wait, GError **error);

/*
 * Reads at an absolute offset (of the file, not of the stream), from any
 * number of threads; -1 with UNSUPPORTED if not seekable.
 */
int64_t vmload_channel_preadv(VmloadChannel *channel, const struct iovec *iov,
                              uint32_t n, uint64_t offset,
                              const VmloadWait *wait, GError **error);

/*
 * Gives bytes back, in front of all others. At most 4096 in all. The reading
 * thread only.
 */
void vmload_channel_unread(VmloadChannel *channel, const void *data,
                           uint32_t length);

/*
 * A channel over bytes that the host buffers (VmloadSourceOps). The reading
 * thread only; not together with vmload_channel_unread().
 */
bool vmload_channel_is_source(const VmloadChannel *channel);
/* Says that it is one; @source is the transport's @opaque. */
void vmload_channel_set_source(VmloadChannel *channel,
                               struct VmloadSource *source);

/* What the source has buffered; never waits. */
uint64_t vmload_channel_window(VmloadChannel *channel, const uint8_t **data);

/*
 * The same once it is at least @n bytes, at most VMLOAD_SOURCE_WINDOW: fewer
 * only at the end. -1 with @error, as vmload_channel_readv().
 */
int64_t vmload_channel_peek(VmloadChannel *channel, uint32_t n,
                            const uint8_t **data, const VmloadWait *wait,
                            GError **error);

/* Takes @n bytes of what was shown. */
void vmload_channel_consume(VmloadChannel *channel, uint32_t n);

/* Bytes that were consumed by whomever; false: nobody knows. */
bool vmload_channel_get_consumed(const VmloadChannel *channel, uint64_t *n);

/*
 * poll(2) until @deadline (g_get_monotonic_time(); -1: none), started again
 * when a signal interrupts it. Negative descriptors are left out.
 */
int vmload_poll(struct pollfd *fds, uint32_t n, int64_t deadline);

/*
 * A channel over a regular file or a block device. @fd stays the transport's.
 * @origin: where in the file the stream begins.
 */
void vmload_channel_set_file(VmloadChannel *channel, int fd, uint64_t origin);
/* Absolute offset of the stream's first byte; 0 for all but files. */
uint64_t vmload_channel_get_origin(const VmloadChannel *channel);
/* The file's descriptor, borrowed; -1: it is no file. */
int vmload_channel_get_file(const VmloadChannel *channel);

/*
 * What is readable when a read is worth a try, borrowed; -1: no descriptor
 * tells. @fd stays the transport's.
 */
void vmload_channel_set_poll_fd(VmloadChannel *channel, int fd);
int vmload_channel_get_poll_fd(const VmloadChannel *channel);

/*
 * The file once more, to be read past the page cache: a descriptor for the
 * caller to close. -1 where that cannot be had.
 */
int vmload_channel_open_direct(const VmloadChannel *channel);

/*
 * The RAM side of a transport that places memory itself, with the opaque
 * pointer of its other functions. @ops is static.
 */
void vmload_channel_set_placement(VmloadChannel *channel,
                                  const VmloadPlacementOps *ops);
bool vmload_channel_has_placement(const VmloadChannel *channel);

/*
 * All that follows is for the loading thread, and does nothing for a channel
 * without a RAM side.
 *
 * HOOK in the stream: serves the peer until it says that it has written all
 * there is. UNSUPPORTED: the channel has no RAM side.
 */
bool vmload_channel_serve_ram(VmloadChannel *channel,
                              const VmloadPlacement *placement,
                              const VmloadWait *wait, GError **error);
/*
 * The stream has ended: no peer writes to guest memory any more. If not
 * @loaded it is told, for which there are @patience_us microseconds.
 */
void vmload_channel_end_ram(VmloadChannel *channel, bool loaded,
                            int64_t patience_us);
/* Behind that, before the channel goes: nobody is at guest memory. */
void vmload_channel_release_ram(VmloadChannel *channel);
/* After the last word to the peer: waits for it to leave first. */
void vmload_channel_await_peer(VmloadChannel *channel, const VmloadWait *wait);
/* Where the RAM side counts. */
void vmload_channel_count_ram(VmloadChannel *channel,
                              VmloadPlacementCounters *counters);

bool vmload_channel_is_writable(const VmloadChannel *channel);
bool vmload_channel_is_seekable(const VmloadChannel *channel);

/*
 * Once per listener. Accepts connections, finds out by their first bytes what
 * they are, gives back the main channel with all its bytes still to be read,
 * refuses all others and closes the listening socket, whatever the outcome.
 * Waits without bound for the first connection, then @handshake_us (0: no
 * bound) for the main channel; when all connections have left without a word
 * it is as before the first. @wait's timeout_us has no meaning here. NULL with
 * @error: CANCELLED, TIMEOUT, and what listener.h says of connections.
 */
VmloadChannel *vmload_listener_accept_main(VmloadListener *listener,
                                           const VmloadWait *wait,
                                           int64_t handshake_us,
                                           GError **error);

#endif

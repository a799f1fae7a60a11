/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The RAM side of a transport that puts pages into guest memory by itself:
 * what it gets to see of the guest's memory, and what it has to offer. The
 * code that parses the RAM section knows no more of such a transport than
 * this.
 */
#ifndef VMLOAD_PLACEMENT_H
#define VMLOAD_PLACEMENT_H

#include <vmload/error.h>

struct VmloadPool;

/*
 * One block, as the source's list named it.
 * @host: its memory; NULL: it has none (a sink that is written to).
 * @length: bytes in use.
 * @page_size: of what backs it.
 */
typedef struct {
    const char *idstr;
    uint8_t *host;
    uint64_t length;
    uint64_t page_size;
} VmloadPlacementBlock;

/*
 * @blocks: @n_blocks of them, in the order of the source's list.
 * @pinned_max: bytes of guest memory that may be pinned at once.
 * @claim: the peer may write to this range from now on.
 * @zero: makes a range zero, which costs nothing where it is known to be.
 * @pool: (transfer full, nullable): at most @n helper threads, which the
 *     transport joins in `release`.
 * Ranges lie inside of their block; the transport has checked that.
 */
typedef struct {
    const VmloadPlacementBlock *blocks;
    uint32_t n_blocks;
    uint64_t pinned_max;
    void (*claim)(void *opaque, uint32_t block, uint64_t offset,
                  uint64_t length);
    bool (*zero)(void *opaque, uint32_t block, uint64_t offset,
                 uint64_t length, GError **error);
    struct VmloadPool *(*pool)(void *opaque, const char *name, uint32_t n);
    void *opaque;
} VmloadPlacement;

/*
 * What such a transport counts. Each is atomic.
 * @registrations: pieces of guest memory that were opened to the peer.
 * @keys: how often the peer was told how to write to one.
 * @registered, @registered_peak: bytes that are, and were at most, open.
 * @register_ns: time that took, on all threads.
 * @register_wait_ns: time that the peer waited for answers which need it.
 * @ahead, @ahead_used: pieces that were opened before the peer asked, and
 *     those of them that were open when it did.
 * @messages: control messages received.
 * @waits, @wait_ns: how often the peer's next message, or its leave to send
 *     one, was not there yet, and how long that lasted.
 */
typedef struct {
    uint64_t registrations;
    uint64_t keys;
    uint64_t registered;
    uint64_t registered_peak;
    uint64_t register_ns;
    uint64_t messages;
    uint64_t waits;
    uint64_t wait_ns;
    uint64_t register_wait_ns;
    uint64_t ahead;
    uint64_t ahead_used;
} VmloadPlacementCounters;

/*
 * The transport's part, called by channel.c on the loading thread. None of
 * them sleeps.
 * @serve: goes on with a round: 1: it is over; VMLOAD_CHANNEL_WOULD_BLOCK:
 *     call again after `wait` for reading; -1 with @error.
 * @end: the peer can no longer write to guest memory. Not @loaded: the
 *     connection that it writes by is closed, and not much time is taken.
 * @release: nothing of ours is at guest memory any more: takes its time.
 * @bye: the last word is said: not @loaded, the peer is told. Returns the
 *     direction (VmloadDirection) to wait in until the peer has heard it, or,
 *     @loaded, has left; 0: there is nothing to wait for.
 * @count: counts there from now on.
 */
typedef struct {
    int64_t (*serve)(void *opaque, const VmloadPlacement *placement,
                     GError **error);
    void (*end)(void *opaque, bool loaded);
    void (*release)(void *opaque);
    uint32_t (*bye)(void *opaque, bool loaded);
    void (*count)(void *opaque, VmloadPlacementCounters *counters);
} VmloadPlacementOps;

#endif

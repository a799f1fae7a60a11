/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file stats.h
 * What a load has done so far: counters, and a ledger with a line a device.
 */
#ifndef VMLOAD_STATS_H
#define VMLOAD_STATS_H

#include <vmload/version.h>

G_BEGIN_DECLS

/**
 * VmloadStats:
 * @struct_size: sizeof (VmloadStats), set by the caller.
 * @state: VmloadState.
 * @bytes_total: bytes read from all channels.
 * @ram_bytes_expected: sum of the block lengths that the source announced.
 * @ram_pages_normal: pages that came with their content.
 * @ram_pages_zero: pages that came as "zero".
 * @ram_pages_xbzrle: pages that came as a delta.
 * @ram_bytes_placed: bytes written to guest RAM.
 * @sections: sections loaded.
 * @commands: commands processed.
 * @staged_peak_bytes: most bytes staged at once.
 * @lock_holds: how often the big lock was taken.
 * @lock_wait_ns: time spent to get the big lock, in total.
 * @lock_held_total_ns: time the big lock was held, in total (an upper bound:
 *     callbacks may drop it meanwhile).
 * @lock_held_max_ns: the longest single hold.
 * @lock_io_wait_ns: time waited for bytes with the big lock held: 0, by
 *     construction, counted so that a test can prove it.
 * @lock_io_waits: how often that happened: 0.
 * @lock_fault_wait_ns: time that callbacks waited, with the lock held, for
 *     guest pages that had not arrived, as whoever serves those pages told by
 *     vmload_loader_note_fault(). This version serves none itself.
 * @io_wait_ns: time waited for bytes in total, without the lock.
 * @start_ns: when the first byte was there, CLOCK_MONOTONIC.
 * @last_byte_ns: when the last byte was there.
 * @switchover_ns: when the source was seen to have stopped its guest (the
 *     SWITCHOVER_START command or the first END section); 0: not yet.
 * @end_ns: when the load reached its final state; 0: not yet.
 * @multifd_channels: multifd channels that are or were part of the load.
 * @multifd_bytes: bytes read from them, handshakes not counted; part of
 *     @bytes_total.
 * @multifd_packets: packets loaded from them.
 * @lock_held_max_site: what the longest hold was for, such as "load 'cpu'
 *     instance 0", "cpu_sync_post_load" or a command's name; empty: none yet.
 *     For people; cut at its end if it is too long.
 * @ram_prefaulted_bytes: bytes of memory that were made ready ahead of who
 *     writes them, see vmload_loader_set_prefault().
 * @rdma_messages: RDMA: messages received, which is credits used up. What the
 *     source writes into guest memory is in no message, and no counter of
 *     this side knows it: it is not in @bytes_total, nor in
 *     @ram_pages_normal and @ram_bytes_placed.
 * @rdma_credit_waits: RDMA: how often a message, or leave to send one, was
 *     waited for.
 * @rdma_credit_wait_ns: RDMA: how long, in total.
 * @rdma_registrations: RDMA: pieces of guest memory opened to the source:
 *     chunks, or, pinned as a whole, blocks.
 * @rdma_keys: RDMA: keys sent to the source.
 * @rdma_registered_bytes: RDMA: guest memory that is open and pinned now.
 * @rdma_registered_peak_bytes: RDMA: most of it at once.
 * @rdma_register_ns: RDMA: time spent to open memory, on all threads.
 * @connections_refused: connections that were closed while the load went on
 *     to wait, or to load: see `refused` in VmloadHostOps.
 * @rdma_register_wait_ns: RDMA: how long the source waited, in total, for
 *     answers that need memory to be opened.
 * @rdma_ahead: RDMA: pieces that were opened before the source asked.
 * @rdma_ahead_used: RDMA: those of them that were open when it did.
 *
 * A snapshot. Times in nanoseconds.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t state;
    uint64_t bytes_total;
    uint64_t ram_bytes_expected;
    uint64_t ram_pages_normal;
    uint64_t ram_pages_zero;
    uint64_t ram_pages_xbzrle;
    uint64_t ram_bytes_placed;
    uint64_t sections;
    uint64_t commands;
    uint64_t staged_peak_bytes;
    uint64_t lock_holds;
    uint64_t lock_wait_ns;
    uint64_t lock_held_total_ns;
    uint64_t lock_held_max_ns;
    uint64_t lock_io_wait_ns;
    uint64_t lock_io_waits;
    uint64_t lock_fault_wait_ns;
    uint64_t io_wait_ns;
    uint64_t start_ns;
    uint64_t last_byte_ns;
    uint64_t switchover_ns;
    uint64_t end_ns;
    uint64_t multifd_channels;
    uint64_t multifd_bytes;
    uint64_t multifd_packets;
    char lock_held_max_site[128];
    uint64_t ram_prefaulted_bytes;
    uint64_t rdma_messages;
    uint64_t rdma_credit_waits;
    uint64_t rdma_credit_wait_ns;
    uint64_t rdma_registrations;
    uint64_t rdma_keys;
    uint64_t rdma_registered_bytes;
    uint64_t rdma_registered_peak_bytes;
    uint64_t rdma_register_ns;
    uint64_t connections_refused;
    uint64_t rdma_register_wait_ns;
    uint64_t rdma_ahead;
    uint64_t rdma_ahead_used;
} VmloadStats;

/**
 * VmloadLedgerEntry:
 * @struct_size: sizeof (VmloadLedgerEntry) in the library.
 * @instance_id: the device's instance.
 * @version_id: the version the stream announced last.
 * @records: sections loaded for it.
 * @name: its idstr, NUL-terminated.
 * @bytes: bytes of payload.
 * @staging_ns: time in which bytes of its sections were awaited and received,
 *     to be staged; 0 if all of them were there already.
 * @lock_wait_ns: time spent to get the big lock for it.
 * @lock_held_ns: time the big lock was held for it.
 * @callback_ns: time in the host's callbacks.
 * @without_footer: sections of it that had no footer.
 *
 * What one device cost.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t instance_id;
    uint32_t version_id;
    uint32_t reserved;
    char name[256];
    uint64_t records;
    uint64_t bytes;
    uint64_t staging_ns;
    uint64_t lock_wait_ns;
    uint64_t lock_held_ns;
    uint64_t callback_ns;
    uint64_t without_footer;
} VmloadLedgerEntry;

G_END_DECLS

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest RAM as the loader sees it: a block table, and a parser of the `ram`
 * section's payload.
 */
#ifndef VMLOAD_RAM_INTERNAL_H
#define VMLOAD_RAM_INTERNAL_H

#include <vmload/limits.h>
#include <vmload/ram.h>
#include "stream/reader.h"

typedef struct VmloadRam VmloadRam;

/*
 * What RAM needs of its surroundings.
 * @announced: makes a block that nobody registered; NULL: unknown blocks
 *     fail.
 * @lock, @unlock: the big lock around a block's resize callback.
 * @check: false with the error set if the load is cancelled; asked where much
 *     is to be computed. May be NULL, as all members may.
 * @flush: MULTIFD_FLUSH: a barrier with all multifd channels.
 * @pool: makes a pool of threads; NULL: the loading thread does all.
 * @cancel: ends waits for such threads; needed with @pool.
 */
typedef struct {
    VmloadRamBlock *(*announced)(void *opaque, const char *idstr,
                                 uint64_t used_length, GError **error);
    void (*lock)(void *opaque);
    void (*unlock)(void *opaque);
    void *opaque;
    bool (*check)(void *opaque, GError **error);
    bool (*flush)(void *opaque, GError **error);
    struct VmloadPool *(*pool)(void *opaque, const char *name,
                               uint32_t max_threads, GError **error);
    const struct VmloadCancel *cancel;
} VmloadRamEnv;

/* Counters, written by loader threads, read by any with atomic loads. */
typedef struct {
    uint64_t pages_normal;
    uint64_t pages_zero;
    uint64_t pages_xbzrle;
    uint64_t bytes_placed;
    uint64_t bytes_expected;
    uint64_t bytes_prefaulted;
} VmloadRamCounters;

VmloadRam *vmload_ram_new(const VmloadRamEnv *env);
void vmload_ram_free(VmloadRam *ram);

/* Before the first payload. @limits is copied. */
void vmload_ram_set_limits(VmloadRam *ram, const VmloadLimits *limits);
/*
 * log2 of the target page size; default 12. Straight from the stream:
 * anything but 8 to 30 fails the first payload with UNSUPPORTED.
 */
void vmload_ram_set_page_bits(VmloadRam *ram, uint32_t bits);
/* From the stream's configuration: block list entries carry an address. */
void vmload_ram_set_ignore_shared(VmloadRam *ram, bool on);
/*
 * From the stream's configuration: pages lie behind the list's entries, and
 * there are no records of pages. Needs a seekable reader.
 */
void vmload_ram_set_mapped_ram(VmloadRam *ram, bool on);
/* How many threads read mapped-ram; 0: as many as make sense. */
void vmload_ram_set_threads(VmloadRam *ram, uint32_t threads);
/* Read mapped-ram past the page cache where that can be done. */
void vmload_ram_set_direct_io(VmloadRam *ram, bool on);
/*
 * How many bytes of memory may be made ready ahead of who writes it; 0: none;
 * VMLOAD_PREFAULT_AUTO (default).
 */
void vmload_ram_set_prefault(VmloadRam *ram, uint64_t bytes);
/*
 * From POSTCOPY_ADVISE with its 16 bytes: entries of blocks whose backing
 * has pages of an unusual size carry that size.
 */
void vmload_ram_set_postcopy_advised(VmloadRam *ram, bool on);

/* Takes @block, also on failure. FAILED: its idstr is there already. */
bool vmload_ram_add_block(VmloadRam *ram, VmloadRamBlock *block,
                          GError **error);
/* Any thread: the table only grows. NULL past the end. */
VmloadRamBlock *vmload_ram_get_block(VmloadRam *ram, uint64_t index);

/*
 * Loads one payload of START, PART or END, up to and with its EOS. The
 * "last block" of CONTINUE survives from one payload to the next.
 */
bool vmload_ram_load(VmloadRam *ram, VmloadReader *reader, GError **error);

/*
 * From now on others than the loading thread place pages: another block list
 * fails.
 */
void vmload_ram_fix_blocks(VmloadRam *ram);

/* Pages that another writer has placed. Any thread. */
void vmload_ram_count(VmloadRam *ram, uint64_t normal, uint64_t zero,
                      uint64_t bytes_placed);

/* No thread of RAM's own is left. After the last payload, and at any end. */
void vmload_ram_stop(VmloadRam *ram);

/* After the last payload: completes every sink (digests, files). */
bool vmload_ram_finish(VmloadRam *ram, GError **error);

/* Atomic snapshot of each counter. */
void vmload_ram_get_counters(VmloadRam *ram, VmloadRamCounters *counters);

#endif

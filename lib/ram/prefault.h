/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fresh memory costs more to touch than to fill. So it is made ready ahead
 * of who writes it: by a helper thread for the main channel, whose loading
 * thread is the one that is always busy, and by the writers themselves, in
 * turn, where there are several (docs/ram.md, "Prefaulting").
 */
#ifndef VMLOAD_RAM_PREFAULT_H
#define VMLOAD_RAM_PREFAULT_H

#include "host/pool.h"
#include "ram/block.h"

/* What is made ready at a time, and the grain of all bookkeeping. */
#define VMLOAD_PREFAULT_SHIFT 21
#define VMLOAD_PREFAULT_REGION ((uint64_t)1 << VMLOAD_PREFAULT_SHIFT)

/* Requests that the helper has not begun; more are dropped. */
#define VMLOAD_PREFAULT_QUEUE 16

/* Regions @from to @to - 1; by address, not by offset in the block. */
typedef struct {
    VmloadJob job; /* first: it is what the pool has */
    struct VmloadPrefault *owner;
    VmloadRamBlock *block;
    uint64_t from;
    uint64_t to;
    bool busy; /* was pushed; the loading thread's */
} VmloadPrefaultRange;

/*
 * @window: regions that may be ready ahead of the writer; 0: off.
 * @off: atomic; the kernel cannot do it, or would not.
 * @stop: atomic; the load ends.
 * @bytes: atomic; that were made ready.
 * @pool, @ranges: of the helper, used by the loading thread alone.
 * @mutex: leaf; guards VmloadRamBlock.ahead of all blocks.
 */
typedef struct VmloadPrefault {
    const VmloadRamEnv *env;
    uint64_t window;
    int off;
    int stop;
    uint64_t bytes;
    VmloadPool *pool;
    VmloadPrefaultRange ranges[VMLOAD_PREFAULT_QUEUE];
    GMutex mutex;
} VmloadPrefault;

/*
 * Where one writer is: the region, and what it has brought there.
 * @inline_only: the writer makes ready what is due itself.
 */
typedef struct {
    VmloadRamBlock *block; /* NULL: nowhere yet */
    uint64_t region;
    uint64_t normal;
    uint64_t zero;
    bool inline_only;
} VmloadPrefaultCursor;

/* @env is borrowed. */
void vmload_prefault_init(VmloadPrefault *prefault, const VmloadRamEnv *env);
/* Joins the helper. Any number of times; nothing is made ready any more. */
void vmload_prefault_stop(VmloadPrefault *prefault);
void vmload_prefault_clear(VmloadPrefault *prefault);

/* Bytes ahead of the writer; 0: off; VMLOAD_PREFAULT_AUTO. */
void vmload_prefault_set(VmloadPrefault *prefault, uint64_t bytes);

/* The cursor's writer turns to another region. */
void vmload_prefault_move(VmloadPrefault *prefault,
                          VmloadPrefaultCursor *cursor, VmloadRamBlock *block,
                          uint64_t region, uint64_t page_size);

/*
 * Makes @region of the block ready now, if no page of it has come. For
 * writers that know themselves what is due. Any thread.
 */
void vmload_prefault_region(VmloadPrefault *prefault,
                            const VmloadRamBlock *block, uint64_t region);

/* @n pages at @offset come now, of content or @zero. Never waits. */
static inline void vmload_prefault_note(VmloadPrefault *prefault,
                                        VmloadPrefaultCursor *cursor,
                                        VmloadRamBlock *block,
                                        uint64_t offset, uint64_t n,
                                        bool zero, uint64_t page_size)
{
    uint64_t region;

    if (prefault->window == 0 || block->sink->host == NULL) {
        return;
    }
    region = ((uint64_t)(uintptr_t)block->sink->host + offset) >>
             VMLOAD_PREFAULT_SHIFT;
    if (cursor->block != block || cursor->region != region) {
        vmload_prefault_move(prefault, cursor, block, region, page_size);
    }
    *(zero ? &cursor->zero : &cursor->normal) += n;
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pieces of guest memory that are opened to the peer. ibv_reg_mr() takes its
 * time and cannot be interrupted, so that helper threads do it: the loading
 * thread asks, is woken, and can always be cancelled meanwhile.
 */
#ifndef VMLOAD_RDMA_REGION_H
#define VMLOAD_RDMA_REGION_H

#include "channel/placement.h"
#include "host/pool.h"

#include <infiniband/verbs.h>

typedef struct VmloadRdmaRegions VmloadRdmaRegions;

typedef enum {
    VMLOAD_RDMA_REGION_QUEUED,
    VMLOAD_RDMA_REGION_BUSY,
    VMLOAD_RDMA_REGION_OPEN,
    VMLOAD_RDMA_REGION_FAILED,
    VMLOAD_RDMA_REGION_CLOSED, /* again, or never opened */
} VmloadRdmaRegionState;

/*
 * @state, @errnum, @mr: of the lock of all regions. @errnum: why it failed; 0:
 *     the device gave it a key that is none. @mr: the second has key 0.
 * @touch: memory is made ready, and nothing is opened.
 * What follows is the loading thread's, of who asked for the region.
 * @index, @first, @last: its block and chunks.
 * @asked: the peer has its key, or waits for it.
 * @claimed: the peer may write to it.
 */
typedef struct {
    VmloadJob job; /* first: it is what the pool has */
    VmloadRdmaRegions *owner;
    uint8_t *data;
    uint64_t length;
    bool touch;
    VmloadRdmaRegionState state;
    int errnum;
    struct ibv_mr *mr[2];

    uint32_t index;
    uint64_t first;
    uint64_t last;
    bool asked;
    bool claimed;
} VmloadRdmaRegion;

/*
 * @pd, @counters: borrowed. @pool: taken; NULL: all is done at once, by who
 * asks. @wake: called on a helper thread, with @opaque, after each change.
 */
VmloadRdmaRegions *
vmload_rdma_regions_new(struct ibv_pd *pd, VmloadPool *pool,
                        VmloadPlacementCounters *counters,
                        void (*wake)(void *opaque), void *opaque);
/* Waits for the helpers, and closes all. @regions: nullable. */
void vmload_rdma_regions_free(VmloadRdmaRegions *regions);

/* Opens this memory, or only makes it ready; borrowed until the end. */
VmloadRdmaRegion *vmload_rdma_regions_add(VmloadRdmaRegions *regions,
                                          uint8_t *data, uint64_t length,
                                          bool touch);
/* @errnum (nullable): why it failed. */
VmloadRdmaRegionState vmload_rdma_region_get_state(VmloadRdmaRegion *region,
                                                   int *errnum);
/* Of one that is open. */
uint32_t vmload_rdma_region_get_key(const VmloadRdmaRegion *region);
/* Closes what the peer knows no key of. False: a helper is at it. */
bool vmload_rdma_region_close(VmloadRdmaRegion *region);

/*
 * No region is opened any more, and those that are open are closed until
 * @deadline (g_get_monotonic_time(); -1: none). True: all are.
 */
bool vmload_rdma_regions_close(VmloadRdmaRegions *regions, int64_t deadline);

#endif

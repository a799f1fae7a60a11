/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory that the peer may write to (RDMA format, section 7). Keys are
 * made for ranges of the guest's blocks only, and every range that the peer
 * names is checked here before it reaches verbs.
 */
#ifndef VMLOAD_RDMA_MEMORY_H
#define VMLOAD_RDMA_MEMORY_H

#include "message.h"
#include "region.h"

/* What the peer counts memory in. */
#define VMLOAD_RDMA_CHUNK ((uint64_t)1 << 20)

typedef struct VmloadRdmaMemory VmloadRdmaMemory;

/*
 * @pd: of the connection that the peer writes by. @placement and @counters
 * are borrowed. @pinned: all memory will be opened at once. @wake: as for
 * vmload_rdma_regions_new(). UNSUPPORTED: a block has no memory; LIMIT: too
 * many blocks.
 */
VmloadRdmaMemory *
vmload_rdma_memory_new(struct ibv_pd *pd, const VmloadPlacement *placement,
                       VmloadPlacementCounters *counters, bool pinned,
                       void (*wake)(void *opaque), void *opaque,
                       GError **error);

/*
 * Closes all memory to the peer, and joins the helpers. Where the peer may
 * still be at it, its queue pair must be gone. @memory: nullable.
 */
void vmload_rdma_memory_free(VmloadRdmaMemory *memory);

/* As much of that as can be done until @deadline; -1: all. True: all is. */
bool vmload_rdma_memory_close(VmloadRdmaMemory *memory, int64_t deadline);

/* What the peer is told of a block. */
void vmload_rdma_memory_describe(const VmloadRdmaMemory *memory,
                                 uint32_t index, VmloadRdmaBlock *block);

/*
 * Pin-all: opens all blocks. 1; VMLOAD_CHANNEL_WOULD_BLOCK: call again when
 * woken; -1 with @error.
 */
int64_t vmload_rdma_memory_pin(VmloadRdmaMemory *memory, GError **error);

/*
 * Opens the chunks of a REGISTER_REQUEST, if they are not open yet, and some
 * behind them that the peer is going to ask for. As vmload_rdma_memory_pin().
 */
int64_t vmload_rdma_memory_open(VmloadRdmaMemory *memory,
                                const VmloadRdmaRange *range, uint32_t *key,
                                uint64_t *host, GError **error);

/* The range of a COMPRESS becomes zero. */
bool vmload_rdma_memory_zero(VmloadRdmaMemory *memory,
                             const VmloadRdmaRange *range, GError **error);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#include "ready.h"

/* Regions ahead of the one that a packet is for. */
#define READY_AHEAD 1

/* Packets with less than this say nothing about what is around them. */
#define READY_LEAST ((uint64_t)128 * 1024)

/* Where a packet's pages are, in bytes of the block. */
typedef struct {
    uint64_t from;
    uint64_t to;
} ReadySpan;

/* False: too little, or more than an eighth is not in the packet. */
static bool ready_span(const VmloadMultifdPacket *packet, uint64_t page_size,
                       ReadySpan *span)
{
    uint64_t content = packet->normal * page_size;
    uint64_t last = 0;
    uint32_t i;

    span->from = UINT64_MAX;
    for (i = 0; i < packet->normal; i++) {
        uint64_t offset = vmload_multifd_packet_offset(packet, i);

        span->from = MIN(span->from, offset);
        last = MAX(last, offset);
    }
    span->to = last + page_size;
    return content >= READY_LEAST &&
           span->to - span->from <= content + content / 8;
}

/* A bit for each whole region of the block. NULL: no memory. */
static uint64_t *ready_map(VmloadRamBlock *block)
{
    uint64_t *map = __atomic_load_n(&block->begun, __ATOMIC_ACQUIRE);
    uint64_t *fresh;

    if (map != NULL) {
        return map;
    }
    fresh = g_try_new0(uint64_t,
                       (block->max_length >> VMLOAD_PREFAULT_SHIFT) / 64 + 1);
    if (fresh == NULL ||
        __atomic_compare_exchange_n(&block->begun, &map, fresh, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        return fresh;
    }
    g_free(fresh);
    return map;
}

/* Is this caller the first that asks for region @n of the map? */
static bool ready_begin(uint64_t *map, uint64_t n)
{
    uint64_t bit = (uint64_t)1 << (n % 64);

    /* To look first leaves the line with all who only look. */
    return (__atomic_load_n(&map[n / 64], __ATOMIC_RELAXED) & bit) == 0 &&
           (__atomic_fetch_or(&map[n / 64], bit, __ATOMIC_RELAXED) & bit) ==
               0;
}

void vmload_multifd_make_ready(VmloadRam *ram, VmloadRamBlock *block,
                               const VmloadMultifdPacket *packet)
{
    uint64_t host = (uint64_t)(uintptr_t)block->sink->host;
    uint64_t length = vmload_ram_block_get_length(block);
    uint64_t first;
    uint64_t end;
    uint64_t region;
    ReadySpan span;
    uint64_t *map;

    if (ram->prefault.window == 0 || block->sink->host == NULL ||
        block->page_size > VMLOAD_PREFAULT_REGION ||
        !ready_span(packet, vmload_ram_page_size(ram), &span)) {
        return;
    }
    /* Whole regions of the block, by address; then those of the packet. */
    first = (host + VMLOAD_PREFAULT_REGION - 1) >> VMLOAD_PREFAULT_SHIFT;
    end = (host + length) >> VMLOAD_PREFAULT_SHIFT;
    end = MIN(end, ((host + span.to - 1) >> VMLOAD_PREFAULT_SHIFT) + 1 +
                       READY_AHEAD);
    region = MAX(first, (host + span.from) >> VMLOAD_PREFAULT_SHIFT);
    map = region < end ? ready_map(block) : NULL;
    for (; map != NULL && region < end; region++) {
        if (ready_begin(map, region - first)) {
            vmload_prefault_region(&ram->prefault, block, region);
        }
    }
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "memory.h"

#include "channel/channel.h"
#include "error.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#define U64 "%" G_GUINT64_FORMAT
#define X64 "0x%" G_GINT64_MODIFIER "x"

/* What may be open ahead of the peer, if no single page is larger. */
#define AHEAD_MAX ((uint64_t)8 << 20)

/* One region ahead for so many that the peer has asked for in a row. */
#define AHEAD_SHARE 4

/* Pin-all: what one thread makes ready at a time, and how many there are. */
#define TOUCH_SLICE ((uint64_t)64 << 20)
#define PIN_THREADS 4

/* The largest page that is opened as a whole. */
#define UNIT_MAX ((uint64_t)1 << 30)

/*
 * A block, and what of it is open. @token: where the block begins in the
 * addresses that the peer uses; no two blocks overlap there, so that a peer
 * that mixes up blocks is found out.
 * @unit: what is opened at once: a chunk, or the page behind it if that is
 * larger, since no part of a page is pinned alone.
 * @chunks: for each chunk what makes it open, or NULL; NULL: none is.
 * @whole: pin-all.
 */
typedef struct {
    uint8_t *host;
    uint64_t length;
    uint64_t token;
    uint64_t unit;
    uint64_t n_chunks;
    VmloadRdmaRegion **chunks;
    VmloadRdmaRegion *whole;
} MemoryBlock;

/*
 * @pinned: bytes of all regions that are open, or are going to be.
 * @n_asked, @asked_max: regions that the peer asked for.
 * @ahead: those that it has not asked for yet, oldest first; @ahead_bytes of
 *     them. @ahead_off: it went wrong once.
 * @run: so many regions the peer has asked for in a row, of block @run_index;
 *     @run_next: the chunk behind them.
 */
struct VmloadRdmaMemory {
    const VmloadPlacement *placement;
    VmloadPlacementCounters *counters;
    VmloadRdmaRegions *regions;
    uint64_t pinned;
    uint64_t n_asked;
    uint64_t asked_max;
    uint32_t n_blocks;
    MemoryBlock *blocks;

    GQueue ahead;
    uint64_t ahead_bytes;
    bool ahead_off;
    uint32_t run_index;
    uint64_t run_next;
    uint64_t run;
};

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value / unit + (value % unit != 0 ? 1 : 0)) * unit;
}

static bool memory_add_block(VmloadRdmaMemory *memory, uint32_t index,
                             uint64_t *token, GError **error)
{
    const VmloadPlacementBlock *from = &memory->placement->blocks[index];
    MemoryBlock *block = &memory->blocks[index];

    if (from->host == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "RAM block '%s': expected memory that RDMA can "
                           "write to, found a sink without", from->idstr);
    }
    /* Lengths are below 2^63, but their sum need not be. */
    if (from->length > (uint64_t)INT64_MAX - VMLOAD_RDMA_CHUNK - *token) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "RAM block '%s': the blocks do not fit into 63 "
                           "bits", from->idstr);
    }
    block->host = from->host;
    block->length = from->length;
    block->token = *token;
    block->n_chunks = round_up(from->length, VMLOAD_RDMA_CHUNK) /
                      VMLOAD_RDMA_CHUNK;
    block->unit = CLAMP(from->page_size, VMLOAD_RDMA_CHUNK, UNIT_MAX);
    *token += round_up(from->length, VMLOAD_RDMA_CHUNK);
    memory->asked_max += block->n_chunks + 1;
    return true;
}

VmloadRdmaMemory *
vmload_rdma_memory_new(struct ibv_pd *pd, const VmloadPlacement *placement,
                       VmloadPlacementCounters *counters, bool pinned,
                       void (*wake)(void *opaque), void *opaque,
                       GError **error)
{
    uint32_t n_threads =
        pinned ? MIN(g_get_num_processors(), PIN_THREADS) : 1;
    VmloadRdmaMemory *memory;
    uint64_t token = 0;
    uint32_t i;

    if (placement->n_blocks > VMLOAD_RDMA_BLOCKS_MAX) {
        vmload_fail(error, VMLOAD_ERROR_LIMIT,
                    "RDMA: expected at most %u RAM blocks, found %u",
                    VMLOAD_RDMA_BLOCKS_MAX, placement->n_blocks);
        return NULL;
    }
    memory = g_new0(VmloadRdmaMemory, 1);
    memory->placement = placement;
    memory->counters = counters;
    memory->n_blocks = placement->n_blocks;
    g_queue_init(&memory->ahead);
    memory->regions = vmload_rdma_regions_new(
        pd, placement->pool(placement->opaque, "vmload-reg", n_threads),
        counters, wake, opaque);
    memory->blocks = g_try_new0(MemoryBlock, MAX(memory->n_blocks, 1u));
    for (i = 0; memory->blocks != NULL && i < memory->n_blocks; i++) {
        if (!memory_add_block(memory, i, &token, error)) {
            vmload_rdma_memory_free(memory);
            return NULL;
        }
    }
    if (memory->blocks == NULL) {
        vmload_fail(error, VMLOAD_ERROR_LIMIT, "RDMA: no memory for %u blocks",
                    memory->n_blocks);
        vmload_rdma_memory_free(memory);
        return NULL;
    }
    return memory;
}

void vmload_rdma_memory_free(VmloadRdmaMemory *memory)
{
    uint32_t i;

    if (memory == NULL) {
        return;
    }
    vmload_rdma_regions_free(memory->regions);
    g_queue_clear(&memory->ahead);
    for (i = 0; memory->blocks != NULL && i < memory->n_blocks; i++) {
        g_free(memory->blocks[i].chunks);
    }
    g_free(memory->blocks);
    g_free(memory);
}

bool vmload_rdma_memory_close(VmloadRdmaMemory *memory, int64_t deadline)
{
    return vmload_rdma_regions_close(memory->regions, deadline);
}

void vmload_rdma_memory_describe(const VmloadRdmaMemory *memory,
                                 uint32_t index, VmloadRdmaBlock *block)
{
    const MemoryBlock *from = &memory->blocks[index];

    block->host = (uintptr_t)from->host;
    block->token = from->token;
    block->length = from->length;
    block->key =
        from->whole != NULL ? vmload_rdma_region_get_key(from->whole) : 0;
}

/* --- opening -------------------------------------------------------------- */

/* Always -1. */
static int64_t memory_fail_pin(const VmloadRdmaMemory *memory,
                               const VmloadRdmaRegion *region, int errnum,
                               GError **error)
{
    uint64_t beside = memory->pinned - region->length;
    struct rlimit limit = {0};

    if (errnum == 0) {
        vmload_fail(error, VMLOAD_ERROR_IO,
                    "RDMA: expected a key other than 0 from the device");
    } else if (errnum == ENOMEM && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
               limit.rlim_cur != RLIM_INFINITY) {
        vmload_fail(error, VMLOAD_ERROR_IO,
                    "RDMA: cannot pin " U64 " bytes of guest memory beside "
                    U64 ": %s; raise RLIMIT_MEMLOCK (ulimit -l), which is "
                    U64 " bytes, to more than the guest has", region->length,
                    beside, g_strerror(errnum), (uint64_t)limit.rlim_cur);
    } else {
        vmload_fail_errno(error, errnum,
                          "RDMA: cannot pin " U64 " bytes of guest memory "
                          "beside " U64, region->length, beside);
    }
    g_prefix_error(error, "RAM block '%s' chunk " U64 ": ",
                   memory->placement->blocks[region->index].idstr,
                   region->first);
    return -1;
}

static VmloadRdmaRegion *memory_add_region(VmloadRdmaMemory *memory,
                                           uint32_t index, uint64_t begin,
                                           uint64_t end)
{
    VmloadRdmaRegion *region = vmload_rdma_regions_add(
        memory->regions, memory->blocks[index].host + begin, end - begin,
        false);

    region->index = index;
    region->first = begin / VMLOAD_RDMA_CHUNK;
    region->last = (end - 1) / VMLOAD_RDMA_CHUNK;
    memory->pinned += end - begin;
    return region;
}

/* It is not open, or the peer must not get to know it. */
static void memory_forget(VmloadRdmaMemory *memory,
                          const VmloadRdmaRegion *region)
{
    MemoryBlock *block = &memory->blocks[region->index];
    uint64_t i;

    for (i = region->first; i <= region->last; i++) {
        if (block->chunks[i] == region) {
            block->chunks[i] = NULL;
        }
    }
    memory->pinned -= region->length;
}

/* Gives up the oldest region that was opened in vain so far. 1: it is gone;
 * 0: there is none; WOULD_BLOCK: a helper is at it. */
static int64_t memory_drop_ahead(VmloadRdmaMemory *memory)
{
    VmloadRdmaRegion *region = g_queue_peek_head(&memory->ahead);

    if (region == NULL) {
        return 0;
    }
    if (!vmload_rdma_region_close(region)) {
        return VMLOAD_CHANNEL_WOULD_BLOCK;
    }
    g_queue_pop_head(&memory->ahead);
    memory->ahead_bytes -= region->length;
    memory_forget(memory, region);
    return 1;
}

/* What is needed goes before what may be. As memory_drop_ahead(), but -1: it
 * cannot be had. */
static int64_t memory_make_room(VmloadRdmaMemory *memory, uint64_t length,
                                GError **error)
{
    uint64_t max = memory->placement->pinned_max;
    int64_t dropped = 1;

    while (dropped > 0 &&
           (memory->pinned > max || length > max - memory->pinned)) {
        dropped = memory_drop_ahead(memory);
    }
    if (dropped == 0) {
        vmload_fail(error, VMLOAD_ERROR_LIMIT,
                    "RDMA: expected at most " U64 " bytes of guest memory to "
                    "be pinned (limit rdma_pinned_bytes), found a need for "
                    U64 " beside " U64, max, length, memory->pinned);
        return -1;
    }
    return dropped;
}

/* --- pin-all -------------------------------------------------------------- */

/* Large blocks are made ready by all threads before one of them opens it. */
static void memory_touch(VmloadRdmaMemory *memory, const MemoryBlock *block)
{
    uint64_t done;

    for (done = 0; done < block->length; done += TOUCH_SLICE) {
        vmload_rdma_regions_add(memory->regions, block->host + done,
                                MIN(TOUCH_SLICE, block->length - done), true);
    }
}

static bool memory_begin_pin(VmloadRdmaMemory *memory, GError **error)
{
    uint32_t i;

    for (i = 0; i < memory->n_blocks; i++) {
        MemoryBlock *block = &memory->blocks[i];

        if (memory_make_room(memory, block->length, error) < 0) {
            g_prefix_error(error, "RAM block '%s': ",
                           memory->placement->blocks[i].idstr);
            return false;
        }
        if (block->length > TOUCH_SLICE) {
            memory_touch(memory, block);
        }
        block->whole = memory_add_region(memory, i, 0, block->length);
    }
    return true;
}

int64_t vmload_rdma_memory_pin(VmloadRdmaMemory *memory, GError **error)
{
    uint32_t i;
    int errnum;

    if (memory->n_blocks > 0 && memory->blocks[0].whole == NULL &&
        !memory_begin_pin(memory, error)) {
        return -1;
    }
    for (i = 0; i < memory->n_blocks; i++) {
        VmloadRdmaRegion *whole = memory->blocks[i].whole;

        switch (vmload_rdma_region_get_state(whole, &errnum)) {
        case VMLOAD_RDMA_REGION_QUEUED:
        case VMLOAD_RDMA_REGION_BUSY:
            return VMLOAD_CHANNEL_WOULD_BLOCK;
        case VMLOAD_RDMA_REGION_OPEN:
            break;
        default:
            return memory_fail_pin(memory, whole, errnum, error);
        }
        if (!whole->claimed) {
            whole->claimed = true;
            memory->placement->claim(memory->placement->opaque, i, 0,
                                     whole->length);
        }
    }
    __atomic_fetch_add(&memory->counters->keys, memory->n_blocks,
                       __ATOMIC_RELAXED);
    return 1;
}

/* --- what the peer names -------------------------------------------------- */

/* The offset in its block at which @range begins. */
static bool memory_locate(const VmloadRdmaMemory *memory,
                          const VmloadRdmaRange *range, uint64_t *offset,
                          GError **error)
{
    const MemoryBlock *block;

    if (range->block >= memory->n_blocks) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "RDMA: expected a RAM block below %u, found %u",
                           memory->n_blocks, range->block);
    }
    block = &memory->blocks[range->block];
    if (range->address < block->token ||
        range->address - block->token >= block->length) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "RDMA: RAM block '%s': expected an address from "
                           X64 " to " X64 ", found " X64,
                           memory->placement->blocks[range->block].idstr,
                           block->token, block->token + block->length - 1,
                           range->address);
    }
    *offset = range->address - block->token;
    return true;
}

/* What is opened for chunks @first to @last: whole units. */
static void block_units(const MemoryBlock *block, uint64_t first,
                        uint64_t last, uint64_t *begin, uint64_t *end)
{
    *begin = first * VMLOAD_RDMA_CHUNK;
    *begin -= *begin % block->unit;
    *end = MIN(round_up((last + 1) * VMLOAD_RDMA_CHUNK, block->unit),
               block->length);
}

static void block_note(MemoryBlock *block, VmloadRdmaRegion *region,
                       uint64_t chunk)
{
    uint64_t i;

    for (i = region->first; i <= region->last; i++) {
        if (block->chunks[i] == NULL || i == chunk) {
            block->chunks[i] = region;
        }
    }
}

/* --- ahead of the peer ---------------------------------------------------- */

/* What failed ahead is not needed, but shows that no more should be tried. */
static void memory_look_ahead(VmloadRdmaMemory *memory)
{
    GList *link = memory->ahead.head;

    while (link != NULL) {
        VmloadRdmaRegion *region = link->data;
        GList *next = link->next;

        if (vmload_rdma_region_get_state(region, NULL) ==
            VMLOAD_RDMA_REGION_FAILED) {
            g_queue_delete_link(&memory->ahead, link);
            memory->ahead_bytes -= region->length;
            memory_forget(memory, region);
            memory->ahead_off = true;
        }
        link = next;
    }
}

/* Opens the region at @chunk before it is asked for, if that harms nobody. */
static bool memory_open_ahead(VmloadRdmaMemory *memory, uint32_t index,
                              uint64_t chunk)
{
    uint64_t max = memory->placement->pinned_max;
    MemoryBlock *block = &memory->blocks[index];
    VmloadRdmaRegion *region;
    uint64_t begin;
    uint64_t end;

    block_units(block, chunk, chunk, &begin, &end);
    /* What lies there from earlier will not be asked for soon. */
    while (memory->ahead_bytes > 0 &&
           memory->ahead_bytes + (end - begin) > AHEAD_MAX) {
        if (memory_drop_ahead(memory) <= 0) {
            return false;
        }
    }
    if (memory->pinned > max || end - begin > max - memory->pinned) {
        return false;
    }
    region = memory_add_region(memory, index, begin, end);
    g_queue_push_tail(&memory->ahead, region);
    memory->ahead_bytes += region->length;
    block_note(block, region, chunk);
    __atomic_fetch_add(&memory->counters->ahead, 1, __ATOMIC_RELAXED);
    return true;
}

/*
 * The peer has asked for @region for the first time. Most go through memory
 * from its begin to its end: the longer it has done so, the more is open when
 * it comes there. What is opened in vain stays a small share.
 */
static void memory_go_ahead(VmloadRdmaMemory *memory,
                            const VmloadRdmaRegion *region)
{
    const MemoryBlock *block = &memory->blocks[region->index];
    uint64_t next = region->last + 1;
    uint64_t n;

    memory->run = region->index == memory->run_index &&
                          region->first == memory->run_next
                      ? memory->run + 1
                      : 1;
    memory->run_index = region->index;
    memory->run_next = next;
    n = MIN(memory->run / AHEAD_SHARE, MAX(AHEAD_MAX / block->unit, 1u));
    for (; n > 0 && next < block->n_chunks && !memory->ahead_off; n--) {
        if (block->chunks[next] == NULL &&
            !memory_open_ahead(memory, region->index, next)) {
            break;
        }
        next = block->chunks[next]->last + 1;
    }
}

/* Those that no helper has begun yet. */
static void memory_drop_queued(VmloadRdmaMemory *memory)
{
    VmloadRdmaRegion *last;

    while ((last = g_queue_peek_tail(&memory->ahead)) != NULL &&
           vmload_rdma_region_get_state(last, NULL) ==
               VMLOAD_RDMA_REGION_QUEUED &&
           vmload_rdma_region_close(last)) {
        g_queue_pop_tail(&memory->ahead);
        memory->ahead_bytes -= last->length;
        memory_forget(memory, last);
    }
}

/* --- on request ----------------------------------------------------------- */

/* 1: a region for these chunks is on its way. */
static int64_t memory_ask(VmloadRdmaMemory *memory, uint32_t index,
                          uint64_t first, uint64_t last, GError **error)
{
    MemoryBlock *block = &memory->blocks[index];
    uint64_t begin;
    uint64_t end;
    int64_t result;

    if (block->chunks == NULL) {
        block->chunks = g_try_new0(VmloadRdmaRegion *, block->n_chunks);
    }
    if (block->chunks == NULL) {
        vmload_fail(error, VMLOAD_ERROR_LIMIT,
                    "no memory to note " U64 " chunks", block->n_chunks);
        return -1;
    }
    /* An honest peer asks for each chunk once. */
    if (memory->n_asked >= memory->asked_max) {
        vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                    "RDMA: expected each chunk to be asked for once, found "
                    "more than " U64 " requests", memory->asked_max);
        return -1;
    }
    /* It is needed now, and they were a wrong guess. */
    memory_drop_queued(memory);
    block_units(block, first, last, &begin, &end);
    result = memory_make_room(memory, end - begin, error);
    if (result > 0) {
        memory->n_asked++;
        block_note(block, memory_add_region(memory, index, begin, end),
                   first);
    }
    return result;
}

/* The peer gets to know @region, or waits until it does. */
static void memory_note_asked(VmloadRdmaMemory *memory,
                              VmloadRdmaRegion *region)
{
    if (g_queue_remove(&memory->ahead, region)) {
        memory->ahead_bytes -= region->length;
        if (vmload_rdma_region_get_state(region, NULL) ==
            VMLOAD_RDMA_REGION_OPEN) {
            __atomic_fetch_add(&memory->counters->ahead_used, 1,
                               __ATOMIC_RELAXED);
        }
    }
    region->asked = true;
    memory_go_ahead(memory, region);
}

/* Does it reach to the end of chunk @last? */
static bool region_covers(const MemoryBlock *block,
                          const VmloadRdmaRegion *region, uint64_t last)
{
    uint64_t begin = (uint64_t)(region->data - block->host);
    uint64_t end = MIN((last + 1) * VMLOAD_RDMA_CHUNK, block->length);

    return end - begin <= region->length;
}

/*
 * @region could not be opened: once more without those that nobody has asked
 * for. 1: it may be asked for again.
 */
static int64_t memory_retry(VmloadRdmaMemory *memory,
                            const VmloadRdmaRegion *region, int errnum,
                            GError **error)
{
    int64_t dropped;

    memory->ahead_off = true;
    if (g_queue_is_empty(&memory->ahead)) {
        return memory_fail_pin(memory, region, errnum, error);
    }
    do {
        dropped = memory_drop_ahead(memory);
    } while (dropped > 0);
    if (dropped < 0) {
        return dropped;
    }
    memory_forget(memory, region);
    memory->n_asked--;
    return 1;
}

/* As vmload_rdma_memory_open(), of chunks that are there. */
static int64_t memory_open(VmloadRdmaMemory *memory, uint32_t index,
                           uint64_t first, uint64_t last,
                           VmloadRdmaRegion **result, GError **error)
{
    MemoryBlock *block = &memory->blocks[index];
    VmloadRdmaRegionState state;
    VmloadRdmaRegion *region;
    int64_t asked = 1;
    int errnum;

    while (asked > 0) {
        region = block->whole;
        if (region == NULL && block->chunks != NULL) {
            region = block->chunks[first];
        }
        if (region == NULL || !region_covers(block, region, last)) {
            asked = memory_ask(memory, index, first, last, error);
            if (asked <= 0) {
                return asked;
            }
            region = block->chunks[first];
        }
        if (!region->asked && region != block->whole) {
            memory_note_asked(memory, region);
        }
        state = vmload_rdma_region_get_state(region, &errnum);
        if (state == VMLOAD_RDMA_REGION_OPEN) {
            *result = region;
            return 1;
        }
        if (state != VMLOAD_RDMA_REGION_FAILED) {
            return VMLOAD_CHANNEL_WOULD_BLOCK;
        }
        asked = memory_retry(memory, region, errnum, error);
    }
    return asked;
}

int64_t vmload_rdma_memory_open(VmloadRdmaMemory *memory,
                                const VmloadRdmaRange *range, uint32_t *key,
                                uint64_t *host, GError **error)
{
    VmloadRdmaRegion *region = NULL;
    const MemoryBlock *block;
    uint64_t offset = 0;
    uint64_t chunk;
    int64_t result;

    if (!memory_locate(memory, range, &offset, error)) {
        return -1;
    }
    block = &memory->blocks[range->block];
    chunk = offset / VMLOAD_RDMA_CHUNK;
    if (range->length >= block->n_chunks - chunk) {
        vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                    "RDMA: RAM block '%s': expected at most " U64
                    " chunks behind chunk " U64 ", found " U64,
                    memory->placement->blocks[range->block].idstr,
                    block->n_chunks - chunk - 1, chunk, range->length);
        return -1;
    }
    memory_look_ahead(memory);
    result = memory_open(memory, range->block, chunk, chunk + range->length,
                         &region, error);
    if (result <= 0) {
        return result;
    }
    if (!region->claimed) {
        region->claimed = true;
        memory->placement->claim(memory->placement->opaque, range->block,
                                 (uint64_t)(region->data - block->host),
                                 region->length);
    }
    __atomic_fetch_add(&memory->counters->keys, 1, __ATOMIC_RELAXED);
    *key = vmload_rdma_region_get_key(region);
    *host = (uintptr_t)block->host;
    return 1;
}

bool vmload_rdma_memory_zero(VmloadRdmaMemory *memory,
                             const VmloadRdmaRange *range, GError **error)
{
    const MemoryBlock *block;
    uint64_t offset = 0;

    if (!memory_locate(memory, range, &offset, error)) {
        return false;
    }
    block = &memory->blocks[range->block];
    if (range->length == 0 || range->length > VMLOAD_RDMA_CHUNK ||
        range->length > block->length - offset) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "RDMA: RAM block '%s': expected 1 to " U64
                           " zero bytes at " X64 ", found " U64,
                           memory->placement->blocks[range->block].idstr,
                           MIN(VMLOAD_RDMA_CHUNK, block->length - offset),
                           offset, range->length);
    }
    /* A whole chunk is passed over: what is queued was a wrong guess. */
    if (offset % VMLOAD_RDMA_CHUNK == 0 &&
        range->length == MIN(VMLOAD_RDMA_CHUNK, block->length - offset)) {
        memory_drop_queued(memory);
    }
    return memory->placement->zero(memory->placement->opaque, range->block,
                                   offset, range->length, error);
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "memory.h"

#include "error.h"
#include "host/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#define U64 "%" G_GUINT64_FORMAT
#define X64 "0x%" G_GINT64_MODIFIER "x"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)

/* A prefetch takes 32 bits of length. */
#define PREFETCH_MAX ((uint64_t)1 << 30)

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
    struct ibv_mr **chunks;
    struct ibv_mr *whole;
} MemoryBlock;

struct VmloadRdmaMemory {
    struct ibv_pd *pd;
    const VmloadPlacement *placement;
    VmloadPlacementCounters *counters;
    uint64_t pinned;
    uint64_t pieces_max;
    GPtrArray *pieces; /* struct ibv_mr, all there are */
    uint32_t n_blocks;
    MemoryBlock *blocks;
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
    memory->pieces_max += block->n_chunks;
    return true;
}

VmloadRdmaMemory *
vmload_rdma_memory_new(struct ibv_pd *pd, const VmloadPlacement *placement,
                       VmloadPlacementCounters *counters, GError **error)
{
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
    memory->pd = pd;
    memory->placement = placement;
    memory->counters = counters;
    memory->n_blocks = placement->n_blocks;
    memory->pieces = g_ptr_array_new();
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
    guint i;

    if (memory == NULL) {
        return;
    }
    for (i = 0; i < memory->pieces->len; i++) {
        ibv_dereg_mr(g_ptr_array_index(memory->pieces, i));
    }
    __atomic_fetch_sub(&memory->counters->registered, memory->pinned,
                       __ATOMIC_RELAXED);
    g_ptr_array_free(memory->pieces, TRUE);
    for (i = 0; memory->blocks != NULL && i < memory->n_blocks; i++) {
        g_free(memory->blocks[i].chunks);
    }
    g_free(memory->blocks);
    g_free(memory);
}

void vmload_rdma_memory_describe(const VmloadRdmaMemory *memory,
                                 uint32_t index, VmloadRdmaBlock *block)
{
    const MemoryBlock *from = &memory->blocks[index];

    block->host = (uintptr_t)from->host;
    block->token = from->token;
    block->length = from->length;
    block->key = from->whole != NULL ? from->whole->rkey : 0;
}

/* --- opening -------------------------------------------------------------- */

/* Always false. */
static bool memory_fail_pin(const VmloadRdmaMemory *memory, uint64_t length,
                            int errnum, GError **error)
{
    struct rlimit limit = {0};

    if (errnum == ENOMEM && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY) {
        return vmload_fail(error, VMLOAD_ERROR_IO,
                           "RDMA: cannot pin " U64 " bytes of guest memory "
                           "beside " U64 ": %s; raise RLIMIT_MEMLOCK (ulimit "
                           "-l), which is " U64 " bytes, to more than the "
                           "guest has", length, memory->pinned,
                           g_strerror(errnum), (uint64_t)limit.rlim_cur);
    }
    return vmload_fail_errno(error, errnum,
                             "RDMA: cannot pin " U64 " bytes of guest memory "
                             "beside " U64, length, memory->pinned);
}

/* Can the device do without pinned pages (RDMA format, section 7.7)? */
static bool memory_has_paging(const VmloadRdmaMemory *memory)
{
    struct ibv_device_attr_ex attr = {0};

    if (ibv_query_device_ex(memory->pd->context, NULL, &attr) != 0) {
        return false;
    }
    return (attr.odp_caps.general_caps & IBV_ODP_SUPPORT) != 0 &&
           (attr.odp_caps.per_transport_caps.rc_odp_caps &
            IBV_ODP_SUPPORT_WRITE) != 0;
}

/* Spares the peer the faults of first writes; it does not matter if not. */
static void memory_prefetch(const VmloadRdmaMemory *memory,
                            const struct ibv_mr *mr, uint8_t *data,
                            uint64_t length)
{
    uint64_t done;

    for (done = 0; done < length; done += PREFETCH_MAX) {
        struct ibv_sge sge = {
            .addr = (uintptr_t)data + done,
            .length = (uint32_t)MIN(length - done, PREFETCH_MAX),
            .lkey = mr->lkey,
        };

        if (ibv_advise_mr(memory->pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
                          IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1) != 0) {
            break;
        }
    }
}

static struct ibv_mr *memory_register(const VmloadRdmaMemory *memory,
                                      uint8_t *data, uint64_t length,
                                      GError **error)
{
    struct ibv_mr *mr = ibv_reg_mr(memory->pd, data, length, ACCESS);
    int errnum = errno;

    if (mr == NULL && errnum == EOPNOTSUPP && memory_has_paging(memory)) {
        mr = ibv_reg_mr(memory->pd, data, length,
                        ACCESS | IBV_ACCESS_ON_DEMAND);
        errnum = errno;
        if (mr != NULL) {
            memory_prefetch(memory, mr, data, length);
        }
    }
    if (mr == NULL) {
        memory_fail_pin(memory, length, errnum, error);
    }
    return mr;
}

/* May so much more be opened? */
static bool memory_check_room(const VmloadRdmaMemory *memory, uint64_t length,
                              GError **error)
{
    uint64_t max = memory->placement->pinned_max;

    if (memory->pinned > max || length > max - memory->pinned) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "RDMA: expected at most " U64 " bytes of guest "
                           "memory to be pinned (limit rdma_pinned_bytes), "
                           "found a need for " U64 " beside " U64, max,
                           length, memory->pinned);
    }
    /* An honest peer asks for each chunk once. */
    if (memory->pieces->len > memory->pieces_max) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "RDMA: expected each chunk to be asked for once, "
                           "found more than " U64 " requests",
                           memory->pieces_max);
    }
    return true;
}

/* Opens @length bytes at @offset. NULL: failed. */
static struct ibv_mr *memory_open_piece(VmloadRdmaMemory *memory,
                                        uint32_t index, uint64_t offset,
                                        uint64_t length, GError **error)
{
    const MemoryBlock *block = &memory->blocks[index];
    VmloadPlacementCounters *counters = memory->counters;
    uint64_t begin = vmload_clock_ns();
    uint64_t before;
    struct ibv_mr *mr;

    if (!memory_check_room(memory, length, error)) {
        return NULL;
    }
    mr = memory_register(memory, block->host + offset, length, error);
    if (mr == NULL) {
        return NULL;
    }
    g_ptr_array_add(memory->pieces, mr);
    memory->pinned += length;
    memory->placement->claim(memory->placement->opaque, index, offset,
                             length);
    before = __atomic_fetch_add(&counters->registered, length,
                                __ATOMIC_RELAXED);
    if (before + length >
        __atomic_load_n(&counters->registered_peak, __ATOMIC_RELAXED)) {
        __atomic_store_n(&counters->registered_peak, before + length,
                         __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&counters->registrations, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters->register_ns, vmload_clock_ns() - begin,
                       __ATOMIC_RELAXED);
    return mr;
}

/* The peer takes key 0 for "not open". Another one is made beside it. */
static struct ibv_mr *memory_open_keyed(VmloadRdmaMemory *memory,
                                        uint32_t index, uint64_t offset,
                                        uint64_t length, GError **error)
{
    struct ibv_mr *mr =
        memory_open_piece(memory, index, offset, length, error);

    if (mr != NULL && mr->rkey == 0) {
        mr = memory_open_piece(memory, index, offset, length, error);
    }
    if (mr != NULL && mr->rkey == 0) {
        vmload_fail(error, VMLOAD_ERROR_IO,
                    "RDMA: expected a key other than 0 from the device");
        return NULL;
    }
    return mr;
}

bool vmload_rdma_memory_pin(VmloadRdmaMemory *memory, uint32_t index,
                            GError **error)
{
    MemoryBlock *block = &memory->blocks[index];

    if (block->whole == NULL) {
        block->whole =
            memory_open_keyed(memory, index, 0, block->length, error);
    }
    if (block->whole == NULL) {
        g_prefix_error(error, "RAM block '%s': ",
                       memory->placement->blocks[index].idstr);
        return false;
    }
    __atomic_fetch_add(&memory->counters->keys, 1, __ATOMIC_RELAXED);
    return true;
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

/* Opens chunks @first to @last, in whole units. */
static struct ibv_mr *memory_open_chunks(VmloadRdmaMemory *memory,
                                         uint32_t index, uint64_t first,
                                         uint64_t last, GError **error)
{
    MemoryBlock *block = &memory->blocks[index];
    uint64_t begin = first * VMLOAD_RDMA_CHUNK;
    uint64_t end = round_up((last + 1) * VMLOAD_RDMA_CHUNK, block->unit);
    struct ibv_mr *mr;
    uint64_t i;

    begin -= begin % block->unit;
    end = MIN(end, block->length);
    if (block->chunks == NULL) {
        block->chunks = g_try_new0(struct ibv_mr *, block->n_chunks);
        if (block->chunks == NULL) {
            vmload_fail(error, VMLOAD_ERROR_LIMIT,
                        "no memory to note " U64 " chunks", block->n_chunks);
            return NULL;
        }
    }
    mr = memory_open_keyed(memory, index, begin, end - begin, error);
    if (mr == NULL) {
        return NULL;
    }
    for (i = begin / VMLOAD_RDMA_CHUNK; i * VMLOAD_RDMA_CHUNK < end; i++) {
        if (block->chunks[i] == NULL || i == first) {
            block->chunks[i] = mr;
        }
    }
    return mr;
}

/* Does @mr reach to the end of chunk @last? */
static bool piece_covers(const MemoryBlock *block, const struct ibv_mr *mr,
                         uint64_t last)
{
    uint64_t begin = (uint64_t)((uint8_t *)mr->addr - block->host);
    uint64_t end = MIN((last + 1) * VMLOAD_RDMA_CHUNK, block->length);

    return end - begin <= mr->length;
}

bool vmload_rdma_memory_open(VmloadRdmaMemory *memory,
                             const VmloadRdmaRange *range, uint32_t *key,
                             uint64_t *host, GError **error)
{
    struct ibv_mr *mr = NULL;
    MemoryBlock *block;
    uint64_t offset = 0;
    uint64_t chunk;

    if (!memory_locate(memory, range, &offset, error)) {
        return false;
    }
    block = &memory->blocks[range->block];
    chunk = offset / VMLOAD_RDMA_CHUNK;
    if (range->length >= block->n_chunks - chunk) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "RDMA: RAM block '%s': expected at most " U64
                           " chunks behind chunk " U64 ", found " U64,
                           memory->placement->blocks[range->block].idstr,
                           block->n_chunks - chunk - 1, chunk, range->length);
    }
    if (block->whole != NULL) {
        mr = block->whole;
    } else if (block->chunks != NULL) {
        mr = block->chunks[chunk];
    }
    if (mr == NULL || !piece_covers(block, mr, chunk + range->length)) {
        mr = memory_open_chunks(memory, range->block, chunk,
                                chunk + range->length, error);
    }
    if (mr == NULL) {
        g_prefix_error(error, "RAM block '%s' chunk " U64 ": ",
                       memory->placement->blocks[range->block].idstr, chunk);
        return false;
    }
    __atomic_fetch_add(&memory->counters->keys, 1, __ATOMIC_RELAXED);
    *key = mr->rkey;
    *host = (uintptr_t)block->host;
    return true;
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
    return memory->placement->zero(memory->placement->opaque, range->block,
                                   offset, range->length, error);
}

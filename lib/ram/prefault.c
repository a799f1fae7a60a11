/* SPDX-License-Identifier: BSD-3-Clause */
#include "prefault.h"

#include <sys/mman.h>
#include <vmload/prefault.h>

/* Linux 5.14; headers may be older than the kernel. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* By default; what is in vain at most, where content ends suddenly. */
#define PREFAULT_WINDOW ((uint64_t)32 * 1024 * 1024)

/* Several writers: as far ahead as it takes that none of them waits. */
#define PREFAULT_INLINE ((uint64_t)2)

/* Writers of one stretch of memory are never further apart, in regions. */
#define PREFAULT_NEAR ((uint64_t)8)

void vmload_prefault_init(VmloadPrefault *prefault, const VmloadRamEnv *env)
{
    prefault->env = env;
    g_mutex_init(&prefault->mutex);
    vmload_prefault_set(prefault, VMLOAD_PREFAULT_AUTO);
}

void vmload_prefault_set(VmloadPrefault *prefault, uint64_t bytes)
{
    if (bytes == VMLOAD_PREFAULT_AUTO) {
        bytes = g_get_num_processors() > 1 ? PREFAULT_WINDOW : 0;
    }
    prefault->window =
        (bytes >> VMLOAD_PREFAULT_SHIFT) +
        ((bytes & (VMLOAD_PREFAULT_REGION - 1)) != 0 ? 1 : 0);
}

void vmload_prefault_stop(VmloadPrefault *prefault)
{
    __atomic_store_n(&prefault->stop, 1, __ATOMIC_RELAXED);
    vmload_pool_free(g_steal_pointer(&prefault->pool));
}

void vmload_prefault_clear(VmloadPrefault *prefault)
{
    vmload_prefault_stop(prefault);
    g_mutex_clear(&prefault->mutex);
}

static bool prefault_is_over(VmloadPrefault *prefault)
{
    return __atomic_load_n(&prefault->stop, __ATOMIC_RELAXED) != 0 ||
           __atomic_load_n(&prefault->off, __ATOMIC_RELAXED) != 0 ||
           (prefault->env->cancel != NULL &&
            vmload_cancel_is_set(prefault->env->cancel));
}

/* Has a page of the region come? Then a writer is there, or was. */
static bool prefault_is_late(const VmloadRamBlock *block, uint64_t region)
{
    uint64_t offset = (region << VMLOAD_PREFAULT_SHIFT) -
                      (uint64_t)(uintptr_t)block->sink->host;

    return vmload_claim_test_range(block->claim, offset,
                                   VMLOAD_PREFAULT_REGION);
}

/*
 * MADV_POPULATE_WRITE changes no content and raises no signal: what cannot
 * be had is an error here, and the writer's business later. No other means
 * has both, so that there is no substitute where the kernel has it not.
 */
void vmload_prefault_region(VmloadPrefault *prefault,
                            const VmloadRamBlock *block, uint64_t region)
{
    void *address = (void *)(uintptr_t)(region << VMLOAD_PREFAULT_SHIFT);

    if (prefault_is_over(prefault) || prefault_is_late(block, region)) {
        return;
    }
    if (madvise(address, VMLOAD_PREFAULT_REGION, MADV_POPULATE_WRITE) < 0) {
        __atomic_store_n(&prefault->off, 1, __ATOMIC_RELAXED);
        return;
    }
    __atomic_fetch_add(&prefault->bytes, VMLOAD_PREFAULT_REGION,
                       __ATOMIC_RELAXED);
}

static void prefault_populate(VmloadPrefault *prefault,
                              const VmloadRamBlock *block, uint64_t from,
                              uint64_t to)
{
    uint64_t region;

    for (region = from; region < to; region++) {
        vmload_prefault_region(prefault, block, region);
    }
}

static void prefault_run_job(VmloadJob *job)
{
    VmloadPrefaultRange *range = (VmloadPrefaultRange *)job;

    prefault_populate(range->owner, range->block, range->from, range->to);
}

/* Without a helper, or with all its requests pending, nothing is done. */
static void prefault_push(VmloadPrefault *prefault, VmloadRamBlock *block,
                          uint64_t from, uint64_t to)
{
    const VmloadRamEnv *env = prefault->env;
    uint32_t i;

    if (prefault->pool == NULL && env->pool != NULL) {
        prefault->pool = env->pool(env->opaque, "vmload-fault", 1, NULL);
    }
    if (prefault->pool == NULL) {
        __atomic_store_n(&prefault->off, 1, __ATOMIC_RELAXED);
        return;
    }
    for (i = 0; i < VMLOAD_PREFAULT_QUEUE; i++) {
        VmloadPrefaultRange *range = &prefault->ranges[i];

        if (!range->busy || vmload_job_is_done(&range->job)) {
            range->job.func = prefault_run_job;
            range->owner = prefault;
            range->block = block;
            range->from = from;
            range->to = to;
            range->busy = true;
            vmload_pool_push(prefault->pool, &range->job);
            return;
        }
    }
}

/*
 * Does a touch bring more than a page? Then zero pages among others cost no
 * memory. Asked where a region has got some of its pages only, and was not
 * made ready by us.
 */
static bool prefault_looks_huge(uint64_t region, uint64_t pages,
                                uint64_t page_size)
{
    unsigned char there[VMLOAD_PREFAULT_REGION / 4096];
    void *address = (void *)(uintptr_t)(region << VMLOAD_PREFAULT_SHIFT);
    uint64_t n = 0;
    uint64_t i;

    if (mincore(address, VMLOAD_PREFAULT_REGION, there) < 0) {
        return false;
    }
    for (i = 0; i < sizeof(there); i++) {
        n += there[i] & 1;
    }
    return n * 4096 / 2 >= pages * page_size;
}

/* Was it worth it, or would it have been? Learns about the memory too. */
static bool prefault_judge(VmloadPrefaultCursor *cursor, uint64_t page_size)
{
    VmloadRamBlock *block = cursor->block;
    VmloadPrefaultAhead *ahead = &block->ahead;
    bool full = cursor->normal > 0 && cursor->zero * 8 <= cursor->normal;

    if (!full && cursor->normal > 0 && block->starts_zero &&
        __atomic_load_n(&ahead->huge, __ATOMIC_RELAXED) == 0 &&
        __atomic_load_n(&ahead->front, __ATOMIC_RELAXED) <= cursor->region &&
        cursor->region >= ahead->first && cursor->region < ahead->end &&
        prefault_looks_huge(cursor->region, cursor->normal, page_size)) {
        __atomic_store_n(&ahead->huge, 1, __ATOMIC_RELAXED);
    }
    return full || (cursor->normal > 0 &&
                    __atomic_load_n(&ahead->huge, __ATOMIC_RELAXED) != 0);
}

static void prefault_prepare(VmloadRamBlock *block)
{
    const uint64_t last = VMLOAD_PREFAULT_REGION - 1;
    uint64_t host = (uint64_t)(uintptr_t)block->sink->host;

    block->ahead.first = (host + last) >> VMLOAD_PREFAULT_SHIFT;
    block->ahead.end = (host + block->length) >> VMLOAD_PREFAULT_SHIFT;
    block->ahead.prepared = true;
}

/*
 * Where content has come without a gap, as much again is expected, up to the
 * window. *@from to *@to - 1 are to be made ready. Under the mutex.
 */
static void prefault_advance(VmloadPrefaultAhead *ahead, uint64_t region,
                             bool good, uint64_t window, uint64_t *from,
                             uint64_t *to)
{
    if (region > ahead->last + PREFAULT_NEAR ||
        region + PREFAULT_NEAR < ahead->last) {
        ahead->run = 0;
        ahead->front = region + 1;
        ahead->last = region;
    } else if (!good) {
        ahead->run = 0;
        ahead->last = MAX(ahead->last, region);
    } else if (region > ahead->last) {
        ahead->run += region - ahead->last;
        ahead->last = region;
    }
    *from = MAX(MAX(ahead->last + 1, ahead->front), ahead->first);
    *to = MIN(ahead->last + 1 + MIN(ahead->run, window), ahead->end);
    if (*from < *to) {
        __atomic_store_n(&ahead->front, *to, __ATOMIC_RELAXED);
    }
}

void vmload_prefault_move(VmloadPrefault *prefault,
                          VmloadPrefaultCursor *cursor, VmloadRamBlock *block,
                          uint64_t region, uint64_t page_size)
{
    bool good = cursor->block == block && prefault_judge(cursor, page_size);
    uint64_t window = prefault->window;
    uint64_t from;
    uint64_t to;

    if (cursor->inline_only) {
        window = MIN(window, PREFAULT_INLINE);
    }
    cursor->block = block;
    cursor->region = region;
    cursor->normal = cursor->zero = 0;
    g_mutex_lock(&prefault->mutex);
    if (!block->ahead.prepared) {
        prefault_prepare(block);
    }
    prefault_advance(&block->ahead, region, good, window, &from, &to);
    g_mutex_unlock(&prefault->mutex);
    if (from >= to || prefault_is_over(prefault) ||
        block->page_size > VMLOAD_PREFAULT_REGION) {
        return;
    }
    if (cursor->inline_only) {
        prefault_populate(prefault, block, from, to);
    } else {
        prefault_push(prefault, block, from, to);
    }
}

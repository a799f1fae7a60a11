/* SPDX-License-Identifier: BSD-3-Clause */
#include "region.h"

#include "host/clock.h"

#include <errno.h>
#include <sys/mman.h>

/* Linux 5.14; headers may be older than the kernel. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)

/* A prefetch takes 32 bits of length. */
#define PREFETCH_MAX ((uint64_t)1 << 30)

/* Made ready between two looks at whether it is still wanted. */
#define TOUCH_STEP ((uint64_t)2 << 20)

/*
 * @all: VmloadRdmaRegion, freed with this; the loading thread's.
 * @lock: leaf; guards @stopped, @busy and what regions say.
 * @cond: @busy has become 0.
 */
struct VmloadRdmaRegions {
    struct ibv_pd *pd;
    VmloadPool *pool;
    VmloadPlacementCounters *counters;
    void (*wake)(void *opaque);
    void *opaque;
    GPtrArray *all;
    GMutex lock;
    GCond cond;
    bool stopped;
    uint32_t busy;
};

/* --- opening, on a helper thread ------------------------------------------ */

/* Can the device do without pinned pages (RDMA format, section 7.7)? */
static bool device_has_paging(struct ibv_context *context)
{
    struct ibv_device_attr_ex attr = {0};

    if (ibv_query_device_ex(context, NULL, &attr) != 0) {
        return false;
    }
    return (attr.odp_caps.general_caps & IBV_ODP_SUPPORT) != 0 &&
           (attr.odp_caps.per_transport_caps.rc_odp_caps &
            IBV_ODP_SUPPORT_WRITE) != 0;
}

/* Spares the peer the faults of first writes; it does not matter if not. */
static void region_prefetch(const VmloadRdmaRegion *region,
                            const struct ibv_mr *mr)
{
    uint64_t done;

    for (done = 0; done < region->length; done += PREFETCH_MAX) {
        struct ibv_sge sge = {
            .addr = (uintptr_t)region->data + done,
            .length = (uint32_t)MIN(region->length - done, PREFETCH_MAX),
            .lkey = mr->lkey,
        };

        if (ibv_advise_mr(region->owner->pd,
                          IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
                          IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1) != 0) {
            break;
        }
    }
}

static struct ibv_mr *region_register(const VmloadRdmaRegion *region,
                                      int *errnum)
{
    struct ibv_pd *pd = region->owner->pd;
    struct ibv_mr *mr = ibv_reg_mr(pd, region->data, region->length, ACCESS);

    *errnum = errno;
    if (mr == NULL && *errnum == EOPNOTSUPP &&
        device_has_paging(pd->context)) {
        mr = ibv_reg_mr(pd, region->data, region->length,
                        ACCESS | IBV_ACCESS_ON_DEMAND);
        *errnum = errno;
        if (mr != NULL) {
            region_prefetch(region, mr);
        }
    }
    return mr;
}

static bool regions_are_stopped(VmloadRdmaRegions *regions)
{
    bool stopped;

    g_mutex_lock(&regions->lock);
    stopped = regions->stopped;
    g_mutex_unlock(&regions->lock);
    return stopped;
}

/*
 * Several threads do this to one large block, and it can be left in the
 * middle; registering it is quick then. Where the kernel cannot, all of it
 * is registering's.
 */
static void region_touch(const VmloadRdmaRegion *region)
{
    uint64_t done;

    for (done = 0; done < region->length; done += TOUCH_STEP) {
        if (regions_are_stopped(region->owner) ||
            madvise(region->data + done,
                    MIN(TOUCH_STEP, region->length - done),
                    MADV_POPULATE_WRITE) < 0) {
            break;
        }
    }
}

static void count_open(VmloadPlacementCounters *counters, uint64_t length)
{
    uint64_t now = __atomic_add_fetch(&counters->registered, length,
                                      __ATOMIC_RELAXED);
    uint64_t peak =
        __atomic_load_n(&counters->registered_peak, __ATOMIC_RELAXED);

    while (now > peak &&
           !__atomic_compare_exchange_n(&counters->registered_peak, &peak,
                                        now, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
    }
    __atomic_fetch_add(&counters->registrations, 1, __ATOMIC_RELAXED);
}

/* The peer takes key 0 for "not open": another one is made beside it. */
static void region_open(VmloadRdmaRegion *region)
{
    VmloadPlacementCounters *counters = region->owner->counters;
    uint64_t begin = vmload_clock_ns();
    struct ibv_mr *mr[2] = {NULL, NULL};
    int errnum = 0;

    mr[0] = region_register(region, &errnum);
    if (mr[0] != NULL && mr[0]->rkey == 0) {
        mr[1] = mr[0];
        mr[0] = region_register(region, &errnum);
        if (mr[0] != NULL && mr[0]->rkey == 0) {
            ibv_dereg_mr(mr[0]);
            mr[0] = NULL;
            errnum = 0;
        }
    }
    if (mr[0] != NULL) {
        count_open(counters, region->length);
    } else if (mr[1] != NULL) {
        ibv_dereg_mr(g_steal_pointer(&mr[1]));
    }
    __atomic_fetch_add(&counters->register_ns, vmload_clock_ns() - begin,
                       __ATOMIC_RELAXED);
    g_mutex_lock(&region->owner->lock);
    region->mr[0] = mr[0];
    region->mr[1] = mr[1];
    region->errnum = errnum;
    region->state = mr[0] != NULL ? VMLOAD_RDMA_REGION_OPEN
                                  : VMLOAD_RDMA_REGION_FAILED;
    g_mutex_unlock(&region->owner->lock);
}

static bool region_begin(VmloadRdmaRegion *region)
{
    VmloadRdmaRegions *regions = region->owner;
    bool wanted;

    g_mutex_lock(&regions->lock);
    wanted =
        !regions->stopped && region->state == VMLOAD_RDMA_REGION_QUEUED;
    region->state =
        wanted ? VMLOAD_RDMA_REGION_BUSY : VMLOAD_RDMA_REGION_CLOSED;
    regions->busy += wanted ? 1 : 0;
    g_mutex_unlock(&regions->lock);
    return wanted;
}

static void region_run(VmloadJob *job)
{
    VmloadRdmaRegion *region = (VmloadRdmaRegion *)job;
    VmloadRdmaRegions *regions = region->owner;

    if (!region_begin(region)) {
        return;
    }
    if (region->touch) {
        region_touch(region);
    } else {
        region_open(region);
    }
    g_mutex_lock(&regions->lock);
    if (region->touch) {
        region->state = VMLOAD_RDMA_REGION_CLOSED;
    }
    if (--regions->busy == 0) {
        g_cond_signal(&regions->cond);
    }
    g_mutex_unlock(&regions->lock);
    regions->wake(regions->opaque);
}

/* --- asking, on the loading thread ---------------------------------------- */

VmloadRdmaRegions *
vmload_rdma_regions_new(struct ibv_pd *pd, VmloadPool *pool,
                        VmloadPlacementCounters *counters,
                        void (*wake)(void *opaque), void *opaque)
{
    VmloadRdmaRegions *regions = g_new0(VmloadRdmaRegions, 1);

    regions->pd = pd;
    regions->pool = pool;
    regions->counters = counters;
    regions->wake = wake;
    regions->opaque = opaque;
    regions->all = g_ptr_array_new_with_free_func(g_free);
    g_mutex_init(&regions->lock);
    g_cond_init(&regions->cond);
    return regions;
}

void vmload_rdma_regions_free(VmloadRdmaRegions *regions)
{
    if (regions == NULL) {
        return;
    }
    vmload_rdma_regions_close(regions, -1);
    vmload_pool_free(regions->pool);
    g_ptr_array_free(regions->all, TRUE);
    g_cond_clear(&regions->cond);
    g_mutex_clear(&regions->lock);
    g_free(regions);
}

VmloadRdmaRegion *vmload_rdma_regions_add(VmloadRdmaRegions *regions,
                                          uint8_t *data, uint64_t length,
                                          bool touch)
{
    VmloadRdmaRegion *region = g_new0(VmloadRdmaRegion, 1);

    region->job.func = region_run;
    region->owner = regions;
    region->data = data;
    region->length = length;
    region->touch = touch;
    g_ptr_array_add(regions->all, region);
    if (regions->pool != NULL) {
        vmload_pool_push(regions->pool, &region->job);
    } else {
        region_run(&region->job);
    }
    return region;
}

VmloadRdmaRegionState vmload_rdma_region_get_state(VmloadRdmaRegion *region,
                                                   int *errnum)
{
    VmloadRdmaRegionState state;

    g_mutex_lock(&region->owner->lock);
    state = region->state;
    if (errnum != NULL) {
        *errnum = region->errnum;
    }
    g_mutex_unlock(&region->owner->lock);
    return state;
}

uint32_t vmload_rdma_region_get_key(const VmloadRdmaRegion *region)
{
    return region->mr[0]->rkey;
}

bool vmload_rdma_region_close(VmloadRdmaRegion *region)
{
    VmloadRdmaRegions *regions = region->owner;
    struct ibv_mr *mr[2] = {NULL, NULL};
    bool closed;
    size_t i;

    g_mutex_lock(&regions->lock);
    closed = region->state != VMLOAD_RDMA_REGION_BUSY;
    if (closed) {
        region->state = VMLOAD_RDMA_REGION_CLOSED;
        mr[0] = g_steal_pointer(&region->mr[0]);
        mr[1] = g_steal_pointer(&region->mr[1]);
    }
    g_mutex_unlock(&regions->lock);
    if (mr[0] != NULL) {
        __atomic_fetch_sub(&regions->counters->registered, region->length,
                           __ATOMIC_RELAXED);
    }
    for (i = 0; i < G_N_ELEMENTS(mr); i++) {
        if (mr[i] != NULL) {
            ibv_dereg_mr(mr[i]);
        }
    }
    return closed;
}

/* Until no helper is at a region any more. False: it took too long. */
static bool regions_await(VmloadRdmaRegions *regions, int64_t deadline)
{
    bool idle;

    g_mutex_lock(&regions->lock);
    regions->stopped = true;
    while (regions->busy > 0 && deadline < 0) {
        g_cond_wait(&regions->cond, &regions->lock);
    }
    while (regions->busy > 0 &&
           g_cond_wait_until(&regions->cond, &regions->lock, deadline)) {
    }
    idle = regions->busy == 0;
    g_mutex_unlock(&regions->lock);
    return idle;
}

bool vmload_rdma_regions_close(VmloadRdmaRegions *regions, int64_t deadline)
{
    guint i;

    if (!regions_await(regions, deadline)) {
        return false;
    }
    for (i = 0; i < regions->all->len; i++) {
        if (deadline >= 0 && g_get_monotonic_time() >= deadline) {
            return false;
        }
        vmload_rdma_region_close(g_ptr_array_index(regions->all, i));
    }
    return true;
}

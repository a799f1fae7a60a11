/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A few worker threads for jobs that need no lock. Their number is bounded,
 * they run the host's thread hooks, and all are joined when the pool is
 * freed.
 */
#ifndef VMLOAD_POOL_H
#define VMLOAD_POOL_H

#include <vmload/host.h>
#include "host/cancel.h"

typedef struct VmloadPool VmloadPool;

/*
 * A job. @func runs once, on a worker or, if no thread can be had, within
 * vmload_pool_push(). Embedded in what @func works on.
 */
typedef struct VmloadJob {
    void (*func)(struct VmloadJob *job);
    int done; /* atomic */
} VmloadJob;

/* @ops and @opaque for the thread hooks, borrowed. NULL with @error. */
VmloadPool *vmload_pool_new(const VmloadHostOps *ops, void *opaque,
                            const char *name, uint32_t max_threads,
                            GError **error);

/* Runs all jobs that are pushed, and joins the threads. */
void vmload_pool_free(VmloadPool *pool);

/* One thread at a time. @job stays the caller's, and alive until it is done. */
void vmload_pool_push(VmloadPool *pool, VmloadJob *job);

bool vmload_job_is_done(const VmloadJob *job);

/*
 * Waits until @job is done. False with VMLOAD_ERROR_CANCELLED if @cancel is
 * set before; the job may run on. One thread at a time.
 */
bool vmload_pool_wait(VmloadPool *pool, const VmloadJob *job,
                      const VmloadCancel *cancel, GError **error);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guard of the host's big lock: the only place that takes and gives it,
 * so that every hold is counted and every wait for bytes with the lock held
 * is seen.
 */
#ifndef VMLOAD_GUARD_H
#define VMLOAD_GUARD_H

#include <vmload/host.h>

typedef struct {
    const VmloadHostOps *ops; /* borrowed, with NULL for what is missing */
    void *opaque;
    bool caller_locked; /* vmload_loader_run() under the caller's lock */
    GThread *owner;     /* atomic: our thread that holds the lock */
    /* Atomic counters, nanoseconds. */
    uint64_t holds;
    uint64_t wait_ns;
    uint64_t held_total_ns;
    uint64_t held_max_ns;
    uint64_t io_wait_ns;
    uint64_t io_waits;
} VmloadGuard;

/* One hold, on the caller's stack. */
typedef struct {
    uint64_t taken_ns; /* when the lock was had */
    uint64_t wait_ns;  /* how long that took */
    uint64_t held_ns;  /* set by vmload_guard_unlock() */
} VmloadHold;

void vmload_guard_init(VmloadGuard *guard, const VmloadHostOps *ops,
                       void *opaque);

/* Not nested: a thread of ours holds the big lock once at a time. */
void vmload_guard_lock(VmloadGuard *guard, VmloadHold *hold);
void vmload_guard_unlock(VmloadGuard *guard, VmloadHold *hold);

/* Does the calling thread hold the big lock? */
bool vmload_guard_is_held(VmloadGuard *guard);

/* This thread has waited @ns for bytes: counted if it held the lock. */
void vmload_guard_count_io_wait(VmloadGuard *guard, uint64_t ns);

#endif

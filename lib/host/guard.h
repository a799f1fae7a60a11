/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guard of the host's big lock: the only place that takes and gives it,
 * so that every hold is counted and every wait for bytes with the lock held
 * is seen.
 */
#ifndef VMLOAD_GUARD_H
#define VMLOAD_GUARD_H

#include <vmload/host.h>

/* Bytes of a site's text, as in VmloadStats. */
#define VMLOAD_GUARD_SITE 128

typedef struct {
    const VmloadHostOps *ops; /* borrowed, with NULL for what is missing */
    void *opaque;
    bool caller_locked; /* vmload_loader_run() under the caller's lock */
    GThread *owner;     /* atomic: the loading thread while it holds the lock */
    uint32_t owner_tid; /* atomic: the same, as the kernel knows it; 0: none */
    /* Atomic counters, nanoseconds. */
    uint64_t holds;
    uint64_t wait_ns;
    uint64_t held_total_ns;
    uint64_t io_wait_ns;
    uint64_t io_waits;
    uint64_t fault_wait_ns;
    uint64_t row_ns;   /* of holds one after the other, without a gap */
    uint64_t given_ns; /* when the last one ended */
    uint64_t rests;    /* gaps that were made */
    GMutex mutex; /* leaf: guards the longest hold and its site */
    uint64_t held_max_ns; /* also read without the mutex */
    char held_max_site[VMLOAD_GUARD_SITE];
} VmloadGuard;

/* One hold, on the caller's stack. */
typedef struct {
    uint64_t taken_ns; /* when the lock was had */
    uint64_t wait_ns;  /* how long that took */
    uint64_t held_ns;  /* set by vmload_guard_unlock() */
    bool nested;       /* the lock was held already: nothing to give back */
    GThread *outer;    /* whose callback has dropped the lock meanwhile */
    uint32_t outer_tid;
    const char *what;  /* the site: a static string */
    const char *name;  /* a device's, nullable, borrowed until unlock */
    uint32_t instance_id;
} VmloadHold;

void vmload_guard_init(VmloadGuard *guard, const VmloadHostOps *ops,
                       void *opaque);
void vmload_guard_clear(VmloadGuard *guard);

/*
 * The calling thread holds the lock already and keeps it as long as the load
 * runs: no lock function is called, no hold is counted.
 */
void vmload_guard_adopt(VmloadGuard *guard);

/*
 * Takes the lock to do @what, for the device @name (nullable), which stay
 * good until the lock is given back.
 *
 * May nest, since a host may dispatch a package within a callback that holds
 * the lock, or on a thread of its own that does: only the outermost hold that
 * is ours takes it and is counted.
 */
void vmload_guard_lock(VmloadGuard *guard, VmloadHold *hold, const char *what,
                       const char *name, uint32_t instance_id);
void vmload_guard_unlock(VmloadGuard *guard, VmloadHold *hold);

/* Does the calling thread hold the big lock? */
bool vmload_guard_is_held(const VmloadGuard *guard);

/*
 * May the calling thread wait for the peer? Not with the big lock held,
 * unless that is the caller's own.
 */
bool vmload_guard_may_wait(VmloadGuard *guard);

/*
 * The calling thread is about to wait for the peer. In builds without NDEBUG
 * a wait with a hold of ours is reported as critical, unless @allowed.
 */
void vmload_guard_check_wait(VmloadGuard *guard, bool allowed);

/* The longest hold and where it was. */
uint64_t vmload_guard_get_longest(VmloadGuard *guard,
                                  char site[VMLOAD_GUARD_SITE]);

/* This thread has waited @ns for bytes: counted if it held the lock. */
void vmload_guard_count_io_wait(VmloadGuard *guard, uint64_t ns);

/*
 * Thread @tid of the kernel's, which waits at this moment, has waited @ns for
 * a page: counted if it holds the lock. Any thread.
 */
void vmload_guard_count_fault_wait(VmloadGuard *guard, uint32_t tid,
                                   uint64_t ns);

#endif

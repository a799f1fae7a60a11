/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard.h"

#include "clock.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void vmload_guard_init(VmloadGuard *guard, const VmloadHostOps *ops,
                       void *opaque)
{
    memset(guard, 0, sizeof(*guard));
    guard->ops = ops;
    guard->opaque = opaque;
    g_mutex_init(&guard->mutex);
}

void vmload_guard_clear(VmloadGuard *guard)
{
    g_mutex_clear(&guard->mutex);
}

/* Asks the kernel once a thread: a hold may be shorter than a system call. */
static uint32_t own_tid(void)
{
    static __thread uint32_t tid;

    if (tid == 0) {
        tid = (uint32_t)syscall(SYS_gettid);
    }
    return tid;
}

void vmload_guard_adopt(VmloadGuard *guard)
{
    guard->caller_locked = true;
    __atomic_store_n(&guard->owner_tid, own_tid(), __ATOMIC_RELAXED);
    __atomic_store_n(&guard->owner, g_thread_self(), __ATOMIC_RELAXED);
}

/*
 * Checks the host, not the stream: a callback that loses the lock, or a lock
 * function that does not lock, is a bug of the host's.
 */
static void guard_check_held(VmloadGuard *guard)
{
    g_return_if_fail(guard->ops->lock_is_held == NULL ||
                     guard->ops->lock_is_held(guard->opaque));
}

/* A thread that wants the lock and gets no processor is not waited for. */
#define PATIENCE_NS 1000000

/* So long we may hold the lock, in one hold after the other, without a gap. */
#define ROW_NS 1750000

/* What is a gap: a thread that waits needs about that long to be woken. */
#define GAP_NS 50000

/*
 * A mutex is no queue: who gives it and takes it again at once is faster than
 * a thread that has yet to be woken, and a device phase is one hold after the
 * other. A host that can tell is asked.
 */
static void guard_let_wanting(VmloadGuard *guard)
{
    uint64_t deadline;

    if (!guard->ops->lock_is_wanted(guard->opaque)) {
        return;
    }
    deadline = vmload_clock_ns() + PATIENCE_NS;
    do {
        g_usleep(1);
    } while (guard->ops->lock_is_wanted(guard->opaque) &&
             vmload_clock_ns() < deadline);
}

/*
 * A host that cannot tell: whoever was woken when we gave the lock needs this
 * long to take it, so after a row of holds without such a gap there is one.
 */
static void guard_rest(VmloadGuard *guard)
{
    uint64_t row = __atomic_load_n(&guard->row_ns, __ATOMIC_RELAXED);

    if (row >= ROW_NS) {
        if (vmload_clock_ns() -
                __atomic_load_n(&guard->given_ns, __ATOMIC_RELAXED) <
            GAP_NS) {
            __atomic_fetch_add(&guard->rests, 1, __ATOMIC_RELAXED);
            g_usleep(1);
        }
        __atomic_store_n(&guard->row_ns, 0, __ATOMIC_RELAXED);
    }
}

/* Before the lock is taken, never with it. */
static void guard_let_others(VmloadGuard *guard)
{
    if (guard->ops->lock_is_wanted != NULL) {
        guard_let_wanting(guard);
    } else if (guard->ops->lock != NULL) {
        guard_rest(guard);
    }
}

/* Who has the host's lock is the only one who counts. */
static void guard_count(const VmloadGuard *guard, uint64_t *counter,
                        uint64_t n)
{
    if (guard->ops->lock != NULL) {
        __atomic_store_n(counter,
                         __atomic_load_n(counter, __ATOMIC_RELAXED) + n,
                         __ATOMIC_RELAXED);
    } else {
        __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
    }
}

void vmload_guard_lock(VmloadGuard *guard, VmloadHold *hold, const char *what,
                       const char *name, uint32_t instance_id)
{
    uint64_t before;

    memset(hold, 0, sizeof(*hold));
    hold->what = what;
    hold->name = name;
    hold->instance_id = instance_id;
    hold->nested = vmload_guard_is_held(guard) ||
                   (guard->ops->lock_is_held != NULL &&
                    guard->ops->lock_is_held(guard->opaque));
    if (!hold->nested) {
        guard_let_others(guard);
    }
    before = vmload_clock_ns();
    if (!hold->nested && guard->ops->lock != NULL) {
        guard->ops->lock(guard->opaque);
    }
    guard_check_held(guard);
    hold->taken_ns = vmload_clock_ns();
    if (hold->nested) {
        return;
    }
    hold->wait_ns = hold->taken_ns - before;
    hold->outer = __atomic_exchange_n(&guard->owner, g_thread_self(),
                                      __ATOMIC_RELAXED);
    hold->outer_tid = __atomic_exchange_n(&guard->owner_tid, own_tid(),
                                          __ATOMIC_RELAXED);
    guard_count(guard, &guard->holds, 1);
    guard_count(guard, &guard->wait_ns, hold->wait_ns);
}

/* The lock is given back already: readers of the site keep nobody from it. */
static void note_longest(VmloadGuard *guard, const VmloadHold *hold)
{
    if (hold->held_ns <=
        __atomic_load_n(&guard->held_max_ns, __ATOMIC_RELAXED)) {
        return;
    }
    g_mutex_lock(&guard->mutex);
    if (hold->held_ns > guard->held_max_ns) {
        __atomic_store_n(&guard->held_max_ns, hold->held_ns,
                         __ATOMIC_RELAXED);
        if (hold->name != NULL) {
            g_snprintf(guard->held_max_site, sizeof(guard->held_max_site),
                       "%s '%s' instance %u", hold->what, hold->name,
                       hold->instance_id);
        } else {
            g_strlcpy(guard->held_max_site, hold->what,
                      sizeof(guard->held_max_site));
        }
    }
    g_mutex_unlock(&guard->mutex);
}

uint64_t vmload_guard_get_longest(VmloadGuard *guard,
                                  char site[VMLOAD_GUARD_SITE])
{
    uint64_t ns;

    g_mutex_lock(&guard->mutex);
    ns = guard->held_max_ns;
    memcpy(site, guard->held_max_site, VMLOAD_GUARD_SITE);
    g_mutex_unlock(&guard->mutex);
    return ns;
}

/* Two threads of ours that hold in turn are one row: a guess will do. */
static void note_row(VmloadGuard *guard, const VmloadHold *hold, uint64_t now)
{
    uint64_t given = __atomic_load_n(&guard->given_ns, __ATOMIC_RELAXED);
    uint64_t row = __atomic_load_n(&guard->row_ns, __ATOMIC_RELAXED);

    if (hold->taken_ns - hold->wait_ns - given >= GAP_NS) {
        row = 0;
    }
    __atomic_store_n(&guard->row_ns, row + hold->held_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&guard->given_ns, now, __ATOMIC_RELAXED);
}

void vmload_guard_unlock(VmloadGuard *guard, VmloadHold *hold)
{
    uint64_t now;

    guard_check_held(guard);
    now = vmload_clock_ns();
    hold->held_ns = now - hold->taken_ns;
    if (hold->nested) {
        return;
    }
    note_row(guard, hold, now);
    guard_count(guard, &guard->held_total_ns, hold->held_ns);
    /*
     * A callback may drop the lock and another thread of ours take it
     * meanwhile: that hold ends where it began. Without a lock of the host's
     * holds do not nest like that.
     */
    __atomic_store_n(&guard->owner,
                     guard->ops->lock != NULL ? hold->outer : NULL,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&guard->owner_tid,
                     guard->ops->lock != NULL ? hold->outer_tid : 0,
                     __ATOMIC_RELAXED);
    if (guard->ops->unlock != NULL) {
        guard->ops->unlock(guard->opaque);
    }
    note_longest(guard, hold);
}

bool vmload_guard_is_held(const VmloadGuard *guard)
{
    /* Another thread's pointer is never this thread's: relaxed will do. */
    return __atomic_load_n(&guard->owner, __ATOMIC_RELAXED) ==
           g_thread_self();
}

bool vmload_guard_may_wait(VmloadGuard *guard)
{
    if (vmload_guard_is_held(guard)) {
        return guard->caller_locked;
    }
    /* A thread of the host's: only the host knows. */
    return guard->ops->lock_is_held == NULL ||
           !guard->ops->lock_is_held(guard->opaque);
}

void vmload_guard_check_wait(VmloadGuard *guard, bool allowed)
{
#ifndef NDEBUG
    g_return_if_fail(allowed || guard->caller_locked ||
                     !vmload_guard_is_held(guard));
#else
    (void)guard;
    (void)allowed;
#endif
}

void vmload_guard_count_io_wait(VmloadGuard *guard, uint64_t ns)
{
    if (vmload_guard_is_held(guard)) {
        __atomic_fetch_add(&guard->io_wait_ns, ns, __ATOMIC_RELAXED);
        __atomic_fetch_add(&guard->io_waits, 1, __ATOMIC_RELAXED);
    }
}

void vmload_guard_count_fault_wait(VmloadGuard *guard, uint32_t tid,
                                   uint64_t ns)
{
    if (tid != 0 &&
        tid == __atomic_load_n(&guard->owner_tid, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&guard->fault_wait_ns, ns, __ATOMIC_RELAXED);
    }
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard.h"

#include "clock.h"

#include <string.h>

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

void vmload_guard_adopt(VmloadGuard *guard)
{
    guard->caller_locked = true;
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

/*
 * A mutex is no queue: who gives it and takes it again at once is faster than
 * a thread that has yet to be woken, and a device phase is one hold after the
 * other. A host that can tell is asked.
 */
static void guard_let_others(VmloadGuard *guard)
{
    uint64_t deadline = vmload_clock_ns() + PATIENCE_NS;

    while (guard->ops->lock_is_wanted != NULL &&
           guard->ops->lock_is_wanted(guard->opaque) &&
           vmload_clock_ns() < deadline) {
        g_usleep(1);
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
    __atomic_fetch_add(&guard->holds, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&guard->wait_ns, hold->wait_ns, __ATOMIC_RELAXED);
}

/* The lock is given back already: readers of the site keep nobody from it. */
static void note_longest(VmloadGuard *guard, const VmloadHold *hold)
{
    g_mutex_lock(&guard->mutex);
    if (hold->held_ns > guard->held_max_ns) {
        guard->held_max_ns = hold->held_ns;
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

void vmload_guard_unlock(VmloadGuard *guard, VmloadHold *hold)
{
    guard_check_held(guard);
    hold->held_ns = vmload_clock_ns() - hold->taken_ns;
    if (hold->nested) {
        return;
    }
    __atomic_fetch_add(&guard->held_total_ns, hold->held_ns,
                       __ATOMIC_RELAXED);
    /*
     * A callback may drop the lock and another thread of ours take it
     * meanwhile: that hold ends where it began. Without a lock of the host's
     * holds do not nest like that.
     */
    __atomic_store_n(&guard->owner,
                     guard->ops->lock != NULL ? hold->outer : NULL,
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

/* SPDX-License-Identifier: BSD-3-Clause */
#include "probe.h"

#include "samples.h"

#include <pthread.h>
#include <sys/prctl.h>

struct BigLock {
    pthread_mutex_t mutex;
    pthread_t owner; /* atomic; valid while owned */
    int owned;        /* atomic */
    uint64_t holds;   /* atomic */
    int waiters;      /* atomic: the main loop */
    uint64_t since;   /* guarded by mutex */
    uint64_t longest; /* guarded by mutex */
};

struct Probe {
    BigLock *lock;
    uint64_t period_ns;
    uint64_t stop_ns; /* atomic; 0: not yet */
    GArray *turns;
    GThread *thread;
};

BigLock *big_lock_new(void)
{
    BigLock *lock = g_new0(BigLock, 1);

    pthread_mutex_init(&lock->mutex, NULL);
    return lock;
}

void big_lock_free(BigLock *lock)
{
    pthread_mutex_destroy(&lock->mutex);
    g_free(lock);
}

void big_lock_take(BigLock *lock)
{
    pthread_mutex_lock(&lock->mutex);
    __atomic_fetch_add(&lock->holds, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&lock->owner, pthread_self(), __ATOMIC_RELAXED);
    __atomic_store_n(&lock->owned, 1, __ATOMIC_RELAXED);
    lock->since = now_ns();
}

void big_lock_give(BigLock *lock)
{
    lock->longest = MAX(lock->longest, now_ns() - lock->since);
    __atomic_store_n(&lock->owned, 0, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&lock->mutex);
}

uint64_t big_lock_get_longest(BigLock *lock)
{
    uint64_t longest;

    pthread_mutex_lock(&lock->mutex);
    longest = lock->longest;
    pthread_mutex_unlock(&lock->mutex);
    return longest;
}

bool big_lock_is_wanted(BigLock *lock)
{
    return __atomic_load_n(&lock->waiters, __ATOMIC_RELAXED) != 0;
}

bool big_lock_is_mine(BigLock *lock)
{
    return __atomic_load_n(&lock->owned, __ATOMIC_RELAXED) != 0 &&
           pthread_equal(__atomic_load_n(&lock->owner, __ATOMIC_RELAXED),
                         pthread_self());
}

/* One turn, due at @tick; @free: when the one before was over. */
static uint64_t turn(Probe *probe, uint64_t tick, uint64_t free)
{
    Turn turn = {.tick = tick};
    uint64_t before;
    uint64_t ran = now_ns();
    uint64_t got;

    before = __atomic_load_n(&probe->lock->holds, __ATOMIC_RELAXED);
    __atomic_fetch_add(&probe->lock->waiters, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&probe->lock->mutex);
    __atomic_fetch_sub(&probe->lock->waiters, 1, __ATOMIC_RELAXED);
    got = now_ns();
    turn.overtaken =
        __atomic_load_n(&probe->lock->holds, __ATOMIC_RELAXED) - before;
    pthread_mutex_unlock(&probe->lock->mutex);
    turn.sched = ran - MAX(tick, free);
    turn.wait = got - ran;
    turn.late = got - tick;
    g_array_append_val(probe->turns, turn);
    return got;
}

/*
 * Turns are due at fixed times. What a long wait made it miss is made up for
 * at once and counted with its own lateness: a stall of two seconds is two
 * thousand late turns, not one.
 */
static void *main_loop(void *data)
{
    Probe *probe = data;
    uint64_t tick = now_ns();
    uint64_t free = tick;
    uint64_t stop = 0;

    /* Timers to the microsecond; the default is late by 50. */
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    while (stop == 0 || tick < stop) {
        sleep_until_ns(tick);
        free = turn(probe, tick, free);
        tick += probe->period_ns;
        stop = __atomic_load_n(&probe->stop_ns, __ATOMIC_ACQUIRE);
    }
    return NULL;
}

Probe *probe_start(BigLock *lock, uint64_t period_ns)
{
    Probe *probe = g_new0(Probe, 1);

    probe->lock = lock;
    probe->period_ns = period_ns;
    probe->turns = g_array_sized_new(FALSE, FALSE, sizeof(Turn), 65536);
    probe->thread = g_thread_new("main-loop", main_loop, probe);
    return probe;
}

GArray *probe_stop(Probe *probe)
{
    GArray *turns = probe->turns;

    __atomic_store_n(&probe->stop_ns, now_ns(), __ATOMIC_RELEASE);
    g_thread_join(probe->thread);
    g_free(probe);
    return turns;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's big lock, a plain mutex, and its main loop, which takes it every
 * millisecond and notes how late it gets it.
 */
#ifndef VMLOAD_BENCH_PROBE_H
#define VMLOAD_BENCH_PROBE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct BigLock BigLock;
typedef struct Probe Probe;

BigLock *big_lock_new(void);
void big_lock_free(BigLock *lock);
/* For everybody but the main loop: holds are counted. */
void big_lock_take(BigLock *lock);
void big_lock_give(BigLock *lock);
bool big_lock_is_mine(BigLock *lock);
/* Does the main loop wait for it? */
bool big_lock_is_wanted(BigLock *lock);
/* The longest hold of all, the main loop's left out. */
uint64_t big_lock_get_longest(BigLock *lock);

/*
 * One turn of the main loop. All in nanoseconds, but @overtaken.
 * @tick: when it was due.
 * @sched: from when it could have run (it was due, and the turn before was
 *     over) until it ran.
 * @wait: from then until it had the lock.
 * @late: from @tick until it had the lock.
 * @overtaken: how many holds of others began while it waited.
 */
typedef struct {
    uint64_t tick;
    uint64_t sched;
    uint64_t wait;
    uint64_t late;
    uint64_t overtaken;
} Turn;

Probe *probe_start(BigLock *lock, uint64_t period_ns);
/*
 * Ends the thread when all turns due before now are done. Returns an array
 * of Turn.
 */
GArray *probe_stop(Probe *probe);

#endif

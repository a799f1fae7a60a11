/* SPDX-License-Identifier: BSD-3-Clause */
#include "lock-recorder.h"

#include <pthread.h>
#include <stdio.h>

#define HELD_MAX 16
#define ORDERS_MAX 256

typedef struct {
    const GMutex *first;
    const GMutex *then;
} Order;

void __real_g_mutex_lock(GMutex *mutex);
void __real_g_mutex_unlock(GMutex *mutex);
gboolean __real_g_mutex_trylock(GMutex *mutex);
void __wrap_g_mutex_lock(GMutex *mutex);
void __wrap_g_mutex_unlock(GMutex *mutex);
gboolean __wrap_g_mutex_trylock(GMutex *mutex);

static __thread const GMutex *held[HELD_MAX];
static __thread uint32_t n_held;

/* Guards what follows; not a GMutex, so that it does not watch itself. */
static pthread_mutex_t recorder = PTHREAD_MUTEX_INITIALIZER;
static Order orders[ORDERS_MAX];
static uint32_t n_orders;
static const GMutex *big;
static uint32_t failures;
static uint32_t taken;

void lock_recorder_reset(GMutex *big_lock)
{
    pthread_mutex_lock(&recorder);
    n_orders = 0;
    failures = 0;
    taken = 0;
    big = big_lock;
    pthread_mutex_unlock(&recorder);
}

/* With the recorder's lock. */
static void note_order(const GMutex *first, const GMutex *then)
{
    bool known = false;
    uint32_t i;

    for (i = 0; i < n_orders; i++) {
        known |= orders[i].first == first && orders[i].then == then;
        if (orders[i].first == then && orders[i].then == first) {
            fprintf(stderr, "two mutexes are taken in both orders\n");
            failures++;
        }
    }
    if (!known && n_orders < ORDERS_MAX) {
        orders[n_orders++] = (Order){first, then};
    }
}

static void note_taken(const GMutex *mutex)
{
    uint32_t i;

    pthread_mutex_lock(&recorder);
    taken += mutex != big;
    for (i = 0; i < n_held; i++) {
        note_order(held[i], mutex);
    }
    /* The big lock is outermost: nothing of ours is held for it. */
    if (mutex == big && n_held > 0) {
        fprintf(stderr, "the big lock is taken with a mutex held\n");
        failures++;
    }
    pthread_mutex_unlock(&recorder);
    if (n_held < HELD_MAX) {
        held[n_held++] = mutex;
    }
}

void __wrap_g_mutex_lock(GMutex *mutex)
{
    __real_g_mutex_lock(mutex);
    note_taken(mutex);
}

gboolean __wrap_g_mutex_trylock(GMutex *mutex)
{
    gboolean got = __real_g_mutex_trylock(mutex);

    if (got) {
        note_taken(mutex);
    }
    return got;
}

void __wrap_g_mutex_unlock(GMutex *mutex)
{
    uint32_t i;

    for (i = n_held; i-- > 0;) {
        if (held[i] == mutex) {
            for (n_held--; i < n_held; i++) {
                held[i] = held[i + 1];
            }
            break;
        }
    }
    __real_g_mutex_unlock(mutex);
}

void lock_recorder_in_callback(const char *name)
{
    uint32_t i;

    pthread_mutex_lock(&recorder);
    for (i = 0; i < n_held; i++) {
        if (held[i] != big) {
            fprintf(stderr, "%s is called with a mutex held\n", name);
            failures++;
        }
    }
    pthread_mutex_unlock(&recorder);
}

uint32_t lock_recorder_failures(void)
{
    uint32_t n;

    pthread_mutex_lock(&recorder);
    n = failures;
    pthread_mutex_unlock(&recorder);
    return n;
}

uint32_t lock_recorder_taken(void)
{
    uint32_t n;

    pthread_mutex_lock(&recorder);
    n = taken;
    pthread_mutex_unlock(&recorder);
    return n;
}

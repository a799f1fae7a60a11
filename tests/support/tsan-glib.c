/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tells ThreadSanitizer of GLib's locks. GLib makes them from futexes and is
 * not instrumented, so that every use would be reported as a race. This is
 * preloaded in front of GLib and says what each call orders; the calls go on
 * to GLib. Not part of the library or of any ordinary test.
 */
#include <dlfcn.h>
#include <glib.h>

/* Weak: programs without the sanitizer (shells) are started with this too. */
void __tsan_acquire(void *address) __attribute__((weak));
void __tsan_release(void *address) __attribute__((weak));

static void acquired(void *address)
{
    if (__tsan_acquire != NULL) {
        __tsan_acquire(address);
    }
}

static void released(void *address)
{
    if (__tsan_release != NULL) {
        __tsan_release(address);
    }
}

/* GLib's own function of this name. */
#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

typedef void (*MutexFunc)(GMutex *);

void g_mutex_lock(GMutex *mutex)
{
    NEXT(MutexFunc, "g_mutex_lock")(mutex);
    acquired(mutex);
}

gboolean g_mutex_trylock(GMutex *mutex)
{
    gboolean got = NEXT(gboolean (*)(GMutex *), "g_mutex_trylock")(mutex);

    if (got) {
        acquired(mutex);
    }
    return got;
}

void g_mutex_unlock(GMutex *mutex)
{
    released(mutex);
    NEXT(MutexFunc, "g_mutex_unlock")(mutex);
}

void g_rec_mutex_lock(GRecMutex *mutex)
{
    NEXT(void (*)(GRecMutex *), "g_rec_mutex_lock")(mutex);
    acquired(mutex);
}

void g_rec_mutex_unlock(GRecMutex *mutex)
{
    released(mutex);
    NEXT(void (*)(GRecMutex *), "g_rec_mutex_unlock")(mutex);
}

void g_cond_wait(GCond *cond, GMutex *mutex)
{
    released(mutex);
    NEXT(void (*)(GCond *, GMutex *), "g_cond_wait")(cond, mutex);
    acquired(mutex);
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
    gboolean signalled;

    released(mutex);
    signalled = NEXT(gboolean (*)(GCond *, GMutex *, gint64),
                     "g_cond_wait_until")(cond, mutex, end_time);
    acquired(mutex);
    return signalled;
}

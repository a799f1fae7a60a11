/* SPDX-License-Identifier: BSD-3-Clause */
/* The guard: sites, holds of several threads, waits with the lock held. */
#include "unit.h"

#include "host/guard.h"

static GMutex big_lock;

static void lock(void *opaque)
{
    (void)opaque;
    g_mutex_lock(&big_lock);
}

static void unlock(void *opaque)
{
    (void)opaque;
    g_mutex_unlock(&big_lock);
}

static const VmloadHostOps ops = {
    VMLOAD_HOST_OPS_INIT,
    .lock = lock,
    .unlock = unlock,
};

static void hold_for(VmloadGuard *guard, uint64_t us, const char *what,
                     const char *name)
{
    VmloadHold hold;

    vmload_guard_lock(guard, &hold, what, name, 7);
    g_usleep(us);
    vmload_guard_unlock(guard, &hold);
}

static void test_site(void **state)
{
    char site[VMLOAD_GUARD_SITE];
    char name[300];
    VmloadGuard guard;
    uint64_t ns;

    (void)state;
    vmload_guard_init(&guard, &ops, NULL);
    assert_int_equal(vmload_guard_get_longest(&guard, site), 0);
    assert_string_equal(site, "");
    hold_for(&guard, 100000, "setup", NULL);
    hold_for(&guard, 0, "load", "cpu");
    ns = vmload_guard_get_longest(&guard, site);
    assert_true(ns >= 100000000);
    assert_string_equal(site, "setup");
    hold_for(&guard, (ns + 2000000) / 1000, "load", "cpu");
    assert_true(vmload_guard_get_longest(&guard, site) > ns);
    assert_string_equal(site, "load 'cpu' instance 7");
    /* Too long a name is cut. */
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    ns = vmload_guard_get_longest(&guard, site);
    hold_for(&guard, (ns + 2000000) / 1000, "load", name);
    vmload_guard_get_longest(&guard, site);
    assert_int_equal(strlen(site), VMLOAD_GUARD_SITE - 1);
    vmload_guard_clear(&guard);
}

static void *hold_once(void *opaque)
{
    hold_for(opaque, 0, "copy", NULL);
    return NULL;
}

/* A callback drops the lock, and another thread of ours takes it meanwhile. */
static void test_dropped(void **state)
{
    VmloadGuard guard;
    VmloadHold inner;
    VmloadHold hold;

    (void)state;
    vmload_guard_init(&guard, &ops, NULL);
    vmload_guard_lock(&guard, &hold, "load", NULL, 0);
    unlock(NULL);
    g_thread_join(g_thread_new("copy", hold_once, &guard));
    lock(NULL);
    assert_true(vmload_guard_is_held(&guard));
    /* Would hang if it were not known to be nested. */
    vmload_guard_lock(&guard, &inner, "load", NULL, 0);
    assert_true(inner.nested);
    vmload_guard_unlock(&guard, &inner);
    vmload_guard_unlock(&guard, &hold);
    assert_false(vmload_guard_is_held(&guard));
    assert_int_equal(guard.holds, 2);
    vmload_guard_clear(&guard);
}

static uint32_t criticals;

static void count_critical(const char *domain, GLogLevelFlags level,
                           const char *message, void *opaque)
{
    (void)domain;
    (void)message;
    (void)opaque;
    if (level & G_LOG_LEVEL_CRITICAL) {
        criticals++;
    }
}

/* A wait with the lock held is our bug, and said so while we debug. */
static void test_wait(void **state)
{
    GLogFunc before = g_log_set_default_handler(count_critical, NULL);
    VmloadGuard guard;
    VmloadHold hold;

    (void)state;
    vmload_guard_init(&guard, &ops, NULL);
    vmload_guard_check_wait(&guard, false);
    vmload_guard_lock(&guard, &hold, "load", NULL, 0);
    vmload_guard_check_wait(&guard, true);
    assert_int_equal(criticals, 0);
    vmload_guard_check_wait(&guard, false);
#ifndef NDEBUG
    assert_int_equal(criticals, 1);
#endif
    vmload_guard_count_io_wait(&guard, 5);
    vmload_guard_unlock(&guard, &hold);
    assert_int_equal(guard.io_wait_ns, 5);
    vmload_guard_clear(&guard);

    /* The caller's own lock is not ours to judge. */
    criticals = 0;
    vmload_guard_init(&guard, &ops, NULL);
    vmload_guard_adopt(&guard);
    vmload_guard_check_wait(&guard, false);
    assert_int_equal(criticals, 0);
    vmload_guard_clear(&guard);
    g_log_set_default_handler(before, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_site),
        cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_wait),
    };

    return cmocka_run_group_tests_name("guard-hold", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The guard of the big lock: holds, nested and adopted. */
#include "unit.h"

#include "host/guard.h"

typedef struct {
    int locked;
    int locks;
    bool held; /* what lock_is_held says */
} Host;

static void host_lock(void *opaque)
{
    Host *host = opaque;

    assert_int_equal(host->locked, 0);
    host->locked = 1;
    host->locks++;
}

static void host_unlock(void *opaque)
{
    Host *host = opaque;

    assert_int_equal(host->locked, 1);
    host->locked = 0;
}

static bool host_is_held(void *opaque)
{
    Host *host = opaque;

    return host->held || host->locked != 0;
}

static const VmloadHostOps host_ops = {
    VMLOAD_HOST_OPS_INIT,
    .lock = host_lock,
    .unlock = host_unlock,
    .lock_is_held = host_is_held,
};

static void *other_thread(void *opaque)
{
    return GINT_TO_POINTER(vmload_guard_is_held(opaque));
}

static void test_hold(void **state)
{
    Host host = {0};
    VmloadGuard guard;
    VmloadHold hold;
    GThread *thread;

    (void)state;
    vmload_guard_init(&guard, &host_ops, &host);
    assert_true(vmload_guard_may_wait(&guard));
    vmload_guard_count_io_wait(&guard, 5);
    vmload_guard_lock(&guard, &hold, "load", NULL, 0);
    assert_true(vmload_guard_is_held(&guard));
    assert_false(vmload_guard_may_wait(&guard));
    thread = g_thread_new("other", other_thread, &guard);
    assert_null(g_thread_join(thread));
    vmload_guard_count_io_wait(&guard, 7);
    vmload_guard_unlock(&guard, &hold);
    assert_int_equal(host.locked, 0);
    assert_false(vmload_guard_is_held(&guard));
    assert_int_equal(guard.holds, 1);
    assert_int_equal(guard.io_waits, 1);
    assert_int_equal(guard.io_wait_ns, 7);
    assert_int_equal(guard.held_total_ns, hold.held_ns);
    assert_int_equal(guard.held_max_ns, hold.held_ns);
    /* A thread of the host's that holds the lock must not wait. */
    host.held = true;
    assert_false(vmload_guard_may_wait(&guard));
}

/* Only the outermost hold takes the lock and is counted. */
static void test_nested(void **state)
{
    Host host = {0};
    VmloadGuard guard;
    VmloadHold outer;
    VmloadHold inner;

    (void)state;
    vmload_guard_init(&guard, &host_ops, &host);
    vmload_guard_lock(&guard, &outer, "load", NULL, 0);
    vmload_guard_lock(&guard, &inner, "load", NULL, 0);
    vmload_guard_unlock(&guard, &inner);
    assert_int_equal(host.locked, 1);
    assert_true(vmload_guard_is_held(&guard));
    assert_int_equal(inner.wait_ns, 0);
    vmload_guard_unlock(&guard, &outer);
    assert_int_equal(host.locked, 0);
    assert_int_equal(host.locks, 1);
    assert_int_equal(guard.holds, 1);
}

static void test_adopted(void **state)
{
    Host host = {.held = true};
    VmloadGuard guard;
    VmloadHold hold;

    (void)state;
    vmload_guard_init(&guard, &host_ops, &host);
    vmload_guard_adopt(&guard);
    vmload_guard_lock(&guard, &hold, "load", NULL, 0);
    vmload_guard_unlock(&guard, &hold);
    assert_true(vmload_guard_is_held(&guard));
    /* The caller's own lock: waits are allowed, and counted. */
    assert_true(vmload_guard_may_wait(&guard));
    vmload_guard_count_io_wait(&guard, 3);
    assert_int_equal(guard.io_wait_ns, 3);
    assert_int_equal(host.locks, 0);
    assert_int_equal(guard.holds, 0);
    assert_int_equal(guard.held_total_ns, 0);
}

/* A host without a lock. */
static void test_lockless(void **state)
{
    const VmloadHostOps none = {VMLOAD_HOST_OPS_INIT};
    VmloadGuard guard;
    VmloadHold hold;

    (void)state;
    vmload_guard_init(&guard, &none, NULL);
    vmload_guard_lock(&guard, &hold, "load", NULL, 0);
    vmload_guard_unlock(&guard, &hold);
    assert_int_equal(guard.holds, 1);
    assert_true(vmload_guard_may_wait(&guard));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hold),     cmocka_unit_test(test_nested),
        cmocka_unit_test(test_adopted),  cmocka_unit_test(test_lockless),
    };

    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}

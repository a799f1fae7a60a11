/* SPDX-License-Identifier: BSD-3-Clause */
/* The big lock: who gets it between two holds. */
#include "unit.h"

#include "host/clock.h"
#include "host/guard.h"

typedef struct {
    uint32_t wanted; /* how often lock_is_wanted() says so; ~0: always */
    uint32_t asked;
    uint32_t taken;
    bool held;
} Host;

static void lock(void *opaque)
{
    Host *host = opaque;

    assert_false(host->held);
    host->held = true;
    host->taken++;
}

static void unlock(void *opaque)
{
    Host *host = opaque;

    assert_true(host->held);
    host->held = false;
}

static bool lock_is_wanted(void *opaque)
{
    Host *host = opaque;

    assert_false(host->held);
    host->asked++;
    if (host->wanted == G_MAXUINT32) {
        return true;
    }
    if (host->wanted == 0) {
        return false;
    }
    host->wanted--;
    return true;
}

static const VmloadHostOps asked_ops = {
    VMLOAD_HOST_OPS_INIT,
    .lock = lock,
    .unlock = unlock,
    .lock_is_wanted = lock_is_wanted,
};

static void hold_once(VmloadGuard *guard)
{
    VmloadHold hold;

    vmload_guard_lock(guard, &hold, "test", NULL, 0);
    vmload_guard_unlock(guard, &hold);
}

static void test_not_wanted(void **state)
{
    Host host = {0};
    VmloadGuard guard;

    (void)state;
    vmload_guard_init(&guard, &asked_ops, &host);
    hold_once(&guard);
    assert_int_equal(host.asked, 1);
    assert_int_equal(host.taken, 1);
}

/* Asked until the other thread has it; that is no wait for bytes. */
static void test_wanted(void **state)
{
    Host host = {.wanted = 2};
    VmloadGuard guard;

    (void)state;
    vmload_guard_init(&guard, &asked_ops, &host);
    hold_once(&guard);
    /* Again after the first time, unless this took all its patience. */
    assert_in_range(host.asked, 1, 3);
    assert_int_equal(host.taken, 1);
    assert_int_equal(guard.io_waits, 0);
}

/* A lock that is always wanted is taken all the same. */
static void test_always_wanted(void **state)
{
    Host host = {.wanted = G_MAXUINT32};
    VmloadGuard guard;

    (void)state;
    vmload_guard_init(&guard, &asked_ops, &host);
    hold_once(&guard);
    hold_once(&guard);
    assert_int_equal(host.taken, 2);
}

/* Inside a hold nobody else can have it. */
static void test_nested(void **state)
{
    Host host = {0};
    VmloadGuard guard;
    VmloadHold outer;

    (void)state;
    vmload_guard_init(&guard, &asked_ops, &host);
    vmload_guard_lock(&guard, &outer, "test", NULL, 0);
    hold_once(&guard);
    assert_true(host.held);
    vmload_guard_unlock(&guard, &outer);
    assert_int_equal(host.asked, 1);
    assert_int_equal(host.taken, 1);
}

static const VmloadHostOps silent_ops = {
    VMLOAD_HOST_OPS_INIT,
    .lock = lock,
    .unlock = unlock,
};

/*
 * A host that cannot tell has its turn after a row of holds. How fast this
 * thread runs is not known, so a gap may come of itself: then once more.
 */
static void test_rest(void **state)
{
    Host host = {0};
    VmloadGuard guard;
    uint32_t tries = 0;

    (void)state;
    vmload_guard_init(&guard, &silent_ops, &host);
    hold_once(&guard);
    assert_int_equal(guard.rests, 0);
    while (guard.rests == 0 && tries++ < 100000) {
        guard.row_ns = G_MAXUINT64 / 2;
        guard.given_ns = vmload_clock_ns();
        hold_once(&guard);
        /* The next row begins with this hold. */
        assert_true(guard.row_ns < G_MAXUINT64 / 2);
    }
    assert_int_equal(guard.rests, 1);
    vmload_guard_clear(&guard);
}

/* Where there was a gap already, or the host can tell, there is none. */
static void test_no_rest(void **state)
{
    Host host = {0};
    VmloadGuard guard;

    (void)state;
    vmload_guard_init(&guard, &silent_ops, &host);
    guard.row_ns = G_MAXUINT64 / 2;
    guard.given_ns = vmload_clock_ns() - 1000000000;
    hold_once(&guard);
    assert_int_equal(guard.rests, 0);
    assert_true(guard.row_ns < G_MAXUINT64 / 2);
    vmload_guard_clear(&guard);
    vmload_guard_init(&guard, &asked_ops, &host);
    guard.row_ns = G_MAXUINT64 / 2;
    guard.given_ns = vmload_clock_ns();
    hold_once(&guard);
    assert_int_equal(guard.rests, 0);
    vmload_guard_clear(&guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_wanted), cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_always_wanted), cmocka_unit_test(test_nested),
        cmocka_unit_test(test_rest), cmocka_unit_test(test_no_rest),
    };

    return cmocka_run_group_tests_name("guard-turns", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The cancel level. */
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "host/cancel.h"

static bool is_readable(const VmloadCancel *cancel)
{
    struct pollfd fd = {.fd = vmload_cancel_get_fd(cancel), .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

/* A level: once set it stays, however often and by whom. */
static void test_cancel(void **state)
{
    GError *error = NULL;
    VmloadCancel *cancel = vmload_cancel_new(&error);
    int i;

    (void)state;
    assert_non_null(cancel);
    assert_false(vmload_cancel_is_set(cancel));
    assert_true(vmload_cancel_check(cancel, &error));
    assert_false(is_readable(cancel));
    for (i = 0; i < 3; i++) {
        errno = 77;
        vmload_cancel_fire(cancel);
        assert_int_equal(errno, 77);
        assert_true(vmload_cancel_is_set(cancel));
        assert_true(is_readable(cancel));
        assert_false(vmload_cancel_check(cancel, &error));
        assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    }
    vmload_cancel_free(cancel);
    vmload_cancel_free(NULL);
}

/* In a signal handler too: errno is the interrupted code's. */
static void test_errno(void **state)
{
    VmloadCancel *cancel = vmload_cancel_new(NULL);
    const uint64_t full = UINT64_MAX - 1;

    (void)state;
    assert_int_equal(write(vmload_cancel_get_fd(cancel), &full, sizeof(full)),
                     sizeof(full));
    errno = 77;
    vmload_cancel_fire(cancel);
    assert_int_equal(errno, 77);
    assert_true(vmload_cancel_is_set(cancel));
    vmload_cancel_free(cancel);
}

static void *fire(void *opaque)
{
    vmload_cancel_fire(opaque);
    return NULL;
}

/* A wait that has begun ends, whoever cancels. */
static void test_wake(void **state)
{
    VmloadCancel *cancel = vmload_cancel_new(NULL);
    struct pollfd fd = {.fd = vmload_cancel_get_fd(cancel), .events = POLLIN};
    GThread *thread = g_thread_new("fire", fire, cancel);

    (void)state;
    assert_int_equal(poll(&fd, 1, 60000), 1);
    assert_true(vmload_cancel_is_set(cancel));
    g_thread_join(thread);
    assert_int_equal(poll(&fd, 1, 0), 1);
    vmload_cancel_free(cancel);
}

/* No descriptor left: an error, and nothing to free. */
static void test_no_descriptor(void **state)
{
    struct rlimit before;
    struct rlimit now;
    GError *error = NULL;
    VmloadCancel *cancel;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    cancel = vmload_cancel_new(&error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_null(cancel);
    assert_unit_error(&error, VMLOAD_ERROR_IO, "eventfd: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_wake),
        cmocka_unit_test(test_no_descriptor),
    };

    return cmocka_run_group_tests_name("host-cancel", tests, NULL, NULL);
}

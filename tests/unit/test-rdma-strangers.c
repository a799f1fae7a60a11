/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whoever connects over RDMA and is not the source is sent away, counted and
 * reported, and the source is awaited and served all the same.
 */
#include "rdma-fixture.h"

/* Who is no source is refused, and the next one is welcome. */
static void test_strangers(void **state)
{
    static const uint8_t version[] = {0, 0, 0, 2, 0, 0, 0, 0};
    Rdma rdma;

    (void)state;
    rdma_open(&rdma, NULL);
    assert_true(rdma_await(&rdma));
    assert_int_equal(vd_connect(NULL, 0), 0);
    vd_connect(version, 7);
    vd_connect(version, 8);
    vd_connect_source(0);
    rdma_run_refusing(&rdma, 3);
    assert_true(vd_is_refused(0) && vd_is_refused(1) && vd_is_refused(2));
    assert_true(vd_is_accepted(3));
    assert_non_null(strstr(rdma.reasons, "connection 1 from rdma:192.0.2.7:"));
    assert_non_null(strstr(rdma.reasons, "connection 3 from rdma:"));
    assert_non_null(strstr(rdma.reasons, "expected version 1, found 2"));
    rdma_close(&rdma);
}

/* The load that is awaited comes behind strangers of each kind. */
static void run_after_stranger(Rdma *rdma, const char *part)
{
    vmload_loader_start(rdma->loader, &rdma->error);
    while (g_atomic_int_get(&rdma->refused) < 1) {
        g_usleep(200);
    }
    assert_non_null(strstr(rdma->reasons, part));
    assert_true(vd_is_disconnected(0));
    vd_change_main(1);
    assert_int_equal(vd_connect_source(0), 1);
    rdma_queue_start(rdma);
    rdma_queue_rounds(false);
    rdma_queue_tail();
    if (!vmload_loader_wait(rdma->loader, &rdma->error)) {
        fail_msg("%s", rdma->error->message);
    }
    assert_int_equal(rdma_stats(rdma).connections_refused, 1);
    rdma_close(rdma);
}

static void open_for_stranger(Rdma *rdma)
{
    rdma_open(rdma, NULL);
    vmload_loader_set_timeouts(rdma->loader, 50, 0);
    assert_true(rdma_await(rdma));
    vd_connect_source(0);
}

/* It has the right private data, and says nothing. */
static void test_silent_stranger(void **state)
{
    Rdma rdma;

    (void)state;
    open_for_stranger(&rdma);
    run_after_stranger(&rdma, "beginning of a stream within 50 ms");
}

/* Or is never established. */
static void test_half_stranger(void **state)
{
    Rdma rdma;

    (void)state;
    open_for_stranger(&rdma);
    vd_hold_established(true);
    vmload_loader_start(rdma.loader, NULL);
    while (!vd_is_accepted(0)) {
        g_usleep(200);
    }
    vd_hold_established(false);
    while (g_atomic_int_get(&rdma.refused) < 1) {
        g_usleep(200);
    }
    vmload_loader_cancel(rdma.loader);
    assert_false(vmload_loader_wait(rdma.loader, NULL));
    assert_true(vd_is_disconnected(0));
    rdma_close(&rdma);
}

/* Or says something else. */
static void test_garbage_stranger(void **state)
{
    Rdma rdma;

    (void)state;
    open_for_stranger(&rdma);
    vd_queue(T_FILE, 0, "GET / HTTP/1.1", 14);
    run_after_stranger(&rdma, "magic QEVM");
}

/* Or leaves. */
static void test_leaving_stranger(void **state)
{
    Rdma rdma;

    (void)state;
    open_for_stranger(&rdma);
    vd_queue_event(RDMA_CM_EVENT_DISCONNECTED);
    run_after_stranger(&rdma, "the end of the connection");
}

/*
 * A stranger wants the return path's place: from elsewhere it does not get it,
 * also if it comes before the source's own second connection.
 */
static void test_back_stranger(void **state)
{
    Rdma rdma;

    (void)state;
    rdma_open(&rdma, NULL);
    rdma.back = true;
    assert_true(rdma_await(&rdma));
    vd_leave_after_shut(true);
    vd_connect_source(0);
    vd_set_peer(9);
    assert_int_equal(vd_connect_source(0), 1);
    vd_set_peer(7);
    assert_int_equal(vd_connect_source(0), 2);
    vd_change_back(2);
    rdma_queue_start(&rdma);
    rdma_queue_rounds(false);
    rdma_queue_tail_vmdesc();
    if (!rdma_run(&rdma)) {
        fail_msg("%s", rdma.error->message);
    }
    assert_true(vd_is_refused(1));
    assert_true(vd_is_accepted(2));
    assert_int_equal(rdma.refused, 1);
    assert_non_null(strstr(rdma.reasons, "from rdma:192.0.2.9:"));
    rdma_close(&rdma);
}

/* From the same address, but the source has begun: it has had its chance. */
static void test_late_stranger(void **state)
{
    Rdma rdma;

    (void)state;
    rdma_open_connected(&rdma, 0);
    rdma_queue_start(&rdma);
    rdma_queue_blocks();
    rdma_queue_next(false);
    assert_true(vmload_loader_start(rdma.loader, NULL));
    while (rdma_stats(&rdma).rdma_messages < 4) {
        g_usleep(200);
    }
    vd_connect_source(0);
    while (g_atomic_int_get(&rdma.refused) < 1) {
        g_usleep(200);
    }
    rdma_queue_next(true);
    rdma_queue_tail();
    assert_true(vmload_loader_wait(rdma.loader, &rdma.error));
    assert_true(vd_is_refused(1));
    assert_non_null(strstr(rdma.reasons, "before the stream begins"));
    assert_int_equal(rdma_stats(&rdma).connections_refused, 1);
    rdma_close(&rdma);
}

/*
 * Events in any order, on the first connection before it is established and
 * after, and on the second: nothing is lost, nothing dies too early, and a
 * cancel ends what goes on.
 */
static const enum rdma_cm_event_type events[] = {
    RDMA_CM_EVENT_ESTABLISHED,    RDMA_CM_EVENT_DISCONNECTED,
    RDMA_CM_EVENT_DEVICE_REMOVAL, RDMA_CM_EVENT_REJECTED,
    RDMA_CM_EVENT_CONNECT_ERROR,  RDMA_CM_EVENT_UNREACHABLE,
    RDMA_CM_EVENT_TIMEWAIT_EXIT,  RDMA_CM_EVENT_ADDR_CHANGE,
};

static void run_events(enum rdma_cm_event_type first,
                       enum rdma_cm_event_type second, int on, bool held)
{
    Rdma rdma;
    int i;

    rdma_open(&rdma, NULL);
    rdma.back = true;
    assert_true(rdma_await(&rdma));
    vd_hold_established(held);
    vd_connect_source(0);
    vd_connect_source(0);
    rdma_queue_start(&rdma);
    assert_true(vmload_loader_start(rdma.loader, NULL));
    while (!vd_is_accepted(VD_BACK) && g_atomic_int_get(&rdma.refused) == 0) {
        g_usleep(100);
    }
    vd_event(on, first);
    vd_event(on, second);
    for (i = 0; i < 10 && g_atomic_int_get(&rdma.finished) == 0; i++) {
        g_usleep(100);
    }
    vmload_loader_cancel(rdma.loader);
    assert_false(vmload_loader_wait(rdma.loader, &rdma.error));
    assert_non_null(rdma.error);
    rdma_close(&rdma);
}

static void test_events(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < 4 * G_N_ELEMENTS(events) * G_N_ELEMENTS(events); i++) {
        run_events(events[i / 4 % G_N_ELEMENTS(events)],
                   events[i / 4 / G_N_ELEMENTS(events)],
                   i % 2 == 0 ? VD_MAIN : VD_BACK, i / 2 % 2 != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_silent_stranger),
        cmocka_unit_test(test_half_stranger),
        cmocka_unit_test(test_garbage_stranger),
        cmocka_unit_test(test_leaving_stranger),
        cmocka_unit_test(test_back_stranger),
        cmocka_unit_test(test_late_stranger),
        cmocka_unit_test(test_events),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

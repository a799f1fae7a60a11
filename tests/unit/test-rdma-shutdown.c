/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shutdown() of an RDMA channel wakes who waits in that direction, which is a
 * connection of its own, and nobody else.
 */
#include "rdma-fixture.h"

#include "channel/channel.h"
#include "channel/rdma/listener.h"
#include "channel/uri.h"

/* Lets the threads come to where they wait. */
static void settle(void)
{
    g_usleep(20000);
}

typedef struct {
    VmloadChannel *channel;
    bool write;
    GError *error;
    int64_t result;
    int done; /* atomic */
} Waiter;

static gpointer wait_thread(gpointer opaque)
{
    static const VmloadWait forever;
    Waiter *waiter = opaque;
    uint8_t byte = 0;
    struct iovec iov = {&byte, 1};

    if (waiter->write) {
        waiter->result = vmload_channel_write(waiter->channel, &byte, 1,
                                              &forever, &waiter->error);
    } else {
        waiter->result = vmload_channel_readv(waiter->channel, &iov, 1,
                                              &forever, &waiter->error);
    }
    g_atomic_int_set(&waiter->done, 1);
    return NULL;
}

/* A channel, one thread that waits to read and one that waits to write. */
static VmloadChannel *open_waiters(VmloadRdmaListener **listener,
                                   Waiter waiters[2], GThread *threads[2])
{
    VmloadUri uri = {.host = (char *)(uintptr_t) "h",
                     .port = (char *)(uintptr_t) "1"};
    static const VmloadWait forever;
    uint8_t bytes[8];
    struct iovec iov = {bytes, sizeof(bytes)};
    VmloadChannel *channel;
    int i;

    vd_reset();
    vd_hold_credits(true);
    *listener = vmload_rdma_listener_new(&uri, NULL);
    assert_non_null(*listener);
    vd_connect_source(0);
    vd_connect_source(0);
    vd_queue(T_FILE, 0, "QEVM", 4);
    channel = vmload_rdma_listener_accept(*listener, &forever, 0, NULL, NULL,
                                          NULL);
    assert_non_null(channel);
    assert_int_equal(
        vmload_channel_readv(channel, &iov, 1, &forever, NULL), 4);
    for (i = 0; i < 2; i++) {
        waiters[i] = (Waiter){.channel = channel, .write = i == 1};
        threads[i] = g_thread_new("wait", wait_thread, &waiters[i]);
    }
    settle();
    return channel;
}

/* Shuts one direction: who waits there wakes, who waits in the other not. */
static void check_shutdown(VmloadDirection direction)
{
    VmloadRdmaListener *listener;
    Waiter waiters[2];
    GThread *threads[2];
    VmloadChannel *channel = open_waiters(&listener, waiters, threads);
    bool both = direction == VMLOAD_DIRECTION_BOTH;
    int woken = direction == VMLOAD_DIRECTION_WRITE;
    int i;

    assert_true(vmload_channel_shutdown(channel, direction, NULL));
    g_thread_join(threads[woken]);
    if (!both) {
        settle();
        assert_int_equal(g_atomic_int_get(&waiters[1 - woken].done), 0);
        assert_true(
            vmload_channel_shutdown(channel, VMLOAD_DIRECTION_BOTH, NULL));
    }
    g_thread_join(threads[1 - woken]);
    /* The read sees an end, the write an error. */
    assert_int_equal(waiters[0].result, 0);
    assert_null(waiters[0].error);
    assert_non_null(waiters[1].error);
    for (i = 0; i < 2; i++) {
        g_clear_error(&waiters[i].error);
    }
    vmload_channel_unref(channel);
    vmload_rdma_listener_unref(listener);
    assert_int_equal(vd_count_alive(), 0);
    assert_null(vd_get_wrong());
}

static void test_shutdown_read(void **state)
{
    (void)state;
    check_shutdown(VMLOAD_DIRECTION_READ);
}

static void test_shutdown_write(void **state)
{
    (void)state;
    check_shutdown(VMLOAD_DIRECTION_WRITE);
}

static void test_shutdown_both(void **state)
{
    (void)state;
    check_shutdown(VMLOAD_DIRECTION_BOTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shutdown_read),
        cmocka_unit_test(test_shutdown_write),
        cmocka_unit_test(test_shutdown_both),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

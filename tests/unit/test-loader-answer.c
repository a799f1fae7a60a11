/* SPDX-License-Identifier: BSD-3-Clause */
/* What is due to the source: approvals are counted, acknowledged once. */
#include "unit.h"

#include <sys/socket.h>
#include <unistd.h>

#include "loader/internal.h"

static VmloadLoader *make_loader(bool ack, VmloadSwitchoverAck mode)
{
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    VmloadLoader *loader = vmload_loader_new(&ops, NULL, NULL, NULL);

    assert_non_null(loader);
    vmload_loader_set_switchover_ack(loader, ack, mode);
    return loader;
}

/* The return path over a socket; the source's end. */
static int open_path(VmloadLoader *loader)
{
    VmloadChannel *channel;
    int fds[2];

    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    channel = vmload_channel_take_fd(fds[0], NULL);
    assert_non_null(channel);
    vmload_return_path_open(&loader->return_path, channel);
    vmload_channel_unref(channel);
    return fds[1];
}

/* Exactly @n SWITCHOVER_ACKs are there. */
static void expect_acks(int peer, size_t n)
{
    static const uint8_t ack[] = {0, 7, 0, 0};
    uint8_t got[64];
    ssize_t length = recv(peer, got, sizeof(got), 0);
    size_t i;

    if (n == 0) {
        assert_int_equal(length, -1);
        return;
    }
    assert_int_equal(length, n * sizeof(ack));
    for (i = 0; i < n; i++) {
        assert_memory_equal(got + i * sizeof(ack), ack, sizeof(ack));
    }
}

/* One for all devices, with the last of them. */
static void test_legacy(void **state)
{
    VmloadLoader *loader = make_loader(true, VMLOAD_SWITCHOVER_ACK_LEGACY);
    int peer = open_path(loader);

    (void)state;
    vmload_loader_expect_approval(loader);
    vmload_loader_expect_approval(loader);
    vmload_loader_settle_approvals(loader);
    assert_true(vmload_loader_approve_switchover(loader, NULL));
    expect_acks(peer, 0);
    assert_true(vmload_loader_approve_switchover(loader, NULL));
    expect_acks(peer, 1);
    assert_true(vmload_loader_send_switchover_acks(loader, NULL));
    expect_acks(peer, 0);
    close(peer);
    vmload_loader_free(loader);
}

/* A device that is ready before the last one was asked does not count. */
static void test_early(void **state)
{
    VmloadLoader *loader = make_loader(true, VMLOAD_SWITCHOVER_ACK_LEGACY);
    int peer = open_path(loader);

    (void)state;
    vmload_loader_expect_approval(loader);
    assert_true(vmload_loader_approve_switchover(loader, NULL));
    expect_acks(peer, 0);
    vmload_loader_expect_approval(loader);
    vmload_loader_settle_approvals(loader);
    assert_true(vmload_loader_send_switchover_acks(loader, NULL));
    expect_acks(peer, 0);
    assert_true(vmload_loader_approve_switchover(loader, NULL));
    expect_acks(peer, 1);
    close(peer);
    vmload_loader_free(loader);
}

static void test_per_device(void **state)
{
    VmloadLoader *loader =
        make_loader(true, VMLOAD_SWITCHOVER_ACK_PER_DEVICE);
    int peer = open_path(loader);

    (void)state;
    vmload_loader_expect_approval(loader);
    vmload_loader_expect_approval(loader);
    vmload_loader_settle_approvals(loader);
    assert_true(vmload_loader_send_switchover_acks(loader, NULL));
    expect_acks(peer, 0);
    assert_true(vmload_loader_approve_switchover(loader, NULL));
    expect_acks(peer, 1);
    assert_true(vmload_loader_approve_switchover(loader, NULL));
    expect_acks(peer, 1);
    close(peer);
    vmload_loader_free(loader);
}

/* What falls due before the source opens its return path is kept. */
static void test_kept(void **state)
{
    VmloadLoader *loader =
        make_loader(true, VMLOAD_SWITCHOVER_ACK_PER_DEVICE);
    int peer;

    (void)state;
    vmload_loader_expect_approval(loader);
    vmload_loader_expect_approval(loader);
    vmload_loader_settle_approvals(loader);
    assert_true(vmload_loader_approve_switchover(loader, NULL));
    assert_true(vmload_loader_approve_switchover(loader, NULL));
    peer = open_path(loader);
    assert_true(vmload_loader_send_switchover_acks(loader, NULL));
    expect_acks(peer, 2);
    close(peer);
    vmload_loader_free(loader);
}

/* No device waits: a legacy source hears at once, others never. */
static void test_nobody(void **state)
{
    const struct {
        bool ack;
        VmloadSwitchoverAck mode;
        size_t acks;
    } cases[] = {
        {true, VMLOAD_SWITCHOVER_ACK_LEGACY, 1},
        {true, VMLOAD_SWITCHOVER_ACK_PER_DEVICE, 0},
        {false, VMLOAD_SWITCHOVER_ACK_LEGACY, 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadLoader *loader = make_loader(cases[i].ack, cases[i].mode);
        int peer = open_path(loader);
        GError *error = NULL;

        vmload_loader_settle_approvals(loader);
        assert_true(vmload_loader_send_switchover_acks(loader, NULL));
        expect_acks(peer, cases[i].acks);
        assert_false(vmload_loader_approve_switchover(loader, &error));
        assert_unit_error(&error, VMLOAD_ERROR_FAILED, "no device waits");
        expect_acks(peer, 0);
        close(peer);
        vmload_loader_free(loader);
    }
}

/* SHUT is the library's; anything else goes out as it is. */
static void test_send(void **state)
{
    static const uint8_t pong[] = {0, 2, 0, 4, 1, 2, 3, 4};
    VmloadLoader *loader = make_loader(false, VMLOAD_SWITCHOVER_ACK_LEGACY);
    int peer = open_path(loader);
    GError *error = NULL;
    uint8_t got[64];

    (void)state;
    assert_false(vmload_loader_send_return_path(
        loader, VMLOAD_RETURN_PATH_SHUT, pong, 4, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "SHUT");
    expect_acks(peer, 0);
    assert_true(vmload_loader_send_return_path(
        loader, VMLOAD_RETURN_PATH_PONG, pong + 4, 4, &error));
    assert_int_equal(recv(peer, got, sizeof(got), 0), sizeof(pong));
    assert_memory_equal(got, pong, sizeof(pong));
    close(peer);
    vmload_loader_free(loader);
}

static void no_op(void *opaque)
{
    (void)opaque;
}

/* With the big lock held nobody waits for a source that does not read. */
static void test_wait(void **state)
{
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT,
                               .lock = no_op,
                               .unlock = no_op};
    VmloadLoader *loader = vmload_loader_new(&ops, NULL, NULL, NULL);
    VmloadWait wait;
    VmloadHold hold;

    (void)state;
    assert_ptr_equal(vmload_loader_write_wait(loader, &wait), &wait);
    assert_ptr_equal(wait.cancel, loader->cancel);
    vmload_guard_lock(&loader->guard, &hold, "test", NULL, 0);
    assert_null(vmload_loader_write_wait(loader, &wait));
    vmload_guard_unlock(&loader->guard, &hold);
    assert_non_null(vmload_loader_write_wait(loader, &wait));
    vmload_loader_free(loader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_legacy),     cmocka_unit_test(test_early),
        cmocka_unit_test(test_per_device), cmocka_unit_test(test_kept),
        cmocka_unit_test(test_nobody),     cmocka_unit_test(test_send),
        cmocka_unit_test(test_wait),
    };

    return cmocka_run_group_tests_name("loader-answer", tests, NULL, NULL);
}

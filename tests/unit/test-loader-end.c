/* SPDX-License-Identifier: BSD-3-Clause */
/* How a load ends: finish, SHUT, SWITCHOVER_ACK, a source that is deaf. */
#include "loader-fixture.h"

static const uint8_t payload[8] = {1, 2, 3, 4, 5, 6, 7, 8};

static void open_path(Fake *fake)
{
    sw_command(fake->out, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
}

static void wait_finish(Fake *fake)
{
    int i;

    for (i = 0; g_atomic_int_get(&fake->finish_calls) == 0; i++) {
        assert_true(i < FAKE_TIMEOUT_MS);
        g_usleep(1000);
    }
}

static void assert_silent(int fd)
{
    uint8_t byte;

    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

/* The answer comes later, from another thread: no SHUT before it. */
static void test_answer(void **state)
{
    int refuse;

    (void)state;
    for (refuse = 0; refuse < 2; refuse++) {
        GError *error = NULL;
        Fake fake;
        int peer;

        fake_init(&fake, NULL);
        fake.hold_finish = true;
        peer = fake_connect(&fake);
        open_path(&fake);
        sw_eof(fake.out);
        sw_vmdesc(fake.out, "{}");
        assert_true(vmload_loader_start(fake.loader, NULL));
        fake_send(peer, fake.out, 0);
        wait_finish(&fake);
        assert_int_equal(fake.finish_loaded, 1);
        assert_silent(peer);
        assert_int_equal(vmload_loader_get_state(fake.loader),
                         VMLOAD_STATE_FINISHING);
        error = g_error_new_literal(g_quark_from_static_string("fake"), 1,
                                    "no disk");
        vmload_loader_finished(fake.loader, refuse != 0 ? error : NULL);
        g_clear_error(&error);
        assert_int_equal(vmload_loader_wait(fake.loader, &error),
                         refuse == 0);
        if (refuse != 0) {
            assert_unit_error(&error, VMLOAD_ERROR_DEVICE, "finish: no disk");
        }
        fake_expect(peer, refuse != 0 ? fake_shut_1 : fake_shut_0, 8);
        fake_expect_end(peer);
        close(peer);
        fake_clear(&fake, "pre_load post_load finish");
    }
}

/* A cancel behind the answer is too late, one before it is not. */
static void test_answer_and_cancel(void **state)
{
    int early;

    (void)state;
    for (early = 0; early < 2; early++) {
        GError *error = NULL;
        Fake fake;
        int peer;

        fake_init(&fake, NULL);
        fake.hold_finish = early != 0;
        fake.cancel_in = early != 0 ? NULL : "finish";
        peer = fake_connect(&fake);
        open_path(&fake);
        sw_eof(fake.out);
        sw_vmdesc(fake.out, "{}");
        assert_true(vmload_loader_start(fake.loader, NULL));
        fake_send(peer, fake.out, 0);
        wait_finish(&fake);
        if (early != 0) {
            vmload_loader_cancel(fake.loader);
        }
        assert_int_equal(vmload_loader_wait(fake.loader, &error), early == 0);
        if (early != 0) {
            assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
            /* The late answer is no crime. */
            vmload_loader_finished(fake.loader, NULL);
        }
        fake_expect(peer, early != 0 ? fake_shut_1 : fake_shut_0, 8);
        assert_int_equal(vmload_loader_get_state(fake.loader),
                         early != 0 ? VMLOAD_STATE_CANCELLED
                                    : VMLOAD_STATE_COMPLETED);
        close(peer);
        fake_clear(&fake, "pre_load post_load finish");
    }
}

/* A failure: finish hears the cause, the source SHUT 1, and is cut off. */
static void test_failure(void **state)
{
    VmloadPosition position = {.struct_size = sizeof(position)};
    GError *error = NULL;
    FakeDevice cpu = {0};
    Fake fake;
    int peer;

    (void)state;
    fake_init(&fake, NULL);
    fake.refuse = "load:cpu:full";
    fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_plain_ops);
    peer = fake_connect(&fake);
    open_path(&fake);
    sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
    sw_eof(fake.out);
    sw_vmdesc(fake.out, "{}");
    assert_true(vmload_loader_start(fake.loader, NULL));
    fake_send(peer, fake.out, 0);
    assert_false(vmload_loader_wait(fake.loader, &error));
    assert_unit_error(&error, VMLOAD_ERROR_DEVICE,
                      "channel 'main', section 'cpu' instance 0 at 0x16: "
                      "refused by the test");
    fake_expect(peer, fake_shut_1, sizeof(fake_shut_1));
    fake_expect_end(peer);
    assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), -1);
    vmload_loader_get_position(fake.loader, &position);
    assert_int_equal(position.record, VMLOAD_RECORD_FULL);
    assert_int_equal(position.section_id, 5);
    assert_int_equal(position.record_offset, 0x16);
    assert_int_equal(position.offset, 0x27);
    assert_string_equal(position.idstr, "cpu");
    assert_string_equal(position.channel, "main");
    close(peer);
    fake_clear(&fake, "pre_load load:cpu:full finish-failed");
}

/* Where the bytes stop being good, the position says so. */
static void test_position(void **state)
{
    VmloadPosition position = {.struct_size = sizeof(position)};
    FakeDevice cpu = {0};
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_plain_ops);
    sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
    sw_u8(fake.out, 0x44);
    sw_eof(fake.out);
    vmload_loader_set_presence(fake.loader, VMLOAD_PRESENCE_REQUIRED,
                               VMLOAD_PRESENCE_REQUIRED,
                               VMLOAD_PRESENCE_ABSENT);
    fake_run_fails(&fake, VMLOAD_ERROR_TRUNCATED, "section 'cpu'");
    vmload_loader_get_position(fake.loader, &position);
    assert_int_equal(position.record_offset, 0x11);
    fake_clear(&fake, NULL);
}

typedef struct {
    Fake fake;
    FakeDevice one;
    FakeDevice two;
    int peer;
} Ack;

static bool ack_load(void *opaque, VmloadReader *reader,
                     const VmloadSection *section, GError **error)
{
    FakeDevice *device = opaque;

    return fake_load(opaque, reader, section, error) &&
           vmload_loader_approve_switchover(device->fake->loader, error);
}

static void ack_init(Ack *ack, VmloadSwitchoverAck mode, bool needed)
{
    const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .load = ack_load,
        .switchover_ack_needed = fake_ack_needed,
    };

    memset(ack, 0, sizeof(*ack));
    fake_init(&ack->fake, NULL);
    ack->one.needs_ack = ack->two.needs_ack = needed;
    fake_add(&ack->fake, &ack->one, "cpu", 8, NULL, &ops);
    fake_add(&ack->fake, &ack->two, "rtc", 8, NULL, &ops);
    vmload_loader_set_switchover_ack(ack->fake.loader, true, mode);
    ack->peer = fake_connect(&ack->fake);
}

static void ack_run(Ack *ack, const char *expected)
{
    GError *error = NULL;

    sw_eof(ack->fake.out);
    sw_vmdesc(ack->fake.out, "{}");
    assert_true(vmload_loader_start(ack->fake.loader, NULL));
    fake_send(ack->peer, ack->fake.out, 0);
    if (!vmload_loader_wait(ack->fake.loader, &error)) {
        fail_msg("%s", error->message);
    }
    for (; *expected != '\0'; expected++) {
        switch (*expected) {
        case 'A':
            fake_expect(ack->peer, fake_ack, sizeof(fake_ack));
            break;
        case 'P':
            fake_expect(ack->peer, fake_pong_1, sizeof(fake_pong_1));
            break;
        default:
            fake_expect(ack->peer, fake_shut_0, sizeof(fake_shut_0));
            break;
        }
    }
    fake_expect_end(ack->peer);
    close(ack->peer);
    fake_clear(&ack->fake, NULL);
}

static void ack_write(Ack *ack, bool early)
{
    if (early) {
        sw_device(ack->fake.out, 5, "cpu", 0, 1, payload, 8);
    }
    open_path(&ack->fake);
    sw_ping(ack->fake.out, 1);
    if (!early) {
        sw_device(ack->fake.out, 5, "cpu", 0, 1, payload, 8);
    }
    sw_device(ack->fake.out, 6, "rtc", 0, 1, payload, 8);
}

static void test_acks(void **state)
{
    Ack ack;

    (void)state;
    /* No device waits: before PONG 1, or not at all. */
    ack_init(&ack, VMLOAD_SWITCHOVER_ACK_LEGACY, false);
    open_path(&ack.fake);
    sw_ping(ack.fake.out, 1);
    ack_run(&ack, "APS");
    ack_init(&ack, VMLOAD_SWITCHOVER_ACK_PER_DEVICE, false);
    open_path(&ack.fake);
    sw_ping(ack.fake.out, 1);
    ack_run(&ack, "PS");
    /* Two devices: the last, or each. */
    ack_init(&ack, VMLOAD_SWITCHOVER_ACK_LEGACY, true);
    ack_write(&ack, false);
    ack_run(&ack, "PAS");
    ack_init(&ack, VMLOAD_SWITCHOVER_ACK_PER_DEVICE, true);
    ack_write(&ack, false);
    ack_run(&ack, "PAAS");
    /* One is ready before the return path is open. */
    ack_init(&ack, VMLOAD_SWITCHOVER_ACK_LEGACY, true);
    ack_write(&ack, true);
    ack_run(&ack, "PAS");
    ack_init(&ack, VMLOAD_SWITCHOVER_ACK_PER_DEVICE, true);
    ack_write(&ack, true);
    ack_run(&ack, "APAS");
}

static void test_too_many_approvals(void **state)
{
    Ack ack;

    (void)state;
    ack_init(&ack, VMLOAD_SWITCHOVER_ACK_LEGACY, false);
    ack_write(&ack, false);
    assert_true(vmload_loader_start(ack.fake.loader, NULL));
    fake_send(ack.peer, ack.fake.out, 0);
    assert_false(vmload_loader_wait(ack.fake.loader, NULL));
    fake_expect(ack.peer, fake_ack, sizeof(fake_ack));
    fake_expect(ack.peer, fake_pong_1, sizeof(fake_pong_1));
    fake_expect(ack.peer, fake_shut_1, sizeof(fake_shut_1));
    close(ack.peer);
    fake_clear(&ack.fake, NULL);
}

/* Fills the way to a source that does not read, with the lock held. */
static bool flood(void *opaque, VmloadReader *reader,
                  const VmloadSection *section, GError **error)
{
    FakeDevice *device = opaque;
    uint8_t value[4] = {0, 0, 0, 1};
    bool ok = fake_load(opaque, reader, section, error);
    int i;

    for (i = 0; ok && i < 100000; i++) {
        ok = vmload_loader_send_return_path(device->fake->loader,
                                            VMLOAD_RETURN_PATH_PONG, value,
                                            sizeof(value), error);
    }
    return ok;
}

/* The queue is bounded, and nobody waits with the lock. */
static void test_deaf_source(void **state)
{
    const VmloadDeviceOps ops = {VMLOAD_DEVICE_OPS_INIT, .load = flood};
    VmloadStats stats = {.struct_size = sizeof(stats)};
    GError *error = NULL;
    FakeDevice cpu = {0};
    Fake fake;
    int peer;

    (void)state;
    fake_init(&fake, NULL);
    fake_add(&fake, &cpu, "cpu", 8, NULL, &ops);
    peer = fake_connect(&fake);
    open_path(&fake);
    sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
    sw_eof(fake.out);
    sw_vmdesc(fake.out, "{}");
    assert_true(vmload_loader_start(fake.loader, NULL));
    fake_send(peer, fake.out, 0);
    assert_false(vmload_loader_wait(fake.loader, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO,
                      "expected the source to read its return path");
    vmload_loader_get_stats(fake.loader, &stats);
    assert_int_equal(stats.lock_io_waits, 0);
    close(peer);
    fake_clear(&fake, "pre_load load:cpu:full finish-failed");
}

/* What the callback queued comes out whole and in order. */
static bool some(void *opaque, VmloadReader *reader,
                 const VmloadSection *section, GError **error)
{
    FakeDevice *device = opaque;
    uint8_t value[4] = {0, 0, 0, 1};
    bool ok = fake_load(opaque, reader, section, error);
    int i;

    /* Less than the queue, more than the socket's least buffer. */
    for (i = 0; ok && i < 8000; i++) {
        ok = vmload_loader_send_return_path(device->fake->loader,
                                            VMLOAD_RETURN_PATH_PONG, value,
                                            sizeof(value), error);
    }
    return ok;
}

static void test_slow_source(void **state)
{
    const VmloadDeviceOps ops = {VMLOAD_DEVICE_OPS_INIT, .load = some};
    const int least = 1;
    FakeDevice cpu = {0};
    Fake fake;
    int fds[2];
    int i;

    (void)state;
    fake_init(&fake, NULL);
    fake_add(&fake, &cpu, "cpu", 8, NULL, &ops);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &least,
                                sizeof(least)), 0);
    vmload_loader_set_channel(fake.loader,
                              vmload_channel_take_fd(fds[0], NULL));
    open_path(&fake);
    sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
    sw_eof(fake.out);
    sw_vmdesc(fake.out, "{}");
    assert_true(vmload_loader_start(fake.loader, NULL));
    fake_send(fds[1], fake.out, 0);
    /* The loading thread waits for us, without the lock. */
    g_usleep(20000);
    fake_lock(&fake);
    fake_unlock(&fake);
    assert_true(vmload_loader_get_state(fake.loader) <
                VMLOAD_STATE_COMPLETED);
    for (i = 0; i < 8000; i++) {
        fake_expect(fds[1], fake_pong_1, sizeof(fake_pong_1));
    }
    fake_expect(fds[1], fake_shut_0, sizeof(fake_shut_0));
    fake_expect_end(fds[1]);
    assert_true(vmload_loader_wait(fake.loader, NULL));
    close(fds[1]);
    fake_clear(&fake, "pre_load load:cpu:full post_load finish");
}

/* What a host may not send, and when. */
static void test_bad_messages(void **state)
{
    static const uint8_t zeros[16];
    GError *error = NULL;
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    assert_false(vmload_loader_send_return_path(
        fake.loader, VMLOAD_RETURN_PATH_SHUT, zeros, 4, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "SHUT is sent by");
    assert_false(vmload_loader_send_return_path(
        fake.loader, VMLOAD_RETURN_PATH_PONG, zeros, 5, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "would be refused");
    assert_false(vmload_loader_send_return_path(
        fake.loader, (VmloadReturnPathType)0, NULL, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "would be refused");
    assert_false(vmload_loader_send_return_path(
        fake.loader, (VmloadReturnPathType)8, NULL, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "would be refused");
    assert_false(vmload_loader_send_return_path(
        fake.loader, VMLOAD_RETURN_PATH_PONG, zeros, 4, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "no return path is open");
    fake_clear(&fake, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_answer_and_cancel),
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_position),
        cmocka_unit_test(test_acks),
        cmocka_unit_test(test_too_many_approvals),
        cmocka_unit_test(test_deaf_source),
        cmocka_unit_test(test_slow_source),
        cmocka_unit_test(test_bad_messages),
    };

    return cmocka_run_group_tests_name("loader-end", tests, NULL, NULL);
}

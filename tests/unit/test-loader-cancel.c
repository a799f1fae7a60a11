/* SPDX-License-Identifier: BSD-3-Clause */
/* Cancel, in every state and every wait. All bounds are for liveness only. */
#include "loader-fixture.h"

#include <glib/gstdio.h>

static const uint8_t payload[8] = {1, 2, 3, 4, 5, 6, 7, 8};

/* What the source has sent when it falls silent. */
static void at_header(GByteArray *out)
{
    g_byte_array_set_size(out, 5);
}

static void at_nothing(GByteArray *out)
{
    g_byte_array_set_size(out, 0);
}

static void at_record(GByteArray *out)
{
    (void)out;
}

static void in_section(GByteArray *out)
{
    sw_section_full(out, 5, "cpu", 0, 1);
    sw_bytes(out, payload, 4);
}

static void behind_footer(GByteArray *out)
{
    sw_section_full(out, 5, "cpu", 0, 1);
    sw_bytes(out, payload, 8);
    sw_footer(out, 5);
}

static void in_streamed(GByteArray *out)
{
    sw_section_full(out, 6, "none", 0, 1);
    sw_bytes(out, payload, 4);
}

static void in_ram_page(GByteArray *out)
{
    sw_ram_start(out, 2, 4096);
    sw_ram_block(out, "pc.ram", 4096);
    sw_ram_eos(out);
    sw_footer(out, 2);
    sw_section_part(out, 2);
    sw_ram_word(out, 0, SW_RAM_PAGE, "pc.ram");
    sw_fill(out, 0x5a, 1000);
}

static void in_command(GByteArray *out)
{
    sw_u8(out, SW_COMMAND);
    sw_be16(out, SW_CMD_PING);
    sw_be16(out, 4);
    sw_u8(out, 0);
}

static void in_package(GByteArray *out)
{
    GByteArray *package = sw_new();

    sw_fill(package, 0, 100);
    sw_packaged(out, package);
    g_byte_array_set_size(out, out->len - 50);
    g_byte_array_unref(package);
}

static void at_description(GByteArray *out)
{
    sw_command(out, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
    sw_eof(out);
    sw_u8(out, SW_VMDESCRIPTION);
    sw_be32(out, 100);
}

static void (*const places[])(GByteArray *out) = {
    at_nothing, at_header,   at_record,  in_section,     behind_footer,
    in_streamed, in_ram_page, in_command, in_package, at_description,
};

typedef struct {
    Fake fake;
    FakeDevice cpu;
    FakeDevice none;
    uint8_t *ram;
    int peer;
} Waiting;

static void waiting_start(Waiting *waiting, size_t place)
{
    const VmloadLockPlan plan = {.struct_size = sizeof(plan),
                                 .full = VMLOAD_LOCK_NONE};
    VmloadDeviceOps none = fake_none_ops;
    Fake *fake = &waiting->fake;

    memset(waiting, 0, sizeof(*waiting));
    none.load = fake_load_none;
    fake_init(fake, NULL);
    fake_add(fake, &waiting->cpu, "cpu", 8, NULL, &fake_plain_ops);
    fake_add(fake, &waiting->none, "none", 8, &plan, &none);
    waiting->ram = g_malloc0(4096);
    assert_true(vmload_loader_add_ram_block(
        fake->loader,
        vmload_ram_block_new("pc.ram", 4096, 4096,
                             vmload_ram_sink_new_memory(waiting->ram), NULL),
        NULL));
    waiting->peer = fake_connect(fake);
    places[place](fake->out);
    fake_send(waiting->peer, fake->out, 0);
    assert_true(vmload_loader_start(fake->loader, NULL));
}

static void waiting_clear(Waiting *waiting)
{
    close(waiting->peer);
    fake_clear(&waiting->fake, NULL);
    g_free(waiting->ram);
}

static void assert_cancelled(Fake *fake)
{
    GError *error = NULL;

    assert_false(vmload_loader_wait(fake->loader, &error));
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    assert_int_equal(vmload_loader_get_state(fake->loader),
                     VMLOAD_STATE_CANCELLED);
    assert_int_equal(g_atomic_int_get(&fake->finish_calls), 1);
    assert_int_equal(fake->finish_loaded, 0);
}

/* Early, and when the wait is surely reached. */
static void test_waits(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(places); i++) {
        Waiting waiting;

        waiting_start(&waiting, i / 2);
        g_usleep(i % 2 != 0 ? 10000 : 0);
        vmload_loader_cancel(waiting.fake.loader);
        vmload_loader_cancel(waiting.fake.loader);
        assert_cancelled(&waiting.fake);
        vmload_loader_cancel(waiting.fake.loader);
        waiting_clear(&waiting);
    }
}

/* free cancels and waits. */
static void test_free_running(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(places); i++) {
        Waiting waiting;

        waiting_start(&waiting, i);
        g_usleep(3000);
        waiting_clear(&waiting);
    }
}

static void *cancel_thread(void *opaque)
{
    vmload_loader_cancel(opaque);
    return NULL;
}

static void test_many_threads(void **state)
{
    GThread *threads[8];
    Waiting waiting;
    size_t i;

    (void)state;
    waiting_start(&waiting, 3);
    for (i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = g_thread_new("cancel", cancel_thread,
                                  waiting.fake.loader);
    }
    assert_cancelled(&waiting.fake);
    for (i = 0; i < G_N_ELEMENTS(threads); i++) {
        g_thread_join(threads[i]);
    }
    waiting_clear(&waiting);
}

/* The source hears of it where a return path is open. */
static void test_shut(void **state)
{
    Waiting waiting;

    (void)state;
    waiting_start(&waiting, G_N_ELEMENTS(places) - 1);
    g_usleep(10000);
    vmload_loader_cancel(waiting.fake.loader);
    assert_cancelled(&waiting.fake);
    fake_expect(waiting.peer, fake_shut_1, sizeof(fake_shut_1));
    fake_expect_end(waiting.peer);
    waiting_clear(&waiting);
}

/* The loading thread writes to a source that does not read. */
static void test_blocked_write(void **state)
{
    const int least = 1;
    Fake fake;
    int fds[2];
    int i;

    (void)state;
    fake_init(&fake, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &least,
                                sizeof(least)), 0);
    vmload_loader_set_channel(fake.loader,
                              vmload_channel_take_fd(fds[0], NULL));
    sw_command(fake.out, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
    for (i = 0; i < 2000; i++) {
        sw_ping(fake.out, 1);
    }
    assert_true(vmload_loader_start(fake.loader, NULL));
    fake_send(fds[1], fake.out, 0);
    g_usleep(20000);
    assert_int_equal(vmload_loader_get_state(fake.loader),
                     VMLOAD_STATE_ACTIVE);
    vmload_loader_cancel(fake.loader);
    assert_cancelled(&fake);
    close(fds[1]);
    fake_clear(&fake, NULL);
}

/* Nobody connects. */
static void test_listener(void **state)
{
    char *folder = g_dir_make_tmp("vmload-XXXXXX", NULL);
    char *uri = g_strdup_printf("unix:%s/socket", folder);
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    vmload_loader_set_listener(fake.loader, vmload_listener_new(uri, NULL));
    assert_true(vmload_loader_start(fake.loader, NULL));
    g_usleep(10000);
    assert_int_equal(vmload_loader_get_state(fake.loader),
                     VMLOAD_STATE_WAITING);
    vmload_loader_cancel(fake.loader);
    assert_cancelled(&fake);
    fake_clear(&fake, "finish-failed");
    g_rmdir(folder);
    g_free(folder);
    g_free(uri);
}

static void write_whole(Fake *fake)
{
    sw_device(fake->out, 5, "cpu", 0, 1, payload, 8);
    sw_eof(fake->out);
}

/* Inside of each callback; what it returns does not matter. */
static void test_in_callbacks(void **state)
{
    static const char *const names[] = {
        "configuration:none", "setup:cpu",      "pre_load",
        "load:cpu:full",      "all_loaded:cpu", "post_load",
        "0>1",                "1>2",            "2>4",
    };
    VmloadHostOps ops = fake_ops();
    size_t i;

    (void)state;
    ops.configuration = fake_configuration;
    ops.state_changed = fake_state;
    for (i = 0; i < 2 * G_N_ELEMENTS(names); i++) {
        FakeDevice cpu = {0};
        Fake fake;

        fake_init(&fake, &ops);
        fake.cancel_in = names[i / 2];
        fake.refuse = i % 2 != 0 ? names[i / 2] : NULL;
        fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_device_ops);
        write_whole(&fake);
        fake_feed(&fake);
        assert_true(vmload_loader_start(fake.loader, NULL));
        assert_cancelled(&fake);
        assert_non_null(strstr(fake.log->str, "cleanup:cpu 4>7"));
        fake_clear(&fake, NULL);
    }
}

static void test_before_start(void **state)
{
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    write_whole(&fake);
    vmload_loader_cancel(fake.loader);
    fake_feed(&fake);
    assert_true(vmload_loader_start(fake.loader, NULL));
    assert_cancelled(&fake);
    fake_clear(&fake, "finish-failed");
    /* Never started: no callback at all. */
    fake_init(&fake, NULL);
    vmload_loader_cancel(fake.loader);
    fake_clear(&fake, "");
}

static void test_after_completion(void **state)
{
    FakeDevice cpu = {0};
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_plain_ops);
    write_whole(&fake);
    fake_run_ok(&fake);
    vmload_loader_cancel(fake.loader);
    assert_true(vmload_loader_wait(fake.loader, NULL));
    assert_int_equal(vmload_loader_get_state(fake.loader),
                     VMLOAD_STATE_COMPLETED);
    fake_clear(&fake, "pre_load load:cpu:full post_load finish");
}

/* A host that says CANCELLED of its own accord has failed. */
static bool say_cancelled(void *opaque, VmloadReader *reader,
                          const VmloadSection *section, GError **error)
{
    (void)opaque;
    (void)reader;
    (void)section;
    g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_CANCELLED, "not so");
    return false;
}

static void test_not_cancelled(void **state)
{
    const VmloadDeviceOps ops = {VMLOAD_DEVICE_OPS_INIT,
                                 .load = say_cancelled};
    GError *error = NULL;
    FakeDevice cpu = {0};
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    fake_add(&fake, &cpu, "cpu", 8, NULL, &ops);
    write_whole(&fake);
    assert_false(fake_run(&fake, &error));
    assert_unit_error(&error, VMLOAD_ERROR_DEVICE, "not so");
    assert_int_equal(vmload_loader_get_state(fake.loader),
                     VMLOAD_STATE_FAILED);
    fake_clear(&fake, NULL);
}

/* The host does not answer: a cancel ends that wait, too. */
static void test_finishing(void **state)
{
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    fake.hold_finish = true;
    sw_eof(fake.out);
    fake_feed(&fake);
    assert_true(vmload_loader_start(fake.loader, NULL));
    fake_wait_state(&fake, VMLOAD_STATE_FINISHING);
    g_usleep(5000);
    vmload_loader_cancel(fake.loader);
    assert_false(vmload_loader_wait(fake.loader, NULL));
    assert_int_equal(vmload_loader_get_state(fake.loader),
                     VMLOAD_STATE_CANCELLED);
    fake_clear(&fake, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_free_running),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_shut),
        cmocka_unit_test(test_blocked_write),
        cmocka_unit_test(test_listener),
        cmocka_unit_test(test_in_callbacks),
        cmocka_unit_test(test_before_start),
        cmocka_unit_test(test_after_completion),
        cmocka_unit_test(test_not_cancelled),
        cmocka_unit_test(test_finishing),
    };

    return cmocka_run_group_tests_name("loader-cancel", tests, NULL, NULL);
}

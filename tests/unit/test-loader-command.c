/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands and packages (stream format, sections 6 and 7). */
#include "loader-fixture.h"

static const uint8_t payload[8] = {1, 2, 3, 4, 5, 6, 7, 8};

static void test_return_path(void **state)
{
    VmloadStats stats = {.struct_size = sizeof(stats)};
    Fake fake;
    int peer;

    (void)state;
    fake_init(&fake, NULL);
    peer = fake_connect(&fake);
    sw_command(fake.out, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
    sw_command(fake.out, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
    sw_ping(fake.out, 1);
    assert_true(vmload_loader_start(fake.loader, NULL));
    fake_send(peer, fake.out, 0);
    fake_expect(peer, fake_pong_1, sizeof(fake_pong_1));
    g_byte_array_set_size(fake.out, 0);
    sw_ping(fake.out, 1);
    sw_command(fake.out, SW_CMD_SWITCHOVER_START, NULL, 0);
    fake_send(peer, fake.out, 0);
    fake_expect(peer, fake_pong_1, sizeof(fake_pong_1));
    fake_wait_state(&fake, VMLOAD_STATE_SWITCHOVER);
    g_byte_array_set_size(fake.out, 0);
    sw_eof(fake.out);
    sw_vmdesc(fake.out, "{}");
    fake_send(peer, fake.out, 0);
    assert_true(vmload_loader_wait(fake.loader, NULL));
    fake_expect(peer, fake_shut_0, sizeof(fake_shut_0));
    fake_expect_end(peer);
    vmload_loader_get_stats(fake.loader, &stats);
    assert_int_equal(stats.commands, 5);
    assert_int_equal(stats.lock_io_waits, 0);
    assert_true(stats.switchover_ns != 0);
    close(peer);
    fake_clear(&fake, "pre_load post_load finish");
}

/* A source with dirty bitmaps advises of a postcopy that has no RAM. */
static void test_advise_without_ram(void **state)
{
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    sw_command(fake.out, SW_CMD_POSTCOPY_ADVISE, NULL, 0);
    sw_eof(fake.out);
    fake_run_ok(&fake);
    fake_clear(&fake, NULL);
}

/* Each of these commands ends the load. */
static void test_refused(void **state)
{
    static const struct {
        uint16_t number;
        uint16_t length;
        VmloadError code;
        const char *part;
    } cases[] = {
        {0, 0, VMLOAD_ERROR_MALFORMED, "expected a command 1 to 11, found 0"},
        {12, 0, VMLOAD_ERROR_UNSUPPORTED, "expected a command 1 to 11, found"},
        {0xffff, 0, VMLOAD_ERROR_UNSUPPORTED, "found 65535"},
        {SW_CMD_PING, 4, VMLOAD_ERROR_MALFORMED,
         "expected OPEN_RETURN_PATH before PING"},
        {SW_CMD_PING, 3, VMLOAD_ERROR_MALFORMED, "command PING: expected a"},
        {SW_CMD_OPEN_RETURN_PATH, 1, VMLOAD_ERROR_MALFORMED,
         "command OPEN_RETURN_PATH: expected a"},
        {SW_CMD_SWITCHOVER_START, 1, VMLOAD_ERROR_MALFORMED,
         "command SWITCHOVER_START: expected a"},
        {SW_CMD_POSTCOPY_ADVISE, 16, VMLOAD_ERROR_UNSUPPORTED,
         "command POSTCOPY_ADVISE is not supported"},
        {SW_CMD_POSTCOPY_ADVISE, 8, VMLOAD_ERROR_MALFORMED,
         "command POSTCOPY_ADVISE: expected a"},
        {SW_CMD_POSTCOPY_LISTEN, 0, VMLOAD_ERROR_UNSUPPORTED,
         "command POSTCOPY_LISTEN is not supported"},
        {SW_CMD_POSTCOPY_RUN, 0, VMLOAD_ERROR_UNSUPPORTED,
         "command POSTCOPY_RUN is not supported"},
        {SW_CMD_POSTCOPY_RAM_DISCARD, 20, VMLOAD_ERROR_UNSUPPORTED,
         "command POSTCOPY_RAM_DISCARD is not supported"},
        {SW_CMD_POSTCOPY_RAM_DISCARD, 19, VMLOAD_ERROR_MALFORMED,
         "command POSTCOPY_RAM_DISCARD: expected a"},
        {SW_CMD_ENABLE_COLO, 0, VMLOAD_ERROR_UNSUPPORTED,
         "command ENABLE_COLO is not supported"},
        {SW_CMD_POSTCOPY_RESUME, 0, VMLOAD_ERROR_UNSUPPORTED,
         "command POSTCOPY_RESUME is not supported"},
        {SW_CMD_RECV_BITMAP, 5, VMLOAD_ERROR_UNSUPPORTED,
         "command RECV_BITMAP is not supported"},
        {SW_CMD_RECV_BITMAP, 1, VMLOAD_ERROR_MALFORMED,
         "command RECV_BITMAP: expected a"},
        {SW_CMD_PACKAGED, 5, VMLOAD_ERROR_MALFORMED,
         "command PACKAGED: expected a"},
    };
    static const uint8_t zeros[32];
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        Fake fake;

        fake_init(&fake, NULL);
        sw_command(fake.out, cases[i].number, zeros, cases[i].length);
        sw_eof(fake.out);
        fake_run_fails(&fake, cases[i].code, cases[i].part);
        fake_clear(&fake, "pre_load finish-failed");
    }
}

typedef struct {
    Fake fake; /* first: the host's opaque */
    VmloadLock lock;
    VmloadCommandResult result;
    uint32_t read; /* bytes of the payload, without a look at the result */
    bool dispatch; /* PACKAGED: dispatch the package */
} Commander;

static VmloadLock commander_lock(void *opaque, uint32_t command)
{
    (void)command;
    return ((Commander *)opaque)->lock;
}

static VmloadCommandResult commander_command(void *opaque,
                                             VmloadReader *reader,
                                             const VmloadCommand *command,
                                             GError **error)
{
    Commander *commander = opaque;
    char *name = g_strdup_printf("command:%u:%u", command->command,
                                 command->length);
    VmloadCommandResult result = commander->result;

    if (!fake_note(opaque, commander->lock != VMLOAD_LOCK_NONE, error, name)) {
        result = VMLOAD_COMMAND_FAILED;
    }
    g_free(name);
    vmload_reader_skip(reader, commander->read, NULL);
    if (commander->dispatch && command->command == SW_CMD_PACKAGED) {
        assert_int_equal(command->length, 4);
        assert_true(vmload_reader_skip(reader, 4, error));
        result = vmload_loader_dispatch(commander->fake.loader, reader,
                                        error);
    }
    return result;
}

static void commander_init(Commander *commander)
{
    VmloadHostOps ops = fake_ops();

    memset(commander, 0, sizeof(*commander));
    ops.command = commander_command;
    ops.command_lock = commander_lock;
    fake_init(&commander->fake, &ops);
}

/* The host's answers, with the lock and without. */
static void test_host(void **state)
{
    static const struct {
        VmloadCommandResult result;
        VmloadError code; /* of the failure, 0: none */
        const char *part;
        const char *log;
    } cases[] = {
        {VMLOAD_COMMAND_DONE, 0, NULL,
         "pre_load command:8:0 command:8:0 post_load finish"},
        {VMLOAD_COMMAND_QUIT, 0, NULL,
         "pre_load command:8:0 post_load finish"},
        {VMLOAD_COMMAND_DEFAULT, VMLOAD_ERROR_UNSUPPORTED,
         "command ENABLE_COLO is not supported",
         "pre_load command:8:0 finish-failed"},
        {VMLOAD_COMMAND_FAILED, VMLOAD_ERROR_DEVICE,
         "command ENABLE_COLO: the host refused without saying why",
         "pre_load command:8:0 finish-failed"},
        {(VmloadCommandResult)99, VMLOAD_ERROR_DEVICE,
         "the host refused without saying why",
         "pre_load command:8:0 finish-failed"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(cases); i++) {
        Commander commander;

        commander_init(&commander);
        commander.lock = i % 2 != 0 ? VMLOAD_LOCK_WHOLE : VMLOAD_LOCK_NONE;
        commander.result = cases[i / 2].result;
        sw_command(commander.fake.out, SW_CMD_ENABLE_COLO, NULL, 0);
        sw_command(commander.fake.out, SW_CMD_ENABLE_COLO, NULL, 0);
        sw_eof(commander.fake.out);
        if (cases[i / 2].code == 0) {
            fake_run_ok(&commander.fake);
        } else {
            fake_run_fails(&commander.fake, cases[i / 2].code,
                           cases[i / 2].part);
        }
        fake_clear(&commander.fake, cases[i / 2].log);
    }
}

/* A host that reads past the payload and says DONE is not believed. */
static void test_host_reads_short(void **state)
{
    Commander commander;

    (void)state;
    commander_init(&commander);
    commander.lock = VMLOAD_LOCK_NONE;
    commander.result = VMLOAD_COMMAND_DONE;
    commander.read = 5;
    sw_ping(commander.fake.out, 1);
    sw_eof(commander.fake.out);
    fake_run_fails(&commander.fake, VMLOAD_ERROR_TRUNCATED, "command PING: ");
    fake_clear(&commander.fake, "pre_load command:2:4 finish-failed");
}

static GByteArray *make_package(bool eof)
{
    GByteArray *package = sw_new();

    sw_device(package, 5, "cpu", 0, 1, payload, 8);
    sw_device(package, 6, "rtc", 0, 1, payload, 8);
    if (eof) {
        sw_eof(package);
        sw_fill(package, 0xee, 7); /* ignored */
    }
    return package;
}

/* By the library, and by the host with the lock held and not. */
static void test_package(void **state)
{
    GByteArray *package = make_package(true);
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        Commander commander;
        FakeDevice cpu = {0};
        FakeDevice rtc = {0};

        commander_init(&commander);
        commander.lock = i == 1 ? VMLOAD_LOCK_WHOLE : VMLOAD_LOCK_NONE;
        commander.dispatch = i > 0;
        fake_add(&commander.fake, &cpu, "cpu", 8, NULL, &fake_plain_ops);
        fake_add(&commander.fake, &rtc, "rtc", 8, NULL, &fake_plain_ops);
        sw_packaged(commander.fake.out, package);
        /* The id of the package is the stream's. */
        sw_section_part(commander.fake.out, 5);
        sw_bytes(commander.fake.out, payload, 8);
        sw_footer(commander.fake.out, 5);
        sw_eof(commander.fake.out);
        fake_run_ok(&commander.fake);
        fake_clear(&commander.fake,
                   "pre_load command:7:4 load:cpu:full load:rtc:full "
                   "load:cpu:part post_load finish");
    }
    g_byte_array_unref(package);
}

static void run_bad_package(const GByteArray *package, uint32_t announced,
                            const VmloadLimits *limits, VmloadError code,
                            const char *part)
{
    FakeDevice cpu = {0};
    FakeDevice rtc = {0};
    Fake fake;
    guint at;

    fake_init(&fake, NULL);
    if (limits != NULL) {
        vmload_loader_set_limits(fake.loader, limits);
    }
    fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_plain_ops);
    fake_add(&fake, &rtc, "rtc", 8, NULL, &fake_plain_ops);
    at = fake.out->len + 5;
    sw_packaged(fake.out, package);
    sw_patch_be32(fake.out, at, announced);
    fake_run_fails(&fake, code, part);
    fake_clear(&fake, NULL);
}

static void test_bad_packages(void **state)
{
    GByteArray *package = make_package(true);
    GByteArray *endless = make_package(false);
    GByteArray *nested = sw_new();
    VmloadLimits limits;

    (void)state;
    run_bad_package(endless, endless->len, NULL, VMLOAD_ERROR_TRUNCATED,
                    "command PACKAGED: ");
    run_bad_package(package, package->len + 1, NULL, VMLOAD_ERROR_TRUNCATED,
                    "command PACKAGED: ");
    run_bad_package(package, UINT32_MAX, NULL, VMLOAD_ERROR_LIMIT,
                    "package_bytes");
    sw_packaged(nested, package);
    sw_eof(nested);
    run_bad_package(nested, nested->len, NULL, VMLOAD_ERROR_MALFORMED,
                    "expected no package in a package");
    vmload_limits_init(&limits);
    limits.package_bytes = package->len - 1;
    run_bad_package(package, package->len, &limits, VMLOAD_ERROR_LIMIT,
                    "package_bytes");
    vmload_limits_init(&limits);
    limits.staged_bytes = package->len - 1;
    run_bad_package(package, package->len, &limits, VMLOAD_ERROR_LIMIT,
                    "staged_bytes");
    vmload_limits_init(&limits);
    limits.nesting = 1;
    run_bad_package(package, package->len, &limits, VMLOAD_ERROR_LIMIT,
                    "nesting");
    g_byte_array_unref(package);
    g_byte_array_unref(endless);
    g_byte_array_unref(nested);
}

/* QUIT in a package ends all dispatches; the rest is the host's. */
static void test_quit_in_package(void **state)
{
    GByteArray *package = sw_new();
    Commander commander;

    (void)state;
    commander_init(&commander);
    commander.lock = VMLOAD_LOCK_NONE;
    commander.dispatch = true;
    commander.result = VMLOAD_COMMAND_QUIT;
    sw_command(package, SW_CMD_POSTCOPY_RUN, NULL, 0);
    sw_packaged(commander.fake.out, package);
    sw_fill(commander.fake.out, 0xee, 100);
    fake_run_ok(&commander.fake);
    fake_clear(&commander.fake,
               "pre_load command:7:4 command:5:0 post_load finish");
    g_byte_array_unref(package);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_return_path),
        cmocka_unit_test(test_advise_without_ram),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_host_reads_short),
        cmocka_unit_test(test_package),
        cmocka_unit_test(test_bad_packages),
        cmocka_unit_test(test_quit_in_package),
    };

    return cmocka_run_group_tests_name("loader-command", tests, NULL, NULL);
}

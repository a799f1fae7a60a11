/* SPDX-License-Identifier: BSD-3-Clause */
/* Odd but real streams, unknown sections, atomic commit, exact numbers. */
#include "loader-fixture.h"

static const uint8_t payload[8] = {1, 2, 3, 4, 5, 6, 7, 8};

#define DEVICES "{\"page_size\": 4096, \"devices\": ["
#define CPU(size)                                                        \
    "{\"name\": \"cpu\", \"instance_id\": 0, \"vmsd_name\": \"cpu\", "   \
    "\"version\": 1, \"fields\": [{\"name\": \"x\", \"type\": \"buffer\"" \
    ", \"size\": " #size "}]}"

/* What the switches for optional parts make of streams with and without. */
static void test_presence(void **state)
{
    static const struct {
        VmloadPresence configuration;
        bool has_configuration;
        VmloadPresence footers;
        bool has_footers;
        const char *part; /* of the error; NULL: loads */
    } cases[] = {
        {VMLOAD_PRESENCE_REQUIRED, true, VMLOAD_PRESENCE_AUTO, true, NULL},
        {VMLOAD_PRESENCE_AUTO, true, VMLOAD_PRESENCE_AUTO, true, NULL},
        {VMLOAD_PRESENCE_AUTO, false, VMLOAD_PRESENCE_AUTO, false, NULL},
        {VMLOAD_PRESENCE_ABSENT, false, VMLOAD_PRESENCE_ABSENT, false, NULL},
        {VMLOAD_PRESENCE_ABSENT, false, VMLOAD_PRESENCE_REQUIRED, true, NULL},
        {VMLOAD_PRESENCE_REQUIRED, true, VMLOAD_PRESENCE_ABSENT, false,
         NULL},
        {VMLOAD_PRESENCE_REQUIRED, false, VMLOAD_PRESENCE_AUTO, true,
         "expected a configuration section (0x07), found 0x04"},
        {VMLOAD_PRESENCE_ABSENT, true, VMLOAD_PRESENCE_AUTO, true,
         "expected a record type, found 0x07"},
        {VMLOAD_PRESENCE_REQUIRED, true, VMLOAD_PRESENCE_REQUIRED, false,
         "expected the section's end"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        FakeDevice cpu = {0};
        Fake fake;
        bool ok;

        fake_init(&fake, NULL);
        vmload_loader_set_presence(fake.loader, cases[i].configuration,
                                   cases[i].footers, VMLOAD_PRESENCE_AUTO);
        fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_plain_ops);
        if (!cases[i].has_configuration) {
            g_byte_array_set_size(fake.out, 8);
        }
        sw_section_full(fake.out, 5, "cpu", 0, 1);
        sw_bytes(fake.out, payload, 8);
        if (cases[i].has_footers) {
            sw_footer(fake.out, 5);
        }
        sw_eof(fake.out);
        ok = fake_run(&fake, &error);
        if (ok != (cases[i].part == NULL)) {
            fail_msg("case %u: %s", (unsigned)i,
                     ok ? "loaded" : error->message);
        }
        if (!ok) {
            assert_non_null(strstr(error->message, cases[i].part));
            g_clear_error(&error);
        }
        fake_clear(&fake, ok ? "pre_load load:cpu:full post_load finish"
                             : NULL);
    }
}

/* What stands behind EOF. */
static void test_behind_eof(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        VmloadPresence presence;
        const char *part; /* of the error; NULL: loads */
    } cases[] = {
        {"", 0, VMLOAD_PRESENCE_AUTO, NULL},
        {"garbage", 7, VMLOAD_PRESENCE_AUTO, NULL},
        {"\x06\0\0\0\x02{}", 7, VMLOAD_PRESENCE_AUTO, NULL},
        {"\x06\0\0\0\x02{}behind it", 16, VMLOAD_PRESENCE_AUTO, NULL},
        {"\x06\0\0\0\x02!!", 7, VMLOAD_PRESENCE_AUTO, NULL},
        {"\x06\0\0\0\x03{}", 7, VMLOAD_PRESENCE_AUTO, "expected 3 bytes"},
        {"\x06\0\0", 3, VMLOAD_PRESENCE_AUTO, "expected 4 bytes"},
        {"\x06\xff\xff\xff\xff{}", 7, VMLOAD_PRESENCE_AUTO, "vmdesc_bytes"},
        {"", 0, VMLOAD_PRESENCE_REQUIRED, "expected a description"},
        {"garbage", 7, VMLOAD_PRESENCE_REQUIRED, "expected a description"},
        {"\x06\0\0\0\x03{}", 7, VMLOAD_PRESENCE_ABSENT, NULL},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        Fake fake;
        bool ok;

        fake_init(&fake, NULL);
        vmload_loader_set_presence(fake.loader, VMLOAD_PRESENCE_REQUIRED,
                                   VMLOAD_PRESENCE_AUTO, cases[i].presence);
        sw_eof(fake.out);
        sw_bytes(fake.out, cases[i].bytes, cases[i].length);
        ok = fake_run(&fake, &error);
        if (ok != (cases[i].part == NULL)) {
            fail_msg("case %u: %s", (unsigned)i,
                     ok ? "loaded" : error->message);
        }
        if (!ok) {
            assert_non_null(strstr(error->message, cases[i].part));
            g_clear_error(&error);
        }
        fake_clear(&fake, NULL);
    }
}

/* A quiet source with a return path waits for us: silence is no error. */
static void test_silence_behind_eof(void **state)
{
    Fake fake;
    int peer;

    (void)state;
    fake_init(&fake, NULL);
    vmload_loader_set_timeouts(fake.loader, 0, 50);
    peer = fake_connect(&fake);
    sw_command(fake.out, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
    sw_eof(fake.out);
    assert_true(vmload_loader_start(fake.loader, NULL));
    fake_send(peer, fake.out, 0);
    assert_true(vmload_loader_wait(fake.loader, NULL));
    fake_expect(peer, fake_shut_0, sizeof(fake_shut_0));
    close(peer);
    fake_clear(&fake, "pre_load post_load finish");
}

/* The stall watchdog begins with the stream, the handshake's in its header. */
static void test_timeouts(void **state)
{
    static const struct {
        guint length;
        uint32_t handshake_ms;
        uint32_t stall_ms;
    } cases[] = {{5, 30, 0}, {17, 0, 30}};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        Fake fake;
        int peer;

        fake_init(&fake, NULL);
        vmload_loader_set_timeouts(fake.loader, cases[i].handshake_ms,
                                   cases[i].stall_ms);
        peer = fake_connect(&fake);
        g_byte_array_set_size(fake.out, cases[i].length);
        assert_true(vmload_loader_start(fake.loader, NULL));
        /* Before the first byte nothing counts. */
        g_usleep(60000);
        assert_int_equal(vmload_loader_get_state(fake.loader),
                         VMLOAD_STATE_WAITING);
        fake_send(peer, fake.out, 0);
        assert_false(vmload_loader_wait(fake.loader, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TIMEOUT, "30 ms");
        close(peer);
        fake_clear(&fake, NULL);
    }
}

typedef struct {
    Fake fake; /* first: the host's opaque */
    GByteArray *raw;
    uint64_t length;
} Keeper;

static bool keep_raw(void *opaque, const VmloadSection *section,
                     const uint8_t *data, uint64_t length, GError **error)
{
    Keeper *keeper = opaque;
    char *name = g_strdup_printf("raw:%s", section->idstr);
    bool ok = fake_note(opaque, false, error, name);

    g_free(name);
    g_byte_array_append(keeper->raw, data, (guint)length);
    return ok;
}

static void test_unknown(void **state)
{
    VmloadHostOps ops = fake_ops();
    Keeper keeper;
    int atomic;

    (void)state;
    ops.raw_section = keep_raw;
    for (atomic = 0; atomic < 2; atomic++) {
        fake_init(&keeper.fake, &ops);
        keeper.raw = sw_new();
        vmload_loader_set_commit(keeper.fake.loader,
                                 atomic != 0 ? VMLOAD_COMMIT_ATOMIC
                                             : VMLOAD_COMMIT_STREAMING);
        vmload_loader_set_unknown_sections(keeper.fake.loader,
                                           VMLOAD_UNKNOWN_KEEP);
        sw_device(keeper.fake.out, 5, "cpu", 0, 1, payload, 8);
        sw_eof(keeper.fake.out);
        fake_run_ok(&keeper.fake);
        assert_int_equal(keeper.raw->len, 8);
        assert_memory_equal(keeper.raw->data, payload, 8);
        g_byte_array_unref(keeper.raw);
        fake_clear(&keeper.fake, "pre_load raw:cpu post_load finish");
    }
    fake_init(&keeper.fake, NULL);
    sw_device(keeper.fake.out, 5, "\x1b[2J", 0, 1, payload, 8);
    sw_eof(keeper.fake.out);
    /* What a name does to a terminal stays out of messages. */
    fake_run_fails(&keeper.fake, VMLOAD_ERROR_MISMATCH,
                   "section '\\033[2J' instance 0 at 0x11: expected a known");
    fake_clear(&keeper.fake, "pre_load finish-failed");
}

static bool load_any(void *opaque, VmloadReader *reader,
                     const VmloadSection *section, GError **error)
{
    FakeDevice *device = opaque;
    bool none = strcmp(device->name, "rtc") == 0;

    return none ? fake_load_none(opaque, reader, section, error)
                : fake_load(opaque, reader, section, error);
}

static void commit_init(Fake *fake, FakeDevice devices[2],
                        const VmloadLimits *limits)
{
    const VmloadLockPlan none = {.struct_size = sizeof(none),
                                 .full = VMLOAD_LOCK_NONE};
    const VmloadDeviceOps ops = {VMLOAD_DEVICE_OPS_INIT, .load = load_any};

    fake_init(fake, NULL);
    vmload_loader_set_commit(fake->loader, VMLOAD_COMMIT_ATOMIC);
    if (limits != NULL) {
        vmload_loader_set_limits(fake->loader, limits);
    }
    memset(devices, 0, 2 * sizeof(*devices));
    fake_add(fake, &devices[0], "cpu", 8, NULL, &ops);
    fake_add(fake, &devices[1], "rtc", 8, &none, &ops);
}

static void atomic_write(Fake *fake)
{
    sw_device(fake->out, 5, "cpu", 0, 1, payload, 8);
    sw_device(fake->out, 6, "rtc", 0, 2, payload, 8);
    sw_eof(fake->out);
}

/* Cut at any byte: no device is touched before the stream is whole. */
static void test_atomic_cut(void **state)
{
    FakeDevice devices[2];
    Fake fake;
    guint whole;
    guint n;

    (void)state;
    commit_init(&fake, devices, NULL);
    atomic_write(&fake);
    whole = fake.out->len;
    fake_clear(&fake, "");
    for (n = 0; n < whole; n++) {
        GError *error = NULL;

        commit_init(&fake, devices, NULL);
        atomic_write(&fake);
        g_byte_array_set_size(fake.out, n);
        assert_false(fake_run(&fake, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "channel 'main'");
        assert_null(strstr(fake.log->str, ":full"));
        fake_clear(&fake, NULL);
    }
}

static void test_atomic(void **state)
{
    VmloadStats stats = {.struct_size = sizeof(stats)};
    FakeDevice devices[2];
    VmloadLimits limits;
    Fake fake;

    (void)state;
    commit_init(&fake, devices, NULL);
    atomic_write(&fake);
    fake_run_ok(&fake);
    vmload_loader_get_stats(fake.loader, &stats);
    assert_true(stats.staged_peak_bytes >= 16);
    fake_clear(&fake,
               "pre_load load:cpu:full none:rtc:full post_load finish");
    /* The second section is one too many. */
    vmload_limits_init(&limits);
    limits.staged_bytes = 40;
    commit_init(&fake, devices, &limits);
    atomic_write(&fake);
    fake_run_fails(&fake, VMLOAD_ERROR_LIMIT, "staged_bytes");
    fake_clear(&fake, "pre_load finish-failed");
}

#ifdef VMLOAD_HAVE_JANSSON
/* A description that lies: no device is touched. */
static void test_atomic_vmdesc(void **state)
{
    static const struct {
        const char *json;
        const char *part; /* of the error; NULL: loads */
    } cases[] = {
        {DEVICES CPU(8) "]}", NULL},
        {DEVICES CPU(9) "]}", "vmdescription of 'cpu' instance 0"},
        {DEVICES "]}", "found its end"},
        {DEVICES CPU(8) ", " CPU(8) "]}", "expected 1 devices, found more"},
        {"{\"page_size\": ", ""},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        FakeDevice devices[2];
        Fake fake;

        commit_init(&fake, devices, NULL);
        sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
        sw_eof(fake.out);
        sw_vmdesc(fake.out, cases[i].json);
        if (cases[i].part == NULL) {
            fake_run_ok(&fake);
            fake_clear(&fake, "pre_load load:cpu:full post_load finish");
        } else {
            fake_run_fails(&fake, VMLOAD_ERROR_MALFORMED, cases[i].part);
            fake_clear(&fake, "pre_load finish-failed");
        }
    }
}
#endif

/* Sections that are larger than allowed, though they are in memory. */
static void test_section_limits(void **state)
{
    const VmloadLockPlan small = {.struct_size = sizeof(small),
                                  .staged_max = 7};
    static const uint64_t all[] = {7, 8, UINT64_MAX};
    size_t i;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(all) + 1; i++) {
        bool planned = i == 2 * G_N_ELEMENTS(all);
        uint64_t max = planned ? UINT64_MAX : all[i / 2];
        bool fits = !planned && max >= 8;
        FakeDevice cpu = {0};
        VmloadLimits limits;
        Fake fake;

        vmload_limits_init(&limits);
        *(i % 2 != 0 ? &limits.section_bytes : &limits.staged_bytes) = max;
        fake_init(&fake, NULL);
        vmload_loader_set_limits(fake.loader, &limits);
        fake_add(&fake, &cpu, "cpu", 8, planned ? &small : NULL,
                 &fake_plain_ops);
        sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
        sw_eof(fake.out);
        if (fits) {
            fake_run_ok(&fake);
        } else {
            fake_run_fails(&fake, VMLOAD_ERROR_LIMIT,
                           planned      ? "staged_max (7)"
                           : i % 2 != 0 ? "section_bytes (7)"
                                        : "staged_bytes (7)");
        }
        fake_clear(&fake, NULL);
    }
}

/* Counters and ledger of a stream whose every byte is known. */
static void test_numbers(void **state)
{
    VmloadStats stats = {.struct_size = sizeof(stats)};
    VmloadLedgerEntry *ledger;
    FakeDevice cpu = {0};
    FakeDevice rtc = {0};
    uint64_t n;
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_plain_ops);
    fake_add(&fake, &rtc, "rtc", 4, NULL, &fake_plain_ops);
    sw_device(fake.out, 6, "rtc", 0, 2, payload, 4);
    sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
    sw_device(fake.out, 5, "cpu", 0, 2, payload, 8);
    sw_command(fake.out, SW_CMD_SWITCHOVER_START, NULL, 0);
    sw_eof(fake.out);
    fake_run_ok(&fake);
    vmload_loader_get_stats(fake.loader, &stats);
    assert_int_equal(stats.state, VMLOAD_STATE_COMPLETED);
    assert_int_equal(stats.bytes_total, fake.out->len);
    assert_int_equal(stats.sections, 3);
    assert_int_equal(stats.commands, 1);
    assert_int_equal(stats.staged_peak_bytes, 8);
    assert_int_equal(stats.lock_holds, 5);
    assert_int_equal(stats.lock_io_waits, 0);
    assert_int_equal(stats.lock_io_wait_ns, 0);
    assert_true(stats.lock_held_max_ns <= stats.lock_held_total_ns);
    assert_true(stats.start_ns <= stats.switchover_ns);
    assert_true(stats.last_byte_ns <= stats.end_ns);
    ledger = vmload_loader_get_ledger(fake.loader, &n);
    assert_int_equal(n, 2);
    assert_string_equal(ledger[0].name, "rtc");
    assert_int_equal(ledger[0].records, 1);
    assert_int_equal(ledger[0].bytes, 4);
    assert_int_equal(ledger[0].version_id, 2);
    assert_string_equal(ledger[1].name, "cpu");
    assert_int_equal(ledger[1].records, 2);
    assert_int_equal(ledger[1].bytes, 16);
    assert_int_equal(ledger[1].version_id, 2);
    assert_int_equal(ledger[1].without_footer, 0);
    assert_true(ledger[1].callback_ns <= ledger[1].lock_held_ns);
    g_free(ledger);
    fake_clear(&fake, NULL);
}

/* A caller that knows less than we do keeps our defaults for the rest. */
static void test_short_limits(void **state)
{
    VmloadLimits limits;
    FakeDevice cpu = {0};
    Fake fake;

    (void)state;
    vmload_limits_init(&limits);
    limits.struct_size = 16; /* nesting and section_bytes */
    limits.section_bytes = 100;
    fake_init(&fake, NULL);
    vmload_loader_set_limits(fake.loader, &limits);
    fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_plain_ops);
    sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
    sw_eof(fake.out);
    fake_run_ok(&fake);
    fake_clear(&fake, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presence),
        cmocka_unit_test(test_behind_eof),
        cmocka_unit_test(test_silence_behind_eof),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_atomic_cut),
        cmocka_unit_test(test_atomic),
#ifdef VMLOAD_HAVE_JANSSON
        cmocka_unit_test(test_atomic_vmdesc),
#endif
        cmocka_unit_test(test_section_limits),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_short_limits),
    };

    return cmocka_run_group_tests_name("loader-streams", tests, NULL, NULL);
}

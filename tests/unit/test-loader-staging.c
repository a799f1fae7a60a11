/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * False ends: payloads that look like a footer and a record behind it. The
 * scan decides when a device is called, the device where its section ends.
 */
#include "unit.h"

#include <vmload/loader.h>

#include "drip.h"
#include "stream-writer.h"

#define PAYLOAD_SIZE 64

typedef struct {
    uint8_t loaded[PAYLOAD_SIZE];
    uint32_t calls;
    bool done;
    int parsed;  /* atomic: what parse returned and nobody has freed */
    int applied; /* atomic */
    int fakes;   /* atomic: calls for sections that are in the payload */
} Device;

static bool device_load(void *opaque, VmloadReader *reader,
                        const VmloadSection *section, GError **error)
{
    Device *device = opaque;

    (void)section;
    device->calls++;
    device->done = vmload_reader_read(reader, device->loaded, PAYLOAD_SIZE,
                                      error);
    return device->done;
}

/* Any thread. */
static void *device_parse(void *opaque, VmloadReader *reader,
                          const VmloadSection *section, GError **error)
{
    Device *device = opaque;
    uint8_t *parsed = g_malloc(PAYLOAD_SIZE);

    (void)section;
    g_atomic_int_inc((int *)&device->calls);
    if (!vmload_reader_read(reader, parsed, PAYLOAD_SIZE, error)) {
        g_free(parsed);
        return NULL;
    }
    g_atomic_int_inc(&device->parsed);
    return parsed;
}

static bool device_apply(void *opaque, void *parsed,
                         const VmloadSection *section, GError **error)
{
    Device *device = opaque;

    (void)error;
    assert_int_equal(section->payload_length, PAYLOAD_SIZE);
    memcpy(device->loaded, parsed, PAYLOAD_SIZE);
    g_atomic_int_inc(&device->applied);
    return true;
}

static void device_parsed_free(void *opaque, void *parsed)
{
    g_atomic_int_add(&((Device *)opaque)->parsed, -1);
    g_free(parsed);
}

/* The device of a section that is not one: it may be parsed, no more. */
static void *fake_parse(void *opaque, VmloadReader *reader,
                        const VmloadSection *section, GError **error)
{
    Device *device = opaque;

    (void)reader;
    (void)section;
    (void)error;
    g_atomic_int_inc(&device->fakes);
    g_atomic_int_inc(&device->parsed);
    return g_malloc(1);
}

static bool fake_apply(void *opaque, void *parsed,
                       const VmloadSection *section, GError **error)
{
    (void)opaque;
    (void)parsed;
    (void)section;
    (void)error;
    fail_msg("a section that is none was applied");
    return true;
}

/* A footer of section 0 and a whole section behind it, and then the rest. */
static void write_whole_section(GByteArray *payload)
{
    sw_fill(payload, 0x33, 4);
    sw_footer(payload, 0);
    sw_section_full(payload, 9, "cpu", 0, 1);
    sw_footer(payload, 9);
}

/* The counter that ends in 7E with eight unused zeros behind it. */
static void write_timer(GByteArray *payload)
{
    sw_be64(payload, 0x000000000000007e);
    sw_be64(payload, 0);
    sw_be64(payload, 0);
}

static void write_end_and_description(GByteArray *payload)
{
    sw_footer(payload, 0);
    sw_eof(payload);
    sw_vmdesc(payload, "{}");
}

static void write_two(GByteArray *payload)
{
    write_whole_section(payload);
    sw_footer(payload, 0);
    sw_command(payload, SW_CMD_SWITCHOVER_START, NULL, 0);
}

/* A PART of RAM, which was announced. */
static void write_part(GByteArray *payload)
{
    sw_footer(payload, 0);
    sw_u8(payload, VMLOAD_RECORD_PART);
    sw_be32(payload, 2);
}

/* Sections of another device, one behind the other, before the last bytes. */
static void write_many(GByteArray *payload)
{
    write_whole_section(payload);
    sw_section_full(payload, 9, "cpu", 0, 1);
    sw_footer(payload, 9);
}

typedef struct {
    const char *name;
    void (*write)(GByteArray *payload);
    uint32_t false_ends; /* that are evidence enough */
} Case;

static const Case cases[] = {
    {"a whole section", write_whole_section, 1},
    {"timer", write_timer, 0},
    {"EOF and a description", write_end_and_description, 1},
    {"two false ends", write_two, 2},
    {"PART", write_part, 1},
    {"many sections", write_many, 1},
};

static GByteArray *make_payload(const Case *one)
{
    GByteArray *payload = sw_new();

    one->write(payload);
    assert_true(payload->len <= PAYLOAD_SIZE);
    sw_fill(payload, 0x55, PAYLOAD_SIZE - payload->len);
    return payload;
}

static GByteArray *make_stream(const GByteArray *payload)
{
    GByteArray *out = sw_new();

    sw_header(out);
    sw_configuration(out, "none");
    sw_ram_start(out, 2, 0);
    sw_ram_eos(out);
    sw_footer(out, 2);
    sw_device(out, 0, "timer", 0, 2, payload->data, payload->len);
    sw_eof(out);
    sw_vmdesc(out, "{\"page_size\": 4096, \"devices\": [{\"name\": "
                   "\"timer\", \"instance_id\": 0, \"version\": 2, "
                   "\"size\": 64, \"fields\": [{\"name\": \"data\", "
                   "\"size\": 64, \"type\": \"buffer\"}]}]}");
    return out;
}

/* Loads the stream, @step bytes at a time. */
static bool load(const GByteArray *stream, uint64_t step, uint32_t flags,
                 VmloadLockWait policy, Device *device, GError **error)
{
    const VmloadHostOps host = {VMLOAD_HOST_OPS_INIT};
    const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .flags = flags,
        .load = device_load,
    };
    VmloadLoader *loader = vmload_loader_new(&host, NULL, NULL, NULL);
    Drip drip = {stream->data, stream->len, step, 0};
    bool ok;

    memset(device, 0, sizeof(*device));
    assert_non_null(loader);
    assert_true(vmload_loader_add_device(loader, "timer", 0, 2, 2, NULL, &ops,
                                         device, NULL, NULL));
    vmload_loader_set_lock_wait(loader, policy);
    vmload_loader_set_channel(loader, drip_channel(&drip));
    ok = vmload_loader_run(loader, 0, error);
    vmload_loader_free(loader);
    return ok;
}

typedef struct {
    const char *name;
    uint32_t flags;
    VmloadCommit commit;
} Parsing;

static const Parsing parsings[] = {
    {"APPLY", 0, VMLOAD_COMMIT_STREAMING},
    {"atomic", 0, VMLOAD_COMMIT_ATOMIC},
    {"concurrent", VMLOAD_DEVICE_CONCURRENT, VMLOAD_COMMIT_STREAMING},
    {"concurrent, atomic", VMLOAD_DEVICE_CONCURRENT, VMLOAD_COMMIT_ATOMIC},
};

/* As load(), with a device that parses, and one that is in its payload. */
static bool load_parsed(const GByteArray *stream, uint64_t step,
                        const Parsing *parsing, Device *device,
                        GError **error)
{
    const VmloadHostOps host = {VMLOAD_HOST_OPS_INIT};
    const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,     .flags = parsing->flags,
        .parse = device_parse,      .apply = device_apply,
        .parsed_free = device_parsed_free,
    };
    const VmloadDeviceOps fake_ops = {
        VMLOAD_DEVICE_OPS_INIT,     .flags = parsing->flags,
        .parse = fake_parse,        .apply = fake_apply,
        .parsed_free = device_parsed_free,
    };
    VmloadLoader *loader = vmload_loader_new(&host, NULL, NULL, NULL);
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;
    Drip drip = {stream->data, stream->len, step, 0};
    bool ok;

    memset(device, 0, sizeof(*device));
    plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_APPLY;
    assert_true(vmload_loader_add_device(loader, "timer", 0, 2, 2, &plan,
                                         &ops, device, NULL, NULL));
    assert_true(vmload_loader_add_device(loader, "cpu", 0, 1, 1, &plan,
                                         &fake_ops, device, NULL, NULL));
    vmload_loader_set_commit(loader, parsing->commit);
    vmload_loader_set_presence(loader, VMLOAD_PRESENCE_AUTO,
                               VMLOAD_PRESENCE_AUTO, VMLOAD_PRESENCE_AUTO);
    vmload_loader_set_channel(loader, drip_channel(&drip));
    ok = vmload_loader_run(loader, 0, error);
    vmload_loader_free(loader);
    assert_int_equal(device->parsed, 0);
    return ok;
}

/* A parse has no effect until it is applied: false ends never matter. */
static void check_parsed(const Case *one, const Parsing *parsing,
                         uint64_t step)
{
    GByteArray *payload = make_payload(one);
    GByteArray *stream = make_stream(payload);
    GError *error = NULL;
    Device device;

    if (!load_parsed(stream, step, parsing, &device, &error)) {
        fail_msg("%s, %s, %u at a time: %s", one->name, parsing->name,
                 (unsigned)step, error->message);
    }
    assert_int_equal(device.applied, 1);
    assert_memory_equal(device.loaded, payload->data, PAYLOAD_SIZE);
    if (step == 1 && parsing->flags == 0) {
        assert_int_equal(device.calls, 1 + one->false_ends);
    }
    g_byte_array_unref(stream);
    g_byte_array_unref(payload);
}

static void test_parsed(void **state)
{
    static const uint64_t steps[] = {1, 2, 3, 7, 31, 1 << 20};
    size_t i;
    size_t j;
    size_t k;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (j = 0; j < G_N_ELEMENTS(parsings); j++) {
            for (k = 0; k < G_N_ELEMENTS(steps); k++) {
                check_parsed(&cases[i], &parsings[j], steps[k]);
            }
        }
    }
}

/* Cut behind a false end: never loaded, never applied. */
static void test_parsed_cut(void **state)
{
    size_t i;
    size_t j;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *payload = make_payload(&cases[i]);
        GByteArray *stream = make_stream(payload);
        guint full = stream->len;
        guint begin;

        for (begin = 0; begin + payload->len <= full; begin++) {
            if (memcmp(stream->data + begin, payload->data, payload->len) ==
                0) {
                break;
            }
        }
        for (j = 0; j < 8 * G_N_ELEMENTS(parsings); j++) {
            GError *error = NULL;
            Device device;

            stream->len = begin + PAYLOAD_SIZE * (guint)(j % 8) / 8;
            assert_false(load_parsed(stream, 5, &parsings[j / 8], &device,
                                     &error));
            assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED,
                              "section 'timer' instance 0");
            assert_int_equal(device.applied, 0);
        }
        stream->len = full;
        g_byte_array_unref(stream);
        g_byte_array_unref(payload);
    }
}

/*
 * Behind the true end stands what is no evidence: EOF and foreign bytes. A
 * device that met a false end is called once more when the bytes have ended,
 * as it had them all if they had been there the first time.
 */
static void test_in_pieces(void **state)
{
    static const uint64_t steps[] = {1, 3, 1 << 20};
    GByteArray *payload = make_payload(&cases[0]);
    GByteArray *stream = sw_new();
    size_t i;
    size_t j;

    (void)state;
    sw_header(stream);
    sw_configuration(stream, "none");
    sw_device(stream, 0, "timer", 0, 2, payload->data, payload->len);
    sw_eof(stream);
    sw_fill(stream, 0xf5, 9);
    for (i = 0; i < G_N_ELEMENTS(steps); i++) {
        GError *error = NULL;
        Device device;

        if (!load(stream, steps[i], VMLOAD_DEVICE_RESTARTABLE,
                  VMLOAD_LOCK_WAIT_FAIL, &device, &error)) {
            fail_msg("%u at a time: %s", (unsigned)steps[i], error->message);
        }
        assert_memory_equal(device.loaded, payload->data, PAYLOAD_SIZE);
        for (j = 0; j < G_N_ELEMENTS(parsings); j++) {
            if (!load_parsed(stream, steps[i], &parsings[j], &device,
                             &error)) {
                fail_msg("%s, %u at a time: %s", parsings[j].name,
                         (unsigned)steps[i], error->message);
            }
        }
    }
    g_byte_array_unref(stream);
    g_byte_array_unref(payload);
}

/*
 * Without footers the parse says how long the section is: neither a record of
 * which there is no evidence behind it nor a false one in it matters. Cut
 * before its end, it is never applied.
 */
static void test_without_footers(void **state)
{
    static const uint64_t steps[] = {1, 3, 50, 1 << 20};
    const uint8_t ping[4] = {0};
    size_t i;
    guint cut;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(steps); i++) {
        GByteArray *payload = make_payload(&cases[0]);
        GByteArray *stream = sw_new();
        GError *error = NULL;
        Device device;
        guint end;

        sw_header(stream);
        sw_section_full(stream, 0, "timer", 0, 2);
        sw_bytes(stream, payload->data, payload->len);
        end = stream->len;
        sw_command(stream, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
        sw_command(stream, SW_CMD_PING, ping, sizeof(ping));
        sw_eof(stream);
        if (!load_parsed(stream, steps[i / 2], &parsings[i % 2], &device,
                         &error)) {
            fail_msg("%s, %u at a time: %s", parsings[i % 2].name,
                     (unsigned)steps[i / 2], error->message);
        }
        assert_int_equal(device.applied, 1);
        assert_memory_equal(device.loaded, payload->data, PAYLOAD_SIZE);
        for (cut = end - PAYLOAD_SIZE; cut < end; cut++) {
            stream->len = cut;
            assert_false(load_parsed(stream, steps[i / 2], &parsings[i % 2],
                                     &device, &error));
            assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED,
                              "section 'timer'");
            assert_int_equal(device.applied, 0);
        }
        g_byte_array_unref(stream);
        g_byte_array_unref(payload);
    }
}

/* Everything is in memory: the device finds the end past the false one. */
static void test_all_buffered(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *payload = make_payload(&cases[i]);
        GByteArray *stream = make_stream(payload);
        GError *error = NULL;
        Device device;

        if (!load(stream, stream->len, 0, VMLOAD_LOCK_WAIT_FAIL,
                  &device, &error)) {
            fail_msg("%s: %s", cases[i].name, error->message);
        }
        assert_int_equal(device.calls, 1);
        assert_memory_equal(device.loaded, payload->data, PAYLOAD_SIZE);
        g_byte_array_unref(stream);
        g_byte_array_unref(payload);
    }
}

/* Byte by byte: a device that cannot be called again fails clean. */
static void test_dripping(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *payload = make_payload(&cases[i]);
        GByteArray *stream = make_stream(payload);
        GError *error = NULL;
        Device device;
        bool ok = load(stream, 1, 0, VMLOAD_LOCK_WAIT_FAIL, &device, &error);

        assert_int_equal(ok, cases[i].false_ends == 0);
        assert_int_equal(device.calls, 1);
        if (!ok) {
            assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                              "section 'timer' instance 0");
            assert_false(device.done);
        }
        g_byte_array_unref(stream);
        g_byte_array_unref(payload);
    }
}

/* Byte by byte: a restartable device is called until it has all. */
static void test_restartable(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *payload = make_payload(&cases[i]);
        GByteArray *stream = make_stream(payload);
        GError *error = NULL;
        Device device;

        if (!load(stream, 1, VMLOAD_DEVICE_RESTARTABLE, VMLOAD_LOCK_WAIT_FAIL,
                  &device, &error)) {
            fail_msg("%s: %s", cases[i].name, error->message);
        }
        assert_int_equal(device.calls, 1 + cases[i].false_ends);
        assert_memory_equal(device.loaded, payload->data, PAYLOAD_SIZE);
        g_byte_array_unref(stream);
        g_byte_array_unref(payload);
    }
}

/* Byte by byte, allowed to wait under the lock: loads right, first time. */
static void test_allowed(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *payload = make_payload(&cases[i]);
        GByteArray *stream = make_stream(payload);
        GError *error = NULL;
        Device device;

        if (!load(stream, 1, 0, VMLOAD_LOCK_WAIT_ALLOW, &device, &error)) {
            fail_msg("%s: %s", cases[i].name, error->message);
        }
        assert_int_equal(device.calls, 1);
        assert_memory_equal(device.loaded, payload->data, PAYLOAD_SIZE);
        g_byte_array_unref(stream);
        g_byte_array_unref(payload);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_buffered),
        cmocka_unit_test(test_dripping),
        cmocka_unit_test(test_restartable),
        cmocka_unit_test(test_parsed),
        cmocka_unit_test(test_parsed_cut),
        cmocka_unit_test(test_in_pieces),
        cmocka_unit_test(test_without_footers),
        cmocka_unit_test(test_allowed),
    };

    return cmocka_run_group_tests_name("loader-staging", tests, NULL, NULL);
}

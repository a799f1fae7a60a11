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
    sw_vmdesc(out, "{\"devices\": []}");
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
        cmocka_unit_test(test_allowed),
    };

    return cmocka_run_group_tests_name("loader-staging", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How often a device is called at false ends: not at each of many in a large
 * section, and all the same once the source is silent.
 */
#include "unit.h"

#include <sys/socket.h>
#include <unistd.h>
#include <vmload/loader.h>

#include "drip.h"
#include "stream-writer.h"

#define PAYLOAD 400000
/* As in lib/loader/section.c. */
#define OFTEN_BYTES 65536
/* Between two false ends. */
#define APART 1000
/* For liveness only. */
#define TRIES 20000

typedef struct {
    uint64_t wanted; /* bytes of the payload */
    int calls;       /* atomic */
    int large;       /* calls with more than OFTEN_BYTES */
    int early;       /* of those, with less than an eighth more */
    uint64_t last;   /* what the last one saw */
    int done;        /* atomic */
} Device;

static bool read_all(Device *device, VmloadReader *reader, GError **error)
{
    uint8_t *buffer = g_malloc(device->wanted);
    const uint8_t *data;
    uint64_t candidate;
    uint64_t visible;
    bool large = device->last > OFTEN_BYTES;
    bool ok;

    assert_true(vmload_reader_get_staged(reader, &data, &candidate, &visible));
    g_atomic_int_inc(&device->calls);
    ok = vmload_reader_read(reader, buffer, device->wanted, error);
    device->large += large ? 1 : 0;
    /* With all the bytes there are it is called, however few came. */
    if (large && !ok && visible < device->last + device->last / 8) {
        device->early++;
    }
    device->last = visible;
    g_free(buffer);
    return ok;
}

static bool device_load(void *opaque, VmloadReader *reader,
                        const VmloadSection *section, GError **error)
{
    Device *device = opaque;
    bool ok = read_all(device, reader, error);

    (void)section;
    g_atomic_int_set(&device->done, ok);
    return ok;
}

static void *device_parse(void *opaque, VmloadReader *reader,
                          const VmloadSection *section, GError **error)
{
    (void)section;
    return read_all(opaque, reader, error) ? opaque : NULL;
}

static bool device_apply(void *opaque, void *parsed,
                         const VmloadSection *section, GError **error)
{
    (void)parsed;
    (void)section;
    (void)error;
    g_atomic_int_set(&((Device *)opaque)->done, 1);
    return true;
}

static VmloadLoader *make_loader(Device *device, VmloadLock lock)
{
    const VmloadHostOps host = {VMLOAD_HOST_OPS_INIT};
    const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .flags = VMLOAD_DEVICE_RESTARTABLE,
        .load = device_load,
        .parse = device_parse,
        .apply = device_apply,
    };
    VmloadLoader *loader = vmload_loader_new(&host, NULL, NULL, NULL);
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;

    plan.full = (uint32_t)lock;
    assert_non_null(loader);
    vmload_loader_set_presence(loader, VMLOAD_PRESENCE_AUTO,
                               VMLOAD_PRESENCE_AUTO, VMLOAD_PRESENCE_AUTO);
    assert_true(vmload_loader_add_device(loader, "rom", 0, 1, 1, &plan, &ops,
                                         device, NULL, NULL));
    return loader;
}

/* @payload bytes with a false end before each multiple of APART. */
static GByteArray *make_payload(uint64_t bytes)
{
    GByteArray *payload = sw_new();

    while (payload->len < bytes) {
        sw_fill(payload, 0x55, APART - 10);
        sw_footer(payload, 3);
        /* The record behind it: a PART of an announced section, this one. */
        sw_u8(payload, VMLOAD_RECORD_PART);
        sw_be32(payload, 3);
    }
    g_byte_array_set_size(payload, (guint)bytes);
    return payload;
}

/* @begin: where the payload does. */
static GByteArray *make_stream(uint64_t bytes, bool footers, guint *begin)
{
    GByteArray *payload = make_payload(bytes);
    GByteArray *out = sw_new();

    sw_header(out);
    if (footers) {
        sw_configuration(out, "none");
    }
    sw_section_full(out, 3, "rom", 0, 1);
    *begin = out->len;
    sw_bytes(out, payload->data, payload->len);
    if (footers) {
        sw_footer(out, 3);
    }
    sw_eof(out);
    g_byte_array_unref(payload);
    return out;
}

/* Up to a size at each; then the calls are as few as a logarithm. */
static void test_many(void **state)
{
    const VmloadLock locks[] = {VMLOAD_LOCK_WHOLE, VMLOAD_LOCK_APPLY};
    guint begin;
    GByteArray *stream = make_stream(PAYLOAD, true, &begin);
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(locks); i++) {
        Drip drip = {stream->data, stream->len, 100, 0};
        Device device = {.wanted = PAYLOAD};
        VmloadLoader *loader = make_loader(&device, locks[i]);
        GError *error = NULL;

        vmload_loader_set_channel(loader, drip_channel(&drip));
        if (!vmload_loader_run(loader, 0, &error)) {
            fail_msg("%s", error->message);
        }
        vmload_loader_free(loader);
        assert_int_equal(device.done, 1);
        assert_int_equal(device.early, 0);
        /* 9/8 to the 16th is more than 400000 / 65536. */
        assert_in_range(device.large, 1, 17);
        assert_in_range(device.calls - device.large, OFTEN_BYTES / APART,
                        OFTEN_BYTES / APART + 2);
    }
    g_byte_array_unref(stream);
}

static void send_bytes(int fd, const GByteArray *stream, guint from, guint to)
{
    while (from < to) {
        ssize_t sent =
            send(fd, stream->data + from, to - from, MSG_NOSIGNAL);

        assert_true(sent > 0);
        from += (guint)sent;
    }
}

static void await_calls(Device *device, int calls)
{
    int tries = 0;

    while (g_atomic_int_get(&device->calls) < calls && tries++ < TRIES) {
        g_usleep(1000);
    }
    assert_true(g_atomic_int_get(&device->calls) >= calls);
}

/*
 * The source stops at @first bytes of the payload, and again a little later:
 * it would wait for ever if the device were not called for so few more.
 */
static void check_silence(VmloadLock lock, bool footers, uint64_t bytes,
                          guint first, guint second)
{
    guint begin;
    GByteArray *stream = make_stream(bytes, footers, &begin);
    Device device = {.wanted = bytes};
    VmloadLoader *loader = make_loader(&device, lock);
    GError *error = NULL;
    int fds[2];
    int calls;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    vmload_loader_set_channel(loader, vmload_channel_take_fd(fds[1], NULL));
    assert_true(vmload_loader_start(loader, NULL));
    send_bytes(fds[0], stream, 0, begin + first - 1);
    /* The last byte makes it a false end, if there are footers. */
    send_bytes(fds[0], stream, begin + first - 1, begin + first);
    await_calls(&device, 1);
    /* Whatever it was called for on the way: it has seen all there is. */
    do {
        calls = g_atomic_int_get(&device.calls);
        g_usleep(100000);
    } while (calls != g_atomic_int_get(&device.calls));
    assert_int_equal(g_atomic_int_get(&device.done), 0);
    send_bytes(fds[0], stream, begin + first, begin + second);
    await_calls(&device, calls + 1);
    assert_int_equal(g_atomic_int_get(&device.done), 0);
    send_bytes(fds[0], stream, begin + second, stream->len);
    shutdown(fds[0], SHUT_WR);
    if (!vmload_loader_wait(loader, &error)) {
        fail_msg("%s", error->message);
    }
    assert_int_equal(g_atomic_int_get(&device.done), 1);
    vmload_loader_free(loader);
    close(fds[0]);
    g_byte_array_unref(stream);
}

static void test_silence(void **state)
{
    (void)state;
    /* Less than an eighth more, in a section that is large. */
    check_silence(VMLOAD_LOCK_WHOLE, true, PAYLOAD, 100 * APART, 101 * APART);
    check_silence(VMLOAD_LOCK_APPLY, true, PAYLOAD, 100 * APART, 101 * APART);
    /* Less than twice as much, where there are no footers. */
    check_silence(VMLOAD_LOCK_APPLY, false, 3000, 1500, 1600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_silence),
    };

    return cmocka_run_group_tests_name("loader-throttle", tests, NULL, NULL);
}

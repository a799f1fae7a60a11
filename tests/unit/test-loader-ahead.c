/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parses on workers over bytes that the host buffers, and reads, too: what is
 * behind a section stays the host's, whatever is parsed meanwhile.
 */
#include "unit.h"

#include <vmload/loader.h>

#include "fake-file.h"
#include "stream-writer.h"

#define SMALL 3000u
/* More than the host buffers. */
#define LARGE (FAKE_FILE_BUFFER + 9000u)
#define TAIL 500u

typedef struct {
    FakeFile file;
    VmloadLoader *loader;
    GString *applied;
    int alive; /* atomic: what parse returned and nobody has freed */
    int cancel_at; /* atomic: parses until one cancels; 0: none does */
} Host;

typedef struct {
    Host *host;
    const char *name;
    uint32_t size;
} Device;

/* False ends all over it: a footer of @id, and a FULL section behind it. */
static GByteArray *make_payload(uint32_t id, uint32_t size)
{
    GByteArray *payload = sw_new();

    while (payload->len < size) {
        sw_fill(payload, (uint8_t)(0x40 + id), 700);
        sw_footer(payload, id);
        sw_section_full(payload, id + 1, "b", 0, 1);
    }
    g_byte_array_set_size(payload, size);
    return payload;
}

static void *device_parse(void *opaque, VmloadReader *reader,
                          const VmloadSection *section, GError **error)
{
    Device *device = opaque;
    GByteArray *expected = make_payload(section->section_id, device->size);
    uint8_t *parsed = g_malloc(device->size);

    if (g_atomic_int_get(&device->host->cancel_at) > 0 &&
        g_atomic_int_dec_and_test(&device->host->cancel_at)) {
        vmload_loader_cancel(device->host->loader);
    }
    if (!vmload_reader_read(reader, parsed, device->size, error)) {
        g_byte_array_unref(expected);
        g_free(parsed);
        return NULL;
    }
    parsed[0] = memcmp(parsed, expected->data, expected->len) == 0;
    g_byte_array_unref(expected);
    g_atomic_int_inc(&device->host->alive);
    return parsed;
}

static bool device_apply(void *opaque, void *parsed,
                         const VmloadSection *section, GError **error)
{
    Device *device = opaque;

    (void)error;
    assert_int_equal(section->payload_length, device->size);
    assert_int_equal(*(uint8_t *)parsed, 1);
    g_string_append(device->host->applied, device->name);
    return true;
}

static void device_parsed_free(void *opaque, void *parsed)
{
    g_atomic_int_add(&((Device *)opaque)->host->alive, -1);
    g_free(parsed);
}

static bool device_load(void *opaque, VmloadReader *reader,
                        const VmloadSection *section, GError **error)
{
    Device *device = opaque;
    uint8_t state[SMALL];

    (void)section;
    g_string_append(device->host->applied, device->name);
    return vmload_reader_read(reader, state, device->size, error);
}

static void write_description(GByteArray *out, const Device *devices)
{
    GString *json = g_string_new("{\"page_size\": 4096, \"devices\": [");
    uint32_t i;

    for (i = 0; devices[i].name != NULL; i++) {
        g_string_append_printf(
            json,
            "%s{\"name\": \"%s\", \"instance_id\": 0, \"version\": 1, "
            "\"size\": %u, \"fields\": [{\"name\": \"data\", "
            "\"size\": %u, \"type\": \"buffer\"}]}",
            i > 0 ? ", " : "", devices[i].name, devices[i].size,
            devices[i].size);
    }
    g_string_append(json, "]}");
    sw_vmdesc(out, json->str);
    g_string_free(json, TRUE);
}

/* a, b, c and d in the pool, w not; then bytes that nobody may take. */
static GByteArray *make_stream(const Device *devices, guint *end)
{
    GByteArray *out = sw_new();
    uint32_t i;

    sw_header(out);
    sw_configuration(out, "none");
    for (i = 0; devices[i].name != NULL; i++) {
        GByteArray *payload = make_payload(i + 1, devices[i].size);

        if (devices[i].name[0] == 'w') {
            memset(payload->data, 0, payload->len);
        }
        sw_device(out, i + 1, devices[i].name, 0, 1, payload->data,
                  payload->len);
        g_byte_array_unref(payload);
    }
    sw_eof(out);
    write_description(out, devices);
    *end = out->len;
    sw_fill(out, 0xa7, TAIL);
    return out;
}

static void add_devices(Host *host, Device *devices)
{
    const VmloadDeviceOps parsed = {
        VMLOAD_DEVICE_OPS_INIT,
        .flags = VMLOAD_DEVICE_CONCURRENT,
        .parse = device_parse,
        .apply = device_apply,
        .parsed_free = device_parsed_free,
    };
    const VmloadDeviceOps whole = {
        VMLOAD_DEVICE_OPS_INIT,
        .load = device_load,
    };
    VmloadLockPlan apply = VMLOAD_LOCK_PLAN_INIT;
    Device *device;

    apply.full = VMLOAD_LOCK_APPLY;
    apply.start = apply.part = apply.end = VMLOAD_LOCK_APPLY;
    for (device = devices; device->name != NULL; device++) {
        bool is_whole = device->name[0] == 'w';

        device->host = host;
        assert_true(vmload_loader_add_device(
            host->loader, device->name, 0, 1, 1, is_whole ? NULL : &apply,
            is_whole ? &whole : &parsed, device, NULL, NULL));
    }
}

/* @cancel_at: which parse cancels; 0: none. */
static bool load(uint64_t step, bool position, VmloadCommit commit,
                 int cancel_at, GError **error)
{
    Device devices[] = {
        {NULL, "a", SMALL}, {NULL, "b", SMALL}, {NULL, "c", LARGE},
        {NULL, "w", 64},    {NULL, "d", SMALL}, {NULL, NULL, 0},
    };
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    Host *host = g_new0(Host, 1);
    GByteArray *stream;
    guint end;
    bool ok;

    stream = make_stream(devices, &end);
    fake_file_init(&host->file, stream->data, stream->len, step);
    host->applied = g_string_new(NULL);
    host->cancel_at = cancel_at;
    host->loader = vmload_loader_new(&ops, NULL, NULL, NULL);
    add_devices(host, devices);
    vmload_loader_set_presence(host->loader, VMLOAD_PRESENCE_AUTO,
                               VMLOAD_PRESENCE_AUTO, VMLOAD_PRESENCE_REQUIRED);
    vmload_loader_set_commit(host->loader, commit);
    vmload_loader_set_channel(host->loader,
                              fake_file_channel(&host->file, position));
    ok = vmload_loader_run(host->loader, 0, error);
    vmload_loader_free(host->loader);
    assert_int_equal(host->alive, 0);
    if (ok) {
        assert_string_equal(host->applied->str, "abcwd");
        assert_int_equal(fake_file_position(&host->file), end);
    }
    g_string_free(host->applied, TRUE);
    g_byte_array_unref(stream);
    g_free(host);
    return ok;
}

static const VmloadCommit commits[] = {VMLOAD_COMMIT_STREAMING,
                                       VMLOAD_COMMIT_ATOMIC};
static const uint64_t steps[] = {1, 7, 1000, G_MAXUINT64};

static void test_source(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < 4 * G_N_ELEMENTS(steps); i++) {
        GError *error = NULL;

        if (!load(steps[i / 4], (i & 1) != 0, commits[i / 2 % 2], 0,
                  &error)) {
            fail_msg("%u: %s", (unsigned)i, error->message);
        }
    }
}

/* Cancelled by a worker, wherever the loading thread is meanwhile. */
static void test_cancel(void **state)
{
    int at;

    (void)state;
    for (at = 1; at <= 4; at++) {
        GError *error = NULL;

        assert_false(load(1000, true, commits[at % 2], at, &error));
        assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests_name("loader-ahead", tests, NULL, NULL);
}

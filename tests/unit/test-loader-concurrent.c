/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices whose parse runs in the pool, and the atomic commit, which runs
 * every parse before the first device is touched.
 */
#include "unit.h"

#include <vmload/loader.h>

#include "stream-writer.h"

#define LIVENESS_US (20 * G_USEC_PER_SEC)

typedef struct {
    GMutex mutex;
    GCond cond;
    GMutex big_lock;
    GThread *owner; /* of the big lock, atomic */
    GString *log;   /* applied, by name */
    GThread *loading;
    uint32_t parsing;     /* parses that are under way */
    uint32_t parsing_max;
    uint32_t gate;   /* a parse goes on when so many are under way */
    uint32_t parsed; /* objects alive */
    bool cancel_in_parse;
    VmloadLoader *loader;
} Host;

typedef struct {
    Host *host;
    const char *name;
    bool fail;
} Device;

static void host_lock(void *opaque)
{
    Host *host = opaque;

    g_mutex_lock(&host->big_lock);
    g_atomic_pointer_set(&host->owner, g_thread_self());
}

static void host_unlock(void *opaque)
{
    Host *host = opaque;

    g_atomic_pointer_set(&host->owner, NULL);
    g_mutex_unlock(&host->big_lock);
}

/* By this thread? */
static bool is_locked(Host *host)
{
    return g_atomic_pointer_get(&host->owner) == g_thread_self();
}

static void note(Host *host, const char *name)
{
    g_mutex_lock(&host->mutex);
    g_string_append_printf(host->log, "%s ", name);
    g_mutex_unlock(&host->mutex);
}

static void *device_parse(void *opaque, VmloadReader *reader,
                          const VmloadSection *section, GError **error)
{
    Device *device = opaque;
    Host *host = device->host;
    int64_t until = g_get_monotonic_time() + LIVENESS_US;
    uint32_t value;

    (void)section;
    assert_false(is_locked(host));
    g_mutex_lock(&host->mutex);
    host->parsing++;
    host->parsing_max = MAX(host->parsing_max, host->parsing);
    g_cond_broadcast(&host->cond);
    while (host->parsing_max < host->gate &&
           g_cond_wait_until(&host->cond, &host->mutex, until)) {
        continue;
    }
    host->parsing--;
    g_mutex_unlock(&host->mutex);
    if (host->cancel_in_parse) {
        vmload_loader_cancel(host->loader);
    }
    if (device->fail) {
        vmload_reader_error(reader, error, VMLOAD_ERROR_MISMATCH, "no");
        return NULL;
    }
    if (!vmload_reader_get_be32(reader, &value, error)) {
        return NULL;
    }
    g_atomic_int_inc((int *)&host->parsed);
    return GUINT_TO_POINTER(value);
}

static bool device_apply(void *opaque, void *parsed,
                         const VmloadSection *section, GError **error)
{
    Device *device = opaque;

    (void)error;
    assert_true(is_locked(device->host));
    assert_string_equal(section->idstr, device->name);
    assert_int_equal(GPOINTER_TO_UINT(parsed), 0x01020304);
    note(device->host, device->name);
    return true;
}

static void device_parsed_free(void *opaque, void *parsed)
{
    Device *device = opaque;

    (void)parsed;
    g_atomic_int_add((int *)&device->host->parsed, -1);
}

static bool device_load(void *opaque, VmloadReader *reader,
                        const VmloadSection *section, GError **error)
{
    Device *device = opaque;

    (void)section;
    assert_true(is_locked(device->host));
    if (device->fail) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MISMATCH,
                                   "no");
    }
    note(device->host, device->name);
    return vmload_reader_skip(reader, 4, error);
}

static void host_init(Host *host)
{
    memset(host, 0, sizeof(*host));
    g_mutex_init(&host->mutex);
    g_cond_init(&host->cond);
    g_mutex_init(&host->big_lock);
    host->log = g_string_new("");
}

static void host_clear(Host *host)
{
    assert_int_equal(host->parsed, 0);
    g_string_free(host->log, TRUE);
    g_mutex_clear(&host->mutex);
    g_cond_clear(&host->cond);
    g_mutex_clear(&host->big_lock);
}

static VmloadLoader *make_loader(Host *host, const GByteArray *stream,
                                 VmloadCommit commit)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .lock = host_lock,
        .unlock = host_unlock,
    };
    VmloadLoader *loader = vmload_loader_new(&ops, host, NULL, NULL);

    assert_non_null(loader);
    vmload_loader_set_commit(loader, commit);
    vmload_loader_set_channel(
        loader,
        vmload_channel_new_memory(stream->data, stream->len, NULL, NULL));
    host->loader = loader;
    return loader;
}

static void add_concurrent(VmloadLoader *loader, Device *device,
                           const char *const *after)
{
    const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .flags = VMLOAD_DEVICE_CONCURRENT,
        .parse = device_parse,
        .apply = device_apply,
        .parsed_free = device_parsed_free,
        .after = after,
    };
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;

    plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_APPLY;
    assert_true(vmload_loader_add_device(loader, device->name, 0, 1, 1, &plan,
                                         &ops, device, NULL, NULL));
}

static void add_whole(VmloadLoader *loader, Device *device)
{
    const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .load = device_load,
    };

    assert_true(vmload_loader_add_device(loader, device->name, 0, 1, 1, NULL,
                                         &ops, device, NULL, NULL));
}

/* Devices a, b, c, ... in this order, 4 bytes each. */
static GByteArray *make_stream(const char *names)
{
    static const uint8_t payload[] = {1, 2, 3, 4};
    GByteArray *out = sw_new();
    uint32_t id = 1;

    sw_header(out);
    sw_configuration(out, "none");
    for (; *names != '\0'; names++) {
        const char name[] = {*names, '\0'};

        sw_device(out, id++, name, 0, 1, payload, sizeof(payload));
    }
    sw_eof(out);
    return out;
}

/* Two parses run at once, while the loading thread reads on. */
static void test_parallel(void **state)
{
    GByteArray *stream = make_stream("abw");
    VmloadLoader *loader;
    Device devices[3];
    GError *error = NULL;
    Host host;

    (void)state;
    if (g_get_num_processors() < 2) {
        g_byte_array_unref(stream);
        skip();
    }
    host_init(&host);
    host.gate = 2;
    devices[0] = (Device){&host, "a", false};
    devices[1] = (Device){&host, "b", false};
    devices[2] = (Device){&host, "w", false};
    loader = make_loader(&host, stream, VMLOAD_COMMIT_STREAMING);
    add_concurrent(loader, &devices[0], NULL);
    add_concurrent(loader, &devices[1], NULL);
    add_whole(loader, &devices[2]);
    assert_true(vmload_loader_run(loader, 0, &error));
    assert_int_equal(host.parsing_max, 2);
    assert_non_null(strstr(host.log->str, "a "));
    assert_non_null(strstr(host.log->str, "b "));
    assert_non_null(strstr(host.log->str, "w "));
    assert_int_equal(host.log->len, 6);
    vmload_loader_free(loader);
    host_clear(&host);
    g_byte_array_unref(stream);
}

static void test_after(void **state)
{
    static const char *const after_c[] = {"c", "never-comes", NULL};
    static const char *const after_b[] = {"b", NULL};
    GByteArray *stream = make_stream("abc");
    VmloadLoader *loader;
    Device devices[3];
    Host host;

    (void)state;
    host_init(&host);
    devices[0] = (Device){&host, "a", false};
    devices[1] = (Device){&host, "b", false};
    devices[2] = (Device){&host, "c", false};
    loader = make_loader(&host, stream, VMLOAD_COMMIT_STREAMING);
    add_concurrent(loader, &devices[0], after_b);
    add_concurrent(loader, &devices[1], after_c);
    add_concurrent(loader, &devices[2], NULL);
    assert_true(vmload_loader_run(loader, 0, NULL));
    assert_string_equal(host.log->str, "c b a ");
    vmload_loader_free(loader);
    host_clear(&host);
    g_byte_array_unref(stream);
}

/* A circle cannot be honoured: the stream's order, and no hang. */
static void test_circle(void **state)
{
    static const char *const after_a[] = {"a", NULL};
    static const char *const after_b[] = {"b", NULL};
    GByteArray *stream = make_stream("ab");
    VmloadLoader *loader;
    Device devices[2];
    Host host;

    (void)state;
    host_init(&host);
    devices[0] = (Device){&host, "a", false};
    devices[1] = (Device){&host, "b", false};
    loader = make_loader(&host, stream, VMLOAD_COMMIT_STREAMING);
    add_concurrent(loader, &devices[0], after_b);
    add_concurrent(loader, &devices[1], after_a);
    assert_true(vmload_loader_run(loader, 0, NULL));
    assert_string_equal(host.log->str, "a b ");
    vmload_loader_free(loader);
    host_clear(&host);
    g_byte_array_unref(stream);
}

static void test_parse_fails(void **state)
{
    GByteArray *stream = make_stream("ab");
    VmloadLoader *loader;
    Device devices[2];
    GError *error = NULL;
    Host host;

    (void)state;
    host_init(&host);
    devices[0] = (Device){&host, "a", true};
    devices[1] = (Device){&host, "b", false};
    loader = make_loader(&host, stream, VMLOAD_COMMIT_STREAMING);
    add_concurrent(loader, &devices[0], NULL);
    add_concurrent(loader, &devices[1], NULL);
    assert_false(vmload_loader_run(loader, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH,
                      "section 'a' instance 0");
    assert_null(strstr(host.log->str, "a "));
    /* What was parsed and not applied is gone before the load has ended. */
    assert_int_equal(host.parsed, 0);
    vmload_loader_free(loader);
    host_clear(&host);
    g_byte_array_unref(stream);
}

static void test_cancel_in_parse(void **state)
{
    GByteArray *stream = make_stream("aw");
    VmloadLoader *loader;
    Device devices[2];
    GError *error = NULL;
    Host host;

    (void)state;
    host_init(&host);
    host.cancel_in_parse = true;
    devices[0] = (Device){&host, "a", false};
    devices[1] = (Device){&host, "w", false};
    loader = make_loader(&host, stream, VMLOAD_COMMIT_ATOMIC);
    add_concurrent(loader, &devices[0], NULL);
    add_whole(loader, &devices[1]);
    assert_false(vmload_loader_run(loader, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    assert_int_equal(vmload_loader_get_state(loader),
                     VMLOAD_STATE_CANCELLED);
    assert_string_equal(host.log->str, "");
    vmload_loader_free(loader);
    host_clear(&host);
    g_byte_array_unref(stream);
}

/* The last device's parse fails: not even the first device was touched. */
static void test_atomic_parse_fails(void **state)
{
    GByteArray *stream = make_stream("wvab");
    VmloadLoader *loader;
    Device devices[4];
    GError *error = NULL;
    Host host;

    (void)state;
    host_init(&host);
    devices[0] = (Device){&host, "w", false};
    devices[1] = (Device){&host, "v", false};
    devices[2] = (Device){&host, "a", false};
    devices[3] = (Device){&host, "b", true};
    loader = make_loader(&host, stream, VMLOAD_COMMIT_ATOMIC);
    add_whole(loader, &devices[0]);
    add_whole(loader, &devices[1]);
    add_concurrent(loader, &devices[2], NULL);
    add_concurrent(loader, &devices[3], NULL);
    assert_false(vmload_loader_run(loader, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH,
                      "section 'b' instance 0");
    assert_string_equal(host.log->str, "");
    vmload_loader_free(loader);

    /* A second load into the same devices succeeds, in order. */
    devices[3].fail = false;
    loader = make_loader(&host, stream, VMLOAD_COMMIT_ATOMIC);
    add_whole(loader, &devices[0]);
    add_whole(loader, &devices[1]);
    add_concurrent(loader, &devices[2], NULL);
    add_concurrent(loader, &devices[3], NULL);
    assert_true(vmload_loader_run(loader, 0, NULL));
    assert_string_equal(host.log->str, "w v a b ");
    vmload_loader_free(loader);
    host_clear(&host);
    g_byte_array_unref(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_after),
        cmocka_unit_test(test_circle),
        cmocka_unit_test(test_parse_fails),
        cmocka_unit_test(test_cancel_in_parse),
        cmocka_unit_test(test_atomic_parse_fails),
    };

    return cmocka_run_group_tests_name("loader-concurrent", tests, NULL,
                                       NULL);
}

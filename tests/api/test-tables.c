/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables of other versions of the headers: a shorter one has NULL for what it
 * lacks; a longer one is accepted if what the library does not know is zero.
 * A table may die when the call returns. Out-structs are filled as far as the
 * caller has room.
 */
#include "api.h"

typedef struct {
    int configuration;
    int record;
    int finish;
} Calls;

static bool on_configuration(void *opaque, const VmloadConfiguration *found,
                             GError **error)
{
    (void)found;
    (void)error;
    ((Calls *)opaque)->configuration++;
    return true;
}

static void on_record(void *opaque, const VmloadRecordInfo *record)
{
    (void)record;
    ((Calls *)opaque)->record++;
}

static void on_finish(void *opaque, VmloadLoader *loader,
                      const VmloadOutcome *outcome)
{
    assert_int_equal(outcome->loaded, 1);
    ((Calls *)opaque)->finish++;
    vmload_loader_finished(loader, NULL);
}

/* Loads the smallest stream with @size bytes of @table. */
static Calls load_with(const void *table, uint32_t size)
{
    Calls calls = {0, 0, 0};
    uint8_t *copy = g_malloc(size);
    VmloadLoader *loader;
    GError *error = NULL;

    memcpy(copy, table, size);
    memcpy(copy, &size, sizeof(size));
    loader = vmload_loader_new((const VmloadHostOps *)(void *)copy, &calls,
                               NULL, &error);
    /* The caller's table is gone from here on. */
    memset(copy, 0xff, size);
    g_free(copy);
    assert_non_null(loader);
    vmload_loader_set_channel(loader, api_channel());
    assert_true(vmload_loader_run(loader, 0, &error));
    vmload_loader_free(loader);
    return calls;
}

static void test_host(void **state)
{
    struct {
        VmloadHostOps ops;
        void *surplus[2];
    } table = {
        .ops = {
            VMLOAD_HOST_OPS_INIT,
            .configuration = on_configuration,
            .record = on_record,
            .finish = on_finish,
        },
    };
    Calls calls;

    (void)state;
    calls = load_with(&table, sizeof(table.ops));
    assert_int_equal(calls.configuration, 1);
    assert_true(calls.record > 0);
    assert_int_equal(calls.finish, 1);

    calls = load_with(&table, offsetof(VmloadHostOps, record));
    assert_int_equal(calls.configuration, 1);
    assert_int_equal(calls.record, 0);
    assert_int_equal(calls.finish, 0);

    calls = load_with(&table, sizeof(table));
    assert_int_equal(calls.finish, 1);
}

static void test_sizes(void **state)
{
    static const uint32_t bad[] = {0, 1, 4, 7, 9};
    VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        ops.struct_size = bad[i];
        assert_null(vmload_loader_new(&ops, NULL, NULL, &error));
        api_assert_error(error, VMLOAD_ERROR_UNSUPPORTED, "struct_size");
    }
}

static void test_out_structs(void **state)
{
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    VmloadLoader *loader = vmload_loader_new(&ops, NULL, NULL, NULL);
    VmloadStats stats;
    VmloadPosition position;
    uint32_t half = offsetof(VmloadStats, sections);

    (void)state;
    vmload_loader_set_channel(loader, api_channel());
    assert_true(vmload_loader_run(loader, 0, NULL));

    memset(&stats, 0x5a, sizeof(stats));
    stats.struct_size = half;
    vmload_loader_get_stats(loader, &stats);
    assert_int_equal(stats.bytes_total, sizeof(api_stream));
    assert_int_equal(stats.sections, 0x5a5a5a5a5a5a5a5a);
    assert_int_equal(stats.end_ns, 0x5a5a5a5a5a5a5a5a);

    memset(&position, 0x5a, sizeof(position));
    position.struct_size = offsetof(VmloadPosition, idstr);
    vmload_loader_get_position(loader, &position);
    assert_string_equal(position.channel, "main");
    assert_int_equal(position.idstr[0], 0x5a);
    vmload_loader_free(loader);
}

static void test_versions(void **state)
{
    char *expected = g_strdup_printf("%d.%d.%d", VMLOAD_MAJOR_VERSION,
                                     VMLOAD_MINOR_VERSION,
                                     VMLOAD_MICRO_VERSION);

    (void)state;
    assert_string_equal(vmload_version(), expected);
    assert_true(VMLOAD_CHECK_VERSION(0, 1, 0));
    assert_false(VMLOAD_CHECK_VERSION(99, 0, 0));
    g_free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_out_structs),
        cmocka_unit_test(test_versions),
    };

    return cmocka_run_group_tests_name("tables", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Registered devices, the command table and the ledger. */
#include "unit.h"

#include "device/registry.h"
#include "loader/ledger.h"
#include "stream/command.h"
#include "stream-writer.h"

static bool no_load(void *opaque, VmloadReader *reader,
                    const VmloadSection *section, GError **error)
{
    (void)opaque;
    (void)reader;
    (void)section;
    (void)error;
    return true;
}

static void *no_parse(void *opaque, VmloadReader *reader,
                      const VmloadSection *section, GError **error)
{
    (void)reader;
    (void)section;
    (void)error;
    return opaque;
}

static bool no_apply(void *opaque, void *parsed, const VmloadSection *section,
                     GError **error)
{
    (void)opaque;
    (void)parsed;
    (void)section;
    (void)error;
    return true;
}

static const VmloadDeviceOps load_ops = {VMLOAD_DEVICE_OPS_INIT,
                                         .load = no_load};
static const VmloadDeviceOps apply_ops = {VMLOAD_DEVICE_OPS_INIT,
                                          .parse = no_parse,
                                          .apply = no_apply};
static const VmloadDeviceOps empty_ops = {VMLOAD_DEVICE_OPS_INIT};

static void count(void *opaque)
{
    ++*(int *)opaque;
}

static void test_add(void **state)
{
    const VmloadLockPlan apply = {.struct_size = sizeof(apply),
                                  .start = VMLOAD_LOCK_APPLY,
                                  .part = VMLOAD_LOCK_APPLY,
                                  .end = VMLOAD_LOCK_APPLY,
                                  .full = VMLOAD_LOCK_APPLY};
    VmloadRegistry *registry = vmload_registry_new();
    const VmloadRegistered *device;
    GError *error = NULL;
    int destroyed = 0;

    (void)state;
    assert_true(vmload_registry_add(registry, "cpu", 1, 2, 3, NULL, &load_ops,
                                    &destroyed, count, &error));
    assert_true(vmload_registry_add(registry, "cpu", 2, 0, 0, &apply,
                                    &apply_ops, &destroyed, count, &error));
    assert_null(vmload_registry_find(registry, "cpu", 0));
    assert_null(vmload_registry_find(registry, "rtc", 1));
    device = vmload_registry_find(registry, "cpu", 1);
    assert_non_null(device);
    assert_ptr_equal(device, vmload_registry_get(registry, 0));
    assert_int_equal(device->min_version, 2);
    assert_int_equal(device->max_version, 3);
    assert_int_equal(vmload_lock_plan_get(&device->plan,
                                          VMLOAD_RECORD_PART),
                     VMLOAD_LOCK_WHOLE);
    assert_null(vmload_registry_get(registry, 2));
    assert_int_equal(destroyed, 0);
    vmload_registry_free(registry);
    assert_int_equal(destroyed, 2);
    vmload_registry_free(NULL);
}

/* Each is refused, and its destroy notify is called once. */
static void test_refused(void **state)
{
    static char name[257];
    const VmloadLockPlan odd = {.struct_size = sizeof(odd), .part = 3};
    const VmloadLockPlan mixed = {.struct_size = sizeof(mixed),
                                  .full = VMLOAD_LOCK_APPLY};
    const VmloadLockPlan sizeless = {.struct_size = 0};
    const struct {
        const char *name;
        const VmloadLockPlan *plan;
        const VmloadDeviceOps *ops;
        VmloadError code;
        const char *part;
    } cases[] = {
        {"", NULL, &load_ops, VMLOAD_ERROR_FAILED, "found 0"},
        {name, NULL, &load_ops, VMLOAD_ERROR_FAILED, "found 256"},
        {"cpu", NULL, &load_ops, VMLOAD_ERROR_FAILED, "registered already"},
        {"rtc", NULL, &empty_ops, VMLOAD_ERROR_FAILED, "is missing"},
        {"rtc", NULL, &apply_ops, VMLOAD_ERROR_FAILED, "is missing"},
        {"rtc", &mixed, &load_ops, VMLOAD_ERROR_FAILED, "is missing"},
        {"rtc", &odd, &load_ops, VMLOAD_ERROR_FAILED, "a class"},
        {"rtc", &sizeless, &load_ops, VMLOAD_ERROR_UNSUPPORTED,
         "VmloadLockPlan"},
    };
    VmloadRegistry *registry = vmload_registry_new();
    GError *error = NULL;
    size_t i;

    (void)state;
    memset(name, 'x', 256);
    assert_true(vmload_registry_add(registry, "cpu", 0, 0, 0, NULL, &load_ops,
                                    NULL, NULL, &error));
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        int destroyed = 0;

        assert_false(vmload_registry_add(registry, cases[i].name, 0, 0, 0,
                                         cases[i].plan, cases[i].ops,
                                         &destroyed, count, &error));
        assert_unit_error(&error, cases[i].code, cases[i].part);
        assert_int_equal(destroyed, 1);
    }
    assert_null(vmload_registry_get(registry, 1));
    vmload_registry_free(registry);
}

static void test_commands(void **state)
{
    uint32_t length;
    uint32_t i;

    (void)state;
    assert_null(vmload_command_name(0));
    assert_null(vmload_command_name(12));
    assert_string_equal(vmload_command_name(1), "OPEN_RETURN_PATH");
    assert_string_equal(vmload_command_name(11), "SWITCHOVER_START");
    for (i = 1; i < 12; i++) {
        assert_non_null(vmload_command_name(i));
        /* Some length is good, none of the longest but for discards. */
        for (length = 0; length < 300 &&
                         !vmload_command_length_is_valid(i, length);
             length++) {
            continue;
        }
        assert_true(length < 300);
        assert_int_equal(vmload_command_length_is_valid(i, 65535), i == 6);
    }
    assert_true(vmload_command_length_is_valid(3, 0));
    assert_true(vmload_command_length_is_valid(3, 16));
    assert_false(vmload_command_length_is_valid(3, 8));
    assert_false(vmload_command_length_is_valid(0, 0));
}

static void test_command_cut(void **state)
{
    GByteArray *out = sw_new();
    VmloadCommand command = {.offset = 77};
    guint n;

    (void)state;
    sw_ping(out, 1);
    for (n = 0; n < 4; n++) {
        VmloadReader *reader = vmload_reader_new_memory(out->data + 1, n, 1);
        GError *error = NULL;

        assert_false(vmload_command_read(reader, 0, &command, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x");
        assert_int_equal(command.offset, 77);
        vmload_reader_free(reader);
    }
    g_byte_array_unref(out);
}

static void test_ledger(void **state)
{
    const VmloadCost cost = {1, 2, 3, 4};
    VmloadSection cpu = {.idstr = "cpu", .version_id = 5,
                         .payload_length = 10, .has_footer = 1};
    VmloadSection rtc = {.idstr = "rtc", .instance_id = 1,
                         .payload_length = 7};
    VmloadLedger *ledger = vmload_ledger_new();
    VmloadLedgerEntry *entries;
    uint64_t n;

    (void)state;
    entries = vmload_ledger_snapshot(ledger, &n);
    assert_int_equal(n, 0);
    g_free(entries);
    vmload_ledger_book(ledger, &cpu, &cost);
    vmload_ledger_book(ledger, &rtc, &cost);
    cpu.version_id = 6;
    vmload_ledger_book(ledger, &cpu, &cost);
    vmload_ledger_add(ledger, &rtc, &cost);
    cpu.instance_id = 1;
    vmload_ledger_book(ledger, &cpu, &cost);
    entries = vmload_ledger_snapshot(ledger, &n);
    assert_int_equal(n, 3);
    assert_string_equal(entries[0].name, "cpu");
    assert_int_equal(entries[0].records, 2);
    assert_int_equal(entries[0].bytes, 20);
    assert_int_equal(entries[0].version_id, 6);
    assert_int_equal(entries[0].without_footer, 0);
    assert_int_equal(entries[0].staging_ns, 2);
    assert_int_equal(entries[0].callback_ns, 8);
    assert_string_equal(entries[1].name, "rtc");
    assert_int_equal(entries[1].records, 1);
    assert_int_equal(entries[1].bytes, 7);
    assert_int_equal(entries[1].without_footer, 1);
    assert_int_equal(entries[1].lock_wait_ns, 4);
    assert_int_equal(entries[1].lock_held_ns, 6);
    assert_int_equal(entries[2].instance_id, 1);
    assert_int_equal(entries[2].struct_size, sizeof(entries[2]));
    g_free(entries);
    vmload_ledger_free(ledger);
    vmload_ledger_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_command_cut),
        cmocka_unit_test(test_ledger),
    };

    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}

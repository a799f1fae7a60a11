/* SPDX-License-Identifier: BSD-3-Clause */
/* Registered devices. */
#include "unit.h"

#include "device/registry.h"

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
    const VmloadLockPlan odd = {.struct_size = sizeof(odd), .part = 4};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}

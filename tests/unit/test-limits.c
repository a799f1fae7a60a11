/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include <vmload/limits.h>

static void test_defaults(void **state)
{
    VmloadLimits limits;

    (void)state;
    vmload_limits_init(&limits);
    assert_int_equal(limits.struct_size, sizeof(limits));
    assert_int_equal(limits.nesting, 32);
    assert_int_equal(limits.section_bytes, 256u << 20);
    assert_int_equal(limits.ram_bytes, (uint64_t)1 << 52);
    assert_int_equal(limits.configuration_names, 1024);
}

static void test_set(void **state)
{
    VmloadLimits limits;
    VmloadLimits before;
    GError *error = NULL;

    (void)state;
    vmload_limits_init(&limits);
    assert_true(vmload_limits_set(&limits, "section-bytes", 7, &error));
    assert_int_equal(limits.section_bytes, 7);
    assert_true(vmload_limits_set(&limits, "ram_blocks", 9, &error));
    assert_int_equal(limits.ram_blocks, 9);
    assert_true(vmload_limits_set(&limits, "nesting", UINT32_MAX, &error));
    assert_int_equal(limits.nesting, UINT32_MAX);

    before = limits;
    assert_false(vmload_limits_set(&limits, "nesting", (uint64_t)1 << 32,
                                   &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "nesting");
    assert_false(vmload_limits_set(&limits, "sections", 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "sections");
    assert_false(vmload_limits_set(&limits, "section", 1, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "'section'");
    assert_memory_equal(&limits, &before, sizeof(limits));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_set),
    };

    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}

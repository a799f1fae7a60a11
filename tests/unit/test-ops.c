/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "host/ops.h"

typedef struct {
    uint32_t struct_size;
    uint32_t number;
    void *first;
    void *second;
} Known;

typedef struct {
    uint32_t struct_size;
    uint32_t number;
    void *first;
} Older;

typedef struct {
    Known known;
    void *third;
    void *fourth;
} Newer;

static int here;

static void test_same(void **state)
{
    const Known src = {sizeof(src), 5, &here, NULL};
    Known dest;
    GError *error = NULL;

    (void)state;
    memset(&dest, 0xaa, sizeof(dest));
    assert_true(vmload_ops_copy(&dest, sizeof(dest), &src, "Known", &error));
    assert_memory_equal(&dest, &src, sizeof(src));
}

static void test_shorter(void **state)
{
    const Older src = {sizeof(src), 5, &here};
    Known dest;
    GError *error = NULL;

    (void)state;
    memset(&dest, 0xaa, sizeof(dest));
    assert_true(vmload_ops_copy(&dest, sizeof(dest), &src, "Known", &error));
    assert_int_equal(dest.struct_size, sizeof(dest));
    assert_int_equal(dest.number, 5);
    assert_ptr_equal(dest.first, &here);
    assert_null(dest.second);
}

static void test_longer(void **state)
{
    Newer src = {{sizeof(src), 5, &here, &here}, NULL, NULL};
    Known before;
    Known dest;
    GError *error = NULL;

    (void)state;
    memset(&dest, 0xaa, sizeof(dest));
    before = dest;
    assert_true(vmload_ops_copy(&dest, sizeof(dest), &src, "Known", &error));
    assert_int_equal(dest.struct_size, sizeof(dest));
    assert_ptr_equal(dest.second, &here);

    dest = before;
    src.fourth = &here;
    assert_false(vmload_ops_copy(&dest, sizeof(dest), &src, "Known", &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "Known: expected ");
    assert_memory_equal(&dest, &before, sizeof(before));
}

static void test_bad_size(void **state)
{
    const uint32_t sizes[] = {0, 1, sizeof(Known) - 1, sizeof(Known) + 2};
    Known src = {0, 5, &here, &here};
    Known dest;
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        src.struct_size = sizes[i];
        dest.number = 9;
        assert_false(vmload_ops_copy(&dest, sizeof(dest), &src, "Known",
                                     &error));
        assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "struct_size");
        assert_int_equal(dest.number, 9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_shorter),
        cmocka_unit_test(test_longer),
        cmocka_unit_test(test_bad_size),
    };

    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}

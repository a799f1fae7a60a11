/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include <vmload/reader.h>

static const uint8_t numbers[] = {
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
    0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x03,
    'r',  'a',  'm',  0xff,
};

static void test_numbers(void **state)
{
    VmloadReader *reader =
        vmload_reader_new_memory(numbers, sizeof(numbers), 100);
    GError *error = NULL;
    char name[VMLOAD_STR8_SIZE];
    uint32_t length;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    (void)state;
    assert_true(vmload_reader_get_u8(reader, &u8, &error));
    assert_int_equal(u8, 0x01);
    assert_true(vmload_reader_get_be16(reader, &u16, &error));
    assert_int_equal(u16, 0x0203);
    assert_true(vmload_reader_get_be32(reader, &u32, &error));
    assert_int_equal(u32, 0x04050607);
    assert_true(vmload_reader_get_be64(reader, &u64, &error));
    assert_int_equal(u64, 0x08090a0b0c0d0e0fu);
    assert_int_equal(vmload_reader_get_offset(reader), 115);
    assert_true(vmload_reader_get_str8(reader, name, &length, &error));
    assert_string_equal(name, "ram");
    assert_int_equal(length, 3);

    /* A short read fails, touches nothing, and sticks. */
    u32 = 77;
    assert_false(vmload_reader_get_be32(reader, &u32, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x77");
    assert_int_equal(u32, 77);
    assert_false(vmload_reader_get_u8(reader, &u8, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x77");
    vmload_reader_free(reader);
}

static void test_peek_and_skip(void **state)
{
    VmloadReader *reader =
        vmload_reader_new_memory(numbers, sizeof(numbers), 0);
    GError *error = NULL;
    const uint8_t *data;
    uint64_t available;

    (void)state;
    assert_true(vmload_reader_skip(reader, 18, &error));
    assert_true(vmload_reader_peek(reader, 10, &data, &available, &error));
    assert_int_equal(available, 2);
    assert_int_equal(data[1], 0xff);
    assert_int_equal(vmload_reader_get_offset(reader), 18);
    assert_false(vmload_reader_skip(reader, 3, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x");
    vmload_reader_free(reader);
}

static void test_bad_names(void **state)
{
    static const uint8_t empty[] = {0, 'x'};
    static const uint8_t nul[] = {3, 'a', 0, 'b'};
    static const uint8_t cut[] = {4, 'a', 'b'};
    const struct {
        const uint8_t *data;
        uint64_t length;
        VmloadError code;
    } cases[] = {
        {empty, sizeof(empty), VMLOAD_ERROR_MALFORMED},
        {nul, sizeof(nul), VMLOAD_ERROR_MALFORMED},
        {cut, sizeof(cut), VMLOAD_ERROR_TRUNCATED},
        {cut, 0, VMLOAD_ERROR_TRUNCATED},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadReader *reader =
            vmload_reader_new_memory(cases[i].data, cases[i].length, 0);
        char name[VMLOAD_STR8_SIZE] = "untouched";
        GError *error = NULL;

        assert_false(vmload_reader_get_str8(reader, name, NULL, &error));
        assert_unit_error(&error, cases[i].code, "offset 0x0");
        assert_string_equal(name, "untouched");
        vmload_reader_free(reader);
    }
}

static void test_host_error_sticks(void **state)
{
    VmloadReader *reader =
        vmload_reader_new_memory(numbers, sizeof(numbers), 0x10);
    GError *error = NULL;
    uint8_t u8;

    (void)state;
    assert_false(vmload_reader_error(reader, &error, VMLOAD_ERROR_MISMATCH,
                                     "expected %d, found %d", 1, 2));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH,
                      "offset 0x10: expected 1, found 2");
    assert_false(vmload_reader_get_u8(reader, &u8, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH, "expected 1, found 2");
    vmload_reader_free(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_peek_and_skip),
        cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_host_error_sticks),
    };

    return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}

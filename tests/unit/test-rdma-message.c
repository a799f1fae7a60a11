/* SPDX-License-Identifier: BSD-3-Clause */
/* Control messages, against bytes written by hand. */
#include "unit.h"

#include "channel/rdma/message.h"

/* COMPRESS of 1 MiB at 1 MiB, as QEMU sends it. */
static const uint8_t compress[] = {
    0, 0, 0, 24, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0,
    0, 0, 0, 0,  0, 0, 0, 3, 0, 0, 0, 0, 0, 16, 0, 0,
    0, 0, 0, 0,  0, 16, 0, 0,
};

static void test_compress(void **state)
{
    VmloadRdmaMessage message;
    VmloadRdmaRange range;
    uint8_t filled[sizeof(compress)];
    GError *error = NULL;

    (void)state;
    assert_true(vmload_rdma_message_parse(compress, sizeof(compress),
                                          &message, &error));
    assert_int_equal(message.type, VMLOAD_RDMA_COMPRESS);
    assert_int_equal(message.length, 24);
    assert_true(vmload_rdma_get_range(&message, 0, &range, &error));
    assert_int_equal(range.block, 3);
    assert_int_equal(range.address, 0x100000);
    assert_int_equal(range.length, 0x100000);
    memcpy(filled, compress, sizeof(filled));
    filled[19] = 0xaa;
    assert_true(vmload_rdma_message_parse(filled, sizeof(filled), &message,
                                          &error));
    assert_false(vmload_rdma_get_range(&message, 0, &range, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "found one of 0xaa");
}

static void test_written(void **state)
{
    static const uint8_t ready[] = {0, 0, 0, 0, 0, 0, 0, 2,
                                    0, 0, 0, 1, 0, 0, 0, 0};
    static const uint8_t result[] = {0, 0, 0, 16, 0, 0, 0, 8, 0, 0, 0, 1,
                                     0, 0, 0, 0,  0, 0, 0x16, 6, 0, 0, 0, 0,
                                     0, 0, 0x7f, 0x64, 0x63, 0x60, 0, 0};
    static const uint8_t block[] = {
        0, 0, 0x7f, 0x1e, 0xc2, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0,
        0, 0, 0,    0,    0,    0x80, 0, 0, 0, 0, 0x13, 3, 0, 0, 0, 0};
    const VmloadRdmaBlock from = {0x7f1ec2c00000, 0x100000, 0x800000, 0x1303};
    uint8_t out[VMLOAD_RDMA_HEADER + VMLOAD_RDMA_BLOCK_SIZE];

    (void)state;
    memset(out, 0xff, sizeof(out));
    vmload_rdma_put_header(out, VMLOAD_RDMA_READY, 0, 1);
    assert_memory_equal(out, ready, sizeof(ready));
    memset(out, 0xff, sizeof(out));
    vmload_rdma_put_header(out, VMLOAD_RDMA_REGISTER_RESULT, 16, 1);
    vmload_rdma_put_result(out, 0, 0x1606, 0x7f6463600000);
    assert_memory_equal(out, result, sizeof(result));
    memset(out, 0xff, sizeof(out));
    vmload_rdma_put_block(out, 0, &from);
    assert_memory_equal(out + VMLOAD_RDMA_HEADER, block, sizeof(block));
}

static const struct {
    uint32_t received;
    uint32_t length;
    uint32_t type;
    uint32_t repeat;
    const char *part; /* NULL: it is good */
} cases[] = {
    {16, 0, 1, 1, NULL},
    {16, 0, 2, 0xffffffff, NULL},
    {17, 1, 3, 0xffffffff, NULL},
    {16, 0, 3, 0, NULL},
    {16 + 48, 48, 7, 2, NULL},
    {0, 0, 2, 1, "found 0"},
    {15, 0, 2, 1, "found 15"},
    {512 * 1024 + 1, 512 * 1024 - 15, 3, 1, "found 524289"},
    {16, 0, 0, 1, "type 1 to 11, found 0"},
    {16, 0, 12, 1, "found 12"},
    {16, 0, 0xffffffff, 1, "found 4294967295"},
    {17, 0, 3, 1, "by its header, found 1"},
    {16, 1, 3, 1, "expected 1 bytes"},
    {16, 0xfffffff0, 3, 1, "expected 4294967280 bytes"},
    {17, 1, 9, 1, "expected no data, found 1"},
    {16 + 24, 24, 7, 0, "found 0 in 24"},
    {16 + 24, 24, 7, 2, "found 2 in 24"},
    {16 + 24, 24, 7, 0x80000001, "found 2147483649"},
    {16 + 25, 25, 7, 1, "found 1 in 25"},
    {16 + 23, 23, 6, 1, "found 1 in 23"},
    {16 + 4097 * 24, 4097 * 24, 7, 4097, "found 4097"},
};

static void test_parse(void **state)
{
    uint8_t *buffer = g_malloc0(VMLOAD_RDMA_MESSAGE_MAX + 1);
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadRdmaMessage message = {.repeat = 4711};
        GError *error = NULL;
        bool ok;

        vmload_rdma_put_header(buffer, (VmloadRdmaType)cases[i].type,
                               cases[i].length, cases[i].repeat);
        ok = vmload_rdma_message_parse(buffer, cases[i].received, &message,
                                       &error);
        assert_int_equal(ok, cases[i].part == NULL);
        if (ok) {
            assert_int_equal(message.length, cases[i].length);
            assert_int_equal(message.repeat, cases[i].repeat);
        } else {
            assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, cases[i].part);
            assert_int_equal(message.repeat, 4711);
        }
    }
    g_free(buffer);
}

static void test_private(void **state)
{
    uint8_t data[56] = {0, 0, 0, 1, 0, 0, 0, 3};
    GError *error = NULL;
    uint32_t flags = 0;

    (void)state;
    assert_true(vmload_rdma_private_parse(data, 56, &flags, &error));
    assert_int_equal(flags, 3);
    assert_false(vmload_rdma_private_parse(data, 7, &flags, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH, "found 7");
    assert_false(vmload_rdma_private_parse(NULL, 56, &flags, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH, "found 0");
    data[3] = 0;
    assert_false(vmload_rdma_private_parse(data, 8, &flags, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH, "version 1, found 0");
    vmload_rdma_private_put(data, 1);
    assert_int_equal(data[3], 1);
    assert_int_equal(data[7], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compress),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_private),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Compressed pages (RAM format, section 5.4): each a zlib stream, exactly. */
#include "unit.h"

#include "ram/private.h"
#include "stream-writer.h"

#ifdef VMLOAD_HAVE_ZLIB

#include <zlib.h>

#define PAGE 4096

static uint8_t content[2 * PAGE];

static void fill_content(void)
{
    uint32_t seed = 1;
    size_t i;

    for (i = 0; i < sizeof(content); i++) {
        seed = seed * 1103515245 + 12345;
        /* Some of it compresses, some does not. */
        content[i] = i % 512 < 256 ? (uint8_t)(seed >> 16) : 0x55;
    }
}

/* What compress() makes of @length bytes of the content. */
static GByteArray *packed(uLong length)
{
    uLongf n = compressBound(length);
    GByteArray *out = sw_new();

    g_byte_array_set_size(out, (guint)n);
    assert_int_equal(compress(out->data, &n, content, length), Z_OK);
    g_byte_array_set_size(out, (guint)n);
    return out;
}

/* Length word and bytes; *@left: what the reader has not taken. */
static bool inflate_one(VmloadRam *ram, const GByteArray *data,
                        uint32_t length, uint8_t *page, uint64_t *left,
                        GError **error)
{
    GByteArray *out = sw_new();
    VmloadReader *reader;
    bool ok;

    sw_be32(out, length);
    sw_bytes(out, data->data, data->len);
    reader = vmload_reader_new_memory(out->data, out->len, 0);
    ok = vmload_ram_inflate(ram, reader, page, error);
    *left = out->len - vmload_reader_get_offset(reader);
    vmload_reader_free(reader);
    g_byte_array_unref(out);
    return ok;
}

static void test_good(void **state)
{
    VmloadRam *ram = vmload_ram_new(NULL);
    GByteArray *data = packed(PAGE);
    uint8_t page[PAGE + 1];
    GError *error = NULL;
    uint32_t length = data->len;
    uint64_t left;
    int i;

    (void)state;
    /* What stands behind the page is not taken. */
    sw_fill(data, 0xee, 3);
    for (i = 0; i < 2; i++) {
        memset(page, 0xcc, sizeof(page));
        if (!inflate_one(ram, data, length, page, &left, &error)) {
            fail_msg("%s", error->message);
        }
        assert_memory_equal(page, content, PAGE);
        assert_int_equal(page[PAGE], 0xcc);
        assert_int_equal(left, 3);
    }
    g_byte_array_unref(data);
    vmload_ram_free(ram);
}

/* As long as a compressed page of this size can be, and one more. */
static void test_bound(void **state)
{
    VmloadRam *ram = vmload_ram_new(NULL);
    GByteArray *data = sw_new();
    uint32_t bound = (uint32_t)compressBound(PAGE);
    uint8_t page[PAGE];
    GError *error = NULL;
    uint64_t left;

    (void)state;
    sw_fill(data, 0, bound + 1);
    assert_false(inflate_one(ram, data, bound, page, &left, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "one zlib stream");
    assert_int_equal(left, 1);
    assert_false(inflate_one(ram, data, bound + 1, page, &left, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "compressed bytes");
    assert_int_equal(left, bound + 1);
    assert_false(inflate_one(ram, data, UINT32_MAX, page, &left, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "found 4294967295");
    assert_false(inflate_one(ram, data, 0, page, &left, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                      "compressed bytes, found 0");
    assert_int_equal(left, bound + 1);
    g_byte_array_unref(data);
    vmload_ram_free(ram);
}

/* Cut at each byte: the stream's end, or the end within the length. */
static void test_cut(void **state)
{
    VmloadRam *ram = vmload_ram_new(NULL);
    GByteArray *data = packed(PAGE);
    uint8_t page[PAGE];
    uint32_t length = data->len;
    uint64_t left;
    guint n;

    (void)state;
    for (n = length - 1; n > 0; n--) {
        GError *error = NULL;

        g_byte_array_set_size(data, n);
        assert_false(inflate_one(ram, data, length, page, &left, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x");
        assert_false(inflate_one(ram, data, n, page, &left, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "one zlib stream");
    }
    g_byte_array_unref(data);
    vmload_ram_free(ram);
}

/* Not one page, or not one stream, or with a wrong sum. */
static void test_wrong(void **state)
{
    static const struct {
        uLong length;
        guint more; /* bytes behind the stream, counted as its own */
        guint flip; /* this byte from the end is another; 0: none */
    } cases[] = {
        {PAGE, 0, 1},     {PAGE, 1, 0}, {PAGE - 1, 0, 0}, {PAGE + 1, 0, 0},
        {2 * PAGE, 0, 0}, {0, 0, 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadRam *ram = vmload_ram_new(NULL);
        GByteArray *data = packed(cases[i].length);
        uint8_t page[PAGE + 1];
        GError *error = NULL;
        uint64_t left;

        page[PAGE] = 0xcc;
        sw_fill(data, 0, cases[i].more);
        if (cases[i].flip != 0) {
            data->data[data->len - cases[i].flip] ^= 1;
        }
        assert_false(
            inflate_one(ram, data, data->len, page, &left, &error));
        assert_non_null(error);
        if (data->len > compressBound(PAGE)) {
            assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                              "compressed bytes");
        } else {
            assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                              "one zlib stream of a page");
        }
        assert_int_equal(page[PAGE], 0xcc);
        g_byte_array_unref(data);
        vmload_ram_free(ram);
    }
}

/* The target's page size counts. */
static void test_page_size(void **state)
{
    VmloadRam *ram = vmload_ram_new(NULL);
    GByteArray *data = packed(2 * PAGE);
    uint8_t page[2 * PAGE];
    GError *error = NULL;
    uint64_t left;

    (void)state;
    vmload_ram_set_page_bits(ram, 13);
    assert_true(inflate_one(ram, data, data->len, page, &left, &error));
    assert_memory_equal(page, content, sizeof(page));
    g_byte_array_unref(data);
    vmload_ram_free(ram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),  cmocka_unit_test(test_bound),
        cmocka_unit_test(test_cut),   cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_page_size),
    };

    fill_content();
    return cmocka_run_group_tests_name("ram-compress", tests, NULL, NULL);
}

#else

/* A build without zlib says so, before it reads anything. */
static void test_refused(void **state)
{
    static const uint8_t bytes[] = {0, 0, 0, 1, 0};
    VmloadReader *reader = vmload_reader_new_memory(bytes, sizeof(bytes), 0);
    VmloadRam *ram = vmload_ram_new(NULL);
    GError *error = NULL;
    uint8_t page[1] = {0};

    (void)state;
    assert_false(vmload_ram_inflate(ram, reader, page, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "zlib");
    assert_int_equal(vmload_reader_get_offset(reader), 0);
    vmload_reader_free(reader);
    vmload_ram_free(ram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused)};

    return cmocka_run_group_tests_name("ram-compress", tests, NULL, NULL);
}

#endif

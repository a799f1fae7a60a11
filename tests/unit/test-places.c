/* SPDX-License-Identifier: BSD-3-Clause */
/* A plain page stream in a file: several threads do what one does. */
#include "file-load.h"

/* Pages, some of them zero; @again: and others that came before. */
static void put_pages(GByteArray *out, uint32_t seed, bool again)
{
    uint32_t value = seed;
    uint32_t page;

    for (page = 0; page < PAGES; page++) {
        uint64_t at = page;

        value = value * 1664525u + 1013904223u;
        if (again && (value >> 20) % 5 == 0) {
            at = (value >> 8) % (page + 1);
        }
        if (page > 0 && (value >> 28) == 0) {
            sw_ram_zero(out, NULL, at * P, 0);
        } else {
            put_page(out, page == 0, at, (uint8_t)(value >> 24));
        }
    }
}

static GByteArray *new_stream(uint32_t seed, bool again)
{
    GByteArray *out = sw_new();

    sw_ram_mem_size(out, PAGES * P);
    sw_ram_block(out, "one", PAGES * P);
    put_pages(out, seed, again);
    return out;
}

static void test_same(void **state)
{
    uint32_t i;

    (void)state;
    for (i = 0; i < 6; i++) {
        GByteArray *out = new_stream(i, i % 2 != 0);

        pools = 0;
        sw_ram_eos(out);
        compare(out, LOAD_FILE, i % 3 == 0 ? 0 : VMLOAD_RAM_KNOWN_ZERO, false);
        assert_true(pools > 0);
        g_byte_array_unref(out);
    }
}

/* A second round begins within the first one's chunks. */
static void test_rounds(void **state)
{
    GByteArray *out = new_stream(7, false);

    (void)state;
    put_pages(out, 8, true);
    put_pages(out, 9, false);
    sw_ram_eos(out);
    compare(out, LOAD_FILE, VMLOAD_RAM_KNOWN_ZERO, false);
    g_byte_array_unref(out);
}

static void test_cut(void **state)
{
    GByteArray *out = new_stream(3, true);
    uint32_t cut;

    (void)state;
    for (cut = 0; cut < 40; cut++) {
        g_byte_array_set_size(out, out->len - 1 - cut * 2311);
        compare(out, LOAD_FILE, 0, true);
    }
    g_byte_array_unref(out);
}

/* A wrong record, at places that no chunk begins at. */
static void test_wrong(void **state)
{
    static const uint64_t words[] = {
        0x20, 0x01, (uint64_t)PAGES * P + 0x28, UINT64_MAX, 0x80, 0x60, 0x22,
    };
    uint32_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(words); i++) {
        GByteArray *out = new_stream(i, true);

        sw_be64(out, words[i]);
        sw_fill(out, 0xa5, 300000 + i * 7);
        compare(out, LOAD_FILE, 0, true);
        g_byte_array_unref(out);
    }
}

static void test_cancel(void **state)
{
    GByteArray *out = new_stream(1, false);
    Load load;

    (void)state;
    sw_ram_eos(out);
    load_run(&load, out, LOAD_FILE, 0, true);
    assert_non_null(load.error);
    load_clear(&load);
    g_byte_array_unref(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),   cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_cut),    cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

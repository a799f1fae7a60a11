/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages that are guessed: right, wrong, or right for a while. */
#include "file-load.h"

/* Pages after which a guess is made: half a MiB, and some. */
#define WORTH 320u

static GByteArray *begin_stream(void)
{
    GByteArray *out = sw_new();

    sw_ram_mem_size(out, PAGES * P);
    sw_ram_block(out, "one", PAGES * P);
    return out;
}

static void put_straight(GByteArray *out, uint32_t from, uint32_t to)
{
    uint32_t page;

    for (page = from; page < to; page++) {
        put_page(out, page == 0, page, (uint8_t)(1 + page % 251));
    }
}

typedef void (*Break)(GByteArray *out, uint32_t page);

static void break_zero(GByteArray *out, uint32_t page)
{
    sw_ram_zero(out, NULL, (uint64_t)page * P, 0);
}

static void break_gap(GByteArray *out, uint32_t page)
{
    put_page(out, false, MIN(page + 1u, PAGES - 1), 0x77);
}

static void break_name(GByteArray *out, uint32_t page)
{
    put_page(out, true, page, 0x78);
}

static void break_again(GByteArray *out, uint32_t page)
{
    put_page(out, false, page / 2, 0x79);
}

static void break_twice(GByteArray *out, uint32_t page)
{
    put_page(out, false, page - 1, 0x7a);
}

static void break_section(GByteArray *out, uint32_t page)
{
    (void)page;
    sw_ram_eos(out);
}


/* Pages that a guess has loaded are pages like others. */
static void test_right(void **state)
{
    static const uint32_t shifts[] = {0, 1, 8, P};
    GByteArray *out = begin_stream();
    size_t i;

    (void)state;
    put_straight(out, 0, PAGES);
    sw_ram_eos(out);
    for (i = 0; i < G_N_ELEMENTS(shifts); i++) {
        shift = shifts[i];
        pools = 0;
        compare(out, LOAD_FILE, VMLOAD_RAM_KNOWN_ZERO, false);
        assert_int_equal(pools, 1);
        compare(out, LOAD_FILE, 0, false);
    }
    shift = 0;
    g_byte_array_unref(out);
}

/* What comes behind a wrong guess must not be seen before its time. */
static void test_wrong(void **state)
{
    static const Break breaks[] = {break_zero,  break_gap,   break_name,
                                   break_again, break_twice, break_section};
    static const uint32_t places[] = {
        1, 511, 512, 700, 1024, PAGES - 1,
    };
    size_t i;
    size_t j;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(breaks); i++) {
        for (j = 0; j < G_N_ELEMENTS(places); j++) {
            GByteArray *out = begin_stream();

            put_straight(out, 0, places[j]);
            breaks[i](out, places[j]);
            if (breaks[i] != break_section) {
                /* Of the same length: what is behind it looks right. */
                put_straight(out, places[j] + 1, PAGES);
                sw_ram_eos(out);
            }
            compare(out, LOAD_FILE, VMLOAD_RAM_KNOWN_ZERO, false);
            g_byte_array_unref(out);
        }
    }
}

/* Pages behind the guess that have come already must not be read to. */
static void test_came_before(void **state)
{
    uint32_t wrong;

    (void)state;
    /* Some of them are in one piece with where the guess goes wrong. */
    for (wrong = WORTH + 10; wrong < 1000; wrong += 83) {
        GByteArray *out = begin_stream();
        Load load;

        put_page(out, true, PAGES - 300, 0x51);
        put_page(out, false, wrong + 3, 0x52);
        put_page(out, false, 0, 0x53);
        put_straight(out, 1, wrong);
        sw_ram_zero(out, NULL, (uint64_t)wrong * P, 0);
        sw_ram_eos(out);
        /* Not read in this section, though a guess went there. */
        sw_fill(out, 0xee, 8u << 20);
        load_run(&load, out, LOAD_FILE, VMLOAD_RAM_KNOWN_ZERO, false);
        assert_null(load.error);
        assert_int_equal(load.memory[(uint64_t)(PAGES - 300) * P], 0x51);
        assert_int_equal(load.memory[(uint64_t)(wrong + 3) * P], 0x52);
        assert_int_equal(load.memory[(uint64_t)(wrong - 1) * P],
                         1 + (wrong - 1) % 251);
        assert_int_equal(load.memory[(uint64_t)(wrong + 1) * P], 0);
        load_clear(&load);
        g_byte_array_unref(out);
    }
}

/* A second round has no pages to guess, and one in another order. */
static void test_rounds(void **state)
{
    GByteArray *out = begin_stream();
    uint32_t page;

    (void)state;
    put_straight(out, 0, PAGES);
    for (page = 0; page < PAGES; page++) {
        put_page(out, false, page, (uint8_t)(0x80 + page % 7));
    }
    for (page = PAGES; page > 0; page--) {
        put_page(out, false, page - 1, (uint8_t)(0x90 + page % 7));
    }
    sw_ram_eos(out);
    compare(out, LOAD_FILE, VMLOAD_RAM_KNOWN_ZERO, false);
    g_byte_array_unref(out);
}

/* Cut in headers and in pages, near the ends of pieces. */
static void test_cut(void **state)
{
    static const uint32_t cuts[] = {1, 7, 8, 9, 4000, P + 7, P + 8, P + 9};
    size_t i;
    uint32_t n;

    (void)state;
    for (n = WORTH; n < WORTH + 1200; n += 199) {
        for (i = 0; i < G_N_ELEMENTS(cuts); i++) {
            GByteArray *out = begin_stream();

            put_straight(out, 0, n);
            g_byte_array_set_size(out, out->len - cuts[i]);
            compare(out, LOAD_FILE, VMLOAD_RAM_KNOWN_ZERO, true);
            g_byte_array_unref(out);
        }
    }
}

static void test_cancel(void **state)
{
    GByteArray *out = begin_stream();
    Load load;

    (void)state;
    put_straight(out, 0, PAGES);
    load_run(&load, out, LOAD_FILE, VMLOAD_RAM_KNOWN_ZERO, true);
    assert_non_null(load.error);
    load_clear(&load);
    g_byte_array_unref(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),       cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_came_before), cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_cut),         cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer against bytes that real sources sent. */
#include "unit.h"

#include "stream-writer.h"

/* A stream of `-M none` (stream format, section 14), without its vmdesc. */
static const uint8_t empty_machine[] = {
    0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3, 7, 0, 0, 0, 4, 'n', 'o', 'n', 'e',
    1, 0, 0, 0, 1, 3, 'r', 'a', 'm', 0, 0, 0, 0, 0, 0, 0, 4,
    0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x7e, 0, 0, 0, 1,
    8, 0, 0x0b, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x10,
    0x7e, 0, 0, 0, 1, 4, 0, 0, 0, 3, 2, 'd', 'v', 0, 0, 0, 1, 0, 0, 0, 2,
    0xaa, 0x7e, 0, 0, 0, 3, 0, 6, 0, 0, 0, 2, '{', '}',
};

static void test_empty_machine(void **state)
{
    GByteArray *out = sw_new();

    (void)state;
    sw_header(out);
    sw_configuration(out, "none");
    sw_ram_start(out, 1, 0);
    sw_ram_eos(out);
    sw_footer(out, 1);
    sw_command(out, SW_CMD_SWITCHOVER_START, NULL, 0);
    sw_section_end(out, 1);
    sw_ram_eos(out);
    sw_footer(out, 1);
    sw_device(out, 3, "dv", 1, 2, "\xaa", 1);
    sw_eof(out);
    sw_vmdesc(out, "{}");
    assert_int_equal(out->len, sizeof(empty_machine));
    assert_memory_equal(out->data, empty_machine, sizeof(empty_machine));
    g_byte_array_unref(out);
}

/* Records of a real START and PART (RAM format, section 10). */
static const uint8_t ram_records[] = {
    0, 0, 0, 0, 0x09, 0x09, 0x20, 0x04, 6, 'p', 'c', '.', 'r', 'a', 'm',
    0, 0, 0, 0, 0x08, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0x02, 6, 'p', 'c', '.', 'r', 'a', 'm', 0,
    0, 0, 0, 0, 0, 0, 0x10, 0x22, 0,
    0, 0, 0, 0, 0, 0, 0x60, 0x28, 'x', 'x', 'x', 'x',
    0, 0, 0, 0, 0, 1, 0, 0x60, 1, 0, 2, 0x80, 0x02,
    0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
};

static void test_ram(void **state)
{
    GByteArray *out = sw_new();

    (void)state;
    sw_ram_mem_size(out, 0x09092000);
    sw_ram_block(out, "pc.ram", 0x8000000);
    sw_ram_zero(out, "pc.ram", 0, 0);
    sw_ram_zero(out, NULL, 0x1000, 0);
    sw_ram_page(out, NULL, 0x6000, "xxxx", 4);
    sw_ram_xbzrle(out, NULL, 0x10000, "\x80\x02", 2);
    sw_ram_flush(out);
    sw_ram_eos(out);
    assert_int_equal(out->len, sizeof(ram_records));
    assert_memory_equal(out->data, ram_records, sizeof(ram_records));
    g_byte_array_unref(out);
}

/* Configuration and commands of a real stream (stream format, 3 and 14). */
static const uint8_t configuration[] = {
    7, 0, 0, 0, 4, 'n', 'o', 'n', 'e', 5, 0x1a, 'c', 'o', 'n', 'f', 'i', 'g',
    'u', 'r', 'a', 't', 'i', 'o', 'n', '/', 'c', 'a', 'p', 'a', 'b', 'i', 'l',
    'i', 't', 'i', 'e', 's', 0, 0, 0, 1, 0, 0, 0, 1, 15, 'x', '-', 'i', 'g',
    'n', 'o', 'r', 'e', '-', 's', 'h', 'a', 'r', 'e', 'd',
    8, 0, 2, 0, 4, 0, 0, 0, 1,
    8, 0, 3, 0, 16, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0,
    8, 0, 7, 0, 4, 0, 0, 0, 1, 0,
};

static void test_configuration(void **state)
{
    static const char *const names[] = {"x-ignore-shared", NULL};
    GByteArray *out = sw_new();
    GByteArray *blob = sw_new();

    (void)state;
    sw_configuration(out, "none");
    sw_configuration_capabilities(out, names);
    sw_ping(out, 1);
    sw_postcopy_advise(out, 0x1000, 0x2000);
    sw_eof(blob);
    sw_packaged(out, blob);
    assert_int_equal(out->len, sizeof(configuration));
    assert_memory_equal(out->data, configuration, sizeof(configuration));
    g_byte_array_unref(blob);
    g_byte_array_unref(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_machine),
        cmocka_unit_test(test_ram),
        cmocka_unit_test(test_configuration),
    };

    return cmocka_run_group_tests_name("stream-writer", tests, NULL, NULL);
}

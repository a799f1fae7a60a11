/* SPDX-License-Identifier: BSD-3-Clause */
#include "bad-streams.h"

#include "fault.h"
#include "stream-writer.h"

#define RAM_LENGTH (FAULT_RAM_PAGES * FAULT_PAGE)

/* --- pieces --------------------------------------------------------------- */

/* Header and the configuration that the host expects. */
static void begin(GByteArray *out)
{
    sw_header(out);
    sw_configuration(out, FAULT_MACHINE);
}

/* And RAM's START with its block list. */
static void begin_ram(GByteArray *out)
{
    begin(out);
    sw_ram_start(out, 2, RAM_LENGTH);
    sw_ram_block(out, "pc.ram", RAM_LENGTH);
    sw_ram_eos(out);
    sw_footer(out, 2);
}

/* And a PART, up to its first word. */
static void begin_part(GByteArray *out)
{
    begin_ram(out);
    sw_section_part(out, 2);
}

static void begin_state(GByteArray *out)
{
    begin(out);
    sw_section_full(out, 5, "state", 0, 2);
    sw_be32(out, 7);
}

/* --- header and configuration --------------------------------------------- */

void bad_magic(GByteArray *out)
{
    sw_bytes(out, "QEVN\0\0\0\3", 8);
}

void bad_old_version(GByteArray *out)
{
    sw_bytes(out, "QEVM\0\0\0\2", 8);
}

void bad_other_machine(GByteArray *out)
{
    sw_header(out);
    sw_configuration(out, "pc-other");
}

void bad_longer_machine(GByteArray *out)
{
    sw_header(out);
    sw_configuration(out, FAULT_MACHINE "-and-more");
}

void bad_no_configuration(GByteArray *out)
{
    sw_header(out);
    sw_device(out, 3, "dev", 0, 1, "abcd", 4);
}

void bad_huge_machine(GByteArray *out)
{
    sw_header(out);
    sw_u8(out, SW_CONFIGURATION);
    sw_be32(out, 0xffffffff);
}

void bad_machine_with_nul(GByteArray *out)
{
    sw_header(out);
    sw_u8(out, SW_CONFIGURATION);
    sw_be32(out, 4);
    sw_bytes(out, "p\0cc", 4);
}

void bad_other_page_bits(GByteArray *out)
{
    begin(out);
    sw_configuration_page_bits(out, 14);
    sw_eof(out);
}

void bad_absurd_page_bits(GByteArray *out)
{
    begin(out);
    sw_configuration_page_bits(out, 64);
    sw_eof(out);
}

void bad_other_capability(GByteArray *out)
{
    const char *names[] = {"x-ignore-shared", NULL};

    begin(out);
    sw_configuration_capabilities(out, names);
    sw_eof(out);
}

void bad_unknown_capability(GByteArray *out)
{
    const char *names[] = {"no-such-thing", NULL};

    begin(out);
    sw_configuration_capabilities(out, names);
    sw_eof(out);
}

void bad_endless_capabilities(GByteArray *out)
{
    begin(out);
    sw_subsection(out, "configuration/capabilities", 1);
    sw_be32(out, 0xfffffff0);
    sw_str8(out, "x-ignore-shared");
}

void bad_other_uuid(GByteArray *out)
{
    const uint8_t uuid[16] = {9};

    begin(out);
    sw_configuration_uuid(out, uuid);
    sw_eof(out);
}

void bad_unknown_configuration(GByteArray *out)
{
    begin(out);
    sw_subsection(out, "configuration/future", 1);
}

void bad_newer_configuration(GByteArray *out)
{
    begin(out);
    sw_subsection(out, "configuration/uuid", 2);
    sw_fill(out, 0, 16);
}

/* --- records -------------------------------------------------------------- */

void bad_unknown_record(GByteArray *out)
{
    begin(out);
    sw_u8(out, 0x42);
}

void bad_second_configuration(GByteArray *out)
{
    begin(out);
    sw_configuration(out, FAULT_MACHINE);
}

void bad_stray_footer(GByteArray *out)
{
    begin(out);
    sw_footer(out, 1);
}

void bad_early_vmdesc(GByteArray *out)
{
    begin(out);
    sw_vmdesc(out, "{}");
}

void bad_unknown_idstr(GByteArray *out)
{
    begin(out);
    sw_device(out, 3, "nobody", 0, 1, "abcd", 4);
    sw_eof(out);
}

void bad_unknown_instance(GByteArray *out)
{
    begin(out);
    sw_device(out, 3, "dev", 1, 1, "abcd", 4);
    sw_eof(out);
}

void bad_empty_idstr(GByteArray *out)
{
    begin(out);
    sw_device(out, 3, "", 0, 1, "abcd", 4);
}

void bad_idstr_with_nul(GByteArray *out)
{
    begin(out);
    sw_u8(out, SW_SECTION_FULL);
    sw_be32(out, 3);
    sw_str8_bytes(out, "d\0v", 3);
    sw_be32(out, 0);
    sw_be32(out, 1);
}

void bad_too_new(GByteArray *out)
{
    begin(out);
    sw_device(out, 3, "dev", 0, 3, "abcd", 4);
    sw_eof(out);
}

void bad_too_old(GByteArray *out)
{
    begin(out);
    sw_device(out, 3, "dev", 0, 0, "abcd", 4);
    sw_eof(out);
}

void bad_negative_version(GByteArray *out)
{
    begin(out);
    sw_device(out, 3, "dev", 0, 0xffffffff, "abcd", 4);
    sw_eof(out);
}

void bad_ram_version(GByteArray *out)
{
    begin(out);
    sw_section_start(out, 2, "ram", 0, 3);
    sw_ram_mem_size(out, 0);
}

void bad_id_changes_device(GByteArray *out)
{
    begin(out);
    sw_device(out, 3, "dev", 0, 1, "abcd", 4);
    sw_device(out, 3, "apply", 0, 1, "abcd", 4);
    sw_eof(out);
}

void bad_part_of_unknown_id(GByteArray *out)
{
    begin(out);
    sw_section_part(out, 77);
    sw_ram_eos(out);
}

void bad_end_of_unknown_id(GByteArray *out)
{
    begin(out);
    sw_section_end(out, 77);
    sw_ram_eos(out);
}

void bad_many_sections(GByteArray *out)
{
    uint32_t i;

    begin(out);
    for (i = 0; i < 20; i++) {
        sw_device(out, i, "dev", 0, 1, "abcd", 4);
    }
    sw_eof(out);
}

void bad_footer_of_other(GByteArray *out)
{
    begin_part(out);
    sw_ram_eos(out);
    sw_footer(out, 3);
    sw_eof(out);
}

void bad_no_footer(GByteArray *out)
{
    begin_part(out);
    sw_ram_eos(out);
    sw_eof(out);
}

void bad_device_gets_more(GByteArray *out)
{
    begin(out);
    sw_device(out, 3, "dev", 0, 1, "abcdefgh", 8);
    sw_eof(out);
}

void bad_device_gets_less(GByteArray *out)
{
    begin(out);
    sw_device(out, 3, "dev", 0, 1, "abc", 3);
    sw_eof(out);
    sw_vmdesc(out, "{}");
}

void bad_big_section(GByteArray *out)
{
    begin(out);
    sw_section_full(out, 3, "dev", 0, 1);
    sw_fill(out, 'x', 100000);
    sw_footer(out, 3);
    sw_eof(out);
}

void bad_ends_in_section(GByteArray *out)
{
    begin(out);
    sw_section_full(out, 3, "dev", 0, 1);
    sw_bytes(out, "ab", 2);
}

void bad_ends_before_eof(GByteArray *out)
{
    begin(out);
    sw_device(out, 3, "dev", 0, 1, "abcd", 4);
}

/* --- commands ------------------------------------------------------------- */

void bad_command_zero(GByteArray *out)
{
    begin(out);
    sw_command(out, SW_CMD_INVALID, NULL, 0);
}

void bad_unknown_command(GByteArray *out)
{
    begin(out);
    sw_command(out, 12, NULL, 0);
}

void bad_short_ping(GByteArray *out)
{
    begin(out);
    sw_command(out, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
    sw_command(out, SW_CMD_PING, "abc", 3);
}

void bad_oversized_command(GByteArray *out)
{
    begin(out);
    sw_u8(out, SW_COMMAND);
    sw_be16(out, SW_CMD_SWITCHOVER_START);
    sw_be16(out, 0xffff);
    sw_fill(out, 0, 0xffff);
}

void bad_ping_without_path(GByteArray *out)
{
    begin(out);
    sw_ping(out, 1);
}

void bad_big_package(GByteArray *out)
{
    uint8_t length[4] = {0xff, 0xff, 0xff, 0xff};

    begin(out);
    sw_command(out, SW_CMD_PACKAGED, length, 4);
}

void bad_short_package(GByteArray *out)
{
    uint8_t length[4] = {0, 0, 0, 9};

    begin(out);
    sw_command(out, SW_CMD_PACKAGED, length, 4);
    sw_eof(out);
}

void bad_open_package(GByteArray *out)
{
    GByteArray *blob = sw_new();

    sw_device(blob, 3, "dev", 0, 1, "abcd", 4);
    begin(out);
    sw_packaged(out, blob);
    sw_eof(out);
    g_byte_array_unref(blob);
}

void bad_nested_package(GByteArray *out)
{
    GByteArray *inner = sw_new();
    GByteArray *outer = sw_new();

    sw_eof(inner);
    sw_packaged(outer, inner);
    sw_eof(outer);
    begin(out);
    sw_packaged(out, outer);
    sw_eof(out);
    g_byte_array_unref(inner);
    g_byte_array_unref(outer);
}

void bad_package_too_deep(GByteArray *out)
{
    GByteArray *blob = sw_new();

    sw_eof(blob);
    begin(out);
    sw_packaged(out, blob);
    sw_eof(out);
    g_byte_array_unref(blob);
}

/* Commands whose feature is not here are refused by name. */
#define REFUSED(name, number, data, length)                 \
    void bad_##name(GByteArray *out)                        \
    {                                                       \
        begin(out);                                         \
        sw_command(out, number, data, length);              \
        sw_eof(out);                                        \
    }

REFUSED(postcopy_advise, SW_CMD_POSTCOPY_ADVISE,
        "\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x10\0", 16)
REFUSED(postcopy_listen, SW_CMD_POSTCOPY_LISTEN, NULL, 0)
REFUSED(postcopy_run, SW_CMD_POSTCOPY_RUN, NULL, 0)
REFUSED(postcopy_resume, SW_CMD_POSTCOPY_RESUME, NULL, 0)
REFUSED(enable_colo, SW_CMD_ENABLE_COLO, NULL, 0)
REFUSED(recv_bitmap, SW_CMD_RECV_BITMAP, "\6pc.ram", 7)
REFUSED(ram_discard, SW_CMD_POSTCOPY_RAM_DISCARD,
        "\0\1a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0", 20)

/*
 * mapped-ram: one block, whose header is @version, @page_size and offsets
 * that are @bitmap and @pages bytes beside the right ones. @end: 0: cut
 * before the bitmap; 1: behind it; 2: all is there, every page set.
 */
static void mapped(GByteArray *out, uint32_t version, uint64_t page_size,
                   int64_t bitmap, int64_t pages, int end)
{
    const char *names[] = {"mapped-ram", NULL};
    uint64_t at;

    begin(out);
    sw_configuration_capabilities(out, names);
    sw_ram_start(out, 2, RAM_LENGTH);
    sw_ram_block(out, "pc.ram", RAM_LENGTH);
    at = out->len + 28;
    sw_be32(out, version);
    sw_be64(out, page_size);
    sw_be64(out, at + (uint64_t)bitmap);
    sw_be64(out, FAULT_PAGE + (uint64_t)pages);
    if (end > 0) {
        sw_u8(out, 0x0f);
        sw_fill(out, 0, 7);
    }
    if (end > 1) {
        sw_fill(out, 0, FAULT_PAGE - out->len);
        sw_fill(out, 0x5a, RAM_LENGTH);
        sw_ram_eos(out);
    }
}

#define MAPPED(name, ...) \
    void bad_mapped_##name(GByteArray *out) { mapped(out, __VA_ARGS__); }

MAPPED(version, 2, FAULT_PAGE, 0, 0, 2)
MAPPED(page_size, 1, 2 * FAULT_PAGE, 0, 0, 2)
MAPPED(no_size, 1, 0, 0, 0, 2)
MAPPED(unaligned, 1, FAULT_PAGE, 0, 8, 2)
MAPPED(back, 1, FAULT_PAGE, -1, 0, 2)
MAPPED(overlap, 1, FAULT_PAGE, FAULT_PAGE, 0, 2)
MAPPED(far, 1, FAULT_PAGE, 0, INT64_MAX - 2 * FAULT_PAGE + 1, 2)
MAPPED(no_bitmap, 1, FAULT_PAGE, 0, 0, 0)
MAPPED(no_pages, 1, FAULT_PAGE, 0, 0, 1)

void bad_mapped_more(GByteArray *out)
{
    mapped(out, 1, FAULT_PAGE, 0, 0, 1);
    out->data[out->len - 8] = 0x1f;
}

void bad_mapped_page(GByteArray *out)
{
    mapped(out, 1, FAULT_PAGE, 0, 0, 2);
    g_byte_array_set_size(out, out->len - 8);
    sw_ram_zero(out, "pc.ram", 0, 0);
}

/* --- RAM ------------------------------------------------------------------ */

void bad_unknown_block(GByteArray *out)
{
    begin(out);
    sw_ram_start(out, 2, RAM_LENGTH);
    sw_ram_block(out, "other.ram", RAM_LENGTH);
    sw_ram_eos(out);
    sw_footer(out, 2);
}

void bad_other_length(GByteArray *out)
{
    begin(out);
    sw_ram_start(out, 2, RAM_LENGTH - FAULT_PAGE);
    sw_ram_block(out, "pc.ram", RAM_LENGTH - FAULT_PAGE);
    sw_ram_eos(out);
    sw_footer(out, 2);
}

void bad_sum_exceeded(GByteArray *out)
{
    begin(out);
    sw_ram_start(out, 2, RAM_LENGTH - FAULT_PAGE);
    sw_ram_block(out, "pc.ram", RAM_LENGTH);
    sw_ram_eos(out);
}

void bad_gigantic_ram(GByteArray *out)
{
    begin(out);
    sw_ram_start(out, 2, 0xfffffffffffff000u);
}

void bad_endless_blocks(GByteArray *out)
{
    int i;

    begin(out);
    sw_ram_start(out, 2, RAM_LENGTH);
    for (i = 0; i < 100; i++) {
        sw_ram_block(out, "pc.ram", 0);
    }
}

void bad_many_blocks(GByteArray *out)
{
    int i;

    begin(out);
    sw_ram_start(out, 2, 100 * FAULT_PAGE);
    for (i = 0; i < 100; i++) {
        char *name = g_strdup_printf("block-%d", i);

        sw_ram_block(out, name, FAULT_PAGE);
        g_free(name);
    }
    sw_ram_eos(out);
    sw_footer(out, 2);
    sw_eof(out);
}

void bad_page_of_unknown_block(GByteArray *out)
{
    begin_part(out);
    sw_ram_zero(out, "nowhere", 0, 0);
}

void bad_page_of_no_block(GByteArray *out)
{
    begin_part(out);
    sw_ram_zero(out, NULL, 0, 0);
}

void bad_page_beyond_block(GByteArray *out)
{
    begin_part(out);
    sw_ram_zero(out, "pc.ram", RAM_LENGTH, 0);
}

void bad_page_far_beyond(GByteArray *out)
{
    begin_part(out);
    sw_ram_zero(out, "pc.ram", 0xfffffffffffff000u, 0);
}

void bad_two_flags(GByteArray *out)
{
    begin_part(out);
    sw_ram_word(out, 0, SW_RAM_ZERO | SW_RAM_PAGE, "pc.ram");
}

void bad_unknown_flag(GByteArray *out)
{
    begin_part(out);
    sw_be64(out, 0x400);
}

void bad_no_flag(GByteArray *out)
{
    begin_part(out);
    sw_be64(out, 0);
}

void bad_hook(GByteArray *out)
{
    begin_part(out);
    sw_be64(out, SW_RAM_HOOK);
}

void bad_nonzero_zero(GByteArray *out)
{
    begin_part(out);
    sw_ram_zero(out, "pc.ram", 0, 1);
}

static void xbzrle(GByteArray *out, const char *delta, uint16_t length)
{
    begin_part(out);
    sw_ram_xbzrle(out, "pc.ram", 0, delta, length);
}

void bad_xbzrle_past_page(GByteArray *out)
{
    xbzrle(out, "\xff\x1f\x02xy", 5);
}

void bad_xbzrle_past_data(GByteArray *out)
{
    xbzrle(out, "\x01\x20x", 3);
}

void bad_xbzrle_zero_run(GByteArray *out)
{
    xbzrle(out, "\x01\x01x\x00\x01y", 6);
}

void bad_xbzrle_long_number(GByteArray *out)
{
    xbzrle(out, "\x80\x80\x01\x01x", 5);
}

void bad_xbzrle_cut_number(GByteArray *out)
{
    xbzrle(out, "\x01\x01x\x80", 4);
}

void bad_xbzrle_too_long(GByteArray *out)
{
    begin_part(out);
    sw_ram_word(out, 0, SW_RAM_XBZRLE, "pc.ram");
    sw_u8(out, 1);
    sw_be16(out, FAULT_PAGE + 1);
    sw_fill(out, 0, FAULT_PAGE + 1);
}

void bad_xbzrle_encoding(GByteArray *out)
{
    begin_part(out);
    sw_ram_word(out, 0, SW_RAM_XBZRLE, "pc.ram");
    sw_u8(out, 2);
    sw_be16(out, 1);
    sw_u8(out, 0);
}

void bad_compressed_garbage(GByteArray *out)
{
    begin_part(out);
    sw_ram_compressed(out, "pc.ram", 0, "not zlib at all", 15);
}

#ifdef VMLOAD_HAVE_ZLIB
void bad_compressed_too_long(GByteArray *out)
{
    begin_part(out);
    sw_ram_word(out, 0, SW_RAM_COMPRESS_PAGE, "pc.ram");
    sw_be32(out, 0x7fffffff);
}
#endif

/* --- device state --------------------------------------------------------- */

static void state_end(GByteArray *out)
{
    sw_footer(out, 5);
    sw_eof(out);
    sw_vmdesc(out, "{}");
}

void bad_field_not_equal(GByteArray *out)
{
    begin(out);
    sw_section_full(out, 5, "state", 0, 2);
    sw_be32(out, 8);
    sw_fill(out, 0, 8);
    state_end(out);
}

void bad_array_overflow(GByteArray *out)
{
    begin_state(out);
    sw_be32(out, 5);
    sw_fill(out, 0, 14);
    state_end(out);
}

void bad_gigantic_count(GByteArray *out)
{
    begin_state(out);
    sw_be32(out, 0);
    sw_be32(out, 0xffffffff);
    state_end(out);
}

void bad_unknown_subsection(GByteArray *out)
{
    begin_state(out);
    sw_be32(out, 0);
    sw_be32(out, 0);
    sw_subsection(out, "state/future", 1);
    sw_u8(out, 0);
    state_end(out);
}

void bad_newer_subsection(GByteArray *out)
{
    begin_state(out);
    sw_be32(out, 0);
    sw_be32(out, 0);
    sw_subsection(out, "state/extra", 2);
    sw_u8(out, 0);
    state_end(out);
}

void bad_short_state(GByteArray *out)
{
    begin_state(out);
    state_end(out);
}

/* --- the description ------------------------------------------------------ */

static void dev_and_vmdesc(GByteArray *out, const char *json)
{
    begin(out);
    sw_device(out, 3, "dev", 0, 1, "abcd", 4);
    sw_eof(out);
    if (json != NULL) {
        sw_vmdesc(out, json);
    }
}

void bad_vmdesc_missing(GByteArray *out)
{
    dev_and_vmdesc(out, NULL);
}

void bad_vmdesc_cut(GByteArray *out)
{
    dev_and_vmdesc(out, NULL);
    sw_u8(out, SW_VMDESCRIPTION);
    sw_be32(out, 100);
    sw_bytes(out, "{\"page_", 7);
}

void bad_vmdesc_gigantic(GByteArray *out)
{
    dev_and_vmdesc(out, NULL);
    sw_u8(out, SW_VMDESCRIPTION);
    sw_be32(out, 0xffffffff);
    sw_bytes(out, "{\"", 2);
}

#ifdef VMLOAD_HAVE_JANSSON
void bad_vmdesc_no_json(GByteArray *out)
{
    dev_and_vmdesc(out, "{ this is no JSON");
}

void bad_vmdesc_other_device(GByteArray *out)
{
    dev_and_vmdesc(out, "{\"page_size\": 4096, \"devices\": ["
                   FAULT_JSON_DEVICE("other", "4") "]}");
}

void bad_vmdesc_other_size(GByteArray *out)
{
    dev_and_vmdesc(out, "{\"page_size\": 4096, \"devices\": ["
                   FAULT_JSON_DEVICE("dev", "5") "]}");
}

void bad_vmdesc_no_device(GByteArray *out)
{
    dev_and_vmdesc(out, "{\"page_size\": 4096, \"devices\": []}");
}

void bad_vmdesc_deep(GByteArray *out)
{
    GString *json = g_string_new("{\"page_size\": 4096, \"devices\": ");
    int i;

    for (i = 0; i < 100000; i++) {
        g_string_append_c(json, '[');
    }
    dev_and_vmdesc(out, json->str);
    g_string_free(json, TRUE);
}

void bad_vmdesc_sizes_overflow(GByteArray *out)
{
    dev_and_vmdesc(out, "{\"page_size\": 4096, \"devices\": ["
                   "{\"name\": \"dev\", \"instance_id\": 0, \"version\": 1, "
                   "\"vmsd_name\": \"dev\", \"fields\": [{\"name\": \"a\", "
                   "\"array_len\": 9223372036854775807, \"size\": 4, "
                   "\"type\": \"uint32\"}]}]}");
}
#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Section headers, footers, and the table of ids (stream format, section 2). */
#include "unit.h"

#include "stream-writer.h"
#include "stream/section.h"

typedef struct {
    VmloadSectionTable *table;
    VmloadLimits limits;
    VmloadSection section;
    GError *error;
} Sections;

static void sections_init(Sections *sections)
{
    memset(sections, 0, sizeof(*sections));
    sections->table = vmload_section_table_new();
    vmload_limits_init(&sections->limits);
}

static void sections_clear(Sections *sections)
{
    vmload_section_table_free(sections->table);
    g_clear_error(&sections->error);
}

/* Reads one header from @out, which is emptied. */
static bool sections_read(Sections *sections, GByteArray *out)
{
    VmloadReader *reader =
        vmload_reader_new_memory(out->data + 1, out->len - 1, 101);
    bool ok = vmload_section_read(sections->table, reader, &sections->limits,
                                  out->data[0], 100, &sections->section,
                                  &sections->error);

    vmload_reader_free(reader);
    g_byte_array_set_size(out, 0);
    return ok;
}

static void test_table(void **state)
{
    GByteArray *out = sw_new();
    Sections sections;
    const char *idstr;

    (void)state;
    sections_init(&sections);
    assert_false(vmload_section_table_has(sections.table, 0));
    sw_section_start(out, 0, "ram", 3, 4);
    assert_true(sections_read(&sections, out));
    assert_true(vmload_section_table_has(sections.table, 0));
    idstr = sections.section.idstr;
    assert_string_equal(idstr, "ram");
    assert_int_equal(sections.section.offset, 100);
    assert_int_equal(sections.section.payload_offset, 117);
    /* PART and END have what START said; a FULL may say another version. */
    sw_section_part(out, 0);
    assert_true(sections_read(&sections, out));
    assert_int_equal(sections.section.type, VMLOAD_RECORD_PART);
    assert_int_equal(sections.section.instance_id, 3);
    assert_int_equal(sections.section.version_id, 4);
    sw_section_full(out, 0, "ram", 3, 5);
    assert_true(sections_read(&sections, out));
    sw_section_end(out, 0);
    assert_true(sections_read(&sections, out));
    assert_int_equal(sections.section.version_id, 5);
    /* An idstr stays good as long as the table. */
    assert_ptr_equal(sections.section.idstr, idstr);
    sections_clear(&sections);
    g_byte_array_unref(out);
}

static void test_bad(void **state)
{
    GByteArray *out = sw_new();
    Sections sections;

    (void)state;
    sections_init(&sections);
    sections.limits.sections = 2;
    sw_section_start(out, 1, "ram", 0, 4);
    assert_true(sections_read(&sections, out));
    sw_section_end(out, 2);
    assert_false(sections_read(&sections, out));
    assert_unit_error(&sections.error, VMLOAD_ERROR_MALFORMED,
                      "offset 0x69: section id 2 was never announced");
    sw_section_full(out, 1, "r\x07m", 0, 4);
    assert_false(sections_read(&sections, out));
    assert_unit_error(&sections.error, VMLOAD_ERROR_MALFORMED,
                      "section id 1: expected 'ram' instance 0, which "
                      "announced it, found 'r\\007m' instance 0");
    sw_section_start(out, 1, "ram", 1, 4);
    assert_false(sections_read(&sections, out));
    assert_unit_error(&sections.error, VMLOAD_ERROR_MALFORMED,
                      "found 'ram' instance 1");
    sw_section_full(out, UINT32_MAX, "cpu", 0, 1);
    assert_true(sections_read(&sections, out));
    sw_section_full(out, 3, "rtc", 0, 1);
    assert_false(sections_read(&sections, out));
    assert_unit_error(&sections.error, VMLOAD_ERROR_LIMIT,
                      "limit sections (2)");
    assert_false(vmload_section_table_has(sections.table, 3));
    sw_section_full(out, 3, "", 0, 1);
    assert_false(sections_read(&sections, out));
    assert_unit_error(&sections.error, VMLOAD_ERROR_MALFORMED, "length 0");
    sections_clear(&sections);
    g_byte_array_unref(out);
}

static void test_cut(void **state)
{
    GByteArray *out = sw_new();
    guint n;

    (void)state;
    for (n = 1; n < 1 + 4 + 4 + 8; n++) {
        Sections sections;

        sections_init(&sections);
        sw_section_full(out, 7, "cpu", 0, 1);
        g_byte_array_set_size(out, n);
        assert_false(sections_read(&sections, out));
        assert_unit_error(&sections.error, VMLOAD_ERROR_TRUNCATED,
                          "offset 0x");
        assert_false(vmload_section_table_has(sections.table, 7));
        sections_clear(&sections);
    }
    g_byte_array_unref(out);
}

static void test_footer(void **state)
{
    static const struct {
        uint8_t bytes[6];
        uint64_t length;
        int code; /* -1: good */
        const char *part;
    } cases[] = {
        {{0x7e, 0, 0, 0, 7, 9}, 6, -1, NULL},
        {{0x7e, 0, 0, 0, 7}, 5, -1, NULL},
        {{0x7e, 0, 0, 0, 8}, 5, VMLOAD_ERROR_MALFORMED,
         "section id 7, found 8"},
        {{0x04, 0, 0, 0, 7}, 5, VMLOAD_ERROR_MALFORMED, "found 0x04"},
        {{0x04}, 1, VMLOAD_ERROR_MALFORMED, "found 0x04"},
        {{0x7e, 0, 0, 0}, 4, VMLOAD_ERROR_TRUNCATED, "after 4"},
        {{0}, 0, VMLOAD_ERROR_TRUNCATED, "after 0"},
    };
    const VmloadSection section = {.section_id = 7};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadReader *reader = vmload_reader_new_memory(
            cases[i].bytes, cases[i].length, 0);
        GError *error = NULL;

        assert_int_equal(vmload_section_footer_read(reader, &section, &error),
                         cases[i].code < 0);
        if (cases[i].code >= 0) {
            assert_unit_error(&error, (VmloadError)cases[i].code,
                              cases[i].part);
            assert_int_equal(vmload_reader_get_offset(reader), 0);
        } else {
            assert_int_equal(vmload_reader_get_offset(reader), 5);
        }
        vmload_reader_free(reader);
    }
}

#define ANNOUNCED 20000

/* A thread of the host's that dispatches beside the load. */
static void *announce(void *opaque)
{
    Sections *sections = opaque;
    GByteArray *out = sw_new();
    uint32_t i;

    for (i = 1; i < ANNOUNCED; i++) {
        /* Ids that a hash table would take for the same. */
        sw_section_start(out, i << 16, "other", i, 1);
        assert_true(sections_read(sections, out));
    }
    g_byte_array_unref(out);
    return NULL;
}

/* Looking ahead while others announce; ThreadSanitizer watches. */
static void test_peek_beside(void **state)
{
    GByteArray *out = sw_new();
    char idstr[VMLOAD_STR8_SIZE];
    VmloadSection section;
    Sections sections;
    GThread *thread;
    uint32_t i;

    (void)state;
    sections_init(&sections);
    sw_section_start(out, 0, "ram", 3, 4);
    assert_true(sections_read(&sections, out));
    sw_section_part(out, 0);
    thread = g_thread_new("announce", announce, &sections);
    for (i = 0; i < ANNOUNCED; i++) {
        assert_true(vmload_section_peek(sections.table, out->data, out->len,
                                        7, idstr, &section));
        assert_string_equal(section.idstr, "ram");
        assert_int_equal(section.instance_id, 3);
    }
    g_thread_join(thread);
    assert_true(vmload_section_table_has(sections.table,
                                         (ANNOUNCED - 1) << 16));
    g_byte_array_unref(out);
    sections_clear(&sections);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peek_beside),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_footer),
    };

    return cmocka_run_group_tests_name("section", tests, NULL, NULL);
}

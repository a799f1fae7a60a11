/* SPDX-License-Identifier: BSD-3-Clause */
/* The scan for a section's end: every kind of evidence, true and false. */
#include "unit.h"

#include "drip.h"
#include "stream-writer.h"
#include "stream/staging.h"

#define ID 0u

typedef struct {
    const char *name;
    /* Writes the payload, the footer and what follows. */
    void (*write)(GByteArray *out);
    uint64_t end; /* where the payload ends */
    bool footers;
    bool nested;
} Case;

static void payload(GByteArray *out)
{
    sw_fill(out, 0xa5, 20);
}

static void then_full(GByteArray *out)
{
    payload(out);
    sw_footer(out, ID);
    sw_section_full(out, 7, "cpu", 0, 12);
    sw_fill(out, 0, 40);
}

static void then_part(GByteArray *out)
{
    payload(out);
    sw_footer(out, ID);
    sw_section_part(out, 2);
    sw_fill(out, 0, 40);
}

static void then_command(GByteArray *out)
{
    payload(out);
    sw_footer(out, ID);
    sw_command(out, SW_CMD_SWITCHOVER_START, NULL, 0);
    sw_fill(out, 0, 40);
}

static void then_vmdesc(GByteArray *out)
{
    payload(out);
    sw_footer(out, ID);
    sw_eof(out);
    sw_vmdesc(out, "{\"devices\": []}");
}

static void then_end_of_bytes(GByteArray *out)
{
    payload(out);
    sw_footer(out, ID);
    sw_eof(out);
}

/* The `timer` section: its counter ends in 7E, zeros follow. */
static void false_footer_and_eof(GByteArray *out)
{
    sw_fill(out, 0x11, 7);
    sw_u8(out, 0x7e);
    sw_fill(out, 0, 16);
    sw_footer(out, ID);
    sw_section_full(out, 7, "globalstate", 0, 1);
    sw_fill(out, 0, 40);
}

static void false_footers(GByteArray *out)
{
    sw_footer(out, ID);
    sw_section_full(out, 7, "\x01\x02", 0, 1); /* not printable */
    sw_footer(out, ID);
    sw_section_part(out, 99); /* never announced */
    sw_footer(out, ID);
    sw_command(out, 77, NULL, 0); /* no such command */
    sw_footer(out, ID);
    sw_command(out, SW_CMD_PING, NULL, 0); /* not PING's length */
    sw_footer(out, ID);
    sw_eof(out);
    sw_u8(out, 0x06);
    sw_be32(out, 7);
    sw_u8(out, 'x'); /* not JSON */
    sw_footer(out, ID + 1);
    sw_section_full(out, 7, "cpu", 0, 12); /* not our footer */
    sw_footer(out, ID);
    sw_section_full(out, 7, "cpu", 0, 12);
}

static void without_footer(GByteArray *out)
{
    payload(out);
    sw_section_full(out, 7, "cpu", 0, 12);
    sw_fill(out, 0x20, 40);
}

static void without_footer_vmdesc(GByteArray *out)
{
    payload(out);
    sw_eof(out);
    sw_vmdesc(out, "{\"devices\": []}");
}

static void empty_payload(GByteArray *out)
{
    sw_footer(out, ID);
    sw_section_full(out, 7, "cpu", 0, 12);
}

static const Case cases[] = {
    {"FULL behind it", then_full, 20, true, false},
    {"PART behind it", then_part, 20, true, false},
    {"COMMAND behind it", then_command, 20, true, false},
    {"EOF and description", then_vmdesc, 20, true, false},
    {"EOF and the end of the bytes", then_end_of_bytes, 20, true, false},
    {"EOF and the end of a package", then_end_of_bytes, 20, true, true},
    {"false footer, EOF", false_footer_and_eof, 24, true, false},
    {"false footers of every kind", false_footers,
     5 + 16 + 5 + 5 + 5 + 5 + 5 + 5 + 5 + 1 + 6 + 5 + 17, true, false},
    {"no footers, FULL", without_footer, 20, false, false},
    {"no footers, EOF and description", without_footer_vmdesc, 20, false,
     false},
    {"empty payload", empty_payload, 0, true, false},
};

static VmloadSectionTable *announced_table(void)
{
    VmloadSectionTable *table = vmload_section_table_new();
    GByteArray *header = sw_new();
    VmloadLimits limits;
    VmloadReader *reader;
    VmloadSection section;
    GError *error = NULL;

    vmload_limits_init(&limits);
    sw_section_start(header, 2, "ram", 0, 4);
    reader = vmload_reader_new_memory(header->data + 1, header->len - 1, 1);
    assert_true(vmload_section_read(table, reader, &limits,
                                    VMLOAD_RECORD_START, 0, &section,
                                    &error));
    vmload_reader_free(reader);
    g_byte_array_unref(header);
    return table;
}

static void check_case(const Case *one, VmloadSectionTable *table,
                       uint64_t step)
{
    const VmloadWait wait = {0};
    VmloadStagingRules rules = {.table = table, .section_id = ID,
                                .footers = one->footers, .vmdesc = true,
                                .nested = one->nested, .max = 1 << 20};
    GByteArray *out = sw_new();
    VmloadChannel *channel;
    VmloadReader *reader;
    GError *error = NULL;
    uint64_t candidate = 0;
    VmloadEnd end;
    uint64_t visible;
    Drip drip;

    one->write(out);
    drip = (Drip){out->data, out->len, step, 0};
    channel = drip_channel(&drip);
    reader = vmload_reader_new_channel(channel, &wait, &error);
    assert_non_null(reader);
    if (!vmload_staging_find_end(reader, &rules, &candidate, &end, &error)) {
        fail_msg("%s, %u at a time: %s", one->name, (unsigned)step,
                 error->message);
    }
    if (candidate != one->end) {
        fail_msg("%s, %u at a time: expected %u, found %u", one->name,
                 (unsigned)step, (unsigned)one->end, (unsigned)candidate);
    }
    /* Nothing was taken from the reader. */
    assert_int_equal(vmload_reader_get_offset(reader), 0);
    vmload_reader_window(reader, &visible);
    assert_true(visible >= candidate);
    vmload_reader_free(reader);
    vmload_channel_unref(channel);
    g_byte_array_unref(out);
}

static void test_ends(void **state)
{
    static const uint64_t steps[] = {1, 2, 3, 7, 64, 1 << 20};
    VmloadSectionTable *table = announced_table();
    size_t i;
    size_t j;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (j = 0; j < G_N_ELEMENTS(steps); j++) {
            check_case(&cases[i], table, steps[j]);
        }
    }
    vmload_section_table_free(table);
}

/* Cut anywhere before the evidence is complete: TRUNCATED, never an end. */
static void test_cut(void **state)
{
    VmloadSectionTable *table = announced_table();
    VmloadStagingRules rules = {.table = table, .section_id = ID,
                                .footers = true, .vmdesc = true,
                                .max = 1 << 20};
    GByteArray *out = sw_new();
    guint n;

    (void)state;
    then_full(out);
    for (n = 0; n < 20 + VMLOAD_FOOTER_SIZE; n++) {
        VmloadReader *reader = vmload_reader_new_memory(out->data, n, 0);
        GError *error = NULL;
        uint64_t candidate = 0;
        VmloadEnd end;

        assert_false(vmload_staging_find_end(reader, &rules, &candidate, &end,
                                             &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "section's end");
        vmload_reader_free(reader);
    }
    g_byte_array_unref(out);
    vmload_section_table_free(table);
}

static void test_limit(void **state)
{
    VmloadSectionTable *table = announced_table();
    VmloadStagingRules rules = {.table = table, .section_id = ID,
                                .footers = true, .vmdesc = true,
                                .max = 300000};
    const VmloadWait wait = {0};
    GByteArray *out = sw_new();
    VmloadChannel *channel;
    VmloadReader *reader;
    GError *error = NULL;
    uint64_t candidate = 0;
    VmloadEnd end;

    (void)state;
    sw_fill(out, 0x7e, 400000);
    channel = vmload_channel_new_memory(out->data, out->len, NULL, NULL);
    reader = vmload_reader_new_channel(channel, &wait, &error);
    assert_false(vmload_staging_find_end(reader, &rules, &candidate, &end,
                                         &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "300000");
    vmload_reader_free(reader);
    vmload_channel_unref(channel);
    g_byte_array_unref(out);
    vmload_section_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests_name("staging", tests, NULL, NULL);
}

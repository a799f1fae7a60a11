/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Staging: where is the end of a section that carries no length? However the
 * bytes come in, the answer is the same; where it stands there is a footer
 * of the section, or, without footers, a record; and no more is staged than
 * was allowed.
 *
 * Input: flags, step of the pieces, be16 bound in units of 16 bytes, payload
 * and what follows.
 */
#include "fuzz.h"

#include "stream/staging.h"

#define SECTION_ID 3

enum {
    FLAG_FOOTERS = 1,
    FLAG_VMDESC = 2,
    FLAG_NESTED = 4,
};

/* A table in which "ram", id 2, and this section, id 3, are announced. */
static VmloadSectionTable *make_table(void)
{
    static const uint8_t headers[2][19] = {
        {0, 0, 0, 2, 3, 'r', 'a', 'm', 0, 0, 0, 0, 0, 0, 0, 4},
        {0, 0, 0, SECTION_ID, 3, 'd', 'e', 'v', 0, 0, 0, 0, 0, 0, 0, 1},
    };
    VmloadSectionTable *table = vmload_section_table_new();
    VmloadLimits limits;
    VmloadSection section;
    size_t i;

    vmload_limits_init(&limits);
    for (i = 0; i < G_N_ELEMENTS(headers); i++) {
        VmloadReader *reader =
            vmload_reader_new_memory(headers[i], sizeof(headers[i]), 0);

        FUZZ_CHECK(vmload_section_read(table, reader, &limits,
                                       VMLOAD_RECORD_START, 0, &section,
                                       NULL));
        vmload_reader_free(reader);
    }
    return table;
}

/* The code of the error, or -1 with the place in *@candidate. */
static int find_end(const uint8_t *data, uint64_t length, uint32_t step,
                    const VmloadStagingRules *rules, uint64_t *candidate)
{
    FuzzPieces pieces;
    VmloadChannel *channel;
    VmloadReader *reader;
    VmloadWait wait = {0};
    GError *error = NULL;
    uint64_t window;
    VmloadEnd end;
    int code = -1;

    fuzz_pieces_init(&pieces, data, length, step);
    channel = fuzz_pieces_channel(&pieces);
    /* A package is all there before its first record is looked at. */
    reader = rules->nested ? vmload_reader_new_memory(data, length, 0)
                           : vmload_reader_new_channel(channel, &wait, NULL);
    if (vmload_staging_find_end(reader, rules, candidate, &end, &error)) {
        FUZZ_CHECK(error == NULL);
        vmload_reader_window(reader, &window);
        FUZZ_CHECK(*candidate < window);
    } else {
        code = error->code;
        g_error_free(error);
    }
    vmload_reader_free(reader);
    vmload_channel_unref(channel);
    return code;
}

static void check_place(const uint8_t *data, uint64_t length,
                        const VmloadStagingRules *rules, uint64_t candidate)
{
    static const uint8_t footer[] = {0x7e, 0, 0, 0, SECTION_ID};

    FUZZ_CHECK(candidate < length && candidate <= rules->max);
    if (rules->footers) {
        FUZZ_CHECK(length - candidate >= sizeof(footer));
        FUZZ_CHECK(memcmp(data + candidate, footer, sizeof(footer)) == 0);
    } else {
        FUZZ_CHECK(data[candidate] == VMLOAD_RECORD_EOF ||
                   data[candidate] == VMLOAD_RECORD_START ||
                   data[candidate] == VMLOAD_RECORD_FULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VmloadStagingRules rules = {0};
    VmloadSectionTable *table;
    uint64_t whole = 0;
    uint64_t parts = 0;
    int code;
    int code_parts;

    if (size < 4) {
        return 0;
    }
    table = make_table();
    rules.table = table;
    rules.section_id = SECTION_ID;
    rules.footers = (data[0] & FLAG_FOOTERS) != 0;
    rules.vmdesc = (data[0] & FLAG_VMDESC) != 0;
    rules.nested = (data[0] & FLAG_NESTED) != 0;
    rules.max = 16 * (uint64_t)(data[2] << 8 | data[3]) + 16;
    code = find_end(data + 4, size - 4, 0, &rules, &whole);
    code_parts = find_end(data + 4, size - 4, data[1], &rules, &parts);
    if (code == -1) {
        check_place(data + 4, size - 4, &rules, whole);
    }
    if (code_parts == -1) {
        check_place(data + 4, size - 4, &rules, parts);
    }
    /* The bound may strike while the footer's neighbour is awaited. */
    if (code != VMLOAD_ERROR_LIMIT && code_parts != VMLOAD_ERROR_LIMIT) {
        FUZZ_CHECK(code == code_parts && whole == parts);
    }
    vmload_section_table_free(table);
    return 0;
}

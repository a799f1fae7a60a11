/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What bad input gets, one row a test; docs/errors.md shows the same table,
 * and a test of its own compares the two (tests/lint). Each stream is the
 * good one (fault_good_stream()) up to the place where it goes wrong.
 *
 *   test-bad-input --write FOLDER   writes each stream to a file instead
 *   test-bad-input --table          prints the table for docs/errors.md
 */
#include "bad-streams.h"
#include "fault.h"

#include "stream-writer.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const char *name;
    void (*write)(GByteArray *out);
    VmloadError code;
    const char *evidence; /* in the message */
    const char *idstr;    /* of the section where it failed; NULL: none */
    uint64_t record;      /* where the record begins that is wrong */
    uint64_t offset;      /* and how far it was read when that showed */
    const char *limit;    /* to be set to limit_value before */
    uint64_t limit_value;
    bool take_all;
    bool atomic;
    bool require_vmdesc;
} Row;

#define ROW(text, stream, error, part, section, at, byte, ...)          \
    {                                                                   \
        .name = text, .write = bad_##stream, .code = VMLOAD_ERROR_##error, \
        .evidence = part, .idstr = section, .record = at, .offset = byte, \
        __VA_ARGS__                                                     \
    },

static const Row rows[] = {
#include "bad-input-table.h"
};

/* Channel and record always, and the section where there is one. */
static void check_place(const Row *row, const FaultRun *run)
{
    char *record = g_strdup_printf(" at 0x%" G_GINT64_MODIFIER "x: ",
                                   row->record);

    assert_non_null(strstr(run->message, "channel 'main'"));
    assert_non_null(strstr(run->message, record));
    g_free(record);
    assert_string_equal(run->position.channel, "main");
    assert_string_equal(run->position.idstr,
                        row->idstr != NULL ? row->idstr : "");
    if (row->idstr != NULL) {
        assert_non_null(strstr(run->message, row->idstr));
    }
    assert_int_equal(run->position.record_offset, row->record);
    assert_int_equal(run->position.offset, row->offset);
}

static void run_row(void **state)
{
    const Row *row = *state;
    GByteArray *out = sw_new();
    FaultRun run = {
        .take_all = row->take_all,
        .limit = row->limit,
        .limit_value = row->limit_value,
        .atomic = row->atomic,
        .require_vmdesc = row->require_vmdesc,
    };

    row->write(out);
    fault_run(&run, out->data, out->len);
    if (run.code != (int)row->code ||
        strstr(run.message, row->evidence) == NULL) {
        fail_msg("expected code %d with '%s', found code %d: %s",
                 (int)row->code, row->evidence, run.code,
                 run.message != NULL ? run.message : "completed");
    }
    check_place(row, &run);
    assert_true(strlen(run.message) < 400);
    assert_null(strchr(run.message, '\n'));
    assert_int_not_equal(run.message[strlen(run.message) - 1], '.');
    fault_clear(&run);
    g_byte_array_unref(out);
}

static const char *code_name(VmloadError code)
{
    static const char *const names[] = {
        "FAILED", "IO", "TRUNCATED", "MALFORMED", "UNSUPPORTED", "MISMATCH",
        "LIMIT", "DEVICE", "CANCELLED", "TIMEOUT",
    };

    return names[code];
}

static int print_table(void)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(rows); i++) {
        printf("| %s | %s | %s |\n", rows[i].name, code_name(rows[i].code),
               rows[i].evidence);
    }
    return 0;
}

static int write_files(const char *folder)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(rows); i++) {
        GByteArray *out = sw_new();
        char *name = g_strdup_printf("%02zu-%s.stream", i, rows[i].name);
        char *path = g_build_filename(folder, g_strdelimit(name, " /", '-'),
                                      NULL);
        bool ok;

        rows[i].write(out);
        ok = g_file_set_contents(path, (const char *)out->data, out->len,
                                 NULL);
        g_byte_array_unref(out);
        g_free(path);
        g_free(name);
        if (!ok) {
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[G_N_ELEMENTS(rows)];
    size_t i;

    if (argc == 2 && strcmp(argv[1], "--table") == 0) {
        return print_table();
    }
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        return write_files(argv[2]);
    }
    for (i = 0; i < G_N_ELEMENTS(rows); i++) {
        tests[i] = (struct CMUnitTest){
            .name = rows[i].name,
            .test_func = run_row,
            .initial_state = (void *)(uintptr_t)&rows[i],
        };
    }
    return cmocka_run_group_tests_name("bad input", tests, NULL, NULL);
}

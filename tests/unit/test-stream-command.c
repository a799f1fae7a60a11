/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of commands (stream format, section 6). */
#include "unit.h"

#include "stream/command.h"
#include "stream-writer.h"

static void test_commands(void **state)
{
    uint32_t length;
    uint32_t i;

    (void)state;
    assert_null(vmload_command_name(0));
    assert_null(vmload_command_name(12));
    assert_string_equal(vmload_command_name(1), "OPEN_RETURN_PATH");
    assert_string_equal(vmload_command_name(11), "SWITCHOVER_START");
    for (i = 1; i < 12; i++) {
        assert_non_null(vmload_command_name(i));
        /* Some length is good, none of the longest but for discards. */
        for (length = 0; length < 300 &&
                         !vmload_command_length_is_valid(i, length);
             length++) {
            continue;
        }
        assert_true(length < 300);
        assert_int_equal(vmload_command_length_is_valid(i, 65535), i == 6);
    }
    assert_true(vmload_command_length_is_valid(3, 0));
    assert_true(vmload_command_length_is_valid(3, 16));
    assert_false(vmload_command_length_is_valid(3, 8));
    assert_false(vmload_command_length_is_valid(0, 0));
}

static void test_command_cut(void **state)
{
    GByteArray *out = sw_new();
    VmloadCommand command = {.offset = 77};
    guint n;

    (void)state;
    sw_ping(out, 1);
    for (n = 0; n < 4; n++) {
        VmloadReader *reader = vmload_reader_new_memory(out->data + 1, n, 1);
        GError *error = NULL;

        assert_false(vmload_command_read(reader, 0, &command, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x");
        assert_int_equal(command.offset, 77);
        vmload_reader_free(reader);
    }
    g_byte_array_unref(out);
}

/* Number and length words; *@left: bytes that were not taken. */
static bool read_command(uint16_t number, uint16_t length,
                         VmloadCommand *command, uint64_t *left,
                         GError **error)
{
    GByteArray *out = sw_new();
    VmloadReader *reader;
    bool ok;

    sw_be16(out, number);
    sw_be16(out, length);
    sw_fill(out, 0, 3);
    reader = vmload_reader_new_memory(out->data, out->len, 0);
    ok = vmload_command_read(reader, 9, command, error);
    *left = out->len - vmload_reader_get_offset(reader);
    vmload_reader_free(reader);
    g_byte_array_unref(out);
    return ok;
}

/* The payload is left for whoever takes the command. */
static void test_command_read(void **state)
{
    VmloadCommand command = {0};
    uint64_t left;

    (void)state;
    assert_true(read_command(2, 4, &command, &left, NULL));
    assert_int_equal(command.struct_size, sizeof(command));
    assert_int_equal(command.command, VMLOAD_COMMAND_PING);
    assert_int_equal(command.length, 4);
    assert_int_equal(command.offset, 9);
    assert_int_equal(left, 3);
}

/* What no source sends, what a newer one may, and lengths that lie. */
static void test_command_refused(void **state)
{
    static const struct {
        uint16_t number;
        uint16_t length;
        VmloadError code;
        const char *part;
    } cases[] = {
        {0, 0, VMLOAD_ERROR_MALFORMED, "command 1 to 11, found 0"},
        {12, 0, VMLOAD_ERROR_UNSUPPORTED, "command 1 to 11, found 12"},
        {65535, 0, VMLOAD_ERROR_UNSUPPORTED, "found 65535"},
        {2, 3, VMLOAD_ERROR_MALFORMED, "PING: expected a length of 4 to 4"},
        {2, 5, VMLOAD_ERROR_MALFORMED, "found 5"},
        {1, 1, VMLOAD_ERROR_MALFORMED, "OPEN_RETURN_PATH: "},
        {7, 0, VMLOAD_ERROR_MALFORMED, "PACKAGED: "},
        {10, 1, VMLOAD_ERROR_MALFORMED, "RECV_BITMAP: "},
        {10, 257, VMLOAD_ERROR_MALFORMED, "2 to 256, found 257"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadCommand command = {.offset = 77};
        GError *error = NULL;
        uint64_t left;

        assert_false(read_command(cases[i].number, cases[i].length, &command,
                                  &left, &error));
        assert_unit_error(&error, cases[i].code, cases[i].part);
        assert_int_equal(command.offset, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_command_cut),
        cmocka_unit_test(test_command_read),
        cmocka_unit_test(test_command_refused),
    };

    return cmocka_run_group_tests_name("stream-command", tests, NULL, NULL);
}

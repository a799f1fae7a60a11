/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop over records: which end it, what it says of each, and where. */
#include "unit.h"

#include "loader/internal.h"
#include "stream-writer.h"

typedef struct {
    VmloadLoader *loader;
    GString *log;
} Host;

static void on_record(void *opaque, const VmloadRecordInfo *info)
{
    Host *host = opaque;

    g_string_append_printf(
        host->log, "%u/%u@%u+%u:%u:%s ", info->type, info->command,
        (unsigned)info->offset, (unsigned)info->length, info->depth,
        info->section != NULL ? info->section->idstr : "-");
}

static bool load_four(void *opaque, VmloadReader *reader,
                      const VmloadSection *section, GError **error)
{
    (void)opaque;
    (void)section;
    return vmload_reader_skip(reader, 4, error);
}

static void host_init(Host *host)
{
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT, .record = on_record};
    const VmloadDeviceOps device = {VMLOAD_DEVICE_OPS_INIT,
                                    .load = load_four};

    host->log = g_string_new(NULL);
    host->loader = vmload_loader_new(&ops, host, NULL, NULL);
    assert_non_null(host->loader);
    host->loader->footers = VMLOAD_PRESENCE_REQUIRED;
    host->loader->self = g_thread_self();
    assert_true(vmload_loader_add_device(host->loader, "cpu", 0, 0, 9, NULL,
                                         &device, NULL, NULL, NULL));
}

static void host_clear(Host *host, const char *log)
{
    assert_string_equal(host->log->str, log);
    assert_int_equal(host->loader->depth, 0);
    g_string_free(host->log, TRUE);
    vmload_loader_free(host->loader);
}

/* Takes @out. *@taken (nullable): how many of its bytes were read. */
static VmloadCommandResult dispatch(Host *host, GByteArray *out,
                                    uint64_t *taken, GError **error)
{
    VmloadReader *reader = vmload_reader_new_memory(out->data, out->len, 0);
    VmloadCommandResult result;

    vmload_reader_set_depth(reader, host->loader->depth);
    result = vmload_loader_dispatch_records(host->loader, reader, error);
    if (taken != NULL) {
        *taken = vmload_reader_get_offset(reader);
    }
    vmload_reader_free(reader);
    g_byte_array_unref(out);
    return result;
}

static VmloadPosition position_of(const Host *host)
{
    VmloadPosition position = {.struct_size = (uint32_t)sizeof(position)};

    vmload_loader_get_position(host->loader, &position);
    return position;
}

/* Records in order up to EOF, and not a byte more. */
static void test_records(void **state)
{
    GByteArray *out = sw_new();
    VmloadPosition position;
    uint64_t taken;
    Host host;

    (void)state;
    host_init(&host);
    sw_device(out, 7, "cpu", 0, 1, "abcd", 4);
    sw_command(out, SW_CMD_SWITCHOVER_START, NULL, 0);
    sw_eof(out);
    sw_fill(out, 0xee, 5);
    assert_int_equal(dispatch(&host, out, &taken, NULL),
                     VMLOAD_COMMAND_DONE);
    assert_int_equal(taken, 26 + 5 + 1);
    position = position_of(&host);
    assert_int_equal(position.record, VMLOAD_RECORD_EOF);
    assert_int_equal(position.offset, 31);
    assert_string_equal(position.idstr, "");
    host_clear(&host, "4/0@0+26:0:cpu 8/11@26+5:0:- 0/0@31+1:0:- ");
}

/* Each ends the loop; the position is that of the record that was bad. */
static void test_bad_records(void **state)
{
    static const struct {
        const char *bytes; /* behind one good EOF-less record */
        gsize n;
        VmloadError code;
        const char *part;
        uint32_t record;
    } cases[] = {
        {"", 0, VMLOAD_ERROR_TRUNCATED, "expected a record or EOF: ", 0},
        {"\x05", 1, VMLOAD_ERROR_MALFORMED,
         "expected a record type, found 0x05", 5},
        {"\x7e", 1, VMLOAD_ERROR_MALFORMED,
         "expected a record type, found 0x7e", 0x7e},
        {"\xff", 1, VMLOAD_ERROR_MALFORMED,
         "expected a record type, found 0xff", 0xff},
        {"\x08\x00\x02", 3, VMLOAD_ERROR_TRUNCATED, "", 8},
        {"\x02\x00\x00\x00\x09", 5, VMLOAD_ERROR_MALFORMED, "9", 2},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *out = sw_new();
        GError *error = NULL;
        VmloadPosition position;
        uint64_t taken;
        Host host;

        host_init(&host);
        sw_command(out, SW_CMD_SWITCHOVER_START, NULL, 0);
        sw_bytes(out, cases[i].bytes, cases[i].n);
        assert_int_equal(dispatch(&host, out, &taken, &error),
                         VMLOAD_COMMAND_FAILED);
        assert_unit_error(&error, cases[i].code, cases[i].part);
        position = position_of(&host);
        assert_int_equal(position.record, cases[i].record);
        assert_int_equal(position.record_offset, 5);
        assert_int_equal(position.offset, taken);
        assert_true(host.loader->position_final);
        host_clear(&host, "8/11@0+5:0:- ");
    }
}

/* The first place of a failure stays, until another record begins. */
static void test_failure(void **state)
{
    const VmloadSection section = {.section_id = 3, .idstr = "cpu",
                                   .instance_id = 2};
    VmloadPosition position;
    Host host;

    (void)state;
    host_init(&host);
    vmload_loader_note_record(host.loader, VMLOAD_RECORD_FULL, 10, &section);
    vmload_loader_note_failure(host.loader, 17);
    vmload_loader_note_failure(host.loader, 99);
    position = position_of(&host);
    assert_int_equal(position.offset, 17);
    assert_int_equal(position.record_offset, 10);
    assert_int_equal(position.section_id, 3);
    assert_int_equal(position.instance_id, 2);
    assert_string_equal(position.idstr, "cpu");
    vmload_loader_note_record(host.loader, VMLOAD_RECORD_EOF, 20, NULL);
    vmload_loader_note_failure(host.loader, 21);
    position = position_of(&host);
    assert_int_equal(position.offset, 21);
    assert_int_equal(position.section_id, 0);
    assert_int_equal(position.instance_id, 0);
    host_clear(&host, "");
}

/* As deep as the limit says, and no deeper. */
static void test_depth(void **state)
{
    GError *error = NULL;
    GByteArray *out;
    VmloadLimits limits;
    Host host;

    (void)state;
    host_init(&host);
    vmload_limits_init(&limits);
    limits.nesting = 3;
    vmload_loader_set_limits(host.loader, &limits);
    host.loader->depth = 2;
    out = sw_new();
    sw_eof(out);
    assert_int_equal(dispatch(&host, out, NULL, &error),
                     VMLOAD_COMMAND_DONE);
    assert_int_equal(host.loader->depth, 2);
    host.loader->depth = 3;
    out = sw_new();
    sw_eof(out);
    assert_int_equal(dispatch(&host, out, NULL, &error),
                     VMLOAD_COMMAND_FAILED);
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "nesting (3)");
    assert_int_equal(host.loader->depth, 3);
    host.loader->depth = 0;
    host_clear(&host, "0/0@0+1:2:- ");
}

/* Looked at before each record: none is begun after it. */
static void test_cancel(void **state)
{
    GByteArray *out = sw_new();
    GError *error = NULL;
    uint64_t taken;
    Host host;

    (void)state;
    host_init(&host);
    sw_eof(out);
    vmload_cancel_fire(host.loader->cancel);
    assert_int_equal(dispatch(&host, out, &taken, &error),
                     VMLOAD_COMMAND_FAILED);
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    assert_int_equal(taken, 0);
    host_clear(&host, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records), cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_failure), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests_name("loader-dispatch", tests, NULL, NULL);
}

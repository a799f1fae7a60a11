/* SPDX-License-Identifier: BSD-3-Clause */
/* File header and configuration section (stream format, sections 1 and 3). */
#include "unit.h"

#include "stream-writer.h"
#include "stream/configuration.h"

static const uint8_t uuid[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
                                 14, 15};

/* Everything a source can send, behind the type byte. */
static GByteArray *make_full(void)
{
    static const char *const names[] = {"x-ignore-shared", "xbzrle", NULL};
    GByteArray *out = sw_new();

    sw_configuration(out, "pc-q35-10.2");
    sw_configuration_page_bits(out, 12);
    sw_configuration_capabilities(out, names);
    sw_configuration_uuid(out, uuid);
    return out;
}

static bool read_bytes(const uint8_t *data, guint length,
                       const VmloadLimits *limits,
                       VmloadConfigurationData *found, GError **error)
{
    VmloadReader *reader = vmload_reader_new_memory(data, length, 9);
    VmloadLimits standard;
    bool ok;

    vmload_limits_init(&standard);
    vmload_configuration_init(found);
    ok = vmload_configuration_read(reader,
                                   limits != NULL ? limits : &standard,
                                   found, error);
    vmload_reader_free(reader);
    return ok;
}

static void test_header(void **state)
{
    static const struct {
        const char *bytes;
        uint64_t length;
        int code; /* -1: good */
        const char *part;
    } cases[] = {
        {"QEVM\0\0\0\x03", 8, -1, NULL},
        {"QEVM\0\0\0\x02", 8, VMLOAD_ERROR_UNSUPPORTED, "version 3, found 2"},
        {"QEVM\0\0\0\x04", 8, VMLOAD_ERROR_UNSUPPORTED, "version 3, found 4"},
        {"QEVN\0\0\0\x03", 8, VMLOAD_ERROR_MALFORMED, "found 0x5145564e"},
        {"GET ", 4, VMLOAD_ERROR_MALFORMED, "found 0x47455420"},
        {"", 0, VMLOAD_ERROR_TRUNCATED, "offset 0x0"},
        {"QEV", 3, VMLOAD_ERROR_TRUNCATED, "offset 0x0"},
        {"QEVM", 4, VMLOAD_ERROR_TRUNCATED, "offset 0x4"},
        {"QEVM\0\0\0", 7, VMLOAD_ERROR_TRUNCATED, "offset 0x4"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadReader *reader = vmload_reader_new_memory(
            (const uint8_t *)cases[i].bytes, cases[i].length, 0);
        GError *error = NULL;

        assert_int_equal(vmload_stream_header_read(reader, &error),
                         cases[i].code < 0);
        if (cases[i].code >= 0) {
            assert_unit_error(&error, (VmloadError)cases[i].code,
                              cases[i].part);
        }
        vmload_reader_free(reader);
    }
}

static void test_full(void **state)
{
    GByteArray *out = make_full();
    VmloadConfigurationData found;
    GError *error = NULL;

    (void)state;
    if (!read_bytes(out->data + 1, out->len - 1, NULL, &found, &error)) {
        fail_msg("%s", error->message);
    }
    assert_int_equal(found.view.present, 15);
    assert_string_equal(found.view.machine, "pc-q35-10.2");
    assert_int_equal(found.view.target_page_bits, 12);
    assert_int_equal(found.view.n_capabilities, 2);
    assert_true(vmload_configuration_has_capability(&found.view,
                                                    "x-ignore-shared"));
    assert_false(vmload_configuration_has_capability(&found.view,
                                                     "mapped-ram"));
    assert_memory_equal(found.view.uuid, uuid, sizeof(uuid));
    vmload_configuration_clear(&found);
    g_byte_array_unref(out);
}

/* Cut at every byte: an error, or the whole of what stands before. */
static void test_cut(void **state)
{
    GByteArray *out = make_full();
    guint whole = 0;
    guint n;

    (void)state;
    for (n = 0; n + 1 < out->len; n++) {
        VmloadConfigurationData found;
        GError *error = NULL;

        if (read_bytes(out->data + 1, n, NULL, &found, &error)) {
            whole++;
        } else {
            assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x");
        }
        vmload_configuration_clear(&found);
    }
    /* Behind the machine and behind two of the three subsections. */
    assert_int_equal(whole, 3);
    g_byte_array_unref(out);
}

static void bad_machine_nul(GByteArray *out)
{
    sw_be32(out, 3);
    sw_bytes(out, "a\0b", 3);
}

static void bad_machine_long(GByteArray *out)
{
    sw_be32(out, 1025);
    sw_fill(out, 'a', 1025);
}

static void bad_machine_huge(GByteArray *out)
{
    sw_be32(out, UINT32_MAX);
}

static void empty_machine(GByteArray *out)
{
    sw_be32(out, 0);
}

static void bad_subsection(GByteArray *out)
{
    empty_machine(out);
    sw_subsection(out, "configuration/\x1b[2J", 1);
}

static void bad_version(GByteArray *out)
{
    empty_machine(out);
    sw_subsection(out, "configuration/uuid", 2);
    sw_bytes(out, uuid, sizeof(uuid));
}

static void bad_page_bits(GByteArray *out)
{
    empty_machine(out);
    sw_configuration_page_bits(out, 64);
}

static void bad_count(GByteArray *out)
{
    empty_machine(out);
    sw_subsection(out, "configuration/capabilities", 1);
    sw_be32(out, 1025);
}

static void bad_capability(GByteArray *out)
{
    static const char *const names[] = {"x-from-the-future", NULL};

    empty_machine(out);
    sw_configuration_capabilities(out, names);
}

static void test_bad(void **state)
{
    static const struct {
        void (*write)(GByteArray *out);
        VmloadError code;
        const char *part;
    } cases[] = {
        {bad_machine_nul, VMLOAD_ERROR_MALFORMED, "NUL"},
        {bad_machine_long, VMLOAD_ERROR_LIMIT, "configuration_names"},
        {bad_machine_huge, VMLOAD_ERROR_LIMIT, "4294967295"},
        {bad_subsection, VMLOAD_ERROR_UNSUPPORTED, "\\033[2J"},
        {bad_version, VMLOAD_ERROR_UNSUPPORTED, "0 or 1, found 2"},
        {bad_page_bits, VMLOAD_ERROR_MALFORMED, "found 64"},
        {bad_count, VMLOAD_ERROR_LIMIT, "1025 capabilities"},
        {bad_capability, VMLOAD_ERROR_UNSUPPORTED, "x-from-the-future"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadConfigurationData found;
        GByteArray *out = sw_new();
        GError *error = NULL;

        cases[i].write(out);
        assert_false(read_bytes(out->data, out->len, NULL, &found, &error));
        assert_unit_error(&error, cases[i].code, cases[i].part);
        vmload_configuration_clear(&found);
        g_byte_array_unref(out);
    }
}

/* The rules of section 3, one row each. */
static void test_match(void **state)
{
    static const char *const shared[] = {"x-ignore-shared"};
    static const char *const mapped[] = {"mapped-ram"};
    static const char *const other[] = {"xbzrle"};
    static const struct {
        VmloadConfiguration expected;
        VmloadConfiguration found;
        const char *part; /* NULL: they match */
    } cases[] = {
        {{.present = 0}, {.present = 15, .machine = "any"}, NULL},
        {{.present = 1, .machine = "pc-10"}, {.present = 1, .machine = "pc-10"},
         NULL},
        {{.present = 1, .machine = "pc-10"}, {.present = 1, .machine = "pc"},
         NULL},
        {{.present = 1, .machine = "pc-10"}, {.present = 1, .machine = ""},
         NULL},
        {{.present = 1, .machine = "pc-10"},
         {.present = 1, .machine = "pc-10.2"},
         "expected machine 'pc-10', found 'pc-10.2'"},
        {{.present = 1, .machine = "pc-10"}, {.present = 1, .machine = "q"},
         "found 'q'"},
        {{.present = 2, .target_page_bits = 12}, {.present = 0}, NULL},
        {{.present = 2, .target_page_bits = 13}, {.present = 0},
         "expected 13 target page bits, found none"},
        {{.present = 2, .target_page_bits = 12},
         {.present = 2, .target_page_bits = 13}, "bits, found 13"},
        {{.present = 4, .n_capabilities = 1, .capabilities = shared},
         {.present = 4, .n_capabilities = 1, .capabilities = shared}, NULL},
        {{.present = 4, .n_capabilities = 1, .capabilities = shared},
         {.present = 0}, "'x-ignore-shared' on, found it off"},
        {{.present = 4},
         {.present = 4, .n_capabilities = 1, .capabilities = mapped},
         "'mapped-ram' off, found it on"},
        {{.present = 4},
         {.present = 4, .n_capabilities = 1, .capabilities = other}, NULL},
        {{.present = 8}, {.present = 0}, NULL},
        {{.present = 8, .uuid = {1}}, {.present = 8, .uuid = {1}}, NULL},
        {{.present = 8, .uuid = {1}}, {.present = 8, .uuid = {2}}, "UUID"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;

        assert_int_equal(vmload_configuration_match(&cases[i].expected,
                                                    &cases[i].found, &error),
                         cases[i].part == NULL);
        if (cases[i].part != NULL) {
            assert_unit_error(&error, VMLOAD_ERROR_MISMATCH, cases[i].part);
        }
    }
}

static void test_copy(void **state)
{
    char machine[] = "pc";
    char name[] = "mapped-ram";
    const char *const names[] = {name};
    const VmloadConfiguration from = {.present = 7, .machine = machine,
                                      .n_capabilities = 1,
                                      .capabilities = names,
                                      .target_page_bits = 14};
    VmloadConfigurationData copy;

    (void)state;
    vmload_configuration_init(&copy);
    vmload_configuration_copy(&copy, &from);
    vmload_configuration_copy(&copy, &from);
    memset(machine, 'x', 2);
    memset(name, 'x', 4);
    assert_string_equal(copy.view.machine, "pc");
    assert_true(vmload_configuration_has_capability(&copy.view,
                                                    "mapped-ram"));
    assert_int_equal(copy.view.target_page_bits, 14);
    vmload_configuration_clear(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header), cmocka_unit_test(test_full),
        cmocka_unit_test(test_cut),    cmocka_unit_test(test_bad),
        cmocka_unit_test(test_match),  cmocka_unit_test(test_copy),
    };

    return cmocka_run_group_tests_name("configuration", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Headers of multifd packets and handshakes: every field, told and lying. */
#include "unit.h"

#include "channel/handshake.h"
#include "packet-writer.h"
#include "ram/multifd/packet.h"

#define PAGE 4096u

/* A legal packet of three normal and two zero pages. */
static GByteArray *make_packet(uint32_t flags)
{
    const uint64_t offsets[] = {0, PAGE, 5 * PAGE, 7 * PAGE, 2 * PAGE};
    GByteArray *out = sw_new();

    pw_ram(out, 12, flags, "pc.ram", offsets, 3, 2, 4711);
    return out;
}

static void test_sizes(void **state)
{
    static const struct {
        uint32_t bits;
        uint32_t capacity;
        uint32_t header;
    } cases[] = {
        {10, 512, 4416}, {12, 128, 1344}, {13, 64, 832},
        {14, 32, 576},   {16, 8, 384},    {30, 0, 320},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *out = sw_new();

        pw_sync(out, cases[i].bits);
        assert_int_equal(out->len, cases[i].header);
        assert_int_equal(vmload_multifd_capacity(cases[i].bits),
                         cases[i].capacity);
        assert_int_equal(vmload_multifd_header_size(cases[i].bits),
                         cases[i].header);
        g_byte_array_unref(out);
    }
}

static void test_fields(void **state)
{
    GByteArray *out = make_packet(PW_ZLIB | PW_SYNC);
    VmloadMultifdPacket packet;
    GError *error = NULL;
    uint32_t flags;

    (void)state;
    assert_int_equal(out->len, 1344);
    assert_true(vmload_multifd_packet_check(out->data, &flags, &error));
    assert_int_equal(flags, PW_ZLIB | PW_SYNC);
    assert_true(vmload_multifd_packet_parse(out->data, 12, &packet, &error));
    assert_int_equal(packet.flags, PW_ZLIB | PW_SYNC);
    assert_int_equal(packet.normal, 3);
    assert_int_equal(packet.zero, 2);
    assert_int_equal(packet.size, 4711);
    assert_string_equal(packet.idstr, "pc.ram");
    assert_int_equal(vmload_multifd_packet_offset(&packet, 0), 0);
    assert_int_equal(vmload_multifd_packet_offset(&packet, 2), 5 * PAGE);
    assert_int_equal(vmload_multifd_packet_offset(&packet, 4), 2 * PAGE);
    g_byte_array_unref(out);
}

/* A name without an end gets one. */
static void test_long_name(void **state)
{
    GByteArray *out = make_packet(0);
    VmloadMultifdPacket packet;

    (void)state;
    memset(out->data + PW_AT_RAMBLOCK, 'x', 256);
    assert_true(vmload_multifd_packet_parse(out->data, 12, &packet, NULL));
    assert_int_equal(strlen(packet.idstr), 255);
    g_byte_array_unref(out);
}

/* One field of a legal packet changed. */
static void test_lies(void **state)
{
    static const struct {
        guint at;
        uint32_t value;
        VmloadError code;
        const char *part;
    } cases[] = {
        {PW_AT_MAGIC, 0x11223345, VMLOAD_ERROR_MALFORMED,
         "field magic: expected 0x11223344, found 0x11223345"},
        {PW_AT_VERSION, 0, VMLOAD_ERROR_UNSUPPORTED, "field version"},
        {PW_AT_VERSION, 2, VMLOAD_ERROR_UNSUPPORTED,
         "field version: expected 1, found 2"},
        {PW_AT_FLAGS, 0x80, VMLOAD_ERROR_MALFORMED, "field flags"},
        {PW_AT_FLAGS, 0x80000000, VMLOAD_ERROR_MALFORMED, "found 0x80000000"},
        {PW_AT_FLAGS, 0x41, VMLOAD_ERROR_MALFORMED, "DEVICE_STATE"},
        {PW_AT_FLAGS, 0x42, VMLOAD_ERROR_MALFORMED, "DEVICE_STATE"},
        {PW_AT_PAGES_ALLOC, 129, VMLOAD_ERROR_MALFORMED,
         "field pages_alloc: expected at most 128, found 129"},
        {PW_AT_PAGES_ALLOC, UINT32_MAX, VMLOAD_ERROR_MALFORMED, "pages_alloc"},
        {PW_AT_PAGES_ALLOC, 2, VMLOAD_ERROR_MALFORMED,
         "field normal_pages: expected at most 2, found 3"},
        {PW_AT_PAGES_ALLOC, 4, VMLOAD_ERROR_MALFORMED,
         "field zero_pages: expected at most 1, found 2"},
        {PW_AT_NORMAL_PAGES, 129, VMLOAD_ERROR_MALFORMED, "normal_pages"},
        {PW_AT_NORMAL_PAGES, UINT32_MAX, VMLOAD_ERROR_MALFORMED,
         "normal_pages"},
        {PW_AT_NORMAL_PAGES, 127, VMLOAD_ERROR_MALFORMED, "zero_pages"},
        {PW_AT_ZERO_PAGES, 126, VMLOAD_ERROR_MALFORMED, "zero_pages"},
        {PW_AT_ZERO_PAGES, UINT32_MAX, VMLOAD_ERROR_MALFORMED, "zero_pages"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *out = make_packet(0);
        VmloadMultifdPacket packet;
        GError *error = NULL;
        uint32_t flags;

        sw_patch_be32(out, cases[i].at, cases[i].value);
        assert_false(vmload_multifd_packet_check(out->data, &flags, &error) &&
                     vmload_multifd_packet_parse(out->data, 12, &packet,
                                                 &error));
        assert_unit_error(&error, cases[i].code, cases[i].part);
        g_byte_array_unref(out);
    }
}

static void test_device_state(void **state)
{
    GByteArray *out = sw_new();
    GError *error = NULL;
    uint32_t flags;

    (void)state;
    pw_device(out, "0000:00:03.0/vfio", 7, 1);
    assert_int_equal(out->len, MULTIFD_DEVICE_SIZE + 1);
    assert_true(vmload_multifd_packet_check(out->data, &flags, &error));
    assert_int_equal(flags, PW_DEVICE_STATE);
    assert_false(vmload_multifd_packet_refuse(out->data, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED,
                      "'0000:00:03.0/vfio' instance 7");
    memset(out->data + 12, 'x', 256);
    assert_false(vmload_multifd_packet_refuse(out->data, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "field idstr");
    g_byte_array_unref(out);
}

static void test_handshake(void **state)
{
    const uint8_t uuid[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55};
    GByteArray *out = sw_new();
    VmloadHandshake handshake;
    GError *error = NULL;

    (void)state;
    pw_handshake(out, uuid, 254);
    assert_int_equal(out->len, VMLOAD_HANDSHAKE_SIZE);
    assert_true(vmload_handshake_parse(out->data, &handshake, &error));
    assert_int_equal(handshake.id, 254);
    assert_memory_equal(handshake.uuid, uuid, 16);

    sw_patch_be32(out, 4, 2);
    assert_false(vmload_handshake_parse(out->data, &handshake, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED,
                      "field version: expected 1, found 2");
    sw_patch_be32(out, 0, 0x11223343);
    assert_false(vmload_handshake_parse(out->data, &handshake, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "field magic");
    g_byte_array_unref(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_device_state),
        cmocka_unit_test(test_handshake),
    };

    return cmocka_run_group_tests_name("multifd-packet", tests, NULL, NULL);
}

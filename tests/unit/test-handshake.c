/* SPDX-License-Identifier: BSD-3-Clause */
/* A multifd channel's 64 bytes: each of them wrong, and each end too early. */
#include "unit.h"

#include "channel/identify.h"
#include "packet-writer.h"

#include <sys/socket.h>
#include <unistd.h>

#define SIZE VMLOAD_HANDSHAKE_SIZE

static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8,
                                 9, 10, 11, 12, 13, 14, 15, 16};

static GByteArray *make_handshake(void)
{
    GByteArray *bytes = sw_new();

    pw_handshake(bytes, uuid, 2);
    assert_int_equal(bytes->len, SIZE);
    return bytes;
}

/* Each bit flipped: its field says so, or it is the one that changed. */
static void test_each_bit(void **state)
{
    GByteArray *bytes = make_handshake();
    guint bit;

    (void)state;
    for (bit = 0; bit < SIZE * 8; bit++) {
        const VmloadHandshake before = {.uuid = {0xaa}, .id = 0xbbbb};
        VmloadHandshake handshake = before;
        uint8_t flip = (uint8_t)(1u << bit % 8);
        guint at = bit / 8;
        GError *error = NULL;
        bool ok;

        bytes->data[at] ^= flip;
        ok = vmload_handshake_parse(bytes->data, &handshake, &error);
        assert_int_equal(ok, at >= 8);
        if (!ok) {
            assert_unit_error(&error,
                              at < 4 ? VMLOAD_ERROR_MALFORMED
                                     : VMLOAD_ERROR_UNSUPPORTED,
                              at < 4 ? "field magic: expected 0x11223344"
                                     : "field version: expected 1, found");
            assert_memory_equal(&handshake, &before, sizeof(before));
        } else {
            assert_null(error);
            assert_memory_equal(handshake.uuid, bytes->data + 8, 16);
            /* What is behind the id is reserved, and no matter. */
            assert_int_equal(handshake.id, at == 24 ? 2 ^ flip : 2);
        }
        bytes->data[at] ^= flip;
    }
    g_byte_array_unref(bytes);
}

static void test_messages(void **state)
{
    static const struct {
        uint32_t magic;
        uint32_t version;
        VmloadError code;
        const char *part;
    } cases[] = {
        {0x44332211, 1, VMLOAD_ERROR_MALFORMED, "found 0x44332211"},
        {0, 0, VMLOAD_ERROR_MALFORMED, "found 0x00000000"},
        {VMLOAD_HANDSHAKE_MAGIC, 0, VMLOAD_ERROR_UNSUPPORTED, "found 0"},
        {VMLOAD_HANDSHAKE_MAGIC, 2, VMLOAD_ERROR_UNSUPPORTED, "found 2"},
        {VMLOAD_HANDSHAKE_MAGIC, 0x01000000, VMLOAD_ERROR_UNSUPPORTED,
         "found 16777216"},
        {VMLOAD_HANDSHAKE_MAGIC, UINT32_MAX, VMLOAD_ERROR_UNSUPPORTED,
         "found 4294967295"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *bytes = make_handshake();
        VmloadHandshake handshake;
        GError *error = NULL;

        sw_patch_be32(bytes, 0, cases[i].magic);
        sw_patch_be32(bytes, 4, cases[i].version);
        assert_false(vmload_handshake_parse(bytes->data, &handshake, &error));
        assert_unit_error(&error, cases[i].code, cases[i].part);
        g_byte_array_unref(bytes);
    }
}

/* Reads until the connection is something. */
static bool classify(VmloadIdentify *identify, VmloadConnectionKind *kind,
                     GError **error)
{
    *kind = VMLOAD_CONNECTION_UNKNOWN;
    while (*kind == VMLOAD_CONNECTION_UNKNOWN) {
        if (!vmload_identify_read(identify, 0, kind, error)) {
            return false;
        }
    }
    return true;
}

/* The first @n bytes and the end: a stranger, an error, or a channel. */
static void test_each_length(void **state)
{
    GByteArray *bytes = make_handshake();
    guint n;

    (void)state;
    for (n = 0; n <= SIZE; n++) {
        VmloadIdentify identify = {.max_multifd = 4};
        char *found = g_strdup_printf("found the end after %u", n);
        VmloadConnectionKind kind;
        GError *error = NULL;
        int pair[2];
        bool ok;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        assert_int_equal(send(pair[1], bytes->data, n, MSG_NOSIGNAL), n);
        close(pair[1]);
        vmload_identify_add(&identify, vmload_channel_take_fd(pair[0], NULL),
                            pair[0]);
        ok = classify(&identify, &kind, &error);
        assert_int_equal(ok, n < 4 || n == SIZE);
        if (!ok) {
            assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, found);
        } else {
            assert_int_equal(kind, n < 4 ? VMLOAD_CONNECTION_REFUSED
                                         : VMLOAD_CONNECTION_MULTIFD);
        }
        assert_int_equal(identify.n_multifd, n == SIZE);
        assert_int_equal(identify.seen[2], n == SIZE);
        g_free(found);
        vmload_identify_clear(&identify);
    }
    g_byte_array_unref(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_bit),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_each_length),
    };

    return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}

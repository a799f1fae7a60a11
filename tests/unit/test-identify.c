/* SPDX-License-Identifier: BSD-3-Clause */
/* Classification alone: connections that are there, bytes that trickle. */
#include "unit.h"

#include "channel/identify.h"
#include "packet-writer.h"

#include <sys/socket.h>
#include <unistd.h>

/* Adds a connection; its other end. */
static int add(VmloadIdentify *identify)
{
    GError *error = NULL;
    VmloadChannel *channel;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    channel = vmload_channel_take_fd(pair[0], &error);
    assert_non_null(channel);
    vmload_identify_add(identify, channel, pair[0]);
    return pair[1];
}

static void say(int peer, const char *text)
{
    size_t length = strlen(text);

    assert_int_equal(send(peer, text, length, MSG_NOSIGNAL), length);
}

static VmloadConnectionKind step(VmloadIdentify *identify, uint32_t index)
{
    GError *error = NULL;
    VmloadConnectionKind kind;

    if (!vmload_identify_read(identify, index, &kind, &error)) {
        fail_msg("%s", error->message);
    }
    return kind;
}

static void assert_closed(int peer)
{
    char byte;

    assert_true(recv(peer, &byte, 1, MSG_DONTWAIT) == 0);
    close(peer);
}

static void assert_open(int peer)
{
    char byte;

    assert_true(recv(peer, &byte, 1, MSG_DONTWAIT) < 0);
}

static void test_trickle(void **state)
{
    VmloadIdentify identify = {0};
    int peer = add(&identify);
    GError *error = NULL;
    char data[8];
    struct iovec iov = {data, sizeof(data)};

    (void)state;
    assert_int_equal(identify.count, 1);
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    say(peer, "Q");
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    say(peer, "EV");
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    assert_int_equal(identify.n_pending, 1);
    say(peer, "M123");
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_MAIN);
    assert_int_equal(identify.n_pending, 0);
    assert_non_null(identify.main);

    /* All bytes are there, in order. */
    assert_int_equal(
        vmload_channel_readv(identify.main, &iov, 1, NULL, &error), 4);
    assert_memory_equal(data, "QEVM", 4);
    assert_int_equal(
        vmload_channel_readv(identify.main, &iov, 1, NULL, &error), 3);
    assert_memory_equal(data, "123", 3);
    vmload_identify_clear(&identify);
    assert_closed(peer);
}

typedef struct {
    guint n;
    char *connection;
    GError *reason;
} Refused;

static void refused(void *opaque, const char *connection, const GError *reason)
{
    Refused *told = opaque;

    told->n++;
    g_free(told->connection);
    told->connection = g_strdup(connection);
    g_clear_error(&told->reason);
    told->reason = g_error_copy(reason);
}

static void assert_told(Refused *told, VmloadError code, const char *part)
{
    assert_int_equal(told->n, 1);
    assert_string_equal(told->connection, "main");
    assert_unit_error(&told->reason, code, part);
    g_clear_pointer(&told->connection, g_free);
    told->n = 0;
}

static void test_many(void **state)
{
    Refused told = {0};
    VmloadIdentify identify = {.refused = refused, .opaque = &told};
    int silent = add(&identify);
    int gone = add(&identify);
    int first = add(&identify);
    int second = add(&identify);

    (void)state;
    close(gone);
    say(second, "QEVM");
    assert_int_equal(step(&identify, 1), VMLOAD_CONNECTION_REFUSED);
    assert_told(&told, VMLOAD_ERROR_TRUNCATED, "found the end after 0");
    assert_int_equal(identify.n_pending, 3);
    assert_int_equal(step(&identify, 2), VMLOAD_CONNECTION_MAIN);
    /* The second one is refused, the first stays. */
    say(first, "QEVM");
    assert_int_equal(step(&identify, 1), VMLOAD_CONNECTION_REFUSED);
    assert_told(&told, VMLOAD_ERROR_MALFORMED, "expected one main channel");
    assert_closed(first);
    assert_open(second);
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    assert_int_equal(identify.n_pending, 1);
    vmload_identify_clear(&identify);
    assert_closed(silent);
    assert_closed(second);
}

static void test_errors(void **state)
{
    static const struct {
        const char *text;
        VmloadError code;
        const char *part;
    } cases[] = {
        {"\x11\x22\x33\x44", VMLOAD_ERROR_UNSUPPORTED, "multifd"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadIdentify identify = {0};
        int main_peer = add(&identify);
        int peer = add(&identify);
        GError *error = NULL;
        VmloadConnectionKind kind;

        /* Also with a main channel: the order says nothing. */
        say(main_peer, "QEVM");
        assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_MAIN);
        say(peer, cases[i].text);
        assert_false(vmload_identify_read(&identify, 0, &kind, &error));
        assert_unit_error(&error, cases[i].code, cases[i].part);
        vmload_identify_clear(&identify);
        assert_closed(main_peer);
        assert_closed(peer);
    }
}

/* No source speaks like that: it goes, whether there is a source or not. */
static void test_strangers(void **state)
{
    static const struct {
        const char *text;
        VmloadError code;
        const char *part;
    } cases[] = {
        {"\x08\x01\x01\x01", VMLOAD_ERROR_MALFORMED, "found 0x08010101"},
        {"MVEQ", VMLOAD_ERROR_MALFORMED,
         "expected magic 0x5145564d (QEVM), found 0x4d564551"},
        {"\x16\x03\x01\xff", VMLOAD_ERROR_MALFORMED, "a TLS handshake"},
        {"QEV", VMLOAD_ERROR_TRUNCATED,
         "expected 4 bytes of magic, found the end after 3"},
        {"", VMLOAD_ERROR_TRUNCATED, "found the end after 0"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(cases); i++) {
        const char *text = cases[i / 2].text;
        Refused told = {0};
        VmloadIdentify identify = {.refused = refused, .opaque = &told};
        VmloadConnectionKind kind = VMLOAD_CONNECTION_UNKNOWN;
        int main_peer = add(&identify);
        int peer = add(&identify);

        if (i % 2 != 0) {
            say(main_peer, "QEVM");
            assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_MAIN);
        }
        say(peer, text);
        assert_int_equal(shutdown(peer, SHUT_WR), 0);
        while (kind == VMLOAD_CONNECTION_UNKNOWN) {
            kind = step(&identify, identify.n_pending - 1);
        }
        assert_int_equal(kind, VMLOAD_CONNECTION_REFUSED);
        assert_told(&told, cases[i / 2].code, cases[i / 2].part);
        assert_closed(peer);
        assert_open(main_peer);
        vmload_identify_clear(&identify);
        assert_int_equal(told.n, 0);
        assert_closed(main_peer);
    }
}

/* Who has had the time for it and has not said what it is. */
static void test_expire(void **state)
{
    Refused told = {0};
    VmloadIdentify identify = {.refused = refused, .opaque = &told};
    int silent = add(&identify);
    int slow = add(&identify);

    (void)state;
    assert_int_equal(identify.pending[0].deadline, -1);
    say(slow, "QE");
    assert_int_equal(step(&identify, 1), VMLOAD_CONNECTION_UNKNOWN);
    vmload_identify_expire(&identify, 0, 7);
    assert_told(&told, VMLOAD_ERROR_TIMEOUT,
                "expected 4 bytes of magic within 7 ms, found 0");
    assert_closed(silent);
    vmload_identify_expire(&identify, 0, 7);
    assert_told(&told, VMLOAD_ERROR_TIMEOUT, "found 2");
    assert_closed(slow);
    assert_int_equal(identify.n_pending, 0);
    vmload_identify_clear(&identify);
}

static void say_handshake(int peer, const uint8_t *uuid, uint8_t id,
                          size_t from, size_t to)
{
    GByteArray *bytes = sw_new();

    pw_handshake(bytes, uuid, id);
    assert_int_equal(send(peer, bytes->data + from, to - from, MSG_NOSIGNAL),
                     to - from);
    g_byte_array_unref(bytes);
}

/* Multifd channels in front of the main channel and behind it, in pieces. */
static void test_multifd(void **state)
{
    VmloadIdentify identify = {.max_multifd = 255};
    int first = add(&identify);
    int main_peer = add(&identify);
    int second = add(&identify);
    GError *error = NULL;
    char data[8];
    struct iovec iov = {data, sizeof(data)};
    uint32_t gap = 99;

    (void)state;
    say_handshake(first, NULL, 254, 0, 3);
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    say_handshake(first, NULL, 254, 3, 63);
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    say_handshake(first, NULL, 254, 63, 64);
    say(first, "packet");
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_MULTIFD);
    assert_int_equal(identify.n_multifd, 1);
    assert_true(vmload_identify_has_gap(&identify, &gap));
    assert_int_equal(gap, 0);
    assert_string_equal(vmload_channel_get_name(identify.multifd[254]),
                        "multifd 254");
    /* What is behind the handshake is the channel's. */
    assert_int_equal(
        vmload_channel_readv(identify.multifd[254], &iov, 1, NULL, &error), 6);
    assert_memory_equal(data, "packet", 6);

    say(main_peer, "QEVM");
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_MAIN);
    say_handshake(second, NULL, 0, 0, 64);
    /* The magic comes first, whatever else is there. */
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_MULTIFD);
    assert_true(vmload_identify_has_gap(&identify, &gap));
    assert_int_equal(gap, 1);
    vmload_identify_clear(&identify);
    close(first);
    assert_closed(main_peer);
    assert_closed(second);
}

/* Reads until the connection is known, or is refused with an error. */
static bool settle(VmloadIdentify *identify, GError **error)
{
    VmloadConnectionKind kind = VMLOAD_CONNECTION_UNKNOWN;
    uint32_t index = identify->n_pending - 1;

    while (kind == VMLOAD_CONNECTION_UNKNOWN) {
        if (!vmload_identify_read(identify, index, &kind, error)) {
            return false;
        }
    }
    return true;
}

static void test_multifd_errors(void **state)
{
    static const uint8_t zeros[16];
    static const uint8_t uuid[16] = {1, 2, 3};
    static const struct {
        const uint8_t *expected; /* NULL: none */
        const uint8_t *found;
        uint8_t id;
        guint at; /* 0: nothing is changed */
        size_t length;
        VmloadError code;
        const char *part;
    } cases[] = {
        {NULL, zeros, 2, 0, 64, VMLOAD_ERROR_MALFORMED,
         "expected 0 to 1, found 2"},
        {NULL, zeros, 255, 0, 64, VMLOAD_ERROR_MALFORMED, "found 255"},
        {NULL, zeros, 0, 0, 64, VMLOAD_ERROR_MALFORMED,
         "expected each multifd channel once, found 0 again"},
        {NULL, uuid, 1, 0, 64, VMLOAD_ERROR_MISMATCH, "field uuid"},
        {zeros, uuid, 1, 0, 64, VMLOAD_ERROR_MISMATCH, "field uuid"},
        {zeros, zeros, 1, 7, 64, VMLOAD_ERROR_UNSUPPORTED, "field version"},
        {zeros, zeros, 1, 0, 63, VMLOAD_ERROR_TRUNCATED,
         "expected 64 bytes of handshake, found the end after 63"},
        {zeros, zeros, 1, 0, 4, VMLOAD_ERROR_TRUNCATED,
         "expected 64 bytes of handshake, found the end after 4"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadIdentify identify = {.max_multifd = 2};
        GByteArray *bytes = sw_new();
        GError *error = NULL;
        int first;
        int peer;

        if (cases[i].expected != NULL) {
            identify.has_uuid = true;
            memcpy(identify.uuid, cases[i].expected, 16);
        }
        first = add(&identify);
        say_handshake(first, NULL, 0, 0, 64);
        assert_true(settle(&identify, &error));
        peer = add(&identify);
        pw_handshake(bytes, cases[i].found, cases[i].id);
        bytes->data[cases[i].at] ^= cases[i].at > 0 ? 0x40 : 0;
        assert_int_equal(send(peer, bytes->data, cases[i].length,
                              MSG_NOSIGNAL),
                         cases[i].length);
        shutdown(peer, SHUT_WR);
        assert_false(settle(&identify, &error));
        assert_unit_error(&error, cases[i].code, cases[i].part);
        vmload_identify_clear(&identify);
        assert_closed(first);
        assert_closed(peer);
        g_byte_array_unref(bytes);
    }
}

/* A transport that breaks at its first or second read. */
typedef struct {
    uint32_t reads;
    uint32_t good;
} Broken;

static int64_t broken_readv(void *opaque, const struct iovec *iov, uint32_t n,
                            GError **error)
{
    Broken *broken = opaque;

    (void)n;
    if (broken->reads++ < broken->good) {
        *(char *)iov[0].iov_base = 'Q';
        return 1;
    }
    g_set_error_literal(error, VMLOAD_ERROR, VMLOAD_ERROR_IO, "it broke");
    return -1;
}

static void test_broken(void **state)
{
    const VmloadChannelOps ops = {
        VMLOAD_CHANNEL_OPS_INIT,
        .readv = broken_readv,
    };
    VmloadIdentify identify = {0};
    Broken silent = {0, 0};
    Broken spoken = {0, 1};

    (void)state;
    vmload_identify_add(
        &identify, vmload_channel_new_from_ops(&ops, &silent, NULL, NULL), -1);
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_REFUSED);
    assert_int_equal(identify.n_pending, 0);
    vmload_identify_add(
        &identify, vmload_channel_new_from_ops(&ops, &spoken, NULL, NULL), -1);
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_REFUSED);
    assert_int_equal(identify.n_pending, 0);
    vmload_identify_clear(&identify);
}

/* Who goes when there is no room: the oldest that has said nothing. */
static void test_room(void **state)
{
    Refused told = {0};
    VmloadIdentify identify = {.refused = refused, .opaque = &told};
    int peers[VMLOAD_PENDING_MAX + 2];
    size_t i;

    (void)state;
    for (i = 0; i < VMLOAD_PENDING_MAX; i++) {
        peers[i] = add(&identify);
    }
    say(peers[0], "Q");
    assert_int_equal(step(&identify, 0), VMLOAD_CONNECTION_UNKNOWN);
    peers[VMLOAD_PENDING_MAX] = add(&identify);
    assert_int_equal(identify.n_pending, VMLOAD_PENDING_MAX);
    assert_told(&told, VMLOAD_ERROR_LIMIT,
                "at most 16 connections that say nothing");
    assert_closed(peers[1]);
    assert_open(peers[0]);

    /* All have said something: then just the oldest. */
    for (i = 2; i <= VMLOAD_PENDING_MAX; i++) {
        say(peers[i], "Q");
        assert_int_equal(step(&identify, (uint32_t)i - 1),
                         VMLOAD_CONNECTION_UNKNOWN);
    }
    peers[VMLOAD_PENDING_MAX + 1] = add(&identify);
    assert_int_equal(identify.n_pending, VMLOAD_PENDING_MAX);
    assert_told(&told, VMLOAD_ERROR_LIMIT, "connections that say nothing");
    assert_closed(peers[0]);
    vmload_identify_clear(&identify);
    for (i = 2; i < G_N_ELEMENTS(peers); i++) {
        /* With a byte that nobody reads any more in it: an error or the end. */
        close(peers[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trickle),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_expire),
        cmocka_unit_test(test_multifd),
        cmocka_unit_test(test_multifd_errors),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_room),
    };

    return cmocka_run_group_tests_name("identify", tests, NULL, NULL);
}

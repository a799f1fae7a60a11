/* SPDX-License-Identifier: BSD-3-Clause */
/* Readers over channels that give their bytes in pieces. */
#include "unit.h"

#include <sys/socket.h>
#include <unistd.h>

#include "stream/reader.h"

#define SIZE (3 * VMLOAD_READER_BUFFER + 1234)

/* A channel that gives its bytes @step by @step. */
typedef struct {
    const uint8_t *data;
    uint64_t length;
    uint64_t step;
    uint64_t given;
} Pieces;

static int64_t pieces_readv(void *opaque, const struct iovec *iov, uint32_t n,
                            GError **error)
{
    Pieces *pieces = opaque;
    uint64_t give = MIN(pieces->step, pieces->length - pieces->given);
    uint64_t total = 0;
    uint32_t i;

    (void)error;
    for (i = 0; i < n && give > 0; i++) {
        uint64_t part = MIN(give, (uint64_t)iov[i].iov_len);

        memcpy(iov[i].iov_base, pieces->data + pieces->given, part);
        pieces->given += part;
        total += part;
        give -= part;
    }
    return (int64_t)total;
}

typedef struct {
    uint8_t *data;
    Pieces pieces;
    VmloadChannel *channel;
    VmloadReader *reader;
    uint64_t bytes;
    uint64_t last_ns;
} Stream;

static void stream_init(Stream *stream, uint64_t length, uint64_t step)
{
    const VmloadChannelOps ops = {VMLOAD_CHANNEL_OPS_INIT,
                                  .readv = pieces_readv};
    const VmloadWait wait = {0};
    uint64_t i;

    memset(stream, 0, sizeof(*stream));
    stream->data = g_malloc(length + 1);
    for (i = 0; i < length; i++) {
        stream->data[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    stream->pieces = (Pieces){stream->data, length, step, 0};
    stream->channel = vmload_channel_new_from_ops(&ops, &stream->pieces, NULL,
                                                  NULL);
    stream->reader = vmload_reader_new_channel(stream->channel, &wait, NULL);
    assert_non_null(stream->reader);
    vmload_reader_set_counters(stream->reader, &stream->bytes,
                               &stream->last_ns);
}

static void stream_clear(Stream *stream)
{
    vmload_reader_free(stream->reader);
    vmload_channel_unref(stream->channel);
    g_free(stream->data);
}

static const uint64_t steps[] = {1, 2, 3, 1000, 4096, UINT64_MAX};

/* Numbers, peeks, skips, small and direct reads mixed: all bytes, in order. */
static void test_mixed(void **state)
{
    static const uint64_t sizes[] = {1,    2,     8,      5,    4096, 70000,
                                     3,    1,     300000, 4097, 0,    255};
    uint8_t *buffer = g_malloc(300000);
    size_t s;

    (void)state;
    for (s = 0; s < G_N_ELEMENTS(steps); s++) {
        uint64_t at = 0;
        Stream stream;
        size_t i;

        stream_init(&stream, SIZE, steps[s]);
        for (i = 0; at + 300000 < SIZE; i++) {
            uint64_t size = sizes[i % G_N_ELEMENTS(sizes)];
            uint64_t available;
            const uint8_t *data;

            assert_true(vmload_reader_peek(stream.reader, 4, &data,
                                           &available, NULL));
            assert_int_equal(available, 4);
            assert_memory_equal(data, stream.data + at, 4);
            if (i % 5 == 4) {
                assert_true(vmload_reader_skip(stream.reader, size, NULL));
            } else {
                assert_true(vmload_reader_read(stream.reader, buffer, size,
                                               NULL));
                assert_int_equal(memcmp(buffer, stream.data + at, size), 0);
            }
            at += size;
            assert_int_equal(vmload_reader_get_offset(stream.reader), at);
        }
        assert_true(vmload_reader_skip(stream.reader, SIZE - at, NULL));
        assert_int_equal(stream.bytes, SIZE);
        assert_true(stream.last_ns != 0);
        stream_clear(&stream);
    }
    g_free(buffer);
}

/* A short read says how much was wanted and had; the error sticks. */
static void test_short(void **state)
{
    uint8_t buffer[64];
    size_t s;

    (void)state;
    for (s = 0; s < G_N_ELEMENTS(steps); s++) {
        GError *error = NULL;
        const uint8_t *data;
        uint64_t available;
        uint64_t before;
        uint32_t value = 77;
        Stream stream;
        bool got;

        stream_init(&stream, 10, steps[s]);
        assert_true(vmload_reader_peek(stream.reader, 20, &data, &available,
                                       &error));
        assert_int_equal(available, 10);
        assert_true(vmload_reader_skip(stream.reader, 8, &error));
        before = stream.last_ns;
        assert_false(vmload_reader_get_be32(stream.reader, &value, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED,
                          "offset 0x8: expected 4 bytes, found the end after "
                          "2");
        assert_int_equal(value, 77);
        /* The end is no byte. */
        assert_int_equal(stream.last_ns, before);
        assert_false(vmload_reader_skip(stream.reader, 1, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x8");
        assert_int_equal(vmload_reader_get_offset(stream.reader), 8);
        assert_false(vmload_reader_peek(stream.reader, 1, &data, &available,
                                        &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x8");
        assert_false(vmload_reader_read(stream.reader, buffer, 1, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x8");
        assert_false(vmload_reader_poll(stream.reader, 1000, &got, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x8");
        stream_clear(&stream);

        stream_init(&stream, 10, steps[s]);
        assert_false(vmload_reader_read(stream.reader, buffer, 64, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED,
                          "expected 64 bytes, found the end after 10");
        stream_clear(&stream);
    }
}

/* The window grows contiguously up to its bound. */
static void test_grow(void **state)
{
    const uint64_t max = 2 * VMLOAD_READER_BUFFER;
    size_t s;

    (void)state;
    for (s = 2; s < G_N_ELEMENTS(steps); s++) {
        GError *error = NULL;
        const uint8_t *data;
        bool silent = false;
        bool end = false;
        uint64_t length = 0;
        Stream stream;

        stream_init(&stream, SIZE, steps[s]);
        assert_true(vmload_reader_skip(stream.reader, 100, &error));
        while (vmload_reader_grow(stream.reader, 0, max, 0, &silent, &end,
                                  &error)) {
            uint64_t before = length;

            assert_false(end);
            data = vmload_reader_window(stream.reader, &length);
            assert_true(length > before);
            assert_int_equal(memcmp(data + before,
                                    stream.data + 100 + before,
                                    length - before),
                             0);
        }
        data = vmload_reader_window(stream.reader, &length);
        assert_int_equal(memcmp(data, stream.data + 100, length), 0);
        assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "524288 bytes");
        assert_true(length >= max && length <= max + VMLOAD_READER_BUFFER);
        assert_int_equal(vmload_reader_get_offset(stream.reader), 100);
        stream_clear(&stream);
    }
}

static void test_grow_to_end(void **state)
{
    GError *error = NULL;
    bool silent = false;
    bool end = false;
    uint64_t length;
    Stream stream;

    (void)state;
    stream_init(&stream, 1000, 64);
    assert_false(vmload_reader_has_ended(stream.reader));
    while (!end) {
        assert_true(vmload_reader_grow(stream.reader, 0, 5000, 0, &silent, &end,
                                       &error));
    }
    assert_true(vmload_reader_has_ended(stream.reader));
    vmload_reader_window(stream.reader, &length);
    assert_int_equal(length, 1000);
    vmload_reader_consume(stream.reader, 5000);
    assert_int_equal(vmload_reader_get_offset(stream.reader), 1000);
    stream_clear(&stream);
}

/* Silence, by the caller's measure or by the watchdog's, whichever ends. */
static void test_silence(void **state)
{
    static const struct {
        int64_t timeout_us;
        int64_t settle_us;
    } cases[] = {{0, 2000}, {2000, 60000000}, {60000000, 2000}};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        const VmloadWait wait = {.timeout_us = cases[i].timeout_us};
        GError *error = NULL;
        VmloadChannel *channel;
        VmloadReader *reader;
        bool silent = false;
        bool end = false;
        bool got = true;
        uint8_t byte;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        channel = vmload_channel_take_fd(fds[0], NULL);
        reader = vmload_reader_new_channel(channel, &wait, NULL);
        assert_true(vmload_reader_poll(reader, cases[i].settle_us, &got,
                                       &error));
        assert_false(got);
        assert_true(vmload_reader_grow(reader, 0, 100, cases[i].settle_us,
                                       &silent, &end, &error));
        assert_true(silent);
        assert_false(end);
        /* It goes on afterwards. */
        assert_int_equal(write(fds[1], "x", 1), 1);
        assert_true(vmload_reader_poll(reader, cases[i].settle_us, &got,
                                       &error));
        assert_true(got);
        assert_true(vmload_reader_get_u8(reader, &byte, &error));
        assert_int_equal(byte, 'x');
        /* Without settling it is an error. */
        vmload_reader_set_timeout(reader, 2000);
        assert_false(vmload_reader_get_u8(reader, &byte, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TIMEOUT, "2 ms");
        vmload_reader_free(reader);
        vmload_channel_unref(channel);
        close(fds[1]);
    }
}

/*
 * A file object over the reader: it reads ahead, gives back what it did not
 * need, and the reader goes on there.
 */
static void test_unread(void **state)
{
    uint8_t *buffer = g_malloc(VMLOAD_READER_UNREAD_MAX);
    size_t s;

    (void)state;
    for (s = 2; s < G_N_ELEMENTS(steps); s++) {
        uint64_t at = 0;
        Stream stream;
        uint32_t turn;

        stream_init(&stream, SIZE, steps[s]);
        for (turn = 0; at + 200000 < SIZE; turn++) {
            uint64_t had = 0;
            uint64_t back;

            /* As much as can be given back, in several reads. */
            while (had < 32768) {
                int64_t got = vmload_reader_read_some(stream.reader, buffer,
                                                      32768, NULL);

                assert_true(got > 0);
                assert_int_equal(memcmp(buffer, stream.data + at + had,
                                        (size_t)got), 0);
                had += (uint64_t)got;
            }
            assert_true(had <= VMLOAD_READER_UNREAD_MAX);
            back = turn % 4 == 0 ? had : had / (1 + turn % 4);
            assert_false(vmload_reader_unread(stream.reader,
                                              VMLOAD_READER_UNREAD_MAX + 1));
            assert_true(vmload_reader_unread(stream.reader, back));
            at += had - back;
            assert_int_equal(vmload_reader_get_offset(stream.reader), at);
            assert_true(vmload_reader_read(stream.reader, buffer, 777, NULL));
            assert_int_equal(memcmp(buffer, stream.data + at, 777), 0);
            at += 777;
            /* What others have read is not given back. */
            assert_false(vmload_reader_unread(stream.reader, 1));
            assert_true(vmload_reader_unread(stream.reader, 0));
        }
        assert_true(vmload_reader_skip(stream.reader, SIZE - at, NULL));
        assert_int_equal(vmload_reader_read_some(stream.reader, buffer, 1,
                                                 NULL), 0);
        assert_int_equal(stream.bytes, SIZE);
        stream_clear(&stream);
    }
    g_free(buffer);
}

/* A reader over nothing, and one over a staged section. */
static void test_memory(void **state)
{
    static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6};
    VmloadReader *empty = vmload_reader_new_memory(NULL, 0, 5);
    VmloadReader *reader = vmload_reader_new_memory(bytes, 6, 10);
    VmloadReader *staged;
    VmloadReader *again;
    GError *error = NULL;
    const uint8_t *data;
    uint64_t candidate;
    uint64_t visible;
    uint8_t value;

    (void)state;
    assert_true(vmload_reader_skip(empty, 0, &error));
    assert_true(vmload_reader_read(empty, NULL, 0, &error));
    assert_false(vmload_reader_get_u8(empty, &value, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x5");
    assert_true(vmload_reader_skip(reader, 2, &error));
    assert_false(vmload_reader_get_staged(reader, &data, &candidate,
                                          &visible));
    staged = vmload_reader_begin_staged(reader, 100, 3);
    assert_true(vmload_reader_get_staged(staged, &data, &candidate,
                                         &visible));
    assert_ptr_equal(data, bytes + 2);
    assert_int_equal(candidate, 3);
    assert_int_equal(visible, 4);
    assert_int_equal(vmload_reader_get_offset(staged), 12);
    assert_true(vmload_reader_skip(staged, 4, &error));
    assert_false(vmload_reader_skip(staged, 1, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x10");
    assert_int_equal(vmload_reader_get_offset(reader), 12);
    vmload_reader_end_staged(reader, staged);
    /* The next one has the memory, and not the error. */
    again = vmload_reader_begin_staged(reader, 2, 1);
    assert_ptr_equal(again, staged);
    assert_null(vmload_reader_get_error(again));
    assert_int_equal(vmload_reader_get_offset(again), 12);
    assert_true(vmload_reader_skip(again, 2, &error));
    /* Two at a time have one each. */
    staged = vmload_reader_begin_staged(reader, 1, 1);
    assert_ptr_not_equal(again, staged);
    vmload_reader_end_staged(reader, again);
    vmload_reader_end_staged(reader, staged);
    vmload_reader_free(reader);
    vmload_reader_free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unread),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_grow_to_end),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_memory),
    };

    return cmocka_run_group_tests_name("reader-stream", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes that the host buffers: two readers of one stream, one owner. */
#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "fake-file.h"
#include "stream-writer.h"
#include "stream/reader.h"
#include "stream/staging.h"

#define SIZE (5 * FAKE_FILE_BUFFER + 77)
#define ID 3u

static const VmloadWait no_wait;
static const uint64_t steps[] = {1, 2, 3, 1000, 4096, UINT64_MAX};

typedef struct {
    uint8_t *data;
    FakeFile file;
    VmloadChannel *channel;
    VmloadReader *reader;
    uint64_t bytes;
    uint64_t last_ns;
} Source;

static void source_open(Source *source, const uint8_t *data, uint64_t length,
                        uint64_t step, bool position)
{
    GError *error = NULL;

    fake_file_init(&source->file, data, length, step);
    source->channel = fake_file_channel(&source->file, position);
    assert_non_null(source->channel);
    source->reader = vmload_reader_new_channel(source->channel, &no_wait,
                                               &error);
    assert_non_null(source->reader);
    source->bytes = source->last_ns = 0;
    vmload_reader_set_counters(source->reader, &source->bytes,
                               &source->last_ns);
}

static void source_close(Source *source)
{
    vmload_reader_free(source->reader);
    vmload_channel_unref(source->channel);
}

static uint8_t *pattern(uint64_t length)
{
    uint8_t *data = g_malloc(length);
    uint64_t i;

    for (i = 0; i < length; i++) {
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    return data;
}

/* The reader and the host take turns; neither misses or repeats a byte. */
static void test_turns(void **state)
{
    static const uint64_t sizes[] = {1, 8, 2, 5, 4097, 255, 3, 40000, 4};
    uint8_t *data = pattern(SIZE);
    uint8_t *buffer = g_malloc(40000);
    Source *source = g_new0(Source, 1);
    size_t s;
    size_t i;

    (void)state;
    for (s = 0; s < 2 * G_N_ELEMENTS(steps); s++) {
        bool position = s % 2 == 0;
        uint64_t at = 0;
        uint64_t by_host = 0;

        source_open(source, data, SIZE, steps[s / 2], position);
        for (i = 0; at + 40000 <= SIZE; i++) {
            uint64_t size = sizes[i % G_N_ELEMENTS(sizes)];
            const uint8_t *shown;
            uint64_t available;

            assert_true(vmload_reader_peek(source->reader, 9, &shown,
                                           &available, NULL));
            assert_int_equal(available, 9);
            assert_memory_equal(shown, data + at, 9);
            if (i % 3 == 0) {
                assert_int_equal(fake_file_read(&source->file, buffer, size),
                                 size);
                by_host += size;
            } else {
                assert_true(vmload_reader_read(source->reader, buffer, size,
                                               NULL));
            }
            assert_int_equal(memcmp(buffer, data + at, size), 0);
            at += size;
            assert_int_equal(fake_file_position(&source->file), at);
            assert_int_equal(vmload_reader_get_offset(source->reader),
                             position ? at : at - by_host);
        }
        assert_true(vmload_reader_skip(source->reader, SIZE - at, NULL));
        assert_int_equal(source->bytes, SIZE - by_host);
        assert_true(source->last_ns != 0);
        source_close(source);
    }
    g_free(source);
    g_free(buffer);
    g_free(data);
}

/* Numbers and names consume what they say, and nothing on failure. */
static void test_values(void **state)
{
    static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 3, 'a', 'b', 'c', 9};
    Source *source = g_new0(Source, 1);
    char name[VMLOAD_STR8_SIZE];
    GError *error = NULL;
    uint16_t be16;
    uint32_t be32;
    uint8_t u8;

    (void)state;
    source_open(source, bytes, sizeof(bytes), 1, true);
    assert_true(vmload_reader_get_be32(source->reader, &be32, &error));
    assert_int_equal(be32, 0x01020304);
    assert_true(vmload_reader_get_be16(source->reader, &be16, &error));
    assert_int_equal(be16, 0x0506);
    assert_true(vmload_reader_get_u8(source->reader, &u8, &error));
    assert_true(vmload_reader_get_str8(source->reader, name, NULL, &error));
    assert_string_equal(name, "abc");
    assert_int_equal(fake_file_position(&source->file), 11);
    assert_false(vmload_reader_get_be32(source->reader, &be32, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED,
                      "offset 0xb: expected 4 bytes, found the end after 1");
    assert_int_equal(fake_file_position(&source->file), 11);
    source_close(source);
    g_free(source);
}

/* Who looks further than a file shows gets it from memory of ours. */
static void test_far_peek(void **state)
{
    uint8_t *data = pattern(SIZE);
    Source *source = g_new0(Source, 1);
    uint8_t *buffer = g_malloc(SIZE);
    const uint8_t *shown;
    uint64_t available;
    size_t s;

    (void)state;
    for (s = 0; s < G_N_ELEMENTS(steps); s++) {
        source_open(source, data, SIZE, steps[s], true);
        assert_true(vmload_reader_skip(source->reader, 10, NULL));
        assert_true(vmload_reader_peek(source->reader, 65536, &shown,
                                       &available, NULL));
        assert_int_equal(available, 65536);
        assert_int_equal(memcmp(shown, data + 10, 65536), 0);
        assert_int_equal(vmload_reader_get_offset(source->reader), 10);
        assert_true(vmload_reader_read(source->reader, buffer, SIZE - 10,
                                       NULL));
        assert_int_equal(memcmp(buffer, data + 10, SIZE - 10), 0);
        assert_int_equal(fake_file_position(&source->file), SIZE);
        assert_true(vmload_reader_peek(source->reader, 7, &shown, &available,
                                       NULL));
        assert_int_equal(available, 0);
        source_close(source);
    }
    g_free(buffer);
    g_free(source);
    g_free(data);
}

static void check_section(uint32_t payload, uint64_t step)
{
    VmloadSectionTable *table = vmload_section_table_new();
    const VmloadStagingRules rules = {.table = table, .section_id = ID,
                                      .footers = true, .vmdesc = true,
                                      .max = 1 << 20};
    GByteArray *out = sw_new();
    Source *source = g_new0(Source, 1);
    uint64_t candidate = 0;
    VmloadEnd end;
    GError *error = NULL;
    const uint8_t *shown;
    uint64_t visible;
    uint8_t footer[5];

    sw_fill(out, 0x7e, payload);
    sw_footer(out, ID);
    sw_section_full(out, 7, "cpu", 0, 12);
    sw_fill(out, 1, 3000);
    source_open(source, out->data, out->len, step, true);
    if (!vmload_staging_find_end(source->reader, &rules, &candidate,
                                 &end, &error)) {
        fail_msg("%u, %u at a time: %s", payload, (unsigned)step,
                 error->message);
    }
    assert_int_equal(candidate, payload);
    /* Nothing behind the payload was taken from the file. */
    assert_true(fake_file_position(&source->file) <= payload);
    shown = vmload_reader_window(source->reader, &visible);
    assert_true(visible >= payload + 5 + 6);
    assert_int_equal(memcmp(shown, out->data, visible), 0);
    assert_int_equal(vmload_reader_get_offset(source->reader), 0);
    /* What the device has not read is still there. */
    if (payload > 10) {
        vmload_reader_consume(source->reader, payload - 10);
        assert_true(vmload_reader_skip(source->reader, 10, &error));
    } else {
        vmload_reader_consume(source->reader, payload);
    }
    assert_int_equal(vmload_reader_get_offset(source->reader), payload);
    assert_int_equal(fake_file_position(&source->file), payload);
    assert_int_equal(fake_file_read(&source->file, footer, 5), 5);
    assert_memory_equal(footer, out->data + payload, 5);
    assert_int_equal(vmload_reader_get_offset(source->reader), payload + 5);
    source_close(source);
    g_free(source);
    g_byte_array_unref(out);
    vmload_section_table_free(table);
}

/* Sections small and larger than the file's buffer end where they end. */
static void test_staging(void **state)
{
    static const uint32_t payloads[] = {0,     1,     10,    100,   4000,
                                        32700, 32768, 32800, 70000, 136000};
    size_t i;
    size_t s;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(payloads); i++) {
        for (s = 2; s < G_N_ELEMENTS(steps); s++) {
            check_section(payloads[i], steps[s]);
        }
    }
}

/* A device that reads on past a false end takes it from the file. */
static void test_past_the_end(void **state)
{
    VmloadSectionTable *table = vmload_section_table_new();
    const VmloadStagingRules rules = {.table = table, .section_id = ID,
                                      .footers = true, .vmdesc = true,
                                      .max = 1 << 20};
    Source *source = g_new0(Source, 1);
    GByteArray *out = sw_new();
    uint64_t candidate = 0;
    VmloadEnd end;

    (void)state;
    sw_fill(out, 0x7e, 50000);
    sw_footer(out, ID);
    sw_section_full(out, 7, "cpu", 0, 12);
    sw_fill(out, 0x55, 100);
    source_open(source, out->data, out->len, 4096, true);
    assert_true(vmload_staging_find_end(source->reader, &rules, &candidate,
                                        &end, NULL));
    assert_int_equal(candidate, 50000);
    vmload_reader_consume(source->reader, 50000 + 5 + 17 + 50);
    assert_int_equal(fake_file_position(&source->file), 50000 + 5 + 17 + 50);
    assert_int_equal(vmload_reader_get_offset(source->reader),
                     50000 + 5 + 17 + 50);
    source_close(source);
    g_free(source);
    g_byte_array_unref(out);
    vmload_section_table_free(table);
}

/* A source over a descriptor that does not sleep, as a host would make it. */
typedef struct {
    int fd;
    uint8_t buffer[64];
    uint32_t size;
    int waits;
    int shutdowns;
    int destroyed;
    int lie; /* returned by peek instead */
    bool refuse;
    bool blind; /* no wait: a peek may sleep */
    bool early; /* the next wait returns before anything is there */
    bool woken; /* the last one saw something */
} Pipe;

static int64_t pipe_peek(void *opaque, uint32_t n, const uint8_t **data,
                         GError **error)
{
    Pipe *source = opaque;

    *data = source->buffer;
    if (source->lie != 0) {
        return source->lie;
    }
    /* A file that blocks would sleep here. */
    assert_true(n <= source->size || source->woken || source->blind);
    while (source->size < n) {
        ssize_t got = read(source->fd, source->buffer + source->size,
                           sizeof(source->buffer) - source->size);

        if (source->refuse) {
            g_set_error(error, g_quark_from_static_string("host"), 1,
                        "no luck");
            return -1;
        }
        if (got < 0) {
            return VMLOAD_CHANNEL_WOULD_BLOCK;
        }
        if (got == 0) {
            break;
        }
        source->size += (uint32_t)got;
    }
    return source->size;
}

static void pipe_consume(void *opaque, uint32_t n)
{
    Pipe *source = opaque;

    source->size -= n;
    memmove(source->buffer, source->buffer + n, source->size);
}

static int32_t pipe_wait(void *opaque, uint32_t direction, int32_t cancel_fd,
                         int64_t deadline, GError **error)
{
    Pipe *source = opaque;
    struct pollfd fds[2] = {{source->fd, POLLIN, 0}, {cancel_fd, POLLIN, 0}};
    int64_t left = deadline - g_get_monotonic_time();

    (void)error;
    assert_int_equal(direction, VMLOAD_DIRECTION_READ);
    source->waits++;
    source->woken = false;
    if (source->early) {
        source->early = false;
        return 0;
    }
    poll(fds, 2, deadline < 0 ? -1 : (int)(MAX(left, 0) / 1000) + 1);
    source->woken = fds[0].revents != 0;
    return source->woken;
}

static bool pipe_shutdown(void *opaque, uint32_t direction, GError **error)
{
    Pipe *source = opaque;

    (void)error;
    assert_int_equal(direction, VMLOAD_DIRECTION_READ);
    source->shutdowns++;
    return true;
}

static void pipe_destroy(void *opaque)
{
    ((Pipe *)opaque)->destroyed++;
}

static const VmloadSourceOps pipe_ops = {
    VMLOAD_SOURCE_OPS_INIT,
    .peek = pipe_peek,
    .consume = pipe_consume,
    .wait = pipe_wait,
};

static VmloadChannel *pipe_open(Pipe *source, int *writer,
                                const VmloadSourceOps *ops)
{
    GError *error = NULL;
    VmloadChannel *channel;
    int fds[2];

    memset(source, 0, sizeof(*source));
    source->blind = ops->wait == NULL;
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    source->fd = fds[0];
    *writer = fds[1];
    channel = vmload_channel_new_from_source(ops, source, pipe_destroy,
                                             &error);
    assert_non_null(channel);
    return channel;
}

static void *cancel_soon(void *data)
{
    g_usleep(20000);
    vmload_cancel_fire(data);
    return NULL;
}

/* A wait ends by bytes, silence, cancel, and the end. */
static void test_waits(void **state)
{
    VmloadCancel *cancel = vmload_cancel_new(NULL);
    VmloadWait wait = {.cancel = cancel, .timeout_us = 2000};
    GError *error = NULL;
    VmloadChannel *channel;
    VmloadReader *reader;
    GThread *thread;
    uint8_t byte;
    int writer;
    Pipe source;
    bool got;

    (void)state;
    channel = pipe_open(&source, &writer, &pipe_ops);
    reader = vmload_reader_new_channel(channel, &wait, &error);
    source.early = true;
    assert_true(vmload_reader_poll(reader, 1000, &got, &error));
    assert_false(got);
    assert_int_equal(write(writer, "abc", 3), 3);
    assert_true(vmload_reader_poll(reader, 1000, &got, &error));
    assert_true(got);
    assert_true(vmload_reader_skip(reader, 2, &error));
    assert_true(vmload_reader_get_u8(reader, &byte, &error));
    assert_int_equal(byte, 'c');
    vmload_reader_set_timeout(reader, 0);
    thread = g_thread_new("cancel", cancel_soon, cancel);
    assert_false(vmload_reader_get_u8(reader, &byte, &error));
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "");
    g_thread_join(thread);
    vmload_reader_free(reader);
    vmload_channel_unref(channel);
    assert_int_equal(source.destroyed, 1);
    close(source.fd);
    close(writer);
    vmload_cancel_free(cancel);

    channel = pipe_open(&source, &writer, &pipe_ops);
    wait.cancel = NULL;
    wait.timeout_us = 2000;
    reader = vmload_reader_new_channel(channel, &wait, &error);
    assert_false(vmload_reader_get_u8(reader, &byte, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TIMEOUT, "2 ms");
    vmload_reader_free(reader);
    close(writer);
    reader = vmload_reader_new_channel(channel, &wait, &error);
    assert_false(vmload_reader_get_u8(reader, &byte, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "found the end");
    vmload_reader_free(reader);
    vmload_channel_unref(channel);
    close(source.fd);
}

static void *shut_soon(void *data)
{
    g_usleep(20000);
    vmload_channel_shutdown(data, VMLOAD_DIRECTION_BOTH, NULL);
    return NULL;
}

/* With and without a shutdown of the host's; unread bytes are gone. */
static void test_shutdown(void **state)
{
    int with;

    (void)state;
    for (with = 0; with < 2; with++) {
        VmloadSourceOps ops = pipe_ops;
        GError *error = NULL;
        VmloadChannel *channel;
        VmloadReader *reader;
        GThread *thread;
        uint8_t byte;
        int writer;
        Pipe source;

        ops.shutdown = with ? pipe_shutdown : NULL;
        channel = pipe_open(&source, &writer, &ops);
        reader = vmload_reader_new_channel(channel, &no_wait, &error);
        if (with) {
            assert_int_equal(write(writer, "abc", 3), 3);
            assert_true(vmload_reader_get_u8(reader, &byte, &error));
            shut_soon(channel);
        } else {
            thread = g_thread_new("shut", shut_soon, channel);
        }
        assert_false(vmload_reader_get_u8(reader, &byte, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "found the end");
        if (!with) {
            g_thread_join(thread);
        }
        assert_int_equal(source.shutdowns, with);
        vmload_reader_free(reader);
        vmload_channel_unref(channel);
        close(source.fd);
        close(writer);
    }
}

/* What a host may do wrong is an error, not a hang. */
static void test_bad_hosts(void **state)
{
    VmloadSourceOps ops = pipe_ops;
    GError *error = NULL;
    VmloadChannel *channel;
    VmloadReader *reader;
    uint8_t byte;
    int writer;
    Pipe source;

    (void)state;
    channel = pipe_open(&source, &writer, &pipe_ops);
    source.refuse = true;
    assert_int_equal(write(writer, "abc", 3), 3);
    reader = vmload_reader_new_channel(channel, &no_wait, &error);
    assert_false(vmload_reader_get_u8(reader, &byte, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "channel main: no luck");
    vmload_reader_free(reader);
    source.refuse = false;
    source.lie = -7;
    assert_int_equal(write(writer, "abc", 3), 3);
    reader = vmload_reader_new_channel(channel, &no_wait, &error);
    assert_false(vmload_reader_get_u8(reader, &byte, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "peek returned -7");
    vmload_reader_free(reader);
    vmload_channel_unref(channel);
    close(source.fd);
    close(writer);

    ops.wait = NULL;
    channel = pipe_open(&source, &writer, &ops);
    reader = vmload_reader_new_channel(channel, &no_wait, &error);
    assert_false(vmload_reader_get_u8(reader, &byte, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "no wait");
    vmload_reader_free(reader);
    vmload_channel_unref(channel);
    close(source.fd);
    close(writer);

    ops = pipe_ops;
    ops.consume = NULL;
    source.destroyed = 0;
    assert_null(vmload_channel_new_from_source(&ops, &source, pipe_destroy,
                                               &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "peek and consume");
    ops = pipe_ops;
    ops.struct_size = 0;
    assert_null(vmload_channel_new_from_source(&ops, &source, pipe_destroy,
                                               &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "struct_size");
    assert_int_equal(source.destroyed, 2);
}

/* Whoever knows nothing of sources just reads. */
static void test_plain_reads(void **state)
{
    uint8_t out[40];
    struct iovec iov[2] = {{out, 3}, {out + 3, 2}};
    GError *error = NULL;
    VmloadChannel *channel;
    int writer;
    Pipe source;

    (void)state;
    channel = pipe_open(&source, &writer, &pipe_ops);
    assert_false(vmload_channel_is_seekable(channel));
    assert_false(vmload_channel_is_writable(channel));
    assert_int_equal(vmload_channel_try_readv(channel, iov, 2, &error),
                     VMLOAD_CHANNEL_WOULD_BLOCK);
    assert_int_equal(write(writer, "abcdefg", 7), 7);
    assert_int_equal(vmload_channel_readv(channel, iov, 2, NULL, &error), 5);
    assert_memory_equal(out, "abcde", 5);
    assert_int_equal(vmload_channel_readv(channel, iov, 1, NULL, &error), 2);
    assert_memory_equal(out, "fg", 2);
    close(writer);
    assert_int_equal(vmload_channel_readv(channel, iov, 1, NULL, &error), 0);
    vmload_channel_unref(channel);
    close(source.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),     cmocka_unit_test(test_values),
        cmocka_unit_test(test_far_peek),  cmocka_unit_test(test_staging),
        cmocka_unit_test(test_past_the_end),
        cmocka_unit_test(test_waits),     cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_bad_hosts), cmocka_unit_test(test_plain_reads),
    };

    return cmocka_run_group_tests_name("source", tests, NULL, NULL);
}

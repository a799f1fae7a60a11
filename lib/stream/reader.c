/* SPDX-License-Identifier: BSD-3-Clause */
#include "reader-private.h"

#include "error.h"
#include "host/clock.h"
#include "trace.h"

#include <string.h>

static void reader_init_memory(VmloadReader *reader, const uint8_t *data,
                               uint64_t length, uint64_t offset)
{
    memset(reader, 0, sizeof(*reader));
    reader->data = data;
    reader->tail = length;
    reader->base = offset;
    reader->end = true;
}

VmloadReader *vmload_reader_new_memory(const uint8_t *data, uint64_t length,
                                       uint64_t offset)
{
    VmloadReader *reader;

    g_return_val_if_fail(data != NULL || length == 0, NULL);
    reader = g_new(VmloadReader, 1);
    reader_init_memory(reader, data, length, offset);
    return reader;
}

VmloadReader *vmload_reader_new_channel(VmloadChannel *channel,
                                        const VmloadWait *wait,
                                        GError **error)
{
    VmloadReader *reader = g_new0(VmloadReader, 1);

    if (vmload_channel_is_source(channel)) {
        reader->channel = channel;
        reader->wait = *wait;
        reader->source = true;
        vmload_channel_get_consumed(channel, &reader->start);
        return reader;
    }
    reader->buffer =
        vmload_reader_buffer_resize(NULL, VMLOAD_READER_BUFFER);
    if (reader->buffer == NULL) {
        g_free(reader);
        vmload_fail(error, VMLOAD_ERROR_LIMIT, "no memory for a read buffer");
        return NULL;
    }
    reader->capacity = VMLOAD_READER_BUFFER;
    reader->data = reader->buffer;
    reader->channel = channel;
    reader->wait = *wait;
    return reader;
}

VmloadReader *vmload_reader_new_staged_memory(const uint8_t *data,
                                              uint64_t length,
                                              uint64_t candidate,
                                              uint64_t offset)
{
    VmloadReader *staged = vmload_reader_new_memory(data, length, offset);

    staged->staged = true;
    staged->candidate = candidate;
    return staged;
}

VmloadReader *vmload_reader_begin_staged(VmloadReader *reader,
                                         uint64_t length, uint64_t candidate)
{
    VmloadReader *staged = reader->spare != NULL
                               ? g_steal_pointer(&reader->spare)
                               : g_new(VmloadReader, 1);

    reader_init_memory(staged, reader->data + reader->head,
                       MIN(length, reader->tail - reader->head),
                       vmload_reader_get_offset(reader));
    staged->staged = true;
    staged->candidate = candidate;
    return staged;
}

void vmload_reader_end_staged(VmloadReader *reader, VmloadReader *staged)
{
    g_clear_error(&staged->failed);
    g_free(reader->spare);
    reader->spare = staged;
}

void vmload_reader_free(VmloadReader *reader)
{
    if (reader != NULL) {
        g_free(reader->spare);
        if (reader->owner) {
            vmload_channel_unref(reader->channel);
        }
        g_free(reader->attached);
        g_clear_error(&reader->failed);
        vmload_reader_buffer_free(reader->buffer);
        g_free(reader);
    }
}

void vmload_reader_set_counters(VmloadReader *reader, uint64_t *bytes,
                                uint64_t *last_byte_ns)
{
    reader->bytes = bytes;
    reader->last_byte_ns = last_byte_ns;
}

void vmload_reader_set_timeout(VmloadReader *reader, int64_t timeout_us)
{
    reader->wait.timeout_us = timeout_us;
}

uint64_t vmload_reader_get_offset(const VmloadReader *reader)
{
    g_return_val_if_fail(reader != NULL, 0);
    return reader->source ? vmload_reader_source_offset(reader)
                          : reader->base + reader->head;
}

const GError *vmload_reader_get_error(const VmloadReader *reader)
{
    return reader->failed;
}

/* Hands out the sticky error. Always false. */
static bool reader_failed(const VmloadReader *reader, GError **error)
{
    if (error != NULL) {
        *error = g_error_copy(reader->failed);
    }
    return false;
}

bool vmload_reader_error(VmloadReader *reader, GError **error,
                         VmloadError code, const char *format, ...)
{
    va_list args;
    char *text;

    g_return_val_if_fail(reader != NULL && format != NULL, false);
    if (reader->failed == NULL) {
        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        reader->failed = g_error_new(
            VMLOAD_ERROR, (int)code, "offset 0x%" G_GINT64_MODIFIER "x: %s",
            vmload_reader_get_offset(reader), text);
        g_free(text);
    }
    return reader_failed(reader, error);
}

static bool reader_truncated(VmloadReader *reader, uint64_t wanted,
                             uint64_t found, GError **error)
{
    return vmload_reader_error(
        reader, error, VMLOAD_ERROR_TRUNCATED,
        "expected %" G_GUINT64_FORMAT " bytes, found the end after %"
        G_GUINT64_FORMAT, wanted, found);
}

void vmload_reader_count(const VmloadReader *reader, uint64_t n)
{
    if (n > 0 && reader->bytes != NULL) {
        __atomic_fetch_add(reader->bytes, n, __ATOMIC_RELAXED);
    }
    if (n > 0 && reader->last_byte_ns != NULL) {
        __atomic_store_n(reader->last_byte_ns, vmload_clock_ns(),
                         __ATOMIC_RELAXED);
    }
}

VmloadWait vmload_reader_settle_wait(const VmloadReader *reader,
                                     int64_t settle_us)
{
    VmloadWait wait = reader->wait;

    if (settle_us > 0) {
        wait.timeout_us = wait.timeout_us > 0
                              ? MIN(settle_us, wait.timeout_us)
                              : settle_us;
        wait.stalled = NULL;
    }
    return wait;
}

bool vmload_reader_take_failure(VmloadReader *reader, GError *local,
                                int64_t settle_us, bool *silent,
                                GError **error)
{
    if (settle_us > 0 && local->code == VMLOAD_ERROR_TIMEOUT) {
        *silent = true;
    } else {
        vmload_reader_error(reader, error, (VmloadError)local->code, "%s",
                            local->message);
    }
    g_error_free(local);
    return reader->failed == NULL;
}

/*
 * One read from the channel; *got is 0 at the end of the bytes. With
 * @settle_us, silence that long is no error: *silent is set instead.
 */
static bool reader_receive(VmloadReader *reader, const struct iovec *iov,
                           uint32_t n, int64_t settle_us, uint64_t *got,
                           bool *silent, GError **error)
{
    const VmloadWait wait = vmload_reader_settle_wait(reader, settle_us);
    GError *local = NULL;
    int64_t result;

    *got = 0;
    result = reader->jumped
                 ? vmload_channel_preadv(
                       reader->channel, iov, n,
                       vmload_reader_get_window_end(reader), &wait, &local)
                 : vmload_channel_readv(reader->channel, iov, n, &wait,
                                        &local);
    if (result < 0) {
        return vmload_reader_take_failure(reader, local, settle_us, silent,
                                          error);
    }
    reader->end = result == 0;
    *got = (uint64_t)result;
    VMLOAD_TRACE2(channel_read, vmload_channel_get_name(reader->channel),
                  *got);
    vmload_reader_count(reader, *got);
    return true;
}

/*
 * Moves the window to the start of the buffer, to make room behind it, with
 * @keep bytes before it.
 */
static void reader_compact_keeping(VmloadReader *reader, uint64_t keep)
{
    uint64_t gone = reader->head - keep;

    if (reader->buffer != NULL && gone > 0) {
        memmove(reader->buffer, reader->buffer + gone, reader->tail - gone);
        reader->base += gone;
        reader->tail -= gone;
        reader->head = keep;
    }
    reader->again = MIN(reader->again, reader->head);
}

static void reader_compact(VmloadReader *reader)
{
    reader_compact_keeping(reader, 0);
}

/* Reads once into the room behind the window. */
static bool reader_refill(VmloadReader *reader, int64_t settle_us,
                          bool *silent, GError **error)
{
    struct iovec iov;
    uint64_t got;

    iov.iov_base = reader->buffer + reader->tail;
    iov.iov_len = reader->capacity - reader->tail;
    if (!reader_receive(reader, &iov, 1, settle_us, &got, silent, error)) {
        return false;
    }
    reader->tail += got;
    return true;
}

/* The window, which has no byte, becomes the start of the buffer. */
static void reader_empty(VmloadReader *reader)
{
    g_return_if_fail(reader->head == reader->tail);
    reader->base += reader->head;
    reader->head = reader->tail = reader->again = 0;
}

/* Gives up @length bytes of the window. */
static void reader_advance(VmloadReader *reader, uint64_t length)
{
    if (reader->source) {
        vmload_reader_source_advance(reader, length);
    } else {
        reader->head += length;
    }
    reader->again = 0;
}

/* The window as it is now: a host's own buffer changes behind our back. */
static uint64_t reader_look(VmloadReader *reader)
{
    if (reader->source) {
        vmload_reader_source_look(reader);
    }
    return reader->tail - reader->head;
}

/* Tries to have @length bytes, at most the buffer's size, in the window. */
static bool reader_fill(VmloadReader *reader, uint64_t length, GError **error)
{
    if (reader_look(reader) >= length) {
        return true;
    }
    if (reader->failed != NULL) {
        return reader_failed(reader, error);
    }
    if (reader->source) {
        return vmload_reader_source_fill(reader, length, error);
    }
    if (reader->end) {
        return true;
    }
    if (reader->head == reader->tail ||
        reader->capacity - reader->head < length) {
        reader_compact(reader);
    }
    while (reader->tail - reader->head < length && !reader->end) {
        if (!reader_refill(reader, 0, NULL, error)) {
            return false;
        }
    }
    return true;
}

/* The next @length bytes, all of them, or an error. */
static const uint8_t *reader_need(VmloadReader *reader, uint64_t length,
                                  GError **error)
{
    if (reader->failed != NULL) {
        reader_failed(reader, error);
        return NULL;
    }
    if (!reader_fill(reader, length, error)) {
        return NULL;
    }
    if (reader->tail - reader->head < length) {
        reader_truncated(reader, length, reader->tail - reader->head, error);
        return NULL;
    }
    return reader->data + reader->head;
}

/*
 * The rest of a read that the window does not have: straight to its place,
 * and what comes behind it into the buffer, in one call. @before bytes of it
 * were had already.
 */
static bool reader_read_direct(VmloadReader *reader, uint8_t *dest,
                               uint64_t length, uint64_t before,
                               GError **error)
{
    uint64_t wanted = before + length;
    struct iovec iov[2];
    uint64_t got;

    while (length > 0 && !reader->end && !reader->source) {
        /* What is behind the window goes to its start. */
        reader_empty(reader);
        iov[0].iov_base = dest;
        iov[0].iov_len = length;
        iov[1].iov_base = reader->buffer;
        iov[1].iov_len = reader->capacity;
        if (!reader_receive(reader, iov, 2, 0, &got, NULL, error)) {
            return false;
        }
        if (got > length) {
            reader->tail = got - length;
            got = length;
        }
        dest += got;
        length -= got;
        reader->base += got;
    }
    while (length > 0 && reader->source) {
        if (!reader_fill(reader, 1, error)) {
            return false;
        }
        got = MIN(length, reader->tail - reader->head);
        if (got == 0) {
            break;
        }
        memcpy(dest, reader->data + reader->head, got);
        reader_advance(reader, got);
        dest += got;
        length -= got;
    }
    return length == 0 ||
           reader_truncated(reader, wanted, wanted - length, error);
}

/* A byte in an empty window, without moving what is before it. */
static bool reader_fill_kept(VmloadReader *reader, GError **error)
{
    if (reader->source) {
        return reader_fill(reader, 1, error);
    }
    return reader->head < reader->tail || reader->end ||
           reader_refill(reader, 0, NULL, error);
}

bool vmload_reader_read(VmloadReader *reader, void *buffer, uint64_t length,
                        GError **error)
{
    uint64_t available;

    g_return_val_if_fail(reader != NULL, false);
    g_return_val_if_fail(buffer != NULL || length == 0, false);
    if (reader->failed != NULL) {
        return reader_failed(reader, error);
    }
    available = reader_look(reader);
    if (available < length && reader->end) {
        return reader_truncated(reader, length, available, error);
    }
    available = MIN(available, length);
    if (available > 0) {
        memcpy(buffer, reader->data + reader->head, available);
        reader_advance(reader, available);
    }
    return available == length ||
           reader_read_direct(reader, (uint8_t *)buffer + available,
                              length - available, available, error);
}

int64_t vmload_reader_read_some(VmloadReader *reader, void *buffer,
                                uint64_t length, GError **error)
{
    uint64_t again;

    g_return_val_if_fail(reader != NULL && buffer != NULL, -1);
    g_return_val_if_fail(length > 0, -1);
    if (reader->failed != NULL) {
        reader_failed(reader, error);
        return -1;
    }
    if (reader_look(reader) == 0 && !reader->source) {
        reader_compact_keeping(reader, MIN(reader->again,
                                           VMLOAD_READER_UNREAD_MAX));
    }
    if (!reader_fill_kept(reader, error)) {
        return -1;
    }
    length = MIN(length, reader->tail - reader->head);
    if (length > 0) {
        memcpy(buffer, reader->data + reader->head, length);
        again = reader->again + length;
        reader_advance(reader, length);
        reader->again = reader->source ? 0 : again;
    }
    return (int64_t)MIN(length, (uint64_t)G_MAXINT64);
}

bool vmload_reader_unread(VmloadReader *reader, uint64_t n)
{
    g_return_val_if_fail(reader != NULL, false);
    if (n > MIN(reader->again, VMLOAD_READER_UNREAD_MAX)) {
        return false;
    }
    reader->head -= n;
    reader->again -= n;
    return true;
}

bool vmload_reader_skip(VmloadReader *reader, uint64_t length, GError **error)
{
    uint64_t step;

    g_return_val_if_fail(reader != NULL, false);
    if (reader->failed != NULL) {
        return reader_failed(reader, error);
    }
    do {
        step = MIN(length, reader_look(reader));
        reader_advance(reader, step);
        length -= step;
        if (length > 0 &&
            reader_need(reader, MIN(length, reader->channel != NULL ? 1
                                                                    : length),
                        error) == NULL) {
            return false;
        }
    } while (length > 0);
    return true;
}

bool vmload_reader_peek(VmloadReader *reader, uint64_t length,
                        const uint8_t **data, uint64_t *available,
                        GError **error)
{
    g_return_val_if_fail(reader != NULL && data != NULL && available != NULL,
                         false);
    g_return_val_if_fail(length <= 65536, false);
    if (reader->failed != NULL) {
        return reader_failed(reader, error);
    }
    if (!reader_fill(reader, length, error)) {
        return false;
    }
    *data = reader->data + reader->head;
    *available = MIN(length, reader->tail - reader->head);
    return true;
}

/* Takes exactly @length bytes, at most the buffer's size, or none. */
static bool reader_take(VmloadReader *reader, void *value, uint64_t length,
                        GError **error)
{
    const uint8_t *data = reader_need(reader, length, error);

    if (data == NULL) {
        return false;
    }
    memcpy(value, data, length);
    reader_advance(reader, length);
    return true;
}

bool vmload_reader_get_u8(VmloadReader *reader, uint8_t *value, GError **error)
{
    g_return_val_if_fail(reader != NULL && value != NULL, false);
    return reader_take(reader, value, sizeof(*value), error);
}

bool vmload_reader_get_be16(VmloadReader *reader, uint16_t *value,
                            GError **error)
{
    g_return_val_if_fail(reader != NULL && value != NULL, false);
    if (!reader_take(reader, value, sizeof(*value), error)) {
        return false;
    }
    *value = GUINT16_FROM_BE(*value);
    return true;
}

bool vmload_reader_get_be32(VmloadReader *reader, uint32_t *value,
                            GError **error)
{
    g_return_val_if_fail(reader != NULL && value != NULL, false);
    if (!reader_take(reader, value, sizeof(*value), error)) {
        return false;
    }
    *value = GUINT32_FROM_BE(*value);
    return true;
}

bool vmload_reader_get_be64(VmloadReader *reader, uint64_t *value,
                            GError **error)
{
    g_return_val_if_fail(reader != NULL && value != NULL, false);
    if (!reader_take(reader, value, sizeof(*value), error)) {
        return false;
    }
    *value = GUINT64_FROM_BE(*value);
    return true;
}

bool vmload_reader_get_str8(VmloadReader *reader, char *string,
                            uint32_t *length, GError **error)
{
    const uint8_t *data;
    uint64_t n;

    g_return_val_if_fail(reader != NULL && string != NULL, false);
    data = reader_need(reader, 1, error);
    if (data == NULL) {
        return false;
    }
    n = data[0];
    if (n == 0) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a name, found length 0");
    }
    data = reader_need(reader, 1 + n, error);
    if (data == NULL) {
        return false;
    }
    if (memchr(data + 1, 0, n) != NULL) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a name, found a NUL in it");
    }
    memcpy(string, data + 1, n);
    string[n] = '\0';
    reader_advance(reader, 1 + n);
    if (length != NULL) {
        *length = (uint32_t)n;
    }
    return true;
}

bool vmload_reader_get_staged(VmloadReader *reader, const uint8_t **data,
                              uint64_t *candidate, uint64_t *visible)
{
    g_return_val_if_fail(reader != NULL && data != NULL, false);
    g_return_val_if_fail(candidate != NULL && visible != NULL, false);
    if (!reader->staged) {
        return false;
    }
    *data = reader->data;
    *candidate = reader->candidate;
    *visible = reader->tail;
    return true;
}

const uint8_t *vmload_reader_window(VmloadReader *reader, uint64_t *length)
{
    *length = reader_look(reader);
    return reader->data + reader->head;
}

bool vmload_reader_has_ended(const VmloadReader *reader)
{
    return reader->end;
}

void vmload_reader_consume(VmloadReader *reader, uint64_t length)
{
    reader_advance(reader, MIN(length, reader->tail - reader->head));
}

/* Doubles the buffer, at most to what @max bytes of window need. */
static bool reader_enlarge(VmloadReader *reader, uint64_t max, GError **error)
{
    uint64_t capacity = MIN(reader->capacity * 2, MAX(max, reader->capacity));
    uint8_t *buffer;

    if (capacity == reader->capacity) {
        return vmload_reader_error(
            reader, error, VMLOAD_ERROR_LIMIT,
            "expected the section's end within %" G_GUINT64_FORMAT " bytes",
            max);
    }
    buffer = vmload_reader_buffer_resize(reader->buffer, capacity);
    if (buffer == NULL) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                   "no memory for %" G_GUINT64_FORMAT
                                   " staged bytes", capacity);
    }
    reader->buffer = buffer;
    reader->data = buffer;
    reader->capacity = capacity;
    return true;
}

static bool reader_grow(VmloadReader *reader, uint64_t settled, uint64_t max,
                        int64_t settle_us, bool *silent, GError **error)
{
    if (reader->source) {
        return vmload_reader_source_grow(reader, settled, settle_us, silent,
                                         error);
    }
    if (reader->tail == reader->capacity) {
        reader_compact(reader);
    }
    return (reader->tail < reader->capacity ||
            reader_enlarge(reader, max, error)) &&
           reader_refill(reader, settle_us, silent, error);
}

bool vmload_reader_grow(VmloadReader *reader, uint64_t settled, uint64_t max,
                        int64_t settle_us, bool *silent, bool *end,
                        GError **error)
{
    uint64_t begin;
    bool ok;

    if (reader->failed != NULL) {
        return reader_failed(reader, error);
    }
    *end = reader->end;
    if (reader->end) {
        return true;
    }
    if (reader_look(reader) >= max) {
        return vmload_reader_error(
            reader, error, VMLOAD_ERROR_LIMIT,
            "expected the section's end within %" G_GUINT64_FORMAT " bytes",
            max);
    }
    begin = vmload_clock_ns();
    ok = reader_grow(reader, settled, max, settle_us, silent, error);
    *end = reader->end;
    reader->growing_ns += vmload_clock_ns() - begin;
    return ok;
}

uint64_t vmload_reader_get_growing_ns(const VmloadReader *reader)
{
    return reader->growing_ns;
}

bool vmload_reader_poll(VmloadReader *reader, int64_t settle_us, bool *got,
                        GError **error)
{
    bool silent = false;

    if (reader->failed != NULL) {
        return reader_failed(reader, error);
    }
    if (reader_look(reader) == 0 && !reader->end) {
        reader_compact(reader);
        if (reader->source
                ? !vmload_reader_source_grow(reader, 0, settle_us, &silent,
                                             error)
                : !reader_refill(reader, settle_us, &silent, error)) {
            return false;
        }
    }
    *got = reader->head < reader->tail;
    return true;
}

void vmload_reader_attach(VmloadReader *reader, void *attached)
{
    reader->owner = true;
    reader->attached = attached;
}

void vmload_reader_set_depth(VmloadReader *reader, uint32_t depth)
{
    reader->depth = depth;
}

uint32_t vmload_reader_get_depth(const VmloadReader *reader)
{
    return reader->depth;
}

bool vmload_reader_is_source(const VmloadReader *reader)
{
    return reader->source;
}

const VmloadWait *vmload_reader_get_wait(const VmloadReader *reader)
{
    return &reader->wait;
}

VmloadChannel *vmload_reader_get_channel(const VmloadReader *reader)
{
    return reader->channel;
}

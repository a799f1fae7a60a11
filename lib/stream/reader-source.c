/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading what a host buffers. The host's file object stands where the reader
 * does, between any two calls, but for the time in which a section is staged:
 * then bytes that are surely payload are taken over, since a section may be
 * larger than the host's buffer, and the footer and what follows it stay
 * where they are.
 */
#include "reader-private.h"

#include "error.h"

#include <string.h>

/* What the window holds that was consumed already. */
static uint64_t source_ours(const VmloadReader *reader)
{
    return reader->tail - reader->head - reader->theirs;
}

uint64_t vmload_reader_source_offset(const VmloadReader *reader)
{
    uint64_t position;

    if (!vmload_channel_get_consumed(reader->channel, &position)) {
        return reader->base + reader->head;
    }
    return position - reader->start - source_ours(reader);
}

/* The window becomes @n bytes in the host's own buffer. */
static void source_borrow(VmloadReader *reader, const uint8_t *data,
                          uint64_t n)
{
    reader->base = vmload_reader_source_offset(reader);
    reader->data = data;
    reader->head = 0;
    reader->tail = reader->theirs = n;
}

void vmload_reader_source_look(VmloadReader *reader)
{
    const uint8_t *data;
    uint64_t n;

    /* As long as some are ours the host is not at the reader's place. */
    if (source_ours(reader) == 0) {
        n = vmload_channel_window(reader->channel, &data);
        source_borrow(reader, data, n);
    }
}

static void source_consume(VmloadReader *reader, uint64_t n)
{
    vmload_channel_consume(reader->channel, (uint32_t)n);
    reader->theirs -= n;
    vmload_reader_count(reader, n);
}

void vmload_reader_source_advance(VmloadReader *reader, uint64_t n)
{
    uint64_t ours = source_ours(reader);
    uint64_t from_host = n > ours ? n - ours : 0;

    reader->head += n;
    if (from_host > 0) {
        source_consume(reader, from_host);
    }
}

static bool source_no_memory(VmloadReader *reader, uint64_t n, GError **error)
{
    return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                               "no memory for %" G_GUINT64_FORMAT
                               " staged bytes", n);
}

/* Moves the window to the start of a buffer of ours with room for @n bytes. */
static bool source_copy(VmloadReader *reader, uint64_t n, GError **error)
{
    uint64_t length = reader->tail - reader->head;
    uint64_t capacity = reader->capacity;
    uint8_t *buffer = reader->buffer;

    if (capacity < n) {
        capacity = MAX(n, capacity > UINT64_MAX / 2 ? n : capacity * 2);
        buffer = vmload_reader_buffer_resize(NULL, capacity);
        if (buffer == NULL) {
            return source_no_memory(reader, capacity, error);
        }
    }
    if (length > 0) {
        memmove(buffer, reader->data + reader->head, length);
    }
    if (buffer != reader->buffer) {
        vmload_reader_buffer_free(reader->buffer);
        reader->buffer = buffer;
        reader->capacity = capacity;
    }
    reader->base += reader->head;
    reader->data = buffer;
    reader->head = 0;
    reader->tail = length;
    return true;
}

/* So that the first @n bytes of the window are ours. */
static bool source_take(VmloadReader *reader, uint64_t n, GError **error)
{
    uint64_t ours = source_ours(reader);

    if (n <= ours) {
        return true;
    }
    if (ours == 0 &&
        !source_copy(reader, reader->tail - reader->head, error)) {
        return false;
    }
    source_consume(reader, n - ours);
    return true;
}

/* The window ends with what the host shows: @n bytes at @data. */
static bool source_show(VmloadReader *reader, const uint8_t *data, uint64_t n,
                        GError **error)
{
    uint64_t ours = source_ours(reader);

    if (ours == 0) {
        source_borrow(reader, data, n);
        return true;
    }
    reader->tail -= reader->theirs;
    reader->theirs = 0;
    if (reader->capacity - reader->head < ours + n &&
        !source_copy(reader, ours + n, error)) {
        return false;
    }
    memcpy(reader->buffer + reader->head + ours, data, n);
    reader->tail += n;
    reader->theirs = n;
    return true;
}

/* So that the host shows @n bytes, or all there are. */
static bool source_see(VmloadReader *reader, uint64_t n, int64_t settle_us,
                       bool *silent, GError **error)
{
    const VmloadWait wait = vmload_reader_settle_wait(reader, settle_us);
    GError *local = NULL;
    const uint8_t *data;
    int64_t have = vmload_channel_peek(reader->channel, (uint32_t)n, &data,
                                       &wait, &local);

    if (have < 0) {
        return vmload_reader_take_failure(reader, local, settle_us, silent,
                                          error);
    }
    reader->end = (uint64_t)have < n;
    return source_show(reader, data, (uint64_t)have, error);
}

bool vmload_reader_source_fill(VmloadReader *reader, uint64_t length,
                               GError **error)
{
    while (reader->tail - reader->head < length && !reader->end) {
        uint64_t missing = length - source_ours(reader);

        /* More than a host shows at once: only for who peeks that far. */
        if (missing > VMLOAD_SOURCE_WINDOW) {
            if (!source_take(reader, reader->tail - reader->head, error)) {
                return false;
            }
            missing = MIN(length - source_ours(reader), VMLOAD_SOURCE_WINDOW);
        }
        if (!source_see(reader, missing, 0, NULL, error)) {
            return false;
        }
    }
    return true;
}

bool vmload_reader_source_grow(VmloadReader *reader, uint64_t settled,
                               int64_t settle_us, bool *silent,
                               GError **error)
{
    return source_take(reader, settled, error) &&
           source_see(reader, reader->theirs + 1, settle_us, silent, error);
}

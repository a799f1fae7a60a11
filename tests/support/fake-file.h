/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file object as hypervisors have them: it reads ahead into a buffer of its
 * own, and both the library (through VmloadSourceOps) and devices read from
 * it. Header only.
 */
#ifndef VMLOAD_TESTS_FAKE_FILE_H
#define VMLOAD_TESTS_FAKE_FILE_H

#include <string.h>
#include <vmload/channel.h>

/* Small pieces show what stays buffered; this is QEMU's size. */
#define FAKE_FILE_BUFFER 32768u

typedef struct {
    const uint8_t *data; /* all the bytes there will be */
    uint64_t length;
    uint64_t step;  /* bytes that one read of the transport gives */
    uint64_t given; /* by the transport */
    uint32_t index; /* of the next byte in buffer */
    uint32_t size;  /* bytes in buffer */
    uint8_t buffer[FAKE_FILE_BUFFER];
} FakeFile;

/* Reads ahead. What was shown before is no longer where it was. */
static inline uint32_t fake_file_fill(FakeFile *file)
{
    uint32_t rest = file->size - file->index;
    uint64_t got = MIN(file->length - file->given, file->step);

    memmove(file->buffer, file->buffer + file->index, rest);
    memset(file->buffer + rest, 0xdb, file->size - rest);
    file->index = 0;
    got = MIN(got, FAKE_FILE_BUFFER - rest);
    if (got > 0) {
        memcpy(file->buffer + rest, file->data + file->given, got);
    }
    file->given += got;
    file->size = rest + (uint32_t)got;
    return (uint32_t)got;
}

/* VmloadSourceOps.peek */
static inline int64_t fake_file_peek(void *opaque, uint32_t n,
                                     const uint8_t **data, GError **error)
{
    FakeFile *file = opaque;

    (void)error;
    while (file->size - file->index < n && fake_file_fill(file) > 0) {
    }
    *data = file->buffer + file->index;
    return file->size - file->index;
}

static inline void fake_file_consume(void *opaque, uint32_t n)
{
    FakeFile *file = opaque;

    memset(file->buffer + file->index, 0xdb, n);
    file->index += n;
}

static inline uint64_t fake_file_position(void *opaque)
{
    FakeFile *file = opaque;

    return file->given - (file->size - file->index);
}

/* What a device does with the file. Fewer than @n bytes only at the end. */
static inline uint64_t fake_file_read(FakeFile *file, void *buffer, uint64_t n)
{
    uint8_t *to = buffer;
    uint64_t done = 0;

    while (done < n) {
        const uint8_t *data;
        int64_t have = fake_file_peek(file, 1, &data, NULL);
        uint32_t step = (uint32_t)MIN((uint64_t)have, n - done);

        if (have == 0) {
            break;
        }
        memcpy(to + done, data, step);
        fake_file_consume(file, step);
        done += step;
    }
    return done;
}

static inline void fake_file_init(FakeFile *file, const uint8_t *data,
                                  uint64_t length, uint64_t step)
{
    file->data = data;
    file->length = length;
    file->step = step;
    file->given = 0;
    file->index = file->size = 0;
}

static inline VmloadChannel *fake_file_channel(FakeFile *file, bool position)
{
    VmloadSourceOps ops = {
        VMLOAD_SOURCE_OPS_INIT,
        .peek = fake_file_peek,
        .consume = fake_file_consume,
    };

    ops.position = position ? fake_file_position : NULL;
    return vmload_channel_new_from_source(&ops, file, NULL, NULL);
}

#endif

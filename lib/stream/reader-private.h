/* SPDX-License-Identifier: BSD-3-Clause */
/* The reader's inside, shared by its two files. */
#ifndef VMLOAD_READER_PRIVATE_H
#define VMLOAD_READER_PRIVATE_H

#include "reader.h"

/*
 * The window is data[head] to data[tail - 1]. Over memory that is all there
 * is; over a channel it is a part of the buffer.
 *
 * Over a host's source its last @theirs bytes are still the host's: not
 * consumed, so that the host, too, may read them. What stands before them was
 * consumed because staging knew it for payload, and is ours. Without any of
 * ours the window is the host's own buffer and nothing is copied; else all of
 * it, theirs too, is copied into the buffer, to be contiguous.
 */
struct VmloadReader {
    VmloadChannel *channel; /* NULL: all bytes are in the window */
    VmloadWait wait;
    uint8_t *buffer;     /* owned; NULL over memory */
    uint64_t capacity;   /* of buffer */
    const uint8_t *data; /* buffer, or borrowed memory */
    uint64_t head;
    uint64_t tail;
    uint64_t theirs;
    uint64_t again; /* bytes before head that may be given back */
    uint64_t base; /* stream offset of data[0] */
    uint64_t start; /* the source's position at offset 0 */
    uint64_t candidate;
    uint64_t growing_ns; /* spent in vmload_reader_grow() */
    VmloadReader *spare; /* owned, nullable: for the next staged one */
    uint32_t depth; /* 0: a main stream; else so deep in packages */
    void *attached; /* owned, nullable: what @wait points to */
    bool owner;     /* of the channel */
    bool staged;
    bool source;
    bool end; /* the channel has ended */
    bool jumped; /* read at offsets of our own, no longer as it comes */
    GError *failed;
    uint64_t *bytes;        /* atomic, nullable */
    uint64_t *last_byte_ns; /* atomic, nullable */
};

/* How a call waits: *@silent instead of an error after @settle_us. */
VmloadWait vmload_reader_settle_wait(const VmloadReader *reader,
                                     int64_t settle_us);
/* Makes @local sticky, or sets *@silent instead. True: silent. */
bool vmload_reader_take_failure(VmloadReader *reader, GError *local,
                                int64_t settle_us, bool *silent,
                                GError **error);

/* reader-source.c: readers over a host's source only. */

/* Looks at what the host has buffered now: it may have read meanwhile. */
void vmload_reader_source_look(VmloadReader *reader);
/* Offset of the next byte, whoever read what is before it. */
uint64_t vmload_reader_source_offset(const VmloadReader *reader);
/* Gives up @n bytes of the window. */
void vmload_reader_source_advance(VmloadReader *reader, uint64_t n);
/* Tries to have @length bytes in the window. */
bool vmload_reader_source_fill(VmloadReader *reader, uint64_t length,
                               GError **error);
/*
 * Shows one byte more at least, or the end. The first @settled bytes of the
 * window become ours; what is theirs stays short.
 */
bool vmload_reader_source_grow(VmloadReader *reader, uint64_t settled,
                               int64_t settle_us, bool *silent,
                               GError **error);

/*
 * In front of a buffer. The kernel copies pages of files into it, and copying
 * takes twice as long to a place a few bytes behind that of the source,
 * counted from the start of a page: just there, 16 bytes behind it, malloc()
 * puts what is large.
 */
#define VMLOAD_READER_GAP ((uint64_t)48)

/* NULL: no memory, and @buffer, which may be NULL, is as it was. */
static inline uint8_t *vmload_reader_buffer_resize(uint8_t *buffer,
                                                   uint64_t capacity)
{
    uint8_t *whole = buffer != NULL ? buffer - VMLOAD_READER_GAP : NULL;

    if (capacity > UINT64_MAX - VMLOAD_READER_GAP) {
        return NULL;
    }
    whole = g_try_realloc(whole, capacity + VMLOAD_READER_GAP);
    return whole != NULL ? whole + VMLOAD_READER_GAP : NULL;
}

static inline void vmload_reader_buffer_free(uint8_t *buffer)
{
    if (buffer != NULL) {
        g_free(buffer - VMLOAD_READER_GAP);
    }
}

#endif

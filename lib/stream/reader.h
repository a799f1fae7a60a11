/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reader as the library itself uses it. One implementation serves both
 * kinds: over memory the window is all there is; over a channel the window
 * is a buffer that is refilled.
 */
#ifndef VMLOAD_READER_INTERNAL_H
#define VMLOAD_READER_INTERNAL_H

#include <vmload/reader.h>
#include "channel/channel.h"

/* Buffer of a streaming reader; stays in the second-level cache. */
#define VMLOAD_READER_BUFFER (256 * 1024)

/*
 * A streaming reader. @channel is borrowed, @wait copied. NULL with
 * VMLOAD_ERROR_LIMIT if there is no memory.
 */
VmloadReader *vmload_reader_new_channel(VmloadChannel *channel,
                                        const VmloadWait *wait,
                                        GError **error);

/* Is it over bytes that the host buffers, and may read itself? */
bool vmload_reader_is_source(const VmloadReader *reader);

/* Gives it the channel and what the waits' opaque is, to be freed with it. */
void vmload_reader_attach(VmloadReader *reader, void *attached);

/* How many packages the bytes are in. */
void vmload_reader_set_depth(VmloadReader *reader, uint32_t depth);
uint32_t vmload_reader_get_depth(const VmloadReader *reader);

/*
 * All buffered bytes that are not read yet; none is read from the channel.
 * Valid until the next call. A parser of many small records works on this
 * window and tells what it took with vmload_reader_consume().
 */
const uint8_t *vmload_reader_window(VmloadReader *reader, uint64_t *length);

/* Microseconds without a byte before VMLOAD_ERROR_TIMEOUT; 0: no bound. */
void vmload_reader_set_timeout(VmloadReader *reader, int64_t timeout_us);

/* Will no byte come behind the window? */
bool vmload_reader_has_ended(const VmloadReader *reader);

/* Takes @length bytes of the window. */
void vmload_reader_consume(VmloadReader *reader, uint64_t length);

/*
 * Makes the window longer than it is: reads from the channel once, or sets
 * *@end at the end of the bytes. The window grows up to @max bytes and stays
 * contiguous; beyond that VMLOAD_ERROR_LIMIT. With @settle_us, waits no
 * longer than that and then sets *@silent: no error, nothing was read. The
 * first @settled bytes of the window may be taken from a host's source; those
 * behind them stay its own.
 */
bool vmload_reader_grow(VmloadReader *reader, uint64_t settled, uint64_t max,
                        int64_t settle_us, bool *silent, bool *end,
                        GError **error);

/*
 * Waits until a byte is in the window, or @settle_us have passed, or the
 * bytes have ended. *@got tells which.
 */
bool vmload_reader_poll(VmloadReader *reader, int64_t settle_us, bool *got,
                        GError **error);

/* How long that took in all. */
uint64_t vmload_reader_get_growing_ns(const VmloadReader *reader);

/*
 * A reader over the window of @reader, at most @length bytes of it, with
 * @candidate marked as the believed end of the payload. Borrows the window.
 * Ended by vmload_reader_end_staged(), which keeps its memory for the next:
 * a machine has hundreds.
 */
VmloadReader *vmload_reader_begin_staged(VmloadReader *reader,
                                         uint64_t length, uint64_t candidate);
void vmload_reader_end_staged(VmloadReader *reader, VmloadReader *staged);

/* The same over memory of the caller's, borrowed, to be freed. */
VmloadReader *vmload_reader_new_staged_memory(const uint8_t *data,
                                              uint64_t length,
                                              uint64_t candidate,
                                              uint64_t offset);

/* The sticky error, or NULL. */
const GError *vmload_reader_get_error(const VmloadReader *reader);

/* Can the reader jump, and read elsewhere? Never over memory. */
bool vmload_reader_is_seekable(const VmloadReader *reader);

/*
 * Absolute offset in the file of the next byte: not the same as the offset
 * in the stream where this begins in the middle of a file.
 */
uint64_t vmload_reader_get_position(const VmloadReader *reader);

/*
 * Goes on at @position, an absolute offset in the file, not before the
 * present one and below 2^63: the caller has checked that. Offsets in the
 * stream go on as if all between had been read. A seekable reader only.
 */
void vmload_reader_seek(VmloadReader *reader, uint64_t position);

/*
 * Reads elsewhere, at an absolute offset of the file, at least one byte.
 * Returns how many, 0 at the end, -1 with @error. Counts bytes, looks at the
 * cancel level, and changes nothing in the reader. Any number of threads.
 */
int64_t vmload_reader_preadv(const VmloadReader *reader,
                             const struct iovec *iov, uint32_t n,
                             uint64_t position, GError **error);

/*
 * The same, but bytes are not counted: they are looked at ahead, and may be
 * read again.
 */
int64_t vmload_reader_peek_at(const VmloadReader *reader,
                              const struct iovec *iov, uint32_t n,
                              uint64_t position, GError **error);

/* Absolute offset in the file behind the window: so far bytes are counted. */
uint64_t vmload_reader_get_window_end(const VmloadReader *reader);

/* What it reads from, borrowed; NULL over memory. */
VmloadChannel *vmload_reader_get_channel(const VmloadReader *reader);

/* How its calls wait; borrowed. Over memory: not at all. */
const VmloadWait *vmload_reader_get_wait(const VmloadReader *reader);

/* For who has read from the channel's file by other means. Any thread. */
void vmload_reader_count(const VmloadReader *reader, uint64_t n);

/* Counts every byte read from the channel into *@counter, atomically. */
void vmload_reader_set_counters(VmloadReader *reader, uint64_t *bytes,
                                uint64_t *last_byte_ns);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file reader.h
 * A bounded cursor over the bytes of a stream: what every load callback
 * reads from. All integers of the main stream are big-endian.
 *
 * A reader is over memory (a staged section: everything is there, nothing
 * ever waits) or streams from a channel (VMLOAD_LOCK_NONE: a call may wait
 * for the peer). A short read is always an error, and the first error
 * sticks: later calls fail with the same error, so a callback may check once
 * at its end. Outputs are untouched on failure.
 *
 * Where functions say "while good": inside the callback that received the
 * reader, or, for a reader made by vmload_reader_new_memory() or
 * vmload_loader_new_reader(), until it is freed. "As reads do": a streaming
 * reader until the bytes have come or the load is cancelled; a reader over
 * memory never. Errors "of reads":
 * VMLOAD_ERROR_TRUNCATED (the bytes end too early), and for a streaming
 * reader VMLOAD_ERROR_IO, VMLOAD_ERROR_CANCELLED, VMLOAD_ERROR_TIMEOUT.
 */
#ifndef VMLOAD_READER_H
#define VMLOAD_READER_H

#include <vmload/error.h>

G_BEGIN_DECLS

/** VmloadReader: opaque. Since: 0.1 */
typedef struct VmloadReader VmloadReader;

/**
 * vmload_reader_new_memory:
 * @data: (array length=length): the bytes, borrowed until the reader is
 *     freed.
 * @length: how many bytes, 0 allowed.
 * @offset: the stream offset of @data[0], for messages.
 *
 * Makes a reader over bytes in memory.
 *
 * Return: (transfer full): a reader, to be freed with vmload_reader_free().
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadReader *vmload_reader_new_memory(const uint8_t *data,
                                                     uint64_t length,
                                                     uint64_t offset);

/**
 * vmload_reader_free:
 * @reader: (nullable) (transfer full): a reader made by
 *     vmload_reader_new_memory() or vmload_loader_new_reader().
 *
 * Frees the reader, not its bytes; the channel of one that has a channel.
 *
 * Errors: none.
 * States: while good. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_reader_free(VmloadReader *reader);

/**
 * vmload_reader_get_offset:
 * @reader: the reader.
 *
 * Tells where the next byte stands.
 *
 * Return: bytes from the start of the stream.
 * Errors: none.
 * States: while good. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint64_t vmload_reader_get_offset(const VmloadReader *reader);

/**
 * vmload_reader_read:
 * @reader: the reader.
 * @buffer: (out caller-allocates): where the bytes go.
 * @length: how many bytes are needed, all of them.
 * @error: (nullable): where to put the error.
 *
 * Reads exactly @length bytes.
 *
 * Return: true if all bytes were read; on failure the content of @buffer is
 *     undefined.
 * Errors: those of reads.
 * States: while good. Threads: owner. Blocks: as reads do.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_read(VmloadReader *reader, void *buffer,
                                      uint64_t length, GError **error);

/**
 * vmload_reader_skip:
 * @reader: the reader.
 * @length: how many bytes to pass over.
 * @error: (nullable): where to put the error.
 *
 * Passes over exactly @length bytes.
 *
 * Return: true if all bytes were there.
 * Errors: those of reads.
 * States: while good. Threads: owner. Blocks: as reads do.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_skip(VmloadReader *reader, uint64_t length,
                                      GError **error);

/**
 * vmload_reader_peek:
 * @reader: the reader.
 * @length: how many bytes are wanted, at most 65536.
 * @data: (out) (transfer none): the bytes, valid until the next call with
 *     this reader.
 * @available: (out): how many of them there are: fewer than @length only
 *     where the bytes end.
 * @error: (nullable): where to put the error.
 *
 * Looks at the next bytes and leaves them unread. The end of the bytes is
 * no error here.
 *
 * Return: true if @data and @available were set.
 * Errors: those of reads.
 * States: while good. Threads: owner. Blocks: as reads do.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_peek(VmloadReader *reader, uint64_t length,
                                      const uint8_t **data,
                                      uint64_t *available, GError **error);

/**
 * vmload_reader_get_u8:
 * @reader: the reader.
 * @value: (out): the byte.
 * @error: (nullable): where to put the error.
 *
 * Reads one byte.
 *
 * Return: true if @value was set.
 * Errors: those of reads.
 * States: while good. Threads: owner. Blocks: as reads do.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_get_u8(VmloadReader *reader, uint8_t *value,
                                        GError **error);

/**
 * vmload_reader_get_be16:
 * @reader: the reader.
 * @value: (out): the number in the host's byte order.
 * @error: (nullable): where to put the error.
 *
 * Reads a 16-bit big-endian number.
 *
 * Return: true if @value was set.
 * Errors: those of reads.
 * States: while good. Threads: owner. Blocks: as reads do.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_get_be16(VmloadReader *reader,
                                          uint16_t *value, GError **error);

/**
 * vmload_reader_get_be32:
 * @reader: the reader.
 * @value: (out): the number in the host's byte order.
 * @error: (nullable): where to put the error.
 *
 * Reads a 32-bit big-endian number.
 *
 * Return: true if @value was set.
 * Errors: those of reads.
 * States: while good. Threads: owner. Blocks: as reads do.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_get_be32(VmloadReader *reader,
                                          uint32_t *value, GError **error);

/**
 * vmload_reader_get_be64:
 * @reader: the reader.
 * @value: (out): the number in the host's byte order.
 * @error: (nullable): where to put the error.
 *
 * Reads a 64-bit big-endian number.
 *
 * Return: true if @value was set.
 * Errors: those of reads.
 * States: while good. Threads: owner. Blocks: as reads do.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_get_be64(VmloadReader *reader,
                                          uint64_t *value, GError **error);

/** Bytes that vmload_reader_unread() can give back. Since: 0.1 */
#define VMLOAD_READER_UNREAD_MAX 65536u

/**
 * vmload_reader_read_some:
 * @reader: the reader.
 * @buffer: (out caller-allocates): where the bytes go.
 * @length: how many bytes fit, at least 1.
 * @error: (nullable): where to put the error.
 *
 * Reads what is there, for a file object of the host's over @reader, which
 * reads ahead and gives back what it did not need with vmload_reader_unread().
 *
 * Return: how many bytes, at least 1; 0 where they end; -1 on error.
 * Errors: those of reads, but for VMLOAD_ERROR_TRUNCATED.
 * States: while good. Threads: owner. Blocks: until a byte is there.
 * Since: 0.1
 */
VMLOAD_EXPORT int64_t vmload_reader_read_some(VmloadReader *reader,
                                              void *buffer, uint64_t length,
                                              GError **error);

/**
 * vmload_reader_unread:
 * @reader: the reader.
 * @n: how many bytes, at most VMLOAD_READER_UNREAD_MAX.
 *
 * Gives back the last @n bytes: they are read again. Bytes can be given back
 * as long as nothing but vmload_reader_read_some() has read behind them. Not
 * for a reader over a host's source (VmloadSourceOps), whose bytes are back in
 * the host's hands: there the host reads its own file object.
 *
 * Return: true if they were given back; false and nothing done if they are
 *     not there any more.
 * Errors: none.
 * States: while good. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_unread(VmloadReader *reader, uint64_t n);

/** Bytes a string buffer for vmload_reader_get_str8() must have. */
#define VMLOAD_STR8_SIZE 256

/**
 * vmload_reader_get_str8:
 * @reader: the reader.
 * @string: (out caller-allocates) (array fixed-size=256): the bytes with a
 *     NUL behind them.
 * @length: (out) (nullable): how many bytes, 1 to 255.
 * @error: (nullable): where to put the error.
 *
 * Reads a string with a length byte before it (str8).
 *
 * Return: true if @string was set.
 * Errors: those of reads, and VMLOAD_ERROR_MALFORMED: the string is empty
 *     or has a NUL inside.
 * States: while good. Threads: owner. Blocks: as reads do.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_get_str8(VmloadReader *reader, char *string,
                                          uint32_t *length, GError **error);

/**
 * vmload_reader_get_staged:
 * @reader: the reader of a VMLOAD_LOCK_WHOLE or VMLOAD_LOCK_APPLY callback.
 * @data: (out) (transfer none): the payload's first byte, valid until the
 *     callback returns.
 * @candidate: (out): where the payload is believed to end, bytes from
 *     @data; the footer stands there.
 * @visible: (out): how many bytes can be looked at, more than @candidate:
 *     the footer and what follows are shown, since some devices peek past
 *     their last field.
 *
 * Shows all staged bytes at once, for hosts that load devices through a
 * file object of their own. What the callback consumed must be told with
 * vmload_reader_skip(); it, not @candidate, decides where the section ends.
 *
 * Return: true if the reader is over a staged section.
 * Errors: none.
 * States: while good. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_get_staged(VmloadReader *reader,
                                            const uint8_t **data,
                                            uint64_t *candidate,
                                            uint64_t *visible);

/**
 * vmload_reader_error:
 * @reader: the reader.
 * @error: (nullable): where to put the error.
 * @code: why, as in error.h.
 * @format: what was expected and what was found, without a period.
 *
 * Sets @error with the reader's offset in front, and makes it the reader's
 * sticky error. For callbacks that judge what they have read.
 *
 * Return: false, always, so that a caller can return it.
 * Errors: sets the one it is told to.
 * States: while good. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_reader_error(VmloadReader *reader, GError **error,
                                       VmloadError code, const char *format,
                                       ...) G_GNUC_PRINTF(4, 5);

G_END_DECLS

#endif

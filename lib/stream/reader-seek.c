/* SPDX-License-Identifier: BSD-3-Clause */
/* Readers over files: where they stand, and reads elsewhere. */
#include "reader-private.h"

bool vmload_reader_is_seekable(const VmloadReader *reader)
{
    return reader->channel != NULL &&
           vmload_channel_is_seekable(reader->channel);
}

uint64_t vmload_reader_get_position(const VmloadReader *reader)
{
    return vmload_channel_get_origin(reader->channel) +
           vmload_reader_get_offset(reader);
}

void vmload_reader_seek(VmloadReader *reader, uint64_t position)
{
    uint64_t now = vmload_reader_get_position(reader);

    g_return_if_fail(position >= now && position <= G_MAXINT64);
    if (position - now <= reader->tail - reader->head) {
        reader->head += position - now;
        reader->again = 0;
        return;
    }
    reader->base = position - vmload_channel_get_origin(reader->channel);
    reader->head = reader->tail = reader->again = 0;
    reader->jumped = true;
    /* Maybe not: the file may have grown. The next read tells. */
    reader->end = false;
}

uint64_t vmload_reader_get_window_end(const VmloadReader *reader)
{
    return vmload_channel_get_origin(reader->channel) + reader->base +
           reader->tail;
}

int64_t vmload_reader_peek_at(const VmloadReader *reader,
                              const struct iovec *iov, uint32_t n,
                              uint64_t position, GError **error)
{
    return vmload_channel_preadv(reader->channel, iov, n, position,
                                 &reader->wait, error);
}

int64_t vmload_reader_preadv(const VmloadReader *reader,
                             const struct iovec *iov, uint32_t n,
                             uint64_t position, GError **error)
{
    int64_t got = vmload_channel_preadv(reader->channel, iov, n, position,
                                        &reader->wait, error);

    if (got > 0) {
        vmload_reader_count(reader, (uint64_t)got);
    }
    return got;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Method "zlib": one stream for the channel's whole life. Each packet ends at
 * a sync flush, so that its bytes give exactly its pages.
 */
#include "private.h"

#include "error.h"

#include <zlib.h>

static void *zlib_open(uint64_t window_bytes G_GNUC_UNUSED, GError **error)
{
    z_stream *stream = g_new0(z_stream, 1);

    if (inflateInit(stream) != Z_OK) {
        vmload_fail(error, VMLOAD_ERROR_LIMIT, "no memory for zlib");
        g_free(stream);
        return NULL;
    }
    return stream;
}

static void zlib_close(void *state)
{
    inflateEnd(state);
    g_free(state);
}

/* One run of pages. Output may be pending when all input is taken. */
static bool zlib_fill(z_stream *stream, const struct iovec *run,
                      uint32_t size, GError **error)
{
    int result = Z_OK;

    stream->next_out = run->iov_base;
    stream->avail_out = (uInt)run->iov_len;
    while (stream->avail_out > 0 && result == Z_OK) {
        result = inflate(stream, Z_SYNC_FLUSH);
    }
    /* Z_BUF_ERROR: nothing more to be had. */
    if (result != Z_OK && result != Z_BUF_ERROR) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "expected a zlib stream that goes on, found zlib's "
                           "result %d at byte %u of %u", result,
                           size - stream->avail_in, size);
    }
    if (stream->avail_out > 0) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field next_packet_size: expected all pages in %u "
                           "bytes of zlib, found %u bytes too few", size,
                           stream->avail_out);
    }
    return true;
}

/* Nothing may be left: it would come out as the next packet's pages. */
static bool zlib_check_end(z_stream *stream, GError **error)
{
    Bytef spare;
    int result;

    stream->next_out = &spare;
    stream->avail_out = sizeof(spare);
    result = inflate(stream, Z_SYNC_FLUSH);
    if ((result != Z_OK && result != Z_BUF_ERROR) ||
        stream->avail_out == 0 || stream->avail_in > 0) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field next_packet_size: expected the pages and no "
                           "more, found more (zlib: %d)", result);
    }
    return true;
}

static bool zlib_receive(VmloadMultifdChannel *channel, void *state,
                         const VmloadMultifdPacket *packet,
                         struct iovec *pages, uint32_t n, GError **error)
{
    z_stream *stream = state;
    const uint8_t *input = vmload_multifd_read_input(channel, packet, error);
    uint32_t i;

    if (input == NULL) {
        return false;
    }
    stream->next_in = (Bytef *)(uintptr_t)input;
    stream->avail_in = packet->size;
    for (i = 0; i < n; i++) {
        if (!zlib_fill(stream, &pages[i], packet->size, error)) {
            return false;
        }
    }
    return zlib_check_end(stream, error);
}

const VmloadMultifdMethod vmload_multifd_zlib = {
    .name = "zlib",
    .flag = MULTIFD_ZLIB,
    .open = zlib_open,
    .close = zlib_close,
    .receive = zlib_receive,
};

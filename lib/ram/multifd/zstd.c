/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Method "zstd": one frame for the channel's whole life, which is never
 * ended. Each packet ends with a flushed block.
 */
#include "private.h"

#include "error.h"

#include <zstd.h>

static int zstd_window_log(uint64_t window_bytes)
{
    const ZSTD_bounds bounds = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax);
    int log = bounds.lowerBound;

    while (log < bounds.upperBound && window_bytes >> (log + 1) > 0) {
        log++;
    }
    return log;
}

static void *zstd_open(uint64_t window_bytes, GError **error)
{
    ZSTD_DStream *stream = ZSTD_createDStream();

    if (stream == NULL) {
        vmload_fail(error, VMLOAD_ERROR_LIMIT, "no memory for zstd");
        return NULL;
    }
    ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax,
                           zstd_window_log(window_bytes));
    return stream;
}

static void zstd_close(void *state)
{
    ZSTD_freeDStream(state);
}

static bool zstd_step(ZSTD_DStream *stream, ZSTD_outBuffer *output,
                      ZSTD_inBuffer *input, GError **error)
{
    size_t result = ZSTD_decompressStream(stream, output, input);

    return !ZSTD_isError(result) ||
           vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                       "expected a zstd frame that goes on, found an error at "
                       "byte %zu of %zu: %s", input->pos, input->size,
                       ZSTD_getErrorName(result));
}

/* One run of pages. What zstd holds back comes without further input. */
static bool zstd_fill(ZSTD_DStream *stream, const struct iovec *run,
                      ZSTD_inBuffer *input, GError **error)
{
    ZSTD_outBuffer output = {run->iov_base, run->iov_len, 0};
    size_t before;
    size_t taken;

    do {
        before = output.pos;
        taken = input->pos;
        if (!zstd_step(stream, &output, input, error)) {
            return false;
        }
    } while (output.pos < output.size &&
             (output.pos > before || input->pos > taken));
    if (output.pos < output.size) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field next_packet_size: expected all pages in %zu "
                           "bytes of zstd, found %zu bytes too few",
                           input->size, output.size - output.pos);
    }
    return true;
}

/* Nothing may be left: it would come out as the next packet's pages. */
static bool zstd_check_end(ZSTD_DStream *stream, ZSTD_inBuffer *input,
                           GError **error)
{
    uint8_t spare;
    ZSTD_outBuffer output = {&spare, sizeof(spare), 0};

    if (!zstd_step(stream, &output, input, error)) {
        return false;
    }
    if (output.pos > 0 || input->pos < input->size) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field next_packet_size: expected the pages and no "
                           "more, found more");
    }
    return true;
}

static bool zstd_receive(VmloadMultifdChannel *channel, void *state,
                         const VmloadMultifdPacket *packet,
                         struct iovec *pages, uint32_t n, GError **error)
{
    ZSTD_inBuffer input = {NULL, packet->size, 0};
    uint32_t i;

    input.src = vmload_multifd_read_input(channel, packet, error);
    if (input.src == NULL) {
        return false;
    }
    for (i = 0; i < n; i++) {
        if (!zstd_fill(state, &pages[i], &input, error)) {
            return false;
        }
    }
    return zstd_check_end(state, &input, error);
}

const VmloadMultifdMethod vmload_multifd_zstd = {
    .name = "zstd",
    .flag = MULTIFD_ZSTD,
    .open = zstd_open,
    .close = zstd_close,
    .receive = zstd_receive,
};

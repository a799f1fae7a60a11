/* SPDX-License-Identifier: BSD-3-Clause */
/* What fuzz targets share: a check, and a channel that gives small pieces. */
#ifndef VMLOAD_TESTS_FUZZ_H
#define VMLOAD_TESTS_FUZZ_H

#include <glib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <vmload/channel.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise ends the run as a finding. */
#define FUZZ_CHECK(condition)                                       \
    do {                                                            \
        if (!(condition)) {                                         \
            g_printerr("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                \
        }                                                           \
    } while (0)

/*
 * Bytes that come in pieces of 1 to @step bytes; 0: all at once. The pieces'
 * sizes go round, so that every boundary falls everywhere.
 */
typedef struct {
    const uint8_t *data;
    uint64_t length;
    uint64_t position;
    uint32_t step;
    uint32_t turn;
} FuzzPieces;

static inline void fuzz_pieces_init(FuzzPieces *pieces, const uint8_t *data,
                                    uint64_t length, uint32_t step)
{
    memset(pieces, 0, sizeof(*pieces));
    pieces->data = data;
    pieces->length = length;
    pieces->step = step;
}

static inline int64_t fuzz_pieces_readv(void *opaque, const struct iovec *iov,
                                        uint32_t n, GError **error)
{
    FuzzPieces *pieces = opaque;
    uint64_t piece = pieces->length - pieces->position;
    uint64_t done = 0;
    uint32_t i;

    (void)error;
    if (pieces->step > 0) {
        piece = MIN(piece, 1 + pieces->turn % pieces->step);
        pieces->turn++;
    }
    for (i = 0; i < n && done < piece; i++) {
        uint64_t part = MIN(piece - done, (uint64_t)iov[i].iov_len);

        if (part > 0) {
            memcpy(iov[i].iov_base, pieces->data + pieces->position, part);
        }
        pieces->position += part;
        done += part;
    }
    return (int64_t)done;
}

/* @pieces is borrowed until the last unref. */
static inline VmloadChannel *fuzz_pieces_channel(FuzzPieces *pieces)
{
    static const VmloadChannelOps ops = {
        VMLOAD_CHANNEL_OPS_INIT,
        .readv = fuzz_pieces_readv,
    };
    VmloadChannel *channel =
        vmload_channel_new_from_ops(&ops, pieces, NULL, NULL);

    FUZZ_CHECK(channel != NULL);
    return channel;
}

#endif

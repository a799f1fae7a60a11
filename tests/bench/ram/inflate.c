/* SPDX-License-Identifier: BSD-3-Clause */
#include "inflate.h"

#include "common.h"

#include <stdlib.h>
#include <string.h>
#ifdef BENCH_ZLIB
#include <zlib.h>
#endif
#ifdef BENCH_ZSTD
#include <zstd.h>
#endif

/* Multifd, for pages of 4 KiB. */
#define HANDSHAKE 64u
#define HEADER 1344u
#define AT_FLAGS 8u
#define AT_NORMAL 16u
#define AT_SIZE 20u
#define MAX_SIZE ((uint32_t)4 << 20)

#ifdef BENCH_ZLIB
typedef z_stream ZlibState;
#else
typedef int ZlibState;
#endif
#ifdef BENCH_ZSTD
typedef ZSTD_DStream *ZstdState;
#else
typedef void *ZstdState;
#endif

typedef struct {
    InflateMethod method;
    ZlibState zlib;
    ZstdState zstd;
} Inflate;

InflateMethod inflate_method(const char *name)
{
#ifdef BENCH_ZLIB
    if (strcmp(name, "zlib") == 0) {
        return INFLATE_ZLIB;
    }
#endif
#ifdef BENCH_ZSTD
    if (strcmp(name, "zstd") == 0) {
        return INFLATE_ZSTD;
    }
#endif
    fail(name, "this build has no such method");
}

static void inflate_init(Inflate *state, InflateMethod method)
{
    memset(state, 0, sizeof(*state));
    state->method = method;
#ifdef BENCH_ZLIB
    if (method == INFLATE_ZLIB && inflateInit(&state->zlib) != Z_OK) {
        fail("zlib", "cannot begin");
    }
#endif
#ifdef BENCH_ZSTD
    if (method == INFLATE_ZSTD) {
        state->zstd = ZSTD_createDStream();
    }
#endif
}

static void inflate_clear(Inflate *state)
{
#ifdef BENCH_ZLIB
    if (state->method == INFLATE_ZLIB) {
        inflateEnd(&state->zlib);
    }
#endif
#ifdef BENCH_ZSTD
    ZSTD_freeDStream(state->zstd);
#endif
    (void)state;
}

/* A packet's data must give exactly LENGTH bytes. */
static void inflate_packet(Inflate *state, uint8_t *data, uint32_t size,
                           uint8_t *out, size_t length)
{
    size_t missing = length;

    (void)state;
#ifdef BENCH_ZLIB
    if (state->method == INFLATE_ZLIB) {
        state->zlib.next_in = data;
        state->zlib.avail_in = size;
        state->zlib.next_out = out;
        state->zlib.avail_out = (uInt)length;
        if (inflate(&state->zlib, Z_SYNC_FLUSH) != Z_OK) {
            fail("zlib", "bad data");
        }
        missing = state->zlib.avail_out + state->zlib.avail_in;
    }
#endif
#ifdef BENCH_ZSTD
    if (state->method == INFLATE_ZSTD) {
        ZSTD_inBuffer from = {data, size, 0};
        ZSTD_outBuffer to = {out, length, 0};
        size_t before;

        do {
            before = from.pos + to.pos;
            if (ZSTD_isError(ZSTD_decompressStream(state->zstd, &to,
                                                   &from))) {
                fail("zstd", "bad data");
            }
        } while (from.pos + to.pos != before && from.pos < from.size);
        missing = to.size - to.pos + from.size - from.pos;
    }
#endif
    (void)data;
    (void)size;
    (void)out;
    if (missing != 0) {
        fail("packet", "other data than it says");
    }
}

/* Behind a packet of which the source says SYNC. */
static void meet(const uint8_t *header, pthread_barrier_t *barrier)
{
    if (barrier != NULL && (be32_at(header + AT_FLAGS) & 1) != 0) {
        pthread_barrier_wait(barrier);
    }
}

size_t inflate_channel(InflateMethod method, int fd, uint8_t *memory,
                       size_t room, pthread_barrier_t *barrier)
{
    uint8_t *data = malloc(MAX_SIZE);
    uint8_t header[HEADER];
    size_t done = 0;
    Inflate state;

    if (data == NULL) {
        die("memory");
    }
    inflate_init(&state, method);
    read_exactly(fd, header, HANDSHAKE);
    for (; read_or_end(fd, header, HEADER); meet(header, barrier)) {
        uint32_t size = be32_at(header + AT_SIZE);
        size_t length = be32_at(header + AT_NORMAL) * PAGE;

        /* The size means nothing where there are no pages. */
        if (length == 0) {
            continue;
        }
        if (size > MAX_SIZE || length > room - done) {
            fail("packet", "too much data");
        }
        read_exactly(fd, data, size);
        inflate_packet(&state, data, size, memory + done, length);
        done += length;
    }
    inflate_clear(&state);
    free(data);
    return done;
}

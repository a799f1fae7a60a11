/* SPDX-License-Identifier: BSD-3-Clause */
/* Multifd packets decompressed, and nothing checked or placed. */
#ifndef VMLOAD_BENCH_RAM_INFLATE_H
#define VMLOAD_BENCH_RAM_INFLATE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    INFLATE_NONE,
    INFLATE_ZLIB,
    INFLATE_ZSTD,
} InflateMethod;

/* "zlib" or "zstd", as far as the build has them; else it ends. */
InflateMethod inflate_method(const char *name);

/*
 * Reads a channel to its end and puts what comes out of it into MEMORY, of
 * ROOM bytes, one after the other. Returns how much that is. Channels wait for
 * each other at BARRIER, if there is one, where the stream has a SYNC.
 */
size_t inflate_channel(InflateMethod method, int fd, uint8_t *memory,
                       size_t room, pthread_barrier_t *barrier);

#endif

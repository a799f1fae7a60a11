/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages are copied to memory that nobody looks at soon. Stores that go past
 * the caches need not read what they overwrite: for memory that is not in a
 * cache that is about twice as fast as memcpy() (docs/ram.md, "Speed").
 */
#ifndef VMLOAD_RAM_COPY_H
#define VMLOAD_RAM_COPY_H

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>

/* 64 bytes at a time, to where a line of the cache begins. */
static inline void vmload_copy_page(uint8_t *to, const uint8_t *from,
                                    uint64_t length)
{
    uint64_t at;

    if (((uintptr_t)to | length) % 64 != 0) {
        memcpy(to, from, length);
        return;
    }
    for (at = 0; at < length; at += 64) {
        const __m128i *in = (const __m128i *)(const void *)(from + at);
        __m128i *out = (__m128i *)(void *)(to + at);
        __m128i a = _mm_loadu_si128(in);
        __m128i b = _mm_loadu_si128(in + 1);
        __m128i c = _mm_loadu_si128(in + 2);
        __m128i d = _mm_loadu_si128(in + 3);

        _mm_stream_si128(out, a);
        _mm_stream_si128(out + 1, b);
        _mm_stream_si128(out + 2, c);
        _mm_stream_si128(out + 3, d);
    }
}

/* After copies, before others may be told: no lock orders such stores. */
static inline void vmload_copy_done(void)
{
    _mm_sfence();
}

#else

static inline void vmload_copy_page(uint8_t *to, const uint8_t *from,
                                    uint64_t length)
{
    memcpy(to, from, length);
}

static inline void vmload_copy_done(void)
{
}

#endif
#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* The one clock of all counters: CLOCK_MONOTONIC in nanoseconds. */
#ifndef VMLOAD_CLOCK_H
#define VMLOAD_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t vmload_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif

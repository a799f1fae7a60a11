/* SPDX-License-Identifier: BSD-3-Clause */
/* Measured times, all of them kept: percentiles are exact. */
#ifndef VMLOAD_BENCH_SAMPLES_H
#define VMLOAD_BENCH_SAMPLES_H

#include <glib.h>
#include <stdint.h>
#include <stdio.h>

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t now_ns(void);
/* Sleeps until that time; at once if it is past. */
void sleep_until_ns(uint64_t when);
/* Uses the CPU for that long. */
void spin_ns(uint64_t duration);

/* An array of uint64_t. */
GArray *samples_new(void);
void samples_add(GArray *samples, uint64_t value);
/* Sorts, so that the next one works. */
void samples_sort(GArray *samples);
/* The value that @fraction of the sorted samples do not exceed. */
uint64_t samples_quantile(const GArray *samples, double fraction);
/* {"n":..,"p50":..,...} in nanoseconds; sorts. */
void samples_print(GArray *samples, FILE *out);
/* [[upper bound, count],...], bounds are powers of two. */
void samples_print_histogram(const GArray *samples, FILE *out);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#include "samples.h"

#include <errno.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void sleep_until_ns(uint64_t when)
{
    struct timespec until = {
        .tv_sec = (time_t)(when / NS_PER_S),
        .tv_nsec = (long)(when % NS_PER_S),
    };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) ==
           EINTR) {
        continue;
    }
}

void spin_ns(uint64_t duration)
{
    uint64_t end = now_ns() + duration;

    while (now_ns() < end) {
        continue;
    }
}

GArray *samples_new(void)
{
    return g_array_sized_new(FALSE, FALSE, sizeof(uint64_t), 4096);
}

void samples_add(GArray *samples, uint64_t value)
{
    g_array_append_val(samples, value);
}

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

void samples_sort(GArray *samples)
{
    g_array_sort(samples, compare);
}

uint64_t samples_quantile(const GArray *samples, double fraction)
{
    guint index;

    if (samples->len == 0) {
        return 0;
    }
    /* Nearest rank: with few samples the high ones are all the maximum. */
    index = (guint)(fraction * samples->len);
    return g_array_index(samples, uint64_t, MIN(index, samples->len - 1));
}

void samples_print(GArray *samples, FILE *out)
{
    samples_sort(samples);
    fprintf(out,
            "{\"n\":%u,\"p50\":%" G_GUINT64_FORMAT ",\"p99\":%"
            G_GUINT64_FORMAT ",\"p999\":%" G_GUINT64_FORMAT ",\"max\":%"
            G_GUINT64_FORMAT "}",
            samples->len, samples_quantile(samples, 0.5),
            samples_quantile(samples, 0.99), samples_quantile(samples, 0.999),
            samples_quantile(samples, 1));
}

void samples_print_histogram(const GArray *samples, FILE *out)
{
    uint64_t bound = 1024;
    const char *comma = "";
    guint i = 0;

    fprintf(out, "[");
    while (i < samples->len) {
        guint count = 0;

        while (i < samples->len &&
               g_array_index(samples, uint64_t, i) < bound) {
            count++;
            i++;
        }
        if (count > 0) {
            fprintf(out, "%s[%" G_GUINT64_FORMAT ",%u]", comma, bound, count);
            comma = ",";
        }
        bound *= 2;
    }
    fprintf(out, "]");
}

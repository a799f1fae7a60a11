/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#define BAR_WIDTH 30
#define BAR_PERIOD (G_USEC_PER_SEC / 10)
#define LINE_PERIOD G_USEC_PER_SEC

struct CliProgress {
    VmloadLoader *loader;
    GThread *thread;
    GMutex mutex;
    GCond cond;
    bool bar;
    bool stop;  /* under mutex */
    bool drawn; /* thread only */
    uint64_t last_bytes;
    int64_t last_time;
};

/* MB/s since the last call. */
static double progress_rate(CliProgress *progress, uint64_t bytes)
{
    int64_t now = g_get_monotonic_time();
    int64_t elapsed = MAX(now - progress->last_time, 1);
    uint64_t more = bytes - progress->last_bytes;

    progress->last_time = now;
    progress->last_bytes = bytes;
    return (double)more / (double)elapsed; /* bytes a microsecond */
}

/*
 * How much of RAM has come, at least once, in percent. Pages come again while
 * the guest runs, so that this is a bound and no promise.
 */
static uint32_t progress_percent(const VmloadStats *stats)
{
    uint64_t placed = stats->ram_bytes_placed;

    if (stats->state >= VMLOAD_STATE_FINISHING) {
        return 100;
    }
    if (stats->ram_bytes_expected == 0) {
        return 0;
    }
    return (uint32_t)MIN((double)placed * 100.0 /
                             (double)stats->ram_bytes_expected, 99.0);
}

static void progress_draw(CliProgress *progress)
{
    VmloadStats stats = {.struct_size = sizeof(stats)};
    char bar[BAR_WIDTH + 1];
    uint32_t percent;
    uint32_t i;
    char *size;
    double rate;

    vmload_loader_get_stats(progress->loader, &stats);
    percent = progress_percent(&stats);
    size = cli_size(stats.bytes_total);
    rate = progress_rate(progress, stats.bytes_total);
    if (progress->bar) {
        for (i = 0; i < BAR_WIDTH; i++) {
            bar[i] = i < percent * BAR_WIDTH / 100 ? '#' : '.';
        }
        bar[BAR_WIDTH] = '\0';
        fprintf(stderr, "\r[%s] %3u%%  %s  %.1f MB/s  %s\033[K", bar,
                percent, size, rate, cli_state_name(stats.state));
        progress->drawn = true;
    } else {
        fprintf(stderr, "%s: %u%%, %s, %.1f MB/s\n",
                cli_state_name(stats.state), percent, size, rate);
    }
    fflush(stderr);
    g_free(size);
}

static void *progress_main(void *opaque)
{
    CliProgress *progress = opaque;
    int64_t period = progress->bar ? BAR_PERIOD : LINE_PERIOD;
    int64_t next = g_get_monotonic_time() + period;

    g_mutex_lock(&progress->mutex);
    while (!progress->stop) {
        if (!g_cond_wait_until(&progress->cond, &progress->mutex, next)) {
            g_mutex_unlock(&progress->mutex);
            /* Until a source is there, there is nothing to say. */
            if (vmload_loader_get_state(progress->loader) >
                VMLOAD_STATE_WAITING) {
                progress_draw(progress);
            }
            g_mutex_lock(&progress->mutex);
            next = g_get_monotonic_time() + period;
        }
    }
    g_mutex_unlock(&progress->mutex);
    return NULL;
}

CliProgress *cli_progress_new(VmloadLoader *loader, bool bar)
{
    CliProgress *progress = g_new0(CliProgress, 1);

    progress->loader = loader;
    progress->bar = bar;
    progress->last_time = g_get_monotonic_time();
    g_mutex_init(&progress->mutex);
    g_cond_init(&progress->cond);
    progress->thread = g_thread_new("progress", progress_main, progress);
    return progress;
}

void cli_progress_free(CliProgress *progress)
{
    if (progress == NULL) {
        return;
    }
    g_mutex_lock(&progress->mutex);
    progress->stop = true;
    g_cond_signal(&progress->cond);
    g_mutex_unlock(&progress->mutex);
    g_thread_join(progress->thread);
    if (progress->drawn) {
        progress_draw(progress);
        fputc('\n', stderr);
    }
    g_mutex_clear(&progress->mutex);
    g_cond_clear(&progress->cond);
    g_free(progress);
}

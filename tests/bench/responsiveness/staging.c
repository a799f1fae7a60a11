/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What staging costs: the device phase of one stream, from memory, staged and
 * read without staging, in turn.
 */
#include "bench.h"
#include "host.h"
#include "samples.h"

/* What a device does with its state, where it does something. */
#define CALLBACK_NS 25000

#define N_WAYS 5

typedef struct {
    HostRule rule;
    uint64_t callback_ns;
    GArray *took;
} Way;

/* The device phase, without setting up and tearing down a loader. */
static bool load_once(const Stream *stream, BigLock *lock, const Way *way,
                      uint64_t *took, GError **error)
{
    VmloadLoader *loader;
    bool ok = false;
    Host host;

    host_init(&host, way->rule, lock, stream);
    host.callback_ns = way->callback_ns;
    loader = host_new_loader(&host, error);
    if (loader != NULL) {
        vmload_loader_set_channel(
            loader, vmload_channel_new_memory(stream->bytes->data,
                                              stream->bytes->len, NULL,
                                              NULL));
        ok = vmload_loader_run(loader, 0, error);
        *took = host.phase_end_ns - host.device_ns;
    }
    vmload_loader_free(loader);
    host_clear(&host);
    return ok;
}

static uint64_t device_bytes(const Stream *stream, guint *n)
{
    uint64_t bytes = 0;
    guint i;

    *n = 0;
    for (i = 0; i < stream->records->len; i++) {
        const StreamRecord *record =
            &g_array_index(stream->records, StreamRecord, i);

        if (stream_record_is_device(record)) {
            bytes += record->payload_length;
            *n += 1;
        }
    }
    return bytes;
}

/*
 * In another order each time: a load is faster or slower for the one that
 * ran before it.
 */
static void shuffle(guint *order, guint n)
{
    guint i;

    for (i = n; i > 1; i--) {
        guint other = (guint)g_random_int_range(0, (gint32)i);
        guint kept = order[i - 1];

        order[i - 1] = order[other];
        order[other] = kept;
    }
}

static bool measure(const Options *options, const Stream *stream, Way *ways,
                    guint n, GError **error)
{
    BigLock *lock = big_lock_new();
    guint order[N_WAYS] = {0, 1, 2, 3, 4};
    bool ok = true;
    int round;
    guint i;

    g_return_val_if_fail(n == N_WAYS, false);
    /* The first rounds warm up. */
    for (round = -5; ok && round < options->rounds; round++) {
        shuffle(order, n);
        for (i = 0; ok && i < n; i++) {
            Way *way = &ways[order[i]];
            uint64_t took;

            ok = load_once(stream, lock, way, &took, error);
            if (ok && round >= 0) {
                samples_add(way->took, took);
            }
        }
    }
    big_lock_free(lock);
    return ok;
}

static void print(const Stream *stream, const Way *ways, guint n, FILE *out)
{
    guint devices;
    uint64_t bytes = device_bytes(stream, &devices);
    guint i;

    fprintf(out, "{\"devices\":%u,\"bytes\":%" G_GUINT64_FORMAT ",\"ways\":[",
            devices, bytes);
    for (i = 0; i < n; i++) {
        fprintf(out,
                "%s\n{\"rule\":\"%s\",\"callback_ns\":%" G_GUINT64_FORMAT
                ",\"took\":",
                i > 0 ? "," : "", host_rule_name(ways[i].rule),
                ways[i].callback_ns);
        samples_print(ways[i].took, out);
        fprintf(out, "}");
    }
    fprintf(out, "]}");
}

bool bench_staging(const Options *options, FILE *out)
{
    Way ways[] = {
        {HOST_STREAMED, 0, samples_new()},
        {HOST_SERIES, 0, samples_new()},
        {HOST_LIBRARY, 0, samples_new()},
        {HOST_STREAMED, CALLBACK_NS, samples_new()},
        {HOST_LIBRARY, CALLBACK_NS, samples_new()},
    };
    GError *error = NULL;
    Stream *stream = options_stream(options, 'a', &error);
    bool ok = stream != NULL &&
              measure(options, stream, ways, G_N_ELEMENTS(ways), &error);
    guint i;

    if (ok) {
        print(stream, ways, G_N_ELEMENTS(ways), out);
    } else {
        fprintf(stderr, "staging: %s\n", error->message);
        g_error_free(error);
    }
    for (i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_array_unref(ways[i].took);
    }
    stream_free(stream);
    return ok;
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <string.h>

const char *cli_state_name(uint32_t state)
{
    static const char *const names[] = {
        [VMLOAD_STATE_CONFIGURING] = "configuring",
        [VMLOAD_STATE_WAITING] = "waiting",
        [VMLOAD_STATE_ACTIVE] = "active",
        [VMLOAD_STATE_SWITCHOVER] = "switchover",
        [VMLOAD_STATE_FINISHING] = "finishing",
        [VMLOAD_STATE_COMPLETED] = "completed",
        [VMLOAD_STATE_FAILED] = "failed",
        [VMLOAD_STATE_CANCELLED] = "cancelled",
    };

    return state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

static void set_uint(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, cli_json_uint(value));
}

static json_t *stats_ram(const VmloadStats *stats)
{
    json_t *json = json_object();

    set_uint(json, "bytes_expected", stats->ram_bytes_expected);
    set_uint(json, "bytes_placed", stats->ram_bytes_placed);
    set_uint(json, "bytes_prefaulted", stats->ram_prefaulted_bytes);
    set_uint(json, "pages_normal", stats->ram_pages_normal);
    set_uint(json, "pages_zero", stats->ram_pages_zero);
    set_uint(json, "pages_xbzrle", stats->ram_pages_xbzrle);
    return json;
}

static json_t *stats_lock(const VmloadStats *stats)
{
    json_t *json = json_object();

    set_uint(json, "holds", stats->lock_holds);
    set_uint(json, "wait_ns", stats->lock_wait_ns);
    set_uint(json, "held_total_ns", stats->lock_held_total_ns);
    set_uint(json, "held_max_ns", stats->lock_held_max_ns);
    json_object_set_new(json, "held_max_site",
                        cli_json_text(stats->lock_held_max_site,
                                      strlen(stats->lock_held_max_site)));
    set_uint(json, "io_wait_ns", stats->lock_io_wait_ns);
    set_uint(json, "io_waits", stats->lock_io_waits);
    set_uint(json, "fault_wait_ns", stats->lock_fault_wait_ns);
    return json;
}

static json_t *stats_multifd(const VmloadStats *stats)
{
    json_t *json = json_object();

    set_uint(json, "channels", stats->multifd_channels);
    set_uint(json, "bytes", stats->multifd_bytes);
    set_uint(json, "packets", stats->multifd_packets);
    return json;
}

static json_t *stats_rdma(const VmloadStats *stats)
{
    json_t *json = json_object();

    set_uint(json, "messages", stats->rdma_messages);
    set_uint(json, "credit_waits", stats->rdma_credit_waits);
    set_uint(json, "credit_wait_ns", stats->rdma_credit_wait_ns);
    set_uint(json, "registrations", stats->rdma_registrations);
    set_uint(json, "keys", stats->rdma_keys);
    set_uint(json, "registered_bytes", stats->rdma_registered_bytes);
    set_uint(json, "registered_peak_bytes",
             stats->rdma_registered_peak_bytes);
    set_uint(json, "register_ns", stats->rdma_register_ns);
    set_uint(json, "register_wait_ns", stats->rdma_register_wait_ns);
    set_uint(json, "ahead", stats->rdma_ahead);
    set_uint(json, "ahead_used", stats->rdma_ahead_used);
    return json;
}

/* A span of time; 0 where one of its ends is missing. */
static uint64_t span(uint64_t from, uint64_t to)
{
    return from != 0 && to > from ? to - from : 0;
}

static json_t *stats_times(const VmloadStats *stats)
{
    json_t *json = json_object();

    set_uint(json, "total_ns", span(stats->start_ns, stats->end_ns));
    set_uint(json, "switchover_ns", span(stats->switchover_ns, stats->end_ns));
    set_uint(json, "io_wait_ns", stats->io_wait_ns);
    return json;
}

static json_t *stats_devices(VmloadLoader *loader)
{
    json_t *list = json_array();
    VmloadLedgerEntry *ledger;
    uint64_t n = 0;
    uint64_t i;

    ledger = vmload_loader_get_ledger(loader, &n);
    for (i = 0; i < n; i++) {
        json_t *json = json_object();

        json_object_set_new(
            json, "name",
            cli_json_text(ledger[i].name, strlen(ledger[i].name)));
        set_uint(json, "instance_id", ledger[i].instance_id);
        set_uint(json, "version", ledger[i].version_id);
        set_uint(json, "records", ledger[i].records);
        set_uint(json, "bytes", ledger[i].bytes);
        set_uint(json, "staging_ns", ledger[i].staging_ns);
        set_uint(json, "lock_wait_ns", ledger[i].lock_wait_ns);
        set_uint(json, "lock_held_ns", ledger[i].lock_held_ns);
        set_uint(json, "callback_ns", ledger[i].callback_ns);
        set_uint(json, "without_footer", ledger[i].without_footer);
        json_array_append_new(list, json);
    }
    g_free(ledger);
    return list;
}

json_t *cli_stats_json(VmloadLoader *loader, const GError *error)
{
    VmloadStats stats = {.struct_size = sizeof(stats)};
    json_t *json = json_object();

    vmload_loader_get_stats(loader, &stats);
    json_object_set_new(json, "status",
                        json_string(cli_state_name(stats.state)));
    if (error != NULL) {
        json_object_set_new(
            json, "error",
            cli_json_text(error->message, strlen(error->message)));
    }
    set_uint(json, "bytes_total", stats.bytes_total);
    set_uint(json, "sections", stats.sections);
    set_uint(json, "connections_refused", stats.connections_refused);
    set_uint(json, "commands", stats.commands);
    set_uint(json, "staged_peak_bytes", stats.staged_peak_bytes);
    json_object_set_new(json, "ram", stats_ram(&stats));
    json_object_set_new(json, "multifd", stats_multifd(&stats));
    json_object_set_new(json, "rdma", stats_rdma(&stats));
    json_object_set_new(json, "lock", stats_lock(&stats));
    json_object_set_new(json, "time", stats_times(&stats));
    json_object_set_new(json, "devices", stats_devices(loader));
    return json;
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* Of a time that may be microseconds or minutes; free with g_free(). */
static char *duration(uint64_t ns)
{
    return ns < 1000000 ? g_strdup_printf("%.1f us", (double)ns / 1e3)
                        : g_strdup_printf("%.1f ms", (double)ns / 1e6);
}

static void print_blocks(VmloadLoader *loader, const VmloadStats *stats)
{
    uint64_t total = 0;
    uint64_t n;
    VmloadRamBlock *block;
    char *size;

    for (n = 0; (block = vmload_loader_get_ram_block(loader, n)) != NULL;
         n++) {
        total += vmload_ram_block_get_length(block);
    }
    size = cli_size(total);
    printf("RAM:         %" G_GUINT64_FORMAT " blocks, %s\n", n, size);
    printf("pages:       %" G_GUINT64_FORMAT " normal, %" G_GUINT64_FORMAT
           " zero, %" G_GUINT64_FORMAT " XBZRLE\n",
           stats->ram_pages_normal, stats->ram_pages_zero,
           stats->ram_pages_xbzrle);
    g_free(size);
}

/* How many devices the summary names. */
#define WORST 5

static int by_lock_held(const void *a, const void *b)
{
    uint64_t x = ((const VmloadLedgerEntry *)a)->lock_held_ns;
    uint64_t y = ((const VmloadLedgerEntry *)b)->lock_held_ns;

    return (x < y) - (x > y);
}

/* The devices for which the lock was held longest. Sorts @ledger. */
static void print_worst(VmloadLedgerEntry *ledger, uint64_t n)
{
    uint64_t i;

    qsort(ledger, (size_t)n, sizeof(*ledger), by_lock_held);
    for (i = 0; i < MIN(n, WORST) && ledger[i].lock_held_ns > 0; i++) {
        char *name = cli_printable(ledger[i].name);
        char *size = cli_size(ledger[i].bytes);

        char *held = duration(ledger[i].lock_held_ns);
        char *staging = duration(ledger[i].staging_ns);

        printf("  %s/%u: lock held %s, staged in %s, %s\n", name,
               ledger[i].instance_id, held, staging, size);
        g_free(staging);
        g_free(held);
        g_free(size);
        g_free(name);
    }
}

static void print_devices(VmloadLoader *loader)
{
    VmloadLedgerEntry *ledger;
    uint64_t devices = 0;
    uint64_t bytes = 0;
    uint64_t n = 0;
    uint64_t i;
    char *size;

    ledger = vmload_loader_get_ledger(loader, &n);
    for (i = 0; i < n; i++) {
        if (strcmp(ledger[i].name, "ram") != 0) {
            devices++;
            bytes += ledger[i].bytes;
        }
    }
    size = cli_size(bytes);
    printf("devices:     %" G_GUINT64_FORMAT ", %s; the lock was held longest "
           "for:\n", devices, size);
    print_worst(ledger, n);
    g_free(size);
    g_free(ledger);
}

static void print_lock(const VmloadStats *stats)
{
    char *site = cli_printable(stats->lock_held_max_site);
    char *longest = duration(stats->lock_held_max_ns);
    char *total = duration(stats->lock_held_total_ns);
    char *waited = duration(stats->lock_io_wait_ns);

    printf("big lock:    longest hold %s (%s), %s in all, %s waiting for "
           "data\n", longest, site, total, waited);
    g_free(waited);
    g_free(total);
    g_free(longest);
    g_free(site);
}

void cli_stats_print(VmloadLoader *loader)
{
    VmloadStats stats = {.struct_size = sizeof(stats)};
    uint64_t total;
    char *text;

    vmload_loader_get_stats(loader, &stats);
    total = span(stats.start_ns, stats.end_ns);
    text = cli_size(stats.bytes_total);
    printf("status:      %s\n", cli_state_name(stats.state));
    printf("stream:      %s in %.3f s, %.1f MB/s\n", text, seconds(total),
           total > 0 ? (double)stats.bytes_total / 1e6 / seconds(total) : 0.0);
    g_free(text);
    print_blocks(loader, &stats);
    print_devices(loader);
    print_lock(&stats);
    if (stats.switchover_ns != 0) {
        text = duration(span(stats.switchover_ns, stats.end_ns));
        printf("switchover:  %s from the source's stop to the end\n", text);
        g_free(text);
    }
}

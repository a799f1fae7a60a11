/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host that loads one stream into fresh memory, in this process.
 *
 *   load [OPTION...] URI
 *
 *   --channels=N    multifd channels (default none)
 *   --threads=N     readers of a mapped-ram file (default: the library's)
 *   --direct        O_DIRECT for these
 *   --pages=KIND    huge (default) or small pages for guest memory
 *   --prefault=N    bytes made ready ahead, 0: off (default: the library's)
 *   --sum           also print a sum of the largest block
 *
 * Prints "ready" when somebody may connect, then one line of JSON: times are
 * the library's own, from the first byte to the end of the load.
 */
#include "common.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vmload/prefault.h>
#include <vmload/vmload.h>

typedef struct {
    const char *uri;
    uint32_t channels;
    uint32_t threads;
    uint64_t prefault;
    bool direct;
    bool sum;
    Pages pages;
} Options;

typedef struct {
    uint8_t *memory;
    size_t length;
} Region;

typedef struct {
    Options options;
    GArray *regions; /* of Region */
} Host;

static VmloadRamBlock *announced(void *opaque, const char *idstr,
                                 uint64_t used_length, GError **error)
{
    Host *host = opaque;
    size_t length = used_length > 0 ? (size_t)used_length : PAGE;
    Region region = {fresh_memory(length, host->options.pages), length};
    VmloadRamBlock *block = vmload_ram_block_new(
        idstr, length, length, vmload_ram_sink_new_memory(region.memory),
        error);

    g_array_append_val(host->regions, region);
    if (block != NULL) {
        vmload_ram_block_set_flags(block, VMLOAD_RAM_KNOWN_ZERO);
    }
    return block;
}

static VmloadLoader *new_loader(Host *host, GError **error)
{
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    const Options *options = &host->options;
    VmloadListener *listener = vmload_listener_new(options->uri, error);
    VmloadLoader *loader;

    if (listener == NULL) {
        return NULL;
    }
    loader = vmload_loader_new(&ops, host, NULL, error);
    if (loader == NULL) {
        vmload_listener_free(listener);
        return NULL;
    }
    vmload_loader_set_listener(loader, listener);
    vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
    vmload_loader_set_ram_announced(loader, announced, host, NULL);
    if (options->channels > 0) {
        vmload_loader_set_multifd(loader, options->channels,
                                  VMLOAD_MULTIFD_SYNC_AUTO);
    }
    if (options->threads > 0) {
        vmload_loader_set_ram_threads(loader, options->threads);
    }
    vmload_loader_set_prefault(loader, options->prefault);
    vmload_loader_set_direct_io(loader, options->direct);
    return loader;
}

static void print_sum(const Host *host)
{
    const Region *largest = NULL;
    guint i;

    for (i = 0; i < host->regions->len; i++) {
        const Region *region = &g_array_index(host->regions, Region, i);

        if (largest == NULL || region->length > largest->length) {
            largest = region;
        }
    }
    if (largest != NULL) {
        printf(", \"sum\": \"%016llx\"", (unsigned long long)sum_memory(
                                             largest->memory,
                                             largest->length));
    }
}

static void print_result(const Host *host, VmloadLoader *loader,
                         const Usage *usage)
{
    VmloadStats stats = {.struct_size = (uint32_t)sizeof(stats)};
    uint64_t guest = 0;
    guint i;

    vmload_loader_get_stats(loader, &stats);
    for (i = 0; i < host->regions->len; i++) {
        const Region *region = &g_array_index(host->regions, Region, i);

        guest += resident(region->memory, region->length);
    }
    printf("{\"ns\": %llu, \"end_ns\": %llu, \"bytes\": %llu, "
           "\"pages\": %llu, \"lock_io_wait_ns\": %llu, ",
           (unsigned long long)(stats.end_ns - stats.start_ns),
           (unsigned long long)stats.end_ns,
           (unsigned long long)stats.bytes_total,
           (unsigned long long)stats.ram_pages_normal,
           (unsigned long long)stats.lock_io_wait_ns);
    usage_print(usage, guest);
    if (host->options.sum) {
        print_sum(host);
    }
    puts("}");
}

static bool parse(Options *options, int argc, char **argv)
{
    static const struct option names[] = {
        {"channels", required_argument, NULL, 'c'},
        {"threads", required_argument, NULL, 't'},
        {"direct", no_argument, NULL, 'd'},
        {"pages", required_argument, NULL, 'p'},
        {"prefault", required_argument, NULL, 'f'},
        {"sum", no_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->channels = (uint32_t)atoi(optarg);
            break;
        case 't':
            options->threads = (uint32_t)atoi(optarg);
            break;
        case 'd':
            options->direct = true;
            break;
        case 'p':
            options->pages = pages_from_text(optarg);
            break;
        case 'f':
            options->prefault = strtoull(optarg, NULL, 0);
            break;
        case 's':
            options->sum = true;
            break;
        default:
            return false;
        }
    }
    options->uri = argv[optind];
    return optind == argc - 1;
}

int main(int argc, char **argv)
{
    Host host = {
        .options.prefault = VMLOAD_PREFAULT_AUTO,
        .regions = g_array_new(FALSE, FALSE, sizeof(Region)),
    };
    GError *error = NULL;
    VmloadLoader *loader;
    Usage usage;

    if (!parse(&host.options, argc, argv)) {
        fprintf(stderr, "usage: load [OPTION...] URI\n");
        return 2;
    }
    loader = new_loader(&host, &error);
    if (loader == NULL) {
        fail(host.options.uri, error->message);
    }
    say_ready();
    usage_begin(&usage);
    if (!vmload_loader_run(loader, 0, &error)) {
        fail(host.options.uri, error->message);
    }
    print_result(&host, loader, &usage);
    vmload_loader_free(loader);
    g_array_unref(host.regions);
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The smallest useful receiver: waits for a migration, keeps guest RAM in
 * memfds, shows which devices came, says how it ended.
 *
 *   minimal-receiver tcp:[::1]:4444
 */
#include <stdio.h>
#include <vmload/vmload.h>

/* A device that nobody registered, as raw bytes. No lock is held. */
static bool show_section(void *opaque, const VmloadSection *section,
                         const uint8_t *data, uint64_t length, GError **error)
{
    (void)opaque;
    (void)data;
    (void)error;
    printf("%s/%u: version %u, %" G_GUINT64_FORMAT " bytes\n", section->idstr,
           section->instance_id, section->version_id, length);
    return true;
}

/* A RAM block that the stream announces: where shall its bytes go? */
static VmloadRamBlock *make_block(void *opaque, const char *idstr,
                                  uint64_t length, GError **error)
{
    VmloadRamSink *sink = vmload_ram_sink_new_memfd(idstr, error);

    (void)opaque;
    if (sink == NULL) {
        return NULL;
    }
    printf("RAM %s: %" G_GUINT64_FORMAT " bytes\n", idstr, length);
    return vmload_ram_block_new(idstr, length, length, sink, error);
}

static bool receive(VmloadLoader *loader, const char *uri, GError **error)
{
    VmloadListener *listener = vmload_listener_new(uri, error);

    if (listener == NULL) {
        return false;
    }
    vmload_loader_set_listener(loader, listener);
    vmload_loader_set_ram_announced(loader, make_block, NULL, NULL);
    vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
    return vmload_loader_start(loader, error) &&
           vmload_loader_wait(loader, error);
}

int main(int argc, char **argv)
{
    const VmloadHostOps host = {
        VMLOAD_HOST_OPS_INIT,
        .raw_section = show_section,
    };
    VmloadStats stats = {.struct_size = sizeof(stats)};
    GError *error = NULL;
    VmloadLoader *loader;
    bool loaded;

    if (argc != 2) {
        fprintf(stderr, "usage: minimal-receiver URI\n");
        return 2;
    }
    loader = vmload_loader_new(&host, NULL, NULL, &error);
    loaded = loader != NULL && receive(loader, argv[1], &error);
    if (loaded) {
        vmload_loader_get_stats(loader, &stats);
        printf("loaded: %" G_GUINT64_FORMAT " bytes, %" G_GUINT64_FORMAT
               " sections\n", stats.bytes_total, stats.sections);
    } else {
        fprintf(stderr, "minimal-receiver: %s\n", error->message);
        g_error_free(error);
    }
    vmload_loader_free(loader);
    return loaded ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receives over RDMA until it is told to stop, and says how long that took,
 * by its own clock: rdma-receiver URI. A line on its input cancels the load;
 * then it prints the microseconds from vmload_loader_cancel() until `finish`
 * was called and until vmload_loader_wait() had returned, and what was open.
 */
#include <vmload/loader.h>

#include <stdio.h>
#include <sys/mman.h>

#include "responsiveness/samples.h"

static uint64_t finish_ns;

static void receiver_finish(void *opaque, VmloadLoader *loader,
                            const VmloadOutcome *outcome)
{
    (void)opaque;
    (void)outcome;
    finish_ns = now_ns();
    vmload_loader_finished(loader, NULL);
}

static VmloadRamBlock *receiver_announced(void *opaque, const char *idstr,
                                          uint64_t length, GError **error)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    VmloadRamBlock *block = NULL;

    (void)opaque;
    if (memory != MAP_FAILED) {
        /* It stays until the process ends. */
        block = vmload_ram_block_new(idstr, length, length,
                                     vmload_ram_sink_new_memory(memory),
                                     error);
    }
    if (block != NULL) {
        vmload_ram_block_set_flags(block, VMLOAD_RAM_KNOWN_ZERO);
    }
    return block;
}

static int receive(VmloadLoader *loader)
{
    VmloadStats stats = {.struct_size = sizeof(stats)};
    GError *error = NULL;
    uint64_t begin;
    uint64_t end;

    if (!vmload_loader_start(loader, &error)) {
        fprintf(stderr, "rdma-receiver: %s\n", error->message);
        g_error_free(error);
        return 1;
    }
    printf("listening\n");
    fflush(stdout);
    getchar();
    vmload_loader_get_stats(loader, &stats);
    begin = now_ns();
    vmload_loader_cancel(loader);
    vmload_loader_wait(loader, &error);
    end = now_ns();
    /* Where the end was there already it was no cancel. */
    printf("{\"finish_us\":%.1f,\"wait_us\":%.1f,\"open\":%" G_GUINT64_FORMAT
           ",\"cancelled\":%s}\n",
           finish_ns > begin ? (double)(finish_ns - begin) / 1e3 : 0.0,
           (double)(end - begin) / 1e3, stats.rdma_registered_bytes,
           g_error_matches(error, VMLOAD_ERROR, VMLOAD_ERROR_CANCELLED)
               ? "true"
               : "false");
    g_clear_error(&error);
    return 0;
}

int main(int argc, char **argv)
{
    VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT, .finish = receiver_finish};
    VmloadLoader *loader = vmload_loader_new(&ops, NULL, NULL, NULL);
    VmloadListener *listener;
    GError *error = NULL;
    int status = 1;

    if (argc != 2 || loader == NULL) {
        fprintf(stderr, "rdma-receiver URI\n");
        return 2;
    }
    vmload_loader_set_presence(loader, VMLOAD_PRESENCE_AUTO,
                               VMLOAD_PRESENCE_AUTO, VMLOAD_PRESENCE_AUTO);
    vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
    vmload_loader_set_ram_announced(loader, receiver_announced, NULL, NULL);
    listener = vmload_listener_new(argv[1], &error);
    if (listener == NULL) {
        fprintf(stderr, "rdma-receiver: %s\n", error->message);
        g_error_free(error);
    } else {
        vmload_loader_set_listener(loader, listener);
        status = receive(loader);
    }
    vmload_loader_free(loader);
    return status;
}

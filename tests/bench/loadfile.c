/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loads a stream from a file into fresh anonymous memory, as a hypervisor
 * would, and prints one line of JSON: bytes of RAM, nanoseconds.
 *
 *   loadfile PATH THREADS [direct]
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <vmload/vmload.h>

static VmloadRamBlock *announced(void *opaque, const char *idstr,
                                 uint64_t used_length, GError **error)
{
    void *memory = mmap(NULL, used_length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    VmloadRamBlock *block;

    (void)opaque;
    if (memory == MAP_FAILED) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_LIMIT, "mmap");
        return NULL;
    }
    block = vmload_ram_block_new(idstr, used_length, used_length,
                                 vmload_ram_sink_new_memory(memory), error);
    if (block != NULL) {
        vmload_ram_block_set_flags(block, VMLOAD_RAM_KNOWN_ZERO);
    }
    return block;
}

int main(int argc, char **argv)
{
    VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    VmloadStats stats = {.struct_size = sizeof(stats)};
    GError *error = NULL;
    VmloadLoader *loader;
    VmloadChannel *channel;

    if (argc < 3) {
        fprintf(stderr, "usage: loadfile PATH THREADS [direct]\n");
        return 2;
    }
    loader = vmload_loader_new(&ops, NULL, NULL, &error);
    channel = vmload_channel_new_file(argv[1], 0, &error);
    if (loader == NULL || channel == NULL) {
        fprintf(stderr, "loadfile: %s\n", error->message);
        return 1;
    }
    vmload_loader_set_channel(loader, channel);
    vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
    vmload_loader_set_ram_threads(loader, (uint32_t)atoi(argv[2]));
    vmload_loader_set_direct_io(loader, argc > 3);
    vmload_loader_set_ram_announced(loader, announced, NULL, NULL);
    if (!vmload_loader_run(loader, 0, &error)) {
        fprintf(stderr, "loadfile: %s\n", error->message);
        return 1;
    }
    vmload_loader_get_stats(loader, &stats);
    printf("{\"bytes\": %llu, \"ns\": %llu}\n",
           (unsigned long long)stats.ram_bytes_placed,
           (unsigned long long)(stats.end_ns - stats.start_ns));
    vmload_loader_free(loader);
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Memory of one block. @path: where it goes at the end; NULL: nowhere. */
typedef struct {
    void *host;
    size_t length;
    char *path;
} CliMapping;

typedef enum {
    CLI_RAM_FOLDER,
    CLI_RAM_FOLDER_LATER,
    CLI_RAM_MEMORY,
    CLI_RAM_NULL,
} CliRamKind;

struct CliRam {
    CliRamKind kind;
    char *folder;
    GPtrArray *files; /* paths that were made */
    GArray *mappings; /* of CliMapping */
    guint first;      /* of the present load's mappings */
};

static void mapping_clear(void *data)
{
    const CliMapping *mapping = data;

    munmap(mapping->host, mapping->length);
    g_free(mapping->path);
}

static CliRam *ram_new(CliRamKind kind)
{
    CliRam *ram = g_new0(CliRam, 1);

    ram->kind = kind;
    ram->files = g_ptr_array_new_with_free_func(g_free);
    ram->mappings = g_array_new(FALSE, FALSE, sizeof(CliMapping));
    g_array_set_clear_func(ram->mappings, mapping_clear);
    return ram;
}

CliRam *cli_ram_new(const char *folder, bool later, GError **error)
{
    CliRam *ram;

    if (g_mkdir_with_parents(folder, 0777) != 0) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO, "folder '%s': %s",
                    folder, g_strerror(errno));
        return NULL;
    }
    ram = ram_new(later ? CLI_RAM_FOLDER_LATER : CLI_RAM_FOLDER);
    ram->folder = g_strdup(folder);
    return ram;
}

CliRam *cli_ram_new_memory(void)
{
    return ram_new(CLI_RAM_MEMORY);
}

CliRam *cli_ram_new_null(void)
{
    return ram_new(CLI_RAM_NULL);
}

static char *ram_path(const CliRam *ram, const char *idstr)
{
    char *name = cli_percent_name(idstr);
    char *path = g_build_filename(ram->folder, name, NULL);

    g_free(name);
    return path;
}

static VmloadRamSink *ram_file(CliRam *ram, const char *idstr, GError **error)
{
    char *path = ram_path(ram, idstr);
    VmloadRamSink *sink = vmload_ram_sink_new_file(path, error);

    if (sink != NULL) {
        g_ptr_array_add(ram->files, path);
    } else {
        g_free(path);
    }
    return sink;
}

/* Fresh memory, in huge pages where there are: touching it costs less. */
static VmloadRamSink *ram_memory(CliRam *ram, const char *idstr,
                                 uint64_t length, GError **error)
{
    CliMapping mapping = {NULL, (size_t)MAX(length, 1), NULL};

    mapping.host = mmap(NULL, mapping.length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping.host == MAP_FAILED) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_LIMIT,
                    "no memory for a block of %" G_GUINT64_FORMAT " bytes: %s",
                    length, g_strerror(errno));
        return NULL;
    }
    /* Advice only. */
    (void)madvise(mapping.host, mapping.length, MADV_HUGEPAGE);
    if (ram->folder != NULL) {
        mapping.path = ram_path(ram, idstr);
    }
    g_array_append_val(ram->mappings, mapping);
    return vmload_ram_sink_new_memory(mapping.host);
}

static VmloadRamBlock *ram_announced(void *opaque, const char *idstr,
                                     uint64_t used_length, GError **error)
{
    CliRam *ram = opaque;
    VmloadRamBlock *block;
    VmloadRamSink *sink;

    switch (ram->kind) {
    case CLI_RAM_FOLDER:
        sink = ram_file(ram, idstr, error);
        break;
    case CLI_RAM_FOLDER_LATER:
    case CLI_RAM_MEMORY:
        sink = ram_memory(ram, idstr, used_length, error);
        break;
    default:
        sink = vmload_ram_sink_new_null();
        break;
    }
    if (sink == NULL) {
        return NULL;
    }
    block = vmload_ram_block_new(idstr, used_length, used_length, sink, error);
    if (block != NULL && (ram->kind == CLI_RAM_MEMORY ||
                          ram->kind == CLI_RAM_FOLDER_LATER)) {
        vmload_ram_block_set_flags(block, VMLOAD_RAM_KNOWN_ZERO);
    }
    return block;
}

void cli_ram_attach(CliRam *ram, VmloadLoader *loader)
{
    vmload_loader_set_ram_announced(loader, ram_announced, ram, NULL);
}

/* What is not zero, so that the file is sparse. */
static bool mapping_write(const CliMapping *mapping, int fd)
{
    static const uint8_t zeros[64 * 1024];
    size_t done;

    for (done = 0; done < mapping->length; done += sizeof(zeros)) {
        const uint8_t *piece = (const uint8_t *)mapping->host + done;
        size_t n = MIN(mapping->length - done, sizeof(zeros));

        if (memcmp(piece, zeros, n) == 0) {
            continue;
        }
        while (n > 0) {
            ssize_t written = pwrite(fd, piece, n,
                                     (off_t)(piece -
                                             (const uint8_t *)mapping->host));

            if (written < 0 && errno != EINTR) {
                return false;
            }
            piece += MAX(written, 0);
            n -= (size_t)MAX(written, 0);
        }
    }
    return ftruncate(fd, (off_t)mapping->length) == 0;
}

bool cli_ram_save(CliRam *ram, GError **error)
{
    guint i;

    for (i = ram->first; i < ram->mappings->len; i++) {
        const CliMapping *mapping =
            &g_array_index(ram->mappings, CliMapping, i);
        bool ok;
        int fd;

        if (mapping->path == NULL) {
            continue;
        }
        fd = g_open(mapping->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                    0666);
        ok = fd >= 0 && mapping_write(mapping, fd);
        ok = (fd < 0 || close(fd) == 0) && ok;
        if (!ok) {
            g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO, "'%s': %s",
                        mapping->path, g_strerror(errno));
            return false;
        }
    }
    return true;
}

void cli_ram_discard(CliRam *ram)
{
    guint i;

    ram->first = ram->mappings->len;
    for (i = 0; i < ram->files->len; i++) {
        (void)g_unlink(g_ptr_array_index(ram->files, i));
    }
    g_ptr_array_set_size(ram->files, 0);
}

void cli_ram_free(CliRam *ram)
{
    if (ram != NULL) {
        g_ptr_array_free(ram->files, TRUE);
        g_array_free(ram->mappings, TRUE);
        g_free(ram->folder);
        g_free(ram);
    }
}

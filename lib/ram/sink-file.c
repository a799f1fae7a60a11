/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A sparse file. Pages are written with pwrite() and not through a mapping:
 * on a full disk a store to a mapping is a signal, a write is an error.
 * Consecutive pages are gathered into one write.
 */
#include "sink.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Amortises the system call; see docs/ram.md for the measurement. */
#define FILE_GATHER ((uint64_t)1024 * 1024)

typedef struct {
    VmloadRamSink base;
    int fd;
    char *path;
    uint8_t *gather; /* NULL: nothing waits */
    uint64_t start;  /* where the gathered bytes go */
    uint64_t n;      /* how many they are */
} FileSink;

static bool file_pwrite(FileSink *own, uint64_t offset, const uint8_t *data,
                        uint64_t length, GError **error)
{
    while (length > 0) {
        ssize_t done = pwrite(own->fd, data, length, (off_t)offset);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return vmload_fail_errno(error, done < 0 ? errno : ENOSPC,
                                     "write %" G_GUINT64_FORMAT
                                     " bytes at 0x%" G_GINT64_MODIFIER
                                     "x of '%s'",
                                     length, offset, own->path);
        }
        data += done;
        offset += (uint64_t)done;
        length -= (uint64_t)done;
    }
    return true;
}

/* Is any of these bytes gathered? */
static bool file_gathers(const FileSink *own, uint64_t offset,
                         uint64_t length)
{
    return own->n > 0 && offset < own->start + own->n &&
           own->start < offset + length;
}

static bool file_flush(FileSink *own, GError **error)
{
    uint64_t n = own->n;

    own->n = 0;
    return n == 0 || file_pwrite(own, own->start, own->gather, n, error);
}

static bool file_write(VmloadRamSink *sink, uint64_t offset,
                       const uint8_t *data, uint64_t length, GError **error)
{
    FileSink *own = (FileSink *)sink;

    if ((offset != own->start + own->n || length > FILE_GATHER - own->n) &&
        !file_flush(own, error)) {
        return false;
    }
    if (length > FILE_GATHER) {
        return file_pwrite(own, offset, data, length, error);
    }
    if (own->gather == NULL) {
        own->gather = g_try_malloc(FILE_GATHER);
    }
    if (own->gather == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "no memory to gather pages for '%s'", own->path);
    }
    if (own->n == 0) {
        own->start = offset;
    }
    memcpy(own->gather + own->n, data, length);
    own->n += length;
    return true;
}

/*
 * Older content of these pages may still be gathered, and must not come
 * behind what is written now.
 */
static bool file_store(VmloadRamSink *sink, uint64_t offset,
                       const uint8_t *data, uint64_t length, GError **error)
{
    FileSink *own = (FileSink *)sink;
    bool ok;

    g_mutex_lock(&sink->lock);
    ok = !file_gathers(own, offset, length) || file_flush(own, error);
    g_mutex_unlock(&sink->lock);
    return ok && file_pwrite(own, offset, data, length, error);
}

static bool file_read(VmloadRamSink *sink, uint64_t offset, uint8_t *data,
                      uint64_t length, GError **error)
{
    FileSink *own = (FileSink *)sink;

    if (file_gathers(own, offset, length) && !file_flush(own, error)) {
        return false;
    }
    while (length > 0) {
        ssize_t done = pread(own->fd, data, length, (off_t)offset);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return vmload_fail_errno(error, done < 0 ? errno : EIO,
                                     "read %" G_GUINT64_FORMAT
                                     " bytes at 0x%" G_GINT64_MODIFIER
                                     "x of '%s'",
                                     length, offset, own->path);
        }
        data += done;
        offset += (uint64_t)done;
        length -= (uint64_t)done;
    }
    return true;
}

/* Only reached for pages that were received before: looks, then writes. */
static bool file_zero(VmloadRamSink *sink, uint64_t offset, uint64_t length,
                      GError **error)
{
    uint8_t piece[4096];

    while (length > 0) {
        uint64_t n = MIN(length, sizeof(piece));

        if (!file_read(sink, offset, piece, n, error)) {
            return false;
        }
        if (!vmload_bytes_are_zero(piece, n)) {
            memset(piece, 0, n);
            if (!file_write(sink, offset, piece, n, error)) {
                return false;
            }
        }
        offset += n;
        length -= n;
    }
    return true;
}

static bool file_resize(VmloadRamSink *sink, uint64_t length, GError **error)
{
    FileSink *own = (FileSink *)sink;

    if (!file_flush(own, error)) {
        return false;
    }
    if (ftruncate(own->fd, (off_t)length) < 0) {
        return vmload_fail_errno(error, errno,
                                 "set the size of '%s' to %" G_GUINT64_FORMAT,
                                 own->path, length);
    }
    return true;
}

static bool file_attach(VmloadRamSink *sink, const char *idstr G_GNUC_UNUSED,
                        uint64_t length, uint64_t max_length G_GNUC_UNUSED,
                        GError **error)
{
    return file_resize(sink, length, error);
}

static bool file_idle(VmloadRamSink *sink, GError **error)
{
    FileSink *own = (FileSink *)sink;
    bool ok = file_flush(own, error);

    g_clear_pointer(&own->gather, g_free);
    return ok;
}

static bool file_finish(VmloadRamSink *sink,
                        const VmloadRamEnv *env G_GNUC_UNUSED, GError **error)
{
    return file_idle(sink, error);
}

static void file_free(VmloadRamSink *sink)
{
    FileSink *own = (FileSink *)sink;

    close(own->fd);
    g_free(own->gather);
    g_free(own->path);
}

static const VmloadSinkClass file_class = {
    .attach = file_attach,
    .write = file_write,
    .store = file_store,
    .zero = file_zero,
    .read = file_read,
    .resize = file_resize,
    .idle = file_idle,
    .finish = file_finish,
    .free = file_free,
};

VmloadRamSink *vmload_ram_sink_new_file(const char *path, GError **error)
{
    FileSink *own;
    int fd;

    g_return_val_if_fail(path != NULL, NULL);
    /* A guest's memory holds its secrets: for the owner only. */
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        vmload_fail_errno(error, errno, "open '%s'", path);
        return NULL;
    }
    own = g_new0(FileSink, 1);
    own->base.class = &file_class;
    own->base.can_read = true;
    own->base.starts_zero = true;
    own->fd = fd;
    own->path = g_strdup(path);
    return &own->base;
}

int32_t vmload_sink_file_get_fd(const VmloadRamSink *sink)
{
    return sink->class == &file_class ? ((const FileSink *)sink)->fd : -1;
}

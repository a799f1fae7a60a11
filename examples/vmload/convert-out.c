/* SPDX-License-Identifier: BSD-3-Clause */
#include "convert.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUT_BUFFER ((uint64_t)1024 * 1024)

static bool out_is_source(int fd, const char *source)
{
    struct stat ours;
    struct stat theirs;

    return source != NULL && fstat(fd, &ours) == 0 &&
           stat(source, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
           ours.st_ino == theirs.st_ino;
}

bool convert_out_open(Out *out, const char *path, const char *source,
                      GError **error)
{
    memset(out, 0, sizeof(*out));
    /* A guest's memory holds its secrets: for the owner only. */
    out->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (out->fd >= 0 && out_is_source(out->fd, source)) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_FAILED,
                    "'%s': expected another file than the input", path);
        close(out->fd);
        return false;
    }
    if (out->fd < 0 || ftruncate(out->fd, 0) != 0) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO, "'%s': %s", path,
                    g_strerror(errno));
        if (out->fd >= 0) {
            close(out->fd);
        }
        return false;
    }
    out->path = g_strdup(path);
    out->buffer = g_malloc(OUT_BUFFER);
    return true;
}

void convert_out_flush(Out *out)
{
    uint64_t done = 0;

    while (out->error == NULL && done < out->n) {
        ssize_t got = pwrite(out->fd, out->buffer + done,
                             (size_t)(out->n - done),
                             (off_t)(out->at + done));

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            out->error = g_error_new(VMLOAD_ERROR, VMLOAD_ERROR_IO,
                                     "'%s': %s", out->path,
                                     g_strerror(got < 0 ? errno : ENOSPC));
            break;
        }
        done += (uint64_t)got;
    }
    out->at += out->n;
    out->n = 0;
}

bool convert_out_check(const Out *out, GError **error)
{
    if (out->error != NULL && error != NULL) {
        *error = g_error_copy(out->error);
    }
    return out->error == NULL;
}

bool convert_out_close(Out *out, bool keep, GError **error)
{
    bool ok;

    convert_out_flush(out);
    if (close(out->fd) != 0 && out->error == NULL) {
        out->error = g_error_new(VMLOAD_ERROR, VMLOAD_ERROR_IO, "'%s': %s",
                                 out->path, g_strerror(errno));
    }
    ok = convert_out_check(out, error);
    if (!ok || !keep) {
        (void)unlink(out->path);
    }
    g_clear_error(&out->error);
    g_free(out->buffer);
    g_free(out->path);
    return ok;
}

uint64_t convert_out_tell(const Out *out)
{
    return out->at + out->n;
}

void convert_out_seek(Out *out, uint64_t at)
{
    if (at != convert_out_tell(out)) {
        convert_out_flush(out);
        out->at = at;
    }
}

void convert_out_bytes(Out *out, const void *data, uint64_t length)
{
    const uint8_t *from = data;

    while (length > 0) {
        uint64_t step = MIN(length, OUT_BUFFER - out->n);

        memcpy(out->buffer + out->n, from, (size_t)step);
        out->n += step;
        from += step;
        length -= step;
        if (out->n == OUT_BUFFER) {
            convert_out_flush(out);
        }
    }
}

void convert_out_u8(Out *out, uint8_t value)
{
    convert_out_bytes(out, &value, sizeof(value));
}

void convert_out_be16(Out *out, uint16_t value)
{
    value = GUINT16_TO_BE(value);
    convert_out_bytes(out, &value, sizeof(value));
}

void convert_out_be32(Out *out, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    convert_out_bytes(out, &value, sizeof(value));
}

void convert_out_be64(Out *out, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    convert_out_bytes(out, &value, sizeof(value));
}

void convert_out_str8(Out *out, const char *text)
{
    size_t length = strlen(text);

    convert_out_u8(out, (uint8_t)length);
    convert_out_bytes(out, text, length);
}

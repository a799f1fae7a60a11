/* SPDX-License-Identifier: BSD-3-Clause */
#include "return-path.h"

#include "error.h"

#include <string.h>

#define MESSAGE_HEADER 4

/* Bytes that wait for a source that does not read; some thousand messages. */
#define QUEUE_MAX (64 * 1024)

/* Bytes written in one call. */
#define CHUNK 4096

/* How long a writer waits for another one before it looks again. */
#define BUSY_US 1000

/* Shortest and longest payload by type; max 0 with min 1: not to be sent. */
static const struct {
    uint32_t min;
    uint32_t max;
} message_table[] = {
    [0] = {1, 0},
    [VMLOAD_RETURN_PATH_SHUT] = {4, 4},
    [VMLOAD_RETURN_PATH_PONG] = {4, 4},
    [VMLOAD_RETURN_PATH_REQ_PAGES_ID] = {14, 13 + 255},
    [VMLOAD_RETURN_PATH_REQ_PAGES] = {12, 12},
    [VMLOAD_RETURN_PATH_RECV_BITMAP] = {2, 256},
    [VMLOAD_RETURN_PATH_RESUME_ACK] = {4, 4},
    [VMLOAD_RETURN_PATH_SWITCHOVER_ACK] = {0, 0},
};

void vmload_return_path_init(VmloadReturnPath *path)
{
    memset(path, 0, sizeof(*path));
    g_mutex_init(&path->mutex);
    g_cond_init(&path->idle);
    path->queue = g_byte_array_new();
}

void vmload_return_path_clear(VmloadReturnPath *path)
{
    g_clear_pointer(&path->channel, vmload_channel_unref);
    g_clear_pointer(&path->queue, g_byte_array_unref);
    g_clear_error(&path->failed);
    g_cond_clear(&path->idle);
    g_mutex_clear(&path->mutex);
}

void vmload_return_path_open(VmloadReturnPath *path, VmloadChannel *channel)
{
    g_mutex_lock(&path->mutex);
    /* Opening it twice is accepted (stream format, section 6). */
    if (!path->open) {
        path->open = true;
        if (vmload_channel_is_writable(channel)) {
            path->channel = vmload_channel_ref(channel);
        }
    }
    g_mutex_unlock(&path->mutex);
}

bool vmload_return_path_is_open(VmloadReturnPath *path)
{
    bool open;

    g_mutex_lock(&path->mutex);
    open = path->open && !path->closed;
    g_mutex_unlock(&path->mutex);
    return open;
}

void vmload_return_path_close(VmloadReturnPath *path)
{
    VmloadChannel *channel;

    g_mutex_lock(&path->mutex);
    path->closed = true;
    g_byte_array_set_size(path->queue, 0);
    channel = g_steal_pointer(&path->channel);
    g_mutex_unlock(&path->mutex);
    vmload_channel_unref(channel);
}

/* With the mutex held. */
static bool enqueue(VmloadReturnPath *path, VmloadReturnPathType type,
                    const uint8_t *data, uint32_t length, GError **error)
{
    const uint8_t header[MESSAGE_HEADER] = {
        0, (uint8_t)type, (uint8_t)(length >> 8), (uint8_t)length};

    if (!path->open || path->closed) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "no return path is open");
    }
    if (path->channel == NULL) {
        return true;
    }
    if (type != VMLOAD_RETURN_PATH_SHUT &&
        path->queue->len > QUEUE_MAX - MESSAGE_HEADER - length) {
        return vmload_fail(error, VMLOAD_ERROR_IO,
                           "expected the source to read its return path, "
                           "found %u bytes waiting", path->queue->len);
    }
    g_byte_array_append(path->queue, header, sizeof(header));
    if (length > 0) {
        g_byte_array_append(path->queue, data, length);
    }
    return true;
}

/*
 * One write from the head of the queue. With the mutex held, which is given
 * back meanwhile: `busy` keeps other writers away, messages may be appended.
 */
static int64_t write_chunk(VmloadReturnPath *path)
{
    VmloadChannel *channel = vmload_channel_ref(path->channel);
    GError *local = NULL;
    uint8_t chunk[CHUNK];
    uint32_t n = MIN(path->queue->len, (guint)sizeof(chunk));
    int64_t written;

    memcpy(chunk, path->queue->data, n);
    path->busy = true;
    g_mutex_unlock(&path->mutex);
    written = vmload_channel_try_write(channel, chunk, n, &local);
    vmload_channel_unref(channel);
    g_mutex_lock(&path->mutex);
    path->busy = false;
    g_cond_broadcast(&path->idle);
    if (written > 0) {
        /* A close may have emptied the queue. */
        g_byte_array_remove_range(path->queue, 0,
                                  MIN((guint)written, path->queue->len));
    } else if (written == -1) {
        path->failed = local;
    }
    return written;
}

/*
 * Writes the queue as far as it goes without waiting; *@blocked: it is the
 * transport that stops us. With the mutex held.
 */
static bool write_queue(VmloadReturnPath *path, bool *blocked, GError **error)
{
    *blocked = false;
    while (path->queue->len > 0 && path->channel != NULL && !path->busy &&
           path->failed == NULL && !*blocked) {
        *blocked = write_chunk(path) == VMLOAD_CHANNEL_WOULD_BLOCK;
    }
    if (path->failed != NULL) {
        if (error != NULL) {
            *error = g_error_copy(path->failed);
        }
        return false;
    }
    return true;
}

/* One round of a flush; *@done: nothing is left to be written. */
static bool flush_once(VmloadReturnPath *path, const VmloadWait *wait,
                       bool *done, GError **error)
{
    VmloadChannel *channel = NULL;
    bool blocked;
    bool ok;

    g_mutex_lock(&path->mutex);
    ok = write_queue(path, &blocked, error);
    *done = path->queue->len == 0 || path->channel == NULL;
    if (ok && !*done && wait != NULL) {
        if (blocked) {
            channel = vmload_channel_ref(path->channel);
        } else {
            /* Another thread writes; it may stop where it must not wait. */
            g_cond_wait_until(&path->idle, &path->mutex,
                              g_get_monotonic_time() + BUSY_US);
        }
    }
    g_mutex_unlock(&path->mutex);
    if (channel != NULL) {
        ok = vmload_channel_wait_writable(channel, wait, error);
        vmload_channel_unref(channel);
    }
    return ok;
}

bool vmload_return_path_flush(VmloadReturnPath *path, const VmloadWait *wait,
                              GError **error)
{
    bool done = false;
    bool ok = true;

    while (ok && !done) {
        ok = flush_once(path, wait, &done, error);
        if (wait == NULL) {
            break;
        }
        if (ok && !done && wait->cancel != NULL) {
            ok = vmload_cancel_check(wait->cancel, error);
        }
    }
    return ok;
}

bool vmload_return_path_send(VmloadReturnPath *path,
                             VmloadReturnPathType type, const uint8_t *data,
                             uint32_t length, const VmloadWait *wait,
                             GError **error)
{
    bool ok;

    if ((uint32_t)type >= G_N_ELEMENTS(message_table) ||
        length < message_table[type].min ||
        length > message_table[type].max) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "a return path message of type %d and length %u "
                           "would be refused by the source", (int)type,
                           length);
    }
    g_mutex_lock(&path->mutex);
    ok = enqueue(path, type, data, length, error);
    g_mutex_unlock(&path->mutex);
    return ok && vmload_return_path_flush(path, wait, error);
}

bool vmload_return_path_shut(VmloadReturnPath *path, uint32_t status,
                             const VmloadWait *wait, GError **error)
{
    uint32_t value = GUINT32_TO_BE(status);
    uint8_t data[sizeof(value)];
    bool ok;

    memcpy(data, &value, sizeof(value));
    g_mutex_lock(&path->mutex);
    ok = enqueue(path, VMLOAD_RETURN_PATH_SHUT, data, sizeof(data), error);
    path->closed = true;
    g_mutex_unlock(&path->mutex);
    return ok && vmload_return_path_flush(path, wait, error);
}

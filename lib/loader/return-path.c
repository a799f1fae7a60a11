/* SPDX-License-Identifier: BSD-3-Clause */
#include "return-path.h"

#include "error.h"

#include <string.h>

/* A source refuses longer messages. */
#define MESSAGE_MAX 512
#define MESSAGE_HEADER 4

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
}

void vmload_return_path_clear(VmloadReturnPath *path)
{
    g_clear_pointer(&path->channel, vmload_channel_unref);
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

/* With the mutex held. */
static bool send_locked(VmloadReturnPath *path, VmloadReturnPathType type,
                        const uint8_t *data, uint32_t length,
                        const VmloadWait *wait, GError **error)
{
    uint8_t message[MESSAGE_HEADER + MESSAGE_MAX];

    if (!path->open || path->closed) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "no return path is open");
    }
    if (path->channel == NULL) {
        return true;
    }
    message[0] = 0;
    message[1] = (uint8_t)type;
    message[2] = (uint8_t)(length >> 8);
    message[3] = (uint8_t)length;
    if (length > 0) {
        memcpy(message + MESSAGE_HEADER, data, length);
    }
    return vmload_channel_write(path->channel, message,
                                MESSAGE_HEADER + length, wait, error);
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
    ok = send_locked(path, type, data, length, wait, error);
    g_mutex_unlock(&path->mutex);
    return ok;
}

bool vmload_return_path_shut(VmloadReturnPath *path, uint32_t status,
                             const VmloadWait *wait, GError **error)
{
    uint32_t value = GUINT32_TO_BE(status);
    uint8_t data[sizeof(value)];
    bool ok;

    memcpy(data, &value, sizeof(value));
    g_mutex_lock(&path->mutex);
    ok = send_locked(path, VMLOAD_RETURN_PATH_SHUT, data, sizeof(data), wait,
                     error);
    path->closed = true;
    g_mutex_unlock(&path->mutex);
    return ok;
}

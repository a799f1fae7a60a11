/* SPDX-License-Identifier: BSD-3-Clause */
#include "handed.h"

#include "error.h"
#include "socket.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* @fd is a semaphore that counts what is in @queue. @mutex: a leaf. */
struct VmloadHanded {
    int fd;
    GMutex mutex; /* guards the group below */
    GQueue queue;
    bool closed;
};

VmloadHanded *vmload_handed_new(GError **error)
{
    VmloadHanded *handed;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);

    if (fd < 0) {
        vmload_fail_errno(error, errno, "eventfd");
        return NULL;
    }
    handed = g_new0(VmloadHanded, 1);
    handed->fd = fd;
    g_mutex_init(&handed->mutex);
    g_queue_init(&handed->queue);
    return handed;
}

/* The host may hold the connection too: its peer must see the end. */
static void handed_drop(VmloadChannel *channel)
{
    vmload_channel_shutdown(channel, VMLOAD_DIRECTION_BOTH, NULL);
    vmload_channel_unref(channel);
}

void vmload_handed_free(VmloadHanded *handed)
{
    if (handed != NULL) {
        vmload_handed_close(handed);
        close(handed->fd);
        g_mutex_clear(&handed->mutex);
        g_free(handed);
    }
}

/* Under the mutex. */
static bool handed_may_push(const VmloadHanded *handed, GError **error)
{
    if (handed->closed) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "expected a connection before all were there, "
                           "found it afterwards");
    }
    return handed->queue.length < VMLOAD_BACKLOG ||
           vmload_fail(error, VMLOAD_ERROR_LIMIT,
                       "expected at most %d connections that wait, found more",
                       VMLOAD_BACKLOG);
}

bool vmload_handed_push(VmloadHanded *handed, VmloadChannel *channel,
                        GError **error)
{
    const uint64_t one = 1;
    ssize_t written;
    bool ok;

    if (vmload_channel_get_poll_fd(channel) < 0) {
        handed_drop(channel);
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "expected a socket or a pipe, found a channel "
                           "without a descriptor to wait for");
    }
    g_mutex_lock(&handed->mutex);
    ok = handed_may_push(handed, error);
    if (ok) {
        g_queue_push_tail(&handed->queue, channel);
        /* Cannot fail: its counter is far from full. */
        written = write(handed->fd, &one, sizeof(one));
        (void)written;
    }
    g_mutex_unlock(&handed->mutex);
    if (!ok) {
        handed_drop(channel);
    }
    return ok;
}

const int *vmload_handed_get_fd(const VmloadHanded *handed)
{
    return &handed->fd;
}

VmloadChannel *vmload_handed_pop(VmloadHanded *handed)
{
    VmloadChannel *channel;
    uint64_t count;
    ssize_t got;

    g_mutex_lock(&handed->mutex);
    channel = g_queue_pop_head(&handed->queue);
    if (channel != NULL) {
        got = read(handed->fd, &count, sizeof(count));
        (void)got;
    }
    g_mutex_unlock(&handed->mutex);
    return channel;
}

void vmload_handed_close(VmloadHanded *handed)
{
    VmloadChannel *channel;

    g_mutex_lock(&handed->mutex);
    handed->closed = true;
    g_mutex_unlock(&handed->mutex);
    while ((channel = vmload_handed_pop(handed)) != NULL) {
        handed_drop(channel);
    }
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The channel object: pushback, shutdown, and the one loop in which the
 * library waits for a transport. A transport itself never sleeps: its readv
 * says VMLOAD_CHANNEL_WOULD_BLOCK, and its wait includes the cancel level.
 */
#include "channel.h"

#include "error.h"
#include "host/ops.h"
#include "source.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Bytes that can be pushed back: a handshake packet and some. */
#define PUSHBACK_MAX 4096

struct VmloadChannel {
    int ref_count; /* atomic */
    int shut;      /* atomic: VmloadDirection bits */
    VmloadChannelOps ops;
    void *opaque;
    GDestroyNotify destroy;
    char *name;
    const VmloadPlacementOps *placement; /* NULL: no RAM side */
    int file;        /* -1: no file */
    int poll_fd;     /* -1: none that tells */
    uint64_t origin; /* where in the file the stream begins */
    struct VmloadSource *source; /* the transport's; NULL: no source */
    /*
     * Wake-ups for reading and writing of a transport that can wait but not
     * shut down; else NULL.
     */
    VmloadCancel *wake[2];
    /* Bytes given back: pushback[pushback_head] to the end. */
    uint32_t pushback_head;
    uint8_t pushback[PUSHBACK_MAX];
};

/* An unknown domain is the host's own; its message is kept. */
static void channel_set_error(const VmloadChannel *channel, GError *local,
                              const char *what, GError **error)
{
    VmloadError code = VMLOAD_ERROR_IO;

    if (local == NULL) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "channel %s: %s failed without saying why",
                    channel->name, what);
        return;
    }
    if (local->domain == VMLOAD_ERROR) {
        code = (VmloadError)local->code;
    }
    vmload_fail(error, code, "channel %s: %s", channel->name, local->message);
    g_error_free(local);
}

static bool channel_make_wakes(VmloadChannel *channel, GError **error)
{
    size_t i;

    if (channel->ops.wait == NULL || channel->ops.shutdown != NULL) {
        return true;
    }
    for (i = 0; i < G_N_ELEMENTS(channel->wake); i++) {
        channel->wake[i] = vmload_cancel_new(error);
        if (channel->wake[i] == NULL) {
            return false;
        }
    }
    return true;
}

static bool channel_take_ops(VmloadChannel *channel,
                             const VmloadChannelOps *ops, GError **error)
{
    if (!vmload_ops_copy(&channel->ops, sizeof(channel->ops), ops,
                         "VmloadChannelOps", error)) {
        return false;
    }
    if (channel->ops.readv == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "VmloadChannelOps: expected readv, found NULL");
    }
    return channel_make_wakes(channel, error);
}

VmloadChannel *vmload_channel_new_from_ops(const VmloadChannelOps *ops,
                                           void *opaque,
                                           GDestroyNotify destroy,
                                           GError **error)
{
    VmloadChannel *channel;

    g_return_val_if_fail(ops != NULL, NULL);
    channel = g_new0(VmloadChannel, 1);
    channel->ref_count = 1;
    channel->opaque = opaque;
    channel->destroy = destroy;
    channel->name = g_strdup("main");
    channel->file = -1;
    channel->poll_fd = -1;
    channel->pushback_head = PUSHBACK_MAX;
    if (!channel_take_ops(channel, ops, error)) {
        vmload_channel_unref(channel);
        return NULL;
    }
    return channel;
}

VmloadChannel *vmload_channel_ref(VmloadChannel *channel)
{
    g_return_val_if_fail(channel != NULL, NULL);
    g_atomic_int_inc(&channel->ref_count);
    return channel;
}

void vmload_channel_unref(VmloadChannel *channel)
{
    if (channel == NULL || !g_atomic_int_dec_and_test(&channel->ref_count)) {
        return;
    }
    if (channel->destroy != NULL) {
        channel->destroy(channel->opaque);
    }
    vmload_cancel_free(channel->wake[0]);
    vmload_cancel_free(channel->wake[1]);
    g_free(channel->name);
    g_free(channel);
}

void vmload_channel_set_name(VmloadChannel *channel, const char *name)
{
    g_return_if_fail(channel != NULL && name != NULL);
    g_free(channel->name);
    channel->name = g_strdup(name);
}

const char *vmload_channel_get_name(VmloadChannel *channel)
{
    g_return_val_if_fail(channel != NULL, NULL);
    return channel->name;
}

bool vmload_channel_is_writable(const VmloadChannel *channel)
{
    return channel->ops.writev != NULL;
}

bool vmload_channel_is_seekable(const VmloadChannel *channel)
{
    return channel->ops.preadv != NULL;
}

void vmload_channel_set_file(VmloadChannel *channel, int fd, uint64_t origin)
{
    channel->file = fd;
    channel->origin = origin;
}

uint64_t vmload_channel_get_origin(const VmloadChannel *channel)
{
    return channel->origin;
}

int vmload_channel_get_file(const VmloadChannel *channel)
{
    return channel->file;
}

void vmload_channel_set_poll_fd(VmloadChannel *channel, int fd)
{
    channel->poll_fd = fd;
}

int vmload_channel_get_poll_fd(const VmloadChannel *channel)
{
    return channel->poll_fd;
}

void vmload_channel_set_placement(VmloadChannel *channel,
                                  const VmloadPlacementOps *ops)
{
    channel->placement = ops;
}

bool vmload_channel_has_placement(const VmloadChannel *channel)
{
    return channel->placement != NULL;
}

static bool channel_is_shut(const VmloadChannel *channel,
                            VmloadDirection direction)
{
    int shut = __atomic_load_n(&channel->shut, __ATOMIC_SEQ_CST);

    return (shut & (int)direction) != 0;
}

bool vmload_channel_shutdown(VmloadChannel *channel,
                             VmloadDirection direction, GError **error)
{
    GError *local = NULL;
    int before;
    uint32_t fresh;

    g_return_val_if_fail(channel != NULL, false);
    g_return_val_if_fail(direction >= VMLOAD_DIRECTION_READ &&
                             direction <= VMLOAD_DIRECTION_BOTH,
                         false);
    /* The flag first: whoever is woken must see it. */
    before = __atomic_fetch_or(&channel->shut, (int)direction,
                               __ATOMIC_SEQ_CST);
    fresh = (uint32_t)direction & ~(uint32_t)before;
    if ((fresh & VMLOAD_DIRECTION_READ) != 0 && channel->wake[0] != NULL) {
        vmload_cancel_fire(channel->wake[0]);
    }
    if ((fresh & VMLOAD_DIRECTION_WRITE) != 0 && channel->wake[1] != NULL) {
        vmload_cancel_fire(channel->wake[1]);
    }
    if (fresh != 0 && channel->ops.shutdown != NULL &&
        !channel->ops.shutdown(channel->opaque, fresh, &local)) {
        channel_set_error(channel, local, "shutdown", error);
        return false;
    }
    return true;
}

/*
 * What a transport without shutdown polls besides itself: the cancel level
 * and the channel's own wake-up, as one descriptor. An epoll descriptor is
 * readable as long as one of its members is. *@owned is to be closed.
 */
static bool channel_merge_wake(VmloadChannel *channel,
                               VmloadDirection direction, int cancel_fd,
                               int *merged, int *owned, GError **error)
{
    VmloadCancel *wake = channel->wake[direction == VMLOAD_DIRECTION_WRITE];
    struct epoll_event event = {.events = EPOLLIN};
    int fd;

    *owned = -1;
    *merged = cancel_fd;
    if (wake == NULL) {
        return true;
    }
    if (cancel_fd < 0) {
        *merged = vmload_cancel_get_fd(wake);
        return true;
    }
    fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0 ||
        epoll_ctl(fd, EPOLL_CTL_ADD, cancel_fd, &event) < 0 ||
        epoll_ctl(fd, EPOLL_CTL_ADD, vmload_cancel_get_fd(wake), &event) < 0) {
        int errnum = errno;

        if (fd >= 0) {
            close(fd);
        }
        return vmload_fail_errno(error, errnum, "channel %s: epoll",
                                 channel->name);
    }
    *merged = *owned = fd;
    return true;
}

/* One real wait, with the accounting hooks around it. */
static int32_t channel_wait_once(VmloadChannel *channel,
                                 VmloadDirection direction,
                                 const VmloadWait *wait, int64_t deadline,
                                 GError **error)
{
    int cancel_fd = wait->cancel != NULL ? vmload_cancel_get_fd(wait->cancel)
                                         : -1;
    GError *local = NULL;
    int32_t result;
    int merged;
    int owned;

    if (!channel_merge_wake(channel, direction, cancel_fd, &merged, &owned,
                            error)) {
        return -1;
    }
    if (wait->begin != NULL) {
        wait->begin(wait->opaque);
    }
    result = channel->ops.wait(channel->opaque, (uint32_t)direction, merged,
                               deadline, &local);
    if (wait->end != NULL) {
        wait->end(wait->opaque);
    }
    if (owned >= 0) {
        close(owned);
    }
    if (result < 0) {
        channel_set_error(channel, local, "wait", error);
        return -1;
    }
    return result;
}

/*
 * Waits until the direction is worth a try. *@deadline is -1 until the first
 * wait after a byte has moved. A shutdown ends the wait too; the caller sees
 * its flag.
 */
static bool channel_wait(VmloadChannel *channel, VmloadDirection direction,
                         const VmloadWait *wait, int64_t *deadline,
                         GError **error)
{
    int64_t now;

    if (channel->ops.wait == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "channel %s: the transport would block but has no "
                           "wait", channel->name);
    }
    if (*deadline < 0 && wait->timeout_us > 0) {
        now = g_get_monotonic_time();
        *deadline = wait->timeout_us > G_MAXINT64 - now
                        ? G_MAXINT64
                        : now + wait->timeout_us;
    }
    switch (channel_wait_once(channel, direction, wait, *deadline, error)) {
    case -1:
        return false;
    case 0:
        break;
    default:
        return true;
    }
    if (*deadline >= 0 && g_get_monotonic_time() >= *deadline &&
        (wait->cancel == NULL || !vmload_cancel_is_set(wait->cancel)) &&
        !channel_is_shut(channel, direction)) {
        *deadline = -1;
        if (wait->stalled != NULL &&
            wait->stalled(wait->opaque, channel->name)) {
            return true;
        }
        return vmload_fail(error, VMLOAD_ERROR_TIMEOUT,
                           "channel %s: expected to %s within %"
                           G_GINT64_FORMAT " ms, found no progress",
                           channel->name,
                           direction == VMLOAD_DIRECTION_READ ? "read"
                                                              : "write",
                           wait->timeout_us / 1000);
    }
    /* Cancelled or shut: the caller's loop looks at both. */
    return true;
}

/* Checks what a transport returned for @iov; -1 with @error if nonsense. */
static int64_t channel_check(const VmloadChannel *channel, int64_t result,
                             const struct iovec *iov, uint32_t n,
                             const char *what, GError *local, GError **error)
{
    uint64_t room = 0;
    uint32_t i;

    if (result == -1) {
        channel_set_error(channel, local, what, error);
        return -1;
    }
    for (i = 0; i < n; i++) {
        room += iov[i].iov_len;
    }
    if (result < VMLOAD_CHANNEL_WOULD_BLOCK ||
        (result > 0 && (uint64_t)result > room)) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "channel %s: %s returned %" G_GINT64_FORMAT " for %"
                    G_GUINT64_FORMAT " bytes", channel->name, what, result,
                    room);
        return -1;
    }
    return result;
}

/* Bytes that were given back, in front of the transport's. */
static int64_t channel_take_pushback(VmloadChannel *channel,
                                     const struct iovec *iov, uint32_t n)
{
    int64_t total = 0;
    uint32_t i;

    for (i = 0; i < n; i++) {
        uint32_t left = PUSHBACK_MAX - channel->pushback_head;
        uint32_t step = (uint32_t)MIN((uint64_t)iov[i].iov_len, left);

        if (step > 0) {
            memcpy(iov[i].iov_base, channel->pushback + channel->pushback_head,
                   step);
        }
        channel->pushback_head += step;
        total += step;
    }
    return total;
}

void vmload_channel_unread(VmloadChannel *channel, const void *data,
                           uint32_t length)
{
    g_return_if_fail(channel != NULL && (data != NULL || length == 0));
    g_return_if_fail(length <= channel->pushback_head);
    if (length == 0) {
        return;
    }
    channel->pushback_head -= length;
    memcpy(channel->pushback + channel->pushback_head, data, length);
}

int64_t vmload_channel_try_readv(VmloadChannel *channel,
                                 const struct iovec *iov, uint32_t n,
                                 GError **error)
{
    GError *local = NULL;
    int64_t result;

    if (channel_is_shut(channel, VMLOAD_DIRECTION_READ)) {
        return 0;
    }
    if (channel->pushback_head < PUSHBACK_MAX) {
        return channel_take_pushback(channel, iov, n);
    }
    result = channel->ops.readv(channel->opaque, iov, n, &local);
    return channel_check(channel, result, iov, n, "read", local, error);
}

int64_t vmload_channel_readv(VmloadChannel *channel, const struct iovec *iov,
                             uint32_t n, const VmloadWait *wait,
                             GError **error)
{
    static const VmloadWait forever;
    int64_t deadline = -1;
    int64_t result;

    wait = wait != NULL ? wait : &forever;
    for (;;) {
        /* Each time: a file that is always ready must be cancellable too. */
        if (wait->cancel != NULL && !vmload_cancel_check(wait->cancel, error)) {
            return -1;
        }
        result = vmload_channel_try_readv(channel, iov, n, error);
        if (result != VMLOAD_CHANNEL_WOULD_BLOCK) {
            return result;
        }
        if (!channel_wait(channel, VMLOAD_DIRECTION_READ, wait, &deadline,
                          error)) {
            return -1;
        }
    }
}

/* Writes what the transport takes at once; it may be nothing. */
static bool channel_write_some(VmloadChannel *channel, struct iovec *iov,
                               bool *blocked, GError **error)
{
    GError *local = NULL;
    int64_t result;

    if (channel_is_shut(channel, VMLOAD_DIRECTION_WRITE)) {
        return vmload_fail(error, VMLOAD_ERROR_IO,
                           "channel %s: shut down for writing",
                           channel->name);
    }
    result = channel->ops.writev(channel->opaque, iov, 1, &local);
    result = channel_check(channel, result, iov, 1, "write", local, error);
    if (result == -1) {
        return false;
    }
    if (result == 0) {
        return vmload_fail(error, VMLOAD_ERROR_IO,
                           "channel %s: the transport wrote nothing",
                           channel->name);
    }
    *blocked = result == VMLOAD_CHANNEL_WOULD_BLOCK;
    if (!*blocked) {
        iov->iov_base = (uint8_t *)iov->iov_base + result;
        iov->iov_len -= (size_t)result;
    }
    return true;
}

bool vmload_channel_write(VmloadChannel *channel, const void *data,
                          uint64_t length, const VmloadWait *wait,
                          GError **error)
{
    static const VmloadWait forever;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data,
                        .iov_len = (size_t)length};
    int64_t deadline = -1;
    bool blocked = false;

    if (channel->ops.writev == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "channel %s: cannot be written to", channel->name);
    }
    wait = wait != NULL ? wait : &forever;
    while (iov.iov_len > 0) {
        if (wait->cancel != NULL && !vmload_cancel_check(wait->cancel, error)) {
            return false;
        }
        if (!channel_write_some(channel, &iov, &blocked, error)) {
            return false;
        }
        if (!blocked) {
            deadline = -1;
        } else if (!channel_wait(channel, VMLOAD_DIRECTION_WRITE, wait,
                                 &deadline, error)) {
            return false;
        }
    }
    return true;
}

int64_t vmload_channel_try_write(VmloadChannel *channel, const void *data,
                                 uint64_t length, GError **error)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data,
                        .iov_len = (size_t)length};
    bool blocked;

    if (!channel_write_some(channel, &iov, &blocked, error)) {
        return -1;
    }
    return blocked ? VMLOAD_CHANNEL_WOULD_BLOCK
                   : (int64_t)(length - iov.iov_len);
}

bool vmload_channel_wait_writable(VmloadChannel *channel,
                                  const VmloadWait *wait, GError **error)
{
    int64_t deadline = -1;

    return (wait->cancel == NULL ||
            vmload_cancel_check(wait->cancel, error)) &&
           channel_wait(channel, VMLOAD_DIRECTION_WRITE, wait, &deadline,
                        error) &&
           (wait->cancel == NULL || vmload_cancel_check(wait->cancel, error));
}

int64_t vmload_channel_preadv(VmloadChannel *channel, const struct iovec *iov,
                              uint32_t n, uint64_t offset,
                              const VmloadWait *wait, GError **error)
{
    GError *local = NULL;
    int64_t result;

    if (channel->ops.preadv == NULL) {
        vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                    "channel %s: cannot be read at an offset", channel->name);
        return -1;
    }
    if (wait != NULL && wait->cancel != NULL &&
        !vmload_cancel_check(wait->cancel, error)) {
        return -1;
    }
    if (channel_is_shut(channel, VMLOAD_DIRECTION_READ)) {
        return 0;
    }
    result = channel->ops.preadv(channel->opaque, iov, n, offset, &local);
    if (result == VMLOAD_CHANNEL_WOULD_BLOCK) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "channel %s: a read at an offset would block",
                    channel->name);
        return -1;
    }
    return channel_check(channel, result, iov, n, "read at an offset", local,
                         error);
}

void vmload_channel_set_source(VmloadChannel *channel,
                               struct VmloadSource *source)
{
    channel->source = source;
}

bool vmload_channel_is_source(const VmloadChannel *channel)
{
    return channel->source != NULL;
}

uint64_t vmload_channel_window(VmloadChannel *channel, const uint8_t **data)
{
    int64_t have;

    *data = NULL;
    if (channel_is_shut(channel, VMLOAD_DIRECTION_READ)) {
        return 0;
    }
    have = vmload_source_peek(channel->source, 0, data, NULL);
    return have > 0 ? (uint64_t)have : 0;
}

/* One call for at least @n bytes, with the accounting hooks around it. */
static int64_t channel_peek_once(VmloadChannel *channel, uint32_t n,
                                 const uint8_t **data, const VmloadWait *wait,
                                 GError **error)
{
    GError *local = NULL;
    int64_t have;

    if (channel->ops.wait == NULL && wait->begin != NULL) {
        wait->begin(wait->opaque);
    }
    have = vmload_source_peek(channel->source, n, data, &local);
    if (channel->ops.wait == NULL && wait->end != NULL) {
        wait->end(wait->opaque);
    }
    if (have == -1) {
        channel_set_error(channel, local, "peek", error);
    }
    return have;
}

int64_t vmload_channel_peek(VmloadChannel *channel, uint32_t n,
                            const uint8_t **data, const VmloadWait *wait,
                            GError **error)
{
    int64_t deadline = -1;

    for (;;) {
        int64_t before = (int64_t)vmload_channel_window(channel, data);
        int64_t have;

        if (wait->cancel != NULL && !vmload_cancel_check(wait->cancel, error)) {
            return -1;
        }
        if (before >= n || channel_is_shut(channel, VMLOAD_DIRECTION_READ)) {
            return before;
        }
        if (channel->ops.wait != NULL &&
            !channel_wait(channel, VMLOAD_DIRECTION_READ, wait, &deadline,
                          error)) {
            return -1;
        }
        /* Woken by a cancel or a shutdown: the next turn sees it. */
        if (channel->ops.wait != NULL &&
            !vmload_source_is_ready(channel->source)) {
            continue;
        }
        have = channel_peek_once(channel, (uint32_t)before + 1, data, wait,
                                 error);
        if (have == -1 || (have >= 0 && have <= before)) {
            return have;
        }
        if (have == VMLOAD_CHANNEL_WOULD_BLOCK && channel->ops.wait == NULL) {
            vmload_fail(error, VMLOAD_ERROR_FAILED,
                        "channel %s: the source would block but has no wait",
                        channel->name);
            return -1;
        }
        deadline = have > before ? -1 : deadline;
    }
}

void vmload_channel_consume(VmloadChannel *channel, uint32_t n)
{
    vmload_source_consume(channel->source, n);
}

bool vmload_channel_get_consumed(const VmloadChannel *channel, uint64_t *n)
{
    return vmload_source_get_position(channel->source, n);
}

/* --- the RAM side --------------------------------------------------------- */

/* One step of a round; as the transport's serve, but with what surrounds it. */
static int64_t channel_serve_step(VmloadChannel *channel,
                                  const VmloadPlacement *placement,
                                  const VmloadWait *wait, GError **error)
{
    GError *local = NULL;
    int64_t result;

    if (wait->cancel != NULL && !vmload_cancel_check(wait->cancel, error)) {
        return -1;
    }
    if (channel_is_shut(channel, VMLOAD_DIRECTION_READ)) {
        vmload_fail(error, VMLOAD_ERROR_IO,
                    "channel %s: shut down for reading", channel->name);
        return -1;
    }
    result = channel->placement->serve(channel->opaque, placement, &local);
    if (result == -1) {
        channel_set_error(channel, local, "serve RAM", error);
    }
    return result;
}

bool vmload_channel_serve_ram(VmloadChannel *channel,
                              const VmloadPlacement *placement,
                              const VmloadWait *wait, GError **error)
{
    int64_t deadline = -1;
    int64_t result;

    if (channel->placement == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "channel %s: expected a transport that places RAM "
                           "itself, found one that does not", channel->name);
    }
    for (;;) {
        result = channel_serve_step(channel, placement, wait, error);
        if (result != VMLOAD_CHANNEL_WOULD_BLOCK) {
            return result > 0;
        }
        if (!channel_wait(channel, VMLOAD_DIRECTION_READ, wait, &deadline,
                          error)) {
            return false;
        }
    }
}

/* The last word, and a wait until it was heard. A failure changes nothing. */
static void channel_bye(VmloadChannel *channel, bool loaded,
                        const VmloadWait *wait)
{
    int64_t deadline = -1;
    uint32_t direction;

    do {
        direction = channel->placement->bye(channel->opaque, loaded);
    } while (direction != 0 &&
             (wait->cancel == NULL || !vmload_cancel_is_set(wait->cancel)) &&
             channel_wait(channel, (VmloadDirection)direction, wait,
                          &deadline, NULL));
}

void vmload_channel_end_ram(VmloadChannel *channel, bool loaded,
                            int64_t patience_us)
{
    const VmloadWait hasty = {.timeout_us = patience_us};

    if (channel->placement == NULL) {
        return;
    }
    if (!loaded) {
        channel_bye(channel, false, &hasty);
    }
    channel->placement->end(channel->opaque, loaded);
}

void vmload_channel_release_ram(VmloadChannel *channel)
{
    if (channel->placement != NULL) {
        channel->placement->release(channel->opaque);
    }
}

void vmload_channel_await_peer(VmloadChannel *channel, const VmloadWait *wait)
{
    if (channel->placement != NULL) {
        channel_bye(channel, true, wait);
    }
}

void vmload_channel_count_ram(VmloadChannel *channel,
                              VmloadPlacementCounters *counters)
{
    if (channel->placement != NULL) {
        channel->placement->count(channel->opaque, counters);
    }
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The barrier: every channel has read its next SYNC packet, and the loading
 * thread has come to the matching place in the main stream; nobody passes
 * before all are there. Waits are polls of an event descriptor together with
 * the cancel level, so that nothing sleeps through either.
 */
#include "private.h"

#include "error.h"

#include <errno.h>
#include <unistd.h>

void vmload_multifd_raise(int fd)
{
    const uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof(one));

    /* Cannot fail: its counter is far from full. */
    (void)written;
}

/* Until @fd is raised, and lowers it. False: cancelled or past @deadline. */
static bool multifd_wait(int fd, const VmloadCancel *cancel, int64_t deadline,
                         GError **error)
{
    struct pollfd fds[] = {
        {.fd = fd, .events = POLLIN},
        {.fd = cancel != NULL ? vmload_cancel_get_fd(cancel) : -1,
         .events = POLLIN},
    };
    uint64_t count;
    ssize_t got;

    if (vmload_poll(fds, G_N_ELEMENTS(fds), deadline) < 0) {
        return vmload_fail_errno(error, errno, "poll");
    }
    if (cancel != NULL && !vmload_cancel_check(cancel, error)) {
        return false;
    }
    if (fds[0].revents != 0) {
        got = read(fd, &count, sizeof(count));
        (void)got;
    }
    return true;
}

/*
 * Whoever comes last opens the barrier, and need not wait for anybody to be
 * woken. Under the lock. False: some are missing, or it is open.
 */
static bool barrier_open(VmloadMultifd *multifd)
{
    uint32_t n = vmload_multifd_count(multifd);
    uint32_t i;

    if (multifd->stopping || multifd->reached == multifd->passed) {
        return false;
    }
    for (i = 0; i < n; i++) {
        if (multifd->channels[i]->syncs < multifd->reached) {
            return false;
        }
    }
    multifd->passed = multifd->reached;
    return true;
}

/* All channels but @self, which may be NULL. */
static void barrier_wake(VmloadMultifd *multifd,
                         const VmloadMultifdChannel *self)
{
    uint32_t n = vmload_multifd_count(multifd);
    uint32_t i;

    for (i = 0; i < n; i++) {
        if (multifd->channels[i] != self) {
            vmload_multifd_raise(multifd->channels[i]->wake_fd);
        }
    }
}

void vmload_multifd_arrive(VmloadMultifdChannel *self)
{
    VmloadMultifd *group = self->group;
    bool opened;

    g_mutex_lock(&group->lock);
    self->syncs++;
    opened = barrier_open(group);
    g_mutex_unlock(&group->lock);
    if (opened) {
        barrier_wake(group, self);
    }
    vmload_multifd_raise(group->main_fd);
}

bool vmload_multifd_may_pass(VmloadMultifdChannel *self)
{
    VmloadMultifd *group = self->group;
    bool passed;

    g_mutex_lock(&group->lock);
    passed = group->passed >= self->syncs;
    g_mutex_unlock(&group->lock);
    return passed;
}

bool vmload_multifd_pass(VmloadMultifdChannel *self)
{
    VmloadMultifd *group = self->group;
    bool stopping;
    bool passed;

    for (;;) {
        g_mutex_lock(&group->lock);
        stopping = group->stopping;
        passed = group->passed >= self->syncs;
        g_mutex_unlock(&group->lock);
        if (stopping || passed) {
            return !stopping;
        }
        /* Cancelled: the loading thread says so. */
        if (!multifd_wait(self->wake_fd, self->wait.cancel, -1, NULL)) {
            return false;
        }
    }
}

static int64_t channel_last_us(const VmloadMultifdChannel *channel)
{
    return (int64_t)(__atomic_load_n(&channel->last_byte_ns,
                                     __ATOMIC_RELAXED) / 1000);
}

/* The host may want to wait on. */
static bool barrier_stalled(const VmloadWait *wait,
                            const VmloadMultifdChannel *missing,
                            GError **error)
{
    char name[32];

    g_snprintf(name, sizeof(name), "multifd %u", missing->id);
    return (wait->stalled != NULL && wait->stalled(wait->opaque, name)) ||
           vmload_fail(error, VMLOAD_ERROR_TIMEOUT,
                       "channel '%s': expected a SYNC packet within %"
                       G_GINT64_FORMAT " ms, found no progress", name,
                       wait->timeout_us / 1000);
}

/*
 * Who is not at barrier @number? Of several the one that has been silent
 * longest; NULL: all are there. *@closed: it will never be.
 */
static const VmloadMultifdChannel *barrier_missing(VmloadMultifd *multifd,
                                                   uint64_t number,
                                                   bool *closed)
{
    const VmloadMultifdChannel *missing = NULL;
    uint32_t n = vmload_multifd_count(multifd);
    uint32_t i;

    *closed = false;
    g_mutex_lock(&multifd->lock);
    for (i = 0; i < n && !*closed; i++) {
        const VmloadMultifdChannel *channel = multifd->channels[i];

        if (channel->syncs >= number) {
            continue;
        }
        if (missing == NULL || channel->closed ||
            channel_last_us(channel) < channel_last_us(missing)) {
            missing = channel;
            *closed = channel->closed;
        }
    }
    g_mutex_unlock(&multifd->lock);
    return missing;
}

/*
 * Until a channel moves. Stalls are seen here: a source that is silent on a
 * channel is in nobody's way before the load waits for it.
 */
static bool barrier_wait(VmloadMultifd *multifd,
                         const VmloadMultifdChannel *missing, int64_t *begin,
                         GError **error)
{
    const VmloadWait *wait = multifd->env.wait;
    int64_t now = g_get_monotonic_time();
    int64_t deadline = -1;
    bool ok;

    if (wait->timeout_us > 0) {
        int64_t last = MAX(*begin, channel_last_us(missing));

        deadline = wait->timeout_us > G_MAXINT64 - last
                       ? G_MAXINT64
                       : last + wait->timeout_us;
        if (now >= deadline) {
            *begin = now;
            return barrier_stalled(wait, missing, error);
        }
    }
    if (wait->begin != NULL) {
        wait->begin(wait->opaque);
    }
    ok = multifd_wait(multifd->main_fd, wait->cancel, deadline, error);
    if (wait->end != NULL) {
        wait->end(wait->opaque);
    }
    return ok;
}

/* The loading thread comes to the next barrier. True: it was the last. */
static bool barrier_reach(VmloadMultifd *multifd, uint64_t *number)
{
    bool opened;

    g_mutex_lock(&multifd->lock);
    *number = ++multifd->reached;
    opened = barrier_open(multifd);
    g_mutex_unlock(&multifd->lock);
    return opened;
}

bool vmload_multifd_barrier(VmloadMultifd *multifd, GError **error)
{
    int64_t begin = g_get_monotonic_time();
    const VmloadMultifdChannel *missing;
    uint64_t number;
    bool closed;

    if (barrier_reach(multifd, &number)) {
        barrier_wake(multifd, NULL);
    }
    for (;;) {
        if (!vmload_multifd_check(multifd, error)) {
            return false;
        }
        missing = barrier_missing(multifd, number, &closed);
        if (missing == NULL) {
            return true;
        }
        if (closed) {
            return vmload_fail(error, VMLOAD_ERROR_TRUNCATED,
                               "channel 'multifd %u': expected SYNC packet %"
                               G_GUINT64_FORMAT ", found the end",
                               missing->id, number);
        }
        if (!barrier_wait(multifd, missing, &begin, error)) {
            return false;
        }
    }
}

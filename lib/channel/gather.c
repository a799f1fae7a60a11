/* SPDX-License-Identifier: BSD-3-Clause */
#include "gather.h"

#include "error.h"
#include "handed.h"
#include "rdma/listener.h"
#include "socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

/* @deadline: for all that are wanted; -1: nobody is known yet. */
struct VmloadGathering {
    VmloadListener *listener;
    bool all;
    int64_t handshake_us;
    int64_t deadline;
    VmloadIdentify identify;
};

/* A connection that broke before it was accepted concerns nobody. */
static bool accept_may_fail(int errnum)
{
    switch (errnum) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
        return false;
    default:
        return true;
    }
}

static void name_connection(VmloadChannel *channel, int fd, uint32_t number)
{
    char *address = vmload_socket_get_address(fd, true);
    char *name = g_strdup_printf("connection %u%s%s", number,
                                 address != NULL ? " from " : "",
                                 address != NULL ? address : "");

    vmload_channel_set_name(channel, name);
    g_free(name);
    g_free(address);
}

/* When what begins now must be over. */
static int64_t gathering_begin(const VmloadGathering *gathering)
{
    int64_t now = g_get_monotonic_time();

    if (gathering->handshake_us <= 0) {
        return -1;
    }
    return gathering->handshake_us > G_MAXINT64 - now
               ? G_MAXINT64
               : now + gathering->handshake_us;
}

/* Takes a connection in that may say what it is from now on. */
static void gathering_add(VmloadGathering *gathering, VmloadChannel *channel)
{
    VmloadIdentify *identify = &gathering->identify;
    int fd = vmload_channel_get_poll_fd(channel);

    name_connection(channel, fd, identify->count + 1);
    vmload_identify_add(identify, channel, fd);
    identify->pending[identify->n_pending - 1].deadline =
        gathering_begin(gathering);
}

/* From a socket that listens. */
static bool gathering_accept(VmloadGathering *gathering, int listen_fd,
                             GError **error)
{
    const int one = 1;
    VmloadChannel *channel;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0) {
        return accept_may_fail(errno) ||
               vmload_fail_errno(error, errno, "accept");
    }
    /* Small return path messages shall leave at once; no matter if not TCP. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    channel = vmload_channel_take_fd(fd, error);
    if (channel == NULL) {
        return false;
    }
    gathering_add(gathering, channel);
    return true;
}

/* From wherever connections come. */
static bool gathering_take_in(VmloadGathering *gathering, int listen_fd,
                              GError **error)
{
    VmloadHanded *handed = vmload_listener_get_handed(gathering->listener);
    VmloadChannel *channel;

    if (handed == NULL) {
        return gathering_accept(gathering, listen_fd, error);
    }
    channel = vmload_handed_pop(handed);
    if (channel != NULL) {
        gathering_add(gathering, channel);
    }
    return true;
}

VmloadGathering *vmload_gathering_new(VmloadListener *listener,
                                      const VmloadWanted *wanted)
{
    VmloadGathering *gathering = g_new0(VmloadGathering, 1);

    gathering->listener = listener;
    gathering->all = wanted->all;
    gathering->handshake_us = wanted->handshake_us;
    gathering->deadline = -1;
    gathering->identify.max_multifd = wanted->multifd;
    gathering->identify.refused = wanted->refused;
    gathering->identify.opaque = wanted->opaque;
    /* The host may hold its connections too. */
    gathering->identify.shared = vmload_listener_get_handed(listener) != NULL;
    if (wanted->uuid != NULL) {
        gathering->identify.has_uuid = true;
        memcpy(gathering->identify.uuid, wanted->uuid,
               sizeof(gathering->identify.uuid));
    }
    return gathering;
}

void vmload_gathering_free(VmloadGathering *gathering)
{
    if (gathering != NULL) {
        vmload_identify_clear(&gathering->identify);
        vmload_listener_close(gathering->listener);
        g_free(gathering);
    }
}

/* Is nobody else wanted? */
static bool gathering_is_full(const VmloadGathering *gathering)
{
    const VmloadIdentify *identify = &gathering->identify;

    return identify->main != NULL && gathering->all &&
           identify->n_multifd == identify->max_multifd;
}

/* May the load begin? */
static bool gathering_may_begin(const VmloadGathering *gathering)
{
    return gathering->identify.main != NULL &&
           (!gathering->all || gathering_is_full(gathering));
}

/* From the first connection on that is a source's; strangers do not count. */
static void gathering_set_deadline(VmloadGathering *gathering)
{
    const VmloadIdentify *identify = &gathering->identify;

    if (gathering->deadline < 0 &&
        (identify->main != NULL || identify->n_multifd > 0)) {
        gathering->deadline = gathering_begin(gathering);
    }
}

/* Ids that have not come, as "1, 3"; at most a few of them. */
static char *gathering_list_missing(const VmloadGathering *gathering)
{
    const VmloadIdentify *identify = &gathering->identify;
    GString *text = g_string_new(NULL);
    uint32_t n = 0;
    uint32_t i;

    for (i = 0; i < identify->max_multifd && n < 8; i++) {
        if (!identify->seen[i]) {
            g_string_append_printf(text, "%s%u", n > 0 ? ", " : "", i);
            n++;
        }
    }
    return g_string_free(text, FALSE);
}

static bool gathering_timed_out(const VmloadGathering *gathering,
                                GError **error)
{
    const VmloadIdentify *identify = &gathering->identify;
    int64_t ms = gathering->handshake_us / 1000;
    uint32_t gap = 0;
    char *missing;

    if (!gathering->all && vmload_identify_has_gap(identify, &gap)) {
        return vmload_fail(error, VMLOAD_ERROR_TIMEOUT,
                           "expected multifd channel %u within %"
                           G_GINT64_FORMAT " ms, found %u channels without it",
                           gap, ms, identify->n_multifd);
    }
    if (gathering->all && identify->max_multifd > 0) {
        missing = gathering_list_missing(gathering);
        vmload_fail(error, VMLOAD_ERROR_TIMEOUT,
                    "expected the main channel and %u multifd channels within "
                    "%" G_GINT64_FORMAT " ms, found %s main channel, %u "
                    "multifd channels (missing: %s) and %u connections that "
                    "say nothing", identify->max_multifd, ms,
                    identify->main != NULL ? "the" : "no",
                    identify->n_multifd, missing, identify->n_pending);
        g_free(missing);
        return false;
    }
    return vmload_fail(error, VMLOAD_ERROR_TIMEOUT,
                       "expected the main channel within %" G_GINT64_FORMAT
                       " ms, found %u multifd channels", ms,
                       identify->n_multifd);
}

/*
 * Polls the cancel level, the listening sockets and the connections, in this
 * order in @fds, until @deadline. False: cancelled, or failed.
 */
static bool gathering_poll(VmloadGathering *gathering, const VmloadWait *wait,
                           struct pollfd *fds, int64_t deadline,
                           GError **error)
{
    const VmloadIdentify *identify = &gathering->identify;
    uint32_t n = 0;
    uint32_t n_listening;
    const int *listening =
        vmload_listener_get_fds(gathering->listener, &n_listening);
    uint32_t i;
    int result;

    fds[n].fd = wait->cancel != NULL ? vmload_cancel_get_fd(wait->cancel) : -1;
    fds[n++].events = POLLIN;
    for (i = 0; i < n_listening; i++) {
        fds[n].fd = listening[i];
        fds[n++].events = POLLIN;
    }
    for (i = 0; i < identify->n_pending; i++) {
        fds[n].fd = identify->pending[i].fd;
        fds[n++].events = POLLIN;
    }
    if (wait->begin != NULL) {
        wait->begin(wait->opaque);
    }
    result = vmload_poll(fds, n, deadline);
    if (wait->end != NULL) {
        wait->end(wait->opaque);
    }
    if (result < 0) {
        return vmload_fail_errno(error, errno, "poll");
    }
    return wait->cancel == NULL || vmload_cancel_check(wait->cancel, error);
}

/*
 * Those who have spoken leave the list of those who have not; those who had
 * their time and say nothing now are closed. @polled: what the poll said of
 * each. *@busy: somebody spoke.
 */
static bool gathering_hear(VmloadGathering *gathering,
                           const struct pollfd *polled, bool *busy,
                           GError **error)
{
    VmloadIdentify *identify = &gathering->identify;
    int64_t now = g_get_monotonic_time();
    uint32_t n = identify->n_pending;
    uint32_t index = 0;
    uint32_t i;

    for (i = 0; i < n; i++) {
        const VmloadPending *pending = &identify->pending[index];
        VmloadConnectionKind kind = VMLOAD_CONNECTION_UNKNOWN;

        if (polled[i].revents != 0) {
            *busy = true;
            if (!vmload_identify_read(identify, index, &kind, error)) {
                return false;
            }
        } else if (pending->deadline >= 0 && pending->deadline <= now) {
            vmload_identify_expire(identify, index,
                                   gathering->handshake_us / 1000);
            kind = VMLOAD_CONNECTION_REFUSED;
        }
        if (kind == VMLOAD_CONNECTION_UNKNOWN) {
            index++;
        }
    }
    return true;
}

/*
 * Those who have spoken, then whoever knocks. @deadline: how long to wait for
 * somebody. *@busy: there was somebody.
 */
static bool gathering_round(VmloadGathering *gathering, const VmloadWait *wait,
                            int64_t deadline, bool *busy, GError **error)
{
    struct pollfd fds[1 + VMLOAD_SOCKETS_MAX + VMLOAD_IDENTIFY_MAX] = {{0}};
    uint32_t n_listening;
    const int *listening =
        vmload_listener_get_fds(gathering->listener, &n_listening);
    uint32_t i;

    if (!gathering_poll(gathering, wait, fds, deadline, error)) {
        return false;
    }
    *busy = false;
    if (!gathering_hear(gathering, fds + 1 + n_listening, busy, error)) {
        return false;
    }
    for (i = 0; i < n_listening && !gathering_is_full(gathering); i++) {
        if (fds[1 + i].revents != 0) {
            *busy = true;
            if (!gathering_take_in(gathering, listening[i], error)) {
                return false;
            }
        }
    }
    gathering_set_deadline(gathering);
    return true;
}

/* Until when nobody need be looked after: the oldest one's comes first. */
static int64_t gathering_next_deadline(const VmloadGathering *gathering)
{
    const VmloadIdentify *identify = &gathering->identify;
    int64_t first =
        identify->n_pending > 0 ? identify->pending[0].deadline : -1;

    if (gathering->deadline < 0 || first < 0) {
        return MAX(gathering->deadline, first);
    }
    return MIN(gathering->deadline, first);
}

/* Waits for somebody, up to the deadline. */
static bool gathering_wait(VmloadGathering *gathering, const VmloadWait *wait,
                           GError **error)
{
    int64_t deadline = gathering->deadline;
    bool busy;

    if (!gathering_round(gathering, wait, gathering_next_deadline(gathering),
                         &busy, error)) {
        return false;
    }
    /* Also while others keep us busy. */
    return deadline < 0 || gathering_is_full(gathering) ||
           g_get_monotonic_time() < deadline ||
           gathering_timed_out(gathering, error);
}

VmloadChannel *vmload_gathering_get_main(VmloadGathering *gathering,
                                         const VmloadWait *wait,
                                         GError **error)
{
    static const VmloadWait forever;
    VmloadRdmaListener *rdma = vmload_listener_get_rdma(gathering->listener);
    VmloadChannel *channel =
        vmload_listener_take_channel(gathering->listener);
    uint32_t n_listening;
    bool ok = true;

    /* One that is there already is the main channel, and the only one. */
    if (channel != NULL) {
        return channel;
    }
    /* RDMA and multifd exclude each other. */
    if (rdma != NULL) {
        return vmload_rdma_listener_accept(rdma,
                                           wait != NULL ? wait : &forever,
                                           gathering->handshake_us,
                                           gathering->identify.refused,
                                           gathering->identify.opaque, error);
    }
    vmload_listener_get_fds(gathering->listener, &n_listening);
    if (n_listening == 0) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "the listener has given its channel away");
        return NULL;
    }
    wait = wait != NULL ? wait : &forever;
    while (ok && !gathering_may_begin(gathering)) {
        ok = gathering_wait(gathering, wait, error);
    }
    if (!ok) {
        return NULL;
    }
    if (gathering_is_full(gathering)) {
        vmload_listener_close(gathering->listener);
    }
    vmload_channel_set_name(gathering->identify.main, "main");
    /* Taken, but still known: a second one is refused. */
    return vmload_channel_ref(gathering->identify.main);
}

/* Somebody in the middle of a handshake? */
static bool gathering_is_spoken_to(const VmloadGathering *gathering)
{
    const VmloadIdentify *identify = &gathering->identify;
    uint32_t i;

    for (i = 0; i < identify->n_pending; i++) {
        if (identify->pending[i].have > 0) {
            return true;
        }
    }
    return false;
}

bool vmload_gathering_update(VmloadGathering *gathering,
                             const VmloadWait *wait, GError **error)
{
    bool busy = true;

    if (gathering->all) {
        return true;
    }
    /* Zero is long past: nobody is waited for. */
    while (busy) {
        if (!gathering_round(gathering, wait, 0, &busy, error)) {
            return false;
        }
    }
    gathering->deadline = -1;
    gathering_set_deadline(gathering);
    while (gathering_is_spoken_to(gathering) ||
           vmload_identify_has_gap(&gathering->identify, NULL)) {
        if (!gathering_wait(gathering, wait, error)) {
            return false;
        }
    }
    return true;
}

VmloadChannel *vmload_gathering_take(VmloadGathering *gathering, uint32_t *id)
{
    VmloadIdentify *identify = &gathering->identify;
    uint32_t i;

    for (i = 0; i < identify->max_multifd; i++) {
        if (identify->multifd[i] != NULL) {
            *id = i;
            return g_steal_pointer(&identify->multifd[i]);
        }
    }
    return NULL;
}

const uint8_t *vmload_gathering_get_uuid(const VmloadGathering *gathering)
{
    return gathering->identify.n_multifd > 0 ? gathering->identify.uuid : NULL;
}

VmloadChannel *vmload_listener_accept_main(VmloadListener *listener,
                                           const VmloadWait *wait,
                                           int64_t handshake_us,
                                           GError **error)
{
    const VmloadWanted wanted = {.all = true, .handshake_us = handshake_us};
    VmloadGathering *gathering = vmload_gathering_new(listener, &wanted);
    VmloadChannel *channel =
        vmload_gathering_get_main(gathering, wait, error);

    /* Whoever comes now or waits yet is refused. */
    vmload_gathering_free(gathering);
    return channel;
}

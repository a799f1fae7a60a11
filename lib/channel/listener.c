/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel.h"

#include "error.h"
#include "identify.h"
#include "socket.h"
#include "uri.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Either @channel, which needs no identification, or listening sockets.
 * @addresses never changes, so that any thread may read it.
 */
struct VmloadListener {
    VmloadChannel *channel;
    int fds[VMLOAD_SOCKETS_MAX];
    uint32_t n_fds;
    GPtrArray *addresses;
    /* A unix socket's file, as it was when we made it; NULL: none. */
    char *path;
    dev_t device;
    ino_t inode;
};

static VmloadListener *listener_alloc(void)
{
    VmloadListener *listener = g_new0(VmloadListener, 1);

    listener->addresses = g_ptr_array_new_with_free_func(g_free);
    return listener;
}

static void listener_add_addresses(VmloadListener *listener)
{
    uint32_t i;

    for (i = 0; i < listener->n_fds; i++) {
        char *address = vmload_socket_get_address(listener->fds[i], false);

        if (address != NULL) {
            g_ptr_array_add(listener->addresses, address);
        }
    }
}

/* Closes what listens. The file goes only if it is still ours. */
static void listener_close(VmloadListener *listener)
{
    struct stat st;

    while (listener->n_fds > 0) {
        close(listener->fds[--listener->n_fds]);
    }
    if (listener->path != NULL && lstat(listener->path, &st) == 0 &&
        st.st_dev == listener->device && st.st_ino == listener->inode) {
        (void)unlink(listener->path);
    }
    g_clear_pointer(&listener->path, g_free);
}

void vmload_listener_free(VmloadListener *listener)
{
    if (listener != NULL) {
        listener_close(listener);
        vmload_channel_unref(listener->channel);
        g_ptr_array_free(listener->addresses, TRUE);
        g_free(listener);
    }
}

static bool listener_open_unix(VmloadListener *listener, const char *path,
                               GError **error)
{
    struct stat st;
    int fd = vmload_socket_listen_unix(path, error);

    if (fd < 0) {
        return false;
    }
    listener->fds[listener->n_fds++] = fd;
    if (lstat(path, &st) < 0) {
        return vmload_fail_errno(error, errno, "address unix:%s", path);
    }
    listener->path = g_strdup(path);
    listener->device = st.st_dev;
    listener->inode = st.st_ino;
    return true;
}

static bool listener_open(VmloadListener *listener, const VmloadUri *uri,
                          GError **error)
{
    int fd;

    switch (uri->kind) {
    case VMLOAD_URI_TCP:
        return vmload_socket_listen_tcp(uri, listener->fds, &listener->n_fds,
                                        error);
    case VMLOAD_URI_UNIX:
        return listener_open_unix(listener, uri->path, error);
    case VMLOAD_URI_VSOCK:
        fd = vmload_socket_listen_vsock(uri->cid, uri->vsock_port, error);
        if (fd >= 0) {
            listener->fds[listener->n_fds++] = fd;
        }
        return fd >= 0;
    case VMLOAD_URI_FD:
        listener->channel = vmload_channel_take_fd(uri->fd, error);
        break;
    case VMLOAD_URI_FILE:
        listener->channel =
            vmload_channel_new_file(uri->path, uri->offset, error);
        break;
    }
    return listener->channel != NULL;
}

VmloadListener *vmload_listener_new(const char *uri, GError **error)
{
    VmloadListener *listener;
    VmloadUri parsed;
    bool ok;

    g_return_val_if_fail(uri != NULL, NULL);
    if (!vmload_uri_parse(uri, &parsed, error)) {
        return NULL;
    }
    listener = listener_alloc();
    ok = listener_open(listener, &parsed, error);
    vmload_uri_clear(&parsed);
    if (!ok) {
        vmload_listener_free(listener);
        return NULL;
    }
    listener_add_addresses(listener);
    if (listener->channel != NULL) {
        g_ptr_array_add(listener->addresses, g_strdup(uri));
    }
    return listener;
}

static bool socket_check_listening(int fd, GError **error)
{
    int type = 0;
    int listening = 0;
    socklen_t size = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0) {
        return vmload_fail_errno(error, errno, "descriptor %d", fd);
    }
    if (type != SOCK_STREAM || !listening) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "descriptor %d: expected a listening stream "
                           "socket, found %s", fd,
                           type != SOCK_STREAM ? "another type"
                                               : "one that does not listen");
    }
    return true;
}

VmloadListener *vmload_listener_take_fd(int32_t fd, GError **error)
{
    VmloadListener *listener;

    g_return_val_if_fail(fd >= 0, NULL);
    if (!socket_check_listening(fd, error)) {
        close(fd);
        return NULL;
    }
    listener = listener_alloc();
    listener->fds[listener->n_fds++] = fd;
    listener_add_addresses(listener);
    return listener;
}

VmloadListener *vmload_listener_new_channel(VmloadChannel *channel)
{
    VmloadListener *listener;

    g_return_val_if_fail(channel != NULL, NULL);
    listener = listener_alloc();
    listener->channel = channel;
    return listener;
}

char **vmload_listener_get_addresses(VmloadListener *listener)
{
    GPtrArray *copy;
    guint i;

    g_return_val_if_fail(listener != NULL, NULL);
    copy = g_ptr_array_new();
    for (i = 0; i < listener->addresses->len; i++) {
        g_ptr_array_add(copy,
                        g_strdup(g_ptr_array_index(listener->addresses, i)));
    }
    g_ptr_array_add(copy, NULL);
    return (char **)g_ptr_array_free(copy, FALSE);
}

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

static bool listener_accept(VmloadIdentify *identify, int listen_fd,
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
    name_connection(channel, fd, identify->count + 1);
    vmload_identify_add(identify, channel, fd);
    return true;
}

/* How one accept waits; a call's local state. */
typedef struct {
    const VmloadWait *wait;
    int64_t handshake_us;
    int64_t deadline; /* -1: nobody is there */
    VmloadIdentify identify;
} Accept;

/* From the first connection on; when all of them left, it is as before. */
static void accept_set_deadline(Accept *accept)
{
    int64_t now;

    if (accept->identify.n_pending == 0 || accept->handshake_us <= 0) {
        accept->deadline = -1;
    } else if (accept->deadline < 0) {
        now = g_get_monotonic_time();
        accept->deadline = accept->handshake_us > G_MAXINT64 - now
                               ? G_MAXINT64
                               : now + accept->handshake_us;
    }
}

/*
 * Polls the cancel level, the listening sockets and the connections, in this
 * order in @fds. False: cancelled, past the deadline or failed.
 */
static bool accept_poll(Accept *accept, const VmloadListener *listener,
                        struct pollfd *fds, GError **error)
{
    const VmloadWait *wait = accept->wait;
    const VmloadIdentify *identify = &accept->identify;
    uint32_t n = 0;
    uint32_t i;
    int result;

    fds[n].fd = wait->cancel != NULL ? vmload_cancel_get_fd(wait->cancel) : -1;
    fds[n++].events = POLLIN;
    for (i = 0; i < listener->n_fds; i++) {
        fds[n].fd = listener->fds[i];
        fds[n++].events = POLLIN;
    }
    for (i = 0; i < identify->n_pending; i++) {
        fds[n].fd = identify->pending[i].fd;
        fds[n++].events = POLLIN;
    }
    if (wait->begin != NULL) {
        wait->begin(wait->opaque);
    }
    result = vmload_poll(fds, n, accept->deadline);
    if (wait->end != NULL) {
        wait->end(wait->opaque);
    }
    if (result < 0) {
        return vmload_fail_errno(error, errno, "poll");
    }
    if (wait->cancel != NULL && !vmload_cancel_check(wait->cancel, error)) {
        return false;
    }
    /* Also while others keep us busy. */
    if (accept->deadline >= 0 && g_get_monotonic_time() >= accept->deadline) {
        return vmload_fail(error, VMLOAD_ERROR_TIMEOUT,
                           "expected the main channel within %" G_GINT64_FORMAT
                           " ms, found %u connections that say nothing",
                           accept->handshake_us / 1000, identify->n_pending);
    }
    return true;
}

/* Those who have spoken, then whoever knocks. */
static bool accept_round(Accept *accept, const VmloadListener *listener,
                         GError **error)
{
    struct pollfd fds[1 + VMLOAD_SOCKETS_MAX + VMLOAD_PENDING_MAX] = {{0}};
    const struct pollfd *connections = fds + 1 + listener->n_fds;
    VmloadIdentify *identify = &accept->identify;
    uint32_t n = identify->n_pending;
    uint32_t index = 0;
    VmloadKind kind;
    uint32_t i;

    if (!accept_poll(accept, listener, fds, error)) {
        return false;
    }
    for (i = 0; i < n; i++) {
        kind = VMLOAD_KIND_UNKNOWN;
        if (connections[i].revents != 0 &&
            !vmload_identify_read(identify, index, &kind, error)) {
            return false;
        }
        if (kind == VMLOAD_KIND_UNKNOWN) {
            index++;
        }
    }
    for (i = 0; i < listener->n_fds && identify->main == NULL; i++) {
        if (fds[1 + i].revents != 0 &&
            !listener_accept(identify, listener->fds[i], error)) {
            return false;
        }
    }
    accept_set_deadline(accept);
    return true;
}

VmloadChannel *vmload_listener_accept_main(VmloadListener *listener,
                                           const VmloadWait *wait,
                                           int64_t handshake_us,
                                           GError **error)
{
    static const VmloadWait forever;
    Accept accept = {
        .wait = wait != NULL ? wait : &forever,
        .handshake_us = handshake_us,
        .deadline = -1,
    };
    VmloadChannel *channel = g_steal_pointer(&listener->channel);
    bool ok = true;

    if (channel != NULL) {
        return channel;
    }
    if (listener->n_fds == 0) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "the listener has given its channel away");
        return NULL;
    }
    while (ok && accept.identify.main == NULL) {
        ok = accept_round(&accept, listener, error);
    }
    if (ok) {
        channel = g_steal_pointer(&accept.identify.main);
        vmload_channel_set_name(channel, "main");
    }
    /* Whoever comes now or waits yet is refused. */
    vmload_identify_clear(&accept.identify);
    listener_close(listener);
    return channel;
}

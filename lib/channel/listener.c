/* SPDX-License-Identifier: BSD-3-Clause */
#include "gather.h"

#include "error.h"
#include "handed.h"
#include "rdma/listener.h"
#include "socket.h"
#include "uri.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Either @channel, which needs no identification, or listening sockets, or
 * @handed, whose connections the host accepts, or @rdma, where the way to
 * connect says what a connection is.
 * @addresses never changes, so that any thread may read it.
 */
struct VmloadListener {
    VmloadChannel *channel;
    VmloadRdmaListener *rdma;
    VmloadHanded *handed;
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

    if (listener->rdma != NULL) {
        g_ptr_array_add(
            listener->addresses,
            g_strdup(vmload_rdma_listener_get_address(listener->rdma)));
    }
    for (i = 0; i < listener->n_fds; i++) {
        char *address = vmload_socket_get_address(listener->fds[i], false);

        if (address != NULL) {
            g_ptr_array_add(listener->addresses, address);
        }
    }
}

/* Closes what listens. The file goes only if it is still ours. */
void vmload_listener_close(VmloadListener *listener)
{
    struct stat st;

    g_clear_pointer(&listener->rdma, vmload_rdma_listener_unref);
    if (listener->handed != NULL) {
        vmload_handed_close(listener->handed);
    }
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
        vmload_listener_close(listener);
        vmload_channel_unref(listener->channel);
        vmload_handed_free(listener->handed);
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
    case VMLOAD_URI_RDMA:
        listener->rdma = vmload_rdma_listener_new(uri, error);
        return listener->rdma != NULL;
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

VmloadListener *vmload_listener_new_handed(GError **error)
{
    VmloadHanded *handed = vmload_handed_new(error);
    VmloadListener *listener;

    if (handed == NULL) {
        return NULL;
    }
    listener = listener_alloc();
    listener->handed = handed;
    return listener;
}

VmloadListener *vmload_listener_dup(VmloadListener *listener, GError **error)
{
    VmloadListener *copy;
    uint32_t i;

    g_return_val_if_fail(listener != NULL, NULL);
    if (listener->n_fds == 0 && listener->rdma == NULL) {
        vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                    "expected a listener with sockets, found one without");
        return NULL;
    }
    copy = listener_alloc();
    if (listener->rdma != NULL) {
        copy->rdma = vmload_rdma_listener_ref(listener->rdma);
    }
    for (i = 0; i < listener->n_fds; i++) {
        int fd = fcntl(listener->fds[i], F_DUPFD_CLOEXEC, 0);

        if (fd < 0) {
            vmload_fail_errno(error, errno, "descriptor %d",
                              listener->fds[i]);
            vmload_listener_free(copy);
            return NULL;
        }
        copy->fds[copy->n_fds++] = fd;
    }
    listener_add_addresses(copy);
    return copy;
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

VmloadChannel *vmload_listener_take_channel(VmloadListener *listener)
{
    return g_steal_pointer(&listener->channel);
}

VmloadRdmaListener *vmload_listener_get_rdma(const VmloadListener *listener)
{
    return listener->rdma;
}

VmloadHanded *vmload_listener_get_handed(const VmloadListener *listener)
{
    return listener->handed;
}

const int *vmload_listener_get_fds(const VmloadListener *listener, uint32_t *n)
{
    if (listener->handed != NULL) {
        *n = 1;
        return vmload_handed_get_fd(listener->handed);
    }
    *n = listener->n_fds;
    return listener->fds;
}

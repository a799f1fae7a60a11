/* SPDX-License-Identifier: BSD-3-Clause */
#include "socket.h"

#include "error.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>
#include <unistd.h>

/* Ports to try until one is free on all addresses, if we may choose. */
#define PORT_TRIES 16

typedef union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
    struct sockaddr_vm vm;
    struct sockaddr_storage storage;
} Address;

/* Port of an internet address, in network order. */
static in_port_t *address_port(Address *address)
{
    return address->any.sa_family == AF_INET6 ? &address->in6.sin6_port
                                              : &address->in.sin_port;
}

static void close_all(const int *fds, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        close(fds[i]);
    }
}

/* A bound and listening socket, or -1 with errno. */
static int socket_listen(const Address *address, socklen_t length)
{
    const int one = 1;
    int family = address->any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool inet = family == AF_INET || family == AF_INET6;
    int errnum;

    if (fd < 0) {
        return -1;
    }
    /* IPv4 has a socket of its own, so that one port serves both. */
    if ((!inet || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one,
                             sizeof(one)) == 0) &&
        (family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one,
                                          sizeof(one)) == 0) &&
        bind(fd, &address->any, length) == 0 &&
        listen(fd, VMLOAD_BACKLOG) == 0) {
        return fd;
    }
    errnum = errno;
    close(fd);
    errno = errnum;
    return -1;
}

/* The same address may come twice from a resolver. */
static bool tcp_is_repeated(const struct addrinfo *first,
                            const struct addrinfo *info)
{
    const struct addrinfo *i;

    for (i = first; i != info; i = i->ai_next) {
        if (i->ai_addrlen == info->ai_addrlen &&
            memcmp(i->ai_addr, info->ai_addr, i->ai_addrlen) == 0) {
            return true;
        }
    }
    return false;
}

/* @port, in network order, in place of a zero in @info. */
static int tcp_listen_one(const struct addrinfo *info, in_port_t *port)
{
    socklen_t length = info->ai_addrlen;
    Address address;
    int fd;

    if (length > sizeof(address) ||
        (info->ai_family != AF_INET && info->ai_family != AF_INET6)) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    memset(&address, 0, sizeof(address));
    memcpy(&address, info->ai_addr, length);
    if (*address_port(&address) == 0) {
        *address_port(&address) = *port;
    }
    fd = socket_listen(&address, length);
    if (fd >= 0 && getsockname(fd, &address.any, &length) == 0) {
        *port = *address_port(&address);
    }
    return fd;
}

/*
 * Listens on every address, on one port. An address that this machine does
 * not have (IPv6 switched off, a name with foreign addresses) is left out as
 * long as there is another; *@errnum is what the last failure was.
 */
static uint32_t tcp_listen_all(const struct addrinfo *list, int *fds,
                               int *errnum)
{
    const struct addrinfo *info;
    in_port_t port = 0;
    uint32_t n = 0;

    *errnum = EADDRNOTAVAIL;
    for (info = list; info != NULL && n < VMLOAD_SOCKETS_MAX;
         info = info->ai_next) {
        if (tcp_is_repeated(list, info)) {
            continue;
        }
        fds[n] = tcp_listen_one(info, &port);
        if (fds[n] >= 0) {
            n++;
            continue;
        }
        *errnum = errno;
        if (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL) {
            close_all(fds, n);
            return 0;
        }
    }
    return n;
}

bool vmload_socket_listen_tcp(const VmloadUri *uri, int *fds, uint32_t *n,
                              GError **error)
{
    const char *host = uri->host != NULL ? uri->host : "";
    const struct addrinfo hints = {
        .ai_flags = AI_PASSIVE,
        .ai_family = uri->family,
        .ai_socktype = SOCK_STREAM,
    };
    struct addrinfo *list = NULL;
    int found[VMLOAD_SOCKETS_MAX];
    uint32_t count;
    uint32_t tries = PORT_TRIES;
    int result;
    int errnum;

    result = getaddrinfo(uri->host, uri->port, &hints, &list);
    if (result != 0) {
        return vmload_fail(error, VMLOAD_ERROR_IO, "address tcp:%s:%s: %s",
                           host, uri->port, gai_strerror(result));
    }
    do {
        count = tcp_listen_all(list, found, &errnum);
        tries--;
        /* A port that was free on one address may be taken on another. */
    } while (count == 0 && errnum == EADDRINUSE && tries > 0 &&
             strcmp(uri->port, "0") == 0);
    freeaddrinfo(list);
    if (count == 0) {
        return vmload_fail_errno(error, errnum, "address tcp:%s:%s", host,
                                 uri->port);
    }
    memcpy(fds, found, count * sizeof(*fds));
    *n = count;
    return true;
}

int vmload_socket_listen_unix(const char *path, GError **error)
{
    size_t length = strlen(path);
    Address address;
    struct stat st;
    int fd;

    memset(&address, 0, sizeof(address));
    address.un.sun_family = AF_UNIX;
    if (length >= sizeof(address.un.sun_path)) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "address unix:%s: expected a path below %zu bytes, found "
                    "%zu", path, sizeof(address.un.sun_path), length);
        return -1;
    }
    memcpy(address.un.sun_path, path, length);
    /* An old socket goes, as in QEMU; a file of somebody's stays. */
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "address unix:%s: expected a socket or nothing at this "
                    "path, found %s", path, vmload_file_type(st.st_mode));
        return -1;
    }
    if (unlink(path) < 0 && errno != ENOENT) {
        vmload_fail_errno(error, errno, "address unix:%s: unlink", path);
        return -1;
    }
    fd = socket_listen(&address, sizeof(address.un));
    if (fd < 0) {
        vmload_fail_errno(error, errno, "address unix:%s", path);
    }
    return fd;
}

int vmload_socket_listen_vsock(uint32_t cid, uint32_t port, GError **error)
{
    Address address;
    int fd;

    memset(&address, 0, sizeof(address));
    address.vm.svm_family = AF_VSOCK;
    address.vm.svm_cid = cid;
    address.vm.svm_port = port;
    fd = socket_listen(&address, sizeof(address.vm));
    if (fd < 0) {
        vmload_fail_errno(error, errno, "address vsock:%u:%u", cid, port);
    }
    return fd;
}

static char *tcp_get_address(const Address *address, socklen_t length)
{
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];

    if (getnameinfo(&address->any, length, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return NULL;
    }
    return address->any.sa_family == AF_INET6
               ? g_strdup_printf("tcp:[%s]:%s", host, port)
               : g_strdup_printf("tcp:%s:%s", host, port);
}

/* The path may fill its array without a NUL; abstract names begin with one. */
static char *unix_get_address(const Address *address, socklen_t length)
{
    size_t start = offsetof(struct sockaddr_un, sun_path);
    char path[sizeof(address->un.sun_path) + 1] = "";

    if (length <= start || address->un.sun_path[0] == '\0') {
        return NULL;
    }
    memcpy(path, address->un.sun_path,
           MIN(length - start, sizeof(path) - 1));
    return g_strconcat("unix:", path, NULL);
}

char *vmload_socket_get_address(int fd, bool peer)
{
    Address address;
    socklen_t length = sizeof(address);
    int result;

    memset(&address, 0, sizeof(address));
    result = peer ? getpeername(fd, &address.any, &length)
                  : getsockname(fd, &address.any, &length);
    if (result < 0) {
        return NULL;
    }
    switch (address.any.sa_family) {
    case AF_INET:
    case AF_INET6:
        return tcp_get_address(&address, length);
    case AF_UNIX:
        return unix_get_address(&address, length);
    case AF_VSOCK:
        return g_strdup_printf("vsock:%u:%u", address.vm.svm_cid,
                               address.vm.svm_port);
    default:
        return NULL;
    }
}

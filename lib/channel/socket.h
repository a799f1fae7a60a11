/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listening sockets and their addresses. All are non-blocking and closed on
 * exec.
 */
#ifndef VMLOAD_SOCKET_H
#define VMLOAD_SOCKET_H

#include "uri.h"

#include <stdint.h>

/* Sockets of one listener: a name may have several addresses. */
#define VMLOAD_SOCKETS_MAX 16

/* Connections that have not spoken yet. */
#define VMLOAD_PENDING_MAX 16

/* Connections that wait to be accepted: all of a source's, main and multifd. */
#define VMLOAD_BACKLOG 256

/*
 * One socket for each address of a tcp: URI, at most VMLOAD_SOCKETS_MAX, all
 * with the same port. *@n is how many; @fds is untouched on failure.
 */
bool vmload_socket_listen_tcp(const VmloadUri *uri, int *fds, uint32_t *n,
                              GError **error);

/*
 * A socket at @path, in place of a socket that is there; anything else there
 * is an error. -1 on failure.
 */
int vmload_socket_listen_unix(const char *path, GError **error);
int vmload_socket_listen_vsock(uint32_t cid, uint32_t port, GError **error);

/* The bound (or the peer's) address as a URI; NULL if it has none. */
char *vmload_socket_get_address(int fd, bool peer);

#endif

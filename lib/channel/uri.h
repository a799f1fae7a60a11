/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses as QEMU writes them in -incoming. Parsing only: nothing is
 * resolved or opened.
 */
#ifndef VMLOAD_URI_H
#define VMLOAD_URI_H

#include <vmload/error.h>

typedef enum {
    VMLOAD_URI_TCP,
    VMLOAD_URI_UNIX,
    VMLOAD_URI_VSOCK,
    VMLOAD_URI_FD,
    VMLOAD_URI_FILE,
    VMLOAD_URI_RDMA,
} VmloadUriKind;

/*
 * @host: tcp, rdma: without brackets; NULL: any address.
 * @port: tcp, rdma: number or service name.
 * @family: tcp: AF_UNSPEC, AF_INET or AF_INET6.
 * @path: unix, file.
 * @offset: file.
 * @cid, @vsock_port: vsock.
 * @fd: fd.
 */
typedef struct {
    VmloadUriKind kind;
    int family;
    char *host;
    char *port;
    char *path;
    uint64_t offset;
    uint32_t cid;
    uint32_t vsock_port;
    int32_t fd;
} VmloadUri;

/*
 * Fills @uri, to be cleared with vmload_uri_clear(). VMLOAD_ERROR_FAILED: not
 * an address; VMLOAD_ERROR_UNSUPPORTED: one that we do not serve.
 */
bool vmload_uri_parse(const char *text, VmloadUri *uri, GError **error);
void vmload_uri_clear(VmloadUri *uri);

#endif

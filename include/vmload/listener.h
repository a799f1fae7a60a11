/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file listener.h
 * Where a source connects to: an address as QEMU writes it.
 */
#ifndef VMLOAD_LISTENER_H
#define VMLOAD_LISTENER_H

#include <vmload/channel.h>

G_BEGIN_DECLS

/** VmloadListener: opaque. Since: 0.1 */
typedef struct VmloadListener VmloadListener;

/*
 * Understands tcp:[HOST]:PORT[,ipv4][,ipv6], unix:PATH, vsock:CID:PORT,
 * fd:NUMBER, file:PATH[,offset=N]. Sockets listen when this returns.
 * `exec:` is refused: a library does not start programs.
 */
VMLOAD_EXPORT VmloadListener *vmload_listener_new(const char *uri,
                                                  GError **error);

/* A listening stream socket of the host's own (transfer full). */
VMLOAD_EXPORT VmloadListener *vmload_listener_take_fd(int32_t fd,
                                                      GError **error);

/* One channel that is there already (transfer full). */
VMLOAD_EXPORT VmloadListener *
vmload_listener_new_channel(VmloadChannel *channel);

/* Bound addresses as URIs (real port for port 0), NULL-terminated, (transfer full). */
VMLOAD_EXPORT char **vmload_listener_get_addresses(VmloadListener *listener);

VMLOAD_EXPORT void vmload_listener_free(VmloadListener *listener);

G_END_DECLS

#endif

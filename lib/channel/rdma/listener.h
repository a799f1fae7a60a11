/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who listens for RDMA connections. It owns the channel of connection events
 * for all connections that come of it: events are fetched, copied and
 * acknowledged in one place, and go to the connection they are about. Any
 * thread that waits for anything of RDMA polls the descriptor and dispatches.
 */
#ifndef VMLOAD_RDMA_LISTENER_H
#define VMLOAD_RDMA_LISTENER_H

#include "channel/identify.h"
#include "channel/uri.h"

typedef struct VmloadRdmaListener VmloadRdmaListener;

/*
 * Listens at the URI's host and port. UNSUPPORTED: built without RDMA; IO: no
 * RDMA device has this address, and so on.
 */
VmloadRdmaListener *vmload_rdma_listener_new(const VmloadUri *uri,
                                             GError **error);
VmloadRdmaListener *vmload_rdma_listener_ref(VmloadRdmaListener *listener);
/* With the last reference it stops to listen. @listener: nullable. */
void vmload_rdma_listener_unref(VmloadRdmaListener *listener);

/* "rdma:HOST:PORT" as bound; borrowed. */
const char *vmload_rdma_listener_get_address(const VmloadRdmaListener *self);

/*
 * Waits for a source's first connection, without bound: one that is
 * established, and begins the stream, within @handshake_us (0: no bound).
 * Whoever else connects is refused, and the wait goes on. The channel reads
 * from this connection; the second one of the same source becomes its return
 * path. @refused (nullable) is told on the calling thread, then on the one
 * that reads, until the channel's RAM side is released.
 */
VmloadChannel *vmload_rdma_listener_accept(VmloadRdmaListener *listener,
                                           const VmloadWait *wait,
                                           int64_t handshake_us,
                                           VmloadRefused refused, void *opaque,
                                           GError **error);

#endif

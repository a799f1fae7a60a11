/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connections of one load come together: accepts, identifies, and hands
 * out the main channel and the multifd channels in any order of arrival.
 */
#ifndef VMLOAD_GATHER_H
#define VMLOAD_GATHER_H

#include "channel.h"
#include "handshake.h"
#include "identify.h"

/*
 * @multifd: most multifd channels there may be; 0: multifd is not enabled.
 * @all: wait for all of them; else those that come are taken, at the moments
 *     at which the source must have connected them.
 * @uuid: (nullable): the VM's, 16 bytes; NULL: the channels must agree.
 * @handshake_us: how long a connection may take to say what it is, before it
 *     is closed; and from the first that has, until all are there. 0: no
 *     bound.
 * @refused: (nullable): told of connections that are closed while the load
 *     goes on, with @opaque.
 */
typedef struct {
    uint32_t multifd;
    bool all;
    const uint8_t *uuid;
    int64_t handshake_us;
    VmloadRefused refused;
    void *opaque;
} VmloadWanted;

typedef struct VmloadGathering VmloadGathering;

/* Borrows @listener, once per listener. */
VmloadGathering *vmload_gathering_new(VmloadListener *listener,
                                      const VmloadWanted *wanted);

/* Closes the listening sockets and all connections that were not taken. */
void vmload_gathering_free(VmloadGathering *gathering);

/*
 * Waits until the main channel is there, and with `all` every multifd
 * channel, and gives the main channel back. A channel that is there already
 * comes alone, whatever is wanted. NULL with @error: CANCELLED, TIMEOUT, and
 * what listener.h says of connections.
 */
VmloadChannel *vmload_gathering_get_main(VmloadGathering *gathering,
                                         const VmloadWait *wait,
                                         GError **error);

/*
 * Takes in who has connected by now. Waits for those who are in the middle of
 * their handshake, and while an id below another one is missing; not for
 * those who say nothing.
 */
bool vmload_gathering_update(VmloadGathering *gathering,
                             const VmloadWait *wait, GError **error);

/* (transfer full): a multifd channel that was not taken; NULL: none. */
VmloadChannel *vmload_gathering_take(VmloadGathering *gathering, uint32_t *id);

/* The UUID of the channels' VM, 16 bytes; NULL: none came. */
const uint8_t *vmload_gathering_get_uuid(const VmloadGathering *gathering);

/* listener.c: what the gathering uses of a listener. */
VmloadChannel *vmload_listener_take_channel(VmloadListener *listener);
const int *vmload_listener_get_fds(const VmloadListener *listener,
                                   uint32_t *n);
/* NULL: it has none. */
struct VmloadRdmaListener *
vmload_listener_get_rdma(const VmloadListener *listener);
/* NULL: it has none. */
struct VmloadHanded *
vmload_listener_get_handed(const VmloadListener *listener);
void vmload_listener_close(VmloadListener *listener);

#endif

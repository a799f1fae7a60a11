/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connections of one migration as one channel: it is read from the main
 * connection, written to the return path's, and guest RAM is served between.
 */
#ifndef VMLOAD_RDMA_PAIR_H
#define VMLOAD_RDMA_PAIR_H

#include "conn.h"
#include "listener.h"
#include "memory.h"

/*
 * @listener: reference.
 * @main: set before the channel is made; the listener's lock guards it until
 *     then. The loading thread's.
 * @back: atomic, set once by whoever dispatches; NULL: it has not come. The
 *     writing thread's.
 * @back_error: atomic, set once: why it cannot come.
 * @spoken: atomic: the source has begun its stream; it has made all its
 *     connections before.
 * @refused, @opaque: told of strangers by the loading thread.
 * @wake: eventfds, by direction: look again. One thread waits on each.
 * What follows is the loading thread's, but for @back_deadline, which is the
 * writing thread's (0: nothing was written yet), and @own.
 */
typedef struct {
    VmloadRdmaListener *listener;
    VmloadRdmaConn *main;
    VmloadRdmaConn *back;
    GError *back_error;
    int spoken;
    VmloadRefused refused;
    void *opaque;
    int wake[2];
    int64_t back_deadline;

    VmloadRdmaMessage file; /* QEMU_FILE, as far as it is not read yet */
    bool has_file;
    bool reply_due; /* the reply below waits for its buffer, or for memory */
    VmloadRdmaMessage request;
    uint32_t replied; /* entries of it that are answered */
    uint64_t asked_ns;
    VmloadRdmaMemory *memory; /* NULL: the blocks were not asked for yet */
    VmloadPlacementCounters *counters;
    VmloadPlacementCounters own; /* where nobody else counts */
} VmloadRdmaPair;

/* serve.c: the RAM side, as placement.h has it. */
int64_t vmload_rdma_serve(VmloadRdmaPair *pair,
                          const VmloadPlacement *placement, GError **error);

/* pair.c */
VmloadRdmaPair *vmload_rdma_pair_new(VmloadRdmaListener *listener,
                                     GError **error);
void vmload_rdma_pair_free(VmloadRdmaPair *pair);
/*
 * The beginning of the stream on the main connection. 1: it is there;
 * WOULD_BLOCK; -1 with @error: this is no source.
 */
int64_t vmload_rdma_pair_identify(VmloadRdmaPair *pair, GError **error);
/* Takes @pair, also on failure. */
VmloadChannel *vmload_rdma_pair_make_channel(VmloadRdmaPair *pair,
                                             GError **error);
/* Somebody has news for who waits in a direction. Any thread. */
void vmload_rdma_pair_wake(const VmloadRdmaPair *pair, VmloadRdmaRole role);

/* listener.c: what a pair uses of its listener. Any thread. */
int vmload_rdma_listener_get_fd(const VmloadRdmaListener *listener);
bool vmload_rdma_listener_dispatch(VmloadRdmaListener *listener,
                                   GError **error);
/* Tells the pair of strangers that were sent away. The loading thread. */
void vmload_rdma_listener_report(VmloadRdmaListener *listener,
                                 const VmloadRdmaPair *pair);
/* No event is dispatched to @pair any more. */
void vmload_rdma_listener_forget(VmloadRdmaListener *listener,
                                 const VmloadRdmaPair *pair);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One RDMA connection: its verbs objects, its buffers, and messages with
 * their credits (RDMA format, sections 3 and 4). Nothing here sleeps.
 *
 * A connection has one user at a time, who receives or sends. What others do
 * meanwhile is to note how the connection stands; the lock is there for the
 * end of a load, which may find a writer of the return path at work.
 */
#ifndef VMLOAD_RDMA_CONN_H
#define VMLOAD_RDMA_CONN_H

#include "channel/channel.h"
#include "message.h"

#include <rdma/rdma_cma.h>

typedef enum {
    VMLOAD_RDMA_MAIN, /* the source writes guest RAM and sends the stream */
    VMLOAD_RDMA_BACK, /* the return path: we send */
} VmloadRdmaRole;

/* How a connection stands, as its events told. */
typedef enum {
    VMLOAD_RDMA_ACCEPTED,
    VMLOAD_RDMA_ESTABLISHED,
    VMLOAD_RDMA_CLOSED,  /* the peer has left, or never came */
    VMLOAD_RDMA_REMOVED, /* the device is gone */
} VmloadRdmaState;

typedef struct VmloadRdmaConn VmloadRdmaConn;

/*
 * Makes the objects of a requested connection, posts its first receives and
 * accepts it. @flags: what is agreed on. Takes @id, on success only.
 */
VmloadRdmaConn *vmload_rdma_conn_accept(struct rdma_cm_id *id,
                                        VmloadRdmaRole role, uint32_t flags,
                                        GError **error);

/*
 * Disconnects and destroys the queue pair: no message and no write of the
 * peer's comes behind this. May be called twice.
 */
void vmload_rdma_conn_stop(VmloadRdmaConn *conn);
/* Stops, and frees all, the id too. @conn: nullable. */
void vmload_rdma_conn_free(VmloadRdmaConn *conn);

struct rdma_cm_id *vmload_rdma_conn_get_id(const VmloadRdmaConn *conn);
struct ibv_pd *vmload_rdma_conn_get_pd(const VmloadRdmaConn *conn);
bool vmload_rdma_conn_is_pinned(const VmloadRdmaConn *conn);

/* Any thread. A state never goes back. */
void vmload_rdma_conn_set_state(VmloadRdmaConn *conn, VmloadRdmaState state);
VmloadRdmaState vmload_rdma_conn_get_state(const VmloadRdmaConn *conn);

/* Readable when completions may have come, once it is armed. */
int vmload_rdma_conn_get_fd(const VmloadRdmaConn *conn);
/* False: there are completions already, do not wait; or a failure, which the
 * next call tells. */
bool vmload_rdma_conn_arm(VmloadRdmaConn *conn);
/* The descriptor was readable. */
void vmload_rdma_conn_take_events(VmloadRdmaConn *conn);

/*
 * Gives the peer its one credit, if it has none, and looks for its message.
 * 1: *@message, valid until vmload_rdma_conn_release(); 0: the peer has left,
 * and all it sent was seen; VMLOAD_CHANNEL_WOULD_BLOCK; -1 with @error. The
 * peer's ERROR is an error.
 */
int64_t vmload_rdma_conn_receive(VmloadRdmaConn *conn,
                                 VmloadRdmaMessage *message, GError **error);
void vmload_rdma_conn_release(VmloadRdmaConn *conn);

/*
 * Where the next message of ours is put together: *@size bytes. NULL: the one
 * before is still being sent.
 */
uint8_t *vmload_rdma_conn_get_buffer(VmloadRdmaConn *conn, uint32_t *size);
/* Sends what is there. The reply to a request needs no credit. */
bool vmload_rdma_conn_send(VmloadRdmaConn *conn, VmloadRdmaType type,
                           uint32_t length, uint32_t repeat, GError **error);

/*
 * May a message be sent? 1: the peer has given a credit, which the next send
 * uses up, and the buffer is free; WOULD_BLOCK; -1 with @error.
 */
int64_t vmload_rdma_conn_may_send(VmloadRdmaConn *conn, GError **error);

/* Tells the peer that we have failed, if it can be told. */
void vmload_rdma_conn_send_error(VmloadRdmaConn *conn);
/* Is all that was sent also delivered, or lost? */
bool vmload_rdma_conn_is_drained(VmloadRdmaConn *conn);

#endif

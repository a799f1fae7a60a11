/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finds out by their first bytes what connections are. No waiting here: the
 * caller says when one is readable. A connection is not classified before it
 * has spoken, so that a silent one holds up nothing.
 *
 * The main channel keeps all its bytes. A multifd channel's handshake is
 * read and checked here; what is left of it are its packets.
 */
#ifndef VMLOAD_IDENTIFY_H
#define VMLOAD_IDENTIFY_H

#include "channel.h"
#include "handshake.h"
#include "socket.h"

#define VMLOAD_MAGIC_SIZE 4

/* @connection was closed for @reason; both are the caller's. */
typedef void (*VmloadRefused)(void *opaque, const char *connection,
                              const GError *reason);

/* Connections that have not said what they are, multifd channels included. */
#define VMLOAD_IDENTIFY_MAX (VMLOAD_PENDING_MAX + VMLOAD_MULTIFD_MAX)

typedef enum {
    VMLOAD_CONNECTION_UNKNOWN, /* has not said enough yet */
    VMLOAD_CONNECTION_MAIN,
    VMLOAD_CONNECTION_MULTIFD,
    VMLOAD_CONNECTION_REFUSED, /* this connection goes, the load goes on */
} VmloadConnectionKind;

/*
 * @fd: what to poll; owned by @channel.
 * @deadline: when it must have said what it is; -1: no bound. The caller's.
 */
typedef struct {
    VmloadChannel *channel;
    int fd;
    int64_t deadline;
    uint32_t have;
    uint8_t data[VMLOAD_HANDSHAKE_SIZE];
} VmloadPending;

/*
 * @main: (nullable): once it is known.
 * @multifd: by their ids; NULL: not there, or taken by the caller.
 * @n_multifd: how many came, the taken ones included.
 * @seen: ids that came.
 * @max_multifd: how many there may be; 0: multifd is not enabled.
 * @uuid: of the VM that all multifd channels belong to, if @has_uuid: set by
 *     the caller, or by the first channel.
 * @pending: connections that have not said what they are, oldest first.
 * @count: connections ever added, for their names.
 * @refused: (nullable): told of each connection that goes while the load goes
 *     on; @opaque is its own.
 * @shared: others hold the connections too, so that one that goes is shut
 *     down: its peer must see the end.
 */
typedef struct {
    VmloadChannel *main;
    VmloadChannel *multifd[VMLOAD_MULTIFD_MAX];
    uint32_t n_multifd;
    bool seen[VMLOAD_MULTIFD_MAX];
    uint32_t max_multifd;
    bool has_uuid;
    uint8_t uuid[16];
    VmloadPending pending[VMLOAD_IDENTIFY_MAX];
    uint32_t n_pending;
    uint32_t count;
    VmloadRefused refused;
    void *opaque;
    bool shared;
} VmloadIdentify;

/*
 * Adds a connection (transfer full), without a deadline. If there is no room
 * the oldest one that has said nothing is refused. There is room for
 * VMLOAD_PENDING_MAX connections besides the multifd channels that may come.
 */
void vmload_identify_add(VmloadIdentify *identify, VmloadChannel *channel,
                         int fd);

/*
 * Reads what pending[@index] has to say. Unless it is still UNKNOWN it leaves
 * the list, and those behind it move up. A stranger, whose first bytes are no
 * source's or who ends before them, is REFUSED.
 *
 * False: the load fails, since what speaks here is a source.
 * VMLOAD_ERROR_UNSUPPORTED: a multifd channel where multifd is not enabled,
 * or one of another version; VMLOAD_ERROR_MALFORMED: a channel number that is
 * too big or came before; VMLOAD_ERROR_MISMATCH: a channel of another VM;
 * VMLOAD_ERROR_TRUNCATED: the end inside of a multifd handshake.
 */
bool vmload_identify_read(VmloadIdentify *identify, uint32_t index,
                          VmloadConnectionKind *kind, GError **error);

/* Drops pending[@index], whose deadline of @ms milliseconds has passed. */
void vmload_identify_expire(VmloadIdentify *identify, uint32_t index,
                            int64_t ms);

/* Is an id missing below one that came? @id (nullable): the lowest. */
bool vmload_identify_has_gap(const VmloadIdentify *identify, uint32_t *id);

/* Closes all that is in there. */
void vmload_identify_clear(VmloadIdentify *identify);

#endif

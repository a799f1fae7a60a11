/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finds out by their first bytes what connections are. No waiting here: the
 * caller says when one is readable. A connection is not classified before it
 * has spoken, so that a silent one holds up nothing.
 *
 * Only the main channel is served. Multifd channels will be handed out by the
 * same state: one more kind, and a list beside `main`.
 */
#ifndef VMLOAD_IDENTIFY_H
#define VMLOAD_IDENTIFY_H

#include "channel.h"
#include "socket.h"

#define VMLOAD_MAGIC_SIZE 4

typedef enum {
    VMLOAD_KIND_UNKNOWN, /* has not said enough yet */
    VMLOAD_KIND_MAIN,
    VMLOAD_KIND_REFUSED, /* this connection goes, the load goes on */
} VmloadKind;

/* @fd: what to poll; owned by @channel. */
typedef struct {
    VmloadChannel *channel;
    int fd;
    uint32_t have;
    uint8_t magic[VMLOAD_MAGIC_SIZE];
} VmloadPending;

/*
 * @main: (nullable): once it is known.
 * @pending: connections that have not said what they are, oldest first.
 * @count: connections ever added, for their names.
 */
typedef struct {
    VmloadChannel *main;
    VmloadPending pending[VMLOAD_PENDING_MAX];
    uint32_t n_pending;
    uint32_t count;
} VmloadIdentify;

/*
 * Adds a connection (transfer full). If there is no room the oldest one that
 * has said nothing goes.
 */
void vmload_identify_add(VmloadIdentify *identify, VmloadChannel *channel,
                         int fd);

/*
 * Reads what pending[@index] has to say. Unless it is still UNKNOWN it leaves
 * the list, and those behind it move up. False: the load fails.
 * VMLOAD_ERROR_UNSUPPORTED: a multifd channel; VMLOAD_ERROR_MALFORMED: bytes
 * that no source sends; VMLOAD_ERROR_TRUNCATED: one to three bytes and the
 * end.
 */
bool vmload_identify_read(VmloadIdentify *identify, uint32_t index,
                          VmloadKind *kind, GError **error);

/* Closes all that is in there. */
void vmload_identify_clear(VmloadIdentify *identify);

#endif

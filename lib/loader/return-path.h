/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to the source (stream format, section 8). They go through a
 * bounded queue, so that a message is whole on the wire and a thread that
 * holds the big lock never waits for a source that does not read.
 */
#ifndef VMLOAD_LOADER_RETURN_PATH_H
#define VMLOAD_LOADER_RETURN_PATH_H

#include <vmload/loader.h>
#include "channel/channel.h"

typedef struct {
    /* Leaf: guards all below; never held while the transport is called. */
    GMutex mutex;
    GCond idle;             /* busy has become false */
    VmloadChannel *channel; /* reference; NULL: not open, or nobody hears */
    GByteArray *queue;      /* messages to be written; the first may be begun */
    GError *failed;         /* sticky: why nothing can be written any more */
    bool open;
    bool closed; /* SHUT was queued, or it was never opened */
    bool busy;   /* a thread is writing from the queue */
} VmloadReturnPath;

void vmload_return_path_init(VmloadReturnPath *path);
void vmload_return_path_clear(VmloadReturnPath *path);

/*
 * Opens it on @channel. A channel that cannot be written (a file, a pipe) is
 * accepted: nobody waits at its other end, messages are dropped.
 */
void vmload_return_path_open(VmloadReturnPath *path, VmloadChannel *channel);

bool vmload_return_path_is_open(VmloadReturnPath *path);

/* Lets the channel go; later messages are refused. */
void vmload_return_path_close(VmloadReturnPath *path);

/*
 * Queues one message and writes the queue. With @wait until all of it is
 * written; NULL: as far as it goes at once, vmload_return_path_flush() does
 * the rest. IO if the queue is full. Any thread.
 */
bool vmload_return_path_send(VmloadReturnPath *path,
                             VmloadReturnPathType type, const uint8_t *data,
                             uint32_t length, const VmloadWait *wait,
                             GError **error);

/* Writes what is queued; @wait as above. Any thread. */
bool vmload_return_path_flush(VmloadReturnPath *path, const VmloadWait *wait,
                              GError **error);

/* Sends SHUT, the last message, and refuses all later ones. */
bool vmload_return_path_shut(VmloadReturnPath *path, uint32_t status,
                             const VmloadWait *wait, GError **error);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages to the source (stream format, section 8). */
#ifndef VMLOAD_LOADER_RETURN_PATH_H
#define VMLOAD_LOADER_RETURN_PATH_H

#include <vmload/loader.h>
#include "channel/channel.h"

typedef struct {
    /* Serialises writers; leaf, never held in a callback of the host's. */
    GMutex mutex;
    VmloadChannel *channel; /* reference; NULL: not open, or nobody hears */
    bool open;
    bool closed; /* SHUT was sent */
} VmloadReturnPath;

void vmload_return_path_init(VmloadReturnPath *path);
void vmload_return_path_clear(VmloadReturnPath *path);

/*
 * Opens it on @channel. A channel that cannot be written (a file, a pipe) is
 * accepted: nobody waits at its other end, messages are dropped.
 */
void vmload_return_path_open(VmloadReturnPath *path, VmloadChannel *channel);

bool vmload_return_path_is_open(VmloadReturnPath *path);

/* Writes one message whole. Any thread. */
bool vmload_return_path_send(VmloadReturnPath *path,
                             VmloadReturnPathType type, const uint8_t *data,
                             uint32_t length, const VmloadWait *wait,
                             GError **error);

/* Sends SHUT, the last message, and refuses all later ones. */
bool vmload_return_path_shut(VmloadReturnPath *path, uint32_t status,
                             const VmloadWait *wait, GError **error);

#endif

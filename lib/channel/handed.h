/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections that the host accepts itself and hands over, from any thread,
 * to the loading thread, which gathers them like those of a socket.
 */
#ifndef VMLOAD_HANDED_H
#define VMLOAD_HANDED_H

#include "channel.h"

typedef struct VmloadHanded VmloadHanded;

/* NULL with @error set if no descriptor can be had. */
VmloadHanded *vmload_handed_new(GError **error);
void vmload_handed_free(VmloadHanded *handed);

/*
 * Takes @channel, also on failure. UNSUPPORTED: nothing to poll; FAILED: after
 * vmload_handed_close(); LIMIT: too many that nobody has looked at. Any
 * thread.
 */
bool vmload_handed_push(VmloadHanded *handed, VmloadChannel *channel,
                        GError **error);

/* Readable while there is a connection. */
const int *vmload_handed_get_fd(const VmloadHanded *handed);
/* (transfer full): the oldest one; NULL: none. The loading thread. */
VmloadChannel *vmload_handed_pop(VmloadHanded *handed);

/* Nobody else is wanted: those who wait go. Idempotent. */
void vmload_handed_close(VmloadHanded *handed);

#endif

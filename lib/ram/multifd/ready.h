/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fresh memory under channels that write side by side. The packets of one
 * region of memory (ram/prefault.h) come over all of them at about the same
 * time, and each would have the kernel clear all of a huge page, of which it
 * keeps one. So one of them makes the region ready before any other comes to
 * it: who enters a region first does that with the next.
 */
#ifndef VMLOAD_MULTIFD_READY_H
#define VMLOAD_MULTIFD_READY_H

#include "packet.h"
#include "ram/private.h"

/*
 * Before the normal pages of @packet, whose offsets were checked, are claimed.
 * Does nothing where they have gaps, for sinks without memory, and with
 * prefaulting off. Any number of channels.
 */
void vmload_multifd_make_ready(VmloadRam *ram, VmloadRamBlock *block,
                               const VmloadMultifdPacket *packet);

#endif

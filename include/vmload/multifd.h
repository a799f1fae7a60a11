/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file multifd.h
 * RAM over several connections at once (QEMU's capability `multifd`).
 *
 * A source with multifd opens its main channel and then as many more as it is
 * configured for, to the same address. Each of them gets a thread here, named
 * vmload-mfd-N, which places pages straight into guest RAM and never takes
 * the big lock. Host and source must be configured alike: nothing in the main
 * stream says that there are such channels, let alone how many.
 */
#ifndef VMLOAD_MULTIFD_H
#define VMLOAD_MULTIFD_H

#include <vmload/loader.h>

G_BEGIN_DECLS

/** For vmload_loader_set_multifd(): as many channels as come. Since: 0.1 */
#define VMLOAD_MULTIFD_AUTO 0

/**
 * VmloadMultifdSync:
 * @VMLOAD_MULTIFD_SYNC_AUTO: tell from the first section of RAM: sources with
 *     rounds send a mark in it, the others never do.
 * @VMLOAD_MULTIFD_SYNC_SECTION: at the end of each section of RAM: QEMU up to
 *     8.0, and later ones with machine types up to 8.0
 *     (multifd-flush-after-each-section).
 * @VMLOAD_MULTIFD_SYNC_ROUND: at each MULTIFD_FLUSH mark: QEMU from 8.1.
 *
 * Where all channels wait for each other.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_MULTIFD_SYNC_AUTO,
    VMLOAD_MULTIFD_SYNC_SECTION,
    VMLOAD_MULTIFD_SYNC_ROUND,
} VmloadMultifdSync;

/**
 * vmload_loader_set_multifd:
 * @loader: the loader.
 * @channels: how many multifd channels the source has, 1 to 255: the load
 *     begins when all of them and the main channel are there, within
 *     handshake_ms of vmload_loader_set_timeouts(). VMLOAD_MULTIFD_AUTO: as
 *     many as come, none included.
 * @sync: where channels wait for each other; VMLOAD_MULTIFD_SYNC_AUTO unless
 *     there is a reason.
 *
 * Enables multifd; by default it is not, and a multifd channel fails the
 * load. Needs a listener on sockets (tcp:, unix:, vsock:,
 * vmload_listener_take_fd()) or of handed connections
 * (vmload_listener_new_handed()); with VMLOAD_MULTIFD_AUTO any other channel
 * is a load without multifd, and so is a mapped-ram file always.
 *
 * With VMLOAD_MULTIFD_AUTO the load begins with the main channel. The others
 * are taken in at the first barrier: a source does not come to it before all
 * its channels have connected, and one that comes later fails the load. The
 * listening socket stays open until RAM is complete. A source that has more
 * channels than the listening socket queues (256, or less where the system
 * says so) needs their number here.
 *
 * All channels must belong to the same VM: to the expected configuration's
 * UUID if it has one, see vmload_loader_set_expected_configuration(), where
 * zeros are a UUID too (a source without one sends zeros); else the channels
 * must agree among each other; and with the stream's configuration section if
 * that has a UUID.
 *
 * Pages come as they are, or compressed with zlib or zstd as far as this
 * build has them; a channel's packets tell which. Other methods (qpl, uadk,
 * qatzip) and device state over multifd fail with VMLOAD_ERROR_UNSUPPORTED.
 * The host must have given its RAM to the library.
 *
 * Errors: none here. The load fails with VMLOAD_ERROR_TIMEOUT: channels are
 * missing, or one was silent inside a packet or at a barrier for stall_ms;
 * VMLOAD_ERROR_MALFORMED: a channel's number that came before or is too big,
 * or a packet that cannot be; VMLOAD_ERROR_MISMATCH: a channel of another VM;
 * VMLOAD_ERROR_TRUNCATED: a channel that ended before RAM did;
 * VMLOAD_ERROR_UNSUPPORTED: @channels is not 0, there is no listener on
 * sockets, and it is not a mapped-ram file. Messages name channel, packet and
 * field.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_multifd(VmloadLoader *loader,
                                             uint32_t channels,
                                             VmloadMultifdSync sync);

/**
 * vmload_multifd_has_compression:
 * @name: as QEMU's parameter `multifd-compression` has it: "none", "zlib",
 *     "zstd", "qpl", "uadk", "qatzip".
 *
 * Tells whether this build of the library can load pages that are compressed
 * so, for a host that knows what its source will use.
 *
 * Return: true if it can; false for names that nobody knows too.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_multifd_has_compression(const char *name);

G_END_DECLS

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file dispatch.h
 * What a host may do within a load: dispatch records itself, and send to the
 * source. States and threads are those of loader.h.
 */
#ifndef VMLOAD_DISPATCH_H
#define VMLOAD_DISPATCH_H

#include <vmload/channel.h>
#include <vmload/host.h>

G_BEGIN_DECLS

/**
 * vmload_loader_new_reader:
 * @loader: the loader.
 * @channel: (transfer full): where the bytes come from; taken also on
 *     failure.
 * @error: (nullable): where to put the error.
 *
 * Makes a reader over another channel than the main one, for
 * vmload_loader_dispatch(): a package in a file object of the host's, a
 * stream that goes on elsewhere. Its waits end with the load's cancel, and
 * its bytes count.
 *
 * Return: (transfer full) (nullable): a reader, to be freed with
 *     vmload_reader_free() before the loader is; NULL on error.
 * Errors: VMLOAD_ERROR_LIMIT: no memory.
 * States: running. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadReader *vmload_loader_new_reader(VmloadLoader *loader,
                                                     VmloadChannel *channel,
                                                     GError **error);

/**
 * vmload_loader_dispatch:
 * @loader: the loader.
 * @reader: where records come from: one that the host made, or what a
 *     callback was given.
 * @error: (nullable): where to put the error.
 *
 * Loads records until EOF: a package of the host's, the next round of a
 * stream that goes on after EOF, or what comes while a package is loaded.
 * Section ids are shared by all dispatches of a load.
 *
 * In a callback: part of the load, at most VmloadLimits.nesting deep. On a
 * thread of the host's: beside it, as long as the load is not over; the host
 * answers `finish` when it is done. A failure there is the host's to judge: it
 * does not fail the load, and the position of the load stays that of the main
 * stream. Devices are loaded at once, VMLOAD_COMMIT_ATOMIC and
 * VMLOAD_DEVICE_CONCURRENT notwithstanding, and RAM that is the library's may
 * only be in one of the streams. If the big lock is held already (which needs
 * `lock_is_held`), it stays so, and is not taken again.
 *
 * Return: VMLOAD_COMMAND_DONE at EOF; VMLOAD_COMMAND_QUIT if a command of the
 *     host said so; VMLOAD_COMMAND_FAILED with @error set.
 * Errors: as vmload_loader_wait().
 * States: running: from the first record until finished() is called.
 * Threads: any, each with a reader of its own; with the big lock held @reader
 * must be over memory. Blocks: as @reader does.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadCommandResult vmload_loader_dispatch(VmloadLoader *loader,
                                                         VmloadReader *reader,
                                                         GError **error);

/**
 * VmloadReturnPathType:
 * Messages to the source, with their numbers on the wire.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_RETURN_PATH_SHUT = 1,
    VMLOAD_RETURN_PATH_PONG = 2,
    VMLOAD_RETURN_PATH_REQ_PAGES_ID = 3,
    VMLOAD_RETURN_PATH_REQ_PAGES = 4,
    VMLOAD_RETURN_PATH_RECV_BITMAP = 5,
    VMLOAD_RETURN_PATH_RESUME_ACK = 6,
    VMLOAD_RETURN_PATH_SWITCHOVER_ACK = 7,
} VmloadReturnPathType;

/**
 * vmload_loader_send_return_path:
 * @loader: the loader.
 * @type: VmloadReturnPathType; SHUT is the library's own and refused.
 * @data: (array length=length) (nullable): the payload.
 * @length: its bytes, at most 512.
 * @error: (nullable): where to put the error.
 *
 * Sends one message to the source, whole, also while other threads do.
 *
 * Return: true if it was written, or waits to be.
 * Errors: VMLOAD_ERROR_FAILED: no return path is open, or a @type or @length
 *     that the source would refuse; VMLOAD_ERROR_IO: the connection broke, or
 *     the source does not read and the queue is full; VMLOAD_ERROR_CANCELLED.
 * States: running. Threads: any, also in callbacks with the big lock held.
 * Blocks: while the connection's buffer is full; never with the big lock
 * held: then the message waits in a queue of 64 KiB, which the loading thread
 * writes before it reads on. (On threads of the host's own this needs
 * `lock_is_held`.)
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_loader_send_return_path(VmloadLoader *loader,
                                                  VmloadReturnPathType type,
                                                  const uint8_t *data,
                                                  uint32_t length,
                                                  GError **error);

/**
 * vmload_loader_approve_switchover:
 * @loader: the loader.
 * @error: (nullable): where to put the error.
 *
 * One device that said switchover_ack_needed is ready. LEGACY: the last one
 * sends the message; PER_DEVICE: each does. Before the source has opened its
 * return path the message waits for that.
 *
 * Return: true if it was noted and, where due, sent.
 * Errors: VMLOAD_ERROR_FAILED: more calls than devices; and as
 *     vmload_loader_send_return_path().
 * States: running. Threads: any, also in callbacks with the big lock held.
 * Blocks: as vmload_loader_send_return_path().
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_loader_approve_switchover(VmloadLoader *loader,
                                                    GError **error);

G_END_DECLS

#endif

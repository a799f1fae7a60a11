/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file listener.h
 * Where a source connects to: an address as QEMU writes it.
 *
 * A listener is made, given to vmload_loader_set_listener(), and used up by
 * one load. It accepts connections only while that load waits for its
 * channels. What a connection is, it says itself with its first four bytes,
 * which are read and stay part of its stream:
 *
 * - "QEVM": the main channel. A second one is closed.
 * - 11 22 33 44: a multifd channel, with 60 more bytes that say which. It is
 *   welcome if vmload_loader_set_multifd() expects it, in front of the main
 *   channel or behind it; else the load fails with VMLOAD_ERROR_UNSUPPORTED.
 * - anything else, or the end before four bytes: a stranger. The connection
 *   is refused, which is closed, and the load waits on; see `refused` in
 *   VmloadHostOps and `connections_refused` in VmloadStats.
 * - nothing: it waits until its deadline and holds up nobody; then it is
 *   refused. At most 16 connections wait, besides the multifd channels that
 *   may come; the one that has been silent longest goes for a new one.
 *
 * Once all are there, the others are closed and the listening socket too, so
 * that whoever else connects is refused.
 *
 * Each connection has a deadline, see vmload_loader_set_timeouts(). For the
 * main channel itself there is none: the load waits until it is cancelled.
 *
 * A host that accepts connections itself, in a main loop for instance, makes a
 * listener with vmload_listener_new_handed() and hands them to the loader with
 * vmload_loader_add_channel(): then the same holds for those.
 *
 * One channel that is there already (fd:, file:,
 * vmload_listener_new_channel()) is the main channel without being looked at.
 *
 * An RDMA source says who it is while it connects. The first connection that
 * does, and begins a stream within the deadline, is the main channel. One more
 * from the same address is its return path, if it comes before the stream
 * begins. Whoever else connects is a stranger, also while the load runs.
 * Multifd and RDMA exclude each other.
 */
#ifndef VMLOAD_LISTENER_H
#define VMLOAD_LISTENER_H

#include <vmload/channel.h>

G_BEGIN_DECLS

/** VmloadListener: opaque. Since: 0.1 */
typedef struct VmloadListener VmloadListener;

/**
 * vmload_listener_new:
 * @uri: the address, as for QEMU's -incoming; see below.
 * @error: (nullable): where to put the error.
 *
 * Opens an address. Sockets listen when this returns.
 *
 * `tcp:[HOST]:PORT[,ipv4[=on|off]][,ipv6[=on|off]]`: every address of HOST, a
 *     name, a number or [IPv6]; without HOST all of this machine's. PORT is a
 *     number or the name of a service; 0: one that is free, the same for all
 *     addresses. An address that this machine does not have is left out as
 *     long as there is another.
 * `unix:PATH`: the rest is the path, commas included. A socket that is there
 *     is replaced; anything else there is an error. The file is removed again
 *     when the listener stops to listen, if it is still the same.
 * `vsock:CID:PORT`: numbers; CID 4294967295 is any.
 * `fd:NUMBER`: (transfer full): an open descriptor, see
 *     vmload_channel_take_fd(). A number, not a monitor's name.
 * `file:PATH[,offset=N]`: see vmload_channel_new_file(). N is decimal, with
 *     one of the suffixes b k M G T P E (powers of 1024, any case), or
 *     hexadecimal with 0x. A path cannot contain ",offset=".
 * `rdma:HOST:PORT`: as for tcp:, on the first of the name's addresses that an
 *     RDMA device has. Guest RAM must be memory: the source writes to it.
 *
 * `exec:` is refused: a library does not start programs.
 *
 * Return: (transfer full) (nullable): a listener, to be freed with
 *     vmload_listener_free() or given to a loader; NULL on error.
 * Errors: VMLOAD_ERROR_FAILED: @uri is not an address, or a path is too long
 *     or taken; VMLOAD_ERROR_UNSUPPORTED: exec:, rdma: in a
 *     library built without it, an option of tcp:
 *     that is not listed above, a descriptor or file that cannot be a channel;
 *     VMLOAD_ERROR_IO: the name is not known, the address is in use, the file
 *     cannot be opened.
 * States: -. Threads: any. Blocks: for tcp: with a name, as long as the
 * resolver does.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadListener *vmload_listener_new(const char *uri,
                                                  GError **error);

/**
 * vmload_listener_take_fd:
 * @fd: (transfer full): a listening stream socket; not negative. Closed when
 *     it is no longer needed, or here on failure.
 * @error: (nullable): where to put the error.
 *
 * Makes a listener of a socket that the host has bound. Its flags are not
 * changed: if another process accepts from it too, it should be non-blocking,
 * else a connection lost to the other one would stop this listener. The file
 * of a unix socket remains the host's to remove.
 *
 * Return: (transfer full) (nullable): a listener; NULL on error.
 * Errors: VMLOAD_ERROR_UNSUPPORTED: not a stream socket, or it does not
 *     listen; VMLOAD_ERROR_IO: not a socket.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadListener *vmload_listener_take_fd(int32_t fd,
                                                      GError **error);

/**
 * vmload_listener_new_channel:
 * @channel: (transfer full): the main channel.
 *
 * Makes a listener of one channel that is there already.
 *
 * Return: (transfer full): a listener.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadListener *
vmload_listener_new_channel(VmloadChannel *channel);

/**
 * vmload_listener_new_handed:
 * @error: (nullable): where to put the error.
 *
 * Makes a listener of connections that the host accepts itself and hands over
 * with vmload_loader_add_channel(), the main channel among them.
 *
 * Return: (transfer full) (nullable): a listener; NULL on error.
 * Errors: VMLOAD_ERROR_IO: no descriptor could be had.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadListener *vmload_listener_new_handed(GError **error);

/**
 * vmload_listener_dup:
 * @listener: the listener; has sockets, and no loader has it.
 * @error: (nullable): where to put the error.
 *
 * Makes another listener of the same sockets, or of the same RDMA address,
 * where one load at a time may wait. A host that wants to accept a
 * second attempt after a failed load keeps @listener and gives each loader a
 * duplicate: whoever connects meanwhile waits and is not refused. The file of
 * a unix socket goes with @listener, not with its duplicates.
 *
 * Return: (transfer full) (nullable): a listener; NULL on error.
 * Errors: VMLOAD_ERROR_UNSUPPORTED: @listener is of one channel (fd:, file:,
 *     vmload_listener_new_channel()) or of handed ones; VMLOAD_ERROR_IO: no
 *     descriptor could be had.
 * States: any. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadListener *vmload_listener_dup(VmloadListener *listener,
                                                  GError **error);

/**
 * vmload_listener_get_addresses:
 * @listener: the listener.
 *
 * Gets the bound addresses as URIs, in the form that the source's `migrate`
 * takes: with the real port for port 0, and one for each socket. 0.0.0.0 and
 * [::] stand for all of this machine's. For fd: and file: it is what
 * vmload_listener_new() got; for a channel or a socket without a name there
 * is none.
 *
 * Return: (transfer full) (array zero-terminated=1): the addresses, to be
 *     freed with g_strfreev(); they stay the same for ever.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT char **vmload_listener_get_addresses(VmloadListener *listener);

/**
 * vmload_listener_free:
 * @listener: (nullable) (transfer full): the listener.
 *
 * Stops to listen, closes what is open and removes the unix socket's file.
 *
 * Errors: none.
 * States: any, while no loader has it. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_listener_free(VmloadListener *listener);

G_END_DECLS

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RAM over several channels: a thread for each, and the barriers at which
 * they and the main channel wait for each other (docs/multifd.md).
 */
#ifndef VMLOAD_MULTIFD_INTERNAL_H
#define VMLOAD_MULTIFD_INTERNAL_H

#include <vmload/host.h>
#include <vmload/multifd.h>
#include "channel/channel.h"
#include "ram/ram.h"

typedef struct VmloadMultifd VmloadMultifd;

/* Written by all channels, read by any thread with atomic loads. */
typedef struct {
    uint64_t channels;
    uint64_t bytes;
    uint64_t packets;
    uint64_t last_byte_ns;
} VmloadMultifdCounters;

/*
 * What multifd needs of its surroundings.
 * @ram: where pages go; its page size must be set.
 * @wait: how the loading thread waits, with the load's cancel level and its
 *     stall timeout; channels share the level, and are held to the timeout
 *     at barriers.
 * @window_bytes: most memory that a decompressor may keep behind itself.
 * @ops, @opaque: thread_enter and thread_leave.
 * @gather: (nullable): at a barrier, adds channels that came meanwhile; on
 *     the loading thread.
 * @failed: a channel failed; wakes the loading thread, from any thread.
 * @env: passed to @gather and @failed.
 */
typedef struct {
    VmloadRam *ram;
    const VmloadWait *wait;
    VmloadMultifdSync sync;
    uint64_t window_bytes;
    const VmloadHostOps *ops;
    void *opaque;
    bool (*gather)(void *env, GError **error);
    void (*failed)(void *env);
    void *env;
    VmloadMultifdCounters *counters;
} VmloadMultifdEnv;

/* On the loading thread, as all that follows. */
VmloadMultifd *vmload_multifd_new(const VmloadMultifdEnv *env, GError **error);

/* Takes @channel, also on failure, and starts its thread. */
bool vmload_multifd_add(VmloadMultifd *multifd, VmloadChannel *channel,
                        uint32_t id, GError **error);

/*
 * Around the payload of each section "ram", and at MULTIFD_FLUSH in it. Wait
 * for all channels where the stream means a barrier. Fail with the error of
 * the first channel that failed.
 */
void vmload_multifd_section_begin(VmloadMultifd *multifd, uint32_t type);
bool vmload_multifd_flush(VmloadMultifd *multifd, GError **error);
bool vmload_multifd_section_end(VmloadMultifd *multifd, uint32_t type,
                                GError **error);

/* Before a good end: was RAM complete? */
bool vmload_multifd_check_complete(VmloadMultifd *multifd, GError **error);

/*
 * Ends all threads and joins them. True if no channel had failed before;
 * else the first one's error, and its name in @name (of @size bytes).
 */
bool vmload_multifd_stop(VmloadMultifd *multifd, char *name, size_t size,
                         GError **error);

/* After vmload_multifd_stop(). */
void vmload_multifd_free(VmloadMultifd *multifd);

#endif

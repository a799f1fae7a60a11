/* SPDX-License-Identifier: BSD-3-Clause */
/* A host: its devices take what the stream has, and take their time. */
#ifndef VMLOAD_BENCH_HOST_H
#define VMLOAD_BENCH_HOST_H

#include "probe.h"
#include "stream.h"

#include <vmload/vmload.h>

/* The rule by which devices are loaded. */
typedef enum {
    /* The library's default: staged, then the lock around the callback. */
    HOST_LIBRARY,
    /* The same in a host that tells when its lock is wanted. */
    HOST_FAIR,
    /*
     * A model of the series that moved QEMU's loading into a thread: the
     * lock is held around every section of a device while it is read.
     */
    HOST_SERIES,
    /* Devices read the stream, nobody takes a lock: what staging costs. */
    HOST_STREAMED,
    /* As the library, in a host without a lock: what the machine does. */
    HOST_CONTROL,
} HostRule;

const char *host_rule_name(HostRule rule);

/*
 * @hold_finish: the host never answers `finish`.
 * @finish_seen: atomic.
 * @phase_ns, @phase_end_ns: around the sections.
 * @active_ns: when the first byte was there.
 */
typedef struct {
    HostRule rule;
    BigLock *lock;
    const Stream *stream;
    uint64_t callback_ns;
    bool hold_finish;
    int finish_seen;
    guint next;
    GByteArray *scratch;
    uint8_t *ram;
    uint64_t ram_length;
    uint64_t active_ns;
    uint64_t phase_ns;
    uint64_t device_ns; /* the first device has its state */
    uint64_t phase_end_ns;
} Host;

void host_init(Host *host, HostRule rule, BigLock *lock,
               const Stream *stream);
void host_clear(Host *host);
/* A loader for one load of the host's stream; it borrows the host. */
VmloadLoader *host_new_loader(Host *host, GError **error);

#endif

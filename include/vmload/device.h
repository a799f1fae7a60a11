/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file device.h
 * What a host implements to receive the state of a device, and how the big
 * lock is held meanwhile.
 *
 * A device's section carries no length. For VMLOAD_LOCK_WHOLE and
 * VMLOAD_LOCK_APPLY the library stages the section in memory, without the
 * lock, until its footer is there; only then it calls the host. The callback
 * must consume exactly the payload.
 */
#ifndef VMLOAD_DEVICE_H
#define VMLOAD_DEVICE_H

#include <vmload/reader.h>

G_BEGIN_DECLS

/**
 * VmloadLock:
 * @VMLOAD_LOCK_WHOLE: the section is staged, the big lock is held around
 *     the load callback.
 * @VMLOAD_LOCK_APPLY: the section is staged, `parse` runs without the lock,
 *     `apply` with it.
 * @VMLOAD_LOCK_NONE: the load callback reads a streaming reader and the
 *     lock is never taken.
 * @VMLOAD_LOCK_STAGED: the section is staged, and the load callback is called
 *     without the lock: for a thread that must never take it, which hands the
 *     bytes to another.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_LOCK_WHOLE,
    VMLOAD_LOCK_APPLY,
    VMLOAD_LOCK_NONE,
    VMLOAD_LOCK_STAGED,
} VmloadLock;

/**
 * VmloadRecord:
 * Record types of the main stream, with their values on the wire.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_RECORD_EOF = 0x00,
    VMLOAD_RECORD_START = 0x01,
    VMLOAD_RECORD_PART = 0x02,
    VMLOAD_RECORD_END = 0x03,
    VMLOAD_RECORD_FULL = 0x04,
    VMLOAD_RECORD_SUBSECTION = 0x05,
    VMLOAD_RECORD_VMDESC = 0x06,
    VMLOAD_RECORD_CONFIGURATION = 0x07,
    VMLOAD_RECORD_COMMAND = 0x08,
    VMLOAD_RECORD_FOOTER = 0x7e,
} VmloadRecord;

/**
 * VmloadSection:
 * @struct_size: sizeof (VmloadSection) in the library.
 * @type: VmloadRecord: START, PART, END or FULL.
 * @section_id: the number the source chose for this section.
 * @instance_id: distinguishes equal @idstr.
 * @version_id: layout version of the payload; for PART and END the one that
 *     START announced.
 * @has_footer: 1 if the payload is followed by a footer. Valid once the
 *     section is loaded.
 * @idstr: (transfer none): the section's name.
 * @offset: where the record starts, bytes from the start of the stream.
 * @payload_offset: where the payload starts.
 * @payload_length: bytes of payload; valid once the section is loaded, 0
 *     before.
 *
 * One section of the stream, borrowed until the callback returns.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t type;
    uint32_t section_id;
    uint32_t instance_id;
    uint32_t version_id;
    uint32_t has_footer;
    const char *idstr;
    uint64_t offset;
    uint64_t payload_offset;
    uint64_t payload_length;
} VmloadSection;

/**
 * VmloadLockPlan:
 * @struct_size: sizeof (VmloadLockPlan), set by VMLOAD_LOCK_PLAN_INIT.
 * @start: VmloadLock for START records.
 * @part: VmloadLock for PART records.
 * @end: VmloadLock for END records.
 * @full: VmloadLock for FULL records.
 * @reserved: zero.
 * @staged_max: bytes that one section of this device may stage; 0: the
 *     loader's limit.
 *
 * One class per record kind, since one device may stream gigabytes in PART
 * and need the lock for a small FULL.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t start;
    uint32_t part;
    uint32_t end;
    uint32_t full;
    uint32_t reserved;
    uint64_t staged_max;
} VmloadLockPlan;

/** Everything VMLOAD_LOCK_WHOLE. Since: 0.1 */
#define VMLOAD_LOCK_PLAN_INIT \
    {(uint32_t)sizeof(VmloadLockPlan), 0, 0, 0, 0, 0, 0}

/**
 * VmloadDeviceFlags:
 * @VMLOAD_DEVICE_RESTARTABLE: the device's `load` may be called again from
 *     the section's first byte after it failed for want of bytes
 *     (VMLOAD_ERROR_TRUNCATED from its reader). The library then gives the
 *     lock back, stages on to the next believed end, and calls it again.
 *     Without this flag a payload that contains a false end fails the load,
 *     unless the rest of the section happens to be in memory. A `parse` is
 *     called again with or without it.
 * @VMLOAD_DEVICE_CONCURRENT: the device's `parse` (VMLOAD_LOCK_APPLY) may run
 *     on a worker thread while bytes are received and sections of other such
 *     devices, directly behind it, are parsed. It may be called with bytes
 *     that turn out not to be a section; what it returned is then freed
 *     unused. Its `apply` comes in the stream's order, but not before those
 *     of the devices in `after`. For devices that were registered up front.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_DEVICE_RESTARTABLE = 1 << 0,
    VMLOAD_DEVICE_CONCURRENT = 1 << 1,
} VmloadDeviceFlags;

/**
 * VmloadDeviceOps:
 * @struct_size: sizeof (VmloadDeviceOps), set by VMLOAD_DEVICE_OPS_INIT.
 * @flags: bits of VmloadDeviceFlags.
 * @load: reads one section from @reader. WHOLE: big lock held. NONE: not
 *     held, the reader streams. STAGED: not held, all is in memory. Required
 *     where the plan names one of these.
 * @parse: APPLY: reads one section without the lock and returns what it
 *     parsed, NULL on error. It has no other effect: after a read beyond the
 *     end of its reader it is called again when more is there. @apply follows
 *     only if @parse stopped where the section ends.
 * @apply: APPLY: makes @parsed the device's state, big lock held.
 * @parsed_free: frees what @parse returned, after @apply or instead of it.
 *     No lock. Optional: then nothing is freed.
 * @setup: before the first section is read, big lock held. Optional.
 * @all_loaded: after the last section, before the CPUs are synchronised,
 *     big lock held. Optional.
 * @cleanup: at the end of the load, whatever its outcome and also when
 *     @setup was not called, big lock held. Optional.
 * @switchover_ack_needed: true if the source shall wait with its switchover
 *     until the host calls vmload_loader_approve_switchover() for this
 *     device. No lock. Optional: false.
 * @after: (array zero-terminated=1) (nullable): VMLOAD_DEVICE_CONCURRENT:
 *     names (idstr) of devices whose state must be applied first, as far as
 *     the stream has them; borrowed until the loader is freed.
 *
 * @setup, @all_loaded, @cleanup and @switchover_ack_needed are for registered
 * devices; one that is found has none of them called.
 *
 * All run on the thread that loads the main channel, no two at once, but for
 * the `parse` of VMLOAD_DEVICE_CONCURRENT devices. They may call
 * vmload_reader_*(), vmload_loader_cancel(), the getters and the return path
 * functions of the loader. With the lock held they may drop and retake it; it
 * must be held again on return. A false return without an
 * error set counts as VMLOAD_ERROR_DEVICE.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t flags;
    bool (*load)(void *opaque, VmloadReader *reader,
                 const VmloadSection *section, GError **error);
    void *(*parse)(void *opaque, VmloadReader *reader,
                   const VmloadSection *section, GError **error);
    bool (*apply)(void *opaque, void *parsed, const VmloadSection *section,
                  GError **error);
    void (*parsed_free)(void *opaque, void *parsed);
    bool (*setup)(void *opaque, GError **error);
    bool (*all_loaded)(void *opaque, GError **error);
    void (*cleanup)(void *opaque);
    bool (*switchover_ack_needed)(void *opaque);
    const char *const *after;
} VmloadDeviceOps;

/** Initialiser for VmloadDeviceOps; members follow by name. Since: 0.1 */
#define VMLOAD_DEVICE_OPS_INIT .struct_size = (uint32_t)sizeof(VmloadDeviceOps)

/**
 * VmloadDevice:
 * @struct_size: sizeof (VmloadDevice) in the library, set by the library.
 * @min_version: lowest version_id the device can load.
 * @max_version: highest version_id.
 * @reserved: zero.
 * @ops: its callbacks, borrowed while the big lock stays held.
 * @opaque: passed to them.
 *
 * A device as the host's `find` returns it. The library does not keep it
 * past the hold of the lock in which it was found.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t min_version;
    uint32_t max_version;
    uint32_t reserved;
    const VmloadDeviceOps *ops;
    void *opaque;
} VmloadDevice;

G_END_DECLS

#endif

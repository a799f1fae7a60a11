/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file host.h
 * What a hypervisor gives the library: its big lock, its thread hooks, its
 * CPUs, and its judgement on what arrives.
 */
#ifndef VMLOAD_HOST_H
#define VMLOAD_HOST_H

#include <vmload/device.h>

G_BEGIN_DECLS

/** VmloadLoader: opaque. One incoming load, see loader.h. Since: 0.1 */
typedef struct VmloadLoader VmloadLoader;

/**
 * VmloadCommandType:
 * Commands of the main stream, with their numbers on the wire.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_COMMAND_INVALID = 0,
    VMLOAD_COMMAND_OPEN_RETURN_PATH = 1,
    VMLOAD_COMMAND_PING = 2,
    VMLOAD_COMMAND_POSTCOPY_ADVISE = 3,
    VMLOAD_COMMAND_POSTCOPY_LISTEN = 4,
    VMLOAD_COMMAND_POSTCOPY_RUN = 5,
    VMLOAD_COMMAND_POSTCOPY_RAM_DISCARD = 6,
    VMLOAD_COMMAND_PACKAGED = 7,
    VMLOAD_COMMAND_ENABLE_COLO = 8,
    VMLOAD_COMMAND_POSTCOPY_RESUME = 9,
    VMLOAD_COMMAND_RECV_BITMAP = 10,
    VMLOAD_COMMAND_SWITCHOVER_START = 11,
} VmloadCommandType;

/**
 * VmloadCommand:
 * @struct_size: sizeof (VmloadCommand) in the library.
 * @command: VmloadCommandType.
 * @length: bytes of payload.
 * @reserved: zero.
 * @offset: where the record starts in the stream.
 *
 * One command, borrowed until the callback returns.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t command;
    uint32_t length;
    uint32_t reserved;
    uint64_t offset;
} VmloadCommand;

/**
 * VmloadCommandResult:
 * @VMLOAD_COMMAND_DEFAULT: not mine, the library shall process it.
 * @VMLOAD_COMMAND_DONE: processed.
 * @VMLOAD_COMMAND_QUIT: processed, and every nested dispatch ends here.
 * @VMLOAD_COMMAND_FAILED: the load fails with the error set.
 *
 * What a host's `command` answers.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_COMMAND_DEFAULT,
    VMLOAD_COMMAND_DONE,
    VMLOAD_COMMAND_QUIT,
    VMLOAD_COMMAND_FAILED,
} VmloadCommandResult;

/**
 * VmloadConfiguration:
 * @struct_size: sizeof (VmloadConfiguration), set by whoever fills it.
 * @present: bits of VmloadConfigurationPresent.
 * @target_page_bits: log2 of the target page size.
 * @n_capabilities: how many @capabilities.
 * @machine: (nullable): the machine type's name.
 * @capabilities: (array length=n_capabilities) (nullable): names.
 * @uuid: the VM's UUID in textual order.
 *
 * The configuration section, or what the host expects of it. Strings are
 * borrowed until the callback returns, or copied by the setter.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t present;
    uint32_t target_page_bits;
    uint32_t n_capabilities;
    const char *machine;
    const char *const *capabilities;
    uint8_t uuid[16];
} VmloadConfiguration;

/**
 * VmloadConfigurationPresent:
 * @VMLOAD_CONFIGURATION_MACHINE: @machine is set.
 * @VMLOAD_CONFIGURATION_PAGE_BITS: @target_page_bits is set.
 * @VMLOAD_CONFIGURATION_CAPABILITIES: @capabilities is set (may be empty).
 * @VMLOAD_CONFIGURATION_UUID: @uuid is set.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_CONFIGURATION_MACHINE = 1 << 0,
    VMLOAD_CONFIGURATION_PAGE_BITS = 1 << 1,
    VMLOAD_CONFIGURATION_CAPABILITIES = 1 << 2,
    VMLOAD_CONFIGURATION_UUID = 1 << 3,
} VmloadConfigurationPresent;

/**
 * VmloadState:
 * @VMLOAD_STATE_CONFIGURING: made, not started.
 * @VMLOAD_STATE_WAITING: waits for the source to connect and to say what
 *     its channels are.
 * @VMLOAD_STATE_ACTIVE: reads the stream while the source's guest runs.
 * @VMLOAD_STATE_SWITCHOVER: the source's guest is stopped; devices load.
 * @VMLOAD_STATE_FINISHING: all is loaded or has failed; the host does its
 *     part (`finish`).
 * @VMLOAD_STATE_COMPLETED: final: loaded, and the host agreed.
 * @VMLOAD_STATE_FAILED: final: vmload_loader_wait() tells why.
 * @VMLOAD_STATE_CANCELLED: final: vmload_loader_cancel() was the first cause.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_STATE_CONFIGURING,
    VMLOAD_STATE_WAITING,
    VMLOAD_STATE_ACTIVE,
    VMLOAD_STATE_SWITCHOVER,
    VMLOAD_STATE_FINISHING,
    VMLOAD_STATE_COMPLETED,
    VMLOAD_STATE_FAILED,
    VMLOAD_STATE_CANCELLED,
} VmloadState;

/**
 * VmloadOutcome:
 * @struct_size: sizeof (VmloadOutcome) in the library.
 * @loaded: 1: everything is loaded; 0: the load failed or was cancelled.
 * @error: (nullable): the first cause, if not loaded; borrowed until the
 *     callback returns.
 *
 * What `finish` is told.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t loaded;
    const GError *error;
} VmloadOutcome;

/**
 * VmloadRecordInfo:
 * @struct_size: sizeof (VmloadRecordInfo) in the library.
 * @type: VmloadRecord.
 * @depth: 0 for the main stream, more inside of packages.
 * @command: VmloadCommandType, for VMLOAD_RECORD_COMMAND.
 * @offset: where the record starts in the stream.
 * @length: all bytes of the record, header and footer included.
 * @section: (nullable): the section, for START, PART, END and FULL.
 *
 * A record that is loaded, for inspection.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t type;
    uint32_t depth;
    uint32_t command;
    uint64_t offset;
    uint64_t length;
    const VmloadSection *section;
} VmloadRecordInfo;

/**
 * VmloadHostOps:
 * @struct_size: sizeof (VmloadHostOps), set by VMLOAD_HOST_OPS_INIT.
 * @reserved: zero.
 * @lock: takes the big lock. Optional: the host has none.
 * @unlock: gives it back. Required with @lock.
 * @lock_is_held: does this thread hold it? Any thread. Optional; needed if
 *     the host calls vmload_loader_dispatch() or sends on the return path
 *     with a lock that it took itself.
 * @thread_enter: first call on every thread that the library makes; @name
 *     is the thread's name. Optional.
 * @thread_leave: last call on such a thread. Optional.
 * @cpu_sync_pre_load: before the first section, big lock held. Optional.
 * @cpu_sync_post_load: after the last section, big lock held. Optional.
 * @configuration: judges the stream's configuration section, after the
 *     expectation set on the loader was checked. Also called when the
 *     stream has none: then nothing is present. No lock. Optional.
 * @command_lock: which VmloadLock a command needs, by number: WHOLE or
 *     NONE. No lock. Optional: NONE.
 * @command: takes over a command; its payload is in @reader, all of it in
 *     memory. Behind PACKAGED's four bytes stands the package, ready for
 *     vmload_loader_dispatch(). With the lock that @command_lock said.
 *     Optional: DEFAULT. Where the stream comes from a source of the host's
 *     (VmloadSourceOps) the payload is in the source's buffer, not consumed:
 *     the host reads all of it, from @reader or by itself, or nothing and
 *     returns DEFAULT; a package is not in memory yet.
 * @plan: which locks a section needs, by name only, for devices that were
 *     not registered; NULL: the default plan. The plan is copied at once.
 *     No lock. Optional.
 * @find: the device that takes a section, by the host's own matching rules;
 *     fills @device. False without an error: unknown. Big lock held, for
 *     WHOLE in the same hold as the load; for APPLY and NONE the lock is
 *     released again before `parse` or `load`, and the host keeps the device
 *     alive. Optional.
 * @raw_section: an unknown section that is kept (VMLOAD_UNKNOWN_KEEP), as
 *     raw bytes. No lock. Optional: then it is dropped.
 * @record: a record is loaded. No lock. Optional.
 * @vmdescription: the JSON text behind the EOF, not NUL-terminated,
 *     unvalidated. No lock. Optional.
 * @state_changed: the loader went from one VmloadState to another. No lock.
 *     Optional.
 * @finish: everything is loaded or has failed. The host does its part on a
 *     thread of its choice and calls vmload_loader_finished(), within this
 *     callback or later; only then the peer is told. Called once for each
 *     load that was started. No lock. Optional: finished at once.
 * @stalled: the peer has sent nothing on @channel for @silent_ms
 *     milliseconds, the limit of vmload_loader_set_timeouts() or a multiple
 *     of it. True: wait as long again; false: the load fails with
 *     VMLOAD_ERROR_TIMEOUT. No lock. Optional: false.
 * @lock_is_wanted: does another thread wait for the big lock? Called between
 *     two holds, so that the library lets that thread go first: most mutexes
 *     are no queues, and a phase of many devices could keep it out until
 *     its end. A counter around the host's lock function will do. No lock,
 *     must not block. Optional: without it there is a gap of some 100 us after
 *     each 1.75 ms of holds in a row, which costs a phase of devices about
 *     a sixteenth. A host whose lock is a queue says false.
 * @setup: before the first section, big lock held: what the host does for
 *     devices that it finds by itself. Before the `setup` of registered
 *     devices. Optional.
 * @cleanup: at the end of the load, whatever its outcome and also when @setup
 *     was not called, big lock held, after the `cleanup` of registered
 *     devices. Optional.
 * @refused: @connection ("connection 1 from tcp:127.0.0.1:5000") was closed
 *     for @reason, and the load waits on: a stranger, see listener.h. Who can
 *     connect can cause any number of these, so that a log wants a bound.
 *     No lock. Optional.
 *
 * A host. @opaque is what vmload_loader_new() got. All callbacks but @lock,
 * @unlock, @lock_is_held, @lock_is_wanted, @thread_enter and @thread_leave
 * run on the thread that loads the main channel, one at a time, and those for
 * records also on a thread of the host's that dispatches. None is
 * called with a lock of the library held. With the big lock held a callback
 * may drop and retake it; it must be held again on return.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t reserved;
    void (*lock)(void *opaque);
    void (*unlock)(void *opaque);
    bool (*lock_is_held)(void *opaque);
    void (*thread_enter)(void *opaque, const char *name);
    void (*thread_leave)(void *opaque);
    bool (*cpu_sync_pre_load)(void *opaque, GError **error);
    bool (*cpu_sync_post_load)(void *opaque, GError **error);
    bool (*configuration)(void *opaque,
                          const VmloadConfiguration *configuration,
                          GError **error);
    VmloadLock (*command_lock)(void *opaque, uint32_t command);
    VmloadCommandResult (*command)(void *opaque, VmloadReader *reader,
                                   const VmloadCommand *command,
                                   GError **error);
    const VmloadLockPlan *(*plan)(void *opaque, const VmloadSection *section);
    bool (*find)(void *opaque, const VmloadSection *section,
                 VmloadDevice *device, GError **error);
    bool (*raw_section)(void *opaque, const VmloadSection *section,
                        const uint8_t *data, uint64_t length, GError **error);
    void (*record)(void *opaque, const VmloadRecordInfo *record);
    bool (*vmdescription)(void *opaque, const char *json, uint64_t length,
                          GError **error);
    void (*state_changed)(void *opaque, VmloadState from, VmloadState to);
    void (*finish)(void *opaque, VmloadLoader *loader,
                   const VmloadOutcome *outcome);
    bool (*stalled)(void *opaque, const char *channel, uint64_t silent_ms);
    bool (*lock_is_wanted)(void *opaque);
    bool (*setup)(void *opaque, GError **error);
    void (*cleanup)(void *opaque);
    void (*refused)(void *opaque, const char *connection,
                    const GError *reason);
} VmloadHostOps;

/** Initialiser for VmloadHostOps; members follow by name. Since: 0.1 */
#define VMLOAD_HOST_OPS_INIT .struct_size = (uint32_t)sizeof(VmloadHostOps)

G_END_DECLS

#endif

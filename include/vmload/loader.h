/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file loader.h
 * One incoming load: new, configure, start, (query, cancel), wait, free.
 *
 * States in the comments below: `configuring` is from new to start;
 * `running` from start until wait has returned; `ended` after that.
 */
#ifndef VMLOAD_LOADER_H
#define VMLOAD_LOADER_H

#include <vmload/dispatch.h>
#include <vmload/host.h>
#include <vmload/limits.h>
#include <vmload/listener.h>
#include <vmload/ram.h>
#include <vmload/stats.h>
#include <vmload/vmstate.h>

G_BEGIN_DECLS

/**
 * vmload_loader_new:
 * @ops: what the host implements; copied, may die after the call.
 * @opaque: passed to every callback of @ops.
 * @destroy: (nullable): frees @opaque; called exactly once, after the last
 *     callback, also when this function fails.
 * @error: (nullable): where to put the error.
 *
 * Makes a loader for one incoming load.
 *
 * Return: (transfer full) (nullable): a loader, to be freed with
 *     vmload_loader_free(); NULL on error.
 * Errors: VMLOAD_ERROR_UNSUPPORTED: @ops is longer than this library knows
 *     and uses the surplus; VMLOAD_ERROR_FAILED: `unlock` is missing, or no
 *     file descriptor could be had.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadLoader *vmload_loader_new(const VmloadHostOps *ops,
                                              void *opaque,
                                              GDestroyNotify destroy,
                                              GError **error);

/**
 * vmload_loader_free:
 * @loader: (nullable) (transfer full): the loader.
 *
 * Cancels the load if it runs, waits for it, and drops the owner's
 * reference. Afterwards no thread is left and no callback runs, but for the
 * destroy notifies, which the last reference calls.
 *
 * Errors: none.
 * States: any. Threads: owner, not inside a callback, and not with the big
 * lock held while the load runs. Blocks: up to the longest running callback
 * of the host.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_free(VmloadLoader *loader);

/**
 * vmload_loader_ref:
 * @loader: the loader.
 *
 * Takes a reference, so that a monitor may call the getters and
 * vmload_loader_cancel() without knowing when the owner frees the loader.
 *
 * Return: (transfer full): @loader, to be dropped with vmload_loader_unref().
 * Errors: none.
 * States: any. Threads: any that can rely on a reference. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadLoader *vmload_loader_ref(VmloadLoader *loader);

/**
 * vmload_loader_unref:
 * @loader: (nullable) (transfer full): the loader.
 *
 * Drops a reference that vmload_loader_ref() took. The last one calls the
 * destroy notifies, on this thread. The owner's own reference is dropped by
 * vmload_loader_free() only.
 *
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_unref(VmloadLoader *loader);

/**
 * vmload_loader_set_limits:
 * @loader: the loader.
 * @limits: bounds, filled by vmload_limits_init() and changed at will;
 *     copied.
 *
 * Replaces the default bounds.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_limits(VmloadLoader *loader,
                                            const VmloadLimits *limits);

/**
 * vmload_loader_set_expected_configuration:
 * @loader: the loader.
 * @expected: what the stream's configuration section must say; only what is
 *     marked present is compared; copied.
 *
 * Sets what the host expects of the stream. The machine name in the stream
 * may be a prefix of the expected one, as QEMU has it. Capabilities: both
 * sides must have the same set of validated ones (x-ignore-shared,
 * mapped-ram). Page bits and UUID must be equal where the stream has them; a
 * stream without page bits has the target's legacy minimum, so that an
 * expectation above 12 fails.
 *
 * Errors: none here; the load fails with VMLOAD_ERROR_MISMATCH.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void
vmload_loader_set_expected_configuration(VmloadLoader *loader,
                                         const VmloadConfiguration *expected);

/**
 * VmloadPresence:
 * @VMLOAD_PRESENCE_AUTO: tell from the stream.
 * @VMLOAD_PRESENCE_REQUIRED: fail if it is not there.
 * @VMLOAD_PRESENCE_ABSENT: it is not there.
 *
 * Parts of a stream that machine types before 2.4 leave out, which is
 * nowhere announced.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_PRESENCE_AUTO,
    VMLOAD_PRESENCE_REQUIRED,
    VMLOAD_PRESENCE_ABSENT,
} VmloadPresence;

/**
 * vmload_loader_set_presence:
 * @loader: the loader.
 * @configuration: of the configuration section; default REQUIRED.
 * @footers: of section footers; default AUTO: the first section decides for
 *     all.
 * @vmdesc: of the description behind EOF; default AUTO: read if it is there
 *     and the peer does not wait for an answer, its absence is no error.
 *
 * Sets which optional parts the stream has.
 *
 * Errors: none here; the load fails with VMLOAD_ERROR_MALFORMED.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_presence(VmloadLoader *loader,
                                              VmloadPresence configuration,
                                              VmloadPresence footers,
                                              VmloadPresence vmdesc);

/**
 * VmloadUnknown:
 * @VMLOAD_UNKNOWN_FAIL: fail the load.
 * @VMLOAD_UNKNOWN_KEEP: hand the section to the host's `raw_section`.
 *
 * What to do with a section that nobody registered and nobody finds.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_UNKNOWN_FAIL,
    VMLOAD_UNKNOWN_KEEP,
} VmloadUnknown;

/**
 * vmload_loader_set_unknown_sections:
 * @loader: the loader.
 * @policy: what to do with them; default FAIL.
 *
 * Sets the policy for unknown sections.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_unknown_sections(VmloadLoader *loader,
                                                      VmloadUnknown policy);

/**
 * VmloadCommit:
 * @VMLOAD_COMMIT_STREAMING: a device is loaded as soon as its section is
 *     staged.
 * @VMLOAD_COMMIT_ATOMIC: FULL sections are all staged and checked (framing,
 *     footers, known devices, versions, vmdesc against sections) before the
 *     first is loaded. A load that fails before that point leaves the devices
 *     as they were.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_COMMIT_STREAMING,
    VMLOAD_COMMIT_ATOMIC,
} VmloadCommit;

/**
 * vmload_loader_set_commit:
 * @loader: the loader.
 * @commit: when device state is applied; default STREAMING.
 *
 * Sets when device state is applied.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_commit(VmloadLoader *loader,
                                            VmloadCommit commit);

/**
 * VmloadLockWait:
 * @VMLOAD_LOCK_WAIT_FAIL: the load fails with VMLOAD_ERROR_MALFORMED.
 * @VMLOAD_LOCK_WAIT_ALLOW: the device's read waits for the peer with the big
 *     lock held, counted in lock_io_wait_ns.
 *
 * What to do when a device that is not VMLOAD_DEVICE_RESTARTABLE wants more
 * bytes than its section was believed to have.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_LOCK_WAIT_FAIL,
    VMLOAD_LOCK_WAIT_ALLOW,
} VmloadLockWait;

/**
 * vmload_loader_set_lock_wait:
 * @loader: the loader.
 * @policy: what to do; default FAIL.
 *
 * Sets what happens where the bytes of a section could not all be staged: a
 * payload that contains a false end, which needs bytes that look like a
 * footer and a record; in streams without footers (machine types before 2.4)
 * a record is enough. With ALLOW, sections are read from the stream itself:
 * vmload_reader_get_staged() is not available.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_lock_wait(VmloadLoader *loader,
                                               VmloadLockWait policy);

/**
 * vmload_loader_set_timeouts:
 * @loader: the loader.
 * @handshake_ms: milliseconds that a connection has to say what it is, or is
 *     refused; from the first known channel, until all of multifd's are there;
 *     for a channel that was given, between the bytes of the stream's header
 *     (nobody knows when its source begins); 0: no bound; default 30000.
 * @stall_ms: milliseconds without a byte from the peer, once the load is
 *     active; 0: no bound (default).
 *
 * Sets deadlines, so that a silent peer is noticed: the host's `stalled` is
 * asked, and without it the load ends.
 *
 * Errors: none here; the load fails with VMLOAD_ERROR_TIMEOUT.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_timeouts(VmloadLoader *loader,
                                              uint32_t handshake_ms,
                                              uint32_t stall_ms);

/**
 * VmloadSwitchoverAck:
 * @VMLOAD_SWITCHOVER_ACK_LEGACY: sources up to 11.0, and machine types up to
 *     11.0: one message, at once if no device waits.
 * @VMLOAD_SWITCHOVER_ACK_PER_DEVICE: later: one message a device.
 *
 * What SWITCHOVER_ACK means to the source; not to be seen in the stream.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_SWITCHOVER_ACK_LEGACY,
    VMLOAD_SWITCHOVER_ACK_PER_DEVICE,
} VmloadSwitchoverAck;

/**
 * vmload_loader_set_switchover_ack:
 * @loader: the loader.
 * @enabled: the migration has the capability `switchover-ack`; default false:
 *     no message is ever sent.
 * @mode: what the source understands.
 *
 * Sets whether and how the source waits for devices before it stops its
 * guest.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_switchover_ack(VmloadLoader *loader,
                                                    bool enabled,
                                                    VmloadSwitchoverAck mode);

/**
 * vmload_loader_add_device:
 * @loader: the loader.
 * @idstr: the section's name, 1 to 255 bytes; copied.
 * @instance_id: its instance.
 * @min_version: lowest version_id it can load.
 * @max_version: highest version_id.
 * @plan: (nullable): which locks; copied; NULL: WHOLE for everything.
 * @ops: its callbacks; copied.
 * @opaque: passed to them.
 * @destroy: (nullable): frees @opaque; exactly once, also on failure.
 * @error: (nullable): where to put the error.
 *
 * Registers a device up front. "ram" may be registered too: then the host
 * loads RAM itself.
 *
 * Return: true if the device is registered.
 * Errors: VMLOAD_ERROR_FAILED: registered already, an empty or too long
 *     name, or a callback that the plan needs is missing;
 *     VMLOAD_ERROR_UNSUPPORTED: @ops or @plan is longer than this library
 *     knows and uses the surplus.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool
vmload_loader_add_device(VmloadLoader *loader, const char *idstr,
                         uint32_t instance_id, uint32_t min_version,
                         uint32_t max_version, const VmloadLockPlan *plan,
                         const VmloadDeviceOps *ops, void *opaque,
                         GDestroyNotify destroy, GError **error);

/**
 * vmload_loader_add_state:
 * @loader: the loader.
 * @idstr: the section's name, 1 to 255 bytes; copied.
 * @instance_id: its instance.
 * @desc: the description, borrowed until the loader is freed.
 * @object: what it describes, borrowed until the loader is freed.
 * @error: (nullable): where to put the error.
 *
 * Registers a device by its description (vmstate.h), VMLOAD_LOCK_WHOLE.
 *
 * Return: true if the device is registered.
 * Errors: as vmload_loader_add_device(), and VMLOAD_ERROR_FAILED: the
 *     description is wrong in itself.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_loader_add_state(VmloadLoader *loader,
                                           const char *idstr,
                                           uint32_t instance_id,
                                           const VmloadStateDesc *desc,
                                           void *object, GError **error);

/**
 * vmload_loader_add_state_with_options:
 * @loader: the loader.
 * @idstr: the section's name, 1 to 255 bytes; copied.
 * @instance_id: its instance.
 * @desc: the description, borrowed until the loader is freed.
 * @object: what it describes, borrowed until the loader is freed.
 * @options: (nullable): how; copied; NULL: as vmload_loader_add_state().
 * @error: (nullable): where to put the error.
 *
 * Registers a device by its description, in the lock class of @options.
 *
 * Return: true if the device is registered.
 * Errors: as vmload_loader_add_device(), and VMLOAD_ERROR_FAILED: the
 *     description is wrong in itself, or cannot be decoded apart from its
 *     object; the message names the field. VMLOAD_ERROR_UNSUPPORTED: a lock
 *     class or flag that descriptions do not have.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_loader_add_state_with_options(
    VmloadLoader *loader, const char *idstr, uint32_t instance_id,
    const VmloadStateDesc *desc, void *object,
    const VmloadStateOptions *options, GError **error);

/**
 * vmload_loader_add_ram_block:
 * @loader: the loader.
 * @block: (transfer full): the block, taken also on failure.
 * @error: (nullable): where to put the error.
 *
 * Registers a block of guest RAM. The pointer stays good for getters until
 * the loader is freed.
 *
 * Return: true if the block is registered.
 * Errors: VMLOAD_ERROR_FAILED: its idstr is registered already.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_loader_add_ram_block(VmloadLoader *loader,
                                               VmloadRamBlock *block,
                                               GError **error);

/**
 * VmloadRamAnnouncedFunc:
 * @opaque: as given.
 * @idstr: the block's name in the stream.
 * @used_length: its length there, bytes, a multiple of the target page size.
 * @error: where to put the error.
 *
 * Makes a block for one that the stream announces and nobody registered. On
 * the loading thread, no lock held; may block.
 *
 * Return: (transfer full) (nullable): a block of this name; NULL with @error
 *     set fails the load.
 * Since: 0.1
 */
typedef VmloadRamBlock *(*VmloadRamAnnouncedFunc)(void *opaque,
                                                  const char *idstr,
                                                  uint64_t used_length,
                                                  GError **error);

/**
 * vmload_loader_set_ram_announced:
 * @loader: the loader.
 * @func: (nullable): makes blocks; NULL (default): unknown blocks fail.
 * @opaque: passed to @func.
 * @destroy: (nullable): frees @opaque; exactly once.
 *
 * Accepts RAM blocks as the stream announces them.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_ram_announced(VmloadLoader *loader,
                                                   VmloadRamAnnouncedFunc func,
                                                   void *opaque,
                                                   GDestroyNotify destroy);

/**
 * vmload_loader_get_ram_block:
 * @loader: the loader.
 * @index: 0 and up, in order of registration and announcement.
 *
 * Looks at the block table.
 *
 * Return: (transfer none) (nullable): the block, good until the loader is
 *     freed; NULL past the end.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadRamBlock *vmload_loader_get_ram_block(VmloadLoader *loader,
                                                          uint64_t index);

/**
 * vmload_loader_set_listener:
 * @loader: the loader.
 * @listener: (transfer full): where the source connects to.
 *
 * Sets where channels come from. Exactly one of this and
 * vmload_loader_set_channel() is needed before start.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_listener(VmloadLoader *loader,
                                              VmloadListener *listener);

/**
 * vmload_loader_set_channel:
 * @loader: the loader.
 * @channel: (transfer full): the main channel.
 *
 * Sets the main channel.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_channel(VmloadLoader *loader,
                                             VmloadChannel *channel);

/**
 * vmload_loader_add_channel:
 * @loader: the loader, with a listener of vmload_listener_new_handed().
 * @channel: (transfer full): a connection of vmload_channel_take_fd(), a
 *     socket or a pipe; taken also on failure.
 * @error: (nullable): where to put the error.
 *
 * Hands over a connection that the host has accepted: the main channel or one
 * of multifd's, in any order. What it is, it says itself, as listener.h has
 * it: a stranger, or a second main channel, is refused (see `refused` in
 * VmloadHostOps) and the load waits on; a multifd channel that nobody expects,
 * or that came before, fails the load. The peer of a connection that goes
 * sees its end also if the host holds another descriptor of it.
 *
 * Return: true if the loader will look at it.
 * Errors: VMLOAD_ERROR_FAILED: all channels are there already, or the load has
 *     ended, or the loader has no such listener; VMLOAD_ERROR_LIMIT: 256
 *     connections wait; VMLOAD_ERROR_UNSUPPORTED: @channel has no descriptor
 *     to wait for (a file, memory, a transport of the host's). On failure the
 *     connection is shut down and counted in `connections_refused`.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_loader_add_channel(VmloadLoader *loader,
                                             VmloadChannel *channel,
                                             GError **error);

/**
 * vmload_loader_start:
 * @loader: the loader.
 * @error: (nullable): where to put the error.
 *
 * Starts the load in a thread of its own, "vmload-main". On failure nothing
 * was started and no callback was called.
 *
 * Return: true if the load runs.
 * Errors: VMLOAD_ERROR_FAILED: no channel was set, or no thread could be had.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_loader_start(VmloadLoader *loader, GError **error);

/**
 * VmloadRunFlags:
 * @VMLOAD_RUN_CALLER_LOCKED: the caller holds the big lock and keeps it: the
 *     library neither takes nor gives it. Waits for bytes are counted in
 *     lock_io_wait_ns.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_RUN_CALLER_LOCKED = 1 << 0,
} VmloadRunFlags;

/**
 * vmload_loader_run:
 * @loader: the loader.
 * @flags: bits of VmloadRunFlags.
 * @error: (nullable): where to put the error.
 *
 * Loads on the caller's thread, start and wait in one. The thread hooks are
 * not called.
 *
 * Return: true if the load completed.
 * Errors: as vmload_loader_wait().
 * States: configuring. Threads: owner. Blocks: until the load has ended.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_loader_run(VmloadLoader *loader, uint32_t flags,
                                     GError **error);

/**
 * vmload_loader_wait:
 * @loader: the loader.
 * @error: (nullable): where to put the error.
 *
 * Waits for the end of the load and joins its threads. May be called again,
 * with the same answer.
 *
 * Return: true if the load completed.
 * Errors: the first cause, any code of VMLOAD_ERROR;
 *     VMLOAD_ERROR_CANCELLED if that was vmload_loader_cancel().
 * States: running, ended. Threads: owner, not with the big lock held, not
 * inside a callback. Blocks: until the load has ended.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_loader_wait(VmloadLoader *loader, GError **error);

/**
 * vmload_loader_cancel:
 * @loader: the loader.
 *
 * Cancels the load: every wait of the library ends, the source is told where
 * a return path is open, the final state is CANCELLED, unless the load had
 * failed or completed before. A level, not a pulse: there is no reset.
 *
 * Errors: none.
 * States: any. Threads: any, also inside of callbacks; async-signal-safe.
 * Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_cancel(VmloadLoader *loader);

/**
 * vmload_loader_finished:
 * @loader: the loader.
 * @error: (nullable): why the host could not do its part; copied.
 *
 * The host has done its part. Called once, after `finish` or, by a host that
 * dispatches beside the load, before it, as soon as that has ended: `finish`
 * is then called all the same.
 * A cancelled load does not wait for it: then the call may be left out, and
 * must not come after vmload_loader_free(). Of a call and a cancel the first
 * decides: after the call the guest may run here, so that no cancel can give
 * it back to the source. A host must cancel and answer in an order it knows,
 * under its big lock for instance, and not let the guest run once it has
 * cancelled.
 *
 * Errors: none.
 * States: running, from the first record on. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_finished(VmloadLoader *loader,
                                          const GError *error);

/**
 * vmload_loader_note_fault:
 * @loader: the loader.
 * @thread_id: who waits for the page, as gettid() names it, and userfaultfd
 *     with UFFD_FEATURE_THREAD_ID.
 * @ns: nanoseconds it has waited so far.
 *
 * For who brings pages of the guest's memory that others fault on. Called
 * before the page is put in its place, while the thread still waits: if it is
 * one that loads and holds the big lock for that, the time is counted in
 * VmloadStats.lock_fault_wait_ns, apart from waits for bytes. Of other
 * threads nothing is counted. A thread that serves faults takes no lock here.
 *
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_note_fault(VmloadLoader *loader,
                                            uint32_t thread_id, uint64_t ns);

/**
 * vmload_loader_get_cancel_fd:
 * @loader: the loader.
 *
 * For a host's own waits on a thread that loads: a descriptor that becomes
 * readable when the load is cancelled, and stays so. Not to be read.
 *
 * Return: (transfer none): the descriptor, good until the last reference is
 *     gone.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT int32_t vmload_loader_get_cancel_fd(VmloadLoader *loader);

/**
 * vmload_loader_get_event_fd:
 * @loader: the loader.
 *
 * For a host's poll loop: a descriptor that becomes readable whenever the
 * state changes. Reading its eight bytes resets it.
 *
 * Return: (transfer none): the descriptor, good until the last reference is
 *     gone.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT int32_t vmload_loader_get_event_fd(VmloadLoader *loader);

/**
 * VmloadSourceFunc:
 * @loader: the loader.
 * @state: its state, as it is now; steps in between may have been missed.
 * @opaque: as given to g_source_set_callback().
 *
 * What a source of vmload_loader_create_source() calls, on the thread of its
 * GMainContext, no lock held.
 *
 * Return: true to be called again.
 * Since: 0.1
 */
typedef gboolean (*VmloadSourceFunc)(VmloadLoader *loader, VmloadState state,
                                     void *opaque);

/**
 * vmload_loader_create_source:
 * @loader: the loader; the source holds a reference to it.
 *
 * For a host with a GLib main loop: a source that is dispatched when the
 * state has changed. Set a VmloadSourceFunc with g_source_set_callback() and
 * G_SOURCE_FUNC(), and attach it. One source per loader: it reads the
 * descriptor of vmload_loader_get_event_fd().
 *
 * Return: (transfer full): the source.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT GSource *vmload_loader_create_source(VmloadLoader *loader);

/**
 * vmload_loader_get_state:
 * @loader: the loader.
 *
 * Tells how far the load is.
 *
 * Return: the state.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadState vmload_loader_get_state(VmloadLoader *loader);

/**
 * VmloadPosition:
 * @struct_size: sizeof (VmloadPosition), set by the caller.
 * @record: VmloadRecord being read.
 * @section_id: of the section, if it is one.
 * @instance_id: of the section, if it is one.
 * @offset: bytes from the start of the stream.
 * @record_offset: where the record starts.
 * @channel: the channel's name.
 * @idstr: the section's name; empty if it is none.
 *
 * Where the load is, or where it failed.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t record;
    uint32_t section_id;
    uint32_t instance_id;
    uint64_t offset;
    uint64_t record_offset;
    char channel[64];
    char idstr[256];
} VmloadPosition;

/**
 * vmload_loader_get_position:
 * @loader: the loader.
 * @position: (inout): struct_size set by the caller; the rest is filled.
 *
 * Tells where the load is: the record, and as @offset its start. Once it has
 * failed, where that was: the record, and as @offset the byte.
 *
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_get_position(VmloadLoader *loader,
                                              VmloadPosition *position);

/**
 * vmload_loader_get_stats:
 * @loader: the loader.
 * @stats: (inout): struct_size set by the caller; the rest is filled.
 *
 * Takes a snapshot of the counters. Each is exact; together they may be some
 * microseconds apart.
 *
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_get_stats(VmloadLoader *loader,
                                           VmloadStats *stats);

/**
 * vmload_loader_get_ledger:
 * @loader: the loader.
 * @n: (out): how many entries.
 *
 * Takes a snapshot of the ledger, one entry a device, in the order in which
 * they appeared in the stream.
 *
 * Return: (transfer full) (array length=n) (nullable): entries, to be freed
 *     with g_free(); NULL if there is no memory.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadLedgerEntry *vmload_loader_get_ledger(VmloadLoader *loader,
                                                          uint64_t *n);

G_END_DECLS

#endif

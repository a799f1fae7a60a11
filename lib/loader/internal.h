/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One load, as the files of this folder share it.
 *
 * Who touches what: options are written while configuring and only read
 * after start. What stands under "loading thread" belongs to the thread that
 * runs the main channel; a host's thread that dispatches beside it
 * (vmload_loader_is_elsewhere()) keeps off. The rest says how it is guarded.
 * Mutexes are leaves and never held in a callback (docs/threading.md).
 */
#ifndef VMLOAD_LOADER_INTERNAL_H
#define VMLOAD_LOADER_INTERNAL_H

#include <vmload/loader.h>
#include <vmload/multifd.h>
#include "channel/channel.h"
#include "channel/gather.h"
#include "device/registry.h"
#include "host/guard.h"
#include "ledger.h"
#include "ram/multifd/multifd.h"
#include "ram/ram.h"
#include "return-path.h"
#include "stream/configuration.h"
#include "stream/section.h"
#include "stream/staging.h"
#include "task.h"

/* Counters of the loading thread, read by any with atomic loads. */
typedef struct {
    uint64_t bytes;
    uint64_t sections;
    uint64_t commands;
    uint64_t staged_peak;
    uint64_t io_wait_ns;
    uint64_t start_ns;
    uint64_t last_byte_ns;
    uint64_t switchover_ns;
    uint64_t end_ns;
    uint64_t refused;
} VmloadCounters;

/* Who waits, and since when: one for each reader. */
typedef struct {
    VmloadLoader *loader;
    uint64_t begin_ns;
} VmloadWaitClock;

struct VmloadLoader {
    int ref_count; /* atomic */
    VmloadHostOps ops;
    void *opaque;
    GDestroyNotify destroy;

    /* Options. */
    VmloadLimits limits;
    VmloadConfigurationData expected;
    VmloadPresence configuration_presence;
    VmloadPresence footer_presence;
    VmloadPresence vmdesc_presence;
    VmloadUnknown unknown;
    VmloadCommit commit;
    VmloadLockWait lock_wait;
    uint32_t handshake_ms;
    uint32_t stall_ms;
    bool switchover_ack;
    VmloadSwitchoverAck switchover_ack_mode;
    VmloadRegistry *registry;
    VmloadRamAnnouncedFunc announced;
    void *announced_opaque;
    GDestroyNotify announced_destroy;
    bool has_ram; /* the host gave its RAM to the library */
    VmloadListener *listener;
    bool multifd_enabled;
    uint32_t multifd_channels; /* 0: as many as come */
    VmloadMultifdSync multifd_sync;

    /* Any thread. */
    VmloadGuard guard;
    VmloadCancel *cancel;
    VmloadRam *ram;
    VmloadLedger *ledger;
    VmloadReturnPath return_path;
    VmloadTasks tasks;
    VmloadCounters counters;  /* atomic */
    VmloadMultifdCounters multifd_counters; /* atomic */
    VmloadPlacementCounters rdma_counters;  /* atomic */
    int state;                /* VmloadState, atomic */
    int event_fd;             /* counts changes of the state */
    GThread *self;            /* atomic: the loading thread */
    uint64_t staged; /* atomic: bytes that stay staged: packages, commit log */
    int footers;     /* atomic: VmloadPresence; AUTO: not known yet */
    GMutex mutex;             /* leaf: guards the group below */
    VmloadPosition position;
    uint32_t switchover_waits; /* devices that have not approved yet */
    uint32_t switchover_due;   /* SWITCHOVER_ACKs to be sent */
    bool switchover_asked;     /* all devices have said whether they wait */
    GError *host_error; /* what vmload_loader_finished() got */
    bool host_finished;
    int finished_fd; /* readable once host_finished is set */

    /* Owner: started once, joined once. */
    GThread *thread;
    bool started;

    /* Loading thread; read by the owner after the join. */
    VmloadChannel *channel;
    VmloadGathering *gathering; /* NULL: nobody may connect any more */
    VmloadMultifd *multifd;     /* NULL: not enabled, or over */
    bool placed;                /* the outcome says its place itself */
    VmloadReader *reader;
    VmloadWait wait;
    VmloadSectionTable *sections;
    VmloadConfigurationData configuration;
    uint32_t depth; /* of packages; the loading thread only */
    bool position_final; /* the place of the failure is known */
    VmloadWaitClock clock; /* of @wait */
    VmloadHold ram_hold; /* around a block's resize */
    struct VmloadPendingList *pending; /* staged, not applied; nullable */
    struct VmloadAhead *ahead;         /* parses under way; nullable */
    GTree *applied; /* set of idstr that are applied */
    char *vmdesc;
    uint64_t vmdesc_length;
    GError *outcome; /* NULL: completed */
};

/* loader.c */
/* How a writer of the return path waits; NULL: this thread must not. */
const VmloadWait *vmload_loader_write_wait(VmloadLoader *loader,
                                           VmloadWait *wait);
/* One more device has to approve the switchover. */
void vmload_loader_expect_approval(VmloadLoader *loader);
/* All devices have been asked. */
void vmload_loader_settle_approvals(VmloadLoader *loader);
/* Sends what is due, if there is a return path. */
bool vmload_loader_send_switchover_acks(VmloadLoader *loader, GError **error);
void vmload_loader_set_state(VmloadLoader *loader, VmloadState to);
/* The source has stopped its guest, as far as the stream tells. */
void vmload_loader_note_switchover(VmloadLoader *loader);

/*
 * Is this a thread of the host's that dispatches? What belongs to the loading
 * thread is then left alone: the position, sections that wait, the state.
 */
bool vmload_loader_is_elsewhere(VmloadLoader *loader);

/* How a reader of this load waits. */
void vmload_loader_init_wait(VmloadLoader *loader, VmloadWait *wait,
                             VmloadWaitClock *clock);

/* life.c: the way of one load, on its thread. */
void vmload_loader_main(VmloadLoader *loader);

/*
 * Bytes that are held in memory beside the reader's window, against the limit
 * staged_bytes.
 */
bool vmload_loader_stage_bytes(VmloadLoader *loader, uint64_t n,
                               GError **error);
void vmload_loader_unstage_bytes(VmloadLoader *loader, uint64_t n);
/* So many bytes are staged at the moment. */
void vmload_loader_note_staged(VmloadLoader *loader, uint64_t n);

/* multifd.c: the main channel, and multifd channels as wanted. */
bool vmload_loader_connect(VmloadLoader *loader, GError **error);
/* Once the configuration is known. */
bool vmload_loader_start_multifd(VmloadLoader *loader, GError **error);
/* MULTIFD_FLUSH in the main stream. */
bool vmload_loader_flush_multifd(VmloadLoader *loader, GError **error);
/* The payload of one section of the library's own RAM. */
bool vmload_loader_load_ram(VmloadLoader *loader,
                            const VmloadSection *section,
                            VmloadReader *reader, GError **error);
/* At a good end: RAM must be complete; no channel is left. */
bool vmload_loader_complete_multifd(VmloadLoader *loader, GError **error);
/*
 * At any end: no channel is left. False, with @error replaced, if one of them
 * failed first. Does nothing the second time.
 */
bool vmload_loader_end_multifd(VmloadLoader *loader, GError **error);

/* dispatch.c: records up to EOF. */
VmloadCommandResult vmload_loader_dispatch_records(VmloadLoader *loader,
                                                   VmloadReader *reader,
                                                   GError **error);
void vmload_loader_note_record(VmloadLoader *loader, uint32_t record,
                               uint64_t offset, const VmloadSection *section);
/* The load fails at @offset. The first call counts. */
void vmload_loader_note_failure(VmloadLoader *loader, uint64_t offset);
void vmload_loader_report_record(VmloadLoader *loader,
                                 const VmloadReader *reader, uint32_t type,
                                 uint32_t command, uint64_t offset,
                                 uint64_t length,
                                 const VmloadSection *section);

/* command.c: one command; its type byte is read. */
VmloadCommandResult vmload_loader_load_command(VmloadLoader *loader,
                                               VmloadReader *reader,
                                               uint64_t offset,
                                               GError **error);

/* section.c: one section; its type byte is read. */
/* Will this section have a footer? An assumption until the first is seen. */
bool vmload_loader_has_footers(const VmloadLoader *loader);
bool vmload_loader_load_section(VmloadLoader *loader, VmloadReader *reader,
                                uint32_t type, uint64_t offset,
                                GError **error);

/*
 * What a device made of a staged section: @ok, unless a read failed. Where it
 * wanted more than there is (*@too_short), *@error says that instead; @cut:
 * the stream may have been cut there.
 */
bool vmload_staged_result(VmloadReader *staged, bool ok, uint64_t candidate,
                          bool cut, bool *too_short, GError **error);

/* device.c: who takes a section, and the callbacks with their locks. */
typedef enum {
    VMLOAD_TARGET_RAM,        /* the library's own RAM code */
    VMLOAD_TARGET_REGISTERED, /* registered up front */
    VMLOAD_TARGET_HOST,       /* found by the host, at the last moment */
    VMLOAD_TARGET_RAW,        /* unknown, kept */
} VmloadTargetKind;

typedef struct {
    VmloadTargetKind kind;
    VmloadLock lock;
    uint64_t staged_max;
    const VmloadRegistered *registered;
} VmloadTarget;

/* The device behind a target, with its own copy of the callbacks. */
typedef struct {
    VmloadDevice device;
    VmloadDeviceOps ops;
    bool known; /* the host has one */
} VmloadFound;

/* False with MISMATCH if nobody takes it. */
bool vmload_target_resolve(VmloadLoader *loader, const VmloadSection *section,
                           VmloadTarget *target, GError **error);

/* Is there a device, and does it take this version? Takes the lock. */
bool vmload_target_check(VmloadLoader *loader, const VmloadSection *section,
                         VmloadTarget *target, GError **error);

/* Registered, with a parse that may run on another thread. */
bool vmload_target_is_concurrent(const VmloadLoader *loader,
                                 const VmloadTarget *target);
/*
 * WHOLE, with a description that says where the payload ends: its `load` may
 * be called again, as it has touched nothing if the bytes did not suffice.
 * False with footers, which are evidence enough.
 */
bool vmload_target_is_measured(const VmloadLoader *loader,
                               const VmloadTarget *target);
/* The registered device that takes a section. No callback, no lock. */
bool vmload_target_peek(VmloadLoader *loader, const VmloadSection *section,
                        VmloadTarget *target);

/* One call of a device: how far it goes, and what came of it. */
typedef struct {
    bool keep;         /* APPLY: only the parse; the two below are set */
    bool restartable;  /* it may be called again after it ran out of bytes */
    VmloadFound found;
    void *parsed;      /* the caller's; NULL: nobody was there to parse */
} VmloadAttempt;

/*
 * Runs the device's callbacks on @reader with the locks of the target's
 * class, or hands raw bytes to the host. @attempt is nullable.
 */
bool vmload_target_load(VmloadLoader *loader, const VmloadTarget *target,
                        const VmloadSection *section, VmloadReader *reader,
                        VmloadCost *cost, VmloadAttempt *attempt,
                        GError **error);

/* The device of an APPLY or NONE section: with the lock for a moment. */
bool vmload_target_find(VmloadLoader *loader, const VmloadTarget *target,
                        const VmloadSection *section, VmloadFound *found,
                        VmloadCost *cost, GError **error);
/* APPLY in two steps. The parse may run on any thread. */
void *vmload_found_parse(const VmloadFound *found, VmloadReader *reader,
                         const VmloadSection *section, VmloadCost *cost,
                         GError **error);
/* Takes @parsed, also on failure. */
bool vmload_found_apply(VmloadLoader *loader, const VmloadFound *found,
                        const VmloadSection *section, void *parsed,
                        VmloadCost *cost, GError **error);
void vmload_found_discard(const VmloadFound *found, void *parsed);

/* Phases of all registered devices, each with the big lock held. */
bool vmload_devices_setup(VmloadLoader *loader, GError **error);
bool vmload_devices_all_loaded(VmloadLoader *loader, GError **error);
void vmload_devices_cleanup(VmloadLoader *loader);

/*
 * What a callback returned. Its error becomes ours: domain, code, never unset
 * on failure, and dropped on success.
 */
bool vmload_callback_result(bool ok, GError **local, GError **error);

/* pending.c: sections that are staged and applied later. */
bool vmload_pending_is_wanted(VmloadLoader *loader,
                              const VmloadTarget *target);
/* Not loaded before the commit: keeps a copy. */
bool vmload_pending_add(VmloadLoader *loader, const VmloadTarget *target,
                        const VmloadSection *section, const uint8_t *data,
                        uint64_t visible, GError **error);
/* Parsed already. Takes what was parsed, also on failure. */
bool vmload_pending_add_parsed(VmloadLoader *loader,
                               const VmloadTarget *target,
                               const VmloadSection *section,
                               const VmloadAttempt *attempt, GError **error);
/* Applies what is in order, without waiting. */
bool vmload_pending_apply_ready(VmloadLoader *loader, GError **error);
/* At the end of the stream: checks what is to be checked, applies all. */
bool vmload_pending_apply_all(VmloadLoader *loader, GError **error);
/* A table by names of the peer's choice: no hash that it could make slow. */
GTree *vmload_names_new(void);
/* A device of this name has its state, for those that come after it. */
void vmload_pending_note_applied(VmloadLoader *loader,
                                 const VmloadSection *section);
void vmload_pending_free(struct VmloadPendingList *list);

/* ahead.c: parses on workers, of sections that are in the window already. */
/* Is the parse of this very section under way? */
bool vmload_ahead_has(VmloadLoader *loader, const VmloadReader *reader,
                      const VmloadTarget *target,
                      const VmloadSection *section);
/* Has it parsed; its payload is believed to end at @candidate. */
bool vmload_ahead_push(VmloadLoader *loader, const VmloadTarget *target,
                       const VmloadSection *section, VmloadReader *reader,
                       uint64_t candidate, GError **error);
/*
 * Waits for that parse; meanwhile bytes are received, and sections behind it
 * parsed. *@taken: it ended where it was believed to, is consumed and pending.
 * Else it met a false end: nothing has happened.
 */
bool vmload_ahead_take(VmloadLoader *loader, const VmloadTarget *target,
                       VmloadSection *section, VmloadReader *reader,
                       VmloadCost *cost, bool *taken, GError **error);
void vmload_ahead_free(struct VmloadAhead *ahead);

/* The scan's rules for one section, and the bound of what may be staged. */
void vmload_stage_rules(const VmloadLoader *loader,
                        const VmloadTarget *target,
                        const VmloadSection *section, bool nested,
                        VmloadStagingRules *rules, uint64_t *max,
                        const char **name);

#endif

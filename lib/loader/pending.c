/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sections that are staged but not applied yet, in the stream's order: all
 * of them under VMLOAD_COMMIT_ATOMIC, those of VMLOAD_DEVICE_CONCURRENT
 * devices else, whose `parse` runs in a pool meanwhile.
 *
 * The list belongs to the loading thread. A worker touches one entry, from
 * its push until its job is done. Nothing here waits with the big lock held.
 */
#include "internal.h"

#include "error.h"
#include "host/pool.h"

#include <string.h>
#include <vmload/vmdesc.h>

/* Bytes shown behind a payload: a footer, and what devices peek past it. */
#define SHOWN_BEHIND 64

#define POOL_NAME "vmload-parse"
#define POOL_THREADS_MAX 8

typedef struct {
    VmloadJob job; /* first: the worker gets a pointer to it */
    VmloadTarget target;
    VmloadSection section; /* idstr is the section table's */
    uint8_t *data;
    uint64_t visible;
    VmloadFound found;
    void *parsed;
    GError *error; /* of the parse */
    uint64_t stopped; /* where the parse did */
    VmloadCost cost;
    bool pushed; /* to the pool */
    bool applied;
} Pending;

typedef struct VmloadPendingList {
    GPtrArray *sections; /* of Pending, owned */
    VmloadPool *pool;    /* NULL: not needed yet */
    guint next;          /* all before are applied */
} VmloadPendingList;

static void pending_free(void *data)
{
    Pending *pending = data;

    vmload_found_discard(&pending->found, pending->parsed);
    g_clear_error(&pending->error);
    g_free(pending->data);
    g_free(pending);
}

void vmload_pending_free(struct VmloadPendingList *list)
{
    if (list != NULL) {
        /* Joins the workers before what they work on goes. */
        vmload_pool_free(list->pool);
        g_ptr_array_unref(list->sections);
        g_free(list);
    }
}

static VmloadPendingList *pending_list(VmloadLoader *loader)
{
    if (loader->pending == NULL) {
        loader->pending = g_new0(VmloadPendingList, 1);
        loader->pending->sections =
            g_ptr_array_new_with_free_func(pending_free);
    }
    return loader->pending;
}

bool vmload_pending_is_wanted(const VmloadLoader *loader,
                              const VmloadTarget *target)
{
    return loader->commit == VMLOAD_COMMIT_ATOMIC ||
           (!loader->guard.caller_locked &&
            target->kind == VMLOAD_TARGET_REGISTERED &&
            target->lock == VMLOAD_LOCK_APPLY &&
            (target->registered->ops.flags & VMLOAD_DEVICE_CONCURRENT) != 0);
}

/* Copies what is staged. */
static bool pending_copy(VmloadLoader *loader, Pending *pending,
                         const uint8_t *data, GError **error)
{
    if (!vmload_loader_stage_bytes(loader, pending->visible, error)) {
        return false;
    }
    pending->data = g_try_malloc(MAX(pending->visible, 1));
    if (pending->data == NULL) {
        vmload_loader_unstage_bytes(loader, pending->visible);
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "no memory for %" G_GUINT64_FORMAT
                           " staged bytes", pending->visible);
    }
    memcpy(pending->data, data, pending->visible);
    return true;
}

/* The device must take exactly what was staged: nothing else is left. */
static bool check_consumed(const Pending *pending, VmloadReader *reader,
                           GError **error)
{
    uint64_t begin = pending->section.payload_offset;
    uint64_t consumed = vmload_reader_get_offset(reader) - begin;

    if (consumed != pending->section.payload_length) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "offset 0x%" G_GINT64_MODIFIER "x: expected the "
                           "device to take %" G_GUINT64_FORMAT
                           " bytes, it took %" G_GUINT64_FORMAT, begin,
                           pending->section.payload_length, consumed);
    }
    return true;
}

static VmloadReader *pending_reader(const Pending *pending)
{
    return vmload_reader_new_staged_memory(
        pending->data, pending->visible, pending->section.payload_length,
        pending->section.payload_offset);
}

/* Any thread, no lock. */
static void parse_pending(VmloadJob *job)
{
    Pending *pending = (Pending *)job;
    VmloadReader *reader = pending_reader(pending);
    bool too_short;

    pending->parsed = vmload_found_parse(&pending->found, reader,
                                         &pending->section, &pending->cost,
                                         &pending->error);
    if (vmload_staged_result(reader, pending->parsed != NULL,
                             pending->section.payload_length, &too_short,
                             &pending->error)) {
        check_consumed(pending, reader, &pending->error);
    }
    pending->stopped = vmload_reader_get_offset(reader);
    vmload_reader_free(reader);
}

/* Under the caller's lock nothing waits for a thread of ours. */
static bool is_concurrent(const VmloadLoader *loader, const Pending *pending)
{
    return !loader->guard.caller_locked &&
           (pending->found.ops.flags & VMLOAD_DEVICE_CONCURRENT) != 0;
}

/* Finds the device of an APPLY section and has it parsed, here or there. */
static bool start_parse(VmloadLoader *loader, Pending *pending,
                        GError **error)
{
    VmloadPendingList *list = loader->pending;

    if (pending->target.kind == VMLOAD_TARGET_RAW ||
        pending->target.lock != VMLOAD_LOCK_APPLY) {
        pending->job.done = 1;
        return true;
    }
    if (!vmload_target_find(loader, &pending->target, &pending->section,
                            &pending->found, &pending->cost, error)) {
        return false;
    }
    if (!pending->found.known || !is_concurrent(loader, pending)) {
        if (pending->found.known) {
            parse_pending(&pending->job);
        }
        pending->job.done = 1;
        return true;
    }
    if (list->pool == NULL) {
        list->pool = vmload_pool_new(
            &loader->ops, loader->opaque, POOL_NAME,
            MIN(g_get_num_processors(), POOL_THREADS_MAX), error);
        if (list->pool == NULL) {
            return false;
        }
    }
    pending->job.func = parse_pending;
    pending->pushed = true;
    vmload_pool_push(list->pool, &pending->job);
    return true;
}

bool vmload_pending_add(VmloadLoader *loader, const VmloadTarget *target,
                        const VmloadSection *section, const uint8_t *data,
                        uint64_t visible, GError **error)
{
    VmloadPendingList *list = pending_list(loader);
    Pending *pending = g_new0(Pending, 1);

    pending->target = *target;
    pending->section = *section;
    pending->visible = MIN(visible, section->payload_length + SHOWN_BEHIND);
    g_ptr_array_add(list->sections, pending);
    if (!vmload_target_check(loader, section, &pending->target, error) ||
        !pending_copy(loader, pending, data, error)) {
        return false;
    }
    return loader->commit == VMLOAD_COMMIT_ATOMIC ||
           start_parse(loader, pending, error);
}

/* Compares one FULL section with its line of the description. */
static bool check_device(const Pending *pending,
                         const VmloadVmdescDevice *device, GError **error)
{
    const VmloadSection *section = &pending->section;

    if (strcmp(device->name, section->idstr) != 0 ||
        device->instance_id != section->instance_id) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "vmdescription: expected '%s' instance %u, found "
                           "'%s' instance %u", section->idstr,
                           section->instance_id, device->name,
                           device->instance_id);
    }
    if (device->has_version != 0 &&
        device->version_id != section->version_id) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "vmdescription of '%s': expected version %u, "
                           "found %u", section->idstr, section->version_id,
                           device->version_id);
    }
    if (device->size != section->payload_length) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "vmdescription of '%s' instance %u: expected %"
                           G_GUINT64_FORMAT " bytes, found %"
                           G_GUINT64_FORMAT, section->idstr,
                           section->instance_id, section->payload_length,
                           device->size);
    }
    return true;
}

/* Each FULL section must stand in the description, in its order. */
static bool check_devices(const VmloadPendingList *list,
                          const VmloadVmdesc *vmdesc, GError **error)
{
    VmloadVmdescDevice device = {.struct_size = (uint32_t)sizeof(device)};
    uint64_t next = 0;
    guint i;

    for (i = 0; i < list->sections->len; i++) {
        const Pending *pending = g_ptr_array_index(list->sections, i);

        if (pending->section.type != VMLOAD_RECORD_FULL) {
            continue;
        }
        if (!vmload_vmdesc_get_device(vmdesc, next++, &device)) {
            return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                               "vmdescription: expected '%s' instance %u, "
                               "found its end", pending->section.idstr,
                               pending->section.instance_id);
        }
        if (!check_device(pending, &device, error)) {
            return false;
        }
    }
    if (vmload_vmdesc_get_device(vmdesc, next, &device)) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "vmdescription: expected %" G_GUINT64_FORMAT
                           " devices, found more", next);
    }
    return true;
}

static bool check_vmdesc(VmloadLoader *loader, GError **error)
{
    GError *local = NULL;
    VmloadVmdesc *vmdesc;
    bool ok;

    if (loader->vmdesc == NULL) {
        return true;
    }
    vmdesc = vmload_vmdesc_new(loader->vmdesc, loader->vmdesc_length,
                               &loader->limits, &local);
    if (vmdesc == NULL) {
        /* A build without the feature checks framing and versions only. */
        if (local->code == VMLOAD_ERROR_UNSUPPORTED) {
            g_error_free(local);
            return true;
        }
        g_propagate_error(error, local);
        return false;
    }
    ok = check_devices(loader->pending, vmdesc, error);
    vmload_vmdesc_free(vmdesc);
    return ok;
}

/* The parse's result, once its job is done. */
static bool parse_ended(VmloadLoader *loader, Pending *pending,
                        GError **error)
{
    const VmloadSection *section = &pending->section;

    if (pending->error != NULL) {
        vmload_loader_note_record(loader, section->type, section->offset,
                                  section);
        vmload_loader_note_failure(loader, pending->stopped);
        g_propagate_error(error, g_steal_pointer(&pending->error));
        return false;
    }
    return true;
}

static bool wait_parse(VmloadLoader *loader, Pending *pending,
                       GError **error)
{
    if (pending->pushed &&
        !vmload_pool_wait(loader->pending->pool, &pending->job,
                          loader->cancel, error)) {
        return false;
    }
    /* A cancel that came meanwhile counts, whatever the parse says. */
    return vmload_cancel_check(loader->cancel, error) &&
           parse_ended(loader, pending, error);
}

/* Loads a section that has no parse stage, with the lock of its class. */
static bool load_pending(VmloadLoader *loader, Pending *pending,
                         GError **error)
{
    VmloadReader *reader = pending_reader(pending);
    bool too_short;
    bool ok;

    ok = vmload_target_load(loader, &pending->target, &pending->section,
                            reader, &pending->cost, NULL, error);
    ok = vmload_staged_result(reader, ok, pending->section.payload_length,
                              &too_short, error) &&
         check_consumed(pending, reader, error);
    if (!ok) {
        vmload_loader_note_failure(loader, vmload_reader_get_offset(reader));
    }
    vmload_reader_free(reader);
    return ok;
}

static bool apply_pending(VmloadLoader *loader, Pending *pending,
                          GError **error)
{
    const VmloadSection *section = &pending->section;
    bool ok;

    vmload_loader_note_record(loader, section->type, section->offset,
                              section);
    if (pending->parsed != NULL) {
        ok = vmload_found_apply(loader, &pending->found, section,
                                g_steal_pointer(&pending->parsed),
                                &pending->cost, error);
    } else {
        ok = load_pending(loader, pending, error);
    }
    pending->applied = true;
    vmload_ledger_add(loader->ledger, section, &pending->cost);
    vmload_pending_note_applied(loader, section);
    vmload_loader_unstage_bytes(loader, pending->visible);
    g_clear_pointer(&pending->data, g_free);
    return ok;
}

void vmload_pending_note_applied(VmloadLoader *loader,
                                 const VmloadSection *section)
{
    g_hash_table_add(loader->applied, (void *)(uintptr_t)section->idstr);
}

/* Is a section of this name staged and not applied? */
static bool is_pending(const VmloadPendingList *list, const char *idstr)
{
    guint i;

    for (i = list->next; i < list->sections->len; i++) {
        const Pending *other = g_ptr_array_index(list->sections, i);

        if (!other->applied && strcmp(other->section.idstr, idstr) == 0) {
            return true;
        }
    }
    return false;
}

/*
 * Are all devices applied that this one must come after? At the end of the
 * stream (@all) a name that never came is no reason to wait.
 */
static bool is_in_order(const VmloadLoader *loader, const Pending *pending,
                        bool all)
{
    const char *const *after = pending->found.ops.after;

    for (; after != NULL && *after != NULL; after++) {
        if (all ? is_pending(loader->pending, *after)
                : !g_hash_table_contains(loader->applied, *after)) {
            return false;
        }
    }
    return true;
}

/* One pass over the list; *@progress: something was applied. */
static bool flush_pass(VmloadLoader *loader, bool all, bool *progress,
                       GError **error)
{
    VmloadPendingList *list = loader->pending;
    guint i;

    *progress = false;
    for (i = list->next; i < list->sections->len; i++) {
        Pending *pending = g_ptr_array_index(list->sections, i);

        if (pending->applied || !is_in_order(loader, pending, all) ||
            (!all && !vmload_job_is_done(&pending->job))) {
            continue;
        }
        if (!wait_parse(loader, pending, error) ||
            !apply_pending(loader, pending, error)) {
            return false;
        }
        *progress = true;
    }
    while (list->next < list->sections->len &&
           ((Pending *)g_ptr_array_index(list->sections, list->next))
               ->applied) {
        list->next++;
    }
    return true;
}

/* What waits for each other in a circle is applied in the stream's order. */
static bool flush_circle(VmloadLoader *loader, GError **error)
{
    VmloadPendingList *list = loader->pending;
    guint i;

    for (i = list->next; i < list->sections->len; i++) {
        Pending *pending = g_ptr_array_index(list->sections, i);

        if (!pending->applied && (!wait_parse(loader, pending, error) ||
                                  !apply_pending(loader, pending, error))) {
            return false;
        }
    }
    list->next = list->sections->len;
    return true;
}

static bool flush(VmloadLoader *loader, bool all, GError **error)
{
    bool progress;

    do {
        if (!flush_pass(loader, all, &progress, error)) {
            return false;
        }
    } while (progress);
    return !all || flush_circle(loader, error);
}

bool vmload_pending_apply_ready(VmloadLoader *loader, GError **error)
{
    return loader->pending == NULL ||
           loader->commit == VMLOAD_COMMIT_ATOMIC ||
           flush(loader, false, error);
}

/*
 * VMLOAD_COMMIT_ATOMIC: everything that can be checked is checked, every
 * `parse` has run, before the first device is touched.
 */
static bool prepare_commit(VmloadLoader *loader, GError **error)
{
    GPtrArray *sections = loader->pending->sections;
    guint i;

    if (!check_vmdesc(loader, error)) {
        return false;
    }
    for (i = 0; i < sections->len; i++) {
        if (!vmload_cancel_check(loader->cancel, error) ||
            !start_parse(loader, g_ptr_array_index(sections, i), error)) {
            return false;
        }
    }
    for (i = 0; i < sections->len; i++) {
        if (!wait_parse(loader, g_ptr_array_index(sections, i), error)) {
            return false;
        }
    }
    return true;
}

bool vmload_pending_apply_all(VmloadLoader *loader, GError **error)
{
    if (loader->pending == NULL) {
        return true;
    }
    if (loader->commit == VMLOAD_COMMIT_ATOMIC &&
        !prepare_commit(loader, error)) {
        return false;
    }
    if (!flush(loader, true, error)) {
        return false;
    }
    /* What fails from here on is no fault of the last section's. */
    vmload_loader_note_record(loader, VMLOAD_RECORD_EOF,
                              vmload_reader_get_offset(loader->reader), NULL);
    return true;
}

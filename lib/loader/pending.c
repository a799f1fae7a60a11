/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sections that are staged but not applied yet, in the stream's order: all
 * of them under VMLOAD_COMMIT_ATOMIC, those of VMLOAD_DEVICE_CONCURRENT
 * devices else. What has a parse stage is parsed already.
 *
 * The list belongs to the loading thread. Nothing here waits.
 */
#include "internal.h"

#include "error.h"

#include <string.h>
#include <vmload/vmdesc.h>

/* Bytes shown behind a payload: a footer, and what devices peek past it. */
#define SHOWN_BEHIND 64

typedef struct {
    VmloadTarget target;
    VmloadSection section; /* idstr is the section table's */
    uint8_t *data;         /* NULL: it is parsed */
    uint64_t visible;      /* bytes of @data */
    uint64_t charged;      /* against staged_bytes */
    VmloadFound found;
    void *parsed;
    VmloadCost cost;
    bool applied;
} Pending;

typedef struct VmloadPendingList {
    GPtrArray *sections; /* of Pending, owned */
    guint next;          /* all before are applied */
    GTree *waiting; /* idstr to how many are not applied */
    GHashTable *missed;  /* set of names of `after` that were not applied */
    bool ready;          /* one of those is now, or a section is new */
} VmloadPendingList;

static void pending_free(void *data)
{
    Pending *pending = data;

    vmload_found_discard(&pending->found, pending->parsed);
    g_free(pending->data);
    g_free(pending);
}

void vmload_pending_free(struct VmloadPendingList *list)
{
    if (list != NULL) {
        g_ptr_array_unref(list->sections);
        g_tree_unref(list->waiting);
        g_hash_table_unref(list->missed);
        g_free(list);
    }
}

static gint names_compare(const void *a, const void *b, void *data)
{
    (void)data;
    return strcmp(a, b);
}

GTree *vmload_names_new(void)
{
    return g_tree_new_full(names_compare, NULL, NULL, NULL);
}

static VmloadPendingList *pending_list(VmloadLoader *loader)
{
    VmloadPendingList *list = loader->pending;

    if (list == NULL) {
        list = g_new0(VmloadPendingList, 1);
        list->sections = g_ptr_array_new_with_free_func(pending_free);
        list->waiting = vmload_names_new();
        list->missed = g_hash_table_new(g_str_hash, g_str_equal);
        loader->pending = list;
    }
    return list;
}

/* How many sections of this name are not applied; @change is added. */
static uint32_t count_waiting(VmloadPendingList *list, const char *idstr,
                              int change)
{
    uint32_t n = GPOINTER_TO_UINT(g_tree_lookup(list->waiting, idstr));

    if (change != 0) {
        n = (uint32_t)((int64_t)n + change);
        g_tree_replace(list->waiting, (void *)(uintptr_t)idstr,
                       GUINT_TO_POINTER(n));
    }
    return n;
}

bool vmload_pending_is_wanted(VmloadLoader *loader,
                              const VmloadTarget *target)
{
    if (vmload_loader_is_elsewhere(loader)) {
        return false;
    }
    return loader->commit == VMLOAD_COMMIT_ATOMIC ||
           (!loader->guard.caller_locked &&
            target->kind == VMLOAD_TARGET_REGISTERED &&
            target->lock == VMLOAD_LOCK_APPLY &&
            (target->registered->ops.flags & VMLOAD_DEVICE_CONCURRENT) != 0);
}

/* One more, that takes @bytes of the limit. NULL with an error. */
static Pending *add(VmloadLoader *loader, const VmloadTarget *target,
                    const VmloadSection *section, uint64_t bytes,
                    GError **error)
{
    VmloadPendingList *list = pending_list(loader);
    uint64_t charged = bytes + sizeof(Pending);
    Pending *pending;

    if (!vmload_loader_stage_bytes(loader, charged, error)) {
        return NULL;
    }
    pending = g_new0(Pending, 1);
    pending->target = *target;
    pending->section = *section;
    pending->charged = charged;
    g_ptr_array_add(list->sections, pending);
    count_waiting(list, section->idstr, 1);
    list->ready = true;
    return pending;
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

bool vmload_pending_add(VmloadLoader *loader, const VmloadTarget *target,
                        const VmloadSection *section, const uint8_t *data,
                        uint64_t visible, GError **error)
{
    uint64_t shown = MIN(visible, section->payload_length + SHOWN_BEHIND);
    Pending *pending = add(loader, target, section, shown, error);

    if (pending == NULL) {
        return false;
    }
    pending->data = g_try_malloc(MAX(shown, 1));
    if (pending->data == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "no memory for %" G_GUINT64_FORMAT
                           " staged bytes", shown);
    }
    memcpy(pending->data, data, shown);
    pending->visible = shown;
    return true;
}

bool vmload_pending_add_parsed(VmloadLoader *loader,
                               const VmloadTarget *target,
                               const VmloadSection *section,
                               const VmloadAttempt *attempt, GError **error)
{
    /* What was parsed is about as large as what it was parsed from. */
    Pending *pending =
        add(loader, target, section, section->payload_length, error);

    if (pending == NULL) {
        vmload_found_discard(&attempt->found, attempt->parsed);
        return false;
    }
    pending->found = attempt->found;
    pending->parsed = attempt->parsed;
    return true;
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
                              false, &too_short, error) &&
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
    count_waiting(loader->pending, section->idstr, -1);
    vmload_ledger_add(loader->ledger, section, &pending->cost);
    vmload_pending_note_applied(loader, section);
    vmload_loader_unstage_bytes(loader, pending->charged);
    g_clear_pointer(&pending->data, g_free);
    return ok;
}

void vmload_pending_note_applied(VmloadLoader *loader,
                                 const VmloadSection *section)
{
    void *idstr = (void *)(uintptr_t)section->idstr;

    g_tree_insert(loader->applied, idstr, idstr);
    if (loader->pending != NULL &&
        g_hash_table_remove(loader->pending->missed, section->idstr)) {
        loader->pending->ready = true;
    }
}

/*
 * Are all devices applied that this one must come after? At the end of the
 * stream (@all) a name that never came is no reason to wait.
 */
static bool is_in_order(VmloadLoader *loader, const Pending *pending,
                        bool all)
{
    const char *const *after = pending->found.ops.after;

    for (; after != NULL && *after != NULL; after++) {
        if (all ? count_waiting(loader->pending, *after, 0) > 0
                : g_tree_lookup(loader->applied, *after) == NULL) {
            g_hash_table_add(loader->pending->missed,
                             (void *)(uintptr_t)*after);
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

        if (pending->applied || !is_in_order(loader, pending, all)) {
            continue;
        }
        if (!vmload_cancel_check(loader->cancel, error) ||
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

        if (!pending->applied &&
            (!vmload_cancel_check(loader->cancel, error) ||
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
    VmloadPendingList *list = loader->pending;

    if (list == NULL || !list->ready ||
        loader->commit == VMLOAD_COMMIT_ATOMIC) {
        return true;
    }
    list->ready = false;
    return flush(loader, false, error);
}

bool vmload_pending_apply_all(VmloadLoader *loader, GError **error)
{
    if (loader->pending == NULL) {
        return true;
    }
    /*
     * Everything that can be checked is, before the first device is touched;
     * every parse has run.
     */
    if (loader->commit == VMLOAD_COMMIT_ATOMIC &&
        !check_vmdesc(loader, error)) {
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

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VMLOAD_COMMIT_ATOMIC: sections are staged and checked first; the first
 * device is touched when the whole stream has been seen.
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
    uint8_t *data;
    uint64_t visible;
} StagedSection;

typedef struct VmloadCommitLog {
    GArray *sections; /* of StagedSection */
    uint64_t bytes;
} CommitLog;

static void staged_section_clear(void *data)
{
    StagedSection *staged = data;

    g_free(staged->data);
}

static CommitLog *commit_log_new(void)
{
    CommitLog *log = g_new0(CommitLog, 1);

    log->sections = g_array_new(FALSE, TRUE, sizeof(StagedSection));
    g_array_set_clear_func(log->sections, staged_section_clear);
    return log;
}

void vmload_commit_free(struct VmloadCommitLog *log)
{
    if (log != NULL) {
        g_array_unref(log->sections);
        g_free(log);
    }
}

bool vmload_commit_stage(VmloadLoader *loader, const VmloadTarget *target,
                         const VmloadSection *section, const uint8_t *data,
                         uint64_t visible, GError **error)
{
    StagedSection staged = {.target = *target, .section = *section};
    CommitLog *log;

    if (loader->log == NULL) {
        loader->log = commit_log_new();
    }
    log = loader->log;
    if (!vmload_target_check(loader, section, &staged.target, error)) {
        return false;
    }
    visible = MIN(visible, section->payload_length + SHOWN_BEHIND);
    if (visible > loader->limits.staged_bytes - log->bytes) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "staged sections exceed the limit staged_bytes (%"
                           G_GUINT64_FORMAT ")", loader->limits.staged_bytes);
    }
    staged.data = g_try_malloc(MAX(visible, 1));
    if (staged.data == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "no memory for %" G_GUINT64_FORMAT
                           " staged bytes", visible);
    }
    memcpy(staged.data, data, visible);
    staged.visible = visible;
    g_array_append_val(log->sections, staged);
    log->bytes += visible;
    if (log->bytes > loader->counters.staged_peak) {
        __atomic_store_n(&loader->counters.staged_peak, log->bytes,
                         __ATOMIC_RELAXED);
    }
    return true;
}

/* Compares one FULL section with its line of the description. */
static bool check_device(const StagedSection *staged,
                         const VmloadVmdescDevice *device, GError **error)
{
    const VmloadSection *section = &staged->section;

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
static bool check_devices(const CommitLog *log, const VmloadVmdesc *vmdesc,
                          GError **error)
{
    VmloadVmdescDevice device = {.struct_size = (uint32_t)sizeof(device)};
    uint64_t next = 0;
    guint i;

    for (i = 0; i < log->sections->len; i++) {
        const StagedSection *staged =
            &g_array_index(log->sections, StagedSection, i);

        if (staged->section.type != VMLOAD_RECORD_FULL) {
            continue;
        }
        if (!vmload_vmdesc_get_device(vmdesc, next++, &device)) {
            return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                               "vmdescription: expected '%s' instance %u, "
                               "found its end", staged->section.idstr,
                               staged->section.instance_id);
        }
        if (!check_device(staged, &device, error)) {
            return false;
        }
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
    ok = check_devices(loader->log, vmdesc, error);
    vmload_vmdesc_free(vmdesc);
    return ok;
}

static bool load_staged_section(VmloadLoader *loader, StagedSection *staged,
                                GError **error)
{
    const VmloadSection *section = &staged->section;
    VmloadCost cost = {0};
    VmloadReader *memory;
    VmloadReader *reader;
    uint64_t consumed;
    bool ok;

    vmload_loader_note_record(loader, section->type, section->offset,
                              section);
    memory = vmload_reader_new_memory(staged->data, staged->visible,
                                      section->payload_offset);
    reader = vmload_reader_new_staged(memory, staged->visible,
                                      section->payload_length);
    ok = vmload_target_load(loader, &staged->target, section, reader, &cost,
                            NULL, error);
    consumed = vmload_reader_get_offset(reader) - section->payload_offset;
    if (ok && consumed != section->payload_length) {
        ok = vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                         "offset 0x%" G_GINT64_MODIFIER "x: expected the "
                         "device to take %" G_GUINT64_FORMAT
                         " bytes, it took %" G_GUINT64_FORMAT,
                         section->payload_offset, section->payload_length,
                         consumed);
    }
    vmload_reader_free(reader);
    vmload_reader_free(memory);
    vmload_ledger_add(loader->ledger, section, &cost);
    return ok;
}

bool vmload_commit_apply(VmloadLoader *loader, GError **error)
{
    guint i;

    if (loader->log == NULL) {
        return true;
    }
    if (!check_vmdesc(loader, error)) {
        return false;
    }
    for (i = 0; i < loader->log->sections->len; i++) {
        if (!vmload_cancel_check(loader->cancel, error) ||
            !load_staged_section(
                loader, &g_array_index(loader->log->sections, StagedSection, i),
                error)) {
            return false;
        }
    }
    return true;
}

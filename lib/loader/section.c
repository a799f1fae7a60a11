/* SPDX-License-Identifier: BSD-3-Clause */
/* One section: header, payload by its lock class, footer. */
#include "internal.h"

#include "error.h"
#include "host/clock.h"
#include "stream/staging.h"
#include "trace.h"

/* Bytes behind a payload that the scan may need: footer, header of a record. */
#define LOOK_AHEAD (VMLOAD_FOOTER_SIZE + VMLOAD_STR8_SIZE + 16u)

bool vmload_loader_has_footers(const VmloadLoader *loader)
{
    if (loader->footers_known) {
        return loader->footers;
    }
    /* Machine types that leave out one leave out both (section 4). */
    return (loader->configuration.view.present &
            VMLOAD_CONFIGURATION_MACHINE) != 0;
}

/* The first section of a stream decides for all. */
static bool decide_footers(VmloadLoader *loader, VmloadReader *reader,
                           GError **error)
{
    const uint8_t *next;
    uint64_t available;

    if (loader->footers_known) {
        return true;
    }
    if (!vmload_reader_peek(reader, 1, &next, &available, error)) {
        return false;
    }
    loader->footers_known = true;
    loader->footers = available > 0 && next[0] == VMLOAD_RECORD_FOOTER;
    return true;
}

static bool load_footer(VmloadLoader *loader, VmloadReader *reader,
                        VmloadSection *section, GError **error)
{
    section->payload_length =
        vmload_reader_get_offset(reader) - section->payload_offset;
    if (!decide_footers(loader, reader, error)) {
        return false;
    }
    section->has_footer = loader->footers ? 1 : 0;
    return !loader->footers ||
           vmload_section_footer_read(reader, section, error);
}

/* The device reads from the stream itself; only where no lock is taken. */
static bool load_streamed(VmloadLoader *loader, const VmloadTarget *target,
                          VmloadSection *section, VmloadReader *reader,
                          VmloadCost *cost, GError **error)
{
    return vmload_target_load(loader, target, section, reader, cost, NULL,
                              error) &&
           load_footer(loader, reader, section, error);
}

void vmload_loader_note_staged(VmloadLoader *loader, uint64_t n)
{
    /* The loading thread is the only writer. */
    if (n > loader->counters.staged_peak) {
        __atomic_store_n(&loader->counters.staged_peak, n, __ATOMIC_RELAXED);
    }
}

bool vmload_loader_stage_bytes(VmloadLoader *loader, uint64_t n,
                               GError **error)
{
    if (n > loader->limits.staged_bytes - loader->staged) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "%" G_GUINT64_FORMAT " more staged bytes exceed "
                           "the limit staged_bytes (%" G_GUINT64_FORMAT ")",
                           n, loader->limits.staged_bytes);
    }
    loader->staged += n;
    vmload_loader_note_staged(loader, loader->staged);
    return true;
}

void vmload_loader_unstage_bytes(VmloadLoader *loader, uint64_t n)
{
    loader->staged -= n;
}

/* The bound for one section, and its name. */
static uint64_t staged_max(const VmloadLoader *loader,
                           const VmloadTarget *target, bool nested,
                           const char **name)
{
    uint64_t max = loader->limits.section_bytes;
    uint64_t left = loader->limits.staged_bytes - loader->staged;

    *name = "limit section_bytes";
    if (target->staged_max > 0 && target->staged_max < max) {
        max = target->staged_max;
        *name = "device's staged_max";
    }
    /* What is nested is in memory already. */
    if (!nested && left < max) {
        max = left;
        *name = "limit staged_bytes";
    }
    return max;
}

static bool stage(VmloadLoader *loader, const VmloadTarget *target,
                  const VmloadSection *section, VmloadReader *reader,
                  uint64_t *candidate, GError **error)
{
    VmloadStagingRules rules = {0};
    const char *name;
    uint64_t max;

    rules.table = loader->sections;
    rules.section_id = section->section_id;
    rules.footers = vmload_loader_has_footers(loader);
    rules.vmdesc = loader->vmdesc_presence != VMLOAD_PRESENCE_ABSENT;
    rules.nested = reader != loader->reader;
    max = staged_max(loader, target, rules.nested, &name);
    /* The footer and the record behind it are looked at, not staged. */
    rules.max = max > UINT64_MAX - LOOK_AHEAD ? max : max + LOOK_AHEAD;
    if (!vmload_staging_find_end(reader, &rules, candidate, error)) {
        if (vmload_reader_get_error(reader)->code == VMLOAD_ERROR_LIMIT) {
            g_prefix_error(error, "%s: ", name);
        }
        return false;
    }
    /* The window may hold more than was asked for. */
    if (*candidate > max) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                   "a section of %" G_GUINT64_FORMAT
                                   " bytes exceeds the %s (%"
                                   G_GUINT64_FORMAT ")", *candidate, name,
                                   max);
    }
    vmload_loader_note_staged(loader, loader->staged +
                                          (rules.nested ? 0 : *candidate));
    return true;
}

bool vmload_staged_result(VmloadReader *staged, bool ok, uint64_t candidate,
                          bool *too_short, GError **error)
{
    const GError *cause = vmload_reader_get_error(staged);

    *too_short = cause != NULL && cause->code == VMLOAD_ERROR_TRUNCATED;
    if (cause == NULL) {
        return ok;
    }
    if (*too_short) {
        g_clear_error(error);
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "offset 0x%" G_GINT64_MODIFIER "x: expected the "
                           "section to end after %" G_GUINT64_FORMAT
                           " bytes, its device wants more",
                           vmload_reader_get_offset(staged), candidate);
    }
    /* The first error sticks, whatever the device made of it. */
    if (ok && error != NULL) {
        *error = g_error_copy(cause);
    }
    return false;
}

/*
 * Runs the device on what is staged. What it consumed decides where the
 * section ends. *@again: it met a false end and may be called again.
 */
static bool load_candidate(VmloadLoader *loader, VmloadTarget *target,
                           VmloadSection *section, VmloadReader *reader,
                           uint64_t candidate, bool *again, VmloadCost *cost,
                           GError **error)
{
    uint64_t begin = vmload_reader_get_offset(reader);
    VmloadReader *staged;
    uint64_t visible;
    bool restartable = false;
    bool too_short;
    bool ok;

    vmload_reader_window(reader, &visible);
    staged = vmload_reader_new_staged(reader, visible, candidate);
    ok = vmload_target_load(loader, target, section, staged, cost,
                            &restartable, error);
    *again = !ok;
    ok = vmload_staged_result(staged, ok, candidate, &too_short, error);
    *again = *again && too_short && restartable;
    if (ok) {
        vmload_reader_consume(reader,
                              vmload_reader_get_offset(staged) - begin);
    } else if (*again) {
        g_clear_error(error);
    } else {
        vmload_loader_note_failure(loader, vmload_reader_get_offset(staged));
    }
    vmload_reader_free(staged);
    return ok;
}

/*
 * May the device read on past what is staged, with the lock? Only devices
 * that say where they end by what they consume.
 */
static bool may_wait(const VmloadLoader *loader, const VmloadTarget *target)
{
    return loader->lock_wait == VMLOAD_LOCK_WAIT_ALLOW &&
           (target->kind == VMLOAD_TARGET_REGISTERED ||
            (target->kind == VMLOAD_TARGET_HOST &&
             loader->unknown == VMLOAD_UNKNOWN_FAIL));
}

/* Stages up to a believed end and calls the device, until one is the end. */
static bool load_whole_section(VmloadLoader *loader, VmloadTarget *target,
                               VmloadSection *section, VmloadReader *reader,
                               VmloadCost *cost, GError **error)
{
    uint64_t candidate = 0;
    bool again;
    bool ok;

    do {
        uint64_t begin = vmload_clock_ns();

        if (!stage(loader, target, section, reader, &candidate, error)) {
            return false;
        }
        cost->staging_ns += vmload_clock_ns() - begin;
        section->payload_length = candidate;
        if (may_wait(loader, target)) {
            return vmload_target_load(loader, target, section, reader, cost,
                                      NULL, error);
        }
        ok = load_candidate(loader, target, section, reader, candidate,
                            &again, cost, error);
        candidate++;
    } while (again);
    return ok;
}

static bool load_staged(VmloadLoader *loader, VmloadTarget *target,
                        VmloadSection *section, VmloadReader *reader,
                        VmloadCost *cost, GError **error)
{
    uint64_t begin = vmload_clock_ns();
    const uint8_t *data;
    uint64_t candidate = 0;
    uint64_t visible;

    if (!vmload_pending_is_wanted(loader, target)) {
        return load_whole_section(loader, target, section, reader, cost,
                                  error) &&
               load_footer(loader, reader, section, error);
    }
    if (!stage(loader, target, section, reader, &candidate, error)) {
        return false;
    }
    cost->staging_ns = vmload_clock_ns() - begin;
    section->payload_length = candidate;
    data = vmload_reader_window(reader, &visible);
    if (!vmload_pending_add(loader, target, section, data, visible, error)) {
        return false;
    }
    vmload_reader_consume(reader, candidate);
    return load_footer(loader, reader, section, error);
}

/*
 * Under the caller's lock, without footers, there is nothing to stage by and
 * no lock to spare: the device reads the stream.
 */
static bool is_streamed(const VmloadLoader *loader,
                        const VmloadTarget *target, uint32_t type)
{
    /* Atomic: a whole state is never loaded before all of them are there. */
    if (loader->commit == VMLOAD_COMMIT_ATOMIC &&
        type == VMLOAD_RECORD_FULL && target->kind != VMLOAD_TARGET_RAM) {
        return false;
    }
    return target->lock == VMLOAD_LOCK_NONE ||
           (loader->guard.caller_locked && !vmload_loader_has_footers(loader) &&
            target->kind != VMLOAD_TARGET_RAW);
}

bool vmload_loader_load_section(VmloadLoader *loader, VmloadReader *reader,
                                uint32_t type, uint64_t offset,
                                GError **error)
{
    VmloadSection section;
    VmloadTarget target;
    VmloadCost cost = {0};
    bool ok;

    if (!vmload_section_read(loader->sections, reader, &loader->limits, type,
                             offset, &section, error)) {
        return false;
    }
    vmload_loader_note_record(loader, type, offset, &section);
    VMLOAD_TRACE3(section_begin, section.idstr, section.instance_id, offset);
    if (type == VMLOAD_RECORD_END) {
        vmload_loader_note_switchover(loader);
    }
    if (!vmload_target_resolve(loader, &section, &target, error)) {
        return false;
    }
    ok = is_streamed(loader, &target, type)
             ? load_streamed(loader, &target, &section, reader, &cost, error)
             : load_staged(loader, &target, &section, reader, &cost, error);
    VMLOAD_TRACE3(section_end, section.idstr, section.instance_id,
                  section.payload_length);
    if (!ok) {
        return false;
    }
    __atomic_fetch_add(&loader->counters.sections, 1, __ATOMIC_RELAXED);
    vmload_ledger_book(loader->ledger, &section, &cost);
    if (!vmload_pending_is_wanted(loader, &target)) {
        vmload_pending_note_applied(loader, &section);
    }
    vmload_loader_report_record(loader, type, 0, offset,
                                vmload_reader_get_offset(reader) - offset,
                                &section);
    return vmload_pending_apply_ready(loader, error);
}

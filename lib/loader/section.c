/* SPDX-License-Identifier: BSD-3-Clause */
/* One section: header, payload by its lock class, footer. */
#include "internal.h"

#include "error.h"
#include "trace.h"

#include <string.h>

/* Bytes behind a payload that the scan may need: footer, header of a record. */
#define LOOK_AHEAD (VMLOAD_FOOTER_SIZE + VMLOAD_STR8_SIZE + 16u)

/* Up to so many bytes a device is called at every false end. */
#define OFTEN_BYTES 65536

/* How far the staging of one section is. */
typedef struct {
    uint64_t candidate; /* its believed end, or where to look on from */
    uint64_t max;       /* bytes that it may have */
    uint64_t least;     /* bytes that must be there before the next call */
    bool asked;         /* the device was called */
    VmloadEnd end;      /* why it is believed */
} Stage;

bool vmload_loader_has_footers(const VmloadLoader *loader)
{
    const int footers = __atomic_load_n(&loader->footers, __ATOMIC_RELAXED);

    if (footers != VMLOAD_PRESENCE_AUTO) {
        return footers == VMLOAD_PRESENCE_REQUIRED;
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

    if (g_atomic_int_get(&loader->footers) != VMLOAD_PRESENCE_AUTO) {
        return true;
    }
    if (!vmload_reader_peek(reader, 1, &next, &available, error)) {
        return false;
    }
    g_atomic_int_set(&loader->footers,
                     available > 0 && next[0] == VMLOAD_RECORD_FOOTER
                         ? (int)VMLOAD_PRESENCE_REQUIRED
                         : (int)VMLOAD_PRESENCE_ABSENT);
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
    section->has_footer = vmload_loader_has_footers(loader) ? 1 : 0;
    return section->has_footer == 0 ||
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

static uint64_t get_staged(const VmloadLoader *loader)
{
    return __atomic_load_n(&loader->staged, __ATOMIC_RELAXED);
}

void vmload_loader_note_staged(VmloadLoader *loader, uint64_t n)
{
    uint64_t peak = __atomic_load_n(&loader->counters.staged_peak,
                                    __ATOMIC_RELAXED);

    while (n > peak &&
           !__atomic_compare_exchange_n(&loader->counters.staged_peak, &peak,
                                        n, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
    }
}

bool vmload_loader_stage_bytes(VmloadLoader *loader, uint64_t n,
                               GError **error)
{
    uint64_t before = get_staged(loader);

    while (n <= loader->limits.staged_bytes - before) {
        if (__atomic_compare_exchange_n(&loader->staged, &before, before + n,
                                        true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            vmload_loader_note_staged(loader, before + n);
            return true;
        }
    }
    return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                       "%" G_GUINT64_FORMAT " more staged bytes exceed the "
                       "limit staged_bytes (%" G_GUINT64_FORMAT ")", n,
                       loader->limits.staged_bytes);
}

void vmload_loader_unstage_bytes(VmloadLoader *loader, uint64_t n)
{
    __atomic_fetch_sub(&loader->staged, n, __ATOMIC_RELAXED);
}

/* The bound for one section, and its name. */
static uint64_t staged_max(const VmloadLoader *loader,
                           const VmloadTarget *target, bool nested,
                           const char **name)
{
    uint64_t max = loader->limits.section_bytes;
    uint64_t left = loader->limits.staged_bytes - get_staged(loader);

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

void vmload_stage_rules(const VmloadLoader *loader,
                        const VmloadTarget *target,
                        const VmloadSection *section, bool nested,
                        VmloadStagingRules *rules, uint64_t *max,
                        const char **name)
{
    memset(rules, 0, sizeof(*rules));
    rules->table = loader->sections;
    rules->section_id = section->section_id;
    rules->footers = vmload_loader_has_footers(loader);
    rules->vmdesc = loader->vmdesc_presence != VMLOAD_PRESENCE_ABSENT;
    rules->nested = nested;
    *max = staged_max(loader, target, nested, name);
    /* The footer and the record behind it are looked at, not staged. */
    rules->max = *max > UINT64_MAX - LOOK_AHEAD ? *max : *max + LOOK_AHEAD;
}

/*
 * Can the payload's end be had by asking the device alone? A parse may be
 * asked at any time; with footers there is evidence, which costs less.
 */
static bool is_measured(VmloadLoader *loader, const VmloadTarget *target)
{
    if (vmload_loader_has_footers(loader) ||
        target->kind == VMLOAD_TARGET_RAW) {
        return false;
    }
    return target->lock == VMLOAD_LOCK_APPLY ||
           /* Nobody is called before the commit. */
           (vmload_target_is_measured(loader, target) &&
            !vmload_pending_is_wanted(loader, target));
}

/* The window may hold more than was asked for. */
static bool check_staged(VmloadReader *reader, uint64_t candidate,
                         uint64_t max, const char *name, GError **error)
{
    return candidate <= max ||
           vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                               "a section of %" G_GUINT64_FORMAT
                               " bytes exceeds the %s (%" G_GUINT64_FORMAT
                               ")", candidate, name, max);
}

/* Stages up to where the section may end: @stage is from the last call. */
static bool stage_on(VmloadLoader *loader, const VmloadTarget *target,
                     const VmloadSection *section, VmloadReader *reader,
                     Stage *stage, VmloadCost *cost, GError **error)
{
    uint64_t before = vmload_reader_get_growing_ns(reader);
    VmloadStagingRules rules;
    const char *name;
    bool nested = reader != loader->reader;
    bool measured = is_measured(loader, target);
    bool ok;

    vmload_stage_rules(loader, target, section, nested, &rules, &stage->max,
                       &name);
    if (!check_staged(reader, stage->candidate, stage->max, name, error)) {
        return false;
    }
    rules.asked = stage->asked;
    rules.least = stage->least;
    stage->end = VMLOAD_END_ALL;
    ok = measured
             ? vmload_staging_find_more(reader, rules.max, &stage->candidate,
                                        error)
             : vmload_staging_find_end(reader, &rules, &stage->candidate,
                                       &stage->end, error);
    cost->staging_ns += vmload_reader_get_growing_ns(reader) - before;
    if (!ok) {
        if (vmload_reader_get_error(reader)->code == VMLOAD_ERROR_LIMIT) {
            g_prefix_error(error, "%s: ", name);
        }
        return false;
    }
    if (stage->end == VMLOAD_END_ALL) {
        stage->candidate = MIN(stage->candidate, stage->max);
    } else if (!check_staged(reader, stage->candidate, stage->max, name,
                             error)) {
        return false;
    }
    vmload_loader_note_staged(loader, get_staged(loader) +
                                          (nested ? 0 : stage->candidate));
    return true;
}

bool vmload_staged_result(VmloadReader *staged, bool ok, uint64_t candidate,
                          bool cut, bool *too_short, GError **error)
{
    const GError *cause = vmload_reader_get_error(staged);

    *too_short = cause != NULL && cause->code == VMLOAD_ERROR_TRUNCATED;
    if (cause == NULL) {
        return ok;
    }
    if (*too_short) {
        g_clear_error(error);
        return vmload_fail(error, cut ? VMLOAD_ERROR_TRUNCATED
                                      : VMLOAD_ERROR_MALFORMED,
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

/* Is the end of the bytes all that speaks for the section's end? */
static bool is_cut(const VmloadLoader *loader, const Stage *stage)
{
    return stage->end == VMLOAD_END_ALL ||
           (stage->end == VMLOAD_END_WEAK &&
            !vmload_loader_has_footers(loader));
}

/*
 * Runs the device on what is staged. What it consumed decides where the
 * section ends. *@again: it met a false end and may be called again.
 */
static bool load_candidate(VmloadLoader *loader, VmloadTarget *target,
                           VmloadSection *section, VmloadReader *reader,
                           const Stage *stage, bool *again, VmloadCost *cost,
                           VmloadAttempt *attempt, GError **error)
{
    uint64_t begin = vmload_reader_get_offset(reader);
    VmloadReader *staged;
    uint64_t visible;
    uint64_t window;
    bool too_short;
    bool last;
    bool ok;

    vmload_reader_window(reader, &window);
    /* No more than may be staged, with a footer, whatever is buffered. */
    visible = MIN(window, stage->max + MIN(VMLOAD_FOOTER_SIZE,
                                           UINT64_MAX - stage->max));
    staged = vmload_reader_begin_staged(reader, visible, stage->candidate);
    ok = vmload_target_load(loader, target, section, staged, cost, attempt,
                            error);
    *again = !ok && attempt->restartable;
    /* It has seen all there will ever be. */
    last = visible == window && vmload_reader_has_ended(reader);
    ok = vmload_staged_result(staged, ok, stage->candidate,
                              (*again && last) || is_cut(loader, stage),
                              &too_short, error);
    *again = *again && too_short && !last;
    if (ok) {
        vmload_reader_consume(reader,
                              vmload_reader_get_offset(staged) - begin);
    } else if (*again) {
        g_clear_error(error);
    } else {
        vmload_loader_note_failure(loader, vmload_reader_get_offset(staged));
    }
    vmload_reader_end_staged(reader, staged);
    return ok;
}

/*
 * May the device read on past what is staged, with the lock? Only devices
 * that say where they end by what they consume.
 */
static bool may_wait(VmloadLoader *loader, const VmloadTarget *target)
{
    return loader->lock_wait == VMLOAD_LOCK_WAIT_ALLOW &&
           !is_measured(loader, target) &&
           (target->kind == VMLOAD_TARGET_REGISTERED ||
            (target->kind == VMLOAD_TARGET_HOST &&
             loader->unknown == VMLOAD_UNKNOWN_FAIL));
}

/*
 * A false end: the next one. A peer could show one every ten bytes, and each
 * call begins at the first: beyond a size an eighth more must be there.
 */
static void stage_again(VmloadReader *reader, Stage *stage)
{
    uint64_t n;

    vmload_reader_window(reader, &n);
    stage->candidate++;
    stage->asked = true;
    /* A host that buffers shows only little at once. */
    stage->least = n > OFTEN_BYTES && !vmload_reader_is_source(reader)
                       ? n + n / 8
                       : 0;
}

/* Stages up to a believed end and calls the device, until one is the end. */
static bool load_whole_section(VmloadLoader *loader, VmloadTarget *target,
                               VmloadSection *section, VmloadReader *reader,
                               VmloadCost *cost, VmloadAttempt *attempt,
                               GError **error)
{
    Stage stage = {0};
    bool again;
    bool ok;

    do {
        if (!stage_on(loader, target, section, reader, &stage, cost, error)) {
            return false;
        }
        section->payload_length = stage.candidate;
        if (may_wait(loader, target)) {
            return vmload_target_load(loader, target, section, reader, cost,
                                      attempt, error);
        }
        ok = load_candidate(loader, target, section, reader, &stage, &again,
                            cost, attempt, error);
        stage_again(reader, &stage);
    } while (again);
    return ok;
}

/* Its parse runs now and says where it ends; it is applied later. */
static bool load_parsed(VmloadLoader *loader, VmloadTarget *target,
                        VmloadSection *section, VmloadReader *reader,
                        VmloadCost *cost, GError **error)
{
    VmloadAttempt attempt = {.keep = true};

    if (!load_whole_section(loader, target, section, reader, cost, &attempt,
                            error) ||
        !load_footer(loader, reader, section, error)) {
        vmload_found_discard(&attempt.found, attempt.parsed);
        return false;
    }
    return attempt.parsed == NULL ||
           vmload_pending_add_parsed(loader, target, section, &attempt,
                                     error);
}

/* Nobody is called before the commit: the believed end is the end. */
static bool load_unseen(VmloadLoader *loader, VmloadTarget *target,
                        VmloadSection *section, VmloadReader *reader,
                        VmloadCost *cost, GError **error)
{
    Stage stage = {0};
    const uint8_t *data;
    uint64_t visible;

    if (!stage_on(loader, target, section, reader, &stage, cost, error)) {
        return false;
    }
    section->payload_length = stage.candidate;
    data = vmload_reader_window(reader, &visible);
    if (!vmload_pending_add(loader, target, section, data, visible, error)) {
        return false;
    }
    vmload_reader_consume(reader, stage.candidate);
    return load_footer(loader, reader, section, error);
}

/*
 * Its parse runs on a worker, and says there where it ends. Here it is taken
 * if that is the believed end, and called again if it is not.
 */
static bool load_ahead(VmloadLoader *loader, VmloadTarget *target,
                       VmloadSection *section, VmloadReader *reader,
                       VmloadCost *cost, GError **error)
{
    Stage stage = {0};
    bool taken;

    if (!vmload_ahead_has(loader, reader, target, section)) {
        if (!stage_on(loader, target, section, reader, &stage, cost, error) ||
            !vmload_ahead_push(loader, target, section, reader,
                               stage.candidate, error)) {
            return false;
        }
    }
    if (!vmload_ahead_take(loader, target, section, reader, cost, &taken,
                           error)) {
        return false;
    }
    return taken ? load_footer(loader, reader, section, error)
                 : load_parsed(loader, target, section, reader, cost, error);
}

static bool load_staged(VmloadLoader *loader, VmloadTarget *target,
                        VmloadSection *section, VmloadReader *reader,
                        VmloadCost *cost, GError **error)
{
    VmloadAttempt attempt = {0};

    if (!vmload_pending_is_wanted(loader, target)) {
        return load_whole_section(loader, target, section, reader, cost,
                                  &attempt, error) &&
               load_footer(loader, reader, section, error);
    }
    if (!vmload_target_check(loader, section, target, error)) {
        return false;
    }
    if (target->kind == VMLOAD_TARGET_RAW ||
        target->lock != VMLOAD_LOCK_APPLY) {
        return load_unseen(loader, target, section, reader, cost, error);
    }
    return vmload_target_is_concurrent(loader, target) &&
                   vmload_loader_has_footers(loader)
               ? load_ahead(loader, target, section, reader, cost, error)
               : load_parsed(loader, target, section, reader, cost, error);
}

/*
 * Under the caller's lock, without footers, there is nothing to stage by and
 * no lock to spare: the device reads the stream.
 */
static bool is_streamed(VmloadLoader *loader, const VmloadTarget *target,
                        uint32_t type)
{
    /* Atomic: a whole state is never loaded before all of them are there. */
    if (loader->commit == VMLOAD_COMMIT_ATOMIC &&
        !vmload_loader_is_elsewhere(loader) &&
        type == VMLOAD_RECORD_FULL && target->kind != VMLOAD_TARGET_RAM) {
        return false;
    }
    return target->lock == VMLOAD_LOCK_NONE ||
           (loader->guard.caller_locked && !vmload_loader_has_footers(loader) &&
            target->kind != VMLOAD_TARGET_RAW);
}

/* The position is the main stream's; this error says its place itself. */
static void place_elsewhere(VmloadLoader *loader,
                            const VmloadSection *section, GError **error)
{
    char *idstr;

    if (vmload_loader_is_elsewhere(loader)) {
        idstr = g_strescape(section->idstr, NULL);
        g_prefix_error(error, "section '%s' instance %u at 0x%"
                       G_GINT64_MODIFIER "x: ", idstr, section->instance_id,
                       section->offset);
        g_free(idstr);
    }
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
        place_elsewhere(loader, &section, error);
        return false;
    }
    __atomic_fetch_add(&loader->counters.sections, 1, __ATOMIC_RELAXED);
    vmload_ledger_book(loader->ledger, &section, &cost);
    if (!vmload_loader_is_elsewhere(loader) &&
        !vmload_pending_is_wanted(loader, &target)) {
        vmload_pending_note_applied(loader, &section);
    }
    vmload_loader_report_record(loader, reader, type, 0, offset,
                                vmload_reader_get_offset(reader) - offset,
                                &section);
    return vmload_loader_is_elsewhere(loader) ||
           vmload_pending_apply_ready(loader, error);
}

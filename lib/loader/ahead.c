/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VMLOAD_DEVICE_CONCURRENT: parses on workers.
 *
 * Only a section's own parse knows for sure where it ends, so nothing behind
 * it is dispatched before that is done. What can run at once is found without
 * dispatching: while the first parse runs, bytes are received, and sections
 * that follow in the window are parsed as well, as if their believed ends
 * were true. Their turn comes in the stream's order; if one of the ends was
 * false, what was parsed behind it is thrown away and has had no effect.
 *
 * The queue belongs to the loading thread. A worker touches one entry, from
 * its push until its job is done. Nothing here waits with the big lock held.
 */
#include "internal.h"

#include "error.h"
#include "host/pool.h"

#include <string.h>

/* Bytes shown behind a payload: a footer, and what devices peek past it. */
#define SHOWN_BEHIND 64

#define POOL_NAME "vmload-parse"
#define POOL_THREADS_MAX 8

/* Parses under way and done. */
#define AHEAD_MAX 16

/* How long one wait for bytes may keep us from seeing that a parse is done. */
#define SLICE_US 1000

typedef struct {
    VmloadJob job; /* first: the worker gets a pointer to it */
    const VmloadReader *reader;
    VmloadTarget target;
    VmloadSection section; /* idstr is the registry's */
    uint64_t candidate;
    uint8_t *data;
    uint64_t visible;
    uint64_t charged; /* against staged_bytes */
    VmloadFound found;
    VmloadCost cost;
    void *parsed;
    bool too_short;
    uint64_t stopped; /* where the parse did */
    GError *error;
} Parse;

typedef struct VmloadAhead {
    GQueue parses; /* of Parse, in the stream's order, without a gap */
    VmloadPool *pool;
    uint64_t scanned;   /* the payload whose end was looked for last, */
    uint64_t scan_from; /* and where to look on */
} Ahead;

static void parse_free(Parse *parse)
{
    vmload_found_discard(&parse->found, parse->parsed);
    g_clear_error(&parse->error);
    g_free(parse->data);
    g_free(parse);
}

void vmload_ahead_free(struct VmloadAhead *ahead)
{
    Parse *parse;

    if (ahead == NULL) {
        return;
    }
    /* Joins the workers before what they work on goes. */
    vmload_pool_free(ahead->pool);
    while ((parse = g_queue_pop_head(&ahead->parses)) != NULL) {
        parse_free(parse);
    }
    g_free(ahead);
}

static Ahead *get_ahead(VmloadLoader *loader, GError **error)
{
    Ahead *ahead = loader->ahead;

    if (ahead == NULL) {
        VmloadPool *pool = vmload_pool_new(
            &loader->ops, loader->opaque, POOL_NAME,
            MIN(g_get_num_processors(), POOL_THREADS_MAX), error);

        if (pool == NULL) {
            return NULL;
        }
        ahead = g_new0(Ahead, 1);
        g_queue_init(&ahead->parses);
        ahead->pool = pool;
        loader->ahead = ahead;
    }
    return ahead;
}

/* Any thread, no lock. */
static void run_parse(VmloadJob *job)
{
    Parse *parse = (Parse *)job;
    VmloadReader *reader = vmload_reader_new_staged_memory(
        parse->data, parse->visible, parse->candidate,
        parse->section.payload_offset);

    parse->parsed = vmload_found_parse(&parse->found, reader, &parse->section,
                                       &parse->cost, &parse->error);
    vmload_staged_result(reader, parse->parsed != NULL, parse->candidate,
                         false, &parse->too_short, &parse->error);
    parse->stopped = vmload_reader_get_offset(reader);
    vmload_reader_free(reader);
}

static Parse *first_parse(const VmloadLoader *loader)
{
    return loader->ahead != NULL ? g_queue_peek_head(&loader->ahead->parses)
                                 : NULL;
}

static void take_off(VmloadLoader *loader, Parse *parse)
{
    g_queue_remove(&loader->ahead->parses, parse);
    vmload_loader_unstage_bytes(loader, parse->charged);
}

/* Throws away what was parsed behind a false end, once it is done. */
static bool drop_all(VmloadLoader *loader, GError **error)
{
    Parse *parse;

    while ((parse = first_parse(loader)) != NULL) {
        if (!vmload_pool_wait(loader->ahead->pool, &parse->job,
                              loader->cancel, error)) {
            return false;
        }
        take_off(loader, parse);
        parse_free(parse);
    }
    return true;
}

bool vmload_ahead_has(VmloadLoader *loader, const VmloadReader *reader,
                      const VmloadTarget *target,
                      const VmloadSection *section)
{
    const Parse *parse = first_parse(loader);

    return parse != NULL && parse->reader == reader &&
           parse->target.registered == target->registered &&
           parse->section.payload_offset == section->payload_offset &&
           parse->section.type == section->type &&
           parse->section.section_id == section->section_id &&
           parse->section.version_id == section->version_id;
}

/* The payload begins at @data, of which @n bytes are there. */
static bool push(VmloadLoader *loader, const VmloadReader *reader,
                 const VmloadTarget *target, const VmloadSection *section,
                 const VmloadFound *found, const uint8_t *data, uint64_t n,
                 uint64_t candidate, GError **error)
{
    Ahead *ahead = get_ahead(loader, error);
    uint64_t visible = MIN(n, candidate + SHOWN_BEHIND);
    Parse *parse;

    if (ahead == NULL ||
        !vmload_loader_stage_bytes(loader, visible + sizeof(*parse), error)) {
        return false;
    }
    parse = g_new0(Parse, 1);
    parse->charged = visible + sizeof(*parse);
    parse->data = g_try_malloc(MAX(visible, 1));
    if (parse->data == NULL) {
        vmload_loader_unstage_bytes(loader, parse->charged);
        g_free(parse);
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "no memory for %" G_GUINT64_FORMAT
                           " staged bytes", visible);
    }
    memcpy(parse->data, data, visible);
    parse->visible = visible;
    parse->reader = reader;
    parse->target = *target;
    parse->section = *section;
    parse->section.idstr = target->registered->idstr;
    parse->section.payload_length = candidate;
    parse->candidate = candidate;
    parse->found = *found;
    parse->job.func = run_parse;
    g_queue_push_tail(&ahead->parses, parse);
    vmload_pool_push(ahead->pool, &parse->job);
    return true;
}

bool vmload_ahead_push(VmloadLoader *loader, const VmloadTarget *target,
                       const VmloadSection *section, VmloadReader *reader,
                       uint64_t candidate, GError **error)
{
    const uint8_t *data;
    VmloadFound found;
    VmloadCost cost = {0};
    uint64_t n;

    /* Of what was thought to be here: there is nothing behind this one. */
    if (!drop_all(loader, error) ||
        !vmload_target_find(loader, target, section, &found, &cost, error)) {
        return false;
    }
    data = vmload_reader_window(reader, &n);
    return push(loader, reader, target, section, &found, data, n, candidate,
                error);
}

/* Does the payload that begins at @data end among its @n bytes? */
static bool find_end(VmloadLoader *loader, const VmloadReader *reader,
                     const VmloadTarget *target, const VmloadSection *section,
                     const uint8_t *data, uint64_t n, uint64_t *candidate)
{
    Ahead *ahead = loader->ahead;
    VmloadStagingRules rules;
    const char *name;
    uint64_t max;

    if (ahead->scanned != section->payload_offset) {
        ahead->scanned = section->payload_offset;
        ahead->scan_from = 0;
    }
    vmload_stage_rules(loader, target, section, reader != loader->reader,
                       &rules, &max, &name);
    if (!vmload_staging_peek_end(data, n, &rules, &ahead->scan_from)) {
        return false;
    }
    *candidate = ahead->scan_from;
    /* Half of what is left: a guess must not be why the load fails. */
    return *candidate < max / 2;
}

/*
 * One more section that is in the window as a whole, behind the last one. Its
 * header is not believed here: only bytes are parsed.
 */
static bool look_ahead(VmloadLoader *loader, VmloadReader *reader)
{
    const Parse *last = g_queue_peek_tail(&loader->ahead->parses);
    uint64_t offset = vmload_reader_get_offset(reader);
    char idstr[VMLOAD_STR8_SIZE];
    VmloadSection section;
    VmloadTarget target;
    VmloadFound found;
    VmloadCost cost = {0};
    const uint8_t *data;
    uint64_t candidate;
    uint64_t at;
    uint64_t n;

    at = last->section.payload_offset + last->candidate + VMLOAD_FOOTER_SIZE;
    data = vmload_reader_window(reader, &n);
    if (at - offset >= n || loader->ahead->parses.length >= AHEAD_MAX ||
        !vmload_section_peek(loader->sections, data + (at - offset),
                             n - (at - offset), at, idstr, &section) ||
        !vmload_target_peek(loader, &section, &target) ||
        !vmload_target_is_concurrent(loader, &target)) {
        return false;
    }
    at = section.payload_offset - offset;
    return find_end(loader, reader, &target, &section, data + at, n - at,
                    &candidate) &&
           vmload_target_find(loader, &target, &section, &found, &cost,
                              NULL) &&
           push(loader, reader, &target, &section, &found, data + at, n - at,
                candidate, NULL);
}

/*
 * Receives what comes while the first parse runs. An error of the channel is
 * the reader's and comes up again when these bytes are wanted.
 */
static bool receive(VmloadLoader *loader, VmloadReader *reader)
{
    uint64_t max = loader->limits.staged_bytes -
                   __atomic_load_n(&loader->staged, __ATOMIC_RELAXED);
    bool silent = false;
    bool end;
    uint64_t n;

    vmload_reader_window(reader, &n);
    /* What is behind this section stays in a host's own buffer. */
    return n < max && !vmload_reader_is_source(reader) &&
           vmload_reader_grow(reader, 0, max, SLICE_US, &silent, &end, NULL) &&
           !end;
}

static bool wait_first(VmloadLoader *loader, VmloadReader *reader,
                       Parse *first, GError **error)
{
    bool more = true;

    while (more && !vmload_job_is_done(&first->job)) {
        if (!vmload_cancel_check(loader->cancel, error)) {
            return false;
        }
        while (look_ahead(loader, reader)) {
            continue;
        }
        more = receive(loader, reader);
    }
    return vmload_pool_wait(loader->ahead->pool, &first->job, loader->cancel,
                            error) &&
           /* A cancel that came meanwhile counts, whatever the parse says. */
           vmload_cancel_check(loader->cancel, error);
}

/* It is parsed, and ended where it was believed to. */
static bool accept(VmloadLoader *loader, const VmloadTarget *target,
                   VmloadSection *section, VmloadReader *reader,
                   Parse *parse, GError **error)
{
    VmloadAttempt attempt = {.found = parse->found};

    attempt.parsed = g_steal_pointer(&parse->parsed);
    section->payload_length = parse->candidate;
    vmload_reader_consume(reader, parse->candidate);
    return vmload_pending_add_parsed(loader, target, section, &attempt,
                                     error);
}

bool vmload_ahead_take(VmloadLoader *loader, const VmloadTarget *target,
                       VmloadSection *section, VmloadReader *reader,
                       VmloadCost *cost, bool *taken, GError **error)
{
    Parse *parse = first_parse(loader);
    bool ok = true;

    if (!wait_first(loader, reader, parse, error)) {
        return false;
    }
    take_off(loader, parse);
    cost->callback_ns += parse->cost.callback_ns;
    *taken = false;
    if (parse->too_short || (parse->error == NULL &&
                             parse->stopped != section->payload_offset +
                                                   parse->candidate)) {
        ok = drop_all(loader, error);
    } else if (parse->error != NULL) {
        vmload_loader_note_failure(loader, parse->stopped);
        g_propagate_error(error, g_steal_pointer(&parse->error));
        ok = false;
    } else {
        ok = accept(loader, target, section, reader, parse, error);
        *taken = ok;
    }
    parse_free(parse);
    return ok;
}

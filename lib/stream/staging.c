/* SPDX-License-Identifier: BSD-3-Clause */
#include "staging.h"

#include "command.h"

#include <string.h>

/*
 * A footer and EOF as the very last bytes that came are believed after this
 * silence: a source without a description, which waits for our answer.
 */
#define SETTLE_US (G_USEC_PER_SEC / 2)

/*
 * After a false end, and where there are no footers: so much silence means
 * that the source may be done.
 */
#define QUIET_US (G_USEC_PER_SEC / 100)

typedef enum {
    VERDICT_NO,   /* cannot be a record */
    VERDICT_MORE, /* could be one; more bytes are needed to tell */
    VERDICT_WEAK, /* could be one, and there are no more bytes */
    VERDICT_YES,
} Verdict;

typedef struct {
    const VmloadStagingRules *rules;
    bool end; /* no bytes will come behind the window */
} Scan;

static uint32_t load_be32(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT32_FROM_BE(value);
}

static Verdict verdict_short(const Scan *scan)
{
    return scan->end ? VERDICT_NO : VERDICT_MORE;
}

/* START or FULL: be32 id, printable str8, be32 instance, be32 version. */
static Verdict judge_announcement(const Scan *scan, const uint8_t *data,
                                  uint64_t n)
{
    uint64_t length;
    uint64_t i;

    if (n < 5) {
        return verdict_short(scan);
    }
    length = data[4];
    if (length == 0) {
        return VERDICT_NO;
    }
    for (i = 0; i < length && 5 + i < n; i++) {
        if (data[5 + i] < 0x20 || data[5 + i] > 0x7e) {
            return VERDICT_NO;
        }
    }
    return n < 5 + length + 8 ? verdict_short(scan) : VERDICT_YES;
}

/* PART or END: be32 id that was announced. */
static Verdict judge_continuation(const Scan *scan, const uint8_t *data,
                                  uint64_t n)
{
    if (n < 4) {
        return verdict_short(scan);
    }
    return vmload_section_table_has(scan->rules->table, load_be32(data))
               ? VERDICT_YES
               : VERDICT_NO;
}

/* COMMAND: be16 number, be16 length, both of a known pair. */
static Verdict judge_command(const Scan *scan, const uint8_t *data,
                             uint64_t n)
{
    if (n < 4) {
        return verdict_short(scan);
    }
    return vmload_command_length_is_valid(
               (uint32_t)(data[0] << 8 | data[1]),
               (uint32_t)(data[2] << 8 | data[3]))
               ? VERDICT_YES
               : VERDICT_NO;
}

/* EOF: the end of the bytes, or a description behind it. */
static Verdict judge_eof(const Scan *scan, const uint8_t *data, uint64_t n)
{
    if (n == 0) {
        return scan->end ? VERDICT_WEAK : VERDICT_MORE;
    }
    /* A package may have bytes behind its EOF (stream format, section 7). */
    if (scan->rules->nested) {
        return scan->end ? VERDICT_WEAK : VERDICT_MORE;
    }
    if (!scan->rules->vmdesc ||
        data[0] != VMLOAD_RECORD_VMDESC) {
        return VERDICT_NO;
    }
    if (n < 6) {
        return verdict_short(scan);
    }
    return data[5] == '{' ? VERDICT_YES : VERDICT_NO;
}

/* Is @data the beginning of a record? */
static Verdict judge_record(const Scan *scan, const uint8_t *data, uint64_t n)
{
    if (n == 0) {
        return scan->end ? VERDICT_WEAK : VERDICT_MORE;
    }
    switch (data[0]) {
    case VMLOAD_RECORD_START:
    case VMLOAD_RECORD_FULL:
        return judge_announcement(scan, data + 1, n - 1);
    case VMLOAD_RECORD_PART:
    case VMLOAD_RECORD_END:
        return judge_continuation(scan, data + 1, n - 1);
    case VMLOAD_RECORD_COMMAND:
        return judge_command(scan, data + 1, n - 1);
    case VMLOAD_RECORD_EOF:
        return judge_eof(scan, data + 1, n - 1);
    default:
        return VERDICT_NO;
    }
}

/* Is @data this section's footer, and the beginning of a record behind it? */
static Verdict judge_footer(const Scan *scan, const uint8_t *data, uint64_t n)
{
    if (data[0] != VMLOAD_RECORD_FOOTER) {
        return VERDICT_NO;
    }
    if (n < VMLOAD_FOOTER_SIZE) {
        return verdict_short(scan);
    }
    if (load_be32(data + 1) != scan->rules->section_id) {
        return VERDICT_NO;
    }
    return judge_record(scan, data + VMLOAD_FOOTER_SIZE,
                        n - VMLOAD_FOOTER_SIZE);
}

/*
 * Without footers only what has a name or a description is evidence: a
 * command or a PART is four bytes that occur in any payload.
 */
static Verdict judge_without_footer(const Scan *scan, const uint8_t *data,
                                    uint64_t n)
{
    switch (data[0]) {
    case VMLOAD_RECORD_START:
    case VMLOAD_RECORD_FULL:
    case VMLOAD_RECORD_EOF:
        return judge_record(scan, data, n);
    default:
        return VERDICT_NO;
    }
}

/*
 * The next place from @from on where a candidate can stand. One byte in 256 of
 * a ROM is a footer's: what has another id behind it is passed over here.
 */
static uint64_t next_place(const Scan *scan, const uint8_t *data, uint64_t n,
                           uint64_t from)
{
    const uint32_t id = GUINT32_TO_BE(scan->rules->section_id);
    const uint8_t *found;

    if (!scan->rules->footers) {
        return from;
    }
    while (from < n) {
        found = memchr(data + from, VMLOAD_RECORD_FOOTER, n - from);
        if (found == NULL) {
            break;
        }
        from = (uint64_t)(found - data);
        if (n - from < VMLOAD_FOOTER_SIZE ||
            memcmp(found + 1, &id, sizeof(id)) == 0) {
            return from;
        }
        from++;
    }
    return n;
}

/*
 * Scans the window from *@from on. Returns YES with the place in *@from, MORE
 * with the place to go on from, or WEAK with the last weak place.
 */
static Verdict scan_window(const Scan *scan, const uint8_t *data, uint64_t n,
                           uint64_t *from)
{
    Verdict best = VERDICT_MORE;
    uint64_t place;

    for (place = next_place(scan, data, n, *from); place < n;
         place = next_place(scan, data, n, place + 1)) {
        Verdict verdict =
            scan->rules->footers
                ? judge_footer(scan, data + place, n - place)
                : judge_without_footer(scan, data + place, n - place);

        if (verdict == VERDICT_YES || verdict == VERDICT_MORE) {
            *from = place;
            return verdict;
        }
        if (verdict == VERDICT_WEAK) {
            *from = place;
            best = VERDICT_WEAK;
        }
    }
    if (best != VERDICT_WEAK) {
        *from = n;
    }
    return best;
}

static bool no_end_found(VmloadReader *reader, GError **error)
{
    uint64_t n;

    vmload_reader_window(reader, &n);
    return vmload_reader_error(
        reader, error, VMLOAD_ERROR_TRUNCATED,
        "expected the section's end, found the end of the bytes after %"
        G_GUINT64_FORMAT, n);
}

/* The bound holds whatever happened to be buffered. Always false. */
static bool too_far(VmloadReader *reader, uint64_t max, GError **error)
{
    return vmload_reader_error(
        reader, error, VMLOAD_ERROR_LIMIT,
        "expected the section's end within %" G_GUINT64_FORMAT
        " bytes, by the limit section_bytes", max);
}

/* Is the undecided place the last thing in the window: footer and EOF? */
static bool is_settling(const VmloadStagingRules *rules, uint64_t rest)
{
    return rest == (rules->footers ? VMLOAD_FOOTER_SIZE + 1u : 1u);
}

/*
 * The bytes have ended without evidence. A device that was called at a false
 * end has them all now and says itself where it ends: that must not depend on
 * how many of them were there the first time.
 */
static bool take_all(VmloadReader *reader, const VmloadStagingRules *rules,
                     uint64_t n, uint64_t *candidate, VmloadEnd *end,
                     GError **error)
{
    if (!rules->asked || n < *candidate) {
        return no_end_found(reader, error);
    }
    *candidate = n;
    *end = VMLOAD_END_ALL;
    return true;
}

bool vmload_staging_find_end(VmloadReader *reader,
                             const VmloadStagingRules *rules,
                             uint64_t *candidate, VmloadEnd *end,
                             GError **error)
{
    Scan scan = {rules, vmload_reader_has_ended(reader)};
    bool quiet = false;
    const uint8_t *data;
    uint64_t from = *candidate;
    uint64_t n;

    *end = VMLOAD_END_EVIDENCE;
    while (true) {
        Verdict verdict = VERDICT_MORE;
        bool silent = false;
        bool ready;
        int64_t settle_us;

        data = vmload_reader_window(reader, &n);
        ready = n >= rules->least || quiet || scan.end;
        if (ready) {
            verdict = scan_window(&scan, data, n, &from);
        }
        if (verdict == VERDICT_YES || verdict == VERDICT_WEAK) {
            *candidate = from;
            *end = verdict == VERDICT_WEAK ? VMLOAD_END_WEAK
                                           : VMLOAD_END_EVIDENCE;
            return from <= rules->max || too_far(reader, rules->max, error);
        }
        if (scan.end) {
            return take_all(reader, rules, n, candidate, end, error);
        }
        settle_us = ready && is_settling(rules, n - from) ? SETTLE_US
                    : ready                               ? 0
                                                          : QUIET_US;
        if (!vmload_reader_grow(reader, from, rules->max, settle_us, &silent,
                                &scan.end, error)) {
            return false;
        }
        if (silent && ready) {
            *candidate = from;
            return true;
        }
        quiet = silent;
    }
}

bool vmload_staging_find_more(VmloadReader *reader, uint64_t max,
                              uint64_t *candidate, GError **error)
{
    /* At first what is there will do, if it is anything. */
    uint64_t wanted = *candidate > 0 ? *candidate - 1 : 0;
    /* A host that buffers shows only little at once. */
    uint64_t least =
        vmload_reader_is_source(reader) ? *candidate : MAX(2 * wanted, 1);
    bool end = vmload_reader_has_ended(reader);
    bool quiet = false;
    uint64_t n;

    vmload_reader_window(reader, &n);
    while (!end && (n < *candidate || n < 1 || (n < least && !quiet))) {
        bool silent = false;

        if (!vmload_reader_grow(reader, wanted, max,
                                n >= *candidate && n > 0 ? QUIET_US : 0,
                                &silent, &end, error)) {
            return false;
        }
        quiet = silent;
        vmload_reader_window(reader, &n);
    }
    if (n < *candidate) {
        return no_end_found(reader, error);
    }
    *candidate = n;
    return true;
}

bool vmload_staging_peek_end(const uint8_t *data, uint64_t n,
                             const VmloadStagingRules *rules,
                             uint64_t *candidate)
{
    const Scan scan = {rules, false};

    return scan_window(&scan, data, n, candidate) == VERDICT_YES &&
           *candidate <= rules->max;
}

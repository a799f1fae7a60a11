/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Staging: finding the end of a section that carries no length, without the
 * big lock and without the device's help.
 *
 * The scan looks for a footer of this section with the beginning of another
 * record behind it. It decides only *when* enough bytes are in memory to
 * take the lock; *where* the section ends is decided by the callback, which
 * must consume exactly up to a footer. So a coincidence in the payload
 * cannot make a wrong load succeed: a candidate that comes too early makes
 * the callback run past it, into bytes that are shown to it and are the
 * right ones; if they are not in memory, the load fails clean.
 *
 * What counts as the beginning of a record is strict (stream format,
 * section 12), since weak evidence does occur: section id 0 makes "footer,
 * EOF" a row of zeros behind a 0x7e, which the `timer` section shows once in
 * 256 migrations. A peer can forge any evidence, and gains an error by it:
 * the bytes it would smuggle past one device are hostile to every device
 * already.
 */
#ifndef VMLOAD_STREAM_STAGING_H
#define VMLOAD_STREAM_STAGING_H

#include "stream/reader.h"
#include "stream/section.h"

typedef struct {
    VmloadSectionTable *table; /* PART and END must be announced */
    uint32_t section_id;
    bool footers;   /* sections of this stream have footers */
    bool vmdesc;    /* a description may follow EOF */
    bool nested;    /* in a package: the bytes end where it ends */
    uint64_t max;   /* bytes that may be staged */
    bool asked;     /* the device was called already, at a false end */
    uint64_t least; /* it is not called again before so many bytes are there */
} VmloadStagingRules;

/* Why an end is believed. */
typedef enum {
    VMLOAD_END_EVIDENCE, /* a record behind it, or silence */
    VMLOAD_END_WEAK,     /* the bytes end there, and could have been cut */
    VMLOAD_END_ALL,      /* it is not: this is only all there is */
} VmloadEnd;

/*
 * Makes the window of @reader, which stands at a payload's first byte, long
 * enough to show the payload's believed end. *@candidate is its length, at
 * least what it holds at the call: 0 at first, one more than the last answer
 * to look for the next.
 *
 * VMLOAD_END_ALL is for a device that was called already (@rules->asked).
 */
bool vmload_staging_find_end(VmloadReader *reader,
                             const VmloadStagingRules *rules,
                             uint64_t *candidate, VmloadEnd *end,
                             GError **error);

/*
 * The same without evidence, for what may be called as often as one likes and
 * says itself where it ends: a `parse`, where there are no footers. *@candidate
 * is all there is; the next time it is twice that, or less if nothing comes.
 */
bool vmload_staging_find_more(VmloadReader *reader, uint64_t max,
                              uint64_t *candidate, GError **error);

/*
 * Looks for a payload's believed end in @n bytes that begin with it, from
 * *@candidate on. False: it is not among them, or more are needed to tell;
 * *@candidate is where to go on when there are.
 */
bool vmload_staging_peek_end(const uint8_t *data, uint64_t n,
                             const VmloadStagingRules *rules,
                             uint64_t *candidate);

#endif

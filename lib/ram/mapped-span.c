/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loading of a span: runs of pages that are in the file are read straight to
 * their place with large requests; what is between them is zero, and is
 * neither read nor, where memory is known to be zero, touched.
 */
#include "mapped-span.h"

#include "error.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define U64 "%" G_GUINT64_FORMAT
#define X64 "0x%" G_GINT64_MODIFIER "x"

/* One request: large enough to be cheap, and a cancel waits for it. */
#define SPAN_REQUEST ((uint64_t)4 * 1024 * 1024)

/* What O_DIRECT wants of addresses, offsets and lengths, nearly always. */
#define SPAN_DIRECT_UNIT ((uint64_t)4096)

/* A sink of the host's gets a page, or a piece of it, at a time. */
#define SPAN_PIECE ((uint64_t)64 * 1024)

/* For sinks without memory: stays in a processor's cache on its way. */
#define SPAN_SCRATCH ((uint64_t)256 * 1024)

/* Pages of a span that are loaded, by kind. */
typedef struct {
    uint64_t normal;
    uint64_t zero;
    uint64_t stored;
} SpanCount;

static uint64_t span_page_size(const VmloadSpan *span)
{
    return vmload_ram_page_size(span->source->ram);
}

/* In the block, of page @n of the span. */
static uint64_t span_offset(const VmloadSpan *span, uint64_t n)
{
    return (span->first_page + n) * span_page_size(span);
}

/* The first page from @from on whose bit is @value; n_pages: none is. */
static uint64_t span_find(const VmloadSpan *span, uint64_t from, bool value)
{
    uint64_t flip = value ? 0 : UINT64_MAX;

    while (from < span->n_pages) {
        uint64_t word = (span->words[from / 64] ^ flip) >> (from % 64);

        if (word != 0) {
            from += (uint64_t)__builtin_ctzll(word);
            return MIN(from, span->n_pages);
        }
        from += 64 - from % 64;
    }
    return span->n_pages;
}

static bool span_truncated(uint64_t position, uint64_t wanted, uint64_t got,
                           GError **error)
{
    return vmload_fail(error, VMLOAD_ERROR_TRUNCATED,
                       "file offset " X64 ": expected " U64
                       " bytes of pages, found the end of the file after "
                       U64, position, wanted, got);
}

/*
 * How much of a read O_DIRECT can do; 0: none of it. What is not aligned at
 * the beginning is *@before, to be read in the usual way.
 */
static uint64_t span_direct_length(const VmloadSpanSource *source,
                                   const uint8_t *dest, uint64_t position,
                                   uint64_t length, uint64_t *before)
{
    const uint64_t mask = SPAN_DIRECT_UNIT - 1;

    *before = 0;
    if (source->direct < 0 ||
        (((uint64_t)(uintptr_t)dest ^ position) & mask) != 0) {
        return 0;
    }
    *before = (SPAN_DIRECT_UNIT - (position & mask)) & mask;
    if (*before >= length) {
        *before = 0;
        return 0;
    }
    return (length - *before) & ~mask;
}

/*
 * Reads past the page cache. What it refuses is no error: 0, and the usual
 * way tells what is wrong, if anything is.
 */
static uint64_t span_read_direct(const VmloadSpanSource *source,
                                 uint8_t *dest, uint64_t position,
                                 uint64_t length)
{
    ssize_t got;

    do {
        got = pread(source->direct, dest, (size_t)length, (off_t)position);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        return 0;
    }
    vmload_reader_count(source->reader, (uint64_t)got);
    return (uint64_t)got;
}

static bool span_is_stopped(const VmloadSpanSource *source)
{
    return __atomic_load_n(&source->stop, __ATOMIC_RELAXED) != 0;
}

/* @length bytes, all of them. */
static bool span_read(const VmloadSpanSource *source, uint8_t *dest,
                      uint64_t position, uint64_t length, GError **error)
{
    uint64_t done = 0;

    while (done < length) {
        uint64_t step = MIN(length - done, SPAN_REQUEST);
        uint64_t before;
        uint64_t direct = span_direct_length(source, dest + done,
                                             position + done, step, &before);
        struct iovec iov;
        int64_t got;

        if (direct > 0 && before == 0) {
            direct = span_read_direct(source, dest + done, position + done,
                                      direct);
            done += direct;
            if (direct > 0) {
                continue;
            }
        } else if (direct > 0) {
            step = before;
        }
        iov.iov_base = dest + done;
        iov.iov_len = (size_t)step;
        got = vmload_reader_preadv(source->reader, &iov, 1, position + done,
                                   error);
        if (got < 0) {
            return false;
        }
        if (got == 0) {
            return span_truncated(position, length, done, error);
        }
        done += (uint64_t)got;
    }
    return true;
}

/* For a block without memory: @length bytes at @offset, piece by piece. */
static bool span_write(VmloadSpan *span, uint64_t offset, uint64_t position,
                       uint64_t length, GError **error)
{
    VmloadRamSink *sink = span->block->sink;
    uint64_t piece = MIN(span_page_size(span), SPAN_PIECE);
    uint8_t *scratch = vmload_ram_scratch(&span->scratch, SPAN_SCRATCH, error);
    uint64_t done;

    if (scratch == NULL ||
        !span_read(span->source, scratch, position, length, error)) {
        return false;
    }
    if (vmload_sink_stores(sink)) {
        return vmload_sink_store(sink, offset, scratch, length, error);
    }
    for (done = 0; done < length; done += piece) {
        if (!vmload_sink_write(sink, offset + done, scratch + done, piece,
                               error)) {
            return false;
        }
    }
    return true;
}

/* Nothing is kept: is it there? One byte of the last page tells. */
static bool span_probe(VmloadSpan *span, uint64_t position, uint64_t length,
                       GError **error)
{
    uint8_t byte;

    return span_read(span->source, &byte, position + length - 1, 1, error);
}

/* Pages @from to @to - 1, which are in the file. */
static bool span_load_run(VmloadSpan *span, uint64_t from, uint64_t to,
                          GError **error)
{
    uint64_t position = span->position + from * span_page_size(span);
    uint64_t offset = span_offset(span, from);
    uint64_t length = (to - from) * span_page_size(span);
    VmloadRamSink *sink = span->block->sink;
    uint64_t done;

    if (sink->discards) {
        return span_probe(span, position, length, error);
    }
    for (done = 0; done < length;) {
        uint64_t step =
            MIN(length - done,
                sink->host != NULL ? SPAN_REQUEST : SPAN_SCRATCH);
        bool ok;

        if (span_is_stopped(span->source)) {
            return false;
        }
        ok = sink->host != NULL
                 ? span_read(span->source, sink->host + offset + done,
                             position + done, step, error)
                 : span_write(span, offset + done, position + done, step,
                              error);
        if (!ok) {
            return false;
        }
        done += step;
    }
    return true;
}

/* Pages @from to @to - 1, which are zero. @before: what was claimed. */
static bool span_zero_run(VmloadSpan *span, uint64_t from, uint64_t to,
                          const uint64_t *before, SpanCount *count,
                          GError **error)
{
    uint64_t page;

    for (page = from; page < to; page++) {
        bool stored = false;

        if (page % 64 == 0 && span->block->starts_zero &&
            before[page / 64] == 0 && to - page >= 64) {
            page += 63;
            continue;
        }
        if (page % 64 == 0 && span_is_stopped(span->source)) {
            return false;
        }
        if (!vmload_ram_block_zero(span->block, span_offset(span, page),
                                   span_page_size(span),
                                   (before[page / 64] >> (page % 64) & 1) != 0,
                                   &stored, error)) {
            return false;
        }
        count->stored += stored ? 1 : 0;
    }
    return true;
}

/* Marks all pages as received. */
static void span_claim(VmloadSpan *span, uint64_t *before, SpanCount *count)
{
    uint64_t page;

    for (page = 0; page < span->n_pages; page += 64) {
        uint64_t left = span->n_pages - page;
        uint64_t mask = left < 64 ? ((uint64_t)1 << left) - 1 : UINT64_MAX;
        uint64_t word = span->words[page / 64];

        before[page / 64] = vmload_ram_block_claim_word(
            span->block, (span->first_page + page) / 64, mask);
        count->normal += (uint64_t)__builtin_popcountll(word);
        count->zero += (uint64_t)__builtin_popcountll(~word & mask);
    }
}

static void span_publish(const VmloadSpan *span, const SpanCount *count)
{
    VmloadRamCounters *counters = &span->source->ram->counters;
    uint64_t placed = count->stored;

    if (!span->block->sink->discards) {
        placed += count->normal;
    }
    __atomic_fetch_add(&counters->pages_normal, count->normal,
                       __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters->pages_zero, count->zero, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters->bytes_placed,
                       placed * span_page_size(span), __ATOMIC_RELAXED);
    __atomic_fetch_add(&span->block->mapped_pages, count->normal,
                       __ATOMIC_RELAXED);
}

/* Zeros and content alternate. *@page: where it failed. */
static bool span_load(VmloadSpan *span, uint64_t *page, GError **error)
{
    uint64_t before[VMLOAD_SPAN_WORDS] = {0};
    SpanCount count = {0};
    uint64_t next;

    span_claim(span, before, &count);
    for (*page = 0; *page < span->n_pages; *page = next) {
        next = span_find(span, *page, true);
        if (!span_zero_run(span, *page, next, before, &count, error)) {
            return false;
        }
        *page = next;
        next = span_find(span, next, false);
        if (*page < next && !span_load_run(span, *page, next, error)) {
            return false;
        }
    }
    span_publish(span, &count);
    return true;
}

void vmload_span_run(VmloadSpan *span)
{
    GError *error = NULL;
    uint64_t page;
    bool ok;
    char *name;

    if (span_is_stopped(span->source)) {
        return;
    }
    ok = span_load(span, &page, &error);
    g_clear_pointer(&span->scratch, g_free);
    if (ok) {
        return;
    }
    if (error != NULL) {
        name = g_strescape(span->block->idstr, NULL);
        g_prefix_error(&error, "RAM block '%s' page " X64 ": ", name,
                       span_offset(span, page));
        g_free(name);
    }
    span->error = error;
    __atomic_store_n(&span->source->stop, 1, __ATOMIC_RELAXED);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The headers of mapped-ram, and who reads what they lead to. The format is
 * told in docs/mapped-ram.md.
 */
#include "mapped.h"

#include "error.h"
#include "mapped-span.h"

#include <string.h>
#include <unistd.h>

#define U64 "%" G_GUINT64_FORMAT
#define X64 "0x%" G_GINT64_MODIFIER "x"

#define MAPPED_VERSION 1

/* The bitmap is read in pieces, so that memory does not grow with it. */
#define MAPPED_PIECE_WORDS ((uint64_t)8192)

/* Spans on their way, for each thread: it is not to wait for the bitmap. */
#define MAPPED_SPANS 4

typedef struct {
    uint32_t version;
    uint64_t page_size;
    uint64_t bitmap_offset;
    uint64_t pages_offset;
} MappedHeader;

/*
 * @pool: NULL: spans are loaded as they are found.
 * @spans: a ring; @next is taken next, and may still be busy.
 */
struct VmloadMapped {
    VmloadSpanSource source;
    VmloadReader *reader;
    VmloadPool *pool;
    VmloadSpan *spans;
    bool *busy;
    uint32_t n_spans;
    uint32_t next;
    uint64_t words[MAPPED_PIECE_WORDS];
};

static bool mapped_make_pool(VmloadMapped *mapped, GError **error)
{
    VmloadRam *ram = mapped->source.ram;

    mapped->n_spans = 1;
    if (ram->threads > 1 && ram->env.pool != NULL) {
        mapped->pool = ram->env.pool(ram->env.opaque, "vmload-ram",
                                     ram->threads, error);
        if (mapped->pool == NULL) {
            return false;
        }
        mapped->n_spans = ram->threads * MAPPED_SPANS;
    }
    mapped->spans = g_try_new0(VmloadSpan, mapped->n_spans);
    mapped->busy = g_try_new0(bool, mapped->n_spans);
    return (mapped->spans != NULL && mapped->busy != NULL) ||
           vmload_fail(error, VMLOAD_ERROR_LIMIT, "no memory for %u spans",
                       mapped->n_spans);
}

static void mapped_free(VmloadMapped *mapped)
{
    uint32_t i;

    vmload_pool_free(mapped->pool);
    for (i = 0; mapped->spans != NULL && i < mapped->n_spans; i++) {
        g_clear_error(&mapped->spans[i].error);
    }
    if (mapped->source.direct >= 0) {
        close(mapped->source.direct);
    }
    g_free(mapped->busy);
    g_free(mapped->spans);
    g_free(mapped);
}

VmloadMapped *vmload_mapped_new(VmloadRam *ram, VmloadReader *reader,
                                GError **error)
{
    VmloadMapped *mapped;

    if (!vmload_reader_is_seekable(reader)) {
        vmload_reader_error(reader, error, VMLOAD_ERROR_UNSUPPORTED,
                            "expected a file, since the stream has the "
                            "capability mapped-ram, found a channel that "
                            "cannot be read at an offset");
        return NULL;
    }
    mapped = g_try_new0(VmloadMapped, 1);
    if (mapped == NULL) {
        vmload_fail(error, VMLOAD_ERROR_LIMIT, "no memory for a bitmap");
        return NULL;
    }
    mapped->source.ram = ram;
    mapped->source.reader = reader;
    mapped->source.direct = -1;
    mapped->reader = reader;
    if (!mapped_make_pool(mapped, error)) {
        mapped_free(mapped);
        return NULL;
    }
    if (ram->direct_io) {
        mapped->source.direct =
            vmload_channel_open_direct(vmload_reader_get_channel(reader));
    }
    return mapped;
}

static bool mapped_read_header(VmloadMapped *mapped, MappedHeader *header,
                               GError **error)
{
    VmloadReader *reader = mapped->reader;
    uint64_t page_size = vmload_ram_page_size(mapped->source.ram);

    if (!vmload_reader_get_be32(reader, &header->version, error) ||
        !vmload_reader_get_be64(reader, &header->page_size, error) ||
        !vmload_reader_get_be64(reader, &header->bitmap_offset, error) ||
        !vmload_reader_get_be64(reader, &header->pages_offset, error)) {
        g_prefix_error(error, "mapped-ram header: ");
        return false;
    }
    if (header->version > MAPPED_VERSION) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_UNSUPPORTED,
                                   "expected mapped-ram version %d, found %u",
                                   MAPPED_VERSION, header->version);
    }
    if (header->page_size != page_size) {
        return vmload_reader_error(reader, error,
                                   header->page_size == 0
                                       ? VMLOAD_ERROR_MALFORMED
                                       : VMLOAD_ERROR_MISMATCH,
                                   "expected a mapped-ram header for pages "
                                   "of " U64 " bytes, found " U64,
                                   page_size, header->page_size);
    }
    return true;
}

/* Bytes of the bitmap: whole words of 64 bits. */
static uint64_t mapped_bitmap_size(uint64_t n_pages)
{
    return (n_pages / 64 + (n_pages % 64 != 0 ? 1 : 0)) * 8;
}

/*
 * What the writer lays out in order must be in order: header, bitmap, pages,
 * and the rest of the stream. So every jump goes forward, and no bitmap is
 * read out of pages or records.
 */
static bool mapped_check_places(VmloadMapped *mapped,
                                const MappedHeader *header, uint64_t length,
                                GError **error)
{
    VmloadReader *reader = mapped->reader;
    uint64_t here = vmload_reader_get_position(reader);
    uint64_t size = mapped_bitmap_size(length / header->page_size);

    if (header->bitmap_offset < here ||
        header->bitmap_offset > G_MAXINT64 - size) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a bitmap at file offset " X64
                                   " or behind, found it at " X64,
                                   here, header->bitmap_offset);
    }
    if (header->pages_offset % header->page_size != 0) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected pages at a multiple of " U64
                                   " bytes, found them at file offset " X64,
                                   header->page_size, header->pages_offset);
    }
    if (header->pages_offset < header->bitmap_offset + size ||
        length > (uint64_t)G_MAXINT64 ||
        header->pages_offset > (uint64_t)G_MAXINT64 - length) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected " U64 " bytes of pages at file "
                                   "offset " X64 " or behind, found them at "
                                   X64,
                                   length, header->bitmap_offset + size,
                                   header->pages_offset);
    }
    return true;
}

/* Words @first and up of the bitmap, into mapped->words. */
static bool mapped_read_words(VmloadMapped *mapped,
                              const MappedHeader *header, uint64_t first,
                              uint64_t n, GError **error)
{
    uint64_t position = header->bitmap_offset + first * 8;
    uint64_t done = 0;

    while (done < n * 8) {
        struct iovec iov = {
            .iov_base = (uint8_t *)mapped->words + done,
            .iov_len = (size_t)(n * 8 - done),
        };
        int64_t got = vmload_reader_preadv(mapped->reader, &iov, 1,
                                           position + done, error);

        if (got < 0) {
            return false;
        }
        if (got == 0) {
            return vmload_fail(error, VMLOAD_ERROR_TRUNCATED,
                               "file offset " X64 ": expected " U64
                               " bytes of a bitmap, found the end of the "
                               "file after " U64, position, n * 8, done);
        }
        done += (uint64_t)got;
    }
    return true;
}

/*
 * A bit without a page: the bitmap is none, or one of a machine whose words
 * have another byte order (docs/mapped-ram.md).
 */
static bool mapped_check_tail(VmloadMapped *mapped,
                              const MappedHeader *header, uint64_t n_pages,
                              uint64_t word, GError **error)
{
    if (n_pages % 64 == 0 || word >> (n_pages % 64) == 0) {
        return true;
    }
    return vmload_reader_error(
        mapped->reader, error, VMLOAD_ERROR_MALFORMED,
        "file offset " X64 ": expected bits for " U64
        " pages, found the last word of the bitmap to be " X64,
        header->bitmap_offset + n_pages / 64 * 8, n_pages, word);
}

static void mapped_run_job(VmloadJob *job)
{
    vmload_span_run((VmloadSpan *)job);
}

static bool mapped_wait(VmloadMapped *mapped, uint32_t i, GError **error)
{
    if (mapped->busy[i] &&
        !vmload_pool_wait(mapped->pool, &mapped->spans[i].job,
                          mapped->source.ram->env.cancel, error)) {
        return false;
    }
    mapped->busy[i] = false;
    return mapped->spans[i].error == NULL;
}

/* A span that nobody uses; NULL: something went wrong elsewhere. */
static VmloadSpan *mapped_take_span(VmloadMapped *mapped, GError **error)
{
    if (!mapped_wait(mapped, mapped->next, error) ||
        __atomic_load_n(&mapped->source.stop, __ATOMIC_RELAXED) != 0) {
        return NULL;
    }
    return &mapped->spans[mapped->next];
}

/*
 * A sink of the host's takes one call at a time, on this thread; with a null
 * sink there is next to nothing to do.
 */
static bool mapped_give_span(VmloadMapped *mapped, VmloadSpan *span)
{
    if (mapped->pool == NULL || !vmload_sink_stores(span->block->sink)) {
        vmload_span_run(span);
        return span->error == NULL;
    }
    span->job.func = mapped_run_job;
    mapped->busy[mapped->next] = true;
    mapped->next = (mapped->next + 1) % mapped->n_spans;
    vmload_pool_push(mapped->pool, &span->job);
    return true;
}

/* The pages of @n words from word @first of the bitmap on. */
static bool mapped_load_words(VmloadMapped *mapped, VmloadRamBlock *block,
                              const MappedHeader *header, uint64_t n_pages,
                              uint64_t first, uint64_t n, GError **error)
{
    uint64_t done;

    for (done = 0; done < n; done += VMLOAD_SPAN_WORDS) {
        uint64_t words = MIN(n - done, (uint64_t)VMLOAD_SPAN_WORDS);
        VmloadSpan *span = mapped_take_span(mapped, error);

        if (span == NULL) {
            return false;
        }
        span->source = &mapped->source;
        span->block = block;
        span->first_page = (first + done) * 64;
        span->n_pages = MIN(words * 64, n_pages - span->first_page);
        span->position =
            header->pages_offset + span->first_page * header->page_size;
        memcpy(span->words, mapped->words + done, words * 8);
        if (!mapped_give_span(mapped, span)) {
            return false;
        }
    }
    return true;
}

static bool mapped_load_pages(VmloadMapped *mapped, VmloadRamBlock *block,
                              const MappedHeader *header, uint64_t length,
                              GError **error)
{
    uint64_t n_pages = length / header->page_size;
    uint64_t n_words = mapped_bitmap_size(n_pages) / 8;
    uint64_t first;

    for (first = 0; first < n_words; first += MAPPED_PIECE_WORDS) {
        uint64_t n = MIN(n_words - first, MAPPED_PIECE_WORDS);

        if (!mapped_read_words(mapped, header, first, n, error) ||
            (first + n == n_words &&
             !mapped_check_tail(mapped, header, n_pages,
                                mapped->words[n - 1], error)) ||
            !mapped_load_words(mapped, block, header, n_pages, first, n,
                               error)) {
            return false;
        }
    }
    return true;
}

static void mapped_note(VmloadRamBlock *block, const MappedHeader *header)
{
    __atomic_store_n(&block->mapped_version, header->version,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&block->mapped_bitmap_offset, header->bitmap_offset,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&block->mapped_pages_offset, header->pages_offset,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&block->mapped_pages, 0, __ATOMIC_RELAXED);
    /* Last: it says that the others are there. */
    __atomic_store_n(&block->mapped_page_size, header->page_size,
                     __ATOMIC_RELEASE);
}

/* Is the content of the block somewhere else, shared (docs/mapped-ram.md)? */
static bool mapped_is_elsewhere(VmloadMapped *mapped,
                                const MappedHeader *header)
{
    return mapped->source.ram->ignore_shared && header->bitmap_offset == 0 &&
           header->pages_offset == 0;
}

bool vmload_mapped_load_block(VmloadMapped *mapped, VmloadRamBlock *block,
                              uint64_t length, GError **error)
{
    MappedHeader header;

    if (!mapped_read_header(mapped, &header, error)) {
        return false;
    }
    if (mapped_is_elsewhere(mapped, &header)) {
        mapped_note(block, &header);
        return true;
    }
    if ((block->flags & VMLOAD_RAM_IGNORED) != 0) {
        return vmload_reader_error(mapped->reader, error,
                                   VMLOAD_ERROR_MISMATCH,
                                   "expected no content of an ignored block, "
                                   "found some at file offset " X64,
                                   header.pages_offset);
    }
    if (!mapped_check_places(mapped, &header, length, error)) {
        return false;
    }
    mapped_note(block, &header);
    if (!mapped_load_pages(mapped, block, &header, length, error) ||
        !vmload_sink_idle(block->sink, error)) {
        return false;
    }
    vmload_reader_seek(mapped->reader, header.pages_offset + length);
    return true;
}

/* What a reader has failed with, if any. */
static GError *mapped_steal_error(VmloadMapped *mapped)
{
    GError *found = NULL;
    uint32_t i;

    for (i = 0; i < mapped->n_spans && found == NULL; i++) {
        found = g_steal_pointer(&mapped->spans[i].error);
    }
    return found;
}

bool vmload_mapped_end(VmloadMapped *mapped, bool ok, GError **error)
{
    GError *found;
    uint32_t i;

    /*
     * Also where it has failed already: what readers find lies before that
     * in the file, and is what is really wrong. They are few, and see a
     * cancel themselves.
     */
    for (i = 0; i < mapped->n_spans; i++) {
        GError *local = NULL;

        ok = mapped_wait(mapped, i, &local) && ok;
        if (local != NULL) {
            /* Cancelled, which readers that only zero do not look at. */
            __atomic_store_n(&mapped->source.stop, 1, __ATOMIC_RELAXED);
            if (error == NULL || *error != NULL) {
                g_error_free(local);
            } else {
                g_propagate_error(error, local);
            }
        }
    }
    /* Joins the readers: from here on nobody else touches a span. */
    vmload_pool_free(g_steal_pointer(&mapped->pool));
    found = mapped_steal_error(mapped);
    if (found != NULL) {
        g_clear_error(error);
        g_propagate_error(error, found);
        ok = false;
    }
    mapped_free(mapped);
    return ok;
}

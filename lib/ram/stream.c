/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page stream: the payload of every section "ram" is a sequence of
 * records up to EOS (RAM format, sections 3 and 5).
 */
#include "private.h"

#include "error.h"
#include "places.h"
#include "run.h"
#include "straight.h"
#include "xbzrle.h"

#define X64 "0x%" G_GINT64_MODIFIER "x"

/*
 * Where so many bytes of runs have come, several threads go on; more where
 * that turned out to be short.
 */
#define RAM_WORTH_MIN ((uint64_t)512 * 1024)
#define RAM_WORTH_MAX ((uint64_t)16 * 1024 * 1024)

/* Sinks without memory get pages in pieces of at most this. */
#define RAM_PIECE ((uint64_t)64 * 1024)

/* How many pages may be missing in the counters that others see. */
#define RAM_COUNT_EVERY 64

static void ram_publish(uint64_t *counter, uint64_t *pending)
{
    __atomic_fetch_add(counter, *pending, __ATOMIC_RELAXED);
    *pending = 0;
}

static void ram_publish_counters(VmloadRam *ram)
{
    VmloadRamCounters *pending = &ram->pending;

    ram_publish(&ram->counters.pages_normal, &pending->pages_normal);
    ram_publish(&ram->counters.pages_zero, &pending->pages_zero);
    ram_publish(&ram->counters.pages_xbzrle, &pending->pages_xbzrle);
    ram_publish(&ram->counters.bytes_placed, &pending->bytes_placed);
    ram->pending_records = 0;
}

static void ram_count(VmloadRam *ram, uint64_t *pages, uint64_t n,
                      uint64_t stored)
{
    *pages += n;
    ram->pending.bytes_placed += stored * vmload_ram_page_size(ram);
    ram->pending_records += 1;
    if (ram->pending_records >= RAM_COUNT_EVERY) {
        ram_publish_counters(ram);
    }
}

/* A page record names its block, or goes on with the one before. */
static bool ram_find_block(VmloadRam *ram, VmloadReader *reader, bool same,
                           GError **error)
{
    char idstr[VMLOAD_STR8_SIZE];
    VmloadRamBlock *block;
    char *name;

    if (same) {
        return ram->last_block != NULL ||
               vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a RAM block's name, found "
                                   "CONTINUE before any");
    }
    if (!vmload_reader_get_str8(reader, idstr, NULL, error)) {
        return false;
    }
    block = vmload_ram_find_block(ram, idstr);
    if (block == NULL || block->list == 0) {
        name = g_strescape(idstr, NULL);
        vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                            "expected the name of a listed RAM block, found "
                            "'%s'",
                            name);
        g_free(name);
        return false;
    }
    if (block != ram->last_block && ram->last_block != NULL &&
        !vmload_sink_idle(ram->last_block->sink, error)) {
        return false;
    }
    ram->last_block = block;
    return true;
}

static bool ram_check_page(VmloadRam *ram, VmloadReader *reader,
                           uint64_t offset, GError **error)
{
    const VmloadRamBlock *block = ram->last_block;
    uint64_t page_size = vmload_ram_page_size(ram);

    if (offset >= block->length || page_size > block->length - offset) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a page inside " X64
                                   " bytes, found one outside",
                                   block->length);
    }
    if ((block->flags & VMLOAD_RAM_IGNORED) != 0) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MISMATCH,
                                   "expected no page of an ignored block, "
                                   "found one");
    }
    return true;
}

static bool ram_load_zero(VmloadRam *ram, VmloadReader *reader,
                          uint64_t offset, GError **error)
{
    VmloadRamBlock *block = ram->last_block;
    bool stored;
    bool before;
    uint8_t fill;

    if (!vmload_reader_get_u8(reader, &fill, error)) {
        return false;
    }
    if (fill != 0) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a zero page, found one of 0x%02x",
                                   fill);
    }
    before = vmload_ram_block_claim(block, offset);
    if (!vmload_ram_block_zero(block, offset, vmload_ram_page_size(ram),
                               before, &stored, error)) {
        return false;
    }
    ram_count(ram, &ram->pending.pages_zero, 1, stored ? 1 : 0);
    return true;
}

/* For a sink without memory: from the reader's window if it is all there. */
static bool ram_write_piece(VmloadRam *ram, VmloadReader *reader,
                            uint64_t offset, uint64_t length, GError **error)
{
    VmloadRamSink *sink = ram->last_block->sink;
    const uint8_t *data;
    uint64_t available;

    data = vmload_reader_window(reader, &available);
    if (available >= length) {
        if (!vmload_sink_write(sink, offset, data, length, error)) {
            return false;
        }
        vmload_reader_consume(reader, length);
        return true;
    }
    data = vmload_ram_scratch(&ram->page, vmload_ram_page_size(ram), error);
    return data != NULL &&
           vmload_reader_read(reader, ram->page, length, error) &&
           vmload_sink_write(sink, offset, data, length, error);
}

/*
 * A copy out of the window beats a read to the place: what is there is taken
 * in large reads, not as the rest of a page and what is behind it.
 */
static bool ram_read_memory(VmloadRam *ram, VmloadReader *reader,
                            uint8_t *dest, GError **error)
{
    uint64_t page_size = vmload_ram_page_size(ram);
    uint64_t available;
    const uint8_t *data;

    /* Where it is not there, the read below tells. */
    return (page_size > RAM_PIECE ||
            vmload_reader_peek(reader, page_size, &data, &available,
                               error)) &&
           vmload_reader_read(reader, dest, page_size, error);
}

static bool ram_load_normal(VmloadRam *ram, VmloadReader *reader,
                            uint64_t offset, GError **error)
{
    VmloadRamBlock *block = ram->last_block;
    uint64_t page_size = vmload_ram_page_size(ram);
    uint64_t done = 0;
    bool ok = true;

    vmload_ram_block_claim(block, offset);
    vmload_ram_note_straight(ram, block, offset, 1, true);
    vmload_prefault_note(&ram->prefault, &ram->cursor, block, offset, 1,
                         false, page_size);
    if (block->sink->host != NULL) {
        ok = ram_read_memory(ram, reader, block->sink->host + offset, error);
    } else if (block->sink->discards) {
        ok = vmload_reader_skip(reader, page_size, error);
    } else {
        while (ok && done < page_size) {
            uint64_t n = MIN(page_size - done, RAM_PIECE);

            ok = ram_write_piece(ram, reader, offset + done, n, error);
            done += n;
        }
    }
    if (ok) {
        ram_count(ram, &ram->pending.pages_normal, 1,
                  !block->sink->discards ? 1 : 0);
    }
    return ok;
}

/* The page as it is, to be changed: in place, or a copy of it. */
static uint8_t *ram_borrow_page(VmloadRam *ram, uint64_t offset,
                                GError **error)
{
    VmloadRamSink *sink = ram->last_block->sink;
    uint64_t page_size = vmload_ram_page_size(ram);

    if (sink->host != NULL) {
        return sink->host + offset;
    }
    if (vmload_ram_scratch(&ram->page, page_size, error) == NULL ||
        !vmload_sink_read(sink, offset, ram->page, page_size, error)) {
        return NULL;
    }
    return ram->page;
}

/* RAM format, section 6: the encoding, always 1, and a delta. */
static bool ram_load_xbzrle(VmloadRam *ram, VmloadReader *reader,
                            uint64_t offset, GError **error)
{
    VmloadRamSink *sink = ram->last_block->sink;
    uint64_t page_size = vmload_ram_page_size(ram);
    uint64_t available;
    const uint8_t *delta;
    uint16_t length;
    uint8_t encoding;
    uint8_t *page;

    ram->run_bytes = 0;
    if (!vmload_reader_get_u8(reader, &encoding, error) ||
        !vmload_reader_get_be16(reader, &length, error)) {
        return false;
    }
    if (encoding != 1 || length > page_size) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected XBZRLE encoding 1 of at most a "
                                   "page, found encoding %u of %u bytes",
                                   encoding, length);
    }
    if (!vmload_reader_peek(reader, length, &delta, &available, error)) {
        return false;
    }
    if (available < length) {
        /* Not there: this sets the reader's own error. */
        return vmload_reader_skip(reader, length, error);
    }
    vmload_ram_block_claim(ram->last_block, offset);
    page = ram_borrow_page(ram, offset, error);
    if (page == NULL ||
        !vmload_xbzrle_decode(page, page_size, delta, length, error) ||
        (page == ram->page &&
         !vmload_sink_write(sink, offset, page, page_size, error))) {
        return false;
    }
    vmload_reader_consume(reader, length);
    ram_count(ram, &ram->pending.pages_xbzrle, 1, !sink->discards ? 1 : 0);
    return true;
}

static bool ram_load_compressed(VmloadRam *ram, VmloadReader *reader,
                                uint64_t offset, GError **error)
{
    VmloadRamSink *sink = ram->last_block->sink;
    uint64_t page_size = vmload_ram_page_size(ram);

    if (vmload_ram_scratch(&ram->page, page_size, error) == NULL ||
        !vmload_ram_inflate(ram, reader, ram->page, error)) {
        return false;
    }
    vmload_ram_block_claim(ram->last_block, offset);
    if (!vmload_sink_write(sink, offset, ram->page, page_size, error)) {
        return false;
    }
    ram_count(ram, &ram->pending.pages_normal, 1, !sink->discards ? 1 : 0);
    return true;
}

static bool ram_load_page(VmloadRam *ram, VmloadReader *reader, uint64_t kind,
                          uint64_t offset, GError **error)
{
    switch (kind) {
    case RAM_ZERO:
        return ram_load_zero(ram, reader, offset, error);
    case RAM_PAGE:
        return ram_load_normal(ram, reader, offset, error);
    case RAM_XBZRLE:
        return ram_load_xbzrle(ram, reader, offset, error);
    default:
        return ram_load_compressed(ram, reader, offset, error);
    }
}

/* A record about a page. What goes wrong in it is told with its place. */
static bool ram_load_page_record(VmloadRam *ram, VmloadReader *reader,
                                 uint64_t word, GError **error)
{
    uint64_t flags = word & (vmload_ram_page_size(ram) - 1);
    uint64_t offset = word - flags;
    char *name;

    if (!ram_find_block(ram, reader, (flags & RAM_CONTINUE) != 0, error)) {
        g_prefix_error(error, "RAM page " X64 " (word " X64 "): ", offset,
                       word);
        return false;
    }
    if (!ram_check_page(ram, reader, offset, error) ||
        !ram_load_page(ram, reader, flags & ~(uint64_t)RAM_CONTINUE, offset,
                       error)) {
        name = g_strescape(ram->last_block->idstr, NULL);
        g_prefix_error(error,
                       "RAM block '%s' page " X64 " (word " X64 "): ", name,
                       offset, word);
        g_free(name);
        return false;
    }
    return true;
}

/* The words without a page; @eos: the payload ends here. */
static bool ram_load_other(VmloadRam *ram, VmloadReader *reader, uint64_t word,
                           bool *eos, GError **error)
{
    uint64_t flags = word & (vmload_ram_page_size(ram) - 1);
    uint64_t offset = word - flags;

    if (flags == RAM_MEM_SIZE && ram->fixed) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected no block list once others "
                                   "place pages, found one");
    }
    if (flags == RAM_MEM_SIZE) {
        return vmload_ram_load_block_list(ram, reader, offset, error);
    }
    if (flags == RAM_EOS && offset == 0) {
        *eos = true;
        return true;
    }
    if (flags == RAM_MULTIFD_FLUSH && offset == 0) {
        /* QEMU 8.1.0 sends it without multifd too: a barrier of nothing. */
        return ram->env.flush == NULL ||
               ram->env.flush(ram->env.opaque, error);
    }
    if (flags == RAM_HOOK && offset == 0) {
        return vmload_ram_load_hook(ram, reader, error);
    }
    return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                               "expected a RAM record, found flags " X64
                               " at " X64 " (word " X64 ")",
                               flags, offset, word);
}

static bool ram_load_record(VmloadRam *ram, VmloadReader *reader, bool *eos,
                            GError **error)
{
    uint64_t word;

    if (!vmload_reader_get_be64(reader, &word, error)) {
        g_prefix_error(error, "RAM record: ");
        return false;
    }
    switch (word & (vmload_ram_page_size(ram) - 1) & ~(uint64_t)RAM_CONTINUE) {
    case RAM_ZERO:
    case RAM_PAGE:
    case RAM_XBZRLE:
    case RAM_COMPRESS_PAGE:
        if (ram->mapped_ram) {
            return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                       "expected no page in the stream, by "
                                       "the capability mapped-ram, found the "
                                       "word " X64, word);
        }
        return ram_load_page_record(ram, reader, word, error);
    default:
        ram->run_bytes = 0;
        return ram_load_other(ram, reader, word, eos, error);
    }
}

/* All runs at the front of the window, the usual case. */
static void ram_load_runs(VmloadRam *ram, VmloadReader *reader)
{
    VmloadRamBlock *block = ram->last_block;
    const uint8_t *data;
    VmloadRamRun run;
    uint64_t length;
    uint64_t used;

    if (block == NULL || ram->mapped_ram || !vmload_ram_run_suits(block)) {
        return;
    }
    data = vmload_reader_window(reader, &length);
    while ((used = vmload_ram_run_take(ram, block, data, length, &run)) > 0) {
        uint64_t *pages = run.data == NULL ? &ram->pending.pages_zero
                                           : &ram->pending.pages_normal;

        vmload_ram_note_straight(ram, block, run.offset, run.n,
                                 run.data != NULL && run.before == 0);
        vmload_prefault_note(&ram->prefault, &ram->cursor, block, run.offset,
                             run.n, run.data == NULL,
                             vmload_ram_page_size(ram));
        ram_count(ram, pages, run.n, vmload_ram_run_place(ram, block, &run));
        vmload_reader_consume(reader, used);
        ram->run_bytes += used;
        data += used;
        length -= used;
    }
}

/* Where pages have come in order for long. False: it is of no use. */
static bool ram_load_straight(VmloadRam *ram, VmloadReader *reader)
{
    uint64_t loaded;

    if (ram->straight_block != ram->last_block ||
        ram->straight_bytes < VMLOAD_RAM_STRAIGHT_WORTH) {
        return false;
    }
    ram_publish_counters(ram);
    loaded = vmload_straight_load(ram, reader, ram->straight_next);
    /* What comes next is another record: the guess begins anew. */
    ram->straight_bytes = 0;
    return loaded != UINT64_MAX && loaded > 0;
}

/* Several threads, where that is possible and runs go on for long. */
static void ram_load_places(VmloadRam *ram, VmloadReader *reader)
{
    uint64_t worth = MAX(ram->run_worth, RAM_WORTH_MIN);
    uint64_t loaded;

    if (ram->run_bytes < worth) {
        return;
    }
    if (ram_load_straight(ram, reader)) {
        return;
    }
    ram->run_bytes = 0;
    ram_publish_counters(ram);
    loaded = vmload_places_load(ram, reader);
    ram->run_worth = loaded < 2 * RAM_WORTH_MAX
                         ? MIN(worth * 2, RAM_WORTH_MAX)
                         : RAM_WORTH_MIN;
}

bool vmload_ram_load(VmloadRam *ram, VmloadReader *reader, GError **error)
{
    bool eos = false;
    bool ok = true;

    if (!vmload_ram_page_bits_are_good(ram)) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_UNSUPPORTED,
                                   "expected target pages of 8 to 30 bits, "
                                   "found %u",
                                   ram->page_bits);
    }
    while (ok && !eos) {
        ram_load_runs(ram, reader);
        ram_load_places(ram, reader);
        ok = ram_load_record(ram, reader, &eos, error);
    }
    ram_publish_counters(ram);
    return ok;
}

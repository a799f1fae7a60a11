/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HOOK (RAM format, section 5): the stream pauses while its transport puts
 * pages into guest memory by itself. This is the guest's side of that: which
 * blocks there are, what was placed, what is to be zero.
 */
#include "private.h"

#include "error.h"

#include <string.h>

#define U64 "%" G_GUINT64_FORMAT

/* The blocks of the last list, in its order. */
typedef struct VmloadRamPlaced {
    VmloadRam *ram;
    VmloadPlacement placement;
    VmloadPlacementBlock *views;
    VmloadRamBlock **blocks;
} VmloadRamPlaced;

void vmload_ram_placed_free(VmloadRamPlaced *placed)
{
    if (placed != NULL) {
        g_free(placed->views);
        g_free(placed->blocks);
        g_free(placed);
    }
}

/* Notes pages @first to @last, 64 at a time. Returns how many were known. */
static void placed_claim(void *opaque, uint32_t index, uint64_t offset,
                         uint64_t length)
{
    VmloadRamPlaced *placed = opaque;
    VmloadRamBlock *block = placed->blocks[index];
    uint64_t page = offset >> placed->ram->page_bits;
    uint64_t last = (offset + length - 1) >> placed->ram->page_bits;

    while (page <= last) {
        uint64_t bits = MIN(64 - page % 64, last - page + 1);
        uint64_t mask = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;

        vmload_ram_block_claim_word(block, page / 64, mask << (page % 64));
        page += bits;
    }
}

/* Ranges of zeros are looked at page by page: one that is written is rare. */
static bool placed_zero(void *opaque, uint32_t index, uint64_t offset,
                        uint64_t length, GError **error)
{
    VmloadRamPlaced *placed = opaque;
    VmloadRam *ram = placed->ram;
    VmloadRamBlock *block = placed->blocks[index];
    uint64_t page_size = vmload_ram_page_size(ram);
    uint64_t stored_bytes = 0;
    uint64_t end = offset + length;
    uint64_t pages = 0;
    bool stored;

    if (((offset | length) & (page_size - 1)) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "RAM block '%s': expected zeros in pages of " U64
                           " bytes, found " U64 " bytes at " U64,
                           block->idstr, page_size, length, offset);
    }
    for (; offset < end; offset += page_size) {
        bool before = vmload_ram_block_claim(block, offset);

        if (!vmload_ram_block_zero(block, offset, page_size, before, &stored,
                                   error)) {
            return false;
        }
        stored_bytes += stored ? page_size : 0;
        pages++;
    }
    vmload_ram_count(ram, 0, pages, stored_bytes);
    return true;
}

static VmloadPool *placed_pool(void *opaque, const char *name, uint32_t n)
{
    const VmloadRamPlaced *placed = opaque;
    const VmloadRamEnv *env = &placed->ram->env;

    return env->pool != NULL ? env->pool(env->opaque, name, n, NULL) : NULL;
}

static bool placed_add(VmloadRamPlaced *placed, VmloadRamBlock *block,
                       GError **error)
{
    VmloadPlacementBlock *view = &placed->views[block->place];

    if ((block->flags & VMLOAD_RAM_IGNORED) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "RAM block '%s': expected none that is ignored "
                           "(x-ignore-shared) where the transport places "
                           "pages, found one", block->idstr);
    }
    placed->blocks[block->place] = block;
    view->idstr = block->idstr;
    view->host = block->sink->host;
    view->length = block->length;
    view->page_size = block->page_size;
    return true;
}

static VmloadRamPlaced *placed_new(VmloadRam *ram, GError **error)
{
    VmloadRamPlaced *placed = g_new0(VmloadRamPlaced, 1);
    VmloadRamBlock *block;
    bool ok = true;
    uint64_t i;

    placed->ram = ram;
    placed->views = g_try_new0(VmloadPlacementBlock, ram->n_listed);
    placed->blocks = g_try_new0(VmloadRamBlock *, ram->n_listed);
    if (placed->views == NULL || placed->blocks == NULL) {
        ok = vmload_fail(error, VMLOAD_ERROR_LIMIT,
                         "no memory for a table of %u RAM blocks",
                         ram->n_listed);
    }
    for (i = 0; ok && (block = vmload_ram_get_block(ram, i)) != NULL; i++) {
        ok = block->list != ram->list || placed_add(placed, block, error);
    }
    if (!ok) {
        vmload_ram_placed_free(placed);
        return NULL;
    }
    placed->placement = (VmloadPlacement){
        .blocks = placed->views,
        .n_blocks = ram->n_listed,
        .pinned_max = ram->limits.rdma_pinned_bytes,
        .claim = placed_claim,
        .zero = placed_zero,
        .pool = placed_pool,
        .opaque = placed,
    };
    return placed;
}

bool vmload_ram_load_hook(VmloadRam *ram, VmloadReader *reader,
                          GError **error)
{
    VmloadChannel *channel = vmload_reader_get_channel(reader);
    GError *local = NULL;
    uint64_t behind;

    if (channel == NULL || !vmload_channel_has_placement(channel)) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a RAM record, found HOOK, which "
                                   "is for RDMA only");
    }
    if (ram->n_listed == 0) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a list of RAM blocks before "
                                   "HOOK, found none");
    }
    vmload_reader_window(reader, &behind);
    if (behind > 0) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected HOOK at the end of an RDMA "
                                   "message, found " U64 " bytes behind it",
                                   behind);
    }
    if (ram->placed == NULL) {
        ram->placed = placed_new(ram, error);
        /* The peer writes by this table from now on. */
        vmload_ram_fix_blocks(ram);
    }
    if (ram->placed == NULL) {
        return false;
    }
    if (!vmload_channel_serve_ram(channel, &ram->placed->placement,
                                  vmload_reader_get_wait(reader), &local)) {
        vmload_reader_error(reader, error, (VmloadError)local->code, "%s",
                            local->message);
        g_error_free(local);
        return false;
    }
    return true;
}

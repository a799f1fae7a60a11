/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One RAM block, as the folder's other files see it. Its members change only
 * on the loading thread; those marked atomic are read by any.
 */
#ifndef VMLOAD_RAM_BLOCK_H
#define VMLOAD_RAM_BLOCK_H

#include "ram/claim.h"
#include "ram/sink.h"

/*
 * What prefault.c knows of a block's memory. Regions by address. Under its
 * mutex, but for the atomic ones, which may be read without.
 */
typedef struct {
    bool prepared;
    uint64_t first; /* whole regions of the block: first to end - 1 */
    uint64_t end;
    uint64_t last;  /* the furthest that a writer has come to */
    uint64_t front; /* atomic; behind what was made ready */
    uint64_t run;   /* regions with content without a gap, up to last */
    int huge;       /* atomic; a touch brings more than a page */
} VmloadPrefaultAhead;

struct VmloadRamBlock {
    char *idstr;
    uint64_t length; /* atomic; bytes in use */
    uint64_t max_length;
    uint64_t page_size; /* of what backs it */
    uint64_t address;
    uint32_t flags; /* VmloadRamFlags */
    uint32_t list;  /* which block list named it last; 0: none */
    uint32_t place; /* where in that list */
    bool starts_zero;
    VmloadRamSink *sink;
    VmloadClaim *claim; /* atomic, set once; NULL: no list named it yet */
    VmloadPrefaultAhead ahead;
    uint64_t *begun; /* atomic; regions that multifd began; NULL: none */
    /* mapped-ram: what the file says; page_size 0: nothing. */
    uint32_t mapped_version;       /* atomic, as all of these */
    uint64_t mapped_page_size;
    uint64_t mapped_bitmap_offset;
    uint64_t mapped_pages_offset;
    uint64_t mapped_pages;         /* that are set */
    VmloadRamResizeFunc resize;
    void *resize_opaque;
    GDestroyNotify resize_destroy;
};

/* log2 of the target page size; once, before the first page. */
bool vmload_ram_block_prepare(VmloadRamBlock *block, uint32_t page_bits,
                              GError **error);

/*
 * What every writer of guest pages does first: notes that the content of the
 * target page at @offset comes now. True if it had come before. Any thread.
 */
static inline bool vmload_ram_block_claim(VmloadRamBlock *block,
                                          uint64_t offset)
{
    return vmload_claim_mark(block->claim, offset);
}

/* The same for up to 64 pages at once; see vmload_claim_mark_word(). */
static inline uint64_t vmload_ram_block_claim_word(VmloadRamBlock *block,
                                                   uint64_t word,
                                                   uint64_t mask)
{
    return vmload_claim_mark_word(block->claim, word, mask);
}

/* The same for @n pages, where nobody asks which had come before. */
static inline void vmload_ram_block_claim_run(VmloadRamBlock *block,
                                              uint64_t offset, uint64_t n)
{
    vmload_claim_mark_run(block->claim, offset, n);
}

/*
 * Makes a claimed page zero. @before: what the claim said. *@stored: whether
 * anything had to be written.
 */
static inline bool vmload_ram_block_zero(VmloadRamBlock *block,
                                         uint64_t offset, uint64_t length,
                                         bool before, bool *stored,
                                         GError **error)
{
    if (block->starts_zero && !before) {
        *stored = false;
        return true;
    }
    return vmload_sink_zero(block->sink, offset, length, stored, error);
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this folder share of a VmloadRam. */
#ifndef VMLOAD_RAM_PRIVATE_H
#define VMLOAD_RAM_PRIVATE_H

#include "ram/block.h"
#include "ram/prefault.h"
#include "ram/ram.h"

/* Flags of a record's word (RAM format, section 3). */
enum {
    RAM_FULL = 0x001,
    RAM_ZERO = 0x002,
    RAM_MEM_SIZE = 0x004,
    RAM_PAGE = 0x008,
    RAM_EOS = 0x010,
    RAM_CONTINUE = 0x020,
    RAM_XBZRLE = 0x040,
    RAM_HOOK = 0x080,
    RAM_COMPRESS_PAGE = 0x100,
    RAM_MULTIFD_FLUSH = 0x200,
};

struct VmloadRam {
    VmloadRamEnv env;
    VmloadLimits limits;
    uint32_t page_bits;
    bool ignore_shared;
    bool mapped_ram;
    bool direct_io;
    uint32_t threads; /* that read mapped-ram; 1: the loading thread */
    bool postcopy_advised;
    bool fixed; /* no further block list */

    /*
     * The block table. Only the loading thread (before the load: the owner)
     * adds, and it only grows; @lock is a leaf that guards both members
     * against the readers.
     */
    GMutex lock;
    GPtrArray *blocks;
    GHashTable *by_name; /* idstr to block, borrows both */
    uint64_t announced_bytes; /* maximum lengths of blocks made on the way */

    uint32_t list;                /* block lists seen */
    uint32_t n_listed;            /* blocks in the last of them, so far */
    struct VmloadRamPlaced *placed; /* for HOOK; NULL: none came */
    VmloadRamBlock *last_block;   /* what CONTINUE means; NULL: nothing yet */
    uint8_t *page;                /* scratch of a page; NULL: not needed yet */
    uint8_t *packed;              /* scratch of a compressed page */
    uint64_t run_bytes; /* of runs, since something else came */
    uint64_t run_worth; /* so many are worth several threads */
    VmloadRamBlock *straight_block;
    uint64_t straight_next;  /* the page behind the last one that came */
    uint64_t straight_bytes; /* that came without a gap before it */
    VmloadPrefault prefault;
    VmloadPrefaultCursor cursor;  /* the loading thread's */
    VmloadRamCounters pending;    /* not yet in counters */
    uint32_t pending_records;
    VmloadRamCounters counters;   /* each atomic */
};

/* NULL: no block has this name. Any thread. */
VmloadRamBlock *vmload_ram_find_block(VmloadRam *ram, const char *idstr);

/* What follows the word of MEM_SIZE. @total: the word without its flags. */
bool vmload_ram_load_block_list(VmloadRam *ram, VmloadReader *reader,
                                uint64_t total, GError **error);

/* HOOK: the transport that the stream comes from places pages now. */
bool vmload_ram_load_hook(VmloadRam *ram, VmloadReader *reader,
                          GError **error);
void vmload_ram_placed_free(struct VmloadRamPlaced *placed);

static inline uint64_t vmload_ram_page_size(const VmloadRam *ram)
{
    return (uint64_t)1 << ram->page_bits;
}

static inline bool vmload_ram_page_bits_are_good(const VmloadRam *ram)
{
    return ram->page_bits >= 8 && ram->page_bits <= 30;
}

/*
 * @n pages came at @offset: for the first time and with content, or not.
 * Behind pages in order, the next one may be guessed. For the loading thread,
 * or one whose turn it is while that waits.
 */
static inline void vmload_ram_note_straight(VmloadRam *ram,
                                            VmloadRamBlock *block,
                                            uint64_t offset, uint64_t n,
                                            bool content)
{
    uint64_t bytes = n << ram->page_bits;

    if (block != ram->straight_block || offset != ram->straight_next) {
        ram->straight_bytes = 0;
    }
    ram->straight_block = block;
    ram->straight_next = offset + bytes;
    ram->straight_bytes = content ? ram->straight_bytes + bytes : 0;
}

/* Scratch memory of @length bytes kept in *@scratch; LIMIT: no memory. */
uint8_t *vmload_ram_scratch(uint8_t **scratch, uint64_t length,
                            GError **error);

/*
 * Reads a compressed page of @length bytes and inflates it into @page, which
 * it must fill. UNSUPPORTED without zlib.
 */
bool vmload_ram_inflate(VmloadRam *ram, VmloadReader *reader, uint8_t *page,
                        GError **error);

#endif

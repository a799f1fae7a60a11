/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs: what most of a page stream is made of, records of one kind that go
 * on with the block before and with the next page. They are taken out of
 * bytes that are there, without a call a field and with one claim; all else
 * is stream.c's, which also says what is wrong where something is.
 */
#ifndef VMLOAD_RAM_RUN_H
#define VMLOAD_RAM_RUN_H

#include "private.h"

/* So many pages at most: they share a word of the claim map. */
#define VMLOAD_RUN_MAX 64

/*
 * @data: of the first page, the next ones a record further each; NULL: the
 *     pages are zero.
 * @offset: of the first page in the block.
 * @before: bit i: page i had come before.
 */
typedef struct {
    const uint8_t *data;
    uint64_t offset;
    uint64_t before;
    uint32_t n;
} VmloadRamRun;

/* Are runs for this block? Its sink then cannot fail. */
static inline bool vmload_ram_run_suits(const VmloadRamBlock *block)
{
    return (block->sink->host != NULL || block->sink->discards) &&
           (block->flags & VMLOAD_RAM_IGNORED) == 0;
}

/*
 * Takes a run off the front of @data and claims its pages. Returns how many
 * bytes it is, 0: the first record is another, or is not there to its end,
 * or is wrong; nothing is claimed then.
 */
uint64_t vmload_ram_run_take(const VmloadRam *ram,
                             VmloadRamBlock *block, const uint8_t *data,
                             uint64_t length, VmloadRamRun *run);

/* Is there nothing to store? */
static inline bool vmload_ram_run_is_void(const VmloadRamBlock *block,
                                          const VmloadRamRun *run)
{
    return block->sink->discards ||
           (run->data == NULL && block->starts_zero && run->before == 0);
}

/* Stores its pages; returns how many of them had to be written. */
uint64_t vmload_ram_run_place(const VmloadRam *ram, VmloadRamBlock *block,
                              const VmloadRamRun *run);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The claim map of one block: a bit for each target page, set by whoever
 * brings the page's content. All writers of guest pages ask here first, so
 * that any of them can work together. Never cleared by precopy.
 */
#ifndef VMLOAD_RAM_CLAIM_H
#define VMLOAD_RAM_CLAIM_H

#include <vmload/error.h>

typedef struct VmloadClaim VmloadClaim;

/* One bit a page of 1 << @page_bits bytes. NULL with LIMIT: no memory. */
VmloadClaim *vmload_claim_new(uint64_t length, uint32_t page_bits,
                              GError **error);
void vmload_claim_free(VmloadClaim *claim);

uint32_t vmload_claim_get_page_bits(const VmloadClaim *claim);

/*
 * Marks the page that @offset, in bytes, falls into. True if it was marked
 * before. Any number of threads.
 */
bool vmload_claim_mark(VmloadClaim *claim, uint64_t offset);

/*
 * The same for pages 64 * @word and up, one for each bit of @mask. Returns
 * which of them were marked before.
 */
uint64_t vmload_claim_mark_word(VmloadClaim *claim, uint64_t word,
                                uint64_t mask);

/* Marks @n pages from the one that @offset falls into on. */
void vmload_claim_mark_run(VmloadClaim *claim, uint64_t offset, uint64_t n);

/* Is any page between @offset and @offset + @length - 1 marked? */
bool vmload_claim_test_range(const VmloadClaim *claim, uint64_t offset,
                             uint64_t length);

/* False also for an offset past the end. Any number of threads. */
bool vmload_claim_test(const VmloadClaim *claim, uint64_t offset);

#endif

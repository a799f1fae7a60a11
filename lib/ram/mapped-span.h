/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A span: some words of a block's bitmap, and the pages that they are about.
 * What one thread loads at a time.
 */
#ifndef VMLOAD_RAM_MAPPED_SPAN_H
#define VMLOAD_RAM_MAPPED_SPAN_H

#include "host/pool.h"
#include "private.h"

/* 16 MiB of memory with pages of 4 KiB. */
#define VMLOAD_SPAN_WORDS 64

/*
 * What all spans of a load share.
 * @direct: a descriptor with O_DIRECT; -1: none.
 * @stop: atomic; one has failed, the others need not go on.
 */
typedef struct {
    VmloadRam *ram;
    const VmloadReader *reader;
    int direct;
    int stop;
} VmloadSpanSource;

/*
 * @first_page: of the block, a multiple of 64.
 * @position: in the file, of that page.
 * @words: bit n % 64 of word n / 64: page @first_page + n is in the file.
 *     Bits from @n_pages on are 0.
 * @scratch: for blocks without memory, while the span is loaded.
 * @error: why it failed; NULL also where it was stopped.
 */
typedef struct {
    VmloadJob job; /* first: it is what the pool has of a span */
    VmloadSpanSource *source;
    VmloadRamBlock *block;
    uint64_t first_page;
    uint64_t n_pages;
    uint64_t position;
    uint64_t words[VMLOAD_SPAN_WORDS];
    uint8_t *scratch;
    GError *error;
} VmloadSpan;

/* Claims and loads all pages; on failure sets the error and the stop. */
void vmload_span_run(VmloadSpan *span);

#endif

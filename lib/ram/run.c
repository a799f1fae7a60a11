/* SPDX-License-Identifier: BSD-3-Clause */
#include "run.h"

#include "copy.h"

#include <string.h>

/* A record's word, and the byte that a zero page has behind it. */
#define RUN_WORD ((uint64_t)8)
#define RUN_ZERO (RUN_WORD + 1)

static uint64_t run_word(const uint8_t *data)
{
    uint64_t word;

    memcpy(&word, data, sizeof(word));
    return GUINT64_FROM_BE(word);
}

/* Bytes of a record of this kind; 0: not one for a run. */
static uint64_t run_step(uint64_t flags, uint64_t page_size)
{
    switch (flags) {
    case RAM_PAGE | RAM_CONTINUE:
        return RUN_WORD + page_size;
    case RAM_ZERO | RAM_CONTINUE:
        return RUN_ZERO;
    default:
        return 0;
    }
}

uint64_t vmload_ram_run_take(const VmloadRam *ram,
                             VmloadRamBlock *block, const uint8_t *data,
                             uint64_t length, VmloadRamRun *run)
{
    uint64_t page_size = vmload_ram_page_size(ram);
    uint64_t word = length >= RUN_WORD ? run_word(data) : 0;
    uint64_t flags = word & (page_size - 1);
    uint64_t offset = word - flags;
    uint64_t step = run_step(flags, page_size);
    uint64_t page = offset >> ram->page_bits;
    uint64_t max;
    uint32_t n;

    if (step == 0 || offset >= block->length) {
        return 0;
    }
    max = MIN(VMLOAD_RUN_MAX - page % VMLOAD_RUN_MAX,
              (block->length - offset) >> ram->page_bits);
    max = MIN(max, length / step);
    for (n = 0; n < max; n++) {
        const uint8_t *record = data + n * step;

        if (run_word(record) != word + n * page_size ||
            (step == RUN_ZERO && record[RUN_WORD] != 0)) {
            break;
        }
    }
    if (n == 0) {
        return 0;
    }
    run->data = step == RUN_ZERO ? NULL : data + RUN_WORD;
    run->offset = offset;
    run->n = n;
    run->before = vmload_ram_block_claim_word(
                      block, page / 64,
                      (UINT64_MAX >> (64 - n)) << (page % 64)) >>
                  (page % 64);
    return n * step;
}

static uint64_t run_place_zero(VmloadRamBlock *block, const VmloadRamRun *run,
                               uint64_t page_size)
{
    uint64_t placed = 0;
    uint32_t i;

    for (i = 0; i < run->n; i++) {
        bool stored = false;

        /* Cannot fail in memory. */
        (void)vmload_ram_block_zero(block, run->offset + i * page_size,
                                    page_size, (run->before >> i & 1) != 0,
                                    &stored, NULL);
        placed += stored ? 1 : 0;
    }
    return placed;
}

uint64_t vmload_ram_run_place(const VmloadRam *ram, VmloadRamBlock *block,
                              const VmloadRamRun *run)
{
    uint64_t page_size = vmload_ram_page_size(ram);
    uint8_t *host;
    uint32_t i;

    if (vmload_ram_run_is_void(block, run)) {
        return 0;
    }
    if (run->data == NULL) {
        return run_place_zero(block, run, page_size);
    }
    host = block->sink->host + run->offset;
    for (i = 0; i < run->n; i++) {
        vmload_copy_page(host + i * page_size,
                         run->data + i * (RUN_WORD + page_size), page_size);
    }
    vmload_copy_done();
    return run->n;
}

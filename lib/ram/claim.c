/* SPDX-License-Identifier: BSD-3-Clause */
#include "claim.h"

#include "error.h"

/* 32 GiB of map, for 2^38 pages: more is a lie, not a guest. */
#define CLAIM_MAX_WORDS ((uint64_t)1 << 32)

struct VmloadClaim {
    uint32_t page_bits;
    uint64_t n_pages;
    uint64_t words[]; /* atomic; page n is bit n % 64 of word n / 64 */
};

VmloadClaim *vmload_claim_new(uint64_t length, uint32_t page_bits,
                              GError **error)
{
    uint64_t page_mask = ((uint64_t)1 << page_bits) - 1;
    uint64_t n_pages =
        (length >> page_bits) + ((length & page_mask) != 0 ? 1 : 0);
    uint64_t n_words = n_pages / 64 + (n_pages % 64 != 0 ? 1 : 0);
    VmloadClaim *claim = NULL;

    if (n_words <= CLAIM_MAX_WORDS) {
        claim = g_try_malloc0(sizeof(*claim) + n_words * sizeof(uint64_t));
    }
    if (claim == NULL) {
        vmload_fail(error, VMLOAD_ERROR_LIMIT,
                    "no memory to note %" G_GUINT64_FORMAT " pages", n_pages);
        return NULL;
    }
    claim->page_bits = page_bits;
    claim->n_pages = n_pages;
    return claim;
}

void vmload_claim_free(VmloadClaim *claim)
{
    g_free(claim);
}

uint32_t vmload_claim_get_page_bits(const VmloadClaim *claim)
{
    return claim->page_bits;
}

bool vmload_claim_mark(VmloadClaim *claim, uint64_t offset)
{
    uint64_t page = offset >> claim->page_bits;
    uint64_t bit = (uint64_t)1 << (page % 64);

    if (page >= claim->n_pages) {
        return false;
    }
    /* Relaxed: the bit orders nothing, it only counts who was first. */
    return (__atomic_fetch_or(&claim->words[page / 64], bit,
                              __ATOMIC_RELAXED) &
            bit) != 0;
}

uint64_t vmload_claim_mark_word(VmloadClaim *claim, uint64_t word,
                                uint64_t mask)
{
    uint64_t n_words =
        claim->n_pages / 64 + (claim->n_pages % 64 != 0 ? 1 : 0);

    if (word >= n_words) {
        return 0;
    }
    return __atomic_fetch_or(&claim->words[word], mask, __ATOMIC_RELAXED) &
           mask;
}

void vmload_claim_mark_run(VmloadClaim *claim, uint64_t offset, uint64_t n)
{
    uint64_t page = offset >> claim->page_bits;

    n = page < claim->n_pages ? MIN(n, claim->n_pages - page) : 0;
    while (n > 0) {
        uint64_t step = MIN(n, 64 - page % 64);

        vmload_claim_mark_word(claim, page / 64,
                               (UINT64_MAX >> (64 - step)) << (page % 64));
        page += step;
        n -= step;
    }
}

bool vmload_claim_test(const VmloadClaim *claim, uint64_t offset)
{
    uint64_t page = offset >> claim->page_bits;

    if (page >= claim->n_pages) {
        return false;
    }
    return (__atomic_load_n(&claim->words[page / 64], __ATOMIC_RELAXED) >>
                (page % 64) &
            1) != 0;
}

bool vmload_claim_test_range(const VmloadClaim *claim, uint64_t offset,
                             uint64_t length)
{
    uint64_t page = offset >> claim->page_bits;
    uint64_t left = ((offset + length - 1) >> claim->page_bits) - page + 1;

    if (page >= claim->n_pages) {
        return false;
    }
    left = MIN(left, claim->n_pages - page);
    while (left > 0) {
        uint64_t n = MIN(left, 64 - page % 64);
        uint64_t mask = (UINT64_MAX >> (64 - n)) << (page % 64);

        if ((__atomic_load_n(&claim->words[page / 64], __ATOMIC_RELAXED) &
             mask) != 0) {
            return true;
        }
        page += n;
        left -= n;
    }
    return false;
}

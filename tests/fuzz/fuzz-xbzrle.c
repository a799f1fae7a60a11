/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * XBZRLE against a second decoder, written from the format's grammar a byte
 * at a time: both accept the same deltas and make the same pages. The first
 * byte chooses the page's size.
 */
#include "fuzz.h"

#include "ram/xbzrle.h"

/* The next length, or -1 where there is none that has a byte behind it. */
static int64_t model_length(const uint8_t *delta, int64_t n, int64_t *at)
{
    int64_t value;

    if (n - *at < 2) {
        return -1;
    }
    value = delta[(*at)++];
    if (value < 128) {
        return value;
    }
    if (delta[*at] >= 128) {
        return -1;
    }
    return value - 128 + 128 * (int64_t)delta[(*at)++];
}

static bool model_decode(uint8_t *page, int64_t size, const uint8_t *delta,
                         int64_t n)
{
    bool first = true;
    int64_t at = 0;
    int64_t out = 0;

    while (at != n) {
        int64_t same = model_length(delta, n, &at);
        int64_t other;

        if (same < 0 || (same == 0 && !first) || out + same > size) {
            return false;
        }
        out += same;
        other = model_length(delta, n, &at);
        if (other < 1 || out + other > size || at + other > n) {
            return false;
        }
        while (other-- > 0) {
            page[out++] = delta[at++];
        }
        first = false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    GError *error = NULL;
    uint64_t page_size;
    uint8_t *page;
    uint8_t *model;
    bool ok;

    if (size < 1) {
        return 0;
    }
    page_size = (uint64_t)1 << (data[0] % 15);
    page = g_malloc0(page_size);
    model = g_malloc0(page_size);
    ok = vmload_xbzrle_decode(page, page_size, data + 1, size - 1, &error);
    FUZZ_CHECK(ok == (error == NULL));
    FUZZ_CHECK(ok == model_decode(model, (int64_t)page_size, data + 1,
                                  (int64_t)size - 1));
    FUZZ_CHECK(!ok || memcmp(page, model, page_size) == 0);
    g_clear_error(&error);
    g_free(model);
    g_free(page);
    return 0;
}

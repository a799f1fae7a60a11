/* SPDX-License-Identifier: BSD-3-Clause */
#include "xbzrle.h"

#include "error.h"

#include <string.h>

#define U64 "%" G_GUINT64_FORMAT

/*
 * A run's length: ULEB128 of one or two bytes. Every length has at least one
 * byte behind it (a run or the next length), so two must be there.
 */
static bool xbzrle_get_length(const uint8_t *delta, uint64_t length,
                              uint64_t *in, uint64_t *value, GError **error)
{
    uint64_t i = *in;

    if (length - i < 2) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "XBZRLE byte " U64 ": expected a run's length and "
                           "what it counts, found " U64 " bytes",
                           i, length - i);
    }
    if ((delta[i] & 0x80) == 0) {
        *value = delta[i];
        *in = i + 1;
        return true;
    }
    if ((delta[i + 1] & 0x80) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "XBZRLE byte " U64 ": expected a length of at most "
                           "two bytes, found a third",
                           i);
    }
    *value = (uint64_t)(delta[i] & 0x7f) | (uint64_t)delta[i + 1] << 7;
    *in = i + 2;
    return true;
}

/* RAM format, section 6. */
bool vmload_xbzrle_decode(uint8_t *page, uint64_t page_size,
                          const uint8_t *delta, uint64_t length,
                          GError **error)
{
    uint64_t in = 0;
    uint64_t out = 0;
    uint64_t run = 0;

    while (in < length) {
        uint64_t start = in;

        if (!xbzrle_get_length(delta, length, &in, &run, error)) {
            return false;
        }
        if (run == 0 && start != 0) {
            return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                               "XBZRLE byte " U64 ": expected unchanged "
                               "bytes, found a run of 0",
                               start);
        }
        if (run > page_size - out) {
            return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                               "XBZRLE byte " U64 ": expected at most " U64
                               " unchanged bytes, found " U64,
                               start, page_size - out, run);
        }
        out += run;
        start = in;
        if (!xbzrle_get_length(delta, length, &in, &run, error)) {
            return false;
        }
        if (run == 0 || run > page_size - out || run > length - in) {
            return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                               "XBZRLE byte " U64 ": expected 1 to " U64
                               " changed bytes, found " U64,
                               start, MIN(page_size - out, length - in), run);
        }
        memcpy(page + out, delta + in, run);
        out += run;
        in += run;
    }
    return true;
}

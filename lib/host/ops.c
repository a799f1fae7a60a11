/* SPDX-License-Identifier: BSD-3-Clause */
#include "ops.h"

#include "error.h"

#include <string.h>

bool vmload_ops_copy(void *dest, size_t dest_size, const void *src,
                     const char *what, GError **error)
{
    const uint8_t *bytes = src;
    uint32_t size;
    uint32_t i;

    memcpy(&size, src, sizeof(size));
    /*
     * Tables hold pointers, so an honest size is a multiple of theirs. Zero
     * is the caller who forgot the initialiser: nothing else can be believed.
     */
    if (size < sizeof(void *) || size % sizeof(void *) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "%s: expected its size in struct_size, found %u",
                           what, size);
    }
    for (i = (uint32_t)dest_size; i < size; i++) {
        if (bytes[i] != 0) {
            return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                               "%s: expected %zu bytes, found %u with a "
                               "member set at byte %u, which this version "
                               "does not know",
                               what, dest_size, size, i);
        }
    }
    memset(dest, 0, dest_size);
    memcpy(dest, src, MIN((size_t)size, dest_size));
    size = (uint32_t)dest_size;
    memcpy(dest, &size, sizeof(size));
    return true;
}

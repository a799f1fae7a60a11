/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages that sources up to QEMU 9.0 compress (RAM format, section 5.4): each
 * a complete zlib stream of its own.
 */
#include "private.h"

#include "error.h"

#ifdef VMLOAD_HAVE_ZLIB

#include <zlib.h>

bool vmload_ram_inflate(VmloadRam *ram, VmloadReader *reader, uint8_t *page,
                        GError **error)
{
    uint64_t page_size = vmload_ram_page_size(ram);
    uLong bound = compressBound((uLong)page_size);
    uLongf got = (uLongf)page_size;
    uLong taken;
    uint8_t *packed;
    uint32_t length;
    int result;

    if (!vmload_reader_get_be32(reader, &length, error)) {
        return false;
    }
    if (length == 0 || length > bound) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected 1 to %lu compressed bytes, "
                                   "found %u",
                                   bound, length);
    }
    packed = vmload_ram_scratch(&ram->packed, bound, error);
    if (packed == NULL || !vmload_reader_read(reader, packed, length, error)) {
        return false;
    }
    taken = length;
    result = uncompress2(page, &got, packed, &taken);
    if (result != Z_OK || got != page_size || taken != length) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected one zlib stream of a page, found "
                                   "%lu of %u bytes that give %lu (zlib: %d)",
                                   taken, length, got, result);
    }
    return true;
}

#else

bool vmload_ram_inflate(VmloadRam *ram G_GNUC_UNUSED, VmloadReader *reader,
                        uint8_t *page G_GNUC_UNUSED, GError **error)
{
    return vmload_reader_error(reader, error, VMLOAD_ERROR_UNSUPPORTED,
                               "found a compressed page, and this library is "
                               "built without the feature zlib");
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#include "packet-writer.h"

#include <string.h>

#define MAGIC 0x11223344u
#define PACKET_BYTES (512 * 1024)

void pw_handshake(GByteArray *out, const uint8_t *uuid, uint8_t id)
{
    sw_be32(out, MAGIC);
    sw_be32(out, 1);
    if (uuid != NULL) {
        sw_bytes(out, uuid, 16);
    } else {
        sw_fill(out, 0, 16);
    }
    sw_u8(out, id);
    sw_fill(out, 0, 39);
}

static void name256(GByteArray *out, const char *name)
{
    size_t length = name != NULL ? MIN(strlen(name), (size_t)256) : 0;

    sw_bytes(out, name, length);
    sw_fill(out, 0, 256 - length);
}

guint pw_ram(GByteArray *out, uint32_t bits, uint32_t flags,
             const char *block, const uint64_t *offsets, uint32_t normal,
             uint32_t zero, uint32_t size)
{
    uint32_t capacity = PACKET_BYTES >> bits;
    guint begin = out->len;
    uint32_t i;

    sw_be32(out, MAGIC);
    sw_be32(out, 1);
    sw_be32(out, flags);
    sw_be32(out, capacity);
    sw_be32(out, normal);
    sw_be32(out, size);
    sw_be64(out, begin);
    sw_be32(out, zero);
    sw_fill(out, 0, 28);
    name256(out, block);
    for (i = 0; i < capacity; i++) {
        sw_be64(out, i < normal + zero ? offsets[i] : 0);
    }
    return begin;
}

guint pw_sync(GByteArray *out, uint32_t bits)
{
    guint begin = pw_ram(out, bits, PW_SYNC, NULL, NULL, 0, 0, 0);

    sw_patch_be32(out, begin + PW_AT_PAGES_ALLOC, 0);
    return begin;
}

guint pw_device(GByteArray *out, const char *idstr, uint32_t instance_id,
                uint32_t length)
{
    guint begin = out->len;

    sw_be32(out, MAGIC);
    sw_be32(out, 1);
    sw_be32(out, PW_DEVICE_STATE);
    name256(out, idstr);
    sw_be32(out, instance_id);
    sw_be32(out, length);
    sw_fill(out, 0xd5, length);
    return begin;
}

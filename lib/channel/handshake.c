/* SPDX-License-Identifier: BSD-3-Clause */
#include "handshake.h"

#include "error.h"

#include <string.h>

/* Offsets of fields; what follows the id is reserved and not looked at. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_UUID = 8,
    AT_ID = 24,
};

#define HANDSHAKE_VERSION 1

static uint32_t get_be32(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT32_FROM_BE(value);
}

bool vmload_handshake_parse(const uint8_t *data, VmloadHandshake *handshake,
                            GError **error)
{
    uint32_t magic = get_be32(data + AT_MAGIC);
    uint32_t version = get_be32(data + AT_VERSION);

    if (magic != VMLOAD_HANDSHAKE_MAGIC) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "handshake, field magic: expected 0x%08x, found "
                           "0x%08x", VMLOAD_HANDSHAKE_MAGIC, magic);
    }
    if (version != HANDSHAKE_VERSION) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "handshake, field version: expected %u, found %u",
                           HANDSHAKE_VERSION, version);
    }
    memcpy(handshake->uuid, data + AT_UUID, sizeof(handshake->uuid));
    handshake->id = data[AT_ID];
    return true;
}

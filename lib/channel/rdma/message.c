/* SPDX-License-Identifier: BSD-3-Clause */
#include "message.h"

#include "error.h"

#include <string.h>

static uint32_t load_be32(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT32_FROM_BE(value);
}

static uint64_t load_be64(const uint8_t *data)
{
    uint64_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT64_FROM_BE(value);
}

static void store_be32(uint8_t *data, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    memcpy(data, &value, sizeof(value));
}

static void store_be64(uint8_t *data, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    memcpy(data, &value, sizeof(value));
}

/*
 * @entry: bytes of one of `repeat` entries; 0: the number of bytes is free
 * (QEMU_FILE, where `repeat` may be garbage).
 * @none: no data at all.
 */
static const struct {
    const char *name;
    uint32_t entry;
    bool none;
} type_table[] = {
    [VMLOAD_RDMA_NONE] = {"NONE", 0, true},
    [VMLOAD_RDMA_ERROR] = {"ERROR", 0, true},
    [VMLOAD_RDMA_READY] = {"READY", 0, true},
    [VMLOAD_RDMA_FILE] = {"QEMU_FILE", 0, false},
    [VMLOAD_RDMA_BLOCKS_REQUEST] = {"RAM_BLOCKS_REQUEST", 0, true},
    [VMLOAD_RDMA_BLOCKS_RESULT] = {"RAM_BLOCKS_RESULT", 0, false},
    [VMLOAD_RDMA_COMPRESS] = {"COMPRESS", VMLOAD_RDMA_COMPRESS_SIZE, false},
    [VMLOAD_RDMA_REGISTER_REQUEST] = {"REGISTER_REQUEST",
                                      VMLOAD_RDMA_REGISTER_SIZE, false},
    [VMLOAD_RDMA_REGISTER_RESULT] = {"REGISTER_RESULT", 0, false},
    [VMLOAD_RDMA_REGISTER_FINISHED] = {"REGISTER_FINISHED", 0, true},
    [VMLOAD_RDMA_UNREGISTER_REQUEST] = {"UNREGISTER_REQUEST",
                                        VMLOAD_RDMA_REGISTER_SIZE, false},
    [VMLOAD_RDMA_UNREGISTER_FINISHED] = {"UNREGISTER_FINISHED", 0, true},
};

const char *vmload_rdma_type_name(uint32_t type)
{
    return type < G_N_ELEMENTS(type_table) ? type_table[type].name
                                           : "an unknown type";
}

/* The number of entries is what the data's length must say too. */
static bool message_check_entries(const VmloadRdmaMessage *message,
                                  GError **error)
{
    uint32_t entry = type_table[message->type].entry;

    if (type_table[message->type].none && message->length != 0) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "RDMA message %s: expected no data, found %u bytes",
                           vmload_rdma_type_name(message->type),
                           message->length);
    }
    if (entry == 0) {
        return true;
    }
    /* QEMU itself looks at one range only, whatever `repeat` says. */
    if (message->repeat < 1 || message->repeat > VMLOAD_RDMA_REPEAT_MAX ||
        message->length != message->repeat * entry) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "RDMA message %s: expected 1 to %u entries of %u "
                           "bytes, found %u in %u bytes",
                           vmload_rdma_type_name(message->type),
                           VMLOAD_RDMA_REPEAT_MAX, entry, message->repeat,
                           message->length);
    }
    return true;
}

bool vmload_rdma_message_parse(const uint8_t *buffer, uint32_t received,
                               VmloadRdmaMessage *message, GError **error)
{
    VmloadRdmaMessage parsed;
    uint32_t type;

    if (received < VMLOAD_RDMA_HEADER || received > VMLOAD_RDMA_MESSAGE_MAX) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "expected an RDMA message of %u to %u bytes, found "
                           "%u", VMLOAD_RDMA_HEADER, VMLOAD_RDMA_MESSAGE_MAX,
                           received);
    }
    parsed.length = load_be32(buffer);
    type = load_be32(buffer + 4);
    parsed.repeat = load_be32(buffer + 8);
    parsed.data = buffer + VMLOAD_RDMA_HEADER;
    if (type == VMLOAD_RDMA_NONE || type >= G_N_ELEMENTS(type_table)) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "expected an RDMA message of type 1 to 11, found "
                           "%u", type);
    }
    parsed.type = (VmloadRdmaType)type;
    if (parsed.length != received - VMLOAD_RDMA_HEADER) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "RDMA message %s: expected %u bytes of data, by "
                           "its header, found %u",
                           vmload_rdma_type_name(type), parsed.length,
                           received - VMLOAD_RDMA_HEADER);
    }
    if (!message_check_entries(&parsed, error)) {
        return false;
    }
    *message = parsed;
    return true;
}

bool vmload_rdma_get_range(const VmloadRdmaMessage *message, uint32_t index,
                           VmloadRdmaRange *range, GError **error)
{
    const uint8_t *entry;
    uint32_t value;

    if (message->type != VMLOAD_RDMA_COMPRESS) {
        entry = message->data + (size_t)index * VMLOAD_RDMA_REGISTER_SIZE;
        range->address = load_be64(entry);
        range->block = load_be32(entry + 8);
        /* Padding: sources up to QEMU 10.2 send what was on their stack. */
        range->length = load_be64(entry + 16);
        return true;
    }
    entry = message->data + (size_t)index * VMLOAD_RDMA_COMPRESS_SIZE;
    value = load_be32(entry);
    if (value != 0) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "RDMA message COMPRESS: expected a range of zeros, "
                           "found one of 0x%x", value);
    }
    range->block = load_be32(entry + 4);
    range->address = load_be64(entry + 8);
    range->length = load_be64(entry + 16);
    return true;
}

void vmload_rdma_put_header(uint8_t *buffer, VmloadRdmaType type,
                            uint32_t length, uint32_t repeat)
{
    store_be32(buffer, length);
    store_be32(buffer + 4, type);
    store_be32(buffer + 8, repeat);
    store_be32(buffer + 12, 0);
}

void vmload_rdma_put_block(uint8_t *buffer, uint32_t index,
                           const VmloadRdmaBlock *block)
{
    uint8_t *entry = buffer + VMLOAD_RDMA_HEADER +
                     (size_t)index * VMLOAD_RDMA_BLOCK_SIZE;

    store_be64(entry, block->host);
    store_be64(entry + 8, block->token);
    store_be64(entry + 16, block->length);
    store_be32(entry + 24, block->key);
    store_be32(entry + 28, 0);
}

void vmload_rdma_put_result(uint8_t *buffer, uint32_t index, uint32_t key,
                            uint64_t host)
{
    uint8_t *entry = buffer + VMLOAD_RDMA_HEADER +
                     (size_t)index * VMLOAD_RDMA_RESULT_SIZE;

    store_be32(entry, key);
    store_be32(entry + 4, 0);
    store_be64(entry + 8, host);
}

bool vmload_rdma_private_parse(const uint8_t *data, uint32_t length,
                               uint32_t *flags, GError **error)
{
    uint32_t version;

    /* The transport may have padded it. */
    if (data == NULL || length < VMLOAD_RDMA_PRIVATE_SIZE) {
        return vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                           "RDMA connection: expected %u bytes that say what "
                           "the source can do, found %u",
                           VMLOAD_RDMA_PRIVATE_SIZE,
                           data != NULL ? length : 0);
    }
    version = load_be32(data);
    if (version != VMLOAD_RDMA_VERSION) {
        return vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                           "RDMA connection: expected version %u, found %u",
                           VMLOAD_RDMA_VERSION, version);
    }
    *flags = load_be32(data + 4);
    return true;
}

void vmload_rdma_private_put(uint8_t *buffer, uint32_t flags)
{
    store_be32(buffer, VMLOAD_RDMA_VERSION);
    store_be32(buffer + 4, flags);
}

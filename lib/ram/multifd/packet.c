/* SPDX-License-Identifier: BSD-3-Clause */
#include "packet.h"

#include "error.h"

#include <string.h>

#define PACKET_MAGIC 0x11223344u
#define PACKET_VERSION 1

/* Offsets of fields, common and in RAM packets. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_FLAGS = 8,
    AT_PAGES_ALLOC = 12,
    AT_NORMAL_PAGES = 16,
    AT_NEXT_PACKET_SIZE = 20,
    AT_ZERO_PAGES = 32,
    AT_RAMBLOCK = 64,
    AT_OFFSETS = MULTIFD_RAM_SIZE,
};

/* Offsets of fields in packets of device state. */
enum {
    AT_DEVICE_IDSTR = 12,
    AT_DEVICE_INSTANCE = 268,
};

#define IDSTR_SIZE 256

static uint32_t get_be32(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT32_FROM_BE(value);
}

uint32_t vmload_multifd_capacity(uint32_t page_bits)
{
    return MULTIFD_PACKET_BYTES >> page_bits;
}

uint32_t vmload_multifd_header_size(uint32_t page_bits)
{
    return MULTIFD_RAM_SIZE +
           vmload_multifd_capacity(page_bits) * (uint32_t)sizeof(uint64_t);
}

bool vmload_multifd_packet_check(const uint8_t *data, uint32_t *flags,
                                 GError **error)
{
    uint32_t magic = get_be32(data + AT_MAGIC);
    uint32_t version = get_be32(data + AT_VERSION);
    uint32_t found = get_be32(data + AT_FLAGS);

    if (magic != PACKET_MAGIC) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field magic: expected 0x%08x, found 0x%08x",
                           PACKET_MAGIC, magic);
    }
    if (version != PACKET_VERSION) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "field version: expected %u, found %u",
                           PACKET_VERSION, version);
    }
    if ((found & ~(uint32_t)(MULTIFD_SYNC | MULTIFD_METHOD |
                             MULTIFD_DEVICE_STATE)) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field flags: expected at most 0x7f, found 0x%x",
                           found);
    }
    if ((found & MULTIFD_DEVICE_STATE) != 0 && found != MULTIFD_DEVICE_STATE) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field flags: expected DEVICE_STATE (0x40) alone, "
                           "found 0x%x", found);
    }
    *flags = found;
    return true;
}

bool vmload_multifd_packet_parse(const uint8_t *data, uint32_t page_bits,
                                 VmloadMultifdPacket *packet, GError **error)
{
    uint32_t capacity = vmload_multifd_capacity(page_bits);
    uint32_t alloc = get_be32(data + AT_PAGES_ALLOC);
    uint32_t normal = get_be32(data + AT_NORMAL_PAGES);
    uint32_t zero = get_be32(data + AT_ZERO_PAGES);

    if (alloc > capacity) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field pages_alloc: expected at most %u, found %u",
                           capacity, alloc);
    }
    if (normal > alloc) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field normal_pages: expected at most %u, found %u",
                           alloc, normal);
    }
    if (zero > alloc - normal) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field zero_pages: expected at most %u, found %u",
                           alloc - normal, zero);
    }
    packet->flags = get_be32(data + AT_FLAGS);
    packet->normal = normal;
    packet->zero = zero;
    packet->size = get_be32(data + AT_NEXT_PACKET_SIZE);
    memcpy(packet->idstr, data + AT_RAMBLOCK, IDSTR_SIZE);
    packet->idstr[IDSTR_SIZE - 1] = '\0';
    packet->offsets = data + AT_OFFSETS;
    return true;
}

bool vmload_multifd_packet_refuse(const uint8_t *data, GError **error)
{
    char idstr[IDSTR_SIZE];
    char *name;

    memcpy(idstr, data + AT_DEVICE_IDSTR, IDSTR_SIZE);
    if (idstr[IDSTR_SIZE - 1] != '\0') {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field idstr: expected a terminated name, found "
                           "none");
    }
    name = g_strescape(idstr, NULL);
    vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                "device state of '%s' instance %u over multifd is not "
                "supported", name, get_be32(data + AT_DEVICE_INSTANCE));
    g_free(name);
    return false;
}

uint64_t vmload_multifd_packet_offset(const VmloadMultifdPacket *packet,
                                      uint32_t index)
{
    uint64_t value;

    memcpy(&value, packet->offsets + (size_t)index * sizeof(value),
           sizeof(value));
    return GUINT64_FROM_BE(value);
}

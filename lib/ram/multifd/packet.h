/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packets of a multifd channel (docs/multifd.md, "Packets"). Pure
 * functions over bytes that are there: no channel, no state.
 */
#ifndef VMLOAD_MULTIFD_PACKET_H
#define VMLOAD_MULTIFD_PACKET_H

#include <vmload/error.h>

/* Flags of a packet. */
enum {
    MULTIFD_SYNC = 0x01,
    MULTIFD_ZLIB = 0x02,
    MULTIFD_ZSTD = 0x04,
    MULTIFD_QPL = 0x08,
    MULTIFD_UADK = 0x10,
    MULTIFD_QATZIP = 0x20,
    MULTIFD_METHOD = 0x3e,
    MULTIFD_DEVICE_STATE = 0x40,
};

/* What all packets begin with; the whole header of device state. */
#define MULTIFD_COMMON_SIZE 12
#define MULTIFD_DEVICE_SIZE 276

/* The header of a RAM packet, without its array of offsets. */
#define MULTIFD_RAM_SIZE 320

/* Bytes of guest memory that one packet can carry at most. */
#define MULTIFD_PACKET_BYTES (512 * 1024)

/*
 * A RAM packet. Sources leave old values in fields of packets without pages,
 * so that of those only the counts mean anything.
 * @size: bytes of compressed data; means nothing with method 0.
 * @offsets: @normal and then @zero offsets, big-endian, in the header.
 */
typedef struct {
    uint32_t flags;
    uint32_t normal;
    uint32_t zero;
    uint32_t size;
    char idstr[256];
    const uint8_t *offsets;
} VmloadMultifdPacket;

/* How many offsets a header has room for, and how long it is with them. */
uint32_t vmload_multifd_capacity(uint32_t page_bits);
uint32_t vmload_multifd_header_size(uint32_t page_bits);

/*
 * Checks the MULTIFD_COMMON_SIZE bytes that say which layout it is. All
 * errors name their field. MALFORMED, or UNSUPPORTED for another version.
 */
bool vmload_multifd_packet_check(const uint8_t *data, uint32_t *flags,
                                 GError **error);

/*
 * Reads a header of vmload_multifd_header_size() bytes that was checked.
 * @packet borrows from @data. MALFORMED: counts that cannot be.
 */
bool vmload_multifd_packet_parse(const uint8_t *data, uint32_t page_bits,
                                 VmloadMultifdPacket *packet, GError **error);

/* Refuses MULTIFD_DEVICE_SIZE bytes of device state by the device's name. */
bool vmload_multifd_packet_refuse(const uint8_t *data, GError **error);

/* Entry @index of the array, byte order undone. */
uint64_t vmload_multifd_packet_offset(const VmloadMultifdPacket *packet,
                                      uint32_t index);

#endif

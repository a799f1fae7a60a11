/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a source writes on a multifd channel. It writes what it is told, legal
 * or not, and shares no code with the library.
 */
#ifndef VMLOAD_TESTS_PACKET_WRITER_H
#define VMLOAD_TESTS_PACKET_WRITER_H

#include "stream-writer.h"

/* Flags of packets. */
enum {
    PW_SYNC = 0x01,
    PW_ZLIB = 0x02,
    PW_ZSTD = 0x04,
    PW_QPL = 0x08,
    PW_UADK = 0x10,
    PW_QATZIP = 0x20,
    PW_DEVICE_STATE = 0x40,
};

/* Where fields are in a RAM packet, for sw_patch_be32() and such. */
enum {
    PW_AT_MAGIC = 0,
    PW_AT_VERSION = 4,
    PW_AT_FLAGS = 8,
    PW_AT_PAGES_ALLOC = 12,
    PW_AT_NORMAL_PAGES = 16,
    PW_AT_NEXT_PACKET_SIZE = 20,
    PW_AT_PACKET_NUM = 24,
    PW_AT_ZERO_PAGES = 32,
    PW_AT_RAMBLOCK = 64,
    PW_AT_OFFSETS = 320,
};

/* The 64 bytes in front of all packets. @uuid: NULL: zeros. */
void pw_handshake(GByteArray *out, const uint8_t *uuid, uint8_t id);

/*
 * The header of a RAM packet for pages of 1 << @bits bytes; @offsets: first
 * @normal, then @zero of them. Its data comes after it. Returns where it
 * begins.
 */
guint pw_ram(GByteArray *out, uint32_t bits, uint32_t flags,
             const char *block, const uint64_t *offsets, uint32_t normal,
             uint32_t zero, uint32_t size);

/* A SYNC packet as new sources write it. */
guint pw_sync(GByteArray *out, uint32_t bits);

/* A packet of device state with @length bytes of 0xd5 behind its header. */
guint pw_device(GByteArray *out, const char *idstr, uint32_t instance_id,
                uint32_t length);

#endif

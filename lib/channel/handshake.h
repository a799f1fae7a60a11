/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a multifd channel introduces itself: 64 bytes, once, in front of its
 * packets (channels, section 1).
 */
#ifndef VMLOAD_HANDSHAKE_H
#define VMLOAD_HANDSHAKE_H

#include <vmload/error.h>

#define VMLOAD_HANDSHAKE_SIZE 64
#define VMLOAD_HANDSHAKE_MAGIC 0x11223344u

/* A channel's number is one byte, and a source has at most 255 of them. */
#define VMLOAD_MULTIFD_MAX 255

/* @id: not checked, only the caller knows how many channels there are. */
typedef struct {
    uint8_t uuid[16];
    uint32_t id;
} VmloadHandshake;

/*
 * Reads VMLOAD_HANDSHAKE_SIZE bytes. MALFORMED: another magic; UNSUPPORTED:
 * another version. @handshake is untouched on failure.
 */
bool vmload_handshake_parse(const uint8_t *data, VmloadHandshake *handshake,
                            GError **error);

#endif

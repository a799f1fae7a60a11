/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers and bitmaps (vmstate format, section 2). */
#include "device/vmstate-shadow.h"

#include <string.h>

#define LONG_BITS (8 * (uint64_t)sizeof(unsigned long))

uint32_t vmload_state_scalar_width(uint32_t kind)
{
    switch (kind) {
    case VMLOAD_FIELD_KIND_BOOL:
    case VMLOAD_FIELD_KIND_I8:
    case VMLOAD_FIELD_KIND_U8:
    case VMLOAD_FIELD_KIND_U8_EQUAL:
        return 1;
    case VMLOAD_FIELD_KIND_I16:
    case VMLOAD_FIELD_KIND_U16:
    case VMLOAD_FIELD_KIND_U16_EQUAL:
        return 2;
    case VMLOAD_FIELD_KIND_I32:
    case VMLOAD_FIELD_KIND_U32:
    case VMLOAD_FIELD_KIND_I32_EQUAL:
    case VMLOAD_FIELD_KIND_U32_EQUAL:
    case VMLOAD_FIELD_KIND_I32_LE:
        return 4;
    case VMLOAD_FIELD_KIND_I64:
    case VMLOAD_FIELD_KIND_U64:
    case VMLOAD_FIELD_KIND_U64_EQUAL:
    case VMLOAD_FIELD_KIND_DOUBLE:
    case VMLOAD_FIELD_KIND_TIMER:
        return 8;
    default:
        return 0;
    }
}

bool vmload_state_is_plain(uint32_t kind)
{
    switch (kind) {
    case VMLOAD_FIELD_KIND_BOOL:
    case VMLOAD_FIELD_KIND_I8:
    case VMLOAD_FIELD_KIND_U8:
    case VMLOAD_FIELD_KIND_I16:
    case VMLOAD_FIELD_KIND_U16:
    case VMLOAD_FIELD_KIND_I32:
    case VMLOAD_FIELD_KIND_U32:
    case VMLOAD_FIELD_KIND_I64:
    case VMLOAD_FIELD_KIND_U64:
    case VMLOAD_FIELD_KIND_DOUBLE:
    case VMLOAD_FIELD_KIND_TIMER:
        return true;
    default:
        return false;
    }
}

uint64_t vmload_state_bitmap_bytes(uint64_t bits)
{
    return (bits / LONG_BITS + (bits % LONG_BITS != 0)) *
           sizeof(unsigned long);
}

/* One number, from the wire's byte order to the host's, in its place. */
static void scalar_swap(uint8_t *memory, uint32_t width)
{
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    if (width == 2) {
        memcpy(&u16, memory, width);
        u16 = GUINT16_FROM_BE(u16);
        memcpy(memory, &u16, width);
    } else if (width == 4) {
        memcpy(&u32, memory, width);
        u32 = GUINT32_FROM_BE(u32);
        memcpy(memory, &u32, width);
    } else if (width == 8) {
        memcpy(&u64, memory, width);
        u64 = GUINT64_FROM_BE(u64);
        memcpy(memory, &u64, width);
    }
}

/* What a kind makes of its bits. */
static void scalar_adjust(uint8_t *memory, uint32_t kind)
{
    int64_t expiry;

    if (kind == VMLOAD_FIELD_KIND_BOOL) {
        bool truth = *memory != 0;

        memcpy(memory, &truth, sizeof(truth));
    } else if (kind == VMLOAD_FIELD_KIND_TIMER) {
        memcpy(&expiry, memory, sizeof(expiry));
        if (expiry < 0 && expiry != VMLOAD_TIMER_NOT_ARMED) {
            expiry = 0;
        }
        memcpy(memory, &expiry, sizeof(expiry));
    }
}

bool vmload_state_scalars(VmloadStateLoad *load, uint32_t kind, void *memory,
                          uint64_t count, GError **error)
{
    uint32_t width = vmload_state_scalar_width(kind);
    uint8_t *place = memory;
    uint64_t bytes;
    uint64_t i;

    if (!vmload_state_multiply(count, width, &bytes)) {
        return vmload_reader_error(load->reader, error, VMLOAD_ERROR_LIMIT,
                                   "no room for %" G_GUINT64_FORMAT
                                   " elements", count);
    }
    if (bytes == 0) {
        return true;
    }
    if (!vmload_reader_read(load->reader, memory, bytes, error)) {
        return false;
    }
    for (i = 0; i < bytes; i += width) {
        scalar_swap(place + i, width);
        scalar_adjust(place + i, kind);
    }
    return true;
}

/* The number in @memory, sign extended if its kind has a sign. */
static int64_t scalar_value(const void *memory, uint32_t kind)
{
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    int32_t i32;
    int64_t i64;

    switch (kind) {
    case VMLOAD_FIELD_KIND_U8_EQUAL:
        memcpy(&u8, memory, sizeof(u8));
        return u8;
    case VMLOAD_FIELD_KIND_U16_EQUAL:
        memcpy(&u16, memory, sizeof(u16));
        return u16;
    case VMLOAD_FIELD_KIND_U32_EQUAL:
        memcpy(&u32, memory, sizeof(u32));
        return u32;
    case VMLOAD_FIELD_KIND_U64_EQUAL:
        memcpy(&i64, memory, sizeof(i64));
        return i64;
    default:
        memcpy(&i32, memory, sizeof(i32));
        return i32;
    }
}

bool vmload_state_compared(VmloadStateLoad *load, uint32_t kind,
                           void *memory, GError **error)
{
    uint8_t bytes[8];
    int64_t mine;
    int64_t found;

    if (!vmload_state_scalars(load, kind, bytes, 1, error)) {
        return false;
    }
    mine = scalar_value(memory, kind);
    found = scalar_value(bytes, kind);
    if (kind == VMLOAD_FIELD_KIND_I32_LE) {
        if (found < 0 || found > mine) {
            return vmload_reader_error(
                load->reader, error, VMLOAD_ERROR_MISMATCH,
                "expected 0 to %" G_GINT64_FORMAT ", found %" G_GINT64_FORMAT,
                mine, found);
        }
        memcpy(memory, bytes, sizeof(int32_t));
        return vmload_state_wrote(load, memory, sizeof(int32_t), error);
    }
    if (found != mine) {
        return vmload_reader_error(load->reader, error, VMLOAD_ERROR_MISMATCH,
                                   "expected %" G_GINT64_FORMAT
                                   ", found %" G_GINT64_FORMAT, mine, found);
    }
    return true;
}

bool vmload_state_bitmap(VmloadStateLoad *load, void *memory, uint64_t bits,
                         GError **error)
{
    uint64_t bytes = vmload_state_bitmap_bytes(bits);
    uint8_t *place = memory;
    uint64_t done = 0;
    uint64_t word;

    while (bits > 0) {
        uint64_t i;

        if (!vmload_reader_get_be64(load->reader, &word, error)) {
            return false;
        }
        if (bits < 64) {
            word &= ((uint64_t)1 << bits) - 1;
        }
        bits -= MIN(bits, 64);
        /* One long, or two on a host whose long has 32 bits. */
        for (i = 0; i < 64 && done < bytes; i += LONG_BITS) {
            unsigned long part = (unsigned long)(word >> i);

            memcpy(place + done, &part, sizeof(part));
            done += sizeof(part);
        }
    }
    return true;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file dirty-bitmap.h
 * Dirty bitmaps of block devices, which a source sends with the capability
 * dirty-bitmaps: the section "dirty-bitmap".
 */
#ifndef VMLOAD_DIRTY_BITMAP_H
#define VMLOAD_DIRTY_BITMAP_H

#include <vmload/host.h>

G_BEGIN_DECLS

/**
 * VmloadDirtyBitmapFlags:
 * @VMLOAD_DIRTY_BITMAP_ENABLED: the bitmap records writes once the guest
 *     runs.
 * @VMLOAD_DIRTY_BITMAP_PERSISTENT: the bitmap is to be kept in the image.
 * @VMLOAD_DIRTY_BITMAP_IGNORED: set by old sources; means nothing.
 *
 * Flags of a bitmap, with their values on the wire.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_DIRTY_BITMAP_ENABLED = 1 << 0,
    VMLOAD_DIRTY_BITMAP_PERSISTENT = 1 << 1,
    VMLOAD_DIRTY_BITMAP_IGNORED = 1 << 2,
} VmloadDirtyBitmapFlags;

/**
 * VmloadDirtyBitmap:
 * @struct_size: sizeof (VmloadDirtyBitmap) in the library.
 * @flags: bits of VmloadDirtyBitmapFlags, no others.
 * @granularity: bytes of the disk that a bit stands for, a power of two, at
 *     least 512.
 * @reserved: zero.
 * @node: (transfer none): the block node's name, or its alias, 1 to 255
 *     bytes, any but NUL.
 * @name: (transfer none): the bitmap's name or alias, alike.
 *
 * One bitmap, borrowed until the callback returns.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t flags;
    uint32_t granularity;
    uint32_t reserved;
    const char *node;
    const char *name;
} VmloadDirtyBitmap;

/**
 * VmloadDirtyBitmapOps:
 * @struct_size: sizeof (VmloadDirtyBitmapOps), by
 *     VMLOAD_DIRTY_BITMAP_OPS_INIT.
 * @reserved: 0.
 * @started: a bitmap comes; once for each, before anything else of it. NULL:
 *     nothing to do.
 * @bits: a part of it: @length bytes of the disk from @offset on. Bit k of
 *     @bits (byte k / 8, bit k % 8) stands for the granularity's bytes at
 *     @offset + k * granularity; there are enough bits for @length, which
 *     need not be a multiple of the granularity (the disk's end). @bits NULL:
 *     all of them are zero. @bits dies when it returns. Whether the disk is so
 *     large is not known to the library. Required.
 * @completed: nothing more comes of it. NULL: nothing to do.
 *
 * What a host does with dirty bitmaps. A section is read and checked without
 * the big lock, then its calls are made in one hold of it, on the thread that
 * loads the main channel, in stream order.
 *
 * Every member: returns true to go on; false with @error set fails the load,
 * with the code rule of VmloadRamSinkOps. A host that would rather lose a
 * bitmap than a guest, as QEMU does, returns true and forgets it.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t reserved;
    bool (*started)(void *opaque, const VmloadDirtyBitmap *bitmap,
                    GError **error);
    bool (*bits)(void *opaque, const VmloadDirtyBitmap *bitmap,
                 uint64_t offset, uint64_t length, const uint8_t *bits,
                 GError **error);
    bool (*completed)(void *opaque, const VmloadDirtyBitmap *bitmap,
                      GError **error);
} VmloadDirtyBitmapOps;

/** What an initialiser of a VmloadDirtyBitmapOps begins with. Since: 0.1 */
#define VMLOAD_DIRTY_BITMAP_OPS_INIT \
    .struct_size = (uint32_t)sizeof(VmloadDirtyBitmapOps)

/**
 * vmload_loader_add_dirty_bitmaps:
 * @loader: the loader.
 * @ops: what to call; copied.
 * @opaque: passed to every call.
 * @destroy: (nullable): frees @opaque; exactly once, after the last call,
 *     also if this fails.
 * @error: (nullable): where to put the error.
 *
 * Takes the section "dirty-bitmap", as a device of that name would. Without
 * this it is a section like any other: unknown, or the host's own to find.
 *
 * A stream that breaks the format fails the load with
 * VMLOAD_ERROR_MALFORMED; with VMLOAD_ERROR_UNSUPPORTED if it uses the
 * reserve of the format, or another version than 1; with VMLOAD_ERROR_LIMIT
 * if it has more than 65536 bitmaps, or a section needs more memory than the
 * limit section_bytes.
 *
 * Return: true if the section is taken.
 * Errors: VMLOAD_ERROR_FAILED: a required member is NULL, or the section is
 *     taken already. VMLOAD_ERROR_UNSUPPORTED: @ops has members that this
 *     library does not know, or no struct_size.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool
vmload_loader_add_dirty_bitmaps(VmloadLoader *loader,
                                const VmloadDirtyBitmapOps *ops, void *opaque,
                                GDestroyNotify destroy, GError **error);

G_END_DECLS

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* Sections of dirty bitmaps: parsed into chunks, then told to the host. */
#ifndef VMLOAD_DEVICE_DIRTY_BITMAP_H
#define VMLOAD_DEVICE_DIRTY_BITMAP_H

#include <vmload/dirty-bitmap.h>
#include <vmload/reader.h>

/* What is known from the sections before. One thread at a time. */
typedef struct VmloadDirtyBitmaps VmloadDirtyBitmaps;
/* One section. */
typedef struct VmloadDirtyChunks VmloadDirtyChunks;

/* @section_bytes bounds the memory of one section. */
VmloadDirtyBitmaps *vmload_dirty_bitmaps_new(const VmloadDirtyBitmapOps *ops,
                                             void *opaque,
                                             GDestroyNotify destroy,
                                             uint64_t section_bytes);
void vmload_dirty_bitmaps_free(VmloadDirtyBitmaps *bitmaps);

/*
 * Reads one section's payload. Changes nothing in @bitmaps, so that it may be
 * called again from the section's start. NULL on error.
 */
VmloadDirtyChunks *vmload_dirty_bitmaps_parse(VmloadDirtyBitmaps *bitmaps,
                                              VmloadReader *reader,
                                              GError **error);
void vmload_dirty_chunks_free(VmloadDirtyChunks *chunks);

/* Makes the calls, and remembers what later sections refer to. */
bool vmload_dirty_bitmaps_apply(VmloadDirtyBitmaps *bitmaps,
                                const VmloadDirtyChunks *chunks,
                                GError **error);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file ram.h
 * Guest RAM: blocks, and sinks that say where their bytes go.
 */
#ifndef VMLOAD_RAM_H
#define VMLOAD_RAM_H

#include <vmload/error.h>

G_BEGIN_DECLS

/** VmloadRamSink: opaque. Where the bytes of one block go. Since: 0.1 */
typedef struct VmloadRamSink VmloadRamSink;
/** VmloadRamBlock: opaque. One RAM block. Since: 0.1 */
typedef struct VmloadRamBlock VmloadRamBlock;

/**
 * VmloadRamSinkOps: a host's own sink (for instance over a pager). All from
 * loader threads, no lock held; `read` is needed for XBZRLE only.
 */
typedef struct {
    uint32_t struct_size;
    uint32_t reserved;
    bool (*write)(void *opaque, uint64_t offset, const uint8_t *data,
                  uint64_t length, GError **error);
    bool (*zero)(void *opaque, uint64_t offset, uint64_t length,
                 GError **error);
    bool (*read)(void *opaque, uint64_t offset, uint8_t *data,
                 uint64_t length, GError **error);
    bool (*resize)(void *opaque, uint64_t length, GError **error);
    bool (*finish)(void *opaque, GError **error);
} VmloadRamSinkOps;

#define VMLOAD_RAM_SINK_OPS_INIT \
    .struct_size = (uint32_t)sizeof(VmloadRamSinkOps)

/* The host's memory at @host, at least max_length bytes, borrowed. */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_sink_new_memory(void *host);
/* A memfd of the library's own; vmload_ram_sink_get_fd(). */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_sink_new_memfd(const char *name,
                                                       GError **error);
/* A sparse file, created or truncated. */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_sink_new_file(const char *path,
                                                      GError **error);
/* SHA-256 of the block's used length at the end of the load. */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_sink_new_digest(void);
/* Drops everything (XBZRLE deltas are checked, not applied). */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_sink_new_null(void);
VMLOAD_EXPORT VmloadRamSink *
vmload_ram_sink_new_from_ops(const VmloadRamSinkOps *ops, void *opaque,
                             GDestroyNotify destroy, GError **error);
VMLOAD_EXPORT int32_t vmload_ram_sink_get_fd(VmloadRamSink *sink);
VMLOAD_EXPORT const char *vmload_ram_sink_get_digest(VmloadRamSink *sink);
VMLOAD_EXPORT void vmload_ram_sink_free(VmloadRamSink *sink);

/** Flags of a block. */
typedef enum {
    /* All bytes are known to be zero at start: zero pages cost nothing. */
    VMLOAD_RAM_KNOWN_ZERO = 1 << 0,
    /* The source does not send its pages (x-ignore-shared). */
    VMLOAD_RAM_IGNORED = 1 << 1,
    VMLOAD_RAM_RESIZEABLE = 1 << 2,
} VmloadRamFlags;

/*
 * A block. @sink (transfer full). @used_length and @max_length in bytes;
 * used < max: resizeable.
 */
VMLOAD_EXPORT VmloadRamBlock *
vmload_ram_block_new(const char *idstr, uint64_t used_length,
                     uint64_t max_length, VmloadRamSink *sink, GError **error);
VMLOAD_EXPORT void vmload_ram_block_free(VmloadRamBlock *block);
VMLOAD_EXPORT void vmload_ram_block_set_flags(VmloadRamBlock *block,
                                              uint32_t flags);
/* Page size of what backs the block, bytes, a power of two. */
VMLOAD_EXPORT bool vmload_ram_block_set_page_size(VmloadRamBlock *block,
                                                  uint64_t page_size,
                                                  GError **error);
/* Guest address for x-ignore-shared's check. */
VMLOAD_EXPORT void vmload_ram_block_set_address(VmloadRamBlock *block,
                                                uint64_t address);
/* Called with the big lock held when the wire length differs. */
typedef bool (*VmloadRamResizeFunc)(void *opaque, VmloadRamBlock *block,
                                    uint64_t length, GError **error);
VMLOAD_EXPORT void vmload_ram_block_set_resize(VmloadRamBlock *block,
                                               VmloadRamResizeFunc func,
                                               void *opaque,
                                               GDestroyNotify destroy);

VMLOAD_EXPORT const char *vmload_ram_block_get_idstr(const VmloadRamBlock *b);
VMLOAD_EXPORT uint64_t vmload_ram_block_get_length(const VmloadRamBlock *b);
VMLOAD_EXPORT VmloadRamSink *vmload_ram_block_get_sink(VmloadRamBlock *b);
/* Is the page at @offset received? */
VMLOAD_EXPORT bool vmload_ram_block_test_received(const VmloadRamBlock *block,
                                                  uint64_t offset);

G_END_DECLS

#endif

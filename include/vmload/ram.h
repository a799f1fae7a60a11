/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file ram.h
 * Guest RAM: blocks, and sinks that say where their bytes go.
 *
 * A block is what QEMU calls a RAMBlock: a name (its idstr), a length, and
 * memory. The source announces its blocks at the start of a stream; the host
 * registers its own with vmload_loader_add_ram_block(), or makes them as they
 * are announced (vmload_loader_set_ram_announced()).
 *
 * Lengths and offsets are in bytes, offsets from the start of the block. The
 * target page size P is a property of the guest's architecture: 4096 unless
 * the stream's configuration section says otherwise.
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
 * VmloadRamSinkOps:
 * @struct_size: sizeof (VmloadRamSinkOps), by VMLOAD_RAM_SINK_OPS_INIT.
 * @reserved: 0.
 * @write: stores @length bytes at @offset. @data dies when it returns.
 *     Required.
 * @zero: makes @length bytes at @offset zero. Required. Not called for a
 *     page that never came before in a block that is VMLOAD_RAM_KNOWN_ZERO.
 * @read: gives back what stands at @offset. Needed for XBZRLE only, which
 *     changes pages that are there; NULL: an XBZRLE record fails the load
 *     with VMLOAD_ERROR_UNSUPPORTED.
 * @resize: the block is @length bytes from now on, at most its maximum.
 *     Before its first page, and later only if the source lists its blocks
 *     again (COLO). NULL: nothing to do.
 * @finish: the last page has come; once, and only in a load that got so far.
 *     NULL: nothing to do.
 *
 * A host's own sink, for instance over a pager. Calls lie inside the block's
 * length; a page may come several times, the last one counts. A call covers
 * one target page, or a part of one: pages of more than 64 KiB come in
 * pieces.
 *
 * Every member: returns true if it is done; false with @error set fails the
 * load: a VMLOAD_ERROR keeps its code, anything else becomes
 * VMLOAD_ERROR_DEVICE, and the message is kept and gets the place in front.
 * Threads: main channel, one call at a time; with multifd @write and @zero
 * also on vmload-mfd-N, several at once, two for one page only if the source
 * is broken. Called with no lock held; may block, and then holds up the
 * stream, also for vmload_loader_cancel(). May call vmload_loader_get_*() and
 * vmload_loader_cancel().
 *
 * Since: 0.1
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

/** What an initialiser of a VmloadRamSinkOps begins with. Since: 0.1 */
#define VMLOAD_RAM_SINK_OPS_INIT \
    .struct_size = (uint32_t)sizeof(VmloadRamSinkOps)

/**
 * vmload_ram_sink_new_memory:
 * @host: the memory, at least the block's maximum length, readable and
 *     writable; borrowed until the sink is freed.
 *
 * Makes a sink over memory of the host's. Pages are read straight into it. A
 * zero page is compared first and stored only if the memory is not zero yet,
 * so that untouched anonymous memory stays unallocated.
 *
 * Return: (transfer full): a sink, for one block.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_sink_new_memory(void *host);

/**
 * vmload_ram_sink_new_memfd:
 * @name: for people who look into /proc; at most 249 bytes.
 * @error: (nullable): where to put the error.
 *
 * Makes a sink over a memfd of the library's own, with the block's maximum
 * length as its size, sparse. vmload_ram_sink_get_fd() gives it to whoever
 * shall map it.
 *
 * Return: (transfer full) (nullable): a sink, for one block.
 * Errors: VMLOAD_ERROR_IO: the kernel refused.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_sink_new_memfd(const char *name,
                                                       GError **error);

/**
 * vmload_ram_sink_new_file:
 * @path: the file's name, in the file system's encoding.
 * @error: (nullable): where to put the error.
 *
 * Makes a sink over a file, created for the owner only or truncated, with
 * the block's length as its size. It stays sparse where no page but zero
 * pages came. A full disk is an error of the load. The file is complete
 * when the load is, and is not synchronised to the disk; after a failed load
 * it is there with part of its content.
 *
 * Return: (transfer full) (nullable): a sink, for one block.
 * Errors: VMLOAD_ERROR_IO: the file cannot be opened.
 * States: any. Threads: any. Blocks: on the file system.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_sink_new_file(const char *path,
                                                      GError **error);

/**
 * vmload_ram_sink_new_digest:
 *
 * Makes a sink that keeps the content in memory of the library's own and
 * has, at the end of the load, the SHA-256 of the block's length.
 *
 * Return: (transfer full): a sink, for one block.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_sink_new_digest(void);

/**
 * vmload_ram_sink_new_null:
 *
 * Makes a sink that drops all content. Records are parsed and checked all
 * the same: an XBZRLE delta is applied to scratch memory.
 *
 * Return: (transfer full): a sink, for one block.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_sink_new_null(void);

/**
 * vmload_ram_sink_new_from_ops:
 * @ops: what to call; copied.
 * @opaque: passed to every call.
 * @destroy: (nullable): frees @opaque; exactly once, after the last call,
 *     also if this fails.
 * @error: (nullable): where to put the error.
 *
 * Makes a sink of the host's own.
 *
 * Return: (transfer full) (nullable): a sink, for one block.
 * Errors: VMLOAD_ERROR_FAILED: a required member is NULL.
 *     VMLOAD_ERROR_UNSUPPORTED: @ops has members that this library does not
 *     know, or no struct_size.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadRamSink *
vmload_ram_sink_new_from_ops(const VmloadRamSinkOps *ops, void *opaque,
                             GDestroyNotify destroy, GError **error);

/**
 * vmload_ram_sink_get_fd:
 * @sink: the sink.
 *
 * Looks at the file descriptor of a memfd or file sink. A file's content is
 * complete when the load is.
 *
 * Return: the descriptor, open until the sink is freed, not to be closed; -1
 *     for other kinds of sinks.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT int32_t vmload_ram_sink_get_fd(VmloadRamSink *sink);

/**
 * vmload_ram_sink_get_digest:
 * @sink: the sink.
 *
 * Looks at the digest of a digest sink.
 *
 * Return: (transfer none) (nullable): 64 hexadecimal digits, good until the
 *     sink is freed; NULL before the RAM is complete, and for other kinds of
 *     sinks.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT const char *vmload_ram_sink_get_digest(VmloadRamSink *sink);

/**
 * vmload_ram_sink_free:
 * @sink: (nullable) (transfer full): a sink that no block has taken.
 *
 * Frees the sink and what is its own.
 *
 * Errors: none.
 * States: any. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_ram_sink_free(VmloadRamSink *sink);

/**
 * VmloadRamFlags:
 * @VMLOAD_RAM_KNOWN_ZERO: all bytes are zero before the load, so that a zero
 *     page is neither stored nor looked at the first time it comes. Sinks
 *     over memfd, file and digest are known to be zero without it. Never for
 *     memory that is filled beforehand, such as firmware.
 * @VMLOAD_RAM_IGNORED: the content is here already (shared memory), and the
 *     source does not send it: capability x-ignore-shared. A page of the
 *     block in the stream fails the load with VMLOAD_ERROR_MISMATCH, and so
 *     does another guest address in the list of blocks.
 * @VMLOAD_RAM_RESIZEABLE: the source may have another length, up to the
 *     maximum; set by itself if the length is below the maximum.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_RAM_KNOWN_ZERO = 1 << 0,
    VMLOAD_RAM_IGNORED = 1 << 1,
    VMLOAD_RAM_RESIZEABLE = 1 << 2,
} VmloadRamFlags;

/**
 * vmload_ram_block_new:
 * @idstr: the name in the stream, 1 to 255 bytes, compared byte by byte;
 *     copied.
 * @used_length: bytes in use, 0 to @max_length.
 * @max_length: bytes that the sink has room for, 1 to 2^63 - 1. More than
 *     @used_length: the block is VMLOAD_RAM_RESIZEABLE.
 * @sink: (transfer full): where its bytes go; taken also on failure.
 * @error: (nullable): where to put the error.
 *
 * Makes a block. Its sink is made ready here: the memory of a memfd or
 * digest sink is reserved for @max_length, the file of a file sink gets its
 * size.
 *
 * The source's length may differ from @used_length: where both are the same
 * once rounded up to whole pages (of the host, or of the target if those are
 * larger), or in a block that is VMLOAD_RAM_RESIZEABLE; and never beyond
 * @max_length. Anything else fails the load with VMLOAD_ERROR_MISMATCH.
 *
 * Return: (transfer full) (nullable): a block, for one loader.
 * Errors: VMLOAD_ERROR_FAILED: the name or a length is out of range.
 *     VMLOAD_ERROR_IO: no memory of @max_length bytes, or no file of that
 *     size, can be had.
 * States: any. Threads: owner. Blocks: with a file sink on the file system.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadRamBlock *
vmload_ram_block_new(const char *idstr, uint64_t used_length,
                     uint64_t max_length, VmloadRamSink *sink, GError **error);

/**
 * vmload_ram_block_free:
 * @block: (nullable) (transfer full): a block that no loader has taken.
 *
 * Frees the block and its sink.
 *
 * Errors: none.
 * States: any. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_ram_block_free(VmloadRamBlock *block);

/**
 * vmload_ram_block_set_flags:
 * @block: the block.
 * @flags: VmloadRamFlags, or-ed; replaces what was set.
 *
 * Says what is special about the block.
 *
 * Errors: none.
 * States: before a loader has taken the block. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_ram_block_set_flags(VmloadRamBlock *block,
                                              uint32_t flags);

/**
 * vmload_ram_block_set_page_size:
 * @block: the block.
 * @page_size: bytes, a power of two; default: the host's page size.
 * @error: (nullable): where to put the error.
 *
 * Says of which pages the memory behind the block is, where these are not
 * the host's usual ones (hugetlbfs). Both sides of a postcopy migration must
 * have the same; precopy does not care.
 *
 * Return: true if it was set.
 * Errors: VMLOAD_ERROR_FAILED: @page_size is not a power of two.
 * States: before a loader has taken the block. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_ram_block_set_page_size(VmloadRamBlock *block,
                                                  uint64_t page_size,
                                                  GError **error);

/**
 * vmload_ram_block_set_address:
 * @block: the block.
 * @address: guest address, relative to the region that contains the block;
 *     default 0.
 *
 * Says where the guest has the block. Only compared for a block that is
 * VMLOAD_RAM_IGNORED, in a stream with x-ignore-shared.
 *
 * Errors: none.
 * States: before a loader has taken the block. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_ram_block_set_address(VmloadRamBlock *block,
                                                uint64_t address);

/**
 * VmloadRamResizeFunc:
 * @opaque: as given.
 * @block: the block; its length is the new one already.
 * @length: bytes, as the source has them: a multiple of the target page
 *     size.
 * @error: where to put the error.
 *
 * Tells the host that the source's length is not the one it registered, also
 * where the two only differ within the last page. Before the block's first
 * page, and later only if the source lists its blocks again (COLO). On the
 * main channel's thread with the big lock held; may block.
 *
 * Return: true to go on; false with @error set fails the load, with the
 *     code rule of VmloadRamSinkOps.
 * Since: 0.1
 */
typedef bool (*VmloadRamResizeFunc)(void *opaque, VmloadRamBlock *block,
                                    uint64_t length, GError **error);

/**
 * vmload_ram_block_set_resize:
 * @block: the block.
 * @func: (nullable): what to call; NULL (default): nobody needs to know.
 * @opaque: passed to @func.
 * @destroy: (nullable): frees @opaque; exactly once, with the block or when
 *     another function is set.
 *
 * Sets who hears of another length. Whether another length is allowed is not
 * decided by this: see vmload_ram_block_new().
 *
 * Errors: none.
 * States: before a loader has taken the block. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_ram_block_set_resize(VmloadRamBlock *block,
                                               VmloadRamResizeFunc func,
                                               void *opaque,
                                               GDestroyNotify destroy);

/**
 * vmload_ram_block_get_idstr:
 * @block: the block.
 *
 * Looks at the block's name.
 *
 * Return: (transfer none): the name, good as long as the block. What a
 *     stream announced may hold any bytes but NUL.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT const char *
vmload_ram_block_get_idstr(const VmloadRamBlock *block);

/**
 * vmload_ram_block_get_length:
 * @block: the block.
 *
 * Tells how much of the block is in use: the registered length until the
 * stream has announced the source's.
 *
 * Return: bytes.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint64_t
vmload_ram_block_get_length(const VmloadRamBlock *block);

/**
 * vmload_ram_block_get_sink:
 * @block: the block.
 *
 * Looks at where the block's bytes go.
 *
 * Return: (transfer none): the sink, good as long as the block.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadRamSink *vmload_ram_block_get_sink(VmloadRamBlock *block);

/**
 * vmload_ram_block_test_received:
 * @block: the block.
 * @offset: any byte of the page in question.
 *
 * Tells whether content for a page has come, be it zero. While the load
 * runs true means that the content is there or just being stored.
 *
 * Return: true if it has; false before the stream has announced the block,
 *     and for an offset past the maximum length.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool
vmload_ram_block_test_received(const VmloadRamBlock *block, uint64_t offset);

G_END_DECLS

#endif

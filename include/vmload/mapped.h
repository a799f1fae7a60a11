/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mapped.h
 * mapped-ram: files in which every page of RAM has a fixed place.
 *
 * Such a file says so in its configuration section, and is loaded like any
 * other as long as its channel is seekable: a regular file, a block device,
 * memory, or a transport of the host's with `preadv`. Everything else fails
 * with VMLOAD_ERROR_UNSUPPORTED. Here is how it is read.
 */
#ifndef VMLOAD_MAPPED_H
#define VMLOAD_MAPPED_H

#include <vmload/loader.h>

G_BEGIN_DECLS

/** Most threads that vmload_loader_set_ram_threads() takes. Since: 0.1 */
#define VMLOAD_RAM_THREADS_MAX 255

/**
 * vmload_loader_set_ram_threads:
 * @loader: the loader.
 * @threads: how many, up to VMLOAD_RAM_THREADS_MAX; 1: the thread that loads
 *     the main channel does it; 0 (default): one for each processor, at most
 *     4.
 *
 * Sets how many threads read the pages of a mapped-ram file, or of a plain
 * stream in a file (at most 8), into blocks that have memory. They are called
 * "vmload-ram-N", run the host's thread hooks, and are gone before anything
 * but a page is read. Blocks without memory are written on the main channel's
 * thread, one call at a time.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_ram_threads(VmloadLoader *loader,
                                                 uint32_t threads);

/**
 * vmload_loader_set_direct_io:
 * @loader: the loader.
 * @enabled: default false.
 *
 * Sets whether the pages of a mapped-ram file are read past the page cache
 * (O_DIRECT). The file is opened once more for that; the flags of a
 * descriptor that the host gave are not changed. Where a file system does not
 * have it, or an address or length is not aligned to 4096 bytes, pages are
 * read in the usual way.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_direct_io(VmloadLoader *loader,
                                               bool enabled);

/**
 * VmloadRamMapped:
 * @struct_size: sizeof (VmloadRamMapped), set by the caller.
 * @version: of the block's mapped-ram header.
 * @page_size: target page size, bytes.
 * @bitmap_offset: of its bitmap, bytes from the start of the file; 0, as
 *     @pages_offset is: the content is not in the file (x-ignore-shared).
 * @pages_offset: of its first page, bytes from the start of the file.
 * @pages: how many pages are in the file, as far as they are loaded; the
 *     others are zero.
 *
 * Where a mapped-ram file has a block.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t version;
    uint64_t page_size;
    uint64_t bitmap_offset;
    uint64_t pages_offset;
    uint64_t pages;
} VmloadRamMapped;

/**
 * vmload_ram_block_get_mapped:
 * @block: the block.
 * @mapped: (out caller-allocates): where to put it; its struct_size is set.
 *
 * Tells where a mapped-ram file has the block.
 *
 * Return: true if the stream has the block at a fixed place; else @mapped is
 *     untouched.
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_ram_block_get_mapped(const VmloadRamBlock *block,
                                               VmloadRamMapped *mapped);

G_END_DECLS

#endif

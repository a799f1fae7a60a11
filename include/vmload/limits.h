/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file limits.h
 * Bounds for everything a peer can make the library allocate or loop over.
 * All are on by default; a load that exceeds one fails with
 * VMLOAD_ERROR_LIMIT and a message that names the limit.
 */
#ifndef VMLOAD_LIMITS_H
#define VMLOAD_LIMITS_H

#include <vmload/error.h>

G_BEGIN_DECLS

/**
 * VmloadLimits:
 * @struct_size: sizeof (VmloadLimits), set by vmload_limits_init().
 * @nesting: depth of nested descriptions, of JSON and of dispatches.
 * @section_bytes: bytes of one staged section.
 * @staged_bytes: bytes staged at once by all sections of a load (packages
 *     and atomic commit included).
 * @vmdesc_bytes: bytes of the JSON description at the end of a stream.
 * @package_bytes: bytes of one packaged blob.
 * @sections: section ids announced in one stream.
 * @ram_blocks: entries in the RAM block list.
 * @ram_bytes: sum of the lengths of all RAM blocks.
 * @elements: elements of one array, list or tree in a device's state.
 * @element_bytes: bytes of memory that one device's state may make the
 *     declarative engine or the decoder allocate; also what parsing the
 *     description may take.
 * @configuration_names: bytes of the machine name; also the number of
 *     capabilities in the configuration section.
 * @multifd_window: bytes that the decompressor of one multifd channel may
 *     keep of what it has put out; rounded down to a power of two. Sources
 *     need 512 KiB (zstd's default level) to 32 MiB (its level 20).
 * @rdma_pinned_bytes: bytes of guest memory that an RDMA source may have
 *     pinned at once. It never gives any back, so a guest that dirties more
 *     than this cannot be loaded.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t nesting;
    uint64_t section_bytes;
    uint64_t staged_bytes;
    uint64_t vmdesc_bytes;
    uint64_t package_bytes;
    uint64_t sections;
    uint64_t ram_blocks;
    uint64_t ram_bytes;
    uint64_t elements;
    uint64_t element_bytes;
    uint64_t configuration_names;
    uint64_t multifd_window;
    uint64_t rdma_pinned_bytes;
} VmloadLimits;

/**
 * vmload_limits_init:
 * @limits: (out caller-allocates): the struct to fill with the defaults.
 *
 * Sets every limit to its default: nesting 32, section_bytes 256 MiB,
 * staged_bytes 1 GiB, vmdesc_bytes 64 MiB, package_bytes 512 MiB, sections
 * 65536, ram_blocks 65536, ram_bytes 2^52, elements 2^20, element_bytes
 * 256 MiB, configuration_names 1024, multifd_window 128 MiB, rdma_pinned_bytes
 * 2^52.
 *
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_limits_init(VmloadLimits *limits);

/**
 * vmload_limits_set:
 * @limits: (inout): a struct filled by vmload_limits_init().
 * @name: the member's name with '-' or '_', such as "section-bytes".
 * @value: the new bound, more than zero, in the member's unit.
 * @error: (nullable): where to put the error.
 *
 * Sets one limit by its name, for command lines and configuration files.
 *
 * Return: true if the limit was set.
 * Errors: VMLOAD_ERROR_FAILED: no limit has this name, or @value is out of
 *     range; @limits is untouched.
 * States: any. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_limits_set(VmloadLimits *limits, const char *name,
                                     uint64_t value, GError **error);

G_END_DECLS

#endif

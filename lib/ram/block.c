/* SPDX-License-Identifier: BSD-3-Clause */
#include "block.h"

#include "error.h"

#include <string.h>
#include <unistd.h>
#include <vmload/mapped.h>

#define RAM_FLAGS \
    (VMLOAD_RAM_KNOWN_ZERO | VMLOAD_RAM_IGNORED | VMLOAD_RAM_RESIZEABLE)

static bool block_check(const char *idstr, uint64_t used_length,
                        uint64_t max_length, GError **error)
{
    size_t n = strlen(idstr);

    if (n == 0 || n > 255) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "RAM block: expected a name of 1 to 255 bytes, "
                           "found %zu",
                           n);
    }
    if (max_length == 0 || max_length > INT64_MAX ||
        used_length > max_length) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "RAM block '%s': expected a length of at most its "
                           "maximum, and that of 1 to 2^63 - 1 bytes, found %"
                           G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT,
                           idstr, used_length, max_length);
    }
    return true;
}

VmloadRamBlock *vmload_ram_block_new(const char *idstr, uint64_t used_length,
                                     uint64_t max_length, VmloadRamSink *sink,
                                     GError **error)
{
    VmloadRamBlock *block;

    g_return_val_if_fail(idstr != NULL && sink != NULL, NULL);
    if (!block_check(idstr, used_length, max_length, error) ||
        !vmload_sink_attach(sink, idstr, used_length, max_length, error)) {
        vmload_ram_sink_free(sink);
        return NULL;
    }
    block = g_new0(VmloadRamBlock, 1);
    block->idstr = g_strdup(idstr);
    block->length = used_length;
    block->max_length = max_length;
    block->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    block->sink = sink;
    block->starts_zero = sink->starts_zero;
    if (used_length < max_length) {
        block->flags = VMLOAD_RAM_RESIZEABLE;
    }
    return block;
}

static void block_drop_resize(VmloadRamBlock *block)
{
    if (block->resize_destroy != NULL) {
        block->resize_destroy(block->resize_opaque);
    }
}

void vmload_ram_block_free(VmloadRamBlock *block)
{
    if (block != NULL) {
        block_drop_resize(block);
        vmload_ram_sink_free(block->sink);
        vmload_claim_free(block->claim);
        g_free(block->begun);
        g_free(block->idstr);
        g_free(block);
    }
}

void vmload_ram_block_set_flags(VmloadRamBlock *block, uint32_t flags)
{
    g_return_if_fail(block != NULL && (flags & ~(uint32_t)RAM_FLAGS) == 0);
    if (block->length < block->max_length) {
        flags |= VMLOAD_RAM_RESIZEABLE;
    }
    block->flags = flags;
    block->starts_zero =
        block->sink->starts_zero || (flags & VMLOAD_RAM_KNOWN_ZERO) != 0;
}

bool vmload_ram_block_set_page_size(VmloadRamBlock *block, uint64_t page_size,
                                    GError **error)
{
    g_return_val_if_fail(block != NULL, false);
    if (page_size == 0 || (page_size & (page_size - 1)) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "RAM block '%s': expected a page size that is a "
                           "power of two, found %" G_GUINT64_FORMAT,
                           block->idstr, page_size);
    }
    block->page_size = page_size;
    return true;
}

void vmload_ram_block_set_address(VmloadRamBlock *block, uint64_t address)
{
    g_return_if_fail(block != NULL);
    block->address = address;
}

void vmload_ram_block_set_resize(VmloadRamBlock *block,
                                 VmloadRamResizeFunc func, void *opaque,
                                 GDestroyNotify destroy)
{
    g_return_if_fail(block != NULL);
    block_drop_resize(block);
    block->resize = func;
    block->resize_opaque = opaque;
    block->resize_destroy = destroy;
}

const char *vmload_ram_block_get_idstr(const VmloadRamBlock *block)
{
    g_return_val_if_fail(block != NULL, NULL);
    return block->idstr;
}

uint64_t vmload_ram_block_get_length(const VmloadRamBlock *block)
{
    g_return_val_if_fail(block != NULL, 0);
    return __atomic_load_n(&block->length, __ATOMIC_RELAXED);
}

VmloadRamSink *vmload_ram_block_get_sink(VmloadRamBlock *block)
{
    g_return_val_if_fail(block != NULL, NULL);
    return block->sink;
}

bool vmload_ram_block_get_mapped(const VmloadRamBlock *block,
                                 VmloadRamMapped *mapped)
{
    VmloadRamMapped found = {0};

    g_return_val_if_fail(block != NULL && mapped != NULL, false);
    g_return_val_if_fail(mapped->struct_size >= sizeof(uint32_t), false);
    found.page_size =
        __atomic_load_n(&block->mapped_page_size, __ATOMIC_ACQUIRE);
    if (found.page_size == 0) {
        return false;
    }
    found.struct_size = mapped->struct_size;
    found.version = __atomic_load_n(&block->mapped_version, __ATOMIC_RELAXED);
    found.bitmap_offset =
        __atomic_load_n(&block->mapped_bitmap_offset, __ATOMIC_RELAXED);
    found.pages_offset =
        __atomic_load_n(&block->mapped_pages_offset, __ATOMIC_RELAXED);
    found.pages = __atomic_load_n(&block->mapped_pages, __ATOMIC_RELAXED);
    /* As much as the caller knows. */
    memcpy(mapped, &found, MIN(mapped->struct_size, sizeof(found)));
    return true;
}

bool vmload_ram_block_test_received(const VmloadRamBlock *block,
                                    uint64_t offset)
{
    const VmloadClaim *claim;

    g_return_val_if_fail(block != NULL, false);
    claim = __atomic_load_n(&block->claim, __ATOMIC_ACQUIRE);
    return claim != NULL && vmload_claim_test(claim, offset);
}

bool vmload_ram_block_prepare(VmloadRamBlock *block, uint32_t page_bits,
                              GError **error)
{
    VmloadClaim *claim;

    if (block->claim != NULL) {
        return true;
    }
    claim = vmload_claim_new(block->max_length, page_bits, error);
    if (claim == NULL) {
        return false;
    }
    __atomic_store_n(&block->claim, claim, __ATOMIC_RELEASE);
    return true;
}

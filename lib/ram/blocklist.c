/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The list of blocks behind MEM_SIZE (RAM format, section 4). It has no
 * count and no marks: entries follow until their lengths sum up to the
 * total, and which fields an entry has is known from elsewhere.
 */
#include "private.h"

#include "error.h"
#include "mapped.h"

#include <unistd.h>

#define U64 "%" G_GUINT64_FORMAT
#define X64 "0x%" G_GINT64_MODIFIER "x"

typedef struct {
    char idstr[VMLOAD_STR8_SIZE];
    uint64_t length;
} ListEntry;

/* The host's page size or the target's, whichever is larger. */
static uint64_t list_base_page_size(const VmloadRam *ram)
{
    return MAX((uint64_t)sysconf(_SC_PAGESIZE), vmload_ram_page_size(ram));
}

/* Is @length, rounded up to @unit, the same as @other, rounded up? */
static bool list_same_when_rounded(uint64_t length, uint64_t other,
                                   uint64_t unit)
{
    uint64_t a = length / unit + (length % unit != 0 ? 1 : 0);
    uint64_t b = other / unit + (other % unit != 0 ? 1 : 0);

    return a == b;
}

static bool list_read_head(VmloadRam *ram, VmloadReader *reader,
                           uint64_t remaining, ListEntry *entry,
                           GError **error)
{
    uint64_t page_mask = vmload_ram_page_size(ram) - 1;

    if (!vmload_reader_get_str8(reader, entry->idstr, NULL, error) ||
        !vmload_reader_get_be64(reader, &entry->length, error)) {
        return false;
    }
    if (entry->length == 0 || (entry->length & page_mask) != 0) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a length of one or more pages "
                                   "of " U64 " bytes, found " U64,
                                   page_mask + 1, entry->length);
    }
    if (entry->length > remaining) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected at most the " U64
                                   " bytes left of the total, found " U64,
                                   remaining, entry->length);
    }
    return true;
}

/* May the stream make one more block? */
static bool list_may_announce(VmloadRam *ram, VmloadReader *reader,
                              const ListEntry *entry, GError **error)
{
    if (ram->env.announced == NULL) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MISMATCH,
                                   "expected a registered RAM block, found "
                                   "one of " U64 " bytes that is not",
                                   entry->length);
    }
    if (ram->blocks->len >= ram->limits.ram_blocks ||
        entry->length > ram->limits.ram_bytes - ram->announced_bytes) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                   "expected at most " U64 " RAM blocks (ram_"
                                   "blocks) and " U64 " bytes (ram_bytes) in "
                                   "all lists together, found more",
                                   ram->limits.ram_blocks,
                                   ram->limits.ram_bytes);
    }
    return true;
}

/* Asks the host for a block that nobody registered; NULL: failed. */
static VmloadRamBlock *list_announce(VmloadRam *ram, VmloadReader *reader,
                                     const ListEntry *entry, GError **error)
{
    GError *local = NULL;
    VmloadRamBlock *block;

    if (!list_may_announce(ram, reader, entry, error)) {
        return NULL;
    }
    block = ram->env.announced(ram->env.opaque, entry->idstr, entry->length,
                               &local);
    if (block == NULL) {
        vmload_ram_callback_failed(error, local,
                                   "the host makes no block for it");
        return NULL;
    }
    if (g_strcmp0(block->idstr, entry->idstr) != 0) {
        vmload_fail(error, VMLOAD_ERROR_DEVICE,
                    "expected a block of this name from the host, found '%s'",
                    block->idstr);
        vmload_ram_block_free(block);
        return NULL;
    }
    ram->announced_bytes += entry->length;
    return vmload_ram_add_block(ram, block, error) ? block : NULL;
}

/*
 * Field (A): only where postcopy was advised, and only for blocks whose
 * backing has larger pages than usual. The source decides by its own block,
 * so both sides must have the same.
 */
static bool list_read_page_size(VmloadRam *ram, VmloadReader *reader,
                                const VmloadRamBlock *block, GError **error)
{
    uint64_t page_size;

    if (!ram->postcopy_advised ||
        block->page_size == list_base_page_size(ram)) {
        return true;
    }
    if (!vmload_reader_get_be64(reader, &page_size, error)) {
        return false;
    }
    return page_size == block->page_size ||
           vmload_reader_error(reader, error, VMLOAD_ERROR_MISMATCH,
                               "expected pages of " U64 " bytes behind the "
                               "block, found " U64,
                               block->page_size, page_size);
}

/* Field (B): only with x-ignore-shared; it says something for ignored ones. */
static bool list_read_address(VmloadRam *ram, VmloadReader *reader,
                              const VmloadRamBlock *block, GError **error)
{
    uint64_t address;

    if (!ram->ignore_shared) {
        return true;
    }
    if (!vmload_reader_get_be64(reader, &address, error)) {
        return false;
    }
    return (block->flags & VMLOAD_RAM_IGNORED) == 0 ||
           address == block->address ||
           vmload_reader_error(reader, error, VMLOAD_ERROR_MISMATCH,
                               "expected the guest address " X64
                               ", found " X64,
                               block->address, address);
}

/* The host hears of the new length, with the big lock held. */
static bool list_tell_host(VmloadRam *ram, VmloadRamBlock *block,
                           uint64_t length, GError **error)
{
    GError *local = NULL;
    bool ok;

    if (block->resize == NULL) {
        return true;
    }
    if (ram->env.lock != NULL) {
        ram->env.lock(ram->env.opaque);
    }
    ok = block->resize(block->resize_opaque, block, length, &local);
    if (ram->env.unlock != NULL) {
        ram->env.unlock(ram->env.opaque);
    }
    return ok || vmload_ram_callback_failed(error, local, "resize");
}

/* RAM format, section 4.2. */
static bool list_resize(VmloadRam *ram, VmloadReader *reader,
                        VmloadRamBlock *block, uint64_t length, GError **error)
{
    uint64_t local = vmload_ram_block_get_length(block);

    if (length == local) {
        return true;
    }
    if ((block->flags & VMLOAD_RAM_RESIZEABLE) == 0 &&
        !list_same_when_rounded(length, local, list_base_page_size(ram))) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MISMATCH,
                                   "expected " U64 " bytes, found " U64
                                   ", and the block is not resizeable",
                                   local, length);
    }
    if (length > block->max_length) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MISMATCH,
                                   "expected at most " U64 " bytes, found "
                                   U64, block->max_length, length);
    }
    if (!vmload_sink_resize(block->sink, length, error)) {
        return false;
    }
    __atomic_store_n(&block->length, length, __ATOMIC_RELAXED);
    return list_tell_host(ram, block, length, error);
}

/* @mapped (nullable): pages are behind the entry, and it loads them. */
static bool list_load_entry(VmloadRam *ram, VmloadReader *reader,
                            VmloadMapped *mapped, const ListEntry *entry,
                            GError **error)
{
    VmloadRamBlock *block = vmload_ram_find_block(ram, entry->idstr);

    if (block == NULL) {
        block = list_announce(ram, reader, entry, error);
    }
    if (block == NULL) {
        return false;
    }
    if (block->list == ram->list) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected each block once, found it again");
    }
    block->list = ram->list;
    block->place = ram->n_listed++;
    return list_read_page_size(ram, reader, block, error) &&
           list_read_address(ram, reader, block, error) &&
           list_resize(ram, reader, block, entry->length, error) &&
           vmload_ram_block_prepare(block, ram->page_bits, error) &&
           (mapped == NULL ||
            vmload_mapped_load_block(mapped, block, entry->length, error));
}

/* Entries, until their lengths have summed up to @total. */
static bool list_load_entries(VmloadRam *ram, VmloadReader *reader,
                              VmloadMapped *mapped, uint64_t total,
                              GError **error)
{
    uint64_t remaining = total;
    uint64_t n = 0;

    for (n = 0; remaining > 0; n++) {
        ListEntry entry = {0};
        bool ok;

        if (n >= ram->limits.ram_blocks) {
            return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                       "expected at most " U64
                                       " RAM blocks (ram_blocks), found more",
                                       ram->limits.ram_blocks);
        }
        ok = list_read_head(ram, reader, remaining, &entry, error) &&
             list_load_entry(ram, reader, mapped, &entry, error);
        if (!ok) {
            char *name = g_strescape(entry.idstr, NULL);

            /* Nothing is set where a reader of pages has failed. */
            if (error != NULL && *error != NULL) {
                g_prefix_error(error, "RAM block list, entry " U64 " '%s': ",
                               n, name);
            }
            g_free(name);
            return false;
        }
        remaining -= entry.length;
    }
    return true;
}

bool vmload_ram_load_block_list(VmloadRam *ram, VmloadReader *reader,
                                uint64_t total, GError **error)
{
    VmloadMapped *mapped = NULL;
    bool ok;

    if (total > ram->limits.ram_bytes) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                   "expected at most " U64
                                   " bytes of RAM (ram_bytes), found " U64,
                                   ram->limits.ram_bytes, total);
    }
    if (ram->mapped_ram) {
        mapped = vmload_mapped_new(ram, reader, error);
        if (mapped == NULL) {
            return false;
        }
    }
    ram->list++;
    ram->n_listed = 0;
    if (mapped != NULL) {
        /* Its pages come with the list, and progress is to be told. */
        __atomic_store_n(&ram->counters.bytes_expected, total,
                         __ATOMIC_RELAXED);
    }
    ok = list_load_entries(ram, reader, mapped, total, error);
    if (mapped != NULL) {
        return vmload_mapped_end(mapped, ok, error);
    }
    if (ok) {
        __atomic_store_n(&ram->counters.bytes_expected, total,
                         __ATOMIC_RELAXED);
    }
    return ok;
}

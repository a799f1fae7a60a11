/* SPDX-License-Identifier: BSD-3-Clause */
/* The block table, the settings and the counters. */
#include "private.h"

#include "error.h"

/* By default; more only make sense with very fast storage. */
#define RAM_THREADS 4

VmloadRam *vmload_ram_new(const VmloadRamEnv *env)
{
    VmloadRam *ram = g_new0(VmloadRam, 1);

    if (env != NULL) {
        ram->env = *env;
    }
    vmload_limits_init(&ram->limits);
    vmload_prefault_init(&ram->prefault, &ram->env);
    ram->page_bits = 12;
    vmload_ram_set_threads(ram, 0);
    g_mutex_init(&ram->lock);
    ram->blocks =
        g_ptr_array_new_with_free_func((GDestroyNotify)vmload_ram_block_free);
    ram->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    return ram;
}

void vmload_ram_free(VmloadRam *ram)
{
    if (ram != NULL) {
        vmload_prefault_clear(&ram->prefault);
        g_hash_table_destroy(ram->by_name);
        g_ptr_array_unref(ram->blocks);
        g_mutex_clear(&ram->lock);
        vmload_ram_placed_free(ram->placed);
        g_free(ram->page);
        g_free(ram->packed);
        g_free(ram);
    }
}

void vmload_ram_set_limits(VmloadRam *ram, const VmloadLimits *limits)
{
    ram->limits = *limits;
}

void vmload_ram_set_page_bits(VmloadRam *ram, uint32_t bits)
{
    ram->page_bits = bits;
}

void vmload_ram_set_ignore_shared(VmloadRam *ram, bool on)
{
    ram->ignore_shared = on;
}

void vmload_ram_set_mapped_ram(VmloadRam *ram, bool on)
{
    ram->mapped_ram = on;
}

void vmload_ram_set_threads(VmloadRam *ram, uint32_t threads)
{
    ram->threads =
        threads != 0 ? threads : MIN(g_get_num_processors(), RAM_THREADS);
}

void vmload_ram_set_direct_io(VmloadRam *ram, bool on)
{
    ram->direct_io = on;
}

void vmload_ram_set_prefault(VmloadRam *ram, uint64_t bytes)
{
    vmload_prefault_set(&ram->prefault, bytes);
}

void vmload_ram_stop(VmloadRam *ram)
{
    vmload_prefault_stop(&ram->prefault);
}

void vmload_ram_set_postcopy_advised(VmloadRam *ram, bool on)
{
    ram->postcopy_advised = on;
    if (on) {
        /* Memory that is to be missing until it is placed. */
        vmload_prefault_set(&ram->prefault, 0);
    }
}

void vmload_ram_fix_blocks(VmloadRam *ram)
{
    ram->fixed = true;
}

void vmload_ram_count(VmloadRam *ram, uint64_t normal, uint64_t zero,
                      uint64_t bytes_placed)
{
    VmloadRamCounters *counters = &ram->counters;

    __atomic_fetch_add(&counters->pages_normal, normal, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters->pages_zero, zero, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters->bytes_placed, bytes_placed,
                       __ATOMIC_RELAXED);
}

VmloadRamBlock *vmload_ram_find_block(VmloadRam *ram, const char *idstr)
{
    VmloadRamBlock *block;

    g_mutex_lock(&ram->lock);
    block = g_hash_table_lookup(ram->by_name, idstr);
    g_mutex_unlock(&ram->lock);
    return block;
}

bool vmload_ram_add_block(VmloadRam *ram, VmloadRamBlock *block,
                          GError **error)
{
    bool added;

    g_mutex_lock(&ram->lock);
    added = !g_hash_table_contains(ram->by_name, block->idstr);
    if (added) {
        g_hash_table_insert(ram->by_name, block->idstr, block);
        g_ptr_array_add(ram->blocks, block);
    }
    g_mutex_unlock(&ram->lock);
    if (!added) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "RAM block '%s': expected a new name, found it registered",
                    block->idstr);
        vmload_ram_block_free(block);
    }
    return added;
}

VmloadRamBlock *vmload_ram_get_block(VmloadRam *ram, uint64_t index)
{
    VmloadRamBlock *block = NULL;

    g_mutex_lock(&ram->lock);
    if (index < ram->blocks->len) {
        block = g_ptr_array_index(ram->blocks, (guint)index);
    }
    g_mutex_unlock(&ram->lock);
    return block;
}

bool vmload_ram_finish(VmloadRam *ram, GError **error)
{
    VmloadRamBlock *block;
    uint64_t i;

    for (i = 0; (block = vmload_ram_get_block(ram, i)) != NULL; i++) {
        if (!vmload_sink_finish(block->sink, &ram->env, error)) {
            g_prefix_error(error, "RAM block '%s': ", block->idstr);
            return false;
        }
    }
    return true;
}

void vmload_ram_get_counters(VmloadRam *ram, VmloadRamCounters *counters)
{
    const VmloadRamCounters *from = &ram->counters;

    counters->pages_normal =
        __atomic_load_n(&from->pages_normal, __ATOMIC_RELAXED);
    counters->pages_zero =
        __atomic_load_n(&from->pages_zero, __ATOMIC_RELAXED);
    counters->pages_xbzrle =
        __atomic_load_n(&from->pages_xbzrle, __ATOMIC_RELAXED);
    counters->bytes_placed =
        __atomic_load_n(&from->bytes_placed, __ATOMIC_RELAXED);
    counters->bytes_expected =
        __atomic_load_n(&from->bytes_expected, __ATOMIC_RELAXED);
    counters->bytes_prefaulted =
        __atomic_load_n(&ram->prefault.bytes, __ATOMIC_RELAXED);
}

uint8_t *vmload_ram_scratch(uint8_t **scratch, uint64_t length, GError **error)
{
    if (*scratch == NULL) {
        *scratch = g_try_malloc(length);
        if (*scratch == NULL) {
            vmload_fail(error, VMLOAD_ERROR_LIMIT,
                        "no memory for a page of %" G_GUINT64_FORMAT " bytes",
                        length);
        }
    }
    return *scratch;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots of a load, for any thread at any time. */
#include "internal.h"

#include <string.h>

static uint64_t load_counter(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Fills as much of a caller's struct as the caller knows. */
static void copy_out(void *dest, const void *src, size_t src_size)
{
    uint32_t dest_size;

    memcpy(&dest_size, dest, sizeof(dest_size));
    memcpy((uint8_t *)dest + sizeof(dest_size),
           (const uint8_t *)src + sizeof(dest_size),
           MIN((size_t)dest_size, src_size) - sizeof(dest_size));
}

void vmload_loader_get_position(VmloadLoader *loader,
                                VmloadPosition *position)
{
    VmloadPosition snapshot;

    g_return_if_fail(loader != NULL && position != NULL);
    g_return_if_fail(position->struct_size >= sizeof(uint32_t));
    g_mutex_lock(&loader->mutex);
    snapshot = loader->position;
    g_mutex_unlock(&loader->mutex);
    copy_out(position, &snapshot, sizeof(snapshot));
}

static void fill_ram(VmloadLoader *loader, VmloadStats *stats)
{
    VmloadRamCounters ram;

    vmload_ram_get_counters(loader->ram, &ram);
    stats->ram_bytes_expected = ram.bytes_expected;
    stats->ram_pages_normal = ram.pages_normal;
    stats->ram_pages_zero = ram.pages_zero;
    stats->ram_pages_xbzrle = ram.pages_xbzrle;
    stats->ram_bytes_placed = ram.bytes_placed;
    stats->ram_prefaulted_bytes = ram.bytes_prefaulted;
}

static void fill_multifd(const VmloadMultifdCounters *counters,
                         VmloadStats *stats)
{
    stats->multifd_channels = load_counter(&counters->channels);
    stats->multifd_bytes = load_counter(&counters->bytes);
    stats->multifd_packets = load_counter(&counters->packets);
}

static void fill_rdma(const VmloadPlacementCounters *counters,
                      VmloadStats *stats)
{
    stats->rdma_messages = load_counter(&counters->messages);
    stats->rdma_credit_waits = load_counter(&counters->waits);
    stats->rdma_credit_wait_ns = load_counter(&counters->wait_ns);
    stats->rdma_registrations = load_counter(&counters->registrations);
    stats->rdma_keys = load_counter(&counters->keys);
    stats->rdma_registered_bytes = load_counter(&counters->registered);
    stats->rdma_registered_peak_bytes =
        load_counter(&counters->registered_peak);
    stats->rdma_register_ns = load_counter(&counters->register_ns);
    stats->rdma_register_wait_ns = load_counter(&counters->register_wait_ns);
    stats->rdma_ahead = load_counter(&counters->ahead);
    stats->rdma_ahead_used = load_counter(&counters->ahead_used);
}

G_STATIC_ASSERT(sizeof(((VmloadStats *)NULL)->lock_held_max_site) ==
                VMLOAD_GUARD_SITE);

static void fill_lock(VmloadGuard *guard, VmloadStats *stats)
{
    stats->lock_holds = load_counter(&guard->holds);
    stats->lock_wait_ns = load_counter(&guard->wait_ns);
    stats->lock_held_total_ns = load_counter(&guard->held_total_ns);
    stats->lock_held_max_ns =
        vmload_guard_get_longest(guard, stats->lock_held_max_site);
    stats->lock_io_wait_ns = load_counter(&guard->io_wait_ns);
    stats->lock_io_waits = load_counter(&guard->io_waits);
    stats->lock_fault_wait_ns = load_counter(&guard->fault_wait_ns);
}

void vmload_loader_get_stats(VmloadLoader *loader, VmloadStats *stats)
{
    VmloadStats snapshot = {0};
    const VmloadCounters *counters;

    g_return_if_fail(loader != NULL && stats != NULL);
    g_return_if_fail(stats->struct_size >= sizeof(uint32_t));
    counters = &loader->counters;
    snapshot.state = (uint32_t)vmload_loader_get_state(loader);
    snapshot.bytes_total = load_counter(&counters->bytes) +
                           load_counter(&loader->multifd_counters.bytes);
    snapshot.sections = load_counter(&counters->sections);
    snapshot.commands = load_counter(&counters->commands);
    snapshot.staged_peak_bytes = load_counter(&counters->staged_peak);
    snapshot.io_wait_ns = load_counter(&counters->io_wait_ns);
    snapshot.start_ns = load_counter(&counters->start_ns);
    snapshot.last_byte_ns =
        MAX(load_counter(&counters->last_byte_ns),
            load_counter(&loader->multifd_counters.last_byte_ns));
    snapshot.switchover_ns = load_counter(&counters->switchover_ns);
    snapshot.end_ns = load_counter(&counters->end_ns);
    snapshot.connections_refused = load_counter(&counters->refused);
    fill_ram(loader, &snapshot);
    fill_multifd(&loader->multifd_counters, &snapshot);
    fill_rdma(&loader->rdma_counters, &snapshot);
    fill_lock(&loader->guard, &snapshot);
    copy_out(stats, &snapshot, sizeof(snapshot));
}

void vmload_loader_note_fault(VmloadLoader *loader, uint32_t thread_id,
                              uint64_t ns)
{
    g_return_if_fail(loader != NULL);
    vmload_guard_count_fault_wait(&loader->guard, thread_id, ns);
}

VmloadLedgerEntry *vmload_loader_get_ledger(VmloadLoader *loader,
                                            uint64_t *n)
{
    g_return_val_if_fail(loader != NULL && n != NULL, NULL);
    return vmload_ledger_snapshot(loader->ledger, n);
}

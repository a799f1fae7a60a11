/* SPDX-License-Identifier: BSD-3-Clause */
#include "ledger.h"

#include <string.h>

struct VmloadLedger {
    GMutex mutex;       /* leaf: guards all below, never held in a callback */
    GPtrArray *entries; /* of VmloadLedgerEntry, owned, in order */
    GTree *index; /* the same, by name and instance: the peer's choice */
};

static gint entry_compare(const void *a, const void *b, void *data)
{
    const VmloadLedgerEntry *x = a;
    const VmloadLedgerEntry *y = b;

    (void)data;
    if (x->instance_id != y->instance_id) {
        return x->instance_id < y->instance_id ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

VmloadLedger *vmload_ledger_new(void)
{
    VmloadLedger *ledger = g_new0(VmloadLedger, 1);

    g_mutex_init(&ledger->mutex);
    ledger->entries = g_ptr_array_new_with_free_func(g_free);
    ledger->index = g_tree_new_full(entry_compare, NULL, NULL, NULL);
    return ledger;
}

void vmload_ledger_free(VmloadLedger *ledger)
{
    if (ledger != NULL) {
        g_tree_unref(ledger->index);
        g_ptr_array_unref(ledger->entries);
        g_mutex_clear(&ledger->mutex);
        g_free(ledger);
    }
}

/* With the mutex held. */
static VmloadLedgerEntry *ledger_get(VmloadLedger *ledger,
                                     const VmloadSection *section)
{
    VmloadLedgerEntry key = {0};
    VmloadLedgerEntry *entry;

    g_strlcpy(key.name, section->idstr, sizeof(key.name));
    key.instance_id = section->instance_id;
    entry = g_tree_lookup(ledger->index, &key);
    if (entry == NULL) {
        key.struct_size = (uint32_t)sizeof(key);
        entry = g_new0(VmloadLedgerEntry, 1);
        *entry = key;
        g_ptr_array_add(ledger->entries, entry);
        g_tree_insert(ledger->index, entry, entry);
    }
    return entry;
}

static void entry_add(VmloadLedgerEntry *entry, const VmloadCost *cost)
{
    entry->staging_ns += cost->staging_ns;
    entry->lock_wait_ns += cost->lock_wait_ns;
    entry->lock_held_ns += cost->lock_held_ns;
    entry->callback_ns += cost->callback_ns;
}

void vmload_ledger_book(VmloadLedger *ledger, const VmloadSection *section,
                        const VmloadCost *cost)
{
    VmloadLedgerEntry *entry;

    g_mutex_lock(&ledger->mutex);
    entry = ledger_get(ledger, section);
    entry->version_id = section->version_id;
    entry->records += 1;
    entry->bytes += section->payload_length;
    entry->without_footer += section->has_footer ? 0 : 1;
    entry_add(entry, cost);
    g_mutex_unlock(&ledger->mutex);
}

void vmload_ledger_add(VmloadLedger *ledger, const VmloadSection *section,
                       const VmloadCost *cost)
{
    g_mutex_lock(&ledger->mutex);
    entry_add(ledger_get(ledger, section), cost);
    g_mutex_unlock(&ledger->mutex);
}

VmloadLedgerEntry *vmload_ledger_snapshot(VmloadLedger *ledger, uint64_t *n)
{
    VmloadLedgerEntry *copy;
    guint i;

    g_mutex_lock(&ledger->mutex);
    copy = g_try_new0(VmloadLedgerEntry, MAX(ledger->entries->len, 1));
    *n = copy != NULL ? ledger->entries->len : 0;
    for (i = 0; i < *n; i++) {
        memcpy(&copy[i], g_ptr_array_index(ledger->entries, i),
               sizeof(copy[i]));
    }
    g_mutex_unlock(&ledger->mutex);
    return copy;
}

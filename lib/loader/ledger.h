/* SPDX-License-Identifier: BSD-3-Clause */
/* The ledger: what each device cost. Its mutex is a leaf. */
#ifndef VMLOAD_LEDGER_H
#define VMLOAD_LEDGER_H

#include <vmload/device.h>
#include <vmload/stats.h>

typedef struct VmloadLedger VmloadLedger;

/* What one section adds to its device's entry. */
typedef struct {
    uint64_t staging_ns;
    uint64_t lock_wait_ns;
    uint64_t lock_held_ns;
    uint64_t callback_ns;
} VmloadCost;

VmloadLedger *vmload_ledger_new(void);
void vmload_ledger_free(VmloadLedger *ledger);

/* Books one loaded section. Any thread. */
void vmload_ledger_book(VmloadLedger *ledger, const VmloadSection *section,
                        const VmloadCost *cost);

/* Adds a cost that came later, without a new record. Any thread. */
void vmload_ledger_add(VmloadLedger *ledger, const VmloadSection *section,
                       const VmloadCost *cost);

/* A copy of all entries, in order of appearance. Any thread. */
VmloadLedgerEntry *vmload_ledger_snapshot(VmloadLedger *ledger, uint64_t *n);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file prefault.h
 * Guest memory is made ready ahead of the pages that come for it.
 */
#ifndef VMLOAD_PREFAULT_H
#define VMLOAD_PREFAULT_H

#include <vmload/loader.h>

G_BEGIN_DECLS

/** For vmload_loader_set_prefault(): as it makes sense. Since: 0.1 */
#define VMLOAD_PREFAULT_AUTO UINT64_MAX

/** Most bytes that vmload_loader_set_prefault() takes: 1 GiB. Since: 0.1 */
#define VMLOAD_PREFAULT_MAX ((uint64_t)1 << 30)

/**
 * vmload_loader_set_prefault:
 * @loader: the loader.
 * @bytes: how far ahead of the stream, at most, rounded up to 2 MiB; 0: not
 *     at all; VMLOAD_PREFAULT_AUTO (default): 32 MiB where there is more than
 *     one processor. At most VMLOAD_PREFAULT_MAX.
 *
 * Sets how much fresh guest memory is made ready before its pages come: to
 * touch it for the first time costs more than to fill it. A thread of the
 * library's, named "vmload-fault-0", asks the kernel for it
 * (MADV_POPULATE_WRITE, Linux 5.14; without that, nothing is done). Contents
 * do not change. It is done only in blocks that have memory, only where
 * content has come without a gap right before, and as much ahead as that was
 * long; so where zero pages follow, memory of at most @bytes a block was made
 * ready in vain. Zero pages among others do not matter where the memory is
 * of huge pages.
 *
 * The host advises huge pages for its memory, or not; the library does not.
 * The helper's policy decides from which NUMA node memory comes if the memory
 * has none of its own. Memory that the host has registered with userfaultfd
 * needs 0; after POSTCOPY_ADVISE it is 0 by itself.
 *
 * VmloadStats.ram_prefaulted_bytes counts.
 *
 * Errors: none.
 * States: configuring. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_loader_set_prefault(VmloadLoader *loader,
                                              uint64_t bytes);

G_END_DECLS

#endif

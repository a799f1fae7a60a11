/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapped-ram: files in which every page of RAM has a fixed place. The stream
 * reader goes through the list of blocks and jumps over their pages, which
 * are read by threads meanwhile (docs/mapped-ram.md).
 */
#ifndef VMLOAD_RAM_MAPPED_H
#define VMLOAD_RAM_MAPPED_H

#include "host/pool.h"
#include "private.h"

typedef struct VmloadMapped VmloadMapped;

/*
 * For one list of blocks. @ram and @reader are borrowed. NULL with @error:
 * UNSUPPORTED if @reader is not seekable.
 */
VmloadMapped *vmload_mapped_new(VmloadRam *ram, VmloadReader *reader,
                                GError **error);

/*
 * The header of @block, whose entry says that @length bytes are in use, and
 * what it leads to. @reader stands behind the pages afterwards; they may
 * still be on their way.
 */
bool vmload_mapped_load_block(VmloadMapped *mapped, VmloadRamBlock *block,
                              uint64_t length, GError **error);

/*
 * Ends it, and frees @mapped. With @ok all pages are there when it returns
 * true; without, readers end what they have begun. What went wrong in a
 * reader replaces what @error says.
 */
bool vmload_mapped_end(VmloadMapped *mapped, bool ok, GError **error);

#endif

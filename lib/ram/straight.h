/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages that follow each other for long, read from a file straight to where
 * they belong (docs/ram.md, "Plain streams in files").
 */
#ifndef VMLOAD_RAM_STRAIGHT_H
#define VMLOAD_RAM_STRAIGHT_H

#include "private.h"

/* So many bytes in order are worth a guess. */
#define VMLOAD_RAM_STRAIGHT_WORTH ((uint64_t)256 * 1024)

/*
 * Loads pages of the last block from where @reader stands, as long as they
 * are @first and each one the next, and come for the first time. Leaves
 * @reader at the first record that is another one, or not there to its end:
 * memory then is as if nothing behind it had been read. Returns how many
 * bytes they were; UINT64_MAX: it is of no use here, and nothing was done.
 */
uint64_t vmload_straight_load(VmloadRam *ram, VmloadReader *reader,
                              uint64_t first);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plain page stream in a file, by several threads (docs/ram.md, "Plain
 * streams in files").
 */
#ifndef VMLOAD_RAM_PLACES_H
#define VMLOAD_RAM_PLACES_H

#include "private.h"

/*
 * Loads runs from where @reader stands, as long as they last, and leaves it
 * at the first record that is none, or is not there to its end, or is wrong:
 * what is wrong is for the caller to find again. All pages are in their
 * places when it returns. Returns how many bytes they were; UINT64_MAX: it
 * is of no use here, and nothing was done.
 */
uint64_t vmload_places_load(VmloadRam *ram, VmloadReader *reader);

#endif

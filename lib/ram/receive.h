/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages that follow each other for long, received from a connection or a
 * pipe straight where they belong (docs/ram.md, "Plain streams").
 */
#ifndef VMLOAD_RAM_RECEIVE_H
#define VMLOAD_RAM_RECEIVE_H

#include "private.h"

/*
 * Loads pages of the last block as long as they are @first and each one the
 * next, and come for the first time. Leaves @reader at the first record that
 * is another one, or whose rest cannot be had: memory then is as if nothing
 * of it had come, and what is wrong is for the caller to find again.
 */
void vmload_ram_receive(VmloadRam *ram, VmloadReader *reader, uint64_t first);

#endif

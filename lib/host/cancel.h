/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cancel level: a flag and a file descriptor that stays readable once it
 * is set. Every wait in the library polls that descriptor, so that nothing
 * sleeps through it. There is no reset.
 */
#ifndef VMLOAD_CANCEL_H
#define VMLOAD_CANCEL_H

#include <vmload/error.h>

typedef struct VmloadCancel VmloadCancel;

/* NULL with @error set if no descriptor can be had. */
VmloadCancel *vmload_cancel_new(GError **error);
void vmload_cancel_free(VmloadCancel *cancel);

/* Any thread, async-signal-safe, idempotent. */
void vmload_cancel_fire(VmloadCancel *cancel);
bool vmload_cancel_is_set(const VmloadCancel *cancel);

/* Readable once the level is set. Owned by @cancel. */
int vmload_cancel_get_fd(const VmloadCancel *cancel);

/* False with VMLOAD_ERROR_CANCELLED if the level is set. */
bool vmload_cancel_check(const VmloadCancel *cancel, GError **error);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file error.h
 * What can go wrong, and what the caller does next.
 *
 * A GError is for failures at run time. Wrong use by the host (NULL, a call
 * in the wrong state) is a g_return_val_if_fail(). Messages name the place
 * (channel, byte offset, section, instance, field), what was expected and
 * what was found. They are for people: programs look at the code and at
 * vmload_loader_get_position().
 */
#ifndef VMLOAD_ERROR_H
#define VMLOAD_ERROR_H

#include <vmload/version.h>

G_BEGIN_DECLS

/** The one error domain of the library. */
#define VMLOAD_ERROR (vmload_error_quark())

/**
 * VmloadError:
 * @VMLOAD_ERROR_FAILED: anything unclassified; treat unknown codes as this.
 * @VMLOAD_ERROR_IO: the transport broke; the peer may try again.
 * @VMLOAD_ERROR_TRUNCATED: the peer ended inside a record.
 * @VMLOAD_ERROR_MALFORMED: bytes break the format: corrupt or hostile, do
 *     not retry.
 * @VMLOAD_ERROR_UNSUPPORTED: well formed, but a version or a feature that
 *     this library, or this build of it, does not have.
 * @VMLOAD_ERROR_MISMATCH: valid, but not for this VM: unknown device, other
 *     RAM size, other machine.
 * @VMLOAD_ERROR_LIMIT: more than the configured bound (VmloadLimits).
 * @VMLOAD_ERROR_DEVICE: a callback of the host refused; its message is kept
 *     and prefixed with the place.
 * @VMLOAD_ERROR_CANCELLED: vmload_loader_cancel() was called.
 * @VMLOAD_ERROR_TIMEOUT: a configured deadline passed without progress.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_ERROR_FAILED,
    VMLOAD_ERROR_IO,
    VMLOAD_ERROR_TRUNCATED,
    VMLOAD_ERROR_MALFORMED,
    VMLOAD_ERROR_UNSUPPORTED,
    VMLOAD_ERROR_MISMATCH,
    VMLOAD_ERROR_LIMIT,
    VMLOAD_ERROR_DEVICE,
    VMLOAD_ERROR_CANCELLED,
    VMLOAD_ERROR_TIMEOUT,
} VmloadError;

/**
 * vmload_error_quark:
 *
 * Gives the quark behind VMLOAD_ERROR.
 *
 * Return: the quark "vmload-error-quark".
 * Errors: none.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT GQuark vmload_error_quark(void);

G_END_DECLS

#endif

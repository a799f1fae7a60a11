/* SPDX-License-Identifier: BSD-3-Clause */
/* Helpers that every folder of the library uses for its errors. */
#ifndef VMLOAD_ERROR_INTERNAL_H
#define VMLOAD_ERROR_INTERNAL_H

#include <vmload/error.h>

/* Sets @error and returns false, so that a check is one statement. */
bool vmload_fail(GError **error, VmloadError code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* The same from errno: "TEXT: strerror". */
bool vmload_fail_errno(GError **error, int errnum, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* What @mode of a struct stat is, for a message: "a directory". */
const char *vmload_file_type(uint32_t mode);

#endif

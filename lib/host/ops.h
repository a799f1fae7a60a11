/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one rule by which a table of the caller's becomes a table of ours, for
 * every public struct that begins with uint32_t struct_size.
 */
#ifndef VMLOAD_OPS_H
#define VMLOAD_OPS_H

#include <vmload/error.h>

/*
 * Copies what both sides know of the table @src into @dest, which is
 * @dest_size bytes of ours. A shorter table: the rest of @dest is zero. A
 * longer one: its surplus must be zero, else VMLOAD_ERROR_UNSUPPORTED. @dest's
 * struct_size becomes @dest_size. @what names the type in messages. @dest is
 * untouched on failure; it and @src may not overlap.
 *
 * The caller checks required members afterwards, and calls its destroy notify
 * if this fails.
 */
bool vmload_ops_copy(void *dest, size_t dest_size, const void *src,
                     const char *what, GError **error);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* XBZRLE: a page as the difference to what the destination has of it. */
#ifndef VMLOAD_RAM_XBZRLE_H
#define VMLOAD_RAM_XBZRLE_H

#include <vmload/error.h>

/*
 * Applies @delta to @page, in place. Bytes that the delta does not cover
 * stay. False with MALFORMED, which names the byte of the delta; @page may
 * then be changed in part, and never beyond @page_size.
 */
bool vmload_xbzrle_decode(uint8_t *page, uint64_t page_size,
                          const uint8_t *delta, uint64_t length,
                          GError **error);

#endif

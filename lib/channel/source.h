/* SPDX-License-Identifier: BSD-3-Clause */
/* A host's source of bytes, as the channel over it uses it. */
#ifndef VMLOAD_CHANNEL_SOURCE_H
#define VMLOAD_CHANNEL_SOURCE_H

#include <vmload/channel.h>

struct VmloadSource;

/*
 * As the op of that name, with what it returned checked: 0 or more,
 * VMLOAD_CHANNEL_WOULD_BLOCK, or -1; then @error may still be unset.
 */
int64_t vmload_source_peek(struct VmloadSource *source, uint32_t n,
                           const uint8_t **data, GError **error);
void vmload_source_consume(struct VmloadSource *source, uint32_t n);
bool vmload_source_get_position(const struct VmloadSource *source,
                                uint64_t *position);

/* Did the last wait say that a peek is worth a try? Asked once for each. */
bool vmload_source_is_ready(struct VmloadSource *source);

#endif

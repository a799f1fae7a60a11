/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that is taken in small pieces, bounded as a whole, and freed at
 * once: for trees whose shape comes from a stream. Freeing never recurses.
 */
#ifndef VMLOAD_ARENA_H
#define VMLOAD_ARENA_H

#include <stdbool.h>
#include <stdint.h>

typedef struct VmloadArenaChunk VmloadArenaChunk;

typedef struct {
    VmloadArenaChunk *chunks;
    uint64_t left;  /* bytes that may still be taken from the allocator */
    uint64_t chunk; /* size of the next chunk */
} VmloadArena;

void vmload_arena_init(VmloadArena *arena, uint64_t limit);
void vmload_arena_clear(VmloadArena *arena);

/*
 * @n zeroed items of @size bytes (more than 0), aligned for anything. NULL
 * if that goes beyond the limit or there is no memory; never NULL for 0
 * items.
 */
void *vmload_arena_alloc(VmloadArena *arena, uint64_t n, uint64_t size);

/* A copy of @length bytes with a NUL behind them; NULL as above. */
char *vmload_arena_string(VmloadArena *arena, const char *string,
                          uint64_t length);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#include "arena.h"

#include <glib.h>
#include <string.h>

#define ARENA_ALIGN ((uint64_t)16)
#define ARENA_CHUNK_MIN ((uint64_t)4096)
#define ARENA_CHUNK_MAX ((uint64_t)1 << 20)

struct VmloadArenaChunk {
    VmloadArenaChunk *next;
    uint64_t size; /* of data */
    uint64_t used;
    uint64_t reserved; /* keeps data aligned */
    uint8_t data[];
};

void vmload_arena_init(VmloadArena *arena, uint64_t limit)
{
    arena->chunks = NULL;
    arena->left = limit;
    arena->chunk = ARENA_CHUNK_MIN;
}

void vmload_arena_clear(VmloadArena *arena)
{
    while (arena->chunks != NULL) {
        VmloadArenaChunk *chunk = arena->chunks;

        arena->chunks = chunk->next;
        g_free(chunk);
    }
}

/* A new chunk in front of the list, with room for @need bytes. */
static bool arena_grow(VmloadArena *arena, uint64_t need)
{
    uint64_t room = MAX(arena->chunk, need);
    VmloadArenaChunk *chunk;

    /* Near the limit take no more than what is asked for. */
    if (arena->left < sizeof(*chunk) || arena->left - sizeof(*chunk) < need) {
        return false;
    }
    room = MIN(room, arena->left - sizeof(*chunk));
    if (room > G_MAXSIZE - sizeof(*chunk)) {
        return false;
    }
    chunk = g_try_malloc0((gsize)(sizeof(*chunk) + room));
    if (chunk == NULL) {
        return false;
    }
    chunk->size = room;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->left -= sizeof(*chunk) + room;
    arena->chunk = MIN(arena->chunk * 2, ARENA_CHUNK_MAX);
    return true;
}

void *vmload_arena_alloc(VmloadArena *arena, uint64_t n, uint64_t size)
{
    VmloadArenaChunk *chunk;
    uint64_t need;
    void *result;

    if (n > (UINT64_MAX - ARENA_ALIGN) / size) {
        return NULL;
    }
    need = MAX(n * size, 1);
    need = (need + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
    chunk = arena->chunks;
    if (chunk == NULL || chunk->size - chunk->used < need) {
        if (!arena_grow(arena, need)) {
            return NULL;
        }
        chunk = arena->chunks;
    }
    result = chunk->data + chunk->used;
    chunk->used += need;
    return result;
}

char *vmload_arena_string(VmloadArena *arena, const char *string,
                          uint64_t length)
{
    char *copy;

    if (length == UINT64_MAX) {
        return NULL;
    }
    copy = vmload_arena_alloc(arena, length + 1, 1);
    if (copy != NULL) {
        memcpy(copy, string, (size_t)length);
    }
    return copy;
}

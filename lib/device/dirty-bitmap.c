/* SPDX-License-Identifier: BSD-3-Clause */
/* Dirty bitmaps (RAM format, section 11). */
#include "device/dirty-bitmap.h"

#include "device/arena.h"
#include "error.h"

#include <string.h>

enum {
    CHUNK_EOS = 0x01,
    CHUNK_ZEROES = 0x02,
    CHUNK_BITMAP = 0x04,
    CHUNK_NODE = 0x08,
    CHUNK_START = 0x10,
    CHUNK_COMPLETE = 0x20,
    CHUNK_BITS = 0x40,
    CHUNK_EXTENDED = 0x80,
};

#define CHUNK_KINDS (CHUNK_START | CHUNK_COMPLETE | CHUNK_BITS)
#define BITMAP_FLAGS                                              \
    (VMLOAD_DIRTY_BITMAP_ENABLED | VMLOAD_DIRTY_BITMAP_PERSISTENT | \
     VMLOAD_DIRTY_BITMAP_IGNORED)
#define SECTOR_BITS 9
#define SECTOR_SIZE (1u << SECTOR_BITS)
/* QEMU sends 1 KiB, rounded up; its own reader takes so much. */
#define MAX_BITS_BYTES 10240u
/* Far more than there are disks. */
#define MAX_BITMAPS 65536u

typedef struct {
    char node[VMLOAD_STR8_SIZE];
    char name[VMLOAD_STR8_SIZE];
} Names;

/* One that was started. */
typedef struct {
    const char *node;
    const char *name;
    uint32_t granularity;
    uint32_t flags;
} Bitmap;

typedef struct Chunk Chunk;
struct Chunk {
    Chunk *next;
    const Bitmap *bitmap;
    uint32_t kind;
    uint64_t offset;
    uint64_t length;
    const uint8_t *bits;
};

struct VmloadDirtyBitmaps {
    VmloadDirtyBitmapOps ops;
    void *opaque;
    GDestroyNotify destroy;
    uint64_t section_bytes;
    VmloadArena arena;   /* of what is in the table */
    GHashTable *started; /* set of Bitmap */
    Names names;         /* of the chunk before */
};

struct VmloadDirtyChunks {
    VmloadArena arena;
    GHashTable *started; /* set of Bitmap, of this section */
    Names names;
    Chunk *first;
    Chunk **end;
};

static guint bitmap_hash(gconstpointer data)
{
    const Bitmap *bitmap = data;

    return g_str_hash(bitmap->node) * 31 + g_str_hash(bitmap->name);
}

static gboolean bitmap_equal(gconstpointer a, gconstpointer b)
{
    const Bitmap *one = a;
    const Bitmap *other = b;

    return strcmp(one->node, other->node) == 0 &&
           strcmp(one->name, other->name) == 0;
}

VmloadDirtyBitmaps *vmload_dirty_bitmaps_new(const VmloadDirtyBitmapOps *ops,
                                             void *opaque,
                                             GDestroyNotify destroy,
                                             uint64_t section_bytes)
{
    VmloadDirtyBitmaps *bitmaps = g_new0(VmloadDirtyBitmaps, 1);

    bitmaps->ops = *ops;
    bitmaps->opaque = opaque;
    bitmaps->destroy = destroy;
    bitmaps->section_bytes = section_bytes;
    vmload_arena_init(&bitmaps->arena, section_bytes);
    bitmaps->started = g_hash_table_new(bitmap_hash, bitmap_equal);
    return bitmaps;
}

void vmload_dirty_bitmaps_free(VmloadDirtyBitmaps *bitmaps)
{
    if (bitmaps == NULL) {
        return;
    }
    g_hash_table_unref(bitmaps->started);
    vmload_arena_clear(&bitmaps->arena);
    if (bitmaps->destroy != NULL) {
        bitmaps->destroy(bitmaps->opaque);
    }
    g_free(bitmaps);
}

void vmload_dirty_chunks_free(VmloadDirtyChunks *chunks)
{
    if (chunks != NULL) {
        g_hash_table_unref(chunks->started);
        vmload_arena_clear(&chunks->arena);
        g_free(chunks);
    }
}

/* A copy in an arena; NULL beyond its limit. */
static Bitmap *bitmap_copy(VmloadArena *arena, const Bitmap *from)
{
    Bitmap *bitmap = vmload_arena_alloc(arena, 1, sizeof(*bitmap));

    if (bitmap == NULL) {
        return NULL;
    }
    *bitmap = *from;
    bitmap->node = vmload_arena_string(arena, from->node, strlen(from->node));
    bitmap->name = vmload_arena_string(arena, from->name, strlen(from->name));
    return bitmap->node != NULL && bitmap->name != NULL ? bitmap : NULL;
}

static bool no_memory(VmloadReader *reader, GError **error)
{
    return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                               "dirty bitmaps need more memory than the "
                               "limit section_bytes");
}

static const Bitmap *find(const VmloadDirtyBitmaps *bitmaps,
                          const VmloadDirtyChunks *chunks)
{
    const Bitmap key = {chunks->names.node, chunks->names.name, 0, 0};
    const Bitmap *found = g_hash_table_lookup(chunks->started, &key);

    return found != NULL ? found
                         : g_hash_table_lookup(bitmaps->started, &key);
}

static bool fail_bitmap(const VmloadDirtyChunks *chunks, VmloadReader *reader,
                        GError **error, VmloadError code, const char *what)
{
    char *node = g_strescape(chunks->names.node, NULL);
    char *name = g_strescape(chunks->names.name, NULL);

    vmload_reader_error(reader, error, code,
                        "dirty bitmap '%s' of node '%s': %s", name, node,
                        what);
    g_free(name);
    g_free(node);
    return false;
}

static bool parse_start(const VmloadDirtyBitmaps *bitmaps,
                        VmloadDirtyChunks *chunks, VmloadReader *reader,
                        Chunk *chunk, GError **error)
{
    Bitmap start = {chunks->names.node, chunks->names.name, 0, 0};
    Bitmap *bitmap;
    uint8_t flags;

    if (find(bitmaps, chunks) != NULL) {
        return fail_bitmap(chunks, reader, error, VMLOAD_ERROR_MALFORMED,
                           "started twice");
    }
    if (!vmload_reader_get_be32(reader, &start.granularity, error) ||
        !vmload_reader_get_u8(reader, &flags, error)) {
        return false;
    }
    if (start.granularity < SECTOR_SIZE ||
        (start.granularity & (start.granularity - 1)) != 0) {
        return fail_bitmap(chunks, reader, error, VMLOAD_ERROR_MALFORMED,
                           "expected a granularity that is a power of two, "
                           "at least 512");
    }
    if ((flags & ~(uint32_t)BITMAP_FLAGS) != 0) {
        return fail_bitmap(chunks, reader, error, VMLOAD_ERROR_UNSUPPORTED,
                           "expected no reserved flag");
    }
    if (g_hash_table_size(bitmaps->started) +
            g_hash_table_size(chunks->started) >= MAX_BITMAPS) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                   "expected at most %u dirty bitmaps",
                                   MAX_BITMAPS);
    }
    start.flags = flags;
    bitmap = bitmap_copy(&chunks->arena, &start);
    if (bitmap == NULL) {
        return no_memory(reader, error);
    }
    g_hash_table_add(chunks->started, bitmap);
    chunk->bitmap = bitmap;
    return true;
}

/* Is this a part that a bitmap can have? */
static bool check_part(const VmloadDirtyChunks *chunks, VmloadReader *reader,
                       const Bitmap *bitmap, uint64_t first, uint32_t sectors,
                       GError **error)
{
    if (sectors == 0 || first > (UINT64_MAX >> SECTOR_BITS) - sectors) {
        return fail_bitmap(chunks, reader, error, VMLOAD_ERROR_MALFORMED,
                           "expected a part of a disk");
    }
    if (((first << SECTOR_BITS) & (bitmap->granularity - 1)) != 0) {
        return fail_bitmap(chunks, reader, error, VMLOAD_ERROR_MALFORMED,
                           "expected a part that begins with a bit");
    }
    return true;
}

static bool parse_data(VmloadDirtyChunks *chunks, VmloadReader *reader,
                       Chunk *chunk, GError **error)
{
    uint64_t bits = (chunk->length + chunk->bitmap->granularity - 1) /
                    chunk->bitmap->granularity;
    uint8_t *data;
    uint64_t size;

    if (!vmload_reader_get_be64(reader, &size, error)) {
        return false;
    }
    if (size > MAX_BITS_BYTES || size < (bits + 7) / 8) {
        return fail_bitmap(chunks, reader, error, VMLOAD_ERROR_MALFORMED,
                           "expected as many bits as sectors, at most 10240 "
                           "bytes");
    }
    data = vmload_arena_alloc(&chunks->arena, size, 1);
    if (data == NULL) {
        return no_memory(reader, error);
    }
    chunk->bits = data;
    return vmload_reader_read(reader, data, size, error);
}

static bool parse_bits(VmloadDirtyChunks *chunks, VmloadReader *reader,
                       uint32_t flags, Chunk *chunk, GError **error)
{
    uint64_t first;
    uint32_t sectors;

    if (!vmload_reader_get_be64(reader, &first, error) ||
        !vmload_reader_get_be32(reader, &sectors, error) ||
        !check_part(chunks, reader, chunk->bitmap, first, sectors, error)) {
        return false;
    }
    chunk->offset = first << SECTOR_BITS;
    chunk->length = (uint64_t)sectors << SECTOR_BITS;
    return (flags & CHUNK_ZEROES) != 0 ||
           parse_data(chunks, reader, chunk, error);
}

/* What a chunk is about, behind its names. */
static bool parse_body(const VmloadDirtyBitmaps *bitmaps,
                       VmloadDirtyChunks *chunks, VmloadReader *reader,
                       uint32_t flags, GError **error)
{
    Chunk *chunk;

    if (chunks->names.node[0] == '\0' || chunks->names.name[0] == '\0') {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a dirty bitmap's names, found "
                                   "none");
    }
    chunk = vmload_arena_alloc(&chunks->arena, 1, sizeof(*chunk));
    if (chunk == NULL) {
        return no_memory(reader, error);
    }
    *chunks->end = chunk;
    chunks->end = &chunk->next;
    chunk->kind = flags & CHUNK_KINDS;
    if (chunk->kind == CHUNK_START) {
        return parse_start(bitmaps, chunks, reader, chunk, error);
    }
    chunk->bitmap = find(bitmaps, chunks);
    if (chunk->bitmap == NULL) {
        return fail_bitmap(chunks, reader, error, VMLOAD_ERROR_MALFORMED,
                           "not started");
    }
    return chunk->kind == CHUNK_COMPLETE ||
           parse_bits(chunks, reader, flags, chunk, error);
}

static bool parse_chunk(const VmloadDirtyBitmaps *bitmaps,
                        VmloadDirtyChunks *chunks, VmloadReader *reader,
                        bool *eos, GError **error)
{
    uint32_t kind;
    uint8_t flags;

    if (!vmload_reader_get_u8(reader, &flags, error)) {
        return false;
    }
    kind = flags & CHUNK_KINDS;
    if ((flags & CHUNK_EXTENDED) != 0) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_UNSUPPORTED,
                                   "expected flags of one byte, found 0x%02x",
                                   flags);
    }
    if ((kind & (kind - 1)) != 0) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected one kind of chunk, found 0x%02x",
                                   flags);
    }
    if ((flags & CHUNK_NODE) != 0 &&
        !vmload_reader_get_str8(reader, chunks->names.node, NULL, error)) {
        return false;
    }
    if ((flags & CHUNK_BITMAP) != 0 &&
        !vmload_reader_get_str8(reader, chunks->names.name, NULL, error)) {
        return false;
    }
    *eos = (flags & CHUNK_EOS) != 0;
    return kind == 0 || parse_body(bitmaps, chunks, reader, flags, error);
}

VmloadDirtyChunks *vmload_dirty_bitmaps_parse(VmloadDirtyBitmaps *bitmaps,
                                              VmloadReader *reader,
                                              GError **error)
{
    VmloadDirtyChunks *chunks = g_new0(VmloadDirtyChunks, 1);
    bool eos = false;

    vmload_arena_init(&chunks->arena, bitmaps->section_bytes);
    chunks->started = g_hash_table_new(bitmap_hash, bitmap_equal);
    chunks->names = bitmaps->names;
    chunks->end = &chunks->first;
    while (!eos) {
        if (!parse_chunk(bitmaps, chunks, reader, &eos, error)) {
            vmload_dirty_chunks_free(chunks);
            return NULL;
        }
    }
    return chunks;
}

static bool remember(VmloadDirtyBitmaps *bitmaps, const Bitmap *started,
                     GError **error)
{
    Bitmap *bitmap = bitmap_copy(&bitmaps->arena, started);

    if (bitmap == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "dirty bitmaps need more memory than the limit "
                           "section_bytes");
    }
    g_hash_table_add(bitmaps->started, bitmap);
    return true;
}

static bool apply_chunk(VmloadDirtyBitmaps *bitmaps, const Chunk *chunk,
                        GError **error)
{
    const VmloadDirtyBitmapOps *ops = &bitmaps->ops;
    const VmloadDirtyBitmap bitmap = {
        .struct_size = (uint32_t)sizeof(bitmap),
        .flags = chunk->bitmap->flags,
        .granularity = chunk->bitmap->granularity,
        .node = chunk->bitmap->node,
        .name = chunk->bitmap->name,
    };

    if (chunk->kind == CHUNK_START) {
        return remember(bitmaps, chunk->bitmap, error) &&
               (ops->started == NULL ||
                ops->started(bitmaps->opaque, &bitmap, error));
    }
    if (chunk->kind == CHUNK_COMPLETE) {
        return ops->completed == NULL ||
               ops->completed(bitmaps->opaque, &bitmap, error);
    }
    return ops->bits(bitmaps->opaque, &bitmap, chunk->offset, chunk->length,
                     chunk->bits, error);
}

bool vmload_dirty_bitmaps_apply(VmloadDirtyBitmaps *bitmaps,
                                const VmloadDirtyChunks *chunks,
                                GError **error)
{
    const Chunk *chunk;

    bitmaps->names = chunks->names;
    for (chunk = chunks->first; chunk != NULL; chunk = chunk->next) {
        if (!apply_chunk(bitmaps, chunk, error)) {
            return false;
        }
    }
    return true;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty bitmaps: two sections, the first as long as the first byte says. What
 * the host is told must keep the promises of dirty-bitmap.h, and a section
 * that is parsed twice is told alike.
 */
#include "fuzz.h"

#include "device/dirty-bitmap.h"

#define SECTION_BYTES 65536u

typedef struct {
    uint64_t calls;
    uint64_t sum;
} Told;

static void judge(Told *told, const VmloadDirtyBitmap *bitmap, uint64_t what)
{
    uint32_t granularity = bitmap->granularity;

    FUZZ_CHECK(granularity >= 512 && (granularity & (granularity - 1)) == 0);
    FUZZ_CHECK((bitmap->flags & ~7u) == 0);
    FUZZ_CHECK(strlen(bitmap->node) > 0 && strlen(bitmap->node) < 256);
    FUZZ_CHECK(strlen(bitmap->name) > 0 && strlen(bitmap->name) < 256);
    told->calls++;
    told->sum = told->sum * 31 + what + g_str_hash(bitmap->name);
}

static bool started(void *opaque, const VmloadDirtyBitmap *bitmap,
                    GError **error)
{
    (void)error;
    judge(opaque, bitmap, 1);
    return true;
}

static bool bits(void *opaque, const VmloadDirtyBitmap *bitmap,
                 uint64_t offset, uint64_t length, const uint8_t *data,
                 GError **error)
{
    uint64_t n = (length + bitmap->granularity - 1) / bitmap->granularity;
    uint64_t set = 0;
    uint64_t i;

    (void)error;
    FUZZ_CHECK(length > 0 && offset <= UINT64_MAX - length);
    FUZZ_CHECK(offset % bitmap->granularity == 0);
    /* All that is promised can be read. */
    for (i = 0; data != NULL && i < n; i++) {
        set += data[i / 8] >> (i % 8) & 1;
    }
    judge(opaque, bitmap, 2 + set + offset);
    return true;
}

static bool completed(void *opaque, const VmloadDirtyBitmap *bitmap,
                      GError **error)
{
    (void)error;
    judge(opaque, bitmap, 3);
    return true;
}

static const VmloadDirtyBitmapOps ops = {
    VMLOAD_DIRTY_BITMAP_OPS_INIT,
    .started = started,
    .bits = bits,
    .completed = completed,
};

/* The chunks of a section; what it consumed. */
static VmloadDirtyChunks *parse(VmloadDirtyBitmaps *bitmaps,
                                const uint8_t *data, size_t size,
                                uint64_t *used)
{
    VmloadReader *reader = vmload_reader_new_memory(data, size, 0);
    GError *error = NULL;
    VmloadDirtyChunks *chunks =
        vmload_dirty_bitmaps_parse(bitmaps, reader, &error);

    FUZZ_CHECK((chunks != NULL) == (error == NULL));
    *used = vmload_reader_get_offset(reader);
    FUZZ_CHECK(*used <= size);
    g_clear_error(&error);
    vmload_reader_free(reader);
    return chunks;
}

static void load(const uint8_t *data, size_t size, size_t first, bool twice,
                 Told *told)
{
    VmloadDirtyBitmaps *bitmaps =
        vmload_dirty_bitmaps_new(&ops, told, NULL, SECTION_BYTES);
    const size_t sizes[] = {first, size - first};
    const uint8_t *at = data;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        VmloadDirtyChunks *chunks;
        uint64_t used;
        uint64_t again;

        if (twice) {
            vmload_dirty_chunks_free(parse(bitmaps, at, sizes[i], &again));
        }
        chunks = parse(bitmaps, at, sizes[i], &used);
        FUZZ_CHECK(!twice || used == again);
        FUZZ_CHECK(chunks == NULL ||
                   vmload_dirty_bitmaps_apply(bitmaps, chunks, NULL));
        vmload_dirty_chunks_free(chunks);
        at += sizes[i];
    }
    vmload_dirty_bitmaps_free(bitmaps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Told once = {0, 0};
    Told twice = {0, 0};
    size_t first;

    if (size < 1) {
        return 0;
    }
    first = MIN((size_t)data[0], size - 1);
    load(data + 1, size - 1, first, false, &once);
    load(data + 1, size - 1, first, true, &twice);
    FUZZ_CHECK(once.calls == twice.calls && once.sum == twice.sum);
    return 0;
}

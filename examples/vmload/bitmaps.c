/* SPDX-License-Identifier: BSD-3-Clause */
/* Dirty bitmaps of a stream: which there are, and how many bits are set. */
#include "cli.h"

#include <inttypes.h>
#include <string.h>

typedef struct {
    char *node;
    char *name;
    uint32_t granularity;
    uint32_t flags;
    uint64_t bits_set;
} Bitmap;

struct CliBitmaps {
    GPtrArray *bitmaps;  /* of Bitmap */
    GHashTable *by_name; /* key of bitmap_key(); borrows them */
};

static void bitmap_free(void *data)
{
    Bitmap *bitmap = data;

    g_free(bitmap->node);
    g_free(bitmap->name);
    g_free(bitmap);
}

/* Both names; the length says where one ends. */
static char *bitmap_key(const VmloadDirtyBitmap *bitmap)
{
    return g_strdup_printf("%zu %s%s", strlen(bitmap->node), bitmap->node,
                           bitmap->name);
}

CliBitmaps *cli_bitmaps_new(void)
{
    CliBitmaps *bitmaps = g_new0(CliBitmaps, 1);

    bitmaps->bitmaps = g_ptr_array_new_with_free_func(bitmap_free);
    bitmaps->by_name =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return bitmaps;
}

void cli_bitmaps_free(CliBitmaps *bitmaps)
{
    if (bitmaps != NULL) {
        g_hash_table_unref(bitmaps->by_name);
        g_ptr_array_unref(bitmaps->bitmaps);
        g_free(bitmaps);
    }
}

static bool bitmap_started(void *opaque, const VmloadDirtyBitmap *started,
                           GError **error)
{
    CliBitmaps *bitmaps = opaque;
    Bitmap *bitmap = g_new0(Bitmap, 1);

    (void)error;
    bitmap->node = g_strdup(started->node);
    bitmap->name = g_strdup(started->name);
    bitmap->granularity = started->granularity;
    bitmap->flags = started->flags;
    g_ptr_array_add(bitmaps->bitmaps, bitmap);
    g_hash_table_insert(bitmaps->by_name, bitmap_key(started), bitmap);
    return true;
}

static bool bitmap_bits(void *opaque, const VmloadDirtyBitmap *part,
                        uint64_t offset, uint64_t length, const uint8_t *bits,
                        GError **error)
{
    CliBitmaps *bitmaps = opaque;
    uint64_t n = (length + part->granularity - 1) / part->granularity;
    char *key = bitmap_key(part);
    Bitmap *bitmap;
    uint64_t set = 0;
    uint64_t i;

    (void)offset;
    (void)error;
    for (i = 0; bits != NULL && i < n; i++) {
        set += bits[i / 8] >> (i % 8) & 1;
    }
    bitmap = g_hash_table_lookup(bitmaps->by_name, key);
    if (bitmap != NULL) {
        bitmap->bits_set += set;
    }
    g_free(key);
    return true;
}

bool cli_bitmaps_attach(CliBitmaps *bitmaps, VmloadLoader *loader,
                        GError **error)
{
    const VmloadDirtyBitmapOps ops = {
        VMLOAD_DIRTY_BITMAP_OPS_INIT,
        .started = bitmap_started,
        .bits = bitmap_bits,
    };

    return vmload_loader_add_dirty_bitmaps(loader, &ops, bitmaps, NULL,
                                           error);
}

void cli_bitmaps_print(const CliBitmaps *bitmaps)
{
    guint i;

    if (bitmaps->bitmaps->len > 0) {
        printf("\ndirty bitmaps: %u\n", bitmaps->bitmaps->len);
    }
    for (i = 0; i < bitmaps->bitmaps->len; i++) {
        const Bitmap *bitmap = g_ptr_array_index(bitmaps->bitmaps, i);
        char *node = cli_printable(bitmap->node);
        char *name = cli_printable(bitmap->name);

        printf("  %s of node %s: %u bytes a bit, %" PRIu64 " bits set%s%s\n",
               name, node, bitmap->granularity, bitmap->bits_set,
               (bitmap->flags & VMLOAD_DIRTY_BITMAP_ENABLED) != 0
                   ? ""
                   : ", disabled",
               (bitmap->flags & VMLOAD_DIRTY_BITMAP_PERSISTENT) != 0
                   ? ", persistent"
                   : "");
        g_free(name);
        g_free(node);
    }
}

json_t *cli_bitmaps_json(const CliBitmaps *bitmaps)
{
    json_t *list = json_array();
    guint i;

    for (i = 0; i < bitmaps->bitmaps->len; i++) {
        const Bitmap *bitmap = g_ptr_array_index(bitmaps->bitmaps, i);
        uint32_t flags = bitmap->flags;
        json_t *json = json_object();

        json_object_set_new(json, "node",
                            cli_json_text(bitmap->node, strlen(bitmap->node)));
        json_object_set_new(json, "name",
                            cli_json_text(bitmap->name, strlen(bitmap->name)));
        json_object_set_new(json, "granularity",
                            json_integer(bitmap->granularity));
        json_object_set_new(
            json, "enabled",
            json_boolean((flags & VMLOAD_DIRTY_BITMAP_ENABLED) != 0));
        json_object_set_new(
            json, "persistent",
            json_boolean((flags & VMLOAD_DIRTY_BITMAP_PERSISTENT) != 0));
        json_object_set_new(json, "bits_set",
                            cli_json_uint(bitmap->bits_set));
        json_array_append_new(list, json);
    }
    return list;
}

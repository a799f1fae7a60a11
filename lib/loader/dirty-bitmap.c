/* SPDX-License-Identifier: BSD-3-Clause */
/* The section of dirty bitmaps as a device: parsed, then applied. */
#include "internal.h"

#include "device/dirty-bitmap.h"
#include "error.h"
#include "host/ops.h"

#define DIRTY_BITMAP_IDSTR "dirty-bitmap"
#define DIRTY_BITMAP_VERSION 1

static void *dirty_parse(void *opaque, VmloadReader *reader,
                         const VmloadSection *section, GError **error)
{
    (void)section;
    return vmload_dirty_bitmaps_parse(opaque, reader, error);
}

static bool dirty_apply(void *opaque, void *parsed,
                        const VmloadSection *section, GError **error)
{
    (void)section;
    return vmload_dirty_bitmaps_apply(opaque, parsed, error);
}

static void dirty_parsed_free(void *opaque, void *parsed)
{
    (void)opaque;
    vmload_dirty_chunks_free(parsed);
}

static void dirty_destroy(void *data)
{
    vmload_dirty_bitmaps_free(data);
}

static bool copy_ops(VmloadDirtyBitmapOps *own,
                     const VmloadDirtyBitmapOps *ops, GError **error)
{
    if (!vmload_ops_copy(own, sizeof(*own), ops, "VmloadDirtyBitmapOps",
                         error)) {
        return false;
    }
    return own->bits != NULL ||
           vmload_fail(error, VMLOAD_ERROR_FAILED,
                       "VmloadDirtyBitmapOps: bits is required");
}

bool vmload_loader_add_dirty_bitmaps(VmloadLoader *loader,
                                     const VmloadDirtyBitmapOps *ops,
                                     void *opaque, GDestroyNotify destroy,
                                     GError **error)
{
    const VmloadDeviceOps device = {
        VMLOAD_DEVICE_OPS_INIT,
        /* Chunks are simply thrown away. */
        .flags = VMLOAD_DEVICE_RESTARTABLE,
        .parse = dirty_parse,
        .apply = dirty_apply,
        .parsed_free = dirty_parsed_free,
    };
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;
    VmloadDirtyBitmapOps own = {0};

    g_return_val_if_fail(loader != NULL && ops != NULL, false);
    if (!copy_ops(&own, ops, error)) {
        if (destroy != NULL) {
            destroy(opaque);
        }
        return false;
    }
    plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_APPLY;
    return vmload_loader_add_device(
        loader, DIRTY_BITMAP_IDSTR, 0, DIRTY_BITMAP_VERSION,
        DIRTY_BITMAP_VERSION, &plan, &device,
        vmload_dirty_bitmaps_new(&own, opaque, destroy,
                                 loader->limits.section_bytes),
        dirty_destroy, error);
}

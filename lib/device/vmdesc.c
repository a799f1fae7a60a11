/* SPDX-License-Identifier: BSD-3-Clause */
#include "vmdesc.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

static int device_compare(const char *name, uint32_t instance_id,
                          uint64_t index, const VmloadDescDevice *b)
{
    int order = strcmp(name, b->name);

    if (order != 0) {
        return order;
    }
    if (instance_id != b->instance_id) {
        return instance_id < b->instance_id ? -1 : 1;
    }
    return index < b->index ? -1 : index > b->index;
}

static int device_compare_pointers(const void *a, const void *b)
{
    const VmloadDescDevice *const *left = a;
    const VmloadDescDevice *const *right = b;

    return device_compare((*left)->name, (*left)->instance_id, (*left)->index,
                          *right);
}

/* An index for lookups: a hostile list may be long. */
static bool vmdesc_sort(VmloadVmdesc *vmdesc, GError **error)
{
    uint64_t i;

    vmdesc->sorted = vmload_arena_alloc(&vmdesc->arena, vmdesc->n_devices,
                                        sizeof(vmdesc->sorted[0]));
    if (vmdesc->sorted == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "vmdesc: needs more memory than the limit "
                           "'element-bytes'");
    }
    for (i = 0; i < vmdesc->n_devices; i++) {
        vmdesc->sorted[i] = &vmdesc->devices[i];
    }
    if (vmdesc->n_devices > 1) {
        qsort(vmdesc->sorted, (size_t)vmdesc->n_devices,
              sizeof(vmdesc->sorted[0]), device_compare_pointers);
    }
    return true;
}

VmloadVmdesc *vmload_vmdesc_new(const char *json, uint64_t length,
                                const VmloadLimits *limits, GError **error)
{
    VmloadLimits bounds;
    VmloadVmdesc *vmdesc;

    g_return_val_if_fail(json != NULL || length == 0, NULL);
    vmload_limits_init(&bounds);
    if (limits != NULL) {
        memcpy(&bounds, limits, MIN(limits->struct_size, sizeof(bounds)));
    }
    if (length > bounds.vmdesc_bytes) {
        vmload_fail(error, VMLOAD_ERROR_LIMIT,
                    "vmdesc: %" G_GUINT64_FORMAT " bytes, the limit "
                    "'vmdesc-bytes' is %" G_GUINT64_FORMAT,
                    length, bounds.vmdesc_bytes);
        return NULL;
    }
    vmdesc = g_try_new0(VmloadVmdesc, 1);
    if (vmdesc == NULL) {
        vmload_fail(error, VMLOAD_ERROR_LIMIT, "vmdesc: no memory");
        return NULL;
    }
    vmdesc->refs = 1;
    vmdesc->element_bytes = bounds.element_bytes;
    vmload_arena_init(&vmdesc->arena, bounds.element_bytes);
    if (!vmload_vmdesc_parse(vmdesc, json, length, &bounds, error) ||
        !vmdesc_sort(vmdesc, error)) {
        vmload_vmdesc_free(vmdesc);
        return NULL;
    }
    return vmdesc;
}

VmloadVmdesc *vmload_vmdesc_ref(const VmloadVmdesc *vmdesc)
{
    /* Only the counter of an otherwise immutable object is written. */
    VmloadVmdesc *mutable = (VmloadVmdesc *)vmdesc;

    g_atomic_int_inc(&mutable->refs);
    return mutable;
}

void vmload_vmdesc_free(VmloadVmdesc *vmdesc)
{
    if (vmdesc == NULL || !g_atomic_int_dec_and_test(&vmdesc->refs)) {
        return;
    }
    vmload_arena_clear(&vmdesc->arena);
    g_free(vmdesc);
}

uint64_t vmload_vmdesc_get_page_size(const VmloadVmdesc *vmdesc)
{
    g_return_val_if_fail(vmdesc != NULL, 0);
    return vmdesc->page_size;
}

uint64_t vmload_vmdesc_get_n_devices(const VmloadVmdesc *vmdesc)
{
    g_return_val_if_fail(vmdesc != NULL, 0);
    return vmdesc->n_devices;
}

uint64_t vmload_vmdesc_get_configuration(const VmloadVmdesc *vmdesc)
{
    g_return_val_if_fail(vmdesc != NULL, VMLOAD_VMDESC_NONE);
    return vmdesc->has_configuration ? VMLOAD_VMDESC_CONFIGURATION
                                     : VMLOAD_VMDESC_NONE;
}

const VmloadDescDevice *vmload_vmdesc_lookup(const VmloadVmdesc *vmdesc,
                                             uint64_t index)
{
    if (index == VMLOAD_VMDESC_CONFIGURATION) {
        return vmdesc->has_configuration ? &vmdesc->configuration : NULL;
    }
    return index < vmdesc->n_devices ? &vmdesc->devices[index] : NULL;
}

bool vmload_vmdesc_get_device(const VmloadVmdesc *vmdesc, uint64_t index,
                              VmloadVmdescDevice *device)
{
    const VmloadDescDevice *found;
    VmloadVmdescDevice filled;

    g_return_val_if_fail(vmdesc != NULL && device != NULL, false);
    found = vmload_vmdesc_lookup(vmdesc, index);
    if (found == NULL) {
        return false;
    }
    memset(&filled, 0, sizeof(filled));
    filled.struct_size = device->struct_size;
    filled.instance_id = found->instance_id;
    filled.version_id = found->body.version;
    filled.has_version = found->body.has_version;
    filled.size = found->body.size;
    filled.name = found->name;
    memcpy(device, &filled, MIN(device->struct_size, sizeof(filled)));
    return true;
}

uint64_t vmload_vmdesc_find_device(const VmloadVmdesc *vmdesc,
                                   const char *name, uint32_t instance_id,
                                   uint64_t nth)
{
    uint64_t low = 0;
    uint64_t high;
    const VmloadDescDevice *found;

    g_return_val_if_fail(vmdesc != NULL && name != NULL, VMLOAD_VMDESC_NONE);
    high = vmdesc->n_devices;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (device_compare(name, instance_id, 0, vmdesc->sorted[middle]) > 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    /* The first that is not less; its equals follow in stream order. */
    if (nth >= vmdesc->n_devices - low) {
        return VMLOAD_VMDESC_NONE;
    }
    found = vmdesc->sorted[low + nth];
    if (strcmp(found->name, name) != 0 || found->instance_id != instance_id) {
        return VMLOAD_VMDESC_NONE;
    }
    return found->index;
}

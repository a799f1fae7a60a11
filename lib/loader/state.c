/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices that are loaded by their description. */
#include "internal.h"

typedef struct {
    VmloadLoader *loader;
    const VmloadStateDesc *desc;
    void *object;
} StateDevice;

static bool state_load(void *opaque, VmloadReader *reader,
                       const VmloadSection *section, GError **error)
{
    StateDevice *device = opaque;

    return vmload_state_load(device->desc, device->object,
                             section->version_id, reader,
                             &device->loader->limits, error);
}

bool vmload_loader_add_state(VmloadLoader *loader, const char *idstr,
                             uint32_t instance_id,
                             const VmloadStateDesc *desc, void *object,
                             GError **error)
{
    static const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .load = state_load,
    };
    StateDevice *device;

    g_return_val_if_fail(loader != NULL && idstr != NULL, false);
    g_return_val_if_fail(desc != NULL && object != NULL, false);
    if (!vmload_state_desc_check(desc, error)) {
        return false;
    }
    device = g_new0(StateDevice, 1);
    device->loader = loader;
    device->desc = desc;
    device->object = object;
    return vmload_loader_add_device(loader, idstr, instance_id,
                                    desc->minimum_version_id,
                                    desc->version_id, NULL, &ops, device,
                                    g_free, error);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices that are loaded by their description. */
#include "internal.h"

#include "device/vmstate-shadow.h"
#include "error.h"
#include "host/ops.h"

typedef struct {
    VmloadLoader *loader;
    const VmloadStateDesc *desc;
    void *object;
    uint64_t object_size;
    bool measured; /* WHOLE: the description can say where it ends */
} StateDevice;

/* The holds of the big lock in which one parse looks at the object. */
typedef struct {
    VmloadLoader *loader;
    const VmloadSection *section;
    VmloadHold hold;
    VmloadCost cost;
} StateLook;

/* The big lock is held already. */
static void look_held(void *opaque)
{
    (void)opaque;
}

/*
 * Where there are no footers the description says whether all bytes are
 * there, by a decode that is thrown away, before the object is touched. What
 * else it finds wrong the load finds as well.
 */
static bool state_measure(const StateDevice *device, VmloadReader *reader,
                          const VmloadSection *section, GError **error)
{
    const VmloadStateFence fence = {look_held, look_held, NULL};
    VmloadStateShadow *shadow;
    VmloadReader *probe;
    const uint8_t *data;
    const GError *cause;
    uint64_t candidate;
    uint64_t visible;
    bool too_short;

    if (!device->measured || vmload_loader_has_footers(device->loader) ||
        !vmload_reader_get_staged(reader, &data, &candidate, &visible)) {
        return true;
    }
    probe = vmload_reader_new_memory(data, visible, section->payload_offset);
    shadow = vmload_state_decode(device->desc, device->object,
                                 device->object_size, section->version_id,
                                 probe, &device->loader->limits, &fence, NULL);
    cause = vmload_reader_get_error(probe);
    too_short = cause != NULL && cause->code == VMLOAD_ERROR_TRUNCATED;
    vmload_state_shadow_free(shadow);
    vmload_reader_free(probe);
    /* Reads as far as there is something, and then fails as a read does. */
    return !too_short || vmload_reader_skip(reader, visible + 1, error);
}

/* WHOLE: straight into the object, with the lock. */
static bool state_load(void *opaque, VmloadReader *reader,
                       const VmloadSection *section, GError **error)
{
    StateDevice *device = opaque;

    if (!state_measure(device, reader, section, error)) {
        return false;
    }
    return vmload_state_load(device->desc, device->object,
                             section->version_id, reader,
                             &device->loader->limits, error);
}

static void look_begin(void *opaque)
{
    StateLook *look = opaque;

    vmload_guard_lock(&look->loader->guard, &look->hold, "copy",
                      look->section->idstr, look->section->instance_id);
}

static void look_end(void *opaque)
{
    StateLook *look = opaque;

    vmload_guard_unlock(&look->loader->guard, &look->hold);
    look->cost.lock_wait_ns += look->hold.wait_ns;
    look->cost.lock_held_ns += look->hold.held_ns;
}

/* Any thread, without the lock. */
static void *state_parse(void *opaque, VmloadReader *reader,
                         const VmloadSection *section, GError **error)
{
    StateDevice *device = opaque;
    StateLook look = {.loader = device->loader, .section = section};
    const VmloadStateFence fence = {look_begin, look_end, &look};
    VmloadStateShadow *shadow;

    shadow = vmload_state_decode(device->desc, device->object,
                                 device->object_size, section->version_id,
                                 reader, &device->loader->limits, &fence,
                                 error);
    vmload_ledger_add(device->loader->ledger, section, &look.cost);
    return shadow;
}

static bool state_apply(void *opaque, void *parsed,
                        const VmloadSection *section, GError **error)
{
    (void)opaque;
    (void)section;
    return vmload_state_commit(parsed, error);
}

static void state_parsed_free(void *opaque, void *parsed)
{
    (void)opaque;
    vmload_state_shadow_free(parsed);
}

static bool add_whole(VmloadLoader *loader, const char *idstr,
                      uint32_t instance_id, StateDevice *device,
                      GError **error)
{
    static const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .load = state_load,
    };

    device->measured =
        device->object_size > 0 &&
        vmload_state_shadow_check(device->desc, device->object_size, NULL);
    if (!vmload_loader_add_device(
            loader, idstr, instance_id, device->desc->minimum_version_id,
            device->desc->version_id, NULL, &ops, device, g_free, error)) {
        return false;
    }
    if (device->measured) {
        vmload_registry_note_measured(loader->registry);
    }
    return true;
}

static bool add_apply(VmloadLoader *loader, const char *idstr,
                      uint32_t instance_id, StateDevice *device,
                      const VmloadStateOptions *options, GError **error)
{
    const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        /* A shadow is simply thrown away. */
        .flags = options->flags | VMLOAD_DEVICE_RESTARTABLE,
        .parse = state_parse,
        .apply = state_apply,
        .parsed_free = state_parsed_free,
        .after = options->after,
    };
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;

    plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_APPLY;
    return vmload_loader_add_device(
        loader, idstr, instance_id, device->desc->minimum_version_id,
        device->desc->version_id, &plan, &ops, device, g_free, error);
}

static bool check_options(const VmloadStateDesc *desc,
                          const VmloadStateOptions *options, GError **error)
{
    if (options->lock > VMLOAD_LOCK_APPLY) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "VmloadStateOptions: expected lock WHOLE or "
                           "APPLY, found %u", options->lock);
    }
    if ((options->flags & ~(uint32_t)VMLOAD_DEVICE_CONCURRENT) != 0 ||
        (options->flags != 0 && options->lock != VMLOAD_LOCK_APPLY)) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "VmloadStateOptions: expected no flag but "
                           "CONCURRENT, with lock APPLY, found 0x%x",
                           options->flags);
    }
    return options->lock != VMLOAD_LOCK_APPLY ||
           vmload_state_shadow_check(desc, options->object_size, error);
}

bool vmload_loader_add_state_with_options(VmloadLoader *loader,
                                          const char *idstr,
                                          uint32_t instance_id,
                                          const VmloadStateDesc *desc,
                                          void *object,
                                          const VmloadStateOptions *options,
                                          GError **error)
{
    VmloadStateOptions own = {0};
    StateDevice *device;

    g_return_val_if_fail(loader != NULL && idstr != NULL, false);
    g_return_val_if_fail(desc != NULL && object != NULL, false);
    if (options != NULL && !vmload_ops_copy(&own, sizeof(own), options,
                                            "VmloadStateOptions", error)) {
        return false;
    }
    if (!vmload_state_desc_check(desc, error) ||
        !check_options(desc, &own, error)) {
        return false;
    }
    device = g_new0(StateDevice, 1);
    device->loader = loader;
    device->desc = desc;
    device->object = object;
    device->object_size = own.object_size;
    return own.lock == VMLOAD_LOCK_APPLY
               ? add_apply(loader, idstr, instance_id, device, &own, error)
               : add_whole(loader, idstr, instance_id, device, error);
}

bool vmload_loader_add_state(VmloadLoader *loader, const char *idstr,
                             uint32_t instance_id,
                             const VmloadStateDesc *desc, void *object,
                             GError **error)
{
    return vmload_loader_add_state_with_options(loader, idstr, instance_id,
                                                desc, object, NULL, error);
}

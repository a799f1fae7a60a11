/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry.h"

#include "error.h"
#include "host/ops.h"

#include <string.h>

struct VmloadRegistry {
    GPtrArray *devices; /* of VmloadRegistered, owned, in order */
    GHashTable *index;  /* the same, by idstr and instance */
};

static guint registered_hash(const void *key)
{
    const VmloadRegistered *device = key;

    return g_str_hash(device->idstr) ^ device->instance_id;
}

static gboolean registered_equal(const void *a, const void *b)
{
    const VmloadRegistered *x = a;
    const VmloadRegistered *y = b;

    return x->instance_id == y->instance_id &&
           strcmp(x->idstr, y->idstr) == 0;
}

static void registered_free(void *data)
{
    VmloadRegistered *device = data;

    if (device->destroy != NULL) {
        device->destroy(device->opaque);
    }
    g_free(device->idstr);
    g_free(device);
}

VmloadRegistry *vmload_registry_new(void)
{
    VmloadRegistry *registry = g_new0(VmloadRegistry, 1);

    registry->devices = g_ptr_array_new_with_free_func(registered_free);
    registry->index = g_hash_table_new(registered_hash, registered_equal);
    return registry;
}

void vmload_registry_free(VmloadRegistry *registry)
{
    if (registry != NULL) {
        g_hash_table_unref(registry->index);
        g_ptr_array_unref(registry->devices);
        g_free(registry);
    }
}

VmloadLock vmload_lock_plan_get(const VmloadLockPlan *plan, uint32_t record)
{
    switch (record) {
    case VMLOAD_RECORD_START:
        return (VmloadLock)plan->start;
    case VMLOAD_RECORD_PART:
        return (VmloadLock)plan->part;
    case VMLOAD_RECORD_END:
        return (VmloadLock)plan->end;
    default:
        return (VmloadLock)plan->full;
    }
}

bool vmload_lock_plan_copy(VmloadLockPlan *dest, const VmloadLockPlan *src,
                           GError **error)
{
    static const VmloadLockPlan whole = VMLOAD_LOCK_PLAN_INIT;
    VmloadLockPlan plan = whole;

    if (src != NULL && !vmload_ops_copy(&plan, sizeof(plan), src,
                                        "VmloadLockPlan", error)) {
        return false;
    }
    if (plan.start > VMLOAD_LOCK_STAGED || plan.part > VMLOAD_LOCK_STAGED ||
        plan.end > VMLOAD_LOCK_STAGED || plan.full > VMLOAD_LOCK_STAGED) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "the lock plan names a class that there is not");
    }
    *dest = plan;
    return true;
}

bool vmload_device_ops_serve(const VmloadDeviceOps *ops, VmloadLock lock)
{
    return lock == VMLOAD_LOCK_APPLY
               ? ops->parse != NULL && ops->apply != NULL
               : ops->load != NULL;
}

static bool registered_check(const VmloadRegistry *registry,
                             const VmloadRegistered *device, GError **error)
{
    static const uint32_t records[] = {
        VMLOAD_RECORD_START, VMLOAD_RECORD_PART, VMLOAD_RECORD_END,
        VMLOAD_RECORD_FULL};
    size_t length = strlen(device->idstr);
    size_t i;

    if (length == 0 || length >= VMLOAD_STR8_SIZE) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "expected an idstr of 1 to 255 bytes, found %zu",
                           length);
    }
    if (g_hash_table_contains(registry->index, device)) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "device '%s' instance %u is registered already",
                           device->idstr, device->instance_id);
    }
    for (i = 0; i < G_N_ELEMENTS(records); i++) {
        if (!vmload_device_ops_serve(
                &device->ops,
                vmload_lock_plan_get(&device->plan, records[i]))) {
            return vmload_fail(error, VMLOAD_ERROR_FAILED,
                               "device '%s': a callback that its lock plan "
                               "needs is missing", device->idstr);
        }
    }
    return true;
}

bool vmload_registry_add(VmloadRegistry *registry, const char *idstr,
                         uint32_t instance_id, uint32_t min_version,
                         uint32_t max_version, const VmloadLockPlan *plan,
                         const VmloadDeviceOps *ops, void *opaque,
                         GDestroyNotify destroy, GError **error)
{
    VmloadRegistered *device = g_new0(VmloadRegistered, 1);

    device->idstr = g_strdup(idstr);
    device->instance_id = instance_id;
    device->min_version = min_version;
    device->max_version = max_version;
    device->opaque = opaque;
    device->destroy = destroy;
    if (!vmload_ops_copy(&device->ops, sizeof(device->ops), ops,
                         "VmloadDeviceOps", error) ||
        !vmload_lock_plan_copy(&device->plan, plan, error) ||
        !registered_check(registry, device, error)) {
        registered_free(device);
        return false;
    }
    g_ptr_array_add(registry->devices, device);
    g_hash_table_add(registry->index, device);
    return true;
}

void vmload_registry_note_measured(VmloadRegistry *registry)
{
    VmloadRegistered *last;

    g_return_if_fail(registry->devices->len > 0);
    last = g_ptr_array_index(registry->devices, registry->devices->len - 1);
    last->measured = true;
}

const VmloadRegistered *vmload_registry_find(const VmloadRegistry *registry,
                                             const char *idstr,
                                             uint32_t instance_id)
{
    VmloadRegistered key = {.idstr = (char *)idstr,
                            .instance_id = instance_id};

    return g_hash_table_lookup(registry->index, &key);
}

const VmloadRegistered *vmload_registry_get(const VmloadRegistry *registry,
                                            uint32_t index)
{
    return index < registry->devices->len
               ? g_ptr_array_index(registry->devices, index)
               : NULL;
}

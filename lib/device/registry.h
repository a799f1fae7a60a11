/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices that a host registered up front. */
#ifndef VMLOAD_DEVICE_REGISTRY_H
#define VMLOAD_DEVICE_REGISTRY_H

#include <vmload/device.h>

typedef struct VmloadRegistry VmloadRegistry;

/* A device of the table. All but @ops and @opaque is the registry's own. */
typedef struct {
    char *idstr;
    uint32_t instance_id;
    uint32_t min_version;
    uint32_t max_version;
    VmloadLockPlan plan;
    VmloadDeviceOps ops;
    void *opaque;
    GDestroyNotify destroy;
    bool measured; /* its `load` first looks where the payload ends */
} VmloadRegistered;

VmloadRegistry *vmload_registry_new(void);

/* Calls every destroy notify. */
void vmload_registry_free(VmloadRegistry *registry);

/* As vmload_loader_add_device(), which documents it. */
bool vmload_registry_add(VmloadRegistry *registry, const char *idstr,
                         uint32_t instance_id, uint32_t min_version,
                         uint32_t max_version, const VmloadLockPlan *plan,
                         const VmloadDeviceOps *ops, void *opaque,
                         GDestroyNotify destroy, GError **error);

/*
 * The last one's `load` changes nothing before it has seen that all bytes are
 * there, in streams without footers.
 */
void vmload_registry_note_measured(VmloadRegistry *registry);

/* NULL if nobody registered it. */
const VmloadRegistered *vmload_registry_find(const VmloadRegistry *registry,
                                             const char *idstr,
                                             uint32_t instance_id);

/* In order of registration; NULL past the end. */
const VmloadRegistered *vmload_registry_get(const VmloadRegistry *registry,
                                            uint32_t index);

/* The class of @plan for a section of type @record. */
VmloadLock vmload_lock_plan_get(const VmloadLockPlan *plan, uint32_t record);

/*
 * Copies a host's plan by the rule for structs of callers; NULL is the
 * default plan. FAILED: a class that there is not.
 */
bool vmload_lock_plan_copy(VmloadLockPlan *dest, const VmloadLockPlan *src,
                           GError **error);

/* Has @ops the callbacks that class @lock calls? */
bool vmload_device_ops_serve(const VmloadDeviceOps *ops, VmloadLock lock);

#endif

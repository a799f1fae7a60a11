/* SPDX-License-Identifier: BSD-3-Clause */
/* Who takes a section, and the host's callbacks with their locks. */
#include "internal.h"

#include "error.h"
#include "host/clock.h"
#include "host/ops.h"

#include <string.h>

#define RAM_IDSTR "ram"
#define RAM_VERSION 4

bool vmload_callback_result(bool ok, GError **local, GError **error)
{
    if (ok) {
        /* Of a callback that sets an error and carries on all the same. */
        g_clear_error(local);
        return true;
    }
    if (*local == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_DEVICE,
                           "the host refused without saying why");
    }
    if ((*local)->domain != VMLOAD_ERROR) {
        vmload_fail(error, VMLOAD_ERROR_DEVICE, "%s", (*local)->message);
        g_clear_error(local);
        return false;
    }
    g_propagate_error(error, g_steal_pointer(local));
    return false;
}

static bool is_ram(const VmloadSection *section)
{
    return section->instance_id == 0 && strcmp(section->idstr, RAM_IDSTR) == 0;
}

static bool unknown_section(const VmloadSection *section, GError **error)
{
    char *idstr = g_strescape(section->idstr, NULL);

    vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                "expected a known device, found '%s' instance %u", idstr,
                section->instance_id);
    g_free(idstr);
    return false;
}

/* RAM's pages say themselves where they end: streamed, without the lock. */
static bool resolve_ram(const VmloadSection *section, VmloadTarget *target,
                        GError **error)
{
    target->kind = VMLOAD_TARGET_RAM;
    target->lock = VMLOAD_LOCK_NONE;
    if (section->version_id != RAM_VERSION) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "expected version %d, found %u", RAM_VERSION,
                           section->version_id);
    }
    return true;
}

/* Under the caller's lock, or ours, nothing waits for a thread of ours. */
bool vmload_target_is_concurrent(const VmloadLoader *loader,
                                 const VmloadTarget *target)
{
    return target->kind == VMLOAD_TARGET_REGISTERED &&
           target->lock == VMLOAD_LOCK_APPLY &&
           (target->registered->ops.flags & VMLOAD_DEVICE_CONCURRENT) != 0 &&
           !vmload_guard_is_held(&loader->guard);
}

bool vmload_target_is_measured(const VmloadLoader *loader,
                               const VmloadTarget *target)
{
    return target->kind == VMLOAD_TARGET_REGISTERED &&
           target->lock == VMLOAD_LOCK_WHOLE &&
           target->registered->measured &&
           !vmload_loader_has_footers(loader);
}

bool vmload_target_peek(VmloadLoader *loader, const VmloadSection *section,
                        VmloadTarget *target)
{
    memset(target, 0, sizeof(*target));
    target->registered = vmload_registry_find(
        loader->registry, section->idstr, section->instance_id);
    if (target->registered == NULL) {
        return false;
    }
    target->kind = VMLOAD_TARGET_REGISTERED;
    target->lock = vmload_lock_plan_get(&target->registered->plan,
                                        section->type);
    target->staged_max = target->registered->plan.staged_max;
    return true;
}

static bool resolve_host(VmloadLoader *loader, const VmloadSection *section,
                         VmloadTarget *target, GError **error)
{
    const VmloadLockPlan *asked = NULL;
    VmloadLockPlan plan;

    if (loader->ops.plan != NULL) {
        asked = loader->ops.plan(loader->opaque, section);
    }
    if (!vmload_lock_plan_copy(&plan, asked, error)) {
        return false;
    }
    target->kind = VMLOAD_TARGET_HOST;
    target->lock = vmload_lock_plan_get(&plan, section->type);
    target->staged_max = plan.staged_max;
    return true;
}

bool vmload_target_resolve(VmloadLoader *loader, const VmloadSection *section,
                           VmloadTarget *target, GError **error)
{
    if (vmload_target_peek(loader, section, target)) {
        return true;
    }
    if (is_ram(section) && (loader->has_ram || loader->ops.find == NULL)) {
        return resolve_ram(section, target, error);
    }
    if (loader->ops.find != NULL) {
        return resolve_host(loader, section, target, error);
    }
    if (loader->unknown == VMLOAD_UNKNOWN_KEEP) {
        target->kind = VMLOAD_TARGET_RAW;
        target->lock = VMLOAD_LOCK_WHOLE;
        return true;
    }
    return unknown_section(section, error);
}

static bool check_version(const VmloadDevice *device,
                          const VmloadSection *section, GError **error)
{
    if (section->version_id < device->min_version ||
        section->version_id > device->max_version) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "expected version %u to %u, found %u",
                           device->min_version, device->max_version,
                           section->version_id);
    }
    return true;
}

/* The host's own matching rules. The big lock is held. */
static bool find_host_device(VmloadLoader *loader, const VmloadTarget *target,
                             const VmloadSection *section,
                             VmloadFound *found, GError **error)
{
    GError *local = NULL;

    if (!loader->ops.find(loader->opaque, section, &found->device, &local)) {
        found->known = false;
        return vmload_callback_result(local == NULL, &local, error);
    }
    g_clear_error(&local);
    if (found->device.ops == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "the host found a device without callbacks");
    }
    if (!vmload_ops_copy(&found->ops, sizeof(found->ops), found->device.ops,
                         "VmloadDeviceOps", error)) {
        return false;
    }
    if (!vmload_device_ops_serve(&found->ops, target->lock)) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "a callback that the device's lock plan needs is "
                           "missing");
    }
    return check_version(&found->device, section, error);
}

/* The device of a target. For one of the host's the big lock is held. */
static bool find_device(VmloadLoader *loader, const VmloadTarget *target,
                        const VmloadSection *section, VmloadFound *found,
                        GError **error)
{
    memset(found, 0, sizeof(*found));
    found->device.struct_size = (uint32_t)sizeof(found->device);
    found->known = true;
    if (target->kind != VMLOAD_TARGET_REGISTERED) {
        return find_host_device(loader, target, section, found, error);
    }
    found->device.min_version = target->registered->min_version;
    found->device.max_version = target->registered->max_version;
    found->device.opaque = target->registered->opaque;
    found->ops = target->registered->ops;
    return check_version(&found->device, section, error);
}

/* An unknown device at the last moment: kept, or refused. */
static bool load_unknown(VmloadLoader *loader, const VmloadSection *section,
                         VmloadReader *reader, GError **error)
{
    GError *local = NULL;
    const uint8_t *data;
    uint64_t candidate;
    uint64_t visible;

    if (loader->unknown != VMLOAD_UNKNOWN_KEEP) {
        return unknown_section(section, error);
    }
    if (!vmload_reader_get_staged(reader, &data, &candidate, &visible)) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "an unknown section cannot be kept where nothing "
                           "is staged");
    }
    if (loader->ops.raw_section != NULL &&
        !vmload_callback_result(
            loader->ops.raw_section(loader->opaque, section, data, candidate,
                                    &local),
            &local, error)) {
        return false;
    }
    return vmload_reader_skip(reader, candidate, error);
}

bool vmload_target_check(VmloadLoader *loader, const VmloadSection *section,
                         VmloadTarget *target, GError **error)
{
    VmloadFound found;
    VmloadHold hold;
    bool ok;

    if (target->kind == VMLOAD_TARGET_RAW) {
        return true;
    }
    if (target->kind == VMLOAD_TARGET_REGISTERED) {
        return find_device(loader, target, section, &found, error);
    }
    vmload_guard_lock(&loader->guard, &hold, "find", section->idstr,
                      section->instance_id);
    ok = find_device(loader, target, section, &found, error);
    vmload_guard_unlock(&loader->guard, &hold);
    if (!ok || found.known) {
        return ok;
    }
    if (loader->unknown != VMLOAD_UNKNOWN_KEEP) {
        return unknown_section(section, error);
    }
    target->kind = VMLOAD_TARGET_RAW;
    return true;
}

static void cost_add_hold(VmloadCost *cost, const VmloadHold *hold)
{
    cost->lock_wait_ns += hold->wait_ns;
    cost->lock_held_ns += hold->held_ns;
}

/* A parse has no effect but what it returns: it may always be called again. */
static void note_restartable(const VmloadLoader *loader,
                             const VmloadTarget *target,
                             const VmloadDeviceOps *ops,
                             VmloadAttempt *attempt)
{
    if (attempt != NULL) {
        attempt->restartable = target->lock == VMLOAD_LOCK_APPLY ||
                               vmload_target_is_measured(loader, target) ||
                               (ops->flags & VMLOAD_DEVICE_RESTARTABLE) != 0;
    }
}

/* Find and load in one hold. */
static bool load_whole(VmloadLoader *loader, const VmloadTarget *target,
                       const VmloadSection *section, VmloadReader *reader,
                       VmloadCost *cost, VmloadAttempt *attempt,
                       GError **error)
{
    GError *local = NULL;
    VmloadFound found;
    VmloadHold hold;
    bool ok;

    vmload_guard_lock(&loader->guard, &hold, "load", section->idstr,
                      section->instance_id);
    ok = find_device(loader, target, section, &found, error);
    if (!ok || !found.known) {
        vmload_guard_unlock(&loader->guard, &hold);
        cost_add_hold(cost, &hold);
        return ok && load_unknown(loader, section, reader, error);
    }
    note_restartable(loader, target, &found.ops, attempt);
    ok = found.ops.load(found.device.opaque, reader, section, &local);
    vmload_guard_unlock(&loader->guard, &hold);
    cost_add_hold(cost, &hold);
    cost->callback_ns += hold.held_ns;
    return vmload_callback_result(ok, &local, error);
}

bool vmload_target_find(VmloadLoader *loader, const VmloadTarget *target,
                        const VmloadSection *section, VmloadFound *found,
                        VmloadCost *cost, GError **error)
{
    VmloadHold hold;
    bool ok;

    if (target->kind == VMLOAD_TARGET_REGISTERED) {
        return find_device(loader, target, section, found, error);
    }
    vmload_guard_lock(&loader->guard, &hold, "find", section->idstr,
                      section->instance_id);
    ok = find_device(loader, target, section, found, error);
    vmload_guard_unlock(&loader->guard, &hold);
    cost_add_hold(cost, &hold);
    return ok;
}

void *vmload_found_parse(const VmloadFound *found, VmloadReader *reader,
                         const VmloadSection *section, VmloadCost *cost,
                         GError **error)
{
    GError *local = NULL;
    uint64_t begin = vmload_clock_ns();
    void *parsed = found->ops.parse(found->device.opaque, reader, section,
                                    &local);

    cost->callback_ns += vmload_clock_ns() - begin;
    vmload_callback_result(parsed != NULL, &local, error);
    return parsed;
}

void vmload_found_discard(const VmloadFound *found, void *parsed)
{
    if (parsed != NULL && found->ops.parsed_free != NULL) {
        found->ops.parsed_free(found->device.opaque, parsed);
    }
}

bool vmload_found_apply(VmloadLoader *loader, const VmloadFound *found,
                        const VmloadSection *section, void *parsed,
                        VmloadCost *cost, GError **error)
{
    GError *local = NULL;
    VmloadHold hold;
    bool ok;

    vmload_guard_lock(&loader->guard, &hold, "apply", section->idstr,
                      section->instance_id);
    ok = found->ops.apply(found->device.opaque, parsed, section, &local);
    vmload_guard_unlock(&loader->guard, &hold);
    cost_add_hold(cost, &hold);
    cost->callback_ns += hold.held_ns;
    vmload_found_discard(found, parsed);
    return vmload_callback_result(ok, &local, error);
}

/*
 * What was parsed is believed only if the section ends where the parser
 * stopped: the device is not touched by a section that is broken.
 */
static bool check_parsed(VmloadLoader *loader,
                         const VmloadSection *section, VmloadReader *reader,
                         GError **error)
{
    const GError *failed = vmload_reader_get_error(reader);

    if (failed != NULL) {
        if (error != NULL) {
            *error = g_error_copy(failed);
        }
        return false;
    }
    return !vmload_loader_has_footers(loader) ||
           vmload_section_footer_check(reader, section, error);
}

/* Parses without the lock, applies with it, at once or later. */
static bool load_apply(VmloadLoader *loader, const VmloadFound *found,
                       VmloadReader *reader, const VmloadSection *section,
                       VmloadCost *cost, VmloadAttempt *attempt,
                       GError **error)
{
    void *parsed = vmload_found_parse(found, reader, section, cost, error);
    VmloadSection whole = *section;

    if (parsed == NULL) {
        return false;
    }
    /* Where it was believed to end does not matter any more. */
    whole.payload_length =
        vmload_reader_get_offset(reader) - section->payload_offset;
    if (!check_parsed(loader, section, reader, error)) {
        vmload_found_discard(found, parsed);
        return false;
    }
    if (attempt != NULL && attempt->keep) {
        attempt->found = *found;
        attempt->parsed = parsed;
        return true;
    }
    return vmload_found_apply(loader, found, &whole, parsed, cost, error);
}

/* The device reads the stream, or what is staged of it, without the lock. */
static bool load_streaming(const VmloadFound *found, VmloadReader *reader,
                           const VmloadSection *section, VmloadCost *cost,
                           GError **error)
{
    GError *local = NULL;
    uint64_t begin = vmload_clock_ns();
    bool ok = found->ops.load(found->device.opaque, reader, section, &local);

    cost->callback_ns += vmload_clock_ns() - begin;
    return vmload_callback_result(ok, &local, error);
}

static bool load_unlocked(VmloadLoader *loader, const VmloadTarget *target,
                          const VmloadSection *section, VmloadReader *reader,
                          VmloadCost *cost, VmloadAttempt *attempt,
                          GError **error)
{
    VmloadFound found;

    if (!vmload_target_find(loader, target, section, &found, cost, error)) {
        return false;
    }
    if (!found.known) {
        return load_unknown(loader, section, reader, error);
    }
    note_restartable(loader, target, &found.ops, attempt);
    return target->lock == VMLOAD_LOCK_APPLY
               ? load_apply(loader, &found, reader, section, cost, attempt,
                            error)
               : load_streaming(&found, reader, section, cost, error);
}

bool vmload_target_load(VmloadLoader *loader, const VmloadTarget *target,
                        const VmloadSection *section, VmloadReader *reader,
                        VmloadCost *cost, VmloadAttempt *attempt,
                        GError **error)
{
    if (target->kind == VMLOAD_TARGET_RAM) {
        return vmload_loader_load_ram(loader, section, reader, error);
    }
    if (target->kind == VMLOAD_TARGET_RAW) {
        return load_unknown(loader, section, reader, error);
    }
    if (target->lock == VMLOAD_LOCK_WHOLE) {
        return load_whole(loader, target, section, reader, cost, attempt,
                          error);
    }
    return load_unlocked(loader, target, section, reader, cost, attempt,
                         error);
}

/* One phase of one device, with the lock; @name for messages. */
static bool run_phase(VmloadLoader *loader, const VmloadRegistered *device,
                      bool (*phase)(void *opaque, GError **error),
                      const char *name, GError **error)
{
    GError *local = NULL;
    VmloadHold hold;
    bool ok;

    if (phase == NULL) {
        return true;
    }
    vmload_guard_lock(&loader->guard, &hold, name, device->idstr,
                      device->instance_id);
    ok = phase(device->opaque, &local);
    vmload_guard_unlock(&loader->guard, &hold);
    ok = vmload_callback_result(ok, &local, error);
    if (!ok) {
        g_prefix_error(error, "%s of device '%s' instance %u: ", name,
                       device->idstr, device->instance_id);
    }
    return ok;
}

bool vmload_devices_setup(VmloadLoader *loader, GError **error)
{
    const VmloadRegistered *device;
    uint32_t i;

    for (i = 0; (device = vmload_registry_get(loader->registry, i)) != NULL;
         i++) {
        if (!run_phase(loader, device, device->ops.setup, "setup", error)) {
            return false;
        }
        if (device->ops.switchover_ack_needed != NULL &&
            device->ops.switchover_ack_needed(device->opaque)) {
            vmload_loader_expect_approval(loader);
        }
    }
    vmload_loader_settle_approvals(loader);
    return true;
}

bool vmload_devices_all_loaded(VmloadLoader *loader, GError **error)
{
    const VmloadRegistered *device;
    uint32_t i;

    for (i = 0; (device = vmload_registry_get(loader->registry, i)) != NULL;
         i++) {
        if (!run_phase(loader, device, device->ops.all_loaded, "all_loaded",
                       error)) {
            return false;
        }
    }
    return true;
}

void vmload_devices_cleanup(VmloadLoader *loader)
{
    const VmloadRegistered *device;
    VmloadHold hold;
    uint32_t i;

    for (i = 0; (device = vmload_registry_get(loader->registry, i)) != NULL;
         i++) {
        if (device->ops.cleanup != NULL) {
            vmload_guard_lock(&loader->guard, &hold, "cleanup", device->idstr,
                              device->instance_id);
            device->ops.cleanup(device->opaque);
            vmload_guard_unlock(&loader->guard, &hold);
        }
    }
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What goes back to the source while the load runs. */
#include "internal.h"

#include "error.h"

#include <string.h>

const VmloadWait *vmload_loader_write_wait(VmloadLoader *loader,
                                           VmloadWait *wait)
{
    memset(wait, 0, sizeof(*wait));
    wait->cancel = loader->cancel;
    return vmload_guard_may_wait(&loader->guard) ? wait : NULL;
}

bool vmload_loader_send_return_path(VmloadLoader *loader,
                                    VmloadReturnPathType type,
                                    const uint8_t *data, uint32_t length,
                                    GError **error)
{
    VmloadWait wait;

    g_return_val_if_fail(loader != NULL, false);
    g_return_val_if_fail(data != NULL || length == 0, false);
    if (type == VMLOAD_RETURN_PATH_SHUT) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "SHUT is sent by the library");
    }
    return vmload_return_path_send(&loader->return_path, type, data, length,
                                   vmload_loader_write_wait(loader, &wait),
                                   error);
}

void vmload_loader_expect_approval(VmloadLoader *loader)
{
    g_mutex_lock(&loader->mutex);
    loader->switchover_waits++;
    g_mutex_unlock(&loader->mutex);
}

/* A source of the legacy kind hears once that no device waits any more. */
static void legacy_ack_due(VmloadLoader *loader)
{
    if (loader->switchover_ack && loader->switchover_asked &&
        loader->switchover_ack_mode == VMLOAD_SWITCHOVER_ACK_LEGACY &&
        loader->switchover_waits == 0) {
        loader->switchover_due = 1;
    }
}

void vmload_loader_settle_approvals(VmloadLoader *loader)
{
    g_mutex_lock(&loader->mutex);
    loader->switchover_asked = true;
    legacy_ack_due(loader);
    g_mutex_unlock(&loader->mutex);
}

bool vmload_loader_send_switchover_acks(VmloadLoader *loader, GError **error)
{
    uint32_t due;

    if (!vmload_return_path_is_open(&loader->return_path)) {
        return true;
    }
    g_mutex_lock(&loader->mutex);
    due = loader->switchover_due;
    loader->switchover_due = 0;
    g_mutex_unlock(&loader->mutex);
    for (; due > 0; due--) {
        if (!vmload_loader_send_return_path(
                loader, VMLOAD_RETURN_PATH_SWITCHOVER_ACK, NULL, 0, error)) {
            return false;
        }
    }
    return true;
}

bool vmload_loader_approve_switchover(VmloadLoader *loader, GError **error)
{
    bool waits;

    g_return_val_if_fail(loader != NULL, false);
    g_mutex_lock(&loader->mutex);
    waits = loader->switchover_waits > 0;
    if (waits) {
        loader->switchover_waits--;
        legacy_ack_due(loader);
    }
    if (waits && loader->switchover_ack &&
        loader->switchover_ack_mode == VMLOAD_SWITCHOVER_ACK_PER_DEVICE) {
        loader->switchover_due++;
    }
    g_mutex_unlock(&loader->mutex);
    if (!waits) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "no device waits with the switchover");
    }
    /* Before OPEN_RETURN_PATH: it is sent when that arrives. */
    return vmload_loader_send_switchover_acks(loader, error);
}

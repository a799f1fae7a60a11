/* SPDX-License-Identifier: BSD-3-Clause */
/* In place of the rest of this folder, where there are no RDMA libraries. */
#include "listener.h"

#include "error.h"

VmloadRdmaListener *vmload_rdma_listener_new(const VmloadUri *uri,
                                             GError **error)
{
    vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                "address rdma:%s:%s: this library was built without RDMA "
                "(libibverbs, librdmacm)", uri->host != NULL ? uri->host : "",
                uri->port);
    return NULL;
}

/* There is no listener, so that nobody calls these. */
VmloadRdmaListener *vmload_rdma_listener_ref(VmloadRdmaListener *listener)
{
    return listener;
}

void vmload_rdma_listener_unref(VmloadRdmaListener *listener G_GNUC_UNUSED)
{
}

const char *vmload_rdma_listener_get_address(
    const VmloadRdmaListener *self G_GNUC_UNUSED)
{
    return NULL;
}

VmloadChannel *
vmload_rdma_listener_accept(VmloadRdmaListener *listener G_GNUC_UNUSED,
                            const VmloadWait *wait G_GNUC_UNUSED,
                            int64_t handshake_us G_GNUC_UNUSED,
                            VmloadRefused refused G_GNUC_UNUSED,
                            void *opaque G_GNUC_UNUSED,
                            GError **error)
{
    vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED, "built without RDMA");
    return NULL;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The RAM side: between HOOK and REGISTER_FINISHED the source asks and we
 * answer (RDMA format, section 6). The pages themselves it writes without a
 * word; they are all there when REGISTER_FINISHED is.
 */
#include "pair.h"

#include "error.h"

/* The reply to what the source asks first. Pin-all: opens all memory. */
static bool reply_blocks(VmloadRdmaPair *pair,
                         const VmloadPlacement *placement, uint8_t *buffer,
                         GError **error)
{
    VmloadRdmaBlock block;
    uint32_t i;

    if (pair->memory == NULL) {
        pair->memory =
            vmload_rdma_memory_new(vmload_rdma_conn_get_pd(pair->main),
                                   placement, pair->counters, error);
    }
    if (pair->memory == NULL) {
        return false;
    }
    for (i = 0; i < placement->n_blocks; i++) {
        if (vmload_rdma_conn_is_pinned(pair->main) &&
            !vmload_rdma_memory_pin(pair->memory, i, error)) {
            return false;
        }
        vmload_rdma_memory_describe(pair->memory, i, &block);
        vmload_rdma_put_block(buffer, i, &block);
    }
    return vmload_rdma_conn_send(pair->main, VMLOAD_RDMA_BLOCKS_RESULT,
                                 placement->n_blocks * VMLOAD_RDMA_BLOCK_SIZE,
                                 1, error);
}

static bool reply_register(VmloadRdmaPair *pair, uint8_t *buffer,
                           GError **error)
{
    const VmloadRdmaMessage *request = &pair->request;
    VmloadRdmaRange range;
    uint64_t host;
    uint32_t key;
    uint32_t i;

    for (i = 0; i < request->repeat; i++) {
        if (!vmload_rdma_get_range(request, i, &range, error) ||
            !vmload_rdma_memory_open(pair->memory, &range, &key, &host,
                                     error)) {
            return false;
        }
        vmload_rdma_put_result(buffer, i, key, host);
    }
    return vmload_rdma_conn_send(pair->main, VMLOAD_RDMA_REGISTER_RESULT,
                                 request->repeat * VMLOAD_RDMA_RESULT_SIZE,
                                 request->repeat, error);
}

/*
 * 1: the reply is on its way; WOULD_BLOCK: the one before still is; -1 with
 * @error.
 */
static int64_t serve_reply(VmloadRdmaPair *pair,
                           const VmloadPlacement *placement, GError **error)
{
    uint32_t size;
    uint8_t *buffer = vmload_rdma_conn_get_buffer(pair->main, &size);
    bool ok;

    if (buffer == NULL) {
        return VMLOAD_CHANNEL_WOULD_BLOCK;
    }
    switch (pair->request.type) {
    case VMLOAD_RDMA_BLOCKS_REQUEST:
        ok = reply_blocks(pair, placement, buffer, error);
        break;
    case VMLOAD_RDMA_REGISTER_REQUEST:
        ok = reply_register(pair, buffer, error);
        break;
    default:
        /* What is open stays open: its key is told again if it is asked. */
        ok = vmload_rdma_conn_send(pair->main, VMLOAD_RDMA_UNREGISTER_FINISHED,
                                   0, pair->request.repeat, error);
        break;
    }
    pair->reply_due = false;
    vmload_rdma_conn_release(pair->main);
    return ok ? 1 : -1;
}

static bool serve_zero(VmloadRdmaPair *pair, const VmloadRdmaMessage *message,
                       GError **error)
{
    VmloadRdmaRange range;
    uint32_t i;

    for (i = 0; i < message->repeat; i++) {
        if (!vmload_rdma_get_range(message, i, &range, error) ||
            !vmload_rdma_memory_zero(pair->memory, &range, error)) {
            return false;
        }
    }
    return true;
}

/* One message. *@over: it was the round's last. */
static bool serve_message(VmloadRdmaPair *pair,
                          const VmloadRdmaMessage *message, bool *over,
                          GError **error)
{
    bool ok = true;

    if (message->type != VMLOAD_RDMA_BLOCKS_REQUEST && pair->memory == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "expected RDMA message RAM_BLOCKS_REQUEST first, "
                           "found %s", vmload_rdma_type_name(message->type));
    }
    switch (message->type) {
    case VMLOAD_RDMA_BLOCKS_REQUEST:
    case VMLOAD_RDMA_REGISTER_REQUEST:
    case VMLOAD_RDMA_UNREGISTER_REQUEST:
        pair->request = *message;
        pair->reply_due = true;
        return true;
    case VMLOAD_RDMA_COMPRESS:
        ok = serve_zero(pair, message, error);
        break;
    case VMLOAD_RDMA_REGISTER_FINISHED:
        *over = true;
        break;
    default:
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "expected an RDMA message about RAM, found %s",
                           vmload_rdma_type_name(message->type));
    }
    vmload_rdma_conn_release(pair->main);
    return ok;
}

int64_t vmload_rdma_serve(VmloadRdmaPair *pair,
                          const VmloadPlacement *placement, GError **error)
{
    VmloadRdmaMessage message;
    bool over = false;
    int64_t result;

    while (!over) {
        /* No credit between a request and its reply. */
        if (pair->reply_due) {
            result = serve_reply(pair, placement, error);
            if (result < 0) {
                return result;
            }
        }
        result = vmload_rdma_conn_receive(pair->main, &message, error);
        if (result == 0) {
            vmload_fail(error, VMLOAD_ERROR_TRUNCATED,
                        "expected RDMA messages up to REGISTER_FINISHED, "
                        "found that the source has left");
            return -1;
        }
        if (result < 0) {
            return result;
        }
        __atomic_fetch_add(&pair->counters->messages, 1, __ATOMIC_RELAXED);
        if (!serve_message(pair, &message, &over, error)) {
            return -1;
        }
    }
    return 1;
}

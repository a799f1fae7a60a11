/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The RAM side: between HOOK and REGISTER_FINISHED the source asks and we
 * answer (RDMA format, section 6). The pages themselves it writes without a
 * word; they are all there when REGISTER_FINISHED is.
 */
#include "pair.h"

#include "error.h"
#include "host/clock.h"

static void wake_reader(void *opaque)
{
    vmload_rdma_pair_wake(opaque, VMLOAD_RDMA_MAIN);
}

/*
 * The replies: as serve_reply(). What the source asks first; pin-all: opens
 * all memory.
 */
static int64_t reply_blocks(VmloadRdmaPair *pair,
                            const VmloadPlacement *placement, uint8_t *buffer,
                            GError **error)
{
    bool pinned = vmload_rdma_conn_is_pinned(pair->main);
    VmloadRdmaBlock block;
    int64_t result = 1;
    uint32_t i;

    if (pair->memory == NULL) {
        pair->memory = vmload_rdma_memory_new(
            vmload_rdma_conn_get_pd(pair->main), placement, pair->counters,
            pinned, wake_reader, pair, error);
    }
    if (pair->memory == NULL) {
        return -1;
    }
    if (pinned) {
        result = vmload_rdma_memory_pin(pair->memory, error);
    }
    if (result <= 0) {
        return result;
    }
    for (i = 0; i < placement->n_blocks; i++) {
        vmload_rdma_memory_describe(pair->memory, i, &block);
        vmload_rdma_put_block(buffer, i, &block);
    }
    return vmload_rdma_conn_send(pair->main, VMLOAD_RDMA_BLOCKS_RESULT,
                                 placement->n_blocks * VMLOAD_RDMA_BLOCK_SIZE,
                                 1, error)
               ? 1
               : -1;
}

/* Goes on where it had to wait. */
static int64_t reply_register(VmloadRdmaPair *pair, uint8_t *buffer,
                              GError **error)
{
    const VmloadRdmaMessage *request = &pair->request;
    VmloadRdmaRange range;
    int64_t result;
    uint64_t host;
    uint32_t key;

    for (; pair->replied < request->repeat; pair->replied++) {
        if (!vmload_rdma_get_range(request, pair->replied, &range, error)) {
            return -1;
        }
        result = vmload_rdma_memory_open(pair->memory, &range, &key, &host,
                                         error);
        if (result <= 0) {
            return result;
        }
        vmload_rdma_put_result(buffer, pair->replied, key, host);
    }
    return vmload_rdma_conn_send(pair->main, VMLOAD_RDMA_REGISTER_RESULT,
                                 request->repeat * VMLOAD_RDMA_RESULT_SIZE,
                                 request->repeat, error)
               ? 1
               : -1;
}

/*
 * 1: the reply is on its way; WOULD_BLOCK: the one before still is, or memory
 * is being opened; -1 with @error.
 */
static int64_t serve_reply(VmloadRdmaPair *pair,
                           const VmloadPlacement *placement, GError **error)
{
    uint32_t size;
    uint8_t *buffer = vmload_rdma_conn_get_buffer(pair->main, &size);
    int64_t result;

    if (buffer == NULL) {
        return VMLOAD_CHANNEL_WOULD_BLOCK;
    }
    switch (pair->request.type) {
    case VMLOAD_RDMA_BLOCKS_REQUEST:
        result = reply_blocks(pair, placement, buffer, error);
        break;
    case VMLOAD_RDMA_REGISTER_REQUEST:
        result = reply_register(pair, buffer, error);
        break;
    default:
        /* What is open stays open: its key is told again if it is asked. */
        result = vmload_rdma_conn_send(pair->main,
                                       VMLOAD_RDMA_UNREGISTER_FINISHED, 0,
                                       pair->request.repeat, error)
                     ? 1
                     : -1;
        break;
    }
    if (result == VMLOAD_CHANNEL_WOULD_BLOCK) {
        return result;
    }
    pair->reply_due = false;
    vmload_rdma_conn_release(pair->main);
    __atomic_fetch_add(&pair->counters->register_wait_ns,
                       vmload_clock_ns() - pair->asked_ns, __ATOMIC_RELAXED);
    return result;
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
        pair->replied = 0;
        pair->asked_ns = vmload_clock_ns();
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

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Control messages of RDMA, one an input: what is accepted has exactly the
 * bytes it says, every entry lies inside of them, and written again it is
 * the same message.
 */
#include "fuzz.h"

#include "channel/rdma/message.h"

#include <string.h>

static void check_entries(const VmloadRdmaMessage *message,
                          const uint8_t *end)
{
    bool compress = message->type == VMLOAD_RDMA_COMPRESS;
    uint32_t i;

    if (!compress && message->type != VMLOAD_RDMA_REGISTER_REQUEST &&
        message->type != VMLOAD_RDMA_UNREGISTER_REQUEST) {
        return;
    }
    FUZZ_CHECK(message->repeat >= 1);
    FUZZ_CHECK(message->data + (size_t)message->repeat * 24 == end);
    for (i = 0; i < message->repeat; i++) {
        GError *error = NULL;
        VmloadRdmaRange range;
        bool ok = vmload_rdma_get_range(message, i, &range, &error);

        FUZZ_CHECK(ok == (error == NULL));
        FUZZ_CHECK(ok || compress);
        g_clear_error(&error);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t header[VMLOAD_RDMA_HEADER];
    VmloadRdmaMessage message;
    GError *error = NULL;
    uint32_t flags;
    bool ok;

    if (size > VMLOAD_RDMA_MESSAGE_MAX) {
        return 0;
    }
    ok = vmload_rdma_message_parse(data, (uint32_t)size, &message, &error);
    FUZZ_CHECK(ok == (error == NULL));
    g_clear_error(&error);
    if (ok) {
        FUZZ_CHECK(message.length == size - VMLOAD_RDMA_HEADER);
        vmload_rdma_put_header(header, message.type, message.length,
                               message.repeat);
        /* But for the padding. */
        FUZZ_CHECK(memcmp(header, data, 12) == 0);
        check_entries(&message, data + size);
    }
    ok = vmload_rdma_private_parse(data, (uint32_t)size, &flags, &error);
    FUZZ_CHECK(ok == (error == NULL));
    g_clear_error(&error);
    return 0;
}

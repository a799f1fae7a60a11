/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The description and the decoder, both hostile: the input is JSON up to the
 * first NUL, and behind it the bytes of the devices. Each device is decoded
 * from the bytes that its description adds up to, and from all there are.
 */
#include "fuzz.h"

#include <vmload/vmdesc.h>

/* All of a node's bytes are covered by its children, in order. */
static void check_node(const VmloadNode *node)
{
    VmloadNodeKind kind = vmload_node_get_kind(node);
    uint64_t n = vmload_node_get_n_children(node);
    uint64_t end = vmload_node_get_offset(node);
    uint64_t length = 0;
    const uint8_t *bytes = vmload_node_get_bytes(node, &length);
    volatile uint8_t sum = 0;
    uint64_t i;

    for (i = 0; bytes != NULL && i < length; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    FUZZ_CHECK(bytes == NULL || kind == VMLOAD_NODE_BYTES ||
               kind == VMLOAD_NODE_STRING);
    FUZZ_CHECK(vmload_node_get_type(node)[0] != '\0');
    if (kind == VMLOAD_NODE_SUBSECTION) {
        end += 6 + strlen(vmload_node_get_name(node));
    } else if (kind != VMLOAD_NODE_STRUCT && kind != VMLOAD_NODE_ARRAY) {
        FUZZ_CHECK(n == 0);
        return;
    }
    for (i = 0; i < n; i++) {
        const VmloadNode *child = vmload_node_get_child(node, i);

        FUZZ_CHECK(vmload_node_get_offset(child) == end);
        end += vmload_node_get_size(child);
        FUZZ_CHECK(kind == VMLOAD_NODE_ARRAY ||
                   vmload_node_find(node, vmload_node_get_name(child)));
        check_node(child);
    }
    FUZZ_CHECK(end ==
               vmload_node_get_offset(node) + vmload_node_get_size(node));
}

static void decode(const VmloadVmdesc *vmdesc, uint64_t index,
                   const uint8_t *data, uint64_t length)
{
    GError *error = NULL;
    VmloadNode *root =
        vmload_vmdesc_decode(vmdesc, index, data, length, 0x1000, &error);

    FUZZ_CHECK((root == NULL) == (error != NULL));
    if (root != NULL) {
        FUZZ_CHECK(vmload_node_get_size(root) == length);
        check_node(root);
        vmload_node_free(root);
    }
    g_clear_error(&error);
}

static void decode_all(const VmloadVmdesc *vmdesc, const uint8_t *data,
                       uint64_t length)
{
    VmloadVmdescDevice device = {.struct_size = sizeof(device)};
    uint64_t n = vmload_vmdesc_get_n_devices(vmdesc);
    uint64_t i;

    for (i = 0; i < MIN(n, 64); i++) {
        uint64_t take;

        FUZZ_CHECK(vmload_vmdesc_get_device(vmdesc, i, &device));
        FUZZ_CHECK(vmload_vmdesc_find_device(vmdesc, device.name,
                                             device.instance_id,
                                             0) <= i);
        take = MIN(length, device.size);
        decode(vmdesc, i, data, take);
        decode(vmdesc, i, data, length);
        data += take;
        length -= take;
    }
    if (vmload_vmdesc_get_configuration(vmdesc) != VMLOAD_VMDESC_NONE) {
        decode(vmdesc, VMLOAD_VMDESC_CONFIGURATION, data, length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    uint64_t json = nul != NULL ? (uint64_t)(nul - data) : size;
    uint64_t start = nul != NULL ? json + 1 : size;
    VmloadLimits limits;
    VmloadVmdesc *vmdesc;
    GError *error = NULL;

    vmload_limits_init(&limits);
    /* Small, so that they are met. */
    limits.nesting = 8;
    limits.elements = 4096;
    limits.element_bytes = 1 << 20;
    vmdesc = vmload_vmdesc_new((const char *)data, json, &limits, &error);
    FUZZ_CHECK((vmdesc == NULL) == (error != NULL));
    if (vmdesc != NULL) {
        decode_all(vmdesc, data + start, size - start);
    }
    vmload_vmdesc_free(vmdesc);
    g_clear_error(&error);
    return 0;
}

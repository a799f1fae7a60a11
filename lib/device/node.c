/* SPDX-License-Identifier: BSD-3-Clause */
#include "node.h"

#include <string.h>

#include "vmdesc.h"

VmloadTree *vmload_tree_new(const VmloadVmdesc *vmdesc, const uint8_t *data,
                            uint64_t length, uint64_t limit)
{
    VmloadTree *tree;

    if (length > limit || length > G_MAXSIZE) {
        return NULL;
    }
    tree = g_try_new0(VmloadTree, 1);
    if (tree == NULL) {
        return NULL;
    }
    tree->data = g_try_malloc((gsize)MAX(length, 1));
    if (tree->data == NULL) {
        g_free(tree);
        return NULL;
    }
    if (length > 0) {
        memcpy(tree->data, data, (size_t)length);
    }
    vmload_arena_init(&tree->arena, limit - length);
    tree->vmdesc = vmload_vmdesc_ref(vmdesc);
    return tree;
}

void vmload_node_free(VmloadNode *node)
{
    VmloadTree *tree = (VmloadTree *)node;

    if (node == NULL) {
        return;
    }
    vmload_arena_clear(&tree->arena);
    vmload_vmdesc_free(tree->vmdesc);
    g_free(tree->data);
    g_free(tree);
}

static bool node_has_children(const VmloadNode *node)
{
    return node->kind == VMLOAD_NODE_STRUCT ||
           node->kind == VMLOAD_NODE_ARRAY ||
           node->kind == VMLOAD_NODE_SUBSECTION;
}

VmloadNodeKind vmload_node_get_kind(const VmloadNode *node)
{
    g_return_val_if_fail(node != NULL, VMLOAD_NODE_NULL);
    return (VmloadNodeKind)node->kind;
}

const char *vmload_node_get_name(const VmloadNode *node)
{
    g_return_val_if_fail(node != NULL, "");
    return node->name;
}

const char *vmload_node_get_type(const VmloadNode *node)
{
    g_return_val_if_fail(node != NULL, "");
    return node->type;
}

uint64_t vmload_node_get_offset(const VmloadNode *node)
{
    g_return_val_if_fail(node != NULL, 0);
    return node->offset;
}

uint64_t vmload_node_get_size(const VmloadNode *node)
{
    g_return_val_if_fail(node != NULL, 0);
    return node->size;
}

uint32_t vmload_node_get_version(const VmloadNode *node)
{
    g_return_val_if_fail(node != NULL, 0);
    return node->version;
}

uint64_t vmload_node_get_n_children(const VmloadNode *node)
{
    g_return_val_if_fail(node != NULL, 0);
    return node->n_children;
}

const VmloadNode *vmload_node_get_child(const VmloadNode *node, uint64_t index)
{
    g_return_val_if_fail(node != NULL, NULL);
    if (!node_has_children(node) || index >= node->n_children) {
        return NULL;
    }
    return &node->value.children[index];
}

const VmloadNode *vmload_node_find(const VmloadNode *node, const char *name)
{
    uint64_t i;

    g_return_val_if_fail(node != NULL && name != NULL, NULL);
    if (!node_has_children(node)) {
        return NULL;
    }
    for (i = 0; i < node->n_children; i++) {
        if (strcmp(node->value.children[i].name, name) == 0) {
            return &node->value.children[i];
        }
    }
    return NULL;
}

uint64_t vmload_node_get_uint(const VmloadNode *node)
{
    g_return_val_if_fail(node != NULL, 0);
    switch (node->kind) {
    case VMLOAD_NODE_BOOL:
    case VMLOAD_NODE_UINT:
    case VMLOAD_NODE_INT:
        return node->value.u;
    default:
        return 0;
    }
}

int64_t vmload_node_get_int(const VmloadNode *node)
{
    return (int64_t)vmload_node_get_uint(node);
}

double vmload_node_get_double(const VmloadNode *node)
{
    g_return_val_if_fail(node != NULL, 0.0);
    switch (node->kind) {
    case VMLOAD_NODE_DOUBLE:
        return node->value.d;
    case VMLOAD_NODE_INT:
        return (double)(int64_t)node->value.u;
    case VMLOAD_NODE_BOOL:
    case VMLOAD_NODE_UINT:
        return (double)node->value.u;
    default:
        return 0.0;
    }
}

const uint8_t *vmload_node_get_bytes(const VmloadNode *node, uint64_t *length)
{
    g_return_val_if_fail(node != NULL && length != NULL, NULL);
    if (node->kind == VMLOAD_NODE_BYTES) {
        *length = node->size;
        return node->value.bytes;
    }
    if (node->kind == VMLOAD_NODE_STRING) {
        /* The length byte of a str8 belongs to the node, not to the text. */
        *length = node->size - 1;
        return node->value.bytes;
    }
    *length = 0;
    return NULL;
}

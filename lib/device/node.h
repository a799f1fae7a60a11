/* SPDX-License-Identifier: BSD-3-Clause */
/* The nodes of a decoded tree. All of a tree is in one arena. */
#ifndef VMLOAD_NODE_H
#define VMLOAD_NODE_H

#include <vmload/vmdesc.h>
#include "device/arena.h"

struct VmloadNode {
    const char *name; /* in the vmdesc, or "" */
    const char *type; /* in the vmdesc */
    uint64_t offset;
    uint64_t size;
    union {
        uint64_t u;
        double d;
        const uint8_t *bytes;
        VmloadNode *children;
    } value;
    uint64_t n_children;
    uint32_t kind; /* VmloadNodeKind */
    uint32_t version;
};

/* What vmload_node_free() frees; the root is its first member. */
typedef struct {
    VmloadNode root;
    VmloadArena arena;
    VmloadVmdesc *vmdesc; /* a reference: names and types are in there */
    uint8_t *data;        /* a copy of the payload: bytes point into it */
} VmloadTree;

/*
 * A tree with a copy of @data and a reference to @vmdesc, which spends at
 * most @limit bytes on both the copy and the nodes. NULL if that does not
 * do, or there is no memory.
 */
VmloadTree *vmload_tree_new(const VmloadVmdesc *vmdesc, const uint8_t *data,
                            uint64_t length, uint64_t limit);

#endif

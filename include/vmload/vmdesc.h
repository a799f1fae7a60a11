/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file vmdesc.h
 * The JSON description at the end of a stream, and the decoder that turns a
 * device's bytes into a typed tree with it, without any device code.
 */
#ifndef VMLOAD_VMDESC_H
#define VMLOAD_VMDESC_H

#include <vmload/limits.h>

G_BEGIN_DECLS

/** VmloadVmdesc: opaque, immutable. Since: 0.1 */
typedef struct VmloadVmdesc VmloadVmdesc;
/** VmloadNode: opaque, immutable: one value of a decoded tree. Since: 0.1 */
typedef struct VmloadNode VmloadNode;

typedef enum {
    VMLOAD_NODE_STRUCT,     /* children, by name */
    VMLOAD_NODE_ARRAY,      /* children, by index */
    VMLOAD_NODE_SUBSECTION, /* a struct; name is the full subsection name */
    VMLOAD_NODE_BOOL,
    VMLOAD_NODE_UINT,
    VMLOAD_NODE_INT,
    VMLOAD_NODE_DOUBLE,
    VMLOAD_NODE_STRING,
    VMLOAD_NODE_BYTES,      /* buffers, bitmaps, opaque infos */
    VMLOAD_NODE_NULL,       /* a null pointer marker */
} VmloadNodeKind;

/* @limits (nullable): defaults. Needs the feature `vmdesc`, else UNSUPPORTED. */
VMLOAD_EXPORT VmloadVmdesc *vmload_vmdesc_new(const char *json,
                                              uint64_t length,
                                              const VmloadLimits *limits,
                                              GError **error);
VMLOAD_EXPORT void vmload_vmdesc_free(VmloadVmdesc *vmdesc);
VMLOAD_EXPORT uint64_t vmload_vmdesc_get_page_size(const VmloadVmdesc *vmdesc);

/* Devices in stream order. */
VMLOAD_EXPORT uint64_t vmload_vmdesc_get_n_devices(const VmloadVmdesc *vmdesc);
typedef struct {
    uint32_t struct_size;
    uint32_t instance_id;
    uint32_t version_id;  /* 0 for old-style sections */
    uint32_t has_version; /* 0 for old-style sections */
    uint64_t size;        /* bytes of payload the description adds up to */
    const char *name;     /* idstr, borrowed from the vmdesc */
} VmloadVmdescDevice;
/* Fills @device (struct_size set by the caller). */
VMLOAD_EXPORT bool vmload_vmdesc_get_device(const VmloadVmdesc *vmdesc,
                                            uint64_t index,
                                            VmloadVmdescDevice *device);

/*
 * Decodes the payload of the device at @index. Exactly @length bytes must be
 * consumed, else MALFORMED. @offset: stream offset of @data[0].
 */
VMLOAD_EXPORT VmloadNode *
vmload_vmdesc_decode(const VmloadVmdesc *vmdesc, uint64_t index,
                     const uint8_t *data, uint64_t length, uint64_t offset,
                     GError **error);

VMLOAD_EXPORT void vmload_node_free(VmloadNode *node); /* a root only */
VMLOAD_EXPORT VmloadNodeKind vmload_node_get_kind(const VmloadNode *node);
VMLOAD_EXPORT const char *vmload_node_get_name(const VmloadNode *node);
/* The description's type string ("uint32", "timer", "virtio", ...). */
VMLOAD_EXPORT const char *vmload_node_get_type(const VmloadNode *node);
VMLOAD_EXPORT uint64_t vmload_node_get_offset(const VmloadNode *node);
VMLOAD_EXPORT uint64_t vmload_node_get_size(const VmloadNode *node);
/* Version of a struct or subsection. */
VMLOAD_EXPORT uint32_t vmload_node_get_version(const VmloadNode *node);
VMLOAD_EXPORT uint64_t vmload_node_get_n_children(const VmloadNode *node);
VMLOAD_EXPORT const VmloadNode *vmload_node_get_child(const VmloadNode *node,
                                                      uint64_t index);
VMLOAD_EXPORT const VmloadNode *vmload_node_find(const VmloadNode *node,
                                                 const char *name);
VMLOAD_EXPORT uint64_t vmload_node_get_uint(const VmloadNode *node);
VMLOAD_EXPORT int64_t vmload_node_get_int(const VmloadNode *node);
VMLOAD_EXPORT double vmload_node_get_double(const VmloadNode *node);
VMLOAD_EXPORT const uint8_t *vmload_node_get_bytes(const VmloadNode *node,
                                                   uint64_t *length);

G_END_DECLS

#endif

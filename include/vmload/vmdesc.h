/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file vmdesc.h
 * The JSON description at the end of a stream, and the decoder that turns a
 * device's bytes into a typed tree with it, without any device code.
 *
 * Both the description and the bytes are taken for hostile. A description
 * of another run does not fit: subsections and arrays depend on the state of
 * the guest. docs/vmdesc.md tells what each type becomes.
 */
#ifndef VMLOAD_VMDESC_H
#define VMLOAD_VMDESC_H

#include <vmload/limits.h>

G_BEGIN_DECLS

/** VmloadVmdesc: opaque, immutable. Since: 0.1 */
typedef struct VmloadVmdesc VmloadVmdesc;
/** VmloadNode: opaque, immutable: one value of a decoded tree. Since: 0.1 */
typedef struct VmloadNode VmloadNode;

/** No such device. Since: 0.1 */
#define VMLOAD_VMDESC_NONE UINT64_MAX
/** The index of the configuration section's description. Since: 0.1 */
#define VMLOAD_VMDESC_CONFIGURATION (UINT64_MAX - 1)

/**
 * VmloadNodeKind:
 * @VMLOAD_NODE_STRUCT: fields, then subsections, as children with names.
 * @VMLOAD_NODE_ARRAY: elements as children without names, not always of one
 *     kind: an array of pointers may have null markers in it.
 * @VMLOAD_NODE_SUBSECTION: as STRUCT; the name is the full one.
 * @VMLOAD_NODE_BOOL: vmload_node_get_uint() is 0 or 1.
 * @VMLOAD_NODE_UINT: see vmload_node_get_uint().
 * @VMLOAD_NODE_INT: see vmload_node_get_int(); a timer that is not armed
 *     is -1.
 * @VMLOAD_NODE_DOUBLE: see vmload_node_get_double().
 * @VMLOAD_NODE_STRING: text, see vmload_node_get_bytes().
 * @VMLOAD_NODE_BYTES: buffers, bitmaps (big-endian 64-bit words), and
 *     everything whose type is opaque; see vmload_node_get_bytes().
 * @VMLOAD_NODE_NULL: a null pointer.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_NODE_STRUCT,
    VMLOAD_NODE_ARRAY,
    VMLOAD_NODE_SUBSECTION,
    VMLOAD_NODE_BOOL,
    VMLOAD_NODE_UINT,
    VMLOAD_NODE_INT,
    VMLOAD_NODE_DOUBLE,
    VMLOAD_NODE_STRING,
    VMLOAD_NODE_BYTES,
    VMLOAD_NODE_NULL,
} VmloadNodeKind;

/**
 * vmload_vmdesc_new:
 * @json: (array length=length): the text, UTF-8, not NUL-terminated; not
 *     kept.
 * @length: its bytes.
 * @limits: (nullable): bounds; NULL: the defaults. vmdesc_bytes, nesting,
 *     sections (devices), elements, and element_bytes, which bounds both the
 *     parser's memory and later each decoded tree.
 * @error: (nullable): where to put the error.
 *
 * Parses and checks a description.
 *
 * Return: (transfer full) (nullable): the description, to be freed with
 *     vmload_vmdesc_free(); NULL on error.
 * Errors: VMLOAD_ERROR_MALFORMED: no JSON, or not of the form of a
 *     description, or sizes that contradict types; VMLOAD_ERROR_LIMIT;
 *     VMLOAD_ERROR_UNSUPPORTED: built without the feature `vmdesc`.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadVmdesc *vmload_vmdesc_new(const char *json,
                                              uint64_t length,
                                              const VmloadLimits *limits,
                                              GError **error);

/**
 * vmload_vmdesc_free:
 * @vmdesc: (nullable) (transfer full): the description.
 *
 * Frees the description. Trees decoded with it stay good.
 *
 * Errors: none.
 * States: -. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_vmdesc_free(VmloadVmdesc *vmdesc);

/**
 * vmload_vmdesc_get_page_size:
 * @vmdesc: the description.
 *
 * Tells the target's page size.
 *
 * Return: bytes, as the source wrote it.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint64_t vmload_vmdesc_get_page_size(const VmloadVmdesc *vmdesc);

/**
 * vmload_vmdesc_get_n_devices:
 * @vmdesc: the description.
 *
 * Counts the devices: one for each FULL section of the stream.
 *
 * Return: how many.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint64_t vmload_vmdesc_get_n_devices(const VmloadVmdesc *vmdesc);

/**
 * VmloadVmdescDevice:
 * @struct_size: sizeof (VmloadVmdescDevice), set by the caller.
 * @instance_id: distinguishes equal @name.
 * @version_id: version of the payload's layout; 0 if @has_version is 0.
 * @has_version: 0: an old-style section, whose version is not described.
 * @size: bytes of payload that the description adds up to.
 * @name: the section's idstr, borrowed from the description.
 *
 * One device as described.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t instance_id;
    uint32_t version_id;
    uint32_t has_version;
    uint64_t size;
    const char *name;
} VmloadVmdescDevice;

/**
 * vmload_vmdesc_get_device:
 * @vmdesc: the description.
 * @index: 0 and up, in the order of the stream; or
 *     VMLOAD_VMDESC_CONFIGURATION.
 * @device: (inout): struct_size set by the caller; the rest is filled.
 *
 * Looks at one device.
 *
 * Return: true if @device was filled; false past the end.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_vmdesc_get_device(const VmloadVmdesc *vmdesc,
                                            uint64_t index,
                                            VmloadVmdescDevice *device);

/**
 * vmload_vmdesc_find_device:
 * @vmdesc: the description.
 * @name: the section's idstr.
 * @instance_id: its instance.
 * @nth: 0 and up: which one of several of the same name and instance.
 *
 * Finds a device by the head of its section.
 *
 * Return: its index, or VMLOAD_VMDESC_NONE.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint64_t vmload_vmdesc_find_device(const VmloadVmdesc *vmdesc,
                                                 const char *name,
                                                 uint32_t instance_id,
                                                 uint64_t nth);

/**
 * vmload_vmdesc_get_configuration:
 * @vmdesc: the description.
 *
 * Tells whether the configuration section is described, as sources from 8.2
 * on do.
 *
 * Return: VMLOAD_VMDESC_CONFIGURATION, an index for
 *     vmload_vmdesc_get_device() and vmload_vmdesc_decode(); or
 *     VMLOAD_VMDESC_NONE.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint64_t
vmload_vmdesc_get_configuration(const VmloadVmdesc *vmdesc);

/**
 * vmload_vmdesc_decode:
 * @vmdesc: the description.
 * @index: which device, or VMLOAD_VMDESC_CONFIGURATION.
 * @data: (array length=length): the section's payload; copied.
 * @length: its bytes; all of them must be consumed.
 * @offset: the stream offset of @data[0], for messages and
 *     vmload_node_get_offset().
 * @error: (nullable): where to put the error.
 *
 * Decodes a device's state.
 *
 * Return: (transfer full) (nullable): the tree's root, a STRUCT of the
 *     device's name, to be freed with vmload_node_free(); NULL on error.
 * Errors: VMLOAD_ERROR_MALFORMED: bytes and description do not agree; the
 *     message has offset, device and field; VMLOAD_ERROR_LIMIT;
 *     VMLOAD_ERROR_FAILED: no device at @index.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadNode *
vmload_vmdesc_decode(const VmloadVmdesc *vmdesc, uint64_t index,
                     const uint8_t *data, uint64_t length, uint64_t offset,
                     GError **error);

/**
 * vmload_node_free:
 * @node: (nullable) (transfer full): a root, as vmload_vmdesc_decode()
 *     returned it.
 *
 * Frees a tree with all its nodes, names and bytes.
 *
 * Errors: none.
 * States: -. Threads: owner. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT void vmload_node_free(VmloadNode *node);

/**
 * vmload_node_get_kind:
 * @node: the node.
 *
 * Tells what a node is.
 *
 * Return: its kind.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT VmloadNodeKind vmload_node_get_kind(const VmloadNode *node);

/**
 * vmload_node_get_name:
 * @node: the node.
 *
 * Tells the field's name: a C expression such as `channels[0].irq`, not to
 * be parsed. UTF-8 without control characters.
 *
 * Return: (transfer none): the name, good until the tree is freed; empty for
 *     elements of an array.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT const char *vmload_node_get_name(const VmloadNode *node);

/**
 * vmload_node_get_type:
 * @node: the node.
 *
 * Tells the description's type, such as `uint32`, `timer`, `virtio`; of an
 * array the one of its first element; `subsection` for a SUBSECTION.
 *
 * Return: (transfer none): the type, good until the tree is freed.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT const char *vmload_node_get_type(const VmloadNode *node);

/**
 * vmload_node_get_offset:
 * @node: the node.
 *
 * Tells where the node's first byte stands; of a SUBSECTION its marker.
 *
 * Return: bytes from the start of the stream.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint64_t vmload_node_get_offset(const VmloadNode *node);

/**
 * vmload_node_get_size:
 * @node: the node.
 *
 * Tells how much of the stream the node takes, all below it included.
 *
 * Return: bytes.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint64_t vmload_node_get_size(const VmloadNode *node);

/**
 * vmload_node_get_version:
 * @node: the node.
 *
 * Tells the version of a STRUCT or a SUBSECTION.
 *
 * Return: the version; 0 for other kinds and for old-style sections.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint32_t vmload_node_get_version(const VmloadNode *node);

/**
 * vmload_node_get_n_children:
 * @node: the node.
 *
 * Counts the children of a STRUCT, ARRAY or SUBSECTION.
 *
 * Return: how many; 0 for other kinds.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint64_t vmload_node_get_n_children(const VmloadNode *node);

/**
 * vmload_node_get_child:
 * @node: the node.
 * @index: 0 and up, in the order of the stream.
 *
 * Looks at one child.
 *
 * Return: (transfer none) (nullable): the child, good until the tree is
 *     freed; NULL past the end.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT const VmloadNode *vmload_node_get_child(const VmloadNode *node,
                                                      uint64_t index);

/**
 * vmload_node_find:
 * @node: the node.
 * @name: a child's whole name.
 *
 * Looks for a child, not deeper.
 *
 * Return: (transfer none) (nullable): the first of this name, good until the
 *     tree is freed; NULL if there is none.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT const VmloadNode *vmload_node_find(const VmloadNode *node,
                                                 const char *name);

/**
 * vmload_node_get_uint:
 * @node: the node.
 *
 * Tells the value of a UINT or BOOL; of an INT its two's complement.
 *
 * Return: the value; 0 for other kinds.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT uint64_t vmload_node_get_uint(const VmloadNode *node);

/**
 * vmload_node_get_int:
 * @node: the node.
 *
 * Tells the value of an INT or BOOL; a UINT above INT64_MAX comes out
 * negative.
 *
 * Return: the value; 0 for other kinds.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT int64_t vmload_node_get_int(const VmloadNode *node);

/**
 * vmload_node_get_double:
 * @node: the node.
 *
 * Tells the value of a DOUBLE, or of an INT, UINT or BOOL as one.
 *
 * Return: the value, any bit pattern, NaN included; 0 for other kinds.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT double vmload_node_get_double(const VmloadNode *node);

/**
 * vmload_node_get_bytes:
 * @node: the node.
 * @length: (out): how many bytes.
 *
 * Shows the bytes of a BYTES or a STRING, which has no NUL behind it and
 * may hold any byte.
 *
 * Return: (transfer none) (nullable) (array length=length): the bytes, good
 *     until the tree is freed; NULL for other kinds.
 * Errors: none.
 * States: -. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT const uint8_t *vmload_node_get_bytes(const VmloadNode *node,
                                                   uint64_t *length);

G_END_DECLS

#endif

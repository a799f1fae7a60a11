/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's bytes to a typed tree, by the description alone (vmstate
 * format, section 6.1). Every step is bounded by the bytes that are there
 * and by the memory that a tree may take.
 */
#include "node.h"
#include "vmdesc.h"

#include <string.h>

#include "error.h"

#define MARKER_NULL 0x30
#define MARKER_PRESENT 0x31
#define SUBSECTION_MARKER 0x05
#define NO_INDEX UINT64_MAX

typedef struct {
    const VmloadDescDevice *device;
    VmloadTree *tree;
    const uint8_t *data;
    uint64_t length;
    uint64_t pos;
    uint64_t offset; /* of data[0] in the stream */
} Decode;

/* Where in the tree we are, innermost first, for messages. */
typedef struct Path {
    const struct Path *up;
    const char *name;
    uint64_t index;
} Path;

static bool decode_body(Decode *decode, const VmloadDescBody *body,
                        const Path *path, VmloadNode *node, GError **error);

static void path_append(GString *text, const Path *path)
{
    if (path->up != NULL) {
        path_append(text, path->up);
        g_string_append_c(text, '.');
    }
    g_string_append(text, path->name);
    if (path->index != NO_INDEX) {
        g_string_append_printf(text, "[%" G_GUINT64_FORMAT "]", path->index);
    }
}

static bool decode_fail(const Decode *decode, const Path *path,
                        GError **error, VmloadError code, const char *format,
                        ...) G_GNUC_PRINTF(5, 6);

static bool decode_fail(const Decode *decode, const Path *path,
                        GError **error, VmloadError code, const char *format,
                        ...)
{
    GString *text = g_string_new(NULL);
    va_list args;

    g_string_printf(text, "offset 0x%" G_GINT64_MODIFIER "x: device '%s'/%u: ",
                    decode->offset + decode->pos, decode->device->name,
                    decode->device->instance_id);
    if (path != NULL) {
        g_string_append(text, "field '");
        path_append(text, path);
        g_string_append(text, "': ");
    }
    va_start(args, format);
    g_string_append_vprintf(text, format, args);
    va_end(args);
    vmload_fail(error, code, "%s", text->str);
    g_string_free(text, TRUE);
    return false;
}

static VmloadNode *decode_new_nodes(Decode *decode, uint64_t n,
                                    const Path *path, GError **error)
{
    VmloadNode *nodes =
        vmload_arena_alloc(&decode->tree->arena, n, sizeof(nodes[0]));

    if (nodes == NULL) {
        decode_fail(decode, path, error, VMLOAD_ERROR_LIMIT,
                    "needs more memory than the limit 'element-bytes'");
    }
    return nodes;
}

/* The next @length bytes. */
static bool decode_take(Decode *decode, uint64_t length, const Path *path,
                        const uint8_t **data, GError **error)
{
    if (length > decode->length - decode->pos) {
        decode_fail(decode, path, error, VMLOAD_ERROR_MALFORMED,
                    "expected %" G_GUINT64_FORMAT
                    " bytes, found %" G_GUINT64_FORMAT,
                    length, decode->length - decode->pos);
        return false;
    }
    *data = decode->data + decode->pos;
    decode->pos += length;
    return true;
}

static uint64_t load_be(const uint8_t *data, uint64_t size)
{
    uint64_t value = 0;
    uint64_t i;

    for (i = 0; i < size; i++) {
        value = value << 8 | data[i];
    }
    return value;
}

static void node_set_int(VmloadNode *node, const uint8_t *data, uint64_t size)
{
    uint64_t value = load_be(data, size);
    unsigned int unused = (unsigned int)(8 * (8 - size));

    node->kind = VMLOAD_NODE_INT;
    node->value.u = (uint64_t)((int64_t)(value << unused) >> unused);
}

static void node_set_double(VmloadNode *node, const uint8_t *data)
{
    uint64_t bits = load_be(data, 8);

    node->kind = VMLOAD_NODE_DOUBLE;
    memcpy(&node->value.d, &bits, sizeof(bits));
}

static void node_set_marker(VmloadNode *node, uint8_t marker)
{
    if (marker == MARKER_NULL) {
        node->kind = VMLOAD_NODE_NULL;
    } else {
        node->kind = VMLOAD_NODE_BOOL;
        node->value.u = 1;
    }
}

/* A value whose size the description knows. */
static bool decode_value(Decode *decode, const VmloadDescField *field,
                         const Path *path, VmloadNode *node, GError **error)
{
    uint64_t start = decode->pos;
    const uint8_t *data = NULL;

    if (!decode_take(decode, field->size, path, &data, error)) {
        return false;
    }
    switch (field->kind) {
    case VMLOAD_DESC_BOOL:
        node->kind = VMLOAD_NODE_BOOL;
        node->value.u = data[0] != 0;
        break;
    case VMLOAD_DESC_UINT:
        node->kind = VMLOAD_NODE_UINT;
        node->value.u = load_be(data, field->size);
        break;
    case VMLOAD_DESC_INT:
        node_set_int(node, data, field->size);
        break;
    case VMLOAD_DESC_DOUBLE:
        node_set_double(node, data);
        break;
    case VMLOAD_DESC_NULL:
    case VMLOAD_DESC_MARKER:
        if (data[0] != MARKER_NULL && (field->kind == VMLOAD_DESC_NULL ||
                                       data[0] != MARKER_PRESENT)) {
            decode->pos = start;
            return decode_fail(decode, path, error, VMLOAD_ERROR_MALFORMED,
                               "type '%s': expected marker 0x30%s, found "
                               "0x%02x",
                               field->type,
                               field->kind == VMLOAD_DESC_NULL ? ""
                                                               : " or 0x31",
                               data[0]);
        }
        node_set_marker(node, data[0]);
        break;
    default:
        node->kind = VMLOAD_NODE_BYTES;
        node->value.bytes = data;
        break;
    }
    return true;
}

/* A str8. Sizes in the description are those of the first one only. */
static bool decode_capability(Decode *decode, const Path *path,
                              VmloadNode *node, GError **error)
{
    const uint8_t *data = NULL;
    uint64_t length;

    if (!decode_take(decode, 1, path, &data, error)) {
        return false;
    }
    length = data[0];
    if (!decode_take(decode, length, path, &data, error)) {
        return false;
    }
    node->kind = VMLOAD_NODE_STRING;
    node->value.bytes = data;
    return true;
}

static bool decode_element(Decode *decode, const VmloadDescField *field,
                           const Path *path, VmloadNode *node, GError **error)
{
    uint64_t start = decode->pos;
    uint64_t consumed;

    node->type = field->type;
    node->offset = decode->offset + start;
    if (field->kind == VMLOAD_DESC_CAPABILITY) {
        if (!decode_capability(decode, path, node, error)) {
            return false;
        }
    } else if (field->body != NULL) {
        node->kind = VMLOAD_NODE_STRUCT;
        if (!decode_body(decode, field->body, path, node, error)) {
            return false;
        }
    } else if (!decode_value(decode, field, path, node, error)) {
        return false;
    }
    consumed = decode->pos - start;
    /*
     * A compressed array whose elements differ in size shows here: its
     * description holds for the first one only.
     */
    if (field->kind == VMLOAD_DESC_STRUCT && consumed != field->size) {
        return decode_fail(decode, path, error, VMLOAD_ERROR_MALFORMED,
                           "its description adds up to %" G_GUINT64_FORMAT
                           " bytes, expected its size of %" G_GUINT64_FORMAT,
                           consumed, field->size);
    }
    node->size = consumed;
    return true;
}

/*
 * Entries from @first on that are elements of one array: equal names, next
 * to each other. Sources list the elements of an uncompressed array one by
 * one, some with an index and some without.
 */
static uint64_t group_end(const VmloadDescBody *body, uint64_t first)
{
    uint64_t end = first + 1;

    while (end < body->n_fields &&
           strcmp(body->fields[end].name, body->fields[first].name) == 0) {
        end++;
    }
    return end;
}

static bool decode_array(Decode *decode, const VmloadDescField *field,
                         const VmloadDescField *end, const Path *up,
                         VmloadNode *node, GError **error)
{
    Path path = {up, field->name, 0};
    const VmloadDescField *entry;
    uint64_t start = decode->pos;
    uint64_t count = 0;
    uint64_t i;

    for (entry = field; entry < end; entry++) {
        if (entry->count > UINT64_MAX - count) {
            return decode_fail(decode, &path, error, VMLOAD_ERROR_LIMIT,
                               "more than 2^64 elements");
        }
        count += entry->count;
    }
    node->kind = VMLOAD_NODE_ARRAY;
    node->type = field->type;
    node->offset = decode->offset + start;
    node->n_children = count;
    node->value.children = decode_new_nodes(decode, count, &path, error);
    if (node->value.children == NULL) {
        return false;
    }
    for (entry = field; entry < end; entry++) {
        for (i = 0; i < entry->count; i++, path.index++) {
            VmloadNode *child = &node->value.children[path.index];

            child->name = "";
            if (!decode_element(decode, entry, &path, child, error)) {
                return false;
            }
        }
    }
    node->size = decode->pos - start;
    return true;
}

static bool decode_field(Decode *decode, const VmloadDescField *field,
                         const VmloadDescField *end, const Path *up,
                         VmloadNode *node, GError **error)
{
    Path path = {up, field->name, NO_INDEX};

    node->name = field->name;
    if (end - field > 1 || field->is_array) {
        return decode_array(decode, field, end, up, node, error);
    }
    return decode_element(decode, field, &path, node, error);
}

static bool decode_subsection(Decode *decode, const VmloadDescBody *body,
                              const Path *up, VmloadNode *node, GError **error)
{
    Path path = {up, body->name, NO_INDEX};
    uint64_t start = decode->pos;
    uint64_t length = strlen(body->name);
    const uint8_t *data = NULL;
    uint32_t version;

    if (!decode_take(decode, 6 + length, &path, &data, error)) {
        return false;
    }
    if (data[0] != SUBSECTION_MARKER || data[1] != length ||
        memcmp(data + 2, body->name, (size_t)length) != 0) {
        decode->pos = start;
        return decode_fail(decode, &path, error, VMLOAD_ERROR_MALFORMED,
                           "expected the head of a subsection of this name, "
                           "found 0x%02x 0x%02x and another name",
                           data[0], data[1]);
    }
    version = (uint32_t)load_be(data + 2 + length, 4);
    if (version != body->version) {
        decode->pos = start;
        return decode_fail(decode, &path, error, VMLOAD_ERROR_MALFORMED,
                           "expected subsection version %u, found %u",
                           body->version, version);
    }
    node->name = body->name;
    node->type = "subsection";
    node->kind = VMLOAD_NODE_SUBSECTION;
    node->offset = decode->offset + start;
    if (!decode_body(decode, body, &path, node, error)) {
        return false;
    }
    node->size = decode->pos - start;
    return true;
}

/* Fills children and version of @node. */
static bool decode_body(Decode *decode, const VmloadDescBody *body,
                        const Path *path, VmloadNode *node, GError **error)
{
    uint64_t n = 0;
    uint64_t i;
    VmloadNode *child;

    for (i = 0; i < body->n_fields; i = group_end(body, i)) {
        n++;
    }
    child = decode_new_nodes(decode, n + body->n_subsections, path, error);
    if (child == NULL) {
        return false;
    }
    node->version = body->version;
    node->n_children = n + body->n_subsections;
    node->value.children = child;
    for (i = 0; i < body->n_fields; child++) {
        uint64_t end = group_end(body, i);

        if (!decode_field(decode, &body->fields[i], &body->fields[end], path,
                          child, error)) {
            return false;
        }
        i = end;
    }
    for (i = 0; i < body->n_subsections; i++, child++) {
        if (!decode_subsection(decode, &body->subsections[i], path, child,
                               error)) {
            return false;
        }
    }
    return true;
}

static bool decode_device(Decode *decode, GError **error)
{
    VmloadNode *root = &decode->tree->root;

    root->name = decode->device->name;
    root->type = "struct";
    root->kind = VMLOAD_NODE_STRUCT;
    root->offset = decode->offset;
    root->size = decode->length;
    if (!decode_body(decode, &decode->device->body, NULL, root, error)) {
        return false;
    }
    if (decode->pos != decode->length) {
        return decode_fail(decode, NULL, error, VMLOAD_ERROR_MALFORMED,
                           "expected %" G_GUINT64_FORMAT
                           " bytes as described, found %" G_GUINT64_FORMAT,
                           decode->pos, decode->length);
    }
    return true;
}

VmloadNode *vmload_vmdesc_decode(const VmloadVmdesc *vmdesc, uint64_t index,
                                 const uint8_t *data, uint64_t length,
                                 uint64_t offset, GError **error)
{
    Decode decode = {NULL, NULL, NULL, length, 0, offset};

    g_return_val_if_fail(vmdesc != NULL, NULL);
    g_return_val_if_fail(data != NULL || length == 0, NULL);
    decode.device = vmload_vmdesc_lookup(vmdesc, index);
    if (decode.device == NULL) {
        vmload_fail(error, VMLOAD_ERROR_FAILED,
                    "vmdesc: expected a device index below %" G_GUINT64_FORMAT
                    ", found %" G_GUINT64_FORMAT,
                    vmdesc->n_devices, index);
        return NULL;
    }
    decode.tree =
        vmload_tree_new(vmdesc, data, length, vmdesc->element_bytes);
    if (decode.tree == NULL) {
        decode_fail(&decode, NULL, error, VMLOAD_ERROR_LIMIT,
                    "%" G_GUINT64_FORMAT " bytes, the limit 'element-bytes' "
                    "is %" G_GUINT64_FORMAT,
                    length, vmdesc->element_bytes);
        return NULL;
    }
    decode.data = decode.tree->data;
    if (!decode_device(&decode, error)) {
        vmload_node_free(&decode.tree->root);
        return NULL;
    }
    return &decode.tree->root;
}

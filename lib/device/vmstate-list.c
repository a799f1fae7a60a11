/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fields whose elements are not in the object: lists, trees, temporaries
 * (vmstate format, section 2). Their bodies are loaded at the version of the
 * field, not of their description.
 */
#include "device/vmstate-shadow.h"

#include <string.h>

/* Whether another element follows; at most @max of them may. */
static bool load_more(VmloadStateLoad *load, uint64_t index, uint64_t max,
                      bool *more, GError **error)
{
    uint8_t byte;

    if (!vmload_reader_get_u8(load->reader, &byte, error)) {
        return false;
    }
    /* Sources send 1; receivers have always taken any other byte too. */
    *more = byte != 0;
    if (*more && index >= max) {
        return vmload_reader_error(load->reader, error, VMLOAD_ERROR_LIMIT,
                                   "limit elements: expected at most %"
                                   G_GUINT64_FORMAT ", found more", max);
    }
    return true;
}

static bool list_insert(VmloadStateLoad *load, const VmloadField *field,
                        void *list, void *element,
                        const VmloadStatePlace *place, GError **error)
{
    GError *local = NULL;
    VmloadFieldOps ops;

    if (load->shadow != NULL) {
        return vmload_state_shadow_insert(load, field, list, element, place,
                                          error);
    }
    vmload_state_fetch_ops(field->ops, &ops);
    if (ops.insert(ops.opaque, list, element, &local)) {
        return true;
    }
    return vmload_state_refused(load, "insert", field->name, local, error);
}

static bool list_element(VmloadStateLoad *load, const VmloadField *field,
                         void *list, const VmloadStatePlace *place,
                         GError **error)
{
    void *element = vmload_state_alloc(load, field->size, error);
    uint32_t mark = vmload_state_mark(load);
    void *target;

    if (element == NULL) {
        vmload_state_note_place(load, place);
        return false;
    }
    if (vmload_state_enter(load, element, &target, error) &&
        vmload_state_body(load, field->desc, target, field->version_id, place,
                          error) &&
        list_insert(load, field, list, element, place, error)) {
        vmload_state_leave(load, mark);
        return true;
    }
    vmload_state_note_place(load, place);
    vmload_state_element_free(load, field, element);
    return false;
}

bool vmload_state_list(VmloadStateLoad *load, const VmloadField *field,
                       void *list, const VmloadStatePlace *place,
                       GError **error)
{
    VmloadStatePlace here = {place, NULL, 0, true};
    bool more;

    for (;; here.index++) {
        if (!load_more(load, here.index, load->elements, &more, error)) {
            return false;
        }
        if (!more) {
            return true;
        }
        if (!list_element(load, field, list, &here, error)) {
            return false;
        }
    }
}

static bool tree_insert(VmloadStateLoad *load, const VmloadField *field,
                        void *tree, void *key, uint64_t direct_key,
                        void *value, const VmloadStatePlace *place,
                        GError **error)
{
    GError *local = NULL;
    VmloadFieldOps ops;

    if (load->shadow != NULL) {
        return vmload_state_shadow_insert_pair(load, field, tree, key,
                                               direct_key, value, place,
                                               error);
    }
    vmload_state_fetch_ops(field->ops, &ops);
    if (ops.insert_pair(ops.opaque, tree, key, direct_key, value, &local)) {
        return true;
    }
    return vmload_state_refused(load, "insert_pair", field->name, local,
                                error);
}

static void tree_key_free(const VmloadStateLoad *load,
                          const VmloadField *field, void *key)
{
    VmloadFieldOps ops;

    if (load->shadow != NULL) {
        return;
    }
    vmload_state_fetch_ops(field->ops, &ops);
    if (key != NULL && ops.key_free != NULL) {
        ops.key_free(ops.opaque, key);
    } else {
        g_free(key);
    }
}

/* A key: be64, or a body of its own; *@key is to be freed also on failure. */
static bool tree_key(VmloadStateLoad *load, const VmloadField *field,
                     void **key, uint64_t *direct_key,
                     const VmloadStatePlace *up, GError **error)
{
    VmloadStatePlace place = {up, "key", 0, false};
    uint32_t mark = vmload_state_mark(load);
    void *target;
    bool ok;

    if (field->key_desc == NULL) {
        ok = vmload_reader_get_be64(load->reader, direct_key, error);
    } else {
        *key = vmload_state_alloc(load, field->key_size, error);
        ok = *key != NULL &&
             vmload_state_enter(load, *key, &target, error) &&
             vmload_state_body(load, field->key_desc, target,
                               field->version_id, &place, error);
    }
    vmload_state_leave(load, mark);
    if (!ok) {
        vmload_state_note_place(load, &place);
    }
    return ok;
}

static bool tree_node(VmloadStateLoad *load, const VmloadField *field,
                      void *tree, const VmloadStatePlace *place,
                      GError **error)
{
    uint32_t mark = vmload_state_mark(load);
    uint64_t direct_key = 0;
    void *value = NULL;
    void *key = NULL;
    void *target;

    if (tree_key(load, field, &key, &direct_key, place, error)) {
        value = vmload_state_alloc(load, field->size, error);
    }
    if (value != NULL && vmload_state_enter(load, value, &target, error) &&
        vmload_state_body(load, field->desc, target, field->version_id, place,
                          error) &&
        tree_insert(load, field, tree, key, direct_key, value, place,
                    error)) {
        vmload_state_leave(load, mark);
        return true;
    }
    vmload_state_note_place(load, place);
    vmload_state_element_free(load, field, value);
    tree_key_free(load, field, key);
    return false;
}

bool vmload_state_tree(VmloadStateLoad *load, const VmloadField *field,
                       void *tree, const VmloadStatePlace *place,
                       GError **error)
{
    VmloadStatePlace here = {place, NULL, 0, true};
    uint32_t count;
    bool more;

    if (!vmload_reader_get_be32(load->reader, &count, error)) {
        return false;
    }
    if (count > load->elements) {
        return vmload_reader_error(
            load->reader, error, VMLOAD_ERROR_LIMIT,
            "limit elements: expected at most %" G_GUINT64_FORMAT
            ", found %u", load->elements, count);
    }
    for (;; here.index++) {
        if (!load_more(load, here.index, UINT64_MAX, &more, error)) {
            return false;
        }
        if (more ? here.index >= count : here.index != count) {
            return vmload_reader_error(
                load->reader, error, VMLOAD_ERROR_MALFORMED,
                "expected %u nodes, found %s%" G_GUINT64_FORMAT, count,
                more ? "more than " : "", here.index);
        }
        if (!more) {
            return true;
        }
        if (!tree_node(load, field, tree, &here, error)) {
            return false;
        }
    }
}

bool vmload_state_tmp(VmloadStateLoad *load, const VmloadField *field,
                      void *object, const VmloadStatePlace *place,
                      GError **error)
{
    void *tmp = vmload_state_alloc(load, field->size, error);
    uint32_t mark = vmload_state_mark(load);
    void *target;
    bool ok;

    if (tmp == NULL || !vmload_state_enter(load, tmp, &target, error)) {
        return false;
    }
    memcpy(target, &object, sizeof(object));
    if (load->shadow != NULL) {
        void *live = vmload_state_shadow_live(load, object);

        memcpy(tmp, &live, sizeof(live));
    }
    ok = vmload_state_body(load, field->desc, target, field->version_id,
                           place, error) &&
         (load->shadow == NULL ||
          vmload_state_shadow_drop(load, field, tmp, error));
    vmload_state_leave(load, mark);
    vmload_state_element_free(load, field, tmp);
    load->bytes_left += field->size;
    return ok;
}

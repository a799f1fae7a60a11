/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a description can be decoded apart from its object: all that it
 * names must lie in the memory that gets a twin, and all that it calls must
 * be told apart from the reading.
 */
#include "device/vmstate-shadow.h"

#include "error.h"

static bool object_needs(const VmloadStateDesc *desc, uint64_t *bytes,
                         GError **error);

static bool bad_field(GError **error, const VmloadStateDesc *desc,
                      const VmloadField *field, const char *what)
{
    return vmload_fail(error, VMLOAD_ERROR_FAILED,
                       "description '%s': field '%s': %s for "
                       "VMLOAD_LOCK_APPLY", desc->name, field->name, what);
}

/* Bytes of one element behind a pointer; inline elements may overlap more. */
static bool element_needs(const VmloadStateDesc *desc,
                          const VmloadField *field, uint64_t *bytes,
                          GError **error)
{
    uint64_t below = 0;

    *bytes = field->size;
    switch (field->kind) {
    case VMLOAD_FIELD_KIND_CUSTOM:
        return bad_field(error, desc, field,
                         "expected no CUSTOM, whose get is not known to "
                         "leave the object alone,");
    case VMLOAD_FIELD_KIND_STRUCT:
    case VMLOAD_FIELD_KIND_VSTRUCT:
        if (!object_needs(field->desc, &below, error)) {
            return false;
        }
        *bytes = MAX(*bytes, below);
        return true;
    case VMLOAD_FIELD_KIND_LIST:
    case VMLOAD_FIELD_KIND_TREE:
    case VMLOAD_FIELD_KIND_TMP:
        /* Elements are memory of their own; a head is here. */
        *bytes = field->kind == VMLOAD_FIELD_KIND_TMP ? 0 : 1;
        return object_needs(field->desc, &below, error) &&
               (below <= field->size ||
                bad_field(error, desc, field,
                          "expected a size that holds its description"));
    case VMLOAD_FIELD_KIND_UNUSED:
    case VMLOAD_FIELD_KIND_VALIDATE:
        *bytes = 0;
        return true;
    default:
        return true;
    }
}

static bool key_fits(const VmloadStateDesc *desc, const VmloadField *field,
                     GError **error)
{
    uint64_t below;

    if (field->kind != VMLOAD_FIELD_KIND_TREE || field->key_desc == NULL) {
        return true;
    }
    return object_needs(field->key_desc, &below, error) &&
           (below <= field->key_size ||
            bad_field(error, desc, field,
                      "expected a key_size that holds its description"));
}

/* Where in the object a field's last byte is. */
static bool field_needs(const VmloadStateDesc *desc, const VmloadField *field,
                        uint64_t *end, GError **error)
{
    uint64_t element;
    uint64_t stride = field->size;
    uint64_t bytes;
    uint64_t n = field->count;

    if (!element_needs(desc, field, &element, error) ||
        !key_fits(desc, field, error)) {
        return false;
    }
    if (field->count_type != VMLOAD_COUNT_CONSTANT) {
        n = field->capacity;
        *end = MAX(*end, field->count_offset + vmload_state_count_width(field));
    }
    if (field->flags & (VMLOAD_FIELD_POINTER | VMLOAD_FIELD_POINTER_ARRAY)) {
        if (element > field->size) {
            return bad_field(error, desc, field,
                             "expected a size that holds its description");
        }
        element = stride = sizeof(void *);
    }
    if (field->flags & VMLOAD_FIELD_POINTER) {
        n = 1;
    } else if (field->kind == VMLOAD_FIELD_KIND_BITMAP) {
        n = vmload_state_bitmap_bytes(n) / sizeof(unsigned long);
    }
    if (element == 0 || n == 0) {
        return true;
    }
    if (!vmload_state_multiply(n - 1, stride, &bytes) ||
        bytes > G_MAXSSIZE - element ||
        field->offset > G_MAXSSIZE - element - bytes) {
        return bad_field(error, desc, field, "expected less memory");
    }
    *end = MAX(*end, field->offset + bytes + element);
    return true;
}

/* Bytes that an object of @desc has at least. */
static bool object_needs(const VmloadStateDesc *desc, uint64_t *bytes,
                         GError **error)
{
    VmloadField field;
    uint64_t below;
    uint64_t i;

    *bytes = 0;
    for (i = 0; vmload_state_fetch_field(desc, i, &field); i++) {
        if (!field_needs(desc, &field, bytes, error)) {
            return false;
        }
    }
    for (i = 0; desc->subsections != NULL && desc->subsections[i] != NULL;
         i++) {
        if (!object_needs(desc->subsections[i], &below, error)) {
            return false;
        }
        *bytes = MAX(*bytes, below);
    }
    return true;
}

bool vmload_state_shadow_check(const VmloadStateDesc *desc,
                               uint64_t object_size, GError **error)
{
    uint64_t bytes;

    if (!object_needs(desc, &bytes, error)) {
        return false;
    }
    if (bytes > object_size) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "description '%s': expected an object of %"
                           G_GUINT64_FORMAT " bytes or more, found %"
                           G_GUINT64_FORMAT, desc->name, bytes, object_size);
    }
    return true;
}

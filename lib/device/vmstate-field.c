/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One field (vmstate format, section 1.3): how many elements, where they
 * are, what each one is.
 */
#include "device/vmstate-shadow.h"

#include <string.h>

/* The count member's value. False if it is negative, with *@value set. */
static bool count_member(const VmloadField *field, const void *object,
                         int64_t *value)
{
    const uint8_t *member = (const uint8_t *)object + field->count_offset;
    int32_t i32;
    uint32_t u32;
    uint16_t u16;

    switch (field->count_type) {
    case VMLOAD_COUNT_I32:
        memcpy(&i32, member, sizeof(i32));
        *value = i32;
        break;
    case VMLOAD_COUNT_U32:
        memcpy(&u32, member, sizeof(u32));
        *value = u32;
        break;
    case VMLOAD_COUNT_U16:
        memcpy(&u16, member, sizeof(u16));
        *value = u16;
        break;
    default:
        *value = *member;
        break;
    }
    return *value >= 0;
}

uint64_t vmload_state_count_width(const VmloadField *field)
{
    switch (field->count_type) {
    case VMLOAD_COUNT_U16:
        return sizeof(uint16_t);
    case VMLOAD_COUNT_U8:
        return sizeof(uint8_t);
    default:
        return sizeof(uint32_t);
    }
}

/* The bound of a count that came from the stream. */
static bool check_count(VmloadStateLoad *load, const VmloadField *field,
                        uint64_t n, GError **error)
{
    uint64_t elements = n;

    if (field->capacity != 0 && n > field->capacity) {
        return vmload_reader_error(
            load->reader, error, VMLOAD_ERROR_MALFORMED,
            "expected at most %" G_GUINT64_FORMAT " elements, found %"
            G_GUINT64_FORMAT, field->capacity, n);
    }
    if (field->kind == VMLOAD_FIELD_KIND_BUFFER ||
        field->kind == VMLOAD_FIELD_KIND_UNUSED) {
        /* Bytes: bounded by their room, or by what may be allocated. */
        return true;
    }
    if (field->kind == VMLOAD_FIELD_KIND_BITMAP) {
        elements = n / 64;
    }
    if (elements > load->elements) {
        return vmload_reader_error(
            load->reader, error, VMLOAD_ERROR_LIMIT,
            "limit elements: expected at most %" G_GUINT64_FORMAT
            ", found %" G_GUINT64_FORMAT, load->elements, elements);
    }
    return true;
}

static bool field_count(VmloadStateLoad *load, const VmloadField *field,
                        const void *object, uint64_t *n, GError **error)
{
    int64_t value;

    if (field->count_type == VMLOAD_COUNT_CONSTANT) {
        *n = field->count;
        return true;
    }
    if (!count_member(field, object, &value)) {
        return vmload_reader_error(
            load->reader, error, VMLOAD_ERROR_MALFORMED,
            "expected a count of 0 or more, found %" G_GINT64_FORMAT, value);
    }
    if (!vmload_state_multiply((uint64_t)value, field->count, n)) {
        return vmload_reader_error(
            load->reader, error, VMLOAD_ERROR_LIMIT,
            "expected a count that fits memory, found %" G_GINT64_FORMAT
            " times %" G_GUINT64_FORMAT, value, field->count);
    }
    return check_count(load, field, *n, error);
}

/* Bytes of memory that @n elements take. */
static bool field_bytes(VmloadStateLoad *load, const VmloadField *field,
                        uint64_t n, uint64_t *bytes, GError **error)
{
    uint64_t size = field->size;

    if (field->kind == VMLOAD_FIELD_KIND_BITMAP) {
        *bytes = vmload_state_bitmap_bytes(n);
        return true;
    }
    if (field->flags & VMLOAD_FIELD_POINTER_ARRAY) {
        size = sizeof(void *);
    }
    if (vmload_state_multiply(n, size, bytes)) {
        return true;
    }
    return vmload_reader_error(load->reader, error, VMLOAD_ERROR_LIMIT,
                               "expected elements that fit memory, found %"
                               G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
                               " bytes", n, size);
}

void vmload_state_element_free(const VmloadStateLoad *load,
                               const VmloadField *field, void *element)
{
    VmloadFieldOps ops;

    if (element == NULL || load->shadow != NULL) {
        return;
    }
    vmload_state_fetch_ops(field->ops, &ops);
    if (ops.element_free != NULL) {
        ops.element_free(ops.opaque, element);
    } else {
        g_free(element);
    }
}

static bool replace_later(VmloadStateLoad *load, const VmloadField *field,
                          uint8_t *slot, uint64_t bytes, GError **error)
{
    void *memory = NULL;

    if (bytes > 0) {
        memory = vmload_state_alloc(load, bytes, error);
        if (memory == NULL) {
            return false;
        }
    }
    return vmload_state_shadow_replace(load, field, slot, memory, error);
}

/*
 * The pointer at @slot gets new memory. It is NULL in between, so that it
 * never points to less than the count that is already loaded.
 */
static bool replace_memory(VmloadStateLoad *load, const VmloadField *field,
                           uint8_t *slot, uint64_t bytes, GError **error)
{
    void *memory;
    void *old;

    if (load->shadow != NULL) {
        return replace_later(load, field, slot, bytes, error);
    }
    memcpy(&old, slot, sizeof(old));
    memset(slot, 0, sizeof(old));
    vmload_state_element_free(load, field, old);
    if (bytes == 0) {
        return true;
    }
    memory = vmload_state_alloc(load, bytes, error);
    if (memory == NULL) {
        return false;
    }
    memcpy(slot, &memory, sizeof(memory));
    return true;
}

/* Whether the elements are not simply overwritten. */
static bool field_looks(const VmloadField *field)
{
    return (field->flags & VMLOAD_FIELD_POINTER_ARRAY) != 0 ||
           (field->kind != VMLOAD_FIELD_KIND_BUFFER &&
            field->kind != VMLOAD_FIELD_KIND_BITMAP &&
            !vmload_state_is_plain(field->kind));
}

/* Whether nothing but the count member bounds what is behind the pointer. */
static bool field_trusts_count(const VmloadField *field)
{
    return field->count_type != VMLOAD_COUNT_CONSTANT &&
           field->capacity == 0 &&
           (field->flags & (VMLOAD_FIELD_POINTER | VMLOAD_FIELD_ALLOC)) ==
               VMLOAD_FIELD_POINTER;
}

/* Where the first of @n elements is. */
static bool field_memory(VmloadStateLoad *load, const VmloadField *field,
                         void *object, uint64_t n, uint8_t **memory,
                         GError **error)
{
    uint8_t *member = (uint8_t *)object + field->offset;
    uint64_t bytes = 0;

    if (!(field->flags & VMLOAD_FIELD_POINTER)) {
        *memory = member;
        return true;
    }
    if (!field_bytes(load, field, n, &bytes, error) ||
        ((field->flags & VMLOAD_FIELD_ALLOC) &&
         !replace_memory(load, field, member, bytes, error))) {
        return false;
    }
    memcpy(memory, member, sizeof(*memory));
    if (*memory == NULL && n > 0) {
        return vmload_reader_error(load->reader, error, VMLOAD_ERROR_DEVICE,
                                   "expected memory for %" G_GUINT64_FORMAT
                                   " elements, found a null pointer", n);
    }
    return vmload_state_follow(load, member, bytes, field_looks(field),
                               memory, error);
}

static bool load_custom(VmloadStateLoad *load, const VmloadField *field,
                        void *object, void *element, GError **error)
{
    GError *local = NULL;
    VmloadFieldOps ops;

    vmload_state_fetch_ops(field->ops, &ops);
    if (ops.get(ops.opaque, object, element, load->reader, &local)) {
        return true;
    }
    return vmload_state_refused(load, "get", field->name, local, error);
}

/* One element of a kind that is loaded one by one. */
static bool load_element(VmloadStateLoad *load, const VmloadField *field,
                         void *object, void *element,
                         const VmloadStatePlace *place, GError **error)
{
    switch (field->kind) {
    case VMLOAD_FIELD_KIND_STRUCT:
        return vmload_state_body(load, field->desc, element,
                                 field->desc->version_id, place, error);
    case VMLOAD_FIELD_KIND_VSTRUCT:
        return vmload_state_body(load, field->desc, element,
                                 field->struct_version, place, error);
    case VMLOAD_FIELD_KIND_TMP:
        return vmload_state_tmp(load, field, object, place, error);
    case VMLOAD_FIELD_KIND_LIST:
        return vmload_state_list(load, field, element, place, error);
    case VMLOAD_FIELD_KIND_TREE:
        return vmload_state_tree(load, field, element, place, error);
    case VMLOAD_FIELD_KIND_CUSTOM:
        return load_custom(load, field, object, element, error);
    default:
        return vmload_state_compared(load, field->kind, element, error);
    }
}

/* @n elements of a kind that is loaded as one. *@done: it was one. */
static bool load_bulk(VmloadStateLoad *load, const VmloadField *field,
                      uint8_t *memory, uint64_t n, bool *done, GError **error)
{
    uint64_t bytes;

    *done = true;
    switch (field->kind) {
    case VMLOAD_FIELD_KIND_VALIDATE:
        return true;
    case VMLOAD_FIELD_KIND_BUFFER:
        return field_bytes(load, field, n, &bytes, error) &&
               (bytes == 0 ||
                (vmload_reader_read(load->reader, memory, bytes, error) &&
                 vmload_state_wrote(load, memory, bytes, error)));
    case VMLOAD_FIELD_KIND_UNUSED:
        return field_bytes(load, field, n, &bytes, error) &&
               vmload_reader_skip(load->reader, bytes, error);
    case VMLOAD_FIELD_KIND_BITMAP:
        return vmload_state_bitmap(load, memory, n, error) &&
               vmload_state_wrote(load, memory, vmload_state_bitmap_bytes(n),
                                  error);
    default:
        *done = vmload_state_is_plain(field->kind);
        return !*done ||
               (vmload_state_scalars(load, field->kind, memory, n, error) &&
                vmload_state_wrote(
                    load, memory,
                    n * vmload_state_scalar_width(field->kind), error));
    }
}

/* @n elements back to back at @memory. */
static bool load_elements(VmloadStateLoad *load, const VmloadField *field,
                          void *object, uint8_t *memory, uint64_t n,
                          VmloadStatePlace *place, GError **error)
{
    bool done;
    uint64_t i;

    if (!load_bulk(load, field, memory, n, &done, error)) {
        return false;
    }
    if (done) {
        return true;
    }
    place->indexed = n > 1 || field->count_type != VMLOAD_COUNT_CONSTANT;
    for (i = 0; i < n; i++) {
        place->index = i;
        if (!load_element(load, field, object, memory + i * field->size,
                          place, error)) {
            return false;
        }
    }
    return true;
}

/* Reads the marker of an element; only @first and @second are markers. */
static bool load_marker(VmloadStateLoad *load, uint8_t first, uint8_t second,
                        uint8_t *marker, GError **error)
{
    const uint8_t *data;
    uint64_t available;

    if (!vmload_reader_peek(load->reader, 1, &data, &available, error)) {
        return false;
    }
    if (available == 1 && data[0] != first && data[0] != second) {
        return vmload_reader_error(
            load->reader, error, VMLOAD_ERROR_MALFORMED,
            "expected null marker 0x%02x%s, found 0x%02x", first,
            first != second ? " or 0x31" : "", data[0]);
    }
    return vmload_reader_get_u8(load->reader, marker, error);
}

/*
 * What the marker of the element at @slot says (vmstate format, section 3):
 * *@element is where a value goes, NULL if none follows.
 */
static bool load_pointer(VmloadStateLoad *load, const VmloadField *field,
                         uint8_t *slot, uint8_t **element, GError **error)
{
    uint8_t marker = 0;

    memcpy(element, slot, sizeof(*element));
    if (!(field->flags & VMLOAD_FIELD_ALLOC)) {
        return *element != NULL ||
               load_marker(load, VMLOAD_MARKER_NULL, VMLOAD_MARKER_NULL,
                           &marker, error);
    }
    if (!load_marker(load, VMLOAD_MARKER_NULL, VMLOAD_MARKER_PRESENT, &marker,
                     error)) {
        return false;
    }
    if (marker == VMLOAD_MARKER_NULL) {
        *element = NULL;
        return replace_memory(load, field, slot, 0, error);
    }
    if (*element == NULL) {
        if (!replace_memory(load, field, slot, field->size, error)) {
            return false;
        }
        memcpy(element, slot, sizeof(*element));
    }
    return true;
}

static bool load_pointers(VmloadStateLoad *load, const VmloadField *field,
                          void *object, uint8_t *memory, uint64_t n,
                          VmloadStatePlace *place, GError **error)
{
    uint8_t *element;
    bool done;
    uint64_t i;

    for (i = 0; i < n; i++) {
        uint8_t *slot = memory + i * sizeof(void *);
        uint32_t mark = vmload_state_mark(load);

        place->index = i;
        if (!load_pointer(load, field, slot, &element, error)) {
            return false;
        }
        if (element == NULL) {
            continue;
        }
        if (!vmload_state_follow(load, slot, field->size, true, &element,
                                 error) ||
            !load_bulk(load, field, element, 1, &done, error) ||
            (!done &&
             !load_element(load, field, object, element, place, error))) {
            return false;
        }
        vmload_state_leave(load, mark);
    }
    return true;
}

bool vmload_state_field(VmloadStateLoad *load, const VmloadField *field,
                        void *object, const VmloadStatePlace *up,
                        GError **error)
{
    VmloadStatePlace place = {up, field->name, 0, false};
    uint32_t mark = vmload_state_mark(load);
    uint8_t *memory = NULL;
    uint64_t n = 0;
    bool ok;

    if (field->kind > VMLOAD_FIELD_KIND_CUSTOM) {
        vmload_state_note_place(load, &place);
        return vmload_reader_error(load->reader, error,
                                   VMLOAD_ERROR_UNSUPPORTED,
                                   "expected a known kind of field, found %u",
                                   field->kind);
    }
    ok = field_count(load, field, object, &n, error) &&
         (!field_trusts_count(field) ||
          vmload_state_expect(load,
                              (const uint8_t *)object + field->count_offset,
                              vmload_state_count_width(field), error)) &&
         field_memory(load, field, object, n, &memory, error);
    if (ok && (field->flags & VMLOAD_FIELD_POINTER_ARRAY)) {
        place.indexed = true;
        ok = load_pointers(load, field, object, memory, n, &place, error);
    } else if (ok) {
        ok = load_elements(load, field, object, memory, n, &place, error);
    }
    vmload_state_leave(load, mark);
    if (!ok) {
        vmload_state_note_place(load, &place);
    }
    return ok;
}

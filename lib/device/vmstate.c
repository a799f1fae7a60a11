/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/vmstate-shadow.h"

#include <vmload/device.h>

#include <string.h>

void vmload_state_fetch_desc(const VmloadStateDesc *desc,
                             VmloadStateDesc *out)
{
    memset(out, 0, sizeof(*out));
    memcpy(out, desc, MIN(desc->struct_size, sizeof(*out)));
}

void vmload_state_fetch_ops(const VmloadFieldOps *ops, VmloadFieldOps *out)
{
    memset(out, 0, sizeof(*out));
    if (ops != NULL) {
        memcpy(out, ops, MIN(ops->struct_size, sizeof(*out)));
    }
}

bool vmload_state_fetch_field(const VmloadStateDesc *desc, uint64_t index,
                              VmloadField *out)
{
    if (desc->fields == NULL) {
        return false;
    }
    memset(out, 0, sizeof(*out));
    memcpy(out, (const uint8_t *)desc->fields + index * desc->field_size,
           MIN(desc->field_size, sizeof(*out)));
    return out->kind != VMLOAD_FIELD_KIND_END;
}

bool vmload_state_multiply(uint64_t count, uint64_t size, uint64_t *bytes)
{
    if (size != 0 && count > G_MAXSSIZE / size) {
        return false;
    }
    *bytes = count * size;
    return true;
}

static void place_append(GString *path, const VmloadStatePlace *place)
{
    if (place->up != NULL) {
        place_append(path, place->up);
    }
    if (place->up != NULL && place->name != NULL) {
        g_string_append_c(path, '.');
    }
    if (place->name != NULL) {
        g_string_append(path, place->name);
    }
    if (place->indexed) {
        g_string_append_printf(path, "[%" G_GUINT64_FORMAT "]", place->index);
    }
}

char *vmload_state_path(const VmloadStatePlace *place)
{
    GString *path;

    if (place == NULL) {
        return NULL;
    }
    path = g_string_new(NULL);
    place_append(path, place);
    return g_string_free(path, FALSE);
}

void vmload_state_note_place(VmloadStateLoad *load,
                             const VmloadStatePlace *place)
{
    if (load->path == NULL) {
        load->path = vmload_state_path(place);
    }
}

void *vmload_state_alloc(VmloadStateLoad *load, uint64_t bytes,
                         GError **error)
{
    void *memory;

    if (bytes > load->bytes_left) {
        vmload_reader_error(load->reader, error, VMLOAD_ERROR_LIMIT,
                            "limit element_bytes: expected at most %"
                            G_GUINT64_FORMAT " bytes more, found %"
                            G_GUINT64_FORMAT, load->bytes_left, bytes);
        return NULL;
    }
    memory = g_try_malloc0((gsize)bytes);
    if (memory == NULL) {
        vmload_reader_error(load->reader, error, VMLOAD_ERROR_LIMIT,
                            "no memory for %" G_GUINT64_FORMAT " bytes",
                            bytes);
        return NULL;
    }
    if (!vmload_state_adopt(load, memory, bytes, error)) {
        g_free(memory);
        return NULL;
    }
    load->bytes_left -= bytes;
    return memory;
}

bool vmload_state_refused(VmloadStateLoad *load, const char *what,
                          const char *name, GError *local, GError **error)
{
    VmloadError code = VMLOAD_ERROR_DEVICE;

    if (local != NULL && local->domain == VMLOAD_ERROR) {
        code = (VmloadError)local->code;
    }
    vmload_reader_error(load->reader, error, code, "%s of '%s': %s", what,
                        name,
                        local != NULL ? local->message : "refused");
    g_clear_error(&local);
    return false;
}

static bool run_hook(VmloadStateLoad *load, const VmloadStateDesc *desc,
                     bool post, void *object, uint32_t version,
                     const VmloadStatePlace *place, GError **error)
{
    bool (*hook)(void *, uint32_t, GError **) =
        post ? desc->post_load : desc->pre_load;
    GError *local = NULL;

    if (hook == NULL) {
        return true;
    }
    if (load->shadow != NULL) {
        return vmload_state_shadow_hook(load, desc, post, object, version,
                                        place, error);
    }
    if (hook(object, version, &local)) {
        return true;
    }
    return vmload_state_refused(load, post ? "post_load" : "pre_load",
                                desc->name, local, error);
}

static bool check_version(VmloadStateLoad *load, const VmloadStateDesc *desc,
                          uint32_t version, GError **error)
{
    if (version >= desc->minimum_version_id && version <= desc->version_id) {
        return true;
    }
    return vmload_reader_error(load->reader, error, VMLOAD_ERROR_UNSUPPORTED,
                               "'%s': expected version %u to %u, found %u",
                               desc->name, desc->minimum_version_id,
                               desc->version_id, version);
}

/* Whether a field exists (vmstate format, section 1.2). */
static bool field_exists(const VmloadField *field, const void *object,
                         uint32_t version)
{
    if (field->exists != NULL) {
        return field->exists(object, version);
    }
    return field->version_id <= version;
}

static bool load_fields(VmloadStateLoad *load, const VmloadStateDesc *desc,
                        void *object, uint32_t version,
                        const VmloadStatePlace *place, GError **error)
{
    VmloadField field;
    uint64_t i;

    for (i = 0; vmload_state_fetch_field(desc, i, &field); i++) {
        if (field_exists(&field, object, version)) {
            if (!vmload_state_field(load, &field, object, place, error)) {
                return false;
            }
        } else if (field.flags & VMLOAD_FIELD_MUST_EXIST) {
            VmloadStatePlace here = {place, field.name, 0, false};

            vmload_state_note_place(load, &here);
            return vmload_reader_error(
                load->reader, error, VMLOAD_ERROR_MISMATCH,
                "expected '%s' to hold in '%s' version %u, found that it "
                "does not", field.name, desc->name, version);
        }
    }
    return true;
}

/* Whether byte @i of a subsection's header can be one of @prefix's level. */
static bool header_byte_fits(const uint8_t *data, uint64_t i,
                             const char *prefix, uint64_t prefix_length)
{
    switch (i) {
    case 0:
        return data[0] == VMLOAD_RECORD_SUBSECTION;
    case 1:
        return data[1] > prefix_length;
    default:
        return data[i] == (uint8_t)prefix[i - 2];
    }
}

/*
 * Whether the next bytes are a subsection's header at this level (vmstate
 * format, section 4.1). Looks at one byte after the other and stops at the
 * first that does not fit, so that it never waits for bytes that a live peer
 * has no reason to send. Nothing is consumed. *@length is 0 if there is
 * none, otherwise *@name is valid until the reader's next call.
 */
static bool peek_subsection(VmloadReader *reader, const char *prefix,
                            const uint8_t **name, uint64_t *length,
                            GError **error)
{
    uint64_t prefix_length = strlen(prefix);
    const uint8_t *data;
    uint64_t available;
    uint64_t wanted;

    *length = 0;
    for (wanted = 1; wanted <= 2 + prefix_length; wanted++) {
        if (!vmload_reader_peek(reader, wanted, &data, &available, error)) {
            return false;
        }
        if (available < wanted || !header_byte_fits(data, wanted - 1, prefix,
                                                    prefix_length)) {
            return true;
        }
    }
    /* The prefix has matched, so the length byte has been seen. */
    wanted = 2 + (uint64_t)data[1];
    if (!vmload_reader_peek(reader, wanted, &data, &available, error)) {
        return false;
    }
    if (available == wanted) {
        *name = data + 2;
        *length = wanted - 2;
    }
    return true;
}

/* The index of the subsection, or VMLOAD_STATE_SUBSECTIONS. */
static uint32_t find_subsection(const VmloadStateDesc *desc,
                                const uint8_t *name, uint64_t length)
{
    uint32_t i;

    for (i = 0; desc->subsections != NULL && desc->subsections[i] != NULL &&
                i < VMLOAD_STATE_SUBSECTIONS;
         i++) {
        const char *known = desc->subsections[i]->name;

        if (strlen(known) == length && memcmp(known, name, length) == 0) {
            return i;
        }
    }
    return VMLOAD_STATE_SUBSECTIONS;
}

static bool unknown_subsection(VmloadStateLoad *load,
                               const VmloadStateDesc *desc,
                               const uint8_t *name, uint64_t length,
                               GError **error)
{
    GString *raw = g_string_new_len((const char *)name, (gssize)length);
    char *text = g_strescape(raw->str, NULL);

    vmload_reader_error(load->reader, error, VMLOAD_ERROR_UNSUPPORTED,
                        "expected a known subsection of '%s', found '%s'",
                        desc->name, text);
    g_free(text);
    g_string_free(raw, TRUE);
    return false;
}

/* One subsection behind its name: its version, its body. */
static bool load_subsection(VmloadStateLoad *load,
                            const VmloadStateDesc *desc, void *object,
                            const VmloadStatePlace *up, GError **error)
{
    VmloadStatePlace place = {up, desc->name, 0, false};
    uint32_t version;

    if (!vmload_reader_skip(load->reader, 2 + strlen(desc->name), error) ||
        !vmload_reader_get_be32(load->reader, &version, error)) {
        vmload_state_note_place(load, &place);
        return false;
    }
    /* Sources and receivers agree on the low 8 bits only. */
    return vmload_state_body(load, desc, object, version & 0xff, &place,
                             error);
}

static bool load_subsections(VmloadStateLoad *load,
                             const VmloadStateDesc *desc, void *object,
                             uint64_t *seen, const VmloadStatePlace *place,
                             GError **error)
{
    const uint8_t *name;
    uint64_t length;
    uint32_t i;

    for (;;) {
        if (!peek_subsection(load->reader, desc->name, &name, &length,
                             error)) {
            return false;
        }
        if (length == 0) {
            return true;
        }
        i = find_subsection(desc, name, length);
        if (i == VMLOAD_STATE_SUBSECTIONS) {
            return unknown_subsection(load, desc, name, length, error);
        }
        seen[i / 64] |= (uint64_t)1 << (i % 64);
        if (!load_subsection(load, desc->subsections[i], object, place,
                             error)) {
            return false;
        }
    }
}

/* Asks for every subsection that did not come if it had to. */
static bool check_required(VmloadStateLoad *load, const VmloadStateDesc *desc,
                           const void *object, uint32_t version,
                           const uint64_t *seen, GError **error)
{
    VmloadStateDesc sub;
    uint32_t i;

    for (i = 0; desc->subsections != NULL && desc->subsections[i] != NULL &&
                i < VMLOAD_STATE_SUBSECTIONS;
         i++) {
        if (seen[i / 64] >> (i % 64) & 1) {
            continue;
        }
        vmload_state_fetch_desc(desc->subsections[i], &sub);
        if (sub.required != NULL && sub.required(object, version)) {
            return vmload_reader_error(
                load->reader, error, VMLOAD_ERROR_MISMATCH,
                "expected subsection '%s', found none", sub.name);
        }
    }
    return true;
}

static bool load_contents(VmloadStateLoad *load, const VmloadStateDesc *desc,
                          void *object, uint32_t version,
                          const VmloadStatePlace *place, GError **error)
{
    uint64_t seen[VMLOAD_STATE_SUBSECTIONS / 64] = {0};

    return run_hook(load, desc, false, object, version, place, error) &&
           load_fields(load, desc, object, version, place, error) &&
           load_subsections(load, desc, object, seen, place, error) &&
           check_required(load, desc, object, version, seen, error) &&
           run_hook(load, desc, true, object, version, place, error);
}

bool vmload_state_body(VmloadStateLoad *load, const VmloadStateDesc *desc,
                       void *object, uint32_t version,
                       const VmloadStatePlace *place, GError **error)
{
    VmloadStateDesc own;
    bool ok;

    vmload_state_fetch_desc(desc, &own);
    if (load->depth >= load->nesting) {
        vmload_state_note_place(load, place);
        return vmload_reader_error(
            load->reader, error, VMLOAD_ERROR_LIMIT,
            "limit nesting: expected at most %u levels, found '%s' below",
            load->nesting, own.name);
    }
    load->depth++;
    ok = check_version(load, &own, version, error) &&
         load_contents(load, &own, object, version, place, error);
    load->depth--;
    if (!ok) {
        vmload_state_note_place(load, place);
    }
    return ok;
}

static void load_init(VmloadStateLoad *load, VmloadReader *reader,
                      const VmloadLimits *limits)
{
    VmloadLimits bounds;

    vmload_limits_init(&bounds);
    if (limits != NULL) {
        memcpy(&bounds, limits, MIN(limits->struct_size, sizeof(bounds)));
    }
    memset(load, 0, sizeof(*load));
    load->reader = reader;
    load->nesting = bounds.nesting;
    load->elements = bounds.elements;
    load->bytes_left = bounds.element_bytes;
}

static bool load_object(VmloadStateLoad *load, const VmloadStateDesc *desc,
                        void *object, uint32_t version, GError **error)
{
    bool ok = vmload_state_body(load, desc, object, version, NULL, error);

    if (load->path != NULL) {
        g_prefix_error(error, "field '%s': ", load->path);
    }
    g_free(load->path);
    return ok;
}

bool vmload_state_load(const VmloadStateDesc *desc, void *object,
                       uint32_t version, VmloadReader *reader,
                       const VmloadLimits *limits, GError **error)
{
    VmloadStateLoad load;

    g_return_val_if_fail(desc != NULL && object != NULL, false);
    g_return_val_if_fail(reader != NULL, false);
    load_init(&load, reader, limits);
    return load_object(&load, desc, object, version, error);
}

VmloadStateShadow *vmload_state_decode(const VmloadStateDesc *desc,
                                       void *object, uint64_t object_size,
                                       uint32_t version, VmloadReader *reader,
                                       const VmloadLimits *limits,
                                       const VmloadStateFence *fence,
                                       GError **error)
{
    VmloadStateLoad load;
    void *root;

    load_init(&load, reader, limits);
    load.shadow = vmload_state_shadow_new(object, object_size,
                                          load.bytes_left, fence, &root,
                                          error);
    if (load.shadow != NULL &&
        !load_object(&load, desc, root, version, error)) {
        vmload_state_shadow_free(load.shadow);
        return NULL;
    }
    return load.shadow;
}

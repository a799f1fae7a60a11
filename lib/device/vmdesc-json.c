/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From JSON to the tree of vmdesc.h (vmstate format, section 6). All
 * that can be judged without the device's bytes is judged here. What a real
 * source may describe wrongly (a compressed array whose elements differ)
 * is left to the decoder, so that it costs one device and not all.
 */
#include "vmdesc.h"

#include <jansson.h>
#include <string.h>

#include "error.h"

/* Names are C expressions or paths; a longer one is no name. */
#define NAME_MAX_BYTES 1023
/* On the wire a str8. */
#define VMSD_NAME_MAX_BYTES 255
/* Bounds our own recursion whatever the limit says. */
#define NESTING_MAX 256
/* Brackets per nested description: field list, field, "struct". */
#define BRACKETS_PER_LEVEL 4
/* Brackets around the outermost description. */
#define BRACKETS_AROUND 8

typedef struct {
    VmloadVmdesc *vmdesc;
    const VmloadLimits *limits;
    uint32_t nesting;
} Parse;

/* Where in the description we are, innermost first, for messages. */
typedef struct Place {
    const struct Place *up;
    const char *name;
} Place;

static const struct {
    const char *type;
    VmloadDescKind kind;
    uint64_t size; /* 0: any */
} type_table[] = {
    {"bool", VMLOAD_DESC_BOOL, 1},
    {"int8", VMLOAD_DESC_INT, 1},
    {"int16", VMLOAD_DESC_INT, 2},
    {"int32", VMLOAD_DESC_INT, 4},
    {"int64", VMLOAD_DESC_INT, 8},
    {"uint8", VMLOAD_DESC_UINT, 1},
    {"uint16", VMLOAD_DESC_UINT, 2},
    {"uint32", VMLOAD_DESC_UINT, 4},
    {"uint64", VMLOAD_DESC_UINT, 8},
    {"uint8 equal", VMLOAD_DESC_UINT, 1},
    {"uint16 equal", VMLOAD_DESC_UINT, 2},
    {"int32 equal", VMLOAD_DESC_INT, 4},
    {"uint32 equal", VMLOAD_DESC_UINT, 4},
    {"uint64 equal", VMLOAD_DESC_UINT, 8},
    /* A historic misnomer: this compares uint64. */
    {"int64 equal", VMLOAD_DESC_UINT, 8},
    /* "Less or equal", not little-endian. */
    {"int32 le", VMLOAD_DESC_INT, 4},
    {"CPU_Double_U", VMLOAD_DESC_DOUBLE, 8},
    /* -1: not armed. */
    {"timer", VMLOAD_DESC_INT, 8},
    {"nullptr", VMLOAD_DESC_NULL, 1},
    {"ptr-marker", VMLOAD_DESC_MARKER, 1},
    {"capability", VMLOAD_DESC_CAPABILITY, 0},
    {"struct", VMLOAD_DESC_STRUCT, 0},
    {"vstruct", VMLOAD_DESC_INLINE, 0},
    {"tmp", VMLOAD_DESC_INLINE, 0},
    {"buffer", VMLOAD_DESC_BYTES, 0},
    {"unused_buffer", VMLOAD_DESC_BYTES, 0},
    {"bitmap", VMLOAD_DESC_BYTES, 0},
    {"fd", VMLOAD_DESC_BYTES, 0},
    {"qtailq", VMLOAD_DESC_BYTES, 0},
    {"qlist", VMLOAD_DESC_BYTES, 0},
    {"gtree", VMLOAD_DESC_BYTES, 0},
};

static bool parse_body(const Parse *parse, const json_t *json,
                       const Place *place, uint32_t depth,
                       VmloadDescBody *body, GError **error);

static void place_append(GString *text, const Place *place)
{
    if (place->up != NULL) {
        place_append(text, place->up);
        g_string_append(text, ", ");
    }
    g_string_append_printf(text, "'%s'", place->name);
}

static bool parse_fail(const Place *place, GError **error, VmloadError code,
                       const char *format, ...) G_GNUC_PRINTF(4, 5);

static bool parse_fail(const Place *place, GError **error, VmloadError code,
                       const char *format, ...)
{
    GString *text = g_string_new(NULL);
    va_list args;

    place_append(text, place);
    g_string_append(text, ": ");
    va_start(args, format);
    g_string_append_vprintf(text, format, args);
    va_end(args);
    vmload_fail(error, code, "vmdesc: %s", text->str);
    g_string_free(text, TRUE);
    return false;
}

static bool fail_memory(const Place *place, GError **error)
{
    return parse_fail(place, error, VMLOAD_ERROR_LIMIT,
                      "needs more memory than the limit 'element-bytes'");
}

/* Names go into messages and onto terminals. */
static bool name_is_clean(const char *name, size_t length)
{
    size_t i;

    for (i = 0; i < length; i++) {
        if ((uint8_t)name[i] < 0x20 || name[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool parse_string(const Parse *parse, const json_t *json,
                         const char *key, size_t max, const Place *place,
                         const char **value, GError **error)
{
    const json_t *item = json_object_get(json, key);
    const char *text = json_string_value(item);
    size_t length = json_string_length(item);

    if (text == NULL || length == 0 || length > max ||
        !name_is_clean(text, length)) {
        return parse_fail(place, error, VMLOAD_ERROR_MALFORMED,
                          "'%s': expected a printable string of 1 to %zu "
                          "bytes, found %s of %zu",
                          key, max, item == NULL ? "nothing"
                                    : text == NULL ? "something else"
                                                   : "a string",
                          length);
    }
    text = vmload_arena_string(&parse->vmdesc->arena, text, length);
    if (text == NULL) {
        return fail_memory(place, error);
    }
    *value = text;
    return true;
}

static bool parse_int(const json_t *json, const char *key, int64_t min,
                      int64_t max, const Place *place, int64_t *value,
                      GError **error)
{
    const json_t *item = json_object_get(json, key);
    json_int_t number = json_integer_value(item);

    if (!json_is_integer(item)) {
        return parse_fail(place, error, VMLOAD_ERROR_MALFORMED,
                          "'%s': expected an integer, found %s", key,
                          item == NULL ? "nothing" : "something else");
    }
    if (number < min || number > max) {
        return parse_fail(place, error, VMLOAD_ERROR_MALFORMED,
                          "'%s': expected %" G_GINT64_FORMAT
                          " to %" G_GINT64_FORMAT
                          ", found %" JSON_INTEGER_FORMAT,
                          key, min, max, number);
    }
    *value = number;
    return true;
}

/* *@total += @count * @size, where that can be told. */
static bool add_size(uint64_t *total, uint64_t count, uint64_t size,
                     const Place *place, GError **error)
{
    /* A stream offset is signed in places: nothing is larger than that. */
    const uint64_t max = INT64_MAX;

    if ((size != 0 && count > max / size) || *total > max - count * size) {
        return parse_fail(place, error, VMLOAD_ERROR_MALFORMED,
                          "sizes add up to more than 2^63");
    }
    *total += count * size;
    return true;
}

static void field_find_type(VmloadDescField *field, uint64_t *size)
{
    size_t i;

    field->kind = VMLOAD_DESC_BYTES;
    *size = 0;
    for (i = 0; i < G_N_ELEMENTS(type_table); i++) {
        if (strcmp(type_table[i].type, field->type) == 0) {
            field->kind = type_table[i].kind;
            *size = type_table[i].size;
            return;
        }
    }
}

static bool field_count(const Parse *parse, const json_t *json,
                        const Place *place, VmloadDescField *field,
                        GError **error)
{
    int64_t count = 1;

    field->is_array = json_object_get(json, "index") != NULL;
    if (json_object_get(json, "array_len") != NULL) {
        if (!parse_int(json, "array_len", 0, INT64_MAX, place, &count,
                       error)) {
            return false;
        }
        field->is_array = 1;
    }
    if ((uint64_t)count > parse->limits->elements) {
        return parse_fail(place, error, VMLOAD_ERROR_LIMIT,
                          "%" G_GINT64_FORMAT " elements, the limit "
                          "'elements' is %" G_GUINT64_FORMAT,
                          count, parse->limits->elements);
    }
    field->count = (uint64_t)count;
    return true;
}

/* The description below a field, for those types that have one. */
static bool field_body(const Parse *parse, const json_t *json,
                       const Place *place, uint32_t depth,
                       VmloadDescField *field, GError **error)
{
    VmloadDescBody *body;

    if (field->kind == VMLOAD_DESC_STRUCT) {
        json = json_object_get(json, "struct");
    } else if (field->kind != VMLOAD_DESC_INLINE ||
               json_object_get(json, "fields") == NULL) {
        return true;
    }
    body = vmload_arena_alloc(&parse->vmdesc->arena, 1, sizeof(*body));
    if (body == NULL) {
        return fail_memory(place, error);
    }
    if (!parse_body(parse, json, place, depth + 1, body, error)) {
        return false;
    }
    if (field->kind == VMLOAD_DESC_STRUCT || body->size == field->size) {
        field->body = body;
    }
    return true;
}

static bool parse_field(const Parse *parse, const json_t *json,
                        const Place *up, uint32_t depth,
                        VmloadDescField *field, GError **error)
{
    Place place = {up, "field"};
    uint64_t expected;
    int64_t size = 0;

    if (!parse_string(parse, json, "name", NAME_MAX_BYTES, &place,
                      &field->name, error)) {
        return false;
    }
    place.name = field->name;
    if (!parse_string(parse, json, "type", VMSD_NAME_MAX_BYTES, &place,
                      &field->type, error) ||
        !parse_int(json, "size", 0, INT64_MAX, &place, &size, error) ||
        !field_count(parse, json, &place, field, error)) {
        return false;
    }
    field->size = (uint64_t)size;
    field_find_type(field, &expected);
    if (expected != 0 && field->size != expected) {
        return parse_fail(&place, error, VMLOAD_ERROR_MALFORMED,
                          "type '%s': expected size %" G_GUINT64_FORMAT
                          ", found %" G_GUINT64_FORMAT,
                          field->type, expected, field->size);
    }
    return field_body(parse, json, &place, depth, field, error);
}

static bool parse_fields(const Parse *parse, const json_t *json,
                         const Place *place, uint32_t depth,
                         VmloadDescBody *body, GError **error)
{
    const json_t *list = json_object_get(json, "fields");
    uint64_t i;

    if (!json_is_array(list)) {
        return parse_fail(place, error, VMLOAD_ERROR_MALFORMED,
                          "'fields': expected an array, found %s",
                          list == NULL ? "nothing" : "something else");
    }
    body->n_fields = json_array_size(list);
    body->fields = vmload_arena_alloc(&parse->vmdesc->arena, body->n_fields,
                                      sizeof(body->fields[0]));
    if (body->fields == NULL) {
        return fail_memory(place, error);
    }
    for (i = 0; i < body->n_fields; i++) {
        VmloadDescField *field = &body->fields[i];

        if (!parse_field(parse, json_array_get(list, (size_t)i), place, depth,
                         field, error) ||
            !add_size(&body->size, field->count, field->size, place, error)) {
            return false;
        }
    }
    return true;
}

static bool parse_subsections(const Parse *parse, const json_t *json,
                              const Place *place, uint32_t depth,
                              VmloadDescBody *body, GError **error)
{
    const json_t *list = json_object_get(json, "subsections");
    uint64_t i;

    if (list == NULL) {
        return true;
    }
    if (!json_is_array(list)) {
        return parse_fail(place, error, VMLOAD_ERROR_MALFORMED,
                          "'subsections': expected an array, found something "
                          "else");
    }
    body->n_subsections = json_array_size(list);
    body->subsections =
        vmload_arena_alloc(&parse->vmdesc->arena, body->n_subsections,
                           sizeof(body->subsections[0]));
    if (body->subsections == NULL) {
        return fail_memory(place, error);
    }
    for (i = 0; i < body->n_subsections; i++) {
        VmloadDescBody *sub = &body->subsections[i];

        if (!parse_body(parse, json_array_get(list, (size_t)i), place,
                        depth + 1, sub, error)) {
            return false;
        }
        /* Marker, length byte, name, version, body. */
        if (!add_size(&body->size, 1, 6 + strlen(sub->name), place, error) ||
            !add_size(&body->size, 1, sub->size, place, error)) {
            return false;
        }
    }
    return true;
}

/* A vmsd: an object of its own, or keys inside of a field or a device. */
static bool parse_body(const Parse *parse, const json_t *json, const Place *up,
                       uint32_t depth, VmloadDescBody *body, GError **error)
{
    Place place = {up, "description"};
    int64_t version = 0;

    if (depth > parse->nesting) {
        return parse_fail(up, error, VMLOAD_ERROR_LIMIT,
                          "nested more than %u deep, by the limit 'nesting'",
                          parse->nesting);
    }
    if (!json_is_object(json)) {
        return parse_fail(up, error, VMLOAD_ERROR_MALFORMED,
                          "expected a description, found %s",
                          json == NULL ? "nothing" : "something else");
    }
    if (!parse_string(parse, json, "vmsd_name", VMSD_NAME_MAX_BYTES, up,
                      &body->name, error)) {
        return false;
    }
    place.name = body->name;
    /* Old sources had signed numbers here; on the wire it is a be32. */
    if (!parse_int(json, "version", INT32_MIN, UINT32_MAX, &place, &version,
                   error)) {
        return false;
    }
    body->version = (uint32_t)version;
    body->has_version = 1;
    return parse_fields(parse, json, &place, depth, body, error) &&
           parse_subsections(parse, json, &place, depth, body, error);
}

/* The description of an old-style handler: one buffer. */
static bool parse_old_style(const Parse *parse, const json_t *json,
                            const Place *place, VmloadDescBody *body,
                            GError **error)
{
    int64_t size = 0;

    body->name = "";
    if (!parse_int(json, "size", 0, INT64_MAX, place, &size, error) ||
        !parse_fields(parse, json, place, 1, body, error)) {
        return false;
    }
    if (body->size != (uint64_t)size) {
        return parse_fail(place, error, VMLOAD_ERROR_MALFORMED,
                          "'size': expected %" G_GUINT64_FORMAT
                          ", the sum of its fields, found %" G_GINT64_FORMAT,
                          body->size, size);
    }
    return true;
}

static bool parse_device(const Parse *parse, const json_t *json,
                         uint64_t index, VmloadDescDevice *device,
                         GError **error)
{
    Place place = {NULL, "devices"};
    int64_t instance_id = 0;

    device->index = index;
    if (!parse_string(parse, json, "name", VMSD_NAME_MAX_BYTES, &place,
                      &device->name, error)) {
        return false;
    }
    place.name = device->name;
    if (!parse_int(json, "instance_id", INT32_MIN, UINT32_MAX, &place,
                   &instance_id, error)) {
        return false;
    }
    device->instance_id = (uint32_t)instance_id;
    if (json_object_get(json, "vmsd_name") == NULL) {
        return parse_old_style(parse, json, &place, &device->body, error);
    }
    return parse_body(parse, json, &place, 1, &device->body, error);
}

static bool parse_devices(const Parse *parse, const json_t *root,
                          GError **error)
{
    static const Place place = {NULL, "devices"};
    const json_t *list = json_object_get(root, "devices");
    VmloadVmdesc *vmdesc = parse->vmdesc;
    uint64_t i;

    if (!json_is_array(list)) {
        return parse_fail(&place, error, VMLOAD_ERROR_MALFORMED,
                          "expected an array, found %s",
                          list == NULL ? "nothing" : "something else");
    }
    vmdesc->n_devices = json_array_size(list);
    if (vmdesc->n_devices > parse->limits->sections) {
        return parse_fail(&place, error, VMLOAD_ERROR_LIMIT,
                          "%" G_GUINT64_FORMAT " devices, the limit "
                          "'sections' is %" G_GUINT64_FORMAT,
                          vmdesc->n_devices, parse->limits->sections);
    }
    vmdesc->devices = vmload_arena_alloc(&vmdesc->arena, vmdesc->n_devices,
                                         sizeof(vmdesc->devices[0]));
    if (vmdesc->devices == NULL) {
        return fail_memory(&place, error);
    }
    for (i = 0; i < vmdesc->n_devices; i++) {
        if (!parse_device(parse, json_array_get(list, (size_t)i), i,
                          &vmdesc->devices[i], error)) {
            return false;
        }
    }
    return true;
}

static bool parse_root(const Parse *parse, const json_t *root, GError **error)
{
    static const Place place = {NULL, "root"};
    static const Place in_configuration = {NULL, "configuration"};
    VmloadVmdesc *vmdesc = parse->vmdesc;
    const json_t *configuration = json_object_get(root, "configuration");
    int64_t page_size = 0;

    if (!json_is_object(root)) {
        return parse_fail(&place, error, VMLOAD_ERROR_MALFORMED,
                          "expected an object, found something else");
    }
    if (!parse_int(root, "page_size", 1, UINT32_MAX, &place, &page_size,
                   error)) {
        return false;
    }
    vmdesc->page_size = (uint64_t)page_size;
    if (configuration != NULL) {
        vmdesc->has_configuration = 1;
        vmdesc->configuration.name = "configuration";
        vmdesc->configuration.index = VMLOAD_VMDESC_CONFIGURATION;
        if (!parse_body(parse, configuration, &in_configuration, 1,
                        &vmdesc->configuration.body, error)) {
            return false;
        }
    }
    return parse_devices(parse, root, error);
}

bool vmload_vmdesc_parse(VmloadVmdesc *vmdesc, const char *json,
                         uint64_t length, const VmloadLimits *limits,
                         GError **error)
{
    Parse parse = {vmdesc, limits, MIN(limits->nesting, NESTING_MAX)};
    json_error_t problem;
    json_t *root;
    bool ok;

    if (!vmload_vmdesc_prescan(json, length,
                               parse.nesting * BRACKETS_PER_LEVEL +
                                   BRACKETS_AROUND,
                               limits->element_bytes, error)) {
        return false;
    }
    /*
     * With duplicate keys the last one wins. Sources write them for lists
     * of more than one element, where nothing but type and size is used.
     */
    root = json_loadb(json, (size_t)length, 0, &problem);
    if (root == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "vmdesc: JSON position %d: %s", problem.position,
                           problem.text);
    }
    ok = parse_root(&parse, root, error);
    json_decref(root);
    return ok;
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

json_t *cli_json_uint(uint64_t value)
{
    if (value <= INT64_MAX) {
        return json_integer((json_int_t)value);
    }
    return json_sprintf("0x%016" PRIx64, value);
}

static json_t *json_hex(const uint8_t *data, uint64_t length)
{
    char *text = cli_hex(data, length);
    json_t *json = text != NULL ? json_string_nocheck(text) : NULL;

    g_free(text);
    return json;
}

json_t *cli_json_text(const char *text, uint64_t length)
{
    bool utf8 = g_utf8_validate_len(text, (gsize)length, NULL);
    GString *out = g_string_new(NULL);
    json_t *json;
    uint64_t i;

    for (i = 0; i < length; i++) {
        if (g_ascii_isprint(text[i]) || (utf8 && (text[i] & 0x80) != 0)) {
            g_string_append_c(out, text[i]);
        } else {
            g_string_append_printf(out, "%%%02X", (uint8_t)text[i]);
        }
    }
    json = json_stringn_nocheck(out->str, out->len);
    g_string_free(out, TRUE);
    return json;
}

/* JSON has no infinities; their bits tell more than a null. */
static json_t *json_double(double value)
{
    uint64_t bits;

    if (isfinite(value)) {
        return json_real(value);
    }
    memcpy(&bits, &value, sizeof(bits));
    return json_sprintf("0x%016" PRIx64, bits);
}

/*
 * Adds (and takes) @value; false if there is no memory. Not by counting up
 * from #2: a hostile description may have a hundred thousand equal names.
 */
static bool object_add(json_t *object, const char *name, uint64_t position,
                       json_t *value)
{
    GString *other;
    bool ok;

    if (json_object_get(object, name) == NULL) {
        return json_object_set_new(object, name, value) == 0;
    }
    other = g_string_new(name);
    g_string_append_printf(other, "#%" PRIu64, position);
    while (json_object_get(object, other->str) != NULL) {
        g_string_append_c(other, '#');
    }
    ok = json_object_set_new(object, other->str, value) == 0;
    g_string_free(other, TRUE);
    return ok;
}

static json_t *json_children(const VmloadNode *node)
{
    bool array = vmload_node_get_kind(node) == VMLOAD_NODE_ARRAY;
    json_t *json = array ? json_array() : json_object();
    uint64_t n = vmload_node_get_n_children(node);
    bool ok = json != NULL;
    uint64_t i;

    for (i = 0; ok && i < n; i++) {
        const VmloadNode *child = vmload_node_get_child(node, i);
        json_t *value = cli_json_node(child);

        ok = array ? json_array_append_new(json, value) == 0
                   : object_add(json, vmload_node_get_name(child), i, value);
    }
    if (!ok) {
        json_decref(json);
        json = NULL;
    }
    return json;
}

json_t *cli_json_node(const VmloadNode *node)
{
    const uint8_t *bytes;
    uint64_t length;

    switch (vmload_node_get_kind(node)) {
    case VMLOAD_NODE_STRUCT:
    case VMLOAD_NODE_ARRAY:
    case VMLOAD_NODE_SUBSECTION:
        return json_children(node);
    case VMLOAD_NODE_BOOL:
        return json_boolean(vmload_node_get_uint(node) != 0);
    case VMLOAD_NODE_UINT:
        return cli_json_uint(vmload_node_get_uint(node));
    case VMLOAD_NODE_INT:
        return json_integer(vmload_node_get_int(node));
    case VMLOAD_NODE_DOUBLE:
        return json_double(vmload_node_get_double(node));
    case VMLOAD_NODE_STRING:
        bytes = vmload_node_get_bytes(node, &length);
        return cli_json_text((const char *)bytes, length);
    case VMLOAD_NODE_BYTES:
        bytes = vmload_node_get_bytes(node, &length);
        return json_hex(bytes, length);
    case VMLOAD_NODE_NULL:
    default:
        return json_null();
    }
}

bool cli_json_write(json_t *json, const char *path, GError **error)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *out = standard ? stdout : fopen(path, "we");
    bool ok = json != NULL && out != NULL;

    if (json == NULL) {
        errno = ENOMEM;
    }
    ok = ok && json_dumpf(json, out, JSON_INDENT(2)) == 0;
    ok = ok && fputc('\n', out) != EOF && fflush(out) == 0;
    if (!ok) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO,
                    "write '%s': %s", path, g_strerror(errno));
    }
    if (!standard && out != NULL && fclose(out) != 0 && ok) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO,
                    "write '%s': %s", path, g_strerror(errno));
        ok = false;
    }
    json_decref(json);
    return ok;
}

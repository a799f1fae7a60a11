/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <string.h>

struct CliDevices {
    uint64_t limit; /* 0: bytes are not kept */
    uint64_t kept;
    GPtrArray *sections; /* CliSection */
    GHashTable *seen;    /* "NAME/INSTANCE" of FULL sections, how often */
    VmloadVmdesc *vmdesc;
};

static void section_free(void *data)
{
    CliSection *section = data;

    g_free(section->name);
    g_free(section->data);
    g_free(section);
}

CliDevices *cli_devices_new(uint64_t limit)
{
    CliDevices *devices = g_new0(CliDevices, 1);

    devices->limit = limit;
    devices->sections = g_ptr_array_new_with_free_func(section_free);
    devices->seen =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return devices;
}

void cli_devices_free(CliDevices *devices)
{
    if (devices != NULL) {
        g_ptr_array_free(devices->sections, TRUE);
        g_hash_table_destroy(devices->seen);
        vmload_vmdesc_free(devices->vmdesc);
        g_free(devices);
    }
}

/* How many FULL sections of this name and instance came before. */
static uint64_t devices_count_seen(CliDevices *devices,
                                   const VmloadSection *section)
{
    char *key = g_strdup_printf("%s/%u", section->idstr, section->instance_id);
    gsize n = GPOINTER_TO_SIZE(g_hash_table_lookup(devices->seen, key));

    g_hash_table_insert(devices->seen, key, GSIZE_TO_POINTER(n + 1));
    return n;
}

/* What one section costs us besides its bytes. */
#define SECTION_COST 512

bool cli_devices_add(CliDevices *devices, const VmloadSection *section,
                     const uint8_t *data, uint64_t length, GError **error)
{
    uint64_t limit = devices->limit != 0 ? devices->limit : 64 << 20;
    uint64_t cost = SECTION_COST + (devices->limit != 0 ? length : 0);
    CliSection *own;

    if (cost > limit - devices->kept) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_LIMIT,
                    "all sections together have more than %" G_GUINT64_FORMAT
                    " bytes, the limit 'staged-bytes'",
                    limit);
        return false;
    }
    own = g_new0(CliSection, 1);
    if (devices->limit != 0) {
        own->data = g_try_malloc((gsize)MAX(length, 1));
        if (own->data == NULL) {
            g_free(own);
            g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_LIMIT,
                        "no memory for %" G_GUINT64_FORMAT " bytes", length);
            return false;
        }
        memcpy(own->data, data, (size_t)length);
    }
    devices->kept += cost;
    own->name = g_strdup(section->idstr);
    own->instance_id = section->instance_id;
    own->version_id = section->version_id;
    own->type = section->type;
    own->offset = section->payload_offset;
    own->length = length;
    if (section->type == VMLOAD_RECORD_FULL) {
        own->nth = devices_count_seen(devices, section);
    }
    g_ptr_array_add(devices->sections, own);
    return true;
}

bool cli_devices_describe(CliDevices *devices, const char *json,
                          uint64_t length, const VmloadLimits *limits,
                          GError **error)
{
    vmload_vmdesc_free(devices->vmdesc);
    devices->vmdesc = vmload_vmdesc_new(json, length, limits, error);
    return devices->vmdesc != NULL;
}

uint64_t cli_devices_count(const CliDevices *devices)
{
    return devices->sections->len;
}

const CliSection *cli_devices_get(const CliDevices *devices, uint64_t index)
{
    return g_ptr_array_index(devices->sections, (guint)index);
}

const VmloadVmdesc *cli_devices_vmdesc(const CliDevices *devices)
{
    return devices->vmdesc;
}

uint64_t cli_devices_find(const CliDevices *devices, const CliSection *section)
{
    if (devices->vmdesc == NULL || section->type != VMLOAD_RECORD_FULL) {
        return VMLOAD_VMDESC_NONE;
    }
    return vmload_vmdesc_find_device(devices->vmdesc, section->name,
                                     section->instance_id, section->nth);
}

VmloadNode *cli_devices_decode(const CliDevices *devices,
                               const CliSection *section, GError **error)
{
    VmloadVmdescDevice device = {.struct_size = sizeof(device)};
    uint64_t index = cli_devices_find(devices, section);

    if (!vmload_vmdesc_get_device(devices->vmdesc, index, &device)) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_MALFORMED,
                    "offset 0x%" G_GINT64_MODIFIER "x: device '%s'/%u: "
                    "expected in the description, found none of this name "
                    "and instance",
                    section->offset, section->name, section->instance_id);
        return NULL;
    }
    if (device.has_version && device.version_id != section->version_id) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_MALFORMED,
                    "offset 0x%" G_GINT64_MODIFIER "x: device '%s'/%u: "
                    "expected version %u as described, found %u",
                    section->offset, section->name, section->instance_id,
                    device.version_id, section->version_id);
        return NULL;
    }
    return vmload_vmdesc_decode(devices->vmdesc, index, section->data,
                                section->length, section->offset, error);
}

bool cli_devices_check(const CliDevices *devices, GError **error)
{
    uint64_t n = cli_devices_count(devices);
    uint64_t full = 0;
    uint64_t i;

    if (devices->vmdesc == NULL) {
        return true;
    }
    for (i = 0; i < n; i++) {
        const CliSection *section = cli_devices_get(devices, i);
        VmloadNode *root;

        if (section->type != VMLOAD_RECORD_FULL) {
            continue;
        }
        full++;
        root = cli_devices_decode(devices, section, error);
        if (root == NULL) {
            return false;
        }
        vmload_node_free(root);
    }
    if (full != vmload_vmdesc_get_n_devices(devices->vmdesc)) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_MALFORMED,
                    "expected %" G_GUINT64_FORMAT " device sections as "
                    "described, found %" G_GUINT64_FORMAT,
                    vmload_vmdesc_get_n_devices(devices->vmdesc), full);
        return false;
    }
    return true;
}

static const char *record_key(uint32_t type)
{
    switch (type) {
    case VMLOAD_RECORD_START:
        return "start";
    case VMLOAD_RECORD_PART:
        return "part";
    default:
        return "end";
    }
}

/* "raw", and for live sections "record". */
static bool json_add_raw(json_t *json, const CliSection *section)
{
    char *hex = cli_hex(section->data, section->length);
    bool ok = hex != NULL;

    if (section->type != VMLOAD_RECORD_FULL) {
        json_object_set_new(json, "record",
                            json_string(record_key(section->type)));
    }
    ok = ok && json_object_set_new(json, "raw", json_string_nocheck(hex)) == 0;
    g_free(hex);
    return ok;
}

json_t *cli_devices_json(const CliDevices *devices, const CliSection *section,
                         GError **error)
{
    json_t *json = json_object();
    bool ok;

    json_object_set_new(json, "name", cli_json_text(section->name,
                                                    strlen(section->name)));
    json_object_set_new(json, "instance_id",
                        json_integer(section->instance_id));
    json_object_set_new(json, "version", json_integer(section->version_id));
    if (section->type == VMLOAD_RECORD_FULL && devices->vmdesc != NULL) {
        VmloadNode *root = cli_devices_decode(devices, section, error);

        if (root == NULL) {
            json_decref(json);
            return NULL;
        }
        ok = json_object_set_new(json, "fields", cli_json_node(root)) == 0;
        vmload_node_free(root);
    } else {
        ok = json_add_raw(json, section);
    }
    if (!ok) {
        json_decref(json);
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_LIMIT,
                    "device '%s'/%u: no memory for its JSON", section->name,
                    section->instance_id);
        return NULL;
    }
    return json;
}

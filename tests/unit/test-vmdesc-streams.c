/* SPDX-License-Identifier: BSD-3-Clause */
/* Every device of every recorded stream decodes to its last byte. */
#include "unit.h"

#include <vmload/vmdesc.h>

/*
 * Where the text starts: behind the last NUL, and after `06` and its length.
 * That has to be looked at: the length itself may have a '{' in it.
 */
static uint64_t find_json(const char *data, uint64_t length)
{
    uint64_t at = length;
    uint32_t claim;

    while (at > 0 && data[at - 1] != '\0') {
        at--;
    }
    for (at = MAX(at, 5); at < length; at++) {
        memcpy(&claim, data + at - 4, sizeof(claim));
        if (data[at] == '{' && data[at - 5] == 0x06 &&
            GUINT32_FROM_BE(claim) == length - at) {
            return at;
        }
    }
    fail_msg("no description");
    return 0;
}

/* The payload of the FULL section of @device, from @pos on. */
static uint64_t find_section(const char *data, uint64_t length, uint64_t pos,
                             const VmloadVmdescDevice *device)
{
    size_t name = strlen(device->name);
    uint32_t instance = GUINT32_TO_BE(device->instance_id);
    uint32_t version = GUINT32_TO_BE(device->version_id);

    for (; pos + 14 + name < length; pos++) {
        const char *at = data + pos;

        if (at[0] == 0x04 && (uint8_t)at[5] == name &&
            memcmp(at + 6, device->name, name) == 0 &&
            memcmp(at + 6 + name, &instance, 4) == 0 &&
            (!device->has_version ||
             memcmp(at + 10 + name, &version, 4) == 0)) {
            return pos + 14 + name;
        }
    }
    fail_msg("no section '%s'/%u", device->name, device->instance_id);
    return 0;
}

/* Every byte of a struct belongs to a child. */
static void check_cover(const VmloadNode *node)
{
    uint64_t n = vmload_node_get_n_children(node);
    uint64_t end = vmload_node_get_offset(node);
    uint64_t i;

    if (n == 0) {
        return;
    }
    if (vmload_node_get_kind(node) == VMLOAD_NODE_SUBSECTION) {
        end += 6 + strlen(vmload_node_get_name(node));
    }
    for (i = 0; i < n; i++) {
        const VmloadNode *child = vmload_node_get_child(node, i);

        assert_int_equal(vmload_node_get_offset(child), end);
        end += vmload_node_get_size(child);
        check_cover(child);
    }
    assert_int_equal(end, vmload_node_get_offset(node) +
                              vmload_node_get_size(node));
}

static const VmloadNode *find_path(const VmloadNode *node, const char *path)
{
    char **names = g_strsplit(path, "|", -1);
    size_t i;

    for (i = 0; names[i] != NULL; i++) {
        node = vmload_node_find(node, names[i]);
        assert_non_null(node);
    }
    g_strfreev(names);
    return node;
}

/* What is known of these machines, whatever the guest does. */
static void check_known(const char *name, const VmloadNode *root)
{
    if (strcmp(name, "globalstate") == 0) {
        uint64_t length;
        const uint8_t *text =
            vmload_node_get_bytes(find_path(root, "runstate"), &length);

        /* Since 9.0 the flags behind it are fields of their own. */
        assert_true(length == 100 || length == 32);
        assert_true(text[0] >= 'a' && text[0] <= 'z');
    } else if (strcmp(name, "PCIBUS") == 0) {
        uint64_t n = vmload_node_get_uint(find_path(root, "nirq"));

        assert_int_equal(
            vmload_node_get_n_children(find_path(root, "irq_count")), n);
    } else if (strcmp(name, "i8254") == 0) {
        const VmloadNode *channels = find_path(root, "channels");

        assert_int_equal(vmload_node_get_kind(channels), VMLOAD_NODE_ARRAY);
        assert_int_equal(vmload_node_get_n_children(channels), 3);
    } else if (strcmp(name, "pckbd") == 0) {
        find_path(root, "kbd|status");
    } else if (strcmp(name, "cpu") == 0) {
        assert_true(vmload_node_get_n_children(find_path(root, "env.regs")) >=
                    8);
        assert_int_equal(
            vmload_node_get_n_children(find_path(root, "env.fpregs")), 8);
    }
}

/* Sources from 8.2 on describe the configuration, too. */
static void decode_configuration(const VmloadVmdesc *vmdesc, const char *data,
                                 uint64_t length)
{
    VmloadVmdescDevice device = {.struct_size = sizeof(device)};
    uint64_t index = vmload_vmdesc_get_configuration(vmdesc);
    GError *error = NULL;
    const uint8_t *machine;
    uint64_t n;
    VmloadNode *root;

    if (index == VMLOAD_VMDESC_NONE) {
        return;
    }
    assert_true(vmload_vmdesc_get_device(vmdesc, index, &device));
    assert_int_equal(data[8], 0x07);
    assert_true(device.size <= length - 9);
    root = vmload_vmdesc_decode(vmdesc, index, (const uint8_t *)data + 9,
                                device.size, 9, &error);
    if (root == NULL) {
        fail_msg("%s", error->message);
    }
    check_cover(root);
    machine = vmload_node_get_bytes(vmload_node_find(root, "name"), &n);
    assert_int_equal(n, vmload_node_get_uint(vmload_node_find(root, "len")));
    assert_true(machine[0] >= 'a' && machine[0] <= 'z');
    vmload_node_free(root);
}

static void decode_stream(const char *data, uint64_t length,
                          uint64_t *n_devices)
{
    uint64_t json = find_json(data, length);
    GError *error = NULL;
    VmloadVmdesc *vmdesc =
        vmload_vmdesc_new(data + json, length - json, NULL, &error);
    VmloadVmdescDevice device = {.struct_size = sizeof(device)};
    uint64_t pos = 0;
    uint64_t i;

    assert_non_null(vmdesc);
    decode_configuration(vmdesc, data, length);
    *n_devices = vmload_vmdesc_get_n_devices(vmdesc);
    for (i = 0; vmload_vmdesc_get_device(vmdesc, i, &device); i++) {
        VmloadNode *root;

        pos = find_section(data, json, pos, &device);
        assert_true(device.size <= json - pos);
        root = vmload_vmdesc_decode(vmdesc, i, (const uint8_t *)data + pos,
                                    device.size, pos, &error);
        if (root == NULL) {
            fail_msg("%s", error->message);
        }
        check_cover(root);
        check_known(device.name, root);
        vmload_node_free(root);
        pos += device.size;
        /* A footer, the next section, or EOF. */
        assert_true(data[pos] == 0x7e || data[pos] == 0x04 || data[pos] == 0);
    }
    vmload_vmdesc_free(vmdesc);
}

static void test_recorded_streams(void **state)
{
    static const struct {
        const char *name;
        uint64_t devices;
    } streams[] = {
        {"none", 2},
        {"none-capabilities", 2},
        {"isapc", 21},
        {"isapc-ignore-shared", 21},
        {"pc", 28},
        {"q35", 26},
        {"pc-2.3", 25},
        {"pc-2.4", 26},
        {"xbzrle", 21},
        {"background-snapshot", 21},
        {"none-10.0", 2},
        {"none-return-path-10.0", 2},
        {"isapc-10.0", 21},
    };
    const char *folder = g_getenv("VMLOAD_STREAMS");
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(streams); i++) {
        char *path = g_strdup_printf(
            "%s/%s.stream", folder != NULL ? folder : "tests/streams",
            streams[i].name);
        GError *error = NULL;
        uint64_t n_devices;
        gsize length;
        char *data;

        if (!g_file_get_contents(path, &data, &length, &error)) {
            fail_msg("%s", error->message);
        }
        decode_stream(data, length, &n_devices);
        assert_int_equal(n_devices, streams[i].devices);
        g_free(data);
        g_free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_streams),
    };

    return cmocka_run_group_tests_name("vmdesc-streams", tests, NULL, NULL);
}

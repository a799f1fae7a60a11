/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include <vmload/vmdesc.h>

/* A description with one device "d" whose fields are @fields. */
#define DEVICE(fields)                                                  \
    "{\"page_size\": 4096, \"devices\": [{\"name\": \"d\", "            \
    "\"instance_id\": 3, \"vmsd_name\": \"d\", \"version\": 2, "        \
    "\"fields\": [" fields "]}]}"

#define FIELD(name, type, size) \
    "{\"name\": \"" name "\", \"type\": \"" type "\", \"size\": " #size "}"

#define ARRAY(name, n, type, size)                                      \
    "{\"name\": \"" name "\", \"array_len\": " #n ", \"type\": \"" type \
    "\", \"size\": " #size "}"

#define STRUCT(name, extra, fields, size)                               \
    "{\"name\": \"" name "\", " extra "\"type\": \"struct\", "          \
    "\"struct\": {\"vmsd_name\": \"s\", \"version\": 7, \"fields\": ["  \
    fields "]}, \"size\": " #size "}"

static VmloadVmdesc *vmdesc_new(const char *json)
{
    GError *error = NULL;
    VmloadVmdesc *vmdesc =
        vmload_vmdesc_new(json, strlen(json), NULL, &error);

    if (vmdesc == NULL) {
        fail_msg("%s: %s", json, error->message);
    }
    return vmdesc;
}

/* Decodes device 0; the tree must outlive the description. */
static VmloadNode *decode(const char *json, const uint8_t *data,
                          uint64_t length, GError **error)
{
    VmloadVmdesc *vmdesc = vmdesc_new(json);
    VmloadNode *root =
        vmload_vmdesc_decode(vmdesc, 0, data, length, 0x1000, error);

    vmload_vmdesc_free(vmdesc);
    return root;
}

static VmloadNode *decode_ok(const char *json, const uint8_t *data,
                             uint64_t length)
{
    GError *error = NULL;
    VmloadNode *root = decode(json, data, length, &error);

    if (root == NULL) {
        fail_msg("%s: %s", json, error->message);
    }
    return root;
}

static const uint8_t bytes[16] = {
    0xf0, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07,
    0x30, 0x31, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
};

static void test_integers(void **state)
{
    static const struct {
        const char *field;
        uint64_t size;
        VmloadNodeKind kind;
        uint64_t value;
    } cases[] = {
        {FIELD("v", "bool", 1), 1, VMLOAD_NODE_BOOL, 1},
        {FIELD("v", "int8", 1), 1, VMLOAD_NODE_INT, UINT64_C(-0x10)},
        {FIELD("v", "int16", 2), 2, VMLOAD_NODE_INT, UINT64_C(-0x0fff)},
        {FIELD("v", "int32", 4), 4, VMLOAD_NODE_INT, UINT64_C(-0x0ffefdfd)},
        {FIELD("v", "int64", 8), 8, VMLOAD_NODE_INT, 0xf001020304050607},
        {FIELD("v", "uint8", 1), 1, VMLOAD_NODE_UINT, 0xf0},
        {FIELD("v", "uint16", 2), 2, VMLOAD_NODE_UINT, 0xf001},
        {FIELD("v", "uint32", 4), 4, VMLOAD_NODE_UINT, 0xf0010203},
        {FIELD("v", "uint64", 8), 8, VMLOAD_NODE_UINT, 0xf001020304050607},
        {FIELD("v", "uint8 equal", 1), 1, VMLOAD_NODE_UINT, 0xf0},
        {FIELD("v", "uint16 equal", 2), 2, VMLOAD_NODE_UINT, 0xf001},
        {FIELD("v", "uint32 equal", 4), 4, VMLOAD_NODE_UINT, 0xf0010203},
        {FIELD("v", "int32 equal", 4), 4, VMLOAD_NODE_INT,
         UINT64_C(-0x0ffefdfd)},
        {FIELD("v", "int64 equal", 8), 8, VMLOAD_NODE_UINT,
         0xf001020304050607},
        {FIELD("v", "int32 le", 4), 4, VMLOAD_NODE_INT,
         UINT64_C(-0x0ffefdfd)},
        {FIELD("v", "timer", 8), 8, VMLOAD_NODE_INT, 0xf001020304050607},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *json = g_strdup_printf(DEVICE("%s"), cases[i].field);
        VmloadNode *root = decode_ok(json, bytes, cases[i].size);
        const VmloadNode *node = vmload_node_find(root, "v");
        GError *error = NULL;

        assert_non_null(node);
        assert_int_equal(vmload_node_get_kind(node), cases[i].kind);
        assert_true(vmload_node_get_uint(node) == cases[i].value);
        assert_int_equal(vmload_node_get_offset(node), 0x1000);
        assert_int_equal(vmload_node_get_size(node), cases[i].size);
        assert_non_null(strstr(cases[i].field, vmload_node_get_type(node)));
        assert_int_equal(vmload_node_get_n_children(node), 0);
        assert_null(vmload_node_get_child(node, 0));
        assert_null(vmload_node_find(node, "v"));
        vmload_node_free(root);

        /* One byte less, one byte more. */
        assert_null(decode(json, bytes, cases[i].size - 1, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "field 'v'");
        assert_null(decode(json, bytes, cases[i].size + 1, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "device 'd'/3");
        g_free(json);
    }
}

static void test_other_types(void **state)
{
    static const uint8_t data[] = {
        0x40, 0x09, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18, /* pi */
        0x30,                                           /* nullptr */
        0x31,                                           /* ptr-marker */
        'a',  0x00, 'c',                                /* buffer */
        0xff, 0xfe,                                     /* virtio */
    };
    VmloadNode *root =
        decode_ok(DEVICE(FIELD("f", "CPU_Double_U", 8) ", "
                         FIELD("n", "nullptr", 1) ", "
                         FIELD("m", "ptr-marker", 1) ", "
                         FIELD("b", "buffer", 3) ", "
                         FIELD("e", "unused_buffer", 0) ", "
                         FIELD("o", "virtio", 2)),
                  data, sizeof(data));
    const uint8_t *got;
    uint64_t length;
    double pi;

    (void)state;
    assert_string_equal(vmload_node_get_name(root), "d");
    assert_int_equal(vmload_node_get_version(root), 2);
    assert_int_equal(vmload_node_get_n_children(root), 6);
    assert_int_equal(vmload_node_get_kind(vmload_node_find(root, "f")),
                     VMLOAD_NODE_DOUBLE);
    pi = vmload_node_get_double(vmload_node_find(root, "f"));
    assert_true(pi > 3.14159265 && pi < 3.14159266);
    assert_int_equal(vmload_node_get_kind(vmload_node_find(root, "n")),
                     VMLOAD_NODE_NULL);
    assert_int_equal(vmload_node_get_uint(vmload_node_find(root, "m")), 1);
    got = vmload_node_get_bytes(vmload_node_find(root, "b"), &length);
    assert_int_equal(length, 3);
    assert_memory_equal(got, "a\0c", 3);
    vmload_node_get_bytes(vmload_node_find(root, "e"), &length);
    assert_int_equal(length, 0);
    got = vmload_node_get_bytes(vmload_node_find(root, "o"), &length);
    assert_int_equal(length, 2);
    assert_int_equal(got[1], 0xfe);
    assert_string_equal(vmload_node_get_type(vmload_node_get_child(root, 5)),
                        "virtio");
    assert_null(vmload_node_get_child(root, 6));
    vmload_node_free(root);
}

static void test_arrays(void **state)
{
    VmloadNode *root;
    const VmloadNode *node;

    (void)state;
    root = decode_ok(DEVICE(ARRAY("a", 3, "uint16", 2) ", "
                            FIELD("z", "uint8", 1)),
                     bytes, 7);
    node = vmload_node_find(root, "a");
    assert_int_equal(vmload_node_get_kind(node), VMLOAD_NODE_ARRAY);
    assert_int_equal(vmload_node_get_n_children(node), 3);
    assert_int_equal(vmload_node_get_uint(vmload_node_get_child(node, 2)),
                     0x0405);
    assert_int_equal(vmload_node_get_offset(vmload_node_get_child(node, 2)),
                     0x1004);
    assert_int_equal(vmload_node_get_size(node), 6);
    assert_int_equal(vmload_node_get_uint(vmload_node_find(root, "z")), 6);
    vmload_node_free(root);
}

/* A getter of another kind gives its neutral value. */
static void test_wrong_getters(void **state)
{
    VmloadNode *root = decode_ok(
        DEVICE(FIELD("i", "int8", 1) ", " FIELD("u", "uint8", 1) ", "
               FIELD("b", "buffer", 2) ", " FIELD("f", "CPU_Double_U", 8)),
        bytes, 12);
    const VmloadNode *node;
    uint64_t length = 77;

    (void)state;
    node = vmload_node_find(root, "i");
    assert_int_equal(vmload_node_get_int(node), -16);
    assert_true(vmload_node_get_double(node) == -16.0);
    assert_null(vmload_node_get_bytes(node, &length));
    assert_int_equal(length, 0);
    node = vmload_node_find(root, "u");
    assert_true(vmload_node_get_double(node) == 1.0);
    assert_int_equal(vmload_node_get_version(node), 0);
    node = vmload_node_find(root, "b");
    assert_int_equal(vmload_node_get_uint(node), 0);
    assert_true(vmload_node_get_double(node) == 0.0);
    node = vmload_node_find(root, "f");
    assert_int_equal(vmload_node_get_int(node), 0);
    assert_int_equal(vmload_node_get_uint(root), 0);
    vmload_node_free(root);
    vmload_node_free(NULL);
    vmload_vmdesc_free(NULL);
}

/* The three ways in which versions list uncompressed arrays. */
static void test_array_forms(void **state)
{
    static const char *const forms[] = {
        DEVICE(STRUCT("s", "\"index\": 0, ", FIELD("x", "uint8", 1), 1) ", "
               STRUCT("s", "\"index\": 1, ", FIELD("x", "uint8", 1), 1) ", "
               FIELD("z", "uint8", 1)),
        DEVICE(STRUCT("s", "\"index\": 0, ", FIELD("x", "uint8", 1), 1) ", "
               STRUCT("s", "", FIELD("x", "uint8", 1), 1) ", "
               FIELD("z", "uint8", 1)),
        DEVICE(STRUCT("s", "", FIELD("x", "uint8", 1), 1) ", "
               STRUCT("s", "", FIELD("x", "uint8", 1), 1) ", "
               FIELD("z", "uint8", 1)),
        DEVICE(STRUCT("s", "\"array_len\": 2, ", FIELD("x", "uint8", 1), 1)
               ", " FIELD("z", "uint8", 1)),
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(forms); i++) {
        VmloadNode *root = decode_ok(forms[i], bytes, 3);
        const VmloadNode *array = vmload_node_find(root, "s");
        const VmloadNode *node;

        assert_int_equal(vmload_node_get_n_children(root), 2);
        assert_int_equal(vmload_node_get_kind(array), VMLOAD_NODE_ARRAY);
        assert_int_equal(vmload_node_get_n_children(array), 2);
        node = vmload_node_get_child(array, 1);
        assert_int_equal(vmload_node_get_kind(node), VMLOAD_NODE_STRUCT);
        assert_int_equal(vmload_node_get_version(node), 7);
        assert_string_equal(vmload_node_get_name(node), "");
        node = vmload_node_find(node, "x");
        assert_int_equal(vmload_node_get_uint(node), 1);
        node = vmload_node_find(root, "z");
        assert_int_equal(vmload_node_get_uint(node), 2);
        vmload_node_free(root);
    }

    /* One element that has an index is an array still. */
    {
        VmloadNode *root = decode_ok(
            DEVICE("{\"name\": \"s\", \"index\": 0, \"type\": \"uint8\", "
                   "\"size\": 1}"),
            bytes, 1);

        assert_int_equal(vmload_node_get_kind(vmload_node_find(root, "s")),
                         VMLOAD_NODE_ARRAY);
        vmload_node_free(root);
    }
}

/* An array of pointers: runs of null and of values, one array. */
static void test_array_of_pointers(void **state)
{
    static const uint8_t data[] = {0x12, 0x30, 0x30, 0x34};
    static const VmloadNodeKind kinds[] = {
        VMLOAD_NODE_UINT,
        VMLOAD_NODE_NULL,
        VMLOAD_NODE_NULL,
        VMLOAD_NODE_UINT,
    };
    const char *json = DEVICE(FIELD("p", "uint8", 1) ", "
                              ARRAY("p", 2, "nullptr", 1) ", "
                              FIELD("p", "uint8", 1));
    VmloadNode *root = decode_ok(json, data, sizeof(data));
    const VmloadNode *array = vmload_node_find(root, "p");
    GError *error = NULL;
    uint8_t wrong[4];
    uint64_t i;

    (void)state;
    assert_int_equal(vmload_node_get_n_children(array), 4);
    for (i = 0; i < 4; i++) {
        assert_int_equal(
            vmload_node_get_kind(vmload_node_get_child(array, i)), kinds[i]);
    }
    vmload_node_free(root);

    memcpy(wrong, data, sizeof(wrong));
    wrong[2] = 0x31;
    assert_null(decode(json, wrong, sizeof(wrong), &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "field 'p[2]'");
}

/* The stream of the specification's example: nested, of the same name. */
static void test_subsection(void **state)
{
    static const char json[] =
        "{\"page_size\": 4096, \"devices\": [{\"name\": \"pckbd\", "
        "\"instance_id\": 0, \"vmsd_name\": \"pckbd\", \"version\": 3, "
        "\"fields\": [{\"name\": \"kbd\", \"type\": \"struct\", \"struct\": "
        "{\"vmsd_name\": \"pckbd\", \"version\": 3, \"fields\": ["
        FIELD("write_cmd", "uint8", 1) ", " FIELD("status", "uint8", 1) ", "
        FIELD("mode", "uint8", 1) ", " FIELD("pending_tmp", "uint8", 1)
        "], \"subsections\": [{\"vmsd_name\": \"pckbd/extended_state\", "
        "\"version\": 0, \"fields\": ["
        FIELD("migration_flags", "uint32", 4) ", " FIELD("obsrc", "uint32", 4)
        ", " FIELD("obdata", "uint8", 1) ", " FIELD("cbdata", "uint8", 1)
        "]}]}, \"size\": 40}]}]}";
    static const uint8_t data[] =
        "\x00\x18\x03\x00\x05\x14pckbd/extended_state\x00\x00\x00\x00"
        "\x00\x00\x00\x00\x00\x00\x00\x07\x09\x00";
    static const struct {
        uint64_t at;
        const char *found;
    } wrong[] = {
        {4, "head of a subsection"},  /* marker */
        {5, "head of a subsection"},  /* length of the name */
        {10, "head of a subsection"}, /* name */
        {29, "version 0, found 85"},  /* version */
    };
    const uint64_t length = sizeof(data) - 1;
    VmloadNode *root = decode_ok(json, data, length);
    const VmloadNode *node = vmload_node_find(root, "kbd");
    GError *error = NULL;
    uint8_t copy[sizeof(data)];
    uint64_t i;

    (void)state;
    assert_int_equal(vmload_node_get_size(node), 40);
    assert_int_equal(vmload_node_get_n_children(node), 5);
    assert_int_equal(vmload_node_get_uint(vmload_node_find(node, "status")),
                     0x18);
    node = vmload_node_find(node, "pckbd/extended_state");
    assert_int_equal(vmload_node_get_kind(node), VMLOAD_NODE_SUBSECTION);
    assert_int_equal(vmload_node_get_offset(node), 0x1004);
    assert_int_equal(vmload_node_get_size(node), 36);
    assert_int_equal(vmload_node_get_uint(vmload_node_find(node, "obsrc")), 7);
    vmload_node_free(root);

    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        memcpy(copy, data, sizeof(copy));
        copy[wrong[i].at] = 0x55;
        assert_null(decode(json, copy, length, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, wrong[i].found);
    }
    for (i = 0; i < length; i++) {
        assert_null(decode(json, data, i, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "field 'kbd");
    }
}

#define INLINE(type, size)                                                   \
    "{\"name\": \"t\", \"type\": \"" type "\", \"vmsd_name\": \"t\", "       \
    "\"version\": 1, \"fields\": [" FIELD("a", "uint8", 1) ", "              \
    FIELD("b", "uint8", 1) "], \"size\": " #size "}"

static void test_inline(void **state)
{
    static const struct {
        const char *field;
        uint64_t size;
        VmloadNodeKind kind;
    } cases[] = {
        {INLINE("tmp", 2), 2, VMLOAD_NODE_STRUCT},
        {INLINE("vstruct", 2), 2, VMLOAD_NODE_STRUCT},
        /* What does not add up is opaque. */
        {INLINE("tmp", 3), 3, VMLOAD_NODE_BYTES},
        {FIELD("t", "tmp", 3), 3, VMLOAD_NODE_BYTES},
        /* Lists repeat their keys, and have markers besides. */
        {INLINE("qtailq", 4), 4, VMLOAD_NODE_BYTES},
        {INLINE("qlist", 4), 4, VMLOAD_NODE_BYTES},
        {INLINE("gtree", 2), 2, VMLOAD_NODE_BYTES},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *json = g_strdup_printf(DEVICE("%s"), cases[i].field);
        VmloadNode *root = decode_ok(json, bytes, cases[i].size);
        const VmloadNode *node = vmload_node_find(root, "t");

        assert_int_equal(vmload_node_get_kind(node), cases[i].kind);
        if (cases[i].kind == VMLOAD_NODE_STRUCT) {
            assert_int_equal(
                vmload_node_get_uint(vmload_node_find(node, "b")), 1);
        }
        vmload_node_free(root);
        g_free(json);
    }
}

/* As sources from 8.2 on describe it: the second name has another length. */
static void test_configuration(void **state)
{
    static const char json[] =
        "{\"configuration\": {\"vmsd_name\": \"configuration\", \"version\": "
        "1, \"fields\": [" FIELD("len", "uint32", 4) ", "
        FIELD("name", "buffer", 4) "], \"subsections\": [{\"vmsd_name\": "
        "\"configuration/capabilities\", \"version\": 1, \"fields\": ["
        FIELD("caps_count", "uint32", 4) ", "
        ARRAY("capabilities", 2, "capability", 16)
        "]}]}, \"page_size\": 4096, \"devices\": []}";
    static const uint8_t data[] =
        "\x00\x00\x00\x04none\x05\x1a"
        "configuration/capabilities\x00\x00\x00\x01\x00\x00\x00\x02"
        "\x0fx-ignore-shared\x0amapped-ram";
    VmloadVmdesc *vmdesc = vmdesc_new(json);
    VmloadVmdescDevice device = {.struct_size = sizeof(device)};
    GError *error = NULL;
    const VmloadNode *node;
    const uint8_t *text;
    uint64_t length;
    VmloadNode *root;

    (void)state;
    assert_int_equal(vmload_vmdesc_get_n_devices(vmdesc), 0);
    assert_true(vmload_vmdesc_get_configuration(vmdesc) ==
                VMLOAD_VMDESC_CONFIGURATION);
    assert_true(vmload_vmdesc_get_device(vmdesc, VMLOAD_VMDESC_CONFIGURATION,
                                         &device));
    assert_string_equal(device.name, "configuration");
    root = vmload_vmdesc_decode(vmdesc, VMLOAD_VMDESC_CONFIGURATION, data,
                                sizeof(data) - 1, 9, &error);
    assert_non_null(root);
    node = vmload_node_find(root, "configuration/capabilities");
    node = vmload_node_find(node, "capabilities");
    assert_int_equal(vmload_node_get_n_children(node), 2);
    node = vmload_node_get_child(node, 1);
    assert_int_equal(vmload_node_get_kind(node), VMLOAD_NODE_STRING);
    text = vmload_node_get_bytes(node, &length);
    assert_int_equal(length, 10);
    assert_memory_equal(text, "mapped-ram", 10);
    vmload_node_free(root);

    assert_null(vmload_vmdesc_decode(vmdesc, VMLOAD_VMDESC_CONFIGURATION, data,
                                     sizeof(data) - 2, 9, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "capabilities[1]");
    assert_null(vmload_vmdesc_decode(vmdesc, 0, data, 1, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "index");
    vmload_vmdesc_free(vmdesc);

    vmdesc = vmdesc_new(DEVICE(""));
    assert_true(vmload_vmdesc_get_configuration(vmdesc) == VMLOAD_VMDESC_NONE);
    assert_null(vmload_vmdesc_decode(vmdesc, VMLOAD_VMDESC_CONFIGURATION, data,
                                     sizeof(data) - 1, 9, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "index");
    vmload_vmdesc_free(vmdesc);
}

#define NAMED(name, instance) \
    "{\"name\": \"" name "\", \"instance_id\": " #instance ", " \
    "\"vmsd_name\": \"x\", \"version\": 4, \"fields\": []}"

static void test_devices(void **state)
{
    static const struct {
        const char *name;
        uint32_t instance_id;
        uint64_t nth;
        uint64_t index;
    } cases[] = {
        {"cpu", 0, 0, 0},
        {"cpu", 1, 0, 2},
        {"cpu", 1, 1, 4},
        {"cpu", 1, 2, VMLOAD_VMDESC_NONE},
        {"cpu", 1, UINT64_MAX, VMLOAD_VMDESC_NONE},
        {"cpu", 2, 0, VMLOAD_VMDESC_NONE},
        {"slirp", 0, 0, 3},
        {"apic", 0xffffffff, 0, 1},
        {"", 0, 0, VMLOAD_VMDESC_NONE},
        {"zzz", 0, 0, VMLOAD_VMDESC_NONE},
    };
    VmloadVmdesc *vmdesc = vmdesc_new(
        "{\"page_size\": 8192, \"devices\": [" NAMED("cpu", 0) ", "
        NAMED("apic", -1) ", " NAMED("cpu", 1) ", {\"name\": \"slirp\", "
        "\"instance_id\": 0, \"size\": 5, \"fields\": [{\"name\": \"data\", "
        "\"size\": 5, \"type\": \"buffer\"}]}, " NAMED("cpu", 1) "]}");
    VmloadVmdescDevice device = {.struct_size = sizeof(device)};
    size_t i;

    (void)state;
    assert_int_equal(vmload_vmdesc_get_page_size(vmdesc), 8192);
    assert_int_equal(vmload_vmdesc_get_n_devices(vmdesc), 5);
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        assert_true(vmload_vmdesc_find_device(vmdesc, cases[i].name,
                                              cases[i].instance_id,
                                              cases[i].nth) == cases[i].index);
    }
    assert_true(vmload_vmdesc_get_device(vmdesc, 3, &device));
    assert_string_equal(device.name, "slirp");
    assert_int_equal(device.has_version, 0);
    assert_int_equal(device.size, 5);
    assert_true(vmload_vmdesc_get_device(vmdesc, 4, &device));
    assert_int_equal(device.has_version, 1);
    assert_int_equal(device.version_id, 4);
    assert_int_equal(device.instance_id, 1);
    assert_false(vmload_vmdesc_get_device(vmdesc, 5, &device));
    assert_false(vmload_vmdesc_get_device(vmdesc, UINT64_MAX, &device));
    vmload_vmdesc_free(vmdesc);
}

/* A compressed array whose second element is longer than described. */
static void test_uneven_array(void **state)
{
    const char *json = DEVICE(
        STRUCT("s", "\"array_len\": 2, ",
               ARRAY("v", 2, "virtio", 2) ", " FIELD("x", "uint8", 1), 6));
    GError *error = NULL;

    (void)state;
    assert_null(decode(json, bytes, 12, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                      "field 's[0]': its description adds up to 5 bytes, "
                      "expected its size of 6");
}

static const struct {
    const char *json;
    VmloadError code;
    const char *part;
} bad_json[] = {
    {"", VMLOAD_ERROR_MALFORMED, "JSON position"},
    {"{", VMLOAD_ERROR_MALFORMED, "JSON position"},
    {"{}x", VMLOAD_ERROR_MALFORMED, "JSON position"},
    {"\"", VMLOAD_ERROR_MALFORMED, "JSON position"},
    {"\"\\", VMLOAD_ERROR_MALFORMED, "JSON position"},
    {"[]", VMLOAD_ERROR_MALFORMED, "expected an object"},
    {"{}", VMLOAD_ERROR_MALFORMED, "'page_size'"},
    {"{\"page_size\": 0, \"devices\": []}", VMLOAD_ERROR_MALFORMED,
     "'page_size'"},
    {"{\"page_size\": 4096.0, \"devices\": []}", VMLOAD_ERROR_MALFORMED,
     "'page_size'"},
    {"{\"page_size\": 4096}", VMLOAD_ERROR_MALFORMED, "'devices'"},
    {"{\"page_size\": 4096, \"devices\": {}}", VMLOAD_ERROR_MALFORMED,
     "'devices'"},
    {"{\"page_size\": 4096, \"devices\": [1]}", VMLOAD_ERROR_MALFORMED,
     "'name'"},
    {"{\"page_size\": 4096, \"devices\": [{\"name\": \"\"}]}",
     VMLOAD_ERROR_MALFORMED, "'name'"},
    {"{\"page_size\": 4096, \"devices\": [{\"name\": \"a\\nb\"}]}",
     VMLOAD_ERROR_MALFORMED, "'name'"},
    {"{\"page_size\": 4096, \"devices\": [{\"name\": \"d\", "
     "\"instance_id\": 4294967296}]}",
     VMLOAD_ERROR_MALFORMED, "'instance_id'"},
    {"{\"page_size\": 4096, \"devices\": [{\"name\": \"d\", "
     "\"instance_id\": 0, \"size\": 2, \"fields\": ["
     FIELD("data", "buffer", 3) "]}]}",
     VMLOAD_ERROR_MALFORMED, "'d': 'size': expected 3"},
    {"{\"page_size\": 4096, \"configuration\": 1, \"devices\": []}",
     VMLOAD_ERROR_MALFORMED, "'configuration'"},
    {"{\"page_size\": 4096, \"devices\": [{\"name\": \"d\", "
     "\"instance_id\": 0, \"vmsd_name\": \"d\", \"version\": 1}]}",
     VMLOAD_ERROR_MALFORMED, "'fields'"},
    {"{\"page_size\": 4096, \"devices\": [{\"name\": \"d\", "
     "\"instance_id\": 0, \"vmsd_name\": \"d\", \"version\": 1, "
     "\"fields\": [], \"subsections\": 1}]}",
     VMLOAD_ERROR_MALFORMED, "'subsections'"},
    {"{\"page_size\": 4096, \"devices\": [{\"name\": \"d\", "
     "\"instance_id\": 0, \"vmsd_name\": \"d\", \"version\": 1, "
     "\"fields\": [], \"subsections\": [1]}]}",
     VMLOAD_ERROR_MALFORMED, "expected a description"},
    {DEVICE("{\"name\": \"v\", \"size\": 1}"), VMLOAD_ERROR_MALFORMED,
     "'type'"},
    {DEVICE("{\"name\": \"v\", \"type\": \"uint8\"}"),
     VMLOAD_ERROR_MALFORMED, "'d', 'd', 'v': 'size'"},
    {DEVICE(FIELD("v", "buffer", -1)), VMLOAD_ERROR_MALFORMED, "'size'"},
    {DEVICE(FIELD("v", "uint32", 8)), VMLOAD_ERROR_MALFORMED,
     "type 'uint32': expected size 4, found 8"},
    {DEVICE(ARRAY("v", -1, "uint8", 1)), VMLOAD_ERROR_MALFORMED,
     "'array_len'"},
    {DEVICE(ARRAY("v", 1048577, "uint8", 1)), VMLOAD_ERROR_LIMIT,
     "'elements'"},
    {DEVICE(ARRAY("v", 1000000, "buffer", 9223372036854775807)),
     VMLOAD_ERROR_MALFORMED, "add up"},
    {DEVICE(FIELD("v", "buffer", 9223372036854775807) ", "
            FIELD("w", "buffer", 1)),
     VMLOAD_ERROR_MALFORMED, "add up"},
    {DEVICE(FIELD("v", "struct", 1)), VMLOAD_ERROR_MALFORMED,
     "expected a description, found nothing"},
};

static void test_bad_json(void **state)
{
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(bad_json); i++) {
        const char *json = bad_json[i].json;

        assert_null(vmload_vmdesc_new(json, strlen(json), NULL, &error));
        assert_unit_error(&error, bad_json[i].code, bad_json[i].part);
    }
}

static char *nested_json(uint32_t depth)
{
    GString *json = g_string_new(
        "{\"page_size\": 4096, \"devices\": [{\"name\": \"d\", "
        "\"instance_id\": 0, \"vmsd_name\": \"d\", \"version\": 1, "
        "\"fields\": [");
    uint32_t i;

    for (i = 1; i < depth; i++) {
        g_string_append(json, "{\"name\": \"s\", \"type\": \"struct\", "
                              "\"size\": 0, \"struct\": {\"vmsd_name\": \"s\""
                              ", \"version\": 1, \"fields\": [");
    }
    for (i = 1; i < depth; i++) {
        g_string_append(json, "]}}");
    }
    g_string_append(json, "]}]}");
    return g_string_free(json, FALSE);
}

static void test_limits(void **state)
{
    static const char brackets[] = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[";
    VmloadLimits limits;
    VmloadVmdesc *vmdesc;
    GError *error = NULL;
    char *json;

    (void)state;
    /* Exactly as deep as allowed, and one deeper. */
    vmload_limits_init(&limits);
    limits.nesting = 6;
    json = nested_json(6);
    vmdesc = vmload_vmdesc_new(json, strlen(json), &limits, &error);
    assert_non_null(vmdesc);
    vmload_node_free(vmload_vmdesc_decode(vmdesc, 0, NULL, 0, 0, &error));
    assert_null(error);
    vmload_vmdesc_free(vmdesc);
    g_free(json);
    json = nested_json(7);
    assert_null(vmload_vmdesc_new(json, strlen(json), &limits, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "'nesting'");
    g_free(json);

    /* An unreasonable limit does not let the stack overflow. */
    limits.nesting = UINT32_MAX;
    json = nested_json(100000);
    assert_null(vmload_vmdesc_new(json, strlen(json), &limits, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "'nesting'");
    g_free(json);
    limits.nesting = 1;
    assert_null(vmload_vmdesc_new(brackets, strlen(brackets), &limits,
                                  &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "nested more than 12 deep");

    vmload_limits_init(&limits);
    limits.vmdesc_bytes = 10;
    assert_null(vmload_vmdesc_new(DEVICE(""), strlen(DEVICE("")), &limits,
                                  &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "'vmdesc-bytes'");

    vmload_limits_init(&limits);
    limits.sections = 0;
    assert_null(vmload_vmdesc_new(DEVICE(""), strlen(DEVICE("")), &limits,
                                  &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "'sections'");
}

static void test_memory_limit(void **state)
{
    const char *json = DEVICE(ARRAY("v", 1000, "unused_buffer", 0));
    VmloadLimits limits;
    VmloadVmdesc *vmdesc;
    GError *error = NULL;

    (void)state;
    vmload_limits_init(&limits);
    limits.element_bytes = 1000;
    assert_null(vmload_vmdesc_new(json, strlen(json), &limits, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "'element-bytes'");

    /* Enough for the description, not for a thousand nodes or the bytes. */
    limits.element_bytes = 20000;
    vmdesc = vmload_vmdesc_new(json, strlen(json), &limits, &error);
    assert_non_null(vmdesc);
    assert_null(vmload_vmdesc_decode(vmdesc, 0, bytes, 0, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "'element-bytes'");
    {
        uint8_t *much = g_malloc0(20001);

        assert_null(vmload_vmdesc_decode(vmdesc, 0, much, 20001, 0, &error));
        assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "'element-bytes'");
        g_free(much);
    }
    vmload_vmdesc_free(vmdesc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_wrong_getters),
        cmocka_unit_test(test_array_forms),
        cmocka_unit_test(test_array_of_pointers),
        cmocka_unit_test(test_subsection),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_uneven_array),
        cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_memory_limit),
    };

    return cmocka_run_group_tests_name("vmdesc", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptions that must not be used, one mistake each. */
#include "vmstate-fixture.h"

static bool get(void *opaque, void *object, void *element,
                VmloadReader *reader, GError **error)
{
    (void)opaque;
    (void)object;
    (void)element;
    (void)error;
    (void)reader;
    return true;
}

static bool insert(void *opaque, void *list, void *element, GError **error)
{
    (void)opaque;
    (void)list;
    (void)element;
    (void)error;
    return true;
}

static const VmloadFieldOps get_ops = {VMLOAD_FIELD_OPS_INIT, .get = get};
static const VmloadFieldOps list_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .insert = insert,
};

static bool insert_pair(void *opaque, void *tree, void *key,
                        uint64_t direct_key, void *value, GError **error)
{
    (void)opaque;
    (void)tree;
    (void)key;
    (void)direct_key;
    (void)value;
    (void)error;
    return true;
}

static const VmloadFieldOps tree_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .insert_pair = insert_pair,
};

/* A table of a library with one member more, which is set. */
static const struct {
    VmloadFieldOps known;
    void *later;
} later_ops = {
    {.struct_size = sizeof(later_ops), .get = get},
    (void *)&later_ops,
};

static const VmloadField part_fields[] = {
    VMLOAD_FIELD_U8(count, Part),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc part_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .minimum_version_id = 1,
    .name = "part",
    .fields = part_fields,
};

/* Two that contain each other. */
static const VmloadStateDesc loop_desc;
static const VmloadField loop_fields[] = {
    VMLOAD_FIELD_LIST(head, Device, Device, &loop_desc, &list_ops),
    VMLOAD_FIELD_END,
};
static const VmloadStateDesc loop_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "loop",
    .fields = loop_fields,
};

static const VmloadField room_fields[] = {
    VMLOAD_FIELD_VARRAY_POINTER(p16, Device, U16, n16, U16, 1, 0),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc stranger = {
    VMLOAD_STATE_DESC_INIT,
    .name = "devic/sub",
};
static const VmloadStateDesc same = {
    VMLOAD_STATE_DESC_INIT,
    .name = "device",
};
static const VmloadStateDesc nameless = {
    VMLOAD_STATE_DESC_INIT,
    .name = "",
};
static const VmloadStateDesc room_sub = {
    VMLOAD_STATE_DESC_INIT,
    .name = "device/room",
    .fields = room_fields,
};

#define SUBS(desc) (const VmloadStateDesc *const[]){desc, NULL}

/* A field by name, for mistakes that the macros do not let through. */
#define RAW(...) (const VmloadField[]){{.name = "raw", __VA_ARGS__}, \
                                       VMLOAD_FIELD_END}

typedef struct {
    const char *name;
    const VmloadField *fields;
    const VmloadStateDesc *const *subsections;
    VmloadError code;
    const char *message;
} CheckCase;

static const CheckCase cases[] = {
    {"no name", (const VmloadField[]){{.kind = VMLOAD_FIELD_KIND_U8}}, NULL,
     VMLOAD_ERROR_FAILED, "has no name"},
    {"kind of a later library", RAW(.kind = VMLOAD_FIELD_KIND_CUSTOM + 1), NULL,
     VMLOAD_ERROR_UNSUPPORTED, "'raw': kind 28"},
    {"flag of a later library",
      RAW(.kind = VMLOAD_FIELD_KIND_U8, .size = 1, .count = 1,
          .flags = 1u << 31),
     NULL, VMLOAD_ERROR_UNSUPPORTED, "flags 0x80000000"},
    {"size of another kind", RAW(.kind = VMLOAD_FIELD_KIND_U16, .size = 4,
                                 .count = 1),
     NULL, VMLOAD_ERROR_FAILED, "expected the size of its kind"},
    {"no size", RAW(.kind = VMLOAD_FIELD_KIND_BUFFER, .count = 1), NULL,
     VMLOAD_ERROR_FAILED, "expected the size of its kind"},
    {"no elements", RAW(.kind = VMLOAD_FIELD_KIND_U8, .size = 1), NULL,
     VMLOAD_ERROR_FAILED, "expected a count"},
    {"more than memory", RAW(.kind = VMLOAD_FIELD_KIND_U64, .size = 8,
                             .count = UINT64_MAX / 8),
     NULL, VMLOAD_ERROR_FAILED, "expected a count"},
    {"unknown count type", RAW(.kind = VMLOAD_FIELD_KIND_U8, .size = 1,
                               .count = 1, .count_type = 5, .capacity = 1),
     NULL, VMLOAD_ERROR_FAILED, "count_type"},
    {"count member without room", RAW(.kind = VMLOAD_FIELD_KIND_U8, .size = 1,
                                      .count = 1,
                                      .count_type = VMLOAD_COUNT_U8),
     NULL, VMLOAD_ERROR_FAILED, "expected a capacity"},
    {"room that the source chooses",
     FIELDS(VMLOAD_FIELD_U16(n16, Device),
            VMLOAD_FIELD_VARRAY_POINTER(p16, Device, U16, n16, U16, 1, 0)),
     NULL, VMLOAD_ERROR_FAILED, "'p16': expected a capacity"},
    {"room that the source chooses by the way",
     FIELDS(VMLOAD_FIELD_VARRAY_POINTER(bytes, Device, U8, matrix[1][1], U8,
                                        1, 0),
            VMLOAD_FIELD_ARRAY_2D(matrix, Device, U8)),
     NULL, VMLOAD_ERROR_FAILED, "'bytes': expected a capacity"},
    {"room that the owner lets the source choose",
     FIELDS(VMLOAD_FIELD_U16(n16, Device)), SUBS(&room_sub),
     VMLOAD_ERROR_FAILED, "'device/room': field 'p16': expected a capacity"},
    {"struct without description",
     FIELDS(VMLOAD_FIELD_STRUCT(part, Device, Part, NULL)), NULL,
     VMLOAD_ERROR_FAILED, "expected a description"},
    {"fixed version out of range",
     FIELDS(VMLOAD_FIELD(part, Device, VSTRUCT(Part, &part_desc, 3))), NULL,
     VMLOAD_ERROR_FAILED, "expected a version that its description has"},
    {"field version out of range",
     FIELDS(VMLOAD_FIELD_LIST(head, Device, Part, &part_desc, &list_ops)),
     NULL, VMLOAD_ERROR_FAILED, "expected a version"},
    {"list without insert",
     FIELDS(VMLOAD_FIELD_LIST_V(head, Device, Part, &part_desc, &get_ops, 1,
                                NULL)),
     NULL, VMLOAD_ERROR_FAILED, "expected ops with insert"},
    {"tree without insert_pair",
     FIELDS(VMLOAD_FIELD_TREE_DIRECT_V(pairs, Device, Part, &part_desc,
                                       &list_ops, 1, NULL)),
     NULL, VMLOAD_ERROR_FAILED, "expected ops with insert_pair"},
    {"custom without get",
     FIELDS(VMLOAD_FIELD(u8, Device, CUSTOM(uint8_t, NULL))), NULL,
     VMLOAD_ERROR_FAILED, "expected ops with get"},
    {"ops of a later library",
     FIELDS(VMLOAD_FIELD(u8, Device, CUSTOM(uint8_t, &later_ops.known))),
     NULL, VMLOAD_ERROR_UNSUPPORTED, "field 'u8': VmloadFieldOps"},
    {"alloc of a member",
     RAW(.kind = VMLOAD_FIELD_KIND_U8, .size = 1, .count = 1,
         .flags = VMLOAD_FIELD_ALLOC),
     NULL, VMLOAD_ERROR_FAILED, "expected ALLOC with one of"},
    {"alloc of an array and its elements",
     RAW(.kind = VMLOAD_FIELD_KIND_U8, .size = 1, .count = 1,
         .flags = VMLOAD_FIELD_ALLOC | VMLOAD_FIELD_POINTER |
                  VMLOAD_FIELD_POINTER_ARRAY),
     NULL, VMLOAD_ERROR_FAILED, "expected ALLOC with one of"},
    {"array of lists",
     RAW(.kind = VMLOAD_FIELD_KIND_LIST, .size = 8, .count = 2,
         .ops = &list_ops, .desc = &part_desc, .version_id = 1),
     NULL, VMLOAD_ERROR_FAILED, "expected one, no array"},
    {"pointer to unused bytes",
     RAW(.kind = VMLOAD_FIELD_KIND_UNUSED, .size = 8, .count = 1,
         .flags = VMLOAD_FIELD_POINTER),
     NULL, VMLOAD_ERROR_FAILED, "expected no pointers"},
    {"pointers to bitmaps",
     RAW(.kind = VMLOAD_FIELD_KIND_BITMAP, .size = sizeof(long), .count = 1,
         .flags = VMLOAD_FIELD_POINTER_ARRAY),
     NULL, VMLOAD_ERROR_FAILED, "expected no POINTER_ARRAY of bitmaps"},
    {"bitmap of bytes", RAW(.kind = VMLOAD_FIELD_KIND_BITMAP, .size = 1,
                            .count = 1),
     NULL, VMLOAD_ERROR_FAILED, "expected the size of a long"},
    {"key without size",
     RAW(.kind = VMLOAD_FIELD_KIND_TREE, .size = 8, .count = 1,
         .ops = &tree_ops, .desc = &part_desc, .key_desc = &part_desc,
         .version_id = 1),
     NULL, VMLOAD_ERROR_FAILED, "expected a key_size"},
    {"recursion", loop_fields, NULL, VMLOAD_ERROR_FAILED,
     "'loop': expected no recursion"},
    {"subsection of another", NULL, SUBS(&stranger), VMLOAD_ERROR_FAILED,
     "found 'devic/sub'"},
    {"subsection of no other name", NULL, SUBS(&same), VMLOAD_ERROR_FAILED,
     "found 'device'"},
    {"subsection without name", NULL, SUBS(&nameless), VMLOAD_ERROR_FAILED,
     "expected a name"},
};

static void test_fields(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadStateDesc desc =
            device_desc(cases[i].fields, cases[i].subsections);
        GError *error = NULL;

        if (vmload_state_desc_check(&desc, &error)) {
            fail_msg("%s: accepted", cases[i].name);
        }
        assert_unit_error(&error, cases[i].code, cases[i].message);
    }
}

static void test_head(void **state)
{
    const VmloadStateDesc good = device_desc(NULL, NULL);
    VmloadStateDesc desc = good;
    GError *error = NULL;

    (void)state;
    assert_true(vmload_state_desc_check(&desc, &error));
    desc.struct_size = 0;
    assert_false(vmload_state_desc_check(&desc, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "VmloadStateDesc");
    desc = good;
    desc.field_size = 4;
    assert_false(vmload_state_desc_check(&desc, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "field_size");
    desc = good;
    desc.minimum_version_id = 5;
    assert_false(vmload_state_desc_check(&desc, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "minimum_version_id");
    desc = good;
    desc.name = NULL;
    assert_false(vmload_state_desc_check(&desc, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "expected a name");
}

/* The field table of a later library: a stride with one member more. */
typedef struct {
    VmloadField known;
    uint64_t later;
} LaterField;

static void test_stride(void **state)
{
    static const uint8_t bytes[] = {1, 0, 2};
    LaterField fields[] = {
        {VMLOAD_FIELD_U8(u8, Device), 0},
        {VMLOAD_FIELD_U16(u16, Device), 0},
        {VMLOAD_FIELD_END, 0},
    };
    VmloadStateDesc desc = device_desc(&fields[0].known, NULL);
    Device device = {0};
    GError *error = NULL;
    uint64_t consumed;

    (void)state;
    desc.field_size = sizeof(LaterField);
    assert_true(vmload_state_desc_check(&desc, &error));
    assert_true(device_load(&desc, &device, bytes, sizeof(bytes), &consumed,
                            NULL, &error));
    assert_int_equal(device.u8, 1);
    assert_int_equal(device.u16, 2);

    fields[1].later = 1;
    assert_false(vmload_state_desc_check(&desc, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "field 'u16' uses");
}

/* A chain as deep as the default limit is good, one deeper is not. */
static void test_depth(void **state)
{
    VmloadStateDesc descs[34];
    VmloadField fields[34][3];
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < 34; i++) {
        const VmloadField link =
            VMLOAD_FIELD_STRUCT(part, Device, Part, NULL);
        const VmloadField end = VMLOAD_FIELD_END;

        descs[i] = device_desc(fields[i], NULL);
        fields[i][0] = i < 33 ? link : end;
        fields[i][0].desc = i < 33 ? &descs[i + 1] : NULL;
        fields[i][1] = end;
        fields[i][2] = end;
    }
    assert_false(vmload_state_desc_check(&descs[1], &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "at most 32 levels");
    assert_true(vmload_state_desc_check(&descs[2], &error));

    /* A short way to a description does not hide a long one behind it. */
    fields[0][0].desc = &descs[3];
    assert_true(vmload_state_desc_check(&descs[0], &error));
    fields[0][1] = fields[0][0];
    fields[0][1].desc = &descs[2];
    assert_false(vmload_state_desc_check(&descs[0], &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "at most 32 levels");
}

/* 256 subsections are good, one more is not. */
static void test_subsection_count(void **state)
{
    const VmloadStateDesc *subs[258] = {NULL};
    VmloadStateDesc desc = device_desc(NULL, subs);
    VmloadStateDesc sub = device_desc(NULL, NULL);
    GError *error = NULL;
    size_t i;

    (void)state;
    sub.name = "device/same";
    for (i = 0; i < 256; i++) {
        subs[i] = &sub;
    }
    assert_true(vmload_state_desc_check(&desc, &error));
    subs[256] = &sub;
    assert_false(vmload_state_desc_check(&desc, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "at most 256 subsections");
}

/* Also a description that nobody has checked is not obeyed blindly. */
static void test_unchecked_kind(void **state)
{
    static const uint8_t bytes[] = {1, 2, 3, 4};
    VmloadStateDesc desc =
        device_desc(RAW(.kind = 1000, .size = 4, .count = 1), NULL);
    Device device = {0};
    GError *error = NULL;
    uint64_t consumed;

    (void)state;
    assert_false(device_load(&desc, &device, bytes, sizeof(bytes), &consumed,
                             NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "found 1000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_stride),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_subsection_count),
        cmocka_unit_test(test_unchecked_kind),
    };

    return cmocka_run_group_tests_name("vmstate-check", tests, NULL, NULL);
}

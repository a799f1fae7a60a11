/* SPDX-License-Identifier: BSD-3-Clause */
/* Structs, lists, trees, temporaries, hooks and subsections. */
#include "vmstate-fixture.h"

/* "device/sub", the header of a subsection, and "device" too short a name. */
#define SUB_NAME 'd', 'e', 'v', 'i', 'c', 'e', '/', 's', 'u', 'b'
#define SUB_HEADER 5, 10, SUB_NAME, 0, 0, 0, 1
#define SUB_HEADER_LENGTH 12

static const VmloadField part_fields[] = {
    VMLOAD_FIELD_U8(count, Part),
    VMLOAD_FIELD_V(level, Part, U16, 1, NULL),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc part_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .minimum_version_id = 0,
    .name = "part",
    .fields = part_fields,
};

/* --- list and tree ---------------------------------------------------- */

static const VmloadField item_fields[] = {
    VMLOAD_FIELD_U32(value, Item),
    VMLOAD_FIELD_U32(n_extra, Item),
    VMLOAD_FIELD_VBUFFER_ALLOC(extra, Item, n_extra, U32, 1),
    VMLOAD_FIELD_END,
};

static bool item_post_load(void *object, uint32_t version, GError **error)
{
    const Item *item = object;

    (void)version;
    if (item->value == 13) {
        g_set_error(error, g_quark_from_static_string("host"), 1,
                    "no item is 13");
        return false;
    }
    return true;
}

static const VmloadStateDesc item_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .minimum_version_id = 0,
    .name = "item",
    .fields = item_fields,
    .post_load = item_post_load,
};

/* Refuses 99, to see that what is refused is freed. */
static bool item_insert(void *opaque, void *list, void *element,
                        GError **error)
{
    Item **link = list;
    Item *item = element;

    (void)opaque;
    (void)error;
    if (item->value == 99) {
        return false;
    }
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = item;
    return true;
}

static const VmloadFieldOps item_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .insert = item_insert,
    .element_free = item_free,
};

static const VmloadField pair_value_fields[] = {
    VMLOAD_FIELD_U32(value, Pair),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc pair_value_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "pair",
    .fields = pair_value_fields,
};

/* @tree is the address of Device.pairs. */
static bool pair_insert(void *opaque, void *tree, void *key,
                        uint64_t direct_key, void *value, GError **error)
{
    Device *device = (Device *)(void *)((uint8_t *)tree -
                                        offsetof(Device, pairs));
    Part *part_key = key;
    Pair *pair = value;

    (void)opaque;
    if (device->n_pairs == G_N_ELEMENTS(device->pairs)) {
        g_set_error(error, g_quark_from_static_string("host"), 1, "full");
        return false;
    }
    pair->key = part_key != NULL ? part_key->level : direct_key;
    device->pairs[device->n_pairs++] = *pair;
    g_free(key);
    g_free(value);
    return true;
}

static void key_free(void *opaque, void *key)
{
    (void)opaque;
    g_free(key);
}

static const VmloadFieldOps pair_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .insert_pair = pair_insert,
    .key_free = key_free,
};

static void see_list(const Device *device)
{
    assert_int_equal(device->head->value, 1);
    assert_memory_equal(device->head->extra, "xy", 2);
    assert_int_equal(device->head->next->value, 2);
    assert_null(device->head->next->extra);
    assert_null(device->head->next->next);
}

/* --- temporary -------------------------------------------------------- */

typedef struct {
    Device *parent;
    uint16_t half;
    uint16_t other_half;
} Tmp;

static bool tmp_post_load(void *object, uint32_t version, GError **error)
{
    Tmp *tmp = object;

    (void)version;
    (void)error;
    tmp->parent->from_tmp = (uint32_t)tmp->half << 16 | tmp->other_half;
    return tmp->half != 0xffff;
}

static const VmloadField tmp_fields[] = {
    VMLOAD_FIELD_U16(half, Tmp),
    VMLOAD_FIELD_U16(other_half, Tmp),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc tmp_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "tmp",
    .fields = tmp_fields,
    .post_load = tmp_post_load,
};

/* --- custom ----------------------------------------------------------- */

/* A 24-bit number, and what may go wrong with one. */
static bool get_24(void *opaque, void *object, void *element,
                   VmloadReader *reader, GError **error)
{
    uint32_t value;
    uint16_t low;
    uint8_t high;

    (void)opaque;
    (void)object;
    if (!vmload_reader_get_u8(reader, &high, error) ||
        !vmload_reader_get_be16(reader, &low, error)) {
        return false;
    }
    if (high == 0xff) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MISMATCH,
                                   "expected less");
    }
    value = (uint32_t)high << 16 | low;
    memcpy(element, &value, sizeof(value));
    return high != 0xfe;
}

static const VmloadFieldOps ops_24 = {
    VMLOAD_FIELD_OPS_INIT,
    .get = get_24,
};

/* --- subsections ------------------------------------------------------ */

static const VmloadField sub_fields[] = {
    VMLOAD_FIELD_U16(u16, Device),
    VMLOAD_FIELD_END,
};

static bool sub_required(const void *object, uint32_t version)
{
    const Device *device = object;

    (void)version;
    return device->u8 == 0x55;
}

static const VmloadField deep_fields[] = {
    VMLOAD_FIELD_U8(n8, Device),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc deep_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "device/subway",
    .fields = deep_fields,
};

static const VmloadStateDesc sub_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .minimum_version_id = 1,
    .name = "device/sub",
    .fields = sub_fields,
    .subsections = (const VmloadStateDesc *const[]){&deep_desc, NULL},
    .required = sub_required,
};

static const VmloadField other_fields[] = {
    VMLOAD_FIELD_I8(i8, Device),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc other_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "device/other",
    .fields = other_fields,
};

static const VmloadStateDesc *const subs[] = {&sub_desc, &other_desc, NULL};

static const GoodCase nested[] = {
    {.name = "struct at its own version",
     .fields = FIELDS(VMLOAD_FIELD_STRUCT(part, Device, Part, &part_desc)),
     WIRE(1, 0, 2), .expected = {IS(part.count, 1), IS(part.level, 2)}},
    {.name = "struct at a fixed version",
     .fields = FIELDS(
         VMLOAD_FIELD(part, Device, VSTRUCT(Part, &part_desc, 0)),
         VMLOAD_FIELD_U8(u8, Device)),
     WIRE(1, 2),
     .expected = {IS(part.count, 1), IS(part.level, 0), IS(u8, 2)}},
    {.name = "array of structs",
     .fields = FIELDS(
         VMLOAD_FIELD_ARRAY(parts, Device, STRUCT(Part, &part_desc))),
     WIRE(1, 0, 2, 3, 0, 4),
     .expected = {IS(parts[0].level, 2), IS(parts[1].count, 3)}},
    {.name = "allocated structs",
     .fields = FIELDS(
         VMLOAD_FIELD_POINTER_ALLOC(ppart, Device, STRUCT(Part, &part_desc)),
         VMLOAD_FIELD_U8(n8, Device),
         VMLOAD_FIELD_VARRAY_ALLOC(vparts, Device, STRUCT(Part, &part_desc),
                                   n8, U8, 1)),
     WIRE(1, 0, 2, 2, 3, 0, 4, 5, 0, 6)},
    {.name = "list, any non-zero byte continues",
     .fields = FIELDS(
         VMLOAD_FIELD_LIST(head, Device, Item, &item_desc, &item_ops),
         VMLOAD_FIELD_U8(u8, Device)),
     WIRE(1, 0, 0, 0, 1, 0, 0, 0, 2, 'x', 'y', 0xff, 0, 0, 0, 2, 0, 0, 0, 0,
          0, 7),
     .verify = see_list, .expected = {IS(u8, 7)}},
    {.name = "tree with direct keys",
     .fields = FIELDS(VMLOAD_FIELD_TREE_DIRECT(pairs, Device, Pair,
                                               &pair_value_desc, &pair_ops)),
     WIRE(0, 0, 0, 2, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0,
          0, 0, 9, 0, 0, 0, 4, 0),
     .expected = {IS(n_pairs, 2), IS(pairs[0].key, 0x100000002u),
                  IS(pairs[0].value, 3), IS(pairs[1].key, 9),
                  IS(pairs[1].value, 4)}},
    {.name = "tree with described keys",
     .fields = FIELDS(VMLOAD_FIELD_TREE_V(pairs, Device, Part, &part_desc,
                                          Pair, &pair_value_desc, &pair_ops,
                                          0, NULL)),
     WIRE(0, 0, 0, 1, 1, 9, 0, 0, 0, 4, 0),
     .expected = {IS(n_pairs, 1), IS(pairs[0].value, 4)}},
    {.name = "tree, empty",
     .fields = FIELDS(VMLOAD_FIELD_TREE_DIRECT(pairs, Device, Pair,
                                               &pair_value_desc, &pair_ops)),
     WIRE(0, 0, 0, 0, 0), .expected = {IS(n_pairs, 0)}},
    {.name = "tmp",
     .fields = FIELDS(VMLOAD_FIELD_TMP(Tmp, &tmp_desc)), WIRE(1, 2, 3, 4),
     .expected = {IS(from_tmp, 0x01020304)}},
    {.name = "custom",
     .fields = FIELDS(VMLOAD_FIELD(u32, Device, CUSTOM(uint32_t, &ops_24))),
     WIRE(1, 2, 3), .expected = {IS(u32, 0x010203)}},
};

static const GoodCase subsections[] = {
    {.name = "one subsection",
     .fields = FIELDS(VMLOAD_FIELD_U8(u8, Device)), .subsections = subs,
     WIRE(9, SUB_HEADER, 0x12, 0x34), .complete_from = 1,
     .complete_to = 1 + SUB_HEADER_LENGTH,
     .expected = {IS(u8, 9), IS(u16, 0x1234)}},
    {.name = "version 0x101 is 1: the low 8 bits count",
     .fields = NULL, .subsections = subs,
     WIRE(5, 10, SUB_NAME, 0, 0, 1, 1, 0x12, 0x34),
     .complete_to = SUB_HEADER_LENGTH, .expected = {IS(u16, 0x1234)}},
    /* A data byte 5 is data unless a name of this level follows. */
    {.name = "5 and a length too short for a name",
     .fields = FIELDS(VMLOAD_FIELD_U8(u8, Device)), .subsections = subs,
     WIRE(9, 5, 6, 'd', 'e', 'v', 'i', 'c', 'e'), .surplus = 8},
    {.name = "5 and another name",
     .fields = FIELDS(VMLOAD_FIELD_U8(u8, Device)), .subsections = subs,
     WIRE(9, 5, 10, 'd', 'e', 'v', 'i', 'c', 'f', '/', 's', 'u', 'b', 0),
     .surplus = 13},
    {.name = "5 at the end",
     .fields = FIELDS(VMLOAD_FIELD_U8(u8, Device)), .subsections = subs,
     WIRE(9, 5), .surplus = 1},
    {.name = "5 and a name that is cut",
     .fields = FIELDS(VMLOAD_FIELD_U8(u8, Device)), .subsections = subs,
     WIRE(9, 5, 11, SUB_NAME), .surplus = 12},
    {.name = "data bytes 5 behind a nested struct",
     .fields = FIELDS(VMLOAD_FIELD_STRUCT(part, Device, Part, &part_desc),
                      VMLOAD_FIELD_U16(u16, Device),
                      VMLOAD_FIELD_U32(u32, Device)),
     WIRE(1, 0, 2, 5, 9, 'p', 'a', 'r', 'x'),
     .expected = {IS(u16, 0x0509), IS(u32, 0x70617278)}},
};

/*
 * Innermost first: "device/subway" begins with "device/sub", so it belongs
 * to that subsection and not to the device; then the device goes on.
 */
static const GoodCase uncut[] = {
    {.name = "a required one that came",
     .fields = FIELDS(VMLOAD_FIELD_U8(u8, Device)), .subsections = subs,
     WIRE(0x55, SUB_HEADER, 0x12, 0x34),
     .expected = {IS(u8, 0x55), IS(u16, 0x1234)}},
    {.name = "subsection of a subsection, and any order after it",
     .fields = NULL, .subsections = subs,
     WIRE(SUB_HEADER, 0x12, 0x34, 5, 13, 'd', 'e', 'v', 'i', 'c', 'e', '/',
          's', 'u', 'b', 'w', 'a', 'y', 0, 0, 0, 0, 0x77, 0x7e),
     .complete_to = SUB_HEADER_LENGTH, .surplus = 1,
     .expected = {IS(u16, 0x1234), IS(n8, 0x77)}},
};

static const BadCase bad[] = {
    {.name = "unknown subsection",
     .fields = FIELDS(VMLOAD_FIELD_U8(u8, Device)), .subsections = subs,
     WIRE(9, 5, 9, 'd', 'e', 'v', 'i', 'c', 'e', '/', 's', 0x1b, 0, 0, 0, 0),
     .code = VMLOAD_ERROR_UNSUPPORTED,
     .message = "offset 0x101: expected a known subsection of 'device', found "
                "'device/s\\033'"},
    {.name = "subsection too new",
     .fields = NULL, .subsections = subs,
     WIRE(5, 10, SUB_NAME, 0, 0, 0, 3, 0x12, 0x34),
     .code = VMLOAD_ERROR_UNSUPPORTED,
     .message = "field 'device/sub': offset 0x110: 'device/sub': expected "
                "version 1 to 2, found 3"},
    {.name = "subsection too old",
     .fields = NULL, .subsections = subs,
     WIRE(5, 10, SUB_NAME, 0, 0, 1, 0, 0x12, 0x34),
     .code = VMLOAD_ERROR_UNSUPPORTED, .message = "found 0"},
    {.name = "subsection required and absent",
     .fields = FIELDS(VMLOAD_FIELD_U8(u8, Device)), .subsections = subs,
     WIRE(0x55), .code = VMLOAD_ERROR_MISMATCH,
     .message = "expected subsection 'device/sub', found none"},
    {.name = "a place deep down",
     .fields = FIELDS(
         VMLOAD_FIELD_ARRAY(parts, Device, STRUCT(Part, &part_desc))),
     WIRE(1, 0, 2, 3, 0), .code = VMLOAD_ERROR_TRUNCATED,
     .message = "field 'parts[1].level': offset 0x104: expected 2 bytes"},
    {.name = "a place in a list's element",
     .fields = FIELDS(
         VMLOAD_FIELD_LIST(head, Device, Item, &item_desc, &item_ops)),
     WIRE(1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 'x'),
     .code = VMLOAD_ERROR_TRUNCATED, .message = "field 'head[1].extra'"},
    {.name = "hook that refuses a list's element",
     .fields = FIELDS(
         VMLOAD_FIELD_LIST(head, Device, Item, &item_desc, &item_ops)),
     WIRE(1, 0, 0, 0, 13, 0, 0, 0, 1, 'x', 0), .code = VMLOAD_ERROR_DEVICE,
     .message = "field 'head[0]': offset 0x10a: post_load of 'item': no item "
                "is 13"},
    {.name = "insert that refuses",
     .fields = FIELDS(
         VMLOAD_FIELD_LIST(head, Device, Item, &item_desc, &item_ops)),
     WIRE(1, 0, 0, 0, 99, 0, 0, 0, 1, 'x', 0), .code = VMLOAD_ERROR_DEVICE,
     .message = "insert of 'head': refused"},
    {.name = "tree with more nodes",
     .fields = FIELDS(VMLOAD_FIELD_TREE_DIRECT(pairs, Device, Pair,
                                               &pair_value_desc, &pair_ops)),
     WIRE(0, 0, 0, 0, 1), .code = VMLOAD_ERROR_MALFORMED,
     .message = "expected 0 nodes, found more than 0"},
    {.name = "tree with fewer nodes",
     .fields = FIELDS(VMLOAD_FIELD_TREE_DIRECT(pairs, Device, Pair,
                                               &pair_value_desc, &pair_ops)),
     WIRE(0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0),
     .code = VMLOAD_ERROR_MALFORMED,
     .message = "field 'pairs': offset 0x112: expected 2 nodes, found 1"},
    {.name = "insert_pair that refuses",
     .fields = FIELDS(VMLOAD_FIELD_TREE(pairs, Device, Part, &part_desc, Pair,
                                        &pair_value_desc, &pair_ops)),
     WIRE(0, 0, 0, 4, 1, 1, 0, 0, 0, 1, 1, 2, 0, 0, 0, 2, 1, 3, 0, 0, 0, 3, 1,
          4, 0, 0, 0, 4, 0),
     .code = VMLOAD_ERROR_DEVICE,
     .message = "field 'pairs[3]': offset 0x11c: insert_pair of 'pairs': "
                "full"},
    {.name = "a place in a tree's key",
     .fields = FIELDS(VMLOAD_FIELD_TREE(pairs, Device, Part, &part_desc, Pair,
                                        &pair_value_desc, &pair_ops)),
     WIRE(0, 0, 0, 1, 1), .code = VMLOAD_ERROR_TRUNCATED,
     .message = "field 'pairs[0].key.count': offset 0x105"},
    {.name = "tree with a count beyond the limit",
     .fields = FIELDS(VMLOAD_FIELD_TREE_DIRECT(pairs, Device, Pair,
                                               &pair_value_desc, &pair_ops)),
     WIRE(0xff, 0, 0, 0, 1), .code = VMLOAD_ERROR_LIMIT,
     .message = "limit elements"},
    {.name = "tmp that refuses",
     .fields = FIELDS(VMLOAD_FIELD_TMP(Tmp, &tmp_desc)), WIRE(255, 255, 3, 4),
     .code = VMLOAD_ERROR_DEVICE, .message = "post_load of 'tmp': refused"},
    {.name = "custom that says what the stream did",
     .fields = FIELDS(VMLOAD_FIELD(u32, Device, CUSTOM(uint32_t, &ops_24))),
     WIRE(0xff, 0, 0), .code = VMLOAD_ERROR_MISMATCH,
     .message = "field 'u32': offset 0x103: expected less"},
    {.name = "custom that says nothing",
     .fields = FIELDS(VMLOAD_FIELD(u32, Device, CUSTOM(uint32_t, &ops_24))),
     WIRE(0xfe, 0, 0), .code = VMLOAD_ERROR_DEVICE,
     .message = "get of 'u32': refused"},
};

static void test_nested(void **state)
{
    (void)state;
    run_good(nested, G_N_ELEMENTS(nested));
}

static void test_subsections(void **state)
{
    (void)state;
    run_good(subsections, G_N_ELEMENTS(subsections));
}

/* Cuts load here in more places than the cut runner knows. */
static void test_uncut(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(uncut); i++) {
        VmloadStateDesc desc =
            device_desc(uncut[i].fields, uncut[i].subsections);

        run_good_whole(&uncut[i], &desc);
    }
}

/* Any order, and again: the last one counts. */
static void test_subsections_repeated(void **state)
{
    static const uint8_t bytes[] = {
        5, 12, 'd', 'e', 'v', 'i', 'c', 'e', '/', 'o', 't', 'h', 'e', 'r',
        0, 0, 0, 0, 1, SUB_HEADER, 0, 2,
        5, 12, 'd', 'e', 'v', 'i', 'c', 'e', '/', 'o', 't', 'h', 'e', 'r',
        0, 0, 0, 0, 3,
    };
    VmloadStateDesc desc = device_desc(NULL, subs);
    Device device = {0};
    GError *error = NULL;
    uint64_t consumed;

    (void)state;
    assert_true(device_load(&desc, &device, bytes, sizeof(bytes), &consumed,
                            NULL, &error));
    assert_int_equal(consumed, sizeof(bytes));
    assert_int_equal(device.i8, 3);
    assert_int_equal(device.u16, 2);
}

static void test_bad(void **state)
{
    (void)state;
    run_bad(bad, G_N_ELEMENTS(bad));
}

/* --- hooks and versions ------------------------------------------------ */

static bool count_pre_load(void *object, uint32_t version, GError **error)
{
    Device *device = object;

    (void)error;
    assert_int_equal(version, 3);
    assert_int_equal(device->post_loads, 0);
    device->pre_loads++;
    return device->n32 != 1;
}

static bool count_post_load(void *object, uint32_t version, GError **error)
{
    Device *device = object;

    assert_int_equal(version, 3);
    assert_int_equal(device->u8, 9);
    /* After the subsections, not before. */
    assert_int_equal(device->u16, 0x1234);
    device->post_loads++;
    if (device->n32 == 2) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_MISMATCH, "no");
        return false;
    }
    return true;
}

static void test_hooks(void **state)
{
    static const uint8_t bytes[] = {9, SUB_HEADER, 0x12, 0x34};
    VmloadStateDesc desc =
        device_desc(FIELDS(VMLOAD_FIELD_U8(u8, Device)), subs);
    Device device = {0};
    GError *error = NULL;
    uint64_t consumed;

    (void)state;
    desc.pre_load = count_pre_load;
    desc.post_load = count_post_load;
    assert_true(device_load(&desc, &device, bytes, sizeof(bytes), &consumed,
                            NULL, &error));
    assert_int_equal(device.pre_loads, 1);
    assert_int_equal(device.post_loads, 1);

    memset(&device, 0, sizeof(device));
    device.n32 = 1;
    assert_false(device_load(&desc, &device, bytes, sizeof(bytes), &consumed,
                             NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_DEVICE,
                      "offset 0x100: pre_load of 'device': refused");
    assert_int_equal(consumed, 0);

    memset(&device, 0, sizeof(device));
    device.n32 = 2;
    assert_false(device_load(&desc, &device, bytes, sizeof(bytes), &consumed,
                             NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH,
                      "post_load of 'device': no");
}

static void test_versions(void **state)
{
    static const uint8_t bytes[] = {9};
    VmloadStateDesc desc =
        device_desc(FIELDS(VMLOAD_FIELD_U8(u8, Device)), NULL);
    Device device = {0};
    GError *error = NULL;
    uint32_t version;

    (void)state;
    for (version = 0; version < 7; version++) {
        VmloadReader *reader =
            vmload_reader_new_memory(bytes, sizeof(bytes), 0);
        bool ok = version >= 2 && version <= 4;

        assert_true(vmload_state_load(&desc, &device, version, reader, NULL,
                                      &error) == ok);
        if (!ok) {
            assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED,
                              "'device': expected version 2 to 4, found");
            assert_int_equal(vmload_reader_get_offset(reader), 0);
        }
        vmload_reader_free(reader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_subsections),
        cmocka_unit_test(test_uncut),
        cmocka_unit_test(test_subsections_repeated),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_hooks),
        cmocka_unit_test(test_versions),
    };

    return cmocka_run_group_tests_name("vmstate-nested", tests, NULL, NULL);
}

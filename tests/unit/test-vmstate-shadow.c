/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loading in two steps: what the decoding must not do, what the commit must
 * and must not, and what becomes of memory when one of them fails. That both
 * ways give the same results is tested with all cases of the fixture.
 */
#include "vmstate-fixture.h"

/* --- memory that is refused --------------------------------------------- */

static uint32_t refuse_call;
static uint32_t calls;

/* In place of GLib's, for the library that is linked into this program. */
gpointer g_try_malloc0(gsize size)
{
    if (++calls == refuse_call) {
        return NULL;
    }
    return calloc(1, size);
}

/* --- a device with hooks everywhere --------------------------------------- */

typedef struct {
    uint32_t value;
    uint32_t hidden; /* not described */
    uint8_t n_bytes;
    uint8_t *bytes;
    Part part;
    Item *head;
    Part *room; /* the host's own */
    uint32_t sum;
} Hooked;

typedef struct {
    Hooked *parent;
    uint8_t addend;
} Tmp;

static GString *events;
static void *expected_object;
static bool fail_pre;
static bool fail_part;
static bool fail_post;
static bool fail_insert;
static bool held;

static void fence_lock(void *opaque)
{
    (void)opaque;
    assert_false(held);
    held = true;
}

static void fence_unlock(void *opaque)
{
    (void)opaque;
    assert_true(held);
    held = false;
}

static const VmloadStateFence fence = {fence_lock, fence_unlock, NULL};

static bool refuse(const char *what, bool fail, GError **error)
{
    assert_true(held);
    g_string_append_printf(events, "%s ", what);
    if (fail) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_MISMATCH, "not %s",
                    what);
    }
    return !fail;
}

static bool hooked_pre(void *object, uint32_t version, GError **error)
{
    Hooked *hooked = object;

    (void)version;
    assert_ptr_equal(object, expected_object);
    hooked->value = 77; /* a default that the stream overrides */
    return refuse("pre", fail_pre, error);
}

static bool part_post(void *object, uint32_t version, GError **error)
{
    const Part *part = object;

    (void)version;
    assert_int_equal(part->count, 3);
    return refuse("part", fail_part, error);
}

static bool hooked_post(void *object, uint32_t version, GError **error)
{
    (void)version;
    assert_ptr_equal(object, expected_object);
    return refuse("post", fail_post, error);
}

static bool tmp_post(void *object, uint32_t version, GError **error)
{
    Tmp *tmp = object;

    (void)version;
    assert_ptr_equal(tmp->parent, expected_object);
    tmp->parent->sum += tmp->addend;
    return refuse("tmp", false, error);
}

static bool item_insert(void *opaque, void *list, void *element,
                        GError **error)
{
    Item **head = list;
    Item *item = element;

    (void)opaque;
    assert_ptr_equal(list, &((Hooked *)expected_object)->head);
    if (!refuse("insert", fail_insert && *head != NULL, error)) {
        return false;
    }
    item->next = *head;
    *head = item;
    return true;
}

static bool item_pre(void *object, uint32_t version, GError **error)
{
    (void)version;
    ((Item *)object)->value = 5;
    return refuse("item", false, error);
}

static const VmloadFieldOps item_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .insert = item_insert,
    .element_free = item_free,
};

static const VmloadField item_fields[] = {
    VMLOAD_FIELD_U32(n_extra, Item),
    VMLOAD_FIELD_VBUFFER_ALLOC(extra, Item, n_extra, U32, 1),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc item_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "item",
    .fields = item_fields,
    .pre_load = item_pre,
};

static const VmloadField part_fields[] = {
    VMLOAD_FIELD_U8(count, Part),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc part_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "part",
    .fields = part_fields,
    .post_load = part_post,
};

static const VmloadStateDesc plain_part_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "plain",
    .fields = part_fields,
};

static const VmloadField tmp_fields[] = {
    VMLOAD_FIELD_U8(addend, Tmp),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc tmp_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "tmp",
    .fields = tmp_fields,
    .post_load = tmp_post,
};

static const VmloadField hooked_fields[] = {
    VMLOAD_FIELD_U32(value, Hooked),
    VMLOAD_FIELD_U8(n_bytes, Hooked),
    VMLOAD_FIELD_VBUFFER_ALLOC(bytes, Hooked, n_bytes, U8, 1),
    VMLOAD_FIELD_STRUCT(part, Hooked, Part, &part_desc),
    VMLOAD_FIELD_LIST(head, Hooked, Item, &item_desc, &item_ops),
    VMLOAD_FIELD_POINTER_TO(room, Hooked, STRUCT(Part, &plain_part_desc)),
    VMLOAD_FIELD_TMP(Tmp, &tmp_desc),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc hooked_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "hooked",
    .fields = hooked_fields,
    .pre_load = hooked_pre,
    .post_load = hooked_post,
};

static const uint8_t hooked_bytes[] = {
    0, 0, 0, 1, 2, 'a', 'b', 3, 1, 0, 0, 0, 1, 'x', 1, 0, 0, 0, 0, 0, 9, 4,
};

static Part room;

static void hooked_init(Hooked *hooked)
{
    memset(hooked, 0, sizeof(*hooked));
    memset(&room, 0, sizeof(room));
    room.level = 1234;
    hooked->value = 1000;
    hooked->hidden = 2000;
    hooked->bytes = g_malloc(1);
    hooked->room = &room;
    expected_object = hooked;
    events = g_string_new("");
    fail_pre = fail_part = fail_post = fail_insert = false;
}

static void hooked_clear(Hooked *hooked)
{
    while (hooked->head != NULL) {
        Item *item = hooked->head;

        hooked->head = item->next;
        item_free(NULL, item);
    }
    g_free(hooked->bytes);
    g_string_free(events, TRUE);
}

static VmloadStateShadow *decode(Hooked *hooked, size_t length,
                                 const VmloadLimits *limits, GError **error)
{
    VmloadReader *reader = vmload_reader_new_memory(hooked_bytes, length, 0);
    VmloadStateShadow *shadow =
        vmload_state_decode(&hooked_desc, hooked, sizeof(*hooked), 0, reader,
                            limits, &fence, error);

    vmload_reader_free(reader);
    assert_false(held);
    return shadow;
}

static bool commit(VmloadStateShadow *shadow, GError **error)
{
    bool ok;

    held = true;
    ok = vmload_state_commit(shadow, error);
    held = false;
    vmload_state_shadow_free(shadow);
    return ok;
}

static void test_steps(void **state)
{
    VmloadStateShadow *shadow;
    Hooked before;
    Hooked hooked;

    (void)state;
    hooked_init(&hooked);
    before = hooked;
    shadow = decode(&hooked, sizeof(hooked_bytes), NULL, NULL);
    assert_non_null(shadow);
    assert_memory_equal(&before, &hooked, sizeof(hooked));
    assert_int_equal(room.count, 0);
    assert_string_equal(events->str, "");

    /* What is not described may change meanwhile, and stays. */
    hooked.hidden = 2001;
    room.level = 4321;
    assert_true(commit(shadow, NULL));
    assert_string_equal(events->str,
                        "pre part item insert item insert tmp post ");
    assert_int_equal(hooked.value, 1);
    assert_int_equal(hooked.hidden, 2001);
    assert_memory_equal(hooked.bytes, "ab", 2);
    assert_int_equal(hooked.part.count, 3);
    assert_int_equal(hooked.head->value, 5);
    assert_int_equal(hooked.head->n_extra, 0);
    assert_int_equal(hooked.head->next->n_extra, 1);
    assert_int_equal(hooked.head->next->extra[0], 'x');
    assert_int_equal(room.count, 9);
    assert_int_equal(room.level, 4321);
    assert_int_equal(hooked.sum, 4);
    hooked_clear(&hooked);
}

/* Dropped, or cut: no callback is called, nothing leaks. */
static void test_dropped(void **state)
{
    GError *error = NULL;
    Hooked before;
    Hooked hooked;
    size_t length;

    (void)state;
    hooked_init(&hooked);
    before = hooked;
    for (length = 0; length < sizeof(hooked_bytes); length++) {
        assert_null(decode(&hooked, length, NULL, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x");
    }
    vmload_state_shadow_free(
        decode(&hooked, sizeof(hooked_bytes), NULL, &error));
    assert_string_equal(events->str, "");
    assert_memory_equal(&before, &hooked, sizeof(hooked));
    hooked_clear(&hooked);
}

static void test_refused_memory(void **state)
{
    GError *error = NULL;
    uint32_t failures = 0;
    Hooked before;
    Hooked hooked;

    (void)state;
    hooked_init(&hooked);
    before = hooked;
    for (;; failures++) {
        VmloadStateShadow *shadow;

        calls = 0;
        refuse_call = failures + 1;
        shadow = decode(&hooked, sizeof(hooked_bytes), NULL, &error);
        refuse_call = 0;
        if (shadow != NULL) {
            vmload_state_shadow_free(shadow);
            break;
        }
        assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "no memory");
    }
    /* The object, 5 pieces that the engine makes, 1 that the host has. */
    assert_true(failures >= 2 + 5 * 3 + 2);
    assert_memory_equal(&before, &hooked, sizeof(hooked));
    hooked_clear(&hooked);
}

typedef struct {
    const char *name;
    bool *fail;
    const char *message;
    const char *events;
} Refusal;

static void test_commit_fails(void **state)
{
    static const Refusal refusals[] = {
        {"pre", &fail_pre, "offset 0x0: pre_load of 'hooked': not pre",
         "pre "},
        {"part", &fail_part,
         "field 'part': offset 0x8: post_load of 'part': not part",
         "pre part "},
        {"insert", &fail_insert,
         "field 'head[1]': offset 0x13: insert of 'head': not insert",
         "pre part item insert item insert "},
        {"post", &fail_post, "post_load of 'hooked': not post",
         "pre part item insert item insert tmp post "},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(refusals); i++) {
        VmloadStateShadow *shadow;
        GError *error = NULL;
        Hooked hooked;

        hooked_init(&hooked);
        shadow = decode(&hooked, sizeof(hooked_bytes), NULL, &error);
        assert_non_null(shadow);
        *refusals[i].fail = true;
        assert_false(commit(shadow, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MISMATCH,
                          refusals[i].message);
        assert_string_equal(events->str, refusals[i].events);
        hooked_clear(&hooked);
    }
}

/* A pointer that the host has changed is not written through. */
static void test_changed_pointer(void **state)
{
    VmloadStateShadow *shadow;
    GError *error = NULL;
    Part other = {0, 0};
    Hooked hooked;

    (void)state;
    hooked_init(&hooked);
    shadow = decode(&hooked, sizeof(hooked_bytes), NULL, &error);
    hooked.room = &other;
    assert_false(commit(shadow, &error));
    assert_unit_error(&error, VMLOAD_ERROR_DEVICE, "found one changed");
    assert_int_equal(other.count, 0);
    assert_int_equal(room.count, 0);
    hooked_clear(&hooked);
}

/* The same for a count that alone tells the room. */
static void test_changed_count(void **state)
{
    static const VmloadField fields[] = {
        VMLOAD_FIELD(n32, Device, I32_EQUAL),
        VMLOAD_FIELD_VARRAY_POINTER(p16, Device, U16, n32, I32, 1, 0),
        VMLOAD_FIELD_END,
    };
    static const uint8_t bytes[] = {0, 0, 0, 2, 0, 1, 0, 2};
    VmloadStateDesc desc = device_desc(fields, NULL);
    VmloadReader *reader =
        vmload_reader_new_memory(bytes, sizeof(bytes), 0);
    VmloadStateShadow *shadow;
    uint16_t memory[2] = {7, 8};
    Device device = {.n32 = 2, .p16 = memory};
    GError *error = NULL;

    (void)state;
    shadow = vmload_state_decode(&desc, &device, sizeof(device), 3, reader,
                                 NULL, &fence, &error);
    vmload_reader_free(reader);
    assert_non_null(shadow);
    device.n32 = 1;
    assert_false(commit(shadow, &error));
    assert_unit_error(&error, VMLOAD_ERROR_DEVICE, "found one changed");
    assert_int_equal(memory[0], 7);
    assert_int_equal(memory[1], 8);
}

/* A subsection that comes twice: its hook sees each state in its turn. */
static bool count_post(void *object, uint32_t version, GError **error)
{
    const Device *device = object;
    uint32_t sum = 0;
    uint8_t i;

    (void)version;
    (void)error;
    for (i = 0; i < device->n8; i++) {
        sum += device->p16[i];
    }
    g_string_append_printf(events, "%u:%u ", device->n8, sum);
    return true;
}

static void test_repeated(void **state)
{
    static const VmloadField fields[] = {
        VMLOAD_FIELD_U8(n8, Device),
        VMLOAD_FIELD_VARRAY_ALLOC(p16, Device, U16, n8, U8, 1),
        VMLOAD_FIELD_END,
    };
    static const VmloadStateDesc sub = {
        VMLOAD_STATE_DESC_INIT,
        .name = "device/s",
        .fields = fields,
        .post_load = count_post,
    };
    static const VmloadStateDesc *const subs[] = {&sub, NULL};
    static const uint8_t bytes[] = {
        5, 8, 'd', 'e', 'v', 'i', 'c', 'e', '/', 's', 0, 0, 0, 0, 1, 0, 7,
        5, 8, 'd', 'e', 'v', 'i', 'c', 'e', '/', 's', 0, 0, 0, 0, 3, 0, 1,
        0, 1, 0, 1,
    };
    VmloadStateDesc desc = device_desc(NULL, subs);
    VmloadReader *reader = vmload_reader_new_memory(bytes, sizeof(bytes), 0);
    VmloadStateShadow *shadow;
    Device device = {0};

    (void)state;
    events = g_string_new("");
    shadow = vmload_state_decode(&desc, &device, sizeof(device), 3, reader,
                                 NULL, &fence, NULL);
    vmload_reader_free(reader);
    assert_non_null(shadow);
    assert_true(commit(shadow, NULL));
    assert_string_equal(events->str, "1:7 3:3 ");
    g_string_free(events, TRUE);
    device_clear(&device);
}

/* --- what can be decoded apart ----------------------------------------- */

static bool get_nothing(void *opaque, void *object, void *element,
                        VmloadReader *reader, GError **error)
{
    (void)opaque;
    (void)object;
    (void)element;
    (void)reader;
    (void)error;
    return true;
}

static const VmloadFieldOps get_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .get = get_nothing,
};

static const VmloadField custom_fields[] = {
    VMLOAD_FIELD(level, Part, CUSTOM(uint16_t, &get_ops)),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc custom_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "device/custom",
    .fields = custom_fields,
};

static void test_check(void **state)
{
    static const VmloadStateDesc *const custom_subs[] = {&custom_desc, NULL};
    const struct {
        const VmloadField *fields;
        const VmloadStateDesc *const *subsections;
        uint64_t size;
        const char *message;
    } cases[] = {
        {FIELDS(VMLOAD_FIELD_STRUCT(part, Device, Part, &custom_desc)), NULL,
         sizeof(Device),
         "description 'device/custom': field 'level': expected no CUSTOM"},
        {NULL, custom_subs, sizeof(Device), "field 'level'"},
        {FIELDS(VMLOAD_FIELD_U32(u32, Device)), NULL,
         offsetof(Device, u32) + 3, "description 'device': expected an "
                                    "object of"},
        {FIELDS(VMLOAD_FIELD_ARRAY(array, Device, U16)), NULL,
         offsetof(Device, array) + 5, "expected an object of"},
        {FIELDS(VMLOAD_FIELD_POINTERS(ptrs, Device,
                                      STRUCT(Part, &plain_part_desc))),
         NULL, offsetof(Device, ptrs) + 3 * sizeof(void *) - 1,
         "expected an object of"},
        {FIELDS(VMLOAD_FIELD_VARRAY(array, Device, U16, n8, U8)), NULL,
         offsetof(Device, n8), "expected an object of"},
        {FIELDS(VMLOAD_FIELD_BITMAP(bits, Device, nu32, U32)), NULL,
         offsetof(Device, bits) + 2 * sizeof(long) - 1,
         "expected an object of"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        VmloadStateDesc desc =
            device_desc(cases[i].fields, cases[i].subsections);
        GError *error = NULL;

        assert_true(vmload_state_desc_check(&desc, &error));
        assert_false(
            vmload_state_shadow_check(&desc, cases[i].size, &error));
        assert_unit_error(&error, VMLOAD_ERROR_FAILED, cases[i].message);
    }
}

/* The shadow is bounded as what the engine allocates is. */
static void test_budget(void **state)
{
    static const VmloadField fields[] = {
        VMLOAD_FIELD_LIST(head, Device, Item, &item_desc, &item_ops),
        VMLOAD_FIELD_END,
    };
    VmloadStateDesc desc = device_desc(fields, NULL);
    uint8_t *bytes = g_malloc0(50000);
    VmloadReader *reader = vmload_reader_new_memory(bytes, 50000, 0);
    Device device = {0};
    GError *error = NULL;
    VmloadLimits limits;
    size_t i;

    (void)state;
    for (i = 0; i < 50000; i += 5) {
        bytes[i] = 1;
    }
    vmload_limits_init(&limits);
    limits.element_bytes = 10000 * sizeof(Item);
    assert_null(vmload_state_decode(&desc, &device, sizeof(device), 3, reader,
                                    &limits, &fence, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT,
                      "limit element_bytes");
    vmload_reader_free(reader);
    g_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_refused_memory),
        cmocka_unit_test(test_commit_fails),
        cmocka_unit_test(test_changed_pointer),
        cmocka_unit_test(test_changed_count),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_budget),
    };

    return cmocka_run_group_tests_name("vmstate-shadow", tests, NULL, NULL);
}

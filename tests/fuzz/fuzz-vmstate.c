/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The declarative engine: the first byte is the version, the second the size
 * of a live channel's pieces, the rest a device's state. The description has
 * every kind of field. Memory and a channel must agree in the result, and
 * nothing may leak, whatever the bytes.
 */
#include "fuzz.h"

#include "device/vmstate-shadow.h"
#include "stream/reader.h"

#include <vmload/vmstate.h>

typedef struct Node {
    struct Node *next;
    uint8_t n;
    uint16_t *words;
} Node;

typedef struct {
    uint8_t count;
    uint8_t array[4];
    uint16_t level;
} Part;

typedef struct {
    bool flag;
    int8_t i8;
    uint8_t u8;
    int16_t i16;
    uint16_t u16;
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    uint8_t same8;
    uint16_t same16;
    int32_t same32;
    uint32_t sameu32;
    uint64_t same64;
    int32_t at_most;
    double real;
    int64_t timer;
    uint16_t array[4];
    uint8_t matrix[2][3];
    char buffer[8];
    uint8_t n8;
    uint16_t n16;
    uint32_t n32;
    int32_t signed32;
    uint32_t *words;
    uint8_t *bytes;
    unsigned long bits[2];
    unsigned long *more_bits;
    Part part;
    Part parts[2];
    Part *allocated;
    Part *given;
    Part *some[3];
    Part *any[3];
    Node *list;
    uint32_t tree;
    uint32_t computed;
} Fuzzed;

static void node_free(void *opaque, void *element)
{
    Node *node = element;

    (void)opaque;
    g_free(node->words);
    g_free(node);
}

static bool node_insert(void *opaque, void *list, void *element,
                        GError **error)
{
    Node **head = list;
    Node *node = element;

    (void)opaque;
    (void)error;
    if (node->n == 0xee) {
        return false;
    }
    node->next = *head;
    *head = node;
    return true;
}

static bool pair_insert(void *opaque, void *tree, void *key,
                        uint64_t direct_key, void *value, GError **error)
{
    (void)tree;
    (void)error;
    if (direct_key == 0xee) {
        return false;
    }
    g_free(key);
    node_free(opaque, value);
    return true;
}

static bool get_string(void *opaque, void *object, void *element,
                       VmloadReader *reader, GError **error)
{
    char name[VMLOAD_STR8_SIZE];
    uint32_t length;

    (void)opaque;
    (void)object;
    if (!vmload_reader_get_str8(reader, name, &length, error)) {
        return false;
    }
    *(uint8_t *)element = (uint8_t)length;
    return true;
}

static const VmloadFieldOps node_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .get = get_string,
    .insert = node_insert,
    .insert_pair = pair_insert,
    .element_free = node_free,
};

static const VmloadFieldOps string_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .get = get_string,
};

static const VmloadField node_fields[] = {
    VMLOAD_FIELD_U8(n, Node),
    VMLOAD_FIELD_VARRAY_ALLOC(words, Node, U16, n, U8, 2),
    VMLOAD_FIELD_END,
};
static const VmloadStateDesc node_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "f/node",
    .fields = node_fields,
};

static const VmloadField part_sub_fields[] = {
    VMLOAD_FIELD_U16(level, Part),
    VMLOAD_FIELD_END,
};
static const VmloadStateDesc part_sub_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .name = "f/l",
    .fields = part_sub_fields,
};
static const VmloadField part_fields[] = {
    VMLOAD_FIELD_U8(count, Part),
    VMLOAD_FIELD_VARRAY(array, Part, U8, count, U8),
    VMLOAD_FIELD_END,
};
/* The same name as the outer one: innermost first. */
static const VmloadStateDesc part_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .name = "f",
    .fields = part_fields,
    .subsections = (const VmloadStateDesc *const[]){&part_sub_desc, NULL},
};

typedef struct {
    Fuzzed *parent;
    uint16_t half;
} Tmp;

static bool tmp_post_load(void *object, uint32_t version, GError **error)
{
    Tmp *tmp = object;

    (void)version;
    (void)error;
    tmp->parent->computed = tmp->half;
    return tmp->half != 0xeeee;
}

static const VmloadField tmp_fields[] = {
    VMLOAD_FIELD_U16(half, Tmp),
    VMLOAD_FIELD_END,
};
static const VmloadStateDesc tmp_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "tmp",
    .fields = tmp_fields,
    .post_load = tmp_post_load,
};

static bool has_flag(const void *object, uint32_t version)
{
    return ((const Fuzzed *)object)->flag && version > 1;
}

static const VmloadField sub_fields[] = {
    VMLOAD_FIELD_V(u8, Fuzzed, U8, 0, has_flag),
    VMLOAD_FIELD_POINTERS_ALLOC(any, Fuzzed, STRUCT(Part, &part_desc)),
    VMLOAD_FIELD_POINTERS(some, Fuzzed, STRUCT(Part, &part_desc)),
    VMLOAD_FIELD_END,
};
static const VmloadStateDesc sub_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .name = "f/sub",
    .fields = sub_fields,
};

/* Lists and trees apart, so that short inputs get to everything. */
static const VmloadField list_fields[] = {
    VMLOAD_FIELD_LIST(list, Fuzzed, Node, &node_desc, &node_ops),
    VMLOAD_FIELD_TREE_DIRECT(tree, Fuzzed, Node, &node_desc, &node_ops),
    VMLOAD_FIELD_TREE(tree, Fuzzed, Part, &part_desc, Node, &node_desc,
                      &node_ops),
    VMLOAD_FIELD_TMP(Tmp, &tmp_desc),
    VMLOAD_FIELD(u8, Fuzzed, CUSTOM(uint8_t, &string_ops)),
    VMLOAD_FIELD_END,
};
static const VmloadStateDesc list_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "f/list",
    .fields = list_fields,
};

static const VmloadField number_fields[] = {
    VMLOAD_FIELD_I8(i8, Fuzzed),
    VMLOAD_FIELD_I16(i16, Fuzzed),
    VMLOAD_FIELD_U16(u16, Fuzzed),
    VMLOAD_FIELD_I32(i32, Fuzzed),
    VMLOAD_FIELD_U32(u32, Fuzzed),
    VMLOAD_FIELD_I64(i64, Fuzzed),
    VMLOAD_FIELD_U64(u64, Fuzzed),
    VMLOAD_FIELD_DOUBLE(real, Fuzzed),
    VMLOAD_FIELD_TIMER(timer, Fuzzed),
    VMLOAD_FIELD(same8, Fuzzed, U8_EQUAL),
    VMLOAD_FIELD(same16, Fuzzed, U16_EQUAL),
    VMLOAD_FIELD(same32, Fuzzed, I32_EQUAL),
    VMLOAD_FIELD(sameu32, Fuzzed, U32_EQUAL),
    VMLOAD_FIELD(same64, Fuzzed, U64_EQUAL),
    VMLOAD_FIELD(at_most, Fuzzed, I32_LE),
    VMLOAD_FIELD_VARRAY_POINTER(given, Fuzzed, STRUCT(Part, &part_desc),
                                at_most, I32, 1, 0),
    VMLOAD_FIELD_END,
};
static const VmloadStateDesc number_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "f/number",
    .fields = number_fields,
};

static const VmloadField fuzzed_fields[] = {
    VMLOAD_FIELD_BOOL(flag, Fuzzed),
    VMLOAD_FIELD_ARRAY(array, Fuzzed, U16),
    VMLOAD_FIELD_ARRAY_2D(matrix, Fuzzed, U8),
    VMLOAD_FIELD_SUB_ARRAY(array, Fuzzed, U16, 1, 2),
    VMLOAD_FIELD_BUFFER(buffer, Fuzzed),
    VMLOAD_FIELD_U8(n8, Fuzzed),
    VMLOAD_FIELD_VARRAY(array, Fuzzed, U16, n8, U8),
    VMLOAD_FIELD_UNUSED_VARRAY(Fuzzed, n8, U8, 3),
    VMLOAD_FIELD_U16(n16, Fuzzed),
    VMLOAD_FIELD_VARRAY_ALLOC(words, Fuzzed, U32, n16, U16, 2),
    VMLOAD_FIELD_U32(n32, Fuzzed),
    VMLOAD_FIELD_VBUFFER_ALLOC(bytes, Fuzzed, n32, U32, 3),
    VMLOAD_FIELD_BITMAP_ALLOC(more_bits, Fuzzed, n32, U32),
    VMLOAD_FIELD_I32(signed32, Fuzzed),
    VMLOAD_FIELD_BITMAP(bits, Fuzzed, signed32, I32),
    VMLOAD_FIELD_VARRAY_ALLOC(allocated, Fuzzed, STRUCT(Part, &part_desc),
                              signed32, I32, 1),
    VMLOAD_FIELD_UNUSED(2),
    VMLOAD_FIELD_V(part, Fuzzed, STRUCT(Part, &part_desc), 2, NULL),
    VMLOAD_FIELD_ARRAY(parts, Fuzzed, VSTRUCT(Part, &part_desc, 1)),
    VMLOAD_FIELD_V(u8, Fuzzed, U8, 0, has_flag),
    VMLOAD_FIELD_END,
};
static const VmloadStateDesc fuzzed_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .minimum_version_id = 1,
    .name = "f",
    .fields = fuzzed_fields,
    .subsections = (const VmloadStateDesc *const[]){&sub_desc, &list_desc,
                                                    &number_desc, NULL},
};

/* What can be decoded apart from the object: no CUSTOM field. */
static const VmloadField apart_fields[] = {
    VMLOAD_FIELD_LIST(list, Fuzzed, Node, &node_desc, &node_ops),
    VMLOAD_FIELD_TREE_DIRECT(tree, Fuzzed, Node, &node_desc, &node_ops),
    VMLOAD_FIELD_TREE(tree, Fuzzed, Part, &part_desc, Node, &node_desc,
                      &node_ops),
    VMLOAD_FIELD_TMP(Tmp, &tmp_desc),
    VMLOAD_FIELD_END,
};
static const VmloadStateDesc apart_list_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "f/list",
    .fields = apart_fields,
};
static const VmloadStateDesc apart_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .minimum_version_id = 1,
    .name = "f",
    .fields = fuzzed_fields,
    .subsections = (const VmloadStateDesc *const[]){&sub_desc,
                                                    &apart_list_desc,
                                                    &number_desc, NULL},
};

static void fuzzed_init(Fuzzed *fuzzed)
{
    memset(fuzzed, 0, sizeof(*fuzzed));
    fuzzed->same32 = -1;
    fuzzed->at_most = 3;
    fuzzed->given = g_new0(Part, 3);
    fuzzed->some[1] = g_new0(Part, 1);
}

static void fuzzed_clear(Fuzzed *fuzzed)
{
    size_t i;

    while (fuzzed->list != NULL) {
        Node *node = fuzzed->list;

        fuzzed->list = node->next;
        node_free(NULL, node);
    }
    for (i = 0; i < G_N_ELEMENTS(fuzzed->some); i++) {
        g_free(fuzzed->some[i]);
        g_free(fuzzed->any[i]);
    }
    g_free(fuzzed->words);
    g_free(fuzzed->bytes);
    g_free(fuzzed->more_bits);
    g_free(fuzzed->allocated);
    g_free(fuzzed->given);
}

static bool load(VmloadReader *reader, uint32_t version, uint64_t *end)
{
    VmloadLimits limits;
    GError *error = NULL;
    Fuzzed fuzzed;
    bool ok;

    vmload_limits_init(&limits);
    limits.elements = 4096;
    limits.element_bytes = 65536;
    fuzzed_init(&fuzzed);
    ok = vmload_state_load(&fuzzed_desc, &fuzzed, version, reader, &limits,
                           &error);
    FUZZ_CHECK(ok == (error == NULL));
    FUZZ_CHECK(ok || error->domain == VMLOAD_ERROR);
    *end = vmload_reader_get_offset(reader);
    g_clear_error(&error);
    fuzzed_clear(&fuzzed);
    return ok;
}

static void no_fence(void *opaque)
{
    (void)opaque;
}

/* The code of the error, or -1. APPLY (@apart): decodes, then commits. */
static int load_apart(Fuzzed *fuzzed, const uint8_t *data, size_t size,
                      uint32_t version, bool apart)
{
    const VmloadStateFence fence = {no_fence, no_fence, NULL};
    VmloadReader *reader = vmload_reader_new_memory(data, size, 0);
    VmloadStateShadow *shadow;
    VmloadLimits limits;
    GError *error = NULL;
    bool ok;
    int code;

    vmload_limits_init(&limits);
    limits.elements = 4096;
    limits.element_bytes = 1 << 22;
    fuzzed_init(fuzzed);
    if (apart) {
        shadow = vmload_state_decode(&apart_desc, fuzzed, sizeof(*fuzzed),
                                     version, reader, &limits, &fence,
                                     &error);
        ok = shadow != NULL && vmload_state_commit(shadow, &error);
        vmload_state_shadow_free(shadow);
    } else {
        ok = vmload_state_load(&apart_desc, fuzzed, version, reader, &limits,
                               &error);
    }
    FUZZ_CHECK(ok == (error == NULL));
    code = ok ? -1 : error->code;
    g_clear_error(&error);
    vmload_reader_free(reader);
    return code;
}

/* Both are of the same bytes: what they hold and what they point to. */
static void check_same(const Fuzzed *one, const Fuzzed *other)
{
    const Node *node = one->list;
    const Node *twin = other->list;
    size_t i;

    FUZZ_CHECK(memcmp(one, other, offsetof(Fuzzed, words)) == 0);
    FUZZ_CHECK(memcmp(one->bits, other->bits, sizeof(one->bits)) == 0);
    FUZZ_CHECK(memcmp(&one->part, &other->part, sizeof(one->part)) == 0);
    FUZZ_CHECK(memcmp(one->parts, other->parts, sizeof(one->parts)) == 0);
    FUZZ_CHECK(one->computed == other->computed && one->tree == other->tree);
    FUZZ_CHECK(memcmp(one->given, other->given, 3 * sizeof(Part)) == 0);
    FUZZ_CHECK(memcmp(one->some[1], other->some[1], sizeof(Part)) == 0);
    for (i = 0; i < G_N_ELEMENTS(one->any); i++) {
        FUZZ_CHECK((one->any[i] == NULL) == (other->any[i] == NULL));
        FUZZ_CHECK(one->any[i] == NULL ||
                   memcmp(one->any[i], other->any[i], sizeof(Part)) == 0);
    }
    FUZZ_CHECK((one->words == NULL) == (other->words == NULL));
    FUZZ_CHECK((one->bytes == NULL) == (other->bytes == NULL));
    FUZZ_CHECK((one->allocated == NULL) == (other->allocated == NULL));
    for (; node != NULL && twin != NULL; node = node->next) {
        FUZZ_CHECK(node->n == twin->n);
        FUZZ_CHECK(node->words == NULL || twin->words == NULL ||
                   memcmp(node->words, twin->words,
                          node->n * sizeof(*node->words)) == 0);
        twin = twin->next;
    }
    FUZZ_CHECK(node == NULL && twin == NULL);
}

/* WHOLE and APPLY of the same bytes: the same object, or both fail. */
static void check_apart(const uint8_t *data, size_t size, uint32_t version)
{
    Fuzzed one;
    Fuzzed other;
    int code;
    int code_apart;

    FUZZ_CHECK(vmload_state_shadow_check(&apart_desc, sizeof(one), NULL));
    code = load_apart(&one, data, size, version, false);
    code_apart = load_apart(&other, data, size, version, true);
    /* A shadow takes memory of its own against the limit. */
    if (code_apart != VMLOAD_ERROR_LIMIT) {
        FUZZ_CHECK((code == -1) == (code_apart == -1));
        if (code == -1) {
            check_same(&one, &other);
        }
    }
    fuzzed_clear(&one);
    fuzzed_clear(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VmloadChannel *channel;
    VmloadReader *reader;
    VmloadWait wait = {0};
    FuzzPieces pieces;
    uint64_t end[2];
    bool ok[2];

    if (size < 2) {
        return 0;
    }
    FUZZ_CHECK(vmload_state_desc_check(&fuzzed_desc, NULL));
    reader = vmload_reader_new_memory(data + 2, size - 2, 0);
    ok[0] = load(reader, data[0], &end[0]);
    vmload_reader_free(reader);

    fuzz_pieces_init(&pieces, data + 2, size - 2, data[1]);
    channel = fuzz_pieces_channel(&pieces);
    reader = vmload_reader_new_channel(channel, &wait, NULL);
    ok[1] = load(reader, data[0], &end[1]);
    vmload_reader_free(reader);
    vmload_channel_unref(channel);
    FUZZ_CHECK(ok[0] == ok[1]);
    FUZZ_CHECK(!ok[0] || end[0] == end[1]);
    check_apart(data + 2, size - 2, data[0]);
    return 0;
}

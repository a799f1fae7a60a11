/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of device descriptions share: a made-up device with a
 * member of every kind, and a runner. Bytes are written by hand from the
 * format's description.
 */
#ifndef VMLOAD_TESTS_VMSTATE_FIXTURE_H
#define VMLOAD_TESTS_VMSTATE_FIXTURE_H

#include "unit.h"

#include "device/vmstate-shadow.h"

typedef struct Item {
    struct Item *next;
    uint32_t value;
    uint32_t n_extra;
    uint8_t *extra;
} Item;

typedef struct {
    uint8_t count;
    uint16_t level;
} Part;

typedef struct {
    uint64_t key;
    uint32_t value;
} Pair;

typedef struct {
    bool flag;
    bool flags[4];
    int8_t i8;
    uint8_t u8;
    int16_t i16;
    uint16_t u16;
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    double real;
    int64_t timer;
    int64_t timers[2];
    uint16_t array[3];
    uint8_t matrix[2][3];
    int32_t limits[2];
    char buffer[4];
    int32_t n32;
    uint32_t nu32;
    uint16_t n16;
    uint8_t n8;
    uint16_t *p16;
    uint32_t *p32;
    uint8_t *bytes;
    unsigned long bits[2];
    unsigned long *pbits;
    Part part;
    Part parts[2];
    Part *ppart;
    Part *vparts;
    Part *ptrs[3];
    uint32_t *ints[2];
    Item *head;
    Pair pairs[3];
    uint32_t n_pairs;
    uint32_t from_tmp;
    uint32_t pre_loads;
    uint32_t post_loads;
} Device;

static inline void item_free(void *opaque, void *element)
{
    Item *item = element;

    (void)opaque;
    g_free(item->extra);
    g_free(item);
}

/* Frees all that a load may have left; the rest is the test's memory. */
static inline void device_clear(Device *device)
{
    size_t i;

    while (device->head != NULL) {
        Item *item = device->head;

        device->head = item->next;
        item_free(NULL, item);
    }
    for (i = 0; i < G_N_ELEMENTS(device->ptrs); i++) {
        g_free(device->ptrs[i]);
    }
    for (i = 0; i < G_N_ELEMENTS(device->ints); i++) {
        g_free(device->ints[i]);
    }
    g_free(device->p16);
    g_free(device->p32);
    g_free(device->bytes);
    g_free(device->pbits);
    g_free(device->ppart);
    g_free(device->vparts);
    memset(device, 0, sizeof(*device));
}

/* A value that a member must have after the load. */
typedef struct {
    uint64_t offset;
    uint64_t size; /* 0: no more values */
    uint64_t value;
} Expected;

#define IS(member, value)                                               \
    {                                                                   \
        offsetof(Device, member), sizeof(((Device *)NULL)->member),     \
            (uint64_t)(value)                                           \
    }

/* Fields, ended by themselves; bytes with their length. */
#define FIELDS(...) (const VmloadField[]){__VA_ARGS__, VMLOAD_FIELD_END}
#define WIRE(...)                           \
    .data = (const uint8_t[]){__VA_ARGS__}, \
    .length = sizeof((const uint8_t[]){__VA_ARGS__})
#define NO_BYTES .data = (const uint8_t[]){0}, .length = 0

typedef struct {
    const char *name;
    const VmloadField *fields;
    const VmloadStateDesc *const *subsections;
    const uint8_t *data;
    size_t length;
    void (*setup)(Device *device);
    void (*verify)(const Device *device);
    Expected expected[6];
    /*
     * Cuts from here up to before there load: a subsection whose header is
     * not complete is none.
     */
    size_t complete_from;
    size_t complete_to;
    /* Bytes at the end that are not the device's. */
    size_t surplus;
} GoodCase;

typedef struct {
    const char *name;
    const VmloadField *fields;
    const VmloadStateDesc *const *subsections;
    const uint8_t *data;
    size_t length;
    void (*setup)(Device *device);
    VmloadError code;
    const char *message;
} BadCase;

/* The description around a case's fields; version 3 is loaded. */
static inline VmloadStateDesc
device_desc(const VmloadField *fields,
            const VmloadStateDesc *const *subsections)
{
    VmloadStateDesc desc = {
        VMLOAD_STATE_DESC_INIT,
        .version_id = 4,
        .minimum_version_id = 2,
        .name = "device",
        .fields = fields,
        .subsections = subsections,
    };

    return desc;
}

/* How the fixture loads: at once, or decode and commit. */
typedef enum {
    AT_ONCE,
    IN_TWO_STEPS,
} DeviceWay;

static DeviceWay device_way;
static int device_fences;

static inline void device_fence(void *opaque)
{
    (void)opaque;
    device_fences++;
}

/* Decodes and commits; what fails to decode has not touched the device. */
static inline bool device_load_apart(const VmloadStateDesc *desc,
                                     Device *device, VmloadReader *reader,
                                     const VmloadLimits *limits,
                                     GError **error)
{
    const VmloadStateFence fence = {device_fence, device_fence, NULL};
    VmloadStateShadow *shadow;
    Device before;
    bool ok;

    memcpy(&before, device, sizeof(before));
    device_fences = 0;
    shadow = vmload_state_decode(desc, device, sizeof(*device), 3, reader,
                                 limits, &fence, error);
    assert_memory_equal(&before, device, sizeof(before));
    /* Taken as often as given, and at all. */
    assert_true(device_fences % 2 == 0);
    assert_true(shadow == NULL || device_fences > 0);
    ok = shadow != NULL && vmload_state_commit(shadow, error);
    vmload_state_shadow_free(shadow);
    return ok;
}

/* Loads @length bytes, in memory of just that size, from offset 0x100 on. */
static inline bool device_load(const VmloadStateDesc *desc, Device *device,
                               const uint8_t *data, size_t length,
                               uint64_t *consumed, const VmloadLimits *limits,
                               GError **error)
{
    uint8_t *copy = g_malloc(length + (length == 0));
    VmloadReader *reader;
    bool ok;

    memcpy(copy, data, length);
    reader = vmload_reader_new_memory(copy, length, 0x100);
    ok = device_way == IN_TWO_STEPS
             ? device_load_apart(desc, device, reader, limits, error)
             : vmload_state_load(desc, device, 3, reader, limits, error);
    *consumed = vmload_reader_get_offset(reader) - 0x100;
    assert_true(ok == (error == NULL || *error == NULL));
    vmload_reader_free(reader);
    g_free(copy);
    return ok;
}

static inline void check_members(const GoodCase *test, const Device *device)
{
    const Expected *e;

    for (e = test->expected; e < test->expected + 6 && e->size != 0; e++) {
        uint64_t mask = e->size == 8 ? UINT64_MAX
                                     : ((uint64_t)1 << (8 * e->size)) - 1;
        uint64_t found = 0;

        memcpy(&found, (const uint8_t *)device + e->offset, e->size);
        if (GUINT64_TO_LE(found) != (e->value & mask)) {
            fail_msg("%s: value %d: expected 0x%" G_GINT64_MODIFIER
                     "x, found 0x%" G_GINT64_MODIFIER "x",
                     test->name, (int)(e - test->expected), e->value & mask,
                     found);
        }
    }
    if (test->verify != NULL) {
        test->verify(device);
    }
}

static inline void run_good_whole(const GoodCase *test,
                                  const VmloadStateDesc *desc)
{
    Device device = {0};
    GError *error = NULL;
    uint64_t consumed;

    if (!vmload_state_desc_check(desc, &error)) {
        fail_msg("%s: %s", test->name, error->message);
    }
    if (test->setup != NULL) {
        test->setup(&device);
    }
    if (!device_load(desc, &device, test->data, test->length, &consumed, NULL,
                     &error)) {
        fail_msg("%s: %s", test->name, error->message);
    }
    if (consumed != test->length - test->surplus) {
        fail_msg("%s: consumed %d", test->name, (int)consumed);
    }
    check_members(test, &device);
    device_clear(&device);
}

/* The same bytes, cut at every place. */
static inline void run_good_cut(const GoodCase *test,
                                const VmloadStateDesc *desc)
{
    size_t length;

    for (length = 0; length < test->length - test->surplus; length++) {
        bool complete = length >= test->complete_from &&
                        length < test->complete_to;
        Device device = {0};
        GError *error = NULL;
        uint64_t consumed;

        if (test->setup != NULL) {
            test->setup(&device);
        }
        if (device_load(desc, &device, test->data, length, &consumed, NULL,
                        &error) != complete) {
            fail_msg("%s cut at %d: %s", test->name, (int)length,
                     error != NULL ? error->message : "loaded");
        }
        if (!complete) {
            assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x");
        }
        device_clear(&device);
    }
}

/* Each case is run both ways, but for what cannot be done in two steps. */
static inline bool next_way(const VmloadStateDesc *desc)
{
    if (device_way == AT_ONCE &&
        vmload_state_shadow_check(desc, sizeof(Device), NULL)) {
        device_way = IN_TWO_STEPS;
        return true;
    }
    device_way = AT_ONCE;
    return false;
}

static inline void run_good(const GoodCase *tests, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        VmloadStateDesc desc =
            device_desc(tests[i].fields, tests[i].subsections);

        do {
            run_good_whole(&tests[i], &desc);
            run_good_cut(&tests[i], &desc);
        } while (next_way(&desc));
    }
}

static inline void run_bad_once(const BadCase *test,
                                const VmloadStateDesc *desc)
{
    Device device = {0};
    GError *error = NULL;
    uint64_t consumed;

    if (!vmload_state_desc_check(desc, &error)) {
        fail_msg("%s: %s", test->name, error->message);
    }
    if (test->setup != NULL) {
        test->setup(&device);
    }
    if (device_load(desc, &device, test->data, test->length, &consumed, NULL,
                    &error)) {
        fail_msg("%s: loaded", test->name);
    }
    assert_unit_error(&error, test->code, test->message);
    device_clear(&device);
}

static inline void run_bad(const BadCase *tests, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        VmloadStateDesc desc =
            device_desc(tests[i].fields, tests[i].subsections);

        do {
            run_bad_once(&tests[i], &desc);
        } while (next_way(&desc));
    }
}

#endif

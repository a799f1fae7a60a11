/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices as QEMU sends them, limits, memory that is refused, and a live
 * channel.
 */
#include "vmstate-fixture.h"

#include "stream/reader.h"

/* --- memory that is refused --------------------------------------------- */

/* Every call counts; the one with this number gets nothing. 0: none. */
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

static const VmloadField item_fields[] = {
    VMLOAD_FIELD_U32(n_extra, Item),
    VMLOAD_FIELD_VBUFFER_ALLOC(extra, Item, n_extra, U32, 1),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc item_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "item",
    .fields = item_fields,
};

static bool item_insert(void *opaque, void *list, void *element,
                        GError **error)
{
    Item **head = list;
    Item *item = element;

    (void)opaque;
    (void)error;
    item->next = *head;
    *head = item;
    return true;
}

static bool pair_insert(void *opaque, void *tree, void *key,
                        uint64_t direct_key, void *value, GError **error)
{
    (void)opaque;
    (void)tree;
    (void)direct_key;
    (void)error;
    g_free(key);
    item_free(NULL, value);
    return true;
}

static const VmloadFieldOps item_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .insert = item_insert,
    .insert_pair = pair_insert,
    .element_free = item_free,
};

typedef struct {
    Device *parent;
    uint8_t byte;
} Tmp;

static const VmloadField tmp_fields[] = {
    VMLOAD_FIELD_U8(byte, Tmp),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc tmp_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "tmp",
    .fields = tmp_fields,
};

static const VmloadField part_fields[] = {
    VMLOAD_FIELD_U8(count, Part),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc part_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "part",
    .fields = part_fields,
};

/* Every field that allocates: 12 times with these bytes. */
static const VmloadField hungry_fields[] = {
    VMLOAD_FIELD_U16(n16, Device),
    VMLOAD_FIELD_VARRAY_ALLOC(p16, Device, U16, n16, U16, 1),
    VMLOAD_FIELD_BITMAP_ALLOC(pbits, Device, n16, U16),
    VMLOAD_FIELD_VBUFFER_ALLOC(bytes, Device, n16, U16, 1),
    VMLOAD_FIELD_VARRAY_ALLOC(vparts, Device, STRUCT(Part, &part_desc), n16,
                              U16, 1),
    VMLOAD_FIELD_POINTERS_ALLOC(ptrs, Device, STRUCT(Part, &part_desc)),
    VMLOAD_FIELD_TMP(Tmp, &tmp_desc),
    VMLOAD_FIELD_LIST(head, Device, Item, &item_desc, &item_ops),
    VMLOAD_FIELD_TREE(n_pairs, Device, Part, &part_desc, Item, &item_desc,
                      &item_ops),
    VMLOAD_FIELD_END,
};

static const uint8_t hungry_bytes[] = {
    0, 2,                                  /* n16 */
    1, 2, 3, 4,                            /* p16 */
    0, 0, 0, 0, 0, 0, 0, 3,                /* pbits */
    'a', 'b',                              /* bytes */
    5, 6,                                  /* vparts */
    0x31, 7, 0x30, 0x31, 8,                /* ptrs */
    9,                                     /* tmp */
    1, 0, 0, 0, 1, 'x', 0,                 /* list */
    0, 0, 0, 1, 1, 3, 0, 0, 0, 1, 'y', 0,  /* tree */
};
#define HUNGRY_CALLS 12

static void test_refused_memory(void **state)
{
    VmloadStateDesc desc = device_desc(hungry_fields, NULL);
    Device device = {0};
    GError *error = NULL;
    uint64_t consumed;
    uint32_t n;

    (void)state;
    assert_true(vmload_state_desc_check(&desc, &error));
    for (n = 1; n <= HUNGRY_CALLS; n++) {
        calls = 0;
        refuse_call = n;
        assert_false(device_load(&desc, &device, hungry_bytes,
                                 sizeof(hungry_bytes), &consumed, NULL,
                                 &error));
        assert_int_equal(calls, n);
        assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "no memory for ");
        device_clear(&device);
    }
    calls = 0;
    refuse_call = 0;
    assert_true(device_load(&desc, &device, hungry_bytes,
                            sizeof(hungry_bytes), &consumed, NULL, &error));
    assert_int_equal(calls, HUNGRY_CALLS);
    assert_int_equal(consumed, sizeof(hungry_bytes));
    device_clear(&device);
}

static void test_hungry_cut(void **state)
{
    VmloadStateDesc desc = device_desc(hungry_fields, NULL);
    size_t length;

    (void)state;
    for (length = 0; length < sizeof(hungry_bytes); length++) {
        Device device = {0};
        GError *error = NULL;
        uint64_t consumed;

        assert_false(device_load(&desc, &device, hungry_bytes, length,
                                 &consumed, NULL, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x");
        device_clear(&device);
    }
}

/* --- limits ------------------------------------------------------------ */

static bool load_limited(const VmloadLimits *limits, GError **error)
{
    VmloadStateDesc desc = device_desc(hungry_fields, NULL);
    Device device = {0};
    uint64_t consumed;
    bool ok = device_load(&desc, &device, hungry_bytes, sizeof(hungry_bytes),
                          &consumed, limits, error);

    device_clear(&device);
    return ok;
}

static void test_limits(void **state)
{
    VmloadLimits limits;
    GError *error = NULL;
    uint64_t bytes;

    (void)state;
    vmload_limits_init(&limits);
    limits.nesting = 1;
    assert_false(load_limited(&limits, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT,
                      "field 'vparts[0]': offset 0x110: limit nesting");
    limits.nesting = 2;
    assert_true(load_limited(&limits, &error));

    limits.elements = 1;
    assert_false(load_limited(&limits, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT,
                      "field 'p16': offset 0x102: limit elements: expected "
                      "at most 1, found 2");
    limits.elements = 2;
    assert_true(load_limited(&limits, &error));

    /* Each budget fails in some place until one is enough. */
    for (bytes = 1; ; bytes++) {
        limits.element_bytes = bytes;
        if (load_limited(&limits, &error)) {
            break;
        }
        assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "limit element_bytes");
    }
    assert_true(bytes > 2 * sizeof(Item) && bytes < 200);
}

/* A list that never ends gets no further than the limit. */
static void test_endless_list(void **state)
{
    static const VmloadField fields[] = {
        VMLOAD_FIELD_LIST(head, Device, Item, &item_desc, &item_ops),
        VMLOAD_FIELD_END,
    };
    static const uint8_t element[] = {1, 0, 0, 0, 0};
    VmloadStateDesc desc = device_desc(fields, NULL);
    uint8_t bytes[20 * sizeof(element)];
    VmloadLimits limits;
    Device device = {0};
    GError *error = NULL;
    uint64_t consumed;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bytes); i++) {
        bytes[i] = element[i % sizeof(element)];
    }
    vmload_limits_init(&limits);
    limits.elements = 19;
    assert_false(device_load(&desc, &device, bytes, sizeof(bytes), &consumed,
                             &limits, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "expected at most 19");
    device_clear(&device);
}

/* --- devices of QEMU, stream format section 8 ---------------------------- */

typedef struct {
    int32_t nirq;
    int32_t *irq_count;
} PciBus;

static void test_pcibus(void **state)
{
    static const uint8_t bytes[] = {
        0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x7e, 0x00, 0x00, 0x00, 0x09,
    };
    static const VmloadField fields[] = {
        VMLOAD_FIELD(nirq, PciBus, I32_EQUAL),
        VMLOAD_FIELD_VARRAY_POINTER(irq_count, PciBus, I32, nirq, I32, 1, 0),
        VMLOAD_FIELD_END,
    };
    static const VmloadStateDesc desc = {
        VMLOAD_STATE_DESC_INIT,
        .version_id = 1,
        .minimum_version_id = 1,
        .name = "PCIBUS",
        .fields = fields,
    };
    int32_t irqs[4] = {1, 1, 1, 1};
    PciBus bus = {4, irqs};
    VmloadReader *reader;
    GError *error = NULL;

    (void)state;
    assert_true(vmload_state_desc_check(&desc, &error));
    reader = vmload_reader_new_memory(bytes, sizeof(bytes), 0);
    assert_true(vmload_state_load(&desc, &bus, 1, reader, NULL, &error));
    assert_int_equal(vmload_reader_get_offset(reader), 20);
    assert_int_equal(irqs[0] | irqs[1] | irqs[2] | irqs[3], 0);
    vmload_reader_free(reader);

    bus.nirq = 3;
    reader = vmload_reader_new_memory(bytes, sizeof(bytes), 0);
    assert_false(vmload_state_load(&desc, &bus, 1, reader, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH,
                      "field 'nirq': offset 0x4: expected 3, found 4");
    vmload_reader_free(reader);
}

typedef struct {
    uint8_t write_cmd;
    uint8_t status;
    uint8_t mode;
    uint8_t pending_tmp;
    uint32_t migration_flags;
    uint32_t obsrc;
    uint8_t obdata;
    uint8_t cbdata;
} Kbd;

typedef struct {
    uint32_t of_the_isa_device;
    Kbd kbd;
} IsaKbd;

static const VmloadField kbd_extended_fields[] = {
    VMLOAD_FIELD_U32(migration_flags, Kbd),
    VMLOAD_FIELD_U32(obsrc, Kbd),
    VMLOAD_FIELD_U8(obdata, Kbd),
    VMLOAD_FIELD_U8(cbdata, Kbd),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc kbd_extended_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "pckbd/extended_state",
    .fields = kbd_extended_fields,
};

static const VmloadField kbd_fields[] = {
    VMLOAD_FIELD_U8(write_cmd, Kbd),
    VMLOAD_FIELD_U8(status, Kbd),
    VMLOAD_FIELD_U8(mode, Kbd),
    VMLOAD_FIELD_U8(pending_tmp, Kbd),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc kbd_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 3,
    .minimum_version_id = 3,
    .name = "pckbd",
    .fields = kbd_fields,
    .subsections = (const VmloadStateDesc *const[]){&kbd_extended_desc, NULL},
};

static const VmloadField isa_kbd_fields[] = {
    VMLOAD_FIELD_STRUCT(kbd, IsaKbd, Kbd, &kbd_desc),
    VMLOAD_FIELD_END,
};

/* The same name one level up, without the subsection. */
static const VmloadStateDesc isa_kbd_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 3,
    .minimum_version_id = 3,
    .name = "pckbd",
    .fields = isa_kbd_fields,
};

/* As captured but for the values, which are zero there. */
static const uint8_t pckbd_bytes[] = {
    0x00, 0x18, 0x03, 0x00, 0x05, 0x14, 0x70, 0x63, 0x6b, 0x62, 0x64, 0x2f,
    0x65, 0x78, 0x74, 0x65, 0x6e, 0x64, 0x65, 0x64, 0x5f, 0x73, 0x74, 0x61,
    0x74, 0x65, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
    0x00, 0x02, 0x03, 0x04, 0x7e, 0x00, 0x00, 0x00, 0x1b,
};
#define PCKBD_LENGTH 40

static void test_pckbd(void **state)
{
    VmloadReader *reader;
    GError *error = NULL;
    IsaKbd isa = {0};

    (void)state;
    assert_true(vmload_state_desc_check(&isa_kbd_desc, &error));
    reader = vmload_reader_new_memory(pckbd_bytes, sizeof(pckbd_bytes), 0);
    assert_true(
        vmload_state_load(&isa_kbd_desc, &isa, 3, reader, NULL, &error));
    assert_int_equal(vmload_reader_get_offset(reader), PCKBD_LENGTH);
    assert_int_equal(isa.kbd.status, 0x18);
    assert_int_equal(isa.kbd.mode, 3);
    assert_int_equal(isa.kbd.migration_flags, 1);
    assert_int_equal(isa.kbd.obsrc, 2);
    assert_int_equal(isa.kbd.obdata, 3);
    assert_int_equal(isa.kbd.cbdata, 4);
    vmload_reader_free(reader);

    reader = vmload_reader_new_memory(pckbd_bytes, PCKBD_LENGTH - 3, 0);
    assert_false(
        vmload_state_load(&isa_kbd_desc, &isa, 3, reader, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED,
                      "field 'kbd.pckbd/extended_state.obsrc': offset 0x22");
    vmload_reader_free(reader);
}

/* --- a live channel ------------------------------------------------------ */

/* Gives one byte a call, and fails where a source would send no more. */
typedef struct {
    const uint8_t *data;
    uint64_t length;
    uint64_t position;
} Drip;

static int64_t drip_readv(void *opaque, const struct iovec *iov, uint32_t n,
                          GError **error)
{
    Drip *drip = opaque;

    (void)n;
    if (drip->position == drip->length) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_TIMEOUT,
                    "waited for bytes that do not come");
        return -1;
    }
    *(uint8_t *)iov[0].iov_base = drip->data[drip->position++];
    return 1;
}

/*
 * A source has sent these bytes and waits. Each of the ends tells the loader
 * that no subsection of "pckbd" follows, at its last byte and not later.
 */
static void test_live_peek(void **state)
{
    static const VmloadChannelOps ops = {
        VMLOAD_CHANNEL_OPS_INIT,
        .readv = drip_readv,
    };
    static const struct {
        uint8_t bytes[8];
        uint64_t length;
    } ends[] = {
        {{0x7e}, 1},
        {{0x05, 0x05}, 2},
        {{0x05, 0x06, 'q'}, 3},
        {{0x05, 0xff, 'p', 'c', 'k', 'b', 'c'}, 7},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(ends); i++) {
        uint8_t bytes[4 + 8] = {1, 2, 3, 4};
        Drip drip = {bytes, 4 + ends[i].length, 0};
        VmloadChannel *channel;
        VmloadReader *reader;
        VmloadWait wait = {0};
        GError *error = NULL;
        Kbd kbd = {0};

        memcpy(bytes + 4, ends[i].bytes, ends[i].length);
        channel = vmload_channel_new_from_ops(&ops, &drip, NULL, &error);
        assert_non_null(channel);
        reader = vmload_reader_new_channel(channel, &wait, &error);
        if (!vmload_state_load(&kbd_desc, &kbd, 3, reader, NULL, &error)) {
            fail_msg("end %d: %s", (int)i, error->message);
        }
        assert_int_equal(kbd.pending_tmp, 4);
        assert_int_equal(vmload_reader_get_offset(reader), 4);
        assert_int_equal(drip.position, drip.length);
        vmload_reader_free(reader);
        vmload_channel_unref(channel);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_memory),
        cmocka_unit_test(test_hungry_cut),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_endless_list),
        cmocka_unit_test(test_pcibus),
        cmocka_unit_test(test_pckbd),
        cmocka_unit_test(test_live_peek),
    };

    return cmocka_run_group_tests_name("vmstate-real", tests, NULL, NULL);
}

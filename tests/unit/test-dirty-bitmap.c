/* SPDX-License-Identifier: BSD-3-Clause */
/* Dirty bitmaps: what is told, what is refused, and with which lock. */
#include "loader-fixture.h"

#include "device/dirty-bitmap.h"

#define SECTION_BYTES 65536u

typedef struct {
    GString *log;
    Fake *fake;         /* NULL: no lock to look at */
    const char *refuse; /* the call of this name fails */
    int destroyed;
} Told;

static bool note(Told *told, const char *what,
                 const VmloadDirtyBitmap *bitmap, GError **error)
{
    assert_int_equal(bitmap->struct_size, sizeof(*bitmap));
    if (told->fake != NULL && !fake_is_held(told->fake)) {
        fake_wrong(told->fake, "without the lock", what);
    }
    g_string_append_printf(told->log, "%s %s/%s", what, bitmap->node,
                           bitmap->name);
    if (g_strcmp0(told->refuse, what) == 0) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_MISMATCH, "no disk");
        return false;
    }
    return true;
}

static bool started(void *opaque, const VmloadDirtyBitmap *bitmap,
                    GError **error)
{
    Told *told = opaque;
    bool ok = note(told, "start", bitmap, error);

    g_string_append_printf(told->log, " %u 0x%x\n", bitmap->granularity,
                           bitmap->flags);
    return ok;
}

static bool bits(void *opaque, const VmloadDirtyBitmap *bitmap,
                 uint64_t offset, uint64_t length, const uint8_t *data,
                 GError **error)
{
    Told *told = opaque;
    bool ok = note(told, "bits", bitmap, error);
    uint64_t i;

    g_string_append_printf(told->log, " %" G_GUINT64_FORMAT "+%"
                           G_GUINT64_FORMAT, offset, length);
    for (i = 0; data != NULL && i < length / bitmap->granularity; i++) {
        if ((data[i / 8] >> (i % 8) & 1) != 0) {
            g_string_append_printf(told->log, " %" G_GUINT64_FORMAT, i);
        }
    }
    g_string_append(told->log, data == NULL ? " zero\n" : "\n");
    return ok;
}

static bool completed(void *opaque, const VmloadDirtyBitmap *bitmap,
                      GError **error)
{
    Told *told = opaque;
    bool ok = note(told, "complete", bitmap, error);

    g_string_append(told->log, "\n");
    return ok;
}

static void told_destroy(void *opaque)
{
    ((Told *)opaque)->destroyed++;
}

static const VmloadDirtyBitmapOps told_ops = {
    VMLOAD_DIRTY_BITMAP_OPS_INIT,
    .started = started,
    .bits = bits,
    .completed = completed,
};

/* What QEMU sent of two bitmaps with granularity 64 KiB on 64 MiB. */
static void add_start(GByteArray *out)
{
    sw_u8(out, 0x1c);
    sw_str8(out, "drv0");
    sw_str8(out, "bm1");
    sw_be32(out, 0x10000);
    sw_u8(out, 3);
    sw_u8(out, 0x14);
    sw_str8(out, "bm0");
    sw_be32(out, 0x10000);
    sw_u8(out, 1);
    sw_u8(out, 1);
}

static void add_bits(GByteArray *out, const char *name)
{
    sw_u8(out, 0x44);
    sw_str8(out, name);
    sw_be64(out, 0);
    sw_be32(out, 0x20000);
    sw_be64(out, 0x80);
    sw_fill(out, 0, 2);
    sw_u8(out, 3);
    sw_fill(out, 0, 125);
}

static void add_end(GByteArray *out)
{
    add_bits(out, "bm1");
    sw_u8(out, 0x42);
    sw_be64(out, 0x100);
    sw_be32(out, 7);
    sw_u8(out, 0x24);
    sw_str8(out, "bm1");
    sw_u8(out, 0x24);
    sw_str8(out, "bm0");
    sw_u8(out, 1);
}

#define LOG_START                    \
    "start drv0/bm1 65536 0x3\n"     \
    "start drv0/bm0 65536 0x1\n"
#define LOG_END                          \
    "bits drv0/bm1 0+67108864 16 17\n"   \
    "bits drv0/bm1 131072+3584 zero\n"   \
    "complete drv0/bm1\n"                \
    "complete drv0/bm0\n"

/* One section: parsed and applied. */
static bool take(VmloadDirtyBitmaps *bitmaps, const GByteArray *payload,
                 GError **error)
{
    VmloadReader *reader =
        vmload_reader_new_memory(payload->data, payload->len, 0);
    VmloadDirtyChunks *chunks =
        vmload_dirty_bitmaps_parse(bitmaps, reader, error);
    bool ok = chunks != NULL &&
              vmload_dirty_bitmaps_apply(bitmaps, chunks, error);

    if (chunks != NULL) {
        assert_int_equal(vmload_reader_get_offset(reader), payload->len);
    }
    vmload_dirty_chunks_free(chunks);
    vmload_reader_free(reader);
    return ok;
}

static void test_sections(void **state)
{
    Told told = {.log = g_string_new(NULL)};
    VmloadDirtyBitmaps *bitmaps = vmload_dirty_bitmaps_new(
        &told_ops, &told, told_destroy, SECTION_BYTES);
    GByteArray *start = sw_new();
    GByteArray *end = sw_new();
    VmloadReader *reader;

    (void)state;
    add_start(start);
    add_end(end);
    /* What is only parsed changes nothing: it may come again. */
    reader = vmload_reader_new_memory(start->data, start->len, 0);
    vmload_dirty_chunks_free(
        vmload_dirty_bitmaps_parse(bitmaps, reader, NULL));
    vmload_reader_free(reader);
    assert_string_equal(told.log->str, "");

    assert_true(take(bitmaps, start, NULL));
    assert_true(take(bitmaps, end, NULL));
    assert_string_equal(told.log->str, LOG_START LOG_END);
    vmload_dirty_bitmaps_free(bitmaps);
    assert_int_equal(told.destroyed, 1);
    g_string_free(told.log, TRUE);
    g_byte_array_unref(start);
    g_byte_array_unref(end);
}

/* Every cut of a good section is an error, and none is told. */
static void test_cut(void **state)
{
    GByteArray *start = sw_new();
    guint length;

    (void)state;
    add_start(start);
    length = start->len;
    while (length-- > 0) {
        Told told = {.log = g_string_new(NULL)};
        VmloadDirtyBitmaps *bitmaps = vmload_dirty_bitmaps_new(
            &told_ops, &told, NULL, SECTION_BYTES);
        GError *error = NULL;

        g_byte_array_set_size(start, length);
        assert_false(take(bitmaps, start, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "found the end");
        assert_string_equal(told.log->str, "");
        vmload_dirty_bitmaps_free(bitmaps);
        g_string_free(told.log, TRUE);
    }
    g_byte_array_unref(start);
}

typedef struct {
    const char *hex; /* a section behind that of add_start() */
    VmloadError code;
    const char *text;
} Bad;

/* 44 03 "bm0": bits of a bitmap that is there. */
#define BM0 "44 03626d30 "

static const Bad bad[] = {
    {"80", VMLOAD_ERROR_UNSUPPORTED, "flags of one byte"},
    {"34", VMLOAD_ERROR_MALFORMED, "one kind of chunk"},
    {"60", VMLOAD_ERROR_MALFORMED, "one kind of chunk"},
    {"04 00", VMLOAD_ERROR_MALFORMED, ""},
    {"24 03626d39", VMLOAD_ERROR_MALFORMED, "not started"},
    {"44 03626d39", VMLOAD_ERROR_MALFORMED, "not started"},
    {"2c 0464727631 03626d30", VMLOAD_ERROR_MALFORMED, "'drv1': not started"},
    {"14 03626d30", VMLOAD_ERROR_MALFORMED, "started twice"},
    {"14 03626d32 00010000 00 14 03626d32", VMLOAD_ERROR_MALFORMED,
     "started twice"},
    {"14 03626d32 00000000 00", VMLOAD_ERROR_MALFORMED, "granularity"},
    {"14 03626d32 00000100 00", VMLOAD_ERROR_MALFORMED, "granularity"},
    {"14 03626d32 00018000 00", VMLOAD_ERROR_MALFORMED, "granularity"},
    {"14 03626d32 00010000 08", VMLOAD_ERROR_UNSUPPORTED, "reserved"},
    {BM0 "0000000000000000 00000000", VMLOAD_ERROR_MALFORMED,
     "part of a disk"},
    {BM0 "007fffffffffffff 00000001", VMLOAD_ERROR_MALFORMED,
     "part of a disk"},
    {BM0 "0000000000000001 00000001", VMLOAD_ERROR_MALFORMED,
     "begins with a bit"},
    /* 8 bits are a byte, 9 are two. */
    {BM0 "0000000000000000 00000480 0000000000000001", VMLOAD_ERROR_MALFORMED,
     "as many bits"},
    {BM0 "0000000000000000 00000080 0000000000002801", VMLOAD_ERROR_MALFORMED,
     "10240"},
    {BM0 "0000000000000000 00000080 ffffffffffffffff", VMLOAD_ERROR_MALFORMED,
     "10240"},
};

static GByteArray *from_hex(const char *hex)
{
    GByteArray *out = sw_new();

    while (*hex != '\0') {
        if (*hex == ' ') {
            hex++;
            continue;
        }
        sw_u8(out, (uint8_t)(g_ascii_xdigit_value(hex[0]) * 16 +
                             g_ascii_xdigit_value(hex[1])));
        hex += 2;
    }
    return out;
}

static void test_bad(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        Told told = {.log = g_string_new(NULL)};
        VmloadDirtyBitmaps *bitmaps = vmload_dirty_bitmaps_new(
            &told_ops, &told, NULL, SECTION_BYTES);
        GByteArray *start = sw_new();
        GByteArray *payload = from_hex(bad[i].hex);
        GError *error = NULL;

        add_start(start);
        assert_true(take(bitmaps, start, NULL));
        assert_false(take(bitmaps, payload, &error));
        assert_unit_error(&error, bad[i].code, bad[i].text);
        assert_string_equal(told.log->str, LOG_START);
        vmload_dirty_bitmaps_free(bitmaps);
        g_string_free(told.log, TRUE);
        g_byte_array_unref(payload);
        g_byte_array_unref(start);
    }
}

/* The first chunk of all has nothing to take its names from. */
static void test_no_names(void **state)
{
    static const char *const payloads[] = {"10", "20", "40", "14 03626d30",
                                           "18 03626d30"};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(payloads); i++) {
        VmloadDirtyBitmaps *bitmaps =
            vmload_dirty_bitmaps_new(&told_ops, NULL, NULL, SECTION_BYTES);
        GByteArray *payload = from_hex(payloads[i]);
        GError *error = NULL;

        assert_false(take(bitmaps, payload, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "names");
        vmload_dirty_bitmaps_free(bitmaps);
        g_byte_array_unref(payload);
    }
}

/* Chunks of one byte need more memory than they are. */
static void test_limit(void **state)
{
    Told told = {.log = g_string_new(NULL)};
    VmloadDirtyBitmaps *bitmaps =
        vmload_dirty_bitmaps_new(&told_ops, &told, NULL, SECTION_BYTES);
    GByteArray *payload = sw_new();
    GError *error = NULL;

    (void)state;
    add_start(payload);
    assert_true(take(bitmaps, payload, NULL));
    g_byte_array_set_size(payload, 0);
    sw_fill(payload, 0x20, SECTION_BYTES);
    assert_false(take(bitmaps, payload, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "section_bytes");
    vmload_dirty_bitmaps_free(bitmaps);
    g_string_free(told.log, TRUE);
    g_byte_array_unref(payload);
}

static bool count_started(void *opaque, const VmloadDirtyBitmap *bitmap,
                          GError **error)
{
    (void)bitmap;
    (void)error;
    ++*(guint *)opaque;
    return true;
}

static bool ignore_bits(void *opaque, const VmloadDirtyBitmap *bitmap,
                        uint64_t offset, uint64_t length, const uint8_t *data,
                        GError **error)
{
    (void)opaque;
    (void)bitmap;
    (void)offset;
    (void)length;
    (void)data;
    (void)error;
    return true;
}

/* The last part that there can be is one. */
static void test_last_part(void **state)
{
    Told told = {.log = g_string_new(NULL)};
    VmloadDirtyBitmaps *bitmaps =
        vmload_dirty_bitmaps_new(&told_ops, &told, NULL, SECTION_BYTES);
    GByteArray *start = sw_new();
    GByteArray *payload =
        from_hex("42 007fffffffffff80 0000007f 24 03626d30 01");

    (void)state;
    add_start(start);
    assert_true(take(bitmaps, start, NULL));
    g_string_truncate(told.log, 0);
    assert_true(take(bitmaps, payload, NULL));
    assert_string_equal(told.log->str,
                        "bits drv0/bm0 18446744073709486080+65024 zero\n"
                        "complete drv0/bm0\n");
    vmload_dirty_bitmaps_free(bitmaps);
    g_string_free(told.log, TRUE);
    g_byte_array_unref(payload);
    g_byte_array_unref(start);
}

/* Over two sections: those of the one before count, too. */
static void test_many(void **state)
{
    static const VmloadDirtyBitmapOps ops = {
        VMLOAD_DIRTY_BITMAP_OPS_INIT,
        .started = count_started,
        .bits = ignore_bits,
    };
    guint count = 0;
    VmloadDirtyBitmaps *bitmaps =
        vmload_dirty_bitmaps_new(&ops, &count, NULL, UINT64_C(1) << 28);
    GError *error = NULL;
    guint i;

    (void)state;
    for (i = 0; i < 3; i++) {
        /* All but one, that one, and one more. */
        guint first = i == 0 ? 0 : 65534 + i;
        guint last = 65535 + i;
        GByteArray *payload = sw_new();
        guint j;

        for (j = first; j < last; j++) {
            char name[16];

            g_snprintf(name, sizeof(name), "b%u", j);
            sw_u8(payload, 0x1c);
            sw_str8(payload, "node");
            sw_str8(payload, name);
            sw_be32(payload, 512);
            sw_u8(payload, 0);
        }
        sw_u8(payload, 1);
        assert_int_equal(take(bitmaps, payload, &error), i < 2);
        assert_int_equal(count, i < 2 ? last : 65536);
        g_byte_array_unref(payload);
    }
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT,
                      "at most 65536 dirty bitmaps");
    vmload_dirty_bitmaps_free(bitmaps);
}

static void add_live_section(Fake *fake, uint32_t type, GByteArray *payload)
{
    if (type == SW_SECTION_START) {
        sw_section_start(fake->out, 9, "dirty-bitmap", 0, 1);
    } else {
        sw_section_end(fake->out, 9);
    }
    sw_bytes(fake->out, payload->data, payload->len);
    sw_footer(fake->out, 9);
}

/* A load: true and what was told, or its error. */
static bool load(Told *told, GError **error)
{
    GByteArray *start = sw_new();
    GByteArray *end = sw_new();
    Fake fake;
    bool ok;

    fake_init(&fake, NULL);
    told->fake = &fake;
    assert_true(vmload_loader_add_dirty_bitmaps(fake.loader, &told_ops, told,
                                                told_destroy, NULL));
    add_start(start);
    add_end(end);
    add_live_section(&fake, SW_SECTION_START, start);
    add_live_section(&fake, SW_SECTION_END, end);
    sw_eof(fake.out);
    ok = fake_run(&fake, error);
    fake_clear(&fake, NULL);
    assert_int_equal(told->destroyed, 1);
    g_byte_array_unref(start);
    g_byte_array_unref(end);
    return ok;
}

static void test_loader(void **state)
{
    Told told = {.log = g_string_new(NULL)};

    (void)state;
    assert_true(load(&told, NULL));
    assert_string_equal(told.log->str, LOG_START LOG_END);
    g_string_free(told.log, TRUE);
}

static void test_refused(void **state)
{
    static const char *const calls[] = {"start", "bits", "complete"};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(calls); i++) {
        Told told = {.log = g_string_new(NULL), .refuse = calls[i]};
        GError *error = NULL;

        assert_false(load(&told, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MISMATCH, "no disk");
        g_string_free(told.log, TRUE);
    }
}

static void test_add(void **state)
{
    VmloadDirtyBitmapOps ops = {VMLOAD_DIRTY_BITMAP_OPS_INIT};
    Told told = {0};
    GError *error = NULL;
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    assert_false(vmload_loader_add_dirty_bitmaps(fake.loader, &ops, &told,
                                                 told_destroy, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "bits is required");
    assert_int_equal(told.destroyed, 1);
    error = NULL;
    assert_true(vmload_loader_add_dirty_bitmaps(fake.loader, &told_ops, &told,
                                                NULL, NULL));
    assert_false(vmload_loader_add_dirty_bitmaps(
        fake.loader, &told_ops, &told, told_destroy, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "dirty-bitmap");
    assert_int_equal(told.destroyed, 2);
    fake_clear(&fake, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sections), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_bad),      cmocka_unit_test(test_no_names),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_last_part),
        cmocka_unit_test(test_many),    cmocka_unit_test(test_loader),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_add),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

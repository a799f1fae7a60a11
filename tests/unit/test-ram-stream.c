/* SPDX-License-Identifier: BSD-3-Clause */
/* The page stream: records, and everything that can be wrong with one. */
#include "ram-fixture.h"

#ifdef VMLOAD_HAVE_ZLIB
#include <zlib.h>
#endif

#define P FIXTURE_PAGE

static void test_pages(void **state)
{
    VmloadRamCounters counters;
    RamFixture f;
    GError *error = NULL;

    (void)state;
    fixture_init(&f);
    fixture_list(&f);
    sw_ram_eos(f.out);
    assert_true(fixture_load(&f, &error));

    fixture_page(f.out, "one", 0, 0x11);
    fixture_page(f.out, NULL, 7, 0x22);
    sw_ram_zero(f.out, NULL, 1 * P, 0);
    fixture_page(f.out, "two", 3, 0x33);
    sw_ram_flush(f.out);
    sw_ram_eos(f.out);
    assert_true(fixture_load(&f, &error));

    /* CONTINUE means the block of the payload before; the last one wins. */
    sw_ram_zero(f.out, NULL, 2 * P, 0);
    fixture_page(f.out, "one", 0, 0x44);
    sw_ram_xbzrle(f.out, NULL, 7 * P, "\x01\x02\x77\x78", 4);
    sw_ram_eos(f.out);
    assert_true(fixture_load(&f, &error));

    assert_page(f.memory, 0, 0x44);
    assert_page(f.memory, 1, 0);
    assert_page(f.memory, 2, 0xee);
    assert_int_equal(f.memory[7 * P], 0x22);
    assert_int_equal(f.memory[7 * P + 1], 0x77);
    assert_int_equal(f.memory[7 * P + 2], 0x78);
    assert_int_equal(f.memory[7 * P + 3], 0x22);
    assert_page(f.other, 2, 0);
    assert_page(f.other, 3, 0x33);
    assert_page(f.other, 0, 0xdd);

    vmload_ram_get_counters(f.ram, &counters);
    assert_int_equal(counters.pages_normal, 4);
    assert_int_equal(counters.pages_zero, 2);
    assert_int_equal(counters.pages_xbzrle, 1);
    assert_int_equal(counters.bytes_expected, 12 * P);
    assert_int_equal(counters.bytes_placed, 7 * P);
    assert_true(vmload_ram_finish(f.ram, &error));
    fixture_clear(&f);
}

static void test_received(void **state)
{
    VmloadRamBlock *block;
    RamFixture f;
    GError *error = NULL;

    (void)state;
    fixture_init(&f);
    block = vmload_ram_get_block(f.ram, 0);
    assert_string_equal(vmload_ram_block_get_idstr(block), "one");
    assert_null(vmload_ram_get_block(f.ram, 2));
    assert_false(vmload_ram_block_test_received(block, 0));
    fixture_list(&f);
    fixture_page(f.out, "one", 2, 1);
    sw_ram_zero(f.out, NULL, 5 * P, 0);
    sw_ram_eos(f.out);
    assert_true(fixture_load(&f, &error));
    assert_false(vmload_ram_block_test_received(block, 0));
    assert_true(vmload_ram_block_test_received(block, 2 * P));
    assert_true(vmload_ram_block_test_received(block, 3 * P - 1));
    assert_false(vmload_ram_block_test_received(block, 3 * P));
    assert_true(vmload_ram_block_test_received(block, 5 * P));
    assert_false(vmload_ram_block_test_received(block, UINT64_MAX));
    fixture_clear(&f);
}

/* What stands behind EOS is not ours. */
static void test_ends_at_eos(void **state)
{
    RamFixture f;
    GError *error = NULL;
    uint64_t left;

    (void)state;
    fixture_init(&f);
    fixture_list(&f);
    sw_ram_eos(f.out);
    sw_footer(f.out, 1);
    assert_true(fixture_load_ram(f.ram, f.out, &left, &error));
    assert_int_equal(left, 5);
    fixture_clear(&f);
}

/* A zero page of a block known to be zero is not even looked at. */
static void test_known_zero(void **state)
{
    RamFixture f;
    GError *error = NULL;

    (void)state;
    fixture_init(&f);
    vmload_ram_block_set_flags(vmload_ram_get_block(f.ram, 0),
                               VMLOAD_RAM_KNOWN_ZERO);
    fixture_list(&f);
    sw_ram_zero(f.out, "one", 0, 0);
    fixture_page(f.out, NULL, 1, 0x55);
    sw_ram_zero(f.out, NULL, P, 0);
    sw_ram_eos(f.out);
    assert_true(fixture_load(&f, &error));
    /* The test's memory breaks the promise, which shows the skipped store. */
    assert_page(f.memory, 0, 0xee);
    assert_page(f.memory, 1, 0);
    fixture_clear(&f);
}

/* Each writes the first record that must fail, after a good block list. */
static void bad_full(GByteArray *out)
{
    sw_be64(out, SW_RAM_FULL);
}

static void bad_two_kinds(GByteArray *out)
{
    sw_be64(out, SW_RAM_PAGE | SW_RAM_ZERO);
}

static void bad_no_flags(GByteArray *out)
{
    sw_be64(out, 0x1000);
}

static void bad_future_flag(GByteArray *out)
{
    sw_be64(out, 0x400);
}

static void bad_continue_eos(GByteArray *out)
{
    sw_be64(out, SW_RAM_CONTINUE | SW_RAM_EOS);
}

static void bad_eos_offset(GByteArray *out)
{
    sw_be64(out, 0x2000 | SW_RAM_EOS);
}

static void bad_hook(GByteArray *out)
{
    sw_be64(out, SW_RAM_HOOK);
}

static void bad_continue_first(GByteArray *out)
{
    fixture_page(out, NULL, 0, 1);
}

static void bad_unknown(GByteArray *out)
{
    fixture_page(out, "three\n", 0, 1);
}

static void bad_name_empty(GByteArray *out)
{
    fixture_page(out, "", 0, 1);
}

static void bad_outside(GByteArray *out)
{
    fixture_page(out, "two", 4, 1);
}

static void bad_far_outside(GByteArray *out)
{
    sw_ram_zero(out, "two", 0xfffffffffffff000, 0);
}

static void bad_fill(GByteArray *out)
{
    sw_ram_zero(out, "one", 0x3000, 0x5a);
}

static void bad_page_cut(GByteArray *out)
{
    sw_ram_page(out, "one", 0x3000, "abc", 3);
}

static void bad_word_cut(GByteArray *out)
{
    sw_be32(out, 0);
}

static void bad_fill_cut(GByteArray *out)
{
    sw_ram_word(out, 0, SW_RAM_ZERO, "one");
}

static void bad_xbzrle_encoding(GByteArray *out)
{
    sw_ram_word(out, 0x1000, SW_RAM_XBZRLE, "one");
    sw_u8(out, 2);
    sw_be16(out, 0);
}

static void bad_xbzrle_long(GByteArray *out)
{
    sw_ram_word(out, 0x1000, SW_RAM_XBZRLE, "one");
    sw_u8(out, 1);
    sw_be16(out, 4097);
    sw_fill(out, 0, 5000);
}

static void bad_xbzrle_garbage(GByteArray *out)
{
    sw_ram_xbzrle(out, "one", 0x1000, "\xff\xff\xff\xff", 4);
}

static void bad_xbzrle_cut(GByteArray *out)
{
    sw_ram_word(out, 0x1000, SW_RAM_XBZRLE, "one");
    sw_u8(out, 1);
    sw_be16(out, 40);
    sw_fill(out, 0, 39);
}

static void bad_compressed_size(GByteArray *out)
{
    sw_ram_compressed(out, "one", 0x2000, "", 0);
}

static void bad_compressed_long(GByteArray *out)
{
    sw_ram_word(out, 0x2000, SW_RAM_COMPRESS_PAGE, "one");
    sw_be32(out, 0xffffffff);
}

static void bad_compressed_garbage(GByteArray *out)
{
    sw_ram_compressed(out, "one", 0x2000, "garbage", 7);
}

static const struct {
    const char *name;
    void (*write)(GByteArray *out);
    VmloadError code;
    const char *parts[3];
} bad_records[] = {
    {"full", bad_full, VMLOAD_ERROR_MALFORMED, {"flags 0x1", "word 0x1"}},
    {"two kinds", bad_two_kinds, VMLOAD_ERROR_MALFORMED, {"flags 0xa"}},
    {"no flags", bad_no_flags, VMLOAD_ERROR_MALFORMED,
     {"flags 0x0", "0x1000"}},
    {"future flag", bad_future_flag, VMLOAD_ERROR_MALFORMED, {"flags 0x400"}},
    {"continue eos", bad_continue_eos, VMLOAD_ERROR_MALFORMED,
     {"flags 0x30"}},
    {"eos offset", bad_eos_offset, VMLOAD_ERROR_MALFORMED, {"word 0x2010"}},
    {"hook", bad_hook, VMLOAD_ERROR_MALFORMED, {"HOOK", "RDMA"}},
    {"continue first", bad_continue_first, VMLOAD_ERROR_MALFORMED,
     {"CONTINUE", "word 0x28"}},
    {"unknown", bad_unknown, VMLOAD_ERROR_MALFORMED,
     {"'three\\n'", "word 0x8"}},
    {"name empty", bad_name_empty, VMLOAD_ERROR_MALFORMED, {"length 0"}},
    {"outside", bad_outside, VMLOAD_ERROR_MALFORMED,
     {"'two' page 0x4000", "0x4000 bytes"}},
    {"far outside", bad_far_outside, VMLOAD_ERROR_MALFORMED,
     {"page 0xfffffffffffff000"}},
    {"fill", bad_fill, VMLOAD_ERROR_MALFORMED,
     {"'one' page 0x3000", "word 0x3002", "0x5a"}},
    {"page cut", bad_page_cut, VMLOAD_ERROR_TRUNCATED,
     {"'one' page 0x3000", "4096"}},
    {"word cut", bad_word_cut, VMLOAD_ERROR_TRUNCATED, {"RAM record"}},
    {"fill cut", bad_fill_cut, VMLOAD_ERROR_TRUNCATED, {"'one' page 0x0"}},
    {"xbzrle encoding", bad_xbzrle_encoding, VMLOAD_ERROR_MALFORMED,
     {"'one' page 0x1000", "encoding 2"}},
    {"xbzrle long", bad_xbzrle_long, VMLOAD_ERROR_MALFORMED, {"4097 bytes"}},
    {"xbzrle garbage", bad_xbzrle_garbage, VMLOAD_ERROR_MALFORMED,
     {"'one' page 0x1000", "XBZRLE byte 0"}},
    {"xbzrle cut", bad_xbzrle_cut, VMLOAD_ERROR_TRUNCATED, {"'one'"}},
#ifdef VMLOAD_HAVE_ZLIB
    {"compressed size", bad_compressed_size, VMLOAD_ERROR_MALFORMED,
     {"'one' page 0x2000", "found 0"}},
    {"compressed long", bad_compressed_long, VMLOAD_ERROR_MALFORMED,
     {"4294967295"}},
    {"compressed garbage", bad_compressed_garbage, VMLOAD_ERROR_MALFORMED,
     {"zlib"}},
#else
    {"compressed size", bad_compressed_size, VMLOAD_ERROR_UNSUPPORTED,
     {"zlib"}},
    {"compressed long", bad_compressed_long, VMLOAD_ERROR_UNSUPPORTED,
     {"zlib"}},
    {"compressed garbage", bad_compressed_garbage, VMLOAD_ERROR_UNSUPPORTED,
     {"zlib"}},
#endif
};

static void test_bad_records(void **state)
{
    size_t i;
    size_t j;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(bad_records); i++) {
        GError *error = NULL;
        RamFixture f;

        fixture_init(&f);
        fixture_list(&f);
        bad_records[i].write(f.out);
        if (fixture_load(&f, &error)) {
            fail_msg("%s was accepted", bad_records[i].name);
        }
        for (j = 0; j < 3 && bad_records[i].parts[j] != NULL; j++) {
            GError *copy = g_error_copy(error);

            assert_unit_error(&copy, bad_records[i].code,
                              bad_records[i].parts[j]);
        }
        assert_true(j > 0);
        /* Neighbours of the page that failed are as they were. */
        assert_page(f.memory, 0, 0xee);
        assert_page(f.memory, 4, 0xee);
        assert_page(f.other, 3, 0xdd);
        g_clear_error(&error);
        fixture_clear(&f);
    }
}

/* A page of a block that no list named: no source sends it. */
static void test_not_listed(void **state)
{
    RamFixture f;
    GError *error = NULL;

    (void)state;
    fixture_init(&f);
    sw_ram_mem_size(f.out, 8 * P);
    sw_ram_block(f.out, "one", 8 * P);
    fixture_page(f.out, "two", 0, 1);
    assert_false(fixture_load(&f, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "'two'");
    fixture_clear(&f);
}

static void test_ignored(void **state)
{
    RamFixture f;
    GError *error = NULL;

    (void)state;
    fixture_init(&f);
    vmload_ram_block_set_flags(vmload_ram_get_block(f.ram, 0),
                               VMLOAD_RAM_IGNORED);
    fixture_list(&f);
    fixture_page(f.out, "one", 0, 1);
    assert_false(fixture_load(&f, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH, "ignored");
    assert_page(f.memory, 0, 0xee);
    fixture_clear(&f);
}

/* Cut at every byte: always an error, never success. */
static void test_cut_everywhere(void **state)
{
    GByteArray *whole;
    RamFixture f;
    guint n;

    (void)state;
    fixture_init(&f);
    fixture_list(&f);
    fixture_page(f.out, "one", 0, 0x11);
    sw_ram_zero(f.out, NULL, P, 0);
    sw_ram_xbzrle(f.out, "two", 0, "\x01\x02\x77\x78", 4);
    sw_ram_eos(f.out);
    whole = g_byte_array_ref(f.out);
    for (n = 0; n <= whole->len; n += n > 80 && n < 4160 ? 97 : 1) {
        VmloadReader *reader = vmload_reader_new_memory(whole->data, n, 0);
        GError *error = NULL;
        RamFixture g;

        fixture_init(&g);
        if (n == whole->len) {
            assert_true(vmload_ram_load(g.ram, reader, &error));
        } else {
            assert_false(vmload_ram_load(g.ram, reader, &error));
            assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x");
        }
        vmload_reader_free(reader);
        fixture_clear(&g);
    }
    g_byte_array_unref(whole);
    fixture_clear(&f);
}

/* Pages of every size; flags that do not fit below one do not exist. */
static void test_page_sizes(void **state)
{
    static const uint32_t bits[] = {8, 9, 10, 13, 16, 20};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(bits); i++) {
        uint64_t size = (uint64_t)1 << bits[i];
        uint8_t *memory = g_malloc(4 * size);
        uint8_t *page = g_malloc(size);
        VmloadRam *ram = vmload_ram_new(NULL);
        GByteArray *out = sw_new();
        GError *error = NULL;

        memset(memory, 0xee, 4 * size);
        memset(page, 0x61, size);
        vmload_ram_set_page_bits(ram, bits[i]);
        fixture_add(ram, "r", 4 * size, 4 * size,
                    vmload_ram_sink_new_memory(memory), 0);
        sw_ram_mem_size(out, 4 * size);
        sw_ram_block(out, "r", 4 * size);
        sw_ram_page(out, "r", 3 * size, page, size);
        sw_ram_zero(out, NULL, size, 0);
        sw_ram_eos(out);
        assert_true(fixture_load_ram(ram, out, NULL, &error));
        assert_memory_equal(memory + 3 * size, page, size);
        memset(page, 0, size);
        assert_memory_equal(memory + size, page, size);
        memset(page, 0xee, size);
        assert_memory_equal(memory, page, size);
        assert_memory_equal(memory + 2 * size, page, size);

        /* At 8 bits 0x200 is an offset, and a word without flags. */
        sw_ram_flush(out);
        sw_ram_eos(out);
        assert_int_equal(fixture_load_ram(ram, out, NULL, &error),
                         bits[i] >= 10);
        g_clear_error(&error);
        sw_ram_zero(out, "r", 4 * size, 0);
        assert_false(fixture_load_ram(ram, out, NULL, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "'r'");
        g_byte_array_unref(out);
        vmload_ram_free(ram);
        g_free(page);
        g_free(memory);
    }
}

static void test_page_bits_range(void **state)
{
    static const uint32_t bits[] = {0, 7, 31, 64, UINT32_MAX};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(bits); i++) {
        GError *error = NULL;
        RamFixture f;

        fixture_init(&f);
        vmload_ram_set_page_bits(f.ram, bits[i]);
        sw_ram_eos(f.out);
        assert_false(fixture_load(&f, &error));
        assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "8 to 30 bits");
        fixture_clear(&f);
    }
}

#ifdef VMLOAD_HAVE_ZLIB
/* Streams of exactly a page, and of more, of less, with bytes behind. */
static void test_compressed(void **state)
{
    static const struct {
        uLong plain;
        uint32_t extra;
        bool ok;
    } cases[] = {
        {P, 0, true}, {P + 1, 0, false}, {P - 1, 0, false}, {P, 1, false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint8_t plain[P + 1];
        uint8_t packed[2 * P];
        uLongf n = sizeof(packed);
        GError *error = NULL;
        RamFixture f;

        memset(plain, 0x42, sizeof(plain));
        assert_int_equal(compress(packed, &n, plain, cases[i].plain), Z_OK);
        packed[n] = 0;
        fixture_init(&f);
        fixture_list(&f);
        sw_ram_compressed(f.out, "one", P, packed,
                          (uint32_t)n + cases[i].extra);
        sw_ram_eos(f.out);
        assert_int_equal(fixture_load(&f, &error), cases[i].ok);
        assert_page(f.memory, 1, cases[i].ok ? 0x42 : 0xee);
        if (!cases[i].ok) {
            assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "zlib");
        }
        assert_int_equal(vmload_ram_block_test_received(
                             vmload_ram_get_block(f.ram, 0), P),
                         cases[i].ok);
        fixture_clear(&f);
    }
}
#endif

/* What other threads may look at while pages come. */
typedef struct {
    VmloadRam *ram;
    gint stop; /* atomic */
} Watch;

static gpointer watch(gpointer opaque)
{
    Watch *w = opaque;
    uint64_t seen = 0;

    while (!g_atomic_int_get(&w->stop)) {
        VmloadRamCounters counters;
        VmloadRamBlock *block;
        uint64_t i;

        vmload_ram_get_counters(w->ram, &counters);
        seen += counters.pages_normal;
        for (i = 0; (block = vmload_ram_get_block(w->ram, i)) != NULL; i++) {
            seen += vmload_ram_block_get_length(block);
            seen += vmload_ram_block_test_received(block, 7 * P);
            seen += strlen(vmload_ram_block_get_idstr(block));
        }
    }
    return GSIZE_TO_POINTER(seen > 0);
}

static VmloadRamBlock *watched_block(void *opaque, const char *idstr,
                                     uint64_t used_length, GError **error)
{
    (void)opaque;
    return vmload_ram_block_new(idstr, used_length - P, used_length,
                                vmload_ram_sink_new_digest(), error);
}

static void test_watched(void **state)
{
    const VmloadRamEnv env = {.announced = watched_block};
    Watch w = {.ram = vmload_ram_new(&env)};
    GByteArray *out = sw_new();
    GError *error = NULL;
    GThread *thread;
    char name[2] = "a";
    uint64_t i;

    (void)state;
    sw_ram_mem_size(out, 20 * 8 * P);
    for (i = 0; i < 20; i++, name[0]++) {
        sw_ram_block(out, name, 8 * P);
    }
    for (i = 0, name[0] = 'a'; i < 20; i++, name[0]++) {
        fixture_page(out, name, 7, 3);
        sw_ram_zero(out, NULL, 0, 0);
    }
    sw_ram_eos(out);
    thread = g_thread_new("watch", watch, &w);
    for (i = 0; i < 20; i++) {
        VmloadReader *reader = vmload_reader_new_memory(out->data, out->len, 0);

        assert_true(vmload_ram_load(w.ram, reader, &error));
        vmload_reader_free(reader);
    }
    assert_true(vmload_ram_finish(w.ram, &error));
    g_atomic_int_set(&w.stop, 1);
    g_thread_join(thread);
    g_byte_array_unref(out);
    vmload_ram_free(w.ram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_received),
        cmocka_unit_test(test_ends_at_eos),
        cmocka_unit_test(test_known_zero),
        cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_not_listed),
        cmocka_unit_test(test_ignored),
        cmocka_unit_test(test_cut_everywhere),
        cmocka_unit_test(test_page_sizes),
        cmocka_unit_test(test_page_bits_range),
        cmocka_unit_test(test_watched),
#ifdef VMLOAD_HAVE_ZLIB
        cmocka_unit_test(test_compressed),
#endif
    };

    return cmocka_run_group_tests_name("ram-stream", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* A plain page stream in a file: several threads do what one does. */
#include "unit.h"

#include "ram-fixture.h"

#include "host/pool.h"
#include "ram/private.h"

#define P FIXTURE_PAGE
#define PAGES 2048u

typedef struct {
    VmloadCancel *cancel;
    VmloadRam *ram;
    uint8_t *memory;
    uint64_t offset; /* where the reader stands at the end */
    uint64_t bytes;  /* that it has counted */
    VmloadRamCounters counters;
    char *error; /* NULL: loaded */
} Load;

static unsigned pools;

static VmloadPool *make_pool(void *opaque, const char *name,
                             uint32_t max_threads, GError **error)
{
    static const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};

    pools += strcmp(name, "vmload-ram") == 0;
    return vmload_pool_new(&ops, opaque, name, max_threads, error);
}

static void load_run(Load *load, const GByteArray *out, uint32_t threads,
                     uint32_t flags, bool cancelled)
{
    VmloadRamEnv env = {.pool = make_pool};
    VmloadWait wait = {.cancel = NULL};
    GError *error = NULL;
    VmloadChannel *channel;
    VmloadReader *reader;

    memset(load, 0, sizeof(*load));
    load->cancel = vmload_cancel_new(&error);
    env.cancel = wait.cancel = load->cancel;
    load->ram = vmload_ram_new(&env);
    vmload_ram_set_threads(load->ram, threads);
    load->memory = g_malloc0(PAGES * P);
    fixture_add(load->ram, "one", PAGES * P, PAGES * P,
                vmload_ram_sink_new_memory(load->memory), flags);
    channel = vmload_channel_new_memory(out->data, out->len, NULL, NULL);
    reader = vmload_reader_new_channel(channel, &wait, &error);
    vmload_reader_set_counters(reader, &load->bytes, NULL);
    if (cancelled) {
        vmload_cancel_fire(load->cancel);
    }
    if (!vmload_ram_load(load->ram, reader, &error)) {
        load->error = g_strdup(error->message);
        g_error_free(error);
    }
    load->offset = vmload_reader_get_offset(reader);
    vmload_ram_stop(load->ram);
    vmload_ram_get_counters(load->ram, &load->counters);
    vmload_reader_free(reader);
    vmload_channel_unref(channel);
}

static void load_clear(Load *load)
{
    vmload_ram_free(load->ram);
    vmload_cancel_free(load->cancel);
    g_free(load->memory);
    g_free(load->error);
}

/* By one thread and by five: everything that can be seen is the same. */
static void compare(const GByteArray *out, uint32_t flags, bool fails)
{
    Load one;
    Load five;

    load_run(&one, out, 1, flags, false);
    load_run(&five, out, 5, flags, false);
    assert_int_equal(one.error != NULL, fails);
    if (g_strcmp0(one.error, five.error) != 0) {
        fail_msg("one thread: %s; five: %s", one.error, five.error);
    }
    assert_memory_equal(one.memory, five.memory, PAGES * P);
    assert_int_equal(one.offset, five.offset);
    assert_int_equal(one.counters.pages_normal, five.counters.pages_normal);
    assert_int_equal(one.counters.pages_zero, five.counters.pages_zero);
    assert_int_equal(one.counters.bytes_placed, five.counters.bytes_placed);
    if (!fails) {
        assert_int_equal(five.bytes, out->len);
    }
    load_clear(&one);
    load_clear(&five);
}

static void put_page(GByteArray *out, bool first, uint64_t page,
                     uint8_t value)
{
    uint8_t data[P];

    memset(data, value, sizeof(data));
    sw_ram_page(out, first ? "one" : NULL, page * P, data, sizeof(data));
}

/* Pages, some of them zero; @again: and others that came before. */
static void put_pages(GByteArray *out, uint32_t seed, bool again)
{
    uint32_t value = seed;
    uint32_t page;

    for (page = 0; page < PAGES; page++) {
        uint64_t at = page;

        value = value * 1664525u + 1013904223u;
        if (again && (value >> 20) % 5 == 0) {
            at = (value >> 8) % (page + 1);
        }
        if (page > 0 && (value >> 28) == 0) {
            sw_ram_zero(out, NULL, at * P, 0);
        } else {
            put_page(out, page == 0, at, (uint8_t)(value >> 24));
        }
    }
}

static GByteArray *new_stream(uint32_t seed, bool again)
{
    GByteArray *out = sw_new();

    sw_ram_mem_size(out, PAGES * P);
    sw_ram_block(out, "one", PAGES * P);
    put_pages(out, seed, again);
    return out;
}

static void test_same(void **state)
{
    uint32_t i;

    (void)state;
    for (i = 0; i < 6; i++) {
        GByteArray *out = new_stream(i, i % 2 != 0);

        pools = 0;
        sw_ram_eos(out);
        compare(out, i % 3 == 0 ? 0 : VMLOAD_RAM_KNOWN_ZERO, false);
        assert_true(pools > 0);
        g_byte_array_unref(out);
    }
}

/* A second round begins within the first one's chunks. */
static void test_rounds(void **state)
{
    GByteArray *out = new_stream(7, false);

    (void)state;
    put_pages(out, 8, true);
    put_pages(out, 9, false);
    sw_ram_eos(out);
    compare(out, VMLOAD_RAM_KNOWN_ZERO, false);
    g_byte_array_unref(out);
}

static void test_cut(void **state)
{
    GByteArray *out = new_stream(3, true);
    uint32_t cut;

    (void)state;
    for (cut = 0; cut < 40; cut++) {
        g_byte_array_set_size(out, out->len - 1 - cut * 2311);
        compare(out, 0, true);
    }
    g_byte_array_unref(out);
}

/* A wrong record, at places that no chunk begins at. */
static void test_wrong(void **state)
{
    static const uint64_t words[] = {
        0x20, 0x01, (uint64_t)PAGES * P + 0x28, UINT64_MAX, 0x80, 0x60, 0x22,
    };
    uint32_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(words); i++) {
        GByteArray *out = new_stream(i, true);

        sw_be64(out, words[i]);
        sw_fill(out, 0xa5, 300000 + i * 7);
        compare(out, 0, true);
        g_byte_array_unref(out);
    }
}

static void test_cancel(void **state)
{
    GByteArray *out = new_stream(1, false);
    Load load;

    (void)state;
    sw_ram_eos(out);
    load_run(&load, out, 4, 0, true);
    assert_non_null(load.error);
    load_clear(&load);
    g_byte_array_unref(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),   cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_cut),    cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

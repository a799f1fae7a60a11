/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of blocks: its variants, its bounds, resizing. */
#include "ram-fixture.h"

#include <sys/resource.h>
#include <unistd.h>

#define P FIXTURE_PAGE

typedef struct {
    const char *name;
    void (*setup)(VmloadRam *ram);
    void (*write)(GByteArray *out);
    VmloadError code;
    const char *part;
} Bad;

static void bad_overrun(GByteArray *out)
{
    sw_ram_mem_size(out, 10 * P);
    sw_ram_block(out, "one", 8 * P);
    sw_ram_block(out, "two", 4 * P);
}

static void bad_zero_length(GByteArray *out)
{
    sw_ram_mem_size(out, 8 * P);
    sw_ram_block(out, "one", 0);
}

static void bad_unaligned(GByteArray *out)
{
    sw_ram_mem_size(out, 8 * P);
    sw_ram_block(out, "one", 8 * P - 1);
}

static void bad_twice(GByteArray *out)
{
    sw_ram_mem_size(out, 16 * P);
    sw_ram_block(out, "one", 8 * P);
    sw_ram_block(out, "one", 8 * P);
}

static void bad_unknown(GByteArray *out)
{
    sw_ram_mem_size(out, 8 * P);
    sw_ram_block(out, "three", 8 * P);
}

static void bad_name_empty(GByteArray *out)
{
    sw_ram_mem_size(out, 8 * P);
    sw_ram_block(out, "", 8 * P);
}

static void bad_name_nul(GByteArray *out)
{
    sw_ram_mem_size(out, 8 * P);
    sw_str8_bytes(out, "one\0x", 5);
    sw_be64(out, 8 * P);
}

static void bad_smaller(GByteArray *out)
{
    sw_ram_mem_size(out, 7 * P);
    sw_ram_block(out, "one", 7 * P);
}

static void bad_larger(GByteArray *out)
{
    sw_ram_mem_size(out, 9 * P);
    sw_ram_block(out, "one", 9 * P);
}

static void bad_too_large(GByteArray *out)
{
    sw_ram_mem_size(out, 5 * P);
    sw_ram_block(out, "two", 5 * P);
}

static void bad_total(GByteArray *out)
{
    sw_ram_mem_size(out, 0xfffffffffffff000);
    sw_ram_block(out, "one", 0xfffffffffffff000);
}

static void bad_cut(GByteArray *out)
{
    sw_ram_mem_size(out, 12 * P);
    sw_ram_block(out, "one", 8 * P);
}

static void good(GByteArray *out)
{
    sw_ram_mem_size(out, 12 * P);
    sw_ram_block(out, "one", 8 * P);
    sw_ram_block(out, "two", 4 * P);
}

static void few_blocks(VmloadRam *ram)
{
    VmloadLimits limits;

    vmload_limits_init(&limits);
    limits.ram_blocks = 1;
    vmload_ram_set_limits(ram, &limits);
}

static void few_bytes(VmloadRam *ram)
{
    VmloadLimits limits;

    vmload_limits_init(&limits);
    limits.ram_bytes = 12 * P - 1;
    vmload_ram_set_limits(ram, &limits);
}

static void resizeable_two(VmloadRam *ram)
{
    vmload_ram_block_set_flags(vmload_ram_get_block(ram, 1),
                               VMLOAD_RAM_RESIZEABLE);
}

static void mapped(VmloadRam *ram)
{
    vmload_ram_set_mapped_ram(ram, true);
}

static const Bad bad[] = {
    {"overrun", NULL, bad_overrun, VMLOAD_ERROR_MALFORMED,
     "entry 1 'two': offset"},
    {"zero length", NULL, bad_zero_length, VMLOAD_ERROR_MALFORMED, "found 0"},
    {"unaligned", NULL, bad_unaligned, VMLOAD_ERROR_MALFORMED,
     "found 32767"},
    {"twice", NULL, bad_twice, VMLOAD_ERROR_MALFORMED, "again"},
    {"unknown", NULL, bad_unknown, VMLOAD_ERROR_MISMATCH, "'three'"},
    {"empty name", NULL, bad_name_empty, VMLOAD_ERROR_MALFORMED, "length 0"},
    {"NUL", NULL, bad_name_nul, VMLOAD_ERROR_MALFORMED, "NUL"},
    {"smaller", NULL, bad_smaller, VMLOAD_ERROR_MISMATCH,
     "expected 32768 bytes, found 28672"},
    {"larger", NULL, bad_larger, VMLOAD_ERROR_MISMATCH, "not resizeable"},
    {"too large", resizeable_two, bad_too_large, VMLOAD_ERROR_MISMATCH,
     "expected at most 16384 bytes, found 20480"},
    {"total", NULL, bad_total, VMLOAD_ERROR_LIMIT, "ram_bytes"},
    {"cut", NULL, bad_cut, VMLOAD_ERROR_TRUNCATED, "entry 1"},
    {"blocks", few_blocks, good, VMLOAD_ERROR_LIMIT, "ram_blocks"},
    {"bytes", few_bytes, good, VMLOAD_ERROR_LIMIT, "ram_bytes"},
    {"mapped", mapped, good, VMLOAD_ERROR_UNSUPPORTED, "mapped-ram"},
};

static void test_bad_lists(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        VmloadRamCounters counters;
        GError *error = NULL;
        RamFixture f;

        fixture_init(&f);
        if (bad[i].setup != NULL) {
            bad[i].setup(f.ram);
        }
        bad[i].write(f.out);
        if (bad[i].code != VMLOAD_ERROR_TRUNCATED) {
            sw_ram_eos(f.out);
        }
        if (fixture_load(&f, &error)) {
            fail_msg("%s was accepted", bad[i].name);
        }
        assert_unit_error(&error, bad[i].code, bad[i].part);
        vmload_ram_get_counters(f.ram, &counters);
        assert_int_equal(counters.bytes_expected, 0);
        fixture_clear(&f);
    }
}

/* A machine without RAM, and a second list, as COLO has it. */
static void test_repeated(void **state)
{
    RamFixture f;
    GError *error = NULL;

    (void)state;
    fixture_init(&f);
    sw_ram_mem_size(f.out, 0);
    sw_ram_eos(f.out);
    assert_true(fixture_load(&f, &error));
    fixture_list(&f);
    fixture_list(&f);
    sw_ram_eos(f.out);
    assert_true(fixture_load(&f, &error));
    fixture_clear(&f);
}

/* Field (A) is there for the block with unusual pages, and only if advised. */
static void test_page_size_field(void **state)
{
    uint64_t usual = (uint64_t)sysconf(_SC_PAGESIZE);
    int advised;
    int right;

    (void)state;
    for (advised = 0; advised < 2; advised++) {
        for (right = 0; right < 2; right++) {
            RamFixture f;
            GError *error = NULL;
            bool ok;

            fixture_init(&f);
            vmload_ram_set_postcopy_advised(f.ram, advised);
            assert_true(vmload_ram_block_set_page_size(
                vmload_ram_get_block(f.ram, 1), 2 * usual, &error));
            sw_ram_mem_size(f.out, 12 * P);
            sw_ram_block(f.out, "two", 4 * P);
            if (advised) {
                sw_be64(f.out, right ? 2 * usual : 4 * usual);
            }
            sw_ram_block(f.out, "one", 8 * P);
            sw_ram_eos(f.out);
            ok = fixture_load(&f, &error);
            assert_int_equal(ok, !advised || right);
            if (!ok) {
                assert_unit_error(&error, VMLOAD_ERROR_MISMATCH,
                                  "entry 0 'two'");
            }
            fixture_clear(&f);
        }
    }
}

/* Field (B) is there for every block, and compared for ignored ones. */
static void test_address_field(void **state)
{
    int right;

    (void)state;
    for (right = 0; right < 2; right++) {
        RamFixture f;
        GError *error = NULL;
        bool ok;

        fixture_init(&f);
        vmload_ram_set_ignore_shared(f.ram, true);
        vmload_ram_block_set_flags(vmload_ram_get_block(f.ram, 1),
                                   VMLOAD_RAM_IGNORED);
        vmload_ram_block_set_address(vmload_ram_get_block(f.ram, 1),
                                     0xfffc0000);
        sw_ram_mem_size(f.out, 12 * P);
        sw_ram_block(f.out, "one", 8 * P);
        sw_be64(f.out, 0x1234);
        sw_ram_block(f.out, "two", 4 * P);
        sw_be64(f.out, right ? 0xfffc0000 : 0);
        sw_ram_eos(f.out);
        ok = fixture_load(&f, &error);
        assert_int_equal(ok, right);
        if (!ok) {
            assert_unit_error(&error, VMLOAD_ERROR_MISMATCH,
                              "expected the guest address 0xfffc0000");
        }
        fixture_clear(&f);
    }
}

/* What surrounds the RAM, and what it was asked for. */
typedef struct {
    int locked;
    int held;
    int resized;
    uint64_t resized_to;
    bool refuse;
    int destroyed;
    int announced;
    const char *rename;
    uint8_t memory[16 * P];
} Host;

static void host_lock(void *opaque)
{
    Host *host = opaque;

    assert_int_equal(host->locked, 0);
    host->locked = 1;
    host->held++;
}

static void host_unlock(void *opaque)
{
    Host *host = opaque;

    assert_int_equal(host->locked, 1);
    host->locked = 0;
}

static bool host_resize(void *opaque, VmloadRamBlock *block, uint64_t length,
                        GError **error)
{
    Host *host = opaque;

    assert_int_equal(host->locked, 1);
    assert_int_equal(vmload_ram_block_get_length(block), length);
    host->resized++;
    host->resized_to = length;
    if (host->refuse) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_DEVICE, "not today");
        return false;
    }
    return true;
}

static void host_destroy(void *opaque)
{
    ((Host *)opaque)->destroyed++;
}

static VmloadRamBlock *host_announced(void *opaque, const char *idstr,
                                      uint64_t used_length, GError **error)
{
    Host *host = opaque;

    assert_int_equal(host->locked, 0);
    host->announced++;
    if (host->refuse) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST, "no room");
        return NULL;
    }
    return vmload_ram_block_new(host->rename != NULL ? host->rename : idstr,
                                used_length, used_length,
                                vmload_ram_sink_new_null(), error);
}

static VmloadRam *host_ram(Host *host, bool announced)
{
    const VmloadRamEnv env = {
        .announced = announced ? host_announced : NULL,
        .lock = host_lock,
        .unlock = host_unlock,
        .opaque = host,
    };

    return vmload_ram_new(&env);
}

/* Registered used and maximum length, the wire's, and what comes of it. */
static const struct {
    uint64_t used;
    uint64_t max;
    uint64_t wire;
    bool ok;
    int resized;
} resizes[] = {
    {4 * P, 8 * P, 4 * P, true, 0},
    {4 * P, 8 * P, 8 * P, true, 1},
    {4 * P, 8 * P, P, true, 1},
    {4 * P, 8 * P, 9 * P, false, 0},
    {4 * P, 4 * P, 5 * P, false, 0},
    {4 * P, 4 * P, 3 * P, false, 0},
    /* Only announced: the same when rounded up to pages. */
    {4 * P - 100, 4 * P, 4 * P, true, 1},
    /* The memory would not be there. */
    {4 * P - 100, 4 * P - 100, 4 * P, false, 0},
    {0, 8 * P, 2 * P, true, 1},
};

static void test_resize(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(resizes); i++) {
        Host *host = g_new0(Host, 1);
        VmloadRam *ram = host_ram(host, false);
        GByteArray *out = sw_new();
        GError *error = NULL;
        VmloadRamBlock *block;
        bool ok;

        block = vmload_ram_block_new("r", resizes[i].used, resizes[i].max,
                                     vmload_ram_sink_new_memory(host->memory),
                                     &error);
        vmload_ram_block_set_resize(block, host_resize, host, host_destroy);
        assert_true(vmload_ram_add_block(ram, block, &error));
        sw_ram_mem_size(out, resizes[i].wire);
        sw_ram_block(out, "r", resizes[i].wire);
        sw_ram_zero(out, "r", resizes[i].wire - P, 0);
        sw_ram_eos(out);
        ok = fixture_load_ram(ram, out, NULL, &error);
        assert_int_equal(ok, resizes[i].ok);
        assert_int_equal(host->resized, resizes[i].resized);
        assert_int_equal(host->held, resizes[i].resized);
        if (ok) {
            assert_int_equal(vmload_ram_block_get_length(block),
                             resizes[i].wire);
        } else {
            assert_unit_error(&error, VMLOAD_ERROR_MISMATCH, "'r'");
            assert_int_equal(vmload_ram_block_get_length(block),
                             resizes[i].used);
        }
        vmload_ram_free(ram);
        assert_int_equal(host->destroyed, 1);
        g_byte_array_unref(out);
        g_free(host);
    }
}

static void test_resize_refused(void **state)
{
    Host *host = g_new0(Host, 1);
    VmloadRam *ram = host_ram(host, false);
    GByteArray *out = sw_new();
    GError *error = NULL;

    (void)state;
    host->refuse = true;
    fixture_add(ram, "r", P, 4 * P, vmload_ram_sink_new_memory(host->memory),
                0);
    vmload_ram_block_set_resize(vmload_ram_get_block(ram, 0), host_resize,
                                host, NULL);
    sw_ram_mem_size(out, 2 * P);
    sw_ram_block(out, "r", 2 * P);
    assert_false(fixture_load_ram(ram, out, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_DEVICE, "not today");
    assert_int_equal(host->locked, 0);
    vmload_ram_free(ram);
    g_byte_array_unref(out);
    g_free(host);
}

static bool announce(Host *host, VmloadRam *ram, GError **error)
{
    GByteArray *out = sw_new();
    bool ok;

    (void)host;
    sw_ram_mem_size(out, 3 * P);
    sw_ram_block(out, "a", 2 * P);
    sw_ram_block(out, "b", P);
    sw_ram_page(out, "b", 0, host->memory, P);
    sw_ram_eos(out);
    ok = fixture_load_ram(ram, out, NULL, error);
    g_byte_array_unref(out);
    return ok;
}

static void test_announced(void **state)
{
    Host *host = g_new0(Host, 1);
    VmloadRam *ram = host_ram(host, true);
    VmloadLimits limits;
    GError *error = NULL;

    (void)state;
    assert_true(announce(host, ram, &error));
    assert_int_equal(host->announced, 2);
    assert_string_equal(
        vmload_ram_block_get_idstr(vmload_ram_get_block(ram, 1)), "b");
    /* Known by now: the host is not asked again. */
    assert_true(announce(host, ram, &error));
    assert_int_equal(host->announced, 2);
    vmload_ram_free(ram);

    /* Limits hold over all lists of a stream. */
    ram = host_ram(host, true);
    fixture_add(ram, "c", P, P, vmload_ram_sink_new_null(), 0);
    vmload_limits_init(&limits);
    limits.ram_blocks = 2;
    vmload_ram_set_limits(ram, &limits);
    assert_false(announce(host, ram, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "ram_blocks");
    vmload_ram_free(ram);

    ram = host_ram(host, true);
    host->rename = "x";
    assert_false(announce(host, ram, &error));
    assert_unit_error(&error, VMLOAD_ERROR_DEVICE, "found 'x'");
    vmload_ram_free(ram);

    ram = host_ram(host, true);
    host->refuse = true;
    assert_false(announce(host, ram, &error));
    assert_unit_error(&error, VMLOAD_ERROR_DEVICE, "entry 0 'a'");
    vmload_ram_free(ram);
    g_free(host);
}

#define GIGANTIC ((uint64_t)1 << 51)

/* Over the sink that @opaque is. */
static VmloadRamBlock *gigantic_block(void *opaque, const char *idstr,
                                      uint64_t used_length, GError **error)
{
    return vmload_ram_block_new(idstr, used_length, used_length, opaque,
                                error);
}

static uint64_t peak_kib(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)usage.ru_maxrss;
}

/*
 * More than there is, but not more than the limit: a stream may say so. It
 * must cost nothing but an error, whatever the host makes of the block.
 */
static void test_gigantic(void **state)
{
    char *path = NULL;
    int fd = g_file_open_tmp("vmload-XXXXXX", &path, NULL);
    VmloadRamSink *sinks[] = {
        vmload_ram_sink_new_null(),
        vmload_ram_sink_new_digest(),
        vmload_ram_sink_new_memfd("one", NULL),
        vmload_ram_sink_new_file(path, NULL),
    };
    uint64_t before = peak_kib();
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(sinks); i++) {
        VmloadRamEnv env = {.announced = gigantic_block, .opaque = sinks[i]};
        VmloadRam *ram = vmload_ram_new(&env);
        GByteArray *out = sw_new();
        GError *error = NULL;

        assert_non_null(sinks[i]);
        sw_ram_mem_size(out, GIGANTIC);
        sw_ram_block(out, "one", GIGANTIC);
        sw_ram_eos(out);
        assert_false(fixture_load_ram(ram, out, NULL, &error));
        assert_non_null(error);
        assert_true(error->domain == VMLOAD_ERROR);
        g_clear_error(&error);
        vmload_ram_free(ram);
        g_byte_array_unref(out);
    }
    assert_true(peak_kib() - before < 64 * 1024);
    close(fd);
    unlink(path);
    g_free(path);
}

static void test_registered_twice(void **state)
{
    Host *host = g_new0(Host, 1);
    VmloadRam *ram = host_ram(host, false);
    GError *error = NULL;
    VmloadRamBlock *block;

    (void)state;
    fixture_add(ram, "r", P, P, vmload_ram_sink_new_null(), 0);
    block = vmload_ram_block_new("r", P, P, vmload_ram_sink_new_null(),
                                 &error);
    vmload_ram_block_set_resize(block, host_resize, host, host_destroy);
    assert_false(vmload_ram_add_block(ram, block, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "'r'");
    assert_int_equal(host->destroyed, 1);
    assert_null(vmload_ram_get_block(ram, 1));
    vmload_ram_free(ram);
    g_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_lists),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_page_size_field),
        cmocka_unit_test(test_address_field),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_resize_refused),
        cmocka_unit_test(test_announced),
        cmocka_unit_test(test_gigantic),
        cmocka_unit_test(test_registered_twice),
    };

    return cmocka_run_group_tests_name("ram-blocklist", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "host/pool.h"
#include "ram/prefault.h"
#include "ram/ram.h"

#include <sys/mman.h>
#include <unistd.h>
#include <vmload/host.h>
#include <vmload/prefault.h>

#define REGIONS 16
#define SIZE (REGIONS * VMLOAD_PREFAULT_REGION)
#define PAGE 4096
#define PAGES (VMLOAD_PREFAULT_REGION / PAGE)

/* Of one block at an address that is a region's. */
typedef struct {
    uint8_t *mapping;
    uint8_t *memory;
    VmloadRamBlock *block;
    VmloadRamEnv env;
    VmloadPrefault prefault;
    VmloadPrefaultCursor cursor;
} Fixture;

static void init(Fixture *fixture, uint64_t window)
{
    const uint64_t grain = VMLOAD_PREFAULT_REGION;
    GError *error = NULL;
    uint64_t address;

    memset(fixture, 0, sizeof(*fixture));
    fixture->mapping = mmap(NULL, SIZE + grain, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(fixture->mapping != MAP_FAILED);
    address = (uint64_t)(uintptr_t)fixture->mapping;
    fixture->memory = fixture->mapping + (grain - address % grain) % grain;
    fixture->block = vmload_ram_block_new(
        "one", SIZE, SIZE, vmload_ram_sink_new_memory(fixture->memory),
        &error);
    assert_non_null(fixture->block);
    assert_true(vmload_ram_block_prepare(fixture->block, 12, &error));
    vmload_prefault_init(&fixture->prefault, &fixture->env);
    vmload_prefault_set(&fixture->prefault, window);
    fixture->cursor.inline_only = true;
}

static void clear(Fixture *fixture)
{
    vmload_prefault_clear(&fixture->prefault);
    vmload_ram_block_free(fixture->block);
    munmap(fixture->mapping, SIZE + VMLOAD_PREFAULT_REGION);
}

/* @n pages of a region come. */
static void come(Fixture *fixture, uint64_t region, uint64_t n, bool zero)
{
    vmload_prefault_note(&fixture->prefault, &fixture->cursor, fixture->block,
                         region * VMLOAD_PREFAULT_REGION, n, zero, PAGE);
}

static uint64_t resident(const Fixture *fixture, uint64_t region)
{
    unsigned char there[PAGES];
    uint64_t n = 0;
    uint64_t i;

    assert_int_equal(mincore(fixture->memory +
                                 region * VMLOAD_PREFAULT_REGION,
                             VMLOAD_PREFAULT_REGION, there),
                     0);
    for (i = 0; i < PAGES; i++) {
        n += there[i] & 1u;
    }
    return n;
}

/* Older kernels cannot: then it is off, and has done nothing. */
static void need_kernel(Fixture *fixture)
{
    if (fixture->prefault.off != 0) {
        assert_int_equal(fixture->prefault.bytes, 0);
        clear(fixture);
        skip();
    }
}

static void test_window(void **state)
{
    Fixture fixture;

    (void)state;
    init(&fixture, 1);
    assert_int_equal(fixture.prefault.window, 1);
    vmload_prefault_set(&fixture.prefault, VMLOAD_PREFAULT_REGION);
    assert_int_equal(fixture.prefault.window, 1);
    vmload_prefault_set(&fixture.prefault, VMLOAD_PREFAULT_REGION + 1);
    assert_int_equal(fixture.prefault.window, 2);
    vmload_prefault_set(&fixture.prefault, 0);
    come(&fixture, 0, PAGES, false);
    come(&fixture, 1, PAGES, false);
    assert_null(fixture.cursor.block);
    assert_int_equal(fixture.prefault.bytes, 0);
    clear(&fixture);
}

/* As much as came without a gap, up to what several writers are given. */
static void test_grows(void **state)
{
    Fixture fixture;

    (void)state;
    init(&fixture, SIZE);
    come(&fixture, 0, PAGES, false);
    assert_int_equal(fixture.prefault.bytes, 0);
    come(&fixture, 1, PAGES, false);
    need_kernel(&fixture);
    assert_int_equal(fixture.prefault.bytes, VMLOAD_PREFAULT_REGION);
    assert_int_equal(resident(&fixture, 1), 0);
    assert_int_equal(resident(&fixture, 2), PAGES);
    assert_int_equal(resident(&fixture, 3), 0);
    come(&fixture, 2, PAGES, false);
    assert_int_equal(resident(&fixture, 3), PAGES);
    assert_int_equal(resident(&fixture, 4), PAGES);
    come(&fixture, 3, PAGES, false);
    assert_int_equal(resident(&fixture, 5), PAGES);
    assert_int_equal(resident(&fixture, 6), 0);
    assert_int_equal(fixture.prefault.bytes, 4 * VMLOAD_PREFAULT_REGION);
    clear(&fixture);
}

/* Zero pages need no memory; a leap promises nothing. */
static void test_not_worth_it(void **state)
{
    Fixture fixture;
    uint64_t i;

    (void)state;
    init(&fixture, SIZE);
    for (i = 0; i < 4; i++) {
        come(&fixture, i, PAGES, true);
    }
    come(&fixture, 0, PAGES, false);
    come(&fixture, 14, PAGES, false);
    assert_int_equal(fixture.prefault.bytes, 0);
    assert_int_equal(fixture.prefault.off, 0);
    clear(&fixture);
}

/* Not where a page has come, and not behind the block's end. */
static void test_bounds(void **state)
{
    Fixture fixture;
    uint64_t i;

    (void)state;
    init(&fixture, SIZE);
    vmload_ram_block_claim(fixture.block, 3 * VMLOAD_PREFAULT_REGION + PAGE);
    for (i = 0; i < REGIONS; i++) {
        come(&fixture, i, PAGES, false);
        need_kernel(&fixture);
    }
    assert_int_equal(resident(&fixture, 3), 0);
    assert_int_equal(resident(&fixture, REGIONS - 1), PAGES);
    assert_int_equal(fixture.prefault.bytes,
                     (REGIONS - 3) * VMLOAD_PREFAULT_REGION);
    clear(&fixture);
}

static void test_stop(void **state)
{
    Fixture fixture;

    (void)state;
    init(&fixture, SIZE);
    vmload_prefault_stop(&fixture.prefault);
    vmload_prefault_stop(&fixture.prefault);
    come(&fixture, 0, PAGES, false);
    come(&fixture, 1, PAGES, false);
    assert_int_equal(fixture.prefault.bytes, 0);
    clear(&fixture);
}

static VmloadPool *no_pool(void *opaque, const char *name, uint32_t threads,
                           GError **error)
{
    (void)opaque;
    (void)name;
    (void)threads;
    (void)error;
    return NULL;
}

static VmloadPool *one_pool(void *opaque, const char *name, uint32_t threads,
                            GError **error)
{
    static const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};

    (void)opaque;
    return vmload_pool_new(&ops, NULL, name, threads, error);
}

static void test_helper(void **state)
{
    Fixture fixture;

    (void)state;
    init(&fixture, SIZE);
    fixture.cursor.inline_only = false;
    fixture.env.pool = one_pool;
    come(&fixture, 0, PAGES, false);
    come(&fixture, 1, PAGES, false);
    assert_true(fixture.prefault.ranges[0].busy);
    while (!vmload_job_is_done(&fixture.prefault.ranges[0].job)) {
        g_usleep(100);
    }
    need_kernel(&fixture);
    assert_int_equal(resident(&fixture, 2), PAGES);
    assert_int_equal(fixture.prefault.bytes, VMLOAD_PREFAULT_REGION);
    clear(&fixture);
}

static void test_no_helper(void **state)
{
    Fixture fixture;

    (void)state;
    init(&fixture, SIZE);
    fixture.cursor.inline_only = false;
    fixture.env.pool = no_pool;
    come(&fixture, 0, PAGES, false);
    come(&fixture, 1, PAGES, false);
    assert_int_equal(fixture.prefault.off, 1);
    assert_int_equal(fixture.prefault.bytes, 0);
    clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_grows),
        cmocka_unit_test(test_not_worth_it),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_helper),
        cmocka_unit_test(test_no_helper),
    };

    if (sysconf(_SC_PAGESIZE) != PAGE) {
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What channels make ready: which regions, and which they leave alone. */
#include "unit.h"

#include "packet-writer.h"
#include "ram/multifd/ready.h"

#include <sys/mman.h>

#define BITS 12
#define PAGE 4096
#define REGION VMLOAD_PREFAULT_REGION
#define REGIONS 6
#define PAGES (REGION / PAGE)
#define CAPACITY 128

/*
 * The block begins a page into region 0, and ends a page before the end of
 * the last: neither of these is all its own.
 */
typedef struct {
    uint8_t *mapping;
    uint8_t *memory; /* where region 0 begins */
    VmloadRam *ram;
    VmloadRamBlock *block;
} Fixture;

static void init(Fixture *fixture)
{
    GError *error = NULL;
    uint64_t length = REGIONS * REGION - 2 * PAGE;
    uint64_t address;

    fixture->mapping = mmap(NULL, (REGIONS + 1) * REGION,
                            PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(fixture->mapping != MAP_FAILED);
    address = (uint64_t)(uintptr_t)fixture->mapping;
    fixture->memory = fixture->mapping + (REGION - address % REGION) % REGION;
    fixture->ram = vmload_ram_new(NULL);
    vmload_ram_set_prefault(fixture->ram, 1);
    fixture->block = vmload_ram_block_new(
        "one", length, length,
        vmload_ram_sink_new_memory(fixture->memory + PAGE), &error);
    assert_non_null(fixture->block);
    assert_true(vmload_ram_add_block(fixture->ram, fixture->block, &error));
    assert_true(vmload_ram_block_prepare(fixture->block, BITS, &error));
}

static void clear(Fixture *fixture)
{
    vmload_ram_free(fixture->ram);
    munmap(fixture->mapping, (REGIONS + 1) * REGION);
}

/*
 * A packet of @n pages, each @step pages behind the one before, the first of
 * them page @page of region @region.
 */
static void come(Fixture *fixture, uint64_t region, uint64_t page, uint32_t n,
                 uint64_t step)
{
    uint64_t offsets[CAPACITY];
    GByteArray *out = sw_new();
    VmloadMultifdPacket packet;
    GError *error = NULL;
    uint32_t i;

    assert_true(n <= CAPACITY);
    for (i = 0; i < n; i++) {
        /* From the last to the first: order means nothing. */
        offsets[n - 1 - i] = region * REGION + (page + i * step) * PAGE - PAGE;
    }
    pw_ram(out, BITS, 0, "one", offsets, n, 0, 0);
    assert_true(vmload_multifd_packet_parse(out->data, BITS, &packet,
                                            &error));
    vmload_multifd_make_ready(fixture->ram, fixture->block, &packet);
    g_byte_array_unref(out);
}

static bool is_ready(const Fixture *fixture, uint64_t region)
{
    unsigned char there[PAGES];
    uint64_t n = 0;
    uint64_t i;

    assert_int_equal(mincore(fixture->memory + region * REGION, REGION,
                             there),
                     0);
    for (i = 0; i < PAGES; i++) {
        n += there[i] & 1u;
    }
    assert_true(n == 0 || n == PAGES);
    return n == PAGES;
}

/* Bit n: region n is ready. */
static uint32_t ready(const Fixture *fixture)
{
    uint32_t mask = 0;
    uint32_t i;

    for (i = 0; i < REGIONS; i++) {
        mask |= (is_ready(fixture, i) ? 1u : 0) << i;
    }
    return mask;
}

/* Older kernels cannot: then it is off, and has done nothing. */
static void need_kernel(Fixture *fixture)
{
    if (fixture->ram->prefault.off != 0) {
        assert_int_equal(ready(fixture), 0);
        clear(fixture);
        skip();
    }
}

/* Its own region and the next; those that are the block's alone. */
static void test_regions(void **state)
{
    Fixture fixture;

    (void)state;
    init(&fixture);
    come(&fixture, 0, 1, CAPACITY, 1);
    need_kernel(&fixture);
    assert_int_equal(ready(&fixture), 0x02);
    come(&fixture, 1, 0, CAPACITY, 1);
    assert_int_equal(ready(&fixture), 0x06);
    come(&fixture, 3, PAGES - 64, CAPACITY, 1);
    /* The last is not whole. */
    assert_int_equal(ready(&fixture), 0x1e);
    come(&fixture, 5, 0, CAPACITY, 1);
    assert_int_equal(ready(&fixture), 0x1e);
    assert_int_equal(fixture.ram->prefault.bytes, 4 * REGION);
    clear(&fixture);
}

/* What has been asked for once, or has come, is not asked for again. */
static void test_once(void **state)
{
    Fixture fixture;

    (void)state;
    init(&fixture);
    come(&fixture, 1, 0, CAPACITY, 1);
    need_kernel(&fixture);
    assert_int_equal(ready(&fixture), 0x06);
    assert_int_equal(madvise(fixture.memory + REGION, 2 * REGION,
                             MADV_DONTNEED), 0);
    come(&fixture, 1, CAPACITY, CAPACITY, 1);
    assert_int_equal(ready(&fixture), 0);
    vmload_ram_block_claim(fixture.block, 4 * REGION);
    come(&fixture, 3, 0, CAPACITY, 1);
    assert_int_equal(ready(&fixture), 0x08);
    clear(&fixture);
}

/* Gaps, and packets that are too short to tell. */
static void test_gaps(void **state)
{
    Fixture fixture;

    (void)state;
    init(&fixture);
    come(&fixture, 1, 0, CAPACITY, 2);
    come(&fixture, 1, 0, 31, 1);
    assert_int_equal(ready(&fixture), 0);
    assert_null(fixture.block->begun);
    come(&fixture, 1, 0, 32, 1);
    need_kernel(&fixture);
    assert_int_equal(ready(&fixture), 0x06);
    clear(&fixture);
}

/* Not where the host says so, and not for larger pages than regions. */
static void test_off(void **state)
{
    Fixture fixture;

    (void)state;
    init(&fixture);
    vmload_ram_set_prefault(fixture.ram, 0);
    come(&fixture, 1, 0, CAPACITY, 1);
    assert_int_equal(ready(&fixture), 0);
    vmload_ram_set_prefault(fixture.ram, 1);
    assert_true(vmload_ram_block_set_page_size(fixture.block, 2 * REGION,
                                               NULL));
    come(&fixture, 1, 0, CAPACITY, 1);
    assert_int_equal(ready(&fixture), 0);
    clear(&fixture);
}

static gpointer come_all(gpointer opaque)
{
    uint64_t region;

    for (region = 1; region < REGIONS - 1; region++) {
        come(opaque, region, 0, CAPACITY, 1);
    }
    return NULL;
}

/* Several at once: each region is made ready by one of them. */
static void test_threads(void **state)
{
    GThread *threads[4];
    Fixture fixture;
    size_t i;

    (void)state;
    init(&fixture);
    for (i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = g_thread_new("come", come_all, &fixture);
    }
    for (i = 0; i < G_N_ELEMENTS(threads); i++) {
        g_thread_join(threads[i]);
    }
    need_kernel(&fixture);
    assert_int_equal(ready(&fixture), 0x1e);
    assert_int_equal(fixture.ram->prefault.bytes, 4 * REGION);
    clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regions),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests_name("multifd-ready", tests, NULL, NULL);
}

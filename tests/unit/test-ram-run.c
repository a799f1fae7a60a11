/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page stream's fast way by itself: that it gives the same as the slow
 * one is seen in test-ram-stream.c, that it is taken at all only here.
 */
#include "ram-fixture.h"

#include "ram/run.h"

#define RECORD (8 + FIXTURE_PAGE)
#define BLOCK_PAGES 70

static uint8_t memory[BLOCK_PAGES * FIXTURE_PAGE];

typedef struct {
    VmloadRam *ram;
    VmloadRamBlock *block;
    GByteArray *out;
} Run;

static void run_open(Run *run)
{
    run->ram = vmload_ram_new(NULL);
    memset(memory, 0xee, sizeof(memory));
    fixture_add(run->ram, "one", sizeof(memory), sizeof(memory),
                vmload_ram_sink_new_memory(memory), 0);
    run->block = vmload_ram_get_block(run->ram, 0);
    run->out = sw_new();
    sw_ram_mem_size(run->out, sizeof(memory));
    sw_ram_block(run->out, "one", sizeof(memory));
    sw_ram_eos(run->out);
    assert_true(fixture_load_ram(run->ram, run->out, NULL, NULL));
}

static void run_close(Run *run)
{
    vmload_ram_free(run->ram);
    g_byte_array_unref(run->out);
}

static uint64_t take(const Run *run, uint64_t length, VmloadRamRun *found)
{
    memset(found, 0, sizeof(*found));
    return vmload_ram_run_take(run->ram, run->block, run->out->data, length,
                               found);
}

static void add_zero(Run *run, uint64_t page, uint8_t byte)
{
    sw_be64(run->out, page * FIXTURE_PAGE | SW_RAM_ZERO | SW_RAM_CONTINUE);
    sw_u8(run->out, byte);
}

/* Whole records only, and their pages only. */
static void test_pages(void **state)
{
    VmloadRamRun found;
    Run run;

    (void)state;
    run_open(&run);
    fixture_page(run.out, NULL, 3, 0x11);
    fixture_page(run.out, NULL, 4, 0x22);
    assert_int_equal(take(&run, 7, &found), 0);
    assert_int_equal(take(&run, RECORD - 1, &found), 0);
    assert_false(vmload_ram_block_test_received(run.block, 3 * FIXTURE_PAGE));
    assert_int_equal(take(&run, 2 * RECORD - 1, &found), RECORD);
    assert_int_equal(found.n, 1);
    assert_int_equal(found.offset, 3 * FIXTURE_PAGE);
    assert_int_equal(found.before, 0);
    assert_true(vmload_ram_block_test_received(run.block, 3 * FIXTURE_PAGE));
    assert_false(vmload_ram_block_test_received(run.block, 4 * FIXTURE_PAGE));
    assert_int_equal(take(&run, 2 * RECORD, &found), 2 * RECORD);
    assert_int_equal(found.n, 2);
    assert_int_equal(found.before, 1); /* page 3 */
    assert_int_equal(vmload_ram_run_place(run.ram, run.block, &found), 2);
    assert_page(memory, 2, 0xee);
    assert_page(memory, 3, 0x11);
    assert_page(memory, 4, 0x22);
    assert_page(memory, 5, 0xee);
    run_close(&run);
}

static void test_zeros(void **state)
{
    VmloadRamRun found;
    Run run;

    (void)state;
    run_open(&run);
    add_zero(&run, 0, 0);
    add_zero(&run, 1, 0);
    add_zero(&run, 2, 0x5a);
    assert_int_equal(take(&run, run.out->len, &found), 2 * 9);
    assert_int_equal(found.n, 2);
    assert_null(found.data);
    assert_int_equal(vmload_ram_run_place(run.ram, run.block, &found), 2);
    assert_page(memory, 1, 0);
    assert_page(memory, 2, 0xee);
    g_byte_array_set_size(run.out, 0);
    add_zero(&run, 2, 0x5a);
    assert_int_equal(take(&run, run.out->len, &found), 0);
    assert_false(vmload_ram_block_test_received(run.block, 2 * FIXTURE_PAGE));
    run_close(&run);
}

/* A run ends where the word of the claim map does, and where the block does. */
static void test_ends(void **state)
{
    VmloadRamRun found;
    uint64_t page;
    Run run;

    (void)state;
    run_open(&run);
    for (page = 62; page < BLOCK_PAGES + 2; page++) {
        add_zero(&run, page, 0);
    }
    assert_int_equal(take(&run, run.out->len, &found), 2 * 9);
    assert_int_equal(found.offset, 62 * FIXTURE_PAGE);
    g_byte_array_remove_range(run.out, 0, 2 * 9);
    assert_int_equal(take(&run, run.out->len, &found),
                     (BLOCK_PAGES - 64) * 9);
    assert_int_equal(found.n, BLOCK_PAGES - 64);
    /* What is behind the block is for others to refuse. */
    g_byte_array_remove_range(run.out, 0, (BLOCK_PAGES - 64) * 9);
    assert_int_equal(take(&run, run.out->len, &found), 0);
    run_close(&run);
}

/* Everything else is none. */
static void test_others(void **state)
{
    static const uint64_t words[] = {
        SW_RAM_ZERO,
        SW_RAM_PAGE,
        SW_RAM_CONTINUE,
        SW_RAM_EOS,
        SW_RAM_PAGE | SW_RAM_ZERO | SW_RAM_CONTINUE,
        SW_RAM_XBZRLE | SW_RAM_CONTINUE,
        (UINT64_MAX - FIXTURE_PAGE + 1) | SW_RAM_ZERO | SW_RAM_CONTINUE,
    };
    VmloadRamRun found;
    size_t i;
    Run run;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(words); i++) {
        run_open(&run);
        sw_be64(run.out, words[i]);
        sw_fill(run.out, 0, FIXTURE_PAGE);
        assert_int_equal(take(&run, run.out->len, &found), 0);
        assert_false(vmload_ram_block_test_received(run.block, 0));
        run_close(&run);
    }
    /* Neither the next page nor the same one again goes on with a run. */
    for (i = 0; i < 2; i++) {
        run_open(&run);
        add_zero(&run, 1, 0);
        add_zero(&run, i == 0 ? 1 : 3, 0);
        assert_int_equal(take(&run, run.out->len, &found), 9);
        run_close(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_others),
    };

    return cmocka_run_group_tests_name("ram-run", tests, NULL, NULL);
}

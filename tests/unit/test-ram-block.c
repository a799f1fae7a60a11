/* SPDX-License-Identifier: BSD-3-Clause */
/* One RAM block: its arguments, its flags, what it says of itself. */
#include "unit.h"

#include <unistd.h>
#include <vmload/mapped.h>

#include "ram/block.h"

#define P 4096

static VmloadRamBlock *make(uint64_t used, uint64_t max, VmloadRamSink *sink)
{
    VmloadRamBlock *block = vmload_ram_block_new("r", used, max, sink, NULL);

    assert_non_null(block);
    return block;
}

static void test_arguments(void **state)
{
    char name[300];
    const struct {
        const char *idstr;
        uint64_t used;
        uint64_t max;
    } cases[] = {
        {"", P, P},       {name, P, P},
        {"r", 0, 0},      {"r", P + 1, P},
        {"r", P, (uint64_t)1 << 63},
    };
    GError *error = NULL;
    VmloadRamBlock *block;
    size_t i;

    (void)state;
    memset(name, 'n', 256);
    name[256] = '\0';
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        assert_null(vmload_ram_block_new(cases[i].idstr, cases[i].used,
                                         cases[i].max,
                                         vmload_ram_sink_new_null(), &error));
        assert_unit_error(&error, VMLOAD_ERROR_FAILED, "RAM block");
    }
    name[255] = '\0';
    block = vmload_ram_block_new(name, P, P, vmload_ram_sink_new_null(),
                                 &error);
    assert_non_null(block);
    assert_false(vmload_ram_block_set_page_size(block, 3 * P, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "power of two");
    assert_false(vmload_ram_block_set_page_size(block, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "power of two");
    vmload_ram_block_free(block);
    vmload_ram_block_free(NULL);
}

/* Room to grow makes a block resizeable, whatever flags are set later. */
static void test_flags(void **state)
{
    VmloadRamBlock *fixed = make(P, P, vmload_ram_sink_new_null());
    VmloadRamBlock *loose = make(P, 2 * P, vmload_ram_sink_new_null());

    (void)state;
    assert_int_equal(fixed->flags, 0);
    assert_int_equal(loose->flags, VMLOAD_RAM_RESIZEABLE);
    vmload_ram_block_set_flags(fixed, VMLOAD_RAM_IGNORED);
    vmload_ram_block_set_flags(loose, VMLOAD_RAM_IGNORED);
    assert_int_equal(fixed->flags, VMLOAD_RAM_IGNORED);
    assert_int_equal(loose->flags,
                     VMLOAD_RAM_IGNORED | VMLOAD_RAM_RESIZEABLE);
    vmload_ram_block_free(fixed);
    vmload_ram_block_free(loose);
}

/* A first zero page is written unless somebody knows that it is zero. */
static void test_zero(void **state)
{
    uint8_t memory[P];
    VmloadRamBlock *block = make(P, P, vmload_ram_sink_new_memory(memory));
    bool stored;

    (void)state;
    memset(memory, 0xcc, P);
    assert_false(block->starts_zero);
    vmload_ram_block_set_flags(block, VMLOAD_RAM_KNOWN_ZERO);
    assert_true(block->starts_zero);
    assert_true(vmload_ram_block_zero(block, 0, P, false, &stored, NULL));
    assert_false(stored);
    assert_int_equal(memory[0], 0xcc);
    /* Not any more where a page came before. */
    assert_true(vmload_ram_block_zero(block, 0, P, true, &stored, NULL));
    assert_true(stored);
    assert_int_equal(memory[0], 0);
    memset(memory, 0xcc, P);
    vmload_ram_block_set_flags(block, 0);
    assert_true(vmload_ram_block_zero(block, 0, P, false, &stored, NULL));
    assert_int_equal(memory[0], 0);
    vmload_ram_block_free(block);
    /* Ours start as zeros; no flag takes that away. */
    block = make(P, P, vmload_ram_sink_new_digest());
    vmload_ram_block_set_flags(block, 0);
    assert_true(block->starts_zero);
    vmload_ram_block_free(block);
}

static void test_getters(void **state)
{
    VmloadRamSink *sink = vmload_ram_sink_new_null();
    VmloadRamBlock *block = make(P, 2 * P, sink);

    (void)state;
    assert_string_equal(vmload_ram_block_get_idstr(block), "r");
    assert_int_equal(vmload_ram_block_get_length(block), P);
    assert_ptr_equal(vmload_ram_block_get_sink(block), sink);
    assert_int_equal(block->page_size, sysconf(_SC_PAGESIZE));
    assert_true(vmload_ram_block_set_page_size(block, 1 << 21, NULL));
    assert_int_equal(block->page_size, 1 << 21);
    vmload_ram_block_set_address(block, 0xfee00000);
    assert_int_equal(block->address, 0xfee00000);
    vmload_ram_block_free(block);
}

/* Before a list names the block no page has come; then each one once. */
static void test_received(void **state)
{
    VmloadRamBlock *block = make(2 * P, 3 * P, vmload_ram_sink_new_null());
    VmloadClaim *claim;

    (void)state;
    assert_false(vmload_ram_block_test_received(block, 0));
    assert_true(vmload_ram_block_prepare(block, 12, NULL));
    claim = block->claim;
    assert_false(vmload_ram_block_test_received(block, P));
    assert_false(vmload_ram_block_claim(block, P));
    assert_true(vmload_ram_block_claim(block, P));
    assert_true(vmload_ram_block_test_received(block, P + 1));
    assert_false(vmload_ram_block_test_received(block, 0));
    /* Up to the maximum: a block may grow on the way. */
    assert_false(vmload_ram_block_claim(block, 2 * P));
    assert_true(vmload_ram_block_test_received(block, 2 * P));
    /* A second list forgets nothing. */
    assert_true(vmload_ram_block_prepare(block, 12, NULL));
    assert_ptr_equal(block->claim, claim);
    vmload_ram_block_free(block);
}

static bool no_resize(void *opaque,
                      VmloadRamBlock *block,
                      uint64_t length,
                      GError **error)
{
    (void)opaque;
    (void)block;
    (void)length;
    (void)error;
    return true;
}

static void count(void *opaque)
{
    ++*(int *)opaque;
}

/* Each callback is let go once: when another comes, and at the end. */
static void test_resize_destroy(void **state)
{
    VmloadRamBlock *block = make(P, P, vmload_ram_sink_new_null());
    int first = 0;
    int second = 0;

    (void)state;
    vmload_ram_block_set_resize(block, no_resize, &first, count);
    assert_int_equal(first, 0);
    vmload_ram_block_set_resize(block, no_resize, &second, count);
    assert_int_equal(first, 1);
    assert_int_equal(second, 0);
    vmload_ram_block_free(block);
    assert_int_equal(first, 1);
    assert_int_equal(second, 1);
}

/* What a mapped-ram file says; as much of it as the caller knows. */
static void test_mapped(void **state)
{
    VmloadRamBlock *block = make(P, P, vmload_ram_sink_new_null());
    VmloadRamMapped mapped = {.struct_size = (uint32_t)sizeof(mapped),
                              .pages = 77};

    (void)state;
    assert_false(vmload_ram_block_get_mapped(block, &mapped));
    assert_int_equal(mapped.pages, 77);
    block->mapped_version = 1;
    block->mapped_page_size = P;
    block->mapped_bitmap_offset = 10;
    block->mapped_pages_offset = 20;
    block->mapped_pages = 3;
    assert_true(vmload_ram_block_get_mapped(block, &mapped));
    assert_int_equal(mapped.version, 1);
    assert_int_equal(mapped.page_size, P);
    assert_int_equal(mapped.bitmap_offset, 10);
    assert_int_equal(mapped.pages_offset, 20);
    assert_int_equal(mapped.pages, 3);
    mapped.pages = 77;
    mapped.struct_size = offsetof(VmloadRamMapped, pages);
    assert_true(vmload_ram_block_get_mapped(block, &mapped));
    assert_int_equal(mapped.pages, 77);
    vmload_ram_block_free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments), cmocka_unit_test(test_flags),
        cmocka_unit_test(test_zero),      cmocka_unit_test(test_getters),
        cmocka_unit_test(test_received),  cmocka_unit_test(test_resize_destroy),
        cmocka_unit_test(test_mapped),
    };

    return cmocka_run_group_tests_name("ram-block", tests, NULL, NULL);
}

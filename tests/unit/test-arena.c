/* SPDX-License-Identifier: BSD-3-Clause */
/* What a tree of a stream's shape may take: bounded, aligned, zeroed. */
#include "unit.h"

#include "device/arena.h"

#define ALIGN 16u

/* More than a chunk's header takes on any platform. */
#define OVERHEAD 64u

static void test_limit(void **state)
{
    /* A chunk is 4096 bytes at first, and grows. */
    static const uint64_t limits[] = {
        0, 1, 31, OVERHEAD + ALIGN, 4095, 4096, 4097, 5000, 100000, 3u << 20,
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(limits); i++) {
        static const uint8_t zeros[3 * ALIGN];
        uint64_t total = 0;
        uint64_t chunks = 0;
        VmloadArena arena;
        uint64_t left;
        uint8_t *data;

        vmload_arena_init(&arena, limits[i]);
        left = arena.left;
        while ((data = vmload_arena_alloc(&arena, 3, ALIGN)) != NULL) {
            assert_int_equal((uintptr_t)data % ALIGN, 0);
            assert_memory_equal(data, zeros, sizeof(zeros));
            memset(data, 0xff, sizeof(zeros));
            total += sizeof(zeros);
            chunks += arena.left != left;
            left = arena.left;
            assert_true(total <= limits[i]);
        }
        /* What the limit allows can be had, but for the ends of chunks. */
        assert_true(limits[i] - total <
                    (chunks + 1) * (OVERHEAD + sizeof(zeros)));
        assert_true(arena.left <= limits[i] - total);
        vmload_arena_clear(&arena);
        assert_null(arena.chunks);
    }
}

/* Products and sums that do not fit into 64 bits. */
static void test_overflow(void **state)
{
    static const struct {
        uint64_t n;
        uint64_t size;
    } cases[] = {
        {UINT64_MAX, 1},
        {1, UINT64_MAX},
        {UINT64_MAX - ALIGN + 1, 1},
        {UINT64_MAX - ALIGN, 1},
        {UINT64_MAX / 2 + 1, 2},
        {UINT64_MAX / 16 + 2, 16},
        {(uint64_t)1 << 32, (uint64_t)1 << 32},
        {UINT64_MAX, UINT64_MAX},
    };
    static const uint64_t limits[] = {100000, UINT64_MAX};
    size_t i;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(cases); i++) {
        VmloadArena arena;

        vmload_arena_init(&arena, limits[i % 2]);
        assert_null(
            vmload_arena_alloc(&arena, cases[i / 2].n, cases[i / 2].size));
        /* A refusal takes nothing, and smaller ones go on. */
        assert_true(arena.left == limits[i % 2]);
        assert_non_null(vmload_arena_alloc(&arena, 1, 1));
        assert_null(
            vmload_arena_alloc(&arena, cases[i / 2].n, cases[i / 2].size));
        vmload_arena_clear(&arena);
    }
}

static void test_alignment(void **state)
{
    static const uint64_t sizes[] = {1, 2, 7, 8, 15, 16, 17, 31, 100, 4095};
    uint8_t *before = NULL;
    VmloadArena arena;
    size_t i;

    (void)state;
    vmload_arena_init(&arena, 1u << 20);
    for (i = 0; i < 20 * G_N_ELEMENTS(sizes); i++) {
        uint64_t size = sizes[i % G_N_ELEMENTS(sizes)];
        uint8_t *data = vmload_arena_alloc(&arena, 1, size);

        assert_non_null(data);
        assert_int_equal((uintptr_t)data % ALIGN, 0);
        memset(data, 0xee, size);
        assert_true(before == NULL || *before == 0xee);
        before = data + size - 1;
    }
    /* No items are still somewhere, each time somewhere else. */
    before = vmload_arena_alloc(&arena, 0, 8);
    assert_non_null(before);
    assert_ptr_not_equal(vmload_arena_alloc(&arena, 0, 8), before);
    vmload_arena_clear(&arena);
}

static void test_string(void **state)
{
    VmloadArena arena;
    char *text;

    (void)state;
    vmload_arena_init(&arena, 4096);
    text = vmload_arena_string(&arena, "abcdef", 3);
    assert_string_equal(text, "abc");
    assert_string_equal(vmload_arena_string(&arena, "", 0), "");
    /* Sixteen bytes and their NUL do not run into what follows. */
    text = vmload_arena_string(&arena, "0123456789abcdef", 16);
    assert_string_equal(vmload_arena_string(&arena, "x", 1), "x");
    assert_string_equal(text, "0123456789abcdef");
    assert_null(vmload_arena_string(&arena, "a", UINT64_MAX));
    assert_null(vmload_arena_string(&arena, "a", UINT64_MAX - 1));
    assert_null(vmload_arena_string(&arena, "a", 4096));
    vmload_arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_string),
    };

    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}

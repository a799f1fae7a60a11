/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "ram/claim.h"

#define THREADS 4
#define PAGES 20000

static void test_marks(void **state)
{
    GError *error = NULL;
    /* Two pages and a bit: three. */
    VmloadClaim *claim = vmload_claim_new(2 * 4096 + 1, 12, &error);

    (void)state;
    assert_non_null(claim);
    assert_false(vmload_claim_test(claim, 0));
    assert_false(vmload_claim_mark(claim, 4096));
    assert_true(vmload_claim_mark(claim, 4096));
    assert_true(vmload_claim_mark(claim, 2 * 4096 - 1));
    assert_false(vmload_claim_test(claim, 0));
    assert_true(vmload_claim_test(claim, 5000));
    assert_false(vmload_claim_mark(claim, 2 * 4096));
    assert_true(vmload_claim_test(claim, 2 * 4096));
    /* Past the end nothing is noted. */
    assert_false(vmload_claim_mark(claim, 3 * 4096));
    assert_false(vmload_claim_mark(claim, 3 * 4096));
    assert_false(vmload_claim_test(claim, 3 * 4096));
    assert_false(vmload_claim_test(claim, UINT64_MAX));
    vmload_claim_free(claim);
}

/* Runs that begin, end and stay anywhere in the map's words. */
static void test_runs(void **state)
{
    static const struct {
        uint64_t first;
        uint64_t n;
        uint64_t end; /* of what is marked */
    } runs[] = {
        {0, 1, 1},      {0, 64, 64},    {63, 2, 65},     {60, 200, 260},
        {64, 64, 128},  {1, 62, 63},    {290, 10, 300},  {290, 100, 300},
        {299, UINT64_MAX, 300}, {10, 0, 10}, {300, 5, 300}, {1000, 1, 300},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(runs); i++) {
        VmloadClaim *claim = vmload_claim_new(300 * 4096, 12, NULL);
        uint64_t page;

        assert_non_null(claim);
        vmload_claim_mark_run(claim, runs[i].first * 4096 + 5, runs[i].n);
        for (page = 0; page < 300; page++) {
            assert_int_equal(vmload_claim_test(claim, page * 4096),
                             page >= runs[i].first && page < runs[i].end);
        }
        vmload_claim_free(claim);
    }
}

static void test_too_large(void **state)
{
    GError *error = NULL;

    (void)state;
    assert_null(vmload_claim_new(INT64_MAX, 8, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "no memory");
}

static VmloadClaim *shared;

/* Marks all pages, and counts those that nobody had marked. */
static gpointer mark_all(gpointer opaque)
{
    uint64_t first = 0;
    uint64_t i;

    (void)opaque;
    for (i = 0; i < PAGES; i++) {
        first += vmload_claim_mark(shared, i << 10) ? 0 : 1;
    }
    return GSIZE_TO_POINTER(first);
}

/* Each page has exactly one first writer. */
static void test_threads(void **state)
{
    GThread *threads[THREADS];
    GError *error = NULL;
    size_t first = 0;
    int i;

    (void)state;
    shared = vmload_claim_new((uint64_t)PAGES << 10, 10, &error);
    for (i = 0; i < THREADS; i++) {
        threads[i] = g_thread_new("mark", mark_all, NULL);
    }
    for (i = 0; i < THREADS; i++) {
        first += GPOINTER_TO_SIZE(g_thread_join(threads[i]));
    }
    assert_int_equal(first, PAGES);
    vmload_claim_free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests_name("ram-claim", tests, NULL, NULL);
}

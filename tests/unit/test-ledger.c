/* SPDX-License-Identifier: BSD-3-Clause */
/* The ledger: a line a device, in the order in which they came. */
#include "unit.h"

#include "loader/ledger.h"

static void test_ledger(void **state)
{
    const VmloadCost cost = {1, 2, 3, 4};
    VmloadSection cpu = {.idstr = "cpu", .version_id = 5,
                         .payload_length = 10, .has_footer = 1};
    VmloadSection rtc = {.idstr = "rtc", .instance_id = 1,
                         .payload_length = 7};
    VmloadLedger *ledger = vmload_ledger_new();
    VmloadLedgerEntry *entries;
    uint64_t n;

    (void)state;
    entries = vmload_ledger_snapshot(ledger, &n);
    assert_int_equal(n, 0);
    g_free(entries);
    vmload_ledger_book(ledger, &cpu, &cost);
    vmload_ledger_book(ledger, &rtc, &cost);
    cpu.version_id = 6;
    vmload_ledger_book(ledger, &cpu, &cost);
    vmload_ledger_add(ledger, &rtc, &cost);
    cpu.instance_id = 1;
    vmload_ledger_book(ledger, &cpu, &cost);
    entries = vmload_ledger_snapshot(ledger, &n);
    assert_int_equal(n, 3);
    assert_string_equal(entries[0].name, "cpu");
    assert_int_equal(entries[0].records, 2);
    assert_int_equal(entries[0].bytes, 20);
    assert_int_equal(entries[0].version_id, 6);
    assert_int_equal(entries[0].without_footer, 0);
    assert_int_equal(entries[0].staging_ns, 2);
    assert_int_equal(entries[0].callback_ns, 8);
    assert_string_equal(entries[1].name, "rtc");
    assert_int_equal(entries[1].records, 1);
    assert_int_equal(entries[1].bytes, 7);
    assert_int_equal(entries[1].without_footer, 1);
    assert_int_equal(entries[1].lock_wait_ns, 4);
    assert_int_equal(entries[1].lock_held_ns, 6);
    assert_int_equal(entries[2].instance_id, 1);
    assert_int_equal(entries[2].struct_size, sizeof(entries[2]));
    g_free(entries);
    vmload_ledger_free(ledger);
    vmload_ledger_free(NULL);
}

#define THREADS 4
#define ROUNDS 1000

static void *book_thread(void *opaque)
{
    const VmloadCost cost = {1, 1, 1, 1};
    VmloadSection section = {.idstr = "cpu", .payload_length = 1};
    int i;

    for (i = 0; i < ROUNDS; i++) {
        section.instance_id = (uint32_t)(i % 16);
        vmload_ledger_book(opaque, &section, &cost);
    }
    return NULL;
}

/* Booked by several threads: no line twice, nothing lost. */
static void test_threads(void **state)
{
    VmloadLedger *ledger = vmload_ledger_new();
    GThread *threads[THREADS];
    VmloadLedgerEntry *entries;
    uint64_t bytes = 0;
    uint64_t n;
    uint64_t i;

    (void)state;
    for (i = 0; i < THREADS; i++) {
        threads[i] = g_thread_new("book", book_thread, ledger);
    }
    for (i = 0; i < THREADS; i++) {
        g_thread_join(threads[i]);
    }
    entries = vmload_ledger_snapshot(ledger, &n);
    assert_int_equal(n, 16);
    for (i = 0; i < n; i++) {
        assert_int_equal(entries[i].instance_id, i);
        assert_int_equal(entries[i].staging_ns, entries[i].bytes);
        bytes += entries[i].bytes;
    }
    assert_int_equal(bytes, THREADS * ROUNDS);
    g_free(entries);
    vmload_ledger_free(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ledger),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}

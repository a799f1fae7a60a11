/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory that is opened to an RDMA source: ahead of it, within the
 * bound, all at once, and given up in the middle of that.
 */
#include "rdma-fixture.h"

#include <errno.h>

#define LARGE (40 * MIB)

static void open_large(Rdma *rdma, uint32_t flags)
{
    rdma_open_length(rdma, NULL, LARGE);
    assert_true(rdma_await(rdma));
    vd_connect_source(flags);
    rdma_queue_start(rdma);
    rdma_queue_blocks();
    rdma_queue_next(false);
}

static void run_large(Rdma *rdma)
{
    rdma_queue_next(true);
    rdma_queue_tail();
    if (!rdma_run(rdma)) {
        fail_msg("%s", rdma->error->message);
    }
}

static void ask(uint64_t chunk)
{
    rdma_queue_range(T_REGISTER, 0, chunk * MIB, 0);
}

static void pass_over(uint64_t chunk)
{
    rdma_queue_range(T_COMPRESS, 0, chunk * MIB, MIB);
}

/* How many bytes of these chunks have got memory. */
static uint64_t resident(const Rdma *rdma, uint64_t chunk, uint64_t n)
{
    unsigned char there[LARGE / PAGE];
    uint64_t bytes = 0;
    uint64_t i;

    assert_int_equal(mincore(rdma->ram + chunk * MIB, n * MIB, there), 0);
    for (i = 0; i < n * MIB / PAGE; i++) {
        bytes += (there[i] & 1) != 0 ? PAGE : 0;
    }
    return bytes;
}

/*
 * A source that asks for chunk after chunk finds each open once it takes as
 * long to write one as opening one takes: from the ninth on there are two
 * ahead, and it comes when the second is being opened.
 */
static void test_ahead(void **state)
{
    VmloadStats stats;
    Rdma rdma;
    int i;

    (void)state;
    open_large(&rdma, 0);
    for (i = 0; i < 40; i++) {
        if (i >= 8) {
            vd_queue_await(MIN(i + 2, 40));
        }
        ask((uint64_t)i);
    }
    run_large(&rdma);
    stats = rdma_stats(&rdma);
    assert_int_equal(stats.rdma_keys, 40);
    assert_int_equal(stats.rdma_registrations, 40);
    assert_int_equal(stats.rdma_ahead, 36);
    assert_in_range(stats.rdma_ahead_used, 31, 36);
    assert_int_equal(stats.rdma_registered_peak_bytes, LARGE);
    assert_int_equal(stats.rdma_registered_bytes, 0);
    rdma_close(&rdma);
}

/* What is needed goes before what may be; then the bound is the bound. */
static void test_bound(void **state)
{
    VmloadLimits limits;
    VmloadStats stats;
    Rdma rdma;
    uint64_t i;

    (void)state;
    open_large(&rdma, 0);
    vmload_limits_init(&limits);
    limits.rdma_pinned_bytes = 6 * MIB;
    vmload_loader_set_limits(rdma.loader, &limits);
    for (i = 0; i < 4; i++) {
        ask(i);
    }
    vd_queue_await(5);
    ask(20);
    ask(25);
    ask(30);
    rdma_queue_next(true);
    rdma_queue_tail();
    assert_false(rdma_run(&rdma));
    assert_unit_error(&rdma.error, VMLOAD_ERROR_LIMIT, "rdma_pinned_bytes");
    stats = rdma_stats(&rdma);
    assert_int_equal(stats.rdma_keys, 6);
    assert_int_equal(stats.rdma_ahead, 1);
    assert_int_equal(stats.rdma_ahead_used, 0);
    assert_int_equal(stats.rdma_registered_peak_bytes, 6 * MIB);
    rdma_close(&rdma);
}

/* What lies open in vain is bounded, however often the source jumps. */
static void test_jumps(void **state)
{
    VmloadStats stats;
    Rdma rdma;
    uint64_t i;
    int registered = 0;

    (void)state;
    open_large(&rdma, 0);
    /* Four in a row, one ahead, and on to somewhere else. */
    for (i = 0; i < 40; i++) {
        if (i % 6 < 4) {
            ask(i);
            registered += i % 6 == 3 ? 2 : 1;
        } else if (i % 6 == 4) {
            vd_queue_await(registered);
        }
    }
    run_large(&rdma);
    stats = rdma_stats(&rdma);
    assert_int_equal(stats.rdma_keys, 28);
    assert_int_equal(stats.rdma_ahead, 6);
    assert_int_equal(stats.rdma_ahead_used, 0);
    assert_int_equal(stats.rdma_registered_peak_bytes, 34 * MIB);
    rdma_close(&rdma);
}

/*
 * Chunks of zeros get no memory, but for those that were opened in vain: one
 * behind each four that were written.
 */
static void test_zero(void **state)
{
    Rdma rdma;
    uint64_t i;

    (void)state;
    open_large(&rdma, 0);
    for (i = 0; i < 8; i++) {
        if (i % 2 == 0) {
            ask(i);
        } else {
            pass_over(i);
        }
    }
    for (i = 8; i < 12; i++) {
        ask(i);
    }
    vd_queue_await(4 + 4 + 1);
    for (i = 12; i < 40; i++) {
        pass_over(i);
    }
    run_large(&rdma);
    for (i = 0; i < 8; i++) {
        assert_int_equal(resident(&rdma, i, 1), i % 2 == 0 ? MIB : 0);
    }
    assert_int_equal(resident(&rdma, 8, 5), 5 * MIB);
    assert_int_equal(resident(&rdma, 13, 27), 0);
    assert_int_equal(rdma_stats(&rdma).ram_pages_zero, 32 * MIB / PAGE);
    assert_int_equal(rdma_stats(&rdma).rdma_ahead, 1);
    rdma_close(&rdma);
}

/* What cannot be had ahead is asked for when it is needed, and that is all. */
static void test_ahead_fails(void **state)
{
    VmloadStats stats;
    Rdma rdma;
    uint64_t i;

    (void)state;
    open_large(&rdma, 0);
    vd_fail_registrations(4, 1, ENOMEM);
    for (i = 0; i < 4; i++) {
        ask(i);
    }
    vd_queue_await(5);
    for (i = 4; i < 20; i++) {
        ask(i);
    }
    run_large(&rdma);
    stats = rdma_stats(&rdma);
    assert_int_equal(stats.rdma_keys, 20);
    /* The next may be on its way when it is known, and then goes for it. */
    assert_in_range(stats.rdma_ahead, 1, 2);
    assert_in_range(stats.rdma_registrations, 20, 19 + stats.rdma_ahead);
    rdma_close(&rdma);
}

/* The system's bound is met: what is ahead goes, and it is tried again. */
static void test_needed_fails(void **state)
{
    VmloadStats stats;
    Rdma rdma;
    uint64_t i;

    (void)state;
    open_large(&rdma, 0);
    vd_fail_registrations(5, 1, ENOMEM);
    for (i = 0; i < 4; i++) {
        ask(i);
    }
    vd_queue_await(5);
    ask(20);
    ask(4);
    run_large(&rdma);
    stats = rdma_stats(&rdma);
    assert_int_equal(stats.rdma_keys, 6);
    assert_int_equal(stats.rdma_registrations, 7);
    assert_int_equal(stats.rdma_ahead, 1);
    assert_int_equal(stats.rdma_ahead_used, 0);
    rdma_close(&rdma);
}

/* Key 0 is none: with another region beside it, and not for ever. */
static void test_key_zero(void **state)
{
    Rdma rdma;
    int n;

    (void)state;
    for (n = 1; n <= 2; n++) {
        open_large(&rdma, 0);
        vd_make_zero_keys(n);
        ask(3);
        if (n == 1) {
            run_large(&rdma);
        } else {
            assert_false(rdma_run(&rdma));
            assert_unit_error(&rdma.error, VMLOAD_ERROR_IO,
                              "a key other than 0");
        }
        rdma_close(&rdma);
    }
}

/* A large block is made ready in parts, before it is opened as a whole. */
static void test_pin_large(void **state)
{
    const uint64_t length = 150 * MIB;
    VmloadStats stats;
    Rdma rdma;

    (void)state;
    rdma_open_length(&rdma, NULL, length);
    assert_true(rdma_await(&rdma));
    vd_connect_source(1);
    rdma_queue_start(&rdma);
    rdma_queue_rounds(true);
    rdma_queue_tail();
    assert_true(rdma_run(&rdma));
    stats = rdma_stats(&rdma);
    assert_int_equal(stats.rdma_registrations, 1);
    assert_int_equal(stats.rdma_keys, 1);
    assert_int_equal(stats.rdma_registered_peak_bytes, length);
    rdma_close(&rdma);
}

/*
 * A registration cannot be interrupted, so a cancel does not wait for it: the
 * fixture lets it go on in `finish` only. It is over when `wait` returns.
 */
static void cancel_held(uint32_t flags, bool ahead)
{
    Rdma rdma;
    uint64_t i;

    rdma_open_length(&rdma, NULL, LARGE);
    assert_true(rdma_await(&rdma));
    vd_connect_source(flags);
    if (!ahead) {
        vd_hold_registrations(true);
    }
    rdma_queue_start(&rdma);
    rdma_queue_blocks();
    rdma_queue_next(false);
    for (i = 0; i < 4; i++) {
        if (ahead && i == 3) {
            vd_queue_await(3);
        }
        ask(i);
    }
    assert_true(vmload_loader_start(rdma.loader, NULL));
    if (ahead) {
        /* All is answered; what is ahead of it hangs. */
        while (rdma_stats(&rdma).rdma_ahead == 0) {
            g_usleep(100);
        }
    } else {
        while (!vd_is_held()) {
            g_usleep(100);
        }
    }
    vmload_loader_cancel(rdma.loader);
    assert_false(vmload_loader_wait(rdma.loader, &rdma.error));
    assert_unit_error(&rdma.error, VMLOAD_ERROR_CANCELLED, "cancelled");
    assert_int_equal(rdma.finished, 1);
    assert_int_equal(rdma.open_then, 0);
    assert_int_equal(rdma_stats(&rdma).rdma_registered_bytes, 0);
    assert_false(vd_is_held());
    rdma_close(&rdma);
}

static void test_cancel_on_request(void **state)
{
    (void)state;
    cancel_held(0, false);
}

static void test_cancel_pin_all(void **state)
{
    (void)state;
    cancel_held(1, false);
}

static void test_cancel_ahead(void **state)
{
    (void)state;
    cancel_held(0, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_jumps),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_ahead_fails),
        cmocka_unit_test(test_needed_fails),
        cmocka_unit_test(test_key_zero),
        cmocka_unit_test(test_pin_large),
        cmocka_unit_test(test_cancel_on_request),
        cmocka_unit_test(test_cancel_pin_all),
        cmocka_unit_test(test_cancel_ahead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

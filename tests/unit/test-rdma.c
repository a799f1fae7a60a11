/* SPDX-License-Identifier: BSD-3-Clause */
/* Loads over RDMA from a source that the verbs double plays. */
#include "rdma-fixture.h"

#include <errno.h>
#include <sys/resource.h>

static uint32_t be32_at(const GByteArray *bytes, guint at)
{
    uint32_t value;

    memcpy(&value, bytes->data + at, sizeof(value));
    return GUINT32_FROM_BE(value);
}

static uint64_t be64_at(const GByteArray *bytes, guint at)
{
    uint64_t value;

    memcpy(&value, bytes->data + at, sizeof(value));
    return GUINT64_FROM_BE(value);
}

static void test_default(void **state)
{
    VmloadStats stats;
    Rdma rdma;
    char *log;

    (void)state;
    rdma_open(&rdma, NULL);
    assert_true(rdma_await(&rdma));
    assert_int_equal(vd_connect_source(0xfe), VD_MAIN);
    rdma_queue_start(&rdma);
    rdma_queue_rounds(false);
    rdma_queue_tail();
    if (!rdma_run(&rdma)) {
        fail_msg("%s", rdma.error->message);
    }
    stats = rdma_stats(&rdma);
    assert_int_equal(stats.rdma_keys, 2);
    assert_int_equal(stats.rdma_registrations, 2);
    assert_int_equal(stats.rdma_registered_bytes, 0);
    assert_int_equal(stats.rdma_registered_peak_bytes, 2 * MIB);
    assert_int_equal(stats.ram_pages_zero, MIB / PAGE);
    assert_int_equal(stats.ram_bytes_placed, 0);
    assert_int_equal(rdma.open_then, 0);
    assert_int_equal(vd_get_accepted_flags(VD_MAIN), 0);
    /* No credit between a request and its reply. */
    log = vd_get_log();
    assert_true(g_str_has_prefix(
        log, "READY READY RAM_BLOCKS_RESULT READY READY READY "
             "REGISTER_RESULT READY READY REGISTER_RESULT READY "));
    assert_null(strstr(log, "ERROR"));
    g_free(log);
    assert_int_equal(vd_get_last(T_BLOCKS_RESULT)->len, 32);
    assert_int_equal(be64_at(vd_get_last(T_BLOCKS_RESULT), 0),
                     (uintptr_t)rdma.ram);
    assert_int_equal(be64_at(vd_get_last(T_BLOCKS_RESULT), 16), RAM_LENGTH);
    assert_int_equal(be32_at(vd_get_last(T_BLOCKS_RESULT), 24), 0);
    assert_int_not_equal(be32_at(vd_get_last(T_RESULT), 0), 0);
    assert_int_equal(be64_at(vd_get_last(T_RESULT), 8), (uintptr_t)rdma.ram);
    rdma_close(&rdma);
}

static void test_pin_all(void **state)
{
    Rdma rdma;

    (void)state;
    rdma_open_connected(&rdma, 1);
    rdma_queue_start(&rdma);
    rdma_queue_rounds(true);
    rdma_queue_tail();
    assert_true(rdma_run(&rdma));
    assert_int_equal(vd_get_accepted_flags(VD_MAIN), 1);
    assert_int_not_equal(be32_at(vd_get_last(T_BLOCKS_RESULT), 24), 0);
    assert_int_equal(rdma_stats(&rdma).rdma_registered_peak_bytes,
                     RAM_LENGTH);
    assert_int_equal(rdma_stats(&rdma).rdma_registrations, 1);
    rdma_close(&rdma);
}

/* The second request comes before the first connection is established. */
static void test_return_path(void **state)
{
    static const uint8_t expected[] = {0, 2, 0, 4, 0, 0, 0, 7,
                                       0, 1, 0, 4, 0, 0, 0, 0};
    Rdma rdma;

    (void)state;
    rdma_open(&rdma, NULL);
    rdma.back = true;
    assert_true(rdma_await(&rdma));
    vd_leave_after_shut(true);
    vd_connect_source(0);
    vd_connect_source(0);
    vd_connect_source(0);
    rdma_queue_start(&rdma);
    rdma_queue_rounds(false);
    rdma_queue_tail_vmdesc();
    if (!rdma_run(&rdma)) {
        fail_msg("%s", rdma.error->message);
    }
    assert_int_equal(vd_get_back()->len, sizeof(expected));
    assert_memory_equal(vd_get_back()->data, expected, sizeof(expected));
    assert_true(vd_is_accepted(VD_BACK));
    /* Nobody has three. */
    assert_true(vd_is_refused(2));
    assert_false(vd_is_accepted(2));
    assert_int_equal(rdma_stats(&rdma).connections_refused, 1);
    rdma_close(&rdma);
}

/* A source's last message and its end come at once: nothing is lost. */
static void test_drain(void **state)
{
    GByteArray *half = sw_new();
    Rdma rdma;

    (void)state;
    rdma_open_connected(&rdma, 0);
    sw_header(half);
    sw_configuration(half, "pc");
    sw_u8(half, SW_COMMAND);
    vd_queue_last(half);
    assert_false(rdma_run(&rdma));
    /* All of it was read. */
    assert_int_equal(rdma_stats(&rdma).bytes_total, half->len);
    assert_unit_error(&rdma.error, VMLOAD_ERROR_TRUNCATED, "end");
    g_byte_array_unref(half);
    rdma_close(&rdma);
}

/* --- what goes wrong ------------------------------------------------------ */

typedef struct {
    uint32_t type;
    uint32_t block;
    uint64_t address;
    uint64_t length;
    VmloadError code;
    const char *part;
} BadRange;

static const BadRange bad_ranges[] = {
    {T_REGISTER, 1, 0, 0, VMLOAD_ERROR_MALFORMED, "block below 1, found 1"},
    {T_REGISTER, UINT32_MAX, 0, 0, VMLOAD_ERROR_MALFORMED, "block below"},
    {T_REGISTER, 0, 3 * MIB, 0, VMLOAD_ERROR_MALFORMED, "expected an address"},
    {T_REGISTER, 0, UINT64_MAX, 0, VMLOAD_ERROR_MALFORMED, "an address"},
    {T_REGISTER, 0, 0, 3, VMLOAD_ERROR_MALFORMED, "at most 2 chunks"},
    {T_REGISTER, 0, 2 * MIB, UINT64_MAX, VMLOAD_ERROR_MALFORMED, "at most 0"},
    {T_COMPRESS, 1, 0, PAGE, VMLOAD_ERROR_MALFORMED, "block below"},
    {T_COMPRESS, 0, 3 * MIB, PAGE, VMLOAD_ERROR_MALFORMED, "an address"},
    {T_COMPRESS, 0, 0, 0, VMLOAD_ERROR_MALFORMED, "zero bytes"},
    {T_COMPRESS, 0, 0, MIB + PAGE, VMLOAD_ERROR_MALFORMED, "zero bytes"},
    {T_COMPRESS, 0, 3 * MIB - PAGE, 2 * PAGE, VMLOAD_ERROR_MALFORMED, "zero"},
    {T_COMPRESS, 0, 1, PAGE, VMLOAD_ERROR_MALFORMED, "in pages of 4096"},
    {T_COMPRESS, 0, 0, UINT64_MAX, VMLOAD_ERROR_MALFORMED, "zero bytes"},
};

static void test_bad_ranges(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(bad_ranges); i++) {
        const BadRange *bad = &bad_ranges[i];
        Rdma rdma;
        char *log;

        rdma_open(&rdma, NULL);
        assert_true(rdma_await(&rdma));
        vd_connect_source(0);
        rdma_queue_start(&rdma);
        rdma_queue_blocks();
        rdma_queue_range(bad->type, bad->block, bad->address, bad->length);
        assert_false(rdma_run(&rdma));
        assert_unit_error(&rdma.error, bad->code, bad->part);
        log = vd_get_log();
        assert_true(g_str_has_suffix(log, "ERROR "));
        g_free(log);
        assert_int_equal(rdma_stats(&rdma).rdma_registrations, 0);
        rdma_close(&rdma);
    }
}

/* In place of a round's message. */
static void bad_nothing_asked(void)
{
    rdma_queue_range(T_REGISTER, 0, 0, 0);
}

static void bad_file(void)
{
    vd_queue(T_FILE, 0, "x", 1);
}

static void bad_short(void)
{
    vd_queue_raw("short", 5);
}

static void bad_type(void)
{
    vd_queue(12, 1, "", 0);
}

static void bad_entries(void)
{
    static const uint8_t data[24] = {0};

    vd_queue(T_REGISTER, 2, data, sizeof(data));
}

static void bad_no_entries(void)
{
    vd_queue(T_REGISTER, 0, "", 0);
}

static void bad_data(void)
{
    vd_queue(T_FINISHED, 1, "x", 1);
}

static void bad_error(void)
{
    vd_queue(T_ERROR, 1, "", 0);
}

static void bad_left(void)
{
    vd_queue_event(RDMA_CM_EVENT_DISCONNECTED);
}

static void bad_removed(void)
{
    vd_queue_event(RDMA_CM_EVENT_DEVICE_REMOVAL);
}

static void bad_status(void)
{
    vd_queue_status(IBV_WC_LOC_PROT_ERR);
}

static void bad_flush(void)
{
    vd_queue_status(IBV_WC_WR_FLUSH_ERR);
}

static void bad_length(void)
{
    vd_queue_status(IBV_WC_LOC_LEN_ERR);
}

static const struct {
    void (*queue)(void);
    VmloadError code;
    const char *part;
} bad_messages[] = {
    {bad_nothing_asked, VMLOAD_ERROR_MALFORMED, "RAM_BLOCKS_REQUEST first"},
    {bad_file, VMLOAD_ERROR_MALFORMED, "RAM_BLOCKS_REQUEST first"},
    {bad_short, VMLOAD_ERROR_MALFORMED, "found 5"},
    {bad_type, VMLOAD_ERROR_MALFORMED, "found 12"},
    {bad_entries, VMLOAD_ERROR_MALFORMED, "found 2 in 24 bytes"},
    {bad_no_entries, VMLOAD_ERROR_MALFORMED, "found 0 in 0 bytes"},
    {bad_data, VMLOAD_ERROR_MALFORMED, "expected no data"},
    {bad_error, VMLOAD_ERROR_IO, "the source reported an error"},
    {bad_left, VMLOAD_ERROR_TRUNCATED, "the source has left"},
    {bad_removed, VMLOAD_ERROR_IO, "device was removed"},
    {bad_status, VMLOAD_ERROR_IO, "RDMA receive failed"},
    {bad_flush, VMLOAD_ERROR_TRUNCATED, "the source has left"},
    {bad_length, VMLOAD_ERROR_MALFORMED, "found a longer one"},
};

/* Each in a round, and then as the first: it is no source who says that. */
static void test_bad_messages(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(bad_messages); i++) {
        size_t row = i / 2;
        Rdma rdma;

        if (i % 2 == 1 && bad_messages[row].queue == bad_file) {
            continue;
        }
        rdma_open(&rdma, NULL);
        assert_true(rdma_await(&rdma));
        vd_connect_source(0);
        if (i % 2 == 0) {
            rdma_queue_start(&rdma);
        }
        bad_messages[row].queue();
        if (i % 2 == 1 && bad_messages[row].queue != bad_removed) {
            rdma_run_refusing(&rdma, 1);
        } else {
            assert_false(rdma_run(&rdma));
            assert_unit_error(&rdma.error, bad_messages[row].code,
                              bad_messages[row].part);
        }
        assert_int_equal(rdma.finished, 1);
        assert_true(vd_is_disconnected(VD_MAIN));
        rdma_close(&rdma);
    }
}

static void test_ready_fails(void **state)
{
    Rdma rdma;

    (void)state;
    rdma_open_connected(&rdma, 0);
    vd_fail_ready(IBV_WC_RNR_RETRY_EXC_ERR);
    rdma_run_refusing(&rdma, 1);
    assert_non_null(strstr(rdma.reasons, "does not answer"));
    rdma_close(&rdma);
}

/* The source is gone without a word, in the middle. */
static void test_ready_fails_later(void **state)
{
    Rdma rdma;

    (void)state;
    rdma_open_connected(&rdma, 0);
    rdma_queue_start(&rdma);
    vd_queue_status(IBV_WC_RETRY_EXC_ERR);
    assert_false(rdma_run(&rdma));
    assert_unit_error(&rdma.error, VMLOAD_ERROR_IO, "does not answer");
    rdma_close(&rdma);
}

static void test_without_credit(void **state)
{
    Rdma rdma;

    (void)state;
    rdma_open_connected(&rdma, 0);
    vd_hold_established(true);
    assert_true(vmload_loader_start(rdma.loader, NULL));
    while (!vd_is_accepted(VD_MAIN)) {
        g_usleep(1000);
    }
    vd_send_now(VD_MAIN, T_FINISHED, 1, "", 0);
    vd_event(VD_MAIN, RDMA_CM_EVENT_ESTABLISHED);
    while (g_atomic_int_get(&rdma.refused) < 1) {
        g_usleep(200);
    }
    assert_non_null(strstr(rdma.reasons, "without a credit"));
    vmload_loader_cancel(rdma.loader);
    assert_false(vmload_loader_wait(rdma.loader, NULL));
    rdma_close(&rdma);
}

static void test_unregister(void **state)
{
    Rdma rdma;

    (void)state;
    rdma_open_connected(&rdma, 0);
    rdma_queue_start(&rdma);
    rdma_queue_blocks();
    rdma_queue_next(false);
    rdma_queue_range(T_REGISTER, 0, 0, 0);
    rdma_queue_range(T_UNREGISTER, 0, 12345, 0);
    /* It is still open, and not opened again. */
    rdma_queue_range(T_REGISTER, 0, 0, 0);
    /* A longer piece is another one. */
    rdma_queue_range(T_REGISTER, 0, 0, 2);
    rdma_queue_next(true);
    rdma_queue_tail();
    assert_true(rdma_run(&rdma));
    assert_int_equal(vd_get_last(T_UNREGISTERED)->len, 0);
    assert_int_equal(rdma_stats(&rdma).rdma_registrations, 2);
    assert_int_equal(rdma_stats(&rdma).rdma_keys, 3);
    rdma_close(&rdma);
}

/* --- memory --------------------------------------------------------------- */

/* The device refuses to pin guest memory. */
static void run_refused(Rdma *rdma, int errnum, int times)
{
    rdma_open(rdma, NULL);
    assert_true(rdma_await(rdma));
    vd_connect_source(1);
    vd_hold_established(true);
    assert_true(vmload_loader_start(rdma->loader, NULL));
    while (!vd_is_accepted(VD_MAIN)) {
        g_usleep(1000);
    }
    /* The connection's own buffers are there: what comes is the guest's. */
    vd_fail_call("ibv_reg_mr", errnum, times);
    rdma_queue_start(rdma);
    rdma_queue_rounds(true);
    rdma_queue_tail();
    vd_event(VD_MAIN, RDMA_CM_EVENT_ESTABLISHED);
    rdma->loaded = vmload_loader_wait(rdma->loader, &rdma->error);
}

static void test_memlock(void **state)
{
    const struct rlimit low = {64 * 1024, 64 * 1024};
    struct rlimit before;
    Rdma rdma;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
    if (before.rlim_cur == RLIM_INFINITY) {
        const struct rlimit soft = {low.rlim_cur, before.rlim_max};

        assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &soft), 0);
    }
    run_refused(&rdma, ENOMEM, 1);
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
    assert_false(rdma.loaded);
    assert_unit_error(&rdma.error, VMLOAD_ERROR_IO, "raise RLIMIT_MEMLOCK");
    rdma_close(&rdma);
}

/* What cannot be pinned is paged, where the device can. */
static void test_paging(void **state)
{
    Rdma rdma;

    (void)state;
    run_refused(&rdma, EOPNOTSUPP, 1);
    assert_true(rdma.loaded);
    rdma_close(&rdma);
}

/* Or the device says that it can, and then cannot. */
static void test_paging_fails(void **state)
{
    static const struct {
        const char *call;
        bool loaded;
    } rows[] = {
        {"ibv_query_device_ex", false}, {"odp", false},
        {"ibv_advise_mr", true},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(rows); i++) {
        Rdma rdma;

        vd_fail_next_reset(rows[i].call);
        run_refused(&rdma, EOPNOTSUPP, 1);
        assert_int_equal(rdma.loaded, rows[i].loaded);
        if (!rdma.loaded) {
            assert_unit_error(&rdma.error, VMLOAD_ERROR_IO, "cannot pin");
        }
        rdma_close(&rdma);
    }
}

static void test_limit(void **state)
{
    VmloadLimits limits;
    Rdma rdma;

    (void)state;
    rdma_open(&rdma, NULL);
    vmload_limits_init(&limits);
    limits.rdma_pinned_bytes = MIB;
    vmload_loader_set_limits(rdma.loader, &limits);
    assert_true(rdma_await(&rdma));
    vd_connect_source(0);
    rdma_queue_start(&rdma);
    rdma_queue_rounds(false);
    rdma_queue_tail();
    assert_false(rdma_run(&rdma));
    assert_unit_error(&rdma.error, VMLOAD_ERROR_LIMIT, "rdma_pinned_bytes");
    assert_int_equal(rdma_stats(&rdma).rdma_registered_peak_bytes, MIB);
    rdma_close(&rdma);
}

/* HOOK says that the stream pauses here, and for which blocks. */
static void test_bad_hooks(void **state)
{
    static const struct {
        bool list;
        uint32_t behind; /* bytes in the same message */
        const char *part;
    } cases[] = {
        {false, 0, "expected a list of RAM blocks before HOOK, found none"},
        {true, 1, "found 1 bytes behind it"},
        {true, 13, "found 13 bytes behind it"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *out = sw_new();
        Rdma rdma;

        rdma_open(&rdma, NULL);
        assert_true(rdma_await(&rdma));
        vd_connect_source(0);
        sw_header(out);
        sw_configuration(out, "pc");
        if (cases[i].list) {
            sw_ram_start(out, 2, rdma.length);
            sw_ram_block(out, "pc.ram", rdma.length);
        } else {
            sw_section_start(out, 2, "ram", 0, 4);
        }
        sw_be64(out, SW_RAM_HOOK);
        sw_fill(out, 0, cases[i].behind);
        vd_queue_file(out);
        rdma_queue_blocks();
        assert_false(rdma_run(&rdma));
        assert_unit_error(&rdma.error, VMLOAD_ERROR_MALFORMED, cases[i].part);
        rdma_close(&rdma);
        g_byte_array_unref(out);
    }
}

static void test_no_memory(void **state)
{
    Rdma rdma;

    (void)state;
    rdma_open(&rdma, vmload_ram_sink_new_null());
    assert_true(rdma_await(&rdma));
    vd_connect_source(0);
    rdma_queue_start(&rdma);
    rdma_queue_blocks();
    assert_false(rdma_run(&rdma));
    assert_unit_error(&rdma.error, VMLOAD_ERROR_UNSUPPORTED,
                      "expected memory that RDMA can write to");
    rdma_close(&rdma);
}

/* --- waits ---------------------------------------------------------------- */

/* Lets the load come to where it waits. */
static void settle(void)
{
    g_usleep(20000);
}

static void cancel_before_source(Rdma *rdma)
{
    (void)rdma;
}

static void cancel_before_established(Rdma *rdma)
{
    (void)rdma;
    vd_hold_established(true);
    vd_connect_source(0);
}

static void cancel_before_stream(Rdma *rdma)
{
    (void)rdma;
    vd_connect_source(0);
}

static void cancel_before_blocks(Rdma *rdma)
{
    vd_connect_source(0);
    rdma_queue_start(rdma);
}

static void cancel_in_round(Rdma *rdma)
{
    cancel_before_blocks(rdma);
    rdma_queue_blocks();
    rdma_queue_next(false);
    rdma_queue_range(T_REGISTER, 0, 0, 0);
}

static void cancel_before_back(Rdma *rdma)
{
    rdma->back = true;
    vd_connect_source(0);
    rdma_queue_start(rdma);
}

static void cancel_before_credit(Rdma *rdma)
{
    vd_hold_credits(true);
    cancel_before_back(rdma);
    vd_connect_source(0);
}

static void cancel_before_left(Rdma *rdma)
{
    cancel_before_back(rdma);
    vd_connect_source(0);
    rdma_queue_rounds(false);
    rdma_queue_tail_vmdesc();
}

static void test_cancel(void **state)
{
    static void (*const places[])(Rdma *) = {
        cancel_before_source, cancel_before_established, cancel_before_stream,
        cancel_before_blocks, cancel_in_round,           cancel_before_back,
        cancel_before_credit, cancel_before_left,
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(places); i++) {
        Rdma rdma;
        bool loaded;

        rdma_open(&rdma, NULL);
        assert_true(rdma_await(&rdma));
        places[i](&rdma);
        assert_true(vmload_loader_start(rdma.loader, NULL));
        settle();
        while (places[i] == cancel_before_left &&
               g_atomic_int_get(&rdma.finished) == 0) {
            settle();
        }
        vmload_loader_cancel(rdma.loader);
        loaded = vmload_loader_wait(rdma.loader, &rdma.error);
        /* What was over stays over; it only does not wait any longer. */
        assert_int_equal(loaded, places[i] == cancel_before_left);
        if (!loaded) {
            assert_unit_error(&rdma.error, VMLOAD_ERROR_CANCELLED,
                              "cancelled");
        }
        rdma_close(&rdma);
    }
}

/* --- every call fails once ------------------------------------------------ */

/* What fails before the stream begins only costs this connection. */
static bool run_or_refuse(Rdma *rdma)
{
    assert_true(vmload_loader_start(rdma->loader, &rdma->error));
    while (g_atomic_int_get(&rdma->finished) == 0) {
        if (g_atomic_int_get(&rdma->refused) > 0) {
            vmload_loader_cancel(rdma->loader);
        }
        g_usleep(100);
    }
    return vmload_loader_wait(rdma->loader, &rdma->error);
}

static void run_with_failure(int nth, bool pinned, bool back, bool *failed)
{
    Rdma rdma;

    rdma_open(&rdma, NULL);
    rdma.back = back;
    vd_leave_after_shut(true);
    vd_fail_nth(nth);
    if (rdma_await(&rdma)) {
        vd_connect_source(pinned);
        if (back) {
            vd_connect_source(pinned);
        }
        rdma_queue_start(&rdma);
        rdma_queue_rounds(pinned);
        if (back) {
            rdma_queue_tail_vmdesc();
        } else {
            rdma_queue_tail();
        }
        rdma.loaded = run_or_refuse(&rdma);
        assert_int_equal(rdma.finished, 1);
        assert_int_equal(rdma.open_then, 0);
    }
    *failed = vd_has_failed();
    /* A failure is told, or did not matter. */
    assert_true(rdma.loaded || rdma.error != NULL);
    if (!*failed) {
        assert_true(rdma.loaded);
    }
    rdma_close(&rdma);
}

static void test_every_call_fails(void **state)
{
    int kind;

    (void)state;
    for (kind = 0; kind < 4; kind++) {
        bool failed = true;
        int nth;

        for (nth = 0; failed; nth++) {
            run_with_failure(nth, (kind & 1) != 0, (kind & 2) != 0, &failed);
        }
        /* So many calls there are at least. */
        assert_true(nth > 25);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_pin_all),
        cmocka_unit_test(test_return_path),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_bad_ranges),
        cmocka_unit_test(test_bad_messages),
        cmocka_unit_test(test_ready_fails),
        cmocka_unit_test(test_ready_fails_later),
        cmocka_unit_test(test_without_credit),
        cmocka_unit_test(test_unregister),
        cmocka_unit_test(test_memlock),
        cmocka_unit_test(test_paging),
        cmocka_unit_test(test_paging_fails),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_bad_hooks),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_every_call_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

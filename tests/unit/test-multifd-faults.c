/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets that lie, channels that end, barriers that nobody comes to. */
#include "multifd-fixture.h"

/* Sets a big-endian field in the packet behind the first SYNC. */
typedef struct {
    guint at;
    uint32_t width;
    uint64_t value;
    VmloadError code;
    const char *part;
} FieldCase;

#define LAST_PAGE (7 * (uint64_t)FIXTURE_PAGE)

static const FieldCase field_cases[] = {
    {PW_AT_MAGIC, 4, 0, VMLOAD_ERROR_MALFORMED,
     "channel 'multifd 0', packet 1: field magic: expected 0x11223344, found "
     "0x00000000"},
    {PW_AT_VERSION, 4, 9, VMLOAD_ERROR_UNSUPPORTED,
     "packet 1: field version: expected 1, found 9"},
    {PW_AT_FLAGS, 4, 0x100, VMLOAD_ERROR_MALFORMED, "packet 1: field flags"},
    {PW_AT_FLAGS, 4, PW_DEVICE_STATE, VMLOAD_ERROR_UNSUPPORTED,
     "device state of"},
    {PW_AT_FLAGS, 4, PW_DEVICE_STATE | PW_SYNC, VMLOAD_ERROR_MALFORMED,
     "field flags: expected DEVICE_STATE (0x40) alone"},
    {PW_AT_PAGES_ALLOC, 4, 129, VMLOAD_ERROR_MALFORMED, "field pages_alloc"},
    {PW_AT_PAGES_ALLOC, 4, 1, VMLOAD_ERROR_MALFORMED, "field normal_pages"},
    {PW_AT_NORMAL_PAGES, 4, 1000, VMLOAD_ERROR_MALFORMED,
     "field normal_pages"},
    {PW_AT_NORMAL_PAGES, 4, 128, VMLOAD_ERROR_MALFORMED, "field zero_pages"},
    /* One page more than there is: the end comes instead of it. */
    {PW_AT_NORMAL_PAGES, 4, 3, VMLOAD_ERROR_TRUNCATED,
     "expected pages, found the end inside a packet"},
    /* One less: its page is where the next header should be. */
    {PW_AT_NORMAL_PAGES, 4, 1, VMLOAD_ERROR_MALFORMED,
     "packet 2: field magic"},
    {PW_AT_ZERO_PAGES, 4, 127, VMLOAD_ERROR_MALFORMED, "field zero_pages"},
    {PW_AT_ZERO_PAGES, 4, UINT32_MAX, VMLOAD_ERROR_MALFORMED,
     "field zero_pages"},
    {PW_AT_RAMBLOCK, 4, 0x6f6e6531, VMLOAD_ERROR_MALFORMED,
     "field ramblock: expected the name of a listed RAM block, found 'one1'"},
    {PW_AT_RAMBLOCK, 4, 0, VMLOAD_ERROR_MALFORMED, "found ''"},
    {PW_AT_RAMBLOCK, 4, 0x01ff0000, VMLOAD_ERROR_MALFORMED,
     "found '\\001\\377'"},
    {PW_AT_OFFSETS, 8, LAST_PAGE + 1, VMLOAD_ERROR_MALFORMED,
     "field offset[0]: expected that of a page in 0x8000 bytes, found 0x7001"},
    {PW_AT_OFFSETS, 8, LAST_PAGE + FIXTURE_PAGE, VMLOAD_ERROR_MALFORMED,
     "field offset[0]"},
    {PW_AT_OFFSETS + 8, 8, UINT64_MAX - FIXTURE_PAGE + 1,
     VMLOAD_ERROR_MALFORMED, "field offset[1]"},
    {PW_AT_OFFSETS + 8, 8, UINT64_MAX, VMLOAD_ERROR_MALFORMED,
     "field offset[1]"},
    {PW_AT_OFFSETS + 8, 8, 0x800, VMLOAD_ERROR_MALFORMED, "found 0x800"},
    /* Of a zero page. */
    {PW_AT_OFFSETS + 16, 8, (uint64_t)1 << 63, VMLOAD_ERROR_MALFORMED,
     "field offset[2]"},
};

/* Two normal pages and a zero page, then SYNCs for all that follows. */
static void test_fields(void **state)
{
    const uint64_t offsets[] = {0, FIXTURE_PAGE, 2 * FIXTURE_PAGE};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(field_cases); i++) {
        const FieldCase *c = &field_cases[i];
        GByteArray *out = sw_new();
        Group group;
        guint at;

        write_sync(out);
        at = pw_ram(out, BITS, 0, "one", offsets, 2, 1, 0);
        sw_fill(out, 0xab, 2 * FIXTURE_PAGE);
        if (c->width == 4) {
            sw_patch_be32(out, at + c->at, (uint32_t)c->value);
        } else {
            sw_patch_be64(out, at + c->at, c->value);
        }
        group_init(&group);
        group_add_bytes(&group, out);
        group_run_error(&group, true, c->code, c->part);
        assert_page(group.ram.memory, 3, 0xee);
        group_clear(&group);
    }
}

static void test_ignored_block(void **state)
{
    GByteArray *out = sw_new();
    Group group;

    (void)state;
    write_sync(out);
    write_pages(out, 0, 1, 1);
    group_init(&group);
    vmload_ram_block_set_flags(vmload_ram_get_block(group.ram.ram, 0),
                               VMLOAD_RAM_IGNORED);
    group_add_bytes(&group, out);
    group_run_error(&group, true, VMLOAD_ERROR_MISMATCH,
                    "field ramblock: expected no page of an ignored block");
    assert_page(group.ram.memory, 0, 0xee);
    group_clear(&group);
}

/* Wherever a channel is cut before its last SYNC. */
static void test_cut(void **state)
{
    GByteArray *whole = sw_new();
    guint edges[5];
    guint cut;
    guint i;

    (void)state;
    for (i = 0; i < 3; i++) {
        edges[i] = whole->len;
        if (i == 2) {
            write_pages(whole, 0, 1, 1);
            edges[3] = whole->len;
        }
        write_sync(whole);
    }
    for (cut = 0; cut < whole->len; cut += (cut % 97 == 0 ? 1 : 96)) {
        GByteArray *out = sw_new();
        bool edge = cut == 0;
        Group group;

        for (i = 0; i < 4; i++) {
            edge = edge || cut == edges[i];
        }
        sw_bytes(out, whole->data, cut);
        group_init(&group);
        group_add_bytes(&group, out);
        group_run_error(&group, true, VMLOAD_ERROR_TRUNCATED,
                        edge ? "found the end" : "multifd 0");
        group_clear(&group);
    }
    g_byte_array_unref(whole);
}

/* RAM ends while a channel has not come to its last SYNC, and never will. */
static void test_missing_last_sync(void **state)
{
    GByteArray *out = sw_new();
    GError *error = NULL;
    Group group;
    int peer;

    (void)state;
    write_sync(out);
    group_init(&group);
    peer = group_add_socket(&group);
    assert_int_equal(send(peer, out->data, out->len, MSG_NOSIGNAL), out->len);
    assert_true(group_section(&group, VMLOAD_RECORD_START, 1, &error));
    vmload_multifd_section_begin(group.multifd, VMLOAD_RECORD_END);
    /* From now on an end is no error by itself. */
    close(peer);
    assert_false(vmload_multifd_flush(group.multifd, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED,
                      "channel 'multifd 0': expected SYNC packet 2, found the "
                      "end");
    g_byte_array_unref(out);
    group_clear(&group);
}

static void test_wrong_time(void **state)
{
    static const struct {
        uint32_t syncs; /* in front of the pages */
        const char *part;
    } cases[] = {
        {0, "packet 0: field flags: expected a SYNC packet before"},
        {3, "packet 3: expected no pages behind the end of RAM"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *out = sw_new();
        GError *error = NULL;
        Group group;
        uint32_t j;
        int peer;

        group_init(&group);
        peer = group_add_socket(&group);
        for (j = 0; j < cases[i].syncs; j++) {
            write_sync(out);
        }
        assert_int_equal(send(peer, out->data, out->len, MSG_NOSIGNAL),
                         out->len);
        if (cases[i].syncs > 0) {
            assert_true(group_run(&group, true, &error));
        }
        g_byte_array_set_size(out, 0);
        write_pages(out, 0, 1, 1);
        assert_int_equal(send(peer, out->data, out->len, MSG_NOSIGNAL),
                         out->len);
        while (g_atomic_int_get(&group.failed) == 0) {
            g_usleep(1000);
        }
        assert_false(group_stop(&group, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, cases[i].part);
        assert_page(group.ram.memory, 0, 0xee);
        close(peer);
        g_byte_array_unref(out);
        group_clear(&group);
    }
}

/* Marks of the main stream that do not fit. */
static void test_marks(void **state)
{
    GError *error = NULL;
    Group group;
    int i;

    (void)state;
    for (i = 0; i < 4; i++) {
        GByteArray *out = sw_new();

        write_sync(out);
        write_sync(out);
        group_init(&group);
        group_add_bytes(&group, out);
        assert_true(group_section(&group, VMLOAD_RECORD_START,
                                  i == 1 || i == 3 ? 1 : 0, &error));
        switch (i) {
        case 0:
            /* A source by sections has no rounds. */
            assert_false(
                group_section(&group, VMLOAD_RECORD_PART, 1, &error));
            assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                              "found MULTIFD_FLUSH");
            break;
        case 1:
            /* A source with rounds ends with one. */
            assert_false(group_section(&group, VMLOAD_RECORD_END, 0, &error));
            assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                              "expected MULTIFD_FLUSH in the last section");
            break;
        case 2:
            /* RAM has no end. */
            assert_false(
                vmload_multifd_check_complete(group.multifd, &error));
            assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                              "expected the end of RAM");
            break;
        default:
            /* Blocks must stay as they are while channels place pages. */
            fixture_list(&group.ram);
            assert_false(fixture_load(&group.ram, &error));
            assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                              "expected no block list");
            break;
        }
        group_clear(&group);
    }
}

/* The first error is the one that is told, and all others are woken. */
static void test_first_error(void **state)
{
    GByteArray *bad = sw_new();
    GError *error = NULL;
    Group group;
    char name[32];
    int waiting;
    int peer;

    (void)state;
    write_sync(bad);
    sw_patch_be32(bad, 0, 0x55555555);
    group_init(&group);
    waiting = group_add_socket(&group);
    peer = group_add_socket(&group);
    assert_int_equal(send(peer, bad->data, bad->len, MSG_NOSIGNAL), bad->len);
    assert_false(group_section(&group, VMLOAD_RECORD_START, 0, &error));
    g_clear_error(&error);
    assert_false(vmload_multifd_stop(group.multifd, name, sizeof(name),
                                     &error));
    assert_string_equal(name, "multifd 1");
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                      "channel 'multifd 1', packet 0: field magic");
    assert_int_equal(g_atomic_int_get(&group.failed), 1);
    close(waiting);
    close(peer);
    g_byte_array_unref(bad);
    group_clear(&group);
}

static void *cancel_later(void *opaque)
{
    g_usleep(20000);
    vmload_cancel_fire(opaque);
    return NULL;
}

/* In a barrier, in a header, in a payload: nobody sleeps through it. */
static void test_cancel(void **state)
{
    GByteArray *out = sw_new();
    GError *error = NULL;
    GThread *thread;
    Group group;
    int peers[3];
    gint64 begin;
    size_t i;

    (void)state;
    group_init(&group);
    for (i = 0; i < 3; i++) {
        peers[i] = group_add_socket(&group);
    }
    write_sync(out);
    assert_int_equal(send(peers[0], out->data, out->len, MSG_NOSIGNAL),
                     out->len);
    assert_int_equal(send(peers[1], out->data, 700, MSG_NOSIGNAL), 700);
    begin = g_get_monotonic_time();
    thread = g_thread_new("cancel", cancel_later, group.wait.cancel);
    assert_false(group_section(&group, VMLOAD_RECORD_START, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    group_stop(&group, NULL);
    assert_true(g_get_monotonic_time() - begin < 5 * G_USEC_PER_SEC);
    g_thread_join(thread);
    for (i = 0; i < 3; i++) {
        close(peers[i]);
    }
    g_byte_array_unref(out);
    group_clear(&group);
}

static bool stalled_twice(void *opaque, const char *channel)
{
    int *asked = opaque;

    assert_string_equal(channel, "multifd 1");
    (*asked)++;
    return *asked < 3;
}

/* One channel is silent inside a packet; the host waits on, but not forever. */
static void test_stall(void **state)
{
    GByteArray *out = sw_new();
    GError *error = NULL;
    Group group;
    int asked = 0;
    int peers[2];
    size_t i;

    (void)state;
    group_init(&group);
    group.wait.timeout_us = 30000;
    group.wait.stalled = stalled_twice;
    group.wait.opaque = &asked;
    write_sync(out);
    for (i = 0; i < 2; i++) {
        peers[i] = group_add_socket(&group);
        assert_int_equal(send(peers[i], out->data, out->len, MSG_NOSIGNAL),
                         out->len);
    }
    assert_true(group_section(&group, VMLOAD_RECORD_START, 1, &error));
    assert_int_equal(send(peers[0], out->data, out->len, MSG_NOSIGNAL),
                     out->len);
    assert_int_equal(send(peers[1], out->data, 100, MSG_NOSIGNAL), 100);
    assert_false(group_section(&group, VMLOAD_RECORD_PART, 1, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TIMEOUT,
                      "channel 'multifd 1': expected a SYNC packet within 30 "
                      "ms");
    assert_int_equal(asked, 3);
    for (i = 0; i < 2; i++) {
        close(peers[i]);
    }
    g_byte_array_unref(out);
    group_clear(&group);
}

static void test_page_bits(void **state)
{
    static const uint32_t bits[] = {0, 7, 31, 64};
    VmloadMultifdEnv env = {.window_bytes = 1 << 27};
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(bits); i++) {
        env.ram = vmload_ram_new(NULL);
        vmload_ram_set_page_bits(env.ram, bits[i]);
        assert_null(vmload_multifd_new(&env, &error));
        assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED,
                          "expected target pages of 8 to 30 bits");
        vmload_ram_free(env.ram);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_ignored_block),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_missing_last_sync),
        cmocka_unit_test(test_wrong_time),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_first_error),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_stall),
        cmocka_unit_test(test_page_bits),
    };

    return cmocka_run_group_tests_name("multifd-faults", tests, NULL, NULL);
}

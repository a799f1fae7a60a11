/* SPDX-License-Identifier: BSD-3-Clause */
/* Channels with good packets, of old sources and of new ones. */
#include "multifd-fixture.h"

/* Runs of pages, lone pages, zero pages, on one channel or on the other. */
static void test_pages(void **state)
{
    const uint64_t offsets[] = {FIXTURE_PAGE, 2 * FIXTURE_PAGE,
                                5 * FIXTURE_PAGE, 4 * FIXTURE_PAGE,
                                7 * FIXTURE_PAGE};
    int rounds;

    (void)state;
    for (rounds = 0; rounds < 2; rounds++) {
        GByteArray *a = sw_new();
        GByteArray *b = sw_new();
        VmloadRamCounters counters;
        Group group;
        uint32_t i;

        write_sync(a);
        /* Next to each other, behind, in front; and a zero page. */
        pw_ram(a, BITS, 0, "one", offsets, 4, 1, 12345);
        for (i = 0; i < 4; i++) {
            sw_fill(a, (uint8_t)(0x10 + i), FIXTURE_PAGE);
        }
        write_sync(a);
        write_sync(a);
        write_sync(b);
        write_pages(b, 0, 1, 0x77);
        write_pages(b, 6, 1, 0x66);
        write_sync(b);
        write_pages(b, 6, 1, 0x67);
        write_sync(b);
        group_init(&group);
        group_add_bytes(&group, a);
        group_add_bytes(&group, b);
        group_run_ok(&group, rounds == 1);
        assert_page(group.ram.memory, 0, 0x77);
        assert_page(group.ram.memory, 1, 0x10);
        assert_page(group.ram.memory, 2, 0x11);
        assert_page(group.ram.memory, 5, 0x12);
        assert_page(group.ram.memory, 4, 0x13);
        assert_page(group.ram.memory, 7, 0);
        assert_page(group.ram.memory, 6, 0x67);
        assert_page(group.ram.memory, 3, 0xee);
        vmload_ram_get_counters(group.ram.ram, &counters);
        assert_int_equal(counters.pages_normal, 7);
        assert_int_equal(counters.pages_zero, 1);
        assert_int_equal(counters.bytes_placed, 8 * FIXTURE_PAGE);
        assert_int_equal(group.counters.packets, 10);
        assert_int_equal(group.counters.channels, 2);
        assert_int_equal(group.counters.bytes, a->len + b->len);
        group_clear(&group);
    }
}

/* Sources before 9.0: pages in SYNC packets, old values in empty ones. */
static void test_old_source(void **state)
{
    GByteArray *out = sw_new();
    Group group;
    guint at;

    (void)state;
    at = write_pages(out, 0, 0, 0);
    sw_patch_be32(out, at + PW_AT_FLAGS, PW_SYNC);
    at = write_pages(out, 2, 2, 0x22);
    sw_patch_be32(out, at + PW_AT_FLAGS, PW_SYNC);
    /* No data follows, whatever these say; the name is not even one. */
    at = pw_ram(out, BITS, 0, "gone", NULL, 0, 0, 4096);
    sw_patch_be64(out, at + PW_AT_OFFSETS, UINT64_MAX);
    at = pw_ram(out, BITS, PW_SYNC, "\xff", NULL, 0, 0, UINT32_MAX);
    sw_patch_be64(out, at + PW_AT_PACKET_NUM, UINT64_MAX);
    /* And one between the last barrier and the end. */
    pw_ram(out, BITS, 0, "one", NULL, 0, 0, 4096);
    group_init(&group);
    group_add_bytes(&group, out);
    group_run_ok(&group, false);
    assert_page(group.ram.memory, 2, 0x22);
    assert_page(group.ram.memory, 3, 0x22);
    assert_page(group.ram.memory, 4, 0xee);
    group_clear(&group);
}

/* A first zero page is not stored where memory is known to be zero. */
static void test_zero_rules(void **state)
{
    const uint64_t zeros[] = {0, FIXTURE_PAGE, 2 * FIXTURE_PAGE};
    int known;

    (void)state;
    for (known = 0; known < 2; known++) {
        GByteArray *out = sw_new();
        Group group;

        write_sync(out);
        write_pages(out, 1, 1, 0x11);
        write_sync(out);
        pw_ram(out, BITS, 0, "one", zeros, 0, 3, 0);
        write_sync(out);
        group_init(&group);
        vmload_ram_block_set_flags(vmload_ram_get_block(group.ram.ram, 0),
                                   known ? VMLOAD_RAM_KNOWN_ZERO : 0);
        group_add_bytes(&group, out);
        group_run_ok(&group, true);
        assert_page(group.ram.memory, 0, known ? 0xee : 0);
        assert_page(group.ram.memory, 1, 0);
        assert_page(group.ram.memory, 2, known ? 0xee : 0);
        assert_true(vmload_ram_block_test_received(
            vmload_ram_get_block(group.ram.ram, 0), 2 * FIXTURE_PAGE));
        assert_false(vmload_ram_block_test_received(
            vmload_ram_get_block(group.ram.ram, 0), 3 * FIXTURE_PAGE));
        group_clear(&group);
    }
}

/* How many barriers a source has in which section. */
static void test_rounds(void **state)
{
    GByteArray *out = sw_new();
    GError *error = NULL;
    Group group;
    uint32_t i;

    (void)state;
    for (i = 0; i < 6; i++) {
        write_sync(out);
    }
    group_init(&group);
    group_add_bytes(&group, out);
    assert_true(group_section(&group, VMLOAD_RECORD_START, 1, &error));
    assert_true(group_section(&group, VMLOAD_RECORD_PART, 0, &error));
    assert_true(group_section(&group, VMLOAD_RECORD_PART, 3, &error));
    assert_true(group_section(&group, VMLOAD_RECORD_END, 2, &error));
    assert_true(vmload_multifd_check_complete(group.multifd, &error));
    assert_true(group_stop(&group, &error));
    group_clear(&group);
}

/* A stream without channels has no barriers, whatever its marks say. */
static void test_no_channels(void **state)
{
    int sync;

    (void)state;
    for (sync = 0; sync < 3; sync++) {
        Group group;

        group_init_sync(&group, (VmloadMultifdSync)sync);
        group_run_ok(&group, true);
        assert_true(group_section(&group, VMLOAD_RECORD_END, 0, NULL));
        group_clear(&group);
    }
}

/* Whatever it has sent belongs before a barrier that is over. */
static void test_too_late(void **state)
{
    VmloadChannel *channel = vmload_channel_new_memory(NULL, 0, NULL, NULL);
    GError *error = NULL;
    Group group;

    (void)state;
    group_init(&group);
    assert_true(group_section(&group, VMLOAD_RECORD_START, 1, &error));
    assert_false(vmload_multifd_add(group.multifd, channel, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                      "channel 'multifd 0': expected it before the first "
                      "barrier of RAM, found it after barrier 1");
    group_clear(&group);
}

typedef struct {
    int fd;
    const GByteArray *bytes;
} Sender;

static void *send_slowly(void *opaque)
{
    Sender *sender = opaque;
    guint i;

    for (i = 0; i < sender->bytes->len; i++) {
        if (send(sender->fd, sender->bytes->data + i, 1, MSG_NOSIGNAL) != 1) {
            break;
        }
    }
    return NULL;
}

/* Bytes that come one by one, cut anywhere. */
static void test_trickle(void **state)
{
    GByteArray *out = sw_new();
    GError *error = NULL;
    Sender sender = {.bytes = out};
    GThread *thread;
    Group group;

    (void)state;
    write_sync(out);
    write_pages(out, 3, 1, 0x33);
    write_sync(out);
    write_sync(out);
    group_init(&group);
    sender.fd = group_add_socket(&group);
    thread = g_thread_new("sender", send_slowly, &sender);
    assert_true(group_section(&group, VMLOAD_RECORD_START, 1, &error));
    assert_true(group_section(&group, VMLOAD_RECORD_PART, 1, &error));
    assert_true(group_section(&group, VMLOAD_RECORD_END, 1, &error));
    assert_page(group.ram.memory, 3, 0x33);
    /* Cut without a word: good behind the end. */
    g_thread_join(thread);
    close(sender.fd);
    assert_true(group_stop(&group, &error));
    g_byte_array_unref(out);
    group_clear(&group);
}

#define MANY 255

/* As many as there can be; each brings a page again and again. */
static void test_many(void **state)
{
    uint64_t length = (uint64_t)MANY * FIXTURE_PAGE;
    uint8_t *memory = g_malloc0(length);
    GError *error = NULL;
    Group group;
    uint32_t i;
    uint32_t round;

    (void)state;
    group_init(&group);
    fixture_add(group.ram.ram, "many", length, length,
                vmload_ram_sink_new_memory(memory), 0);
    sw_ram_mem_size(group.ram.out, length);
    sw_ram_block(group.ram.out, "many", length);
    sw_ram_eos(group.ram.out);
    assert_true(fixture_load(&group.ram, &error));
    for (i = 0; i < MANY; i++) {
        GByteArray *out = sw_new();

        write_sync(out);
        for (round = 1; round <= 2; round++) {
            /* In each round another channel's page. */
            uint64_t offset = (uint64_t)((i + round) % MANY) * FIXTURE_PAGE;

            pw_ram(out, BITS, 0, "many", &offset, 1, 0, 0);
            sw_fill(out, (uint8_t)(i + 3 * round), FIXTURE_PAGE);
            write_sync(out);
        }
        group_add_bytes(&group, out);
    }
    group_run_ok(&group, true);
    for (i = 0; i < MANY; i++) {
        assert_page(memory, (i + 2) % MANY, (uint8_t)(i + 6));
    }
    group_clear(&group);
    g_free(memory);
}

/*
 * A sink of the host's: whole pages only, and no lock around its calls, so
 * that one channel's does not wait for another's.
 */
typedef struct {
    uint8_t *memory;
    uint64_t length;
    int calls; /* atomic */
    bool alone; /* the first call: nobody came meanwhile */
} Own;

static bool own_write(void *opaque, uint64_t offset, const uint8_t *data,
                      uint64_t length, GError **error)
{
    Own *own = opaque;
    int i;

    (void)error;
    assert_true(offset + length <= own->length);
    memcpy(own->memory + offset, data, length);
    if (g_atomic_int_add(&own->calls, 1) == 0) {
        for (i = 0; i < 20000 && g_atomic_int_get(&own->calls) < 2; i++) {
            g_usleep(1000);
        }
        own->alone = g_atomic_int_get(&own->calls) < 2;
    }
    return true;
}

static bool own_zero(void *opaque, uint64_t offset, uint64_t length,
                     GError **error)
{
    Own *own = opaque;

    (void)error;
    assert_true(offset + length <= own->length);
    memset(own->memory + offset, 0, length);
    return true;
}

#define SINK_CHANNELS 4
#define SINK_PAGES 64

/* Writes to a block "sink" from all sides, and checks what it got. */
static void sink_run(VmloadRamSink *sink, const uint8_t *memory, int fd)
{
    uint64_t length = SINK_PAGES * FIXTURE_PAGE;
    uint8_t *page = g_malloc(FIXTURE_PAGE);
    GError *error = NULL;
    Group group;
    uint32_t i;
    uint32_t j;

    group_init(&group);
    fixture_add(group.ram.ram, "sink", length, length, sink, 0);
    sw_ram_mem_size(group.ram.out, length);
    sw_ram_block(group.ram.out, "sink", length);
    sw_ram_eos(group.ram.out);
    assert_true(fixture_load(&group.ram, &error));
    for (i = 0; i < SINK_CHANNELS; i++) {
        GByteArray *out = sw_new();

        write_sync(out);
        for (j = i; j < SINK_PAGES; j += 2 * SINK_CHANNELS) {
            const uint64_t offsets[] = {
                j * FIXTURE_PAGE, (j + SINK_CHANNELS) * FIXTURE_PAGE};

            pw_ram(out, BITS, 0, "sink", offsets, 2, 0, 0);
            sw_fill(out, (uint8_t)(j + 1), FIXTURE_PAGE);
            sw_fill(out, (uint8_t)(j + SINK_CHANNELS + 1), FIXTURE_PAGE);
        }
        write_sync(out);
        write_sync(out);
        group_add_bytes(&group, out);
    }
    group_run_ok(&group, true);
    assert_true(vmload_ram_finish(group.ram.ram, &error));
    for (j = 0; j < SINK_PAGES; j++) {
        if (fd >= 0) {
            assert_int_equal(
                pread(fd, page, FIXTURE_PAGE, (off_t)(j * FIXTURE_PAGE)),
                FIXTURE_PAGE);
            assert_page(page, 0, (uint8_t)(j + 1));
        } else if (memory != NULL) {
            assert_page(memory, j, (uint8_t)(j + 1));
        }
    }
    g_free(page);
    group_clear(&group);
}

static void send_all(int peer, GByteArray *out)
{
    assert_int_equal(send(peer, out->data, out->len, MSG_NOSIGNAL), out->len);
    g_byte_array_set_size(out, 0);
}

/* Until all channels together have read so much. */
static void wait_for_bytes(Group *group, uint64_t bytes)
{
    int i;

    for (i = 0; i < 20000; i++) {
        if (__atomic_load_n(&group->counters.bytes, __ATOMIC_RELAXED) >=
            bytes) {
            return;
        }
        g_usleep(1000);
    }
    fail_msg("expected %u bytes to be read", (unsigned)bytes);
}

/*
 * One channel is a round ahead, and has read its page before the other sends
 * the older one: it shows only behind the barrier, and stays.
 */
static void test_early(void **state)
{
    GByteArray *out = sw_new();
    GError *error = NULL;
    Group group;
    int peers[2];
    guint sync;
    guint ahead;

    (void)state;
    group_init(&group);
    peers[0] = group_add_socket(&group);
    peers[1] = group_add_socket(&group);
    write_sync(out);
    sync = out->len;
    send_all(peers[1], out);
    write_sync(out);
    write_sync(out);
    write_pages(out, 0, 3, 2);
    write_sync(out);
    ahead = out->len;
    send_all(peers[0], out);
    assert_true(group_section(&group, VMLOAD_RECORD_START, 1, &error));
    wait_for_bytes(&group, sync + ahead);
    assert_page(group.ram.memory, 0, 0xee);
    assert_page(group.ram.memory, 2, 0xee);
    write_pages(out, 0, 2, 1);
    write_sync(out);
    write_sync(out);
    send_all(peers[1], out);
    assert_true(group_section(&group, VMLOAD_RECORD_PART, 1, &error));
    assert_true(group_section(&group, VMLOAD_RECORD_END, 1, &error));
    assert_true(group_stop(&group, &error));
    assert_page(group.ram.memory, 0, 2);
    assert_page(group.ram.memory, 1, 2);
    assert_page(group.ram.memory, 2, 2);
    assert_page(group.ram.memory, 3, 0xee);
    close(peers[0]);
    close(peers[1]);
    g_byte_array_unref(out);
    group_clear(&group);
}

static void early_magic(GByteArray *out)
{
    sw_patch_be32(out, write_pages(out, 0, 1, 2), 0x55555555);
}

static void early_offset(GByteArray *out)
{
    sw_patch_be64(out, write_pages(out, 0, 1, 2) + PW_AT_OFFSETS, 5);
}

static void early_header(GByteArray *out)
{
    write_pages(out, 0, 1, 2);
    g_byte_array_set_size(out, out->len - FIXTURE_PAGE - 100);
}

static void early_data(GByteArray *out)
{
    write_pages(out, 0, 2, 2);
    g_byte_array_set_size(out, out->len - 100);
}

static void early_end(GByteArray *out)
{
    (void)out;
}

/* What is wrong with it is told behind the barrier, as if read then. */
static void test_early_bad(void **state)
{
    static const struct {
        void (*write)(GByteArray *out);
        guint unread; /* bytes that nobody looks at any more */
        VmloadError code;
        const char *part;
    } cases[] = {
        {early_magic, FIXTURE_PAGE, VMLOAD_ERROR_MALFORMED,
         "packet 1: field magic"},
        {early_offset, 0, VMLOAD_ERROR_MALFORMED,
         "packet 1: field offset[0]"},
        {early_header, 0, VMLOAD_ERROR_TRUNCATED,
         "packet 1: expected a header of 1344 bytes, found the end after"},
        {early_data, 0, VMLOAD_ERROR_TRUNCATED,
         "packet 1: expected pages, found the end inside a packet"},
        {early_end, 0, VMLOAD_ERROR_TRUNCATED,
         "packet 1: expected a packet, found the end before"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *out = sw_new();
        GError *error = NULL;
        Group group;
        int peers[2];
        guint bytes;

        group_init(&group);
        peers[0] = group_add_socket(&group);
        peers[1] = group_add_socket(&group);
        write_sync(out);
        cases[i].write(out);
        bytes = out->len - cases[i].unread;
        send_all(peers[0], out);
        close(peers[0]);
        wait_for_bytes(&group, bytes);
        assert_int_equal(g_atomic_int_get(&group.failed), 0);
        write_sync(out);
        send_all(peers[1], out);
        assert_true(group_section(&group, VMLOAD_RECORD_START, 1, &error) ||
                    error != NULL);
        g_clear_error(&error);
        while (g_atomic_int_get(&group.failed) == 0) {
            g_usleep(1000);
        }
        assert_false(group_stop(&group, &error));
        assert_unit_error(&error, cases[i].code, cases[i].part);
        assert_page(group.ram.memory, 0, 0xee);
        close(peers[1]);
        g_byte_array_unref(out);
        group_clear(&group);
    }
}

static void test_sinks(void **state)
{
    const VmloadRamSinkOps ops = {
        VMLOAD_RAM_SINK_OPS_INIT,
        .write = own_write,
        .zero = own_zero,
    };
    Own own = {.length = SINK_PAGES * FIXTURE_PAGE};
    GError *error = NULL;
    VmloadRamSink *sink;
    char *path = NULL;
    int fd = g_file_open_tmp("vmload-XXXXXX", &path, &error);

    (void)state;
    assert_true(fd >= 0);
    sink = vmload_ram_sink_new_file(path, &error);
    assert_non_null(sink);
    sink_run(sink, NULL, fd);
    close(fd);
    unlink(path);
    g_free(path);

    own.memory = g_malloc0(own.length);
    sink_run(vmload_ram_sink_new_from_ops(&ops, &own, NULL, &error),
             own.memory, -1);
    assert_false(own.alone);
    g_free(own.memory);
    sink_run(vmload_ram_sink_new_null(), NULL, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),      cmocka_unit_test(test_old_source),
        cmocka_unit_test(test_zero_rules), cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_no_channels),
        cmocka_unit_test(test_too_late), cmocka_unit_test(test_trickle),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_early),
        cmocka_unit_test(test_early_bad),
        cmocka_unit_test(test_sinks),
    };

    return cmocka_run_group_tests_name("multifd", tests, NULL, NULL);
}

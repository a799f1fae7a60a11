/* SPDX-License-Identifier: BSD-3-Clause */
/* Whole loads whose RAM comes over several real connections. */
#include "unit.h"

#include "packet-writer.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vmload/vmload.h>

#define BITS 12
#define PAGE 4096u
#define PAGES 16u
#define MAX_CHANNELS 4

/* One load and its source, which this thread plays. */
typedef struct {
    char *folder;
    char *path;
    VmloadLoader *loader;
    uint8_t *memory;
    bool handed;
    int main_fd;
    int fds[MAX_CHANNELS];
    int entered; /* atomic */
    int left;    /* atomic */
} Load;

static const uint8_t vm_uuid[16] = {0xab, 0xcd};

static void enter(void *opaque, const char *name)
{
    assert_true(g_str_has_prefix(name, "vmload-"));
    g_atomic_int_inc(&((Load *)opaque)->entered);
}

static void leave(void *opaque)
{
    g_atomic_int_inc(&((Load *)opaque)->left);
}

/* @handed: connections are handed over, and nobody listens. */
static void load_begin_at(Load *load, uint32_t channels, bool handed)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .thread_enter = enter,
        .thread_leave = leave,
    };
    GError *error = NULL;
    VmloadListener *listener;
    VmloadRamBlock *block;
    char *uri;
    size_t i;

    memset(load, 0, sizeof(*load));
    load->handed = handed;
    load->folder = g_dir_make_tmp("vmload-XXXXXX", &error);
    assert_non_null(load->folder);
    load->path = g_build_filename(load->folder, "socket", NULL);
    uri = g_strconcat("unix:", load->path, NULL);
    load->loader = vmload_loader_new(&ops, load, NULL, &error);
    assert_non_null(load->loader);
    listener = handed ? vmload_listener_new_handed(&error)
                      : vmload_listener_new(uri, &error);
    assert_non_null(listener);
    g_free(uri);
    vmload_loader_set_listener(load->loader, listener);
    vmload_loader_set_multifd(load->loader, channels,
                              VMLOAD_MULTIFD_SYNC_AUTO);
    load->memory = g_malloc(PAGES * PAGE);
    memset(load->memory, 0xee, PAGES * PAGE);
    block = vmload_ram_block_new("ram", PAGES * PAGE, PAGES * PAGE,
                                 vmload_ram_sink_new_memory(load->memory),
                                 &error);
    assert_non_null(block);
    assert_true(vmload_loader_add_ram_block(load->loader, block, &error));
    load->main_fd = -1;
    for (i = 0; i < MAX_CHANNELS; i++) {
        load->fds[i] = -1;
    }
}

static void load_begin(Load *load, uint32_t channels)
{
    load_begin_at(load, channels, false);
}

static void load_start(Load *load)
{
    assert_true(vmload_loader_start(load->loader, NULL));
}

/* The host's part of a connection that it accepts itself. */
static int load_hand_over(const Load *load)
{
    GError *error = NULL;
    VmloadChannel *channel;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    channel = vmload_channel_take_fd(fds[1], &error);
    assert_non_null(channel);
    assert_true(vmload_loader_add_channel(load->loader, channel, &error));
    return fds[0];
}

static int load_connect(const Load *load)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (load->handed) {
        return load_hand_over(load);
    }
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_true(strlen(load->path) < sizeof(address.sun_path));
    memcpy(address.sun_path, load->path, strlen(load->path));
    assert_int_equal(
        connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Takes @bytes. The peer may have gone already. */
static void send_bytes(int fd, GByteArray *bytes)
{
    size_t done = 0;

    while (done < bytes->len) {
        ssize_t sent =
            send(fd, bytes->data + done, bytes->len - done, MSG_NOSIGNAL);

        if (sent < 0) {
            break;
        }
        done += (size_t)sent;
    }
    g_byte_array_unref(bytes);
}

static void connect_channel(Load *load, uint8_t id, const uint8_t *uuid)
{
    GByteArray *out = sw_new();

    load->fds[id] = load_connect(load);
    pw_handshake(out, uuid, id);
    send_bytes(load->fds[id], out);
}

static void connect_main(Load *load)
{
    GByteArray *out = sw_new();

    load->main_fd = load_connect(load);
    sw_header(out);
    sw_configuration(out, "pc");
    send_bytes(load->main_fd, out);
}

/* The first byte of a section: the configuration is over. */
static void begin_section(Load *load)
{
    GByteArray *out = sw_new();

    sw_u8(out, SW_SECTION_START);
    send_bytes(load->main_fd, out);
}

/* START with the block list, a PART, END, EOF; with rounds or by sections. */
static void send_main(Load *load, bool rounds)
{
    GByteArray *out = sw_new();
    uint32_t i;

    for (i = 0; i < 3; i++) {
        if (i == 0) {
            sw_ram_start(out, 1, PAGES * PAGE);
            sw_ram_block(out, "ram", PAGES * PAGE);
        } else if (i == 1) {
            sw_section_part(out, 1);
            /* Zero pages of sources before 9.0. */
            sw_ram_zero(out, "ram", (PAGES - 1) * PAGE, 0);
        } else {
            sw_section_end(out, 1);
        }
        if (rounds) {
            sw_ram_flush(out);
        }
        sw_ram_eos(out);
        sw_footer(out, 1);
    }
    sw_eof(out);
    sw_vmdesc(out, "{}");
    send_bytes(load->main_fd, out);
}

/* Page @id of this channel, between its barriers. */
static void send_channel(Load *load, uint8_t id)
{
    const uint64_t offset = (uint64_t)id * PAGE;
    GByteArray *out = sw_new();

    pw_sync(out, BITS);
    pw_ram(out, BITS, 0, "ram", &offset, 1, 0, 0);
    sw_fill(out, (uint8_t)(id + 1), PAGE);
    pw_sync(out, BITS);
    pw_sync(out, BITS);
    send_bytes(load->fds[id], out);
}

static void close_all(Load *load)
{
    size_t i;

    for (i = 0; i < MAX_CHANNELS; i++) {
        if (load->fds[i] >= 0) {
            close(load->fds[i]);
        }
    }
    if (load->main_fd >= 0) {
        close(load->main_fd);
    }
}

static void load_clear(Load *load)
{
    close_all(load);
    vmload_loader_free(load->loader);
    assert_int_equal(g_atomic_int_get(&load->entered),
                     g_atomic_int_get(&load->left));
    rmdir(load->folder);
    g_free(load->folder);
    g_free(load->path);
    g_free(load->memory);
}

static void load_fails(Load *load, VmloadError code, const char *part)
{
    GError *error = NULL;

    assert_false(vmload_loader_wait(load->loader, &error));
    assert_unit_error(&error, code, part);
}

/*
 * Every order in which three channels and main can arrive; both modes. Handed
 * over, every other time before the start.
 */
static void check_orders(bool handed)
{
    uint32_t order;

    for (order = 0; order < 256; order++) {
        uint32_t turn[4] = {order & 3, order >> 2 & 3, order >> 4 & 3,
                            order >> 6 & 3};
        VmloadStats stats = {.struct_size = (uint32_t)sizeof(stats)};
        GError *error = NULL;
        Load load;
        uint8_t i;

        if ((1u << turn[0] | 1u << turn[1] | 1u << turn[2] | 1u << turn[3]) !=
            15) {
            continue; /* not a permutation */
        }
        load_begin_at(&load, 3, handed);
        if (!handed || (order & 1) == 0) {
            load_start(&load);
        }
        for (i = 0; i < 4; i++) {
            if (turn[i] == 3) {
                connect_main(&load);
            } else {
                connect_channel(&load, (uint8_t)turn[i], vm_uuid);
                send_channel(&load, (uint8_t)turn[i]);
            }
        }
        if (handed && (order & 1) != 0) {
            load_start(&load);
        }
        send_main(&load, (order & 4) != 0);
        if (!vmload_loader_wait(load.loader, &error)) {
            fail_msg("order %u: %s", order, error->message);
        }
        for (i = 0; i < 3; i++) {
            assert_int_equal(load.memory[i * PAGE], i + 1);
            assert_int_equal(load.memory[i * PAGE + PAGE - 1], i + 1);
        }
        assert_int_equal(load.memory[3 * PAGE], 0xee);
        assert_int_equal(load.memory[(PAGES - 1) * PAGE], 0);
        vmload_loader_get_stats(load.loader, &stats);
        assert_int_equal(stats.multifd_channels, 3);
        assert_int_equal(stats.multifd_packets, 12);
        assert_int_equal(stats.ram_pages_normal, 3);
        assert_int_equal(stats.ram_pages_zero, 1);
        assert_true(stats.bytes_total > stats.multifd_bytes);
        assert_true(stats.multifd_bytes > 3 * PAGE);
        assert_int_equal(load.entered, 4);
        load_clear(&load);
    }
}

static void test_orders(void **state)
{
    (void)state;
    check_orders(false);
}

static void test_orders_handed(void **state)
{
    (void)state;
    check_orders(true);
}

/* A stranger goes, also for its peer while the host holds it; late ones */
static void test_handed_refused(void **state)
{
    VmloadStats stats = {.struct_size = (uint32_t)sizeof(stats)};
    GError *error = NULL;
    GByteArray *out = sw_new();
    VmloadChannel *channel;
    Load load;
    int stranger[2];
    char byte;

    (void)state;
    load_begin_at(&load, 1, true);
    load_start(&load);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stranger), 0);
    channel = vmload_channel_take_fd(dup(stranger[1]), &error);
    assert_true(vmload_loader_add_channel(load.loader, channel, &error));
    sw_bytes(out, "GET /", 5);
    send_bytes(stranger[0], out);
    assert_int_equal(recv(stranger[0], &byte, 1, 0), 0);
    connect_channel(&load, 0, vm_uuid);
    send_channel(&load, 0);
    connect_main(&load);
    send_main(&load, false);
    assert_true(vmload_loader_wait(load.loader, &error));
    close(stranger[0]);
    close(stranger[1]);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stranger), 0);
    channel = vmload_channel_take_fd(stranger[1], &error);
    assert_false(vmload_loader_add_channel(load.loader, channel, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "found it afterwards");
    assert_int_equal(recv(stranger[0], &byte, 1, 0), 0);
    close(stranger[0]);
    vmload_loader_get_stats(load.loader, &stats);
    assert_int_equal(stats.connections_refused, 2);
    load_clear(&load);
}

/* Not every loader takes connections from its host, nor every channel. */
static void test_handed_wrong(void **state)
{
    GError *error = NULL;
    Load load;

    (void)state;
    load_begin_at(&load, 1, false);
    assert_false(vmload_loader_add_channel(
        load.loader, vmload_channel_new_memory(NULL, 0, NULL, NULL), &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "handed connections");
    load_clear(&load);
    load_begin_at(&load, 1, true);
    assert_false(vmload_loader_add_channel(
        load.loader, vmload_channel_new_memory(NULL, 0, NULL, NULL), &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "a socket or a pipe");
    /* Nobody comes; nothing of a connection that waits is lost. */
    assert_int_equal(close(load_connect(&load)), 0);
    load_clear(&load);
}

/* As many as come: some of them when the load has begun, or none at all. */
static void test_auto(void **state)
{
    uint8_t n;

    (void)state;
    for (n = 0; n <= MAX_CHANNELS; n++) {
        VmloadStats stats = {.struct_size = (uint32_t)sizeof(stats)};
        GError *error = NULL;
        Load load;
        uint8_t i;

        load_begin(&load, VMLOAD_MULTIFD_AUTO);
        load_start(&load);
        /* The last one first: it shows that others are to come. */
        if (n > 0) {
            connect_channel(&load, (uint8_t)(n - 1), NULL);
        }
        connect_main(&load);
        for (i = 0; i + 1 < n; i++) {
            connect_channel(&load, i, NULL);
        }
        send_main(&load, n % 2 == 0);
        for (i = 0; i < n; i++) {
            send_channel(&load, i);
        }
        if (!vmload_loader_wait(load.loader, &error)) {
            fail_msg("%u channels: %s", n, error->message);
        }
        for (i = 0; i < n; i++) {
            assert_int_equal(load.memory[i * PAGE + 1], i + 1);
        }
        vmload_loader_get_stats(load.loader, &stats);
        assert_int_equal(stats.multifd_channels, n);
        load_clear(&load);
    }
}

static void test_missing(void **state)
{
    Load load;

    (void)state;
    load_begin(&load, 4);
    vmload_loader_set_timeouts(load.loader, 50, 0);
    load_start(&load);
    connect_channel(&load, 3, NULL);
    connect_main(&load);
    connect_channel(&load, 1, NULL);
    load_fails(&load, VMLOAD_ERROR_TIMEOUT,
               "expected the main channel and 4 multifd channels within 50 "
               "ms, found the main channel, 2 multifd channels (missing: 0, "
               "2)");
    load_clear(&load);

    load_begin(&load, VMLOAD_MULTIFD_AUTO);
    vmload_loader_set_timeouts(load.loader, 50, 0);
    load_start(&load);
    connect_channel(&load, 2, NULL);
    connect_main(&load);
    connect_channel(&load, 0, NULL);
    send_main(&load, true);
    load_fails(&load, VMLOAD_ERROR_TIMEOUT,
               "expected multifd channel 1 within 50 ms");
    load_clear(&load);
}

/* Channels that are not ours, not expected, or there twice. */
static void test_refused(void **state)
{
    static const uint8_t other[16] = {1};
    static const struct {
        const uint8_t *expected; /* of the host; NULL: nothing */
        const uint8_t *stream;   /* of the configuration section */
        uint8_t id;
        const uint8_t *uuid;
        VmloadError code;
        const char *part;
    } cases[] = {
        {NULL, NULL, 0, vm_uuid, VMLOAD_ERROR_MALFORMED, "found 0 again"},
        {NULL, NULL, 2, vm_uuid, VMLOAD_ERROR_MALFORMED, "found 2"},
        {NULL, NULL, 1, other, VMLOAD_ERROR_MISMATCH, "field uuid"},
        {vm_uuid, NULL, 1, NULL, VMLOAD_ERROR_MISMATCH, "field uuid"},
        {other, NULL, 1, vm_uuid, VMLOAD_ERROR_MISMATCH, "field uuid"},
        {NULL, other, 1, vm_uuid, VMLOAD_ERROR_MISMATCH, "stream's UUID"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *out = sw_new();
        Load load;

        load_begin(&load, 2);
        if (cases[i].expected != NULL) {
            VmloadConfiguration expected = {
                .struct_size = (uint32_t)sizeof(expected),
                .present = VMLOAD_CONFIGURATION_UUID,
            };

            memcpy(expected.uuid, cases[i].expected, 16);
            vmload_loader_set_expected_configuration(load.loader, &expected);
        }
        load_start(&load);
        /* Before one that fails says anything: then nobody listens any more. */
        load.main_fd = load_connect(&load);
        load.fds[0] = load_connect(&load);
        load.fds[3] = load_connect(&load);
        sw_header(out);
        sw_configuration(out, "pc");
        if (cases[i].stream != NULL) {
            sw_configuration_uuid(out, cases[i].stream);
        }
        sw_eof(out);
        send_bytes(load.main_fd, out);
        out = sw_new();
        pw_handshake(out, vm_uuid, 0);
        send_bytes(load.fds[0], out);
        out = sw_new();
        pw_handshake(out, cases[i].uuid, cases[i].id);
        send_bytes(load.fds[3], out);
        load_fails(&load, cases[i].code, cases[i].part);
        load_clear(&load);
    }
}

/* The channel's error is told, with its place, not what follows from it. */
static void test_channel_error(void **state)
{
    VmloadPosition position = {.struct_size = (uint32_t)sizeof(position)};
    GByteArray *out = sw_new();
    GError *error = NULL;
    Load load;

    (void)state;
    load_begin(&load, 2);
    load_start(&load);
    connect_main(&load);
    begin_section(&load);
    connect_channel(&load, 0, NULL);
    connect_channel(&load, 1, NULL);
    pw_sync(out, BITS);
    sw_patch_be32(out, PW_AT_VERSION, 3);
    /* The loading thread waits for main's bytes meanwhile. */
    send_bytes(load.fds[1], out);
    assert_false(vmload_loader_wait(load.loader, &error));
    assert_non_null(error);
    assert_string_equal(error->message,
                        "channel 'multifd 1', packet 0: field version: "
                        "expected 1, found 3");
    g_clear_error(&error);
    vmload_loader_get_position(load.loader, &position);
    assert_string_equal(position.channel, "multifd 1");
    load_clear(&load);
}

/* The source dies: main and all channels end in the middle of RAM. */
static void test_source_dies(void **state)
{
    Load load;

    (void)state;
    load_begin(&load, 2);
    load_start(&load);
    connect_main(&load);
    begin_section(&load);
    connect_channel(&load, 0, NULL);
    connect_channel(&load, 1, NULL);
    close(load.fds[0]);
    load.fds[0] = -1;
    load_fails(&load, VMLOAD_ERROR_TRUNCATED, "channel 'multifd 0', packet 0");
    load_clear(&load);
}

static void test_no_listener(void **state)
{
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    GByteArray *out = sw_new();
    GError *error = NULL;
    int way;

    (void)state;
    sw_header(out);
    sw_configuration(out, "pc");
    sw_eof(out);
    for (way = 0; way < 2; way++) {
        VmloadLoader *loader = vmload_loader_new(&ops, NULL, NULL, NULL);
        VmloadChannel *channel =
            vmload_channel_new_memory(out->data, out->len, NULL, NULL);

        if (way == 0) {
            vmload_loader_set_channel(loader, channel);
        } else {
            vmload_loader_set_listener(loader,
                                       vmload_listener_new_channel(channel));
        }
        vmload_loader_set_multifd(loader, 2, VMLOAD_MULTIFD_SYNC_AUTO);
        assert_false(vmload_loader_run(loader, 0, &error));
        assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED,
                          "found a single channel");
        vmload_loader_free(loader);
    }
    g_byte_array_unref(out);
}

/* At once, from another thread, wherever the load is. */
static void test_cancel(void **state)
{
    uint32_t step;

    (void)state;
    for (step = 0; step < 6; step++) {
        GByteArray *out = sw_new();
        gint64 begin;
        Load load;

        load_begin(&load, 2);
        load_start(&load);
        if (step > 0) {
            connect_channel(&load, 0, NULL);
        }
        if (step > 1) {
            connect_main(&load);
        }
        if (step > 2) {
            connect_channel(&load, 1, NULL);
        }
        if (step > 3) {
            /* The main channel waits in START's barrier. */
            send_main(&load, true);
        }
        if (step > 4) {
            /* One channel waits there too, the other one in a packet. */
            send_channel(&load, 0);
            pw_sync(out, BITS);
            g_byte_array_set_size(out, 500);
            send_bytes(load.fds[1], g_byte_array_ref(out));
        }
        g_usleep(5000);
        begin = g_get_monotonic_time();
        vmload_loader_cancel(load.loader);
        load_fails(&load, VMLOAD_ERROR_CANCELLED, "cancelled");
        assert_true(g_get_monotonic_time() - begin < G_USEC_PER_SEC);
        assert_int_equal(vmload_loader_get_state(load.loader),
                         VMLOAD_STATE_CANCELLED);
        g_byte_array_unref(out);
        load_clear(&load);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_orders_handed),
        cmocka_unit_test(test_handed_refused),
        cmocka_unit_test(test_handed_wrong),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_channel_error),
        cmocka_unit_test(test_source_dies),
        cmocka_unit_test(test_no_listener),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests_name("loader-multifd", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Real connections to real listeners. */
#include "unit.h"

#include "channel/channel.h"
#include "channel/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define QEVM "QEVM\0\0\0\3"

/* Long enough for any machine; the test fails if it is ever needed. */
static const int64_t long_us = 60 * G_USEC_PER_SEC;

static char *directory;

static char *in_directory(const char *name)
{
    return g_build_filename(directory, name, NULL);
}

static VmloadListener *listen_on(const char *uri)
{
    GError *error = NULL;
    VmloadListener *listener = vmload_listener_new(uri, &error);

    if (listener == NULL) {
        fail_msg("%s: %s", uri, error->message);
    }
    return listener;
}

static VmloadListener *listen_unix(char **path)
{
    char *uri;
    VmloadListener *listener;

    *path = in_directory("sock");
    uri = g_strconcat("unix:", *path, NULL);
    listener = listen_on(uri);
    g_free(uri);
    return listener;
}

static int try_connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_true(strlen(path) < sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int connect_unix(const char *path)
{
    int fd = try_connect_unix(path);

    assert_true(fd >= 0);
    return fd;
}

static void send_all(int fd, const void *data, size_t length)
{
    assert_int_equal(send(fd, data, length, MSG_NOSIGNAL), length);
}

/* The next byte at the peer: what it is, or -1 for the end. */
static int receive_byte(int fd)
{
    uint8_t byte;
    ssize_t result = recv(fd, &byte, 1, 0);

    return result == 1 ? byte : -1;
}

static VmloadChannel *accept_ok(VmloadListener *listener)
{
    GError *error = NULL;
    VmloadChannel *channel =
        vmload_listener_accept_main(listener, NULL, long_us, &error);

    if (channel == NULL) {
        fail_msg("%s", error->message);
    }
    assert_string_equal(vmload_channel_get_name(channel), "main");
    return channel;
}

static void accept_error(VmloadListener *listener, int64_t handshake_us,
                         VmloadError code, const char *part)
{
    GError *error = NULL;

    assert_null(
        vmload_listener_accept_main(listener, NULL, handshake_us, &error));
    assert_unit_error(&error, code, part);
}

/* All eight bytes of the header are still there. */
static void assert_header(VmloadChannel *channel)
{
    uint8_t data[8];
    size_t have = 0;
    GError *error = NULL;

    while (have < sizeof(data)) {
        struct iovec iov = {data + have, sizeof(data) - have};
        int64_t got = vmload_channel_readv(channel, &iov, 1, NULL, &error);

        assert_true(got > 0);
        have += (size_t)got;
    }
    assert_memory_equal(data, QEVM, sizeof(data));
}

static void test_unix(void **state)
{
    char *path;
    VmloadListener *listener = listen_unix(&path);
    char **addresses = vmload_listener_get_addresses(listener);
    VmloadChannel *channel;
    GError *error = NULL;
    int peer;

    (void)state;
    assert_int_equal(g_strv_length(addresses), 1);
    assert_true(g_str_has_prefix(addresses[0], "unix:"));
    assert_string_equal(addresses[0] + 5, path);
    g_strfreev(addresses);

    peer = connect_unix(path);
    send_all(peer, QEVM, 8);
    channel = accept_ok(listener);
    assert_header(channel);
    assert_true(vmload_channel_is_writable(channel));
    assert_true(vmload_channel_write(channel, "x", 1, NULL, &error));
    assert_int_equal(receive_byte(peer), 'x');

    /* Nobody else is let in, and the file is gone. */
    assert_int_equal(try_connect_unix(path), -1);
    assert_int_equal(access(path, F_OK), -1);
    accept_error(listener, long_us, VMLOAD_ERROR_FAILED, "given its channel");
    vmload_channel_unref(channel);
    vmload_listener_free(listener);
    close(peer);
    g_free(path);
}

static void test_unix_path(void **state)
{
    char *path;
    VmloadListener *listener = listen_unix(&path);
    VmloadListener *second;
    char *uri = g_strconcat("unix:", path, NULL);
    char *longer = g_strnfill(200, 'a');
    char *bad = g_strconcat("unix:/", longer, NULL);
    GError *error = NULL;

    (void)state;
    /* An old socket is replaced, and its owner leaves the new one alone. */
    second = listen_on(uri);
    vmload_listener_free(listener);
    assert_int_equal(access(path, F_OK), 0);
    vmload_listener_free(second);
    assert_int_equal(access(path, F_OK), -1);

    /* A file of somebody's is not. */
    assert_true(g_file_set_contents(path, "precious", -1, NULL));
    assert_null(vmload_listener_new(uri, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "expected a socket");
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unlink(path), 0);

    assert_null(vmload_listener_new(bad, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "expected a path below");
    g_free(bad);
    g_free(longer);
    g_free(uri);
    g_free(path);
}

/* The port of an address as the listener tells it. */
static uint16_t address_port(const char *address)
{
    return (uint16_t)g_ascii_strtoull(strrchr(address, ':') + 1, NULL, 10);
}

static int connect_tcp(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(
        connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void test_tcp(void **state)
{
    const char *const uris[] = {"tcp:127.0.0.1:0", "tcp::0", "tcp:0:0,ipv4"};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(uris); i++) {
        VmloadListener *listener = listen_on(uris[i]);
        char **addresses = vmload_listener_get_addresses(listener);
        guint n = g_strv_length(addresses);
        VmloadChannel *channel;
        uint16_t port;
        int peer;

        assert_true(n >= 1);
        port = address_port(addresses[0]);
        assert_true(port != 0);
        /* IPv4 and IPv6 have one port. */
        assert_int_equal(address_port(addresses[n - 1]), port);
        peer = connect_tcp(port);
        send_all(peer, QEVM, 8);
        channel = accept_ok(listener);
        assert_header(channel);
        vmload_channel_unref(channel);
        vmload_listener_free(listener);
        g_strfreev(addresses);
        close(peer);
    }
}

static void test_tcp_taken(void **state)
{
    VmloadListener *listener = listen_on("tcp:127.0.0.1:0");
    char **addresses = vmload_listener_get_addresses(listener);
    GError *error = NULL;

    (void)state;
    assert_null(vmload_listener_new(addresses[0], &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, addresses[0]);
    g_strfreev(addresses);
    vmload_listener_free(listener);
}

static void test_tcp6(void **state)
{
    GError *error = NULL;
    VmloadListener *listener = vmload_listener_new("tcp:[::1]:0", &error);
    char **addresses;

    (void)state;
    if (listener == NULL) {
        /* No IPv6 on this machine: then this is what it says. */
        assert_unit_error(&error, VMLOAD_ERROR_IO, "tcp:::1:0");
        skip();
    }
    addresses = vmload_listener_get_addresses(listener);
    assert_int_equal(g_strv_length(addresses), 1);
    assert_true(g_str_has_prefix(addresses[0], "tcp:[::1]:"));
    g_strfreev(addresses);
    vmload_listener_free(listener);
}

static int lowest_free_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    close(fd);
    return fd;
}

/* A port that is free on one address only is not free. */
static void test_tcp_half_taken(void **state)
{
    GError *error = NULL;
    VmloadListener *listener = vmload_listener_new("tcp:[::]:0", &error);
    char **addresses;
    char *uri;
    int free_fd;

    (void)state;
    if (listener == NULL) {
        g_clear_error(&error);
        skip();
    }
    addresses = vmload_listener_get_addresses(listener);
    uri = g_strdup_printf("tcp::%u", address_port(addresses[0]));
    free_fd = lowest_free_fd();
    assert_null(vmload_listener_new(uri, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, g_strerror(EADDRINUSE));
    /* Nor does what was free stay taken. */
    assert_int_equal(lowest_free_fd(), free_fd);
    g_free(uri);
    g_strfreev(addresses);
    vmload_listener_free(listener);
}

static void test_bad_addresses(void **state)
{
    static const struct {
        const char *uri;
        VmloadError code;
        const char *part;
    } cases[] = {
        {"tcp:127.0.0.1:no-such-service", VMLOAD_ERROR_IO,
         "tcp:127.0.0.1:no-such-service"},
        {"tcp:192.0.2.1:0", VMLOAD_ERROR_IO, "tcp:192.0.2.1:0"},
        {"tcp:127.0.0.1", VMLOAD_ERROR_FAILED, "HOST:PORT"},
        {"unix:/no/such/directory/s", VMLOAD_ERROR_IO,
         "unix:/no/such/directory/s"},
        {"file:/no/such/file", VMLOAD_ERROR_IO, "/no/such/file"},
        {"file:/dev/null", VMLOAD_ERROR_UNSUPPORTED, "regular file"},
    };
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        assert_null(vmload_listener_new(cases[i].uri, &error));
        assert_unit_error(&error, cases[i].code, cases[i].part);
    }
    assert_null(vmload_listener_take_fd(open("/dev/null", O_RDONLY), &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "descriptor");
}

static void test_vsock(void **state)
{
    GError *error = NULL;
    VmloadListener *listener =
        vmload_listener_new("vsock:4294967295:4294967295", &error);
    char **addresses;

    (void)state;
    if (listener == NULL) {
        /* No vsock on this machine: then this is what it says. */
        assert_unit_error(&error, VMLOAD_ERROR_IO,
                          "vsock:4294967295:4294967295");
        skip();
    }
    addresses = vmload_listener_get_addresses(listener);
    assert_true(g_str_has_prefix(addresses[0], "vsock:4294967295:"));
    assert_string_not_equal(addresses[0], "vsock:4294967295:4294967295");
    g_strfreev(addresses);
    vmload_listener_free(listener);
}

static void test_take_fd(void **state)
{
    char *path = in_directory("taken");
    GError *error = NULL;
    VmloadListener *listener;
    VmloadChannel *channel;
    int flags;
    int pair[2];
    int peer;
    int fd = vmload_socket_listen_unix(path, &error);

    (void)state;
    assert_true(fd >= 0);
    flags = fcntl(fd, F_GETFL);
    listener = vmload_listener_take_fd(fd, &error);
    assert_non_null(listener);
    assert_int_equal(fcntl(fd, F_GETFL), flags);
    peer = connect_unix(path);
    send_all(peer, QEVM, 8);
    channel = accept_ok(listener);
    assert_header(channel);
    vmload_channel_unref(channel);
    vmload_listener_free(listener);
    close(peer);
    /* The file is the host's. */
    assert_int_equal(unlink(path), 0);
    g_free(path);

    /* Taken also on failure. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_null(vmload_listener_take_fd(pair[0], &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "does not listen");
    assert_int_equal(receive_byte(pair[1]), -1);
    close(pair[1]);
}

/* One load after the other on the same socket; the file goes with the first. */
static void test_dup(void **state)
{
    char *path = in_directory("dup");
    char *uri = g_strconcat("unix:", path, NULL);
    GError *error = NULL;
    VmloadListener *listener = vmload_listener_new(uri, &error);
    VmloadListener *copy;
    VmloadChannel *channel;
    char **addresses;
    int peer;
    int i;

    (void)state;
    assert_non_null(listener);
    for (i = 0; i < 2; i++) {
        copy = vmload_listener_dup(listener, &error);
        assert_non_null(copy);
        addresses = vmload_listener_get_addresses(copy);
        assert_string_equal(addresses[0], uri);
        g_strfreev(addresses);
        peer = connect_unix(path);
        send_all(peer, QEVM, 8);
        channel = accept_ok(copy);
        assert_header(channel);
        vmload_channel_unref(channel);
        vmload_listener_free(copy);
        close(peer);
        assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
    }
    vmload_listener_free(listener);
    assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    g_free(uri);
    g_free(path);

    listener = vmload_listener_new_channel(
        vmload_channel_new_memory((const uint8_t *)QEVM, 8, NULL, NULL));
    assert_null(vmload_listener_dup(listener, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "with sockets");
    vmload_listener_free(listener);
}

static void test_ready_channels(void **state)
{
    VmloadChannel *channel =
        vmload_channel_new_memory((const uint8_t *)"any", 3, NULL, NULL);
    VmloadListener *listener = vmload_listener_new_channel(channel);
    char **addresses = vmload_listener_get_addresses(listener);
    char *path = in_directory("file");
    char *uri = g_strconcat("file:", path, ",offset=0x2", NULL);
    GError *error = NULL;
    char byte;
    struct iovec iov = {&byte, 1};

    (void)state;
    assert_null(addresses[0]);
    g_strfreev(addresses);
    assert_ptr_equal(accept_ok(listener), channel);
    accept_error(listener, 0, VMLOAD_ERROR_FAILED, "given its channel away");
    vmload_channel_unref(channel);
    vmload_listener_free(listener);

    assert_true(g_file_set_contents(path, "abcdef", -1, NULL));
    listener = listen_on(uri);
    addresses = vmload_listener_get_addresses(listener);
    assert_string_equal(addresses[0], uri);
    g_strfreev(addresses);
    channel = accept_ok(listener);
    vmload_listener_free(listener);
    assert_true(vmload_channel_readv(channel, &iov, 1, NULL, &error) == 1);
    assert_int_equal(byte, 'c');
    vmload_channel_unref(channel);
    g_free(uri);

    uri = g_strdup_printf("fd:%d", open(path, O_RDONLY));
    listener = listen_on(uri);
    channel = accept_ok(listener);
    vmload_listener_free(listener);
    assert_true(vmload_channel_readv(channel, &iov, 1, NULL, &error) == 1);
    assert_int_equal(byte, 'a');
    vmload_channel_unref(channel);
    unlink(path);
    g_free(uri);
    g_free(path);
}

/* Silent and departed connections hold nothing up. */
static void test_port_scan(void **state)
{
    char *path;
    VmloadListener *listener = listen_unix(&path);
    VmloadChannel *channel;
    int silent = connect_unix(path);
    int gone = connect_unix(path);
    int peer;

    (void)state;
    close(gone);
    peer = connect_unix(path);
    send_all(peer, QEVM, 8);
    channel = accept_ok(listener);
    assert_header(channel);
    assert_int_equal(receive_byte(silent), -1);
    vmload_channel_unref(channel);
    vmload_listener_free(listener);
    close(silent);
    close(peer);
    g_free(path);
}

static void test_strangers(void **state)
{
    static const char *const texts[] = {
        "GET / HTTP", "\x16\x03\x01\xff", "QEV", "Q",
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(texts); i++) {
        char *path;
        VmloadListener *listener = listen_unix(&path);
        int stranger = connect_unix(path);
        VmloadChannel *channel;
        int peer;

        send_all(stranger, texts[i], strlen(texts[i]));
        shutdown(stranger, SHUT_WR);
        peer = connect_unix(path);
        send_all(peer, QEVM, 8);
        channel = accept_ok(listener);
        assert_header(channel);
        assert_int_equal(receive_byte(stranger), -1);
        vmload_channel_unref(channel);
        vmload_listener_free(listener);
        close(stranger);
        close(peer);
        g_free(path);
    }
}

/* A source, but of a feature that is off: it shall be known. */
static void test_refusal(void **state)
{
    char *path;
    VmloadListener *listener = listen_unix(&path);
    int peer = connect_unix(path);

    (void)state;
    send_all(peer, "\x11\x22\x33\x44\0\0\0\1", 8);
    accept_error(listener, long_us, VMLOAD_ERROR_UNSUPPORTED,
                 "multifd is not enabled");
    assert_int_equal(receive_byte(peer), -1);
    assert_int_equal(try_connect_unix(path), -1);
    vmload_listener_free(listener);
    close(peer);
    g_free(path);
}

/* A bound on those who say nothing: the one who speaks gets in. */
static void test_crowd(void **state)
{
    char *path;
    VmloadListener *listener = listen_unix(&path);
    int crowd[VMLOAD_PENDING_MAX];
    VmloadChannel *channel;
    size_t i;
    int peer;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(crowd); i++) {
        crowd[i] = connect_unix(path);
    }
    peer = connect_unix(path);
    send_all(peer, QEVM, 8);
    channel = accept_ok(listener);
    assert_header(channel);
    vmload_channel_unref(channel);
    vmload_listener_free(listener);
    for (i = 0; i < G_N_ELEMENTS(crowd); i++) {
        assert_int_equal(receive_byte(crowd[i]), -1);
        close(crowd[i]);
    }
    close(peer);
    g_free(path);
}

/* No descriptor for a connection, or for its wake-up: no busy loop. */
static void test_descriptors(void **state)
{
    struct rlimit before;
    rlim_t spare;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (spare = 0; spare < 2; spare++) {
        char *path;
        VmloadListener *listener = listen_unix(&path);
        int peer = connect_unix(path);
        struct rlimit limit = before;
        GError *error = NULL;
        int next = dup(peer);

        close(next);
        limit.rlim_cur = (rlim_t)next + spare;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_null(
            vmload_listener_accept_main(listener, NULL, long_us, &error));
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_unit_error(&error, VMLOAD_ERROR_IO, g_strerror(EMFILE));
        vmload_listener_free(listener);
        close(peer);
        g_free(path);
    }
}

typedef struct {
    const char *path;
    int slow;
    int peer;
} Latecomer;

/* Comes when the slow one's time is over. */
static void *latecomer_run(void *opaque)
{
    Latecomer *latecomer = opaque;

    assert_int_equal(receive_byte(latecomer->slow), -1);
    latecomer->peer = connect_unix(latecomer->path);
    send_all(latecomer->peer, QEVM, 8);
    return NULL;
}

/* Who is too slow goes, and the load waits for others. */
static void test_handshake_deadline(void **state)
{
    char *path;
    VmloadListener *listener = listen_unix(&path);
    Latecomer latecomer = {path, connect_unix(path), -1};
    VmloadChannel *channel = NULL;
    GError *error = NULL;
    GThread *thread;

    (void)state;
    send_all(latecomer.slow, "QE", 2);
    thread = g_thread_new("latecomer", latecomer_run, &latecomer);
    channel = vmload_listener_accept_main(listener, NULL, G_USEC_PER_SEC / 10,
                                          &error);
    g_thread_join(thread);
    assert_null(error);
    assert_header(channel);
    vmload_channel_unref(channel);
    vmload_listener_free(listener);
    close(latecomer.slow);
    close(latecomer.peer);
    g_free(path);
}

static void *fire(void *opaque)
{
    g_usleep(1000);
    vmload_cancel_fire(opaque);
    return NULL;
}

static void count_hook(void *opaque)
{
    (*(int *)opaque)++;
}

static void test_cancel(void **state)
{
    GError *error = NULL;
    int hooks = 0;
    VmloadWait wait = {
        .cancel = vmload_cancel_new(&error),
        .begin = count_hook,
        .end = count_hook,
        .opaque = &hooks,
    };
    char *path;
    VmloadListener *listener = listen_unix(&path);
    GThread *thread = g_thread_new("fire", fire, wait.cancel);

    (void)state;
    assert_null(vmload_listener_accept_main(listener, &wait, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    assert_int_equal(hooks, 2);
    g_thread_join(thread);
    vmload_listener_free(listener);
    vmload_cancel_free(wait.cancel);
    g_free(path);
}

static int setup(void **state)
{
    (void)state;
    directory = g_dir_make_tmp("vmload-listener-XXXXXX", NULL);
    return directory == NULL;
}

static int teardown(void **state)
{
    int result = rmdir(directory);

    (void)state;
    g_free(directory);
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_unix_path),
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_tcp_taken),
        cmocka_unit_test(test_tcp6),
        cmocka_unit_test(test_tcp_half_taken),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_vsock),
        cmocka_unit_test(test_take_fd),
        cmocka_unit_test(test_dup),
        cmocka_unit_test(test_ready_channels),
        cmocka_unit_test(test_port_scan),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_handshake_deadline),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests_name("listener", tests, setup, teardown);
}

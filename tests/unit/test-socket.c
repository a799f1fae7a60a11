/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening sockets and the addresses that they tell. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <linux/netlink.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "channel/socket.h"

#define UNIX_MAX sizeof(((struct sockaddr_un *)NULL)->sun_path)

static char *directory;

static char *in_directory(const char *name)
{
    return g_build_filename(directory, name, NULL);
}

static bool listen_tcp(const char *text, int *fds, uint32_t *n,
                       GError **error)
{
    VmloadUri uri;
    bool ok;

    assert_true(vmload_uri_parse(text, &uri, NULL));
    ok = vmload_socket_listen_tcp(&uri, fds, n, error);
    vmload_uri_clear(&uri);
    return ok;
}

/* Listening, non-blocking, not for children. */
static void assert_listening(int fd)
{
    int on = 0;
    socklen_t length = sizeof(on);

    assert_true(fd >= 0);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &length),
                     0);
    assert_int_equal(on, 1);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

static void close_all(const int *fds, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        close(fds[i]);
    }
}

/* One port, chosen once, on every address of the machine. */
static void test_tcp_port(void **state)
{
    int fds[VMLOAD_SOCKETS_MAX];
    const char *port = NULL;
    char *address[VMLOAD_SOCKETS_MAX];
    uint32_t n = 0;
    uint32_t i;

    (void)state;
    assert_true(listen_tcp("tcp::0", fds, &n, NULL));
    assert_true(n >= 1 && n <= 2);
    for (i = 0; i < n; i++) {
        assert_listening(fds[i]);
        address[i] = vmload_socket_get_address(fds[i], false);
        assert_non_null(address[i]);
        assert_true(g_str_has_prefix(address[i], "tcp:0.0.0.0:") ||
                    g_str_has_prefix(address[i], "tcp:[::]:"));
        if (port == NULL) {
            port = strrchr(address[i], ':');
        }
        assert_string_equal(strrchr(address[i], ':'), port);
    }
    assert_string_not_equal(port, ":0");
    for (i = 0; i < n; i++) {
        g_free(address[i]);
    }
    close_all(fds, n);
}

/* Failures say the address and leave the outputs alone. */
static void test_tcp_refused(void **state)
{
    int fds[VMLOAD_SOCKETS_MAX] = {77};
    int taken[VMLOAD_SOCKETS_MAX];
    GError *error = NULL;
    char *address;
    uint32_t n = 33;
    uint32_t n_taken;

    (void)state;
    assert_true(listen_tcp("tcp:127.0.0.1:0", taken, &n_taken, NULL));
    assert_int_equal(n_taken, 1);
    address = vmload_socket_get_address(taken[0], false);
    assert_false(listen_tcp(address, fds, &n, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, address);
    /* An address of documentation: no machine has it. */
    assert_false(listen_tcp("tcp:192.0.2.1:0", fds, &n, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "tcp:192.0.2.1:0: ");
    assert_false(listen_tcp("tcp:127.0.0.1:no-such-service", fds, &n,
                            &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "no-such-service: ");
    assert_int_equal(fds[0], 77);
    assert_int_equal(n, 33);
    g_free(address);
    close_all(taken, n_taken);
}

/* Both ends of a connection, told as addresses that we accept ourselves. */
static void test_tcp_peer(void **state)
{
    int fds[VMLOAD_SOCKETS_MAX];
    struct sockaddr_storage to;
    socklen_t length = sizeof(to);
    char *address[4];
    uint32_t n;
    int client;
    int server;
    size_t i;

    (void)state;
    assert_true(listen_tcp("tcp:127.0.0.1:0", fds, &n, NULL));
    assert_int_equal(getsockname(fds[0], (struct sockaddr *)&to, &length), 0);
    client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&to, length), 0);
    server = accept(fds[0], NULL, NULL);
    assert_true(server >= 0);
    address[0] = vmload_socket_get_address(client, false);
    address[1] = vmload_socket_get_address(server, true);
    address[2] = vmload_socket_get_address(client, true);
    address[3] = vmload_socket_get_address(server, false);
    assert_string_equal(address[0], address[1]);
    assert_string_equal(address[2], address[3]);
    assert_string_not_equal(address[0], address[2]);
    for (i = 0; i < G_N_ELEMENTS(address); i++) {
        VmloadUri uri;

        assert_true(vmload_uri_parse(address[i], &uri, NULL));
        assert_string_equal(uri.host, "127.0.0.1");
        vmload_uri_clear(&uri);
        g_free(address[i]);
    }
    /* A listening socket has no peer. */
    assert_null(vmload_socket_get_address(fds[0], true));
    close(client);
    close(server);
    close_all(fds, n);
}

/* A socket that was left behind goes; a file of somebody's stays. */
static void test_unix(void **state)
{
    char *path = in_directory("sock");
    char *file = in_directory("file");
    char *uri = g_strconcat("unix:", path, NULL);
    char *address;
    GError *error = NULL;
    struct stat st;
    int old;
    int fd;

    (void)state;
    old = vmload_socket_listen_unix(path, &error);
    assert_listening(old);
    close(old);
    assert_int_equal(lstat(path, &st), 0);
    fd = vmload_socket_listen_unix(path, &error);
    assert_listening(fd);
    address = vmload_socket_get_address(fd, false);
    assert_string_equal(address, uri);
    assert_null(vmload_socket_get_address(fd, true));
    close(fd);
    assert_true(g_file_set_contents(file, "mine", 4, NULL));
    assert_int_equal(vmload_socket_listen_unix(file, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "found a regular file");
    assert_int_equal(lstat(file, &st), 0);
    assert_int_equal(st.st_size, 4);
    assert_int_equal(
        vmload_socket_listen_unix("/nonexistent/sock", &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_IO, "unix:/nonexistent/sock");
    g_unlink(path);
    g_unlink(file);
    g_free(path);
    g_free(file);
    g_free(uri);
    g_free(address);
}

/* The longest path that has its NUL, and one more. */
static void test_unix_length(void **state)
{
    char name[UNIX_MAX + 1];
    char *path;
    char *address;
    GError *error = NULL;
    size_t room = UNIX_MAX - 1 - strlen(directory) - 1;
    int fd;

    (void)state;
    assert_true(strlen(directory) + 2 < UNIX_MAX);
    memset(name, 'x', sizeof(name));
    name[room] = '\0';
    path = in_directory(name);
    assert_int_equal(strlen(path), UNIX_MAX - 1);
    fd = vmload_socket_listen_unix(path, &error);
    assert_listening(fd);
    address = vmload_socket_get_address(fd, false);
    assert_string_equal(address + strlen("unix:"), path);
    g_unlink(path);
    close(fd);
    g_free(address);
    g_free(path);
    name[room] = 'x';
    name[room + 1] = '\0';
    path = in_directory(name);
    assert_int_equal(vmload_socket_listen_unix(path, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "below 108 bytes, found");
    g_free(path);
}

/* Somebody else's socket may fill its array, or have a name without a path. */
static void test_unix_names(void **state)
{
    /* With a NUL behind it, for Valgrind, which looks for one. */
    struct {
        struct sockaddr_un un;
        char end;
    } room = {.un = {.sun_family = AF_UNIX}};
    struct sockaddr_un *full = &room.un;
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    socklen_t base = offsetof(struct sockaddr_un, sun_path);
    char *address;
    int fds[2];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    memset(full->sun_path, 'y', sizeof(full->sun_path));
    memcpy(full->sun_path, directory, strlen(directory));
    full->sun_path[strlen(directory)] = '/';
    assert_int_equal(bind(fd, (struct sockaddr *)full, sizeof(*full)), 0);
    address = vmload_socket_get_address(fd, false);
    assert_int_equal(strlen(address), strlen("unix:") + UNIX_MAX);
    assert_memory_equal(address + strlen("unix:"), full->sun_path, UNIX_MAX);
    g_unlink(address + strlen("unix:"));
    g_free(address);
    close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_snprintf(abstract.sun_path + 1, 32, "vmload-test-%d", (int)getpid());
    assert_int_equal(
        bind(fd, (struct sockaddr *)&abstract, base + 20), 0);
    assert_null(vmload_socket_get_address(fd, false));
    close(fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_null(vmload_socket_get_address(fds[0], false));
    assert_null(vmload_socket_get_address(fds[0], true));
    close_all(fds, 2);
}

/* What is no stream socket of these families has no address. */
static void test_no_address(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_null(vmload_socket_get_address(fds[0], false));
    close_all(fds, 2);
    fds[0] = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    assert_true(fds[0] >= 0);
    assert_null(vmload_socket_get_address(fds[0], false));
    close(fds[0]);
    assert_null(vmload_socket_get_address(-1, false));
}

/* Where the machine has vsock: an address; elsewhere an error that says so. */
static void test_vsock(void **state)
{
    GError *error = NULL;
    int fd = vmload_socket_listen_vsock(UINT32_MAX, UINT32_MAX, &error);
    char *address;

    (void)state;
    if (fd < 0) {
        assert_unit_error(&error, VMLOAD_ERROR_IO,
                          "vsock:4294967295:4294967295: ");
        return;
    }
    assert_listening(fd);
    address = vmload_socket_get_address(fd, false);
    assert_true(g_str_has_prefix(address, "vsock:"));
    g_free(address);
    close(fd);
}

static int setup(void **state)
{
    (void)state;
    directory = g_dir_make_tmp("vmload-test-XXXXXX", NULL);
    return directory == NULL;
}

static int teardown(void **state)
{
    (void)state;
    g_rmdir(directory);
    g_free(directory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_port),   cmocka_unit_test(test_tcp_refused),
        cmocka_unit_test(test_tcp_peer),   cmocka_unit_test(test_unix),
        cmocka_unit_test(test_unix_length), cmocka_unit_test(test_unix_names),
        cmocka_unit_test(test_no_address), cmocka_unit_test(test_vsock),
    };

    return cmocka_run_group_tests_name("socket", tests, setup, teardown);
}

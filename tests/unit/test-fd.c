/* SPDX-License-Identifier: BSD-3-Clause */
/* Channels over sockets, pipes and files, with real waits. */
#include "unit.h"

#include "channel/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char *directory;

typedef enum {
    KIND_SOCKET,
    KIND_PIPE,
} Kind;

/* A channel and the other end of it. */
static VmloadChannel *make(Kind kind, int *peer)
{
    GError *error = NULL;
    VmloadChannel *channel;
    int pair[2];

    if (kind == KIND_SOCKET) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    } else {
        assert_int_equal(pipe(pair), 0);
    }
    channel = vmload_channel_take_fd(pair[0], &error);
    assert_non_null(channel);
    *peer = pair[1];
    return channel;
}

static int64_t read_one(VmloadChannel *channel, void *data, size_t length,
                        const VmloadWait *wait, GError **error)
{
    struct iovec iov = {data, length};

    return vmload_channel_readv(channel, &iov, 1, wait, error);
}

/* A reader or writer in a thread of its own. */
typedef struct {
    VmloadChannel *channel;
    VmloadWait wait;
    const uint8_t *data; /* to write; NULL: read one byte */
    uint64_t length;
    int64_t result;
    char byte;
    GError *error;
    int waiting; /* atomic: how often begin was called */
    int ended;   /* of this thread alone */
    pthread_t thread;
} Worker;

static void worker_begin(void *opaque)
{
    Worker *worker = opaque;

    __atomic_fetch_add(&worker->waiting, 1, __ATOMIC_SEQ_CST);
}

static void worker_end(void *opaque)
{
    ((Worker *)opaque)->ended++;
}

static void *worker_run(void *opaque)
{
    Worker *worker = opaque;

    if (worker->data != NULL) {
        worker->result = vmload_channel_write(worker->channel, worker->data,
                                              worker->length, &worker->wait,
                                              &worker->error);
    } else {
        worker->result = read_one(worker->channel, &worker->byte, 1,
                                  &worker->wait, &worker->error);
    }
    return NULL;
}

/* Starts it, and returns once it is about to wait. */
static void worker_start(Worker *worker, VmloadChannel *channel,
                         VmloadCancel *cancel)
{
    worker->channel = channel;
    worker->wait.cancel = cancel;
    worker->wait.begin = worker_begin;
    worker->wait.end = worker_end;
    worker->wait.opaque = worker;
    assert_int_equal(
        pthread_create(&worker->thread, NULL, worker_run, worker), 0);
    while (__atomic_load_n(&worker->waiting, __ATOMIC_SEQ_CST) == 0) {
        g_usleep(100);
    }
}

static void worker_join(Worker *worker)
{
    assert_int_equal(pthread_join(worker->thread, NULL), 0);
    assert_int_equal(worker->waiting, worker->ended);
}

static void test_read(void **state)
{
    static const Kind kinds[] = {KIND_SOCKET, KIND_PIPE};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(kinds); i++) {
        int peer;
        VmloadChannel *channel = make(kinds[i], &peer);
        GError *error = NULL;
        Worker worker = {0};
        char a[3];
        char b[10];
        struct iovec iov[2] = {{a, 3}, {b, 10}};

        assert_int_equal(vmload_channel_is_writable(channel),
                         kinds[i] == KIND_SOCKET);
        assert_false(vmload_channel_is_seekable(channel));
        assert_int_equal(vmload_channel_try_readv(channel, iov, 2, &error),
                         VMLOAD_CHANNEL_WOULD_BLOCK);
        assert_int_equal(write(peer, "abcde", 5), 5);
        assert_int_equal(vmload_channel_readv(channel, iov, 2, NULL, &error),
                         5);
        assert_memory_equal(a, "abc", 3);
        assert_memory_equal(b, "de", 2);

        /* A byte that comes later. */
        worker_start(&worker, channel, NULL);
        assert_int_equal(write(peer, "f", 1), 1);
        worker_join(&worker);
        assert_int_equal(worker.result, 1);
        assert_int_equal(worker.byte, 'f');

        /* Bytes in front of the end are read. */
        assert_int_equal(write(peer, "g", 1), 1);
        close(peer);
        assert_int_equal(read_one(channel, a, 3, NULL, &error), 1);
        assert_int_equal(read_one(channel, a, 3, NULL, &error), 0);
        assert_int_equal(read_one(channel, a, 3, NULL, &error), 0);
        vmload_channel_unref(channel);
    }
}

static void test_wake_by_shutdown(void **state)
{
    static const Kind kinds[] = {KIND_SOCKET, KIND_PIPE};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(kinds); i++) {
        int peer;
        VmloadChannel *channel = make(kinds[i], &peer);
        GError *error = NULL;
        VmloadCancel *cancel = vmload_cancel_new(&error);
        Worker worker = {0};

        worker_start(&worker, channel, cancel);
        assert_true(
            vmload_channel_shutdown(channel, VMLOAD_DIRECTION_BOTH, &error));
        worker_join(&worker);
        assert_int_equal(worker.result, 0);
        assert_null(worker.error);
        /* Bytes that come later are not seen. */
        (void)!send(peer, "x", 1, MSG_NOSIGNAL);
        assert_int_equal(read_one(channel, &worker.byte, 1, NULL, &error), 0);
        vmload_channel_unref(channel);
        vmload_cancel_free(cancel);
        close(peer);
    }
}

static void test_wake_by_cancel(void **state)
{
    static const Kind kinds[] = {KIND_SOCKET, KIND_PIPE};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(kinds); i++) {
        int peer;
        VmloadChannel *channel = make(kinds[i], &peer);
        GError *error = NULL;
        VmloadCancel *cancel = vmload_cancel_new(&error);
        Worker worker = {0};

        worker_start(&worker, channel, cancel);
        vmload_cancel_fire(cancel);
        worker_join(&worker);
        assert_int_equal(worker.result, -1);
        assert_unit_error(&worker.error, VMLOAD_ERROR_CANCELLED, "cancelled");
        vmload_channel_unref(channel);
        vmload_cancel_free(cancel);
        close(peer);
    }
}

/*
 * A deadline that passes while its rest is computed is past, not an error:
 * the clock was once asked twice, and the rest then below zero.
 */
static void test_deadline_passes(void **state)
{
    struct pollfd none = {.fd = -1};
    int i;

    (void)state;
    for (i = 0; i < 20000; i++) {
        assert_int_equal(vmload_poll(&none, 1, g_get_monotonic_time() + i % 3),
                         0);
    }
}

static void test_deadline(void **state)
{
    static const Kind kinds[] = {KIND_SOCKET, KIND_PIPE};
    const VmloadWait wait = {.timeout_us = 2000};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(kinds); i++) {
        int peer;
        VmloadChannel *channel = make(kinds[i], &peer);
        GError *error = NULL;
        char byte;

        assert_int_equal(read_one(channel, &byte, 1, &wait, &error), -1);
        assert_unit_error(&error, VMLOAD_ERROR_TIMEOUT, "read within 2 ms");
        assert_int_equal(write(peer, "x", 1), 1);
        assert_int_equal(read_one(channel, &byte, 1, &wait, &error), 1);
        vmload_channel_unref(channel);
        close(peer);
    }
}

static int signals; /* atomic */

static void on_signal(int number)
{
    (void)number;
    __atomic_fetch_add(&signals, 1, __ATOMIC_SEQ_CST);
}

/* Signals with a handler interrupt the poll, not the wait. */
static void test_signals(void **state)
{
    static const Kind kinds[] = {KIND_SOCKET, KIND_PIPE};
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction before;
    size_t i;
    int n;

    (void)state;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    for (i = 0; i < G_N_ELEMENTS(kinds); i++) {
        int peer;
        VmloadChannel *channel = make(kinds[i], &peer);
        Worker worker = {.wait.timeout_us = G_MAXINT64};

        __atomic_store_n(&signals, 0, __ATOMIC_SEQ_CST);
        worker_start(&worker, channel, NULL);
        for (n = 1; n <= 5; n++) {
            g_usleep(1000);
            assert_int_equal(pthread_kill(worker.thread, SIGUSR1), 0);
            while (__atomic_load_n(&signals, __ATOMIC_SEQ_CST) < n) {
                g_usleep(100);
            }
        }
        assert_int_equal(write(peer, "s", 1), 1);
        worker_join(&worker);
        assert_int_equal(worker.result, 1);
        assert_int_equal(worker.byte, 's');
        assert_int_equal(worker.waiting, 1);
        vmload_channel_unref(channel);
        close(peer);
    }
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

/* The peer closed its write side: reads end, writes go on. */
static void test_half_close(void **state)
{
    int peer;
    VmloadChannel *channel = make(KIND_SOCKET, &peer);
    GError *error = NULL;
    char byte;

    (void)state;
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    assert_int_equal(read_one(channel, &byte, 1, NULL, &error), 0);
    assert_true(vmload_channel_write(channel, "rp", 2, NULL, &error));
    assert_int_equal(recv(peer, &byte, 1, 0), 1);
    assert_int_equal(byte, 'r');

    /* And our own side, while the other direction goes on. */
    vmload_channel_unref(channel);
    close(peer);
    channel = make(KIND_SOCKET, &peer);
    assert_true(
        vmload_channel_shutdown(channel, VMLOAD_DIRECTION_WRITE, &error));
    assert_int_equal(recv(peer, &byte, 1, 0), 0);
    assert_int_equal(write(peer, "x", 1), 1);
    assert_int_equal(read_one(channel, &byte, 1, NULL, &error), 1);
    assert_false(vmload_channel_write(channel, "rp", 2, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "shut down");
    vmload_channel_unref(channel);
    close(peer);
}

/* A peer that is gone: an error, no SIGPIPE (which would end this program). */
static void test_no_sigpipe(void **state)
{
    int peer;
    VmloadChannel *channel = make(KIND_SOCKET, &peer);
    GError *error = NULL;

    (void)state;
    close(peer);
    assert_false(vmload_channel_write(channel, "x", 1, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "channel main: sendmsg");
    vmload_channel_unref(channel);
}

/* More than the socket takes at once, to a peer that reads slowly. */
static void test_long_write(void **state)
{
    const size_t length = 3 << 20;
    uint8_t *data = g_malloc(length);
    uint8_t *back = g_malloc(length);
    int peer;
    VmloadChannel *channel = make(KIND_SOCKET, &peer);
    Worker worker = {.data = data, .length = length};
    size_t have = 0;
    size_t i;

    (void)state;
    for (i = 0; i < length; i++) {
        data[i] = (uint8_t)(i * 7 + i / 251);
    }
    worker_start(&worker, channel, NULL);
    while (have < length) {
        ssize_t got = recv(peer, back + have, MIN(length - have, 100000), 0);

        assert_true(got > 0);
        have += (size_t)got;
    }
    worker_join(&worker);
    assert_int_equal(worker.result, true);
    assert_memory_equal(back, data, length);
    vmload_channel_unref(channel);
    close(peer);
    g_free(data);
    g_free(back);
}

/* A writer whose peer does not read is woken like a reader. */
static void test_wake_writer(void **state)
{
    const size_t length = 3 << 20;
    uint8_t *data = g_malloc0(length);
    int round;

    (void)state;
    for (round = 0; round < 2; round++) {
        int peer;
        VmloadChannel *channel = make(KIND_SOCKET, &peer);
        GError *error = NULL;
        VmloadCancel *cancel = vmload_cancel_new(&error);
        Worker worker = {.data = data, .length = length};

        worker_start(&worker, channel, cancel);
        if (round == 0) {
            vmload_cancel_fire(cancel);
        } else {
            assert_true(vmload_channel_shutdown(
                channel, VMLOAD_DIRECTION_WRITE, &error));
        }
        worker_join(&worker);
        assert_int_equal(worker.result, false);
        assert_unit_error(&worker.error,
                          round == 0 ? VMLOAD_ERROR_CANCELLED
                                     : VMLOAD_ERROR_IO, "");
        vmload_channel_unref(channel);
        vmload_cancel_free(cancel);
        close(peer);
    }
    g_free(data);
}

/* One thread reads, another writes, on one socket. */
static void test_both_directions(void **state)
{
    int peer;
    VmloadChannel *channel = make(KIND_SOCKET, &peer);
    const size_t length = 1 << 20;
    uint8_t *data = g_malloc0(length);
    Worker writer = {.data = data, .length = length};
    Worker reader = {0};
    size_t have = 0;

    (void)state;
    worker_start(&reader, channel, NULL);
    worker_start(&writer, channel, NULL);
    while (have < length) {
        ssize_t got = recv(peer, data, 65536, 0);

        assert_true(got > 0);
        have += (size_t)got;
    }
    assert_int_equal(write(peer, "x", 1), 1);
    worker_join(&reader);
    worker_join(&writer);
    assert_int_equal(reader.result, 1);
    assert_int_equal(writer.result, true);
    vmload_channel_unref(channel);
    close(peer);
    g_free(data);
}

/* The flags are shared with whoever has the descriptor too. */
static void test_flags(void **state)
{
    static const Kind kinds[] = {KIND_SOCKET, KIND_PIPE};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(kinds); i++) {
        GError *error = NULL;
        VmloadChannel *channel;
        int pair[2];
        int copy;
        int flags;
        char byte;

        if (kinds[i] == KIND_SOCKET) {
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        } else {
            assert_int_equal(pipe(pair), 0);
        }
        copy = dup(pair[0]);
        flags = fcntl(copy, F_GETFL);
        channel = vmload_channel_take_fd(pair[0], &error);
        assert_int_equal(write(pair[1], "x", 1), 1);
        assert_int_equal(read_one(channel, &byte, 1, NULL, &error), 1);
        assert_int_equal(fcntl(copy, F_GETFL), flags);
        vmload_channel_unref(channel);
        assert_int_equal(fcntl(pair[0], F_GETFL), -1);
        assert_int_equal(fcntl(copy, F_GETFL), flags);

        /* A descriptor that is non-blocking already is waited for too. */
        assert_int_equal(fcntl(copy, F_SETFL, flags | O_NONBLOCK), 0);
        channel = vmload_channel_take_fd(copy, &error);
        {
            Worker worker = {0};

            worker_start(&worker, channel, NULL);
            assert_int_equal(write(pair[1], "y", 1), 1);
            worker_join(&worker);
            assert_int_equal(worker.byte, 'y');
        }
        vmload_channel_unref(channel);
        close(pair[1]);
    }
}

/* What is read now is read without a wait; room is made, never taken. */
static void test_pipe_room(void **state)
{
    static const int sizes[] = {64 * 1024, 4096, 1024 * 1024, 2 * 1024 * 1024};
    int most = 1024 * 1024;
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        VmloadChannel *channel;
        int pair[2];
        char byte;
        int size;

        assert_int_equal(pipe(pair), 0);
        size = fcntl(pair[1], F_SETPIPE_SZ, sizes[i]);
        if (size < 0) {
            /* More than this user may have. */
            size = fcntl(pair[1], F_GETPIPE_SZ);
        }
        assert_int_equal(write(pair[1], "x", 1), 1);
        channel = vmload_channel_take_fd(pair[0], &error);
        assert_non_null(channel);
        /* Refused only to who has very many pipes. */
        assert_int_equal(fcntl(pair[1], F_GETPIPE_SZ), MAX(size, most));
        assert_int_equal(read_one(channel, &byte, 1, NULL, &error), 1);
        assert_int_equal(byte, 'x');
        assert_int_equal(vmload_channel_try_readv(
                             channel, &(struct iovec){&byte, 1}, 1, &error),
                         VMLOAD_CHANNEL_WOULD_BLOCK);
        close(pair[1]);
        assert_int_equal(read_one(channel, &byte, 1, NULL, &error), 0);
        vmload_channel_unref(channel);
    }
}

static void test_file(void **state)
{
    char *path = g_build_filename(directory, "file", NULL);
    GError *error = NULL;
    VmloadWait wait = {.cancel = vmload_cancel_new(&error)};
    VmloadChannel *channel;
    char data[8];
    struct iovec iov[2] = {{data, 2}, {data + 2, 6}};

    (void)state;
    assert_true(g_file_set_contents(path, "0123456789", -1, NULL));
    channel = vmload_channel_new_file(path, 3, &error);
    assert_non_null(channel);
    assert_true(vmload_channel_is_seekable(channel));
    assert_false(vmload_channel_is_writable(channel));
    assert_int_equal(read_one(channel, data, 2, &wait, &error), 2);
    assert_memory_equal(data, "34", 2);
    /* Offsets are of the file, and do not move the position. */
    assert_int_equal(vmload_channel_preadv(channel, iov, 2, 1, &wait, &error),
                     8);
    assert_memory_equal(data, "12345678", 8);
    assert_int_equal(vmload_channel_preadv(channel, iov, 2, 8, &wait, &error),
                     2);
    assert_int_equal(vmload_channel_preadv(channel, iov, 2, 10, &wait, &error),
                     0);
    assert_int_equal(
        vmload_channel_preadv(channel, iov, 2, UINT64_MAX, &wait, &error), 0);
    assert_int_equal(vmload_channel_readv(channel, iov, 2, &wait, &error), 5);
    assert_memory_equal(data, "56789", 5);
    assert_int_equal(read_one(channel, data, 2, &wait, &error), 0);

    /* Always ready, and yet it can be cancelled. */
    vmload_cancel_fire(wait.cancel);
    assert_int_equal(read_one(channel, data, 2, &wait, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    vmload_channel_unref(channel);

    /* A descriptor is read from where it stands. */
    {
        int fd = open(path, O_RDONLY);

        assert_int_equal(lseek(fd, 4, SEEK_SET), 4);
        channel = vmload_channel_take_fd(fd, &error);
        assert_non_null(channel);
        assert_int_equal(read_one(channel, data, 8, NULL, &error), 6);
        assert_memory_equal(data, "456789", 6);
        assert_true(
            vmload_channel_shutdown(channel, VMLOAD_DIRECTION_READ, &error));
        assert_int_equal(read_one(channel, data, 8, NULL, &error), 0);
        vmload_channel_unref(channel);
    }
    vmload_cancel_free(wait.cancel);
    unlink(path);
    g_free(path);
}

static void test_bad_files(void **state)
{
    char *path = g_build_filename(directory, "x", NULL);
    GError *error = NULL;

    (void)state;
    assert_null(vmload_channel_new_file(path, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, path);
    assert_null(vmload_channel_new_file(directory, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "regular file");
    /* Nobody has it open for writing: this must not wait. */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(vmload_channel_new_file(path, 0, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "regular file");
    assert_int_equal(unlink(path), 0);
    assert_true(g_file_set_contents(path, "1", 1, NULL));
    assert_null(
        vmload_channel_new_file(path, (uint64_t)G_MAXINT64 + 1, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "below 2^63");
    assert_int_equal(unlink(path), 0);
    g_free(path);
}

/* Refused, with a reason, and closed. */
static void assert_refused(int fd, VmloadError code, const char *part)
{
    GError *error = NULL;

    assert_true(fd >= 0);
    assert_null(vmload_channel_take_fd(fd, &error));
    assert_unit_error(&error, code, part);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_bad_fds(void **state)
{
    int closed = dup(0);
    int pair[2];

    (void)state;
    close(closed);
    assert_refused(closed, VMLOAD_ERROR_IO, g_strerror(EBADF));
    assert_int_equal(pipe(pair), 0);
    assert_refused(pair[1], VMLOAD_ERROR_UNSUPPORTED, "open for reading");
    assert_refused(open(directory, O_RDONLY), VMLOAD_ERROR_UNSUPPORTED,
                   "expected a stream socket, a pipe");
    assert_refused(open("/dev/null", O_RDONLY), VMLOAD_ERROR_UNSUPPORTED,
                   "expected a stream socket, a pipe");
    assert_refused(open("/dev/null", O_PATH), VMLOAD_ERROR_UNSUPPORTED, "");
    assert_refused(socket(AF_UNIX, SOCK_DGRAM, 0), VMLOAD_ERROR_UNSUPPORTED,
                   "expected a stream socket");
    close(pair[0]);
}

static void test_listening_fd(void **state)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    /* TCP binds by itself. */
    assert_int_equal(listen(fd, 1), 0);
    assert_refused(fd, VMLOAD_ERROR_UNSUPPORTED, "listening socket");
}

static int setup(void **state)
{
    (void)state;
    directory = g_dir_make_tmp("vmload-fd-XXXXXX", NULL);
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
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_wake_by_shutdown),
        cmocka_unit_test(test_wake_by_cancel),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_deadline_passes),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_no_sigpipe),
        cmocka_unit_test(test_long_write),
        cmocka_unit_test(test_wake_writer),
        cmocka_unit_test(test_both_directions),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_pipe_room),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_bad_fds),
        cmocka_unit_test(test_listening_fd),
    };

    return cmocka_run_group_tests_name("fd", tests, setup, teardown);
}

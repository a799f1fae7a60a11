/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages to the source: whole, in order, from any number of threads. */
#include "unit.h"

#include <sys/socket.h>
#include <unistd.h>

#include "loader/return-path.h"

#define THREADS 4
#define MESSAGES 3000

typedef struct {
    VmloadReturnPath path;
    VmloadCancel *cancel;
    VmloadChannel *channel;
    int peer;
} Path;

static void path_init(Path *path)
{
    const int least = 1;
    int fds[2];

    memset(path, 0, sizeof(*path));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &least,
                                sizeof(least)), 0);
    path->cancel = vmload_cancel_new(NULL);
    path->channel = vmload_channel_take_fd(fds[0], NULL);
    path->peer = fds[1];
    vmload_return_path_init(&path->path);
    vmload_return_path_open(&path->path, path->channel);
}

static void path_clear(Path *path)
{
    vmload_return_path_clear(&path->path);
    vmload_channel_unref(path->channel);
    vmload_cancel_free(path->cancel);
    if (path->peer >= 0) {
        close(path->peer);
    }
}

typedef struct {
    Path *path;
    uint8_t number;
} Sender;

static void *send_many(void *opaque)
{
    const Sender *sender = opaque;
    const VmloadWait wait = {.cancel = sender->path->cancel};
    uint32_t i;

    for (i = 0; i < MESSAGES; i++) {
        uint8_t value[4] = {sender->number, 0, (uint8_t)(i >> 8), (uint8_t)i};

        /* No GError: GLib's allocator is a riddle to ThreadSanitizer. */
        if (!vmload_return_path_send(&sender->path->path,
                                     VMLOAD_RETURN_PATH_PONG, value, 4, &wait,
                                     NULL)) {
            return NULL;
        }
    }
    return GINT_TO_POINTER(1);
}

/* Each thread's messages are whole and in its order. */
static void test_threads(void **state)
{
    static const uint8_t header[] = {0, 2, 0, 4};
    uint32_t next[THREADS] = {0};
    GThread *threads[THREADS];
    Sender senders[THREADS];
    uint8_t message[8];
    Path path;
    uint32_t i;

    (void)state;
    path_init(&path);
    for (i = 0; i < THREADS; i++) {
        senders[i] = (Sender){&path, (uint8_t)i};
        threads[i] = g_thread_new("send", send_many, &senders[i]);
    }
    for (i = 0; i < THREADS * MESSAGES; i++) {
        assert_int_equal(recv(path.peer, message, sizeof(message),
                              MSG_WAITALL), sizeof(message));
        assert_memory_equal(message, header, sizeof(header));
        assert_true(message[4] < THREADS);
        assert_int_equal(message[6] << 8 | message[7], next[message[4]]);
        next[message[4]]++;
    }
    for (i = 0; i < THREADS; i++) {
        assert_non_null(g_thread_join(threads[i]));
    }
    path_clear(&path);
}

/* A cancel, a close and a source that goes away end all senders. */
static void test_ends(void **state)
{
    int how;

    (void)state;
    for (how = 0; how < 3; how++) {
        GThread *threads[THREADS];
        Sender senders[THREADS];
        GError *error = NULL;
        Path path;
        uint32_t i;

        path_init(&path);
        for (i = 0; i < THREADS; i++) {
            senders[i] = (Sender){&path, (uint8_t)i};
            threads[i] = g_thread_new("send", send_many, &senders[i]);
        }
        g_usleep(5000);
        if (how == 0) {
            vmload_cancel_fire(path.cancel);
        } else if (how == 1) {
            vmload_channel_shutdown(path.channel, VMLOAD_DIRECTION_BOTH,
                                    NULL);
            vmload_return_path_close(&path.path);
        } else {
            close(path.peer);
            path.peer = -1;
        }
        for (i = 0; i < THREADS; i++) {
            assert_null(g_thread_join(threads[i]));
        }
        if (how == 2) {
            /* Why is kept for all that come later. */
            assert_false(vmload_return_path_flush(&path.path, NULL, &error));
            assert_unit_error(&error, VMLOAD_ERROR_IO, "");
        }
        path_clear(&path);
    }
}

/* SHUT fits into a full queue, waits for its time, and is the last word. */
static void test_shut(void **state)
{
    static const uint8_t value[4] = {0, 0, 0, 1};
    const VmloadWait hasty = {.timeout_us = 1000};
    GError *error = NULL;
    uint8_t message[8];
    uint32_t pongs = 0;
    Path path;

    (void)state;
    path_init(&path);
    while (vmload_return_path_send(&path.path, VMLOAD_RETURN_PATH_PONG, value,
                                   4, NULL, &error)) {
        pongs++;
    }
    assert_unit_error(&error, VMLOAD_ERROR_IO, "found 65");
    assert_false(vmload_return_path_shut(&path.path, 1, &hasty, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TIMEOUT, "write");
    assert_false(vmload_return_path_is_open(&path.path));
    assert_false(vmload_return_path_send(&path.path, VMLOAD_RETURN_PATH_PONG,
                                         value, 4, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "no return path is open");
    for (; pongs > 0; pongs--) {
        assert_true(vmload_return_path_flush(&path.path, NULL, &error));
        assert_int_equal(recv(path.peer, message, 8, MSG_WAITALL), 8);
        assert_int_equal(message[1], VMLOAD_RETURN_PATH_PONG);
    }
    assert_true(vmload_return_path_flush(&path.path, NULL, &error));
    assert_int_equal(recv(path.peer, message, 8, MSG_WAITALL), 8);
    assert_int_equal(message[1], VMLOAD_RETURN_PATH_SHUT);
    assert_int_equal(message[7], 1);
    path_clear(&path);
}

/* Nobody hears what is said to a file. */
static void test_dropped(void **state)
{
    static const uint8_t value[4] = {0, 0, 0, 1};
    VmloadChannel *channel = vmload_channel_new_memory(value, 4, NULL, NULL);
    VmloadReturnPath path;
    GError *error = NULL;
    int i;

    (void)state;
    vmload_return_path_init(&path);
    assert_false(vmload_return_path_is_open(&path));
    vmload_return_path_open(&path, channel);
    vmload_return_path_open(&path, channel);
    assert_true(vmload_return_path_is_open(&path));
    for (i = 0; i < 10000; i++) {
        assert_true(vmload_return_path_send(&path, VMLOAD_RETURN_PATH_PONG,
                                            value, 4, NULL, &error));
    }
    assert_int_equal(path.queue->len, 0);
    assert_true(vmload_return_path_shut(&path, 0, NULL, &error));
    vmload_return_path_clear(&path);
    vmload_channel_unref(channel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_shut),
        cmocka_unit_test(test_dropped),
    };

    return cmocka_run_group_tests_name("return-path", tests, NULL, NULL);
}

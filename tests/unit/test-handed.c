/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections on their way from the host's threads to the loading thread. */
#include "unit.h"

#include "channel/handed.h"
#include "channel/socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_readable(const VmloadHanded *handed)
{
    struct pollfd fd = {.fd = *vmload_handed_get_fd(handed),
                        .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

/* Our end; *@peer is the other one. */
static VmloadChannel *make(int *peer)
{
    VmloadChannel *channel;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    channel = vmload_channel_take_fd(fds[1], NULL);
    assert_non_null(channel);
    *peer = fds[0];
    return channel;
}

static void assert_ended(int peer)
{
    char byte;

    assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), 0);
    close(peer);
}

/* In order; readable exactly while there is one. */
static void test_order(void **state)
{
    VmloadHanded *handed = vmload_handed_new(NULL);
    VmloadChannel *channels[3];
    int peers[3];
    int i;

    (void)state;
    assert_non_null(handed);
    assert_false(is_readable(handed));
    assert_null(vmload_handed_pop(handed));
    for (i = 0; i < 3; i++) {
        channels[i] = make(&peers[i]);
        assert_true(vmload_handed_push(handed, channels[i], NULL));
    }
    for (i = 0; i < 3; i++) {
        assert_true(is_readable(handed));
        assert_ptr_equal(vmload_handed_pop(handed), channels[i]);
        vmload_channel_unref(channels[i]);
        assert_ended(peers[i]);
    }
    assert_false(is_readable(handed));
    vmload_handed_free(handed);
}

/* Those who wait see the end, and so does whoever comes later. */
static void test_close(void **state)
{
    VmloadHanded *handed = vmload_handed_new(NULL);
    GError *error = NULL;
    int peer;

    (void)state;
    assert_true(vmload_handed_push(handed, make(&peer), NULL));
    vmload_handed_close(handed);
    vmload_handed_close(handed);
    assert_ended(peer);
    assert_false(is_readable(handed));
    assert_false(vmload_handed_push(handed, make(&peer), &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "found it afterwards");
    assert_ended(peer);
    vmload_handed_free(handed);
    vmload_handed_free(NULL);
}

/* Many connections of strangers cost no more than this. */
static void test_limit(void **state)
{
    VmloadHanded *handed = vmload_handed_new(NULL);
    GError *error = NULL;
    int peers[VMLOAD_BACKLOG];
    int peer;
    int i;

    (void)state;
    for (i = 0; i < VMLOAD_BACKLOG; i++) {
        assert_true(vmload_handed_push(handed, make(&peers[i]), NULL));
    }
    assert_false(vmload_handed_push(handed, make(&peer), &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "at most 256");
    assert_ended(peer);
    vmload_handed_free(handed);
    for (i = 0; i < VMLOAD_BACKLOG; i++) {
        assert_ended(peers[i]);
    }
}

static void *push_many(void *opaque)
{
    int i;

    for (i = 0; i < 50; i++) {
        int peer;

        assert_true(vmload_handed_push(opaque, make(&peer), NULL));
        close(peer);
    }
    return NULL;
}

/* From several threads, none is lost. */
static void test_threads(void **state)
{
    VmloadHanded *handed = vmload_handed_new(NULL);
    GThread *threads[2];
    int n = 0;
    int i;

    (void)state;
    for (i = 0; i < 2; i++) {
        threads[i] = g_thread_new("push", push_many, handed);
    }
    while (n < 100) {
        struct pollfd fd = {.fd = *vmload_handed_get_fd(handed),
                            .events = POLLIN};
        VmloadChannel *channel;

        assert_int_equal(poll(&fd, 1, -1), 1);
        channel = vmload_handed_pop(handed);
        assert_non_null(channel);
        vmload_channel_unref(channel);
        n++;
    }
    for (i = 0; i < 2; i++) {
        g_thread_join(threads[i]);
    }
    assert_null(vmload_handed_pop(handed));
    vmload_handed_free(handed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

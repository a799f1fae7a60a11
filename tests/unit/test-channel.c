/* SPDX-License-Identifier: BSD-3-Clause */
/* The channel object over memory and over a host's own transport. */
#include "unit.h"

#include "channel/channel.h"

#include <poll.h>

static int64_t read_one(VmloadChannel *channel, void *data, size_t length,
                        const VmloadWait *wait, GError **error)
{
    struct iovec iov = {data, length};

    return vmload_channel_readv(channel, &iov, 1, wait, error);
}

static void count(void *opaque)
{
    (*(int *)opaque)++;
}

static void test_memory(void **state)
{
    static const uint8_t data[] = "abcdefgh";
    int destroyed = 0;
    VmloadChannel *channel =
        vmload_channel_new_memory(data, 8, count, &destroyed);
    GError *error = NULL;
    char a[3];
    char b[3];
    struct iovec iov[2] = {{a, 3}, {b, 2}};

    (void)state;
    assert_string_equal(vmload_channel_get_name(channel), "main");
    vmload_channel_set_name(channel, "other");
    assert_string_equal(vmload_channel_get_name(channel), "other");
    assert_false(vmload_channel_is_writable(channel));
    assert_true(vmload_channel_is_seekable(channel));
    assert_int_equal(vmload_channel_readv(channel, iov, 2, NULL, &error), 5);
    assert_memory_equal(a, "abc", 3);
    assert_memory_equal(b, "de", 2);

    /* An absolute offset does not move the position. */
    assert_int_equal(vmload_channel_preadv(channel, iov, 2, 6, NULL, &error),
                     2);
    assert_memory_equal(a, "gh", 2);
    assert_int_equal(
        vmload_channel_preadv(channel, iov, 2, UINT64_MAX, NULL, &error), 0);
    assert_int_equal(vmload_channel_readv(channel, iov, 2, NULL, &error), 3);
    assert_memory_equal(a, "fgh", 3);
    assert_int_equal(vmload_channel_readv(channel, iov, 2, NULL, &error), 0);

    assert_false(vmload_channel_write(channel, "x", 1, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "channel other");
    assert_ptr_equal(vmload_channel_ref(channel), channel);
    vmload_channel_unref(channel);
    assert_int_equal(destroyed, 0);
    vmload_channel_unref(channel);
    assert_int_equal(destroyed, 1);
    vmload_channel_unref(NULL);
}

static void test_pushback(void **state)
{
    static const uint8_t data[] = "5678";
    VmloadChannel *channel = vmload_channel_new_memory(data, 4, NULL, NULL);
    uint8_t big[4096];
    uint8_t back[4096];
    GError *error = NULL;
    char text[16];
    char single;
    struct iovec iov[2] = {{&single, 1}, {text, sizeof(text)}};

    (void)state;
    /* The last given back comes first, and never mixed with new bytes. */
    vmload_channel_unread(channel, "34", 2);
    vmload_channel_unread(channel, "", 0);
    vmload_channel_unread(channel, "012", 3);
    assert_int_equal(vmload_channel_readv(channel, iov, 2, NULL, &error), 5);
    assert_int_equal(single, '0');
    assert_memory_equal(text, "1234", 4);
    assert_int_equal(read_one(channel, text, 2, NULL, &error), 2);
    assert_memory_equal(text, "56", 2);

    /* All of the room can be used, and again after it was read. */
    memset(big, 'b', sizeof(big));
    big[0] = 'a';
    vmload_channel_unread(channel, big, sizeof(big));
    assert_int_equal(read_one(channel, back, sizeof(back), NULL, &error),
                     sizeof(back));
    assert_memory_equal(back, big, sizeof(big));
    vmload_channel_unread(channel, big, sizeof(big));
    assert_int_equal(read_one(channel, back, 10, NULL, &error), 10);
    vmload_channel_unread(channel, "cccccccccc", 10);
    assert_int_equal(read_one(channel, back, sizeof(back), NULL, &error),
                     sizeof(back));
    assert_int_equal(back[9], 'c');
    assert_int_equal(back[10], 'b');
    assert_int_equal(read_one(channel, text, 9, NULL, &error), 2);
    assert_memory_equal(text, "78", 2);

    /* A shutdown ends these too. */
    vmload_channel_unread(channel, "9", 1);
    assert_true(
        vmload_channel_shutdown(channel, VMLOAD_DIRECTION_READ, &error));
    assert_int_equal(read_one(channel, text, 9, NULL, &error), 0);
    assert_int_equal(
        vmload_channel_preadv(channel, iov, 2, 0, NULL, &error), 0);
    vmload_channel_unref(channel);
}

/* Memory is always ready; the cancel level counts all the same. */
static void test_cancel_when_ready(void **state)
{
    GError *error = NULL;
    VmloadWait wait = {.cancel = vmload_cancel_new(&error)};
    VmloadChannel *channel =
        vmload_channel_new_memory((const uint8_t *)"abc", 3, NULL, NULL);
    char byte;
    struct iovec iov = {&byte, 1};

    (void)state;
    assert_int_equal(read_one(channel, &byte, 1, &wait, &error), 1);
    assert_int_equal(
        vmload_channel_preadv(channel, &iov, 1, 0, &wait, &error), 1);
    vmload_cancel_fire(wait.cancel);
    assert_int_equal(read_one(channel, &byte, 1, &wait, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    assert_int_equal(
        vmload_channel_preadv(channel, &iov, 1, 0, &wait, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    vmload_channel_unref(channel);
    vmload_cancel_free(wait.cancel);
}

/* A host's transport: says what the test tells it to say. */
typedef struct {
    int64_t results[8];
    uint32_t n;
    GError *error;
    uint32_t waits;
    int32_t wait_result;
    uint32_t direction;
    uint32_t shut;
    uint8_t written[64];
    uint32_t n_written;
    int destroyed;
    int waiting; /* atomic */
} Host;

static int64_t host_next(Host *host, GError **error)
{
    int64_t result = host->results[host->n++];

    if (result == -1 && host->error != NULL) {
        g_propagate_error(error, g_steal_pointer(&host->error));
    }
    return result;
}

static int64_t host_readv(void *opaque, const struct iovec *iov, uint32_t n,
                          GError **error)
{
    int64_t result = host_next(opaque, error);

    assert_int_equal(n, 1);
    if (result > 0) {
        memset(iov[0].iov_base, 'h', MIN((size_t)result, iov[0].iov_len));
    }
    return result;
}

static int64_t host_writev(void *opaque, const struct iovec *iov, uint32_t n,
                           GError **error)
{
    Host *host = opaque;
    int64_t result = host_next(host, error);

    assert_int_equal(n, 1);
    if (result > 0 && (size_t)result <= iov[0].iov_len) {
        memcpy(host->written + host->n_written, iov[0].iov_base,
               (size_t)result);
        host->n_written += (uint32_t)result;
    }
    return result;
}

static int32_t host_wait(void *opaque, uint32_t direction, int32_t cancel_fd,
                         int64_t deadline, GError **error)
{
    Host *host = opaque;

    (void)cancel_fd;
    (void)deadline;
    host->waits++;
    host->direction = direction;
    if (host->wait_result < 0 && host->error != NULL) {
        g_propagate_error(error, g_steal_pointer(&host->error));
    }
    return host->wait_result;
}

/* Sleeps on what it is given, as a host's event loop would. */
static int32_t host_wait_poll(void *opaque, uint32_t direction,
                              int32_t cancel_fd, int64_t deadline,
                              GError **error)
{
    Host *host = opaque;
    struct pollfd pollfd = {.fd = cancel_fd, .events = POLLIN};

    (void)direction;
    (void)error;
    __atomic_store_n(&host->waiting, 1, __ATOMIC_SEQ_CST);
    vmload_poll(&pollfd, 1, deadline);
    return 0;
}

static bool host_shutdown(void *opaque, uint32_t direction, GError **error)
{
    Host *host = opaque;

    host->shut = host->shut * 10 + direction;
    if (host->error != NULL) {
        g_propagate_error(error, g_steal_pointer(&host->error));
        return false;
    }
    return true;
}

static void host_destroy(void *opaque)
{
    ((Host *)opaque)->destroyed++;
}

static const VmloadChannelOps host_ops = {
    VMLOAD_CHANNEL_OPS_INIT,
    .readv = host_readv,
    .writev = host_writev,
    .wait = host_wait,
    .shutdown = host_shutdown,
};

static VmloadChannel *host_channel(const VmloadChannelOps *ops, Host *host)
{
    GError *error = NULL;
    VmloadChannel *channel =
        vmload_channel_new_from_ops(ops, host, host_destroy, &error);

    assert_non_null(channel);
    return channel;
}

static void test_ops_table(void **state)
{
    VmloadChannelOps ops = {VMLOAD_CHANNEL_OPS_INIT, .writev = host_writev};
    Host host = {.results = {3, 0}};
    VmloadChannel *channel;
    GError *error = NULL;
    char data[4];

    (void)state;
    /* Destroyed exactly once, also on failure. */
    assert_null(vmload_channel_new_from_ops(&ops, &host, host_destroy,
                                            &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "expected readv");
    assert_int_equal(host.destroyed, 1);
    ops = host_ops;
    ops.struct_size = 1;
    assert_null(vmload_channel_new_from_ops(&ops, &host, host_destroy,
                                            &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "VmloadChannelOps");
    assert_int_equal(host.destroyed, 2);

    /* A short table: the caller's may die, the rest is NULL. */
    ops = host_ops;
    ops.struct_size = (uint32_t)offsetof(VmloadChannelOps, writev);
    channel = host_channel(&ops, &host);
    memset(&ops, 0xff, sizeof(ops));
    assert_false(vmload_channel_is_writable(channel));
    assert_false(vmload_channel_is_seekable(channel));
    assert_int_equal(read_one(channel, data, 4, NULL, &error), 3);
    assert_int_equal(read_one(channel, data, 4, NULL, &error), 0);
    assert_int_equal(vmload_channel_preadv(channel, NULL, 0, 0, NULL, &error),
                     -1);
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "offset");
    assert_true(
        vmload_channel_shutdown(channel, VMLOAD_DIRECTION_BOTH, &error));
    vmload_channel_unref(channel);
    assert_int_equal(host.destroyed, 3);
}

static void test_would_block(void **state)
{
    Host host = {
        .results = {VMLOAD_CHANNEL_WOULD_BLOCK, VMLOAD_CHANNEL_WOULD_BLOCK, 2},
        .wait_result = 1,
    };
    VmloadChannel *channel = host_channel(&host_ops, &host);
    int hooks = 0;
    const VmloadWait wait = {.begin = count, .end = count, .opaque = &hooks};
    GError *error = NULL;
    char data[4];
    struct iovec iov = {data, 4};

    (void)state;
    assert_int_equal(vmload_channel_try_readv(channel, &iov, 1, &error),
                     VMLOAD_CHANNEL_WOULD_BLOCK);
    assert_int_equal(host.waits, 0);
    assert_int_equal(read_one(channel, data, 4, &wait, &error), 2);
    assert_int_equal(host.waits, 1);
    assert_int_equal(host.direction, VMLOAD_DIRECTION_READ);
    assert_int_equal(hooks, 2);
    vmload_channel_unref(channel);
}

static void test_no_wait(void **state)
{
    VmloadChannelOps ops = host_ops;
    Host host = {.results = {VMLOAD_CHANNEL_WOULD_BLOCK}};
    VmloadChannel *channel;
    GError *error = NULL;
    char data[4];

    (void)state;
    ops.wait = NULL;
    channel = host_channel(&ops, &host);
    assert_int_equal(read_one(channel, data, 4, NULL, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "has no wait");
    vmload_channel_unref(channel);
}

static void test_write(void **state)
{
    Host host = {
        .results = {2, VMLOAD_CHANNEL_WOULD_BLOCK, 3, 1, 0},
        .wait_result = 1,
    };
    VmloadChannel *channel = host_channel(&host_ops, &host);
    GError *error = NULL;

    (void)state;
    assert_true(vmload_channel_write(channel, "abcdef", 6, NULL, &error));
    assert_memory_equal(host.written, "abcdef", 6);
    assert_int_equal(host.waits, 1);
    assert_int_equal(host.direction, VMLOAD_DIRECTION_WRITE);
    assert_true(vmload_channel_write(channel, NULL, 0, NULL, &error));
    assert_int_equal(host.n, 4);
    assert_false(vmload_channel_write(channel, "g", 1, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "wrote nothing");
    vmload_channel_unref(channel);
}

static void test_nonsense(void **state)
{
    static const struct {
        int64_t result;
        const char *part;
    } cases[] = {
        {5, "returned 5 for 4 bytes"},
        {-3, "returned -3 for 4 bytes"},
        {G_MININT64, "for 4 bytes"},
        {-1, "without saying why"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        Host host = {.results = {cases[i].result, cases[i].result}};
        VmloadChannel *channel = host_channel(&host_ops, &host);
        GError *error = NULL;
        char data[8];

        assert_int_equal(read_one(channel, data, 4, NULL, &error), -1);
        assert_unit_error(&error, VMLOAD_ERROR_FAILED, cases[i].part);
        assert_false(vmload_channel_write(channel, data, 4, NULL, &error));
        assert_unit_error(&error, VMLOAD_ERROR_FAILED, cases[i].part);
        vmload_channel_unref(channel);
    }
}

static int64_t host_preadv(void *opaque, const struct iovec *iov, uint32_t n,
                           uint64_t offset, GError **error)
{
    (void)iov;
    (void)n;
    assert_int_equal(offset, 77);
    return host_next(opaque, error);
}

/* Reads at an offset do not wait, and are checked like the others. */
static void test_preadv(void **state)
{
    VmloadChannelOps ops = host_ops;
    Host host = {.results = {4, VMLOAD_CHANNEL_WOULD_BLOCK, 5}};
    VmloadChannel *channel;
    GError *error = NULL;
    char data[4];
    struct iovec iov = {data, 4};

    (void)state;
    ops.preadv = host_preadv;
    channel = host_channel(&ops, &host);
    assert_true(vmload_channel_is_seekable(channel));
    assert_int_equal(
        vmload_channel_preadv(channel, &iov, 1, 77, NULL, &error), 4);
    assert_int_equal(
        vmload_channel_preadv(channel, &iov, 1, 77, NULL, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "would block");
    assert_int_equal(
        vmload_channel_preadv(channel, &iov, 1, 77, NULL, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "returned 5 for 4 bytes");
    vmload_channel_unref(channel);
}

static void test_host_errors(void **state)
{
    Host host = {.results = {-1, -1, VMLOAD_CHANNEL_WOULD_BLOCK},
                 .wait_result = -1};
    VmloadChannel *channel = host_channel(&host_ops, &host);
    GError *error = NULL;
    char data[4];

    (void)state;
    /* Our codes are kept, those of others are transport errors. */
    host.error = g_error_new(VMLOAD_ERROR, VMLOAD_ERROR_LIMIT, "enough");
    assert_int_equal(read_one(channel, data, 4, NULL, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "channel main: enough");
    host.error = g_error_new(G_FILE_ERROR, G_FILE_ERROR_PERM, "not you");
    assert_int_equal(read_one(channel, data, 4, NULL, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_IO, "channel main: not you");
    host.error = g_error_new(G_FILE_ERROR, G_FILE_ERROR_PERM, "no sleep");
    assert_int_equal(read_one(channel, data, 4, NULL, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_IO, "channel main: no sleep");
    vmload_channel_unref(channel);
}

static void test_shutdown_once(void **state)
{
    Host host = {.results = {1}};
    VmloadChannel *channel = host_channel(&host_ops, &host);
    GError *error = NULL;
    char byte;

    (void)state;
    assert_true(
        vmload_channel_shutdown(channel, VMLOAD_DIRECTION_WRITE, &error));
    assert_false(vmload_channel_write(channel, "x", 1, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "shut down");
    assert_int_equal(read_one(channel, &byte, 1, NULL, &error), 1);
    /* Each direction is passed on once. */
    assert_true(
        vmload_channel_shutdown(channel, VMLOAD_DIRECTION_BOTH, &error));
    assert_true(
        vmload_channel_shutdown(channel, VMLOAD_DIRECTION_READ, &error));
    assert_int_equal(host.shut, 21);
    assert_int_equal(read_one(channel, &byte, 1, NULL, &error), 0);
    vmload_channel_unref(channel);

    channel = host_channel(&host_ops, &host);
    host.error = g_error_new(G_FILE_ERROR, G_FILE_ERROR_PERM, "no end");
    assert_false(
        vmload_channel_shutdown(channel, VMLOAD_DIRECTION_READ, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "channel main: no end");
    vmload_channel_unref(channel);
}

static void test_deadline(void **state)
{
    VmloadChannelOps ops = host_ops;
    Host host = {.results = {VMLOAD_CHANNEL_WOULD_BLOCK,
                             VMLOAD_CHANNEL_WOULD_BLOCK}};
    const VmloadWait wait = {.timeout_us = 1000};
    VmloadChannel *channel;
    GError *error = NULL;
    char data[4];

    (void)state;
    ops.wait = host_wait_poll;
    channel = host_channel(&ops, &host);
    assert_int_equal(read_one(channel, data, 4, &wait, &error), -1);
    assert_unit_error(&error, VMLOAD_ERROR_TIMEOUT, "to read within 1 ms");
    assert_false(vmload_channel_write(channel, "x", 1, &wait, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TIMEOUT, "to write within 1 ms");
    vmload_channel_unref(channel);
}

/* Another thread that ends a wait, once it is in there. */
typedef struct {
    Host *host;
    VmloadChannel *channel;  /* shut down, or NULL */
    VmloadCancel *cancel;    /* fired, or NULL */
    VmloadDirection direction;
} Ender;

static void *end_wait(void *opaque)
{
    Ender *ender = opaque;

    while (__atomic_load_n(&ender->host->waiting, __ATOMIC_SEQ_CST) == 0) {
        g_usleep(100);
    }
    if (ender->channel != NULL) {
        vmload_channel_shutdown(ender->channel, ender->direction, NULL);
    } else {
        vmload_cancel_fire(ender->cancel);
    }
    return NULL;
}

/* A transport without shutdown is woken through the descriptor it gets. */
static void test_wake(void **state)
{
    static const struct {
        bool write;
        bool with_cancel;
        bool by_cancel;
    } cases[] = {
        {false, false, false}, {false, true, false}, {false, true, true},
        {true, false, false},  {true, true, false},  {true, true, true},
    };
    VmloadChannelOps ops = host_ops;
    size_t i;

    (void)state;
    ops.wait = host_wait_poll;
    ops.shutdown = NULL;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        Host host = {.results = {VMLOAD_CHANNEL_WOULD_BLOCK}};
        VmloadChannel *channel = host_channel(&ops, &host);
        GError *error = NULL;
        VmloadCancel *cancel = vmload_cancel_new(&error);
        const VmloadWait wait = {
            .cancel = cases[i].with_cancel ? cancel : NULL,
        };
        Ender ender = {
            .host = &host,
            .channel = cases[i].by_cancel ? NULL : channel,
            .cancel = cancel,
            .direction = cases[i].write ? VMLOAD_DIRECTION_WRITE
                                        : VMLOAD_DIRECTION_READ,
        };
        GThread *thread = g_thread_new("ender", end_wait, &ender);
        char byte;

        if (cases[i].write) {
            assert_false(vmload_channel_write(channel, "x", 1, &wait, &error));
            assert_unit_error(&error,
                              cases[i].by_cancel ? VMLOAD_ERROR_CANCELLED
                                                 : VMLOAD_ERROR_IO,
                              cases[i].by_cancel ? "cancelled" : "shut down");
        } else if (cases[i].by_cancel) {
            assert_int_equal(read_one(channel, &byte, 1, &wait, &error), -1);
            assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
        } else {
            assert_int_equal(read_one(channel, &byte, 1, &wait, &error), 0);
        }
        g_thread_join(thread);
        assert_int_equal(host.n, 1);
        vmload_channel_unref(channel);
        vmload_cancel_free(cancel);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_pushback),
        cmocka_unit_test(test_cancel_when_ready),
        cmocka_unit_test(test_ops_table),
        cmocka_unit_test(test_would_block),
        cmocka_unit_test(test_no_wait),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_preadv),
        cmocka_unit_test(test_host_errors),
        cmocka_unit_test(test_shutdown_once),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_wake),
    };

    return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}

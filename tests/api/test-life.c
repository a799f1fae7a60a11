/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A loader in each of its states: configuring, running (waiting for a
 * connection, for bytes, for the host) and ended. Every query answers,
 * cancel works, free returns, wrong calls are refused and change nothing.
 */
#include "api.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>

/* Far above the 10 ms that are promised: the machine may be busy. */
#define SOON_US (2 * G_USEC_PER_SEC)

typedef struct {
    VmloadLoader *loader;
    int entered;  /* atomic */
    int left;     /* atomic */
    int finished; /* atomic: calls of finish */
    int cancel_at; /* VmloadState in which to cancel from a callback, or -1 */
    bool hold;    /* finish does not answer */
    GString *states;
} Host;

static int criticals;

static void on_log(const char *domain, GLogLevelFlags level,
                   const char *message, void *opaque)
{
    (void)domain;
    (void)level;
    (void)message;
    (void)opaque;
    criticals++;
}

/* The statement is wrong use: one critical, and no more. */
#define WRONG(statement)                      \
    do {                                      \
        int before = criticals;               \
        statement;                            \
        assert_int_equal(criticals, before + 1); \
    } while (0)

static void thread_enter(void *opaque, const char *name)
{
    assert_string_equal(name, "vmload-main");
    g_atomic_int_inc(&((Host *)opaque)->entered);
}

static void thread_leave(void *opaque)
{
    g_atomic_int_inc(&((Host *)opaque)->left);
}

static void state_changed(void *opaque, VmloadState from, VmloadState to)
{
    Host *host = opaque;

    g_string_append_printf(host->states, "%d%d ", (int)from, (int)to);
    if ((int)to == host->cancel_at) {
        vmload_loader_cancel(host->loader);
    }
}

static void finish(void *opaque, VmloadLoader *loader,
                   const VmloadOutcome *outcome)
{
    Host *host = opaque;

    (void)outcome;
    g_atomic_int_inc(&host->finished);
    if (!host->hold) {
        vmload_loader_finished(loader, NULL);
    }
}

static void host_init(Host *host)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .thread_enter = thread_enter,
        .thread_leave = thread_leave,
        .state_changed = state_changed,
        .finish = finish,
    };

    memset(host, 0, sizeof(*host));
    host->cancel_at = -1;
    host->states = g_string_new(NULL);
    host->loader = vmload_loader_new(&ops, host, NULL, NULL);
    assert_non_null(host->loader);
}

static void host_clear(Host *host)
{
    vmload_loader_free(host->loader);
    assert_int_equal(host->entered, host->left);
    g_string_free(host->states, TRUE);
}

static void wait_for_state(Host *host, VmloadState state)
{
    int64_t end = g_get_monotonic_time() + SOON_US;

    while (vmload_loader_get_state(host->loader) != state) {
        assert_true(g_get_monotonic_time() < end);
        g_usleep(1000);
    }
}

/* What is for any thread in any state. */
static void query_all(VmloadLoader *loader)
{
    VmloadPosition position = {.struct_size = sizeof(position)};
    VmloadStats stats = {.struct_size = sizeof(stats)};
    VmloadLedgerEntry *ledger;
    uint64_t n = 77;

    vmload_loader_get_stats(loader, &stats);
    assert_int_equal(stats.state, vmload_loader_get_state(loader));
    vmload_loader_get_position(loader, &position);
    assert_string_equal(position.channel, "main");
    ledger = vmload_loader_get_ledger(loader, &n);
    assert_int_equal(n, 0);
    g_free(ledger);
    assert_null(vmload_loader_get_ram_block(loader, 0));
}

/* What is for configuring only. */
static void configure_wrongly(VmloadLoader *loader)
{
    const VmloadConfiguration expected = {
        .struct_size = (uint32_t)sizeof(expected),
    };
    VmloadLimits limits;

    vmload_limits_init(&limits);
    WRONG(vmload_loader_set_limits(loader, &limits));
    WRONG(vmload_loader_set_expected_configuration(loader, &expected));
    WRONG(vmload_loader_set_presence(loader, VMLOAD_PRESENCE_AUTO,
                                     VMLOAD_PRESENCE_AUTO,
                                     VMLOAD_PRESENCE_AUTO));
    WRONG(vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP));
    WRONG(vmload_loader_set_commit(loader, VMLOAD_COMMIT_ATOMIC));
    WRONG(vmload_loader_set_lock_wait(loader, VMLOAD_LOCK_WAIT_ALLOW));
    WRONG(vmload_loader_set_timeouts(loader, 1, 1));
    WRONG(vmload_loader_set_switchover_ack(loader, true,
                                           VMLOAD_SWITCHOVER_ACK_LEGACY));
    WRONG(assert_false(vmload_loader_start(loader, NULL)));
    WRONG(assert_false(vmload_loader_run(loader, 0, NULL)));
}

static void test_configuring(void **state)
{
    GError *error = NULL;
    Host host;

    (void)state;
    host_init(&host);
    assert_int_equal(vmload_loader_get_state(host.loader),
                     VMLOAD_STATE_CONFIGURING);
    query_all(host.loader);
    assert_false(vmload_loader_start(host.loader, &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "channel");
    assert_false(vmload_loader_run(host.loader, 0, &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "channel");
    WRONG(assert_false(vmload_loader_wait(host.loader, NULL)));
    assert_false(vmload_loader_send_return_path(
        host.loader, VMLOAD_RETURN_PATH_PONG, (const uint8_t *)"abcd", 4,
        &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "return path");
    assert_int_equal(vmload_loader_get_state(host.loader),
                     VMLOAD_STATE_CONFIGURING);
    /* Still good for a load. */
    vmload_loader_set_channel(host.loader, api_channel());
    assert_true(vmload_loader_start(host.loader, &error));
    assert_true(vmload_loader_wait(host.loader, &error));
    assert_int_equal(host.finished, 1);
    host_clear(&host);

    /* Freed without a start: nothing was called. */
    host_init(&host);
    vmload_loader_set_channel(host.loader, api_channel());
    host_clear(&host);
}

static void test_completed(void **state)
{
    GError *error = NULL;
    Host host;
    int i;

    (void)state;
    host_init(&host);
    vmload_loader_set_channel(host.loader, api_channel());
    assert_true(vmload_loader_start(host.loader, &error));
    for (i = 0; i < 3; i++) {
        assert_true(vmload_loader_wait(host.loader, &error));
    }
    assert_int_equal(host.entered, 1);
    assert_int_equal(host.left, 1);
    assert_string_equal(host.states->str, "01 12 24 45 ");
    host_clear(&host);
}

static void test_ended(void **state)
{
    GError *error = NULL;
    Host host;
    int i;

    (void)state;
    host_init(&host);
    vmload_loader_set_channel(host.loader, api_channel());
    assert_true(vmload_loader_run(host.loader, 0, &error));
    /* On the caller's thread: no hooks. */
    assert_int_equal(host.entered, 0);
    query_all(host.loader);
    configure_wrongly(host.loader);
    vmload_loader_cancel(host.loader);
    assert_true(vmload_loader_wait(host.loader, &error));
    assert_int_equal(vmload_loader_get_state(host.loader),
                     VMLOAD_STATE_COMPLETED);
    host_clear(&host);

    host_init(&host);
    vmload_loader_set_channel(host.loader,
                              vmload_channel_new_memory(
                                  api_stream, sizeof(api_stream) - 1, NULL,
                                  NULL));
    assert_false(vmload_loader_run(host.loader, 0, &error));
    api_assert_error(error, VMLOAD_ERROR_TRUNCATED, "EOF");
    vmload_loader_cancel(host.loader);
    for (i = 0; i < 2; i++) {
        assert_false(vmload_loader_wait(host.loader, &error));
        api_assert_error(error, VMLOAD_ERROR_TRUNCATED, "EOF");
    }
    assert_int_equal(vmload_loader_get_state(host.loader),
                     VMLOAD_STATE_FAILED);
    host_clear(&host);
}

/* What a running load is made to wait for. */
typedef enum {
    WAIT_CONNECTION,
    WAIT_BYTES,
    WAIT_HOST,
    WAIT_KINDS,
} WaitKind;

/* Starts a load that waits; *@peer must be closed if it is not -1. */
static void start_waiting(Host *host, WaitKind kind, int *peer)
{
    GError *error = NULL;

    host_init(host);
    *peer = -1;
    if (kind == WAIT_CONNECTION) {
        vmload_loader_set_listener(
            host->loader, vmload_listener_new("tcp:127.0.0.1:0", &error));
    } else if (kind == WAIT_BYTES) {
        vmload_loader_set_channel(host->loader, api_silent_channel(peer));
    } else {
        host->hold = true;
        vmload_loader_set_channel(host->loader, api_channel());
    }
    assert_null(error);
    assert_true(vmload_loader_start(host->loader, &error));
    wait_for_state(host, kind == WAIT_HOST ? VMLOAD_STATE_FINISHING
                                           : VMLOAD_STATE_WAITING);
    /* Into the wait itself. */
    g_usleep(20 * 1000);
}

static void test_running(void **state)
{
    GError *error = NULL;
    WaitKind kind;
    int64_t begin;
    Host host;
    int peer;

    (void)state;
    for (kind = 0; kind < WAIT_KINDS; kind++) {
        start_waiting(&host, kind, &peer);
        query_all(host.loader);
        configure_wrongly(host.loader);

        begin = g_get_monotonic_time();
        vmload_loader_cancel(host.loader);
        vmload_loader_cancel(host.loader);
        /* finish of a cancelled load is asked too, and may never answer. */
        assert_false(vmload_loader_wait(host.loader, &error));
        assert_true(g_get_monotonic_time() - begin < SOON_US);
        print_message("cancelled after %d us\n",
                      (int)(g_get_monotonic_time() - begin));
        api_assert_error(error, VMLOAD_ERROR_CANCELLED, "cancelled");
        assert_int_equal(vmload_loader_get_state(host.loader),
                         VMLOAD_STATE_CANCELLED);
        assert_int_equal(host.finished, 1);
        host_clear(&host);
        if (peer >= 0) {
            close(peer);
        }
    }
}

static void test_free_running(void **state)
{
    WaitKind kind;
    int64_t begin;
    Host host;
    int peer;

    (void)state;
    for (kind = 0; kind < WAIT_KINDS; kind++) {
        start_waiting(&host, kind, &peer);
        begin = g_get_monotonic_time();
        host_clear(&host);
        assert_true(g_get_monotonic_time() - begin < SOON_US);
        assert_int_equal(host.entered, 1);
        assert_int_equal(host.left, 1);
        if (peer >= 0) {
            close(peer);
        }
    }
}

static void test_cancel_before_start(void **state)
{
    GError *error = NULL;
    Host host;

    (void)state;
    host_init(&host);
    vmload_loader_set_channel(host.loader, api_channel());
    vmload_loader_cancel(host.loader);
    assert_true(vmload_loader_start(host.loader, &error));
    assert_false(vmload_loader_wait(host.loader, &error));
    api_assert_error(error, VMLOAD_ERROR_CANCELLED, "cancelled");
    host_clear(&host);
    vmload_loader_cancel(NULL);
}

/* From inside of a callback, at each state that a load passes. */
static void test_cancel_in_callback(void **state)
{
    static const VmloadState at[] = {
        VMLOAD_STATE_WAITING,
        VMLOAD_STATE_ACTIVE,
        VMLOAD_STATE_FINISHING,
    };
    GError *error = NULL;
    Host host;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(at); i++) {
        host_init(&host);
        host.cancel_at = (int)at[i];
        vmload_loader_set_channel(host.loader, api_channel());
        assert_false(vmload_loader_run(host.loader, 0, &error));
        api_assert_error(error, VMLOAD_ERROR_CANCELLED, "cancelled");
        assert_int_equal(vmload_loader_get_state(host.loader),
                         VMLOAD_STATE_CANCELLED);
        host_clear(&host);
    }
    /* Too late: the load has completed. */
    host_init(&host);
    host.cancel_at = VMLOAD_STATE_COMPLETED;
    vmload_loader_set_channel(host.loader, api_channel());
    assert_true(vmload_loader_run(host.loader, 0, &error));
    assert_true(vmload_loader_wait(host.loader, &error));
    host_clear(&host);
}

static void *answer(void *opaque)
{
    Host *host = opaque;
    GError *error = g_error_new_literal(g_quark_from_static_string("host"), 7,
                                        "no place to run");

    while (g_atomic_int_get(&host->finished) == 0) {
        g_usleep(1000);
    }
    g_usleep(10 * 1000);
    vmload_loader_finished(host->loader, error);
    g_error_free(error);
    return NULL;
}

/* The host answers later, on another thread, and says no. */
static void test_finish_elsewhere(void **state)
{
    GError *error = NULL;
    GThread *thread;
    Host host;

    (void)state;
    host_init(&host);
    host.hold = true;
    vmload_loader_set_channel(host.loader, api_channel());
    thread = g_thread_new("host", answer, &host);
    assert_false(vmload_loader_run(host.loader, 0, &error));
    api_assert_error(error, VMLOAD_ERROR_DEVICE, "no place to run");
    g_thread_join(thread);
    assert_int_equal(vmload_loader_get_state(host.loader),
                     VMLOAD_STATE_FAILED);
    WRONG(vmload_loader_finished(host.loader, NULL));
    host_clear(&host);
}

/* A monitor with a reference outlives the owner. */
static void test_reference(void **state)
{
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    VmloadLoader *loader;
    int count = 0;
    int peer;

    (void)state;
    loader = vmload_loader_new(&ops, &count, api_count, NULL);
    assert_ptr_equal(vmload_loader_ref(loader), loader);
    vmload_loader_set_channel(loader, api_silent_channel(&peer));
    assert_true(vmload_loader_start(loader, NULL));
    vmload_loader_free(loader);
    assert_int_equal(count, 0);
    assert_int_equal(vmload_loader_get_state(loader), VMLOAD_STATE_CANCELLED);
    query_all(loader);
    vmload_loader_cancel(loader);
    vmload_loader_unref(loader);
    assert_int_equal(count, 1);
    vmload_loader_unref(NULL);
    close(peer);
}

static void test_event_fd(void **state)
{
    struct pollfd events = {.events = POLLIN};
    GError *error = NULL;
    uint64_t value;
    Host host;

    (void)state;
    host_init(&host);
    events.fd = vmload_loader_get_event_fd(host.loader);
    assert_true(events.fd >= 0);
    assert_int_equal(poll(&events, 1, 0), 0);
    vmload_loader_set_channel(host.loader, api_channel());
    assert_true(vmload_loader_start(host.loader, &error));
    assert_true(vmload_loader_wait(host.loader, &error));
    assert_int_equal(poll(&events, 1, 2000), 1);
    assert_int_equal(read(events.fd, &value, sizeof(value)), sizeof(value));
    assert_int_equal(poll(&events, 1, 0), 0);
    host_clear(&host);
}

static gboolean on_state(VmloadLoader *loader, VmloadState state, void *opaque)
{
    assert_int_equal(state, vmload_loader_get_state(loader));
    if (state == VMLOAD_STATE_COMPLETED) {
        g_main_loop_quit(opaque);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

static gboolean on_late(void *opaque)
{
    (void)opaque;
    fail_msg("the source was not dispatched");
    return G_SOURCE_REMOVE;
}

static void test_source(void **state)
{
    GMainContext *context = g_main_context_new();
    GMainLoop *loop = g_main_loop_new(context, FALSE);
    GSource *late = g_timeout_source_new_seconds(10);
    GSource *source;
    Host host;

    (void)state;
    host_init(&host);
    source = vmload_loader_create_source(host.loader);
    g_source_set_callback(source, G_SOURCE_FUNC(on_state), loop, NULL);
    g_source_attach(source, context);
    g_source_set_callback(late, on_late, NULL, NULL);
    g_source_attach(late, context);
    vmload_loader_set_channel(host.loader, api_channel());
    assert_true(vmload_loader_start(host.loader, NULL));
    g_main_loop_run(loop);
    assert_true(vmload_loader_wait(host.loader, NULL));
    g_source_destroy(late);
    g_source_unref(late);
    g_source_unref(source);
    host_clear(&host);
    g_main_loop_unref(loop);
    g_main_context_unref(context);
}

/* Many threads ask and one cancels, while a load runs. */
static void *ask(void *opaque)
{
    Host *host = opaque;
    int i;

    for (i = 0; i < 200; i++) {
        VmloadStats stats = {.struct_size = sizeof(stats)};
        VmloadPosition position = {.struct_size = sizeof(position)};
        uint64_t n;

        vmload_loader_get_stats(host->loader, &stats);
        vmload_loader_get_position(host->loader, &position);
        g_free(vmload_loader_get_ledger(host->loader, &n));
        vmload_loader_get_state(host->loader);
        vmload_loader_get_ram_block(host->loader, 0);
        if (i == 150) {
            vmload_loader_cancel(host->loader);
        }
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    GThread *threads[4];
    GError *error = NULL;
    Host host;
    ssize_t sent;
    size_t i;
    int peer;

    (void)state;
    start_waiting(&host, WAIT_BYTES, &peer);
    for (i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = g_thread_new("ask", ask, &host);
    }
    /* The stream comes meanwhile, or the cancel does and closes. */
    signal(SIGPIPE, SIG_IGN);
    sent = write(peer, api_stream, sizeof(api_stream));
    assert_true(sent == (ssize_t)sizeof(api_stream) || errno == EPIPE);
    close(peer);
    if (!vmload_loader_wait(host.loader, &error)) {
        api_assert_error(error, VMLOAD_ERROR_CANCELLED, "cancelled");
    }
    for (i = 0; i < G_N_ELEMENTS(threads); i++) {
        g_thread_join(threads[i]);
    }
    host_clear(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configuring),
        cmocka_unit_test(test_completed),
        cmocka_unit_test(test_ended),
        cmocka_unit_test(test_running),
        cmocka_unit_test(test_free_running),
        cmocka_unit_test(test_cancel_before_start),
        cmocka_unit_test(test_cancel_in_callback),
        cmocka_unit_test(test_finish_elsewhere),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_event_fd),
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_many_threads),
    };

    g_log_set_handler("vmload", G_LOG_LEVEL_CRITICAL, on_log, NULL);
    return cmocka_run_group_tests_name("life", tests, NULL, NULL);
}

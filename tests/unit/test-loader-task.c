/* SPDX-License-Identifier: BSD-3-Clause */
/* Tasks: what a load waits for, and what ends with it. */
#include "unit.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vmload/vmload.h>

#include "stream-writer.h"

typedef struct {
    VmloadLoader *loader;
    VmloadTaskFunc func; /* what setup starts */
    GMutex lock;
    GThread *owner; /* atomic */
    int threads;    /* atomic: entered and not left */
    int done;       /* atomic: tasks that did their work */
    int quit;       /* atomic: tasks that were told to */
    int destroyed;  /* atomic */
    bool added;     /* setup could add its task */
    GError *late;   /* what cpu_sync_post_load got for adding another */
    int peer;       /* the source's end; -1: none */
} Host;

static void host_lock(void *opaque)
{
    Host *host = opaque;

    g_mutex_lock(&host->lock);
    __atomic_store_n(&host->owner, g_thread_self(), __ATOMIC_RELAXED);
}

static void host_unlock(void *opaque)
{
    Host *host = opaque;

    __atomic_store_n(&host->owner, NULL, __ATOMIC_RELAXED);
    g_mutex_unlock(&host->lock);
}

static void enter(void *opaque, const char *name)
{
    (void)name;
    g_atomic_int_inc(&((Host *)opaque)->threads);
}

static void leave(void *opaque)
{
    g_atomic_int_add(&((Host *)opaque)->threads, -1);
}

static void destroyed(void *opaque)
{
    g_atomic_int_inc(&((Host *)opaque)->destroyed);
}

static bool add(Host *host, VmloadTaskFunc func, GError **error)
{
    return vmload_loader_add_task(host->loader, "work", func, host, destroyed,
                                  error);
}

static bool setup(void *opaque, GError **error)
{
    Host *host = opaque;

    host->added = add(host, host->func, error);
    return host->added;
}

static bool post_load(void *opaque, GError **error)
{
    Host *host = opaque;

    (void)error;
    assert_int_equal(g_atomic_int_get(&host->done), host->destroyed);
    assert_false(add(host, host->func, &host->late));
    return true;
}

static void host_begin(Host *host, VmloadTaskFunc func, VmloadChannel *channel)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .lock = host_lock,
        .unlock = host_unlock,
        .thread_enter = enter,
        .thread_leave = leave,
        .setup = setup,
        .cpu_sync_post_load = post_load,
    };

    host->func = func;
    g_mutex_init(&host->lock);
    host->loader = vmload_loader_new(&ops, host, NULL, NULL);
    assert_non_null(host->loader);
    vmload_loader_set_channel(host->loader, channel);
}

static void host_end(Host *host)
{
    vmload_loader_free(host->loader);
    assert_int_equal(g_atomic_int_get(&host->threads), 0);
    g_mutex_clear(&host->lock);
    g_clear_error(&host->late);
}

/* A stream without devices, up to @eof or before it. */
static GByteArray *make_stream(bool eof)
{
    GByteArray *out = sw_new();

    sw_header(out);
    sw_configuration(out, "pc");
    if (eof) {
        sw_eof(out);
        sw_vmdesc(out, "{}");
    }
    return out;
}

static VmloadChannel *make_whole(void)
{
    GByteArray *out = make_stream(true);
    guint length = out->len;
    uint8_t *data = g_byte_array_free(out, FALSE);

    return vmload_channel_new_memory(data, length, g_free, data);
}

/* A source that says nothing more once the load has begun. */
static VmloadChannel *make_silent(Host *host)
{
    GByteArray *out = make_stream(false);
    int fds[2];

    sw_u8(out, SW_SECTION_START);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(send(fds[0], out->data, out->len, 0), out->len);
    g_byte_array_unref(out);
    host->peer = fds[0];
    return vmload_channel_take_fd(fds[1], NULL);
}

/* Takes a while, and the big lock. */
static bool work(VmloadTask *task, void *opaque, GError **error)
{
    Host *host = opaque;

    (void)task;
    (void)error;
    g_usleep(2000);
    host_lock(host);
    g_atomic_int_inc(&host->done);
    host_unlock(host);
    return true;
}

static bool work_in_two(VmloadTask *task, void *opaque, GError **error)
{
    (void)task;
    g_atomic_int_inc(&((Host *)opaque)->done);
    return add(opaque, work, error);
}

/* All work is done before the machine is synchronised; then none is taken. */
static void check_joined(VmloadTaskFunc func, int tasks)
{
    Host host = {.peer = -1};
    GError *error = NULL;

    host_begin(&host, func, make_whole());
    assert_true(vmload_loader_start(host.loader, NULL));
    if (!vmload_loader_wait(host.loader, &error)) {
        fail_msg("%s", error->message);
    }
    assert_int_equal(host.done, tasks);
    assert_unit_error(&host.late, VMLOAD_ERROR_FAILED, "task 'work'");
    assert_int_equal(host.destroyed, tasks + 1);
    host_end(&host);
}

static void test_joined(void **state)
{
    (void)state;
    check_joined(work, 1);
    check_joined(work_in_two, 2);
}

static bool break_it(VmloadTask *task, void *opaque, GError **error)
{
    (void)opaque;
    assert_false(vmload_task_should_quit(task));
    g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_MISMATCH, "no such buffer");
    return false;
}

/* The loading thread waits for bytes that will never come. */
static void test_failed(void **state)
{
    Host host = {0};
    GError *error = NULL;

    (void)state;
    host_begin(&host, break_it, make_silent(&host));
    assert_true(vmload_loader_start(host.loader, NULL));
    assert_false(vmload_loader_wait(host.loader, &error));
    assert_non_null(error);
    assert_string_equal(error->message, "task 'work': no such buffer");
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH, "task 'work'");
    assert_int_equal(vmload_loader_get_state(host.loader),
                     VMLOAD_STATE_FAILED);
    host_end(&host);
    close(host.peer);
}

static bool wait_to_quit(VmloadTask *task, void *opaque, GError **error)
{
    struct pollfd fd = {.fd = vmload_task_get_quit_fd(task),
                        .events = POLLIN};
    Host *host = opaque;

    assert_int_equal(poll(&fd, 1, -1), 1);
    assert_true(vmload_task_should_quit(task));
    g_atomic_int_inc(&host->quit);
    g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO, "does not matter");
    return false;
}

static bool break_beside(VmloadTask *task, void *opaque, GError **error)
{
    assert_true(add(opaque, wait_to_quit, NULL));
    return break_it(task, opaque, error);
}

/* All bytes are there: only the first failure can end the second task. */
static void test_failed_beside(void **state)
{
    Host host = {.peer = -1};
    GError *error = NULL;

    (void)state;
    host_begin(&host, break_beside, make_whole());
    assert_true(vmload_loader_start(host.loader, NULL));
    assert_false(vmload_loader_wait(host.loader, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MISMATCH, "no such buffer");
    assert_int_equal(host.quit, 1);
    assert_int_equal(host.destroyed, 2);
    host_end(&host);
}

static void test_cancel(void **state)
{
    Host host = {0};
    GError *error = NULL;

    (void)state;
    host_begin(&host, wait_to_quit, make_silent(&host));
    assert_true(vmload_loader_start(host.loader, NULL));
    /* The loading thread and the task. */
    while (g_atomic_int_get(&host.threads) < 2) {
        g_usleep(100);
    }
    vmload_loader_cancel(host.loader);
    assert_false(vmload_loader_wait(host.loader, &error));
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    assert_int_equal(host.quit, 1);
    host_end(&host);
    close(host.peer);
}

/* The stream breaks: the tasks are told. */
static void test_load_fails(void **state)
{
    Host host = {0};
    GError *error = NULL;

    (void)state;
    host_begin(&host, wait_to_quit, make_silent(&host));
    assert_true(vmload_loader_start(host.loader, NULL));
    assert_int_equal(shutdown(host.peer, SHUT_WR), 0);
    assert_false(vmload_loader_wait(host.loader, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "");
    assert_int_equal(host.quit, 1);
    assert_int_equal(host.destroyed, 1);
    host_end(&host);
    close(host.peer);
}

/* Before the load, and under the caller's lock, which nobody would give. */
static void test_refused(void **state)
{
    Host host = {.peer = -1};
    GError *error = NULL;

    (void)state;
    host_begin(&host, work, make_whole());
    assert_false(add(&host, work, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "a load that runs");
    assert_int_equal(host.destroyed, 1);
    host_lock(&host);
    assert_false(vmload_loader_run(host.loader, VMLOAD_RUN_CALLER_LOCKED,
                                   &error));
    host_unlock(&host);
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "a load that runs");
    assert_false(host.added);
    host_end(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joined),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_failed_beside),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_load_fails),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cancels at random times while recorded streams arrive in random pieces:
 * no hang, no callback after the end, none twice, and a true final state.
 * VMLOAD_CANCELS sets how many (default 1000), VMLOAD_SEED where they fall.
 */
#include "fault.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CANCELS 1000

typedef struct {
    int started; /* atomic: callbacks of each kind */
    int finished;
    int final;
    int ended; /* atomic: wait has returned */
} Host;

static void host_state_changed(void *opaque, VmloadState from,
                               VmloadState to)
{
    Host *host = opaque;

    (void)from;
    assert_int_equal(g_atomic_int_get(&host->ended), 0);
    if (to == VMLOAD_STATE_WAITING) {
        g_atomic_int_inc(&host->started);
    }
    if (to >= VMLOAD_STATE_COMPLETED) {
        g_atomic_int_inc(&host->final);
    }
}

static void host_finish(void *opaque, VmloadLoader *loader,
                        const VmloadOutcome *outcome)
{
    Host *host = opaque;

    assert_int_equal(g_atomic_int_get(&host->ended), 0);
    assert_int_equal(outcome->loaded != 0, outcome->error == NULL);
    g_atomic_int_inc(&host->finished);
    vmload_loader_finished(loader, NULL);
}

static VmloadRamBlock *announced(void *opaque, const char *idstr,
                                 uint64_t length, GError **error)
{
    (void)opaque;
    return vmload_ram_block_new(idstr, length, length,
                                vmload_ram_sink_new_null(), error);
}

static VmloadLoader *make_loader(Host *host, int fd, uint32_t options)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .state_changed = host_state_changed,
        .finish = host_finish,
    };
    VmloadLoader *loader = vmload_loader_new(&ops, host, NULL, NULL);
    VmloadChannel *channel = vmload_channel_take_fd(fd, NULL);

    assert_non_null(loader);
    assert_non_null(channel);
    vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
    vmload_loader_set_ram_announced(loader, announced, NULL, NULL);
    vmload_loader_set_presence(loader, VMLOAD_PRESENCE_AUTO,
                               VMLOAD_PRESENCE_AUTO, VMLOAD_PRESENCE_AUTO);
    if ((options & 1) != 0) {
        vmload_loader_set_commit(loader, VMLOAD_COMMIT_ATOMIC);
    }
    if ((options & 2) != 0) {
        vmload_loader_set_channel(loader, channel);
    } else {
        vmload_loader_set_listener(loader,
                                   vmload_listener_new_channel(channel));
    }
    return loader;
}

typedef struct {
    const uint8_t *data;
    size_t length;
    uint32_t seed;
    int fd;
} Sender;

/* Writes in random pieces, now and then with a pause, until refused. */
static void *sender_thread(void *opaque)
{
    Sender *sender = opaque;
    GRand *rand = g_rand_new_with_seed(sender->seed);
    size_t sent = 0;

    while (sent < sender->length) {
        size_t piece = (size_t)g_rand_int_range(rand, 1, 8192);
        ssize_t n;

        piece = MIN(piece, sender->length - sent);
        n = send(sender->fd, sender->data + sent, piece, MSG_NOSIGNAL);
        if (n <= 0) {
            break;
        }
        sent += (size_t)n;
        if (g_rand_int_range(rand, 0, 8) == 0) {
            g_usleep((gulong)g_rand_int_range(rand, 0, 200));
        }
    }
    /* Half of the peers stay there and say nothing more. */
    if (sender->seed % 2 == 0) {
        shutdown(sender->fd, SHUT_WR);
    }
    g_rand_free(rand);
    return NULL;
}

/* One load, cancelled after a random time. True if it was too late. */
static bool cancel_once(const uint8_t *data, size_t length, uint32_t seed)
{
    Sender sender = {data, length, seed, -1};
    Host host = {0};
    VmloadLoader *loader;
    GThread *thread;
    GError *error = NULL;
    VmloadState state;
    int fds[2];
    bool ok;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    sender.fd = fds[0];
    loader = make_loader(&host, fds[1], seed >> 8);
    thread = g_thread_new("sender", sender_thread, &sender);
    assert_true(vmload_loader_start(loader, NULL));
    g_usleep(seed % 700);
    vmload_loader_cancel(loader);
    ok = vmload_loader_wait(loader, &error);
    g_atomic_int_set(&host.ended, 1);
    state = vmload_loader_get_state(loader);
    assert_int_equal(ok, state == VMLOAD_STATE_COMPLETED);
    assert_int_equal(ok, error == NULL);
    if (!ok && error->code == VMLOAD_ERROR_CANCELLED) {
        assert_int_equal(state, VMLOAD_STATE_CANCELLED);
    } else if (!ok) {
        /* Only a stream that this version refuses may fail. */
        assert_int_equal(state, VMLOAD_STATE_FAILED);
        assert_int_equal(error->code, VMLOAD_ERROR_UNSUPPORTED);
    }
    g_clear_error(&error);
    vmload_loader_free(loader);
    shutdown(fds[0], SHUT_RDWR);
    g_thread_join(thread);
    close(fds[0]);
    assert_int_equal(host.started, 1);
    assert_int_equal(host.finished, 1);
    assert_int_equal(host.final, 1);
    return ok;
}

static uint32_t env_number(const char *name, uint32_t fallback)
{
    const char *text = g_getenv(name);

    return text != NULL ? (uint32_t)g_ascii_strtoull(text, NULL, 10)
                        : fallback;
}

static void test_random(void **state)
{
    uint32_t n = env_number("VMLOAD_CANCELS", CANCELS);
    uint32_t seed = env_number("VMLOAD_SEED", g_random_int());
    char **names = fault_stream_names();
    GRand *rand = g_rand_new_with_seed(seed);
    guint n_names = g_strv_length(names);
    uint32_t late = 0;
    uint32_t i;

    (void)state;
    print_message("%u cancels, seed %u\n", n, seed);
    for (i = 0; i < n; i++) {
        size_t length;
        uint8_t *data = fault_read_stream(names[i % n_names], &length);

        late += cancel_once(data, length, g_rand_int(rand)) ? 1 : 0;
        g_free(data);
    }
    print_message("%u came after the end\n", late);
    /* Else nothing was cancelled, and nothing tested. */
    assert_true(n == 0 || late < n);
    g_rand_free(rand);
    g_strfreev(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests_name("cancel", tests, NULL, NULL);
}

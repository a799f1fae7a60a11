/* SPDX-License-Identifier: BSD-3-Clause */
/* A peer that goes silent: the host is asked, and the load ends or goes on. */
#include "unit.h"

#include <sys/socket.h>
#include <unistd.h>
#include <vmload/loader.h>

#include "stream-writer.h"

typedef struct {
    uint32_t asked;
    uint32_t patience; /* how often to wait on */
    uint64_t silent_ms;
    int peer;
} Host;

static bool host_stalled(void *opaque, const char *channel,
                         uint64_t silent_ms)
{
    Host *host = opaque;
    const uint8_t eof = 0;

    assert_string_equal(channel, "main");
    host->silent_ms = silent_ms;
    host->asked++;
    if (host->asked == 2 && host->patience > 1) {
        assert_int_equal(write(host->peer, &eof, 1), 1);
        assert_int_equal(shutdown(host->peer, SHUT_WR), 0);
    }
    return host->asked <= host->patience;
}

/* A stream without its EOF. */
static GByteArray *make_stream(void)
{
    GByteArray *out = sw_new();

    sw_header(out);
    sw_configuration(out, "none");
    sw_ram_start(out, 2, 0);
    sw_ram_eos(out);
    sw_footer(out, 2);
    return out;
}

static bool load_silent(Host *host, bool ask, GError **error)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .stalled = ask ? host_stalled : NULL,
    };
    VmloadLoader *loader = vmload_loader_new(&ops, host, NULL, NULL);
    GByteArray *stream = make_stream();
    int fds[2];
    bool ok;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    host->peer = fds[0];
    assert_int_equal(write(fds[0], stream->data, stream->len), stream->len);
    vmload_loader_set_channel(loader, vmload_channel_take_fd(fds[1], NULL));
    vmload_loader_set_timeouts(loader, 0, 20);
    ok = vmload_loader_run(loader, 0, error);
    vmload_loader_free(loader);
    close(fds[0]);
    g_byte_array_unref(stream);
    return ok;
}

static void test_nobody_to_ask(void **state)
{
    Host host = {0};
    GError *error = NULL;

    (void)state;
    assert_false(load_silent(&host, false, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TIMEOUT, "main");
}

static void test_no_patience(void **state)
{
    Host host = {.patience = 1};
    GError *error = NULL;

    (void)state;
    assert_false(load_silent(&host, true, &error));
    assert_unit_error(&error, VMLOAD_ERROR_TIMEOUT, "main");
    assert_int_equal(host.asked, 2);
    assert_true(host.silent_ms >= 40);
}

static void test_patience(void **state)
{
    Host host = {.patience = 1000};
    GError *error = NULL;

    (void)state;
    assert_true(load_silent(&host, true, &error));
    assert_null(error);
    assert_int_equal(host.asked, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_to_ask),
        cmocka_unit_test(test_no_patience),
        cmocka_unit_test(test_patience),
    };

    return cmocka_run_group_tests_name("loader-watchdog", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sections that are staged and not applied: another thread cancels while
 * their parse is stuck, and what all of them may take.
 */
#include "unit.h"

#include <vmload/loader.h>

#include "stream-writer.h"

typedef struct {
    GMutex mutex;
    GCond cond;
    uint32_t parsing;  /* parses that have begun */
    uint32_t parsed;   /* objects alive */
    uint32_t applied;
    uint32_t finished; /* calls of finish */
    bool hold;         /* parses wait until this is over */
    bool fail;         /* parses fail then */
    bool late;         /* a parse was under way when the load had ended */
    bool loaded;       /* what finish was told */
    int32_t code;
} Host;

static void *device_parse(void *opaque, VmloadReader *reader,
                          const VmloadSection *section, GError **error)
{
    Host *host = opaque;
    bool ok;

    (void)section;
    g_mutex_lock(&host->mutex);
    host->parsing++;
    g_cond_broadcast(&host->cond);
    while (host->hold) {
        g_cond_wait(&host->cond, &host->mutex);
    }
    host->late |= host->finished > 0;
    ok = !host->fail;
    host->parsed += ok;
    g_mutex_unlock(&host->mutex);
    if (!ok) {
        vmload_reader_error(reader, error, VMLOAD_ERROR_MISMATCH, "no");
        return NULL;
    }
    return vmload_reader_skip(reader, 4, error) ? host : NULL;
}

static bool device_apply(void *opaque, void *parsed,
                         const VmloadSection *section, GError **error)
{
    Host *host = opaque;

    (void)section;
    (void)error;
    assert_ptr_equal(parsed, host);
    host->applied++;
    return true;
}

static void device_parsed_free(void *opaque, void *parsed)
{
    Host *host = opaque;

    assert_ptr_equal(parsed, host);
    g_mutex_lock(&host->mutex);
    host->parsed--;
    g_mutex_unlock(&host->mutex);
}

static void host_finish(void *opaque, VmloadLoader *loader,
                        const VmloadOutcome *outcome)
{
    Host *host = opaque;

    g_mutex_lock(&host->mutex);
    host->finished++;
    host->loaded = outcome->loaded != 0;
    host->code = outcome->error != NULL ? outcome->error->code : -1;
    g_mutex_unlock(&host->mutex);
    vmload_loader_finished(loader, NULL);
}

/* Devices a, b, c, ..., 4 bytes each. */
static GByteArray *make_stream(uint32_t n)
{
    GByteArray *out = sw_new();
    uint32_t i;

    sw_header(out);
    sw_configuration(out, "none");
    for (i = 0; i < n; i++) {
        const char name[] = {(char)('a' + i), '\0'};

        sw_device(out, i, name, 0, 1, "1234", 4);
    }
    sw_eof(out);
    return out;
}

/* @n concurrent devices; @after (nullable): whom all but the last await. */
static VmloadLoader *make_loader(Host *host, const GByteArray *stream,
                                 uint32_t n, const char *const *after)
{
    const VmloadHostOps host_ops = {
        VMLOAD_HOST_OPS_INIT,
        .finish = host_finish,
    };
    VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .flags = VMLOAD_DEVICE_CONCURRENT,
        .parse = device_parse,
        .apply = device_apply,
        .parsed_free = device_parsed_free,
    };
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;
    VmloadLoader *loader = vmload_loader_new(&host_ops, host, NULL, NULL);
    uint32_t i;

    plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_APPLY;
    for (i = 0; i < n; i++) {
        const char name[] = {(char)('a' + i), '\0'};

        ops.after = i < n - 1 ? after : NULL;
        assert_true(vmload_loader_add_device(loader, name, 0, 1, 1, &plan,
                                             &ops, host, NULL, NULL));
    }
    vmload_loader_set_channel(
        loader,
        vmload_channel_new_memory(stream->data, stream->len, NULL, NULL));
    return loader;
}

static void test_cancel(void **state)
{
    static const struct {
        VmloadCommit commit;
        uint32_t n;
        bool fail; /* the parse's own error is not the cause */
    } cases[] = {
        {VMLOAD_COMMIT_STREAMING, 1, false},
        {VMLOAD_COMMIT_STREAMING, 1, true},
        {VMLOAD_COMMIT_STREAMING, 26, false}, /* more than threads */
        {VMLOAD_COMMIT_ATOMIC, 1, false},
        {VMLOAD_COMMIT_ATOMIC, 26, true},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *stream = make_stream(cases[i].n);
        Host host = {.hold = true, .fail = cases[i].fail};
        VmloadLoader *loader = make_loader(&host, stream, cases[i].n, NULL);
        GError *error = NULL;

        vmload_loader_set_commit(loader, cases[i].commit);
        assert_true(vmload_loader_start(loader, NULL));
        g_mutex_lock(&host.mutex);
        while (host.parsing == 0) {
            g_cond_wait(&host.cond, &host.mutex);
        }
        g_mutex_unlock(&host.mutex);
        vmload_loader_cancel(loader);
        assert_int_not_equal(vmload_loader_get_state(loader),
                             VMLOAD_STATE_CANCELLED);
        g_mutex_lock(&host.mutex);
        host.hold = false;
        g_cond_broadcast(&host.cond);
        g_mutex_unlock(&host.mutex);
        assert_false(vmload_loader_wait(loader, &error));
        assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
        assert_int_equal(vmload_loader_get_state(loader),
                         VMLOAD_STATE_CANCELLED);
        assert_int_equal(host.finished, 1);
        assert_false(host.late);
        assert_false(host.loaded);
        assert_int_equal(host.code, VMLOAD_ERROR_CANCELLED);
        assert_int_equal(host.parsed, 0);
        assert_int_equal(host.applied, 0);
        vmload_loader_free(loader);
        g_byte_array_unref(stream);
    }
}

/* All wait for the last one: what they take together is bounded. */
static void test_staged_bytes(void **state)
{
    const char *const after[] = {"e", NULL};
    GByteArray *stream = make_stream(5);
    VmloadStats stats = {.struct_size = sizeof(stats)};
    uint64_t less;

    (void)state;
    for (less = 0; less < 3; less++) {
        Host host = {0};
        VmloadLoader *loader = make_loader(&host, stream, 5, after);
        GError *error = NULL;
        VmloadLimits limits;
        bool ok;

        vmload_limits_init(&limits);
        if (less > 0) {
            /* What was needed, then less than five of them take. */
            limits.staged_bytes = less == 1 ? stats.staged_peak_bytes : 800;
        }
        vmload_loader_set_limits(loader, &limits);
        ok = vmload_loader_run(loader, 0, &error);
        assert_int_equal(ok, less < 2);
        if (ok) {
            vmload_loader_get_stats(loader, &stats);
            assert_true(stats.staged_peak_bytes >= 5 * 4);
            assert_int_equal(host.applied, 5);
        } else {
            assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "staged_bytes");
            assert_int_equal(host.applied, 0);
        }
        assert_int_equal(host.parsed, 0);
        vmload_loader_free(loader);
    }
    g_byte_array_unref(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_staged_bytes),
    };

    return cmocka_run_group_tests_name("pending", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole recorded stream with every mutex watched: none of the library's is
 * held in a callback, and no two are taken in both orders.
 */
#include "unit.h"

#include <vmload/loader.h>

#include "lock-recorder.h"

static GMutex big_lock;
static uint32_t callbacks;

static void seen(const char *name)
{
    lock_recorder_in_callback(name);
    g_atomic_int_inc((int *)&callbacks);
}

static void host_lock(void *opaque)
{
    (void)opaque;
    seen("lock");
    g_mutex_lock(&big_lock);
}

static void host_unlock(void *opaque)
{
    (void)opaque;
    seen("unlock");
    g_mutex_unlock(&big_lock);
}

static void host_thread(void *opaque, const char *name)
{
    (void)opaque;
    seen(name);
}

static void host_thread_leave(void *opaque)
{
    (void)opaque;
    seen("thread_leave");
}

static bool host_phase(void *opaque, GError **error)
{
    (void)opaque;
    (void)error;
    seen("cpu_sync");
    return true;
}

static bool host_find(void *opaque, const VmloadSection *section,
                      VmloadDevice *device, GError **error)
{
    (void)opaque;
    (void)section;
    (void)device;
    (void)error;
    seen("find");
    return false;
}

static bool host_raw(void *opaque, const VmloadSection *section,
                     const uint8_t *data, uint64_t length, GError **error)
{
    (void)opaque;
    (void)section;
    (void)data;
    (void)length;
    (void)error;
    seen("raw_section");
    return true;
}

static void host_record(void *opaque, const VmloadRecordInfo *record)
{
    (void)opaque;
    (void)record;
    seen("record");
}

static void host_finish(void *opaque, VmloadLoader *loader,
                        const VmloadOutcome *outcome)
{
    (void)opaque;
    (void)outcome;
    seen("finish");
    vmload_loader_finished(loader, NULL);
}

static void *timer_parse(void *opaque, VmloadReader *reader,
                         const VmloadSection *section, GError **error)
{
    (void)section;
    seen("parse");
    return vmload_reader_skip(reader, 24, error) ? opaque : NULL;
}

static bool timer_apply(void *opaque, void *parsed,
                        const VmloadSection *section, GError **error)
{
    (void)opaque;
    (void)parsed;
    (void)section;
    (void)error;
    seen("apply");
    return true;
}

static VmloadRamBlock *announced(void *opaque, const char *idstr,
                                 uint64_t used_length, GError **error)
{
    (void)opaque;
    seen("announced");
    return vmload_ram_block_new(idstr, used_length, used_length,
                                vmload_ram_sink_new_null(), error);
}

static VmloadLoader *make_loader(VmloadCommit commit)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .lock = host_lock,
        .unlock = host_unlock,
        .thread_enter = host_thread,
        .thread_leave = host_thread_leave,
        .cpu_sync_pre_load = host_phase,
        .cpu_sync_post_load = host_phase,
        .find = host_find,
        .raw_section = host_raw,
        .record = host_record,
        .finish = host_finish,
    };
    const VmloadDeviceOps timer = {
        VMLOAD_DEVICE_OPS_INIT,
        .flags = VMLOAD_DEVICE_CONCURRENT,
        .parse = timer_parse,
        .apply = timer_apply,
    };
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;
    VmloadLoader *loader = vmload_loader_new(&ops, NULL, NULL, NULL);

    plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_APPLY;
    assert_non_null(loader);
    vmload_loader_set_commit(loader, commit);
    vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
    vmload_loader_set_ram_announced(loader, announced, NULL, NULL);
    assert_true(vmload_loader_add_device(loader, "timer", 0, 0, 9, &plan,
                                         &timer, &callbacks, NULL, NULL));
    return loader;
}

static void load(VmloadCommit commit)
{
    char *path = g_build_filename(g_getenv("VMLOAD_STREAMS"), "pc.stream",
                                  NULL);
    VmloadChannel *channel = vmload_channel_new_file(path, 0, NULL);
    VmloadStats stats = {.struct_size = sizeof(stats)};
    GError *error = NULL;
    VmloadLoader *loader;
    uint64_t n;

    assert_non_null(channel);
    lock_recorder_reset(&big_lock);
    loader = make_loader(commit);
    vmload_loader_set_channel(loader, channel);
    assert_true(vmload_loader_start(loader, &error));
    while (vmload_loader_get_state(loader) < VMLOAD_STATE_COMPLETED) {
        vmload_loader_get_stats(loader, &stats);
        g_free(vmload_loader_get_ledger(loader, &n));
    }
    if (!vmload_loader_wait(loader, &error)) {
        fail_msg("%s", error->message);
    }
    vmload_loader_free(loader);
    g_free(path);
    assert_int_equal(lock_recorder_failures(), 0);
    /* It was watching. */
    assert_true(lock_recorder_taken() > 50);
    assert_true(callbacks > 50);
}

static void test_streaming(void **state)
{
    (void)state;
    load(VMLOAD_COMMIT_STREAMING);
}

static void test_atomic(void **state)
{
    (void)state;
    load(VMLOAD_COMMIT_ATOMIC);
}

/* ThreadSanitizer rightly finds fault with the next test. */
#ifdef __SANITIZE_THREAD__
#define HAVE_TSAN true
#else
#define HAVE_TSAN false
#endif

/* The recorder sees what it is there for. */
static void test_recorder(void **state)
{
    static GMutex a;
    static GMutex b;

    (void)state;
    if (HAVE_TSAN) {
        skip();
    }
    lock_recorder_reset(&big_lock);
    g_mutex_lock(&a);
    g_mutex_lock(&b);
    g_mutex_unlock(&b);
    assert_int_equal(lock_recorder_failures(), 0);
    lock_recorder_in_callback("a callback of this test");
    assert_int_equal(lock_recorder_failures(), 1);
    g_mutex_unlock(&a);
    g_mutex_lock(&b);
    g_mutex_lock(&a);
    assert_int_equal(lock_recorder_failures(), 2);
    g_mutex_unlock(&a);
    g_mutex_lock(&big_lock);
    assert_int_equal(lock_recorder_failures(), 3);
    g_mutex_unlock(&big_lock);
    g_mutex_unlock(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorder),
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_atomic),
    };

    return cmocka_run_group_tests_name("lock-order", tests, NULL, NULL);
}

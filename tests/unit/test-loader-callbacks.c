/* SPDX-License-Identifier: BSD-3-Clause */
/* Which callbacks come, in which order, with which lock, on which thread. */
#include "loader-fixture.h"

static const uint8_t payload[8] = {1, 2, 3, 4, 5, 6, 7, 8};

static void write_two(Fake *fake)
{
    sw_device(fake->out, 5, "cpu", 0, 1, payload, 8);
    sw_device(fake->out, 6, "rtc", 0, 2, payload, 4);
    sw_eof(fake->out);
}

static void test_order(void **state)
{
    VmloadHostOps ops = fake_ops();
    FakeDevice cpu = {0};
    FakeDevice rtc = {0};
    Fake fake;

    (void)state;
    ops.configuration = fake_configuration;
    ops.state_changed = fake_state;
    fake_init(&fake, &ops);
    fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_device_ops);
    fake_add(&fake, &rtc, "rtc", 4, NULL, &fake_device_ops);
    write_two(&fake);
    fake_run_ok(&fake);
    assert_true(fake.thread != g_thread_self());
    /* pre, post, and setup, load, all_loaded, cleanup of two devices. */
    assert_int_equal(fake.locks, 10);
    fake_clear(&fake, "0>1 1>2 configuration:none setup:cpu setup:rtc "
                      "pre_load load:cpu:full load:rtc:full all_loaded:cpu "
                      "all_loaded:rtc post_load 2>4 finish cleanup:cpu "
                      "cleanup:rtc 4>5");
    assert_int_equal(cpu.destroyed, 1);
    assert_int_equal(rtc.destroyed, 1);
}

static void test_classes(void **state)
{
    const VmloadLockPlan apply = {.struct_size = sizeof(apply),
                                  .full = VMLOAD_LOCK_APPLY};
    const VmloadLockPlan none = {.struct_size = sizeof(none),
                                 .start = VMLOAD_LOCK_NONE,
                                 .part = VMLOAD_LOCK_NONE,
                                 .end = VMLOAD_LOCK_NONE,
                                 .full = VMLOAD_LOCK_NONE};
    FakeDevice cpu = {0};
    FakeDevice rtc = {0};
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    fake_add(&fake, &cpu, "cpu", 8, &apply, &fake_plain_ops);
    fake_add(&fake, &rtc, "rtc", 4, &none, &fake_none_ops);
    write_two(&fake);
    fake_run_ok(&fake);
    /* pre, apply, post. */
    assert_int_equal(fake.locks, 3);
    fake_clear(&fake, "pre_load parse:cpu:full apply:cpu:full -free:cpu "
                      "none:rtc:full post_load finish");
}

/* START, PART, END of one device under a class each (stream format, 2.3). */
static void test_kinds(void **state)
{
    const VmloadLockPlan plan = {.struct_size = sizeof(plan),
                                 .start = VMLOAD_LOCK_WHOLE,
                                 .part = VMLOAD_LOCK_APPLY,
                                 .end = VMLOAD_LOCK_WHOLE,
                                 .full = VMLOAD_LOCK_APPLY};
    FakeDevice device = {0};
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    fake_add(&fake, &device, "vfio", 8, &plan, &fake_plain_ops);
    sw_section_start(fake.out, 3, "vfio", 0, 1);
    sw_bytes(fake.out, payload, 8);
    sw_footer(fake.out, 3);
    sw_section_part(fake.out, 3);
    sw_bytes(fake.out, payload, 8);
    sw_footer(fake.out, 3);
    sw_section_end(fake.out, 3);
    sw_bytes(fake.out, payload, 8);
    sw_footer(fake.out, 3);
    sw_section_end(fake.out, 3);
    sw_bytes(fake.out, payload, 8);
    sw_footer(fake.out, 3);
    /* A FULL section under the id of a START, and once more. */
    sw_device(fake.out, 3, "vfio", 0, 2, payload, 8);
    sw_device(fake.out, 3, "vfio", 0, 2, payload, 8);
    sw_eof(fake.out);
    fake_run_ok(&fake);
    fake_clear(&fake,
               "pre_load load:vfio:start parse:vfio:part apply:vfio:part "
               "-free:vfio load:vfio:end load:vfio:end parse:vfio:full "
               "apply:vfio:full -free:vfio parse:vfio:full apply:vfio:full "
               "-free:vfio post_load finish");
}

typedef struct {
    Fake fake; /* first: the host's opaque */
    FakeDevice device;
    bool known;
} Finder;

static const VmloadLockPlan *finder_plan(void *opaque,
                                         const VmloadSection *section)
{
    static const VmloadLockPlan apply = {.struct_size = sizeof(apply),
                                         .full = VMLOAD_LOCK_APPLY};

    fake_note(opaque, false, NULL, "plan");
    return section->section_id == 6 ? &apply : NULL;
}

static bool finder_find(void *opaque, const VmloadSection *section,
                        VmloadDevice *device, GError **error)
{
    Finder *finder = opaque;

    (void)section;
    if (!fake_note(&finder->fake, true, error, "find") || !finder->known) {
        return false;
    }
    device->min_version = 1;
    device->max_version = 2;
    device->ops = &fake_plain_ops;
    device->opaque = &finder->device;
    return true;
}

static void finder_init(Finder *finder, bool known)
{
    VmloadHostOps ops = fake_ops();

    ops.plan = finder_plan;
    ops.find = finder_find;
    fake_init(&finder->fake, &ops);
    finder->known = known;
    finder->device = (FakeDevice){.fake = &finder->fake, .name = "found",
                                  .take = 4};
    sw_device(finder->fake.out, 5, "cpu", 0, 1, payload, 4);
    sw_device(finder->fake.out, 6, "rtc", 0, 2, payload, 4);
    sw_eof(finder->fake.out);
}

/* WHOLE is found in the hold of its load, APPLY in one of its own. */
static void test_found(void **state)
{
    Finder finder = {0};

    (void)state;
    finder_init(&finder, true);
    fake_run_ok(&finder.fake);
    /* pre, find and load, find, apply, post. */
    assert_int_equal(finder.fake.locks, 5);
    fake_clear(&finder.fake,
               "pre_load plan find load:found:full plan find "
               "parse:found:full apply:found:full -free:found post_load "
               "finish");
}

static void test_not_found(void **state)
{
    Finder finder = {0};

    (void)state;
    finder_init(&finder, false);
    fake_run_fails(&finder.fake, VMLOAD_ERROR_MISMATCH,
                   "section 'cpu' instance 0 at 0x11: expected a known "
                   "device, found 'cpu' instance 0");
    fake_clear(&finder.fake, "pre_load plan find finish-failed");
    finder_init(&finder, true);
    finder.fake.refuse = "find";
    fake_run_fails(&finder.fake, VMLOAD_ERROR_DEVICE, "refused by the test");
    fake_clear(&finder.fake, "pre_load plan find finish-failed");
}

/* Each callback in turn fails, with an error of its own domain and without. */
static void test_refusals(void **state)
{
    static const struct {
        const char *name;
        const char *log;
    } cases[] = {
        {"configuration:none", "configuration:none finish-failed cleanup:cpu"},
        {"setup:cpu", "configuration:none setup:cpu finish-failed "
                      "cleanup:cpu"},
        {"pre_load", "configuration:none setup:cpu pre_load finish-failed "
                     "cleanup:cpu"},
        {"load:cpu:full", "configuration:none setup:cpu pre_load "
                          "load:cpu:full finish-failed cleanup:cpu"},
        {"all_loaded:cpu", "configuration:none setup:cpu pre_load "
                           "load:cpu:full all_loaded:cpu finish-failed "
                           "cleanup:cpu"},
        {"post_load", "configuration:none setup:cpu pre_load load:cpu:full "
                      "all_loaded:cpu post_load finish-failed cleanup:cpu"},
        {"finish", "configuration:none setup:cpu pre_load load:cpu:full "
                   "all_loaded:cpu post_load finish cleanup:cpu"},
    };
    VmloadHostOps ops = fake_ops();
    size_t i;

    (void)state;
    ops.configuration = fake_configuration;
    for (i = 0; i < 2 * G_N_ELEMENTS(cases) - 1; i++) {
        FakeDevice cpu = {0};
        Fake fake;

        fake_init(&fake, &ops);
        fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_device_ops);
        fake.refuse = cases[i / 2].name;
        fake.silent = i % 2 != 0;
        sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
        sw_eof(fake.out);
        fake_run_fails(&fake, VMLOAD_ERROR_DEVICE,
                       fake.silent ? "refused without saying why"
                                   : "refused by the test");
        fake_clear(&fake, cases[i / 2].log);
        assert_int_equal(cpu.destroyed, 1);
    }
}

static void test_apply_refuses(void **state)
{
    const VmloadLockPlan apply = {.struct_size = sizeof(apply),
                                  .full = VMLOAD_LOCK_APPLY};
    static const char *const names[] = {"parse:cpu:full", "apply:cpu:full"};
    static const char *const logs[] = {
        "pre_load parse:cpu:full finish-failed",
        "pre_load parse:cpu:full apply:cpu:full -free:cpu finish-failed"};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(names); i++) {
        FakeDevice cpu = {0};
        Fake fake;

        fake_init(&fake, NULL);
        fake_add(&fake, &cpu, "cpu", 8, &apply, &fake_plain_ops);
        fake.refuse = names[i];
        sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
        sw_eof(fake.out);
        fake_run_fails(&fake, VMLOAD_ERROR_DEVICE, "refused by the test");
        fake_clear(&fake, logs[i]);
    }
}

/* What a device consumes must be the section; WHOLE and APPLY. */
static void test_consumed(void **state)
{
    const VmloadLockPlan apply = {.struct_size = sizeof(apply),
                                  .full = VMLOAD_LOCK_APPLY};
    static const struct {
        uint32_t take;
        bool ignore;
        const char *part;
    } cases[] = {
        {7, false, "expected a section footer (0x7e), found 0x08"},
        {9, false, "expected a section footer (0x7e), found 0x00"},
        {0, false, "expected a section footer (0x7e), found 0x01"},
        {4000, false, "its device wants more"},
        {4000, true, "its device wants more"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(cases); i++) {
        bool parses = i % 2 != 0;
        FakeDevice cpu = {.ignore = cases[i / 2].ignore};
        Fake fake;

        fake_init(&fake, NULL);
        vmload_loader_set_presence(fake.loader, VMLOAD_PRESENCE_REQUIRED,
                                   VMLOAD_PRESENCE_REQUIRED,
                                   VMLOAD_PRESENCE_AUTO);
        fake_add(&fake, &cpu, "cpu", cases[i / 2].take,
                 parses ? &apply : NULL, &fake_plain_ops);
        sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
        sw_eof(fake.out);
        /* A parse is asked again and again, until the bytes end. */
        fake_run_fails(&fake,
                       parses && cases[i / 2].take > 100
                           ? VMLOAD_ERROR_TRUNCATED
                           : VMLOAD_ERROR_MALFORMED,
                       cases[i / 2].part);
        /* A device that parses first is not touched. */
        assert_null(strstr(fake.log->str, "apply"));
        fake_clear(&fake, NULL);
    }
}

/* A device that reads short and says nothing: the read's error counts. */
static bool peek_and_forget(void *opaque, VmloadReader *reader,
                            const VmloadSection *section, GError **error)
{
    (void)opaque;
    (void)section;
    (void)error;
    vmload_reader_skip(reader, 8, NULL);
    vmload_reader_error(reader, NULL, VMLOAD_ERROR_MISMATCH,
                        "expected %d, found %d", 1, 2);
    return true;
}

static void test_sticky(void **state)
{
    const VmloadDeviceOps ops = {VMLOAD_DEVICE_OPS_INIT,
                                 .load = peek_and_forget};
    FakeDevice cpu = {0};
    Fake fake;
    int atomic;

    (void)state;
    for (atomic = 0; atomic < 2; atomic++) {
        fake_init(&fake, NULL);
        vmload_loader_set_commit(fake.loader, atomic != 0
                                                  ? VMLOAD_COMMIT_ATOMIC
                                                  : VMLOAD_COMMIT_STREAMING);
        fake_add(&fake, &cpu, "cpu", 8, NULL, &ops);
        sw_device(fake.out, 5, "cpu", 0, 1, payload, 8);
        sw_eof(fake.out);
        fake_run_fails(&fake, VMLOAD_ERROR_MISMATCH,
                       "offset 0x2a: expected 1, found 2");
        fake_clear(&fake, "pre_load finish-failed");
    }
}

static void test_versions(void **state)
{
    static const uint32_t versions[] = {0, 3, UINT32_MAX};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(versions); i++) {
        FakeDevice cpu = {0};
        Fake fake;

        fake_init(&fake, NULL);
        fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_plain_ops);
        sw_device(fake.out, 5, "cpu", 0, versions[i], payload, 8);
        sw_eof(fake.out);
        fake_run_fails(&fake, VMLOAD_ERROR_UNSUPPORTED,
                       "section 'cpu' instance 0 at 0x11: expected version 1 "
                       "to 2, found");
        fake_clear(&fake, "pre_load finish-failed");
    }
}

/* Under the caller's lock: no call of lock or unlock at all. */
static void test_caller_locked(void **state)
{
    VmloadStats stats = {.struct_size = sizeof(stats)};
    GError *error = NULL;
    FakeDevice cpu = {0};
    FakeDevice rtc = {0};
    Fake fake;

    (void)state;
    fake_init(&fake, NULL);
    fake_add(&fake, &cpu, "cpu", 8, NULL, &fake_device_ops);
    fake_add(&fake, &rtc, "rtc", 4, NULL, &fake_device_ops);
    write_two(&fake);
    fake_feed(&fake);
    fake_lock(&fake);
    fake.caller_locked = true;
    assert_true(vmload_loader_run(fake.loader, VMLOAD_RUN_CALLER_LOCKED,
                                  &error));
    assert_true(fake_is_held(&fake));
    assert_int_equal(fake.locks, 1);
    assert_ptr_equal(fake.thread, g_thread_self());
    vmload_loader_get_stats(fake.loader, &stats);
    assert_int_equal(stats.lock_holds, 0);
    assert_int_equal(stats.lock_held_total_ns, 0);
    assert_int_equal(stats.sections, 2);
    fake_unlock(&fake);
    fake_clear(&fake, "setup:cpu setup:rtc pre_load load:cpu:full "
                      "load:rtc:full all_loaded:cpu all_loaded:rtc "
                      "post_load finish cleanup:cpu cleanup:rtc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_not_found),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_apply_refuses),
        cmocka_unit_test(test_consumed),
        cmocka_unit_test(test_sticky),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_caller_locked),
    };

    return cmocka_run_group_tests_name("loader-callbacks", tests, NULL, NULL);
}

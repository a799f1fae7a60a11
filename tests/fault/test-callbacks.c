/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's nth callback fails, for every n: the load fails, says which
 * callback it was, and everything is cleaned up (fault_run() checks that).
 */
#include "fault.h"

static void fail_each(FaultRun *options, const uint8_t *data, size_t length,
                      const char *const *expected)
{
    GHashTable *seen = g_hash_table_new(g_str_hash, g_str_equal);
    unsigned n;
    size_t i;

    for (n = 1; n < 10000; n++) {
        FaultRun run = *options;

        run.fail_at = n;
        fault_run(&run, data, length);
        if (run.failed == NULL) {
            assert_int_equal(run.code, FAULT_COMPLETED);
            fault_clear(&run);
            break;
        }
        if (run.code != VMLOAD_ERROR_DEVICE ||
            strstr(run.message, "refused by the test") == NULL) {
            fail_msg("%s failed: code %d: %s", run.failed, run.code,
                     run.message != NULL ? run.message : "completed");
        }
        g_hash_table_add(seen, (void *)run.failed);
        fault_clear(&run);
    }
    print_message("%u callbacks\n", n - 1);
    for (i = 0; expected[i] != NULL; i++) {
        if (!g_hash_table_contains(seen, expected[i])) {
            fail_msg("%s never failed", expected[i]);
        }
    }
    g_hash_table_unref(seen);
}

static void test_devices(void **state)
{
    static const char *const expected[] = {
        "configuration", "cpu_sync_pre_load", "cpu_sync_post_load", "command",
        "vmdescription", "setup", "load", "parse", "apply", "all_loaded",
        "write", "zero", "read", "sink finish", "finish", NULL,
    };
    GByteArray *good = fault_good_stream();
    FaultRun options = {0};

    (void)state;
    fail_each(&options, good->data, good->len, expected);
    options.atomic = true;
    fail_each(&options, good->data, good->len, expected);
    g_byte_array_unref(good);
}

static void test_recorded(void **state)
{
    static const char *const expected[] = {
        "configuration", "cpu_sync_pre_load", "cpu_sync_post_load",
        "raw_section", "announced", "vmdescription", "finish", NULL,
    };
    FaultRun options = {.take_all = true};
    size_t length;
    uint8_t *data = fault_read_stream("pc.stream", &length);

    (void)state;
    fail_each(&options, data, length, expected);
    options.atomic = true;
    fail_each(&options, data, length, expected);
    g_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_recorded),
    };

    return cmocka_run_group_tests_name("callbacks", tests, NULL, NULL);
}

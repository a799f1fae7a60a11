/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The nth allocation of a size that the stream decides is refused, for every
 * n until the load passes: an error, never a crash, never success. The
 * linker puts the wrappers in front of GLib's functions (meson.build).
 */
#include "fault.h"

static unsigned count;
static unsigned refuse_at;
static bool refused;

static bool is_refused(void)
{
    count++;
    if (count == refuse_at) {
        refused = true;
        return true;
    }
    return false;
}

#define WRAP(name, parameters, arguments)           \
    void *__real_##name parameters;                 \
    void *__wrap_##name parameters;                 \
    void *__wrap_##name parameters                  \
    {                                               \
        return is_refused() ? NULL : __real_##name arguments; \
    }

WRAP(g_try_malloc, (gsize n), (n))
WRAP(g_try_malloc0, (gsize n), (n))
WRAP(g_try_realloc, (void *p, gsize n), (p, n))
WRAP(g_try_malloc_n, (gsize n, gsize size), (n, size))
WRAP(g_try_malloc0_n, (gsize n, gsize size), (n, size))
WRAP(g_try_realloc_n, (void *p, gsize n, gsize size), (p, n, size))

static void refuse_each(const FaultRun *options, const uint8_t *data,
                        size_t length, unsigned at_least)
{
    unsigned n;

    for (n = 1; n < 10000; n++) {
        FaultRun run = *options;

        count = 0;
        refuse_at = n;
        refused = false;
        fault_run(&run, data, length);
        refuse_at = 0;
        if (!refused) {
            assert_int_equal(run.code, FAULT_COMPLETED);
            fault_clear(&run);
            break;
        }
        if (run.code != VMLOAD_ERROR_LIMIT) {
            fail_msg("allocation %u refused: code %d: %s", n, run.code,
                     run.message != NULL ? run.message : "completed");
        }
        fault_clear(&run);
    }
    print_message("%u allocations\n", n - 1);
    /* As many as the format makes necessary: the wrappers do work. */
    if (n <= at_least) {
        fail_msg("expected more than %u allocations, found %u", at_least,
                 n - 1);
    }
}

static void test_devices(void **state)
{
    GByteArray *good = fault_good_stream();
    FaultRun options = {0};

    (void)state;
    refuse_each(&options, good->data, good->len, 4);
    options.atomic = true;
    refuse_each(&options, good->data, good->len, 7);
    g_byte_array_unref(good);
}

static void test_recorded(void **state)
{
    FaultRun options = {.take_all = true};
    size_t length;
    uint8_t *data = fault_read_stream("xbzrle.stream", &length);

    (void)state;
    refuse_each(&options, data, length, 4);
    options.atomic = true;
    refuse_each(&options, data, length, 10);
    g_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_recorded),
    };

    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}

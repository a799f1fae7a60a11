/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stream that ends too early, anywhere: never success before its EOF, and
 * the error says that it ended. Small streams are cut at every byte, large
 * ones where records begin, a byte before and after, and at 1000 places.
 */
#include "fault.h"

#define SMALL 4096
#define RANDOM_CUTS 1000

typedef struct {
    const char *name;
    const uint8_t *data;
    uint64_t blind; /* from here on a zero byte looks like EOF */
    uint64_t eof;
    int whole; /* code of the whole stream */
    bool old_machine;
    bool require_vmdesc;
    bool atomic;
} Cut;

static void check_cut(const Cut *cut, uint64_t at)
{
    FaultRun run = {
        .take_all = true,
        .old_machine = cut->old_machine,
        .require_vmdesc = cut->require_vmdesc,
        .atomic = cut->atomic,
    };

    fault_run(&run, cut->data, at);
    if (run.code == FAULT_COMPLETED && at <= cut->eof &&
        !(at > cut->blind && cut->data[at - 1] == VMLOAD_RECORD_EOF)) {
        fail_msg("%s cut at %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
                 ": loaded", cut->name, at, cut->eof);
    }
    /* The description, where it is required, is missing or cut. */
    if (run.code != FAULT_COMPLETED && run.code != VMLOAD_ERROR_TRUNCATED &&
        run.code != cut->whole && !cut->require_vmdesc) {
        fail_msg("%s cut at %" G_GUINT64_FORMAT ": code %d: %s", cut->name, at,
                 run.code, run.message);
    }
    /* Messages name the place. */
    if (run.code == VMLOAD_ERROR_TRUNCATED) {
        assert_non_null(strstr(run.message, "offset 0x"));
        assert_true(run.position.offset <= at);
    }
    fault_clear(&run);
}

/*
 * Machine types before 2.4 write no footers, so an unknown device's section
 * is whatever comes, and behind a zero byte nothing tells a cut from EOF. The
 * description tells; without it too (before 2.3) nothing does in a loader
 * that does not know the devices.
 */
static void set_old_machine(Cut *cut, const FaultRun *whole)
{
    cut->old_machine = true;
    cut->require_vmdesc = g_str_has_prefix(cut->name, "pc-2.3");
    if (!cut->require_vmdesc) {
        cut->blind = whole->first_full;
    }
}

static bool is_old_machine(const char *name)
{
    return g_str_has_prefix(name, "pc-2.3") || g_str_has_prefix(name, "pc-2.2");
}

static void cut_stream(const char *name, bool atomic)
{
    size_t length;
    uint8_t *data = fault_read_stream(name, &length);
    GRand *rand = g_rand_new_with_seed(20);
    FaultRun whole = {
        .take_all = true,
        .old_machine = is_old_machine(name),
        .atomic = atomic,
    };
    Cut cut = {.name = name, .data = data, .atomic = atomic};
    uint64_t i;

    fault_run(&whole, data, length);
    cut.whole = whole.code;
    cut.eof = whole.code == FAULT_COMPLETED ? whole.eof : length;
    cut.blind = length;
    if (whole.old_machine) {
        set_old_machine(&cut, &whole);
    }
    if (whole.code != FAULT_COMPLETED &&
        whole.code != VMLOAD_ERROR_UNSUPPORTED) {
        fail_msg("%s: code %d: %s", name, whole.code, whole.message);
    }
    if (length <= SMALL) {
        for (i = 0; i < length; i++) {
            check_cut(&cut, i);
        }
    } else {
        for (i = 0; i < whole.edges->len; i++) {
            uint64_t edge = g_array_index(whole.edges, uint64_t, i);

            check_cut(&cut, edge - 1);
            check_cut(&cut, edge);
            check_cut(&cut, edge + 1);
        }
        for (i = 0; i < RANDOM_CUTS; i++) {
            check_cut(&cut, (uint64_t)g_rand_int_range(rand, 0,
                                                       (gint32)length));
        }
    }
    fault_clear(&whole);
    g_rand_free(rand);
    g_free(data);
}

static void test_recorded(void **state)
{
    char **names = fault_stream_names();
    size_t i;

    (void)state;
    for (i = 0; names[i] != NULL; i++) {
        cut_stream(names[i], false);
    }
    g_strfreev(names);
}

static void test_recorded_atomic(void **state)
{
    (void)state;
    cut_stream("none.stream", true);
    cut_stream("q35.stream", true);
}

/* With devices known by code, every cut is noticed. */
static void test_devices(void **state)
{
    GByteArray *good = fault_good_stream();
    FaultRun whole = {0};
    uint64_t i;
    int atomic;

    (void)state;
    fault_run(&whole, good->data, good->len);
    assert_int_equal(whole.code, FAULT_COMPLETED);
    for (atomic = 0; atomic < 2; atomic++) {
        for (i = 0; i < good->len; i++) {
            FaultRun run = {.atomic = atomic != 0, .require_vmdesc = true};

            fault_run(&run, good->data, i);
            assert_int_not_equal(run.code, FAULT_COMPLETED);
            if (run.code != VMLOAD_ERROR_TRUNCATED &&
                (i <= whole.eof || run.code != VMLOAD_ERROR_MALFORMED)) {
                fail_msg("cut at %" G_GUINT64_FORMAT ": code %d: %s", i,
                         run.code, run.message);
            }
            fault_clear(&run);
        }
    }
    fault_clear(&whole);
    g_byte_array_unref(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_recorded_atomic),
    };

    return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}

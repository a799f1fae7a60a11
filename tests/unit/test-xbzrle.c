/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "ram/xbzrle.h"

#define P 4096

/* A delta that QEMU sent: two counters at 0x100 and 0x800. */
static void test_real_vector(void **state)
{
    static const uint8_t delta[] = {
        0x80, 0x02, 0x02, 0xc7, 0x75, 0xfe, 0x0d, 0x02, 0x71, 0x38,
    };
    uint8_t page[P];
    uint8_t expected[P];
    GError *error = NULL;

    (void)state;
    memset(page, 0xa5, sizeof(page));
    memset(expected, 0xa5, sizeof(expected));
    expected[0x100] = 0xc7;
    expected[0x101] = 0x75;
    expected[0x800] = 0x71;
    expected[0x801] = 0x38;
    assert_true(vmload_xbzrle_decode(page, P, delta, sizeof(delta), &error));
    assert_memory_equal(page, expected, P);
}

typedef struct {
    const char *name;
    uint64_t page_size;
    uint64_t length;
    uint8_t delta[16];
    const char *part; /* of the error; NULL: it is good */
    uint8_t page[8];  /* what becomes of eight bytes 0xee */
} Case;

#define EE 0xee

static const Case cases[] = {
    {"nothing", 8, 0, {0}, NULL, {EE, EE, EE, EE, EE, EE, EE, EE}},
    {"from the start", 8, 4, {0, 2, 1, 2}, NULL,
     {1, 2, EE, EE, EE, EE, EE, EE}},
    {"the whole page", 8, 10, {0, 8, 1, 2, 3, 4, 5, 6, 7, 8}, NULL,
     {1, 2, 3, 4, 5, 6, 7, 8}},
    {"the last byte", 8, 3, {7, 1, 9}, NULL,
     {EE, EE, EE, EE, EE, EE, EE, 9}},
    {"two runs", 8, 6, {1, 1, 5, 3, 1, 6}, NULL,
     {EE, 5, EE, EE, EE, 6, EE, EE}},
    {"long form of a small number", 8, 4, {0x82, 0, 1, 7}, NULL,
     {EE, EE, 7, EE, EE, EE, EE, EE}},
    {"long form of zero at the start", 8, 4, {0x80, 0, 1, 7}, NULL,
     {7, EE, EE, EE, EE, EE, EE, EE}},

    {"one byte", 8, 1, {0}, "byte 0: expected a run's length", {0}},
    {"only unchanged", 8, 2, {8, 0}, "byte 1: expected a run's length", {0}},
    {"long unchanged, then the end", 8, 2, {0x81, 0},
     "byte 2: expected a run's length", {0}},
    {"three-byte length", 8, 4, {0x80, 0x80, 0x01, 0}, "found a third", {0}},
    {"three-byte changed length", 8, 5, {0, 0x81, 0x80, 0x01, 0},
     "byte 1: expected a length of at most two bytes", {0}},
    {"unchanged past the page", 8, 4, {9, 1, 1, 1},
     "expected at most 8 unchanged bytes, found 9", {0}},
    {"unchanged far past", 8, 4, {0xff, 0x7f, 1, 1}, "found 16383", {0}},
    {"second unchanged past the page", 8, 6, {4, 2, 1, 1, 3, 1},
     "byte 4: expected at most 2 unchanged bytes, found 3", {0}},
    {"no changed bytes", 8, 4, {1, 0, 1, 1}, "found 0", {0}},
    {"no unchanged bytes later", 8, 6, {0, 1, 5, 0, 1, 6},
     "byte 3: expected unchanged bytes, found a run of 0", {0}},
    {"changed past the page", 8, 6, {6, 3, 1, 2, 3, 4},
     "byte 1: expected 1 to 2 changed bytes, found 3", {0}},
    {"changed at the very end", 8, 3, {8, 1, 1},
     "expected 1 to 0 changed bytes, found 1", {0}},
    {"changed past the delta", 8, 4, {0, 3, 1, 2},
     "byte 1: expected 1 to 2 changed bytes, found 3", {0}},
    {"changed far past the delta", 4096, 4, {0, 0xff, 0x1f, 1},
     "found 4095", {0}},
    {"a byte too many", 8, 4, {0, 1, 1, 7},
     "byte 3: expected a run's length and what it counts, found 1 bytes",
     {0}},
};

static void test_table(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        /* Exact allocations: a byte too far is seen by the sanitizers. */
        uint8_t *page = g_malloc(cases[i].page_size);
        uint8_t *delta = g_malloc(MAX(cases[i].length, 1));
        GError *error = NULL;
        bool ok;

        memset(page, 0xee, cases[i].page_size);
        memcpy(delta, cases[i].delta, cases[i].length);
        ok = vmload_xbzrle_decode(page, cases[i].page_size, delta,
                                  cases[i].length, &error);
        if (ok != (cases[i].part == NULL)) {
            fail_msg("%s: %s", cases[i].name,
                     error != NULL ? error->message : "accepted");
        }
        if (ok) {
            assert_memory_equal(page, cases[i].page, 8);
        } else {
            assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, cases[i].part);
        }
        g_free(delta);
        g_free(page);
    }
}

static void put_length(GByteArray *out, uint64_t value)
{
    uint8_t bytes[2] = {(uint8_t)(value & 0x7f), (uint8_t)(value >> 7)};

    if (value >= 0x80) {
        bytes[0] |= 0x80;
    }
    g_byte_array_append(out, bytes, value >= 0x80 ? 2 : 1);
}

/* What a source does: runs of equal and of different bytes. */
static void encode(GByteArray *out, const uint8_t *before,
                   const uint8_t *after)
{
    uint64_t i = 0;

    while (i < P) {
        uint64_t start = i;
        uint64_t changed;

        while (i < P && before[i] == after[i]) {
            i++;
        }
        if (i == P) {
            return;
        }
        put_length(out, i - start);
        changed = i;
        while (i < P && before[i] != after[i]) {
            i++;
        }
        put_length(out, i - changed);
        g_byte_array_append(out, after + changed, (guint)(i - changed));
    }
}

static void test_round_trip(void **state)
{
    GRand *rand = g_rand_new_with_seed(4);
    int round;

    (void)state;
    for (round = 0; round < 500; round++) {
        GByteArray *delta = g_byte_array_new();
        uint8_t before[P];
        uint8_t after[P];
        GError *error = NULL;
        int changes = g_rand_int_range(rand, 0, 60);
        int i;

        for (i = 0; i < P; i++) {
            before[i] = (uint8_t)g_rand_int(rand);
        }
        memcpy(after, before, P);
        for (i = 0; i < changes; i++) {
            int at = g_rand_int_range(rand, 0, P);
            int end = at + g_rand_int_range(rand, 1, 300);

            for (; at < end && at < P; at++) {
                after[at] ^= 0xff;
            }
        }
        encode(delta, before, after);
        assert_true(vmload_xbzrle_decode(before, P, delta->data, delta->len,
                                         &error));
        assert_memory_equal(before, after, P);
        g_byte_array_unref(delta);
    }
    g_rand_free(rand);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_vector),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_round_trip),
    };

    return cmocka_run_group_tests_name("xbzrle", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What a JSON text may cost, told before anything is allocated for it. */
#include "unit.h"

#include "device/vmdesc.h"

static bool prescan(const char *json, uint32_t depth, uint64_t memory,
                    GError **error)
{
    return vmload_vmdesc_prescan(json, strlen(json), depth, memory, error);
}

/* The deepest place counts; brackets in strings do not. */
static void test_depth(void **state)
{
    static const struct {
        const char *json;
        uint32_t depth;
    } cases[] = {
        {"", 0},
        {"1", 0},
        {"[]", 1},
        {"[[],[],{}]", 2},
        {"{\"a\":[{}]}", 3},
        {"\"[[[\"", 0},
        {"[\"\\\"[[\"]", 1},
        {"[\"\\\\\",[]]", 2},
        {"]]]][", 1},
        {"[[[", 3},
    };
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        if (!prescan(cases[i].json, cases[i].depth, 100000, &error)) {
            fail_msg("%s: %s", cases[i].json, error->message);
        }
        if (cases[i].depth > 0) {
            assert_false(prescan(cases[i].json, cases[i].depth - 1, 100000,
                                 &error));
            assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "'nesting'");
        }
    }
}

static void test_place(void **state)
{
    GError *error = NULL;

    (void)state;
    assert_false(prescan("[1, [2, {", 2, 100000, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT,
                      "JSON position 8: nested more than 2 deep");
    assert_false(prescan("[1, 2, \"3\"", 2, 300, &error));
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT,
                      "JSON position 9: needs more memory");
}

/* Each element costs something: a short text cannot ask for much. */
static void test_memory(void **state)
{
    static const char *const repeated[] = {"[]", "{}", "\"\"", ",", ":"};
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(repeated); i++) {
        GString *text = g_string_new(NULL);

        while (text->len < 10000) {
            g_string_append(text, repeated[i]);
        }
        assert_false(prescan(text->str, 1, 100000, &error));
        assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "'element-bytes'");
        assert_true(prescan(text->str, 1, 256 * 10000, &error));
        g_string_free(text, TRUE);
    }
    /* A string costs its length, too. */
    assert_true(prescan("\"aaaaaaaaaa\"", 1, 200, &error));
    assert_false(prescan("\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", 1, 200,
                         &error));
    g_clear_error(&error);
}

/* The text may end anywhere, also behind a backslash: not a byte more. */
static void test_end(void **state)
{
    static const char *const cut[] = {"\"", "\"a", "\"\\", "\"\\\"", "[\"\\"};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cut); i++) {
        size_t length = strlen(cut[i]);
        /* A copy without NUL, for sanitizers. */
        char *text = g_malloc(length);

        memcpy(text, cut[i], length);
        assert_true(vmload_vmdesc_prescan(text, length, 1, 100000, NULL));
        g_free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_place),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_end),
    };

    return cmocka_run_group_tests_name("vmdesc-prescan", tests, NULL, NULL);
}

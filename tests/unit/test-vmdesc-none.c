/* SPDX-License-Identifier: BSD-3-Clause */
/* A build without Jansson says so. */
#include "unit.h"

#include <vmload/vmdesc.h>

static void test_unsupported(void **state)
{
    const char *json = "{\"page_size\": 4096, \"devices\": []}";
    GError *error = NULL;

    (void)state;
    assert_null(vmload_vmdesc_new(json, strlen(json), NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "'vmdesc'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unsupported),
    };

    return cmocka_run_group_tests_name("vmdesc-none", tests, NULL, NULL);
}

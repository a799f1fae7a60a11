/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include <errno.h>
#include <sys/stat.h>

#include "error.h"

static void test_fail(void **state)
{
    GError *error = NULL;

    (void)state;
    assert_false(vmload_fail(&error, VMLOAD_ERROR_LIMIT,
                             "expected %u, found %s", 3u, "100%s"));
    assert_string_equal(error->message, "expected 3, found 100%s");
    assert_unit_error(&error, VMLOAD_ERROR_LIMIT, "");
    /* Nobody wants to know. */
    assert_false(vmload_fail(NULL, VMLOAD_ERROR_LIMIT, "%s", "unheard"));
    assert_false(vmload_fail_errno(NULL, EIO, "%s", "unheard"));
}

/* What the system says is behind what was tried; errno itself is not read. */
static void test_fail_errno(void **state)
{
    GError *error = NULL;
    char *expected = g_strdup_printf("open '%%s': %s", g_strerror(ENOENT));

    (void)state;
    errno = EPERM;
    assert_false(vmload_fail_errno(&error, ENOENT, "open '%s'", "%s"));
    assert_string_equal(error->message, expected);
    assert_unit_error(&error, VMLOAD_ERROR_IO, "");
    g_free(expected);
}

static void test_file_type(void **state)
{
    (void)state;
    assert_string_equal(vmload_file_type(S_IFREG | 0644), "a regular file");
    assert_string_equal(vmload_file_type(S_IFDIR | 0755), "a directory");
    assert_string_equal(vmload_file_type(S_IFCHR), "a character device");
    assert_string_equal(vmload_file_type(S_IFBLK), "a block device");
    assert_string_equal(vmload_file_type(S_IFIFO), "a pipe");
    assert_string_equal(vmload_file_type(S_IFSOCK), "a socket");
    assert_string_equal(vmload_file_type(0), "a file of another type");
}

/* The domain's name is part of the ABI: hosts compare and print it. */
static void test_domain(void **state)
{
    (void)state;
    assert_string_equal(g_quark_to_string(vmload_error_quark()),
                        "vmload-error-quark");
    assert_int_equal(vmload_error_quark(), vmload_error_quark());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_fail_errno),
        cmocka_unit_test(test_file_type),
        cmocka_unit_test(test_domain),
    };

    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What a build without RDMA libraries has in place of RDMA. */
#include "unit.h"

/* The whole of it, in any build: only one of the two is in the library. */
#include "channel/rdma/none.c"

static void test_listener(void **state)
{
    GError *error = NULL;
    VmloadUri uri = {.host = (char *)"h", .port = (char *)"4444"};

    (void)state;
    assert_null(vmload_rdma_listener_new(&uri, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED,
                      "address rdma:h:4444: this library was built without "
                      "RDMA");
    uri.host = NULL;
    assert_null(vmload_rdma_listener_new(&uri, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "rdma::4444:");
    assert_null(vmload_rdma_listener_new(&uri, NULL));
}

/* Callers that have no listener may hold, ask and drop what they have. */
static void test_nothing(void **state)
{
    GError *error = NULL;

    (void)state;
    assert_null(vmload_rdma_listener_ref(NULL));
    vmload_rdma_listener_unref(NULL);
    assert_null(vmload_rdma_listener_get_address(NULL));
    assert_null(vmload_rdma_listener_accept(NULL, NULL, 0, NULL, NULL,
                                            &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "without RDMA");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listener),
        cmocka_unit_test(test_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every function that takes a destroy notify calls it exactly once, also
 * when it fails; what is taken is freed, also when it fails.
 */
#include "api.h"

static bool any_load(void *opaque, VmloadReader *reader,
                     const VmloadSection *section, GError **error)
{
    (void)opaque;
    (void)reader;
    (void)section;
    (void)error;
    return true;
}

static const VmloadHostOps host_ops = {VMLOAD_HOST_OPS_INIT};
static const VmloadDeviceOps device_ops = {VMLOAD_DEVICE_OPS_INIT,
                                           .load = any_load};

/* A table that is longer than the library's, with its surplus in use. */
typedef struct {
    VmloadHostOps ops;
    void *surplus;
} LongHostOps;

typedef struct {
    VmloadDeviceOps ops;
    void *surplus;
} LongDeviceOps;

static VmloadLoader *new_loader(void)
{
    VmloadLoader *loader = vmload_loader_new(&host_ops, NULL, NULL, NULL);

    assert_non_null(loader);
    return loader;
}

static void test_loader(void **state)
{
    LongHostOps longer = {{VMLOAD_HOST_OPS_INIT}, NULL};
    VmloadHostOps half = {VMLOAD_HOST_OPS_INIT, .lock = api_count};
    GError *error = NULL;
    VmloadLoader *loader;
    int count = 0;

    (void)state;
    loader = vmload_loader_new(&host_ops, &count, api_count, &error);
    assert_non_null(loader);
    assert_int_equal(count, 0);
    vmload_loader_free(loader);
    assert_int_equal(count, 1);

    assert_null(vmload_loader_new(&half, &count, api_count, &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "unlock");
    assert_int_equal(count, 2);

    longer.ops.struct_size = sizeof(longer);
    longer.surplus = &longer;
    assert_null(vmload_loader_new(&longer.ops, &count, api_count, &error));
    api_assert_error(error, VMLOAD_ERROR_UNSUPPORTED, "VmloadHostOps");
    assert_int_equal(count, 3);
    /* Nobody asks: still once. */
    assert_null(vmload_loader_new(&longer.ops, &count, api_count, NULL));
    assert_int_equal(count, 4);
    vmload_loader_free(NULL);
}

static void test_device(void **state)
{
    VmloadLoader *loader = new_loader();
    LongDeviceOps longer = {device_ops, &longer};
    const VmloadDeviceOps nothing = {VMLOAD_DEVICE_OPS_INIT};
    VmloadLockPlan apply = VMLOAD_LOCK_PLAN_INIT;
    GError *error = NULL;
    char *name = g_strnfill(256, 'x');
    int good = 0;
    int bad = 0;

    (void)state;
    apply.part = VMLOAD_LOCK_APPLY;
    longer.ops.struct_size = sizeof(longer);
    assert_true(vmload_loader_add_device(loader, "a", 0, 1, 1, NULL,
                                         &device_ops, &good, api_count,
                                         &error));
    assert_false(vmload_loader_add_device(loader, "a", 0, 1, 1, NULL,
                                          &device_ops, &bad, api_count,
                                          &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "'a'");
    assert_int_equal(bad, 1);
    assert_false(vmload_loader_add_device(loader, "b", 0, 1, 1, NULL,
                                          &nothing, &bad, api_count, &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "");
    assert_int_equal(bad, 2);
    assert_false(vmload_loader_add_device(loader, "b", 0, 1, 1, &apply,
                                          &device_ops, &bad, api_count,
                                          &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "");
    assert_int_equal(bad, 3);
    assert_false(vmload_loader_add_device(loader, "b", 0, 1, 1, NULL,
                                          &longer.ops, &bad, api_count,
                                          &error));
    api_assert_error(error, VMLOAD_ERROR_UNSUPPORTED, "VmloadDeviceOps");
    assert_int_equal(bad, 4);
    assert_false(vmload_loader_add_device(loader, "", 0, 1, 1, NULL,
                                          &device_ops, &bad, api_count,
                                          &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "");
    assert_false(vmload_loader_add_device(loader, name, 0, 1, 1, NULL,
                                          &device_ops, &bad, api_count,
                                          &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "");
    assert_int_equal(bad, 6);
    assert_int_equal(good, 0);
    vmload_loader_free(loader);
    assert_int_equal(good, 1);
    assert_int_equal(bad, 6);
    g_free(name);
}

static VmloadRamBlock *no_block(void *opaque, const char *idstr,
                                uint64_t length, GError **error)
{
    (void)opaque;
    (void)idstr;
    (void)length;
    (void)error;
    return NULL;
}

static void test_announced(void **state)
{
    VmloadLoader *loader = new_loader();
    int first = 0;
    int second = 0;

    (void)state;
    vmload_loader_set_ram_announced(loader, no_block, &first, api_count);
    vmload_loader_set_ram_announced(loader, no_block, &second, api_count);
    assert_int_equal(first, 1);
    assert_int_equal(second, 0);
    vmload_loader_free(loader);
    assert_int_equal(first, 1);
    assert_int_equal(second, 1);
}

static int64_t any_readv(void *opaque, const struct iovec *iov, uint32_t n,
                         GError **error)
{
    (void)opaque;
    (void)iov;
    (void)n;
    (void)error;
    return 0;
}

static int64_t any_peek(void *opaque, uint32_t n, const uint8_t **data,
                        GError **error)
{
    (void)opaque;
    (void)n;
    (void)data;
    (void)error;
    return 0;
}

static void any_consume(void *opaque, uint32_t n)
{
    (void)opaque;
    (void)n;
}

static void test_channel(void **state)
{
    VmloadChannelOps ops = {VMLOAD_CHANNEL_OPS_INIT, .readv = any_readv};
    VmloadSourceOps source = {
        VMLOAD_SOURCE_OPS_INIT,
        .peek = any_peek,
        .consume = any_consume,
    };
    GError *error = NULL;
    VmloadChannel *channel;
    int count = 0;

    (void)state;
    channel = vmload_channel_new_memory(api_stream, sizeof(api_stream),
                                        api_count, &count);
    assert_ptr_equal(vmload_channel_ref(channel), channel);
    vmload_channel_unref(channel);
    assert_int_equal(count, 0);
    vmload_channel_unref(channel);
    assert_int_equal(count, 1);

    channel = vmload_channel_new_from_ops(&ops, &count, api_count, &error);
    assert_non_null(channel);
    vmload_channel_unref(channel);
    assert_int_equal(count, 2);
    ops.readv = NULL;
    assert_null(vmload_channel_new_from_ops(&ops, &count, api_count, &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "readv");
    assert_int_equal(count, 3);

    channel = vmload_channel_new_from_source(&source, &count, api_count,
                                             &error);
    assert_non_null(channel);
    vmload_channel_unref(channel);
    assert_int_equal(count, 4);
    source.peek = NULL;
    assert_null(vmload_channel_new_from_source(&source, &count, api_count,
                                               &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "peek");
    assert_int_equal(count, 5);

    /* The loader lets go of it, run or not. */
    channel = vmload_channel_new_memory(api_stream, sizeof(api_stream),
                                        api_count, &count);
    {
        VmloadLoader *loader = new_loader();

        vmload_loader_set_channel(loader, channel);
        assert_true(vmload_loader_run(loader, 0, &error));
        vmload_loader_free(loader);
    }
    assert_int_equal(count, 6);
    vmload_channel_unref(NULL);
}

static void test_listener(void **state)
{
    VmloadLoader *loader = new_loader();
    int count = 0;
    VmloadListener *listener = vmload_listener_new_channel(
        vmload_channel_new_memory(api_stream, sizeof(api_stream), api_count,
                                  &count));

    (void)state;
    vmload_loader_set_listener(loader, listener);
    vmload_loader_free(loader);
    assert_int_equal(count, 1);
    vmload_listener_free(NULL);
}

static bool any_write(void *opaque, uint64_t offset, const uint8_t *data,
                      uint64_t length, GError **error)
{
    (void)opaque;
    (void)offset;
    (void)data;
    (void)length;
    (void)error;
    return true;
}

static bool any_zero(void *opaque, uint64_t offset, uint64_t length,
                     GError **error)
{
    return any_write(opaque, offset, NULL, length, error);
}

static const VmloadRamSinkOps sink_ops = {
    VMLOAD_RAM_SINK_OPS_INIT,
    .write = any_write,
    .zero = any_zero,
};

static void test_sink(void **state)
{
    VmloadRamSinkOps nothing = {VMLOAD_RAM_SINK_OPS_INIT};
    GError *error = NULL;
    VmloadRamSink *sink;
    int count = 0;

    (void)state;
    sink = vmload_ram_sink_new_from_ops(&sink_ops, &count, api_count, &error);
    assert_non_null(sink);
    vmload_ram_sink_free(sink);
    assert_int_equal(count, 1);
    assert_null(vmload_ram_sink_new_from_ops(&nothing, &count, api_count,
                                             &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "");
    assert_int_equal(count, 2);
    vmload_ram_sink_free(NULL);
}

static VmloadRamBlock *new_block(const char *idstr, int *count)
{
    VmloadRamBlock *block = vmload_ram_block_new(
        idstr, 0x1000, 0x2000,
        vmload_ram_sink_new_from_ops(&sink_ops, count, api_count, NULL),
        NULL);

    assert_non_null(block);
    return block;
}

static bool any_resize(void *opaque, VmloadRamBlock *block, uint64_t length,
                       GError **error)
{
    (void)opaque;
    (void)block;
    (void)length;
    (void)error;
    return true;
}

static void test_block(void **state)
{
    VmloadLoader *loader = new_loader();
    GError *error = NULL;
    VmloadRamBlock *block;
    int first = 0;
    int second = 0;
    int resize = 0;

    (void)state;
    block = new_block("a", &first);
    vmload_ram_block_set_resize(block, any_resize, &resize, api_count);
    vmload_ram_block_set_resize(block, any_resize, &resize, api_count);
    assert_int_equal(resize, 1);
    assert_true(vmload_loader_add_ram_block(loader, block, &error));
    assert_false(vmload_loader_add_ram_block(loader, new_block("a", &second),
                                             &error));
    api_assert_error(error, VMLOAD_ERROR_FAILED, "'a'");
    assert_int_equal(second, 1);
    assert_int_equal(first, 0);

    /* A block that cannot be made frees its sink. */
    assert_null(vmload_ram_block_new(
        "b", 0x2000, 0x1000,
        vmload_ram_sink_new_from_ops(&sink_ops, &second, api_count, NULL),
        &error));
    assert_non_null(error);
    g_clear_error(&error);
    assert_int_equal(second, 2);
    vmload_loader_free(loader);
    assert_int_equal(first, 1);
    assert_int_equal(resize, 2);
    vmload_ram_block_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loader),   cmocka_unit_test(test_device),
        cmocka_unit_test(test_announced), cmocka_unit_test(test_channel),
        cmocka_unit_test(test_listener), cmocka_unit_test(test_sink),
        cmocka_unit_test(test_block),
    };

    return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}

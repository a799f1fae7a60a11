/* SPDX-License-Identifier: BSD-3-Clause */
/* A channel over memory: reads of each shape, at each place. */
#include "unit.h"

#include "channel/channel.h"

#define SIZE 12

static const uint8_t data[SIZE] = "0123456789ab";

/* Each place and each split of a read into three, one of them empty. */
static void test_shapes(void **state)
{
    guint at;
    guint first;
    guint last;

    (void)state;
    for (at = 0; at <= SIZE; at++) {
        for (first = 1; first <= SIZE; first++) {
            for (last = 0; last <= SIZE; last++) {
                uint8_t out[2 * SIZE + 1];
                struct iovec iov[3] = {
                    {out, first}, {NULL, 0}, {out + first, last}};
                VmloadChannel *channel =
                    vmload_channel_new_memory(data, SIZE, NULL, NULL);
                guint want = MIN(first + last, SIZE - at);
                struct iovec skip = {out, at};

                if (at > 0) {
                    assert_int_equal(
                        vmload_channel_readv(channel, &skip, 1, NULL, NULL),
                        at);
                }
                /* Nothing behind what was read is touched. */
                memset(out, 0xee, sizeof(out));
                assert_int_equal(
                    vmload_channel_readv(channel, iov, 3, NULL, NULL), want);
                assert_memory_equal(out, data + at, want);
                assert_int_equal(out[want], 0xee);
                memset(out, 0xee, sizeof(out));
                assert_int_equal(
                    vmload_channel_preadv(channel, iov, 3, at, NULL, NULL),
                    want);
                assert_memory_equal(out, data + at, want);
                assert_int_equal(out[want], 0xee);
                vmload_channel_unref(channel);
            }
        }
    }
}

static void test_far(void **state)
{
    static const uint64_t offsets[] = {SIZE, SIZE + 1, INT64_MAX,
                                       (uint64_t)INT64_MAX + 1, UINT64_MAX};
    VmloadChannel *channel =
        vmload_channel_new_memory(data, SIZE, NULL, NULL);
    uint8_t out[SIZE];
    struct iovec iov = {out, SIZE};
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(offsets); i++) {
        assert_int_equal(vmload_channel_preadv(channel, &iov, 1, offsets[i],
                                               NULL, &error),
                         0);
        assert_null(error);
    }
    /* Where the stream stands has not moved. */
    assert_int_equal(vmload_channel_readv(channel, &iov, 1, NULL, NULL), SIZE);
    vmload_channel_unref(channel);
}

static void count(void *opaque)
{
    ++*(int *)opaque;
}

static void test_empty(void **state)
{
    int destroyed = 0;
    VmloadChannel *channel =
        vmload_channel_new_memory(NULL, 0, count, &destroyed);
    uint8_t byte;
    struct iovec iov = {&byte, 1};
    GError *error = NULL;

    (void)state;
    assert_non_null(channel);
    assert_int_equal(vmload_channel_readv(channel, &iov, 1, NULL, &error), 0);
    assert_int_equal(vmload_channel_readv(channel, &iov, 1, NULL, &error), 0);
    assert_null(error);
    assert_int_equal(destroyed, 0);
    vmload_channel_unref(channel);
    assert_int_equal(destroyed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_far),
        cmocka_unit_test(test_empty),
    };

    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Sinks with memory behind them by themselves: memory, memfd, digest. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ram/block.h"

#define MIB ((uint64_t)1024 * 1024)

static VmloadRamBlock *attach(VmloadRamSink *sink, uint64_t length,
                              uint64_t max_length)
{
    GError *error = NULL;
    VmloadRamBlock *block;

    assert_non_null(sink);
    block = vmload_ram_block_new("r", length, max_length, sink, &error);
    if (block == NULL) {
        fail_msg("%s", error->message);
    }
    return block;
}

/* The host's own memory: written to as it is, and nobody else's. */
static void test_memory(void **state)
{
    uint8_t memory[64];
    VmloadRamSink *sink = vmload_ram_sink_new_memory(memory);
    VmloadRamBlock *block = attach(sink, 32, 64);
    bool stored;

    (void)state;
    memset(memory, 0xcc, sizeof(memory));
    assert_ptr_equal(sink->host, memory);
    /* What it holds is not known: the first zero page has to be stored. */
    assert_false(sink->starts_zero);
    assert_true(vmload_sink_write(sink, 8, (const uint8_t *)"abcd", 4, NULL));
    assert_memory_equal(memory + 7, "\xcc" "abcd\xcc", 6);
    assert_true(vmload_sink_zero(sink, 8, 2, &stored, NULL));
    assert_true(stored);
    assert_memory_equal(memory + 7, "\xcc\0\0cd\xcc", 6);
    assert_true(vmload_sink_zero(sink, 8, 2, &stored, NULL));
    assert_false(stored);
    assert_int_equal(vmload_ram_sink_get_fd(sink), -1);
    assert_null(vmload_ram_sink_get_digest(sink));
    vmload_ram_block_free(block);
    assert_int_equal(memory[10], 'c');
}

/* A file of the maximum length, shared, zero at first, closed at the end. */
static void test_memfd(void **state)
{
    VmloadRamSink *sink = vmload_ram_sink_new_memfd("test", NULL);
    VmloadRamBlock *block = attach(sink, MIB, 4 * MIB);
    int fd = vmload_ram_sink_get_fd(sink);
    struct stat st;
    uint8_t got[4];

    (void)state;
    assert_true(sink->starts_zero);
    assert_true(vmload_bytes_are_zero(sink->host, 4 * MIB));
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 4 * MIB);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true(vmload_sink_write(sink, 3 * MIB, (const uint8_t *)"abcd", 4,
                                  NULL));
    assert_int_equal(pread(fd, got, 4, (off_t)(3 * MIB)), 4);
    assert_memory_equal(got, "abcd", 4);
    assert_int_equal(pwrite(fd, "x", 1, (off_t)(3 * MIB)), 1);
    assert_int_equal(sink->host[3 * MIB], 'x');
    /* Shrinking keeps the mapping: a later page of the stream may come. */
    assert_true(vmload_sink_resize(sink, 4096, NULL));
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 4 * MIB);
    vmload_ram_block_free(block);
    errno = 0;
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
}

/* More than can be had: an error with the block's name, and no leak. */
static void test_too_large(void **state)
{
    VmloadRamSink *sinks[] = {vmload_ram_sink_new_memfd("test", NULL),
                              vmload_ram_sink_new_digest()};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(sinks); i++) {
        GError *error = NULL;

        assert_null(vmload_ram_block_new("pc.ram", 4096, INT64_MAX, sinks[i],
                                         &error));
        assert_unit_error(&error, VMLOAD_ERROR_IO, "RAM block 'pc.ram': ");
    }
}

typedef struct {
    int calls;
    int refuse_at; /* 0: never */
} Checker;

static bool check(void *opaque, GError **error)
{
    Checker *checker = opaque;

    if (++checker->calls != checker->refuse_at) {
        return true;
    }
    g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_CANCELLED, "cancelled");
    return false;
}

/* Over the length in use; what is behind it does not count. */
static void test_digest(void **state)
{
    Checker checker = {0};
    const VmloadRamEnv env = {.check = check, .opaque = &checker};
    VmloadRamSink *sink = vmload_ram_sink_new_digest();
    VmloadRamBlock *block = attach(sink, MIB, 4 * MIB);
    const char *digest;
    char *sum;

    (void)state;
    memset(sink->host, 0x5a, 4 * MIB);
    assert_true(vmload_sink_resize(sink, 2 * MIB + 1, NULL));
    assert_null(vmload_ram_sink_get_digest(sink));
    assert_int_equal(vmload_ram_sink_get_fd(sink), -1);
    assert_true(vmload_sink_finish(sink, &env, NULL));
    /* A cancel is looked for before each MiB. */
    assert_int_equal(checker.calls, 3);
    digest = vmload_ram_sink_get_digest(sink);
    sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, sink->host,
                                      2 * MIB + 1);
    assert_string_equal(digest, sum);
    /* Once: the text that somebody has stays where it is. */
    sink->host[0] = 0;
    assert_true(vmload_sink_finish(sink, &env, NULL));
    assert_ptr_equal(vmload_ram_sink_get_digest(sink), digest);
    assert_int_equal(checker.calls, 3);
    g_free(sum);
    vmload_ram_block_free(block);
}

/* Of nothing but zeros, as `head -c 4096 /dev/zero | sha256sum` says. */
static void test_digest_of_zeros(void **state)
{
    const VmloadRamEnv env = {.check = NULL};
    VmloadRamSink *sink = vmload_ram_sink_new_digest();
    VmloadRamBlock *block = attach(sink, 4096, 4096);

    (void)state;
    assert_true(sink->starts_zero);
    assert_true(vmload_sink_finish(sink, &env, NULL));
    assert_string_equal(
        vmload_ram_sink_get_digest(sink),
        "ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7");
    vmload_ram_block_free(block);
}

/* Cancelled on the way: the error, and no digest of a part. */
static void test_digest_cancelled(void **state)
{
    Checker checker = {.refuse_at = 2};
    const VmloadRamEnv env = {.check = check, .opaque = &checker};
    VmloadRamSink *sink = vmload_ram_sink_new_digest();
    VmloadRamBlock *block = attach(sink, 4 * MIB, 4 * MIB);
    GError *error = NULL;

    (void)state;
    assert_false(vmload_sink_finish(sink, &env, &error));
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    assert_int_equal(checker.calls, 2);
    assert_null(vmload_ram_sink_get_digest(sink));
    vmload_ram_block_free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memfd),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_digest_of_zeros),
        cmocka_unit_test(test_digest_cancelled),
    };

    return cmocka_run_group_tests_name("ram-sink-memory", tests, NULL, NULL);
}

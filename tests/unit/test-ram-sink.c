/* SPDX-License-Identifier: BSD-3-Clause */
/* Each kind of sink gets the same stream and must hold the same bytes. */
#include "ram-fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define P FIXTURE_PAGE
#define PAGES 1024

/* What the block must hold at the end. */
static uint8_t expected[PAGES * P];

/*
 * Pages in order, out of order, over each other, zeros over content, deltas
 * over pages just written and over pages never written.
 */
static void write_stream(GByteArray *out)
{
    uint64_t i;

    memset(expected, 0, sizeof(expected));
    sw_ram_mem_size(out, sizeof(expected));
    sw_ram_block(out, "r", sizeof(expected));
    sw_ram_zero(out, "r", 0, 0);
    for (i = 1; i < 600; i++) {
        fixture_page(out, NULL, i, (uint8_t)i);
        memset(expected + i * P, (uint8_t)i, P);
    }
    sw_ram_xbzrle(out, NULL, 599 * P, "\x02\x01\x99", 3);
    expected[599 * P + 2] = 0x99;
    sw_ram_zero(out, NULL, 598 * P, 0);
    memset(expected + 598 * P, 0, P);
    sw_ram_zero(out, NULL, 598 * P, 0);
    for (i = 1000; i > 700; i -= 7) {
        fixture_page(out, NULL, i, 0x77);
        memset(expected + i * P, 0x77, P);
    }
    sw_ram_xbzrle(out, NULL, 1023 * P, "\x00\x02\x12\x13", 4);
    expected[1023 * P] = 0x12;
    expected[1023 * P + 1] = 0x13;
    fixture_page(out, NULL, 3, 0xab);
    memset(expected + 3 * P, 0xab, P);
    sw_ram_eos(out);
}

/* Takes @sink. The block is at *@block until @ram is freed. */
static VmloadRam *load_into(VmloadRamSink *sink, VmloadRamBlock **block)
{
    VmloadRam *ram = vmload_ram_new(NULL);
    GByteArray *out = sw_new();
    GError *error = NULL;

    assert_non_null(sink);
    fixture_add(ram, "r", sizeof(expected), sizeof(expected), sink, 0);
    *block = vmload_ram_get_block(ram, 0);
    write_stream(out);
    if (!fixture_load_ram(ram, out, NULL, &error) ||
        !vmload_ram_finish(ram, &error)) {
        fail_msg("%s", error->message);
    }
    /* Once at the end, and no more. */
    assert_true(vmload_ram_finish(ram, &error));
    g_byte_array_unref(out);
    return ram;
}

static void test_memory(void **state)
{
    uint8_t *memory = g_malloc0(sizeof(expected));
    VmloadRamBlock *block;
    VmloadRam *ram = load_into(vmload_ram_sink_new_memory(memory), &block);

    (void)state;
    assert_memory_equal(memory, expected, sizeof(expected));
    assert_int_equal(vmload_ram_sink_get_fd(vmload_ram_block_get_sink(block)),
                     -1);
    assert_null(vmload_ram_sink_get_digest(vmload_ram_block_get_sink(block)));
    vmload_ram_free(ram);
    g_free(memory);
}

/* The fd holds the bytes, and nothing where no page came. */
static void assert_fd(int fd)
{
    uint8_t *got = g_malloc(sizeof(expected));
    struct stat st;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, sizeof(expected));
    assert_int_equal(pread(fd, got, sizeof(expected), 0), sizeof(expected));
    assert_memory_equal(got, expected, sizeof(expected));
    assert_true(st.st_blocks * 512 < 700 * P);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    g_free(got);
}

static void test_memfd(void **state)
{
    GError *error = NULL;
    VmloadRamBlock *block;
    VmloadRam *ram =
        load_into(vmload_ram_sink_new_memfd("test", &error), &block);

    (void)state;
    assert_fd(vmload_ram_sink_get_fd(vmload_ram_block_get_sink(block)));
    vmload_ram_free(ram);
}

static char *scratch_path(void)
{
    char *dir = g_dir_make_tmp("vmload-test-XXXXXX", NULL);
    char *path;

    assert_non_null(dir);
    path = g_build_filename(dir, "block", NULL);
    g_free(dir);
    return path;
}

static void scratch_remove(char *path)
{
    char *dir = g_path_get_dirname(path);

    g_unlink(path);
    g_rmdir(dir);
    g_free(dir);
    g_free(path);
}

static void test_file(void **state)
{
    char *path = scratch_path();
    GError *error = NULL;
    VmloadRamBlock *block;
    VmloadRam *ram;
    struct stat st;
    int fd;

    (void)state;
    /* What is there is truncated. */
    assert_true(g_file_set_contents(path, "old", 3, &error));
    ram = load_into(vmload_ram_sink_new_file(path, &error), &block);
    assert_fd(vmload_ram_sink_get_fd(vmload_ram_block_get_sink(block)));
    vmload_ram_free(ram);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_fd(fd);
    close(fd);
    assert_int_equal(g_unlink(path), 0);

    ram = load_into(vmload_ram_sink_new_file(path, &error), &block);
    vmload_ram_free(ram);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 077, 0);
    scratch_remove(path);
}

static void test_file_errors(void **state)
{
    char *path = scratch_path();
    const struct rlimit small = {16 * P, RLIM_INFINITY};
    struct rlimit before;
    GError *error = NULL;
    GByteArray *out = sw_new();
    VmloadRam *ram = vmload_ram_new(NULL);
    bool ok;

    (void)state;
    assert_null(vmload_ram_sink_new_file("/nonexistent/x", &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "/nonexistent/x");

    /* A file that cannot grow any more is an error, not a signal. */
    fixture_add(ram, "r", sizeof(expected), sizeof(expected),
                vmload_ram_sink_new_file(path, &error), 0);
    write_stream(out);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    ok = fixture_load_ram(ram, out, NULL, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(ok);
    assert_unit_error(&error, VMLOAD_ERROR_IO, "'r' page 0x");
    vmload_ram_free(ram);
    g_byte_array_unref(out);
    scratch_remove(path);
}

/* Several blocks in turn, and lengths that the stream decides. */
static void test_files_resized(void **state)
{
    char *path[2] = {scratch_path(), scratch_path()};
    VmloadRam *ram = vmload_ram_new(NULL);
    GByteArray *out = sw_new();
    GError *error = NULL;
    char *content;
    gsize length;
    uint64_t i;

    (void)state;
    fixture_add(ram, "a", 4 * P, 16 * P,
                vmload_ram_sink_new_file(path[0], &error), 0);
    fixture_add(ram, "b", 16 * P, 16 * P,
                vmload_ram_sink_new_file(path[1], &error),
                VMLOAD_RAM_RESIZEABLE);
    sw_ram_mem_size(out, 16 * P);
    sw_ram_block(out, "a", 10 * P);
    sw_ram_block(out, "b", 6 * P);
    for (i = 0; i < 6; i++) {
        fixture_page(out, "a", i, (uint8_t)(1 + i));
        fixture_page(out, "b", i, (uint8_t)(101 + i));
    }
    sw_ram_eos(out);
    assert_true(fixture_load_ram(ram, out, NULL, &error));
    assert_true(vmload_ram_finish(ram, &error));
    vmload_ram_free(ram);
    assert_true(g_file_get_contents(path[0], &content, &length, &error));
    assert_int_equal(length, 10 * P);
    for (i = 0; i < 10; i++) {
        assert_page((uint8_t *)content, i, i < 6 ? (uint8_t)(1 + i) : 0);
    }
    g_free(content);
    assert_true(g_file_get_contents(path[1], &content, &length, &error));
    assert_int_equal(length, 6 * P);
    for (i = 0; i < 6; i++) {
        assert_page((uint8_t *)content, i, (uint8_t)(101 + i));
    }
    g_free(content);
    g_byte_array_unref(out);
    scratch_remove(path[0]);
    scratch_remove(path[1]);
}

static void test_digest(void **state)
{
    VmloadRamSink *sink = vmload_ram_sink_new_digest();
    VmloadRamBlock *block;
    VmloadRam *ram;
    char *sum;

    (void)state;
    assert_null(vmload_ram_sink_get_digest(sink));
    ram = load_into(sink, &block);
    sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, expected,
                                      sizeof(expected));
    assert_string_equal(
        vmload_ram_sink_get_digest(vmload_ram_block_get_sink(block)), sum);
    assert_int_equal(vmload_ram_sink_get_fd(sink), -1);
    g_free(sum);
    vmload_ram_free(ram);
}

/* Only the length in use counts. */
static void test_digest_resized(void **state)
{
    VmloadRamSink *sink = vmload_ram_sink_new_digest();
    VmloadRam *ram = vmload_ram_new(NULL);
    GByteArray *out = sw_new();
    GError *error = NULL;
    uint8_t page[P] = {0};
    char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, page, P);

    (void)state;
    fixture_add(ram, "r", 2 * P, 4 * P, sink, 0);
    sw_ram_mem_size(out, P);
    sw_ram_block(out, "r", P);
    sw_ram_zero(out, "r", 0, 0);
    sw_ram_eos(out);
    assert_true(fixture_load_ram(ram, out, NULL, &error));
    assert_true(vmload_ram_finish(ram, &error));
    assert_string_equal(vmload_ram_sink_get_digest(sink), sum);
    g_free(sum);
    g_byte_array_unref(out);
    vmload_ram_free(ram);
}

static bool check_third(void *opaque, GError **error)
{
    int *calls = opaque;

    *calls += 1;
    if (*calls < 3) {
        return true;
    }
    g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_CANCELLED, "cancelled");
    return false;
}

/* To hash is long; a cancel ends it. */
static void test_digest_cancelled(void **state)
{
    int calls = 0;
    const VmloadRamEnv env = {.check = check_third, .opaque = &calls};
    VmloadRamSink *sink = vmload_ram_sink_new_digest();
    VmloadRam *ram = vmload_ram_new(&env);
    GError *error = NULL;

    (void)state;
    fixture_add(ram, "r", 16u << 20, 16u << 20, sink, 0);
    assert_false(vmload_ram_finish(ram, &error));
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "'r'");
    assert_int_equal(calls, 3);
    assert_null(vmload_ram_sink_get_digest(sink));
    vmload_ram_free(ram);
}

static void test_null(void **state)
{
    GError *error = NULL;
    GByteArray *out = sw_new();
    VmloadRamCounters counters;
    VmloadRamBlock *block;
    VmloadRam *ram = load_into(vmload_ram_sink_new_null(), &block);

    (void)state;
    vmload_ram_get_counters(ram, &counters);
    assert_int_equal(counters.pages_normal, 599 + 43 + 1);
    assert_int_equal(counters.pages_zero, 3);
    assert_int_equal(counters.pages_xbzrle, 2);
    assert_int_equal(counters.bytes_placed, 0);
    /* What is dropped is still checked. */
    sw_ram_xbzrle(out, "r", 0, "\x01\x00\x00", 3);
    assert_false(fixture_load_ram(ram, out, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "XBZRLE byte 1");
    g_byte_array_unref(out);
    vmload_ram_free(ram);
}

/* A sink of the host's own. */
typedef struct {
    uint8_t *memory;
    int writes;
    int zeros;
    int reads;
    int resized;
    int finished;
    int destroyed;
    int fail_at; /* which call fails; 0: none */
    bool silent;
    int calls;
} Own;

static bool own_step(Own *own, GError **error)
{
    own->calls++;
    if (own->calls != own->fail_at) {
        return true;
    }
    if (!own->silent) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC, "pager says no");
    }
    return false;
}

static bool own_write(void *opaque, uint64_t offset, const uint8_t *data,
                      uint64_t length, GError **error)
{
    Own *own = opaque;

    own->writes++;
    memcpy(own->memory + offset, data, length);
    return own_step(own, error);
}

static bool own_zero(void *opaque, uint64_t offset, uint64_t length,
                     GError **error)
{
    Own *own = opaque;

    own->zeros++;
    memset(own->memory + offset, 0, length);
    return own_step(own, error);
}

static bool own_read(void *opaque, uint64_t offset, uint8_t *data,
                     uint64_t length, GError **error)
{
    Own *own = opaque;

    own->reads++;
    memcpy(data, own->memory + offset, length);
    return own_step(own, error);
}

static bool own_resize(void *opaque, uint64_t length, GError **error)
{
    Own *own = opaque;

    (void)length;
    own->resized++;
    return own_step(own, error);
}

static bool own_finish(void *opaque, GError **error)
{
    Own *own = opaque;

    own->finished++;
    return own_step(own, error);
}

static void own_destroy(void *opaque)
{
    ((Own *)opaque)->destroyed++;
}

static const VmloadRamSinkOps own_ops = {
    VMLOAD_RAM_SINK_OPS_INIT,
    .write = own_write,
    .zero = own_zero,
    .read = own_read,
    .resize = own_resize,
    .finish = own_finish,
};

static void test_own(void **state)
{
    Own own = {.memory = g_malloc0(sizeof(expected))};
    GError *error = NULL;
    VmloadRamBlock *block;
    VmloadRam *ram = load_into(
        vmload_ram_sink_new_from_ops(&own_ops, &own, own_destroy, &error),
        &block);

    (void)state;
    assert_memory_equal(own.memory, expected, sizeof(expected));
    assert_int_equal(own.zeros, 3);
    assert_int_equal(own.reads, 2);
    assert_int_equal(own.resized, 0);
    assert_int_equal(own.finished, 1);
    assert_int_equal(own.destroyed, 0);
    vmload_ram_free(ram);
    assert_int_equal(own.destroyed, 1);
    g_free(own.memory);
}

/* Each call of the host's may fail, with and without a reason. */
static void test_own_fails(void **state)
{
    int n;

    (void)state;
    for (n = 1; n <= 10; n++) {
        Own own = {.memory = g_malloc0(8 * P),
                   .fail_at = (n + 1) / 2,
                   .silent = n % 2 == 0};
        VmloadRam *ram = vmload_ram_new(NULL);
        GByteArray *out = sw_new();
        GError *error = NULL;
        bool ok;

        fixture_add(
            ram, "r", 4 * P, 8 * P,
            vmload_ram_sink_new_from_ops(&own_ops, &own, own_destroy, &error),
            0);
        sw_ram_mem_size(out, 8 * P);
        sw_ram_block(out, "r", 8 * P);
        fixture_page(out, "r", 0, 1);
        sw_ram_zero(out, "r", P, 0);
        sw_ram_xbzrle(out, "r", 0, "\x01\x01\x05", 3);
        sw_ram_eos(out);
        ok = fixture_load_ram(ram, out, NULL, &error) &&
             vmload_ram_finish(ram, &error);
        assert_false(ok);
        assert_unit_error(&error, VMLOAD_ERROR_DEVICE,
                          own.silent ? "without a reason" : "pager says no");
        assert_int_equal(own.calls, own.fail_at);
        vmload_ram_free(ram);
        assert_int_equal(own.destroyed, 1);
        g_byte_array_unref(out);
        g_free(own.memory);
    }
}

static void test_own_arguments(void **state)
{
    static const VmloadRamSinkOps no_write = {
        VMLOAD_RAM_SINK_OPS_INIT,
        .zero = own_zero,
    };
    static const VmloadRamSinkOps no_size = {
        .write = own_write,
        .zero = own_zero,
    };
    static const VmloadRamSinkOps least = {
        VMLOAD_RAM_SINK_OPS_INIT,
        .write = own_write,
        .zero = own_zero,
    };
    Own own = {.memory = g_malloc0(4 * P)};
    VmloadRam *ram = vmload_ram_new(NULL);
    GByteArray *out = sw_new();
    GError *error = NULL;

    (void)state;
    assert_null(
        vmload_ram_sink_new_from_ops(&no_write, &own, own_destroy, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "write");
    assert_null(
        vmload_ram_sink_new_from_ops(&no_size, &own, own_destroy, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "VmloadRamSinkOps");
    assert_null(vmload_ram_sink_new_from_ops(NULL, &own, own_destroy, &error));
    assert_unit_error(&error, VMLOAD_ERROR_FAILED, "NULL");
    assert_int_equal(own.destroyed, 3);

    /* Without read everything works but XBZRLE. */
    fixture_add(ram, "r", P, 4 * P,
                vmload_ram_sink_new_from_ops(&least, &own, NULL, &error), 0);
    sw_ram_mem_size(out, 2 * P);
    sw_ram_block(out, "r", 2 * P);
    fixture_page(out, "r", 1, 7);
    sw_ram_eos(out);
    assert_true(fixture_load_ram(ram, out, NULL, &error));
    assert_true(vmload_ram_finish(ram, &error));
    sw_ram_xbzrle(out, "r", P, "\x01\x01\x05", 3);
    assert_false(fixture_load_ram(ram, out, NULL, &error));
    assert_unit_error(&error, VMLOAD_ERROR_UNSUPPORTED, "XBZRLE");
    g_byte_array_unref(out);
    vmload_ram_free(ram);
    g_free(own.memory);
}

/* More than there are addresses for. */
static void test_no_memory(void **state)
{
    const uint64_t huge = (uint64_t)1 << 62;
    GError *error = NULL;

    (void)state;
    assert_null(vmload_ram_block_new("r", P, huge,
                                     vmload_ram_sink_new_digest(), &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "'r'");
    assert_null(vmload_ram_block_new(
        "r", P, huge, vmload_ram_sink_new_memfd("r", &error), &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "'r'");
    vmload_ram_sink_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memfd),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_errors),
        cmocka_unit_test(test_files_resized),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_digest_resized),
        cmocka_unit_test(test_digest_cancelled),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_own_fails),
        cmocka_unit_test(test_own_arguments),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests_name("ram-sink", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* A file sink by itself: what it gathers, when it writes, what it reads. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "ram/block.h"

#define P 4096
#define MIB ((uint64_t)1024 * 1024)

typedef struct {
    char *path;
    int fd; /* a second look at the file */
    VmloadRamBlock *block;
    VmloadRamSink *sink;
    uint8_t *page; /* MIB + P bytes, none of them zero */
} File;

static int file_setup(void **state)
{
    File *file = g_new0(File, 1);
    char *dir = g_dir_make_tmp("vmload-test-XXXXXX", NULL);

    assert_non_null(dir);
    file->path = g_build_filename(dir, "block", NULL);
    g_free(dir);
    file->sink = vmload_ram_sink_new_file(file->path, NULL);
    assert_non_null(file->sink);
    file->block =
        vmload_ram_block_new("r", 4 * MIB, 8 * MIB, file->sink, NULL);
    assert_non_null(file->block);
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC);
    assert_true(file->fd >= 0);
    file->page = g_malloc(MIB + P);
    memset(file->page, 0x77, MIB + P);
    *state = file;
    return 0;
}

static int file_teardown(void **state)
{
    File *file = *state;
    char *dir = g_path_get_dirname(file->path);

    vmload_ram_block_free(file->block);
    close(file->fd);
    g_unlink(file->path);
    g_rmdir(dir);
    g_free(dir);
    g_free(file->path);
    g_free(file->page);
    g_free(file);
    return 0;
}

static void put(const File *file, uint64_t offset, uint64_t length)
{
    assert_true(
        vmload_sink_write(file->sink, offset, file->page, length, NULL));
}

/* What the file itself has at @offset, whatever the sink remembers. */
static uint8_t at(const File *file, uint64_t offset)
{
    uint8_t byte;

    assert_int_equal(pread(file->fd, &byte, 1, (off_t)offset), 1);
    return byte;
}

static off_t blocks(const File *file)
{
    struct stat st;

    assert_int_equal(fstat(file->fd, &st), 0);
    return st.st_blocks;
}

/* In order: together, on the way when the file is turned away from. */
static void test_gather(void **state)
{
    const File *file = *state;

    put(file, 0, P);
    put(file, P, P);
    assert_int_equal(at(file, 0), 0);
    assert_true(vmload_sink_idle(file->sink, NULL));
    assert_int_equal(at(file, 0), 0x77);
    assert_int_equal(at(file, 2 * P - 1), 0x77);
    assert_int_equal(at(file, 2 * P), 0);
    /* Nothing waits any more: idle writes nothing twice. */
    assert_int_equal(pwrite(vmload_sink_file_get_fd(file->sink), "x", 1, 0),
                     1);
    assert_true(vmload_sink_idle(file->sink, NULL));
    assert_int_equal(at(file, 0), 'x');
}

/* At once, and behind what is gathered of the same pages. */
static void test_store(void **state)
{
    const File *file = *state;
    uint8_t *page = g_malloc(2 * P);

    assert_true(vmload_sink_stores(file->sink));
    memset(page, 0x11, 2 * P);
    put(file, 0, 2 * P);
    assert_true(vmload_sink_store(file->sink, 3 * P, page, P, NULL));
    assert_int_equal(at(file, 3 * P), 0x11);
    assert_int_equal(at(file, 0), 0);
    assert_true(vmload_sink_store(file->sink, P, page, 2 * P, NULL));
    assert_int_equal(at(file, 0), 0x77);
    assert_int_equal(at(file, P), 0x11);
    assert_true(vmload_sink_idle(file->sink, NULL));
    assert_int_equal(at(file, P), 0x11);
    assert_int_equal(at(file, 3 * P - 1), 0x11);
    g_free(page);
}

/* A page elsewhere, or a full buffer, sends what waits. */
static void test_flush(void **state)
{
    const File *file = *state;

    put(file, 0, P);
    put(file, 2 * P, P);
    assert_int_equal(at(file, 0), 0x77);
    assert_int_equal(at(file, 2 * P), 0);
    put(file, 3 * P, MIB - 2 * P);
    assert_int_equal(at(file, 2 * P), 0);
    put(file, P + MIB, 2 * P);
    assert_int_equal(at(file, 2 * P), 0x77);
    assert_int_equal(at(file, P + MIB - 1), 0x77);
    assert_int_equal(at(file, P + MIB), 0);
    /* Longer than the buffer: at once, behind what waited. */
    put(file, 2 * MIB, MIB + P);
    assert_int_equal(at(file, P + MIB), 0x77);
    assert_int_equal(at(file, 2 * MIB), 0x77);
    assert_int_equal(at(file, 3 * MIB + P - 1), 0x77);
}

/* A read sees what waits; one elsewhere leaves it waiting. */
static void test_read(void **state)
{
    const File *file = *state;
    uint8_t got[P];

    put(file, P, P);
    assert_true(vmload_sink_read(file->sink, 2 * P, got, P, NULL));
    assert_int_equal(got[0], 0);
    assert_true(vmload_sink_read(file->sink, 0, got, P, NULL));
    assert_int_equal(got[P - 1], 0);
    assert_int_equal(at(file, P), 0);
    assert_true(vmload_sink_read(file->sink, 2 * P - 1, got, 2, NULL));
    assert_int_equal(got[0], 0x77);
    assert_int_equal(got[1], 0);
    assert_int_equal(at(file, P), 0x77);
}

/* Zeros are written only over what is not zero. */
static void test_zero(void **state)
{
    const File *file = *state;
    uint8_t got[P];
    bool stored;
    off_t before;

    put(file, 0, P);
    assert_true(vmload_sink_idle(file->sink, NULL));
    before = blocks(file);
    assert_true(
        vmload_sink_zero(file->sink, MIB, 16 * P, &stored, NULL));
    assert_true(vmload_sink_idle(file->sink, NULL));
    assert_int_equal(blocks(file), before);
    assert_true(vmload_sink_zero(file->sink, 0, 2 * P, &stored, NULL));
    assert_true(vmload_sink_read(file->sink, 0, got, P, NULL));
    assert_true(vmload_bytes_are_zero(got, P));
    assert_true(vmload_sink_idle(file->sink, NULL));
    assert_int_equal(at(file, 0), 0);
    assert_int_equal(at(file, P - 1), 0);
}

/* What waits goes out before the length changes. */
static void test_resize(void **state)
{
    const File *file = *state;
    struct stat st;

    assert_int_equal(fstat(file->fd, &st), 0);
    assert_int_equal(st.st_size, 4 * MIB);
    assert_int_equal(st.st_mode & 0777, 0600);
    put(file, 0, P);
    assert_true(vmload_sink_resize(file->sink, 6 * MIB, NULL));
    assert_int_equal(at(file, 0), 0x77);
    assert_int_equal(at(file, 6 * MIB - 1), 0);
    assert_true(vmload_sink_resize(file->sink, P, NULL));
    assert_int_equal(fstat(file->fd, &st), 0);
    assert_int_equal(st.st_size, P);
}

static void test_finish(void **state)
{
    const VmloadRamEnv env = {.check = NULL};
    const File *file = *state;

    put(file, 3 * P, P);
    assert_true(vmload_sink_finish(file->sink, &env, NULL));
    assert_int_equal(at(file, 3 * P), 0x77);
    assert_int_equal(fcntl(vmload_sink_file_get_fd(file->sink), F_GETFD),
                     FD_CLOEXEC);
}

/* A full disk: the page that does not fit is an error, told once. */
static void test_full(void **state)
{
    VmloadRamSink *sink;
    GError *error = NULL;
    const File *file = *state;
    uint8_t got[P];

    if (access("/dev/full", W_OK) != 0) {
        skip();
    }
    sink = vmload_ram_sink_new_file("/dev/full", &error);
    assert_non_null(sink);
    assert_true(vmload_sink_write(sink, 0, file->page, P, &error));
    assert_false(vmload_sink_idle(sink, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO,
                      "write 4096 bytes at 0x0 of '/dev/full': No space");
    assert_true(vmload_sink_idle(sink, &error));
    assert_false(
        vmload_sink_write(sink, 2 * P, file->page, MIB + P, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "at 0x2000 of '/dev/full'");
    assert_true(vmload_sink_read(sink, 0, got, P, &error));
    assert_false(vmload_sink_resize(sink, P, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO,
                      "set the size of '/dev/full' to 4096: ");
    vmload_ram_sink_free(sink);
}

/* Behind its end there is nothing to read. */
static void test_short(void **state)
{
    const File *file = *state;
    GError *error = NULL;
    uint8_t got[P];

    assert_true(vmload_sink_resize(file->sink, P + 1, NULL));
    assert_true(vmload_sink_read(file->sink, 0, got, P, &error));
    assert_false(vmload_sink_read(file->sink, P, got, P, &error));
    assert_unit_error(&error, VMLOAD_ERROR_IO, "read 4095 bytes at 0x1001");
    assert_false(vmload_sink_read(file->sink, P + 1, got, 1, &error));
    assert_true(g_str_has_suffix(error->message, g_strerror(EIO)));
    g_clear_error(&error);
}

int main(void)
{
#define FILE_TEST(name) \
    cmocka_unit_test_setup_teardown(name, file_setup, file_teardown)
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_gather), FILE_TEST(test_store), FILE_TEST(test_flush),
        FILE_TEST(test_read),   FILE_TEST(test_zero),
        FILE_TEST(test_resize), FILE_TEST(test_finish),
        FILE_TEST(test_full),   FILE_TEST(test_short),
    };

    return cmocka_run_group_tests_name("ram-sink-file", tests, NULL, NULL);
}

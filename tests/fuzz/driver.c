/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzz target over files and folders of inputs, where libFuzzer is
 * not to be had: so every fuzz target is also an ordinary test. Each input is
 * also tried cut in half, and with a byte turned, at a few places.
 */
#include <glib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned inputs;

/*
 * A heap copy of the exact size, so that sanitizers and valgrind see a read
 * of one byte too many.
 */
static void run_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = g_malloc0(size);

    if (size > 0) {
        memcpy(copy, data, size);
    }
    LLVMFuzzerTestOneInput(copy, size);
    g_free(copy);
}

static void run_variants(uint8_t *data, size_t size)
{
    size_t step = size / 16 + 1;
    size_t i;

    for (i = 0; i < size; i += step) {
        uint8_t old = data[i];

        run_copy(data, i);
        data[i] = (uint8_t)(old ^ 0x80);
        run_copy(data, size);
        data[i] = (uint8_t)(old + 1);
        run_copy(data, size);
        data[i] = old;
    }
}

static void run_file(const char *path)
{
    char *data = NULL;
    gsize size = 0;
    GError *error = NULL;

    if (!g_file_get_contents(path, &data, &size, &error)) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
    run_copy((const uint8_t *)data, size);
    run_variants((uint8_t *)data, size);
    g_free(data);
    inputs++;
}

static void run_folder(const char *path)
{
    GError *error = NULL;
    GDir *dir = g_dir_open(path, 0, &error);
    const char *name;

    if (dir == NULL) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
    while ((name = g_dir_read_name(dir)) != NULL) {
        char *file = g_build_filename(path, name, NULL);

        run_file(file);
        g_free(file);
    }
    g_dir_close(dir);
}

int main(int argc, char **argv)
{
    int i;

    run_copy((const uint8_t *)"", 0);
    for (i = 1; i < argc; i++) {
        if (g_file_test(argv[i], G_FILE_TEST_IS_DIR)) {
            run_folder(argv[i]);
        } else {
            run_file(argv[i]);
        }
    }
    printf("%u inputs\n", inputs);
    /* A corpus that is not there is a test that cannot fail. */
    return inputs > 0 ? 0 : 1;
}

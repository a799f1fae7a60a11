/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The library is loaded, used and unloaded by a thread, again and again: it
 * leaves no thread, no descriptor and nothing registered behind that would
 * crash later. This program is not linked with the library.
 */
#include "api.h"

#include <dlfcn.h>

#define ROUNDS 20

static const char *path;

/* The library's functions, with the types of their prototypes. */
typedef struct {
    __typeof__(vmload_loader_new) *loader_new;
    __typeof__(vmload_loader_set_channel) *set_channel;
    __typeof__(vmload_channel_new_memory) *channel_new_memory;
    __typeof__(vmload_loader_start) *start;
    __typeof__(vmload_loader_wait) *wait;
    __typeof__(vmload_loader_free) *free;
} Library;

/* POSIX says that this conversion works, ISO C does not. */
#define GET(member, name) \
    (*(void **)(void *)&library->member = dlsym(handle, name))

static bool get_functions(Library *library, void *handle)
{
    return GET(loader_new, "vmload_loader_new") != NULL &&
           GET(set_channel, "vmload_loader_set_channel") != NULL &&
           GET(channel_new_memory, "vmload_channel_new_memory") != NULL &&
           GET(start, "vmload_loader_start") != NULL &&
           GET(wait, "vmload_loader_wait") != NULL &&
           GET(free, "vmload_loader_free") != NULL;
}

static int count_entries(const char *folder)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    int n = 0;

    assert_non_null(dir);
    while (g_dir_read_name(dir) != NULL) {
        n++;
    }
    g_dir_close(dir);
    return n;
}

/*
 * The kernel wakes who joins a thread before the thread is gone from its
 * folder: not at once, but soon.
 */
static void await_threads(int threads)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (count_entries("/proc/self/task") > threads &&
           g_get_monotonic_time() < end) {
        g_usleep(100);
    }
    assert_in_range(count_entries("/proc/self/task"), 1, threads);
}

static bool load_once(const Library *library)
{
    static const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    GError *error = NULL;
    VmloadLoader *loader = library->loader_new(&ops, NULL, NULL, &error);
    bool ok;

    library->set_channel(
        loader, library->channel_new_memory(api_stream, sizeof(api_stream),
                                            NULL, NULL));
    ok = library->start(loader, &error) && library->wait(loader, &error);
    library->free(loader);
    g_clear_error(&error);
    return ok;
}

static void *use_library(void *opaque)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    bool *ok = opaque;
    Library library;

    if (handle == NULL) {
        print_error("%s\n", dlerror());
        return NULL;
    }
    *ok = get_functions(&library, handle) && load_once(&library);
    *ok = dlclose(handle) == 0 && *ok;
    return NULL;
}

static void *do_nothing(void *opaque)
{
    return opaque;
}

static void test_dlopen(void **state)
{
    int descriptors = 0;
    int threads;
    int i;

    (void)state;
    /* A sanitizer has a thread of its own, from the first other one on. */
    g_thread_join(g_thread_new("first", do_nothing, NULL));
    g_usleep(10000); /* see await_threads() */
    threads = count_entries("/proc/self/task");
    for (i = 0; i < ROUNDS; i++) {
        bool ok = false;

        g_thread_join(g_thread_new("user", use_library, &ok));
        assert_true(ok);
        /* The first round may open what GLib keeps. */
        if (i == 0) {
            descriptors = count_entries("/proc/self/fd");
        }
        assert_int_equal(count_entries("/proc/self/fd"), descriptors);
        await_threads(threads);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dlopen),
    };

    if (argc != 2) {
        return 2;
    }
    path = argv[1];
    return cmocka_run_group_tests_name("dlopen", tests, NULL, NULL);
}

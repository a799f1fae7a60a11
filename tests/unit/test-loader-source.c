/* SPDX-License-Identifier: BSD-3-Clause */
/* State changes for a host's main loop. */
#include "unit.h"

#include <poll.h>
#include <unistd.h>

#include "loader/internal.h"
#include "stream-writer.h"

static GByteArray *make_stream(void)
{
    GByteArray *out = sw_new();

    sw_header(out);
    sw_configuration(out, "none");
    sw_ram_start(out, 2, 0);
    sw_ram_eos(out);
    sw_footer(out, 2);
    sw_eof(out);
    return out;
}

static VmloadLoader *make_loader(const GByteArray *stream)
{
    const VmloadHostOps host = {VMLOAD_HOST_OPS_INIT};
    VmloadLoader *loader = vmload_loader_new(&host, NULL, NULL, NULL);

    assert_non_null(loader);
    vmload_loader_set_channel(
        loader,
        vmload_channel_new_memory(stream->data, stream->len, NULL, NULL));
    return loader;
}

static gboolean on_state(VmloadLoader *loader, VmloadState state,
                         void *opaque)
{
    VmloadState *last = opaque;

    assert_int_equal(vmload_loader_get_state(loader) >= state, true);
    assert_true(state >= *last);
    *last = state;
    return state < VMLOAD_STATE_COMPLETED;
}

/* The owner frees the loader while the source still holds a reference. */
static void test_source(void **state)
{
    GByteArray *stream = make_stream();
    GMainContext *context = g_main_context_new();
    VmloadLoader *loader = make_loader(stream);
    GSource *source = vmload_loader_create_source(loader);
    VmloadState last = VMLOAD_STATE_CONFIGURING;

    (void)state;
    g_source_set_callback(source, G_SOURCE_FUNC(on_state), &last, NULL);
    g_source_attach(source, context);
    assert_true(vmload_loader_start(loader, NULL));
    while (last < VMLOAD_STATE_COMPLETED) {
        g_main_context_iteration(context, TRUE);
    }
    assert_int_equal(last, VMLOAD_STATE_COMPLETED);
    assert_true(vmload_loader_wait(loader, NULL));
    vmload_loader_free(loader);
    assert_true(g_source_is_destroyed(source));
    g_source_unref(source);
    g_main_context_unref(context);
    g_byte_array_unref(stream);
}

static void test_event_fd(void **state)
{
    GByteArray *stream = make_stream();
    VmloadLoader *loader = make_loader(stream);
    struct pollfd pollfd = {.fd = vmload_loader_get_event_fd(loader),
                            .events = POLLIN};
    uint64_t changes = 0;

    (void)state;
    assert_int_equal(poll(&pollfd, 1, 0), 0);
    assert_true(vmload_loader_run(loader, 0, NULL));
    assert_int_equal(poll(&pollfd, 1, 0), 1);
    assert_int_equal(read(pollfd.fd, &changes, sizeof(changes)),
                     sizeof(changes));
    /* WAITING, ACTIVE, FINISHING, COMPLETED. */
    assert_int_equal(changes, 4);
    assert_int_equal(poll(&pollfd, 1, 0), 0);
    vmload_loader_free(loader);
    g_byte_array_unref(stream);
}

static gboolean never(VmloadLoader *loader, VmloadState state, void *opaque)
{
    (void)loader;
    (void)state;
    (void)opaque;
    fail();
    return G_SOURCE_REMOVE;
}

/* Nothing has changed: nothing is called. Destroyed: the reference is gone. */
static void test_source_quiet(void **state)
{
    GByteArray *stream = make_stream();
    GMainContext *context = g_main_context_new();
    VmloadLoader *loader = make_loader(stream);
    GSource *source = vmload_loader_create_source(loader);

    (void)state;
    assert_int_equal(loader->ref_count, 2);
    assert_string_equal(g_source_get_name(source), "vmload state");
    g_source_set_callback(source, G_SOURCE_FUNC(never), NULL, NULL);
    g_source_attach(source, context);
    assert_false(g_main_context_iteration(context, FALSE));
    g_source_destroy(source);
    g_source_unref(source);
    assert_int_equal(loader->ref_count, 1);
    g_main_context_unref(context);
    vmload_loader_free(loader);
    g_byte_array_unref(stream);
}

/* Without a function it stays, and takes note of each change all the same. */
static void test_source_deaf(void **state)
{
    GByteArray *stream = make_stream();
    GMainContext *context = g_main_context_new();
    VmloadLoader *loader = make_loader(stream);
    GSource *source = vmload_loader_create_source(loader);

    (void)state;
    g_source_attach(source, context);
    assert_true(vmload_loader_run(loader, 0, NULL));
    assert_true(g_main_context_iteration(context, FALSE));
    assert_false(g_source_is_destroyed(source));
    assert_false(g_main_context_iteration(context, FALSE));
    g_source_destroy(source);
    g_source_unref(source);
    g_main_context_unref(context);
    vmload_loader_free(loader);
    g_byte_array_unref(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_event_fd),
        cmocka_unit_test(test_source_quiet),
        cmocka_unit_test(test_source_deaf),
    };

    return cmocka_run_group_tests_name("loader-source", tests, NULL, NULL);
}

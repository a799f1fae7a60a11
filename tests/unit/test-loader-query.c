/* SPDX-License-Identifier: BSD-3-Clause */
/* Queries from any thread, references, and state changes in a main loop. */
#include "unit.h"

#include <poll.h>
#include <unistd.h>
#include <vmload/loader.h>

#include "stream-writer.h"

#define ROUNDS 200

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

static void *query_thread(void *opaque)
{
    VmloadLoader *loader = opaque;
    VmloadState state;

    do {
        VmloadStats stats = {.struct_size = (uint32_t)sizeof(stats)};
        VmloadPosition position = {.struct_size = (uint32_t)sizeof(position)};
        uint64_t n = 0;

        state = vmload_loader_get_state(loader);
        vmload_loader_get_stats(loader, &stats);
        vmload_loader_get_position(loader, &position);
        g_free(vmload_loader_get_ledger(loader, &n));
        vmload_loader_get_ram_block(loader, 0);
        assert_true(stats.state >= (uint32_t)state);
    } while (state < VMLOAD_STATE_COMPLETED);
    vmload_loader_unref(loader);
    return NULL;
}

static void *cancel_thread(void *opaque)
{
    VmloadLoader *loader = opaque;

    vmload_loader_cancel(loader);
    vmload_loader_unref(loader);
    return NULL;
}

/* Two query, one cancels, one frees; the last of them ends the loader. */
static void test_stress(void **state)
{
    GByteArray *stream = make_stream();
    uint32_t cancelled = 0;
    uint32_t i;

    (void)state;
    for (i = 0; i < ROUNDS; i++) {
        VmloadLoader *loader = make_loader(stream);
        GThread *threads[3];
        size_t j;

        threads[0] = g_thread_new("query", query_thread,
                                  vmload_loader_ref(loader));
        threads[1] = g_thread_new("query", query_thread,
                                  vmload_loader_ref(loader));
        assert_true(vmload_loader_start(loader, NULL));
        threads[2] = g_thread_new("cancel", cancel_thread,
                                  vmload_loader_ref(loader));
        if (i % 2 == 0) {
            cancelled += vmload_loader_wait(loader, NULL) ? 0 : 1;
        }
        vmload_loader_free(loader);
        for (j = 0; j < G_N_ELEMENTS(threads); j++) {
            g_thread_join(threads[j]);
        }
    }
    assert_true(cancelled <= ROUNDS / 2);
    g_byte_array_unref(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_event_fd),
        cmocka_unit_test(test_stress),
    };

    return cmocka_run_group_tests_name("loader-query", tests, NULL, NULL);
}

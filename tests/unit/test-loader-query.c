/* SPDX-License-Identifier: BSD-3-Clause */
/* Queries from any thread, and references. */
#include "unit.h"

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
        cmocka_unit_test(test_stress),
    };

    return cmocka_run_group_tests_name("loader-query", tests, NULL, NULL);
}

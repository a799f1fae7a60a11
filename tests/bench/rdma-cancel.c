/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a load over RDMA takes to end, for each kind of wait, without a
 * device: the source and the verbs are a double. From vmload_loader_cancel()
 * until `finish` is called, and until vmload_loader_wait() has returned.
 *
 *   rdma-cancel [COUNT]      JSON, in nanoseconds
 */
#include "rdma-fixture.h"

#include "samples.h"

#include <stdio.h>
#include <stdlib.h>

/* From the last sign that it is about to wait until it surely does. */
#define SETTLE_US 1000

#define LARGE (40 * MIB)

static uint64_t finish_ns;

static void cancel_finish(void *opaque, VmloadLoader *loader,
                          const VmloadOutcome *outcome)
{
    finish_ns = now_ns();
    rdma_finish(opaque, loader, outcome);
}

static void in_listening(Rdma *rdma)
{
    (void)rdma;
}

static void in_handshake(Rdma *rdma)
{
    (void)rdma;
    vd_hold_established(true);
    vd_connect_source(0);
}

static void in_beginning(Rdma *rdma)
{
    (void)rdma;
    vd_connect_source(0);
}

static void in_setup(Rdma *rdma)
{
    vd_connect_source(0);
    rdma_queue_start(rdma);
}

static void in_memory(Rdma *rdma)
{
    uint64_t i;

    in_setup(rdma);
    rdma_queue_blocks();
    rdma_queue_next(false);
    for (i = 0; i < 40; i++) {
        rdma_queue_range(T_REGISTER, 0, i * MIB, 0);
    }
}

/* A registration that does not end before the load has. */
static void in_registration(Rdma *rdma)
{
    vd_hold_registrations(true);
    in_memory(rdma);
}

static void in_pinning(Rdma *rdma)
{
    vd_hold_registrations(true);
    vd_connect_source(1);
    rdma_queue_start(rdma);
    rdma_queue_blocks();
}

/* The last round is over, what follows it does not come. */
static void in_devices(Rdma *rdma)
{
    in_setup(rdma);
    rdma_queue_rounds(false);
    vd_queue(T_FINISHED, 1, "", 0);
}

static void in_return_path(Rdma *rdma)
{
    rdma->back = true;
    in_setup(rdma);
}

static void in_return_credit(Rdma *rdma)
{
    rdma->back = true;
    vd_hold_credits(true);
    vd_connect_source(0);
    in_setup(rdma);
}

/* All is loaded: what is waited for is that the source leaves. */
static void in_leaving(Rdma *rdma)
{
    rdma->back = true;
    vd_connect_source(0);
    in_setup(rdma);
    rdma_queue_rounds(false);
    rdma_queue_tail_vmdesc();
}

static const struct {
    const char *name;
    void (*prepare)(Rdma *rdma);
} kinds[] = {
    {"listening", in_listening},
    {"handshake", in_handshake},
    {"beginning", in_beginning},
    {"setup", in_setup},
    {"registration", in_registration},
    {"pin-all", in_pinning},
    {"memory", in_memory},
    {"devices", in_devices},
    {"return path", in_return_path},
    {"return path's credit", in_return_credit},
    {"source's leaving", in_leaving},
};

static void open_load(Rdma *rdma)
{
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT,
                               .finish = cancel_finish};

    rdma_open_ops(rdma, NULL, LARGE, &ops);
    assert_true(rdma_await(rdma));
}

static void cancel_once(guint kind, GArray *finish, GArray *wait)
{
    uint64_t before;
    uint64_t begin;
    Rdma rdma;

    open_load(&rdma);
    kinds[kind].prepare(&rdma);
    assert_true(vmload_loader_start(rdma.loader, NULL));
    /* Nothing is received any more: it waits. */
    do {
        before = rdma_stats(&rdma).rdma_messages;
        g_usleep(SETTLE_US);
    } while (rdma_stats(&rdma).rdma_messages != before);
    finish_ns = 0;
    begin = now_ns();
    vmload_loader_cancel(rdma.loader);
    (void)vmload_loader_wait(rdma.loader, &rdma.error);
    samples_add(wait, now_ns() - begin);
    if (finish_ns != 0) {
        samples_add(finish, finish_ns - begin);
    }
    rdma_close(&rdma);
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 1000;
    guint i;
    int n;

    printf("[");
    for (i = 0; i < G_N_ELEMENTS(kinds); i++) {
        GArray *finish = samples_new();
        GArray *wait = samples_new();

        for (n = 0; n < count; n++) {
            cancel_once(i, finish, wait);
        }
        printf("%s\n{\"in\":\"%s\",\"finish\":", i > 0 ? "," : "",
               kinds[i].name);
        samples_print(finish, stdout);
        printf(",\"wait\":");
        samples_print(wait, stdout);
        printf("}");
        fflush(stdout);
        g_array_unref(finish);
        g_array_unref(wait);
    }
    printf("]\n");
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A load from a source that the verbs double plays, for tests of RDMA. All
 * static inline, so that each test stays one file.
 */
#ifndef VMLOAD_TESTS_RDMA_FIXTURE_H
#define VMLOAD_TESTS_RDMA_FIXTURE_H

#include "unit.h"

#include <sys/mman.h>

#include <vmload/loader.h>

#include "stream-writer.h"
#include "verbs-double.h"

#define MIB ((uint64_t)1 << 20)
#define RAM_LENGTH (3 * MIB)
#define PAGE 4096

enum {
    T_ERROR = 1,
    T_READY = 2,
    T_FILE = 3,
    T_BLOCKS_REQUEST = 4,
    T_BLOCKS_RESULT = 5,
    T_COMPRESS = 6,
    T_REGISTER = 7,
    T_RESULT = 8,
    T_FINISHED = 9,
    T_UNREGISTER = 10,
    T_UNREGISTERED = 11,
};

typedef struct {
    VmloadLoader *loader;
    VmloadListener *listener;
    uint8_t *ram;
    uint64_t length; /* of it */
    GError *error;
    bool loaded;
    int finished;       /* atomic: how often `finish` was called */
    uint64_t open_then; /* what was open to the source at that time */
    bool back;          /* the stream opens its return path */
    int refused;        /* atomic: strangers that we were told of */
    char *reasons;      /* all of them, a line each */
} Rdma;

static inline VmloadStats rdma_stats(const Rdma *rdma)
{
    VmloadStats stats = {.struct_size = sizeof(stats)};

    vmload_loader_get_stats(rdma->loader, &stats);
    return stats;
}

static inline void rdma_finish(void *opaque, VmloadLoader *loader,
                               const VmloadOutcome *outcome)
{
    Rdma *rdma = opaque;

    (void)outcome;
    rdma->open_then = vd_get_open();
    g_atomic_int_inc(&rdma->finished);
    /* Who ends does not wait for what cannot be interrupted. */
    vd_hold_registrations(false);
    vmload_loader_finished(loader, NULL);
}

static inline void rdma_refused(void *opaque, const char *connection,
                                const GError *reason)
{
    Rdma *rdma = opaque;
    char *before = rdma->reasons;

    rdma->reasons =
        g_strdup_printf("%s%s: %s\n", before != NULL ? before : "",
                        connection, reason->message);
    g_free(before);
    g_atomic_int_inc(&rdma->refused);
}

static inline void rdma_add_block(Rdma *rdma, VmloadRamSink *sink)
{
    VmloadRamBlock *block =
        vmload_ram_block_new("pc.ram", rdma->length, rdma->length, sink,
                             NULL);

    assert_non_null(block);
    vmload_ram_block_set_flags(block, VMLOAD_RAM_KNOWN_ZERO);
    assert_true(vmload_loader_add_ram_block(rdma->loader, block, NULL));
}

/* @sink: NULL: memory of @length bytes. */
static inline void rdma_open_ops(Rdma *rdma, VmloadRamSink *sink,
                                 uint64_t length, const VmloadHostOps *ops)
{
    memset(rdma, 0, sizeof(*rdma));
    vd_reset();
    rdma->length = length;
    rdma->ram = mmap(NULL, length, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(rdma->ram != MAP_FAILED);
    rdma->loader = vmload_loader_new(ops, rdma, NULL, NULL);
    assert_non_null(rdma->loader);
    rdma_add_block(rdma, sink != NULL
                             ? sink
                             : vmload_ram_sink_new_memory(rdma->ram));
}

static inline void rdma_open_length(Rdma *rdma, VmloadRamSink *sink,
                                    uint64_t length)
{
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT, .finish = rdma_finish,
                               .refused = rdma_refused};

    rdma_open_ops(rdma, sink, length, &ops);
}

static inline void rdma_open(Rdma *rdma, VmloadRamSink *sink)
{
    rdma_open_length(rdma, sink, RAM_LENGTH);
}

/* A listener may fail: rdma->error says so then. */
static inline bool rdma_await(Rdma *rdma)
{
    VmloadListener *listener =
        vmload_listener_new("rdma:192.0.2.1:4444", &rdma->error);

    if (listener != NULL) {
        vmload_loader_set_listener(rdma->loader, listener);
    }
    return listener != NULL;
}

/* A host without options, and a source that connects with @flags. */
static inline void rdma_open_connected(Rdma *rdma, uint32_t flags)
{
    rdma_open(rdma, NULL);
    assert_true(rdma_await(rdma));
    vd_connect_source(flags);
}

static inline void rdma_close(Rdma *rdma)
{
    vmload_loader_free(rdma->loader);
    g_clear_error(&rdma->error);
    g_free(rdma->reasons);
    assert_int_equal(vd_count_alive(), 0);
    assert_null(vd_get_wrong());
    assert_true(vd_was_open_only_in(rdma->ram, rdma->length));
    munmap(rdma->ram, rdma->length);
}

/* --- what the source sends ------------------------------------------------ */

/* Header, return path if wanted, START with the list and HOOK. */
static inline void rdma_queue_start(const Rdma *rdma)
{
    GByteArray *out = sw_new();

    sw_header(out);
    sw_configuration(out, "pc");
    if (rdma->back) {
        sw_command(out, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
        sw_ping(out, 7);
    }
    sw_ram_start(out, 2, rdma->length);
    sw_ram_block(out, "pc.ram", rdma->length);
    sw_ram_word(out, 0, SW_RAM_HOOK, "");
    /* The word has no name behind it. */
    g_byte_array_set_size(out, out->len - 1);
    vd_queue_file(out);
    g_byte_array_unref(out);
}

static inline void rdma_queue_range(uint32_t type, uint32_t block,
                                    uint64_t address, uint64_t length)
{
    GByteArray *out = sw_new();

    if (type == T_COMPRESS) {
        sw_be32(out, 0);
        sw_be32(out, block);
        sw_be64(out, address);
    } else {
        sw_be64(out, address);
        sw_be32(out, block);
        sw_be32(out, 0x497f0000);
    }
    sw_be64(out, length);
    vd_queue(type, 1, out->data, out->len);
    g_byte_array_unref(out);
}

static inline void rdma_queue_blocks(void)
{
    vd_queue(T_BLOCKS_REQUEST, 1, "", 0);
}

/* The round is over; the section too, and another one begins with HOOK. */
static inline void rdma_queue_next(bool end)
{
    GByteArray *out = sw_new();

    vd_queue(T_FINISHED, 1, "", 0);
    sw_ram_eos(out);
    sw_footer(out, 2);
    if (end) {
        sw_section_end(out, 2);
    } else {
        sw_section_part(out, 2);
    }
    sw_be64(out, SW_RAM_HOOK);
    vd_queue_file(out);
    g_byte_array_unref(out);
}

/* The last round is over: the rest of the stream. */
static inline GByteArray *rdma_tail(void)
{
    GByteArray *out = sw_new();

    sw_ram_eos(out);
    sw_footer(out, 2);
    sw_eof(out);
    return out;
}

static inline void rdma_queue_tail(void)
{
    GByteArray *out = rdma_tail();

    vd_queue(T_FINISHED, 1, "", 0);
    vd_queue_last(out);
    g_byte_array_unref(out);
}

/* With a return path the source waits for SHUT, and sends a description. */
static inline void rdma_queue_tail_vmdesc(void)
{
    GByteArray *out = rdma_tail();

    sw_vmdesc(out, "{}");
    vd_queue(T_FINISHED, 1, "", 0);
    vd_queue_file(out);
    g_byte_array_unref(out);
}

/* All of a good migration but its beginning and its end. */
static inline void rdma_queue_rounds(bool pinned)
{
    rdma_queue_blocks();
    rdma_queue_next(false);
    if (!pinned) {
        rdma_queue_range(T_REGISTER, 0, 0, 0);
        rdma_queue_range(T_COMPRESS, 0, MIB, MIB);
        rdma_queue_range(T_REGISTER, 0, 2 * MIB + 5 * PAGE, 0);
    }
    rdma_queue_next(true);
}

static inline bool rdma_run(Rdma *rdma)
{
    return vmload_loader_start(rdma->loader, &rdma->error) &&
           vmload_loader_wait(rdma->loader, &rdma->error);
}

/* The load runs, sends @n strangers away, and waits on: it is cancelled. */
static inline void rdma_run_refusing(Rdma *rdma, int n)
{
    assert_true(vmload_loader_start(rdma->loader, &rdma->error));
    while (g_atomic_int_get(&rdma->refused) < n) {
        g_usleep(200);
    }
    vmload_loader_cancel(rdma->loader);
    assert_false(vmload_loader_wait(rdma->loader, &rdma->error));
    assert_unit_error(&rdma->error, VMLOAD_ERROR_CANCELLED, "cancelled");
    assert_int_equal(rdma->refused, n);
    assert_int_equal(rdma_stats(rdma).connections_refused, n);
}

#endif

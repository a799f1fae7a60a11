/* SPDX-License-Identifier: BSD-3-Clause */
/* One block of RAM from a stream, by one thread and by other means. */
#ifndef VMLOAD_TEST_FILE_LOAD_H
#define VMLOAD_TEST_FILE_LOAD_H

#include "unit.h"

#include "ram-fixture.h"

#include "host/pool.h"
#include "ram/private.h"

#define P FIXTURE_PAGE
#define PAGES 2048u

typedef struct {
    VmloadCancel *cancel;
    VmloadRam *ram;
    uint8_t *raw;
    uint8_t *memory;
    uint64_t offset; /* where the reader stands at the end */
    uint64_t bytes;  /* that it has counted */
    VmloadRamCounters counters;
    char *error; /* NULL: loaded */
} Load;

static unsigned pools;
/* Of the memory, in bytes: at most a page. */
static uint32_t shift;

static VmloadPool *make_pool(void *opaque, const char *name,
                             uint32_t max_threads, GError **error)
{
    static const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};

    pools += strcmp(name, "vmload-ram") == 0;
    return vmload_pool_new(&ops, opaque, name, max_threads, error);
}

/* How it comes. */
typedef enum {
    LOAD_PLAIN, /* all bytes are there: no guesses, no threads */
    LOAD_FILE,  /* by five threads */
} Way;

static VmloadReader *load_reader(const GByteArray *out, Way way,
                                 const VmloadWait *wait)
{
    VmloadChannel *channel;
    VmloadReader *reader;
    GError *error = NULL;

    if (way == LOAD_PLAIN) {
        return vmload_reader_new_memory(out->data, out->len, 0);
    }
    channel = vmload_channel_new_memory(out->data, out->len, NULL, NULL);
    reader = vmload_reader_new_channel(channel, wait, &error);
    /* It owns the channel then. */
    vmload_reader_attach(reader, NULL);
    return reader;
}

static void load_run(Load *load, const GByteArray *out, Way way,
                     uint32_t flags, bool cancelled)
{
    VmloadRamEnv env = {.pool = make_pool};
    VmloadWait wait = {.cancel = NULL};
    GError *error = NULL;
    VmloadReader *reader;

    memset(load, 0, sizeof(*load));
    load->cancel = vmload_cancel_new(&error);
    env.cancel = wait.cancel = load->cancel;
    load->ram = vmload_ram_new(&env);
    vmload_ram_set_threads(load->ram, way == LOAD_FILE ? 5 : 1);
    load->raw = g_malloc0((PAGES + 1) * P);
    load->memory = load->raw + shift;
    fixture_add(load->ram, "one", PAGES * P, PAGES * P,
                vmload_ram_sink_new_memory(load->memory), flags);
    reader = load_reader(out, way, &wait);
    vmload_reader_set_counters(reader, &load->bytes, NULL);
    if (cancelled) {
        vmload_cancel_fire(load->cancel);
    }
    if (!vmload_ram_load(load->ram, reader, &error)) {
        load->error = g_strdup(error->message);
        g_error_free(error);
    }
    load->offset = vmload_reader_get_offset(reader);
    vmload_ram_stop(load->ram);
    vmload_ram_get_counters(load->ram, &load->counters);
    vmload_reader_free(reader);
}

static void load_clear(Load *load)
{
    vmload_ram_free(load->ram);
    vmload_cancel_free(load->cancel);
    g_free(load->raw);
    g_free(load->error);
}

/* Both ways: everything that can be seen is the same. */
static void compare(const GByteArray *out, Way way, uint32_t flags,
                    bool fails)
{
    Load one;
    Load two;

    load_run(&one, out, LOAD_PLAIN, flags, false);
    load_run(&two, out, way, flags, false);
    assert_int_equal(one.error != NULL, fails);
    if (g_strcmp0(one.error, two.error) != 0) {
        fail_msg("plain: %s; way %d: %s", one.error, way, two.error);
    }
    assert_memory_equal(one.memory, two.memory, PAGES * P);
    assert_int_equal(one.offset, two.offset);
    assert_int_equal(one.counters.pages_normal, two.counters.pages_normal);
    assert_int_equal(one.counters.pages_zero, two.counters.pages_zero);
    assert_int_equal(one.counters.bytes_placed, two.counters.bytes_placed);
    if (!fails) {
        assert_int_equal(two.bytes, out->len);
    }
    load_clear(&one);
    load_clear(&two);
}

static void put_page(GByteArray *out, bool first, uint64_t page,
                     uint8_t value)
{
    uint8_t data[P];

    memset(data, value, sizeof(data));
    sw_ram_page(out, first ? "one" : NULL, page * P, data, sizeof(data));
}

#endif

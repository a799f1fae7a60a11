/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of guest RAM share: a VmloadRam, memory, a payload. */
#ifndef VMLOAD_TESTS_RAM_FIXTURE_H
#define VMLOAD_TESTS_RAM_FIXTURE_H

#include "unit.h"

#include "ram/ram.h"
#include "stream-writer.h"

#define FIXTURE_PAGE 4096

typedef struct {
    VmloadRam *ram;
    uint8_t *memory; /* of "one": 8 pages */
    uint8_t *other;  /* of "two": 4 pages */
    GByteArray *out;
} RamFixture;

static inline void fixture_add(VmloadRam *ram, const char *idstr,
                               uint64_t used, uint64_t max,
                               VmloadRamSink *sink, uint32_t flags)
{
    GError *error = NULL;
    VmloadRamBlock *block;

    block = vmload_ram_block_new(idstr, used, max, sink, &error);
    assert_non_null(block);
    vmload_ram_block_set_flags(block, flags);
    assert_true(vmload_ram_add_block(ram, block, &error));
}

static inline void fixture_init(RamFixture *fixture)
{
    fixture->ram = vmload_ram_new(NULL);
    fixture->memory = g_malloc(8 * FIXTURE_PAGE);
    fixture->other = g_malloc(4 * FIXTURE_PAGE);
    memset(fixture->memory, 0xee, 8 * FIXTURE_PAGE);
    memset(fixture->other, 0xdd, 4 * FIXTURE_PAGE);
    fixture_add(fixture->ram, "one", 8 * FIXTURE_PAGE, 8 * FIXTURE_PAGE,
                vmload_ram_sink_new_memory(fixture->memory), 0);
    fixture_add(fixture->ram, "two", 4 * FIXTURE_PAGE, 4 * FIXTURE_PAGE,
                vmload_ram_sink_new_memory(fixture->other), 0);
    fixture->out = sw_new();
}

static inline void fixture_clear(RamFixture *fixture)
{
    vmload_ram_free(fixture->ram);
    g_byte_array_unref(fixture->out);
    g_free(fixture->memory);
    g_free(fixture->other);
}

/* Loads what was written as one payload, and empties it. */
static inline bool fixture_load_ram(VmloadRam *ram, GByteArray *out,
                                    uint64_t *left, GError **error)
{
    VmloadReader *reader = vmload_reader_new_memory(out->data, out->len, 0);
    bool ok = vmload_ram_load(ram, reader, error);

    if (left != NULL) {
        *left = out->len - vmload_reader_get_offset(reader);
    }
    vmload_reader_free(reader);
    g_byte_array_set_size(out, 0);
    return ok;
}

static inline bool fixture_load(RamFixture *fixture, GError **error)
{
    return fixture_load_ram(fixture->ram, fixture->out, NULL, error);
}

/* The block list of both blocks, without EOS. */
static inline void fixture_list(RamFixture *fixture)
{
    sw_ram_mem_size(fixture->out, 12 * FIXTURE_PAGE);
    sw_ram_block(fixture->out, "one", 8 * FIXTURE_PAGE);
    sw_ram_block(fixture->out, "two", 4 * FIXTURE_PAGE);
}

/* Is every byte of this page @value? */
static inline void assert_page(const uint8_t *memory, uint64_t page,
                               uint8_t value)
{
    uint64_t i;

    for (i = 0; i < FIXTURE_PAGE; i++) {
        if (memory[page * FIXTURE_PAGE + i] != value) {
            fail_msg("page %u byte %u: expected %02x, found %02x",
                     (unsigned)page, (unsigned)i, value,
                     memory[page * FIXTURE_PAGE + i]);
        }
    }
}

static inline void fixture_page(GByteArray *out, const char *block,
                                uint64_t page, uint8_t value)
{
    uint8_t data[FIXTURE_PAGE];

    memset(data, value, sizeof(data));
    sw_ram_page(out, block, page * FIXTURE_PAGE, data, sizeof(data));
}

#endif

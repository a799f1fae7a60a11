/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets of one or two multifd channels, while the main stream comes to its
 * marks. Nothing may be placed outside a block or between pages, all threads
 * must end, and an error must say what it is.
 *
 * Input: options; marks; the channels' step; how much of the rest is the
 * first channel's, in 1/256; packets.
 */
#include "fuzz.h"

#include "ram/multifd/multifd.h"

enum {
    WITH_BIG_PAGES = 1,
    WITH_OWN_SINK = 2,
    WITH_IGNORED = 4,
    WITH_KNOWN_ZERO = 8,
    WITH_TWO_CHANNELS = 16,
};

enum {
    MARKS_ROUNDS = 1,
    MARKS_PARTS = 6, /* how many PARTs, times two */
    MARKS_LATE = 8,  /* the second channel comes behind START */
};

#define BLOCKS 2

typedef struct {
    uint64_t page;
    uint64_t length;
    uint8_t *memory;
} Own;

typedef struct {
    VmloadRam *ram;
    Own blocks[BLOCKS];
    VmloadHostOps ops;
    VmloadWait wait;
    VmloadMultifd *multifd;
    VmloadMultifdCounters counters;
    FuzzPieces pieces[2];
} Side;

static bool own_write(void *opaque, uint64_t offset, const uint8_t *data,
                      uint64_t length, GError **error)
{
    Own *own = opaque;

    (void)error;
    FUZZ_CHECK(offset % own->page == 0 && length % own->page == 0);
    FUZZ_CHECK(offset <= own->length && length <= own->length - offset);
    memcpy(own->memory + offset, data, length);
    return true;
}

static bool own_zero(void *opaque, uint64_t offset, uint64_t length,
                     GError **error)
{
    Own *own = opaque;

    (void)error;
    FUZZ_CHECK(offset % own->page == 0 && length == own->page);
    FUZZ_CHECK(offset <= own->length && length <= own->length - offset);
    memset(own->memory + offset, 0, length);
    return true;
}

static void side_add_block(Side *side, uint32_t index, uint64_t pages,
                           uint8_t options)
{
    static const VmloadRamSinkOps ops = {
        VMLOAD_RAM_SINK_OPS_INIT,
        .write = own_write,
        .zero = own_zero,
    };
    const char name[] = {(char)('a' + index), '\0'};
    Own *own = &side->blocks[index];
    VmloadRamSink *sink;
    VmloadRamBlock *block;
    uint32_t flags = 0;

    own->length = pages * own->page;
    own->memory = g_malloc0(own->length);
    sink = (options & WITH_OWN_SINK) != 0
               ? vmload_ram_sink_new_from_ops(&ops, own, NULL, NULL)
               : vmload_ram_sink_new_memory(own->memory);
    block = vmload_ram_block_new(name, own->length, own->length, sink, NULL);
    FUZZ_CHECK(block != NULL);
    if ((options & WITH_KNOWN_ZERO) != 0) {
        flags |= VMLOAD_RAM_KNOWN_ZERO;
    }
    if (index == 1 && (options & WITH_IGNORED) != 0) {
        flags |= VMLOAD_RAM_IGNORED;
    }
    vmload_ram_block_set_flags(block, flags);
    FUZZ_CHECK(vmload_ram_add_block(side->ram, block, NULL));
}

static void put_be64(uint8_t **at, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    memcpy(*at, &value, sizeof(value));
    *at += sizeof(value);
}

/* The block list and EOS, as a source writes them. */
static void side_load_list(Side *side)
{
    uint8_t data[64];
    uint8_t *end = data;
    VmloadReader *reader;
    uint32_t i;

    put_be64(&end, (side->blocks[0].length + side->blocks[1].length) | 4);
    for (i = 0; i < BLOCKS; i++) {
        *end++ = 1;
        *end++ = (uint8_t)('a' + i);
        put_be64(&end, side->blocks[i].length);
    }
    put_be64(&end, 16);
    reader = vmload_reader_new_memory(data, (uint64_t)(end - data), 0);
    FUZZ_CHECK(vmload_ram_load(side->ram, reader, NULL));
    vmload_reader_free(reader);
}

static void side_failed(void *opaque)
{
    (void)opaque;
}

static void side_init(Side *side, uint8_t options)
{
    uint32_t bits = (options & WITH_BIG_PAGES) != 0 ? 16 : 12;
    VmloadMultifdEnv env = {.window_bytes = 1 << 20};
    uint32_t i;

    memset(side, 0, sizeof(*side));
    side->ram = vmload_ram_new(NULL);
    vmload_ram_set_page_bits(side->ram, bits);
    for (i = 0; i < BLOCKS; i++) {
        side->blocks[i].page = (uint64_t)1 << bits;
        side_add_block(side, i, i == 0 ? 4 : 2, options);
    }
    side_load_list(side);
    side->ops.struct_size = (uint32_t)sizeof(side->ops);
    side->wait.cancel = vmload_cancel_new(NULL);
    env.ram = side->ram;
    env.wait = &side->wait;
    env.ops = &side->ops;
    env.failed = side_failed;
    env.counters = &side->counters;
    side->multifd = vmload_multifd_new(&env, NULL);
    FUZZ_CHECK(side->multifd != NULL);
}

static bool side_add_channel(Side *side, uint32_t id, const uint8_t *data,
                             size_t length, uint8_t step)
{
    fuzz_pieces_init(&side->pieces[id], data, length, step);
    return vmload_multifd_add(side->multifd,
                              fuzz_pieces_channel(&side->pieces[id]), id,
                              NULL);
}

static void check_error(bool ok, GError *error)
{
    FUZZ_CHECK(ok == (error == NULL));
    FUZZ_CHECK(ok || error->domain == VMLOAD_ERROR);
    FUZZ_CHECK(ok || error->message[0] != '\0');
    g_clear_error(&error);
}

static bool side_section(Side *side, uint32_t type, bool rounds)
{
    GError *error = NULL;
    bool ok;

    vmload_multifd_section_begin(side->multifd, type);
    ok = (!rounds || vmload_multifd_flush(side->multifd, &error)) &&
         vmload_multifd_section_end(side->multifd, type, &error);
    check_error(ok, error);
    return ok;
}

static void side_clear(Side *side)
{
    GError *error = NULL;
    char name[32];
    uint32_t i;
    bool ok = vmload_multifd_stop(side->multifd, name, sizeof(name), &error);

    check_error(ok, error);
    vmload_multifd_free(side->multifd);
    FUZZ_CHECK(vmload_ram_finish(side->ram, NULL));
    vmload_ram_free(side->ram);
    vmload_cancel_free(side->wait.cancel);
    for (i = 0; i < BLOCKS; i++) {
        g_free(side->blocks[i].memory);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool rounds;
    bool two;
    size_t first;
    uint32_t parts;
    Side side;
    bool ok;

    if (size < 4) {
        return 0;
    }
    rounds = (data[1] & MARKS_ROUNDS) != 0;
    parts = (data[1] & MARKS_PARTS) / 2u;
    two = (data[0] & WITH_TWO_CHANNELS) != 0;
    first = two ? (size - 4) * data[3] / 256 : size - 4;
    side_init(&side, data[0]);
    FUZZ_CHECK(side_add_channel(&side, 0, data + 4, first, data[2]));
    if (two && (data[1] & MARKS_LATE) == 0) {
        FUZZ_CHECK(side_add_channel(&side, 1, data + 4 + first,
                                    size - 4 - first, data[2]));
    }
    ok = side_section(&side, VMLOAD_RECORD_START, rounds);
    if (two && (data[1] & MARKS_LATE) != 0) {
        bool late = side_add_channel(&side, 1, data + 4 + first,
                                     size - 4 - first, data[2]);

        /* A channel may have failed behind the barrier. */
        FUZZ_CHECK(!ok || !late);
    }
    while (ok && parts > 0) {
        ok = side_section(&side, VMLOAD_RECORD_PART, rounds);
        parts--;
    }
    if (ok) {
        side_section(&side, VMLOAD_RECORD_END, rounds);
    }
    side_clear(&side);
    return 0;
}

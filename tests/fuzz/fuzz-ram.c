/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Payloads of the section "ram", one after the other. The same bytes are
 * loaded from memory into memory, from a channel in small pieces into a sink
 * of our own, and into nothing: all must agree on what is an error and of
 * which kind, and the two that keep pages must keep the same.
 *
 * Input: log2 of the page size less 8 (modulo 5), options, the channel's
 * step, payloads.
 */
#include "fuzz.h"

#include "ram/ram.h"

enum {
    WITH_ADDRESSES = 1,
    WITH_PAGE_SIZES = 2,
    WITH_ANNOUNCED = 4,
    WITH_KNOWN_ZERO = 8,
    WITH_IGNORED = 16,
    WITH_MAPPED = 32,
};

typedef enum { INTO_MEMORY, INTO_OWN, INTO_NOTHING } Kind;

#define BLOCKS 6

/* One of the three that run side by side. */
typedef struct {
    Kind kind;
    uint8_t options;
    VmloadRam *ram;
    uint8_t *memory[BLOCKS];
    uint64_t lengths[BLOCKS]; /* exactly what is allocated */
    uint32_t n;
    bool locked;
} Side;

/* A sink of our own checks what the library promises to check. */
typedef struct {
    uint8_t *memory;
    uint64_t length;
} Own;

static bool own_write(void *opaque, uint64_t offset, const uint8_t *data,
                      uint64_t length, GError **error)
{
    Own *own = opaque;

    (void)error;
    FUZZ_CHECK(offset <= own->length && length <= own->length - offset);
    memcpy(own->memory + offset, data, length);
    return true;
}

static bool own_zero(void *opaque, uint64_t offset, uint64_t length,
                     GError **error)
{
    Own *own = opaque;

    (void)error;
    FUZZ_CHECK(offset <= own->length && length <= own->length - offset);
    memset(own->memory + offset, 0, length);
    return true;
}

static bool own_read(void *opaque, uint64_t offset, uint8_t *data,
                     uint64_t length, GError **error)
{
    Own *own = opaque;

    (void)error;
    FUZZ_CHECK(offset <= own->length && length <= own->length - offset);
    memcpy(data, own->memory + offset, length);
    return true;
}

static VmloadRamSink *side_sink(Side *side, uint64_t length)
{
    static const VmloadRamSinkOps ops = {
        VMLOAD_RAM_SINK_OPS_INIT,
        .write = own_write,
        .zero = own_zero,
        .read = own_read,
    };
    uint8_t *memory = g_malloc(length);
    Own *own;

    memset(memory, (side->options & WITH_KNOWN_ZERO) != 0 ? 0 : 0xee, length);
    side->memory[side->n] = memory;
    side->lengths[side->n] = length;
    side->n++;
    if (side->kind == INTO_MEMORY) {
        return vmload_ram_sink_new_memory(memory);
    }
    if (side->kind == INTO_NOTHING) {
        return vmload_ram_sink_new_null();
    }
    own = g_new0(Own, 1);
    own->memory = memory;
    own->length = length;
    return vmload_ram_sink_new_from_ops(&ops, own, g_free, NULL);
}

static void side_lock(void *opaque)
{
    Side *side = opaque;

    FUZZ_CHECK(!side->locked);
    side->locked = true;
}

static void side_unlock(void *opaque)
{
    Side *side = opaque;

    FUZZ_CHECK(side->locked);
    side->locked = false;
}

static bool side_resize(void *opaque, VmloadRamBlock *block, uint64_t length,
                        GError **error)
{
    Side *side = opaque;

    (void)error;
    FUZZ_CHECK(side->locked);
    FUZZ_CHECK(vmload_ram_block_get_length(block) == length);
    return true;
}

static VmloadRamBlock *side_block(Side *side, const char *idstr, uint64_t used,
                                  uint64_t max)
{
    VmloadRamBlock *block =
        vmload_ram_block_new(idstr, used, max, side_sink(side, max), NULL);
    uint32_t flags = 0;

    FUZZ_CHECK(block != NULL);
    if ((side->options & WITH_KNOWN_ZERO) != 0) {
        flags |= VMLOAD_RAM_KNOWN_ZERO;
    }
    vmload_ram_block_set_flags(block, flags);
    vmload_ram_block_set_resize(block, side_resize, side, NULL);
    return block;
}

static VmloadRamBlock *side_announced(void *opaque, const char *idstr,
                                      uint64_t used_length, GError **error)
{
    Side *side = opaque;

    if (side->n == BLOCKS) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_LIMIT, "enough");
        return NULL;
    }
    return side_block(side, idstr, used_length, used_length);
}

static void side_init(Side *side, Kind kind, uint32_t bits, uint8_t options)
{
    const VmloadRamEnv env = {
        .announced = (options & WITH_ANNOUNCED) != 0 ? side_announced : NULL,
        .lock = side_lock,
        .unlock = side_unlock,
        .opaque = side,
    };
    uint64_t page = (uint64_t)1 << bits;
    VmloadRamBlock *block;
    VmloadLimits limits;

    memset(side, 0, sizeof(*side));
    side->kind = kind;
    side->options = options;
    side->ram = vmload_ram_new(&env);
    vmload_limits_init(&limits);
    limits.ram_bytes = 64 * page;
    limits.ram_blocks = BLOCKS;
    vmload_ram_set_limits(side->ram, &limits);
    vmload_ram_set_page_bits(side->ram, bits);
    vmload_ram_set_ignore_shared(side->ram, (options & WITH_ADDRESSES) != 0);
    vmload_ram_set_postcopy_advised(side->ram,
                                    (options & WITH_PAGE_SIZES) != 0);
    vmload_ram_set_mapped_ram(side->ram, (options & WITH_MAPPED) != 0);

    block = side_block(side, "a", 4 * page, 8 * page);
    FUZZ_CHECK(vmload_ram_add_block(side->ram, block, NULL));
    block = side_block(side, "b", 2 * page, 2 * page);
    FUZZ_CHECK(vmload_ram_block_set_page_size(block, (uint64_t)1 << 21, NULL));
    if ((options & WITH_IGNORED) != 0) {
        vmload_ram_block_set_flags(block, VMLOAD_RAM_IGNORED);
    }
    FUZZ_CHECK(vmload_ram_add_block(side->ram, block, NULL));
}

static void side_clear(Side *side)
{
    uint32_t i;

    vmload_ram_free(side->ram);
    for (i = 0; i < side->n; i++) {
        g_free(side->memory[i]);
    }
}

/* Loads a payload. -1: good; else the code of the error. */
static int side_load(Side *side, VmloadReader *reader)
{
    GError *error = NULL;
    bool ok = vmload_ram_load(side->ram, reader, &error);
    int code = ok ? -1 : error->code;

    FUZZ_CHECK(ok == (error == NULL));
    FUZZ_CHECK(ok || error->domain == VMLOAD_ERROR);
    FUZZ_CHECK(!side->locked);
    g_clear_error(&error);
    return code;
}

static void check_same(const Side *a, const Side *b)
{
    uint32_t i;

    FUZZ_CHECK(a->n == b->n);
    for (i = 0; i < a->n; i++) {
        FUZZ_CHECK(a->lengths[i] == b->lengths[i]);
        FUZZ_CHECK(memcmp(a->memory[i], b->memory[i], a->lengths[i]) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VmloadReader *readers[3];
    VmloadChannel *channel;
    VmloadWait wait = {0};
    FuzzPieces pieces;
    Side sides[3];
    int code = -1;
    uint32_t i;

    if (size < 3) {
        return 0;
    }
    fuzz_pieces_init(&pieces, data + 3, size - 3, data[2]);
    channel = fuzz_pieces_channel(&pieces);
    readers[0] = vmload_reader_new_memory(pieces.data, pieces.length, 0);
    readers[1] = vmload_reader_new_channel(channel, &wait, NULL);
    readers[2] = vmload_reader_new_memory(pieces.data, pieces.length, 0);
    for (i = 0; i < 3; i++) {
        side_init(&sides[i], (Kind)i, 8 + data[0] % 5, data[1]);
    }
    while (code < 0) {
        code = side_load(&sides[0], readers[0]);
        FUZZ_CHECK(side_load(&sides[1], readers[1]) == code);
        FUZZ_CHECK(side_load(&sides[2], readers[2]) == code);
        if (code < 0) {
            check_same(&sides[0], &sides[1]);
        }
    }
    for (i = 0; i < 3; i++) {
        vmload_reader_free(readers[i]);
        FUZZ_CHECK(vmload_ram_finish(sides[i].ram, NULL));
        side_clear(&sides[i]);
    }
    vmload_channel_unref(channel);
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapped-ram files. The same bytes are loaded into memory, into a sink of our
 * own, into files and into nothing, from a channel that gives small pieces at
 * any offset, with and without threads: all must agree on what is an error and
 * of which kind, and those that keep pages must keep the same.
 *
 * Input: log2 of the page size less 8 (modulo 5), options, the channel's
 * step, where the stream begins, the file.
 */
#include "fuzz.h"

#include "host/pool.h"
#include "ram/block.h"

#include <sys/mman.h>
#include <unistd.h>

enum {
    WITH_ADDRESSES = 1,
    WITH_KNOWN_ZERO = 2,
    WITH_IGNORED = 4,
    WITH_THREADS = 8,
};

typedef enum { INTO_MEMORY, INTO_OWN, INTO_FILE, INTO_NOTHING, KINDS } Kind;

#define BLOCKS 2
#define PAGES 256

/* A file of our own: pieces, also where it is read at an offset. */
typedef struct {
    FuzzPieces pieces;
    VmloadCancel *cancel;
    VmloadChannel *channel;
    VmloadReader *reader;
    VmloadRam *ram;
    uint8_t *memory[BLOCKS];
    VmloadRamBlock *blocks[BLOCKS];
    uint64_t length; /* of each block */
} Side;

static int64_t file_readv(void *opaque, const struct iovec *iov, uint32_t n,
                          GError **error)
{
    return fuzz_pieces_readv(&((Side *)opaque)->pieces, iov, n, error);
}

static int64_t file_preadv(void *opaque, const struct iovec *iov, uint32_t n,
                           uint64_t offset, GError **error)
{
    const FuzzPieces *pieces = &((Side *)opaque)->pieces;
    uint64_t left = pieces->length - MIN(offset, pieces->length);
    uint64_t give = MIN(left, (uint64_t)iov[0].iov_len);

    (void)error;
    FUZZ_CHECK(n > 0 && iov[0].iov_len > 0);
    if (pieces->step > 0) {
        give = MIN(give, 1 + offset % pieces->step);
    }
    if (give > 0) {
        memcpy(iov[0].iov_base, pieces->data + offset, give);
    }
    return (int64_t)give;
}

static bool own_write(void *opaque, uint64_t offset, const uint8_t *data,
                      uint64_t length, GError **error)
{
    (void)error;
    memcpy((uint8_t *)opaque + offset, data, length);
    return true;
}

static bool own_zero(void *opaque, uint64_t offset, uint64_t length,
                     GError **error)
{
    (void)error;
    memset((uint8_t *)opaque + offset, 0, length);
    return true;
}

/* A file without a name, opened by that of its descriptor. */
static VmloadRamSink *make_file(void)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    VmloadRamSink *sink = vmload_ram_sink_new_file(path, NULL);

    FUZZ_CHECK(fd >= 0 && sink != NULL);
    close(fd);
    g_free(path);
    return sink;
}

static VmloadRamSink *make_sink(Kind kind, uint8_t *memory)
{
    static const VmloadRamSinkOps ops = {
        VMLOAD_RAM_SINK_OPS_INIT,
        .write = own_write,
        .zero = own_zero,
    };

    if (kind == INTO_MEMORY) {
        return vmload_ram_sink_new_memory(memory);
    }
    if (kind == INTO_FILE) {
        return make_file();
    }
    return kind == INTO_OWN
               ? vmload_ram_sink_new_from_ops(&ops, memory, NULL, NULL)
               : vmload_ram_sink_new_null();
}

static void add_block(Side *side, Kind kind, uint32_t n, uint64_t used,
                      uint8_t options)
{
    VmloadRamBlock *block;
    uint32_t flags = 0;

    side->memory[n] = g_malloc(side->length);
    memset(side->memory[n], (options & WITH_KNOWN_ZERO) != 0 ? 0 : 0xee,
           side->length);
    block = vmload_ram_block_new(n == 0 ? "a" : "b", used, side->length,
                                 make_sink(kind, side->memory[n]), NULL);
    FUZZ_CHECK(block != NULL);
    if ((options & WITH_KNOWN_ZERO) != 0) {
        flags |= VMLOAD_RAM_KNOWN_ZERO;
    }
    if (n == 1 && (options & WITH_IGNORED) != 0) {
        flags |= VMLOAD_RAM_IGNORED;
    }
    vmload_ram_block_set_flags(block, flags);
    side->blocks[n] = block;
    FUZZ_CHECK(vmload_ram_add_block(side->ram, block, NULL));
}

static VmloadPool *make_pool(void *opaque, const char *name,
                             uint32_t max_threads, GError **error)
{
    static const VmloadHostOps none = {VMLOAD_HOST_OPS_INIT};

    return vmload_pool_new(&none, opaque, name, max_threads, error);
}

static void open_file(Side *side, uint32_t step, uint64_t origin,
                      const uint8_t *data, size_t size)
{
    static const VmloadChannelOps ops = {
        VMLOAD_CHANNEL_OPS_INIT,
        .readv = file_readv,
        .preadv = file_preadv,
    };
    VmloadWait wait = {.cancel = side->cancel};

    fuzz_pieces_init(&side->pieces, data, size, step);
    side->pieces.position = MIN(origin, (uint64_t)size);
    side->channel = vmload_channel_new_from_ops(&ops, side, NULL, NULL);
    FUZZ_CHECK(side->channel != NULL);
    vmload_channel_set_file(side->channel, -1, side->pieces.position);
    side->reader = vmload_reader_new_channel(side->channel, &wait, NULL);
}

static void side_init(Side *side, Kind kind, const uint8_t *data, size_t size)
{
    uint32_t bits = 8 + data[0] % 5;
    VmloadRamEnv env = {.pool = make_pool};
    VmloadLimits limits;

    memset(side, 0, sizeof(*side));
    side->cancel = vmload_cancel_new(NULL);
    env.cancel = side->cancel;
    side->ram = vmload_ram_new(&env);
    side->length = (uint64_t)PAGES << bits;
    vmload_limits_init(&limits);
    limits.ram_bytes = BLOCKS * side->length;
    vmload_ram_set_limits(side->ram, &limits);
    vmload_ram_set_page_bits(side->ram, bits);
    vmload_ram_set_mapped_ram(side->ram, true);
    vmload_ram_set_ignore_shared(side->ram, (data[1] & WITH_ADDRESSES) != 0);
    vmload_ram_set_threads(side->ram, (data[1] & WITH_THREADS) != 0 ? 2 : 1);
    add_block(side, kind, 0, side->length, data[1]);
    add_block(side, kind, 1, (uint64_t)1 << bits, data[1]);
    open_file(side, data[2], data[3], data + 4, size - 4);
}

static void side_clear(Side *side)
{
    uint32_t i;

    vmload_ram_free(side->ram);
    vmload_reader_free(side->reader);
    vmload_channel_unref(side->channel);
    vmload_cancel_free(side->cancel);
    for (i = 0; i < BLOCKS; i++) {
        g_free(side->memory[i]);
    }
}

/* Loads a payload. -1: good; else the code of the error. */
static int side_load(Side *side)
{
    uint64_t before = vmload_reader_get_offset(side->reader);
    GError *error = NULL;
    bool ok = vmload_ram_load(side->ram, side->reader, &error);
    int code = ok ? -1 : error->code;

    FUZZ_CHECK(ok == (error == NULL));
    FUZZ_CHECK(ok || error->domain == VMLOAD_ERROR);
    /* It never goes back, so that every file has an end. */
    FUZZ_CHECK(!ok || vmload_reader_get_offset(side->reader) > before);
    g_clear_error(&error);
    return code;
}

static void check_same(const Side *a, const Side *b)
{
    VmloadRamCounters left;
    VmloadRamCounters right;
    uint32_t i;

    for (i = 0; i < BLOCKS; i++) {
        FUZZ_CHECK(memcmp(a->memory[i], b->memory[i], a->length) == 0);
    }
    vmload_ram_get_counters(a->ram, &left);
    vmload_ram_get_counters(b->ram, &right);
    FUZZ_CHECK(left.pages_normal == right.pages_normal);
    FUZZ_CHECK(left.pages_zero == right.pages_zero);
}

/*
 * Files begin as zeros, and forget what a shorter length has cut off: that is
 * the same only where all content is in the stream.
 */
static void check_file(const Side *memory, const Side *file, uint8_t options)
{
    uint32_t i;

    if ((options & WITH_KNOWN_ZERO) == 0 || (options & WITH_ADDRESSES) != 0) {
        return;
    }
    for (i = 0; i < BLOCKS; i++) {
        uint64_t length = vmload_ram_block_get_length(memory->blocks[i]);
        VmloadRamSink *sink = file->blocks[i]->sink;

        FUZZ_CHECK(vmload_sink_idle(sink, NULL));
        FUZZ_CHECK(pread(vmload_ram_sink_get_fd(sink), file->memory[i],
                         length, 0) == (ssize_t)length);
        FUZZ_CHECK(memcmp(memory->memory[i], file->memory[i], length) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Side sides[KINDS];
    int code = -1;
    uint32_t i;

    if (size < 4) {
        return 0;
    }
    for (i = 0; i < KINDS; i++) {
        side_init(&sides[i], (Kind)i, data, size);
    }
    while (code < 0) {
        code = side_load(&sides[0]);
        for (i = 1; i < KINDS; i++) {
            FUZZ_CHECK(side_load(&sides[i]) == code);
        }
        if (code < 0) {
            check_same(&sides[INTO_MEMORY], &sides[INTO_OWN]);
            check_file(&sides[INTO_MEMORY], &sides[INTO_FILE], data[1]);
        }
    }
    for (i = 0; i < KINDS; i++) {
        side_clear(&sides[i]);
    }
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* mapped-ram: hand-made files, read in all ways, and files that lie. */
#include "unit.h"

#include "ram-fixture.h"

#include "host/pool.h"
#include "ram/mapped.h"

#include <fcntl.h>
#include <unistd.h>
#include <vmload/mapped.h>

#define P FIXTURE_PAGE
/* The blocks have 200 and 3 pages: words of the bitmap that are not full. */
#define ONE 200
#define TWO 3

typedef struct {
    uint32_t version;
    uint64_t page_size;
    uint64_t bitmap_offset;
    uint64_t pages_offset;
} Header;

/* A file in memory, and what is to come of it. */
typedef struct {
    GByteArray *file;
    uint64_t origin; /* where the stream begins */
    guint one;       /* position of the header of block "one" */
    uint64_t pages[2];
    uint64_t bitmap[2];
    uint8_t *one_memory;
    uint8_t *two_memory;
    uint8_t *one_expected;
} File;

/* Pages 0, 1, 63 to 130, 199 have content. */
static bool in_file(uint64_t page)
{
    return page < 2 || (page >= 63 && page <= 130) || page == 199;
}

static void put_header(File *f, uint64_t n_pages, int which)
{
    uint64_t at = f->file->len + 28;
    uint64_t size = (n_pages + 63) / 64 * 8;

    f->bitmap[which] = at;
    f->pages[which] = (at + size + P - 1) / P * P;
    sw_be32(f->file, 1);
    sw_be64(f->file, P);
    sw_be64(f->file, at);
    sw_be64(f->file, f->pages[which]);
}

static void put_block_one(File *f)
{
    uint64_t words[4] = {0};
    uint64_t page;

    sw_ram_block(f->file, "one", ONE * P);
    f->one = f->file->len;
    put_header(f, ONE, 0);
    for (page = 0; page < ONE; page++) {
        words[page / 64] |= (uint64_t)in_file(page) << (page % 64);
    }
    sw_bytes(f->file, words, sizeof(words));
    sw_fill(f->file, 0xbb, f->pages[0] - f->file->len);
    for (page = 0; page < ONE; page++) {
        /* What is there of a page that is zero is stale. */
        uint8_t value = in_file(page) ? (uint8_t)(page + 1) : 0x99;

        sw_fill(f->file, value, P);
        memset(f->one_expected + page * P, in_file(page) ? value : 0, P);
    }
}

/* Page 1 of 3. */
static void put_block_two(File *f)
{
    const uint64_t word = 2;

    sw_ram_block(f->file, "two", TWO * P);
    put_header(f, TWO, 1);
    sw_bytes(f->file, &word, sizeof(word));
    sw_fill(f->file, 0, f->pages[1] - f->file->len);
    sw_fill(f->file, 0x99, P);
    sw_fill(f->file, 0x42, P);
    sw_fill(f->file, 0x99, P);
}

static void file_init(File *f, uint64_t origin)
{
    memset(f, 0, sizeof(*f));
    f->origin = origin;
    f->file = sw_new();
    f->one_memory = g_malloc(ONE * P);
    f->two_memory = g_malloc(TWO * P);
    f->one_expected = g_malloc(ONE * P);
    memset(f->one_memory, 0xee, ONE * P);
    memset(f->two_memory, 0xee, TWO * P);
    sw_fill(f->file, 0xcc, origin);
    sw_ram_mem_size(f->file, (ONE + TWO) * P);
    put_block_one(f);
    put_block_two(f);
    sw_ram_eos(f->file);
}

static void file_clear(File *f)
{
    g_byte_array_unref(f->file);
    g_free(f->one_memory);
    g_free(f->two_memory);
    g_free(f->one_expected);
}

/* Threads, without a loader. */
static VmloadPool *make_pool(void *opaque, const char *name,
                             uint32_t max_threads, GError **error)
{
    static const VmloadHostOps none = {VMLOAD_HOST_OPS_INIT};

    return vmload_pool_new(&none, opaque, name, max_threads, error);
}

typedef struct {
    VmloadCancel *cancel;
    VmloadChannel *channel;
    VmloadReader *reader;
    VmloadRam *ram;
} Load;

static void load_init(Load *load, VmloadChannel *channel, uint32_t threads)
{
    VmloadRamEnv env = {.pool = make_pool};
    VmloadWait wait = {0};

    load->cancel = vmload_cancel_new(NULL);
    env.cancel = wait.cancel = load->cancel;
    load->channel = channel;
    load->reader = vmload_reader_new_channel(channel, &wait, NULL);
    load->ram = vmload_ram_new(&env);
    vmload_ram_set_mapped_ram(load->ram, true);
    vmload_ram_set_threads(load->ram, threads);
}

static void load_clear(Load *load)
{
    vmload_ram_free(load->ram);
    vmload_reader_free(load->reader);
    vmload_channel_unref(load->channel);
    vmload_cancel_free(load->cancel);
}

static void load_blocks(Load *load, const File *f, uint32_t flags)
{
    fixture_add(load->ram, "one", ONE * P, ONE * P,
                vmload_ram_sink_new_memory(f->one_memory), flags);
    fixture_add(load->ram, "two", TWO * P, TWO * P,
                vmload_ram_sink_new_memory(f->two_memory), flags);
}

static VmloadChannel *memory_channel(const File *f)
{
    VmloadChannel *channel =
        vmload_channel_new_memory(f->file->data, f->file->len, NULL, NULL);
    struct iovec iov;
    uint8_t *skipped = g_malloc(f->origin + 1);

    /* As a file that was opened with an offset. */
    iov.iov_base = skipped;
    iov.iov_len = f->origin;
    if (f->origin > 0) {
        assert_int_equal(vmload_channel_readv(channel, &iov, 1, NULL, NULL),
                         f->origin);
    }
    vmload_channel_set_file(channel, -1, f->origin);
    g_free(skipped);
    return channel;
}

static void check_memory(const File *f)
{
    assert_memory_equal(f->one_memory, f->one_expected, ONE * P);
    assert_page(f->two_memory, 0, 0);
    assert_page(f->two_memory, 1, 0x42);
    assert_page(f->two_memory, 2, 0);
}

static void check_counters(Load *load)
{
    VmloadRamMapped mapped = {.struct_size = sizeof(mapped)};
    VmloadRamCounters counters;
    VmloadRamBlock *block = vmload_ram_get_block(load->ram, 0);
    uint64_t page;

    vmload_ram_get_counters(load->ram, &counters);
    assert_int_equal(counters.pages_normal, 71 + 1);
    assert_int_equal(counters.pages_zero, ONE - 71 + TWO - 1);
    assert_int_equal(counters.bytes_expected, (ONE + TWO) * P);
    for (page = 0; page < ONE; page++) {
        assert_true(vmload_ram_block_test_received(block, page * P));
    }
    assert_false(vmload_ram_block_test_received(block, ONE * P));
    assert_true(vmload_ram_block_get_mapped(block, &mapped));
    assert_int_equal(mapped.pages, 71);
    assert_int_equal(mapped.page_size, P);
    assert_int_equal(mapped.version, 1);
}

/* All ways to read the same file. */
static void test_good(void **state)
{
    static const uint64_t origins[] = {0, 1, 0x1234};
    uint32_t threads;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(origins); i++) {
        for (threads = 0; threads <= 3; threads++) {
            GError *error = NULL;
            File f;
            Load load;

            file_init(&f, origins[i]);
            load_init(&load, memory_channel(&f), threads);
            load_blocks(&load, &f, 0);
            if (!vmload_ram_load(load.ram, load.reader, &error)) {
                fail_msg("%s", error->message);
            }
            check_memory(&f);
            check_counters(&load);
            assert_int_equal(vmload_reader_get_offset(load.reader),
                             f.file->len - f.origin);
            load_clear(&load);
            file_clear(&f);
        }
    }
}

/* Memory that is zero is not touched where pages are. */
static void test_known_zero(void **state)
{
    GError *error = NULL;
    uint64_t page;
    File f;
    Load load;

    (void)state;
    file_init(&f, 0);
    load_init(&load, memory_channel(&f), 2);
    load_blocks(&load, &f, VMLOAD_RAM_KNOWN_ZERO);
    assert_true(vmload_ram_load(load.ram, load.reader, &error));
    for (page = 0; page < ONE; page++) {
        /* It was a lie: what was there shows that nobody has looked. */
        assert_page(f.one_memory, page,
                    in_file(page) ? (uint8_t)(page + 1) : 0xee);
    }
    check_counters(&load);
    load_clear(&load);
    file_clear(&f);
}

/* A real file, with and without the page cache. */
static void test_file(void **state)
{
    uint8_t *aligned = NULL;
    int direct;

    (void)state;
    for (direct = 0; direct < 2; direct++) {
        char path[] = "/var/tmp/vmload-mapped-XXXXXX";
        GError *error = NULL;
        VmloadChannel *channel;
        int fd = mkstemp(path);
        File f;
        Load load;

        assert_true(fd >= 0);
        assert_int_equal(unlink(path), 0);
        file_init(&f, 0x1234);
        assert_int_equal(write(fd, f.file->data, f.file->len), f.file->len);
        assert_int_equal(lseek(fd, 0x1234, SEEK_SET), 0x1234);
        channel = vmload_channel_take_fd(fd, &error);
        assert_non_null(channel);
        assert_int_equal(vmload_channel_get_origin(channel), 0x1234);
        load_init(&load, channel, 2);
        vmload_ram_set_direct_io(load.ram, direct != 0);
        assert_int_equal(posix_memalign((void **)&aligned, 4096, ONE * P), 0);
        memset(aligned, 0xee, ONE * P);
        fixture_add(load.ram, "one", ONE * P, ONE * P,
                    vmload_ram_sink_new_memory(aligned), 0);
        fixture_add(load.ram, "two", TWO * P, TWO * P,
                    vmload_ram_sink_new_memory(f.two_memory), 0);
        if (!vmload_ram_load(load.ram, load.reader, &error)) {
            fail_msg("%s", error->message);
        }
        memcpy(f.one_memory, aligned, ONE * P);
        check_memory(&f);
        check_counters(&load);
        load_clear(&load);
        file_clear(&f);
        free(aligned);
    }
}

typedef struct {
    File *f;
    uint64_t calls;
    bool fail;
} Own;

static bool own_write(void *opaque, uint64_t offset, const uint8_t *data,
                      uint64_t length, GError **error)
{
    Own *own = opaque;

    assert_int_equal(length, P);
    assert_in_range(offset, 0, (ONE - 1) * P);
    own->calls++;
    if (own->fail && offset == 64 * P) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO, "no room");
        return false;
    }
    memcpy(own->f->one_memory + offset, data, length);
    return true;
}

static bool own_zero(void *opaque, uint64_t offset, uint64_t length,
                     GError **error)
{
    Own *own = opaque;

    (void)error;
    assert_int_equal(length, P);
    own->calls++;
    memset(own->f->one_memory + offset, 0, length);
    return true;
}

/* Sinks without memory: page by page, on this thread, and nothing. */
static void test_sinks(void **state)
{
    static const VmloadRamSinkOps ops = {
        VMLOAD_RAM_SINK_OPS_INIT,
        .write = own_write,
        .zero = own_zero,
    };
    int fail;

    (void)state;
    for (fail = 0; fail < 2; fail++) {
        GError *error = NULL;
        Own own = {.fail = fail != 0};
        File f;
        Load load;

        file_init(&f, 0);
        own.f = &f;
        load_init(&load, memory_channel(&f), 2);
        fixture_add(load.ram, "one", ONE * P, ONE * P,
                    vmload_ram_sink_new_from_ops(&ops, &own, NULL, NULL), 0);
        fixture_add(load.ram, "two", TWO * P, TWO * P,
                    vmload_ram_sink_new_null(), 0);
        if (fail) {
            assert_false(vmload_ram_load(load.ram, load.reader, &error));
            assert_unit_error(&error, VMLOAD_ERROR_IO,
                              "RAM block 'one' page 0x");
        } else {
            assert_true(vmload_ram_load(load.ram, load.reader, &error));
            assert_memory_equal(f.one_memory, f.one_expected, ONE * P);
            assert_int_equal(own.calls, ONE);
            check_counters(&load);
        }
        load_clear(&load);
        file_clear(&f);
    }
}

/* Ways to spoil a header: which field, and what it says instead. */
typedef struct {
    const char *name;
    guint field; /* bytes from the header's start */
    uint64_t value;
    VmloadError code;
    const char *part;
} Lie;

#define OFF_VERSION 0
#define OFF_PAGE_SIZE 4
#define OFF_BITMAP 12
#define OFF_PAGES 20

static const Lie lies[] = {
    {"version", OFF_VERSION, 2, VMLOAD_ERROR_UNSUPPORTED,
     "version 1, found 2"},
    {"highest version", OFF_VERSION, UINT32_MAX, VMLOAD_ERROR_UNSUPPORTED,
     "entry 0 'one'"},
    {"no page size", OFF_PAGE_SIZE, 0, VMLOAD_ERROR_MALFORMED, "found 0"},
    {"page size", OFF_PAGE_SIZE, 8192, VMLOAD_ERROR_MISMATCH, "found 8192"},
    {"huge page size", OFF_PAGE_SIZE, UINT64_MAX, VMLOAD_ERROR_MISMATCH,
     "4096"},
    {"bitmap at 0", OFF_BITMAP, 0, VMLOAD_ERROR_MALFORMED, "bitmap"},
    {"bitmap far", OFF_BITMAP, UINT64_MAX, VMLOAD_ERROR_MALFORMED, "bitmap"},
    {"bitmap at 2^63 - 1", OFF_BITMAP, INT64_MAX, VMLOAD_ERROR_MALFORMED,
     "bitmap"},
    {"bitmap over pages", OFF_BITMAP, 4096 - 8, VMLOAD_ERROR_MALFORMED,
     "bytes of pages"},
    {"pages at 0", OFF_PAGES, 0, VMLOAD_ERROR_MALFORMED, "bytes of pages"},
    {"pages far", OFF_PAGES, UINT64_MAX - 4095, VMLOAD_ERROR_MALFORMED,
     "bytes of pages"},
    {"pages at 2^63", OFF_PAGES, (uint64_t)1 << 63, VMLOAD_ERROR_MALFORMED,
     "bytes of pages"},
    {"pages unaligned", OFF_PAGES, 4096 + 512, VMLOAD_ERROR_MALFORMED,
     "multiple of 4096"},
    {"pages behind the end", OFF_PAGES, (uint64_t)1 << 40,
     VMLOAD_ERROR_TRUNCATED, "page 0x0"},
};

static void spoil(File *f, const Lie *lie)
{
    if (lie->field == OFF_VERSION) {
        sw_patch_be32(f->file, f->one, (uint32_t)lie->value);
    } else {
        sw_patch_be64(f->file, f->one + lie->field, lie->value);
    }
}

static void test_lies(void **state)
{
    uint32_t threads;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(lies); i++) {
        for (threads = 1; threads <= 2; threads++) {
            GError *error = NULL;
            File f;
            Load load;

            file_init(&f, 0);
            spoil(&f, &lies[i]);
            load_init(&load, memory_channel(&f), threads);
            load_blocks(&load, &f, 0);
            if (vmload_ram_load(load.ram, load.reader, &error)) {
                fail_msg("%s was accepted", lies[i].name);
            }
            assert_unit_error(&error, lies[i].code, lies[i].part);
            load_clear(&load);
            file_clear(&f);
        }
    }
}

/* A lower version is read like version 1. */
static void test_version_0(void **state)
{
    File f;
    Load load;

    (void)state;
    file_init(&f, 0);
    sw_patch_be32(f.file, f.one, 0);
    load_init(&load, memory_channel(&f), 1);
    load_blocks(&load, &f, 0);
    assert_true(vmload_ram_load(load.ram, load.reader, NULL));
    check_memory(&f);
    load_clear(&load);
    file_clear(&f);
}

/* The last word says something of pages that are none. */
static void test_bitmap_tail(void **state)
{
    GError *error = NULL;
    File f;
    Load load;

    (void)state;
    file_init(&f, 0);
    f.file->data[f.bitmap[0] + 25] |= 0x01; /* page 200 */
    load_init(&load, memory_channel(&f), 2);
    load_blocks(&load, &f, 0);
    assert_false(vmload_ram_load(load.ram, load.reader, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                      "expected bits for 200 pages");
    load_clear(&load);
    file_clear(&f);
}

/* Cut around every place where something begins. */
static void test_cut(void **state)
{
    File f;
    size_t i;

    (void)state;
    file_init(&f, 0);
    {
        const uint64_t edges[] = {
            f.one, f.one + 28, f.bitmap[0] + 32, f.pages[0],
            f.pages[0] + P, f.pages[0] + 63 * P, f.pages[0] + 131 * P,
            f.pages[0] + 199 * P, f.pages[0] + ONE * P,
            f.bitmap[1], f.bitmap[1] + 8, f.pages[1], f.pages[1] + P,
            f.pages[1] + 2 * P, f.pages[1] + TWO * P, f.file->len - 1,
        };

        for (i = 0; i < 3 * G_N_ELEMENTS(edges); i++) {
            GError *error = NULL;
            Load load;

            load_init(&load,
                      vmload_channel_new_memory(
                          f.file->data, edges[i / 3] - 1 + i % 3, NULL, NULL),
                      1 + (uint32_t)(i % 2));
            load_blocks(&load, &f, 0);
            if (edges[i / 3] - 1 + i % 3 >= f.file->len) {
                assert_true(vmload_ram_load(load.ram, load.reader, NULL));
            } else if (vmload_ram_load(load.ram, load.reader, &error)) {
                fail_msg("cut at edge %u + %u was accepted",
                         (unsigned)(i / 3), (unsigned)(i % 3));
            } else {
                assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "expected");
            }
            load_clear(&load);
        }
    }
    file_clear(&f);
}

/* Records of pages have no place in such a stream. */
static void test_records(void **state)
{
    GError *error = NULL;
    File f;
    Load load;

    (void)state;
    file_init(&f, 0);
    g_byte_array_set_size(f.file, f.file->len - 8);
    sw_ram_flush(f.file);
    sw_ram_zero(f.file, "one", 0, 0);
    load_init(&load, memory_channel(&f), 1);
    load_blocks(&load, &f, 0);
    assert_false(vmload_ram_load(load.ram, load.reader, &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED, "expected no page");
    load_clear(&load);
    file_clear(&f);
}

/* With x-ignore-shared: an address each, and blocks that are elsewhere. */
static void test_ignored(void **state)
{
    static const struct {
        uint32_t flags;
        uint64_t offset;
        bool shared;
        int code; /* -1: good */
    } cases[] = {
        {VMLOAD_RAM_IGNORED, 0, true, -1},
        {0, 0, true, -1},
        {0, 0, false, VMLOAD_ERROR_MALFORMED},
        {VMLOAD_RAM_IGNORED, P, true, VMLOAD_ERROR_MISMATCH},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint8_t memory[2 * P];
        GByteArray *file = sw_new();
        GError *error = NULL;
        Load load;
        bool ok;

        sw_ram_mem_size(file, 2 * P);
        sw_ram_block(file, "one", 2 * P);
        if (cases[i].shared) {
            sw_be64(file, 0);
        }
        sw_be32(file, 1);
        sw_be64(file, P);
        sw_be64(file, cases[i].offset);
        sw_be64(file, 2 * cases[i].offset);
        sw_ram_eos(file);
        memset(memory, 0x77, sizeof(memory));
        load_init(&load,
                  vmload_channel_new_memory(file->data, file->len, NULL, NULL),
                  1);
        vmload_ram_set_ignore_shared(load.ram, cases[i].shared);
        fixture_add(load.ram, "one", 2 * P, 2 * P,
                    vmload_ram_sink_new_memory(memory), cases[i].flags);
        ok = vmload_ram_load(load.ram, load.reader, &error);
        assert_int_equal(ok, cases[i].code == -1);
        if (ok) {
            assert_page(memory, 0, 0x77);
        } else {
            assert_unit_error(&error, (VmloadError)cases[i].code, "entry 0");
        }
        load_clear(&load);
        g_byte_array_unref(file);
    }
}

static void test_cancelled(void **state)
{
    uint32_t threads;

    (void)state;
    for (threads = 1; threads <= 2; threads++) {
        GError *error = NULL;
        File f;
        Load load;

        file_init(&f, 0);
        load_init(&load, memory_channel(&f), threads);
        load_blocks(&load, &f, 0);
        vmload_cancel_fire(load.cancel);
        assert_false(vmload_ram_load(load.ram, load.reader, &error));
        assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "");
        load_clear(&load);
        file_clear(&f);
    }
}

/* One block; every other page is in the file. Returns where its pages are. */
static uint64_t put_many(GByteArray *file, uint64_t n_pages, uint64_t page)
{
    uint64_t pages;
    uint64_t i;

    sw_ram_mem_size(file, n_pages * page);
    sw_ram_block(file, "one", n_pages * page);
    pages = (file->len + 28 + n_pages / 8 + 16 + page - 1) / page * page;
    sw_be32(file, 1);
    sw_be64(file, page);
    sw_be64(file, file->len + 16);
    sw_be64(file, pages);
    sw_fill(file, 0x55, n_pages / 8);
    sw_u8(file, 0x55);
    sw_fill(file, 0, pages - file->len);
    for (i = 0; i < n_pages; i++) {
        sw_fill(file, (uint8_t)(1 + i % 251), page);
    }
    sw_ram_eos(file);
    return pages;
}

/*
 * Many spans: the ring goes round, and an early error ends all. Into memory,
 * and into a file, which several threads write.
 */
static void test_many_spans(void **state)
{
    const uint64_t n_pages = 40 * 4096 + 7;
    const uint64_t page = 256;
    int turn;

    (void)state;
    for (turn = 0; turn < 4; turn++) {
        bool cut = (turn & 1) != 0;
        GByteArray *file = sw_new();
        uint8_t *memory = g_malloc0(n_pages * page);
        char *path = NULL;
        int fd = turn < 2 ? -1 : g_file_open_tmp("vmload-XXXXXX", &path, NULL);
        GError *error = NULL;
        uint64_t pages = put_many(file, n_pages, page);
        uint64_t i;
        Load load;

        load_init(&load,
                  vmload_channel_new_memory(
                      file->data, cut ? pages + 4096 * 3 * page : file->len,
                      NULL, NULL),
                  3);
        vmload_ram_set_page_bits(load.ram, 8);
        fixture_add(load.ram, "one", n_pages * page, n_pages * page,
                    turn < 2 ? vmload_ram_sink_new_memory(memory)
                             : vmload_ram_sink_new_file(path, NULL), 0);
        if (cut) {
            assert_false(vmload_ram_load(load.ram, load.reader, &error));
            assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED,
                              "RAM block 'one' page 0x");
        } else {
            assert_true(vmload_ram_load(load.ram, load.reader, &error));
            if (fd >= 0) {
                assert_true(vmload_ram_finish(load.ram, &error));
                assert_int_equal(pread(fd, memory, n_pages * page, 0),
                                 n_pages * page);
            }
            for (i = 0; i < n_pages; i++) {
                uint8_t expected = i % 2 == 0 ? (uint8_t)(1 + i % 251) : 0;

                assert_int_equal(memory[i * page], expected);
                assert_int_equal(memory[i * page + page - 1], expected);
            }
        }
        load_clear(&load);
        g_byte_array_unref(file);
        g_free(memory);
        if (fd >= 0) {
            close(fd);
            unlink(path);
            g_free(path);
        }
    }
}

/* Jumps of the reader: within its window, beyond it, beyond the end. */
static void test_seek(void **state)
{
    VmloadWait wait = {0};
    uint64_t size = 3 * VMLOAD_READER_BUFFER;
    uint8_t *data = g_malloc(size);
    VmloadChannel *channel;
    VmloadReader *reader;
    uint64_t i;
    uint8_t value;

    (void)state;
    for (i = 0; i < size; i++) {
        data[i] = (uint8_t)(i % 251);
    }
    channel = vmload_channel_new_memory(data, size, NULL, NULL);
    reader = vmload_reader_new_channel(channel, &wait, NULL);
    assert_true(vmload_reader_is_seekable(reader));
    assert_true(vmload_reader_get_u8(reader, &value, NULL));
    vmload_reader_seek(reader, 1000);
    assert_true(vmload_reader_get_u8(reader, &value, NULL));
    assert_int_equal(value, 1000 % 251);
    vmload_reader_seek(reader, VMLOAD_READER_BUFFER + 12345);
    assert_int_equal(vmload_reader_get_offset(reader),
                     VMLOAD_READER_BUFFER + 12345);
    for (i = VMLOAD_READER_BUFFER + 12345; i < size; i++) {
        assert_true(vmload_reader_get_u8(reader, &value, NULL));
        assert_int_equal(value, i % 251);
    }
    vmload_reader_seek(reader, size + 5);
    assert_false(vmload_reader_get_u8(reader, &value, NULL));
    vmload_reader_free(reader);
    vmload_channel_unref(channel);
    g_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),       cmocka_unit_test(test_known_zero),
        cmocka_unit_test(test_file),       cmocka_unit_test(test_sinks),
        cmocka_unit_test(test_lies),       cmocka_unit_test(test_version_0),
        cmocka_unit_test(test_bitmap_tail), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_records),    cmocka_unit_test(test_ignored),
        cmocka_unit_test(test_cancelled),  cmocka_unit_test(test_many_spans),
        cmocka_unit_test(test_seek),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

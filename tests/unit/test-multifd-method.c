/* SPDX-License-Identifier: BSD-3-Clause */
/* Compressed packets, made by the real libraries, and lies about them. */
#include "multifd-fixture.h"

#ifdef VMLOAD_HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef VMLOAD_HAVE_ZSTD
#include <zstd.h>
#endif

#define ROOM (1024 * 1024)

/* One source's compressor, for a channel's whole life. */
typedef struct {
    uint32_t flag;
#ifdef VMLOAD_HAVE_ZLIB
    z_stream zlib;
#endif
#ifdef VMLOAD_HAVE_ZSTD
    ZSTD_CStream *zstd;
#endif
} Packer;

static bool packer_init(Packer *packer, uint32_t flag)
{
    memset(packer, 0, sizeof(*packer));
    packer->flag = flag;
#ifdef VMLOAD_HAVE_ZLIB
    if (flag == PW_ZLIB) {
        assert_int_equal(deflateInit(&packer->zlib, 1), Z_OK);
        return true;
    }
#endif
#ifdef VMLOAD_HAVE_ZSTD
    if (flag == PW_ZSTD) {
        packer->zstd = ZSTD_createCStream();
        assert_false(ZSTD_isError(ZSTD_initCStream(packer->zstd, 1)));
        return true;
    }
#endif
    return false;
}

static void packer_clear(Packer *packer)
{
#ifdef VMLOAD_HAVE_ZLIB
    if (packer->flag == PW_ZLIB) {
        deflateEnd(&packer->zlib);
    }
#endif
#ifdef VMLOAD_HAVE_ZSTD
    if (packer->flag == PW_ZSTD) {
        ZSTD_freeCStream(packer->zstd);
    }
#endif
    memset(packer, 0, sizeof(*packer));
}

/* Compresses @data up to a flush; how long it became. */
static uint32_t packer_pack(Packer *packer, uint8_t *data, size_t length,
                            uint8_t *out)
{
#ifdef VMLOAD_HAVE_ZLIB
    if (packer->flag == PW_ZLIB) {
        packer->zlib.next_in = data;
        packer->zlib.avail_in = (uInt)length;
        packer->zlib.next_out = out;
        packer->zlib.avail_out = ROOM;
        assert_int_equal(deflate(&packer->zlib, Z_SYNC_FLUSH), Z_OK);
        return ROOM - packer->zlib.avail_out;
    }
#endif
#ifdef VMLOAD_HAVE_ZSTD
    {
        ZSTD_inBuffer input = {data, length, 0};
        ZSTD_outBuffer output = {out, ROOM, 0};

        assert_int_equal(ZSTD_compressStream2(packer->zstd, &output, &input,
                                              ZSTD_e_flush),
                         0);
        return (uint32_t)output.pos;
    }
#endif
    (void)packer;
    fail_msg("%p %u %p: no such method", (void *)data, (unsigned)length,
             (void *)out);
    return 0;
}

/* A packet with pages of "one" as @data has them. Returns where it begins. */
static guint pack_pages(Packer *packer, GByteArray *out,
                        const uint64_t *offsets, uint32_t n, uint8_t *data)
{
    uint8_t *room = g_malloc(ROOM);
    uint32_t size = packer_pack(packer, data, n * FIXTURE_PAGE, room);
    guint at = pw_ram(out, BITS, packer->flag, "one", offsets, n, 0, size);

    sw_bytes(out, room, size);
    g_free(room);
    return at;
}

/* Bytes of kind @kind: noise, one value, text, zeros. */
static void fill_data(uint8_t *data, size_t length, uint32_t kind)
{
    GRand *rand = g_rand_new_with_seed(kind);
    size_t i;

    for (i = 0; i < length; i++) {
        data[i] = kind == 0   ? (uint8_t)g_rand_int(rand)
                  : kind == 1 ? 0x5a
                  : kind == 2 ? (uint8_t)"guest memory "[i % 13]
                              : 0;
    }
    g_rand_free(rand);
}

/* Two pages of each kind in a packet: next to each other, or backwards. */
static void run_method(uint32_t flag)
{
    const uint64_t two = 2 * FIXTURE_PAGE;
    uint8_t *data = g_malloc(4 * two);
    GByteArray *out = sw_new();
    Packer packer;
    Group group;
    uint64_t kind;
    int turn;

    if (!packer_init(&packer, flag)) {
        g_byte_array_unref(out);
        g_free(data);
        skip();
    }
    for (turn = 0; turn < 2; turn++) {
        write_sync(out);
        for (kind = 0; kind < 4; kind++) {
            const uint64_t first = kind * two;
            const uint64_t forth[] = {first, first + FIXTURE_PAGE, 0};
            const uint64_t back[] = {first + FIXTURE_PAGE, first, 0};

            fill_data(data + first, two, (uint32_t)kind);
            pack_pages(&packer, out, turn == 0 ? forth : back, 2,
                       data + first);
            /* Zero pages only: no data, method bits all the same. */
            pw_ram(out, BITS, flag, "two", back + 2, 0, 1, 0);
        }
    }
    write_sync(out);
    group_init(&group);
    group_add_bytes(&group, out);
    group_run_ok(&group, true);
    for (kind = 0; kind < 4; kind++) {
        assert_memory_equal(group.ram.memory + kind * two + FIXTURE_PAGE,
                            data + kind * two, FIXTURE_PAGE);
        assert_memory_equal(group.ram.memory + kind * two,
                            data + kind * two + FIXTURE_PAGE, FIXTURE_PAGE);
    }
    assert_page(group.ram.other, 0, 0);
    group_clear(&group);
    packer_clear(&packer);
    g_free(data);
}

static void test_zlib(void **state)
{
    (void)state;
    run_method(PW_ZLIB);
}

static void test_zstd(void **state)
{
    (void)state;
    run_method(PW_ZSTD);
}

/* A packet's data and what is told of it; the other field stays true. */
typedef enum {
    LIE_CUT,     /* its last third is missing, and the size agrees */
    LIE_SHORT,   /* the size says less than there is */
    LIE_ZERO,    /* the size is 0 */
    LIE_HUGE,    /* the size is beyond all bounds */
    LIE_FLIP,    /* the first bytes are others */
    LIE_MORE,    /* it has a page more than it says */
    LIE_FEWER,   /* it has a page less */
    LIES,
} Lie;

static void lie(GByteArray *out, guint at, guint from, Lie what)
{
    uint32_t size = out->len - from;

    switch (what) {
    case LIE_CUT:
        g_byte_array_set_size(out, from + size - size / 3);
        sw_patch_be32(out, at + PW_AT_NEXT_PACKET_SIZE, size - size / 3);
        break;
    case LIE_SHORT:
        sw_patch_be32(out, at + PW_AT_NEXT_PACKET_SIZE, size / 2);
        break;
    case LIE_ZERO:
        sw_patch_be32(out, at + PW_AT_NEXT_PACKET_SIZE, 0);
        break;
    case LIE_HUGE:
        sw_patch_be32(out, at + PW_AT_NEXT_PACKET_SIZE, 1024 * 1024 + 1);
        break;
    case LIE_FLIP:
        memset(out->data + from, 0xff, 4);
        break;
    case LIE_MORE:
        sw_patch_be32(out, at + PW_AT_NORMAL_PAGES, 1);
        break;
    default:
        sw_patch_be32(out, at + PW_AT_NORMAL_PAGES, 3);
        break;
    }
}

static void run_lies(uint32_t flag)
{
    const uint64_t offsets[] = {0, FIXTURE_PAGE, 2 * FIXTURE_PAGE};
    uint8_t *data = g_malloc(3 * FIXTURE_PAGE);
    Packer packer;
    int what;

    fill_data(data, 3 * FIXTURE_PAGE, 0);
    for (what = 0; what < LIES; what++) {
        GByteArray *out = sw_new();
        Group group;
        guint at;

        if (!packer_init(&packer, flag)) {
            g_byte_array_unref(out);
            g_free(data);
            skip();
        }
        write_sync(out);
        at = pack_pages(&packer, out, offsets, 2, data);
        sw_patch_be64(out, at + PW_AT_OFFSETS + 16, 2 * FIXTURE_PAGE);
        lie(out, at, at + 1344, (Lie)what);
        sw_fill(out, 0, 8192);
        group_init(&group);
        group_add_bytes(&group, out);
        group_run_error(&group, true, VMLOAD_ERROR_MALFORMED,
                        "channel 'multifd 0', packet 1: ");
        assert_page(group.ram.memory, 3, 0xee);
        group_clear(&group);
        packer_clear(&packer);
    }
    g_free(data);
}

static void test_zlib_lies(void **state)
{
    (void)state;
    run_lies(PW_ZLIB);
}

static void test_zstd_lies(void **state)
{
    (void)state;
    run_lies(PW_ZSTD);
}

/* Methods that are refused, by their names. */
static void test_refused(void **state)
{
    static const struct {
        uint32_t flags;
        VmloadError code;
        const char *part;
    } cases[] = {
        {PW_QPL, VMLOAD_ERROR_UNSUPPORTED, "compression qpl"},
        {PW_UADK, VMLOAD_ERROR_UNSUPPORTED, "compression uadk"},
        {PW_QATZIP, VMLOAD_ERROR_UNSUPPORTED, "compression qatzip"},
        {PW_ZLIB | PW_ZSTD, VMLOAD_ERROR_MALFORMED,
         "expected one compression method, found 0x6"},
        {PW_QATZIP | PW_ZLIB, VMLOAD_ERROR_MALFORMED, "found 0x22"},
#ifndef VMLOAD_HAVE_ZLIB
        {PW_ZLIB, VMLOAD_ERROR_UNSUPPORTED, "compression zlib"},
#endif
#ifndef VMLOAD_HAVE_ZSTD
        {PW_ZSTD, VMLOAD_ERROR_UNSUPPORTED, "compression zstd"},
#endif
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        GByteArray *out = sw_new();
        Group group;
        guint at;

        write_sync(out);
        at = write_pages(out, 0, 1, 1);
        sw_patch_be32(out, at + PW_AT_FLAGS, cases[i].flags);
        group_init(&group);
        group_add_bytes(&group, out);
        group_run_error(&group, true, cases[i].code, cases[i].part);
        group_clear(&group);
    }
}

/* Compression goes on from packet to packet: no change in the middle. */
static void test_change(void **state)
{
    const uint64_t offset = 0;
    uint8_t *data = g_malloc0(FIXTURE_PAGE);
    GByteArray *out = sw_new();
    Packer packer;
    Group group;

    (void)state;
    if (!packer_init(&packer, PW_ZLIB) && !packer_init(&packer, PW_ZSTD)) {
        skip();
    }
    write_sync(out);
    pack_pages(&packer, out, &offset, 1, data);
    /* An empty packet may say what it likes, it means nothing. */
    pw_ram(out, BITS, PW_QPL, NULL, NULL, 0, 0, 77);
    write_pages(out, 1, 1, 1);
    group_init(&group);
    group_add_bytes(&group, out);
    group_run_error(&group, true, VMLOAD_ERROR_MALFORMED,
                    "packet 3: field flags: expected compression z");
    group_clear(&group);
    packer_clear(&packer);
    g_free(data);
}

/* By QEMU's names. The packers are of this build's libraries too. */
static void test_has(void **state)
{
    Packer packer;

    (void)state;
    assert_true(vmload_multifd_has_compression("none"));
    assert_int_equal(vmload_multifd_has_compression("zlib"),
                     packer_init(&packer, PW_ZLIB));
    packer_clear(&packer);
    assert_false(vmload_multifd_has_compression("qpl"));
    assert_false(vmload_multifd_has_compression("zl"));
    assert_false(vmload_multifd_has_compression(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zlib),      cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_zlib_lies), cmocka_unit_test(test_zstd_lies),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_change),
        cmocka_unit_test(test_has),
    };

    return cmocka_run_group_tests_name("multifd-method", tests, NULL, NULL);
}

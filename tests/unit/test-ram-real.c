/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The RAM sections of every recorded stream, into digests: the counts of
 * pages and the content of the guest's memory are those of the source. Once
 * from memory, once from a channel in pieces.
 */
#include "ram-fixture.h"

#include <jansson.h>

#include "drip.h"

typedef struct {
    const char *name;
    char *data;
    gsize length;
    VmloadRam *ram;
    uint64_t step; /* bytes a channel gives at once; 0: from memory */
} Real;

static VmloadRamBlock *real_announced(void *opaque, const char *idstr,
                                      uint64_t used_length, GError **error)
{
    (void)opaque;
    return vmload_ram_block_new(idstr, used_length, used_length,
                                vmload_ram_sink_new_digest(), error);
}

/* Behind the header of the START of "ram"; 0: there is none. */
static uint64_t real_find_start(const Real *real, uint8_t id[4])
{
    static const uint8_t tail[] = {3, 'r', 'a', 'm', 0, 0, 0, 0, 0, 0, 0, 4};
    uint64_t i;

    for (i = 8; i + 17 < real->length; i++) {
        if (real->data[i] == SW_SECTION_START &&
            memcmp(real->data + i + 5, tail, sizeof(tail)) == 0) {
            memcpy(id, real->data + i + 1, 4);
            return i + 17;
        }
    }
    return 0;
}

/* Loads the payload at @at and gives the offset behind it. */
static uint64_t real_load(Real *real, uint64_t at)
{
    const uint8_t *data = (const uint8_t *)real->data + at;
    Drip drip = {data, real->length - at, real->step, 0};
    VmloadChannel *channel = NULL;
    VmloadWait wait = {0};
    VmloadReader *reader;
    GError *error = NULL;
    uint64_t taken;

    if (real->step == 0) {
        reader = vmload_reader_new_memory(data, drip.length, 0);
    } else {
        channel = drip_channel(&drip);
        reader = vmload_reader_new_channel(channel, &wait, &error);
    }
    if (!vmload_ram_load(real->ram, reader, &error)) {
        fail_msg("%s: %s", real->name, error->message);
    }
    taken = vmload_reader_get_offset(reader);
    vmload_reader_free(reader);
    if (channel != NULL) {
        vmload_channel_unref(channel);
    }
    return at + taken;
}

/* Passes footer and commands. Is the next record a part of the section? */
static bool real_next(const Real *real, uint64_t *at, const uint8_t id[4])
{
    const uint8_t *data = (const uint8_t *)real->data;

    if (data[*at] == SW_FOOTER) {
        assert_memory_equal(data + *at + 1, id, 4);
        *at += 5;
    }
    while (data[*at] == SW_COMMAND) {
        *at += 5 + (uint64_t)data[*at + 3] * 256 + data[*at + 4];
    }
    if ((data[*at] != SW_SECTION_PART && data[*at] != SW_SECTION_END) ||
        memcmp(data + *at + 1, id, 4) != 0) {
        return false;
    }
    *at += 5;
    return true;
}

static void real_check(Real *real, json_t *about)
{
    json_t *pages = json_object_get(about, "pages");
    VmloadRamCounters counters;
    const char *idstr;
    json_t *digest;

    vmload_ram_get_counters(real->ram, &counters);
    assert_int_equal(counters.pages_normal,
                     json_integer_value(json_object_get(pages, "normal")));
    assert_int_equal(counters.pages_zero,
                     json_integer_value(json_object_get(pages, "zero")));
    assert_int_equal(counters.pages_xbzrle,
                     json_integer_value(json_object_get(pages, "xbzrle")));
    json_object_foreach(json_object_get(about, "ram_sha256"), idstr, digest) {
        VmloadRamBlock *block = NULL;
        uint64_t i = 0;

        do {
            block = vmload_ram_get_block(real->ram, i++);
            assert_non_null(block);
        } while (strcmp(vmload_ram_block_get_idstr(block), idstr) != 0);
        assert_string_equal(
            vmload_ram_sink_get_digest(vmload_ram_block_get_sink(block)),
            json_string_value(digest));
    }
}

static bool real_run(const char *dir, const char *name, json_t *about,
                     uint64_t step)
{
    const VmloadRamEnv env = {.announced = real_announced};
    char *path = g_build_filename(
        dir, json_string_value(json_object_get(about, "file")), NULL);
    Real real = {.name = name, .step = step};
    GError *error = NULL;
    uint8_t id[4];
    uint64_t at;
    bool any;

    assert_true(g_file_get_contents(path, &real.data, &real.length, NULL));
    real.ram = vmload_ram_new(&env);
    vmload_ram_set_ignore_shared(real.ram,
                                 strstr(name, "ignore-shared") != NULL ||
                                     strstr(name, "capabilities") != NULL);
    at = real_find_start(&real, id);
    assert_true(at > 0);
    do {
        at = real_load(&real, at);
    } while (real_next(&real, &at, id));
    assert_true(vmload_ram_finish(real.ram, &error));
    real_check(&real, about);
    any = vmload_ram_get_block(real.ram, 0) != NULL;
    vmload_ram_free(real.ram);
    g_free(real.data);
    g_free(path);
    return any;
}

static void test_streams(void **state)
{
    const char *dir = g_getenv("VMLOAD_STREAMS");
    unsigned with_ram = 0;
    json_t *index;
    json_t *about;
    const char *name;
    char *path;

    (void)state;
    assert_non_null(dir);
    path = g_build_filename(dir, "index.json", NULL);
    index = json_load_file(path, 0, NULL);
    assert_non_null(index);
    json_object_foreach(index, name, about) {
        with_ram += real_run(dir, name, about, 0) ? 1 : 0;
        with_ram += real_run(dir, name, about, 4099) ? 1 : 0;
    }
    assert_true(with_ram >= 16);
    json_decref(index);
    g_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
    };

    return cmocka_run_group_tests_name("ram-real", tests, NULL, NULL);
}

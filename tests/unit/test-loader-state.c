/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that is loaded by its description, in both classes: what is held
 * while, what the ledger says, and a main loop that goes on meanwhile.
 */
#include "unit.h"

#include <vmload/loader.h>

#include "stream-writer.h"

#define WORDS 4096

typedef struct Chip Chip;

typedef struct {
    GMutex big_lock;
    GThread *owner; /* of the big lock, with it held or by the owner */
    int applied;
    int stop; /* the main loop's */
} Host;

struct Chip {
    Host *host;      /* not described */
    uint32_t ticks;  /* not described: the main loop counts */
    uint8_t model;   /* must be equal */
    uint32_t words[WORDS];
    bool refuse;
};

static bool has_lock(Host *host)
{
    return g_atomic_pointer_get(&host->owner) == g_thread_self();
}

static void host_lock(void *opaque)
{
    Host *host = opaque;

    g_mutex_lock(&host->big_lock);
    g_atomic_pointer_set(&host->owner, g_thread_self());
}

static void host_unlock(void *opaque)
{
    Host *host = opaque;

    g_atomic_pointer_set(&host->owner, NULL);
    g_mutex_unlock(&host->big_lock);
}

static bool host_lock_is_held(void *opaque)
{
    return has_lock(opaque);
}

/* Set before a load: must `exists` see the lock held? */
static bool expect_held;

static bool words_exist(const void *object, uint32_t version)
{
    const Chip *chip = object;

    (void)version;
    assert_true(has_lock(chip->host) == expect_held);
    return true;
}

static bool chip_pre_load(void *object, uint32_t version, GError **error)
{
    Chip *chip = object;

    (void)version;
    (void)error;
    assert_true(has_lock(chip->host));
    return true;
}

static bool chip_post_load(void *object, uint32_t version, GError **error)
{
    Chip *chip = object;

    (void)version;
    assert_true(has_lock(chip->host));
    if (chip->refuse) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_MISMATCH,
                    "not this chip");
        return false;
    }
    g_atomic_int_inc(&chip->host->applied);
    return true;
}

static const VmloadField chip_fields[] = {
    VMLOAD_FIELD(model, Chip, U8_EQUAL),
    VMLOAD_FIELD_ARRAY_V(words, Chip, U32, 0, words_exist),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc chip_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .name = "chip",
    .fields = chip_fields,
    .pre_load = chip_pre_load,
    .post_load = chip_post_load,
};

typedef struct {
    const char *name;
    VmloadLock lock;
    uint32_t flags;
} Class;

static const Class classes[] = {
    {"WHOLE", VMLOAD_LOCK_WHOLE, 0},
    {"APPLY", VMLOAD_LOCK_APPLY, 0},
    {"APPLY, CONCURRENT", VMLOAD_LOCK_APPLY, VMLOAD_DEVICE_CONCURRENT},
};

static GByteArray *make_stream(const char *names, uint8_t model)
{
    GByteArray *payload = sw_new();
    GByteArray *out = sw_new();
    uint32_t id = 1;
    uint32_t i;

    g_byte_array_append(payload, &model, 1);
    for (i = 0; i < WORDS; i++) {
        sw_be32(payload, i * 3);
    }
    sw_header(out);
    sw_configuration(out, "none");
    for (; *names != '\0'; names++) {
        const char name[] = {*names, '\0'};

        sw_device(out, id++, name, 0, 1, payload->data, payload->len);
    }
    sw_eof(out);
    g_byte_array_unref(payload);
    return out;
}

static VmloadLoader *make_loader(Host *host, const GByteArray *stream,
                                 VmloadCommit commit)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .lock = host_lock,
        .unlock = host_unlock,
        .lock_is_held = host_lock_is_held,
    };
    VmloadLoader *loader = vmload_loader_new(&ops, host, NULL, NULL);

    assert_non_null(loader);
    vmload_loader_set_commit(loader, commit);
    vmload_loader_set_channel(
        loader,
        vmload_channel_new_memory(stream->data, stream->len, NULL, NULL));
    return loader;
}

static void add_chip(VmloadLoader *loader, const char *name, Chip *chip,
                     const Class *class)
{
    const VmloadStateOptions options = {
        VMLOAD_STATE_OPTIONS_INIT,
        .lock = (uint32_t)class->lock,
        .flags = class->flags,
        .object_size = sizeof(*chip),
    };
    GError *error = NULL;

    if (!vmload_loader_add_state_with_options(loader, name, 0, &chip_desc,
                                              chip, &options, &error)) {
        fail_msg("%s", error->message);
    }
}

static void chips_init(Host *host, Chip *chips, size_t n)
{
    size_t i;

    memset(host, 0, sizeof(*host));
    g_mutex_init(&host->big_lock);
    memset(chips, 0, n * sizeof(*chips));
    for (i = 0; i < n; i++) {
        chips[i].host = host;
        chips[i].model = 4;
    }
}

static void check_words(const Chip *chip)
{
    uint32_t i;

    for (i = 0; i < WORDS; i++) {
        assert_int_equal(chip->words[i], i * 3);
    }
}

/* A main loop: takes the lock and counts in a member that is not described. */
static void *main_loop(void *opaque)
{
    Chip *chip = opaque;

    while (!g_atomic_int_get(&chip->host->stop)) {
        host_lock(chip->host);
        chip->ticks++;
        host_unlock(chip->host);
    }
    return NULL;
}

static void test_classes(void **state)
{
    VmloadCommit commits[] = {VMLOAD_COMMIT_STREAMING, VMLOAD_COMMIT_ATOMIC};
    GByteArray *stream = make_stream("abc", 4);
    size_t i;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(classes); i++) {
        const Class *class = &classes[i / 2];
        Chip *chips = g_new(Chip, 3);
        VmloadLoader *loader;
        GError *error = NULL;
        GThread *thread;
        uint32_t ticks;
        Host host;
        size_t j;

        chips_init(&host, chips, 3);
        expect_held = class->lock == VMLOAD_LOCK_WHOLE;
        loader = make_loader(&host, stream, commits[i % 2]);
        for (j = 0; j < 3; j++) {
            const char name[] = {(char)('a' + j), '\0'};

            add_chip(loader, name, &chips[j], class);
        }
        thread = g_thread_new("main-loop", main_loop, &chips[1]);
        if (!vmload_loader_run(loader, 0, &error)) {
            fail_msg("%s: %s", class->name, error->message);
        }
        host_lock(&host);
        ticks = chips[1].ticks;
        host_unlock(&host);
        g_atomic_int_set(&host.stop, 1);
        g_thread_join(thread);
        /* Not one tick was lost to a copy. */
        assert_true(chips[1].ticks >= ticks);
        assert_int_equal(host.applied, 3);
        for (j = 0; j < 3; j++) {
            check_words(&chips[j]);
        }
        vmload_loader_free(loader);
        g_mutex_clear(&host.big_lock);
        g_free(chips);
    }
    g_byte_array_unref(stream);
}

/* The last device does not decode: not even the first was touched. */
static void test_dry_run(void **state)
{
    GByteArray *stream = make_stream("abc", 4);
    Chip *chips = g_new(Chip, 3);
    GError *error = NULL;
    VmloadLoader *loader;
    Host host;
    size_t i;

    (void)state;
    expect_held = false;
    for (i = 1; i < G_N_ELEMENTS(classes); i++) {
        chips_init(&host, chips, 3);
        chips[2].model = 5;
        loader = make_loader(&host, stream, VMLOAD_COMMIT_ATOMIC);
        add_chip(loader, "a", &chips[0], &classes[i]);
        add_chip(loader, "b", &chips[1], &classes[i]);
        add_chip(loader, "c", &chips[2], &classes[i]);
        assert_false(vmload_loader_run(loader, 0, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MISMATCH,
                          "section 'c' instance 0 at 0x803b: field 'model': "
                          "offset 0x804b: expected 5, found 4");
        assert_int_equal(host.applied, 0);
        assert_int_equal(chips[0].words[1], 0);
        assert_int_equal(chips[1].words[1], 0);
        vmload_loader_free(loader);
        g_mutex_clear(&host.big_lock);
    }
    g_free(chips);
    g_byte_array_unref(stream);
}

static void test_post_load_refuses(void **state)
{
    GByteArray *stream = make_stream("ab", 4);
    Chip *chips = g_new(Chip, 2);
    GError *error = NULL;
    VmloadLoader *loader;
    Host host;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(classes); i++) {
        chips_init(&host, chips, 2);
        chips[1].refuse = true;
        expect_held = classes[i].lock == VMLOAD_LOCK_WHOLE;
        loader = make_loader(&host, stream, VMLOAD_COMMIT_STREAMING);
        add_chip(loader, "a", &chips[0], &classes[i]);
        add_chip(loader, "b", &chips[1], &classes[i]);
        assert_false(vmload_loader_run(loader, 0, &error));
        assert_unit_error(&error, VMLOAD_ERROR_MISMATCH,
                          "post_load of 'chip': not this chip");
        vmload_loader_free(loader);
        g_mutex_clear(&host.big_lock);
    }
    g_free(chips);
    g_byte_array_unref(stream);
}

/* Every cut of a stream fails, and in no class a hook is called for it. */
static void test_cut(void **state)
{
    GByteArray *stream = make_stream("a", 4);
    Chip *chip = g_new(Chip, 1);
    GError *error = NULL;
    VmloadLoader *loader;
    guint length;
    Host host;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(classes); i++) {
        for (length = stream->len - 4; length > 20; length /= 2) {
            GByteArray cut = {stream->data, length};

            chips_init(&host, chip, 1);
            expect_held = classes[i].lock == VMLOAD_LOCK_WHOLE;
            loader = make_loader(&host, &cut, VMLOAD_COMMIT_STREAMING);
            add_chip(loader, "a", chip, &classes[i]);
            assert_false(vmload_loader_run(loader, 0, &error));
            assert_non_null(error);
            assert_int_equal(error->code, VMLOAD_ERROR_TRUNCATED);
            g_clear_error(&error);
            assert_int_equal(host.applied, 0);
            vmload_loader_free(loader);
            g_mutex_clear(&host.big_lock);
        }
    }
    g_free(chip);
    g_byte_array_unref(stream);
}

/* What is held for each class, side by side; for people to read. */
static void test_ledger(void **state)
{
    GByteArray *stream = make_stream("abc", 4);
    Chip *chips = g_new(Chip, 3);
    VmloadLedgerEntry *ledger;
    VmloadLoader *loader;
    Host host;
    uint64_t n;
    size_t i;

    (void)state;
    print_message("%-18s %8s %12s %12s\n", "class", "bytes", "held ns",
                  "callback ns");
    for (i = 0; i < G_N_ELEMENTS(classes); i++) {
        const char name[] = {(char)('a' + i), '\0'};

        chips_init(&host, chips, 3);
        expect_held = classes[i].lock == VMLOAD_LOCK_WHOLE;
        /* One device of the class under test; the others are not there. */
        g_byte_array_unref(stream);
        stream = make_stream(name, 4);
        loader = make_loader(&host, stream, VMLOAD_COMMIT_STREAMING);
        add_chip(loader, name, &chips[i], &classes[i]);
        assert_true(vmload_loader_run(loader, 0, NULL));
        ledger = vmload_loader_get_ledger(loader, &n);
        assert_int_equal(n, 1);
        assert_int_equal(ledger[0].bytes, 1 + 4 * WORDS);
        assert_int_equal(ledger[0].records, 1);
        assert_true(ledger[0].lock_held_ns > 0);
        print_message("%-18s %8" G_GUINT64_FORMAT " %12" G_GUINT64_FORMAT
                      " %12" G_GUINT64_FORMAT "\n", classes[i].name,
                      ledger[0].bytes, ledger[0].lock_held_ns,
                      ledger[0].callback_ns);
        g_free(ledger);
        vmload_loader_free(loader);
        g_mutex_clear(&host.big_lock);
    }
    g_free(chips);
    g_byte_array_unref(stream);
}

static void test_options(void **state)
{
    static const struct {
        uint32_t lock;
        uint32_t flags;
        uint64_t object_size;
        VmloadError code;
        const char *message;
    } cases[] = {
        {VMLOAD_LOCK_NONE, 0, sizeof(Chip), VMLOAD_ERROR_UNSUPPORTED,
         "expected lock WHOLE or APPLY"},
        {VMLOAD_LOCK_WHOLE, VMLOAD_DEVICE_CONCURRENT, sizeof(Chip),
         VMLOAD_ERROR_UNSUPPORTED, "expected no flag"},
        {VMLOAD_LOCK_APPLY, 1 << 5, sizeof(Chip), VMLOAD_ERROR_UNSUPPORTED,
         "expected no flag"},
        {VMLOAD_LOCK_APPLY, 0, 0, VMLOAD_ERROR_FAILED,
         "expected an object of"},
    };
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    VmloadLoader *loader = vmload_loader_new(&ops, NULL, NULL, NULL);
    Chip *chip = g_new0(Chip, 1);
    GError *error = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        const VmloadStateOptions options = {
            VMLOAD_STATE_OPTIONS_INIT,
            .lock = cases[i].lock,
            .flags = cases[i].flags,
            .object_size = cases[i].object_size,
        };

        assert_false(vmload_loader_add_state_with_options(
            loader, "chip", 0, &chip_desc, chip, &options, &error));
        assert_unit_error(&error, cases[i].code, cases[i].message);
    }
    vmload_loader_free(loader);
    g_free(chip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_dry_run),
        cmocka_unit_test(test_post_load_refuses),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_ledger),
        cmocka_unit_test(test_options),
    };

    return cmocka_run_group_tests_name("loader-state", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host shaped like QEMU: a file object with a buffer of its own, from which
 * devices, RAM and commands read; handlers that are found by name; packages
 * that it loads itself; a thread that goes on with the main stream meanwhile;
 * another round after EOF.
 */
#include "unit.h"

#include <poll.h>

#include "fake-file.h"
#include "loader-fixture.h"

#define BIG 100000u
#define RAM_BYTES 70000u
#define DIRTY_BYTES 40u

typedef struct {
    Fake fake;
    FakeFile file;   /* the main stream */
    GThread *listen; /* nullable */
    bool listening;
    bool fail_listen; /* atomic */
    uint64_t ram_bytes; /* atomic */
    uint64_t dirty_bytes; /* atomic */
    int rounds;
    bool checkpoints; /* COLO-like: dispatch again in finish */
    GByteArray *checkpoint;
    uint32_t max_big;
} Qemu;

/* The fake is the first member: the host's opaque is both. */
static Qemu *qemu_of(void *opaque)
{
    return opaque;
}

static void wrong_if(Qemu *qemu, bool bad, const char *rule)
{
    if (bad) {
        fake_wrong(&qemu->fake, rule, "qemu");
    }
}

/* A device that takes the state from a file object over what is staged. */
static bool qemu_vmstate_load(void *opaque, VmloadReader *reader,
                              const VmloadSection *section, GError **error)
{
    Qemu *qemu = opaque;
    uint32_t n = strcmp(section->idstr, "big") == 0 ? BIG : 20;
    FakeFile *temporary = g_new0(FakeFile, 1);
    uint8_t *state = g_malloc(n);
    const uint8_t *data;
    uint64_t candidate;
    uint64_t visible;
    uint8_t peeked = 0;
    bool ok = true;

    wrong_if(qemu, !fake_is_held(qemu), "load without the lock");
    if (!vmload_reader_get_staged(reader, &data, &candidate, &visible)) {
        wrong_if(qemu, true, "not staged");
        ok = false;
    } else {
        fake_file_init(temporary, data, visible, UINT64_MAX);
        ok = fake_file_read(temporary, state, n) == n;
        wrong_if(qemu, ok && state[n - 1] != 0x5a, "wrong state");
        /* As the probe for a subsection does. */
        wrong_if(qemu,
                 ok && (fake_file_peek(temporary, 1, &data, NULL) < 1 ||
                        (peeked = data[0]) != VMLOAD_RECORD_FOOTER),
                 "no footer to be seen");
        ok = ok && vmload_reader_skip(reader, fake_file_position(temporary),
                                      error);
    }
    g_free(state);
    g_free(temporary);
    return ok;
}

static const VmloadDeviceOps qemu_vmstate_ops = {
    VMLOAD_DEVICE_OPS_INIT,
    .load = qemu_vmstate_load,
};

static bool qemu_find(void *opaque, const VmloadSection *section,
                      VmloadDevice *device, GError **error)
{
    Qemu *qemu = opaque;

    (void)error;
    wrong_if(qemu, !fake_is_held(qemu), "find without the lock");
    if (strcmp(section->idstr, "big") != 0 &&
        strcmp(section->idstr, "small") != 0) {
        return false;
    }
    device->min_version = 1;
    device->max_version = 1;
    device->ops = &qemu_vmstate_ops;
    device->opaque = qemu;
    return true;
}

/* ram_load() knows nothing of the library: it reads the main file. */
static bool qemu_ram_load(void *opaque, VmloadReader *reader,
                          const VmloadSection *section, GError **error)
{
    Qemu *qemu = opaque;
    uint8_t *page = g_malloc(RAM_BYTES);
    bool ok;

    (void)reader;
    (void)section;
    wrong_if(qemu, fake_is_held(qemu), "ram_load with the lock");
    ok = fake_file_read(&qemu->file, page, RAM_BYTES) == RAM_BYTES;
    wrong_if(qemu, ok && page[RAM_BYTES - 1] != 0x77, "wrong page");
    __atomic_fetch_add(&qemu->ram_bytes, RAM_BYTES, __ATOMIC_RELAXED);
    g_free(page);
    if (!ok) {
        g_set_error(error, g_quark_from_static_string("host"), 1, "no page");
    }
    return ok;
}

static bool qemu_dirty_load(void *opaque, VmloadReader *reader,
                            const VmloadSection *section, GError **error)
{
    Qemu *qemu = opaque;
    const uint8_t *data;
    uint64_t candidate;
    uint64_t visible;

    (void)section;
    wrong_if(qemu, fake_is_held(qemu), "STAGED with the lock");
    wrong_if(qemu,
             !vmload_reader_get_staged(reader, &data, &candidate, &visible),
             "STAGED is not staged");
    __atomic_fetch_add(&qemu->dirty_bytes, candidate, __ATOMIC_RELAXED);
    return vmload_reader_skip(reader, candidate, error);
}

static VmloadCommandResult qemu_loadvm(Qemu *qemu, FakeFile *file,
                                       GError **error)
{
    VmloadReader *reader = vmload_loader_new_reader(
        qemu->fake.loader, fake_file_channel(file, false), error);
    VmloadCommandResult result;

    assert_non_null(reader);
    result = vmload_loader_dispatch(qemu->fake.loader, reader, error);
    vmload_reader_free(reader);
    return result;
}

static void *qemu_listen_thread(void *opaque)
{
    Qemu *qemu = opaque;
    GError *error = NULL;
    VmloadCommandResult result = qemu_loadvm(qemu, &qemu->file, &error);

    if (__atomic_load_n(&qemu->fail_listen, __ATOMIC_RELAXED)) {
        wrong_if(qemu, result != VMLOAD_COMMAND_FAILED, "listen went well");
        wrong_if(qemu, error == NULL ||
                           strstr(error->message, "section 'ram'") == NULL,
                 "the error has no place");
    } else {
        wrong_if(qemu, result != VMLOAD_COMMAND_DONE, "listen failed");
    }
    g_clear_error(&error);
    vmload_loader_finished(qemu->fake.loader, NULL);
    return NULL;
}

static VmloadCommandResult qemu_packaged(Qemu *qemu, GError **error)
{
    FakeFile *packf = g_new0(FakeFile, 1);
    VmloadCommandResult result = VMLOAD_COMMAND_FAILED;
    uint8_t length[4];
    uint8_t *blob;
    uint32_t n;

    fake_file_read(&qemu->file, length, 4);
    n = (uint32_t)length[0] << 24 | (uint32_t)length[1] << 16 |
        (uint32_t)length[2] << 8 | length[3];
    blob = g_malloc(n);
    if (fake_file_read(&qemu->file, blob, n) == n) {
        fake_file_init(packf, blob, n, UINT64_MAX);
        result = qemu_loadvm(qemu, packf, error);
    }
    g_free(blob);
    g_free(packf);
    return result == VMLOAD_COMMAND_DONE ? VMLOAD_COMMAND_DONE : result;
}

static VmloadLock qemu_command_lock(void *opaque, uint32_t command)
{
    (void)opaque;
    return command == VMLOAD_COMMAND_POSTCOPY_ADVISE ||
                   command == VMLOAD_COMMAND_POSTCOPY_LISTEN
               ? VMLOAD_LOCK_WHOLE
               : VMLOAD_LOCK_NONE;
}

static VmloadCommandResult qemu_command(void *opaque, VmloadReader *reader,
                                        const VmloadCommand *command,
                                        GError **error)
{
    Qemu *qemu = opaque;
    uint8_t payload[16];

    (void)reader;
    switch (command->command) {
    case VMLOAD_COMMAND_POSTCOPY_ADVISE:
        wrong_if(qemu, !fake_is_held(qemu), "ADVISE without the lock");
        /* All of it is there: nothing is waited for. */
        wrong_if(qemu, qemu->file.size - qemu->file.index < 16,
                 "ADVISE is not buffered");
        fake_file_read(&qemu->file, payload, 16);
        wrong_if(qemu, payload[15] != 9, "wrong ADVISE");
        return VMLOAD_COMMAND_DONE;
    case VMLOAD_COMMAND_PACKAGED:
        return qemu_packaged(qemu, error);
    case VMLOAD_COMMAND_POSTCOPY_LISTEN:
        qemu->listening = true;
        qemu->listen = g_thread_new("listen", qemu_listen_thread, qemu);
        return VMLOAD_COMMAND_DONE;
    case VMLOAD_COMMAND_POSTCOPY_RUN:
        return VMLOAD_COMMAND_QUIT;
    default:
        return VMLOAD_COMMAND_DEFAULT;
    }
}

/* A checkpoint under the lock, from memory, with the ids of the stream. */
static void qemu_checkpoint(Qemu *qemu)
{
    FakeFile *file = g_new0(FakeFile, 1);
    GError *error = NULL;
    int i;

    for (i = 0; i < 3; i++) {
        fake_file_init(file, qemu->checkpoint->data, qemu->checkpoint->len,
                       4096);
        fake_lock(qemu);
        wrong_if(qemu,
                 qemu_loadvm(qemu, file, &error) != VMLOAD_COMMAND_DONE,
                 "a checkpoint failed");
        wrong_if(qemu, !fake_is_held(qemu), "the lock was given away");
        fake_unlock(qemu);
        g_clear_error(&error);
        qemu->rounds++;
    }
    g_free(file);
}

static void *qemu_checkpoint_thread(void *opaque)
{
    qemu_checkpoint(opaque);
    vmload_loader_finished(qemu_of(opaque)->fake.loader, NULL);
    return NULL;
}

static void qemu_finish(void *opaque, VmloadLoader *loader,
                        const VmloadOutcome *outcome)
{
    Qemu *qemu = opaque;

    qemu->fake.finish_loaded = (int)outcome->loaded;
    if (qemu->checkpoints && outcome->loaded) {
        qemu->listen = g_thread_new("colo", qemu_checkpoint_thread, qemu);
    } else if (!qemu->listening) {
        vmload_loader_finished(loader, NULL);
    }
}

static bool qemu_setup(void *opaque, GError **error)
{
    return fake_note(opaque, true, error, "setup");
}

static void qemu_cleanup(void *opaque)
{
    fake_note(opaque, true, NULL, "cleanup");
}

static Qemu *qemu_new(void)
{
    static const VmloadDeviceOps ram_ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .load = qemu_ram_load,
    };
    static const VmloadDeviceOps dirty_ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .load = qemu_dirty_load,
    };
    VmloadLockPlan none = VMLOAD_LOCK_PLAN_INIT;
    VmloadLockPlan staged = VMLOAD_LOCK_PLAN_INIT;
    Qemu *qemu = g_new0(Qemu, 1);
    VmloadHostOps ops = fake_ops();
    GError *error = NULL;

    ops.find = qemu_find;
    ops.command = qemu_command;
    ops.command_lock = qemu_command_lock;
    ops.finish = qemu_finish;
    ops.setup = qemu_setup;
    ops.cleanup = qemu_cleanup;
    fake_init(&qemu->fake, &ops);
    none.start = none.part = none.end = none.full = VMLOAD_LOCK_NONE;
    staged.start = staged.part = staged.end = staged.full = VMLOAD_LOCK_STAGED;
    assert_true(vmload_loader_add_device(qemu->fake.loader, "ram", 0, 4, 4,
                                         &none, &ram_ops, qemu, NULL,
                                         &error));
    assert_true(vmload_loader_add_device(qemu->fake.loader, "dirty-bitmap", 0,
                                         1, 1, &staged, &dirty_ops, qemu,
                                         NULL, &error));
    return qemu;
}

static void qemu_free(Qemu *qemu, const char *log)
{
    if (qemu->listen != NULL) {
        g_thread_join(qemu->listen);
    }
    fake_clear(&qemu->fake, log);
    if (qemu->checkpoint != NULL) {
        g_byte_array_unref(qemu->checkpoint);
    }
    g_free(qemu);
}

static void put_device(GByteArray *out, uint32_t id, const char *name,
                       uint32_t length)
{
    sw_section_full(out, id, name, 0, 1);
    sw_fill(out, 0x7e, length - 1);
    sw_u8(out, 0x5a);
    sw_footer(out, id);
}

static void put_ram(GByteArray *out, uint8_t type)
{
    if (type == SW_SECTION_START) {
        sw_section_start(out, 2, "ram", 0, 4);
    } else if (type == SW_SECTION_PART) {
        sw_section_part(out, 2);
    } else {
        sw_section_end(out, 2);
    }
    sw_fill(out, 0x77, RAM_BYTES);
    sw_footer(out, 2);
}

static void put_precopy(GByteArray *out)
{
    sw_postcopy_advise(out, 4096, 9);
    put_ram(out, SW_SECTION_START);
    put_ram(out, SW_SECTION_PART);
}

static bool qemu_run(Qemu *qemu, uint64_t step, GError **error)
{
    fake_file_init(&qemu->file, qemu->fake.out->data, qemu->fake.out->len,
                   step);
    vmload_loader_set_channel(qemu->fake.loader,
                              fake_file_channel(&qemu->file, step % 2 == 0));
    return vmload_loader_start(qemu->fake.loader, error) &&
           vmload_loader_wait(qemu->fake.loader, error);
}

static const uint64_t steps[] = {977, 4096, 32768, UINT64_MAX};

/* Precopy: RAM, sections smaller and larger than the file's buffer. */
static void test_precopy(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(steps); i++) {
        Qemu *qemu = qemu_new();
        GByteArray *out = qemu->fake.out;
        GError *error = NULL;
        VmloadStats stats = {.struct_size = sizeof(stats)};

        put_precopy(out);
        put_ram(out, SW_SECTION_END);
        put_device(out, 4, "small", 20);
        put_device(out, 5, "big", BIG);
        put_device(out, 6, "small", 20);
        sw_eof(out);
        sw_vmdesc(out, "{\"devices\": []}");
        if (!qemu_run(qemu, steps[i], &error)) {
            fail_msg("%s", error->message);
        }
        assert_int_equal(qemu->ram_bytes, 3 * RAM_BYTES);
        assert_int_equal(fake_file_position(&qemu->file), out->len);
        vmload_loader_get_stats(qemu->fake.loader, &stats);
        assert_int_equal(stats.lock_io_wait_ns, 0);
        qemu_free(qemu, "setup pre_load post_load cleanup");
    }
}

static void put_package(GByteArray *out)
{
    GByteArray *blob = sw_new();

    sw_command(blob, SW_CMD_POSTCOPY_LISTEN, NULL, 0);
    put_device(blob, 4, "small", 20);
    put_device(blob, 5, "big", BIG);
    sw_command(blob, SW_CMD_POSTCOPY_RUN, NULL, 0);
    sw_packaged(out, blob);
    g_byte_array_unref(blob);
}

/*
 * Postcopy: a package in a nested dispatch, and a thread that reads on in the
 * main stream meanwhile. QUIT leaves both dispatches of the loading thread.
 */
static void test_postcopy(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(steps); i++) {
        bool fail = i % 2 == 1;
        Qemu *qemu = qemu_new();
        GByteArray *out = qemu->fake.out;
        GError *error = NULL;

        put_precopy(out);
        put_package(out);
        put_ram(out, SW_SECTION_PART);
        sw_section_start(out, 3, "dirty-bitmap", 0, 1);
        sw_fill(out, 0x11, DIRTY_BYTES);
        sw_footer(out, 3);
        put_ram(out, SW_SECTION_END);
        sw_eof(out);
        if (fail) {
            g_byte_array_set_size(out, out->len - 100);
            qemu->fail_listen = true;
        }
        /* What goes wrong beside the load is the host's to judge. */
        if (!qemu_run(qemu, steps[i / 2], &error)) {
            fail_msg("%s", error->message);
        }
        assert_int_equal(qemu->dirty_bytes, DIRTY_BYTES);
        assert_int_equal(qemu->ram_bytes, 4 * RAM_BYTES);
        qemu_free(qemu, "setup pre_load post_load cleanup");
    }
}

/* After EOF the ids are still known, and the lock is the caller's. */
static void test_checkpoints(void **state)
{
    Qemu *qemu = qemu_new();
    GError *error = NULL;

    (void)state;
    put_device(qemu->fake.out, 5, "big", BIG);
    sw_eof(qemu->fake.out);
    qemu->checkpoints = true;
    qemu->checkpoint = sw_new();
    put_device(qemu->checkpoint, 5, "big", BIG);
    put_device(qemu->checkpoint, 6, "small", 20);
    sw_eof(qemu->checkpoint);
    if (!qemu_run(qemu, 4096, &error)) {
        fail_msg("%s", error->message);
    }
    assert_int_equal(qemu->rounds, 3);
    qemu_free(qemu, "setup pre_load post_load cleanup");
}

/* A stream cut anywhere fails, and lets go of everything. */
static void test_cut(void **state)
{
    GByteArray *whole = sw_new();
    guint cut;

    (void)state;
    sw_header(whole);
    sw_configuration(whole, "none");
    sw_postcopy_advise(whole, 4096, 9);
    put_device(whole, 4, "small", 20);
    put_device(whole, 5, "small", 20);
    sw_eof(whole);
    for (cut = 1; cut < whole->len; cut++) {
        Qemu *qemu = qemu_new();
        GError *error = NULL;

        g_byte_array_set_size(qemu->fake.out, 0);
        g_byte_array_append(qemu->fake.out, whole->data, cut);
        assert_false(qemu_run(qemu, 7, &error));
        assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "");
        assert_int_equal(qemu->fake.finish_loaded, 0);
        qemu_free(qemu, NULL);
    }
    g_byte_array_unref(whole);
}

/* The fallback: everything on the caller's thread, under its lock. */
static void test_caller_locked(void **state)
{
    Qemu *qemu = g_new0(Qemu, 1);
    VmloadHostOps ops = fake_ops();
    GError *error = NULL;

    (void)state;
    ops.find = qemu_find;
    ops.command = qemu_command;
    fake_init(&qemu->fake, &ops);
    qemu->fake.caller_locked = true;
    put_device(qemu->fake.out, 5, "big", BIG);
    put_device(qemu->fake.out, 4, "small", 20);
    sw_eof(qemu->fake.out);
    fake_file_init(&qemu->file, qemu->fake.out->data, qemu->fake.out->len,
                   4096);
    vmload_loader_set_channel(qemu->fake.loader,
                              fake_file_channel(&qemu->file, true));
    fake_lock(qemu);
    if (!vmload_loader_run(qemu->fake.loader, VMLOAD_RUN_CALLER_LOCKED,
                           &error)) {
        fail_msg("%s", error->message);
    }
    assert_true(fake_is_held(qemu));
    assert_int_equal(qemu->fake.locks, 1);
    fake_unlock(qemu);
    fake_clear(&qemu->fake, "pre_load post_load finish");
    g_free(qemu);
}

/* Its descriptor says what the load knows. */
static void test_cancel_fd(void **state)
{
    Qemu *qemu = qemu_new();
    struct pollfd fd = {.events = POLLIN};

    (void)state;
    fd.fd = vmload_loader_get_cancel_fd(qemu->fake.loader);
    assert_int_equal(poll(&fd, 1, 0), 0);
    vmload_loader_cancel(qemu->fake.loader);
    assert_int_equal(poll(&fd, 1, 0), 1);
    qemu_free(qemu, "");
}

/* ---- recorded streams: from memory and from a file, the same ---- */

typedef struct {
    char *data;
    gsize length;
    FakeFile file;
    GString *log;
} Recorded;

static bool recorded_raw(void *opaque, const VmloadSection *section,
                         const uint8_t *data, uint64_t length, GError **error)
{
    Recorded *recorded = opaque;
    char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, data, length);

    (void)error;
    g_string_append_printf(recorded->log, "%s/%u@%u:%s\n", section->idstr,
                           section->instance_id, (unsigned)section->offset,
                           sum);
    g_free(sum);
    return true;
}

static VmloadRamBlock *recorded_block(void *opaque, const char *idstr,
                                      uint64_t length, GError **error)
{
    (void)opaque;
    return vmload_ram_block_new(idstr, length, length,
                                vmload_ram_sink_new_digest(), error);
}

static void recorded_note_ram(Recorded *recorded, VmloadLoader *loader)
{
    VmloadRamBlock *block;
    uint64_t i;

    for (i = 0; (block = vmload_loader_get_ram_block(loader, i)) != NULL;
         i++) {
        g_string_append_printf(
            recorded->log, "%s=%s\n", vmload_ram_block_get_idstr(block),
            vmload_ram_sink_get_digest(vmload_ram_block_get_sink(block)));
    }
}

/* What it loads, as text. @step 0: from memory. */
static char *recorded_load(Recorded *recorded, uint64_t step)
{
    const VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT,
                               .raw_section = recorded_raw};
    const uint8_t *data = (const uint8_t *)recorded->data;
    VmloadLoader *loader = vmload_loader_new(&ops, recorded, NULL, NULL);
    GError *error = NULL;

    recorded->log = g_string_new(NULL);
    vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
    vmload_loader_set_ram_announced(loader, recorded_block, NULL, NULL);
    vmload_loader_set_presence(loader, VMLOAD_PRESENCE_AUTO,
                               VMLOAD_PRESENCE_AUTO, VMLOAD_PRESENCE_AUTO);
    fake_file_init(&recorded->file, data, recorded->length, step);
    vmload_loader_set_channel(
        loader, step > 0 ? fake_file_channel(&recorded->file, true)
                         : vmload_channel_new_memory(data, recorded->length,
                                                     NULL, NULL));
    if (vmload_loader_run(loader, 0, &error)) {
        recorded_note_ram(recorded, loader);
    } else {
        g_string_append(recorded->log, error->message);
        g_clear_error(&error);
    }
    vmload_loader_free(loader);
    return g_string_free(recorded->log, FALSE);
}

static void test_recorded(void **state)
{
    const char *folder = g_getenv("VMLOAD_STREAMS");
    GDir *dir = g_dir_open(folder, 0, NULL);
    Recorded *recorded = g_new0(Recorded, 1);
    unsigned loaded = 0;
    const char *name;
    size_t i;

    (void)state;
    assert_non_null(dir);
    while ((name = g_dir_read_name(dir)) != NULL) {
        char *path = g_build_filename(folder, name, NULL);
        char *expected;

        if (g_str_has_suffix(name, ".stream") &&
            g_file_get_contents(path, &recorded->data, &recorded->length,
                                NULL)) {
            expected = recorded_load(recorded, 0);
            for (i = 0; i < G_N_ELEMENTS(steps); i++) {
                char *found = recorded_load(recorded, steps[i]);

                if (strcmp(found, expected) != 0) {
                    fail_msg("%s, %u at a time: expected\n%s\nfound\n%s",
                             name, (unsigned)steps[i], expected, found);
                }
                g_free(found);
            }
            loaded += strchr(expected, '=') != NULL;
            g_free(expected);
            g_free(recorded->data);
        }
        g_free(path);
    }
    g_dir_close(dir);
    g_free(recorded);
    /* Those of machines without RAM have no digest. */
    assert_true(loaded >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_precopy),     cmocka_unit_test(test_postcopy),
        cmocka_unit_test(test_checkpoints), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_caller_locked),
        cmocka_unit_test(test_cancel_fd),   cmocka_unit_test(test_recorded),
    };

    return cmocka_run_group_tests_name("qemu-host", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host for tests of whole loads: it writes down every callback with its
 * lock, and fails the test if one comes with the wrong lock or on the wrong
 * thread. All static inline, so that each test stays one file.
 */
#ifndef VMLOAD_TESTS_LOADER_FIXTURE_H
#define VMLOAD_TESTS_LOADER_FIXTURE_H

#include "unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vmload/loader.h>

#include "stream-writer.h"

/* A liveness bound: what takes longer hangs. */
#define FAKE_TIMEOUT_MS 20000

typedef struct Fake {
    VmloadLoader *loader;
    GByteArray *out; /* the stream */
    GString *log;    /* of callbacks; guarded by log_mutex */
    GMutex log_mutex;
    GMutex big_lock;
    GThread *owner; /* atomic: who holds the big lock */
    GThread *thread; /* the first to call back */
    int locks;       /* atomic */
    char *wrong;     /* the first broken rule */
    const char *refuse;   /* the callback of this name fails */
    const char *cancel_in; /* the callback of this name cancels */
    bool silent;           /* refuse without an error */
    bool hold_finish;      /* finished() is called by the test */
    bool caller_locked;
    int destroyed;
    int finish_calls; /* atomic */
    int finish_loaded;
} Fake;

typedef struct {
    Fake *fake;
    const char *name;
    uint32_t take;  /* bytes */
    bool ignore;    /* short reads */
    bool needs_ack;
    int destroyed;
} FakeDevice;

static inline bool fake_is_held(void *opaque)
{
    Fake *fake = opaque;

    return __atomic_load_n(&fake->owner, __ATOMIC_RELAXED) == g_thread_self();
}

static inline void fake_wrong(Fake *fake, const char *rule, const char *where)
{
    g_mutex_lock(&fake->log_mutex);
    if (fake->wrong == NULL) {
        fake->wrong = g_strdup_printf("%s: %s", where, rule);
    }
    g_mutex_unlock(&fake->log_mutex);
}

static inline void fake_lock(void *opaque)
{
    Fake *fake = opaque;

    if (fake_is_held(fake)) {
        fake_wrong(fake, "the lock is taken twice", "lock");
        return;
    }
    g_mutex_lock(&fake->big_lock);
    __atomic_store_n(&fake->owner, g_thread_self(), __ATOMIC_RELAXED);
    g_atomic_int_inc(&fake->locks);
}

static inline void fake_unlock(void *opaque)
{
    Fake *fake = opaque;

    if (!fake_is_held(fake)) {
        fake_wrong(fake, "the lock is not held", "unlock");
        return;
    }
    __atomic_store_n(&fake->owner, NULL, __ATOMIC_RELAXED);
    g_mutex_unlock(&fake->big_lock);
}

/* Writes down the callback @name; false if it shall fail. */
static inline bool fake_note(Fake *fake, bool locked, GError **error,
                             const char *name)
{
    if (fake->thread == NULL) {
        fake->thread = g_thread_self();
    }
    if (fake->thread != g_thread_self()) {
        fake_wrong(fake, "on another thread", name);
    }
    if (fake_is_held(fake) != (locked || fake->caller_locked)) {
        fake_wrong(fake, locked ? "without the lock" : "with the lock", name);
    }
    g_mutex_lock(&fake->log_mutex);
    g_string_append_printf(fake->log, "%s%s", fake->log->len > 0 ? " " : "",
                           name);
    g_mutex_unlock(&fake->log_mutex);
    if (g_strcmp0(fake->cancel_in, name) == 0) {
        vmload_loader_cancel(fake->loader);
    }
    if (g_strcmp0(fake->refuse, name) != 0) {
        return true;
    }
    if (!fake->silent) {
        g_set_error(error, g_quark_from_static_string("fake"), 77,
                    "refused by the test");
    }
    return false;
}

static inline bool fake_note_section(Fake *fake, bool locked, GError **error,
                                     const char *what, const char *name,
                                     const VmloadSection *section)
{
    static const char *const types[] = {"?", "start", "part", "end", "full"};
    char *text = g_strdup_printf("%s:%s:%s", what, name,
                                 types[section->type]);
    bool ok = fake_note(fake, locked, error, text);

    g_free(text);
    return ok;
}

static inline bool fake_take(FakeDevice *device, VmloadReader *reader,
                             GError **error)
{
    return vmload_reader_skip(reader, device->take, error) || device->ignore;
}

static inline bool fake_load(void *opaque, VmloadReader *reader,
                             const VmloadSection *section, GError **error)
{
    FakeDevice *device = opaque;

    return fake_note_section(device->fake, true, error, "load", device->name,
                             section) &&
           fake_take(device, reader, device->ignore ? NULL : error);
}

static inline bool fake_load_none(void *opaque, VmloadReader *reader,
                                  const VmloadSection *section,
                                  GError **error)
{
    FakeDevice *device = opaque;

    return fake_note_section(device->fake, false, error, "none", device->name,
                             section) &&
           fake_take(device, reader, error);
}

static inline void *fake_parse(void *opaque, VmloadReader *reader,
                               const VmloadSection *section, GError **error)
{
    FakeDevice *device = opaque;

    return fake_note_section(device->fake, false, error, "parse",
                             device->name, section) &&
                   fake_take(device, reader, device->ignore ? NULL : error)
               ? device
               : NULL;
}

static inline bool fake_apply(void *opaque, void *parsed,
                              const VmloadSection *section, GError **error)
{
    FakeDevice *device = opaque;

    assert_ptr_equal(parsed, device);
    return fake_note_section(device->fake, true, error, "apply", device->name,
                             section);
}

static inline bool fake_phase(FakeDevice *device, const char *phase,
                              GError **error)
{
    char *text = g_strdup_printf("%s:%s", phase, device->name);
    bool ok = fake_note(device->fake, phase[0] != '-', error, text);

    g_free(text);
    return ok;
}

static inline void fake_parsed_free(void *opaque, void *parsed)
{
    assert_ptr_equal(parsed, opaque);
    fake_phase(opaque, "-free", NULL);
}

static inline bool fake_setup(void *opaque, GError **error)
{
    return fake_phase(opaque, "setup", error);
}

static inline bool fake_all_loaded(void *opaque, GError **error)
{
    return fake_phase(opaque, "all_loaded", error);
}

static inline void fake_cleanup(void *opaque)
{
    fake_phase(opaque, "cleanup", NULL);
}

static inline bool fake_ack_needed(void *opaque)
{
    FakeDevice *device = opaque;

    return device->needs_ack;
}

static inline void fake_device_destroy(void *opaque)
{
    ((FakeDevice *)opaque)->destroyed++;
}

static const VmloadDeviceOps fake_device_ops = {
    VMLOAD_DEVICE_OPS_INIT,
    .load = fake_load,
    .parse = fake_parse,
    .apply = fake_apply,
    .parsed_free = fake_parsed_free,
    .setup = fake_setup,
    .all_loaded = fake_all_loaded,
    .cleanup = fake_cleanup,
    .switchover_ack_needed = fake_ack_needed,
};

static const VmloadDeviceOps fake_plain_ops = {
    VMLOAD_DEVICE_OPS_INIT,
    .load = fake_load,
    .parse = fake_parse,
    .apply = fake_apply,
    .parsed_free = fake_parsed_free,
};

static const VmloadDeviceOps fake_none_ops = {
    VMLOAD_DEVICE_OPS_INIT,
    .load = fake_load_none,
};

static inline bool fake_pre_load(void *opaque, GError **error)
{
    return fake_note(opaque, true, error, "pre_load");
}

static inline bool fake_post_load(void *opaque, GError **error)
{
    return fake_note(opaque, true, error, "post_load");
}

static inline bool fake_configuration(void *opaque,
                                      const VmloadConfiguration *found,
                                      GError **error)
{
    char *text = g_strdup_printf(
        "configuration:%s", found->machine != NULL ? found->machine : "-");
    bool ok = fake_note(opaque, false, error, text);

    g_free(text);
    return ok;
}

static inline void fake_state(void *opaque, VmloadState from, VmloadState to)
{
    char *text = g_strdup_printf("%d>%d", (int)from, (int)to);

    fake_note(opaque, false, NULL, text);
    g_free(text);
}

static inline void fake_finish(void *opaque, VmloadLoader *loader,
                               const VmloadOutcome *outcome)
{
    Fake *fake = opaque;
    GError *error = NULL;
    bool ok = fake_note(fake, false, &error,
                        outcome->loaded ? "finish" : "finish-failed");

    assert_int_equal(outcome->loaded, outcome->error == NULL);
    fake->finish_loaded = (int)outcome->loaded;
    if (!fake->hold_finish) {
        vmload_loader_finished(loader, ok ? NULL : error);
    }
    g_clear_error(&error);
    g_atomic_int_inc(&fake->finish_calls);
}

static inline void fake_destroy(void *opaque)
{
    ((Fake *)opaque)->destroyed++;
}

static inline VmloadHostOps fake_ops(void)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .lock = fake_lock,
        .unlock = fake_unlock,
        .lock_is_held = fake_is_held,
        .cpu_sync_pre_load = fake_pre_load,
        .cpu_sync_post_load = fake_post_load,
        .finish = fake_finish,
    };

    return ops;
}

static inline void fake_init(Fake *fake, const VmloadHostOps *ops)
{
    const VmloadHostOps plain = fake_ops();

    memset(fake, 0, sizeof(*fake));
    g_mutex_init(&fake->log_mutex);
    g_mutex_init(&fake->big_lock);
    fake->log = g_string_new(NULL);
    fake->out = sw_new();
    sw_header(fake->out);
    sw_configuration(fake->out, "none");
    fake->loader = vmload_loader_new(ops != NULL ? ops : &plain, fake,
                                     fake_destroy, NULL);
    assert_non_null(fake->loader);
}

static inline void fake_add(Fake *fake, FakeDevice *device, const char *name,
                            uint32_t take, const VmloadLockPlan *plan,
                            const VmloadDeviceOps *ops)
{
    GError *error = NULL;

    device->fake = fake;
    device->name = name;
    device->take = take;
    if (!vmload_loader_add_device(fake->loader, name, 0, 1, 2, plan, ops,
                                  device, fake_device_destroy, &error)) {
        fail_msg("%s", error->message);
    }
}

/* The end of a device's load: the log is compared, NULL: not. */
static inline void fake_clear(Fake *fake, const char *log)
{
    vmload_loader_free(fake->loader);
    assert_int_equal(fake->destroyed, 1);
    if (fake->wrong != NULL) {
        fail_msg("%s (%s)", fake->wrong, fake->log->str);
    }
    assert_null(fake->owner);
    if (log != NULL) {
        assert_string_equal(fake->log->str, log);
    }
    g_string_free(fake->log, TRUE);
    g_byte_array_unref(fake->out);
    g_free(fake->wrong);
    g_mutex_clear(&fake->log_mutex);
    g_mutex_clear(&fake->big_lock);
}

/* The main channel is memory: all of the stream. */
static inline void fake_feed(Fake *fake)
{
    vmload_loader_set_channel(
        fake->loader, vmload_channel_new_memory(fake->out->data,
                                                fake->out->len, NULL, NULL));
}

static inline bool fake_run(Fake *fake, GError **error)
{
    fake_feed(fake);
    return vmload_loader_start(fake->loader, error) &&
           vmload_loader_wait(fake->loader, error);
}

static inline void fake_run_ok(Fake *fake)
{
    GError *error = NULL;

    if (!fake_run(fake, &error)) {
        fail_msg("%s", error->message);
    }
    assert_int_equal(vmload_loader_get_state(fake->loader),
                     VMLOAD_STATE_COMPLETED);
}

static inline void fake_run_fails(Fake *fake, VmloadError code,
                                  const char *part)
{
    GError *error = NULL;

    assert_false(fake_run(fake, &error));
    assert_unit_error(&error, code, part);
    assert_int_equal(vmload_loader_get_state(fake->loader),
                     code == VMLOAD_ERROR_CANCELLED ? VMLOAD_STATE_CANCELLED
                                                    : VMLOAD_STATE_FAILED);
}

/* The main channel is a socket; returns the source's end. */
static inline int fake_connect(Fake *fake)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    vmload_loader_set_channel(fake->loader,
                              vmload_channel_take_fd(fds[0], NULL));
    return fds[1];
}

static inline void fake_send(int fd, const GByteArray *out, guint from)
{
    assert_int_equal(send(fd, out->data + from, out->len - from,
                          MSG_NOSIGNAL),
                     out->len - from);
}

/* Reads exactly @length bytes; they must be @expected. */
static inline void fake_expect(int fd, const void *expected, size_t length)
{
    uint8_t got[64];

    assert_true(length <= sizeof(got));
    assert_int_equal(recv(fd, got, length, MSG_WAITALL), length);
    assert_memory_equal(got, expected, length);
}

/* The other side has closed. */
static inline void fake_expect_end(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);

    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

static inline void fake_wait_state(Fake *fake, VmloadState state)
{
    int i;

    for (i = 0; vmload_loader_get_state(fake->loader) < state; i++) {
        assert_true(i < FAKE_TIMEOUT_MS);
        g_usleep(1000);
    }
}

static const uint8_t fake_shut_0[] = {0, 1, 0, 4, 0, 0, 0, 0};
static const uint8_t fake_shut_1[] = {0, 1, 0, 4, 0, 0, 0, 1};
static const uint8_t fake_pong_1[] = {0, 2, 0, 4, 0, 0, 0, 1};
static const uint8_t fake_ack[] = {0, 7, 0, 0};

#endif

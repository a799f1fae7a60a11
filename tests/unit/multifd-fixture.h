/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of multifd share: a group over RAM, channels from bytes. */
#ifndef VMLOAD_TESTS_MULTIFD_FIXTURE_H
#define VMLOAD_TESTS_MULTIFD_FIXTURE_H

#include "ram-fixture.h"

#include "packet-writer.h"
#include "ram/multifd/multifd.h"

#include <sys/socket.h>
#include <unistd.h>

#define BITS 12
#define GROUP_CHANNELS 255

/* "one" has 8 pages of 0xee, "two" 4 of 0xdd. */
typedef struct {
    RamFixture ram;
    VmloadHostOps ops;
    VmloadWait wait;
    VmloadMultifd *multifd;
    VmloadMultifdCounters counters;
    GByteArray *bytes[GROUP_CHANNELS]; /* what memory channels give */
    uint32_t n;
    int entered; /* atomic: threads that are inside their hooks */
    int ever_entered;
    int failed; /* atomic: calls of `failed` */
} Group;

static inline void group_enter(void *opaque, const char *name)
{
    Group *group = opaque;

    assert_true(g_str_has_prefix(name, "vmload-mfd-"));
    g_atomic_int_inc(&group->entered);
    g_atomic_int_inc(&group->ever_entered);
}

static inline void group_leave(void *opaque)
{
    g_atomic_int_add(&((Group *)opaque)->entered, -1);
}

static inline void group_failed(void *opaque)
{
    g_atomic_int_inc(&((Group *)opaque)->failed);
}

/* With the block list loaded. */
static inline void group_init_sync(Group *group, VmloadMultifdSync sync)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .thread_enter = group_enter,
        .thread_leave = group_leave,
    };
    VmloadMultifdEnv env = {.sync = sync, .window_bytes = 1 << 27};
    GError *error = NULL;

    memset(group, 0, sizeof(*group));
    fixture_init(&group->ram);
    group->ops = ops;
    group->wait.cancel = vmload_cancel_new(&error);
    env.ram = group->ram.ram;
    env.wait = &group->wait;
    env.ops = &group->ops;
    env.opaque = group;
    env.failed = group_failed;
    env.env = group;
    env.counters = &group->counters;
    group->multifd = vmload_multifd_new(&env, &error);
    assert_non_null(group->multifd);
    fixture_list(&group->ram);
    sw_ram_eos(group->ram.out);
    assert_true(fixture_load(&group->ram, &error));
}

static inline void group_init(Group *group)
{
    group_init_sync(group, VMLOAD_MULTIFD_SYNC_AUTO);
}

/* Adds a channel; NULL: none. */
static inline void group_add(Group *group, VmloadChannel *channel)
{
    GError *error = NULL;

    if (!vmload_multifd_add(group->multifd, channel, group->n, &error)) {
        fail_msg("%s", error->message);
    }
    group->n++;
}

/* A channel of bytes that are there. Takes @bytes. */
static inline void group_add_bytes(Group *group, GByteArray *bytes)
{
    group->bytes[group->n] = bytes;
    group_add(group, vmload_channel_new_memory(bytes->data, bytes->len, NULL,
                                               NULL));
}

/* A channel over a socket; its other end. */
static inline int group_add_socket(Group *group)
{
    GError *error = NULL;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    group_add(group, vmload_channel_take_fd(pair[0], &error));
    return pair[1];
}

/* One section with @flushes barriers of a source that has rounds. */
static inline bool group_section(Group *group, uint32_t type,
                                 uint32_t flushes, GError **error)
{
    vmload_multifd_section_begin(group->multifd, type);
    while (flushes > 0) {
        if (!vmload_multifd_flush(group->multifd, error)) {
            return false;
        }
        flushes--;
    }
    return vmload_multifd_section_end(group->multifd, type, error);
}

/* START, a PART and END: three barriers per section, or with rounds. */
static inline bool group_run(Group *group, bool rounds, GError **error)
{
    uint32_t flushes = rounds ? 1 : 0;

    return group_section(group, VMLOAD_RECORD_START, flushes, error) &&
           group_section(group, VMLOAD_RECORD_PART, flushes, error) &&
           group_section(group, VMLOAD_RECORD_END, flushes, error) &&
           vmload_multifd_check_complete(group->multifd, error);
}

/* Joins all. True if no channel failed. */
static inline bool group_stop(Group *group, GError **error)
{
    char name[32];

    return vmload_multifd_stop(group->multifd, name, sizeof(name), error);
}

static inline void group_clear(Group *group)
{
    uint32_t i;

    group_stop(group, NULL);
    assert_int_equal(g_atomic_int_get(&group->entered), 0);
    assert_int_equal(g_atomic_int_get(&group->ever_entered), group->n);
    vmload_multifd_free(group->multifd);
    vmload_cancel_free(group->wait.cancel);
    for (i = 0; i < group->n; i++) {
        if (group->bytes[i] != NULL) {
            g_byte_array_unref(group->bytes[i]);
        }
    }
    fixture_clear(&group->ram);
}

/* What must go well. */
static inline void group_run_ok(Group *group, bool rounds)
{
    GError *error = NULL;

    if (!group_run(group, rounds, &error) || !group_stop(group, &error)) {
        fail_msg("%s", error->message);
    }
    assert_int_equal(g_atomic_int_get(&group->failed), 0);
}

/* What must fail, in the loading thread or in a channel. */
static inline void group_run_error(Group *group, bool rounds,
                                   VmloadError code, const char *part)
{
    GError *error = NULL;
    GError *first = NULL;

    if (group_run(group, rounds, &error)) {
        assert_null(error);
    }
    if (!group_stop(group, &first)) {
        g_clear_error(&error);
        error = first;
    }
    assert_unit_error(&error, code, part);
}

static inline void write_sync(GByteArray *out)
{
    pw_sync(out, BITS);
}

/* Pages @from to @from + @n - 1 of "one", all bytes @value, not compressed. */
static inline guint write_pages(GByteArray *out, uint64_t from, uint32_t n,
                                uint8_t value)
{
    uint64_t offsets[8];
    uint32_t i;
    guint at;

    for (i = 0; i < n; i++) {
        offsets[i] = (from + i) * FIXTURE_PAGE;
    }
    at = pw_ram(out, BITS, 0, "one", offsets, n, 0, n * FIXTURE_PAGE);
    sw_fill(out, value, n * FIXTURE_PAGE);
    return at;
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What API tests share. They see what a consumer sees: public headers and
 * the shared library.
 */
#ifndef VMLOAD_TESTS_API_H
#define VMLOAD_TESTS_API_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <vmload/vmload.h>
/* cmocka.h uses what the headers above define, and must come last. */
#include <cmocka.h>

/* The smallest stream: header, configuration "api", EOF. */
static const uint8_t api_stream[] = {
    'Q', 'E', 'V', 'M', 0, 0, 0, 3, 7, 0, 0, 0, 3, 'a', 'p', 'i', 0,
};

static inline VmloadChannel *api_channel(void)
{
    VmloadChannel *channel = vmload_channel_new_memory(
        api_stream, sizeof(api_stream), NULL, NULL);

    assert_non_null(channel);
    return channel;
}

/* A channel that stays silent until its other end, *@peer, is closed. */
static inline VmloadChannel *api_silent_channel(int *peer)
{
    VmloadChannel *channel;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    *peer = fds[1];
    channel = vmload_channel_take_fd(fds[0], NULL);
    assert_non_null(channel);
    return channel;
}

/* Counts calls of a destroy notify. */
static inline void api_count(void *opaque)
{
    g_atomic_int_inc((int *)opaque);
}

/* The error is set, of this code, and @text is in its message. */
#define api_assert_error(error, expected, text)                         \
    do {                                                                \
        assert_non_null(error);                                         \
        assert_true((error)->domain == VMLOAD_ERROR);                   \
        if ((error)->code != (int)(expected) ||                         \
            strstr((error)->message, text) == NULL) {                   \
            fail_msg("expected code %d and '%s', found %d: %s",         \
                     (int)(expected), text, (error)->code,              \
                     (error)->message);                                 \
        }                                                               \
        g_clear_error(&(error));                                        \
    } while (0)

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* What every unit test includes: cmocka with its prerequisites. */
#ifndef VMLOAD_TESTS_UNIT_H
#define VMLOAD_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <glib.h>
#include <vmload/error.h>
/* cmocka.h uses what the headers above define, and must come last. */
#include <cmocka.h>

/*
 * The error is set, of this code, and its message has @part in it. Clears
 * it.
 */
static inline void assert_unit_error(GError **error, VmloadError code,
                                     const char *part)
{
    assert_non_null(*error);
    assert_true((*error)->domain == VMLOAD_ERROR);
    if ((*error)->code != (int)code ||
        strstr((*error)->message, part) == NULL) {
        fail_msg("expected code %d and '%s', found code %d: %s", (int)code,
                 part, (*error)->code, (*error)->message);
    }
    g_clear_error(error);
}

#endif

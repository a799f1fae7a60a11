/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams that go wrong: one function a row of bad-input-table.h, which
 * appends the stream up to and with what is wrong.
 */
#ifndef VMLOAD_TESTS_BAD_STREAMS_H
#define VMLOAD_TESTS_BAD_STREAMS_H

#include <glib.h>

#define ROW(name, stream, ...) void bad_##stream(GByteArray *out);
#include "bad-input-table.h"
#undef ROW

#endif

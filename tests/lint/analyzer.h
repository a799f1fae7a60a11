/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Put in front of each file for the static analyzer, which sees one file at
 * a time: that these functions always return false is in another one. (Not
 * for the files that define them.)
 */
#include "error.h"
#include <vmload/reader.h>

#define vmload_fail(...) (vmload_fail(__VA_ARGS__), false)
#define vmload_fail_errno(...) (vmload_fail_errno(__VA_ARGS__), false)
#define vmload_reader_error(...) (vmload_reader_error(__VA_ARGS__), false)

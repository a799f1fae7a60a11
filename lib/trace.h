/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * USDT probes of provider `vmload` (feature `tracing`). Names and arguments
 * are kept stable like functions; docs/tracing.md lists them with units.
 * A probe that nobody attached to is one no-op instruction.
 */
#ifndef VMLOAD_TRACE_H
#define VMLOAD_TRACE_H

#ifdef VMLOAD_HAVE_SDT
#include <sys/sdt.h>
#define VMLOAD_TRACE1(name, a) DTRACE_PROBE1(vmload, name, a)
#define VMLOAD_TRACE2(name, a, b) DTRACE_PROBE2(vmload, name, a, b)
#define VMLOAD_TRACE3(name, a, b, c) DTRACE_PROBE3(vmload, name, a, b, c)
#else
#define VMLOAD_TRACE1(name, a) ((void)(a))
#define VMLOAD_TRACE2(name, a, b) ((void)(a), (void)(b))
#define VMLOAD_TRACE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

#endif

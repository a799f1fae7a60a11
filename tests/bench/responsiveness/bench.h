/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of the benchmark and their options. */
#ifndef VMLOAD_BENCH_H
#define VMLOAD_BENCH_H

#include "stream.h"

#include <stdio.h>

/* Sizes in bytes, times in microseconds unless named otherwise. */
typedef struct {
    char *stream; /* recorded; NULL: synthetic */
    char *cases;
    char *connect;
    uint64_t ram_bytes;
    int ram_mib;
    int pause_ms;
    int trickle_bytes;
    int trickle_rate;
    int devices;
    int callback_us;
    int repeat;
    int repeat_short;
    int cancels;
    int rounds;
} Options;

/* The stream of a case: recorded if there is one and the case can use it. */
Stream *options_stream(const Options *options, char name, GError **error);
Plan *options_plan(const Options *options, char name, const Stream *stream);

/* Each prints one JSON value; false: something failed that should not. */
bool bench_cases(const Options *options, FILE *out);
bool bench_cancel(const Options *options, FILE *out);
bool bench_staging(const Options *options, FILE *out);
/* Delivers one case to a destination at a unix socket. */
bool bench_send(const Options *options);

/* A connected socket, or -1 with errno. Tries for some seconds. */
int unix_connect(const char *path);
/* Text as a JSON string. */
void print_json_string(FILE *out, const char *text);

#endif

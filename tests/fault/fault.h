/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What fault tests share: a host that takes any stream, watches the promises
 * that hold for every load, good or bad, and can fail at its nth callback.
 *
 * Its devices: "dev" (versions 1 and 2, four bytes, WHOLE), "apply" (the
 * same, APPLY), "state" (declarative, see fault.c), RAM block "pc.ram" of
 * four pages. Broken promises are failures of cmocka.
 */
#ifndef VMLOAD_TESTS_FAULT_H
#define VMLOAD_TESTS_FAULT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <vmload/vmload.h>
/* cmocka.h uses what the headers above define, and must come last. */
#include <cmocka.h>

#define FAULT_MACHINE "pc-test"
#define FAULT_PAGE 4096u
#define FAULT_RAM_PAGES 4u
#define FAULT_COMPLETED (-1)

typedef struct {
    /* In. All zero is a strict host with its devices. */
    bool take_all;             /* unknown sections and RAM blocks are taken */
    bool atomic;               /* VMLOAD_COMMIT_ATOMIC */
    bool old_machine;          /* configuration and footers may be missing */
    bool require_vmdesc;       /* its absence is an error */
    const char *limit;         /* one limit to set, and its value */
    uint64_t limit_value;
    unsigned fail_at;          /* this callback fails; 0: none */

    /* Out. */
    int code;                  /* VmloadError, or FAULT_COMPLETED */
    char *message;             /* NULL if completed */
    VmloadPosition position;
    unsigned callbacks;        /* that could have failed */
    const char *failed;        /* name of the one that did */
    uint64_t first_full;       /* offset of the first FULL section, 0: none */
    uint64_t eof;              /* offset of the last top-level EOF, 0: none */
    GArray *edges;             /* of uint64_t: where records begin */
} FaultRun;

/* Loads @length bytes at @data; checks what every load promises. */
void fault_run(FaultRun *run, const uint8_t *data, size_t length);
void fault_clear(FaultRun *run);

/* Contents of a recorded stream; free with g_free(). */
uint8_t *fault_read_stream(const char *name, size_t *length);
/* File names of all recorded streams, NULL-terminated; g_strfreev(). */
char **fault_stream_names(void);

/* A device of the description: name and size are literals. */
#define FAULT_JSON_DEVICE(name, size)                                      \
    "{\"name\": \"" name "\", \"instance_id\": 0, \"size\": " size      \
    ", \"fields\": [{\"name\": \"data\", \"size\": " size              \
    ", \"type\": \"buffer\"}]}"

/* A good stream for the strict host: uses all its devices and RAM. */
GByteArray *fault_good_stream(void);

#endif

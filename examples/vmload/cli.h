/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the subcommands of the vmload binary share. The binary uses nothing
 * of the library but its public headers.
 */
#ifndef CLI_H
#define CLI_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <jansson.h>
#include <vmload/vmload.h>

/* Exit codes; part of the contract with scripts. */
enum {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_CANCELLED = 130,
};

/* A subcommand. argv[0] is its name. Returns an exit code. */
int cli_receive(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_dump(int argc, char **argv);
int cli_ram(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_convert(int argc, char **argv);

/* options.c */

/* The options that every subcommand has. */
typedef struct {
    char **limits; /* NAME=VALUE */
} CliCommon;

/*
 * Parses @argv with @entries and the common options. Returns true if the
 * command goes on, with exactly one argument left in *@argument; else the
 * exit code is in *@code. @what: the argument's name, @summary: one line.
 */
bool cli_parse(int argc, char **argv, const char *what, const char *summary,
               const GOptionEntry *entries, CliCommon *common,
               char **argument, int *code);
/* The same with exactly @n arguments left. */
bool cli_parse_n(int argc, char **argv, const char *what, const char *summary,
                 const GOptionEntry *entries, CliCommon *common, int n,
                 char **arguments, int *code);
void cli_common_clear(CliCommon *common);

/* A number that may end in K, M, G or T. */
bool cli_parse_number(const char *text, uint64_t *value);

/* The defaults, changed as the options say. False: usage, printed. */
bool cli_common_limits(const CliCommon *common, VmloadLimits *limits);

/* text.c */

/* "vmload: MESSAGE" on stderr, one line whatever the message holds. */
void cli_error(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Prints and frees @error; returns CLI_CANCELLED or CLI_FAILED. */
int cli_fail(GError *error);

/*
 * Every byte outside [A-Za-z0-9._:-] as %XX, so that an idstr is a file name.
 * "." and ".." are no file names and become %2E and %2E%2E.
 */
char *cli_percent_name(const char *name);

/* For a terminal: no control characters, %XX instead. */
char *cli_printable(const char *name);

/* "1.5 GiB". (transfer full) */
char *cli_size(uint64_t bytes);

char *cli_hex(const uint8_t *data, uint64_t length);

/* Flushes stdout; false, with a message, if anything was not written. */
bool cli_flush(void);

/* json.c */

/*
 * An unsigned number. Above INT64_MAX, where most readers of JSON lose
 * digits and Jansson has none, a string "0x...".
 */
json_t *cli_json_uint(uint64_t value);

/* Text of a stream; what is no UTF-8 or a control character becomes %XX. */
json_t *cli_json_text(const char *text, uint64_t length);

/*
 * A decoded tree: structs as objects, arrays as arrays, bytes as hex, null
 * markers as null. A name that is there already gets '#' and the field's
 * position, from 0. NULL if there is no memory.
 */
json_t *cli_json_node(const VmloadNode *node);

/* Writes and frees @json, indented, to @path ("-": stdout). */
bool cli_json_write(json_t *json, const char *path, GError **error);

/* file.c */

/* A stream file, or "-" for stdin, as a channel. */
VmloadChannel *cli_open(const char *path, GError **error);

/*
 * Runs @loader over @path with everything that is not a live migration:
 * optional parts as they come, unknown sections kept, no answers.
 */
VmloadLoader *cli_offline_new(const char *path, VmloadHostOps *ops,
                              void *opaque, const VmloadLimits *limits,
                              GError **error);

/* ramdir.c */

/* RAM blocks as the stream announces them, to one kind of sink. */
typedef struct CliRam CliRam;

/*
 * Files in @folder, which is made if needed. @later: in memory of this
 * process, until cli_ram_save() makes files of it.
 */
CliRam *cli_ram_new(const char *folder, bool later, GError **error);
/* Memory of this process, which goes with it. */
CliRam *cli_ram_new_memory(void);
/* Nothing is kept. */
CliRam *cli_ram_new_null(void);
/* Makes @loader ask @ram, which must outlive it. */
void cli_ram_attach(CliRam *ram, VmloadLoader *loader);
/* After a good end; nothing is to be done for the other kinds. */
bool cli_ram_save(CliRam *ram, GError **error);
/* Removes the files again: half a RAM is worse than none. */
void cli_ram_discard(CliRam *ram);
void cli_ram_free(CliRam *ram);

/* devices.c */

/* The raw sections of a load, and what the description makes of them. */
typedef struct CliDevices CliDevices;

typedef struct {
    char *name;
    uint32_t instance_id;
    uint32_t version_id;
    uint32_t type; /* VmloadRecord */
    uint64_t nth;  /* FULL: how many of this name and instance came before */
    uint64_t offset;
    uint64_t length;
    uint8_t *data; /* NULL if bytes are not kept */
} CliSection;

/* @limit: bytes kept in all; 0: none are kept. */
CliDevices *cli_devices_new(uint64_t limit);
void cli_devices_free(CliDevices *devices);
/* For a host's raw_section and vmdescription. */
bool cli_devices_add(CliDevices *devices, const VmloadSection *section,
                     const uint8_t *data, uint64_t length, GError **error);
bool cli_devices_describe(CliDevices *devices, const char *json,
                          uint64_t length, const VmloadLimits *limits,
                          GError **error);
uint64_t cli_devices_count(const CliDevices *devices);
const CliSection *cli_devices_get(const CliDevices *devices, uint64_t index);
const VmloadVmdesc *cli_devices_vmdesc(const CliDevices *devices);
/* The index in the description, or VMLOAD_VMDESC_NONE. */
uint64_t cli_devices_find(const CliDevices *devices, const CliSection *section);
/* (nullable): NULL with @error set if bytes and description disagree. */
VmloadNode *cli_devices_decode(const CliDevices *devices,
                               const CliSection *section, GError **error);
/* Every FULL section agrees with the description. True without one. */
bool cli_devices_check(const CliDevices *devices, GError **error);
/* {"name", "instance_id", "version", "fields" | "raw"} */
json_t *cli_devices_json(const CliDevices *devices, const CliSection *section,
                         GError **error);

/* stats.c */

/* @error (nullable): why it failed. */
json_t *cli_stats_json(VmloadLoader *loader, const GError *error);
void cli_stats_print(VmloadLoader *loader);
const char *cli_state_name(uint32_t state);

/* bitmaps.c */

/* Dirty bitmaps: their names, and how many of their bits are set. */
typedef struct CliBitmaps CliBitmaps;

CliBitmaps *cli_bitmaps_new(void);
void cli_bitmaps_free(CliBitmaps *bitmaps);
bool cli_bitmaps_attach(CliBitmaps *bitmaps, VmloadLoader *loader,
                        GError **error);
void cli_bitmaps_print(const CliBitmaps *bitmaps);
json_t *cli_bitmaps_json(const CliBitmaps *bitmaps);

/* progress.c */

typedef struct CliProgress CliProgress;

/*
 * Shows how @loader gets on until it is freed, on stderr: one line that
 * changes if @bar, else a line a second.
 */
CliProgress *cli_progress_new(VmloadLoader *loader, bool bar);
void cli_progress_free(CliProgress *progress);

/* exec.c */

/* Runs @command; its stdin and stdout are the channel. */
VmloadChannel *cli_exec(const char *command, GPid *pid, GError **error);
/* Ends what is left of it. */
void cli_exec_finish(GPid pid);

/* tail.c */

/* A whole file in memory, mapped, and the description at its end. */
typedef struct {
    GMappedFile *file;
    const uint8_t *data;
    uint64_t length;
    uint64_t json;     /* offset of the text; 0: there is none */
    uint64_t json_end; /* its end */
    VmloadVmdesc *vmdesc;
} CliTail;

/* True if @path is a regular file; a bad description is in @error. */
bool cli_tail_open(CliTail *tail, const char *path,
                   const VmloadLimits *limits, GError **error);
void cli_tail_clear(CliTail *tail);
/* The next FULL header of this name and instance from @from on; or 0. */
uint64_t cli_tail_find(const CliTail *tail, uint64_t from,
                       const VmloadVmdescDevice *device,
                       uint32_t *section_id, uint32_t *version_id);

/* records.c */

const char *cli_record_name(uint32_t type);
const char *cli_command_name(uint32_t command);

#endif

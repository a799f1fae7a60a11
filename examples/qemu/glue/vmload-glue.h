/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QEMU's incoming migration through libvmload: what the files of migration/
 * call. The glue itself is in file.c.inc, savevm.c.inc (with what it includes),
 * channel.c.inc, ram.c.inc and migration.c.inc, each of which is the end of the
 * file it is named after.
 */
#ifndef MIGRATION_VMLOAD_GLUE_H
#define MIGRATION_VMLOAD_GLUE_H

#include "migration/qemu-file-types.h"
#include "io/channel.h"

struct MigrationIncomingState;

/* ---- file.c.inc, in qemu-file.c ---- */

/* What is buffered and not consumed. */
size_t vmload_file_window(QEMUFile *f, const uint8_t **data);
/* One read more; false: the end of the bytes, or an error of the file. */
bool vmload_file_fill(QEMUFile *f);
void vmload_file_consume(QEMUFile *f, size_t n);
/* Waits for bytes; 1: there may be some; 0: @cancel_fd or @deadline (us). */
int vmload_file_wait(QEMUFile *f, int cancel_fd, int64_t deadline);

/* The same for a QIOChannel. */
int vmload_channel_wait_for(QIOChannel *ioc, GIOCondition condition,
                            int cancel_fd, int64_t deadline);

/* Counts fills from a peer with the BQL held; the count since the last call. */
void vmload_file_note_fill(QEMUFile *f);
uint64_t vmload_file_take_locked_fills(void);

/* Waits as qio_channel_wait() does; ends if the load is cancelled. */
void vmload_channel_wait(QIOChannel *ioc, GIOCondition condition);
/* What ends it, for the calling thread; -1: nothing. */
void vmload_channel_set_cancel_fd(int fd);

/* ---- savevm.c.inc, in savevm.c ---- */

/* The knob: VMLOAD_INCOMING=coroutine keeps QEMU's own loading. */
bool vmload_incoming_enabled(void);

int vmload_process_command(QEMUFile *f);

/*
 * Starts to load @mis->from_src_file in a thread. @finish: called once, in the
 * main loop with the BQL held, with 0, or a negative errno and a text.
 */
void vmload_incoming_start(struct MigrationIncomingState *mis,
                           void (*finish)(struct MigrationIncomingState *mis,
                                          int ret, const char *text));
/* The last thing that anybody does with the incoming state. BQL held. */
void vmload_incoming_finished(void);
/* QEMU ends; BQL held. */
void vmload_incoming_shutdown(void);

int qemu_loadvm_state_coroutine(QEMUFile *f);
int qemu_loadvm_state_main_coroutine(QEMUFile *f,
                                     struct MigrationIncomingState *mis);

/* ---- library-ram.c.inc, in savevm.c: step B. BQL held ---- */

/*
 * Is RAM the library's in this migration? The first connection decides, for
 * all that follow.
 */
bool vmload_ram_takes(QIOChannel *ioc);
bool vmload_ram_is_ours(void);
/* The first one starts the load; @finish as above. */
void vmload_ram_add_connection(struct MigrationIncomingState *mis,
                               QIOChannel *ioc,
                               void (*finish)(
                                   struct MigrationIncomingState *mis,
                                   int ret, const char *text));
bool vmload_ram_has_all_channels(void);

/* ---- migration.c.inc, in migration.c ---- */

void migration_ioc_process_incoming_now(QIOChannel *ioc, Error **errp);
bool migration_has_all_channels_now(void);

void migration_incoming_process_coroutine(void);

/* ---- channel.c.inc, in channel.c ---- */

void migration_channel_process_incoming_now(QIOChannel *ioc);

/* ---- ram.c.inc, in ram.c ---- */

/* qemu_ram_resize() under the BQL, which is taken if it is not held. */
int vmload_ram_resize(RAMBlock *block, uint64_t length, Error **errp);

#endif

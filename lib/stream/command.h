/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands of the main stream (stream format, section 6). */
#ifndef VMLOAD_STREAM_COMMAND_H
#define VMLOAD_STREAM_COMMAND_H

#include <vmload/host.h>
#include <vmload/reader.h>

/* NULL if no command has this number. */
const char *vmload_command_name(uint32_t command);

/* Is @length one that @command can have? */
bool vmload_command_length_is_valid(uint32_t command, uint32_t length);

/*
 * Reads and checks a command's number and length; its type byte is read
 * already. @offset is where that stood.
 */
bool vmload_command_read(VmloadReader *reader, uint64_t offset,
                         VmloadCommand *command, GError **error);

#endif

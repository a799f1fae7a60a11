/* SPDX-License-Identifier: BSD-3-Clause */
#include "command.h"

#include <string.h>

/* Number, name, shortest and longest payload. */
static const struct {
    const char *name;
    uint32_t min;
    uint32_t max;
} command_table[] = {
    [VMLOAD_COMMAND_OPEN_RETURN_PATH] = {"OPEN_RETURN_PATH", 0, 0},
    [VMLOAD_COMMAND_PING] = {"PING", 4, 4},
    [VMLOAD_COMMAND_POSTCOPY_ADVISE] = {"POSTCOPY_ADVISE", 0, 16},
    [VMLOAD_COMMAND_POSTCOPY_LISTEN] = {"POSTCOPY_LISTEN", 0, 0},
    [VMLOAD_COMMAND_POSTCOPY_RUN] = {"POSTCOPY_RUN", 0, 0},
    [VMLOAD_COMMAND_POSTCOPY_RAM_DISCARD] = {"POSTCOPY_RAM_DISCARD", 20,
                                             UINT16_MAX},
    [VMLOAD_COMMAND_PACKAGED] = {"PACKAGED", 4, 4},
    [VMLOAD_COMMAND_ENABLE_COLO] = {"ENABLE_COLO", 0, 0},
    [VMLOAD_COMMAND_POSTCOPY_RESUME] = {"POSTCOPY_RESUME", 0, 0},
    [VMLOAD_COMMAND_RECV_BITMAP] = {"RECV_BITMAP", 2, 256},
    [VMLOAD_COMMAND_SWITCHOVER_START] = {"SWITCHOVER_START", 0, 0},
};

const char *vmload_command_name(uint32_t command)
{
    return command < G_N_ELEMENTS(command_table) ? command_table[command].name
                                                 : NULL;
}

bool vmload_command_length_is_valid(uint32_t command, uint32_t length)
{
    if (vmload_command_name(command) == NULL) {
        return false;
    }
    /* ADVISE has all its fields or none (stream format, section 6). */
    if (command == VMLOAD_COMMAND_POSTCOPY_ADVISE) {
        return length == 0 || length == 16;
    }
    return length >= command_table[command].min &&
           length <= command_table[command].max;
}

bool vmload_command_read(VmloadReader *reader, uint64_t offset,
                         VmloadCommand *command, GError **error)
{
    const char *name;
    uint16_t number;
    uint16_t length;

    if (!vmload_reader_get_be16(reader, &number, error) ||
        !vmload_reader_get_be16(reader, &length, error)) {
        return false;
    }
    name = vmload_command_name(number);
    if (name == NULL) {
        /* A later source may have more commands; 0 is none of anybody. */
        return vmload_reader_error(reader, error,
                                   number == 0 ? VMLOAD_ERROR_MALFORMED
                                               : VMLOAD_ERROR_UNSUPPORTED,
                                   "expected a command 1 to %u, found %u",
                                   (unsigned)G_N_ELEMENTS(command_table) - 1,
                                   (unsigned)number);
    }
    if (!vmload_command_length_is_valid(number, length)) {
        return vmload_reader_error(
            reader, error, VMLOAD_ERROR_MALFORMED,
            "command %s: expected a length of %u to %u, found %u", name,
            command_table[number].min, command_table[number].max,
            (unsigned)length);
    }
    memset(command, 0, sizeof(*command));
    command->struct_size = (uint32_t)sizeof(*command);
    command->command = number;
    command->length = length;
    command->offset = offset;
    return true;
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

const char *cli_record_name(uint32_t type)
{
    switch (type) {
    case VMLOAD_RECORD_EOF:
        return "EOF";
    case VMLOAD_RECORD_START:
        return "START";
    case VMLOAD_RECORD_PART:
        return "PART";
    case VMLOAD_RECORD_END:
        return "END";
    case VMLOAD_RECORD_FULL:
        return "FULL";
    case VMLOAD_RECORD_VMDESC:
        return "VMDESC";
    case VMLOAD_RECORD_CONFIGURATION:
        return "CONFIGURATION";
    case VMLOAD_RECORD_COMMAND:
        return "COMMAND";
    default:
        return "?";
    }
}

const char *cli_command_name(uint32_t command)
{
    static const char *const names[] = {
        [VMLOAD_COMMAND_INVALID] = "INVALID",
        [VMLOAD_COMMAND_OPEN_RETURN_PATH] = "OPEN_RETURN_PATH",
        [VMLOAD_COMMAND_PING] = "PING",
        [VMLOAD_COMMAND_POSTCOPY_ADVISE] = "POSTCOPY_ADVISE",
        [VMLOAD_COMMAND_POSTCOPY_LISTEN] = "POSTCOPY_LISTEN",
        [VMLOAD_COMMAND_POSTCOPY_RUN] = "POSTCOPY_RUN",
        [VMLOAD_COMMAND_POSTCOPY_RAM_DISCARD] = "POSTCOPY_RAM_DISCARD",
        [VMLOAD_COMMAND_PACKAGED] = "PACKAGED",
        [VMLOAD_COMMAND_ENABLE_COLO] = "ENABLE_COLO",
        [VMLOAD_COMMAND_POSTCOPY_RESUME] = "POSTCOPY_RESUME",
        [VMLOAD_COMMAND_RECV_BITMAP] = "RECV_BITMAP",
        [VMLOAD_COMMAND_SWITCHOVER_START] = "SWITCHOVER_START",
    };

    return command < G_N_ELEMENTS(names) ? names[command] : "?";
}

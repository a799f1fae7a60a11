/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

VmloadChannel *cli_open(const char *path, GError **error)
{
    int fd;

    if (strcmp(path, "-") != 0) {
        return vmload_channel_new_file(path, 0, error);
    }
    fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO,
                    "standard input: %s", g_strerror(errno));
        return NULL;
    }
    return vmload_channel_take_fd(fd, error);
}

/* There is nobody to answer: commands that ask for it are passed over. */
static VmloadCommandResult offline_command(void *opaque, VmloadReader *reader,
                                           const VmloadCommand *command,
                                           GError **error)
{
    (void)opaque;
    switch (command->command) {
    case VMLOAD_COMMAND_OPEN_RETURN_PATH:
    case VMLOAD_COMMAND_PING:
        return vmload_reader_skip(reader, command->length, error)
                   ? VMLOAD_COMMAND_DONE
                   : VMLOAD_COMMAND_FAILED;
    default:
        return VMLOAD_COMMAND_DEFAULT;
    }
}

VmloadLoader *cli_offline_new(const char *path, VmloadHostOps *ops,
                              void *opaque, const VmloadLimits *limits,
                              GError **error)
{
    VmloadChannel *channel = cli_open(path, error);
    VmloadLoader *loader;

    if (channel == NULL) {
        return NULL;
    }
    ops->command = offline_command;
    loader = vmload_loader_new(ops, opaque, NULL, error);
    if (loader == NULL) {
        vmload_channel_unref(channel);
        return NULL;
    }
    vmload_loader_set_channel(loader, channel);
    vmload_loader_set_limits(loader, limits);
    vmload_loader_set_presence(loader, VMLOAD_PRESENCE_AUTO,
                               VMLOAD_PRESENCE_AUTO, VMLOAD_PRESENCE_AUTO);
    vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
    return loader;
}

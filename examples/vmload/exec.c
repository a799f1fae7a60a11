/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child: only what may be called between fork and exec. */
static void exec_child(const char *command, int fd)
{
    if (dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0) {
        signal(SIGPIPE, SIG_DFL);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    }
    _exit(127);
}

VmloadChannel *cli_exec(const char *command, GPid *pid, GError **error)
{
    int pair[2];

    /* A socket goes both ways: the child's stdin is the return path. */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO, "socketpair: %s",
                    g_strerror(errno));
        return NULL;
    }
    *pid = fork();
    if (*pid == 0) {
        exec_child(command, pair[1]);
    }
    close(pair[1]);
    if (*pid < 0) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO, "fork: %s",
                    g_strerror(errno));
        close(pair[0]);
        return NULL;
    }
    return vmload_channel_take_fd(pair[0], error);
}

void cli_exec_finish(GPid pid)
{
    int status;

    if (pid <= 0) {
        return;
    }
    /* Its end of the socket is closed; a moment to see that, then enough. */
    for (int i = 0; i < 50; i++) {
        if (waitpid(pid, &status, WNOHANG) != 0) {
            return;
        }
        g_usleep(10000);
    }
    kill(pid, SIGTERM);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
}

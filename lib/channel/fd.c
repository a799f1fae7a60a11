/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels over file descriptors. A descriptor may be shared with other
 * processes, and O_NONBLOCK belongs to the open file, not to the descriptor:
 * no flag is ever changed. Sockets and pipes are asked not to block call by
 * call; a pipe whose kernel knows no such question is polled before it is
 * read; a regular file is always ready.
 */
#include "channel.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/*
 * A pipe's room, where it may have so much: an unprivileged process's most
 * by default. With the 64 KiB that it is made with, sender and receiver wait
 * for each other all the time.
 */
#define PIPE_ROOM (1024 * 1024)

/*
 * @wake: the level that a shutdown sets, for the direction in which the
 *     kernel does not wake a poll by itself: reading from a pipe, and writing
 *     to a unix socket whose buffer is full.
 * @wake_direction: which one that is.
 * @ready: pipes: the last wait said so.
 * @polls: pipes: the kernel cannot be asked not to block.
 */
typedef struct {
    int fd;
    VmloadCancel *wake;
    uint32_t wake_direction;
    bool ready;
    bool polls;
} Fd;

static bool errno_would_block(int errnum)
{
    return errnum == EAGAIN || errnum == EWOULDBLOCK;
}

/* What a failed system call is to the channel. */
static int64_t fd_result(const char *what, int errnum, GError **error)
{
    if (errno_would_block(errnum)) {
        return VMLOAD_CHANNEL_WOULD_BLOCK;
    }
    vmload_fail_errno(error, errnum, "%s", what);
    return -1;
}

static int64_t socket_readv(void *opaque, const struct iovec *iov, uint32_t n,
                            GError **error)
{
    const Fd *self = opaque;
    struct msghdr message = {
        .msg_iov = (struct iovec *)(uintptr_t)iov,
        .msg_iovlen = MIN(n, (uint32_t)IOV_MAX),
    };
    ssize_t result;

    do {
        result = recvmsg(self->fd, &message, MSG_DONTWAIT);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? fd_result("recvmsg", errno, error) : result;
}

static int64_t socket_writev(void *opaque, const struct iovec *iov,
                             uint32_t n, GError **error)
{
    const Fd *self = opaque;
    struct msghdr message = {
        .msg_iov = (struct iovec *)(uintptr_t)iov,
        .msg_iovlen = MIN(n, (uint32_t)IOV_MAX),
    };
    ssize_t result;

    do {
        /* A peer that went away is an error here, not a signal. */
        result = sendmsg(self->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? fd_result("sendmsg", errno, error) : result;
}

/* Ends this side's waits. Pipes have nothing else to shut. */
static bool fd_shutdown(void *opaque, uint32_t direction, GError **error)
{
    const Fd *self = opaque;

    (void)error;
    if ((direction & self->wake_direction) != 0) {
        vmload_cancel_fire(self->wake);
    }
    return true;
}

static bool socket_shutdown(void *opaque, uint32_t direction, GError **error)
{
    const Fd *self = opaque;
    int how = direction == VMLOAD_DIRECTION_READ    ? SHUT_RD
              : direction == VMLOAD_DIRECTION_WRITE ? SHUT_WR
                                                    : SHUT_RDWR;

    fd_shutdown(opaque, direction, NULL);
    /* ENOTCONN: the peer was faster, and everybody is awake already. */
    if (shutdown(self->fd, how) < 0 && errno != ENOTCONN) {
        return vmload_fail_errno(error, errno, "shutdown");
    }
    return true;
}

/* Where nobody else reads the pipe, what is ready stays ready. */
static int64_t pipe_readv_polled(Fd *self, const struct iovec *iov, int n,
                                 GError **error)
{
    struct pollfd pollfd = {.fd = self->fd, .events = POLLIN};
    ssize_t result;
    int polled;

    if (!self->ready) {
        do {
            polled = poll(&pollfd, 1, 0);
        } while (polled < 0 && errno == EINTR);
        if (polled < 0) {
            return fd_result("poll", errno, error);
        }
        if (polled == 0) {
            return VMLOAD_CHANNEL_WOULD_BLOCK;
        }
    }
    self->ready = false;
    do {
        result = readv(self->fd, iov, n);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? fd_result("readv", errno, error) : result;
}

static int64_t pipe_readv(void *opaque, const struct iovec *iov, uint32_t n,
                          GError **error)
{
    int n_iov = (int)MIN(n, (uint32_t)IOV_MAX);
    Fd *self = opaque;
    ssize_t result;

    if (self->polls) {
        return pipe_readv_polled(self, iov, n_iov, error);
    }
    do {
        /* Offset -1: as readv does. Pipes know it since Linux 6.5. */
        result = preadv2(self->fd, iov, n_iov, -1, RWF_NOWAIT);
    } while (result < 0 && errno == EINTR);
    if (result >= 0 || errno_would_block(errno)) {
        return result >= 0 ? result : VMLOAD_CHANNEL_WOULD_BLOCK;
    }
    /* Not known; or an error, which the usual way finds as well. */
    self->polls = true;
    return pipe_readv_polled(self, iov, n_iov, error);
}

/* A favour to both ends, and nothing lost where it is refused. */
static void pipe_make_room(int fd)
{
    int room = fcntl(fd, F_GETPIPE_SZ);

    if (room >= 0 && room < PIPE_ROOM) {
        (void)fcntl(fd, F_SETPIPE_SZ, PIPE_ROOM);
    }
}

static int64_t file_readv(void *opaque, const struct iovec *iov, uint32_t n,
                          GError **error)
{
    const Fd *self = opaque;
    ssize_t result;

    do {
        result = readv(self->fd, iov, (int)MIN(n, (uint32_t)IOV_MAX));
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        vmload_fail_errno(error, errno, "readv");
        return -1;
    }
    return result;
}

static int64_t file_preadv(void *opaque, const struct iovec *iov, uint32_t n,
                           uint64_t offset, GError **error)
{
    const Fd *self = opaque;
    ssize_t result;

    /* No file is that long: as behind any other end. */
    if (offset > G_MAXINT64) {
        return 0;
    }
    do {
        result = preadv(self->fd, iov, (int)MIN(n, (uint32_t)IOV_MAX),
                        (off_t)offset);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        vmload_fail_errno(error, errno, "preadv at offset %" G_GUINT64_FORMAT,
                          offset);
        return -1;
    }
    return result;
}

int vmload_poll(struct pollfd *fds, uint32_t n, int64_t deadline)
{
    struct timespec timeout = {0, 0};
    int result;

    do {
        if (deadline >= 0) {
            /* Not inside of MAX(), which would ask the clock twice. */
            int64_t left = deadline - g_get_monotonic_time();

            left = MAX(left, 0);
            timeout.tv_sec = (time_t)(left / G_USEC_PER_SEC);
            timeout.tv_nsec = (long)(left % G_USEC_PER_SEC) * 1000;
        }
        result = ppoll(fds, n, deadline >= 0 ? &timeout : NULL, NULL);
    } while (result < 0 && errno == EINTR);
    return result;
}

static int32_t fd_wait(void *opaque, uint32_t direction, int32_t cancel_fd,
                       int64_t deadline, GError **error)
{
    Fd *self = opaque;
    bool wake = direction == self->wake_direction;
    /* Negative descriptors are left out by poll. */
    struct pollfd fds[] = {
        {.fd = self->fd,
         .events = direction == VMLOAD_DIRECTION_WRITE ? POLLOUT : POLLIN},
        {.fd = cancel_fd, .events = POLLIN},
        {.fd = wake ? vmload_cancel_get_fd(self->wake) : -1,
         .events = POLLIN},
    };

    if (vmload_poll(fds, G_N_ELEMENTS(fds), deadline) < 0) {
        vmload_fail_errno(error, errno, "poll");
        return -1;
    }
    if ((fds[0].revents & POLLNVAL) != 0) {
        vmload_fail_errno(error, EBADF, "poll");
        return -1;
    }
    /* POLLHUP and POLLERR too: the next call says what they mean. */
    if (direction == VMLOAD_DIRECTION_READ) {
        self->ready = fds[0].revents != 0;
    }
    return fds[0].revents != 0 && fds[1].revents == 0 && fds[2].revents == 0;
}

static void fd_destroy(void *opaque)
{
    Fd *self = opaque;

    close(self->fd);
    vmload_cancel_free(self->wake);
    g_free(self);
}

static const VmloadChannelOps socket_ops = {
    VMLOAD_CHANNEL_OPS_INIT,
    .readv = socket_readv,
    .writev = socket_writev,
    .wait = fd_wait,
    .shutdown = socket_shutdown,
};

static const VmloadChannelOps pipe_ops = {
    VMLOAD_CHANNEL_OPS_INIT,
    .readv = pipe_readv,
    .wait = fd_wait,
    .shutdown = fd_shutdown,
};

static const VmloadChannelOps file_ops = {
    VMLOAD_CHANNEL_OPS_INIT,
    .readv = file_readv,
    .preadv = file_preadv,
};

static bool fd_get_option(int fd, int option, int *value, GError **error)
{
    socklen_t size = sizeof(*value);

    if (getsockopt(fd, SOL_SOCKET, option, value, &size) < 0) {
        return vmload_fail_errno(error, errno, "getsockopt");
    }
    return true;
}

static bool fd_check_socket(int fd, GError **error)
{
    int type;
    int listening;

    if (!fd_get_option(fd, SO_TYPE, &type, error) ||
        !fd_get_option(fd, SO_ACCEPTCONN, &listening, error)) {
        return false;
    }
    if (type != SOCK_STREAM) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "descriptor %d: expected a stream socket, found "
                           "socket type %d", fd, type);
    }
    if (listening) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "descriptor %d: expected a connection, found a "
                           "listening socket", fd);
    }
    return true;
}

/* Which of the three it is, and whether it can be read. */
static const VmloadChannelOps *fd_find_ops(int fd, GError **error)
{
    const VmloadChannelOps *ops;
    struct stat st;
    int flags;

    if (fstat(fd, &st) < 0) {
        vmload_fail_errno(error, errno, "descriptor %d", fd);
        return NULL;
    }
    if (S_ISSOCK(st.st_mode)) {
        return fd_check_socket(fd, error) ? &socket_ops : NULL;
    }
    if (S_ISFIFO(st.st_mode)) {
        ops = &pipe_ops;
    } else if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
        ops = &file_ops;
    } else {
        vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                    "descriptor %d: expected a stream socket, a pipe, a "
                    "regular file or a block device, found %s",
                    fd, vmload_file_type(st.st_mode));
        return NULL;
    }
    flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        vmload_fail_errno(error, errno, "descriptor %d", fd);
        return NULL;
    }
    if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH) != 0) {
        vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                    "descriptor %d: expected it open for reading", fd);
        return NULL;
    }
    return ops;
}

static bool fd_make_wake(Fd *self, const VmloadChannelOps *ops, GError **error)
{
    if (ops->wait == NULL) {
        return true;
    }
    self->wake_direction = ops == &pipe_ops ? VMLOAD_DIRECTION_READ
                                            : VMLOAD_DIRECTION_WRITE;
    self->wake = vmload_cancel_new(error);
    return self->wake != NULL;
}

int vmload_channel_open_direct(const VmloadChannel *channel)
{
    int file = vmload_channel_get_file(channel);
    char path[64];
    int fd;

    if (file < 0) {
        return -1;
    }
    /* A new open file: the flag must not reach the one we were given. */
    g_snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    do {
        fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOCTTY);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

VmloadChannel *vmload_channel_take_fd(int32_t fd, GError **error)
{
    const VmloadChannelOps *ops;
    VmloadChannel *channel;
    off_t position;
    Fd *self;

    g_return_val_if_fail(fd >= 0, NULL);
    self = g_new0(Fd, 1);
    self->fd = fd;
    ops = fd_find_ops(fd, error);
    if (ops == NULL || !fd_make_wake(self, ops, error)) {
        fd_destroy(self);
        return NULL;
    }
    if (ops == &pipe_ops) {
        pipe_make_room(fd);
    }
    channel = vmload_channel_new_from_ops(ops, self, fd_destroy, error);
    if (channel != NULL && ops != &file_ops) {
        vmload_channel_set_poll_fd(channel, fd);
    } else if (channel != NULL) {
        position = lseek(fd, 0, SEEK_CUR);
        vmload_channel_set_file(channel, fd,
                                position > 0 ? (uint64_t)position : 0);
    }
    return channel;
}

/* The position is the open file's, which is ours alone. */
static bool file_check(int fd, const char *path, uint64_t offset,
                       GError **error)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return vmload_fail_errno(error, errno, "file %s", path);
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "file %s: expected a regular file or a block "
                           "device, found %s",
                           path, vmload_file_type(st.st_mode));
    }
    if (offset > G_MAXINT64) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "file %s: expected an offset below 2^63, found %"
                           G_GUINT64_FORMAT, path, offset);
    }
    if (lseek(fd, (off_t)offset, SEEK_SET) < 0) {
        return vmload_fail_errno(error, errno, "file %s: seek to %"
                                 G_GUINT64_FORMAT, path, offset);
    }
    return true;
}

VmloadChannel *vmload_channel_new_file(const char *path, uint64_t offset,
                                       GError **error)
{
    int fd;

    g_return_val_if_fail(path != NULL, NULL);
    do {
        /* Not blocking: a FIFO is refused, not waited for. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        vmload_fail_errno(error, errno, "file %s", path);
        return NULL;
    }
    if (!file_check(fd, path, offset, error)) {
        close(fd);
        return NULL;
    }
    /* Advice only: it may be refused. */
    (void)posix_fadvise(fd, (off_t)offset, 0, POSIX_FADV_SEQUENTIAL);
    return vmload_channel_take_fd(fd, error);
}

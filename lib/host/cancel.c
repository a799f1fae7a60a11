/* SPDX-License-Identifier: BSD-3-Clause */
#include "cancel.h"

#include "error.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct VmloadCancel {
    int flag; /* atomic */
    int fd;
};

VmloadCancel *vmload_cancel_new(GError **error)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    VmloadCancel *cancel;

    if (fd < 0) {
        vmload_fail_errno(error, errno, "eventfd");
        return NULL;
    }
    cancel = g_new0(VmloadCancel, 1);
    cancel->fd = fd;
    return cancel;
}

void vmload_cancel_free(VmloadCancel *cancel)
{
    if (cancel != NULL) {
        close(cancel->fd);
        g_free(cancel);
    }
}

void vmload_cancel_fire(VmloadCancel *cancel)
{
    const uint64_t one = 1;
    int saved = errno;
    ssize_t written;

    /* The flag first: whoever wakes up on the descriptor must see it. */
    if (__atomic_exchange_n(&cancel->flag, 1, __ATOMIC_SEQ_CST) == 0) {
        /* Cannot fail: the counter goes from 0 to 1 and is never read. */
        written = write(cancel->fd, &one, sizeof(one));
        (void)written;
    }
    errno = saved;
}

bool vmload_cancel_is_set(const VmloadCancel *cancel)
{
    return __atomic_load_n(&cancel->flag, __ATOMIC_SEQ_CST) != 0;
}

int vmload_cancel_get_fd(const VmloadCancel *cancel)
{
    return cancel->fd;
}

bool vmload_cancel_check(const VmloadCancel *cancel, GError **error)
{
    if (vmload_cancel_is_set(cancel)) {
        return vmload_fail(error, VMLOAD_ERROR_CANCELLED,
                           "the load was cancelled");
    }
    return true;
}

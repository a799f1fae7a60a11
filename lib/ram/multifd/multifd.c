/* SPDX-License-Identifier: BSD-3-Clause */
/* The group: its channels, its marks in the main stream, its first error. */
#include "private.h"

#include "error.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <vmload/host.h>

VmloadMultifd *vmload_multifd_new(const VmloadMultifdEnv *env, GError **error)
{
    VmloadMultifd *multifd;
    uint32_t page_bits = env->ram->page_bits;
    int fd;

    if (!vmload_ram_page_bits_are_good(env->ram)) {
        vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                    "expected target pages of 8 to 30 bits, found %u",
                    page_bits);
        return NULL;
    }
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        vmload_fail_errno(error, errno, "eventfd");
        return NULL;
    }
    multifd = g_new0(VmloadMultifd, 1);
    multifd->env = *env;
    multifd->page_bits = page_bits;
    multifd->main_fd = fd;
    multifd->sync = env->sync;
    g_mutex_init(&multifd->lock);
    return multifd;
}

static bool multifd_start(VmloadMultifdChannel *self, GError **error)
{
    GError *local = NULL;

    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->wake_fd < 0) {
        return vmload_fail_errno(error, errno, "eventfd");
    }
    self->thread = g_thread_try_new(
        self->thread_name, vmload_multifd_channel_thread, self, &local);
    if (self->thread == NULL) {
        vmload_fail(error, VMLOAD_ERROR_FAILED, "no thread: %s",
                    local->message);
        g_error_free(local);
        return false;
    }
    return true;
}

bool vmload_multifd_add(VmloadMultifd *multifd, VmloadChannel *channel,
                        uint32_t id, GError **error)
{
    VmloadMultifdChannel *self;
    uint32_t n = multifd->n_channels;

    /*
     * Its pages of that round would come behind those of later ones, or,
     * had it come later still, not at all.
     */
    if (multifd->passed > 0) {
        vmload_channel_unref(channel);
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "channel 'multifd %u': expected it before the first "
                           "barrier of RAM, found it after barrier "
                           "%" G_GUINT64_FORMAT, id, multifd->passed);
    }
    self = g_new0(VmloadMultifdChannel, 1);
    self->group = multifd;
    self->channel = channel;
    self->id = id;
    self->wait.cancel = multifd->env.wait->cancel;
    g_snprintf(self->thread_name, sizeof(self->thread_name), "vmload-mfd-%u",
               id);
    if (!multifd_start(self, error)) {
        g_prefix_error(error, "channel 'multifd %u': ", id);
        vmload_multifd_channel_free(self);
        return false;
    }
    multifd->channels[n] = self;
    __atomic_store_n(&multifd->n_channels, n + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&multifd->env.counters->channels, n + 1,
                     __ATOMIC_RELAXED);
    return true;
}

/* Wakes every thread of ours, wherever it waits. */
static void multifd_wake_all(VmloadMultifd *multifd)
{
    uint32_t n = vmload_multifd_count(multifd);
    uint32_t i;

    for (i = 0; i < n; i++) {
        vmload_channel_shutdown(multifd->channels[i]->channel,
                                VMLOAD_DIRECTION_READ, NULL);
        vmload_multifd_raise(multifd->channels[i]->wake_fd);
    }
    vmload_multifd_raise(multifd->main_fd);
}

bool vmload_multifd_is_stopping(VmloadMultifd *multifd)
{
    bool stopping;

    g_mutex_lock(&multifd->lock);
    stopping = multifd->stopping;
    g_mutex_unlock(&multifd->lock);
    return stopping;
}

void vmload_multifd_fail(VmloadMultifdChannel *self, GError *error)
{
    VmloadMultifd *multifd = self->group;
    bool first;

    g_mutex_lock(&multifd->lock);
    first = !multifd->stopping;
    if (first) {
        multifd->stopping = true;
        multifd->error = error;
        g_snprintf(multifd->error_name, sizeof(multifd->error_name),
                   "multifd %u", self->id);
    }
    g_mutex_unlock(&multifd->lock);
    if (!first) {
        /* What followed from the first error, or from the end. */
        g_error_free(error);
        return;
    }
    multifd_wake_all(multifd);
    multifd->env.failed(multifd->env.env);
}

bool vmload_multifd_check(VmloadMultifd *multifd, GError **error)
{
    bool ok;

    g_mutex_lock(&multifd->lock);
    ok = multifd->error == NULL;
    if (!ok && error != NULL) {
        *error = g_error_copy(multifd->error);
    }
    g_mutex_unlock(&multifd->lock);
    return ok;
}

void vmload_multifd_section_begin(VmloadMultifd *multifd, uint32_t type)
{
    multifd->flushed = false;
    if (type == VMLOAD_RECORD_END) {
        __atomic_store_n(&multifd->ending, 1, __ATOMIC_RELEASE);
    }
}

/*
 * A barrier that the main stream asks for. Whoever connected late comes in
 * first; from now on the block list must stay as it is.
 */
static bool multifd_mark(VmloadMultifd *multifd, GError **error)
{
    if (multifd->env.gather != NULL &&
        !multifd->env.gather(multifd->env.env, error)) {
        return false;
    }
    if (vmload_multifd_count(multifd) > 0) {
        vmload_ram_fix_blocks(multifd->env.ram);
    }
    return vmload_multifd_barrier(multifd, error);
}

bool vmload_multifd_flush(VmloadMultifd *multifd, GError **error)
{
    multifd->flushed = true;
    if (multifd->sync == VMLOAD_MULTIFD_SYNC_SECTION) {
        /* QEMU 8.1.0 sends it also without multifd. */
        return vmload_multifd_count(multifd) == 0 ||
               vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "expected barriers at the end of each section, "
                           "found MULTIFD_FLUSH");
    }
    multifd->sync = VMLOAD_MULTIFD_SYNC_ROUND;
    return multifd_mark(multifd, error);
}

bool vmload_multifd_section_end(VmloadMultifd *multifd, uint32_t type,
                                GError **error)
{
    bool end = type == VMLOAD_RECORD_END;

    /* A source that has rounds says so before its first EOS. */
    if (multifd->sync == VMLOAD_MULTIFD_SYNC_AUTO) {
        multifd->sync = VMLOAD_MULTIFD_SYNC_SECTION;
    }
    if (multifd->sync == VMLOAD_MULTIFD_SYNC_SECTION) {
        if (!multifd_mark(multifd, error)) {
            return false;
        }
    } else if (end && !multifd->flushed &&
               vmload_multifd_count(multifd) > 0) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "expected MULTIFD_FLUSH in the last section of "
                           "RAM, found none");
    }
    if (end) {
        __atomic_store_n(&multifd->ending, 2, __ATOMIC_RELEASE);
    }
    return vmload_multifd_check(multifd, error);
}

bool vmload_multifd_check_complete(VmloadMultifd *multifd, GError **error)
{
    if (vmload_multifd_count(multifd) > 0 &&
        __atomic_load_n(&multifd->ending, __ATOMIC_ACQUIRE) != 2) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "expected the end of RAM, whose pages come over "
                           "multifd, before the end of the stream");
    }
    return true;
}

bool vmload_multifd_stop(VmloadMultifd *multifd, char *name, size_t size,
                         GError **error)
{
    uint32_t n = vmload_multifd_count(multifd);
    uint32_t i;

    g_mutex_lock(&multifd->lock);
    multifd->stopping = true;
    g_mutex_unlock(&multifd->lock);
    multifd_wake_all(multifd);
    for (i = 0; i < n; i++) {
        if (multifd->channels[i]->thread != NULL) {
            g_thread_join(multifd->channels[i]->thread);
            multifd->channels[i]->thread = NULL;
        }
    }
    if (multifd->error == NULL) {
        return true;
    }
    g_strlcpy(name, multifd->error_name, size);
    g_propagate_error(error, g_steal_pointer(&multifd->error));
    return false;
}

void vmload_multifd_free(VmloadMultifd *multifd)
{
    uint32_t i;

    if (multifd == NULL) {
        return;
    }
    for (i = 0; i < multifd->n_channels; i++) {
        vmload_multifd_channel_free(multifd->channels[i]);
    }
    close(multifd->main_fd);
    g_clear_error(&multifd->error);
    g_mutex_clear(&multifd->lock);
    g_free(multifd);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Sinks with memory behind them: the host's own, a memfd, a digest's. */
#include "sink.h"

#include "error.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static const VmloadSinkClass memory_class = {0};

VmloadRamSink *vmload_ram_sink_new_memory(void *host)
{
    VmloadRamSink *sink;

    g_return_val_if_fail(host != NULL, NULL);
    sink = g_new0(VmloadRamSink, 1);
    sink->class = &memory_class;
    sink->host = host;
    return sink;
}

typedef struct {
    VmloadRamSink base;
    int fd; /* -1: anonymous memory */
    uint64_t mapped;
    uint64_t length; /* what the digest is over */
    char *digest;    /* atomic: set once */
} MappedSink;

/*
 * Reserves addresses, no memory: pages come with their content. Both kinds
 * start as zeros.
 */
static bool mapped_attach(VmloadRamSink *sink, const char *idstr,
                          uint64_t length, uint64_t max_length, GError **error)
{
    MappedSink *own = (MappedSink *)sink;
    int flags = own->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *host;

    if (own->fd >= 0 && ftruncate(own->fd, (off_t)max_length) < 0) {
        return vmload_fail_errno(error, errno,
                                 "RAM block '%s': set the size of its memfd "
                                 "to %" G_GUINT64_FORMAT,
                                 idstr, max_length);
    }
    host = mmap(NULL, max_length, PROT_READ | PROT_WRITE,
                flags | MAP_NORESERVE, own->fd, 0);
    if (host == MAP_FAILED) {
        return vmload_fail_errno(error, errno,
                                 "RAM block '%s': map %" G_GUINT64_FORMAT
                                 " bytes",
                                 idstr, max_length);
    }
    own->mapped = max_length;
    own->length = length;
    own->base.host = host;
    own->base.starts_zero = true;
    return true;
}

static bool mapped_resize(VmloadRamSink *sink, uint64_t length,
                          GError **error G_GNUC_UNUSED)
{
    ((MappedSink *)sink)->length = length;
    return true;
}

static void mapped_free(VmloadRamSink *sink)
{
    MappedSink *own = (MappedSink *)sink;

    if (own->base.host != NULL) {
        munmap(own->base.host, own->mapped);
    }
    if (own->fd >= 0) {
        close(own->fd);
    }
    g_free(own->digest);
}

static const VmloadSinkClass memfd_class = {
    .attach = mapped_attach,
    .resize = mapped_resize,
    .free = mapped_free,
};

VmloadRamSink *vmload_ram_sink_new_memfd(const char *name, GError **error)
{
    MappedSink *own;
    int fd;

    g_return_val_if_fail(name != NULL, NULL);
    fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) {
        vmload_fail_errno(error, errno, "make a memfd '%s'", name);
        return NULL;
    }
    own = g_new0(MappedSink, 1);
    own->base.class = &memfd_class;
    own->fd = fd;
    return &own->base;
}

int32_t vmload_sink_memfd_get_fd(const VmloadRamSink *sink)
{
    return sink->class == &memfd_class ? ((const MappedSink *)sink)->fd : -1;
}

static bool digest_finish(VmloadRamSink *sink, const VmloadRamEnv *env,
                          GError **error)
{
    /* A few milliseconds: a cancel is not to wait for longer. */
    const uint64_t piece = 1024 * 1024;
    MappedSink *own = (MappedSink *)sink;
    GChecksum *checksum = g_checksum_new(G_CHECKSUM_SHA256);
    bool ok = true;
    uint64_t done;

    for (done = 0; ok && done < own->length; done += piece) {
        ok = env->check == NULL || env->check(env->opaque, error);
        g_checksum_update(checksum, own->base.host + done,
                          (gssize)MIN(piece, own->length - done));
    }
    if (ok) {
        __atomic_store_n(&own->digest,
                         g_strdup(g_checksum_get_string(checksum)),
                         __ATOMIC_RELEASE);
    }
    g_checksum_free(checksum);
    return ok;
}

static const VmloadSinkClass digest_class = {
    .attach = mapped_attach,
    .resize = mapped_resize,
    .finish = digest_finish,
    .free = mapped_free,
};

VmloadRamSink *vmload_ram_sink_new_digest(void)
{
    MappedSink *own = g_new0(MappedSink, 1);

    own->base.class = &digest_class;
    own->fd = -1;
    return &own->base;
}

const char *vmload_ram_sink_get_digest(VmloadRamSink *sink)
{
    g_return_val_if_fail(sink != NULL, NULL);
    if (sink->class != &digest_class) {
        return NULL;
    }
    return __atomic_load_n(&((MappedSink *)sink)->digest, __ATOMIC_ACQUIRE);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What all sinks share, and the two that keep nothing: null and own ops. */
#include "sink.h"

#include "error.h"
#include "host/ops.h"

#include <string.h>

bool vmload_bytes_are_zero(const uint8_t *data, uint64_t length)
{
    /* Equal to itself one byte on: memcmp() knows the vectors. */
    return length == 0 ||
           (data[0] == 0 && memcmp(data, data + 1, length - 1) == 0);
}

bool vmload_ram_callback_failed(GError **error, GError *local,
                                const char *what)
{
    VmloadError code = VMLOAD_ERROR_DEVICE;

    if (local == NULL) {
        return vmload_fail(error, code, "%s failed without a reason", what);
    }
    if (local->domain == VMLOAD_ERROR) {
        code = (VmloadError)local->code;
    }
    vmload_fail(error, code, "%s: %s", what, local->message);
    g_error_free(local);
    return false;
}

bool vmload_sink_attach(VmloadRamSink *sink, const char *idstr,
                        uint64_t length, uint64_t max_length, GError **error)
{
    g_mutex_init(&sink->lock);
    return sink->class->attach == NULL ||
           sink->class->attach(sink, idstr, length, max_length, error);
}

static void sink_lock(VmloadRamSink *sink)
{
    if (!sink->is_host) {
        g_mutex_lock(&sink->lock);
    }
}

static void sink_unlock(VmloadRamSink *sink)
{
    if (!sink->is_host) {
        g_mutex_unlock(&sink->lock);
    }
}

bool vmload_sink_write(VmloadRamSink *sink, uint64_t offset,
                       const uint8_t *data, uint64_t length, GError **error)
{
    bool ok;

    if (sink->host != NULL) {
        memcpy(sink->host + offset, data, length);
        return true;
    }
    if (sink->discards) {
        return true;
    }
    sink_lock(sink);
    ok = sink->class->write(sink, offset, data, length, error);
    sink_unlock(sink);
    return ok;
}

bool vmload_sink_store(VmloadRamSink *sink, uint64_t offset,
                       const uint8_t *data, uint64_t length, GError **error)
{
    return sink->class->store != NULL
               ? sink->class->store(sink, offset, data, length, error)
               : vmload_sink_write(sink, offset, data, length, error);
}

bool vmload_sink_zero(VmloadRamSink *sink, uint64_t offset, uint64_t length,
                      bool *stored, GError **error)
{
    bool ok;

    if (sink->discards) {
        *stored = false;
        return true;
    }
    if (sink->host == NULL) {
        *stored = true;
        sink_lock(sink);
        ok = sink->class->zero(sink, offset, length, error);
        sink_unlock(sink);
        return ok;
    }
    /* To look costs no memory where nothing was written before. */
    *stored = !vmload_bytes_are_zero(sink->host + offset, length);
    if (*stored) {
        memset(sink->host + offset, 0, length);
    }
    return true;
}

bool vmload_sink_read(VmloadRamSink *sink, uint64_t offset, uint8_t *data,
                      uint64_t length, GError **error)
{
    bool ok;

    if (sink->discards) {
        memset(data, 0, length);
        return true;
    }
    if (!sink->can_read) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "expected a sink that can be read (XBZRLE), found "
                           "one that cannot");
    }
    sink_lock(sink);
    ok = sink->class->read(sink, offset, data, length, error);
    sink_unlock(sink);
    return ok;
}

bool vmload_sink_resize(VmloadRamSink *sink, uint64_t length, GError **error)
{
    return sink->class->resize == NULL ||
           sink->class->resize(sink, length, error);
}

bool vmload_sink_idle(VmloadRamSink *sink, GError **error)
{
    bool ok;

    if (sink->class->idle == NULL) {
        return true;
    }
    sink_lock(sink);
    ok = sink->class->idle(sink, error);
    sink_unlock(sink);
    return ok;
}

bool vmload_sink_finish(VmloadRamSink *sink, const VmloadRamEnv *env,
                        GError **error)
{
    if (sink->finished) {
        return true;
    }
    sink->finished = true;
    return sink->class->finish == NULL ||
           sink->class->finish(sink, env, error);
}

void vmload_ram_sink_free(VmloadRamSink *sink)
{
    if (sink != NULL) {
        if (sink->class->free != NULL) {
            sink->class->free(sink);
        }
        g_free(sink);
    }
}

int32_t vmload_ram_sink_get_fd(VmloadRamSink *sink)
{
    int32_t fd;

    g_return_val_if_fail(sink != NULL, -1);
    fd = vmload_sink_memfd_get_fd(sink);
    return fd >= 0 ? fd : vmload_sink_file_get_fd(sink);
}

static const VmloadSinkClass null_class = {0};

VmloadRamSink *vmload_ram_sink_new_null(void)
{
    VmloadRamSink *sink = g_new0(VmloadRamSink, 1);

    sink->class = &null_class;
    sink->discards = true;
    return sink;
}

typedef struct {
    VmloadRamSink base;
    VmloadRamSinkOps ops;
    void *opaque;
    GDestroyNotify destroy;
} OpsSink;

static bool ops_write(VmloadRamSink *sink, uint64_t offset,
                      const uint8_t *data, uint64_t length, GError **error)
{
    OpsSink *own = (OpsSink *)sink;
    GError *local = NULL;

    return own->ops.write(own->opaque, offset, data, length, &local) ||
           vmload_ram_callback_failed(error, local, "the sink's write");
}

static bool ops_zero(VmloadRamSink *sink, uint64_t offset, uint64_t length,
                     GError **error)
{
    OpsSink *own = (OpsSink *)sink;
    GError *local = NULL;

    return own->ops.zero(own->opaque, offset, length, &local) ||
           vmload_ram_callback_failed(error, local, "the sink's zero");
}

static bool ops_read(VmloadRamSink *sink, uint64_t offset, uint8_t *data,
                     uint64_t length, GError **error)
{
    OpsSink *own = (OpsSink *)sink;
    GError *local = NULL;

    return own->ops.read(own->opaque, offset, data, length, &local) ||
           vmload_ram_callback_failed(error, local, "the sink's read");
}

static bool ops_resize(VmloadRamSink *sink, uint64_t length, GError **error)
{
    OpsSink *own = (OpsSink *)sink;
    GError *local = NULL;

    return own->ops.resize == NULL ||
           own->ops.resize(own->opaque, length, &local) ||
           vmload_ram_callback_failed(error, local, "the sink's resize");
}

static bool ops_finish(VmloadRamSink *sink,
                       const VmloadRamEnv *env G_GNUC_UNUSED, GError **error)
{
    OpsSink *own = (OpsSink *)sink;
    GError *local = NULL;

    return own->ops.finish == NULL || own->ops.finish(own->opaque, &local) ||
           vmload_ram_callback_failed(error, local, "the sink's finish");
}

static void ops_free(VmloadRamSink *sink)
{
    OpsSink *own = (OpsSink *)sink;

    if (own->destroy != NULL) {
        own->destroy(own->opaque);
    }
}

static const VmloadSinkClass ops_class = {
    .write = ops_write,
    .zero = ops_zero,
    .read = ops_read,
    .resize = ops_resize,
    .finish = ops_finish,
    .free = ops_free,
};

VmloadRamSink *vmload_ram_sink_new_from_ops(const VmloadRamSinkOps *ops,
                                            void *opaque,
                                            GDestroyNotify destroy,
                                            GError **error)
{
    OpsSink *own = g_new0(OpsSink, 1);
    bool ok;

    own->base.class = &ops_class;
    own->base.is_host = true;
    own->opaque = opaque;
    own->destroy = destroy;
    ok = ops == NULL ? vmload_fail(error, VMLOAD_ERROR_FAILED,
                                   "VmloadRamSinkOps: expected a table, found "
                                   "NULL")
                     : vmload_ops_copy(&own->ops, sizeof(own->ops), ops,
                                       "VmloadRamSinkOps", error);
    if (ok && (own->ops.write == NULL || own->ops.zero == NULL)) {
        ok = vmload_fail(error, VMLOAD_ERROR_FAILED,
                         "VmloadRamSinkOps: expected write and zero, found "
                         "NULL");
    }
    if (!ok) {
        vmload_ram_sink_free(&own->base);
        return NULL;
    }
    own->base.can_read = own->ops.read != NULL;
    return &own->base;
}

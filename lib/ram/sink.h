/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every kind of sink implements, and how blocks use it. Offsets are
 * bytes in the block; the caller has checked that they lie inside it.
 */
#ifndef VMLOAD_RAM_SINK_H
#define VMLOAD_RAM_SINK_H

#include "ram/ram.h"

/* All members may be NULL: nothing to do, and it succeeds. */
typedef struct {
    /* Once, when a block takes the sink. */
    bool (*attach)(VmloadRamSink *sink, const char *idstr, uint64_t length,
                   uint64_t max_length, GError **error);
    /* Not called where the sink has memory or discards. */
    bool (*write)(VmloadRamSink *sink, uint64_t offset, const uint8_t *data,
                  uint64_t length, GError **error);
    /*
     * As write, but from several threads at once, for different pages, and
     * without the sink's lock. NULL: it has only the other.
     */
    bool (*store)(VmloadRamSink *sink, uint64_t offset, const uint8_t *data,
                  uint64_t length, GError **error);
    bool (*zero)(VmloadRamSink *sink, uint64_t offset, uint64_t length,
                 GError **error);
    bool (*read)(VmloadRamSink *sink, uint64_t offset, uint8_t *data,
                 uint64_t length, GError **error);
    bool (*resize)(VmloadRamSink *sink, uint64_t length, GError **error);
    /* The stream turns to another block: give back what waiting costs. */
    bool (*idle)(VmloadRamSink *sink, GError **error);
    bool (*finish)(VmloadRamSink *sink, const VmloadRamEnv *env,
                   GError **error);
    void (*free)(VmloadRamSink *sink);
} VmloadSinkClass;

/*
 * @host: memory of at least max_length bytes; NULL: the sink is written to.
 * @discards: content is not kept.
 * @starts_zero: all bytes are zero until they are written.
 */
struct VmloadRamSink {
    const VmloadSinkClass *class;
    uint8_t *host;
    bool discards;
    bool starts_zero;
    bool can_read;
    bool finished;
    bool is_host; /* its functions are callbacks: never with a lock held */
    /*
     * Leaf, for our sinks that are written to: one call at a time, whatever
     * channel it comes from.
     */
    GMutex lock;
};

bool vmload_sink_attach(VmloadRamSink *sink, const char *idstr,
                        uint64_t length, uint64_t max_length, GError **error);
bool vmload_sink_write(VmloadRamSink *sink, uint64_t offset,
                       const uint8_t *data, uint64_t length, GError **error);
/*
 * The same for a long piece, which is not worth gathering. Side by side from
 * several threads, if it says so.
 */
bool vmload_sink_store(VmloadRamSink *sink, uint64_t offset,
                       const uint8_t *data, uint64_t length, GError **error);
static inline bool vmload_sink_stores(const VmloadRamSink *sink)
{
    return sink->host != NULL || sink->class->store != NULL;
}

/* *@stored: whether anything had to be written. */
bool vmload_sink_zero(VmloadRamSink *sink, uint64_t offset, uint64_t length,
                      bool *stored, GError **error);
/*
 * Not for sinks with memory: it is there to be looked at. UNSUPPORTED if the
 * sink cannot give back what it got.
 */
bool vmload_sink_read(VmloadRamSink *sink, uint64_t offset, uint8_t *data,
                      uint64_t length, GError **error);
bool vmload_sink_resize(VmloadRamSink *sink, uint64_t length, GError **error);
bool vmload_sink_idle(VmloadRamSink *sink, GError **error);
/* Does nothing the second time. */
bool vmload_sink_finish(VmloadRamSink *sink, const VmloadRamEnv *env,
                        GError **error);

/* Is every byte zero? */
bool vmload_bytes_are_zero(const uint8_t *data, uint64_t length);

/*
 * Hands on what a callback of the host failed with: a code of ours is kept,
 * anything else is DEVICE, and @what is put in front. Takes @local, which
 * may be NULL if the host gave no reason. Always false.
 */
bool vmload_ram_callback_failed(GError **error, GError *local,
                                const char *what);

/* What get_fd and get_digest ask; each in the file of its kind. */
int32_t vmload_sink_file_get_fd(const VmloadRamSink *sink);
int32_t vmload_sink_memfd_get_fd(const VmloadRamSink *sink);

#endif

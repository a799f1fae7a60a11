/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The streams that are loaded: made by the mirror writer, or recorded from a
 * real source; and the plans by which a sender delivers them.
 */
#ifndef VMLOAD_BENCH_STREAM_H
#define VMLOAD_BENCH_STREAM_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define STREAM_PAGE 4096u

/* A record of the stream, without its RAM. */
typedef struct {
    uint32_t type;
    uint32_t section_id;
    uint32_t instance_id;
    uint32_t version_id;
    uint64_t offset;
    uint64_t payload_offset;
    uint64_t payload_length;
    char *idstr; /* NULL: not a section */
} StreamRecord;

/*
 * @ram_at: where page sections may be put in: behind the block list.
 * @block, @block_length: the largest block.
 * @vmdesc_at: where the description starts; the end, if there is none.
 */
typedef struct {
    GByteArray *bytes;
    GArray *records; /* of StreamRecord */
    char *block;
    uint64_t block_length;
    uint32_t ram_id;
    uint64_t ram_at;
    uint64_t vmdesc_at;
} Stream;

/* @devices devices of @bytes payload each, or, with 0, of mixed sizes. */
Stream *stream_new_synthetic(uint64_t ram_bytes, uint32_t devices,
                             uint32_t bytes, GError **error);
/* A recorded one; its pages are taken as they are. */
Stream *stream_new_file(const char *path, GError **error);
void stream_free(Stream *stream);

bool stream_record_is_device(const StreamRecord *record);
/* The largest FULL section. */
const StreamRecord *stream_largest_device(const Stream *stream);
/* The first FULL section. */
const StreamRecord *stream_first_device(const Stream *stream);

/* One step of a delivery. */
typedef enum {
    STEP_BYTES,   /* bytes of the stream */
    STEP_RAM,     /* page sections with @length bytes of the largest block */
    STEP_PAUSE,   /* @us of silence */
    STEP_TRICKLE, /* bytes of the stream, @rate a second */
} StepKind;

typedef struct {
    StepKind kind;
    uint64_t offset;
    uint64_t length;
    uint64_t us;
    uint64_t rate;
} Step;

typedef struct {
    const Stream *stream;
    GArray *steps; /* of Step */
} Plan;

/* How a case of the benchmark is delivered; see docs/benchmarks.md. */
typedef struct {
    char name;
    uint64_t ram_bytes;
    uint64_t pause_us;
    uint64_t trickle_bytes;
    uint64_t trickle_rate;
} PlanOptions;

Plan *plan_new(const Stream *stream, const PlanOptions *options);
void plan_free(Plan *plan);

/* Delivers it; then waits until the peer has closed. False with errno. */
bool plan_send(const Plan *plan, int fd);
/* A page section at @page with @pages pages. */
void plan_make_ram(const Stream *stream, GByteArray *out, uint64_t page,
                   uint32_t pages);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads take the file's chunks in turn. Each reads its chunk, waits until
 * the one before has been walked, walks its own from the record that the
 * other ended in, lets the next one go on, and stores its pages. So reading
 * and storing go on side by side, while records are found and claimed in the
 * order of the stream, by the code that a single thread uses.
 *
 * Nothing is reported from here. Whatever is not a run ends it: the loading
 * thread goes on at that record, and says what it always says.
 */
#include "places.h"

#include "run.h"
#include "straight.h"

#include <string.h>

/* A chunk stays in the second-level cache until its pages are stored. */
#define PLACES_CHUNK ((uint64_t)256 * 1024)

/* More than a chunk has runs where there is something to store, usually. */
#define PLACES_RUNS 256

/* Most threads: each has a chunk in memory. */
#define PLACES_THREADS 8

/* So many bytes in order are read straight to their places instead. */
#define PLACES_STRAIGHT ((uint64_t)4 * 1024 * 1024)

/* What one record may need of the chunk before: all but its last byte. */
#define PLACES_PAGE_MAX ((uint64_t)64 * 1024)
#define PLACES_CARRY (PLACES_PAGE_MAX + 16)

/*
 * @mutex: leaf; guards next, turn, storing, stop; what is below belongs to
 *     whose turn it is. @cond: a turn has passed, or pages are
 *     stored.
 * @next: the chunk that is read next; @turn: that is walked next.
 * @storing: chunks that are walked but not stored.
 * @begin: file offset of chunk 0. @position: of the first record that is not
 *     loaded.
 * @carry: the bytes from there to the end of the last chunk.
 * @counted: file offset up to which the reader had counted bytes.
 */
typedef struct {
    VmloadRam *ram;
    VmloadReader *reader;
    VmloadRamBlock *block;
    GMutex mutex;
    GCond cond;
    uint64_t next;
    uint64_t turn;
    uint32_t storing;
    bool stop;
    uint64_t begin;
    uint64_t position;
    uint64_t counted;
    uint64_t n_carry;
    uint8_t carry[PLACES_CARRY];
} Places;

/*
 * One thread. @data: in @buffer, behind room for the carry of the chunk
 * before.
 */
typedef struct {
    VmloadJob job; /* first: it is what the pool has */
    Places *places;
    VmloadPrefaultCursor cursor;
    VmloadRamCounters count;
    VmloadRamRun runs[PLACES_RUNS];
    uint32_t n_runs;
    bool alone; /* nobody else stores pages that came before this chunk */
    uint8_t buffer[PLACES_CARRY + PLACES_CHUNK];
} Placer;

static void placer_store(Placer *self)
{
    Places *places = self->places;
    uint64_t page_size = vmload_ram_page_size(places->ram);
    uint32_t i;

    for (i = 0; i < self->n_runs; i++) {
        const VmloadRamRun *run = &self->runs[i];

        vmload_prefault_note(&places->ram->prefault, &self->cursor,
                             places->block, run->offset, run->n,
                             run->data == NULL, page_size);
        self->count.bytes_placed +=
            vmload_ram_run_place(places->ram, places->block, run) * page_size;
    }
    self->n_runs = 0;
}

static void placer_publish(Placer *self)
{
    vmload_ram_count(self->places->ram, self->count.pages_normal,
                     self->count.pages_zero, self->count.bytes_placed);
    memset(&self->count, 0, sizeof(self->count));
}

/* Pages that came before may still be stored by others, which need no turn. */
static void placer_settle(Placer *self)
{
    Places *places = self->places;

    if (self->alone) {
        return;
    }
    g_mutex_lock(&places->mutex);
    while (places->storing > 0) {
        g_cond_wait(&places->cond, &places->mutex);
    }
    g_mutex_unlock(&places->mutex);
    self->alone = true;
}

static void placer_add(Placer *self, const VmloadRamRun *run)
{
    *(run->data == NULL ? &self->count.pages_zero
                        : &self->count.pages_normal) += run->n;
    vmload_ram_note_straight(self->places->ram, self->places->block,
                             run->offset, run->n,
                             run->data != NULL && run->before == 0);
    if (run->before != 0) {
        placer_settle(self);
    }
    if (vmload_ram_run_is_void(self->places->block, run)) {
        return;
    }
    if (self->n_runs == PLACES_RUNS) {
        placer_store(self);
    }
    self->runs[self->n_runs++] = *run;
}

/* In turn: the runs of @length bytes at @data. Returns what they are. */
static uint64_t placer_walk(Placer *self, const uint8_t *data,
                            uint64_t length)
{
    Places *places = self->places;
    uint64_t done = 0;
    VmloadRamRun run;
    uint64_t used;

    while ((used = vmload_ram_run_take(places->ram, places->block,
                                       data + done, length - done, &run)) >
           0) {
        placer_add(self, &run);
        done += used;
    }
    return done;
}

/* Reads a chunk; less than all of it: there is no more, or it failed. */
static uint64_t placer_read(Placer *self, uint64_t chunk)
{
    const Places *places = self->places;
    uint64_t done = 0;

    while (done < PLACES_CHUNK) {
        struct iovec iov = {
            .iov_base = self->buffer + PLACES_CARRY + done,
            .iov_len = (size_t)(PLACES_CHUNK - done),
        };
        int64_t got = vmload_reader_peek_at(
            places->reader, &iov, 1,
            places->begin + chunk * PLACES_CHUNK + done, NULL);

        if (got <= 0) {
            break;
        }
        done += (uint64_t)got;
    }
    return done;
}

/*
 * Walks a chunk that has been read, behind what the one before has left of
 * its last record, and leaves its own. False: it ends here.
 */
static bool placer_take_turn(Placer *self, uint64_t length)
{
    Places *places = self->places;
    const uint8_t *data = self->buffer + PLACES_CARRY - places->n_carry;
    uint64_t page_size = vmload_ram_page_size(places->ram);
    uint64_t all = places->n_carry + length;
    uint64_t done;

    memcpy(self->buffer + PLACES_CARRY - places->n_carry, places->carry,
           places->n_carry);
    done = placer_walk(self, data, all);
    places->position += done;
    places->n_carry = all - done;
    if (places->position > places->counted) {
        vmload_reader_count(places->reader,
                            places->position - places->counted);
        places->counted = places->position;
    }
    /* A whole record is left, or the file has ended: not for us. */
    if (length < PLACES_CHUNK || places->n_carry >= 8 + page_size) {
        return false;
    }
    memcpy(places->carry, data + done, places->n_carry);
    return places->ram->straight_bytes < PLACES_STRAIGHT ||
           !places->block->starts_zero;
}

/* Waits for the turn of @chunk. False: it will not come. */
static bool placer_wait(Places *places, uint64_t chunk)
{
    bool stop;

    g_mutex_lock(&places->mutex);
    /* Those before read a file or store pages, and pass it on. */
    while (places->turn != chunk && !places->stop) {
        g_cond_wait(&places->cond, &places->mutex);
    }
    stop = places->stop;
    g_mutex_unlock(&places->mutex);
    return !stop;
}

static void placer_load(Placer *self, uint64_t chunk)
{
    Places *places = self->places;
    uint64_t length = placer_read(self, chunk);
    bool go_on;

    if (!placer_wait(places, chunk)) {
        return;
    }
    self->alone = false;
    go_on = placer_take_turn(self, length);
    g_mutex_lock(&places->mutex);
    places->turn++;
    places->storing++;
    places->stop = !go_on;
    g_cond_broadcast(&places->cond);
    g_mutex_unlock(&places->mutex);
    placer_store(self);
    placer_publish(self);
    g_mutex_lock(&places->mutex);
    places->storing--;
    g_cond_broadcast(&places->cond);
    g_mutex_unlock(&places->mutex);
}

static void placer_run(VmloadJob *job)
{
    Placer *self = (Placer *)job;
    Places *places = self->places;
    uint64_t chunk;
    bool stop;

    for (;;) {
        g_mutex_lock(&places->mutex);
        stop = places->stop;
        chunk = places->next++;
        g_mutex_unlock(&places->mutex);
        if (stop) {
            return;
        }
        placer_load(self, chunk);
    }
}

/* As many as there is memory for; NULL: none. */
static Placer *places_make(Places *places, uint32_t *n)
{
    Placer *placers = NULL;
    uint32_t i;

    for (; placers == NULL && *n > 1; *n = placers == NULL ? *n / 2 : *n) {
        placers = g_try_malloc_n(*n, sizeof(*placers));
    }
    for (i = 0; placers != NULL && i < *n; i++) {
        Placer *self = &placers[i];

        self->job.func = placer_run;
        self->places = places;
        self->n_runs = 0;
        memset(&self->cursor, 0, sizeof(self->cursor));
        memset(&self->count, 0, sizeof(self->count));
        self->cursor.inline_only = true;
    }
    return placers;
}

static void places_run(Places *places, VmloadPool *pool, uint32_t n)
{
    Placer *placers = places_make(places, &n);
    uint32_t i;

    for (i = 1; placers != NULL && i < n; i++) {
        vmload_pool_push(pool, &placers[i].job);
    }
    if (placers != NULL) {
        placer_run(&placers[0].job);
    }
    /* Joins the others, which have stopped too. */
    vmload_pool_free(pool);
    g_free(placers);
}

static bool places_suit(const VmloadRam *ram, const VmloadReader *reader)
{
    return ram->threads > 1 && ram->env.pool != NULL &&
           ram->last_block->sink->host != NULL &&
           vmload_ram_run_suits(ram->last_block) &&
           vmload_ram_page_size(ram) <= PLACES_PAGE_MAX &&
           vmload_reader_is_seekable(reader);
}

uint64_t vmload_places_load(VmloadRam *ram, VmloadReader *reader)
{
    uint32_t n = MIN(ram->threads, PLACES_THREADS);
    Places *places;
    VmloadPool *pool;
    uint64_t loaded;

    if (!places_suit(ram, reader)) {
        return UINT64_MAX;
    }
    places = g_try_new0(Places, 1);
    pool = places != NULL ? ram->env.pool(ram->env.opaque, "vmload-ram", n,
                                          NULL)
                          : NULL;
    if (pool == NULL) {
        g_free(places);
        return UINT64_MAX;
    }
    places->ram = ram;
    places->reader = reader;
    places->block = ram->last_block;
    places->begin = places->position = vmload_reader_get_position(reader);
    places->counted = vmload_reader_get_window_end(reader);
    g_mutex_init(&places->mutex);
    g_cond_init(&places->cond);
    places_run(places, pool, n);
    loaded = places->position - places->begin;
    vmload_reader_seek(reader, places->position);
    g_cond_clear(&places->cond);
    g_mutex_clear(&places->mutex);
    g_free(places);
    return loaded;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guess: that the next record is the next page, and the one behind it the
 * one behind that. Then each record's place in the file and each page's in
 * memory can be computed, and threads read pieces of 2 MiB to their places
 * without a copy, headers beside. Then they look whether the headers are
 * what was guessed. In turn, what was guessed right is claimed. What was not
 * goes back to zeros, which it was before: only pages of blocks that start as
 * zeros, and that never came, are read to. The order of the pieces matters
 * for nothing else, since no page is in two of them.
 *
 * A piece ends where a huge page of the memory does, so that two threads
 * never touch the same one for the first time.
 */
#include "straight.h"

#include "run.h"

#include <limits.h>
#include <string.h>

#define STRAIGHT_WORD ((uint64_t)8)
#define STRAIGHT_PIECE VMLOAD_PREFAULT_REGION

/* A header and a page need two of the IOV_MAX elements of a read. */
#define STRAIGHT_PAGES ((uint64_t)512)
G_STATIC_ASSERT(2 * STRAIGHT_PAGES <= IOV_MAX);

/* Most threads. */
#define STRAIGHT_THREADS 8

/*
 * @mutex: leaf; guards next, turn, stop, and what is done in turn. @cond: a
 *     turn has passed.
 * @next: the piece that is read next; @turn: that is claimed next.
 * @begin: file offset of the first record. @first: its page's in the block.
 * @pages: to the end of the block. @lead: of them before the second piece.
 * @each: pages of the others.
 * @counted: file offset up to which the reader had counted bytes.
 * @done: pages that are loaded.
 */
typedef struct {
    VmloadRam *ram;
    VmloadReader *reader;
    VmloadRamBlock *block;
    uint64_t begin;
    uint64_t first;
    uint64_t pages;
    uint64_t lead;
    uint64_t each;
    GMutex mutex;
    GCond cond;
    uint64_t next;
    uint64_t turn;
    bool stop;
    uint64_t counted;
    uint64_t done;
} Straight;

/* One thread. */
typedef struct {
    VmloadJob job; /* first: it is what the pool has */
    Straight *straight;
    uint64_t words[STRAIGHT_PAGES];
    struct iovec iov[2 * STRAIGHT_PAGES];
} Straighter;

/* Page @page of all, in the block. */
static uint64_t straight_offset(const Straight *straight, uint64_t page)
{
    return straight->first + (page << straight->ram->page_bits);
}

static uint64_t straight_record(const Straight *straight)
{
    return STRAIGHT_WORD + vmload_ram_page_size(straight->ram);
}

static void straighter_aim(Straighter *self, uint64_t from, uint64_t n)
{
    const Straight *straight = self->straight;
    uint64_t i;

    for (i = 0; i < n; i++) {
        self->iov[2 * i] = (struct iovec){&self->words[i], STRAIGHT_WORD};
        self->iov[2 * i + 1] = (struct iovec){
            straight->block->sink->host + straight_offset(straight, from + i),
            vmload_ram_page_size(straight->ram),
        };
    }
}

/* Takes @got bytes off the front of @iov. Returns how many are empty. */
static uint32_t iov_take(struct iovec *iov, uint64_t got)
{
    uint32_t i = 0;

    while (got > 0 && got >= iov[i].iov_len) {
        got -= iov[i].iov_len;
        i++;
    }
    if (got > 0) {
        iov[i].iov_base = (uint8_t *)iov[i].iov_base + got;
        iov[i].iov_len -= got;
    }
    return i;
}

/* Reads @n records from page @from on. Returns how many headers and pages. */
static uint32_t straighter_read(Straighter *self, uint64_t from, uint64_t n)
{
    const Straight *straight = self->straight;
    uint64_t record = straight_record(straight);
    uint32_t i_iov = 0;
    uint64_t done = 0;

    straighter_aim(self, from, n);
    while (done < n * record) {
        int64_t got = vmload_reader_peek_at(
            straight->reader, self->iov + i_iov, (uint32_t)(2 * n) - i_iov,
            straight->begin + from * record + done, NULL);

        if (got <= 0) {
            break;
        }
        i_iov += iov_take(self->iov + i_iov, (uint64_t)got);
        done += (uint64_t)got;
    }
    return i_iov;
}

/* How many of @n records are what was guessed. */
static uint64_t straighter_check(const Straighter *self, uint64_t from,
                                 uint64_t n)
{
    const Straight *straight = self->straight;
    uint64_t i;

    for (i = 0; i < n; i++) {
        if (GUINT64_FROM_BE(self->words[i]) !=
            (straight_offset(straight, from + i) | RAM_PAGE | RAM_CONTINUE)) {
            break;
        }
    }
    return i;
}

static void straight_claim(Straight *straight, uint64_t from, uint64_t n)
{
    uint64_t page =
        straight_offset(straight, from) >> straight->ram->page_bits;

    while (n > 0) {
        uint64_t bits = MIN(n, 64 - page % 64);

        vmload_ram_block_claim_word(straight->block, page / 64,
                                    (UINT64_MAX >> (64 - bits))
                                        << (page % 64));
        page += bits;
        n -= bits;
    }
}

static void straight_count(Straight *straight, uint64_t n)
{
    uint64_t page_size = vmload_ram_page_size(straight->ram);
    uint64_t position;

    straight->done += n;
    position = straight->begin + straight->done * straight_record(straight);
    if (position > straight->counted) {
        vmload_reader_count(straight->reader, position - straight->counted);
        straight->counted = position;
    }
    vmload_ram_count(straight->ram, n, 0, n * page_size);
}

/* In turn: @good of the piece's @n pages. Returns how many are loaded. */
static uint64_t straight_commit(Straight *straight, uint64_t piece,
                                uint64_t from, uint64_t n, uint64_t good)
{
    g_mutex_lock(&straight->mutex);
    /* Those before read a file, and pass it on. */
    while (straight->turn != piece && !straight->stop) {
        g_cond_wait(&straight->cond, &straight->mutex);
    }
    if (straight->stop) {
        good = 0;
    } else {
        straight_claim(straight, from, good);
        straight_count(straight, good);
        straight->turn++;
        straight->stop = good < n;
        g_cond_broadcast(&straight->cond);
    }
    g_mutex_unlock(&straight->mutex);
    return good;
}

static void straighter_load(Straighter *self, uint64_t piece, uint64_t from,
                            uint64_t n)
{
    Straight *straight = self->straight;
    uint64_t page_size = vmload_ram_page_size(straight->ram);
    uint64_t offset = straight_offset(straight, from);
    uint64_t touched = 0;
    uint64_t good = 0;
    uint32_t read;

    if (!vmload_claim_test_range(straight->block->claim, offset,
                                 n * page_size)) {
        read = straighter_read(self, from, n);
        /* Behind its header a page may be there in part. */
        touched = (read + 1) / 2;
        good = straighter_check(self, from, read / 2);
    }
    good = straight_commit(straight, piece, from, n, good);
    if (good < touched) {
        memset(straight->block->sink->host + offset + good * page_size, 0,
               (touched - good) * page_size);
    }
}

static void straighter_run(VmloadJob *job)
{
    Straighter *self = (Straighter *)job;
    Straight *straight = self->straight;

    for (;;) {
        uint64_t piece;
        uint64_t from;
        uint64_t to;
        bool stop;

        g_mutex_lock(&straight->mutex);
        piece = straight->next;
        from = piece == 0 ? 0
                          : straight->lead + (piece - 1) * straight->each;
        stop = straight->stop || from >= straight->pages;
        straight->next += stop ? 0 : 1;
        g_mutex_unlock(&straight->mutex);
        if (stop) {
            return;
        }
        to = MIN(straight->lead + piece * straight->each, straight->pages);
        straighter_load(self, piece, from, to - from);
    }
}

static void straight_run(Straight *straight, VmloadPool *pool,
                         Straighter *threads, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        threads[i].job.func = straighter_run;
        threads[i].straight = straight;
        if (i > 0) {
            vmload_pool_push(pool, &threads[i].job);
        }
    }
    straighter_run(&threads[0].job);
    /* Joins the others, which have stopped too. */
    vmload_pool_free(pool);
}

static bool straight_suits(const VmloadRam *ram, const VmloadReader *reader)
{
    return ram->threads > 1 && ram->env.pool != NULL && !ram->fixed &&
           ram->last_block->starts_zero &&
           ram->last_block->sink->host != NULL &&
           vmload_ram_run_suits(ram->last_block) &&
           vmload_ram_page_size(ram) <= STRAIGHT_PIECE &&
           vmload_reader_is_seekable(reader);
}

/* False: the block ends here. */
static bool straight_prepare(Straight *straight, VmloadRam *ram,
                             VmloadReader *reader, uint64_t first)
{
    VmloadRamBlock *block = ram->last_block;
    uint64_t address = (uint64_t)(uintptr_t)block->sink->host + first;

    if (first >= block->length) {
        return false;
    }
    straight->ram = ram;
    straight->reader = reader;
    straight->block = block;
    straight->begin = vmload_reader_get_position(reader);
    straight->counted = vmload_reader_get_window_end(reader);
    straight->first = first;
    straight->pages = (block->length - first) >> ram->page_bits;
    straight->each = MIN(STRAIGHT_PIECE >> ram->page_bits, STRAIGHT_PAGES);
    straight->lead = (STRAIGHT_PIECE - address % STRAIGHT_PIECE) >>
                     ram->page_bits;
    straight->lead = CLAMP(straight->lead, 1, straight->each);
    return straight->pages > straight->lead;
}

uint64_t vmload_straight_load(VmloadRam *ram, VmloadReader *reader,
                              uint64_t first)
{
    uint32_t n = MIN(ram->threads, STRAIGHT_THREADS);
    Straight straight = {.ram = NULL};
    Straighter *threads;
    VmloadPool *pool;

    if (!straight_suits(ram, reader) ||
        !straight_prepare(&straight, ram, reader, first)) {
        return UINT64_MAX;
    }
    threads = g_try_malloc_n(n, sizeof(*threads));
    pool = threads != NULL ? ram->env.pool(ram->env.opaque, "vmload-ram", n,
                                           NULL)
                           : NULL;
    if (pool == NULL) {
        g_free(threads);
        return UINT64_MAX;
    }
    g_mutex_init(&straight.mutex);
    g_cond_init(&straight.cond);
    straight_run(&straight, pool, threads, n);
    vmload_reader_seek(reader, straight.begin +
                                   straight.done * straight_record(&straight));
    g_cond_clear(&straight.cond);
    g_mutex_clear(&straight.mutex);
    g_free(threads);
    return straight.done * straight_record(&straight);
}

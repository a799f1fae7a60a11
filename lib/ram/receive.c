/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guess of straight.c where bytes come once and in order: each call reads
 * the next headers and pages to their places, as much as there is. What was
 * guessed wrong is given back to the reader and its pages are zeros again.
 */
#include "receive.h"

#include "run.h"

#include <string.h>

#define RECEIVE_WORD ((uint64_t)8)

/* With their headers they fit in the reader's buffer, to be given back. */
#define RECEIVE_PAGES ((uint64_t)63)

/*
 * @next: the page of the first record, in the block. @n: records that are
 * aimed at. @part: bytes that are there, from the first record on.
 */
typedef struct {
    VmloadRam *ram;
    VmloadReader *reader;
    VmloadRamBlock *block;
    uint64_t record;
    uint64_t next;
    uint64_t n;
    uint64_t part;
    uint64_t words[RECEIVE_PAGES];
    struct iovec iov[2 * RECEIVE_PAGES];
} Receive;

static void receive_aim_at(Receive *self)
{
    uint64_t page_size = vmload_ram_page_size(self->ram);
    uint64_t i;

    for (i = 0; i < self->n; i++) {
        self->iov[2 * i] = (struct iovec){&self->words[i], RECEIVE_WORD};
        self->iov[2 * i + 1] = (struct iovec){
            self->block->sink->host + self->next + i * page_size, page_size};
    }
}

/* The next pages. False: there are none, or they came before. */
static bool receive_aim(Receive *self)
{
    const VmloadRam *ram = self->ram;
    uint64_t left =
        (self->block->length - self->next) >> ram->page_bits;

    self->n = MIN(left, MIN(RECEIVE_PAGES,
                            VMLOAD_READER_BUFFER / self->record));
    if (self->n == 0 ||
        vmload_claim_test_range(self->block->claim, self->next,
                                self->n << ram->page_bits)) {
        return false;
    }
    receive_aim_at(self);
    return true;
}

/*
 * What the reader has of the next record goes to its place, too. False: it
 * has all of it, and knew better.
 */
static bool receive_window(Receive *self)
{
    uint64_t length;
    const uint8_t *data = vmload_reader_window(self->reader, &length);
    uint64_t left = length;
    uint32_t i;

    if (length >= self->record) {
        return false;
    }
    for (i = 0; left > 0; i++) {
        uint64_t n = MIN(left, self->iov[i].iov_len);

        memcpy(self->iov[i].iov_base, data, n);
        data += n;
        left -= n;
    }
    vmload_reader_consume(self->reader, length);
    self->part = length;
    return true;
}

/*
 * One read of what is missing; the window is empty. False: the end, or an
 * error, which is sticky.
 */
static bool receive_more(Receive *self)
{
    uint32_t n = (uint32_t)(2 * self->n);
    uint64_t gone = self->part;
    struct iovec first;
    uint64_t got = 0;
    uint32_t i = 0;
    bool ok;

    while (gone >= self->iov[i].iov_len) {
        gone -= self->iov[i].iov_len;
        i++;
    }
    first = self->iov[i];
    self->iov[i].iov_base = (uint8_t *)first.iov_base + gone;
    self->iov[i].iov_len -= gone;
    ok = vmload_reader_receive(self->reader, &self->iov[i], n - i, &got,
                               NULL);
    self->iov[i] = first;
    self->part += got;
    return ok && got > 0;
}

/* How many records are there to their end and are what was guessed. */
static uint64_t receive_check(const Receive *self, bool *wrong)
{
    uint64_t full = self->part / self->record;
    /* A header may be there without its page. */
    uint64_t words = full + (self->part % self->record >= RECEIVE_WORD);
    uint64_t i;

    for (i = 0; i < words; i++) {
        if (GUINT64_FROM_BE(self->words[i]) !=
            ((self->next + (i << self->ram->page_bits)) | RAM_PAGE |
             RAM_CONTINUE)) {
            *wrong = true;
            return MIN(i, full);
        }
    }
    return full;
}

static void receive_commit(Receive *self, uint64_t good)
{
    uint64_t page_size = vmload_ram_page_size(self->ram);
    uint64_t left = good;

    while (left > 0) {
        uint64_t page = self->next >> self->ram->page_bits;
        uint64_t n = MIN(left, 64 - page % 64);

        vmload_ram_block_claim_word(self->block, page / 64,
                                    (UINT64_MAX >> (64 - n)) << (page % 64));
        vmload_prefault_note(&self->ram->prefault, &self->ram->cursor,
                             self->block, self->next, n, false, page_size);
        self->next += n * page_size;
        left -= n;
    }
    vmload_ram_count(self->ram, good, 0, good * page_size);
}

/* All behind the first @good records: to the reader, as if never taken. */
static void receive_give_back(Receive *self, uint64_t good)
{
    uint64_t left = self->part - good * self->record;
    uint32_t first = (uint32_t)(2 * good);
    uint32_t n = first;

    for (; left > 0; n++) {
        self->iov[n].iov_len = MIN(left, self->iov[n].iov_len);
        left -= self->iov[n].iov_len;
    }
    vmload_reader_give_back(self->reader, self->iov + first, n - first);
    while (n > first) {
        n--;
        if (n % 2 != 0) {
            memset(self->iov[n].iov_base, 0, self->iov[n].iov_len);
        }
    }
}

/* The last record of the piece may be there in part: it is the next first. */
static void receive_move(Receive *self, uint64_t good)
{
    self->words[0] = self->words[MIN(good, RECEIVE_PAGES - 1)];
    self->part -= good * self->record;
}

static void receive_run(Receive *self)
{
    bool wrong = false;
    bool more = true;
    uint64_t good;

    while (receive_aim(self)) {
        if (self->part == 0 && !receive_window(self)) {
            return;
        }
        /* Before each wait: another record may be all there is to come. */
        good = receive_check(self, &wrong);
        if (!wrong) {
            more = receive_more(self);
            good = receive_check(self, &wrong);
        }
        if (wrong || !more) {
            receive_give_back(self, good);
            receive_commit(self, good);
            return;
        }
        receive_commit(self, good);
        receive_move(self, good);
    }
    /* What follows has come before: a part of it has no place here. */
    self->n = 1;
    receive_aim_at(self);
    receive_give_back(self, 0);
}

void vmload_ram_receive(VmloadRam *ram, VmloadReader *reader, uint64_t first)
{
    uint64_t page_size = vmload_ram_page_size(ram);
    Receive *self;

    if (ram->fixed || !ram->last_block->starts_zero ||
        ram->last_block->sink->host == NULL ||
        first >= ram->last_block->length ||
        RECEIVE_WORD + page_size > VMLOAD_READER_BUFFER) {
        return;
    }
    self = g_try_new(Receive, 1);
    if (self == NULL) {
        return;
    }
    self->ram = ram;
    self->reader = reader;
    self->block = ram->last_block;
    self->record = RECEIVE_WORD + page_size;
    self->next = first;
    self->part = 0;
    receive_run(self);
    g_free(self);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One channel: a thread that reads packets and puts their pages where they
 * belong. It never takes the big lock, and shares nothing with other channels
 * but the claim maps, the counters and the barrier.
 */
#include "private.h"

#include "error.h"
#include "host/clock.h"
#include "ready.h"
#include "trace.h"

#include <string.h>
#include <unistd.h>

#define X64 "0x%" G_GINT64_MODIFIER "x"

void vmload_multifd_channel_free(VmloadMultifdChannel *self)
{
    if (self->method != NULL && self->method->close != NULL) {
        self->method->close(self->state);
    }
    if (self->wake_fd >= 0) {
        close(self->wake_fd);
    }
    vmload_channel_unref(self->channel);
    g_free(self->header);
    g_free(self->ahead);
    g_free(self->pages);
    g_free(self->scratch);
    g_clear_error(&self->early.error);
    g_free(self->input);
    g_free(self);
}

/* At least one byte, or 0 at the end; -1: error. */
static int64_t channel_read_some(VmloadMultifdChannel *self,
                                 const struct iovec *iov, uint32_t n,
                                 GError **error)
{
    VmloadMultifdCounters *counters = self->group->env.counters;
    int64_t got =
        vmload_channel_readv(self->channel, iov, n, &self->wait, error);
    uint64_t now;

    if (got > 0) {
        __atomic_fetch_add(&counters->bytes, (uint64_t)got, __ATOMIC_RELAXED);
        now = vmload_clock_ns();
        __atomic_store_n(&counters->last_byte_ns, now, __ATOMIC_RELAXED);
        __atomic_store_n(&self->last_byte_ns, now, __ATOMIC_RELAXED);
    }
    return got;
}

/* Takes @done bytes off the front of *@iov; returns what is left of them. */
static uint64_t iov_advance(struct iovec **iov, uint32_t *n, uint64_t done)
{
    while (*n > 0 && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        (*iov)++;
        (*n)--;
    }
    if (*n > 0) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
        done = 0;
    }
    return done;
}

bool vmload_multifd_channel_read(VmloadMultifdChannel *self,
                                 struct iovec *iov, uint32_t n,
                                 const char *what, GError **error)
{
    int64_t got;

    iov[n].iov_base = self->ahead;
    iov[n].iov_len = vmload_multifd_header_size(self->group->page_bits);
    while (n > 0) {
        got = channel_read_some(self, iov, n + 1, error);
        if (got < 0) {
            return false;
        }
        if (got == 0) {
            return vmload_fail(error, VMLOAD_ERROR_TRUNCATED,
                               "expected %s, found the end inside a packet",
                               what);
        }
        self->n_ahead = (uint32_t)iov_advance(&iov, &n, (uint64_t)got);
    }
    return true;
}

/* How long the header at hand is, as far as it is known. */
static bool channel_header_size(VmloadMultifdChannel *self, uint32_t have,
                                uint32_t *size, GError **error)
{
    uint32_t flags;

    *size = vmload_multifd_header_size(self->group->page_bits);
    if (have < MULTIFD_COMMON_SIZE) {
        return true;
    }
    if (!vmload_multifd_packet_check(self->header, &flags, error)) {
        return false;
    }
    if ((flags & MULTIFD_DEVICE_STATE) != 0) {
        *size = MULTIFD_DEVICE_SIZE;
    }
    return true;
}

/* The peer may cut a connection that it has no more use for. */
static bool channel_cut_is_end(VmloadMultifdChannel *self, GError **error)
{
    if (__atomic_load_n(&self->group->ending, __ATOMIC_ACQUIRE) == 0 ||
        error == NULL || !g_error_matches(*error, VMLOAD_ERROR,
                                          VMLOAD_ERROR_IO)) {
        return false;
    }
    g_clear_error(error);
    return true;
}

/* What came of the next header with the data is its beginning now. */
static uint32_t channel_turn_header(VmloadMultifdChannel *self)
{
    uint8_t *header = self->ahead;
    uint32_t have = self->n_ahead;

    self->ahead = self->header;
    self->header = header;
    self->n_ahead = 0;
    return have;
}

/* Reads a header of either layout. *@end: the channel ended in front of it. */
static bool channel_read_header(VmloadMultifdChannel *self, bool *end,
                                GError **error)
{
    uint32_t size;

    *end = false;
    self->n_header = channel_turn_header(self);
    while (channel_header_size(self, self->n_header, &size, error)) {
        uint32_t have = self->n_header;
        /*
         * The longer layout at once. What is read too much of device state
         * does not matter, since that is refused.
         */
        struct iovec iov = {.iov_base = self->header + have,
                            .iov_len = size - have};
        int64_t got;

        if (have >= size) {
            return true;
        }
        got = channel_read_some(self, &iov, 1, error);
        if (got < 0 && (have > 0 || !channel_cut_is_end(self, error))) {
            return false;
        }
        if (got <= 0) {
            *end = have == 0;
            return *end ||
                   vmload_fail(error, VMLOAD_ERROR_TRUNCATED,
                               "expected a header of %u bytes, found the end "
                               "after %u", size, have);
        }
        self->n_header += (uint32_t)got;
    }
    return false;
}

/* Offsets are in the block, at page boundaries, all of them. */
static bool channel_check_offsets(const VmloadMultifdChannel *self,
                                  const VmloadMultifdPacket *packet,
                                  const VmloadRamBlock *block, GError **error)
{
    uint64_t page_size = (uint64_t)1 << self->group->page_bits;
    uint64_t length = vmload_ram_block_get_length(block);
    uint32_t i;

    for (i = 0; i < packet->normal + packet->zero; i++) {
        uint64_t offset = vmload_multifd_packet_offset(packet, i);

        if (page_size > length || offset > length - page_size ||
            (offset & (page_size - 1)) != 0) {
            return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                               "field offset[%u]: expected that of a page in "
                               X64 " bytes, found " X64, i, length, offset);
        }
    }
    return true;
}

static VmloadRamBlock *channel_find_block(const VmloadMultifdChannel *self,
                                          const VmloadMultifdPacket *packet,
                                          GError **error)
{
    VmloadRamBlock *block =
        vmload_ram_find_block(self->group->env.ram, packet->idstr);
    char *name;

    if (block != NULL && block->list != 0 &&
        (block->flags & VMLOAD_RAM_IGNORED) == 0) {
        return block;
    }
    name = g_strescape(packet->idstr, NULL);
    if (block != NULL && block->list != 0) {
        vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                    "field ramblock: expected no page of an ignored block, "
                    "found '%s'", name);
    } else {
        vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                    "field ramblock: expected the name of a listed RAM block, "
                    "found '%s'", name);
    }
    g_free(name);
    return NULL;
}

/* Each channel keeps to the method of its first pages. */
static bool channel_check_method(VmloadMultifdChannel *self,
                                 const VmloadMultifdPacket *packet,
                                 GError **error)
{
    const VmloadMultifdMethod *method =
        vmload_multifd_method_find(packet->flags, error);
    void *state = NULL;

    if (method == NULL) {
        return false;
    }
    if (self->method == NULL) {
        if (method->open != NULL) {
            state = method->open(self->group->env.window_bytes, error);
            if (state == NULL) {
                return false;
            }
        }
        self->method = method;
        self->state = state;
    }
    return self->method == method ||
           vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                       "field flags: expected compression %s as before, found "
                       "%s", self->method->name, method->name);
}

static bool channel_load_zero(VmloadMultifdChannel *self,
                              const VmloadMultifdPacket *packet,
                              VmloadRamBlock *block, uint64_t *placed,
                              GError **error)
{
    uint64_t page_size = (uint64_t)1 << self->group->page_bits;
    uint32_t i;

    for (i = packet->normal; i < packet->normal + packet->zero; i++) {
        uint64_t offset = vmload_multifd_packet_offset(packet, i);
        bool before = vmload_ram_block_claim(block, offset);
        bool stored;

        if (!vmload_ram_block_zero(block, offset, page_size, before, &stored,
                                   error)) {
            return false;
        }
        *placed += stored ? page_size : 0;
    }
    return true;
}

/* How many pages from page @i of the packet on are one behind the other. */
static uint32_t channel_run(const VmloadMultifdPacket *packet, uint32_t i,
                            uint64_t page_size)
{
    uint64_t offset = vmload_multifd_packet_offset(packet, i);
    uint32_t run = 1;

    while (i + run < packet->normal &&
           vmload_multifd_packet_offset(packet, i + run) ==
               offset + run * page_size) {
        run++;
    }
    return run;
}

/*
 * Claims the packet's pages and lays out where in the block's memory they
 * go. Returns the number of runs.
 */
static uint32_t channel_lay_out(VmloadMultifdChannel *self,
                                const VmloadMultifdPacket *packet,
                                VmloadRamBlock *block)
{
    uint64_t page_size = (uint64_t)1 << self->group->page_bits;
    uint32_t n = 0;
    uint32_t run;
    uint32_t i;

    for (i = 0; i < packet->normal; i += run) {
        uint64_t offset = vmload_multifd_packet_offset(packet, i);

        run = channel_run(packet, i, page_size);
        vmload_ram_block_claim_run(block, offset, run);
        self->pages[n].iov_base = block->sink->host + offset;
        self->pages[n].iov_len = run * page_size;
        n++;
    }
    return n;
}

/* The packet's pages one behind the other in the channel's scratch. */
static bool channel_collect(VmloadMultifdChannel *self,
                            const VmloadMultifdPacket *packet, GError **error)
{
    struct iovec iov[2];

    if (vmload_ram_scratch(&self->scratch, MULTIFD_PACKET_BYTES, error) ==
        NULL) {
        return false;
    }
    iov[0].iov_base = self->scratch;
    iov[0].iov_len = (size_t)packet->normal << self->group->page_bits;
    return self->method->receive(self, self->state, packet, iov, 1, error);
}

/* The same where it has been tried early: what came of that. */
static bool channel_take_early(VmloadMultifdChannel *self, GError **error)
{
    self->early.pages = false;
    if (self->early.error == NULL) {
        return true;
    }
    g_propagate_error(error, g_steal_pointer(&self->early.error));
    return false;
}

static void channel_copy_runs(const VmloadMultifdChannel *self, uint32_t n)
{
    const uint8_t *data = self->scratch;
    uint32_t i;

    for (i = 0; i < n; i++) {
        memcpy(self->pages[i].iov_base, data, self->pages[i].iov_len);
        data += self->pages[i].iov_len;
    }
}

/* Straight into guest memory, unless it came early. */
static bool channel_load_memory(VmloadMultifdChannel *self,
                                const VmloadMultifdPacket *packet,
                                VmloadRamBlock *block, GError **error)
{
    bool early = self->early.pages;
    uint32_t n;

    if (early && !channel_take_early(self, error)) {
        return false;
    }
    vmload_multifd_make_ready(self->group->env.ram, block, packet);
    n = channel_lay_out(self, packet, block);
    if (early) {
        channel_copy_runs(self, n);
        return true;
    }
    return self->method->receive(self, self->state, packet, self->pages, n,
                                 error);
}

/* Through a buffer of the channel's, then run by run into the sink. */
static bool channel_load_sink(VmloadMultifdChannel *self,
                              const VmloadMultifdPacket *packet,
                              VmloadRamBlock *block, GError **error)
{
    uint64_t page_size = (uint64_t)1 << self->group->page_bits;
    uint32_t i;
    uint32_t run;

    if (!(self->early.pages ? channel_take_early(self, error)
                            : channel_collect(self, packet, error))) {
        return false;
    }
    for (i = 0; i < packet->normal; i += run) {
        uint64_t offset = vmload_multifd_packet_offset(packet, i);

        run = channel_run(packet, i, page_size);
        vmload_ram_block_claim_run(block, offset, run);
        if (!vmload_sink_store(block->sink, offset,
                               self->scratch + i * page_size, run * page_size,
                               error)) {
            return false;
        }
    }
    return true;
}

/*
 * Before the first barrier the block list may not be there yet; behind the
 * last one nobody would wait for a page.
 */
static bool channel_may_load(VmloadMultifdChannel *self, GError **error)
{
    if (self->syncs == 0) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "field flags: expected a SYNC packet before the "
                           "first pages, found pages");
    }
    if (__atomic_load_n(&self->group->ending, __ATOMIC_ACQUIRE) == 2) {
        return vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                           "expected no pages behind the end of RAM, found "
                           "some");
    }
    return true;
}

static bool channel_load_pages(VmloadMultifdChannel *self,
                               const VmloadMultifdPacket *packet,
                               GError **error)
{
    uint64_t page_size = (uint64_t)1 << self->group->page_bits;
    VmloadRamBlock *block;
    uint64_t placed = 0;
    bool ok;

    if (!channel_may_load(self, error) ||
        !channel_check_method(self, packet, error)) {
        return false;
    }
    block = channel_find_block(self, packet, error);
    if (block == NULL || !channel_check_offsets(self, packet, block, error) ||
        !channel_load_zero(self, packet, block, &placed, error)) {
        return false;
    }
    if (packet->normal > 0) {
        ok = block->sink->host != NULL
                 ? channel_load_memory(self, packet, block, error)
                 : channel_load_sink(self, packet, block, error);
        if (!ok) {
            return false;
        }
        placed += block->sink->discards ? 0 : packet->normal * page_size;
    }
    vmload_ram_count(self->group->env.ram, packet->normal, packet->zero,
                     placed);
    return true;
}

/* One packet whose header is there. */
static bool channel_load_packet(VmloadMultifdChannel *self, bool *sync,
                                GError **error)
{
    VmloadMultifdPacket packet;
    uint32_t flags;

    if (!vmload_multifd_packet_check(self->header, &flags, error)) {
        return false;
    }
    if ((flags & MULTIFD_DEVICE_STATE) != 0) {
        return vmload_multifd_packet_refuse(self->header, error);
    }
    if (!vmload_multifd_packet_parse(self->header, self->group->page_bits,
                                     &packet, error) ||
        (packet.normal + packet.zero > 0 &&
         !channel_load_pages(self, &packet, error))) {
        return false;
    }
    /* Old sources send pages in SYNC packets: those come first. */
    *sync = (packet.flags & MULTIFD_SYNC) != 0;
    return true;
}

/* The end between two packets: good once the source has come to RAM's end. */
static bool channel_ended(VmloadMultifdChannel *self, GError **error)
{
    VmloadMultifd *group = self->group;

    if (__atomic_load_n(&group->ending, __ATOMIC_ACQUIRE) == 0) {
        return vmload_fail(error, VMLOAD_ERROR_TRUNCATED,
                           "expected a packet, found the end before the end "
                           "of RAM");
    }
    g_mutex_lock(&group->lock);
    self->closed = true;
    g_mutex_unlock(&group->lock);
    vmload_multifd_raise(group->main_fd);
    return true;
}

/* Does it have pages that can be collected before they are due? */
static bool channel_suits_early(VmloadMultifdChannel *self,
                                VmloadMultifdPacket *packet)
{
    uint32_t flags;

    return vmload_multifd_packet_check(self->header, &flags, NULL) &&
           (flags & MULTIFD_DEVICE_STATE) == 0 &&
           vmload_multifd_packet_parse(self->header, self->group->page_bits,
                                       packet, NULL) &&
           packet->normal > 0 && channel_check_method(self, packet, NULL) &&
           vmload_ram_scratch(&self->scratch, MULTIFD_PACKET_BYTES, NULL) !=
               NULL;
}

/*
 * Rounds are short, and channels never come to a barrier together. So who is
 * there reads the next packet meanwhile, and unpacks it.
 */
static void channel_read_early(VmloadMultifdChannel *self)
{
    VmloadMultifdEarly *early = &self->early;
    VmloadMultifdPacket packet;

    early->header = true;
    if (channel_read_header(self, &early->end, &early->error) &&
        !early->end && !vmload_multifd_may_pass(self) &&
        channel_suits_early(self, &packet)) {
        early->pages = true;
        channel_collect(self, &packet, &early->error);
    }
}

/* The next header, which may have been read early. */
static bool channel_next(VmloadMultifdChannel *self, bool *end,
                         GError **error)
{
    VmloadMultifdEarly *early = &self->early;

    if (!early->header) {
        return channel_read_header(self, end, error);
    }
    early->header = false;
    *end = early->end;
    if (early->error == NULL || early->pages) {
        return true;
    }
    g_propagate_error(error, g_steal_pointer(&early->error));
    /* What was no end then may be one by now. */
    *end = self->n_header == 0 && channel_cut_is_end(self, error);
    return *end;
}

/* Memory whose size the target's page size decides. */
static bool channel_prepare(VmloadMultifdChannel *self, GError **error)
{
    uint32_t bits = self->group->page_bits;

    self->header = g_try_malloc0(vmload_multifd_header_size(bits));
    self->ahead = g_try_malloc0(vmload_multifd_header_size(bits));
    self->pages = g_try_malloc0_n(vmload_multifd_capacity(bits) + 1,
                                  sizeof(self->pages[0]));
    return (self->header != NULL && self->ahead != NULL &&
            self->pages != NULL) ||
           vmload_fail(error, VMLOAD_ERROR_LIMIT,
                       "no memory for the header of a packet");
}

/* At a barrier. False: the group stops. */
static bool channel_meet(VmloadMultifdChannel *self)
{
    vmload_multifd_arrive(self);
    if (!vmload_multifd_may_pass(self)) {
        channel_read_early(self);
    }
    return vmload_multifd_pass(self);
}

static bool channel_loop(VmloadMultifdChannel *self, GError **error)
{
    bool sync = false;
    bool end;

    if (!channel_prepare(self, error)) {
        return false;
    }
    while (channel_next(self, &end, error)) {
        if (end) {
            return channel_ended(self, error);
        }
        if (!channel_load_packet(self, &sync, error)) {
            return false;
        }
        self->packet++;
        __atomic_fetch_add(&self->group->env.counters->packets, 1,
                           __ATOMIC_RELAXED);
        if (sync && !channel_meet(self)) {
            return true;
        }
    }
    return false;
}

void *vmload_multifd_channel_thread(void *data)
{
    VmloadMultifdChannel *self = data;
    const VmloadMultifdEnv *env = &self->group->env;
    GError *error = NULL;

    VMLOAD_TRACE1(thread_start, self->thread_name);
    if (env->ops->thread_enter != NULL) {
        env->ops->thread_enter(env->opaque, self->thread_name);
    }
    if (!channel_loop(self, &error)) {
        g_prefix_error(&error, "channel 'multifd %u', packet %"
                       G_GUINT64_FORMAT ": ", self->id, self->packet);
        vmload_multifd_fail(self, error);
    }
    if (env->ops->thread_leave != NULL) {
        env->ops->thread_leave(env->opaque);
    }
    return NULL;
}

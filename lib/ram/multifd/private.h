/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this folder share: the group, and one channel of it. */
#ifndef VMLOAD_MULTIFD_PRIVATE_H
#define VMLOAD_MULTIFD_PRIVATE_H

#include "channel/handshake.h"
#include "method.h"
#include "multifd.h"
#include "packet.h"
#include "ram/private.h"

/*
 * What was read of the next packet while others had yet to come to a barrier:
 * no guest memory is touched for it, and what goes wrong is told in its turn.
 * @header: it has been read; the others mean something then.
 * @end: the channel's end was there instead.
 * @pages: so have its pages, into the channel's scratch.
 * @error: what came instead of the last of these.
 */
typedef struct {
    bool header;
    bool end;
    bool pages;
    GError *error;
} VmloadMultifdEarly;

/*
 * One channel. Under `group->lock`: syncs, closed. The rest belongs to its
 * thread; what is set before the thread starts may be read by any.
 */
struct VmloadMultifdChannel {
    VmloadMultifd *group;
    VmloadChannel *channel;
    uint32_t id;
    char thread_name[16];
    GThread *thread;
    int wake_fd; /* readable: look at the group again */

    uint64_t syncs; /* SYNC packets read */
    bool closed;    /* the peer ended it where that is no error */

    uint64_t last_byte_ns; /* atomic */

    VmloadWait wait; /* cancel only: the loading thread watches for stalls */
    uint64_t packet;     /* how many were read */
    uint8_t *header;     /* of the packet at hand */
    uint32_t n_header;   /* bytes of it that came */
    uint8_t *ahead;      /* of the next one, as far as it came with data */
    uint32_t n_ahead;    /* bytes of it */
    struct iovec *pages; /* where its pages go, runs merged, and one more */
    uint8_t *scratch;    /* pages that cannot go to their places at once */
    VmloadMultifdEarly early;
    uint8_t *input;      /* compressed bytes */
    const VmloadMultifdMethod *method; /* NULL: no pages yet */
    void *state;                       /* the method's */
};

/*
 * The group. @channels only grows, by the loading thread, until all threads
 * are joined; @n_channels is stored with release and loaded with acquire.
 */
struct VmloadMultifd {
    VmloadMultifdEnv env;
    uint32_t page_bits;
    VmloadMultifdChannel *channels[VMLOAD_MULTIFD_MAX];
    uint32_t n_channels; /* atomic */
    int main_fd;         /* readable: the loading thread shall look again */

    GMutex lock;     /* leaf; guards the group below */
    uint64_t reached; /* barriers that the loading thread has come to */
    uint64_t passed;  /* barriers that all may leave */
    bool stopping;
    GError *error; /* the first */
    char error_name[32];

    int ending; /* atomic: 1: the section END has begun; 2: it is over */

    /* Loading thread. */
    VmloadMultifdSync sync; /* AUTO until the first section is over */
    bool flushed;           /* MULTIFD_FLUSH in the section at hand */
};

/* Makes an eventfd of ours readable. */
void vmload_multifd_raise(int fd);

/* channel.c: the thread. */
void *vmload_multifd_channel_thread(void *data);
void vmload_multifd_channel_free(VmloadMultifdChannel *self);

/*
 * channel.c: reads all bytes of @iov, which changes and has room for one
 * element more: with the bytes comes what there is of the next header, since
 * a call costs more than that. @what names them.
 */
bool vmload_multifd_channel_read(VmloadMultifdChannel *self,
                                 struct iovec *iov, uint32_t n,
                                 const char *what, GError **error);

/*
 * sync.c: a channel has read a SYNC packet; is everybody else there; waits
 * until they are. False: the group stops.
 */
void vmload_multifd_arrive(VmloadMultifdChannel *self);
bool vmload_multifd_may_pass(VmloadMultifdChannel *self);
bool vmload_multifd_pass(VmloadMultifdChannel *self);

/* sync.c: the loading thread waits for all channels, then lets them go. */
bool vmload_multifd_barrier(VmloadMultifd *multifd, GError **error);

/* multifd.c: a channel failed. Takes @error. */
void vmload_multifd_fail(VmloadMultifdChannel *self, GError *error);
bool vmload_multifd_is_stopping(VmloadMultifd *multifd);

/* multifd.c: false with the first channel's error, if there is one. */
bool vmload_multifd_check(VmloadMultifd *multifd, GError **error);

static inline uint32_t vmload_multifd_count(const VmloadMultifd *multifd)
{
    return __atomic_load_n(&multifd->n_channels, __ATOMIC_ACQUIRE);
}

#endif

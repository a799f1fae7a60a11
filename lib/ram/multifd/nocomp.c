/* SPDX-License-Identifier: BSD-3-Clause */
/* Method "none": pages as they are, straight from the channel to memory. */
#include "private.h"

/* The field next_packet_size means nothing here. */
static bool nocomp_receive(VmloadMultifdChannel *channel,
                           void *state G_GNUC_UNUSED,
                           const VmloadMultifdPacket *packet G_GNUC_UNUSED,
                           struct iovec *pages, uint32_t n, GError **error)
{
    return vmload_multifd_channel_read(channel, pages, n, "pages", error);
}

const VmloadMultifdMethod vmload_multifd_nocomp = {
    .name = "none",
    .receive = nocomp_receive,
};

/* SPDX-License-Identifier: BSD-3-Clause */
#include "method.h"

#include "error.h"
#include "private.h"

#include <string.h>
#include <vmload/multifd.h>

/* QEMU's own bound for what a packet's pages can become. */
#define INPUT_MAX (2 * MULTIFD_PACKET_BYTES)

static const struct {
    uint32_t flag;
    const char *name;
    const VmloadMultifdMethod *method; /* NULL: refused */
} methods[] = {
    {0, "none", &vmload_multifd_nocomp},
#ifdef VMLOAD_HAVE_ZLIB
    {MULTIFD_ZLIB, "zlib", &vmload_multifd_zlib},
#else
    {MULTIFD_ZLIB, "zlib", NULL},
#endif
#ifdef VMLOAD_HAVE_ZSTD
    {MULTIFD_ZSTD, "zstd", &vmload_multifd_zstd},
#else
    {MULTIFD_ZSTD, "zstd", NULL},
#endif
    {MULTIFD_QPL, "qpl", NULL},
    {MULTIFD_UADK, "uadk", NULL},
    {MULTIFD_QATZIP, "qatzip", NULL},
};

const VmloadMultifdMethod *vmload_multifd_method_find(uint32_t flags,
                                                      GError **error)
{
    uint32_t flag = flags & MULTIFD_METHOD;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(methods); i++) {
        if (methods[i].flag == flag) {
            if (methods[i].method == NULL) {
                vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                            "field flags: this library, or this build of it, "
                            "has no multifd compression %s", methods[i].name);
            }
            return methods[i].method;
        }
    }
    vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                "field flags: expected one compression method, found 0x%x",
                flag);
    return NULL;
}

bool vmload_multifd_has_compression(const char *name)
{
    size_t i;

    g_return_val_if_fail(name != NULL, false);
    for (i = 0; i < G_N_ELEMENTS(methods); i++) {
        if (strcmp(methods[i].name, name) == 0) {
            return methods[i].method != NULL;
        }
    }
    return false;
}

const uint8_t *vmload_multifd_read_input(VmloadMultifdChannel *channel,
                                         const VmloadMultifdPacket *packet,
                                         GError **error)
{
    struct iovec iov[2];

    if (packet->size == 0 || packet->size > INPUT_MAX) {
        vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                    "field next_packet_size: expected 1 to %u, found %u",
                    INPUT_MAX, packet->size);
        return NULL;
    }
    if (vmload_ram_scratch(&channel->input, INPUT_MAX, error) == NULL) {
        return NULL;
    }
    iov[0].iov_base = channel->input;
    iov[0].iov_len = packet->size;
    return vmload_multifd_channel_read(channel, iov, 1, "compressed pages",
                                       error)
               ? channel->input
               : NULL;
}

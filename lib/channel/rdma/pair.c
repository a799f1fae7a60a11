/* SPDX-License-Identifier: BSD-3-Clause */
#include "pair.h"

#include "error.h"
#include "host/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* How long a source may take to connect its return path. */
#define BACK_US (5 * G_USEC_PER_SEC)

/* What a bad end may take to give memory back before the host hears of it. */
#define CLOSE_US 3000

VmloadRdmaPair *vmload_rdma_pair_new(VmloadRdmaListener *listener,
                                     GError **error)
{
    VmloadRdmaPair *pair = g_new0(VmloadRdmaPair, 1);
    size_t i;

    pair->listener = vmload_rdma_listener_ref(listener);
    pair->counters = &pair->own;
    pair->wake[0] = pair->wake[1] = -1;
    for (i = 0; i < G_N_ELEMENTS(pair->wake); i++) {
        pair->wake[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (pair->wake[i] < 0) {
            vmload_fail_errno(error, errno, "eventfd");
            vmload_rdma_pair_free(pair);
            return NULL;
        }
    }
    return pair;
}

/* The order in which nothing of the peer's can arrive too late. */
void vmload_rdma_pair_free(VmloadRdmaPair *pair)
{
    size_t i;

    vmload_rdma_listener_forget(pair->listener, pair);
    if (pair->main != NULL) {
        vmload_rdma_conn_stop(pair->main);
    }
    vmload_rdma_memory_free(pair->memory);
    vmload_rdma_conn_free(pair->back);
    vmload_rdma_conn_free(pair->main);
    g_clear_error(&pair->back_error);
    for (i = 0; i < G_N_ELEMENTS(pair->wake); i++) {
        if (pair->wake[i] >= 0) {
            close(pair->wake[i]);
        }
    }
    vmload_rdma_listener_unref(pair->listener);
    g_free(pair);
}

void vmload_rdma_pair_wake(const VmloadRdmaPair *pair, VmloadRdmaRole role)
{
    const uint64_t one = 1;
    ssize_t written = write(pair->wake[role], &one, sizeof(one));

    (void)written;
}

/* --- the channel ---------------------------------------------------------- */

/* From the message that is there; what it is from is free when it is read. */
static int64_t pair_copy(VmloadRdmaPair *pair, const struct iovec *iov,
                         uint32_t n)
{
    int64_t total = 0;
    uint32_t i;

    for (i = 0; i < n && pair->file.length > 0; i++) {
        uint32_t step = (uint32_t)MIN(iov[i].iov_len,
                                      (size_t)pair->file.length);

        if (step > 0) {
            memcpy(iov[i].iov_base, pair->file.data, step);
        }
        pair->file.data += step;
        pair->file.length -= step;
        total += step;
    }
    if (pair->file.length == 0) {
        pair->has_file = false;
        vmload_rdma_conn_release(pair->main);
    }
    return total;
}

static int64_t pair_readv(void *opaque, const struct iovec *iov, uint32_t n,
                          GError **error)
{
    VmloadRdmaPair *pair = opaque;
    int64_t result;

    while (!pair->has_file) {
        result = vmload_rdma_conn_receive(pair->main, &pair->file, error);
        if (result <= 0) {
            return result;
        }
        if (pair->file.type != VMLOAD_RDMA_FILE) {
            vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                        "expected RDMA message QEMU_FILE, found %s",
                        vmload_rdma_type_name(pair->file.type));
            return -1;
        }
        __atomic_fetch_add(&pair->counters->messages, 1, __ATOMIC_RELAXED);
        pair->has_file = pair->file.length > 0;
        if (!pair->has_file) {
            vmload_rdma_conn_release(pair->main);
        }
    }
    return pair_copy(pair, iov, n);
}

int64_t vmload_rdma_pair_identify(VmloadRdmaPair *pair, GError **error)
{
    static const uint8_t magic[] = {'Q', 'E', 'V', 'M'};
    const VmloadRdmaMessage *file = &pair->file;
    int64_t result =
        vmload_rdma_conn_receive(pair->main, &pair->file, error);

    if (result == 0) {
        vmload_fail(error, VMLOAD_ERROR_TRUNCATED,
                    "expected the beginning of a stream, found the end of "
                    "the connection");
        return -1;
    }
    if (result < 0) {
        return result;
    }
    if (file->type != VMLOAD_RDMA_FILE || file->length < sizeof(magic) ||
        memcmp(file->data, magic, sizeof(magic)) != 0) {
        vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                    "expected RDMA message QEMU_FILE and magic QEVM, found "
                    "%s with %u bytes", vmload_rdma_type_name(file->type),
                    file->length);
        return -1;
    }
    __atomic_fetch_add(&pair->counters->messages, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&pair->spoken, 1, __ATOMIC_RELEASE);
    pair->has_file = true;
    return 1;
}

/* The second connection, once it is there; NULL and -1: it will not come. */
static VmloadRdmaConn *pair_get_back(VmloadRdmaPair *pair, int64_t *result,
                                     GError **error)
{
    VmloadRdmaConn *back = __atomic_load_n(&pair->back, __ATOMIC_ACQUIRE);
    GError *failed = __atomic_load_n(&pair->back_error, __ATOMIC_ACQUIRE);
    int64_t now;

    *result = VMLOAD_CHANNEL_WOULD_BLOCK;
    if (back != NULL &&
        vmload_rdma_conn_get_state(back) != VMLOAD_RDMA_ACCEPTED) {
        return back;
    }
    now = g_get_monotonic_time();
    if (pair->back_deadline == 0) {
        pair->back_deadline = now + BACK_US;
    }
    if (failed != NULL) {
        g_propagate_error(error, g_error_copy(failed));
        *result = -1;
    } else if (now >= pair->back_deadline) {
        vmload_fail(error, VMLOAD_ERROR_TIMEOUT,
                    "expected the source's second connection, for the return "
                    "path, within %d ms, found none", (int)(BACK_US / 1000));
        *result = -1;
    }
    return NULL;
}

static int64_t pair_writev(void *opaque, const struct iovec *iov, uint32_t n,
                           GError **error)
{
    VmloadRdmaPair *pair = opaque;
    VmloadRdmaConn *back;
    uint8_t *buffer;
    uint32_t size;
    uint32_t total = 0;
    int64_t result;
    uint32_t i;

    back = pair_get_back(pair, &result, error);
    if (back == NULL) {
        return result;
    }
    result = vmload_rdma_conn_may_send(back, error);
    if (result < 0) {
        return result;
    }
    buffer = vmload_rdma_conn_get_buffer(back, &size);
    if (buffer == NULL) {
        return VMLOAD_CHANNEL_WOULD_BLOCK;
    }
    size = MIN(size - VMLOAD_RDMA_HEADER, VMLOAD_RDMA_FILE_MAX);
    for (i = 0; i < n && total < size; i++) {
        uint32_t step = (uint32_t)MIN(iov[i].iov_len, (size_t)(size - total));

        if (step > 0) {
            memcpy(buffer + VMLOAD_RDMA_HEADER + total, iov[i].iov_base, step);
        }
        total += step;
    }
    return vmload_rdma_conn_send(back, VMLOAD_RDMA_FILE, total, 0, error)
               ? (int64_t)total
               : -1;
}

static void drain_wake(int fd)
{
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof(count));

    (void)got;
}

/* Sleeps until something is up. @conn (nullable) is armed. */
static int32_t pair_poll(VmloadRdmaPair *pair, VmloadRdmaRole role,
                         VmloadRdmaConn *conn, int32_t cancel_fd,
                         int64_t deadline, GError **error)
{
    struct pollfd fds[] = {
        {.fd = vmload_rdma_listener_get_fd(pair->listener), .events = POLLIN},
        {.fd = pair->wake[role], .events = POLLIN},
        {.fd = conn != NULL ? vmload_rdma_conn_get_fd(conn) : -1,
         .events = POLLIN},
        {.fd = cancel_fd, .events = POLLIN},
    };
    uint64_t begin = vmload_clock_ns();
    int polled = vmload_poll(fds, G_N_ELEMENTS(fds), deadline);

    __atomic_fetch_add(&pair->counters->waits, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&pair->counters->wait_ns, vmload_clock_ns() - begin,
                       __ATOMIC_RELAXED);
    if (polled < 0) {
        vmload_fail_errno(error, errno, "poll");
        return -1;
    }
    if (fds[0].revents != 0 &&
        !vmload_rdma_listener_dispatch(pair->listener, error)) {
        return -1;
    }
    if (role == VMLOAD_RDMA_MAIN) {
        vmload_rdma_listener_report(pair->listener, pair);
    }
    if (fds[1].revents != 0) {
        drain_wake(pair->wake[role]);
    }
    if (fds[2].revents != 0) {
        vmload_rdma_conn_take_events(conn);
    }
    return fds[0].revents != 0 || fds[1].revents != 0 || fds[2].revents != 0;
}

static int32_t pair_wait(void *opaque, uint32_t direction, int32_t cancel_fd,
                         int64_t deadline, GError **error)
{
    VmloadRdmaPair *pair = opaque;
    VmloadRdmaRole role = direction == VMLOAD_DIRECTION_WRITE
                              ? VMLOAD_RDMA_BACK
                              : VMLOAD_RDMA_MAIN;
    VmloadRdmaConn *conn = role == VMLOAD_RDMA_BACK
                               ? __atomic_load_n(&pair->back, __ATOMIC_ACQUIRE)
                               : pair->main;

    if (conn != NULL && !vmload_rdma_conn_arm(conn)) {
        return 1;
    }
    if (role == VMLOAD_RDMA_BACK && pair->back_deadline != 0 &&
        (conn == NULL ||
         vmload_rdma_conn_get_state(conn) == VMLOAD_RDMA_ACCEPTED)) {
        deadline = deadline < 0 ? pair->back_deadline
                                : MIN(deadline, pair->back_deadline);
    }
    return pair_poll(pair, role, conn, cancel_fd, deadline, error);
}

/*
 * Wakes who waits in these directions; the channel has noted that they are
 * shut. Each direction is a connection of its own. The peer sees it when the
 * connections are closed, which is not for any thread.
 */
static bool pair_shutdown(void *opaque, uint32_t direction,
                          GError **error G_GNUC_UNUSED)
{
    const VmloadRdmaPair *pair = opaque;

    if ((direction & VMLOAD_DIRECTION_READ) != 0) {
        vmload_rdma_pair_wake(pair, VMLOAD_RDMA_MAIN);
    }
    if ((direction & VMLOAD_DIRECTION_WRITE) != 0) {
        vmload_rdma_pair_wake(pair, VMLOAD_RDMA_BACK);
    }
    return true;
}

/* --- the RAM side --------------------------------------------------------- */

static int64_t pair_serve(void *opaque, const VmloadPlacement *placement,
                          GError **error)
{
    VmloadRdmaPair *pair = opaque;

    if (pair->has_file) {
        vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                    "expected HOOK at the end of an RDMA message, found %u "
                    "bytes behind it", pair->file.length);
        return -1;
    }
    return vmload_rdma_serve(pair, placement, error);
}

/*
 * After a good end the source has nothing to write; its connection stays,
 * for what it has to read, and memory is closed. After a bad one the
 * connection goes, so that memory cannot be reached; giving much of it back
 * would take longer than a cancel may.
 */
static void pair_end(void *opaque, bool loaded)
{
    VmloadRdmaPair *pair = opaque;

    if (!loaded) {
        vmload_rdma_conn_stop(pair->main);
    }
    /* Its helpers are joined in pair_release(): that too takes its time. */
    if (pair->memory != NULL) {
        (void)vmload_rdma_memory_close(
            pair->memory, loaded ? -1 : g_get_monotonic_time() + CLOSE_US);
    }
}

static void pair_release(void *opaque)
{
    VmloadRdmaPair *pair = opaque;

    vmload_rdma_memory_free(g_steal_pointer(&pair->memory));
    vmload_rdma_listener_report(pair->listener, pair);
    pair->refused = NULL;
}

/* Has the source heard that we have failed? */
static bool conn_is_told(VmloadRdmaConn *conn)
{
    vmload_rdma_conn_send_error(conn);
    return vmload_rdma_conn_is_drained(conn);
}

static uint32_t pair_bye(void *opaque, bool loaded)
{
    VmloadRdmaPair *pair = opaque;
    VmloadRdmaConn *back = __atomic_load_n(&pair->back, __ATOMIC_ACQUIRE);

    if (!loaded && !conn_is_told(pair->main)) {
        return VMLOAD_DIRECTION_READ;
    }
    if (!loaded && back != NULL && !conn_is_told(back)) {
        return VMLOAD_DIRECTION_WRITE;
    }
    /* Without a return path the source waits for no word of ours. */
    if (loaded && back != NULL &&
        vmload_rdma_conn_get_state(back) < VMLOAD_RDMA_CLOSED) {
        return VMLOAD_DIRECTION_WRITE;
    }
    return 0;
}

static void pair_count(void *opaque, VmloadPlacementCounters *counters)
{
    VmloadRdmaPair *pair = opaque;

    /* What came before anybody counted. */
    __atomic_fetch_add(&counters->messages, pair->counters->messages,
                       __ATOMIC_RELAXED);
    pair->counters = counters;
}

static void pair_destroy(void *opaque)
{
    vmload_rdma_pair_free(opaque);
}

VmloadChannel *vmload_rdma_pair_make_channel(VmloadRdmaPair *pair,
                                             GError **error)
{
    static const VmloadChannelOps ops = {
        VMLOAD_CHANNEL_OPS_INIT,
        .readv = pair_readv,
        .writev = pair_writev,
        .wait = pair_wait,
        .shutdown = pair_shutdown,
    };
    static const VmloadPlacementOps ram_ops = {
        .serve = pair_serve,
        .end = pair_end,
        .release = pair_release,
        .bye = pair_bye,
        .count = pair_count,
    };
    VmloadChannel *channel =
        vmload_channel_new_from_ops(&ops, pair, pair_destroy, error);

    if (channel != NULL) {
        vmload_channel_set_placement(channel, &ram_ops);
    }
    return channel;
}

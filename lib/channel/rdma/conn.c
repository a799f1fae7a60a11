/* SPDX-License-Identifier: BSD-3-Clause */
#include "conn.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * A peer sends one message per credit, and ERROR without one: two receives.
 * The second is posted before the first message's credit is given.
 */
#define N_RECEIVES 2

/* Small: a side has one message on its way, a credit and maybe ERROR. */
#define SEND_DEPTH 16
#define QUEUE_DEPTH 32

/* What the return path's peer sends: READY and ERROR, without data. */
#define BACK_RECEIVE 4096

/* Where messages of ours lie in the send buffer, and their work requests. */
enum {
    SLOT_READY,
    SLOT_ERROR,
    SLOT_DATA,
    N_SLOTS,
};
#define SLOT_SIZE 64
#define DATA_OFFSET ((uint32_t)SLOT_SIZE * SLOT_DATA)

/* Work requests: a slot that is sent, or this and a receive buffer. */
#define WRID_RECEIVE 0x100

/* Memory that the device reads or writes. */
typedef struct {
    uint8_t *data;
    size_t size;
    struct ibv_mr *mr;
} Buffer;

/* A message that came, not looked at yet. */
typedef struct {
    uint32_t index;
    uint32_t length;
} Received;

struct VmloadRdmaConn {
    struct rdma_cm_id *id;
    VmloadRdmaRole role;
    uint32_t flags;
    int state; /* atomic: VmloadRdmaState */
    struct ibv_pd *pd;
    struct ibv_comp_channel *events;
    struct ibv_cq *cq;
    Buffer receive;
    Buffer send;
    uint32_t receive_size; /* of each of the receives */

    GMutex lock; /* leaf: guards what follows */
    bool stopped;
    bool credit;      /* main: we gave one; back: we have one */
    bool flushed;     /* the queue pair is in its error state */
    bool peer_failed; /* it sent ERROR */
    bool told;        /* we sent ERROR */
    GError *failed;   /* what a completion said; NULL: nothing bad */
    uint32_t sending[N_SLOTS];
    Received received[N_RECEIVES];
    uint32_t n_received;
    int held; /* receive buffer that the user looks at; -1: none */
    bool lent[N_RECEIVES]; /* posted */
};

/* --- making and freeing --------------------------------------------------- */

/* What memory that cannot be pinned means to people. */
static bool fail_pin(GError **error, int errnum, size_t size)
{
    struct rlimit limit = {0};

    if (errnum == ENOMEM && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY) {
        return vmload_fail(error, VMLOAD_ERROR_IO,
                           "RDMA: cannot pin a buffer of %zu bytes: %s; raise "
                           "RLIMIT_MEMLOCK (ulimit -l), which is %"
                           G_GUINT64_FORMAT " bytes", size, g_strerror(errnum),
                           (uint64_t)limit.rlim_cur);
    }
    return vmload_fail_errno(error, errnum,
                             "RDMA: cannot pin a buffer of %zu bytes", size);
}

static bool buffer_make(Buffer *buffer, struct ibv_pd *pd, size_t size,
                        unsigned int access, GError **error)
{
    /* Pages of its own: what is pinned is not shared with the heap. */
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (data == MAP_FAILED) {
        return vmload_fail_errno(error, errno,
                                 "RDMA: no memory for %zu bytes", size);
    }
    buffer->data = data;
    buffer->size = size;
    buffer->mr = ibv_reg_mr(pd, data, size, access);
    return buffer->mr != NULL || fail_pin(error, errno, size);
}

static void buffer_clear(Buffer *buffer)
{
    if (buffer->mr != NULL) {
        ibv_dereg_mr(buffer->mr);
    }
    if (buffer->data != NULL) {
        munmap(buffer->data, buffer->size);
    }
    memset(buffer, 0, sizeof(*buffer));
}

static bool set_nonblocking(int fd, GError **error)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return vmload_fail_errno(error, errno, "RDMA: O_NONBLOCK");
    }
    return true;
}

static bool conn_make_queues(VmloadRdmaConn *conn, GError **error)
{
    struct ibv_context *verbs = conn->id->verbs;
    struct ibv_qp_init_attr attr = {
        .qp_type = IBV_QPT_RC,
        .cap = {
            .max_send_wr = SEND_DEPTH,
            .max_recv_wr = N_RECEIVES,
            .max_send_sge = 1,
            .max_recv_sge = 1,
        },
    };

    conn->pd = ibv_alloc_pd(verbs);
    if (conn->pd == NULL) {
        return vmload_fail_errno(error, errno, "ibv_alloc_pd");
    }
    conn->events = ibv_create_comp_channel(verbs);
    if (conn->events == NULL) {
        return vmload_fail_errno(error, errno, "ibv_create_comp_channel");
    }
    if (!set_nonblocking(conn->events->fd, error)) {
        return false;
    }
    conn->cq = ibv_create_cq(verbs, QUEUE_DEPTH, NULL, conn->events, 0);
    if (conn->cq == NULL) {
        return vmload_fail_errno(error, errno, "ibv_create_cq");
    }
    attr.send_cq = conn->cq;
    attr.recv_cq = conn->cq;
    if (rdma_create_qp(conn->id, conn->pd, &attr) != 0) {
        return vmload_fail_errno(error, errno, "rdma_create_qp");
    }
    return true;
}

static bool conn_make_buffers(VmloadRdmaConn *conn, GError **error)
{
    bool main = conn->role == VMLOAD_RDMA_MAIN;
    size_t data = main ? VMLOAD_RDMA_MESSAGE_MAX
                       : VMLOAD_RDMA_HEADER + VMLOAD_RDMA_FILE_MAX;

    conn->receive_size = main ? VMLOAD_RDMA_MESSAGE_MAX : BACK_RECEIVE;
    if (!buffer_make(&conn->receive, conn->pd,
                     (size_t)N_RECEIVES * conn->receive_size,
                     IBV_ACCESS_LOCAL_WRITE, error) ||
        !buffer_make(&conn->send, conn->pd, DATA_OFFSET + data, 0, error)) {
        return false;
    }
    vmload_rdma_put_header(conn->send.data + SLOT_SIZE * SLOT_READY,
                           VMLOAD_RDMA_READY, 0, 1);
    vmload_rdma_put_header(conn->send.data + SLOT_SIZE * SLOT_ERROR,
                           VMLOAD_RDMA_ERROR, 0, 1);
    return true;
}

/* Posts every receive that is neither posted nor held. */
static bool conn_post_receives(VmloadRdmaConn *conn, GError **error)
{
    uint32_t i;

    for (i = 0; i < N_RECEIVES; i++) {
        struct ibv_sge sge = {
            .addr = (uintptr_t)conn->receive.data +
                    (uint64_t)i * conn->receive_size,
            .length = conn->receive_size,
            .lkey = conn->receive.mr->lkey,
        };
        struct ibv_recv_wr wr = {
            .wr_id = WRID_RECEIVE + i, .sg_list = &sge, .num_sge = 1};
        struct ibv_recv_wr *bad;
        int errnum;

        if (conn->lent[i] || conn->held == (int)i) {
            continue;
        }
        errnum = ibv_post_recv(conn->id->qp, &wr, &bad);
        if (errnum != 0) {
            return vmload_fail_errno(error, abs(errnum), "ibv_post_recv");
        }
        conn->lent[i] = true;
    }
    return true;
}

static bool conn_accept(VmloadRdmaConn *conn, GError **error)
{
    uint8_t private[VMLOAD_RDMA_PRIVATE_SIZE];
    struct rdma_conn_param param = {
        .private_data = private,
        .private_data_len = sizeof(private),
        .responder_resources = 2,
        /* Endless: a message that comes too early kills nothing. */
        .rnr_retry_count = 7,
    };

    vmload_rdma_private_put(private, conn->flags);
    if (rdma_accept(conn->id, &param) != 0) {
        return vmload_fail_errno(error, errno, "rdma_accept");
    }
    return true;
}

VmloadRdmaConn *vmload_rdma_conn_accept(struct rdma_cm_id *id,
                                        VmloadRdmaRole role, uint32_t flags,
                                        GError **error)
{
    VmloadRdmaConn *conn = g_new0(VmloadRdmaConn, 1);

    conn->id = id;
    conn->role = role;
    conn->flags = flags;
    conn->held = -1;
    g_mutex_init(&conn->lock);
    if (conn_make_queues(conn, error) && conn_make_buffers(conn, error) &&
        conn_post_receives(conn, error) && conn_accept(conn, error)) {
        return conn;
    }
    conn->stopped = true;
    if (id->qp != NULL) {
        rdma_destroy_qp(id);
    }
    conn->id = NULL;
    vmload_rdma_conn_free(conn);
    return NULL;
}

void vmload_rdma_conn_stop(VmloadRdmaConn *conn)
{
    g_mutex_lock(&conn->lock);
    if (!conn->stopped) {
        conn->stopped = true;
        /* Fails if the peer was faster; the queue pair goes all the same. */
        (void)rdma_disconnect(conn->id);
        rdma_destroy_qp(conn->id);
    }
    g_mutex_unlock(&conn->lock);
}

void vmload_rdma_conn_free(VmloadRdmaConn *conn)
{
    if (conn == NULL) {
        return;
    }
    vmload_rdma_conn_stop(conn);
    buffer_clear(&conn->receive);
    buffer_clear(&conn->send);
    if (conn->cq != NULL) {
        ibv_destroy_cq(conn->cq);
    }
    if (conn->events != NULL) {
        ibv_destroy_comp_channel(conn->events);
    }
    if (conn->pd != NULL) {
        ibv_dealloc_pd(conn->pd);
    }
    if (conn->id != NULL) {
        rdma_destroy_id(conn->id);
    }
    g_clear_error(&conn->failed);
    g_mutex_clear(&conn->lock);
    g_free(conn);
}

struct rdma_cm_id *vmload_rdma_conn_get_id(const VmloadRdmaConn *conn)
{
    return conn->id;
}

struct ibv_pd *vmload_rdma_conn_get_pd(const VmloadRdmaConn *conn)
{
    return conn->pd;
}

bool vmload_rdma_conn_is_pinned(const VmloadRdmaConn *conn)
{
    return (conn->flags & VMLOAD_RDMA_PIN_ALL) != 0;
}

void vmload_rdma_conn_set_state(VmloadRdmaConn *conn, VmloadRdmaState state)
{
    int before = __atomic_load_n(&conn->state, __ATOMIC_ACQUIRE);

    while (before < (int)state &&
           !__atomic_compare_exchange_n(&conn->state, &before, (int)state,
                                        false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
    }
}

VmloadRdmaState vmload_rdma_conn_get_state(const VmloadRdmaConn *conn)
{
    return (VmloadRdmaState)__atomic_load_n(&conn->state, __ATOMIC_ACQUIRE);
}

/* --- completions ---------------------------------------------------------- */

/* Something went wrong with a work request. The first cause is kept. */
static void conn_note_status(VmloadRdmaConn *conn, const struct ibv_wc *wc)
{
    const char *what = wc->wr_id >= WRID_RECEIVE ? "receive" : "send";

    conn->flushed = true;
    /* Those behind the first, and all when the peer has left. */
    if (wc->status == IBV_WC_WR_FLUSH_ERR || conn->failed != NULL) {
        return;
    }
    switch (wc->status) {
    case IBV_WC_RETRY_EXC_ERR:
    case IBV_WC_RNR_RETRY_EXC_ERR:
        vmload_fail(&conn->failed, VMLOAD_ERROR_IO,
                    "RDMA %s: the source does not answer (%s)", what,
                    ibv_wc_status_str(wc->status));
        break;
    case IBV_WC_LOC_LEN_ERR:
        vmload_fail(&conn->failed, VMLOAD_ERROR_MALFORMED,
                    "RDMA %s: expected a message of at most %u bytes, found a "
                    "longer one", what, conn->receive_size);
        break;
    default:
        vmload_fail(&conn->failed, VMLOAD_ERROR_IO,
                    "RDMA %s failed: %s (vendor's code 0x%x)", what,
                    ibv_wc_status_str(wc->status), wc->vendor_err);
        break;
    }
}

static void conn_note_completion(VmloadRdmaConn *conn,
                                 const struct ibv_wc *wc)
{
    uint64_t id = wc->wr_id;
    uint64_t index = id - WRID_RECEIVE;

    if (id < N_SLOTS) {
        conn->sending[id] -= conn->sending[id] > 0 ? 1 : 0;
    }
    if (wc->status != IBV_WC_SUCCESS) {
        conn_note_status(conn, wc);
        return;
    }
    if (id >= WRID_RECEIVE && index < N_RECEIVES && conn->lent[index] &&
        conn->n_received < N_RECEIVES) {
        conn->lent[index] = false;
        conn->received[conn->n_received].index = (uint32_t)index;
        conn->received[conn->n_received].length = wc->byte_len;
        conn->n_received++;
    }
}

/* Takes in all completions there are. With the lock. True: some came. */
static bool conn_poll(VmloadRdmaConn *conn)
{
    struct ibv_wc wc[8];
    bool any = false;
    int n;
    int i;

    do {
        n = ibv_poll_cq(conn->cq, G_N_ELEMENTS(wc), wc);
        for (i = 0; i < n; i++) {
            conn_note_completion(conn, &wc[i]);
        }
        any = any || n != 0;
    } while (n > 0);
    if (n < 0 && conn->failed == NULL) {
        conn->flushed = true;
        vmload_fail(&conn->failed, VMLOAD_ERROR_IO, "ibv_poll_cq failed");
    }
    return any;
}

int vmload_rdma_conn_get_fd(const VmloadRdmaConn *conn)
{
    return conn->events->fd;
}

bool vmload_rdma_conn_arm(VmloadRdmaConn *conn)
{
    bool quiet;
    int errnum;

    g_mutex_lock(&conn->lock);
    errnum = conn->stopped ? EPIPE : ibv_req_notify_cq(conn->cq, 0);
    if (errnum != 0 && conn->failed == NULL) {
        conn->flushed = true;
        vmload_fail_errno(&conn->failed, abs(errnum), "ibv_req_notify_cq");
    }
    /* One may have come between the last look and the arming. */
    quiet = errnum == 0 && !conn_poll(conn);
    g_mutex_unlock(&conn->lock);
    return quiet;
}

void vmload_rdma_conn_take_events(VmloadRdmaConn *conn)
{
    struct ibv_cq *cq;
    void *context;
    unsigned int n = 0;

    /* The descriptor does not block. */
    while (ibv_get_cq_event(conn->events, &cq, &context) == 0) {
        n++;
    }
    if (n > 0) {
        ibv_ack_cq_events(conn->cq, n);
    }
}

/* --- messages ------------------------------------------------------------- */

/* With the lock. */
static bool conn_post(VmloadRdmaConn *conn, uint32_t slot, uint32_t length,
                      GError **error)
{
    struct ibv_sge sge = {
        .addr = (uintptr_t)conn->send.data + (uint64_t)slot * SLOT_SIZE,
        .length = length,
        .lkey = conn->send.mr->lkey,
    };
    struct ibv_send_wr wr = {
        .wr_id = slot,
        .sg_list = &sge,
        .num_sge = 1,
        .opcode = IBV_WR_SEND,
        .send_flags = IBV_SEND_SIGNALED,
    };
    struct ibv_send_wr *bad;
    int errnum = ibv_post_send(conn->id->qp, &wr, &bad);

    if (errnum != 0) {
        return vmload_fail_errno(error, abs(errnum), "ibv_post_send");
    }
    conn->sending[slot]++;
    return true;
}

static bool conn_has_failed(const VmloadRdmaConn *conn)
{
    return conn->failed != NULL || conn->peer_failed;
}

/* Why nothing more can be had. With the lock. Always -1. */
static int64_t conn_fail(const VmloadRdmaConn *conn, GError **error)
{
    if (conn->peer_failed) {
        vmload_fail(error, VMLOAD_ERROR_IO,
                    "the source reported an error and gave the migration up");
    } else if (error != NULL) {
        *error = g_error_copy(conn->failed);
    }
    return -1;
}

/* Has the connection ended? Look before polling, believe it after. */
static bool conn_is_over(const VmloadRdmaConn *conn)
{
    return conn->stopped || conn->flushed ||
           vmload_rdma_conn_get_state(conn) >= VMLOAD_RDMA_CLOSED;
}

/* The oldest message, which the user then holds. With the lock. */
static bool conn_take(VmloadRdmaConn *conn, VmloadRdmaMessage *message,
                      GError **error)
{
    Received first = conn->received[0];

    conn->n_received--;
    memmove(conn->received, conn->received + 1,
            conn->n_received * sizeof(first));
    conn->held = (int)first.index;
    if (!vmload_rdma_message_parse(
            conn->receive.data + (size_t)first.index * conn->receive_size,
            first.length, message, error)) {
        return false;
    }
    if (message->type == VMLOAD_RDMA_ERROR) {
        conn->peer_failed = true;
        conn_fail(conn, error);
        return false;
    }
    return true;
}

/* A credit for the peer, where one is due. With the lock. */
static int64_t conn_give_credit(VmloadRdmaConn *conn, GError **error)
{
    uint32_t under_way = conn->sending[SLOT_READY] + conn->sending[SLOT_DATA];

    if (conn->credit || conn->n_received > 0) {
        return 1;
    }
    if (under_way >= SEND_DEPTH - 2) {
        return VMLOAD_CHANNEL_WOULD_BLOCK;
    }
    if (!conn_post_receives(conn, error) ||
        !conn_post(conn, SLOT_READY, VMLOAD_RDMA_HEADER, error)) {
        return -1;
    }
    conn->credit = true;
    return 1;
}

/* With the lock. */
static int64_t conn_receive(VmloadRdmaConn *conn, VmloadRdmaMessage *message,
                            GError **error)
{
    bool over = conn_is_over(conn);
    int64_t result;

    conn_poll(conn);
    if (!over && !conn_is_over(conn) && !conn_has_failed(conn)) {
        result = conn_give_credit(conn, error);
        if (result < 0) {
            return result;
        }
        conn_poll(conn);
    }
    if (conn->n_received > 0) {
        if (!conn_take(conn, message, error)) {
            return -1;
        }
        if (!conn->credit) {
            vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                        "expected no RDMA message without a credit, found %s",
                        vmload_rdma_type_name(message->type));
            return -1;
        }
        conn->credit = false;
        return 1;
    }
    if (conn_has_failed(conn)) {
        return conn_fail(conn, error);
    }
    return over || conn->flushed ? 0 : VMLOAD_CHANNEL_WOULD_BLOCK;
}

int64_t vmload_rdma_conn_receive(VmloadRdmaConn *conn,
                                 VmloadRdmaMessage *message, GError **error)
{
    int64_t result = 0;

    if (vmload_rdma_conn_get_state(conn) == VMLOAD_RDMA_REMOVED) {
        vmload_fail(error, VMLOAD_ERROR_IO, "the RDMA device was removed");
        return -1;
    }
    g_mutex_lock(&conn->lock);
    if (!conn->stopped) {
        result = conn_receive(conn, message, error);
    }
    g_mutex_unlock(&conn->lock);
    return result;
}

void vmload_rdma_conn_release(VmloadRdmaConn *conn)
{
    /* It is posted again when the next credit is given. */
    g_mutex_lock(&conn->lock);
    conn->held = -1;
    g_mutex_unlock(&conn->lock);
}

uint8_t *vmload_rdma_conn_get_buffer(VmloadRdmaConn *conn, uint32_t *size)
{
    bool busy;

    g_mutex_lock(&conn->lock);
    if (!conn->stopped) {
        conn_poll(conn);
    }
    /* Of a connection that is over nothing is sent: the send says so. */
    busy = conn->sending[SLOT_DATA] > 0 && !conn_is_over(conn);
    g_mutex_unlock(&conn->lock);
    *size = (uint32_t)conn->send.size - DATA_OFFSET;
    return busy ? NULL : conn->send.data + DATA_OFFSET;
}

bool vmload_rdma_conn_send(VmloadRdmaConn *conn, VmloadRdmaType type,
                           uint32_t length, uint32_t repeat, GError **error)
{
    bool ok;

    vmload_rdma_put_header(conn->send.data + DATA_OFFSET, type, length,
                           repeat);
    g_mutex_lock(&conn->lock);
    if (conn_has_failed(conn)) {
        ok = conn_fail(conn, error) == 0;
    } else if (conn_is_over(conn)) {
        ok = vmload_fail(error, VMLOAD_ERROR_IO,
                         "RDMA: the source has left, %s cannot be sent",
                         vmload_rdma_type_name(type));
    } else {
        ok = conn_post(conn, SLOT_DATA, VMLOAD_RDMA_HEADER + length, error);
        if (ok && conn->role == VMLOAD_RDMA_BACK) {
            conn->credit = false;
        }
    }
    g_mutex_unlock(&conn->lock);
    return ok;
}

/* With the lock. Credits are the only messages a writer gets. */
static int64_t conn_may_send(VmloadRdmaConn *conn, GError **error)
{
    bool over = conn_is_over(conn);
    VmloadRdmaMessage message;

    conn_poll(conn);
    while (conn->n_received > 0) {
        if (!conn_take(conn, &message, error)) {
            return -1;
        }
        if (message.type != VMLOAD_RDMA_READY || conn->credit) {
            vmload_fail(error, VMLOAD_ERROR_MALFORMED,
                        "RDMA return path: expected one READY for each "
                        "message, found %s", conn->credit
                            ? "another READY"
                            : vmload_rdma_type_name(message.type));
            return -1;
        }
        conn->credit = true;
        conn->held = -1;
    }
    if (conn_has_failed(conn)) {
        return conn_fail(conn, error);
    }
    if (over || conn->flushed) {
        vmload_fail(error, VMLOAD_ERROR_IO,
                    "RDMA return path: the source has left");
        return -1;
    }
    if (!conn_post_receives(conn, error)) {
        return -1;
    }
    return conn->credit && conn->sending[SLOT_DATA] == 0
               ? 1
               : VMLOAD_CHANNEL_WOULD_BLOCK;
}

int64_t vmload_rdma_conn_may_send(VmloadRdmaConn *conn, GError **error)
{
    int64_t result;

    g_mutex_lock(&conn->lock);
    if (conn->stopped) {
        vmload_fail(error, VMLOAD_ERROR_IO,
                    "RDMA return path: it is closed");
        result = -1;
    } else {
        result = conn_may_send(conn, error);
    }
    g_mutex_unlock(&conn->lock);
    return result;
}

void vmload_rdma_conn_send_error(VmloadRdmaConn *conn)
{
    g_mutex_lock(&conn->lock);
    if (!conn->stopped) {
        conn_poll(conn);
    }
    if (!conn->told && !conn->peer_failed && !conn_is_over(conn) &&
        vmload_rdma_conn_get_state(conn) == VMLOAD_RDMA_ESTABLISHED) {
        conn->told = conn_post(conn, SLOT_ERROR, VMLOAD_RDMA_HEADER, NULL);
    }
    g_mutex_unlock(&conn->lock);
}

bool vmload_rdma_conn_is_drained(VmloadRdmaConn *conn)
{
    bool drained;

    g_mutex_lock(&conn->lock);
    if (!conn->stopped) {
        conn_poll(conn);
    }
    drained = conn_is_over(conn) ||
              conn->sending[SLOT_READY] + conn->sending[SLOT_ERROR] +
                      conn->sending[SLOT_DATA] == 0;
    g_mutex_unlock(&conn->lock);
    return drained;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls that the library makes of libibverbs and librdmacm. */
#include "verbs-double-private.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static struct verbs_context device;
static struct ibv_device device_info;

/* --- what is inline in verbs.h -------------------------------------------- */

static int double_poll_cq(struct ibv_cq *base, int max, struct ibv_wc *wc)
{
    Cq *cq = (Cq *)base;
    uint32_t n;

    g_mutex_lock(&vd.lock);
    if (!vd_may("ibv_poll_cq")) {
        g_mutex_unlock(&vd.lock);
        return -1;
    }
    n = MIN(cq->n, (uint32_t)max);
    memcpy(wc, cq->wc, n * sizeof(*wc));
    cq->n -= n;
    memmove(cq->wc, cq->wc + n, cq->n * sizeof(*wc));
    g_mutex_unlock(&vd.lock);
    return (int)n;
}

static int double_req_notify(struct ibv_cq *base, int solicited)
{
    bool ok;

    (void)solicited;
    g_mutex_lock(&vd.lock);
    ok = vd_may("ibv_req_notify_cq");
    ((Cq *)base)->armed = ok;
    g_mutex_unlock(&vd.lock);
    return ok ? 0 : ENOMEM;
}

static int double_post_send(struct ibv_qp *base, struct ibv_send_wr *wr,
                            struct ibv_send_wr **bad)
{
    Qp *qp = (Qp *)base;
    enum ibv_wc_status status = IBV_WC_SUCCESS;
    const uint8_t *data = (const uint8_t *)(uintptr_t)wr->sg_list->addr;

    g_mutex_lock(&vd.lock);
    *bad = wr;
    if (!vd_may("ibv_post_send")) {
        g_mutex_unlock(&vd.lock);
        return ENOMEM;
    }
    if (qp->broken) {
        status = IBV_WC_WR_FLUSH_ERR;
    } else if (data[7] == READY && vd.ready_status != IBV_WC_SUCCESS) {
        status = vd.ready_status;
        qp->broken = true;
    }
    vd_complete((Cq *)qp->base.send_cq, wr->wr_id, status, 0);
    if (status == IBV_WC_SUCCESS) {
        vd_receive(qp->id->number, data, wr->sg_list->length);
    }
    g_mutex_unlock(&vd.lock);
    return 0;
}

static int double_post_recv(struct ibv_qp *base, struct ibv_recv_wr *wr,
                            struct ibv_recv_wr **bad)
{
    Qp *qp = (Qp *)base;

    g_mutex_lock(&vd.lock);
    *bad = wr;
    if (!vd_may("ibv_post_recv") || qp->n_recv >= RECV_MAX) {
        g_mutex_unlock(&vd.lock);
        return ENOMEM;
    }
    qp->recv_wr[qp->n_recv] = wr->wr_id;
    qp->recv_data[qp->n_recv] = (uint8_t *)(uintptr_t)wr->sg_list->addr;
    qp->recv_size[qp->n_recv] = wr->sg_list->length;
    qp->n_recv++;
    g_mutex_unlock(&vd.lock);
    return 0;
}

/* A call that does nothing but succeed or not. */
static int plain(const char *name)
{
    bool ok;

    g_mutex_lock(&vd.lock);
    ok = vd_may(name);
    g_mutex_unlock(&vd.lock);
    return ok ? 0 : -1;
}

static int double_query(struct ibv_context *context,
                        const struct ibv_query_device_ex_input *input,
                        struct ibv_device_attr_ex *attr, size_t size)
{
    (void)context;
    (void)input;
    memset(attr, 0, size);
    attr->odp_caps.general_caps = IBV_ODP_SUPPORT;
    attr->odp_caps.per_transport_caps.rc_odp_caps = IBV_ODP_SUPPORT_WRITE;
    return plain("ibv_query_device_ex") == 0 ? 0 : EOPNOTSUPP;
}

static int double_advise(struct ibv_pd *pd, enum ibv_advise_mr_advice advice,
                         uint32_t flags, struct ibv_sge *list, uint32_t n)
{
    (void)pd;
    (void)advice;
    (void)flags;
    (void)list;
    (void)n;
    return plain("ibv_advise_mr") == 0 ? 0 : EOPNOTSUPP;
}

/* --- libibverbs ----------------------------------------------------------- */

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
    struct ibv_pd *pd = NULL;

    g_mutex_lock(&vd.lock);
    if (vd_may("ibv_alloc_pd")) {
        pd = g_new0(struct ibv_pd, 1);
        pd->context = context;
        vd.alive++;
    }
    g_mutex_unlock(&vd.lock);
    return pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
    g_mutex_lock(&vd.lock);
    if (pd->handle != 0) {
        vd_wrong("a protection domain with memory regions is freed");
    }
    vd.alive--;
    g_free(pd);
    g_mutex_unlock(&vd.lock);
    return 0;
}

/* What a device takes long for: its pages come, and are pinned. */
static void pin_guest(void *addr, size_t length)
{
    uint64_t us;

    g_mutex_lock(&vd.lock);
    vd.held++;
    while (vd.hold_registrations) {
        g_cond_wait(&vd.cond, &vd.lock);
    }
    vd.held--;
    us = vd.delay_us;
    g_mutex_unlock(&vd.lock);
    if (us > 0) {
        g_usleep(us);
    }
    (void)madvise(addr, length, MADV_POPULATE_WRITE);
}

/* With the lock. */
static bool may_pin(int access)
{
    int number = vd.registrations;

    if ((access & IBV_ACCESS_REMOTE_WRITE) != 0) {
        vd.registrations++;
        if (number >= vd.fail_first && number - vd.fail_first < vd.fail_n) {
            errno = vd.fail_registration;
            return false;
        }
    }
    return vd_may((access & IBV_ACCESS_ON_DEMAND) != 0 ? "odp" : "ibv_reg_mr");
}

static struct ibv_mr *make_mr(struct ibv_pd *pd, void *addr, size_t length,
                              int access)
{
    struct ibv_mr *mr = NULL;
    Range range = {(uintptr_t)addr, length};
    bool guest = (access & IBV_ACCESS_REMOTE_WRITE) != 0;
    int errnum;

    if (guest) {
        pin_guest(addr, length);
    }
    g_mutex_lock(&vd.lock);
    if (may_pin(access)) {
        mr = g_new0(struct ibv_mr, 1);
        mr->context = pd->context;
        mr->pd = pd;
        mr->addr = addr;
        mr->length = length;
        mr->lkey = vd.next_key;
        mr->rkey = vd.next_key++;
        mr->handle = guest;
        pd->handle++;
        vd.alive++;
        if (guest && vd.zero_keys > 0) {
            vd.zero_keys--;
            mr->rkey = 0;
        }
        if (guest) {
            g_array_append_val(vd.open, mr);
            g_array_append_val(vd.ranges, range);
        }
    }
    errnum = errno;
    vd_play();
    g_mutex_unlock(&vd.lock);
    errno = errnum;
    return mr;
}

#undef ibv_reg_mr
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
                          int access)
{
    return make_mr(pd, addr, length, access);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length,
                                uint64_t iova, unsigned int access)
{
    (void)iova;
    return make_mr(pd, addr, length, (int)access);
}

/* May the source still write there? With the lock. */
static bool is_in_use(const struct ibv_mr *mr)
{
    const Id *id = vd.connections[vd.main].id;
    const Qp *qp = id != NULL ? (const Qp *)id->base.qp : NULL;

    return qp != NULL && !qp->broken && qp->base.pd == mr->pd &&
           vd.rounds_due > 0 &&
           g_hash_table_contains(vd.told, GUINT_TO_POINTER(mr->rkey));
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
    guint i;

    g_mutex_lock(&vd.lock);
    if (is_in_use(mr)) {
        vd_wrong("memory is closed that the source may write to");
    }
    for (i = 0; i < vd.open->len; i++) {
        if (g_array_index(vd.open, struct ibv_mr *, i) == mr) {
            g_array_remove_index_fast(vd.open, i);
            break;
        }
    }
    mr->pd->handle--;
    vd.alive--;
    g_free(mr);
    g_mutex_unlock(&vd.lock);
    return 0;
}

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context)
{
    CompChannel *channel = NULL;

    g_mutex_lock(&vd.lock);
    if (vd_may("ibv_create_comp_channel")) {
        channel = g_new0(CompChannel, 1);
        channel->base.context = context;
        channel->base.fd = eventfd(0, EFD_SEMAPHORE);
        vd.alive++;
    }
    g_mutex_unlock(&vd.lock);
    return channel != NULL ? &channel->base : NULL;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
    g_mutex_lock(&vd.lock);
    if (channel->refcnt != 0) {
        vd_wrong("a completion channel is freed before its queue");
    }
    close(channel->fd);
    vd.alive--;
    g_free(channel);
    g_mutex_unlock(&vd.lock);
    return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int depth,
                             void *opaque, struct ibv_comp_channel *channel,
                             int vector)
{
    Cq *cq = NULL;

    (void)depth;
    (void)vector;
    g_mutex_lock(&vd.lock);
    if (vd_may("ibv_create_cq")) {
        cq = g_new0(Cq, 1);
        cq->base.context = context;
        cq->base.channel = channel;
        cq->base.cq_context = opaque;
        channel->refcnt++;
        vd.alive++;
    }
    g_mutex_unlock(&vd.lock);
    return cq != NULL ? &cq->base : NULL;
}

int ibv_destroy_cq(struct ibv_cq *base)
{
    Cq *cq = (Cq *)base;

    g_mutex_lock(&vd.lock);
    if (cq->unacked != ((CompChannel *)base->channel)->pending) {
        vd_wrong("a queue is destroyed with events that are not acknowledged");
    }
    base->channel->refcnt--;
    vd.alive--;
    g_free(cq);
    g_mutex_unlock(&vd.lock);
    return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *base, struct ibv_cq **cq,
                     void **opaque)
{
    CompChannel *channel = (CompChannel *)base;
    int result = -1;

    *cq = NULL;
    *opaque = NULL;
    g_mutex_lock(&vd.lock);
    errno = EAGAIN;
    if (channel->pending > 0 && vd_may("ibv_get_cq_event") &&
        vd_unring(base->fd)) {
        channel->pending--;
        result = 0;
    }
    g_mutex_unlock(&vd.lock);
    return result;
}

void ibv_ack_cq_events(struct ibv_cq *cq, unsigned int n)
{
    g_mutex_lock(&vd.lock);
    ((Cq *)cq)->unacked -= n;
    g_mutex_unlock(&vd.lock);
}

const char *ibv_wc_status_str(enum ibv_wc_status status)
{
    return status == IBV_WC_RETRY_EXC_ERR ? "retries exceeded" : "a status";
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
    (void)context;
    (void)attr;
    return ENOSYS;
}

/* --- librdmacm ------------------------------------------------------------ */

struct rdma_event_channel *rdma_create_event_channel(void)
{
    Channel *channel = NULL;

    g_mutex_lock(&vd.lock);
    if (vd_may("rdma_create_event_channel")) {
        channel = g_new0(Channel, 1);
        channel->base.fd = eventfd(0, EFD_SEMAPHORE);
        g_queue_init(&channel->events);
        vd.channel = channel;
        vd.alive++;
    }
    g_mutex_unlock(&vd.lock);
    return channel != NULL ? &channel->base : NULL;
}

void vd_event_free(struct rdma_cm_event *event)
{
    g_free((void *)(uintptr_t)event->param.conn.private_data);
    g_free(event);
}

void rdma_destroy_event_channel(struct rdma_event_channel *base)
{
    Channel *channel = (Channel *)(void *)base;

    g_mutex_lock(&vd.lock);
    if (!g_queue_is_empty(&channel->events)) {
        g_queue_clear_full(&channel->events, (GDestroyNotify)vd_event_free);
    }
    vd.channel = NULL;
    close(base->fd);
    vd.alive--;
    g_free(channel);
    g_mutex_unlock(&vd.lock);
}

Id *vd_make_id(int number)
{
    Id *id = g_new0(Id, 1);

    id->number = number;
    id->base.verbs = &device.context;
    id->base.route.addr.dst_sin.sin_family = AF_INET;
    id->base.route.addr.dst_sin.sin_addr.s_addr =
        GUINT32_TO_BE(0xc0000200u | vd.peer);
    vd.alive++;
    return id;
}

int rdma_create_id(struct rdma_event_channel *channel,
                   struct rdma_cm_id **result, void *context,
                   enum rdma_port_space space)
{
    Id *id = NULL;

    (void)context;
    (void)space;
    g_mutex_lock(&vd.lock);
    if (vd_may("rdma_create_id")) {
        id = vd_make_id(-1);
        id->base.channel = channel;
        *result = &id->base;
    }
    g_mutex_unlock(&vd.lock);
    return id != NULL ? 0 : -1;
}

int rdma_destroy_id(struct rdma_cm_id *base)
{
    Id *id = (Id *)base;
    GList *link;

    g_mutex_lock(&vd.lock);
    if (id->unacked > 0) {
        vd_wrong("an id is destroyed with events that are not acknowledged");
    }
    if (base->qp != NULL) {
        vd_wrong("an id is destroyed before its queue pair");
    }
    /* Its events go with it, as in the kernel. */
    link = vd.channel != NULL ? vd.channel->events.head : NULL;
    while (link != NULL) {
        GList *next = link->next;
        struct rdma_cm_event *event = link->data;

        /* Requests that nobody has seen go with who listens. */
        if (id->number < 0 &&
            event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
            vd.connections[((Id *)event->id)->number].id = NULL;
            vd.alive--;
            g_free(event->id);
            event->id = base;
        }
        if (event->id == base) {
            g_queue_delete_link(&vd.channel->events, link);
            vd_event_free(event);
            vd_unring(vd.channel->base.fd);
        }
        link = next;
    }
    if (id->number >= 0) {
        vd.connections[id->number].id = NULL;
    } else if (vd.listener == id) {
        vd.listener = NULL;
    }
    vd.alive--;
    g_free(id);
    g_mutex_unlock(&vd.lock);
    return 0;
}

static struct sockaddr_in double_address = {.sin_family = AF_INET};

int rdma_getaddrinfo(const char *node, const char *service,
                     const struct rdma_addrinfo *hints,
                     struct rdma_addrinfo **list)
{
    bool ok;

    (void)node;
    (void)service;
    (void)hints;
    g_mutex_lock(&vd.lock);
    ok = vd_may("rdma_getaddrinfo");
    if (ok) {
        *list = g_new0(struct rdma_addrinfo, 1);
        (*list)->ai_src_addr = (struct sockaddr *)(void *)&double_address;
        vd.alive++;
    }
    g_mutex_unlock(&vd.lock);
    return ok ? 0 : -1;
}

void rdma_freeaddrinfo(struct rdma_addrinfo *list)
{
    g_mutex_lock(&vd.lock);
    vd.alive--;
    g_free(list);
    g_mutex_unlock(&vd.lock);
}

int rdma_set_option(struct rdma_cm_id *id, int level, int name, void *value,
                    size_t length)
{
    (void)id;
    (void)level;
    (void)name;
    (void)value;
    (void)length;
    return plain("rdma_set_option");
}

int rdma_bind_addr(struct rdma_cm_id *id, struct sockaddr *address)
{
    memcpy(&id->route.addr.src_sin, address, sizeof(struct sockaddr_in));
    return plain("rdma_bind_addr");
}

uint16_t rdma_get_src_port(struct rdma_cm_id *id)
{
    (void)id;
    return GUINT16_TO_BE(4444);
}

uint16_t rdma_get_dst_port(struct rdma_cm_id *id)
{
    (void)id;
    return GUINT16_TO_BE(50000);
}

int rdma_listen(struct rdma_cm_id *base, int backlog)
{
    (void)backlog;
    g_mutex_lock(&vd.lock);
    vd.listener = (Id *)base;
    g_mutex_unlock(&vd.lock);
    return plain("rdma_listen");
}

int rdma_get_cm_event(struct rdma_event_channel *base,
                      struct rdma_cm_event **event)
{
    Channel *channel = (Channel *)(void *)base;
    int result = -1;

    g_mutex_lock(&vd.lock);
    if (g_queue_is_empty(&channel->events)) {
        errno = EAGAIN;
    } else if (vd_may("rdma_get_cm_event") && vd_unring(base->fd)) {
        *event = g_queue_pop_head(&channel->events);
        ((Id *)(*event)->id)->unacked++;
        result = 0;
    }
    g_mutex_unlock(&vd.lock);
    return result;
}

int rdma_ack_cm_event(struct rdma_cm_event *event)
{
    g_mutex_lock(&vd.lock);
    ((Id *)event->id)->unacked--;
    vd_event_free(event);
    g_mutex_unlock(&vd.lock);
    return 0;
}

int rdma_create_qp(struct rdma_cm_id *base, struct ibv_pd *pd,
                   struct ibv_qp_init_attr *attr)
{
    Qp *qp = NULL;

    g_mutex_lock(&vd.lock);
    if (vd_may("rdma_create_qp")) {
        qp = g_new0(Qp, 1);
        qp->base.context = &device.context;
        qp->base.pd = pd;
        qp->base.send_cq = attr->send_cq;
        qp->base.recv_cq = attr->recv_cq;
        qp->id = (Id *)base;
        base->qp = &qp->base;
        vd.alive++;
    }
    g_mutex_unlock(&vd.lock);
    return qp != NULL ? 0 : -1;
}

void rdma_destroy_qp(struct rdma_cm_id *base)
{
    g_mutex_lock(&vd.lock);
    vd.alive--;
    g_free(base->qp);
    base->qp = NULL;
    g_mutex_unlock(&vd.lock);
}

int rdma_accept(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
    Id *id = (Id *)base;
    const uint8_t *data = param->private_data;
    bool ok;

    g_mutex_lock(&vd.lock);
    ok = vd_may("rdma_accept");
    if (ok) {
        Connection *connection = &vd.connections[id->number];

        connection->accepted = true;
        connection->flags = data[7];
        if (((Qp *)base->qp)->n_recv == 0) {
            vd_wrong("a connection is accepted without a receive");
        }
        if (!vd.hold_established) {
            vd_push_event(RDMA_CM_EVENT_ESTABLISHED, id, NULL, 0);
        }
        if (id->number == vd.back_number) {
            vd_give_credit(vd.back_number);
        }
    }
    g_mutex_unlock(&vd.lock);
    return ok ? 0 : -1;
}

int rdma_reject(struct rdma_cm_id *base, const void *data, uint8_t length)
{
    (void)data;
    (void)length;
    g_mutex_lock(&vd.lock);
    vd.connections[((Id *)base)->number].refused = true;
    g_mutex_unlock(&vd.lock);
    return plain("rdma_reject");
}

int rdma_disconnect(struct rdma_cm_id *base)
{
    Qp *qp = (Qp *)base->qp;

    g_mutex_lock(&vd.lock);
    vd.connections[((Id *)base)->number].disconnected = true;
    qp->broken = true;
    while (qp->n_recv > 0) {
        vd_finish_receive(qp, IBV_WC_WR_FLUSH_ERR, NULL, 0);
    }
    g_mutex_unlock(&vd.lock);
    return plain("rdma_disconnect");
}

void vd_init_device(void)
{
    device.sz = sizeof(device);
    device.query_device_ex = double_query;
    device.advise_mr = double_advise;
    device.context.abi_compat = (void *)(uintptr_t)-1;
    device.context.device = &device_info;
    device.context.ops.poll_cq = double_poll_cq;
    device.context.ops.req_notify_cq = double_req_notify;
    device.context.ops.post_send = double_post_send;
    device.context.ops.post_recv = double_post_recv;
}

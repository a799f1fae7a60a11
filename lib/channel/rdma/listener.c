/* SPDX-License-Identifier: BSD-3-Clause */
#include "listener.h"

#include "error.h"
#include "pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 5

/* Sources that wait while another one's load comes to its end. */
#define REQUESTS_MAX 4

/* Strangers that nobody was told of yet; more are not told of. */
#define REFUSALS_MAX 64

/* A request to connect. @flags: what the source wants. */
typedef struct {
    struct rdma_cm_id *id;
    uint32_t flags;
} Request;

/* Somebody was sent away. */
typedef struct {
    char *name;
    GError *reason;
} Refusal;

/*
 * @lock: leaf; guards all but what never changes. It is held while a request
 * is accepted: some system calls, no wait.
 */
struct VmloadRdmaListener {
    int ref_count; /* atomic */
    struct rdma_event_channel *channel;
    struct rdma_cm_id *id;
    char *address;
    GMutex lock;
    Request requests[REQUESTS_MAX];
    uint32_t n_requests;
    VmloadRdmaPair *pair; /* borrowed; NULL: nobody accepts */
    GError *failed;       /* why the pair's main connection could not be had */
    uint32_t count;       /* of all who came, for their names */
    GQueue refusals;      /* of Refusal, for the pair that is there */
};

/* --- connections ---------------------------------------------------------- */

static void id_refuse(struct rdma_cm_id *id)
{
    (void)rdma_reject(id, NULL, 0);
    rdma_destroy_id(id);
}

static char *address_text(const struct sockaddr *any, uint16_t port)
{
    char host[INET6_ADDRSTRLEN] = "";

    if (any->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, any, sizeof(in6));
        inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
        return g_strdup_printf("rdma:[%s]:%u", host, port);
    }
    if (any->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, any, sizeof(in));
        inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
    }
    return g_strdup_printf("rdma:%s:%u", host, port);
}

/* One machine has made both connections. */
static bool is_same_peer(struct rdma_cm_id *a, struct rdma_cm_id *b)
{
    const struct sockaddr *one = rdma_get_peer_addr(a);
    const struct sockaddr *other = rdma_get_peer_addr(b);

    if (one->sa_family != other->sa_family) {
        return false;
    }
    if (one->sa_family == AF_INET) {
        struct sockaddr_in in[2];

        memcpy(&in[0], one, sizeof(in[0]));
        memcpy(&in[1], other, sizeof(in[1]));
        return in[0].sin_addr.s_addr == in[1].sin_addr.s_addr;
    }
    if (one->sa_family == AF_INET6) {
        struct sockaddr_in6 in6[2];

        memcpy(&in6[0], one, sizeof(in6[0]));
        memcpy(&in6[1], other, sizeof(in6[1]));
        return memcmp(&in6[0].sin6_addr, &in6[1].sin6_addr,
                      sizeof(in6[0].sin6_addr)) == 0;
    }
    /* InfiniBand's own addresses: nothing to compare. */
    return true;
}

static void refusal_free(void *opaque)
{
    Refusal *refusal = opaque;

    g_free(refusal->name);
    g_error_free(refusal->reason);
    g_free(refusal);
}

/* Notes that @id is sent away, for @reason (transfer full). With the lock. */
static void listener_note_refusal(VmloadRdmaListener *listener,
                                  struct rdma_cm_id *id, GError *reason)
{
    Refusal *refusal = g_new(Refusal, 1);
    char *address = address_text(rdma_get_peer_addr(id),
                                 GUINT16_FROM_BE(rdma_get_dst_port(id)));

    refusal->name = g_strdup_printf("connection %u from %s",
                                    ++listener->count, address);
    refusal->reason = reason;
    g_free(address);
    g_debug("%s: closed: %s", refusal->name, reason->message);
    if (listener->pair == NULL ||
        listener->refusals.length >= REFUSALS_MAX) {
        refusal_free(refusal);
    } else {
        g_queue_push_tail(&listener->refusals, refusal);
    }
}

static void listener_refuse(VmloadRdmaListener *listener,
                            struct rdma_cm_id *id, GError *reason)
{
    listener_note_refusal(listener, id, reason);
    id_refuse(id);
}

void vmload_rdma_listener_report(VmloadRdmaListener *listener,
                                 const VmloadRdmaPair *pair)
{
    Refusal *refusal;

    do {
        g_mutex_lock(&listener->lock);
        refusal = listener->pair == pair
                      ? g_queue_pop_head(&listener->refusals)
                      : NULL;
        g_mutex_unlock(&listener->lock);
        if (refusal != NULL) {
            if (pair->refused != NULL) {
                pair->refused(pair->opaque, refusal->name, refusal->reason);
            }
            refusal_free(refusal);
        }
    } while (refusal != NULL);
}

static void request_drop(VmloadRdmaListener *listener, uint32_t index)
{
    listener->n_requests--;
    memmove(&listener->requests[index], &listener->requests[index + 1],
            (listener->n_requests - index) * sizeof(listener->requests[0]));
}

/* A connection with this role; refused if it cannot be had. */
static VmloadRdmaConn *request_accept(const Request *request,
                                      VmloadRdmaRole role, GError **error)
{
    uint32_t flags = request->flags & VMLOAD_RDMA_PIN_ALL;
    VmloadRdmaConn *conn =
        vmload_rdma_conn_accept(request->id, role, flags, error);

    if (conn == NULL) {
        id_refuse(request->id);
    }
    return conn;
}

static void accept_main(VmloadRdmaListener *listener, const Request *request)
{
    g_clear_error(&listener->failed);
    listener->pair->main =
        request_accept(request, VMLOAD_RDMA_MAIN, &listener->failed);
    vmload_rdma_pair_wake(listener->pair, VMLOAD_RDMA_MAIN);
}

static void accept_back(VmloadRdmaPair *pair, const Request *request)
{
    GError *local = NULL;
    VmloadRdmaConn *conn;

    if (request->id->verbs != vmload_rdma_conn_get_id(pair->main)->verbs) {
        vmload_fail(&local, VMLOAD_ERROR_MISMATCH,
                    "expected the return path's connection on the same RDMA "
                    "device, found another");
        id_refuse(request->id);
        conn = NULL;
    } else {
        conn = request_accept(request, VMLOAD_RDMA_BACK, &local);
    }
    if (conn != NULL) {
        __atomic_store_n(&pair->back, conn, __ATOMIC_RELEASE);
    } else {
        __atomic_store_n(&pair->back_error, local, __ATOMIC_RELEASE);
    }
    vmload_rdma_pair_wake(pair, VMLOAD_RDMA_BACK);
}

/* Why this cannot be the source's second connection; NULL: it can. */
static GError *find_objection(const VmloadRdmaPair *pair,
                              const Request *request)
{
    GError *error = NULL;

    if (pair->back != NULL || pair->back_error != NULL) {
        vmload_fail(&error, VMLOAD_ERROR_MALFORMED,
                    "expected two connections of the source, found a third");
    } else if (__atomic_load_n(&pair->spoken, __ATOMIC_ACQUIRE) != 0) {
        vmload_fail(&error, VMLOAD_ERROR_MALFORMED,
                    "expected the return path before the stream begins, "
                    "found it behind");
    } else if (!is_same_peer(vmload_rdma_conn_get_id(pair->main),
                             request->id)) {
        vmload_fail(&error, VMLOAD_ERROR_MISMATCH,
                    "expected the return path from the address of the main "
                    "connection, found another");
    }
    return error;
}

/*
 * The source's first connection is the main one, its second the return path,
 * which it makes before it begins its stream. Who comes after the source has
 * left waits for the next load; who comes from elsewhere before the stream
 * has begun may be the source, and the other one a stranger. With the lock.
 */
static void listener_match(VmloadRdmaListener *listener)
{
    VmloadRdmaPair *pair = listener->pair;
    uint32_t i = 0;

    while (pair != NULL && i < listener->n_requests) {
        Request request = listener->requests[i];
        GError *objection = NULL;

        if (pair->main != NULL && vmload_rdma_conn_get_state(pair->main) >=
                                      VMLOAD_RDMA_CLOSED) {
            return;
        }
        if (pair->main == NULL && listener->failed != NULL) {
            return;
        }
        if (pair->main != NULL) {
            objection = find_objection(pair, &request);
        }
        if (objection != NULL && objection->code == VMLOAD_ERROR_MISMATCH &&
            __atomic_load_n(&pair->spoken, __ATOMIC_ACQUIRE) == 0) {
            g_error_free(objection);
            i++;
            continue;
        }
        request_drop(listener, i);
        if (pair->main == NULL) {
            accept_main(listener, &request);
        } else if (objection == NULL) {
            accept_back(pair, &request);
        } else {
            listener_refuse(listener, request.id, objection);
        }
    }
}

/* --- events --------------------------------------------------------------- */

/* What is kept of an event once it is acknowledged. */
typedef struct {
    enum rdma_cm_event_type type;
    struct rdma_cm_id *id;
    GError *stranger; /* a request, but of no source */
    uint32_t flags;
} Event;

/*
 * Fetches one event and gives it back at once: an id with events that are
 * not acknowledged cannot be destroyed. 1, or 0: there is none; -1.
 */
static int event_fetch(VmloadRdmaListener *listener, Event *event,
                       GError **error)
{
    struct rdma_cm_event *raw;

    if (rdma_get_cm_event(listener->channel, &raw) != 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
            return 0;
        }
        vmload_fail_errno(error, errno, "rdma_get_cm_event");
        return -1;
    }
    memset(event, 0, sizeof(*event));
    event->type = raw->event;
    event->id = raw->id;
    if (raw->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
        vmload_rdma_private_parse(
            raw->param.conn.private_data, raw->param.conn.private_data_len,
            &event->flags, &event->stranger);
    }
    rdma_ack_cm_event(raw);
    return 1;
}

static void event_request(VmloadRdmaListener *listener, const Event *event)
{
    Request *request = &listener->requests[listener->n_requests];
    GError *reason = event->stranger;

    if (reason == NULL && event->id->verbs == NULL) {
        vmload_fail(&reason, VMLOAD_ERROR_IO,
                    "expected an RDMA device, found none");
    }
    if (reason == NULL && listener->n_requests >= REQUESTS_MAX) {
        vmload_fail(&reason, VMLOAD_ERROR_LIMIT,
                    "expected at most %u requests to connect at once",
                    REQUESTS_MAX);
    }
    if (reason != NULL) {
        listener_refuse(listener, event->id, reason);
        return;
    }
    request->id = event->id;
    request->flags = event->flags;
    listener->n_requests++;
}

static bool event_note(VmloadRdmaPair *pair, VmloadRdmaConn *conn,
                       VmloadRdmaRole role, const Event *event,
                       VmloadRdmaState state)
{
    if (conn == NULL || vmload_rdma_conn_get_id(conn) != event->id) {
        return false;
    }
    vmload_rdma_conn_set_state(conn, state);
    vmload_rdma_pair_wake(pair, role);
    return true;
}

/* An established connection's event, or its end. */
static void event_state(VmloadRdmaListener *listener, const Event *event,
                        VmloadRdmaState state)
{
    VmloadRdmaPair *pair = listener->pair;
    uint32_t i;

    if (pair != NULL &&
        (event_note(pair, pair->main, VMLOAD_RDMA_MAIN, event, state) ||
         event_note(pair, pair->back, VMLOAD_RDMA_BACK, event, state))) {
        return;
    }
    /* Somebody who did not wait to be accepted. */
    for (i = 0; i < listener->n_requests; i++) {
        if (listener->requests[i].id == event->id &&
            state >= VMLOAD_RDMA_CLOSED) {
            request_drop(listener, i);
            rdma_destroy_id(event->id);
            return;
        }
    }
}

/* With the lock. */
static void event_handle(VmloadRdmaListener *listener, const Event *event)
{
    switch (event->type) {
    case RDMA_CM_EVENT_CONNECT_REQUEST:
        event_request(listener, event);
        break;
    case RDMA_CM_EVENT_ESTABLISHED:
        event_state(listener, event, VMLOAD_RDMA_ESTABLISHED);
        break;
    case RDMA_CM_EVENT_CONNECT_ERROR:
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_REJECTED:
    case RDMA_CM_EVENT_DISCONNECTED:
        event_state(listener, event, VMLOAD_RDMA_CLOSED);
        break;
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
        event_state(listener, event, VMLOAD_RDMA_REMOVED);
        break;
    default:
        /* TIMEWAIT_EXIT, ADDR_CHANGE: nothing depends on them. */
        break;
    }
}

bool vmload_rdma_listener_dispatch(VmloadRdmaListener *listener,
                                   GError **error)
{
    Event event;
    int fetched;

    g_mutex_lock(&listener->lock);
    while ((fetched = event_fetch(listener, &event, error)) > 0) {
        event_handle(listener, &event);
    }
    listener_match(listener);
    g_mutex_unlock(&listener->lock);
    return fetched == 0;
}

int vmload_rdma_listener_get_fd(const VmloadRdmaListener *listener)
{
    return listener->channel->fd;
}

void vmload_rdma_listener_forget(VmloadRdmaListener *listener,
                                 const VmloadRdmaPair *pair)
{
    g_mutex_lock(&listener->lock);
    if (listener->pair == pair) {
        listener->pair = NULL;
        g_queue_clear_full(&listener->refusals, refusal_free);
        g_clear_error(&listener->failed);
    }
    g_mutex_unlock(&listener->lock);
}

/* --- listening ------------------------------------------------------------ */

static bool listener_make_channel(VmloadRdmaListener *listener,
                                  GError **error)
{
    int flags;

    listener->channel = rdma_create_event_channel();
    if (listener->channel == NULL) {
        return vmload_fail_errno(error, errno,
                                 "expected a kernel with RDMA "
                                 "(rdma_create_event_channel)");
    }
    flags = fcntl(listener->channel->fd, F_GETFL);
    if (flags < 0 ||
        fcntl(listener->channel->fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return vmload_fail_errno(error, errno, "O_NONBLOCK");
    }
    if (rdma_create_id(listener->channel, &listener->id, listener,
                       RDMA_PS_TCP) != 0) {
        return vmload_fail_errno(error, errno, "rdma_create_id");
    }
    return true;
}

/* The first of a name's addresses that can be had. */
static bool listener_bind(VmloadRdmaListener *listener,
                          const VmloadUri *uri, GError **error)
{
    struct rdma_addrinfo hints = {
        .ai_flags = RAI_PASSIVE,
        .ai_port_space = RDMA_PS_TCP,
    };
    struct rdma_addrinfo *list = NULL;
    struct rdma_addrinfo *info;
    int one = 1;
    int errnum = ENODEV;
    bool bound = false;

    if (rdma_getaddrinfo(uri->host, uri->port, &hints, &list) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_IO,
                           "address: RDMA does not know host '%s' and port "
                           "'%s'", uri->host != NULL ? uri->host : "",
                           uri->port);
    }
    (void)rdma_set_option(listener->id, RDMA_OPTION_ID,
                          RDMA_OPTION_ID_REUSEADDR, &one, sizeof(one));
    for (info = list; info != NULL && !bound; info = info->ai_next) {
        if (info->ai_src_addr == NULL) {
            continue;
        }
        bound = rdma_bind_addr(listener->id, info->ai_src_addr) == 0;
        errnum = errno;
    }
    rdma_freeaddrinfo(list);
    return bound || vmload_fail_errno(error, errnum, "rdma_bind_addr");
}

VmloadRdmaListener *vmload_rdma_listener_new(const VmloadUri *uri,
                                             GError **error)
{
    VmloadRdmaListener *listener = g_new0(VmloadRdmaListener, 1);
    bool ok;

    listener->ref_count = 1;
    g_queue_init(&listener->refusals);
    g_mutex_init(&listener->lock);
    ok = listener_make_channel(listener, error) &&
         listener_bind(listener, uri, error);
    if (ok && rdma_listen(listener->id, BACKLOG) != 0) {
        ok = vmload_fail_errno(error, errno, "rdma_listen");
    }
    if (!ok) {
        g_prefix_error(error, "address rdma:%s:%s: ",
                       uri->host != NULL ? uri->host : "", uri->port);
        vmload_rdma_listener_unref(listener);
        return NULL;
    }
    listener->address =
        address_text(rdma_get_local_addr(listener->id),
                     GUINT16_FROM_BE(rdma_get_src_port(listener->id)));
    return listener;
}

VmloadRdmaListener *vmload_rdma_listener_ref(VmloadRdmaListener *listener)
{
    g_atomic_int_inc(&listener->ref_count);
    return listener;
}

void vmload_rdma_listener_unref(VmloadRdmaListener *listener)
{
    uint32_t i;

    if (listener == NULL ||
        !g_atomic_int_dec_and_test(&listener->ref_count)) {
        return;
    }
    for (i = 0; i < listener->n_requests; i++) {
        id_refuse(listener->requests[i].id);
    }
    if (listener->id != NULL) {
        rdma_destroy_id(listener->id);
    }
    if (listener->channel != NULL) {
        rdma_destroy_event_channel(listener->channel);
    }
    g_queue_clear_full(&listener->refusals, refusal_free);
    g_clear_error(&listener->failed);
    g_mutex_clear(&listener->lock);
    g_free(listener->address);
    g_free(listener);
}

const char *vmload_rdma_listener_get_address(const VmloadRdmaListener *self)
{
    return self->address;
}

/* --- accepting ------------------------------------------------------------ */

/* The pair's place in the listener; only one load at a time has it. */
static bool listener_enter(VmloadRdmaListener *listener,
                           VmloadRdmaPair *pair, GError **error)
{
    bool free;

    g_mutex_lock(&listener->lock);
    free = listener->pair == NULL;
    if (free) {
        listener->pair = pair;
        listener_match(listener);
    }
    g_mutex_unlock(&listener->lock);
    return free || vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                               "expected one load at a time from an RDMA "
                               "listener, found a second");
}

/* Sends away who came first, for @reason (transfer full). */
static void listener_drop_main(VmloadRdmaListener *listener,
                               VmloadRdmaPair *pair, GError *reason)
{
    VmloadRdmaConn *gone;
    VmloadRdmaConn *back;

    g_mutex_lock(&listener->lock);
    gone = g_steal_pointer(&pair->main);
    back = __atomic_exchange_n(&pair->back, NULL, __ATOMIC_ACQ_REL);
    g_clear_error(&pair->back_error);
    listener_note_refusal(listener, vmload_rdma_conn_get_id(gone), reason);
    g_mutex_unlock(&listener->lock);
    pair->has_file = false;
    vmload_rdma_conn_free(back);
    vmload_rdma_conn_free(gone);
    g_mutex_lock(&listener->lock);
    listener_match(listener);
    g_mutex_unlock(&listener->lock);
}

/*
 * Has the main connection begun its stream? 1; 0: not yet; -1: it will not,
 * and nobody will, with @error; or a stranger's, who is gone then: 0 and
 * *@reason. *@deadline: set by who comes.
 */
static int listener_look(VmloadRdmaListener *listener, VmloadRdmaPair *pair,
                         int64_t handshake_us, int64_t *deadline,
                         GError **reason, GError **error)
{
    VmloadRdmaState state = VMLOAD_RDMA_ACCEPTED;
    bool there;

    g_mutex_lock(&listener->lock);
    if (listener->failed != NULL) {
        g_propagate_error(error, g_steal_pointer(&listener->failed));
        g_mutex_unlock(&listener->lock);
        return -1;
    }
    there = pair->main != NULL;
    if (there) {
        state = vmload_rdma_conn_get_state(pair->main);
    }
    g_mutex_unlock(&listener->lock);
    if (!there) {
        *deadline = -1;
        return 0;
    }
    if (*deadline < 0 && handshake_us > 0) {
        *deadline = g_get_monotonic_time() + handshake_us;
    }
    if (state == VMLOAD_RDMA_REMOVED) {
        vmload_fail(error, VMLOAD_ERROR_IO, "the RDMA device was removed");
        return -1;
    }
    if (state != VMLOAD_RDMA_ACCEPTED) {
        /* Also of one that has left: what it has sent before counts. */
        switch (vmload_rdma_pair_identify(pair, reason)) {
        case 1:
            return 1;
        case -1:
            return 0;
        default:
            break;
        }
    }
    if (*deadline >= 0 && g_get_monotonic_time() >= *deadline) {
        vmload_fail(reason, VMLOAD_ERROR_TIMEOUT,
                    "expected the beginning of a stream within "
                    "%" G_GINT64_FORMAT " ms, found none",
                    handshake_us / 1000);
    }
    return 0;
}

/* Sleeps until an event comes. */
static bool listener_poll(VmloadRdmaListener *listener, VmloadRdmaConn *conn,
                          const VmloadWait *wait, int64_t deadline,
                          GError **error)
{
    struct pollfd fds[] = {
        {.fd = conn != NULL ? vmload_rdma_conn_get_fd(conn) : -1,
         .events = POLLIN},
        {.fd = listener->channel->fd, .events = POLLIN},
        {.fd = wait->cancel != NULL ? vmload_cancel_get_fd(wait->cancel) : -1,
         .events = POLLIN},
    };
    int polled;

    if (conn != NULL && !vmload_rdma_conn_arm(conn)) {
        return true;
    }
    if (wait->begin != NULL) {
        wait->begin(wait->opaque);
    }
    polled = vmload_poll(fds, G_N_ELEMENTS(fds), deadline);
    if (fds[0].revents != 0) {
        vmload_rdma_conn_take_events(conn);
    }
    if (wait->end != NULL) {
        wait->end(wait->opaque);
    }
    if (polled < 0) {
        return vmload_fail_errno(error, errno, "poll");
    }
    return wait->cancel == NULL || vmload_cancel_check(wait->cancel, error);
}

static bool listener_await(VmloadRdmaListener *listener, VmloadRdmaPair *pair,
                           const VmloadWait *wait, int64_t handshake_us,
                           GError **error)
{
    int64_t deadline = -1;
    int found;

    for (;;) {
        GError *reason = NULL;

        if (!vmload_rdma_listener_dispatch(listener, error)) {
            return false;
        }
        found = listener_look(listener, pair, handshake_us, &deadline,
                              &reason, error);
        if (reason != NULL) {
            listener_drop_main(listener, pair, reason);
            deadline = -1;
        }
        vmload_rdma_listener_report(listener, pair);
        if (found != 0) {
            return found > 0;
        }
        if (wait->cancel != NULL &&
            !vmload_cancel_check(wait->cancel, error)) {
            return false;
        }
        if (reason == NULL &&
            !listener_poll(listener, pair->main, wait, deadline, error)) {
            return false;
        }
    }
}

VmloadChannel *vmload_rdma_listener_accept(VmloadRdmaListener *listener,
                                           const VmloadWait *wait,
                                           int64_t handshake_us,
                                           VmloadRefused refused, void *opaque,
                                           GError **error)
{
    VmloadRdmaPair *pair = vmload_rdma_pair_new(listener, error);

    if (pair == NULL) {
        return NULL;
    }
    pair->refused = refused;
    pair->opaque = opaque;
    if (!listener_enter(listener, pair, error) ||
        !listener_await(listener, pair, wait, handshake_us, error)) {
        vmload_rdma_pair_free(pair);
        return NULL;
    }
    /* Who waits for the place of the source need not wait any longer. */
    (void)vmload_rdma_listener_dispatch(listener, NULL);
    vmload_rdma_listener_report(listener, pair);
    return vmload_rdma_pair_make_channel(pair, error);
}

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

/* A request to connect. @flags: what the source wants. */
typedef struct {
    struct rdma_cm_id *id;
    uint32_t flags;
} Request;

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
};

/* --- connections ---------------------------------------------------------- */

static void id_refuse(struct rdma_cm_id *id)
{
    (void)rdma_reject(id, NULL, 0);
    rdma_destroy_id(id);
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

/*
 * The source's first connection is the main one, its second the return path;
 * a third is nobody's. Who comes after the source has left waits for the next
 * load. With the lock.
 */
static void listener_match(VmloadRdmaListener *listener)
{
    while (listener->n_requests > 0 && listener->pair != NULL) {
        VmloadRdmaPair *pair = listener->pair;
        Request request = listener->requests[0];

        if (pair->main != NULL && vmload_rdma_conn_get_state(pair->main) >=
                                      VMLOAD_RDMA_CLOSED) {
            return;
        }
        if (pair->main == NULL && listener->failed != NULL) {
            return;
        }
        request_drop(listener, 0);
        if (pair->main == NULL) {
            accept_main(listener, &request);
        } else if (pair->back == NULL && pair->back_error == NULL) {
            accept_back(pair, &request);
        } else {
            id_refuse(request.id);
        }
    }
}

/* --- events --------------------------------------------------------------- */

/* What is kept of an event once it is acknowledged. */
typedef struct {
    enum rdma_cm_event_type type;
    struct rdma_cm_id *id;
    bool good; /* a request of a source */
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
        event->good = vmload_rdma_private_parse(
            raw->param.conn.private_data, raw->param.conn.private_data_len,
            &event->flags, NULL);
    }
    rdma_ack_cm_event(raw);
    return 1;
}

static void event_request(VmloadRdmaListener *listener, const Event *event)
{
    Request *request = &listener->requests[listener->n_requests];

    if (!event->good || event->id->verbs == NULL ||
        listener->n_requests >= REQUESTS_MAX) {
        id_refuse(event->id);
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

static char *address_text(struct rdma_cm_id *id)
{
    const struct sockaddr *any = rdma_get_local_addr(id);
    uint16_t port = GUINT16_FROM_BE(rdma_get_src_port(id));
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

VmloadRdmaListener *vmload_rdma_listener_new(const VmloadUri *uri,
                                             GError **error)
{
    VmloadRdmaListener *listener = g_new0(VmloadRdmaListener, 1);
    bool ok;

    listener->ref_count = 1;
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
    listener->address = address_text(listener->id);
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

/*
 * Is the main connection there? *@deadline: set by who comes, gone with who
 * leaves before he is really there. With -1: it will not be.
 */
static int listener_look(VmloadRdmaListener *listener, VmloadRdmaPair *pair,
                         int64_t handshake_us, int64_t *deadline,
                         GError **error)
{
    VmloadRdmaConn *gone = NULL;
    int result = 0;

    g_mutex_lock(&listener->lock);
    if (listener->failed != NULL) {
        g_propagate_error(error, g_steal_pointer(&listener->failed));
        result = -1;
    } else if (pair->main == NULL) {
        *deadline = -1;
    } else if (vmload_rdma_conn_get_state(pair->main) ==
               VMLOAD_RDMA_ESTABLISHED) {
        result = 1;
    } else if (vmload_rdma_conn_get_state(pair->main) >= VMLOAD_RDMA_CLOSED) {
        gone = g_steal_pointer(&pair->main);
        *deadline = -1;
        listener_match(listener);
    } else if (*deadline < 0 && handshake_us > 0) {
        *deadline = g_get_monotonic_time() + handshake_us;
    }
    g_mutex_unlock(&listener->lock);
    vmload_rdma_conn_free(gone);
    return result;
}

/* Sleeps until an event comes. */
static bool listener_poll(VmloadRdmaListener *listener,
                          const VmloadWait *wait, int64_t deadline,
                          GError **error)
{
    struct pollfd fds[] = {
        {.fd = listener->channel->fd, .events = POLLIN},
        {.fd = wait->cancel != NULL ? vmload_cancel_get_fd(wait->cancel) : -1,
         .events = POLLIN},
    };
    int polled;

    if (wait->begin != NULL) {
        wait->begin(wait->opaque);
    }
    polled = vmload_poll(fds, G_N_ELEMENTS(fds), deadline);
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
        if (!vmload_rdma_listener_dispatch(listener, error)) {
            return false;
        }
        found =
            listener_look(listener, pair, handshake_us, &deadline, error);
        if (found != 0) {
            return found > 0;
        }
        if (deadline >= 0 && g_get_monotonic_time() >= deadline) {
            return vmload_fail(error, VMLOAD_ERROR_TIMEOUT,
                               "expected the RDMA connection to be "
                               "established within %" G_GINT64_FORMAT
                               " ms, found it is not",
                               handshake_us / 1000);
        }
        if (!listener_poll(listener, wait, deadline, error)) {
            return false;
        }
    }
}

VmloadChannel *vmload_rdma_listener_accept(VmloadRdmaListener *listener,
                                           const VmloadWait *wait,
                                           int64_t handshake_us,
                                           GError **error)
{
    VmloadRdmaPair *pair = vmload_rdma_pair_new(listener, error);

    if (pair == NULL) {
        return NULL;
    }
    if (!listener_enter(listener, pair, error) ||
        !listener_await(listener, pair, wait, handshake_us, error)) {
        vmload_rdma_pair_free(pair);
        return NULL;
    }
    return vmload_rdma_pair_make_channel(pair, error);
}

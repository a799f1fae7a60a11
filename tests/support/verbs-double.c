/* SPDX-License-Identifier: BSD-3-Clause */
/* The source behind the verbs double, and what tests ask and tell. */
#include "verbs-double-private.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

VdState vd;

/* What vd_reset() leaves. */
static const char *fail_next;

void vd_wrong(const char *what)
{
    if (vd.wrong == NULL) {
        vd.wrong = what;
    }
}

/* May this call succeed? With the lock. */
bool vd_may(const char *name)
{
    int number = vd.calls++;

    if (number == vd.fail_nth) {
        vd.failed = true;
        errno = ENOMEM;
        return false;
    }
    if (vd.fail_always != NULL && strcmp(vd.fail_always, name) == 0) {
        vd.failed = true;
        errno = EOPNOTSUPP;
        return false;
    }
    if (vd.fail_times > 0 && strcmp(vd.fail_name, name) == 0) {
        vd.fail_times--;
        vd.failed = true;
        errno = vd.fail_errno;
        return false;
    }
    return true;
}

void vd_ring(int fd)
{
    const uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof(one));

    (void)written;
}

bool vd_unring(int fd)
{
    uint64_t count;

    return read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count);
}

/* --- completions ---------------------------------------------------------- */

void vd_complete(Cq *cq, uint64_t wr_id, enum ibv_wc_status status,
                     uint32_t length)
{
    CompChannel *channel = (CompChannel *)cq->base.channel;

    if (cq->n >= CQ_MAX) {
        vd_wrong("completion queue overrun");
        return;
    }
    cq->wc[cq->n].wr_id = wr_id;
    cq->wc[cq->n].status = status;
    cq->wc[cq->n].byte_len = length;
    cq->n++;
    if (cq->armed) {
        cq->armed = false;
        cq->unacked++;
        channel->pending++;
        vd_ring(channel->base.fd);
    }
}

static Qp *connection_qp(int number)
{
    Connection *connection = &vd.connections[number];

    return connection->id != NULL ? (Qp *)connection->id->base.qp : NULL;
}

/* The oldest receive ends. */
void vd_finish_receive(Qp *qp, enum ibv_wc_status status,
                           const uint8_t *data, uint32_t length)
{
    uint32_t i;

    if (qp->n_recv == 0) {
        /* The peer tries for ever; a test does not. */
        vd_wrong("receiver not ready");
        return;
    }
    if (status == IBV_WC_SUCCESS && length > qp->recv_size[0]) {
        status = IBV_WC_LOC_LEN_ERR;
    } else if (data != NULL) {
        memcpy(qp->recv_data[0], data, length);
    }
    vd_complete((Cq *)qp->base.recv_cq, qp->recv_wr[0], status, length);
    qp->n_recv--;
    for (i = 0; i < qp->n_recv; i++) {
        qp->recv_wr[i] = qp->recv_wr[i + 1];
        qp->recv_data[i] = qp->recv_data[i + 1];
        qp->recv_size[i] = qp->recv_size[i + 1];
    }
    qp->broken = qp->broken || status != IBV_WC_SUCCESS;
}

void vd_push_event(enum rdma_cm_event_type type, Id *id, const void *data,
                       uint8_t length)
{
    struct rdma_cm_event *event;

    if (vd.channel == NULL || id == NULL) {
        return;
    }
    event = g_new0(struct rdma_cm_event, 1);
    event->event = type;
    event->id = &id->base;
    if (data != NULL) {
        uint8_t *copy = g_malloc(length);

        memcpy(copy, data, length);
        event->param.conn.private_data = copy;
        event->param.conn.private_data_len = length;
    }
    g_queue_push_tail(&vd.channel->events, event);
    vd_ring(vd.channel->base.fd);
}

/* A message's four words. */
static void put_header(uint8_t *to, uint32_t type, uint32_t repeat,
                       uint32_t length)
{
    const uint32_t words[4] = {GUINT32_TO_BE(length), GUINT32_TO_BE(type),
                               GUINT32_TO_BE(repeat), 0xdeadbeef};

    memcpy(to, words, sizeof(words));
}

static void deliver(int number, const GByteArray *bytes)
{
    Qp *qp = connection_qp(number);

    if (qp != NULL) {
        vd_finish_receive(qp, IBV_WC_SUCCESS, bytes->data, bytes->len);
    }
}

static void step_free(Step *step)
{
    if (step->bytes != NULL) {
        g_byte_array_unref(step->bytes);
    }
    g_free(step);
}

static uint32_t word_at(const uint8_t *data, uint32_t at)
{
    uint32_t word;

    memcpy(&word, data + at, sizeof(word));
    return GUINT32_FROM_BE(word);
}

void vd_play(void)
{
    while (vd.credits > 0 && !g_queue_is_empty(&vd.steps)) {
        Step *step = g_queue_peek_head(&vd.steps);
        Qp *qp = connection_qp(vd.main);

        if (step->kind == STEP_AWAIT) {
            if (vd.registrations < step->value) {
                return;
            }
            step_free(g_queue_pop_head(&vd.steps));
            continue;
        }
        g_queue_pop_head(&vd.steps);
        if (step->bytes != NULL && step->bytes->len >= HEADER &&
            word_at(step->bytes->data, 4) == REGISTER_FINISHED) {
            vd.rounds_due--;
        }

        vd.credits--;
        if (step->kind == STEP_MESSAGE || step->kind == STEP_LAST) {
            deliver(vd.main, step->bytes);
        }
        if (step->kind == STEP_STATUS && qp != NULL) {
            vd_finish_receive(qp, (enum ibv_wc_status)step->value, NULL, 0);
        }
        if (step->kind == STEP_EVENT) {
            vd_push_event((enum rdma_cm_event_type)step->value,
                       vd.connections[vd.main].id, NULL, 0);
        }
        if (step->kind == STEP_LAST) {
            vd_push_event(RDMA_CM_EVENT_DISCONNECTED,
                          vd.connections[vd.main].id, NULL, 0);
        }
        step_free(step);
    }
}

/* The return path's source gives a credit. */
void vd_give_credit(int number)
{
    uint8_t bytes[HEADER];
    Qp *qp = connection_qp(number);

    put_header(bytes, READY, 1, 0);
    if (qp != NULL && !vd.hold_credits) {
        vd_finish_receive(qp, IBV_WC_SUCCESS, bytes, sizeof(bytes));
    }
}

/* What it can write to from now on. */
static void note_keys(uint32_t type, const uint8_t *data, uint32_t length)
{
    uint32_t size = type == BLOCKS_RESULT ? 32 : 16;
    uint32_t key_at = type == BLOCKS_RESULT ? 24 : 0;
    uint32_t at;

    if (type != BLOCKS_RESULT && type != REGISTER_RESULT) {
        return;
    }
    for (at = 0; at + size <= length; at += size) {
        g_hash_table_add(vd.told,
                         GUINT_TO_POINTER(word_at(data, at + key_at)));
    }
}

/* The source got a message of ours. */
void vd_receive(int number, const uint8_t *data, uint32_t length)
{
    static const uint8_t shut[] = {0, 1};
    static const char *const names[] = {
        "NONE", "ERROR", "READY", "QEMU_FILE", "4", "RAM_BLOCKS_RESULT", "6",
        "7", "REGISTER_RESULT", "9", "10", "UNREGISTER_FINISHED"};
    uint32_t words[4];
    uint32_t type;

    if (length < HEADER) {
        vd_wrong("a message without a header");
        return;
    }
    memcpy(words, data, sizeof(words));
    type = GUINT32_FROM_BE(words[1]);
    if (type >= G_N_ELEMENTS(names) ||
        GUINT32_FROM_BE(words[0]) != length - HEADER) {
        vd_wrong("a malformed message");
        return;
    }
    note_keys(type, data + HEADER, length - HEADER);
    if (vd.last[type] != NULL) {
        g_byte_array_unref(vd.last[type]);
    }
    vd.last[type] = g_byte_array_append(g_byte_array_new(), data + HEADER,
                                        length - HEADER);
    if (number == vd.main) {
        g_string_append_printf(vd.log, "%s ", names[type]);
    }
    if (number == vd.main && type == READY) {
        vd.credits++;
        if (vd.credits > 1) {
            vd_wrong("two credits at once");
        }
        vd_play();
    }
    if (number == vd.back_number && type == FILE_) {
        g_byte_array_append(vd.back, data + HEADER, length - HEADER);
        if (vd.leave_after_shut && length >= HEADER + 8 &&
            memcmp(data + length - 8, shut, sizeof(shut)) == 0) {
            vd_push_event(RDMA_CM_EVENT_DISCONNECTED,
                          vd.connections[vd.main].id, NULL, 0);
            vd_push_event(RDMA_CM_EVENT_DISCONNECTED,
                          vd.connections[vd.back_number].id, NULL, 0);
        } else {
            vd_give_credit(number);
        }
    }
}

/* --- for tests ------------------------------------------------------------ */

void vd_reset(void)
{
    size_t i;

    vd_init_device();
    g_queue_clear_full(&vd.steps, (GDestroyNotify)step_free);
    if (vd.ready) {
        g_string_free(vd.log, TRUE);
        g_byte_array_unref(vd.back);
        g_array_free(vd.ranges, TRUE);
        g_array_free(vd.open, TRUE);
        g_hash_table_destroy(vd.told);
    }
    for (i = 0; i < G_N_ELEMENTS(vd.last); i++) {
        g_clear_pointer(&vd.last[i], g_byte_array_unref);
    }
    memset(&vd, 0, sizeof(vd));
    vd.ready = true;
    vd.fail_nth = -1;
    vd.fail_always = g_steal_pointer(&fail_next);
    vd.main = VD_MAIN;
    vd.back_number = VD_BACK;
    vd.peer = 7;
    vd.next_key = 1;
    vd.log = g_string_new(NULL);
    vd.back = g_byte_array_new();
    vd.ranges = g_array_new(FALSE, FALSE, sizeof(Range));
    vd.open = g_array_new(FALSE, FALSE, sizeof(struct ibv_mr *));
    vd.told = g_hash_table_new(NULL, NULL);
    g_queue_init(&vd.steps);
}

void vd_fail_nth(int nth)
{
    g_mutex_lock(&vd.lock);
    vd.fail_nth = nth;
    vd.calls = 0;
    g_mutex_unlock(&vd.lock);
}

bool vd_has_failed(void)
{
    bool failed;

    g_mutex_lock(&vd.lock);
    failed = vd.failed;
    g_mutex_unlock(&vd.lock);
    return failed;
}

void vd_fail_call(const char *name, int errnum, int times)
{
    g_mutex_lock(&vd.lock);
    vd.fail_name = name;
    vd.fail_errno = errnum;
    vd.fail_times = times;
    g_mutex_unlock(&vd.lock);
}

void vd_fail_next_reset(const char *name)
{
    fail_next = name;
}

void vd_fail_registrations(int first, int n, int errnum)
{
    g_mutex_lock(&vd.lock);
    vd.fail_first = first;
    vd.fail_n = n;
    vd.fail_registration = errnum;
    g_mutex_unlock(&vd.lock);
}

void vd_make_zero_keys(int n)
{
    g_mutex_lock(&vd.lock);
    vd.zero_keys = n;
    g_mutex_unlock(&vd.lock);
}

void vd_hold_registrations(bool hold)
{
    g_mutex_lock(&vd.lock);
    vd.hold_registrations = hold;
    g_cond_broadcast(&vd.cond);
    g_mutex_unlock(&vd.lock);
}

bool vd_is_held(void)
{
    bool held;

    g_mutex_lock(&vd.lock);
    held = vd.held > 0;
    g_mutex_unlock(&vd.lock);
    return held;
}

void vd_delay_registrations(uint64_t us)
{
    g_mutex_lock(&vd.lock);
    vd.delay_us = us;
    g_mutex_unlock(&vd.lock);
}

int vd_connect(const void *data, uint8_t length)
{
    int number = -1;

    g_mutex_lock(&vd.lock);
    if (vd.listener != NULL && vd.n_connections < VD_MAX) {
        number = vd.n_connections++;
        vd.connections[number].id = vd_make_id(number);
        vd_push_event(RDMA_CM_EVENT_CONNECT_REQUEST, vd.connections[number].id,
                   data, length);
    }
    g_mutex_unlock(&vd.lock);
    return number;
}

int vd_connect_source(uint32_t flags)
{
    const uint8_t data[56] = {0, 0, 0, 1, 0, 0, 0, (uint8_t)flags};

    return vd_connect(data, sizeof(data));
}

void vd_change_main(int number)
{
    g_mutex_lock(&vd.lock);
    vd.main = number;
    vd.back_number = number + 1;
    vd.credits = 0;
    g_mutex_unlock(&vd.lock);
}

void vd_change_back(int number)
{
    g_mutex_lock(&vd.lock);
    vd.back_number = number;
    g_mutex_unlock(&vd.lock);
}

void vd_set_peer(uint8_t host)
{
    g_mutex_lock(&vd.lock);
    vd.peer = host;
    g_mutex_unlock(&vd.lock);
}

void vd_event(int number, enum rdma_cm_event_type type)
{
    g_mutex_lock(&vd.lock);
    vd_push_event(type, vd.connections[number].id, NULL, 0);
    g_mutex_unlock(&vd.lock);
}

void vd_hold_established(bool hold)
{
    g_mutex_lock(&vd.lock);
    vd.hold_established = hold;
    g_mutex_unlock(&vd.lock);
}

void vd_hold_credits(bool hold)
{
    g_mutex_lock(&vd.lock);
    vd.hold_credits = hold;
    g_mutex_unlock(&vd.lock);
}

void vd_leave_after_shut(bool leave)
{
    g_mutex_lock(&vd.lock);
    vd.leave_after_shut = leave;
    g_mutex_unlock(&vd.lock);
}

static void add_step(StepKind kind, GByteArray *bytes, int value)
{
    Step *step = g_new0(Step, 1);

    step->kind = kind;
    step->bytes = bytes;
    step->value = value;
    g_mutex_lock(&vd.lock);
    if (bytes != NULL && bytes->len >= HEADER &&
        word_at(bytes->data, 4) == REGISTER_FINISHED) {
        vd.rounds_due++;
    }
    g_queue_push_tail(&vd.steps, step);
    vd_play();
    g_mutex_unlock(&vd.lock);
}

static GByteArray *make_message(uint32_t type, uint32_t repeat,
                                const void *data, uint32_t length)
{
    GByteArray *bytes = g_byte_array_new();

    g_byte_array_set_size(bytes, HEADER);
    put_header(bytes->data, type, repeat, length);
    return g_byte_array_append(bytes, data, length);
}

void vd_queue(uint32_t type, uint32_t repeat, const void *data,
              uint32_t length)
{
    add_step(STEP_MESSAGE, make_message(type, repeat, data, length), 0);
}

void vd_queue_file(const GByteArray *stream)
{
    vd_queue(FILE_, 77, stream->data, stream->len);
}

void vd_queue_last(const GByteArray *stream)
{
    add_step(STEP_LAST, make_message(FILE_, 0, stream->data, stream->len), 0);
}

void vd_queue_raw(const void *data, uint32_t length)
{
    add_step(STEP_MESSAGE,
             g_byte_array_append(g_byte_array_new(), data, length), 0);
}

void vd_queue_status(enum ibv_wc_status status)
{
    add_step(STEP_STATUS, NULL, (int)status);
}

void vd_queue_await(int registrations)
{
    add_step(STEP_AWAIT, NULL, registrations);
}

void vd_queue_event(enum rdma_cm_event_type type)
{
    add_step(STEP_EVENT, NULL, (int)type);
}

void vd_send_now(int number, uint32_t type, uint32_t repeat, const void *data,
                 uint32_t length)
{
    GByteArray *bytes = make_message(type, repeat, data, length);

    g_mutex_lock(&vd.lock);
    deliver(number, bytes);
    g_mutex_unlock(&vd.lock);
    g_byte_array_unref(bytes);
}

void vd_fail_ready(enum ibv_wc_status status)
{
    g_mutex_lock(&vd.lock);
    vd.ready_status = status;
    g_mutex_unlock(&vd.lock);
}

char *vd_get_log(void)
{
    char *copy;

    g_mutex_lock(&vd.lock);
    copy = g_strdup(vd.log->str);
    g_mutex_unlock(&vd.lock);
    return copy;
}

GByteArray *vd_get_back(void)
{
    return vd.back;
}

GByteArray *vd_get_last(uint32_t type)
{
    return vd.last[type];
}

bool vd_is_refused(int number)
{
    bool refused;

    g_mutex_lock(&vd.lock);
    refused = vd.connections[number].refused;
    g_mutex_unlock(&vd.lock);
    return refused;
}

bool vd_is_accepted(int number)
{
    bool accepted;

    g_mutex_lock(&vd.lock);
    accepted = vd.connections[number].accepted;
    g_mutex_unlock(&vd.lock);
    return accepted;
}

bool vd_is_disconnected(int number)
{
    bool disconnected;

    g_mutex_lock(&vd.lock);
    disconnected = vd.connections[number].disconnected;
    g_mutex_unlock(&vd.lock);
    return disconnected;
}

uint32_t vd_get_accepted_flags(int number)
{
    return vd.connections[number].flags;
}

uint64_t vd_get_open(void)
{
    uint64_t open = 0;
    guint i;

    g_mutex_lock(&vd.lock);
    for (i = 0; i < vd.open->len; i++) {
        const struct ibv_mr *mr = g_array_index(vd.open, struct ibv_mr *, i);
        const Qp *qp = connection_qp(vd.main);

        /* Without a queue pair nobody gets there. */
        open += qp != NULL && qp->base.pd == mr->pd ? mr->length : 0;
    }
    g_mutex_unlock(&vd.lock);
    return open;
}

bool vd_was_open_only_in(const void *memory, uint64_t length)
{
    uintptr_t begin = (uintptr_t)memory;
    bool inside = true;
    guint i;

    g_mutex_lock(&vd.lock);
    for (i = 0; i < vd.ranges->len; i++) {
        const Range *range = &g_array_index(vd.ranges, Range, i);

        inside = inside && range->begin >= begin &&
                 range->begin + range->length <= begin + length;
    }
    g_mutex_unlock(&vd.lock);
    return inside;
}

int vd_count_alive(void)
{
    int alive;

    g_mutex_lock(&vd.lock);
    alive = vd.alive;
    g_mutex_unlock(&vd.lock);
    return alive;
}

const char *vd_get_wrong(void)
{
    return vd.wrong;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the two files of the verbs double share: the calls, and the source
 * that is behind them.
 */
#ifndef VMLOAD_TESTS_VERBS_DOUBLE_PRIVATE_H
#define VMLOAD_TESTS_VERBS_DOUBLE_PRIVATE_H

#include "verbs-double.h"

#define HEADER 16
#define CQ_MAX 128
#define RECV_MAX 8

enum {
    ERROR = 1,
    READY = 2,
    FILE_ = 3,
    BLOCKS_RESULT = 5,
    REGISTER_RESULT = 8,
    REGISTER_FINISHED = 9,
};

typedef struct {
    struct rdma_event_channel base;
    GQueue events; /* struct rdma_cm_event */
} Channel;

typedef struct {
    struct ibv_comp_channel base;
    uint32_t pending;
} CompChannel;

typedef struct {
    struct ibv_cq base;
    struct ibv_wc wc[CQ_MAX];
    uint32_t n;
    bool armed;
    uint32_t unacked;
} Cq;

/* One end of a connection, ours; @number is the source's. */
typedef struct {
    struct rdma_cm_id base;
    int number;
    int unacked;
    bool listens;
} Id;

typedef struct {
    struct ibv_qp base;
    Id *id;
    uint64_t recv_wr[RECV_MAX];
    uint8_t *recv_data[RECV_MAX];
    uint32_t recv_size[RECV_MAX];
    uint32_t n_recv;
    bool broken;
} Qp;

typedef struct {
    Id *id;
    bool refused;
    bool accepted;
    bool disconnected;
    uint32_t flags;
} Connection;

typedef enum {
    STEP_MESSAGE,
    STEP_STATUS,
    STEP_EVENT,
    STEP_LAST,
    STEP_AWAIT,
} StepKind;

/* What a READY brings. */
typedef struct {
    StepKind kind;
    GByteArray *bytes;
    int value;
} Step;

typedef struct {
    uintptr_t begin;
    uint64_t length;
} Range;

typedef struct {
    GMutex lock;
    bool ready;
    int alive;
    int calls;
    int fail_nth;
    bool failed;
    const char *fail_name;
    const char *fail_always;
    int fail_errno;
    int fail_times;
    const char *wrong;
    Channel *channel;
    Id *listener;
    Connection connections[VD_MAX];
    int n_connections;
    int main; /* number of the source's main connection, and of its second */
    int back_number;
    uint8_t peer;
    bool hold_established;
    bool hold_credits;
    bool leave_after_shut;
    enum ibv_wc_status ready_status;
    GQueue steps;
    uint32_t credits; /* READYs that wait for a step */
    GString *log;
    GByteArray *back;
    GByteArray *last[12];
    GArray *ranges; /* of Range: all that were opened for writing */
    GArray *open; /* of struct ibv_mr *: guest memory */
    GHashTable *told; /* keys of it that the source knows */
    uint32_t next_key;
    int registrations; /* of guest memory */
    int rounds_due;    /* REGISTER_FINISHED that are still to come */
    int fail_first;
    int fail_n;
    int fail_registration;
    int zero_keys;
    GCond cond; /* held has changed */
    bool hold_registrations;
    int held;
    uint64_t delay_us;
} VdState;

extern VdState vd;

/* verbs-double.c; all with the lock held. */
void vd_wrong(const char *what);
/* May this call succeed? */
bool vd_may(const char *name);
void vd_complete(Cq *cq, uint64_t wr_id, enum ibv_wc_status status,
                 uint32_t length);
/* What the source does with a credit, as long as it has any. */
void vd_play(void);
/* The oldest receive ends. */
void vd_finish_receive(Qp *qp, enum ibv_wc_status status, const uint8_t *data,
                       uint32_t length);
void vd_push_event(enum rdma_cm_event_type type, Id *id, const void *data,
                   uint8_t length);
/* The source got a message of ours. */
void vd_receive(int number, const uint8_t *data, uint32_t length);
/* The return path's source gives a credit. */
void vd_give_credit(int number);
void vd_ring(int fd);
bool vd_unring(int fd);

/* verbs-double-calls.c */
void vd_init_device(void);
Id *vd_make_id(int number);
void vd_event_free(struct rdma_cm_event *event);

#endif

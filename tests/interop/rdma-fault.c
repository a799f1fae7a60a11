/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LD_PRELOADed into a QEMU that migrates over RDMA: stops or kills it at an
 * exact place, just before it posts a chosen work request. The test sets the
 * place in a file that both map, so one source serves many tests.
 *
 * The file named by VMLOAD_FAULT has 32-bit numbers of this machine's order:
 *
 *   0  signal     what to raise; 0: nothing
 *   1  kind       control message type (1 to 11), or a KIND_ below
 *   2  countdown  at the how manyth of this kind, from 1
 *   3  fired      set to 1 just before the signal
 *   4  posted[]   how many work requests of each kind were posted
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rdma/rdma_cma.h>

#define TYPE_QEMU_FILE 3
#define KIND_WRITE 12   /* guest memory */
#define KIND_DEVICES 13 /* QEMU_FILE, and larger than what RAM takes of it */
#define KINDS 14
#define HEADER 16
#define DEVICES_MIN 4096

typedef struct {
    uint32_t signal;
    uint32_t kind;
    uint32_t countdown;
    uint32_t fired;
    uint32_t posted[KINDS];
} Fault;

typedef int PostSend(struct ibv_qp *qp, struct ibv_send_wr *wr,
                     struct ibv_send_wr **bad);

static Fault *fault;
static PostSend *real_post_send;

static void reached(uint32_t kind)
{
    uint32_t number = ++fault->posted[kind];

    if (fault->signal != 0 && fault->kind == kind && !fault->fired &&
        number >= fault->countdown) {
        fault->fired = 1;
        /* At this thread, which therefore does not get any further. */
        raise((int)fault->signal);
    }
}

static void look_at(const struct ibv_send_wr *wr)
{
    uint32_t head[2];

    if (wr->opcode == IBV_WR_RDMA_WRITE) {
        reached(KIND_WRITE);
    } else if (wr->opcode == IBV_WR_SEND && wr->num_sge > 0 &&
               wr->sg_list[0].length >= HEADER) {
        memcpy(head, (const void *)(uintptr_t)wr->sg_list[0].addr,
               sizeof(head));
        if (ntohl(head[1]) >= KIND_WRITE) {
            return;
        }
        reached(ntohl(head[1]));
        if (ntohl(head[1]) == TYPE_QEMU_FILE &&
            ntohl(head[0]) >= DEVICES_MIN) {
            reached(KIND_DEVICES);
        }
    }
}

static int our_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
                         struct ibv_send_wr **bad)
{
    look_at(wr);
    return real_post_send(qp, wr, bad);
}

/* ibv_post_send() is inline and goes through the device's table. */
static void patch(struct ibv_context *verbs)
{
    if (verbs != NULL && verbs->ops.post_send != our_post_send) {
        real_post_send = verbs->ops.post_send;
        verbs->ops.post_send = our_post_send;
    }
}

static void map_file(void)
{
    const char *path = getenv("VMLOAD_FAULT");
    void *memory;
    int fd;

    if (path == NULL) {
        return;
    }
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        abort(); /* a test that would test nothing */
    }
    memory = mmap(NULL, sizeof(Fault), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                  0);
    close(fd);
    if (memory == MAP_FAILED) {
        abort();
    }
    fault = memory;
}

int rdma_connect(struct rdma_cm_id *id, struct rdma_conn_param *param)
{
    int (*real)(struct rdma_cm_id *, struct rdma_conn_param *);
    void *symbol = dlsym(RTLD_NEXT, "rdma_connect");

    memcpy(&real, &symbol, sizeof(real));
    if (fault == NULL) {
        map_file();
    }
    if (fault != NULL) {
        patch(id->verbs);
    }
    return real(id, param);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer that does exactly what it is told, for what no QEMU does. It
 * connects, says so, and takes one action after the other:
 *
 *   rdma-peer [-p HEX] ADDRESS PORT [ACTION]...
 *
 *   -p HEX        private data of the request ("": none; default: version 1,
 *                 no flags)
 *   file:PATH     be a source: send the bytes of PATH, each message on READY
 *   part:N:PATH   the same, the first N bytes only
 *   message:HEX   wait for READY, send these bytes as they are
 *   unasked:HEX   send them without having waited
 *   sleep:MS      do nothing
 *   gone          wait until the other side has disconnected
 *
 * Prints "rejected" or "connected", then a line for each message that comes
 * and is no READY ("message TYPE LENGTH"), and "disconnected". The status is
 * 0 if all could be done, 3 if the other side went away first, 4 if nothing
 * came for 60 s, 1 for everything else.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>

#define BUFFER (512 * 1024)
#define RECEIVES 4
#define HEADER 16
#define FILE_MAX 32768
#define TYPE_READY 2
#define TYPE_FILE 3
#define SECONDS 60

static struct rdma_cm_id *id;
static struct ibv_mr *send_mr;
static struct ibv_mr *receive_mr;
static uint8_t send_buffer[HEADER + FILE_MAX];
static uint8_t receive_buffer[RECEIVES][BUFFER];
static unsigned credits;
static bool disconnected;

static _Noreturn void end(int status, const char *what)
{
    printf("%s\n", what);
    fflush(stdout);
    _exit(status);
}

static _Noreturn void fail(const char *what)
{
    perror(what);
    fflush(stdout);
    _exit(1);
}

static size_t from_hex(const char *text, uint8_t *bytes, size_t size)
{
    size_t n = 0;
    unsigned value;

    while (n < size && sscanf(text, "%2x", &value) == 1) {
        bytes[n++] = (uint8_t)value;
        text += 2;
    }
    return n;
}

static void post_receive(uintptr_t index)
{
    if (rdma_post_recv(id, (void *)index, receive_buffer[index], BUFFER,
                       receive_mr) != 0) {
        fail("rdma_post_recv");
    }
}

static void take_message(const struct ibv_wc *wc)
{
    uint32_t head[2];

    if (wc->status != IBV_WC_SUCCESS) {
        return; /* flushed; the event says why */
    }
    memcpy(head, receive_buffer[wc->wr_id], sizeof(head));
    if (ntohl(head[1]) == TYPE_READY) {
        credits++;
    } else {
        printf("message %u %u\n", ntohl(head[1]), ntohl(head[0]));
        fflush(stdout);
    }
    post_receive(wc->wr_id);
}

static void take_completions(void)
{
    struct ibv_cq *cq;
    struct ibv_wc wc;
    void *context;

    if (ibv_get_cq_event(id->recv_cq_channel, &cq, &context) != 0) {
        fail("ibv_get_cq_event");
    }
    ibv_ack_cq_events(cq, 1);
    if (ibv_req_notify_cq(cq, 0) != 0) {
        fail("ibv_req_notify_cq");
    }
    while (ibv_poll_cq(cq, 1, &wc) > 0) {
        take_message(&wc);
    }
}

static void take_event(void)
{
    struct rdma_cm_event *event;

    if (rdma_get_cm_event(id->channel, &event) != 0) {
        fail("rdma_get_cm_event");
    }
    if (event->event == RDMA_CM_EVENT_DISCONNECTED) {
        disconnected = true;
    }
    rdma_ack_cm_event(event);
}

/* Waits for a credit, or, if not @credit, for the end of the connection. */
static void wait_for(bool credit)
{
    struct pollfd fds[2];

    for (;;) {
        /* What had come before the end counts. */
        fds[0] = (struct pollfd){id->recv_cq_channel->fd, POLLIN, 0};
        fds[1] = (struct pollfd){id->channel->fd, POLLIN, 0};
        while (poll(fds, 1, 0) > 0) {
            take_completions();
        }
        if (credit ? credits > 0 : disconnected) {
            return;
        }
        if (disconnected) {
            end(3, "disconnected");
        }
        if (poll(fds, 2, SECONDS * 1000) <= 0) {
            end(4, "silence");
        }
        if (fds[1].revents != 0) {
            take_event();
        }
    }
}

static void send_bytes(size_t length)
{
    struct ibv_wc wc;

    if (rdma_post_send(id, NULL, send_buffer, length, send_mr,
                       IBV_SEND_SIGNALED) != 0) {
        fail("rdma_post_send");
    }
    if (rdma_get_send_comp(id, &wc) < 1 || wc.status != IBV_WC_SUCCESS) {
        end(3, "disconnected");
    }
}

static void send_hex(const char *text)
{
    send_bytes(from_hex(text, send_buffer, sizeof(send_buffer)));
}

static void send_file(const char *path, size_t limit)
{
    FILE *file = fopen(path, "rb");
    uint32_t head[4] = {0, htonl(TYPE_FILE), 0, 0};
    size_t n;

    if (file == NULL) {
        fail(path);
    }
    for (;;) {
        n = limit < FILE_MAX ? limit : FILE_MAX;
        n = fread(send_buffer + HEADER, 1, n, file);
        if (n == 0) {
            break;
        }
        limit -= n;
        head[0] = htonl((uint32_t)n);
        memcpy(send_buffer, head, sizeof(head));
        wait_for(true);
        credits--;
        send_bytes(HEADER + n);
    }
    fclose(file);
}

static void act(const char *action)
{
    const char *value = strchr(action, ':');
    char *rest;
    size_t limit;

    value = value != NULL ? value + 1 : "";
    if (strncmp(action, "file:", 5) == 0) {
        send_file(value, SIZE_MAX);
    } else if (strncmp(action, "part:", 5) == 0) {
        limit = strtoul(value, &rest, 10);
        send_file(rest + 1, limit);
    } else if (strncmp(action, "message:", 8) == 0) {
        wait_for(true);
        credits--;
        send_hex(value);
    } else if (strncmp(action, "unasked:", 8) == 0) {
        send_hex(value);
    } else if (strncmp(action, "sleep:", 6) == 0) {
        usleep((useconds_t)strtoul(value, NULL, 10) * 1000);
    } else if (strcmp(action, "gone") == 0) {
        wait_for(false);
        printf("disconnected\n");
    } else {
        fprintf(stderr, "what is '%s'?\n", action);
        _exit(1);
    }
}

static void connect_to(const char *address, const char *port,
                       const uint8_t *private_data, size_t length)
{
    struct rdma_addrinfo hints = {.ai_port_space = RDMA_PS_TCP};
    struct rdma_addrinfo *found;
    struct ibv_qp_init_attr attr = {
        .cap = {.max_send_wr = 8, .max_recv_wr = RECEIVES, .max_send_sge = 1,
                .max_recv_sge = 1},
        .qp_type = IBV_QPT_RC, .sq_sig_all = 1,
    };
    struct rdma_conn_param param = {
        .private_data = length != 0 ? private_data : NULL,
        .private_data_len = (uint8_t)length,
        .responder_resources = 1, .initiator_depth = 1, .retry_count = 5,
        .rnr_retry_count = 7,
    };
    uintptr_t i;

    if (rdma_getaddrinfo(address, port, &hints, &found) != 0) {
        fail("rdma_getaddrinfo");
    }
    if (rdma_create_ep(&id, found, NULL, &attr) != 0) {
        fail("rdma_create_ep");
    }
    rdma_freeaddrinfo(found);
    send_mr = rdma_reg_msgs(id, send_buffer, sizeof(send_buffer));
    receive_mr = rdma_reg_msgs(id, receive_buffer, sizeof(receive_buffer));
    if (send_mr == NULL || receive_mr == NULL) {
        fail("rdma_reg_msgs");
    }
    for (i = 0; i < RECEIVES; i++) {
        post_receive(i);
    }
    if (ibv_req_notify_cq(id->recv_cq, 0) != 0) {
        fail("ibv_req_notify_cq");
    }
    if (rdma_connect(id, &param) != 0) {
        if (errno == ECONNREFUSED) {
            end(3, "rejected");
        }
        fail("rdma_connect");
    }
    printf("connected\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    uint8_t private_data[56] = {0, 0, 0, 1};
    size_t length = 8;
    int i = 1;

    if (argc > 2 && strcmp(argv[1], "-p") == 0) {
        length = from_hex(argv[2], private_data, sizeof(private_data));
        i = 3;
    }
    if (argc - i < 2) {
        fprintf(stderr, "rdma-peer [-p HEX] ADDRESS PORT [ACTION]...\n");
        return 1;
    }
    connect_to(argv[i], argv[i + 1], private_data, length);
    for (i += 2; i < argc; i++) {
        act(argv[i]);
        fflush(stdout);
    }
    rdma_disconnect(id);
    return 0;
}

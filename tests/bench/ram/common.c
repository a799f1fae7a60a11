/* SPDX-License-Identifier: BSD-3-Clause */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)
/* As many connections as may come before one is taken. */
#define BACKLOG 256

void die(const char *what)
{
    fail(what, strerror(errno));
}

void fail(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

Pages pages_from_text(const char *text)
{
    if (strcmp(text, "small") == 0) {
        return PAGES_SMALL;
    }
    if (strcmp(text, "huge") != 0) {
        fail(text, "expected huge or small");
    }
    return PAGES_HUGE;
}

uint8_t *fresh_memory(size_t length, Pages pages)
{
    uint8_t *raw = mmap(NULL, length + HUGE_PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint8_t *memory;

    if (raw == MAP_FAILED) {
        die("memory");
    }
    memory = raw + (-(uintptr_t)raw & (HUGE_PAGE - 1));
    /* A kernel without huge pages has small ones. */
    (void)madvise(memory, length,
                  pages == PAGES_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return memory;
}

int open_file(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) != 0) {
        die(path);
    }
    *size = (size_t)status.st_size;
    return fd;
}

const uint8_t *map_file(const char *path, size_t *size)
{
    int fd = open_file(path, size);
    uint8_t *memory;

    if (*size == 0) {
        fail(path, "is empty");
    }
    memory = mmap(NULL, *size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (memory == MAP_FAILED) {
        die(path);
    }
    close(fd);
    return memory;
}

/* The kinds of addresses. */
typedef union {
    struct sockaddr any;
    struct sockaddr_un unix_;
    struct sockaddr_in tcp;
} Address;

static socklen_t parse_address(const char *text, Address *address)
{
    size_t length = strlen(text);

    memset(address, 0, sizeof(*address));
    if (strncmp(text, "unix:", 5) == 0 &&
        length < 5 + sizeof(address->unix_.sun_path)) {
        address->unix_.sun_family = AF_UNIX;
        memcpy(address->unix_.sun_path, text + 5, length - 5);
        return sizeof(address->unix_);
    }
    if (strncmp(text, "tcp:", 4) == 0) {
        address->tcp.sin_family = AF_INET;
        address->tcp.sin_port = htons((uint16_t)atoi(text + 4));
        address->tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return sizeof(address->tcp);
    }
    fail(text, "expected unix:PATH or tcp:PORT");
}

int listen_at(const char *text)
{
    Address address;
    socklen_t length = parse_address(text, &address);
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, &address.any, length) != 0 || listen(fd, BACKLOG) != 0) {
        die(text);
    }
    return fd;
}

int connect_to(const char *text)
{
    Address address;
    socklen_t length;
    int fd = fd_of(text);

    if (fd >= 0) {
        return fd;
    }
    length = parse_address(text, &address);
    fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, &address.any, length) != 0) {
        die(text);
    }
    return fd;
}

int accept_one(int fd)
{
    int peer;

    do {
        peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    } while (peer < 0 && errno == EINTR);
    if (peer < 0) {
        die("accept");
    }
    return peer;
}

int fd_of(const char *address)
{
    return strncmp(address, "fd:", 3) == 0 ? atoi(address + 3) : -1;
}

/* How much came: less than LENGTH only at the end. */
static size_t read_up_to(int fd, uint8_t *data, size_t length)
{
    size_t have = 0;

    while (have < length) {
        ssize_t got = read(fd, data + have, length - have);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            die("read");
        }
        if (got == 0) {
            break;
        }
        have += (size_t)got;
    }
    return have;
}

bool read_or_end(int fd, void *data, size_t length)
{
    size_t have = read_up_to(fd, data, length);

    if (have != 0 && have < length) {
        fail("read", "the end in the middle");
    }
    return have == length;
}

void read_exactly(int fd, void *data, size_t length)
{
    if (read_up_to(fd, data, length) < length) {
        fail("read", "the end in the middle");
    }
}

void write_exactly(int fd, const void *data, size_t length)
{
    const uint8_t *at = data;

    while (length > 0) {
        ssize_t done = write(fd, at, length < MIB ? length : MIB);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            die("write");
        }
        at += done;
        length -= (size_t)done;
    }
}

uint32_t be32_at(const uint8_t *data)
{
    return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 |
           (uint32_t)data[2] << 8 | (uint32_t)data[3];
}

void say_ready(void)
{
    puts("ready");
    fflush(stdout);
}

/* A line of /proc/self/status that is in kB. */
static uint64_t status_bytes(const char *name)
{
    FILE *file = fopen("/proc/self/status", "re");
    uint64_t value = 0;
    char line[256];

    if (file == NULL) {
        die("/proc/self/status");
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            value = strtoull(line + strlen(name), NULL, 10) * 1024;
        }
    }
    fclose(file);
    return value;
}

static uint64_t cpu_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void usage_begin(Usage *usage)
{
    usage->rss_before = status_bytes("VmRSS:");
    usage->cpu_ns = cpu_ns();
}

void usage_print(const Usage *usage, uint64_t rss_memory)
{
    uint64_t cpu = cpu_ns() - usage->cpu_ns;

    printf("\"cpu_ns\": %llu, \"rss_peak\": %llu, \"rss_before\": %llu, "
           "\"rss_memory\": %llu",
           (unsigned long long)cpu,
           (unsigned long long)status_bytes("VmHWM:"),
           (unsigned long long)usage->rss_before,
           (unsigned long long)rss_memory);
}

uint64_t resident(const uint8_t *memory, size_t length)
{
    static unsigned char vector[65536];
    uint64_t bytes = 0;
    size_t at;
    size_t i;

    for (at = 0; at < length; at += sizeof(vector) * PAGE) {
        size_t part = length - at < sizeof(vector) * PAGE
                          ? length - at
                          : sizeof(vector) * PAGE;

        if (mincore((void *)(uintptr_t)(memory + at), part, vector) != 0) {
            die("mincore");
        }
        for (i = 0; i < (part + PAGE - 1) / PAGE; i++) {
            bytes += (vector[i] & 1) != 0 ? PAGE : 0;
        }
    }
    return bytes;
}

uint64_t sum_memory(const uint8_t *memory, size_t length)
{
    uint64_t sum = 0;
    uint64_t word;
    size_t at;

    for (at = 0; length - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, memory + at, sizeof(word));
        sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
        sum ^= sum >> 29;
    }
    return sum;
}

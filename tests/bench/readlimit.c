/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limit that loading is measured against: reading the same bytes from
 * the same kind of channel into fresh memory, by reads of 1 MiB.
 *
 *   readlimit file PATH      read a file
 *   readlimit threads N PATH read a file with N threads, each its part
 *   readlimit unix PATH      listen on a socket, read until the end
 *   readlimit send FILE PATH send a file into a listening socket
 *
 * Prints one line of JSON: bytes, and nanoseconds from the first byte (for a
 * file: from the first read) to the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define STEP ((size_t)1 << 20)
/* More address space than any stream that is measured; pages come as used. */
#define ROOM ((size_t)64 << 30)

static void die(const char *what)
{
    fprintf(stderr, "readlimit: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        die(path);
    }
    strcpy(address.sun_path, path);
    return address;
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        die(path);
    }
    return fd;
}

static int accept_one(const char *path)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int peer;

    if (fd < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, 1) != 0) {
        die(path);
    }
    peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0) {
        die("accept");
    }
    close(fd);
    return peer;
}

static void read_all(int fd, int from_first_byte)
{
    uint8_t *memory = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t start = now_ns();
    size_t have = 0;
    ssize_t got;

    if (memory == MAP_FAILED) {
        die("mmap");
    }
    while (have + STEP <= ROOM) {
        got = read(fd, memory + have, STEP);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            die("read");
        }
        if (got == 0) {
            break;
        }
        if (have == 0 && from_first_byte) {
            start = now_ns();
        }
        have += (size_t)got;
    }
    printf("{\"bytes\": %zu, \"ns\": %llu}\n", have,
           (unsigned long long)(now_ns() - start));
}

/* What one of several threads reads. */
typedef struct {
    pthread_t thread;
    int fd;
    uint8_t *memory;
    size_t from;
    size_t to;
} Part;

static void *read_part(void *data)
{
    const Part *part = data;
    size_t at = part->from;

    while (at < part->to) {
        size_t step = part->to - at < STEP ? part->to - at : STEP;
        ssize_t got = pread(part->fd, part->memory + at, step, (off_t)at);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            die("pread");
        }
        at += (size_t)got;
    }
    return NULL;
}

static void read_threads(int fd, size_t n)
{
    uint8_t *memory = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    Part *parts = calloc(n, sizeof(*parts));
    struct stat status;
    uint64_t start;
    size_t size;
    size_t i;

    if (memory == MAP_FAILED || parts == NULL || fstat(fd, &status) != 0) {
        die("memory");
    }
    size = (size_t)status.st_size;
    start = now_ns();
    for (i = 0; i < n; i++) {
        parts[i].fd = fd;
        parts[i].memory = memory;
        parts[i].from = size / n * i;
        parts[i].to = i + 1 < n ? size / n * (i + 1) : size;
        errno = pthread_create(&parts[i].thread, NULL, read_part, &parts[i]);
        if (errno != 0) {
            die("pthread_create");
        }
    }
    for (i = 0; i < n; i++) {
        pthread_join(parts[i].thread, NULL);
    }
    printf("{\"bytes\": %zu, \"ns\": %llu}\n", size,
           (unsigned long long)(now_ns() - start));
    free(parts);
}

static void send_all(int in, const char *path)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t start = now_ns();
    struct stat status;
    const uint8_t *memory;
    size_t size;
    size_t done = 0;
    ssize_t sent;

    if (fd < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        die(path);
    }
    if (fstat(in, &status) != 0) {
        die("fstat");
    }
    size = (size_t)status.st_size;
    memory = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, in, 0);
    if (memory == MAP_FAILED) {
        die("mmap");
    }
    while (done < size) {
        size_t step = size - done < STEP ? size - done : STEP;

        sent = send(fd, memory + done, step, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            die("send");
        }
        done += (size_t)sent;
    }
    close(fd);
    printf("{\"bytes\": %zu, \"ns\": %llu}\n", done,
           (unsigned long long)(now_ns() - start));
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "file") == 0) {
        read_all(open_file(argv[2]), 0);
    } else if (argc == 3 && strcmp(argv[1], "unix") == 0) {
        read_all(accept_one(argv[2]), 1);
    } else if (argc == 4 && strcmp(argv[1], "threads") == 0 &&
               strtoul(argv[2], NULL, 10) > 0) {
        read_threads(open_file(argv[3]), strtoul(argv[2], NULL, 10));
    } else if (argc == 4 && strcmp(argv[1], "send") == 0) {
        send_all(open_file(argv[2]), argv[3]);
    } else {
        fprintf(stderr, "usage: readlimit file PATH | threads N PATH | "
                        "unix PATH | send FILE PATH\n");
        return 2;
    }
    return 0;
}

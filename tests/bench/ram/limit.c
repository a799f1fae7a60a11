/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limits that loading is measured against: the same bytes from the same
 * kind of channel into fresh memory, and nothing else done with them.
 *
 *   limit [--pages=huge|small] [--threads=N] [--room=BYTES] read ADDRESS
 *       reads of 1 MiB. A file (file:PATH) may have several threads, each
 *       with its part; else one connection is awaited, or fd:NUMBER read.
 *       A pipe is given room for so much.
 *   limit [--pages=...] recv N ADDRESS
 *       the main connection and N more, a thread each
 *   limit [--barriers] inflate METHOD N ADDRESS
 *   limit inflate METHOD FILE...
 *       the same, and a bare decompressor over the data of each packet: over
 *       connections, or over recorded channels in files; connections may
 *       wait for each other where the stream says so
 *   limit copy MIB
 *       memcpy into fresh and into warm memory
 *   limit touch MIB
 *       nothing but that: memory that a hypervisor has taken back since it
 *       was free is there again, for whoever comes next
 *   limit sum FILE
 *   limit cached FILE
 *       the part that is in the page cache
 *
 * Prints "ready" when somebody may connect, then one line of JSON.
 */
#include "common.h"
#include "inflate.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* More address space than any stream that is measured. */
#define ROOM ((size_t)64 << 30)
#define MAX_THREADS 256

/* What one of several threads does. */
typedef struct {
    pthread_t thread;
    int fd;
    uint8_t *memory;
    size_t from;
    size_t to; /* a file's; else where memory ends */
    size_t done;
    uint64_t begin_ns;
    InflateMethod method;
    pthread_barrier_t *barrier; /* NULL: none */
} Part;

static uint64_t first_begin(const Part *parts, size_t n)
{
    uint64_t begin = parts[0].begin_ns;
    size_t i;

    for (i = 1; i < n; i++) {
        begin = parts[i].begin_ns < begin ? parts[i].begin_ns : begin;
    }
    return begin;
}

static void run_parts(Part *parts, size_t n, void *(*work)(void *))
{
    Usage usage;
    uint64_t bytes = 0;
    uint64_t rss = 0;
    uint64_t end;
    size_t i;

    usage_begin(&usage);
    for (i = 1; i < n; i++) {
        errno = pthread_create(&parts[i].thread, NULL, work, &parts[i]);
        if (errno != 0) {
            die("thread");
        }
    }
    work(&parts[0]);
    for (i = 1; i < n; i++) {
        pthread_join(parts[i].thread, NULL);
    }
    end = now_ns();
    for (i = 0; i < n; i++) {
        bytes += parts[i].done;
        rss += resident(parts[i].memory + parts[i].from, parts[i].done);
    }
    printf("{\"ns\": %llu, \"bytes\": %llu, ",
           (unsigned long long)(end - first_begin(parts, n)),
           (unsigned long long)bytes);
    usage_print(&usage, rss);
    puts("}");
}

static void *read_stream(void *data)
{
    Part *part = data;
    size_t room = part->to - part->from;
    ssize_t got;

    do {
        got = read(part->fd, part->memory + part->done, MIB);
        if (got < 0 && errno != EINTR) {
            die("read");
        }
        /* Sockets count from the first byte on. */
        if (part->begin_ns == 0) {
            part->begin_ns = now_ns();
        }
        part->done += got > 0 ? (size_t)got : 0;
        if (room - part->done < MIB) {
            fail("read", "more than was expected");
        }
    } while (got != 0);
    return NULL;
}

static void *read_file(void *data)
{
    Part *part = data;
    size_t at = part->from;

    part->begin_ns = now_ns();
    while (at < part->to) {
        size_t step = part->to - at < MIB ? part->to - at : MIB;
        ssize_t got = pread(part->fd, part->memory + at, step, (off_t)at);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            die("pread");
        }
        at += (size_t)got;
    }
    part->done = part->to - part->from;
    return NULL;
}

static void limit_read_file(const char *path, size_t n, Pages pages)
{
    Part parts[MAX_THREADS] = {0};
    size_t size;
    int fd = open_file(path, &size);
    uint8_t *memory = fresh_memory(size, pages);
    size_t each = size / n / PAGE * PAGE;
    size_t i;

    for (i = 0; i < n; i++) {
        parts[i].fd = fd;
        parts[i].memory = memory;
        parts[i].from = each * i;
        parts[i].to = i + 1 < n ? each * (i + 1) : size;
    }
    say_ready();
    run_parts(parts, n, read_file);
    close(fd);
}

/* Each connection gets memory of its own. */
static void accept_parts(const char *address, Part *parts, size_t n,
                         Pages pages)
{
    int fd = fd_of(address);
    int listener = -1;
    size_t i;

    for (i = 0; i < n; i++) {
        parts[i].to = ROOM / n / PAGE * PAGE;
        parts[i].memory = fresh_memory(parts[i].to, pages);
    }
    if (fd < 0) {
        listener = listen_at(address);
    }
    say_ready();
    for (i = 0; i < n; i++) {
        parts[i].fd = fd >= 0 ? fd : accept_one(listener);
    }
    if (listener >= 0) {
        close(listener);
    }
}

static void limit_read(const char *address, size_t threads, int room,
                       Pages pages)
{
    Part part = {0};

    if (strncmp(address, "file:", 5) == 0) {
        limit_read_file(address + 5, threads, pages);
        return;
    }
    accept_parts(address, &part, 1, pages);
    if (room > 0 && fcntl(part.fd, F_SETPIPE_SZ, room) < 0) {
        die("size of the pipe");
    }
    run_parts(&part, 1, read_stream);
}

static void limit_recv(size_t n, const char *address, Pages pages)
{
    Part parts[MAX_THREADS] = {0};

    accept_parts(address, parts, n + 1, pages);
    run_parts(parts, n + 1, read_stream);
}

static void *inflate_part(void *data)
{
    Part *part = data;

    part->begin_ns = now_ns();
    part->done = inflate_channel(part->method, part->fd, part->memory,
                                 part->to - part->from, part->barrier);
    return NULL;
}

/* The main connection is read; what it says does not matter. */
static void *inflate_connection(void *data)
{
    Part *part = data;

    return part->method == INFLATE_NONE ? read_stream(part)
                                        : inflate_part(part);
}

static void limit_inflate(const char *method, int argc, char **argv,
                          Pages pages, bool barriers)
{
    pthread_barrier_t barrier;
    Part parts[MAX_THREADS] = {0};
    size_t n = (size_t)argc;
    size_t size;
    size_t i;

    if (argc == 2 && atoi(argv[0]) > 0) {
        n = (size_t)atoi(argv[0]) + 1;
        if (pthread_barrier_init(&barrier, NULL, (unsigned)n - 1) != 0) {
            fail("barrier", "cannot be made");
        }
        accept_parts(argv[1], parts, n, pages);
        for (i = 1; i < n; i++) {
            parts[i].barrier = barriers ? &barrier : NULL;
            parts[i].method = inflate_method(method);
        }
        run_parts(parts, n, inflate_connection);
        return;
    }
    for (i = 0; i < n; i++) {
        parts[i].fd = open_file(argv[i], &size);
        parts[i].method = inflate_method(method);
        parts[i].to = ROOM / n / PAGE * PAGE;
        parts[i].memory = fresh_memory(parts[i].to, pages);
    }
    say_ready();
    run_parts(parts, n, inflate_part);
}

static void limit_copy(size_t size, Pages pages)
{
    uint8_t *from = fresh_memory(size, pages);
    uint8_t *to = fresh_memory(size, pages);
    uint64_t begin;
    uint64_t fresh;
    uint64_t warm;

    memset(from, 0x5a, size);
    say_ready();
    begin = now_ns();
    memcpy(to, from, size);
    fresh = now_ns() - begin;
    begin = now_ns();
    memcpy(to, from, size);
    warm = now_ns() - begin;
    /* What was copied is looked at, or it would not be copied. */
    printf("{\"ns\": %llu, \"warm_ns\": %llu, \"bytes\": %zu, "
           "\"last\": %u}\n",
           (unsigned long long)fresh, (unsigned long long)warm, size,
           to[size - 1]);
}

static void touch(size_t size)
{
    uint8_t *memory = fresh_memory(size, PAGES_HUGE);
    size_t at;

    for (at = 0; at < size; at += PAGE) {
        memory[at] = 1;
    }
}

static void print_sum(const char *path)
{
    size_t size;
    const uint8_t *memory = map_file(path, &size);

    printf("{\"sum\": \"%016llx\"}\n",
           (unsigned long long)sum_memory(memory, size));
}

static void print_cached(const char *path)
{
    size_t size;
    int fd = open_file(path, &size);
    const uint8_t *memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

    if (memory == MAP_FAILED) {
        die(path);
    }
    printf("{\"bytes\": %zu, \"cached\": %llu}\n", size,
           (unsigned long long)resident(memory, size));
}

static int usage(void)
{
    fprintf(stderr, "usage: limit [--pages=KIND] [--threads=N] "
                    "[--barriers] [--room=BYTES] "
                    "read|recv|inflate|copy|touch|sum|cached ...\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"pages", required_argument, NULL, 'p'},
        {"threads", required_argument, NULL, 't'},
        {"barriers", no_argument, NULL, 'b'},
        {"room", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    Pages pages = PAGES_HUGE;
    size_t threads = 1;
    bool barriers = false;
    int room = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option == 'p') {
            pages = pages_from_text(optarg);
        } else if (option == 'b') {
            barriers = true;
        } else if (option == 't' && atoi(optarg) > 0 &&
                   atoi(optarg) < MAX_THREADS) {
            threads = (size_t)atoi(optarg);
        } else if (option == 'r' && atoi(optarg) > 0) {
            room = atoi(optarg);
        } else {
            return usage();
        }
    }
    argc -= optind;
    argv += optind;
    if (argc == 2 && strcmp(argv[0], "read") == 0) {
        limit_read(argv[1], threads, room, pages);
    } else if (argc == 3 && strcmp(argv[0], "recv") == 0 &&
               atoi(argv[1]) > 0 && atoi(argv[1]) < MAX_THREADS - 1) {
        limit_recv((size_t)atoi(argv[1]), argv[2], pages);
    } else if (argc >= 3 && argc < MAX_THREADS &&
               strcmp(argv[0], "inflate") == 0) {
        limit_inflate(argv[1], argc - 2, argv + 2, pages, barriers);
    } else if (argc == 2 && strcmp(argv[0], "copy") == 0) {
        limit_copy((size_t)atoi(argv[1]) * MIB, pages);
    } else if (argc == 2 && strcmp(argv[0], "touch") == 0) {
        touch((size_t)atoi(argv[1]) * MIB);
    } else if (argc == 2 && strcmp(argv[0], "sum") == 0) {
        print_sum(argv[1]);
    } else if (argc == 2 && strcmp(argv[0], "cached") == 0) {
        print_cached(argv[1]);
    } else {
        return usage();
    }
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What the programs of the RAM benchmark share. They end on any failure. */
#ifndef VMLOAD_BENCH_RAM_COMMON_H
#define VMLOAD_BENCH_RAM_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)

/* Prints WHAT and errno, and ends. */
void die(const char *what) __attribute__((noreturn));
/* The same with a text of its own. */
void fail(const char *what, const char *why) __attribute__((noreturn));
uint64_t now_ns(void);

/* Of which pages fresh memory is. */
typedef enum {
    PAGES_HUGE,  /* as QEMU asks for its guest's memory */
    PAGES_SMALL,
} Pages;

Pages pages_from_text(const char *text);
/* Address space that becomes memory as it is touched; 2 MiB aligned. */
uint8_t *fresh_memory(size_t length, Pages pages);

int open_file(const char *path, size_t *size);
/* A file mapped and in the page table, to be read at memory's speed. */
const uint8_t *map_file(const char *path, size_t *size);

/* ADDRESS is unix:PATH, tcp:PORT (of 127.0.0.1) or fd:NUMBER. */
int listen_at(const char *address);
int connect_to(const char *address);
int accept_one(int fd);
/* Of fd:NUMBER: the descriptor; else -1. */
int fd_of(const char *address);

void read_exactly(int fd, void *data, size_t length);
/* False at the end of the file before the first byte. */
bool read_or_end(int fd, void *data, size_t length);
void write_exactly(int fd, const void *data, size_t length);

uint32_t be32_at(const uint8_t *data);

/* A line that says: from now on somebody may connect. */
void say_ready(void);

/* What a measured process needed besides time. */
typedef struct {
    uint64_t cpu_ns;
    uint64_t rss_before;
} Usage;

void usage_begin(Usage *usage);
/*
 * Prints `"cpu_ns": ..., "rss_peak": ..., "rss_before": ...`, with the
 * resident bytes of MEMORY as "rss_memory".
 */
void usage_print(const Usage *usage, uint64_t rss_memory);
/* Resident bytes of a part of the address space. */
uint64_t resident(const uint8_t *memory, size_t length);

/* A sum that notices what is lost, doubled or moved. */
uint64_t sum_memory(const uint8_t *memory, size_t length);

#endif

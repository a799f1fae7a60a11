/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams of any shape, for how the time of a load grows.
 *
 *   synth MIB BLOCKS DEVICES [ADDRESS]
 *
 * A stream with MIB of pages spread over BLOCKS blocks, and DEVICES sections
 * of 500 bytes, to standard output or, once there is somebody, to ADDRESS.
 * Pages have one content: what changes is made beforehand, so that the
 * sender is not what is measured.
 */
#include "common.h"
#include "stream-writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RAM_ID 2u
#define DEVICE_BYTES 500u
/* Pages of one section. */
#define SECTION_PAGES 1024u

typedef struct {
    uint64_t block_bytes;
    uint32_t blocks;
    uint32_t devices;
    int fd;
} Synth;

static void block_name(char *name, size_t size, uint32_t index)
{
    snprintf(name, size, "block%u", index);
}

static void flush(const Synth *synth, GByteArray *out)
{
    write_exactly(synth->fd, out->data, out->len);
    g_byte_array_set_size(out, 0);
}

static void write_start(const Synth *synth, GByteArray *out)
{
    char name[32];
    uint32_t i;

    sw_header(out);
    sw_configuration(out, "bench");
    sw_ram_start(out, RAM_ID, synth->block_bytes * synth->blocks);
    for (i = 0; i < synth->blocks; i++) {
        block_name(name, sizeof(name), i);
        sw_ram_block(out, name, synth->block_bytes);
    }
    sw_ram_eos(out);
    sw_footer(out, RAM_ID);
    flush(synth, out);
}

/* A section of at most SECTION_PAGES pages of one block. */
static void write_pages(const Synth *synth, GByteArray *out, uint32_t block,
                        uint64_t from)
{
    static uint8_t content[PAGE];
    uint64_t to = from + SECTION_PAGES * PAGE;
    char name[32];
    uint64_t at;

    if (content[0] == 0) {
        memset(content, 0x5a, sizeof(content));
    }
    block_name(name, sizeof(name), block);
    if (to > synth->block_bytes) {
        to = synth->block_bytes;
    }
    sw_section_part(out, RAM_ID);
    for (at = from; at < to; at += PAGE) {
        sw_ram_page(out, at == from ? name : NULL, at, content, PAGE);
    }
    sw_ram_eos(out);
    sw_footer(out, RAM_ID);
}

/* The next section of the same block and size: only addresses change. */
static void move_pages(GByteArray *out, uint32_t block, uint64_t from,
                       uint32_t pages)
{
    char name[32];
    guint at;
    uint32_t i;

    block_name(name, sizeof(name), block);
    sw_patch_be64(out, 5, from | SW_RAM_PAGE);
    at = (guint)(5 + 8 + 1 + strlen(name) + PAGE);
    for (i = 1; i < pages; i++) {
        sw_patch_be64(out, at,
                      (from + i * PAGE) | SW_RAM_PAGE | SW_RAM_CONTINUE);
        at += (guint)(8 + PAGE);
    }
}

static void write_block(const Synth *synth, GByteArray *out, uint32_t block)
{
    const uint64_t step = SECTION_PAGES * PAGE;
    uint64_t from = 0;

    if (synth->block_bytes >= step) {
        write_pages(synth, out, block, 0);
        for (; synth->block_bytes - from >= step; from += step) {
            move_pages(out, block, from, SECTION_PAGES);
            write_exactly(synth->fd, out->data, out->len);
        }
        g_byte_array_set_size(out, 0);
    }
    if (from < synth->block_bytes) {
        write_pages(synth, out, block, from);
        flush(synth, out);
    }
}

static void write_end(const Synth *synth, GByteArray *out)
{
    uint8_t payload[DEVICE_BYTES];
    char name[32];
    uint32_t i;

    memset(payload, 0x3c, sizeof(payload));
    sw_section_end(out, RAM_ID);
    sw_ram_eos(out);
    sw_footer(out, RAM_ID);
    for (i = 0; i < synth->devices; i++) {
        snprintf(name, sizeof(name), "device%u", i);
        sw_device(out, RAM_ID + 1 + i, name, 0, 1, payload, sizeof(payload));
    }
    sw_eof(out);
    sw_vmdesc(out, "{\"devices\": []}");
    flush(synth, out);
}

int main(int argc, char **argv)
{
    GByteArray *out = sw_new();
    Synth synth = {.fd = STDOUT_FILENO};
    uint32_t i;

    if (argc < 4 || atoi(argv[1]) <= 0 || atoi(argv[2]) <= 0) {
        fprintf(stderr, "usage: synth MIB BLOCKS DEVICES [ADDRESS]\n");
        return 2;
    }
    synth.blocks = (uint32_t)atoi(argv[2]);
    synth.devices = (uint32_t)atoi(argv[3]);
    synth.block_bytes = (uint64_t)atoi(argv[1]) * MIB / synth.blocks / PAGE *
                        PAGE;
    if (argc > 4) {
        synth.fd = connect_to(argv[4]);
    }
    write_start(&synth, out);
    for (i = 0; i < synth.blocks; i++) {
        write_block(&synth, out, i);
    }
    write_end(&synth, out);
    g_byte_array_unref(out);
    return 0;
}

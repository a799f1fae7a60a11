/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the command "convert" share. */
#ifndef CONVERT_H
#define CONVERT_H

#include "cli.h"

/*
 * A file that is written: bytes one after the other, or at their places.
 * The first error stays, and what comes after it is dropped.
 */
typedef struct {
    int fd;
    char *path;
    uint64_t at;     /* where the next byte goes, once flushed */
    uint8_t *buffer; /* what waits to be written there */
    uint64_t n;
    GError *error;
} Out;

/* @source (nullable): a file that must not be the same. */
bool convert_out_open(Out *out, const char *path, const char *source,
                      GError **error);
/* Hands out the error, if any. @keep false: the file is removed. */
bool convert_out_close(Out *out, bool keep, GError **error);
uint64_t convert_out_tell(const Out *out);
void convert_out_seek(Out *out, uint64_t at);
void convert_out_flush(Out *out);
void convert_out_bytes(Out *out, const void *data, uint64_t length);
void convert_out_u8(Out *out, uint8_t value);
void convert_out_be16(Out *out, uint16_t value);
void convert_out_be32(Out *out, uint32_t value);
void convert_out_be64(Out *out, uint64_t value);
void convert_out_str8(Out *out, const char *text);
/* False with @error if anything has failed so far. */
bool convert_out_check(const Out *out, GError **error);

/* A RAM block of the stream that is written. */
typedef struct {
    struct Convert *convert;
    char *idstr;
    uint64_t length;
    uint64_t bitmap_offset;
    uint64_t pages_offset;
    uint64_t *bitmap; /* in the byte order of the file */
} Block;

/* How one kind of stream is written. */
typedef struct {
    /* A block's entry in the list; it is the last of convert->blocks. */
    void (*list)(struct Convert *convert, Block *block);
    /* The list is complete, and with mapped-ram as input all pages came. */
    void (*list_end)(struct Convert *convert);
    /* The stream is complete. */
    void (*finish)(struct Convert *convert);
    VmloadRamSinkOps sink;
} ConvertKind;

/* The section "ram", as the input has it. */
typedef struct {
    uint32_t section_id;
    uint32_t instance_id;
    uint32_t version_id;
    uint32_t has_footer;
    bool known;
} RamSection;

typedef struct Convert {
    const ConvertKind *kind;
    bool from_mapped;
    VmloadLimits limits;
    uint64_t page_size;
    RamSection ram;
    GPtrArray *blocks; /* of Block */
    Out out;
    GError *error; /* of a callback that cannot fail */

    bool started; /* the list of blocks is begun */

    /* Writing mapped-ram: where START begins. */
    uint64_t start;
    bool away;     /* at a page: the stream goes on at @back */
    uint64_t back;

    /* Writing a plain stream: the list, and what CONTINUE would mean. */
    GPtrArray *list; /* of Block, from the first pass */
    Block *last;
    bool in_part;
} Convert;

extern const ConvertKind convert_to_mapped;
extern const ConvertKind convert_to_plain;

/* Type, id, and with START and FULL the rest of a section's header. */
void convert_section(Out *out, uint32_t type, uint32_t section_id,
                     const char *idstr, uint32_t instance_id,
                     uint32_t version_id);
/* EOS, and the footer if the input has them. */
void convert_ram_end(Convert *convert);
Block *convert_block_new(Convert *convert, const char *idstr,
                         uint64_t length);
void convert_block_free(void *block);

/* Flags of a RAM word. */
enum {
    CONVERT_RAM_ZERO = 0x02,
    CONVERT_RAM_MEM_SIZE = 0x04,
    CONVERT_RAM_PAGE = 0x08,
    CONVERT_RAM_EOS = 0x10,
    CONVERT_RAM_CONTINUE = 0x20,
};

#endif

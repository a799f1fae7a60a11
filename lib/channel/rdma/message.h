/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The messages of an RDMA migration (RDMA format, section 4): a header
 * of 16 bytes, and data behind it. All of it is big-endian and hostile. Pure
 * functions: no verbs here.
 */
#ifndef VMLOAD_RDMA_MESSAGE_H
#define VMLOAD_RDMA_MESSAGE_H

#include <vmload/error.h>

/* A message at most, header included: what a receive buffer must hold. */
#define VMLOAD_RDMA_MESSAGE_MAX ((uint32_t)512 * 1024)
#define VMLOAD_RDMA_HEADER 16
#define VMLOAD_RDMA_DATA_MAX (VMLOAD_RDMA_MESSAGE_MAX - VMLOAD_RDMA_HEADER)

/* What one QEMU_FILE message of ours carries at most. */
#define VMLOAD_RDMA_FILE_MAX ((uint32_t)32768)

/* Entries of one request. */
#define VMLOAD_RDMA_REPEAT_MAX 4096

/* Bytes of an entry, by the message that has it. */
#define VMLOAD_RDMA_BLOCK_SIZE 32
#define VMLOAD_RDMA_COMPRESS_SIZE 24
#define VMLOAD_RDMA_REGISTER_SIZE 24
#define VMLOAD_RDMA_RESULT_SIZE 16

/* Blocks that one RAM_BLOCKS_RESULT can name. */
#define VMLOAD_RDMA_BLOCKS_MAX (VMLOAD_RDMA_DATA_MAX / VMLOAD_RDMA_BLOCK_SIZE)

typedef enum {
    VMLOAD_RDMA_NONE = 0,
    VMLOAD_RDMA_ERROR = 1,
    VMLOAD_RDMA_READY = 2,
    VMLOAD_RDMA_FILE = 3,
    VMLOAD_RDMA_BLOCKS_REQUEST = 4,
    VMLOAD_RDMA_BLOCKS_RESULT = 5,
    VMLOAD_RDMA_COMPRESS = 6,
    VMLOAD_RDMA_REGISTER_REQUEST = 7,
    VMLOAD_RDMA_REGISTER_RESULT = 8,
    VMLOAD_RDMA_REGISTER_FINISHED = 9,
    VMLOAD_RDMA_UNREGISTER_REQUEST = 10,
    VMLOAD_RDMA_UNREGISTER_FINISHED = 11,
} VmloadRdmaType;

/* @data: borrowed from the buffer that was parsed. */
typedef struct {
    VmloadRdmaType type;
    uint32_t repeat;
    uint32_t length;
    const uint8_t *data;
} VmloadRdmaMessage;

/* One block of ours, for RAM_BLOCKS_RESULT. */
typedef struct {
    uint64_t host;
    uint64_t token; /* what the peer adds to its offsets in this block */
    uint64_t length;
    uint32_t key; /* pin-all; else 0 */
} VmloadRdmaBlock;

/* COMPRESS, REGISTER_REQUEST and UNREGISTER_REQUEST name a range like this. */
typedef struct {
    uint32_t block;
    uint64_t address; /* the block's token and an offset */
    uint64_t length;  /* COMPRESS: bytes; else further chunks */
} VmloadRdmaRange;

/* "READY" and so on; never NULL. */
const char *vmload_rdma_type_name(uint32_t type);

/*
 * Parses the @received bytes of @buffer. What is believed afterwards: the
 * type is one of the eleven, and @length bytes of data are there, as many as
 * the header says, entries as many as `repeat` says where that counts.
 */
bool vmload_rdma_message_parse(const uint8_t *buffer, uint32_t received,
                               VmloadRdmaMessage *message, GError **error);

/* Entry @index, below the message's `repeat`; COMPRESS has one. */
bool vmload_rdma_get_range(const VmloadRdmaMessage *message, uint32_t index,
                           VmloadRdmaRange *range, GError **error);

void vmload_rdma_put_header(uint8_t *buffer, VmloadRdmaType type,
                            uint32_t length, uint32_t repeat);
/* Entry @index of the message in @buffer; its header is put separately. */
void vmload_rdma_put_block(uint8_t *buffer, uint32_t index,
                           const VmloadRdmaBlock *block);
void vmload_rdma_put_result(uint8_t *buffer, uint32_t index, uint32_t key,
                            uint64_t host);

/* The 8 bytes that both sides exchange while they connect. */
#define VMLOAD_RDMA_PRIVATE_SIZE 8
#define VMLOAD_RDMA_VERSION 1
#define VMLOAD_RDMA_PIN_ALL ((uint32_t)1)

/*
 * @data (nullable): what came with a request to connect. MISMATCH: it is
 * nobody who wants to migrate a guest to us.
 */
bool vmload_rdma_private_parse(const uint8_t *data, uint32_t length,
                               uint32_t *flags, GError **error);
void vmload_rdma_private_put(uint8_t *buffer, uint32_t flags);

#endif

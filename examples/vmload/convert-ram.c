/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RAM as it is written: with every page at its place (docs/mapped-ram.md),
 * or as records of pages.
 */
#include "convert.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MAPPED_ALIGN ((uint64_t)1024 * 1024)
#define MAPPED_HEADER 28
#define RAM_START_HEADER 17 /* type, id, "ram", instance, version */

static uint64_t block_pages(const Block *block)
{
    return block->length / block->convert->page_size;
}

static uint64_t block_bitmap_size(const Block *block)
{
    return (block_pages(block) + 63) / 64 * 8;
}

/* --- mapped-ram ----------------------------------------------------------- */

static void mapped_start(Convert *convert)
{
    if (!convert->started) {
        convert->started = true;
        convert->start = convert_out_tell(&convert->out);
        /* What is there is known at the end of the list. */
        convert_out_seek(&convert->out,
                         convert->start + RAM_START_HEADER + 8);
    }
}

static void mapped_list(Convert *convert, Block *block)
{
    Out *out = &convert->out;
    uint64_t end;

    mapped_start(convert);
    block->bitmap = g_try_malloc0((size_t)block_bitmap_size(block) + 1);
    if (block->bitmap == NULL) {
        g_set_error(&convert->error, VMLOAD_ERROR, VMLOAD_ERROR_LIMIT,
                    "no memory for a bitmap");
        return;
    }
    convert_out_str8(out, block->idstr);
    convert_out_be64(out, block->length);
    block->bitmap_offset = convert_out_tell(out) + MAPPED_HEADER;
    end = block->bitmap_offset + block_bitmap_size(block);
    block->pages_offset = (end + MAPPED_ALIGN - 1) & ~(MAPPED_ALIGN - 1);
    convert_out_be32(out, 1);
    convert_out_be64(out, convert->page_size);
    convert_out_be64(out, block->bitmap_offset);
    convert_out_be64(out, block->pages_offset);
    convert_out_seek(out, block->pages_offset + block->length);
}

static void mapped_list_end(Convert *convert)
{
    Out *out = &convert->out;
    uint64_t total = 0;
    uint64_t end;
    guint i;

    mapped_start(convert);
    for (i = 0; i < convert->blocks->len; i++) {
        total += ((Block *)g_ptr_array_index(convert->blocks, i))->length;
    }
    end = convert_out_tell(out);
    convert_out_seek(out, convert->start);
    convert_section(out, VMLOAD_RECORD_START, convert->ram.section_id, "ram",
                    convert->ram.instance_id, convert->ram.version_id);
    convert_out_be64(out, total | CONVERT_RAM_MEM_SIZE);
    convert_out_seek(out, end);
    convert_ram_end(convert);
}

static void mapped_finish(Convert *convert)
{
    guint i;

    for (i = 0; i < convert->blocks->len; i++) {
        const Block *block = g_ptr_array_index(convert->blocks, i);

        convert_out_seek(&convert->out, block->bitmap_offset);
        convert_out_bytes(&convert->out, block->bitmap,
                          block_bitmap_size(block));
    }
}

/* The file keeps words of 64 bits as this machine has them. */
static bool mapped_write(void *opaque, uint64_t offset, const uint8_t *data,
                         uint64_t length, GError **error)
{
    Block *block = opaque;
    Convert *convert = block->convert;
    uint64_t page = offset / convert->page_size;

    block->bitmap[page / 64] |= (uint64_t)1 << (page % 64);
    /* The stream goes on behind all pages, whatever comes in between. */
    if (!convert->away) {
        convert->away = true;
        convert->back = convert_out_tell(&convert->out);
    }
    convert_out_seek(&convert->out, block->pages_offset + offset);
    convert_out_bytes(&convert->out, data, length);
    return convert_out_check(&convert->out, error);
}

static bool mapped_zero(void *opaque, uint64_t offset, uint64_t length,
                        GError **error)
{
    Block *block = opaque;
    uint64_t page = offset / block->convert->page_size;

    (void)length;
    (void)error;
    block->bitmap[page / 64] &= ~((uint64_t)1 << (page % 64));
    return true;
}

/* XBZRLE: what was written before. */
static bool mapped_read(void *opaque, uint64_t offset, uint8_t *data,
                        uint64_t length, GError **error)
{
    Block *block = opaque;
    Out *out = &block->convert->out;
    uint64_t page = offset / block->convert->page_size;

    memset(data, 0, (size_t)length);
    if ((block->bitmap[page / 64] >> (page % 64) & 1) == 0) {
        return true;
    }
    convert_out_flush(out);
    while (length > 0) {
        ssize_t got = pread(out->fd, data, (size_t)length,
                            (off_t)(block->pages_offset + offset));

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO, "'%s': %s",
                        out->path, g_strerror(got < 0 ? errno : EIO));
            return false;
        }
        data += got;
        offset += (uint64_t)got;
        length -= (uint64_t)got;
    }
    return true;
}

const ConvertKind convert_to_mapped = {
    .list = mapped_list,
    .list_end = mapped_list_end,
    .finish = mapped_finish,
    .sink = {
        VMLOAD_RAM_SINK_OPS_INIT,
        .write = mapped_write,
        .zero = mapped_zero,
        .read = mapped_read,
    },
};

/* --- a plain stream ------------------------------------------------------- */

/* The whole list, before the first page. */
static void plain_start(Convert *convert)
{
    Out *out = &convert->out;
    uint64_t total = 0;
    guint i;

    if (convert->started) {
        return;
    }
    convert->started = true;
    for (i = 0; i < convert->list->len; i++) {
        total += ((Block *)g_ptr_array_index(convert->list, i))->length;
    }
    convert_section(out, VMLOAD_RECORD_START, convert->ram.section_id, "ram",
                    convert->ram.instance_id, convert->ram.version_id);
    convert_out_be64(out, total | CONVERT_RAM_MEM_SIZE);
    for (i = 0; i < convert->list->len; i++) {
        const Block *block = g_ptr_array_index(convert->list, i);

        convert_out_str8(out, block->idstr);
        convert_out_be64(out, block->length);
    }
    convert_ram_end(convert);
}

static void plain_list(Convert *convert, Block *block)
{
    (void)block;
    plain_start(convert);
}

static void plain_list_end(Convert *convert)
{
    plain_start(convert);
    if (convert->in_part) {
        convert_ram_end(convert);
    }
}

static void plain_finish(Convert *convert)
{
    (void)convert;
}

/* A record's word, and the block's name where it is another one. */
static void plain_word(Block *block, uint64_t offset, uint64_t flag)
{
    Convert *convert = block->convert;
    Out *out = &convert->out;

    if (!convert->in_part) {
        convert->in_part = true;
        convert_section(out, VMLOAD_RECORD_PART, convert->ram.section_id,
                        NULL, 0, 0);
    }
    if (block == convert->last) {
        convert_out_be64(out, offset | flag | CONVERT_RAM_CONTINUE);
        return;
    }
    convert->last = block;
    convert_out_be64(out, offset | flag);
    convert_out_str8(out, block->idstr);
}

static bool plain_write(void *opaque, uint64_t offset, const uint8_t *data,
                        uint64_t length, GError **error)
{
    Block *block = opaque;
    Out *out = &block->convert->out;

    /* Large pages come in pieces. */
    if (offset % block->convert->page_size == 0) {
        plain_word(block, offset, CONVERT_RAM_PAGE);
    }
    convert_out_bytes(out, data, length);
    return convert_out_check(out, error);
}

static bool plain_zero(void *opaque, uint64_t offset, uint64_t length,
                       GError **error)
{
    Block *block = opaque;

    (void)length;
    plain_word(block, offset, CONVERT_RAM_ZERO);
    convert_out_u8(&block->convert->out, 0);
    return convert_out_check(&block->convert->out, error);
}

const ConvertKind convert_to_plain = {
    .list = plain_list,
    .list_end = plain_list_end,
    .finish = plain_finish,
    .sink = {
        VMLOAD_RAM_SINK_OPS_INIT,
        .write = plain_write,
        .zero = plain_zero,
    },
};

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wire format's mirror: what a source writes, one function per element,
 * each appending to a GByteArray. It writes what it is told, legal or not,
 * and shares no code with the library. Names of elements are those of the
 * stream format.
 */
#ifndef VMLOAD_TESTS_STREAM_WRITER_H
#define VMLOAD_TESTS_STREAM_WRITER_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Types of elements. */
enum {
    SW_EOF = 0x00,
    SW_SECTION_START = 0x01,
    SW_SECTION_PART = 0x02,
    SW_SECTION_END = 0x03,
    SW_SECTION_FULL = 0x04,
    SW_SUBSECTION = 0x05,
    SW_VMDESCRIPTION = 0x06,
    SW_CONFIGURATION = 0x07,
    SW_COMMAND = 0x08,
    SW_FOOTER = 0x7e,
};

/* Commands. */
enum {
    SW_CMD_INVALID = 0,
    SW_CMD_OPEN_RETURN_PATH = 1,
    SW_CMD_PING = 2,
    SW_CMD_POSTCOPY_ADVISE = 3,
    SW_CMD_POSTCOPY_LISTEN = 4,
    SW_CMD_POSTCOPY_RUN = 5,
    SW_CMD_POSTCOPY_RAM_DISCARD = 6,
    SW_CMD_PACKAGED = 7,
    SW_CMD_ENABLE_COLO = 8,
    SW_CMD_POSTCOPY_RESUME = 9,
    SW_CMD_RECV_BITMAP = 10,
    SW_CMD_SWITCHOVER_START = 11,
};

/* Flags of a RAM record's word. */
enum {
    SW_RAM_FULL = 0x001,
    SW_RAM_ZERO = 0x002,
    SW_RAM_MEM_SIZE = 0x004,
    SW_RAM_PAGE = 0x008,
    SW_RAM_EOS = 0x010,
    SW_RAM_CONTINUE = 0x020,
    SW_RAM_XBZRLE = 0x040,
    SW_RAM_HOOK = 0x080,
    SW_RAM_COMPRESS_PAGE = 0x100,
    SW_RAM_MULTIFD_FLUSH = 0x200,
};

/* Plain values. */
GByteArray *sw_new(void);
void sw_u8(GByteArray *out, uint8_t value);
void sw_be16(GByteArray *out, uint16_t value);
void sw_be32(GByteArray *out, uint32_t value);
void sw_be64(GByteArray *out, uint64_t value);
void sw_bytes(GByteArray *out, const void *data, size_t length);
/* @length times the byte @value. */
void sw_fill(GByteArray *out, uint8_t value, size_t length);
/* Length byte and the text's first 255 bytes; "" gives the illegal 0. */
void sw_str8(GByteArray *out, const char *text);
/* Length byte @n and @n bytes from @data: names with a NUL inside. */
void sw_str8_bytes(GByteArray *out, const void *data, uint8_t n);
/* Puts a value into bytes that are written already. */
void sw_patch_be32(GByteArray *out, guint at, uint32_t value);
void sw_patch_be64(GByteArray *out, guint at, uint64_t value);

/* Magic and file version 3. */
void sw_header(GByteArray *out);
/* Type byte and machine name. Subsections come after it. */
void sw_configuration(GByteArray *out, const char *machine);
void sw_configuration_page_bits(GByteArray *out, uint32_t bits);
/* @names: NULL-terminated. */
void sw_configuration_capabilities(GByteArray *out, const char *const *names);
void sw_configuration_uuid(GByteArray *out, const uint8_t uuid[16]);

/* Sections: the header only; payload and footer come after it. */
void sw_section_start(GByteArray *out, uint32_t section_id, const char *idstr,
                      uint32_t instance_id, uint32_t version_id);
void sw_section_full(GByteArray *out, uint32_t section_id, const char *idstr,
                     uint32_t instance_id, uint32_t version_id);
void sw_section_part(GByteArray *out, uint32_t section_id);
void sw_section_end(GByteArray *out, uint32_t section_id);
void sw_footer(GByteArray *out, uint32_t section_id);
/* A device's FULL section with its payload and footer. */
void sw_device(GByteArray *out, uint32_t section_id, const char *idstr,
               uint32_t instance_id, uint32_t version_id, const void *payload,
               size_t length);

/* Commands. @data may be NULL if @length is 0. */
void sw_command(GByteArray *out, uint16_t command, const void *data,
                uint16_t length);
void sw_ping(GByteArray *out, uint32_t value);
/* POSTCOPY_ADVISE with its 16 bytes. */
void sw_postcopy_advise(GByteArray *out, uint64_t page_summary,
                        uint64_t page_size);
/* PACKAGED with the blob behind it. */
void sw_packaged(GByteArray *out, const GByteArray *blob);

void sw_eof(GByteArray *out);
void sw_vmdesc(GByteArray *out, const char *json);

/*
 * RAM records. @block NULL: SW_RAM_CONTINUE is set and no name is written.
 * @offset and flags are or-ed as they are.
 */
void sw_ram_word(GByteArray *out, uint64_t offset, uint64_t flags,
                 const char *block);
void sw_ram_mem_size(GByteArray *out, uint64_t total);
/* An entry of the block list behind MEM_SIZE, without optional fields. */
void sw_ram_block(GByteArray *out, const char *idstr, uint64_t used_length);
void sw_ram_zero(GByteArray *out, const char *block, uint64_t offset,
                 uint8_t fill);
void sw_ram_page(GByteArray *out, const char *block, uint64_t offset,
                 const void *data, size_t page_size);
void sw_ram_xbzrle(GByteArray *out, const char *block, uint64_t offset,
                   const void *delta, uint16_t length);
void sw_ram_compressed(GByteArray *out, const char *block, uint64_t offset,
                       const void *data, uint32_t length);
void sw_ram_flush(GByteArray *out);
void sw_ram_eos(GByteArray *out);
/* START of "ram" version 4 up to the block list's entries. */
void sw_ram_start(GByteArray *out, uint32_t section_id, uint64_t total);

/* Device fields not above: a subsection's header; its fields come after. */
void sw_subsection(GByteArray *out, const char *name, uint32_t version_id);
/* The field "bool": one byte. */
void sw_bool(GByteArray *out, bool value);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#include "stream-writer.h"

#include <string.h>

GByteArray *sw_new(void)
{
    return g_byte_array_new();
}

void sw_bytes(GByteArray *out, const void *data, size_t length)
{
    if (length > 0) {
        g_byte_array_append(out, data, (guint)length);
    }
}

void sw_fill(GByteArray *out, uint8_t value, size_t length)
{
    guint at = out->len;

    g_byte_array_set_size(out, at + (guint)length);
    if (length > 0) {
        memset(out->data + at, value, length);
    }
}

void sw_u8(GByteArray *out, uint8_t value)
{
    sw_bytes(out, &value, sizeof(value));
}

void sw_be16(GByteArray *out, uint16_t value)
{
    value = GUINT16_TO_BE(value);
    sw_bytes(out, &value, sizeof(value));
}

void sw_be32(GByteArray *out, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    sw_bytes(out, &value, sizeof(value));
}

void sw_be64(GByteArray *out, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    sw_bytes(out, &value, sizeof(value));
}

void sw_str8_bytes(GByteArray *out, const void *data, uint8_t n)
{
    sw_u8(out, n);
    sw_bytes(out, data, n);
}

void sw_str8(GByteArray *out, const char *text)
{
    sw_str8_bytes(out, text, (uint8_t)MIN(strlen(text), (size_t)255));
}

void sw_patch_be32(GByteArray *out, guint at, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    memcpy(out->data + at, &value, sizeof(value));
}

void sw_patch_be64(GByteArray *out, guint at, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    memcpy(out->data + at, &value, sizeof(value));
}

void sw_header(GByteArray *out)
{
    sw_bytes(out, "QEVM", 4);
    sw_be32(out, 3);
}

void sw_configuration(GByteArray *out, const char *machine)
{
    sw_u8(out, SW_CONFIGURATION);
    sw_be32(out, (uint32_t)strlen(machine));
    sw_bytes(out, machine, strlen(machine));
}

void sw_configuration_page_bits(GByteArray *out, uint32_t bits)
{
    sw_subsection(out, "configuration/target-page-bits", 1);
    sw_be32(out, bits);
}

void sw_configuration_capabilities(GByteArray *out, const char *const *names)
{
    uint32_t n = 0;
    uint32_t i;

    while (names[n] != NULL) {
        n++;
    }
    sw_subsection(out, "configuration/capabilities", 1);
    sw_be32(out, n);
    for (i = 0; i < n; i++) {
        sw_str8(out, names[i]);
    }
}

void sw_configuration_uuid(GByteArray *out, const uint8_t uuid[16])
{
    sw_subsection(out, "configuration/uuid", 1);
    sw_bytes(out, uuid, 16);
}

/* START and FULL differ in nothing but the type. */
static void sw_section_announce(GByteArray *out, uint8_t type,
                                uint32_t section_id, const char *idstr,
                                uint32_t instance_id, uint32_t version_id)
{
    sw_u8(out, type);
    sw_be32(out, section_id);
    sw_str8(out, idstr);
    sw_be32(out, instance_id);
    sw_be32(out, version_id);
}

void sw_section_start(GByteArray *out, uint32_t section_id, const char *idstr,
                      uint32_t instance_id, uint32_t version_id)
{
    sw_section_announce(out, SW_SECTION_START, section_id, idstr, instance_id,
                        version_id);
}

void sw_section_full(GByteArray *out, uint32_t section_id, const char *idstr,
                     uint32_t instance_id, uint32_t version_id)
{
    sw_section_announce(out, SW_SECTION_FULL, section_id, idstr, instance_id,
                        version_id);
}

void sw_section_part(GByteArray *out, uint32_t section_id)
{
    sw_u8(out, SW_SECTION_PART);
    sw_be32(out, section_id);
}

void sw_section_end(GByteArray *out, uint32_t section_id)
{
    sw_u8(out, SW_SECTION_END);
    sw_be32(out, section_id);
}

void sw_footer(GByteArray *out, uint32_t section_id)
{
    sw_u8(out, SW_FOOTER);
    sw_be32(out, section_id);
}

void sw_device(GByteArray *out, uint32_t section_id, const char *idstr,
               uint32_t instance_id, uint32_t version_id, const void *payload,
               size_t length)
{
    sw_section_full(out, section_id, idstr, instance_id, version_id);
    sw_bytes(out, payload, length);
    sw_footer(out, section_id);
}

void sw_command(GByteArray *out, uint16_t command, const void *data,
                uint16_t length)
{
    sw_u8(out, SW_COMMAND);
    sw_be16(out, command);
    sw_be16(out, length);
    sw_bytes(out, data, length);
}

void sw_ping(GByteArray *out, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    sw_command(out, SW_CMD_PING, &value, sizeof(value));
}

void sw_postcopy_advise(GByteArray *out, uint64_t page_summary,
                        uint64_t page_size)
{
    const uint64_t data[] = {GUINT64_TO_BE(page_summary),
                             GUINT64_TO_BE(page_size)};

    sw_command(out, SW_CMD_POSTCOPY_ADVISE, data, sizeof(data));
}

void sw_packaged(GByteArray *out, const GByteArray *blob)
{
    uint32_t length = GUINT32_TO_BE(blob->len);

    sw_command(out, SW_CMD_PACKAGED, &length, sizeof(length));
    sw_bytes(out, blob->data, blob->len);
}

void sw_eof(GByteArray *out)
{
    sw_u8(out, SW_EOF);
}

void sw_vmdesc(GByteArray *out, const char *json)
{
    sw_u8(out, SW_VMDESCRIPTION);
    sw_be32(out, (uint32_t)strlen(json));
    sw_bytes(out, json, strlen(json));
}

void sw_ram_word(GByteArray *out, uint64_t offset, uint64_t flags,
                 const char *block)
{
    if (block == NULL) {
        flags |= SW_RAM_CONTINUE;
    }
    sw_be64(out, offset | flags);
    if (block != NULL) {
        sw_str8(out, block);
    }
}

void sw_ram_mem_size(GByteArray *out, uint64_t total)
{
    sw_be64(out, total | SW_RAM_MEM_SIZE);
}

void sw_ram_block(GByteArray *out, const char *idstr, uint64_t used_length)
{
    sw_str8(out, idstr);
    sw_be64(out, used_length);
}

void sw_ram_zero(GByteArray *out, const char *block, uint64_t offset,
                 uint8_t fill)
{
    sw_ram_word(out, offset, SW_RAM_ZERO, block);
    sw_u8(out, fill);
}

void sw_ram_page(GByteArray *out, const char *block, uint64_t offset,
                 const void *data, size_t page_size)
{
    sw_ram_word(out, offset, SW_RAM_PAGE, block);
    sw_bytes(out, data, page_size);
}

void sw_ram_xbzrle(GByteArray *out, const char *block, uint64_t offset,
                   const void *delta, uint16_t length)
{
    sw_ram_word(out, offset, SW_RAM_XBZRLE, block);
    sw_u8(out, 1);
    sw_be16(out, length);
    sw_bytes(out, delta, length);
}

void sw_ram_compressed(GByteArray *out, const char *block, uint64_t offset,
                       const void *data, uint32_t length)
{
    sw_ram_word(out, offset, SW_RAM_COMPRESS_PAGE, block);
    sw_be32(out, length);
    sw_bytes(out, data, length);
}

void sw_ram_flush(GByteArray *out)
{
    sw_be64(out, SW_RAM_MULTIFD_FLUSH);
}

void sw_ram_eos(GByteArray *out)
{
    sw_be64(out, SW_RAM_EOS);
}

void sw_ram_start(GByteArray *out, uint32_t section_id, uint64_t total)
{
    sw_section_start(out, section_id, "ram", 0, 4);
    sw_ram_mem_size(out, total);
}

void sw_subsection(GByteArray *out, const char *name, uint32_t version_id)
{
    sw_u8(out, SW_SUBSECTION);
    sw_str8(out, name);
    sw_be32(out, version_id);
}

void sw_bool(GByteArray *out, bool value)
{
    sw_u8(out, value ? 1 : 0);
}

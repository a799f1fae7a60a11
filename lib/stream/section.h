/* SPDX-License-Identifier: BSD-3-Clause */
/* Section headers and footers, and the table of announced section ids. */
#ifndef VMLOAD_STREAM_SECTION_H
#define VMLOAD_STREAM_SECTION_H

#include <vmload/device.h>
#include <vmload/limits.h>
#include <vmload/reader.h>

/* Bytes of a footer: its type and the section id. */
#define VMLOAD_FOOTER_SIZE 5

/*
 * What START and FULL have announced, by section id. Only grows, so that an
 * idstr stays good as long as the table. Any thread: two dispatches of one
 * load share it.
 */
typedef struct VmloadSectionTable VmloadSectionTable;

VmloadSectionTable *vmload_section_table_new(void);
void vmload_section_table_free(VmloadSectionTable *table);
bool vmload_section_table_has(VmloadSectionTable *table, uint32_t section_id);

/*
 * Reads the header of a section, whose type byte is read already. START and
 * FULL announce, PART and END must have been announced. QEMU does not tell
 * START from FULL and PART from END here, nor do we (stream format, section
 * 2.3); but an id stays with its device.
 */
bool vmload_section_read(VmloadSectionTable *table, VmloadReader *reader,
                         const VmloadLimits *limits, uint32_t type,
                         uint64_t offset, VmloadSection *section,
                         GError **error);

/*
 * The header of the section that begins with its type byte at @data, which is
 * @offset in the stream. Announces nothing. False: it is none, or is not
 * there as a whole. @idstr has the name.
 */
bool vmload_section_peek(VmloadSectionTable *table, const uint8_t *data,
                         uint64_t n, uint64_t offset, char *idstr,
                         VmloadSection *section);

/* Is the footer the next thing in @reader? Nothing is read. */
bool vmload_section_footer_check(VmloadReader *reader,
                                 const VmloadSection *section,
                                 GError **error);

/* Reads a footer and compares its id. */
bool vmload_section_footer_read(VmloadReader *reader,
                                const VmloadSection *section, GError **error);

#endif

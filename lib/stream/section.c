/* SPDX-License-Identifier: BSD-3-Clause */
#include "section.h"

#include <string.h>

typedef struct {
    char *idstr;
    uint32_t instance_id;
    uint32_t version_id;
} SectionEntry;

struct VmloadSectionTable {
    GMutex mutex; /* leaf: guards the entries, for a look or a change */
    GTree *by_id; /* section id to SectionEntry: ids are the peer's choice */
};

static void section_entry_free(void *data)
{
    SectionEntry *entry = data;

    g_free(entry->idstr);
    g_free(entry);
}

static gint id_compare(const void *a, const void *b, void *data)
{
    const guint x = GPOINTER_TO_UINT(a);
    const guint y = GPOINTER_TO_UINT(b);

    (void)data;
    return x < y ? -1 : x > y;
}

VmloadSectionTable *vmload_section_table_new(void)
{
    VmloadSectionTable *table = g_new0(VmloadSectionTable, 1);

    g_mutex_init(&table->mutex);
    table->by_id = g_tree_new_full(id_compare, NULL, NULL,
                                   section_entry_free);
    return table;
}

void vmload_section_table_free(VmloadSectionTable *table)
{
    if (table != NULL) {
        g_tree_unref(table->by_id);
        g_mutex_clear(&table->mutex);
        g_free(table);
    }
}

/* With the mutex held. */
static SectionEntry *table_get(const VmloadSectionTable *table,
                               uint32_t section_id)
{
    return g_tree_lookup(table->by_id, GUINT_TO_POINTER(section_id));
}

bool vmload_section_table_has(VmloadSectionTable *table, uint32_t section_id)
{
    bool has;

    g_mutex_lock(&table->mutex);
    has = table_get(table, section_id) != NULL;
    g_mutex_unlock(&table->mutex);
    return has;
}

/* Another device announces an id that belongs to one already. */
static bool table_taken(VmloadReader *reader, uint32_t section_id,
                        const SectionEntry *entry, const char *idstr,
                        const VmloadSection *header, GError **error)
{
    char *expected = g_strescape(entry->idstr, NULL);
    char *found = g_strescape(idstr, NULL);

    vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                        "section id %u: expected '%s' instance %u, which "
                        "announced it, found '%s' instance %u", section_id,
                        expected, entry->instance_id, found,
                        header->instance_id);
    g_free(expected);
    g_free(found);
    return false;
}

/* With the mutex held. */
static bool table_announce(VmloadSectionTable *table, VmloadReader *reader,
                           const VmloadLimits *limits, uint32_t section_id,
                           const char *idstr, const VmloadSection *header,
                           GError **error)
{
    SectionEntry *entry = table_get(table, section_id);

    if (entry != NULL) {
        if (strcmp(entry->idstr, idstr) != 0 ||
            entry->instance_id != header->instance_id) {
            return table_taken(reader, section_id, entry, idstr, header,
                               error);
        }
        entry->version_id = header->version_id;
        return true;
    }
    if ((uint64_t)g_tree_nnodes(table->by_id) >= limits->sections) {
        return vmload_reader_error(
            reader, error, VMLOAD_ERROR_LIMIT,
            "more section ids than the limit sections (%" G_GUINT64_FORMAT
            ")", limits->sections);
    }
    entry = g_new0(SectionEntry, 1);
    entry->idstr = g_strdup(idstr);
    entry->instance_id = header->instance_id;
    entry->version_id = header->version_id;
    g_tree_insert(table->by_id, GUINT_TO_POINTER(section_id), entry);
    return true;
}

/* What START and FULL have behind the section id. */
static bool read_announcement(VmloadSectionTable *table, VmloadReader *reader,
                              const VmloadLimits *limits,
                              const VmloadSection *section, GError **error)
{
    char idstr[VMLOAD_STR8_SIZE];
    VmloadSection header = *section;
    bool ok;

    if (!vmload_reader_get_str8(reader, idstr, NULL, error) ||
        !vmload_reader_get_be32(reader, &header.instance_id, error) ||
        !vmload_reader_get_be32(reader, &header.version_id, error)) {
        return false;
    }
    g_mutex_lock(&table->mutex);
    ok = table_announce(table, reader, limits, section->section_id, idstr,
                        &header, error);
    g_mutex_unlock(&table->mutex);
    return ok;
}

/* What was announced under this id. */
static bool table_copy(VmloadSectionTable *table, VmloadSection *section)
{
    const SectionEntry *entry;

    g_mutex_lock(&table->mutex);
    entry = table_get(table, section->section_id);
    if (entry != NULL) {
        section->idstr = entry->idstr;
        section->instance_id = entry->instance_id;
        section->version_id = entry->version_id;
    }
    g_mutex_unlock(&table->mutex);
    return entry != NULL;
}

bool vmload_section_read(VmloadSectionTable *table, VmloadReader *reader,
                         const VmloadLimits *limits, uint32_t type,
                         uint64_t offset, VmloadSection *section,
                         GError **error)
{
    memset(section, 0, sizeof(*section));
    section->struct_size = (uint32_t)sizeof(*section);
    section->type = type;
    section->offset = offset;
    section->idstr = "";
    if (!vmload_reader_get_be32(reader, &section->section_id, error)) {
        return false;
    }
    if ((type == VMLOAD_RECORD_START || type == VMLOAD_RECORD_FULL) &&
        !read_announcement(table, reader, limits, section, error)) {
        return false;
    }
    if (!table_copy(table, section)) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "section id %u was never announced",
                                   section->section_id);
    }
    section->payload_offset = vmload_reader_get_offset(reader);
    return true;
}

static uint32_t load_be32(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT32_FROM_BE(value);
}

static bool peek_announcement(const uint8_t *data, uint64_t n, char *idstr,
                              VmloadSection *section)
{
    uint64_t length = n > 0 ? data[0] : 0;

    if (length == 0 || n < 1 + length + 8 ||
        memchr(data + 1, 0, length) != NULL) {
        return false;
    }
    memcpy(idstr, data + 1, length);
    idstr[length] = '\0';
    section->idstr = idstr;
    section->instance_id = load_be32(data + 1 + length);
    section->version_id = load_be32(data + 1 + length + 4);
    section->payload_offset += 1 + length + 8;
    return true;
}

bool vmload_section_peek(VmloadSectionTable *table, const uint8_t *data,
                         uint64_t n, uint64_t offset, char *idstr,
                         VmloadSection *section)
{
    if (n < 5 || data[0] < VMLOAD_RECORD_START ||
        data[0] > VMLOAD_RECORD_FULL) {
        return false;
    }
    memset(section, 0, sizeof(*section));
    section->struct_size = (uint32_t)sizeof(*section);
    section->type = data[0];
    section->section_id = load_be32(data + 1);
    section->offset = offset;
    section->payload_offset = offset + 5;
    if (section->type == VMLOAD_RECORD_START ||
        section->type == VMLOAD_RECORD_FULL) {
        return peek_announcement(data + 5, n - 5, idstr, section);
    }
    /* A thread of the host's may announce others meanwhile. */
    return table_copy(table, section);
}

bool vmload_section_footer_check(VmloadReader *reader,
                                 const VmloadSection *section, GError **error)
{
    const uint8_t *data;
    uint64_t available;
    uint32_t id;

    if (!vmload_reader_peek(reader, VMLOAD_FOOTER_SIZE, &data, &available,
                            error)) {
        return false;
    }
    if (available > 0 && data[0] != VMLOAD_RECORD_FOOTER) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a section footer (0x%02x), "
                                   "found 0x%02x", VMLOAD_RECORD_FOOTER,
                                   data[0]);
    }
    if (available < VMLOAD_FOOTER_SIZE) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_TRUNCATED,
                                   "expected a section footer of %d bytes, "
                                   "found the end after %" G_GUINT64_FORMAT,
                                   VMLOAD_FOOTER_SIZE, available);
    }
    memcpy(&id, data + 1, sizeof(id));
    id = GUINT32_FROM_BE(id);
    if (id != section->section_id) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected the footer of section id %u, "
                                   "found %u", section->section_id, id);
    }
    return true;
}

bool vmload_section_footer_read(VmloadReader *reader,
                                const VmloadSection *section, GError **error)
{
    return vmload_section_footer_check(reader, section, error) &&
           vmload_reader_skip(reader, VMLOAD_FOOTER_SIZE, error);
}

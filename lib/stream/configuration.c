/* SPDX-License-Identifier: BSD-3-Clause */
#include "configuration.h"

#include "error.h"

#include <string.h>

#define STREAM_MAGIC 0x5145564du /* "QEVM" */
#define STREAM_VERSION 3

/* Page bits that a stream without the subsection can mean at most. */
#define LEGACY_PAGE_BITS 12

#define SUBSECTION_PREFIX "configuration/"

/* Only these are checked between the two sides, so only these are sent. */
static const char *const validated_capabilities[] = {
    "x-ignore-shared",
    "mapped-ram",
};

/*
 * The others that QEMU has had. They leave no trace in the format, or show
 * it by commands of their own. A name not listed may change what follows.
 */
static const char *const other_capabilities[] = {
    "auto-converge",       "background-snapshot",
    "block",               "compress",
    "dirty-bitmaps",       "dirty-limit",
    "events",              "late-block-activate",
    "multifd",             "pause-before-switchover",
    "postcopy-blocktime",  "postcopy-preempt",
    "postcopy-ram",        "rdma-pin-all",
    "release-ram",         "return-path",
    "switchover-ack",      "validate-uuid",
    "x-colo",              "xbzrle",
    "zero-blocks",         "zero-copy-send",
};

static bool capability_is_known(const char *name)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(validated_capabilities); i++) {
        if (strcmp(name, validated_capabilities[i]) == 0) {
            return true;
        }
    }
    for (i = 0; i < G_N_ELEMENTS(other_capabilities); i++) {
        if (strcmp(name, other_capabilities[i]) == 0) {
            return true;
        }
    }
    return false;
}

void vmload_configuration_init(VmloadConfigurationData *data)
{
    memset(data, 0, sizeof(*data));
    data->view.struct_size = (uint32_t)sizeof(data->view);
    data->capabilities = g_ptr_array_new_with_free_func(g_free);
}

void vmload_configuration_clear(VmloadConfigurationData *data)
{
    g_clear_pointer(&data->machine, g_free);
    g_clear_pointer(&data->capabilities, g_ptr_array_unref);
    memset(&data->view, 0, sizeof(data->view));
}

/* Points the view at the strings that the data owns. */
static void configuration_publish(VmloadConfigurationData *data)
{
    data->view.machine = data->machine;
    data->view.n_capabilities = data->capabilities->len;
    data->view.capabilities =
        (const char *const *)(void *)data->capabilities->pdata;
}

void vmload_configuration_copy(VmloadConfigurationData *data,
                               const VmloadConfiguration *from)
{
    uint32_t i;

    data->view.present = from->present;
    data->view.target_page_bits = from->target_page_bits;
    memcpy(data->view.uuid, from->uuid, sizeof(from->uuid));
    g_free(data->machine);
    data->machine = g_strdup(from->machine);
    g_ptr_array_set_size(data->capabilities, 0);
    for (i = 0; i < from->n_capabilities; i++) {
        g_ptr_array_add(data->capabilities, g_strdup(from->capabilities[i]));
    }
    configuration_publish(data);
}

bool vmload_configuration_has_capability(const VmloadConfiguration *view,
                                         const char *name)
{
    uint32_t i;

    for (i = 0; i < view->n_capabilities; i++) {
        if (strcmp(view->capabilities[i], name) == 0) {
            return true;
        }
    }
    return false;
}

bool vmload_stream_header_read(VmloadReader *reader, GError **error)
{
    const uint8_t *data;
    uint64_t available;
    uint32_t word;

    /* Judge the magic before its end: a foreign peer may send less. */
    if (!vmload_reader_peek(reader, 4, &data, &available, error)) {
        return false;
    }
    if (available >= 4 && memcmp(data, "QEVM", 4) != 0) {
        return vmload_reader_error(
            reader, error, VMLOAD_ERROR_MALFORMED,
            "expected the magic 0x%08x, found 0x%02x%02x%02x%02x",
            STREAM_MAGIC, data[0], data[1], data[2], data[3]);
    }
    if (!vmload_reader_get_be32(reader, &word, error) ||
        !vmload_reader_get_be32(reader, &word, error)) {
        return false;
    }
    if (word != STREAM_VERSION) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_UNSUPPORTED,
                                   "expected stream version %d, found %u",
                                   STREAM_VERSION, word);
    }
    return true;
}

/* The stream's names go into messages without what they do to terminals. */
static bool unknown_name(VmloadReader *reader, const char *what,
                         const char *name, GError **error)
{
    char *escaped = g_strescape(name, NULL);

    vmload_reader_error(reader, error, VMLOAD_ERROR_UNSUPPORTED, "%s '%s'",
                        what, escaped);
    g_free(escaped);
    return false;
}

static bool read_machine(VmloadReader *reader, const VmloadLimits *limits,
                         VmloadConfigurationData *data, GError **error)
{
    uint32_t length;
    char *machine;

    if (!vmload_reader_get_be32(reader, &length, error)) {
        return false;
    }
    if (length > limits->configuration_names) {
        return vmload_reader_error(
            reader, error, VMLOAD_ERROR_LIMIT,
            "machine name of %u bytes exceeds the limit "
            "configuration_names (%" G_GUINT64_FORMAT ")",
            length, limits->configuration_names);
    }
    machine = g_try_malloc0((gsize)length + 1);
    if (machine == NULL) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                   "no memory for a name of %u bytes",
                                   length);
    }
    if (!vmload_reader_read(reader, machine, length, error)) {
        g_free(machine);
        return false;
    }
    if (strlen(machine) != length) {
        g_free(machine);
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected a machine name, found a NUL "
                                   "in it");
    }
    g_free(data->machine);
    data->machine = machine;
    data->view.present |= VMLOAD_CONFIGURATION_MACHINE;
    return true;
}

static bool read_page_bits(VmloadReader *reader, const VmloadLimits *limits,
                           VmloadConfigurationData *data, GError **error)
{
    uint32_t bits;

    (void)limits;
    if (!vmload_reader_get_be32(reader, &bits, error)) {
        return false;
    }
    if (bits < 8 || bits > 30) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected 8 to 30 target page bits, "
                                   "found %u", bits);
    }
    data->view.target_page_bits = bits;
    data->view.present |= VMLOAD_CONFIGURATION_PAGE_BITS;
    return true;
}

static bool read_capabilities(VmloadReader *reader,
                              const VmloadLimits *limits,
                              VmloadConfigurationData *data, GError **error)
{
    char name[VMLOAD_STR8_SIZE];
    uint32_t count;
    uint32_t i;

    if (!vmload_reader_get_be32(reader, &count, error)) {
        return false;
    }
    if (count > limits->configuration_names) {
        return vmload_reader_error(
            reader, error, VMLOAD_ERROR_LIMIT,
            "%u capabilities exceed the limit configuration_names (%"
            G_GUINT64_FORMAT ")", count, limits->configuration_names);
    }
    g_ptr_array_set_size(data->capabilities, 0);
    for (i = 0; i < count; i++) {
        if (!vmload_reader_get_str8(reader, name, NULL, error)) {
            return false;
        }
        if (!capability_is_known(name)) {
            return unknown_name(reader, "expected a known capability, found",
                                name, error);
        }
        g_ptr_array_add(data->capabilities, g_strdup(name));
    }
    data->view.present |= VMLOAD_CONFIGURATION_CAPABILITIES;
    return true;
}

static bool read_uuid(VmloadReader *reader, const VmloadLimits *limits,
                      VmloadConfigurationData *data, GError **error)
{
    (void)limits;
    if (!vmload_reader_read(reader, data->view.uuid, sizeof(data->view.uuid),
                            error)) {
        return false;
    }
    data->view.present |= VMLOAD_CONFIGURATION_UUID;
    return true;
}

static const struct {
    const char *name;
    bool (*read)(VmloadReader *reader, const VmloadLimits *limits,
                 VmloadConfigurationData *data, GError **error);
} subsection_table[] = {
    {SUBSECTION_PREFIX "target-page-bits", read_page_bits},
    {SUBSECTION_PREFIX "capabilities", read_capabilities},
    {SUBSECTION_PREFIX "uuid", read_uuid},
};

/* One subsection; its marker byte is read already. */
static bool read_subsection(VmloadReader *reader, const VmloadLimits *limits,
                            VmloadConfigurationData *data, GError **error)
{
    char name[VMLOAD_STR8_SIZE];
    uint32_t version;
    size_t i;

    if (!vmload_reader_get_str8(reader, name, NULL, error) ||
        !vmload_reader_get_be32(reader, &version, error)) {
        return false;
    }
    for (i = 0; i < G_N_ELEMENTS(subsection_table); i++) {
        if (strcmp(name, subsection_table[i].name) != 0) {
            continue;
        }
        if (version > 1) {
            return vmload_reader_error(
                reader, error, VMLOAD_ERROR_UNSUPPORTED,
                "subsection '%s': expected version 0 or 1, found %u", name,
                version);
        }
        return subsection_table[i].read(reader, limits, data, error);
    }
    return unknown_name(reader, "unknown configuration subsection", name,
                        error);
}

bool vmload_configuration_read(VmloadReader *reader,
                               const VmloadLimits *limits,
                               VmloadConfigurationData *data, GError **error)
{
    const uint8_t *next;
    uint64_t available;
    uint8_t marker;

    if (!read_machine(reader, limits, data, error)) {
        return false;
    }
    /* No record type is 0x05: one byte tells (stream format, section 3). */
    while (true) {
        if (!vmload_reader_peek(reader, 1, &next, &available, error)) {
            return false;
        }
        if (available == 0 || next[0] != VMLOAD_RECORD_SUBSECTION) {
            break;
        }
        if (!vmload_reader_get_u8(reader, &marker, error) ||
            !read_subsection(reader, limits, data, error)) {
            return false;
        }
    }
    configuration_publish(data);
    return true;
}

static bool match_machine(const VmloadConfiguration *expected,
                          const VmloadConfiguration *found, GError **error)
{
    char *name;

    /* A prefix will do, even the empty name (stream format, section 3). */
    if ((found->present & VMLOAD_CONFIGURATION_MACHINE) == 0 ||
        g_str_has_prefix(expected->machine, found->machine)) {
        return true;
    }
    name = g_strescape(found->machine, NULL);
    vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                "expected machine '%s', found '%s'", expected->machine, name);
    g_free(name);
    return false;
}

static bool match_page_bits(const VmloadConfiguration *expected,
                            const VmloadConfiguration *found, GError **error)
{
    if ((found->present & VMLOAD_CONFIGURATION_PAGE_BITS) == 0) {
        if (expected->target_page_bits > LEGACY_PAGE_BITS) {
            return vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                               "expected %u target page bits, found none",
                               expected->target_page_bits);
        }
        return true;
    }
    if (found->target_page_bits != expected->target_page_bits) {
        return vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                           "expected %u target page bits, found %u",
                           expected->target_page_bits,
                           found->target_page_bits);
    }
    return true;
}

static bool match_capabilities(const VmloadConfiguration *expected,
                               const VmloadConfiguration *found,
                               GError **error)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(validated_capabilities); i++) {
        const char *name = validated_capabilities[i];
        bool here = vmload_configuration_has_capability(expected, name);
        bool there = vmload_configuration_has_capability(found, name);

        if (here != there) {
            return vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                               "expected capability '%s' %s, found it %s",
                               name, here ? "on" : "off",
                               there ? "on" : "off");
        }
    }
    return true;
}

static bool match_uuid(const VmloadConfiguration *expected,
                       const VmloadConfiguration *found, GError **error)
{
    if ((found->present & VMLOAD_CONFIGURATION_UUID) != 0 &&
        memcmp(expected->uuid, found->uuid, sizeof(found->uuid)) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_MISMATCH,
                           "expected another UUID than the stream has");
    }
    return true;
}

bool vmload_configuration_match(const VmloadConfiguration *expected,
                                const VmloadConfiguration *found,
                                GError **error)
{
    uint32_t present = expected->present;

    return ((present & VMLOAD_CONFIGURATION_MACHINE) == 0 ||
            match_machine(expected, found, error)) &&
           ((present & VMLOAD_CONFIGURATION_PAGE_BITS) == 0 ||
            match_page_bits(expected, found, error)) &&
           ((present & VMLOAD_CONFIGURATION_CAPABILITIES) == 0 ||
            match_capabilities(expected, found, error)) &&
           ((present & VMLOAD_CONFIGURATION_UUID) == 0 ||
            match_uuid(expected, found, error));
}

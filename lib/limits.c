/* SPDX-License-Identifier: BSD-3-Clause */
#include <vmload/limits.h>

#include "error.h"

#include <stddef.h>
#include <string.h>

#define KIB ((uint64_t)1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)

/* Every limit once: its name, its place, its default. */
#define LIMIT(member, value)                                    \
    {                                                           \
        #member, (uint32_t)offsetof(VmloadLimits, member),      \
            (uint32_t)sizeof(((VmloadLimits *)NULL)->member),   \
            value                                               \
    }

static const struct {
    const char *name;
    uint32_t offset;
    uint32_t size;
    uint64_t value;
} limit_table[] = {
    LIMIT(nesting, 32),
    LIMIT(section_bytes, 256 * MIB),
    LIMIT(staged_bytes, GIB),
    LIMIT(vmdesc_bytes, 64 * MIB),
    LIMIT(package_bytes, 512 * MIB),
    LIMIT(sections, 65536),
    LIMIT(ram_blocks, 65536),
    LIMIT(ram_bytes, (uint64_t)1 << 52),
    LIMIT(elements, (uint64_t)1 << 20),
    LIMIT(element_bytes, 256 * MIB),
    LIMIT(configuration_names, 1024),
    LIMIT(multifd_window, 128 * MIB),
    LIMIT(rdma_pinned_bytes, (uint64_t)1 << 52),
};

static void limit_store(VmloadLimits *limits, size_t index, uint64_t value)
{
    uint8_t *member = (uint8_t *)limits + limit_table[index].offset;
    uint32_t narrow = (uint32_t)value;

    if (limit_table[index].size == sizeof(narrow)) {
        memcpy(member, &narrow, sizeof(narrow));
    } else {
        memcpy(member, &value, sizeof(value));
    }
}

void vmload_limits_init(VmloadLimits *limits)
{
    size_t i;

    g_return_if_fail(limits != NULL);
    memset(limits, 0, sizeof(*limits));
    limits->struct_size = (uint32_t)sizeof(*limits);
    for (i = 0; i < G_N_ELEMENTS(limit_table); i++) {
        limit_store(limits, i, limit_table[i].value);
    }
}

/* '-' and '_' are the same in a limit's name. */
static bool limit_name_equal(const char *a, const char *b)
{
    while (*a != '\0' && (*a == *b || (*a == '_' && *b == '-'))) {
        a++;
        b++;
    }
    return *a == *b;
}

bool vmload_limits_set(VmloadLimits *limits, const char *name, uint64_t value,
                       GError **error)
{
    size_t i;

    g_return_val_if_fail(limits != NULL && name != NULL, false);
    for (i = 0; i < G_N_ELEMENTS(limit_table); i++) {
        uint64_t max = limit_table[i].size == sizeof(uint32_t) ? UINT32_MAX
                                                               : UINT64_MAX;

        if (!limit_name_equal(limit_table[i].name, name)) {
            continue;
        }
        if (value == 0 || value > max) {
            return vmload_fail(error, VMLOAD_ERROR_FAILED,
                               "limit '%s': expected 1 to %" G_GUINT64_FORMAT
                               ", found %" G_GUINT64_FORMAT,
                               name, max, value);
        }
        limit_store(limits, i, value);
        return true;
    }
    return vmload_fail(error, VMLOAD_ERROR_FAILED, "no limit is called '%s'",
                       name);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The end of a stream file, for finding out more than a forward run can tell
 * after its first error.
 */
#include "cli.h"

#include <string.h>

static uint32_t get_be32(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT32_FROM_BE(value);
}

/* How far from the end a description may begin. */
#define TAIL_SEARCH ((uint64_t)128 << 20)

/*
 * The text is where an EOF byte, `06`, a length that fits, and '{' stand. The
 * last such place counts: JSON has no byte 06. What follows the text need not
 * be looked at, so bytes that trail a stream do not hide it.
 */
static void tail_locate(CliTail *tail)
{
    uint64_t low = tail->length - MIN(tail->length, TAIL_SEARCH);
    uint64_t at;

    for (at = tail->length; at > low && at > 6; at--) {
        const uint8_t *text = tail->data + at - 1;

        if (text[0] == '{' && text[-5] == VMLOAD_RECORD_VMDESC &&
            text[-6] == VMLOAD_RECORD_EOF &&
            get_be32(text - 4) <= tail->length - (at - 1)) {
            tail->json = at - 1;
            tail->json_end = tail->json + get_be32(text - 4);
            return;
        }
    }
}

bool cli_tail_open(CliTail *tail, const char *path,
                   const VmloadLimits *limits, GError **error)
{
    memset(tail, 0, sizeof(*tail));
    if (strcmp(path, "-") == 0 || !g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
        return false;
    }
    tail->file = g_mapped_file_new(path, FALSE, error);
    if (tail->file == NULL) {
        return false;
    }
    tail->data = (const uint8_t *)g_mapped_file_get_contents(tail->file);
    tail->length = g_mapped_file_get_length(tail->file);
    tail_locate(tail);
    if (tail->json != 0) {
        tail->vmdesc = vmload_vmdesc_new(
            (const char *)tail->data + tail->json, tail->json_end - tail->json,
            limits, error);
    }
    return true;
}

void cli_tail_clear(CliTail *tail)
{
    vmload_vmdesc_free(tail->vmdesc);
    if (tail->file != NULL) {
        g_mapped_file_unref(tail->file);
    }
    memset(tail, 0, sizeof(*tail));
}

uint64_t cli_tail_find(const CliTail *tail, uint64_t from,
                       const VmloadVmdescDevice *device,
                       uint32_t *section_id, uint32_t *version_id)
{
    uint64_t name = strlen(device->name);
    /* The EOF record and the description's head are no section's. */
    uint64_t end = tail->json != 0 ? tail->json - 6 : tail->length;

    while (from < end && end - from >= 14 + name) {
        const uint8_t *at =
            memchr(tail->data + from, VMLOAD_RECORD_FULL,
                   (size_t)(end - from - 13 - name));

        if (at == NULL) {
            return 0;
        }
        if (at[5] == name && memcmp(at + 6, device->name, (size_t)name) == 0 &&
            get_be32(at + 6 + name) == device->instance_id) {
            *section_id = get_be32(at + 1);
            *version_id = get_be32(at + 10 + name);
            return (uint64_t)(at - tail->data) + 14 + name;
        }
        from = (uint64_t)(at - tail->data) + 1;
    }
    return 0;
}

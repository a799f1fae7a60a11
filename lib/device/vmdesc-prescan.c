/* SPDX-License-Identifier: BSD-3-Clause */
#include "vmdesc.h"

#include "error.h"

/*
 * What a document tree takes, measured with Jansson on 64-bit and rounded
 * up: a small text such as "[[],[],[]" otherwise costs forty times its size.
 */
#define COST_OBJECT 256
#define COST_ARRAY 128
#define COST_STRING 128
#define COST_VALUE 64

typedef struct {
    const char *json;
    uint64_t length;
    uint64_t pos;
    uint64_t left; /* memory */
    uint32_t depth;
    uint32_t depth_max;
} Prescan;

static bool prescan_spend(Prescan *scan, uint64_t cost, GError **error)
{
    if (cost > scan->left) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "vmdesc: JSON position %" G_GUINT64_FORMAT
                           ": needs more memory than the limit "
                           "'element-bytes'",
                           scan->pos);
    }
    scan->left -= cost;
    return true;
}

static bool prescan_open(Prescan *scan, uint64_t cost, GError **error)
{
    if (scan->depth == scan->depth_max) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "vmdesc: JSON position %" G_GUINT64_FORMAT
                           ": nested more than %u deep, by the limit "
                           "'nesting'",
                           scan->pos, scan->depth_max);
    }
    scan->depth++;
    return prescan_spend(scan, cost, error);
}

/* Passes over a string; an unterminated one ends with the text. */
static bool prescan_string(Prescan *scan, GError **error)
{
    uint64_t start = scan->pos;

    scan->pos++;
    while (scan->pos < scan->length && scan->json[scan->pos] != '"') {
        if (scan->json[scan->pos] == '\\' && scan->pos < scan->length - 1) {
            scan->pos++;
        }
        scan->pos++;
    }
    return prescan_spend(scan, COST_STRING + 2 * (scan->pos - start), error);
}

bool vmload_vmdesc_prescan(const char *json, uint64_t length, uint32_t depth,
                           uint64_t memory, GError **error)
{
    Prescan scan = {json, length, 0, memory, 0, depth};
    bool ok = true;

    for (scan.pos = 0; ok && scan.pos < length; scan.pos++) {
        switch (json[scan.pos]) {
        case '{':
            ok = prescan_open(&scan, COST_OBJECT, error);
            break;
        case '[':
            ok = prescan_open(&scan, COST_ARRAY, error);
            break;
        case '}':
        case ']':
            /* Whether they match is the parser's business. */
            scan.depth -= scan.depth > 0;
            break;
        case '"':
            ok = prescan_string(&scan, error);
            break;
        case ',':
        case ':':
            ok = prescan_spend(&scan, COST_VALUE, error);
            break;
        default:
            break;
        }
    }
    return ok;
}

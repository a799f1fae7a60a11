/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a description can be used. Everything that the engine takes for
 * granted while it loads hostile bytes is looked at here, once.
 */
#include "device/vmstate.h"

#include "error.h"
#include "host/ops.h"

#include <string.h>

/* Kinds and flags as sets of bits. */
#define KIND(name) (1u << VMLOAD_FIELD_KIND_##name)
#define KINDS_WITH_DESC \
    (KIND(STRUCT) | KIND(VSTRUCT) | KIND(TMP) | KIND(LIST) | KIND(TREE))
#define KINDS_AT_FIELD_VERSION (KIND(TMP) | KIND(LIST) | KIND(TREE))
/* Kinds that are not elements of arrays or behind pointers. */
#define KINDS_ALONE (KINDS_AT_FIELD_VERSION | KIND(UNUSED) | KIND(VALIDATE))
/* Kinds that judge a value before it counts. */
#define KINDS_JUDGING \
    (KIND(U8_EQUAL) | KIND(U16_EQUAL) | KIND(I32_EQUAL) | \
     KIND(U32_EQUAL) | KIND(U64_EQUAL) | KIND(I32_LE))
#define FLAGS_KNOWN \
    (VMLOAD_FIELD_POINTER | VMLOAD_FIELD_ALLOC | \
     VMLOAD_FIELD_POINTER_ARRAY | VMLOAD_FIELD_MUST_EXIST)

/* Depth of a description that is being checked; more than any limit. */
#define DEPTH_OPEN UINT32_MAX

typedef struct {
    GHashTable *depths; /* VmloadStateDesc -> levels below, or DEPTH_OPEN */
    uint32_t nesting;
    uint32_t level; /* of the C stack */
} Check;

static bool check_desc(Check *check, const VmloadStateDesc *desc,
                       uint32_t *depth, GError **error);

static bool is_kind(const VmloadField *field, uint32_t kinds)
{
    return field->kind <= VMLOAD_FIELD_KIND_CUSTOM &&
           (1u << field->kind & kinds) != 0;
}

static bool bad_field(GError **error, const VmloadStateDesc *desc,
                      const VmloadField *field, const char *what)
{
    return vmload_fail(error, VMLOAD_ERROR_FAILED,
                       "description '%s': field '%s': %s", desc->name,
                       field->name, what);
}

/* Members that a later library knows and we do not must not be used. */
static bool surplus_is_zero(const VmloadStateDesc *desc, uint64_t index)
{
    const uint8_t *bytes =
        (const uint8_t *)desc->fields + index * desc->field_size;
    uint64_t i;

    for (i = sizeof(VmloadField); i < desc->field_size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static bool check_ops(const VmloadStateDesc *desc, const VmloadField *field,
                      GError **error)
{
    VmloadFieldOps ops = {0};

    if (field->ops != NULL &&
        !vmload_ops_copy(&ops, sizeof(ops), field->ops, "VmloadFieldOps",
                         error)) {
        g_prefix_error(error, "description '%s': field '%s': ", desc->name,
                       field->name);
        return false;
    }
    if (field->kind == VMLOAD_FIELD_KIND_CUSTOM && ops.get == NULL) {
        return bad_field(error, desc, field, "expected ops with get");
    }
    if (field->kind == VMLOAD_FIELD_KIND_LIST && ops.insert == NULL) {
        return bad_field(error, desc, field, "expected ops with insert");
    }
    if (field->kind == VMLOAD_FIELD_KIND_TREE && ops.insert_pair == NULL) {
        return bad_field(error, desc, field, "expected ops with insert_pair");
    }
    return true;
}

static bool check_flags(const VmloadStateDesc *desc, const VmloadField *field,
                        GError **error)
{
    bool pointer = (field->flags & VMLOAD_FIELD_POINTER) != 0;
    bool array = (field->flags & VMLOAD_FIELD_POINTER_ARRAY) != 0;

    if ((field->flags & VMLOAD_FIELD_ALLOC) && pointer == array) {
        return bad_field(error, desc, field,
                         "expected ALLOC with one of POINTER and "
                         "POINTER_ARRAY");
    }
    if (array && field->kind == VMLOAD_FIELD_KIND_BITMAP) {
        return bad_field(error, desc, field,
                         "expected no POINTER_ARRAY of bitmaps");
    }
    if ((pointer || array) && is_kind(field, KINDS_ALONE)) {
        return bad_field(error, desc, field, "expected no pointers");
    }
    if (is_kind(field, KINDS_AT_FIELD_VERSION) &&
        (field->count != 1 || field->count_type != VMLOAD_COUNT_CONSTANT)) {
        return bad_field(error, desc, field, "expected one, no array");
    }
    return true;
}

static bool check_size(const VmloadStateDesc *desc, const VmloadField *field,
                       GError **error)
{
    uint32_t width = vmload_state_scalar_width(field->kind);
    uint64_t least = 1;
    uint64_t bytes;

    if (field->kind == VMLOAD_FIELD_KIND_VALIDATE) {
        return true;
    }
    if (field->kind == VMLOAD_FIELD_KIND_TMP) {
        least = sizeof(void *);
    }
    if (width != 0 ? field->size != width : field->size < least) {
        return bad_field(error, desc, field,
                         "expected the size of its kind in memory");
    }
    if (field->kind == VMLOAD_FIELD_KIND_BITMAP &&
        field->size != sizeof(unsigned long)) {
        return bad_field(error, desc, field, "expected the size of a long");
    }
    if (field->count == 0 ||
        !vmload_state_multiply(field->count, field->size, &bytes)) {
        return bad_field(error, desc, field,
                         "expected a count of 1 to what memory holds");
    }
    return true;
}

/* Whether @field puts what it reads into the member at @offset. */
static bool field_covers(const VmloadField *field, uint64_t offset)
{
    uint64_t n = field->count;

    if ((field->flags & VMLOAD_FIELD_POINTER) ||
        is_kind(field, KINDS_JUDGING | KINDS_ALONE)) {
        return false;
    }
    if (field->count_type != VMLOAD_COUNT_CONSTANT) {
        n = field->capacity;
    }
    return offset >= field->offset &&
           (offset - field->offset) / MAX(field->size, 1) < n;
}

/*
 * Whether a field of @desc loads the count at @offset unjudged. Then it is
 * the source that chooses how many elements there are.
 */
static bool count_is_free(const VmloadStateDesc *desc, uint64_t offset)
{
    VmloadField field;
    uint64_t i;

    for (i = 0; vmload_state_fetch_field(desc, i, &field); i++) {
        if (field_covers(&field, offset)) {
            return true;
        }
    }
    return false;
}

/* Whether nothing but the count member tells how much room there is. */
static bool count_is_room(const VmloadField *field)
{
    return field->count_type != VMLOAD_COUNT_CONSTANT &&
           field->capacity == 0 && field->kind != VMLOAD_FIELD_KIND_UNUSED &&
           !((field->flags & VMLOAD_FIELD_POINTER) &&
             (field->flags & VMLOAD_FIELD_ALLOC));
}

static bool check_count(const VmloadStateDesc *desc, const VmloadField *field,
                        GError **error)
{
    if (field->count_type > VMLOAD_COUNT_U8) {
        return bad_field(error, desc, field, "expected a known count_type");
    }
    if (!count_is_room(field)) {
        return true;
    }
    if (!(field->flags & VMLOAD_FIELD_POINTER)) {
        return bad_field(error, desc, field,
                         "expected a capacity, since its count is a member");
    }
    if (count_is_free(desc, field->count_offset)) {
        return bad_field(error, desc, field,
                         "expected a capacity, since its count is loaded "
                         "unjudged");
    }
    return true;
}

/* The same for the fields of a subsection and what its owner has loaded. */
static bool check_subsection_counts(const VmloadStateDesc *desc,
                                    const VmloadStateDesc *sub,
                                    GError **error)
{
    VmloadField field;
    uint64_t i;

    for (i = 0; vmload_state_fetch_field(sub, i, &field); i++) {
        if (count_is_room(&field) &&
            count_is_free(desc, field.count_offset)) {
            return bad_field(error, sub, &field,
                             "expected a capacity, since its count is loaded "
                             "unjudged");
        }
    }
    return true;
}

/* The version that a nested description is loaded at is one it has. */
static bool check_nested_version(const VmloadStateDesc *desc,
                                 const VmloadField *field,
                                 const VmloadStateDesc *nested,
                                 GError **error)
{
    uint32_t version = nested->version_id;

    if (field->kind == VMLOAD_FIELD_KIND_VSTRUCT) {
        version = field->struct_version;
    } else if (is_kind(field, KINDS_AT_FIELD_VERSION)) {
        version = field->version_id;
    }
    if (version < nested->minimum_version_id ||
        version > nested->version_id) {
        return bad_field(error, desc, field,
                         "expected a version that its description has");
    }
    return true;
}

static bool check_nested(Check *check, const VmloadStateDesc *desc,
                         const VmloadField *field, uint32_t *depth,
                         GError **error)
{
    if (is_kind(field, KINDS_WITH_DESC)) {
        if (field->desc == NULL) {
            return bad_field(error, desc, field, "expected a description");
        }
        if (!check_desc(check, field->desc, depth, error) ||
            !check_nested_version(desc, field, field->desc, error)) {
            return false;
        }
    }
    if (field->kind == VMLOAD_FIELD_KIND_TREE && field->key_desc != NULL) {
        if (field->key_size == 0) {
            return bad_field(error, desc, field, "expected a key_size");
        }
        return check_desc(check, field->key_desc, depth, error) &&
               check_nested_version(desc, field, field->key_desc, error);
    }
    return true;
}

static bool check_field(Check *check, const VmloadStateDesc *desc,
                        const VmloadField *field, uint32_t *depth,
                        GError **error)
{
    if (field->name == NULL) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "description '%s': a field has no name",
                           desc->name);
    }
    if (field->kind > VMLOAD_FIELD_KIND_CUSTOM ||
        (field->flags & ~(uint32_t)FLAGS_KNOWN) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                           "description '%s': field '%s': kind %u or flags "
                           "0x%x are unknown", desc->name, field->name,
                           field->kind, field->flags);
    }
    return check_flags(desc, field, error) &&
           check_size(desc, field, error) &&
           check_count(desc, field, error) &&
           check_ops(desc, field, error) &&
           check_nested(check, desc, field, depth, error);
}

static bool check_fields(Check *check, const VmloadStateDesc *desc,
                         uint32_t *depth, GError **error)
{
    VmloadField field;
    uint64_t i;

    for (i = 0; vmload_state_fetch_field(desc, i, &field); i++) {
        if (!check_field(check, desc, &field, depth, error)) {
            return false;
        }
        if (!surplus_is_zero(desc, i)) {
            return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                               "description '%s': field '%s' uses members "
                               "that this library does not know", desc->name,
                               field.name);
        }
    }
    return true;
}

static bool check_subsections(Check *check, const VmloadStateDesc *desc,
                              uint32_t *depth, GError **error)
{
    uint32_t i;

    for (i = 0; desc->subsections != NULL && desc->subsections[i] != NULL;
         i++) {
        const VmloadStateDesc *sub = desc->subsections[i];

        if (i == VMLOAD_STATE_SUBSECTIONS) {
            return vmload_fail(error, VMLOAD_ERROR_FAILED,
                               "description '%s': expected at most %d "
                               "subsections", desc->name,
                               VMLOAD_STATE_SUBSECTIONS);
        }
        if (!check_desc(check, sub, depth, error) ||
            !check_subsection_counts(desc, sub, error)) {
            return false;
        }
        if (!g_str_has_prefix(sub->name, desc->name) ||
            strlen(sub->name) <= strlen(desc->name)) {
            return vmload_fail(error, VMLOAD_ERROR_FAILED,
                               "description '%s': expected a subsection whose "
                               "name begins so, found '%s'", desc->name,
                               sub->name);
        }
    }
    return true;
}

static bool check_head(const VmloadStateDesc *desc, GError **error)
{
    VmloadStateDesc own;

    if (!vmload_ops_copy(&own, sizeof(own), desc, "VmloadStateDesc", error)) {
        return false;
    }
    /* Nothing is shorter than version 0.1, the first to have these. */
    if (desc->struct_size < sizeof(own) ||
        desc->field_size < sizeof(VmloadField) ||
        desc->field_size % sizeof(void *) != 0) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "VmloadStateDesc: expected struct_size and "
                           "field_size by VMLOAD_STATE_DESC_INIT, found %u "
                           "and %u", desc->struct_size, desc->field_size);
    }
    if (desc->name == NULL || desc->name[0] == '\0' ||
        strlen(desc->name) > 255) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "description: expected a name of 1 to 255 bytes");
    }
    if (desc->minimum_version_id > desc->version_id) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "description '%s': expected minimum_version_id up "
                           "to %u, found %u", desc->name, desc->version_id,
                           desc->minimum_version_id);
    }
    return true;
}

/* A description that was not met before; *@depth: levels it needs. */
static bool check_new_desc(Check *check, const VmloadStateDesc *desc,
                           uint32_t *depth, GError **error)
{
    uint32_t below = 0;

    if (!check_head(desc, error)) {
        return false;
    }
    if (check->level >= check->nesting) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "description '%s': expected at most %u levels",
                           desc->name, check->nesting);
    }
    g_hash_table_insert(check->depths, (gpointer)desc,
                        GUINT_TO_POINTER(DEPTH_OPEN));
    check->level++;
    if (!check_fields(check, desc, &below, error) ||
        !check_subsections(check, desc, &below, error)) {
        return false;
    }
    check->level--;
    *depth = below + 1;
    g_hash_table_insert(check->depths, (gpointer)desc,
                        GUINT_TO_POINTER(*depth));
    return true;
}

/* Checks @desc if it is new; *@depth becomes at least the levels it needs. */
static bool check_desc(Check *check, const VmloadStateDesc *desc,
                       uint32_t *depth, GError **error)
{
    uint32_t own = GPOINTER_TO_UINT(g_hash_table_lookup(check->depths, desc));

    if (own == DEPTH_OPEN) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "description '%s': expected no recursion",
                           desc->name);
    }
    if (own == 0 && !check_new_desc(check, desc, &own, error)) {
        return false;
    }
    if (check->level + own > check->nesting) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "description '%s': expected at most %u levels, "
                           "found %u", desc->name, check->nesting,
                           check->level + own);
    }
    *depth = MAX(*depth, own);
    return true;
}

bool vmload_state_desc_check(const VmloadStateDesc *desc, GError **error)
{
    VmloadLimits limits;
    Check check = {0};
    uint32_t depth = 0;
    bool ok;

    g_return_val_if_fail(desc != NULL, false);
    vmload_limits_init(&limits);
    check.nesting = limits.nesting;
    check.depths = g_hash_table_new(NULL, NULL);
    ok = check_desc(&check, desc, &depth, error);
    g_hash_table_unref(check.depths);
    return ok;
}

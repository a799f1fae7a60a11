/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/vmstate-shadow.h"

#include "error.h"

#include <string.h>

/* Bytes beside the object that every load may take. */
#define OWN_BUDGET 65536

/* Regions to begin with. */
#define REGIONS 8

typedef enum {
    STEP_COPY,    /* the bytes that were loaded */
    STEP_EXPECT,  /* bytes that must still be as they were */
    STEP_REPLACE, /* a pointer gets new memory */
    STEP_PRE_LOAD,
    STEP_POST_LOAD,
    STEP_INSERT,
    STEP_INSERT_PAIR,
    STEP_DROP, /* a temporary */
} StepKind;

/* Memory and where it is loaded meanwhile. */
typedef struct Twin Twin;
struct Twin {
    Twin *next;
    uint8_t *memory;
    uint8_t *shadow; /* owned */
    uint64_t size;
    bool ours; /* the engine made @memory and has not given it away */
};

/* One thing to do at the commit. */
typedef struct {
    StepKind kind;
    uint32_t version; /* hooks */
    uint64_t offset;  /* of the stream, for messages */
    uint8_t *live;    /* what is written, compared, or called with */
    uint64_t from;    /* COPY, EXPECT: offset of the bytes in the log */
    uint64_t size;    /* COPY, EXPECT: bytes; INSERT_PAIR: the direct key */
    Twin *twin;       /* REPLACE, INSERT, DROP: nullable for REPLACE */
    Twin *key;        /* INSERT_PAIR: nullable */
    const VmloadFieldOps *ops;
    const char *name; /* of the field or description */
    char *path;       /* owned, nullable; for messages of callbacks */
    bool (*hook)(void *object, uint32_t version, GError **error);
} Step;

typedef struct {
    uint8_t *shadow;
    uint8_t *live;
    uint64_t size;
} Region;

struct VmloadStateShadow {
    VmloadStateFence fence;
    uint64_t budget; /* bytes that steps and twins may still take */
    Twin *twins;
    GHashTable *by_memory; /* memory -> Twin */
    /*
     * Bytes as they were when they were loaded: a stream may load a member
     * again, and hooks in between must not see a count that comes later.
     */
    uint8_t *log;
    uint64_t log_length;
    uint64_t log_room;
    Step *steps;
    uint64_t n_steps;
    uint64_t room; /* in steps */
    Region *regions; /* a stack: what is being loaded */
    uint32_t n_regions;
    uint32_t max_regions;
};

static bool no_memory(GError **error, uint64_t bytes)
{
    return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                       "no memory for %" G_GUINT64_FORMAT
                       " bytes beside the object", bytes);
}

static bool charge(VmloadStateShadow *shadow, uint64_t bytes, GError **error)
{
    if (bytes > shadow->budget) {
        return vmload_fail(error, VMLOAD_ERROR_LIMIT,
                           "limit element_bytes: expected at most %"
                           G_GUINT64_FORMAT " bytes more beside the object, "
                           "found %" G_GUINT64_FORMAT, shadow->budget, bytes);
    }
    shadow->budget -= bytes;
    return true;
}

/* A twin of @memory, zeroed. NULL with an error. */
static Twin *twin_new(VmloadStateShadow *shadow, void *memory, uint64_t size,
                      GError **error)
{
    Twin *twin;

    if (size > G_MAXSSIZE - sizeof(*twin) ||
        !charge(shadow, size + sizeof(*twin), error)) {
        return NULL;
    }
    twin = g_try_malloc0(sizeof(*twin));
    if (twin != NULL) {
        twin->shadow = g_try_malloc0((gsize)MAX(size, 1));
    }
    if (twin == NULL || twin->shadow == NULL) {
        g_free(twin);
        no_memory(error, size);
        return NULL;
    }
    twin->memory = memory;
    twin->size = size;
    twin->next = shadow->twins;
    shadow->twins = twin;
    g_hash_table_insert(shadow->by_memory, memory, twin);
    return twin;
}

static Twin *twin_find(const VmloadStateShadow *shadow, const void *memory)
{
    return memory != NULL ? g_hash_table_lookup(shadow->by_memory, memory)
                          : NULL;
}

/* The engine's own errors go through the reader, which adds the offset. */
static bool report(VmloadStateLoad *load, GError *local, GError **error)
{
    if (local != NULL) {
        vmload_reader_error(load->reader, error, (VmloadError)local->code,
                            "%s", local->message);
        g_error_free(local);
    }
    return false;
}

static bool push_region(VmloadStateLoad *load, const Twin *twin,
                        GError **error)
{
    VmloadStateShadow *shadow = load->shadow;
    Region *region;

    if (shadow->n_regions == shadow->max_regions) {
        uint32_t room = 2 * shadow->max_regions;

        region = g_try_renew(Region, shadow->regions, room);
        if (region == NULL) {
            return vmload_reader_error(load->reader, error,
                                       VMLOAD_ERROR_LIMIT,
                                       "no memory to go on");
        }
        shadow->regions = region;
        shadow->max_regions = room;
    }
    region = &shadow->regions[shadow->n_regions++];
    region->shadow = twin->shadow;
    region->live = twin->memory;
    region->size = twin->size;
    return true;
}

uint32_t vmload_state_mark(const VmloadStateLoad *load)
{
    return load->shadow != NULL ? load->shadow->n_regions : 0;
}

void vmload_state_leave(VmloadStateLoad *load, uint32_t mark)
{
    if (load->shadow != NULL) {
        load->shadow->n_regions = mark;
    }
}

void *vmload_state_shadow_live(const VmloadStateLoad *load,
                               const void *memory)
{
    const VmloadStateShadow *shadow = load->shadow;
    const uint8_t *place = memory;
    uint32_t i;

    for (i = shadow->n_regions; i-- > 0;) {
        const Region *region = &shadow->regions[i];

        if (place >= region->shadow &&
            place - region->shadow < (ptrdiff_t)MAX(region->size, 1)) {
            return region->live + (place - region->shadow);
        }
    }
    return NULL;
}

/* Room for one step more; NULL with an error. */
static Step *add_step(VmloadStateLoad *load, StepKind kind,
                      const void *memory, GError **error)
{
    VmloadStateShadow *shadow = load->shadow;
    GError *local = NULL;
    Step *step;

    if (shadow->steps == NULL || shadow->n_steps == shadow->room) {
        uint64_t room = MAX(16, 2 * shadow->room);

        if (!charge(shadow, (room - shadow->room) * sizeof(*step), &local)) {
            report(load, local, error);
            return NULL;
        }
        step = g_try_renew(Step, shadow->steps, (gsize)room);
        if (step == NULL) {
            no_memory(&local, room * sizeof(*step));
            report(load, local, error);
            return NULL;
        }
        shadow->steps = step;
        shadow->room = room;
    }
    step = &shadow->steps[shadow->n_steps];
    memset(step, 0, sizeof(*step));
    step->kind = kind;
    step->offset = vmload_reader_get_offset(load->reader);
    step->live = vmload_state_shadow_live(load, memory);
    if (step->live == NULL) {
        /* Cannot be: vmload_state_shadow_check() has seen to it. */
        vmload_reader_error(load->reader, error, VMLOAD_ERROR_FAILED,
                            "expected memory that the description names");
        return NULL;
    }
    shadow->n_steps++;
    return step;
}

/* Keeps @bytes; they begin where the log ended. */
static bool log_append(VmloadStateLoad *load, const void *bytes,
                       uint64_t length, GError **error)
{
    VmloadStateShadow *shadow = load->shadow;
    GError *local = NULL;
    uint8_t *log;

    if (length > shadow->log_room - shadow->log_length) {
        uint64_t room = MAX(2 * shadow->log_room,
                            shadow->log_length + MAX(length, 256));

        if (!charge(shadow, room - shadow->log_room, &local)) {
            return report(load, local, error);
        }
        log = g_try_realloc(shadow->log, (gsize)room);
        if (log == NULL) {
            no_memory(&local, room);
            return report(load, local, error);
        }
        shadow->log = log;
        shadow->log_room = room;
    }
    memcpy(shadow->log + shadow->log_length, bytes, length);
    shadow->log_length += length;
    return true;
}

bool vmload_state_adopt(VmloadStateLoad *load, void *memory, uint64_t bytes,
                        GError **error)
{
    GError *local = NULL;
    Twin *twin;

    if (load->shadow == NULL) {
        return true;
    }
    twin = twin_new(load->shadow, memory, bytes, &local);
    if (twin == NULL) {
        return report(load, local, error);
    }
    twin->ours = true;
    return true;
}

bool vmload_state_enter(VmloadStateLoad *load, void *memory, void **twin,
                        GError **error)
{
    Twin *own;

    *twin = memory;
    if (load->shadow == NULL) {
        return true;
    }
    own = twin_find(load->shadow, memory);
    *twin = own->shadow;
    return push_region(load, own, error);
}

/* A look at live memory, if the pointer that led there is still the same. */
static bool look_at(VmloadStateLoad *load, const void *slot, Twin *twin,
                    GError **error)
{
    const VmloadStateFence *fence = &load->shadow->fence;
    const void *live_slot = vmload_state_shadow_live(load, slot);
    bool same;

    fence->lock(fence->opaque);
    same = live_slot != NULL && memcmp(live_slot, slot, sizeof(void *)) == 0;
    if (same) {
        memcpy(twin->shadow, twin->memory, twin->size);
    }
    fence->unlock(fence->opaque);
    return same || vmload_reader_error(load->reader, error,
                                       VMLOAD_ERROR_DEVICE,
                                       "expected a pointer that stays, found "
                                       "it changed");
}

bool vmload_state_follow(VmloadStateLoad *load, const void *slot,
                         uint64_t bytes, bool look, uint8_t **memory,
                         GError **error)
{
    GError *local = NULL;
    Twin *twin;

    if (load->shadow == NULL || *memory == NULL || bytes == 0) {
        return true;
    }
    twin = twin_find(load->shadow, *memory);
    if (twin == NULL || twin->size < bytes) {
        twin = twin_new(load->shadow, *memory, bytes, &local);
        if (twin == NULL) {
            return report(load, local, error);
        }
        if (look && !look_at(load, slot, twin, error)) {
            return false;
        }
    }
    if (!twin->ours &&
        !vmload_state_expect(load, slot, sizeof(void *), error)) {
        return false;
    }
    *memory = twin->shadow;
    return push_region(load, twin, error);
}

bool vmload_state_wrote(VmloadStateLoad *load, const void *memory,
                        uint64_t bytes, GError **error)
{
    VmloadStateShadow *shadow = load->shadow;
    const uint8_t *live;
    Step *last;

    if (shadow == NULL || bytes == 0) {
        return true;
    }
    live = vmload_state_shadow_live(load, memory);
    last = shadow->n_steps > 0 ? &shadow->steps[shadow->n_steps - 1] : NULL;
    if (last != NULL && last->kind == STEP_COPY &&
        last->live + last->size == live &&
        last->from + last->size == shadow->log_length) {
        last->size += bytes;
        return log_append(load, memory, bytes, error);
    }
    last = add_step(load, STEP_COPY, memory, error);
    if (last == NULL) {
        return false;
    }
    last->from = shadow->log_length;
    last->size = bytes;
    return log_append(load, memory, bytes, error);
}

bool vmload_state_expect(VmloadStateLoad *load, const void *memory,
                         uint64_t bytes, GError **error)
{
    Step *step;

    if (load->shadow == NULL) {
        return true;
    }
    step = add_step(load, STEP_EXPECT, memory, error);
    if (step == NULL) {
        return false;
    }
    step->from = load->shadow->log_length;
    step->size = bytes;
    return log_append(load, memory, bytes, error);
}

bool vmload_state_shadow_replace(VmloadStateLoad *load,
                                 const VmloadField *field, uint8_t *slot,
                                 void *memory, GError **error)
{
    Step *step = add_step(load, STEP_REPLACE, slot, error);

    if (step == NULL) {
        return false;
    }
    memcpy(slot, &memory, sizeof(memory));
    step->twin = twin_find(load->shadow, memory);
    step->ops = field->ops;
    step->name = field->name;
    return true;
}

/* A step that calls the host, which may refuse: it says where. */
static Step *add_call(VmloadStateLoad *load, StepKind kind,
                      const void *memory, const VmloadStatePlace *place,
                      GError **error)
{
    GError *local = NULL;
    Step *step = add_step(load, kind, memory, error);

    if (step == NULL) {
        return NULL;
    }
    step->path = vmload_state_path(place);
    if (step->path != NULL &&
        !charge(load->shadow, strlen(step->path), &local)) {
        report(load, local, error);
        return NULL;
    }
    return step;
}

bool vmload_state_shadow_hook(VmloadStateLoad *load,
                              const VmloadStateDesc *desc, bool post,
                              void *object, uint32_t version,
                              const VmloadStatePlace *place, GError **error)
{
    Step *step = add_call(load, post ? STEP_POST_LOAD : STEP_PRE_LOAD, object,
                          place, error);

    if (step == NULL) {
        return false;
    }
    step->hook = post ? desc->post_load : desc->pre_load;
    step->name = desc->name;
    step->version = version;
    return true;
}

bool vmload_state_shadow_insert(VmloadStateLoad *load,
                                const VmloadField *field, const void *list,
                                void *element, const VmloadStatePlace *place,
                                GError **error)
{
    Step *step = add_call(load, STEP_INSERT, list, place, error);

    if (step == NULL) {
        return false;
    }
    step->twin = twin_find(load->shadow, element);
    step->ops = field->ops;
    step->name = field->name;
    return true;
}

bool vmload_state_shadow_insert_pair(VmloadStateLoad *load,
                                     const VmloadField *field,
                                     const void *tree, void *key,
                                     uint64_t direct_key, void *value,
                                     const VmloadStatePlace *place,
                                     GError **error)
{
    Step *step = add_call(load, STEP_INSERT_PAIR, tree, place, error);

    if (step == NULL) {
        return false;
    }
    step->twin = twin_find(load->shadow, value);
    step->key = twin_find(load->shadow, key);
    step->size = direct_key;
    step->ops = field->ops;
    step->name = field->name;
    return true;
}

bool vmload_state_shadow_drop(VmloadStateLoad *load, const VmloadField *field,
                              void *tmp, GError **error)
{
    Twin *twin = twin_find(load->shadow, tmp);
    Step *step = add_step(load, STEP_DROP, twin->shadow, error);

    if (step == NULL) {
        return false;
    }
    step->twin = twin;
    step->ops = field->ops;
    return true;
}

/* --- the commit ---------------------------------------------------------- */

static bool refused(const Step *step, const char *what, GError *local,
                    GError **error)
{
    VmloadError code = VMLOAD_ERROR_DEVICE;

    if (local != NULL && local->domain == VMLOAD_ERROR) {
        code = (VmloadError)local->code;
    }
    vmload_fail(error, code, "offset 0x%" G_GINT64_MODIFIER "x: %s of '%s': "
                "%s", step->offset, what, step->name,
                local != NULL ? local->message : "refused");
    if (step->path != NULL) {
        g_prefix_error(error, "field '%s': ", step->path);
    }
    g_clear_error(&local);
    return false;
}

/* Memory goes to the host, by a name of its own. NULL stays NULL. */
static void *give(Twin *twin)
{
    if (twin == NULL) {
        return NULL;
    }
    twin->ours = false;
    return twin->memory;
}

static void free_element(const Step *step, void *element, bool is_key)
{
    void (*func)(void *, void *);
    VmloadFieldOps ops;

    if (element == NULL) {
        return;
    }
    vmload_state_fetch_ops(step->ops, &ops);
    func = is_key ? ops.key_free : ops.element_free;
    if (func != NULL) {
        func(ops.opaque, element);
    } else {
        g_free(element);
    }
}

static void commit_replace(const Step *step)
{
    void *memory;

    memcpy(&memory, step->live, sizeof(memory));
    memset(step->live, 0, sizeof(memory));
    free_element(step, memory, false);
    memory = give(step->twin);
    memcpy(step->live, &memory, sizeof(memory));
}

static bool commit_hook(const Step *step, const char *what, GError **error)
{
    GError *local = NULL;

    return step->hook(step->live, step->version, &local) ||
           refused(step, what, local, error);
}

static bool commit_insert(const Step *step, GError **error)
{
    GError *local = NULL;
    VmloadFieldOps ops;

    vmload_state_fetch_ops(step->ops, &ops);
    if (!ops.insert(ops.opaque, step->live, step->twin->memory, &local)) {
        return refused(step, "insert", local, error);
    }
    give(step->twin);
    return true;
}

static bool commit_insert_pair(const Step *step, GError **error)
{
    GError *local = NULL;
    VmloadFieldOps ops;

    vmload_state_fetch_ops(step->ops, &ops);
    if (!ops.insert_pair(ops.opaque, step->live,
                         step->key != NULL ? step->key->memory : NULL,
                         step->size, step->twin->memory, &local)) {
        return refused(step, "insert_pair", local, error);
    }
    give(step->key);
    give(step->twin);
    return true;
}

static bool commit_step(const VmloadStateShadow *shadow, const Step *step,
                        GError **error)
{
    switch (step->kind) {
    case STEP_COPY:
        memcpy(step->live, shadow->log + step->from, step->size);
        return true;
    case STEP_EXPECT:
        return memcmp(step->live, shadow->log + step->from, step->size) == 0 ||
               vmload_fail(error, VMLOAD_ERROR_DEVICE,
                           "offset 0x%" G_GINT64_MODIFIER "x: expected "
                           "pointers and counts that stay, found one "
                           "changed since it was decoded", step->offset);
    case STEP_REPLACE:
        commit_replace(step);
        return true;
    case STEP_PRE_LOAD:
        return commit_hook(step, "pre_load", error);
    case STEP_POST_LOAD:
        return commit_hook(step, "post_load", error);
    case STEP_INSERT:
        return commit_insert(step, error);
    case STEP_INSERT_PAIR:
        return commit_insert_pair(step, error);
    default:
        free_element(step, give(step->twin), false);
        return true;
    }
}

/*
 * The commit has failed: elements that the host may have seen in a hook, and
 * that hang from nothing, are the host's to free.
 */
static void abandon(VmloadStateShadow *shadow, uint64_t from)
{
    uint64_t i;

    for (i = from; i < shadow->n_steps; i++) {
        const Step *step = &shadow->steps[i];

        if (step->kind == STEP_INSERT || step->kind == STEP_INSERT_PAIR ||
            step->kind == STEP_DROP) {
            free_element(step, give(step->twin), false);
            free_element(step, give(step->key), true);
        }
    }
}

bool vmload_state_commit(VmloadStateShadow *shadow, GError **error)
{
    uint64_t i;

    for (i = 0; i < shadow->n_steps; i++) {
        if (!commit_step(shadow, &shadow->steps[i], error)) {
            abandon(shadow, i);
            return false;
        }
    }
    return true;
}

/* --- its life ------------------------------------------------------------ */

/* The object itself, as it is now. */
static bool copy_root(VmloadStateShadow *shadow, void *object,
                      uint64_t object_size, void **root, GError **error)
{
    Twin *twin = twin_new(shadow, object, object_size, error);

    if (twin == NULL) {
        return false;
    }
    shadow->fence.lock(shadow->fence.opaque);
    memcpy(twin->shadow, object, object_size);
    shadow->fence.unlock(shadow->fence.opaque);
    shadow->regions = g_try_new0(Region, REGIONS);
    if (shadow->regions == NULL) {
        return no_memory(error, sizeof(Region));
    }
    shadow->max_regions = REGIONS;
    shadow->regions[shadow->n_regions++] =
        (Region){twin->shadow, twin->memory, twin->size};
    *root = twin->shadow;
    return true;
}

VmloadStateShadow *vmload_state_shadow_new(void *object, uint64_t object_size,
                                           uint64_t budget,
                                           const VmloadStateFence *fence,
                                           void **root, GError **error)
{
    VmloadStateShadow *shadow = g_new0(VmloadStateShadow, 1);
    /* What the object itself needs is the host's choice. */
    uint64_t own =
        MIN(object_size, UINT32_MAX) * (sizeof(Step) + 4) + OWN_BUDGET;

    shadow->fence = *fence;
    shadow->budget = budget < UINT64_MAX - own ? budget + own : UINT64_MAX;
    shadow->by_memory = g_hash_table_new(NULL, NULL);
    if (!copy_root(shadow, object, object_size, root, error)) {
        vmload_state_shadow_free(shadow);
        return NULL;
    }
    return shadow;
}

void vmload_state_shadow_free(VmloadStateShadow *shadow)
{
    Twin *twin;
    uint64_t i;

    if (shadow == NULL) {
        return;
    }
    while ((twin = shadow->twins) != NULL) {
        shadow->twins = twin->next;
        if (twin->ours) {
            g_free(twin->memory);
        }
        g_free(twin->shadow);
        g_free(twin);
    }
    for (i = 0; i < shadow->n_steps; i++) {
        g_free(shadow->steps[i].path);
    }
    g_hash_table_unref(shadow->by_memory);
    g_free(shadow->steps);
    g_free(shadow->log);
    g_free(shadow->regions);
    g_free(shadow);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loading in two steps (VMLOAD_LOCK_APPLY): decode without the big lock into
 * a shadow, then commit with it.
 *
 * While it decodes, the engine reads and writes a twin of each piece of
 * memory that the description reaches, and notes what it would have done to
 * the piece itself: which bytes it would have written, which pointer it would
 * have replaced, which callback it would have called. The commit does just
 * that, in the same order. What a description does not name is never
 * written.
 */
#ifndef VMLOAD_VMSTATE_SHADOW_H
#define VMLOAD_VMSTATE_SHADOW_H

#include "device/vmstate.h"

/* What takes and gives the big lock around a look at the live object. */
typedef struct {
    void (*lock)(void *opaque);
    void (*unlock)(void *opaque);
    void *opaque;
} VmloadStateFence;

/*
 * Whether @desc can be decoded apart from an object of @object_size bytes.
 * It has passed vmload_state_desc_check().
 */
bool vmload_state_shadow_check(const VmloadStateDesc *desc,
                               uint64_t object_size, GError **error);

/*
 * Decodes, as vmload_state_load(), without touching @object but for a look
 * between the fence's lock and unlock. NULL on failure. Everything but
 * @reader and @limits is borrowed until the shadow is freed.
 */
VmloadStateShadow *vmload_state_decode(const VmloadStateDesc *desc,
                                       void *object, uint64_t object_size,
                                       uint32_t version, VmloadReader *reader,
                                       const VmloadLimits *limits,
                                       const VmloadStateFence *fence,
                                       GError **error);

/* Makes it the object's state, once, with the big lock held. */
bool vmload_state_commit(VmloadStateShadow *shadow, GError **error);

/* Frees it, committed or not. No lock. @shadow may be NULL. */
void vmload_state_shadow_free(VmloadStateShadow *shadow);

/* For vmload_state_decode(): a shadow of @object; then of what it needs. */
VmloadStateShadow *vmload_state_shadow_new(void *object, uint64_t object_size,
                                           uint64_t budget,
                                           const VmloadStateFence *fence,
                                           void **root, GError **error);

/*
 * The rest is for the engine, which calls it whether it has a shadow or not:
 * without one these do nothing and succeed.
 *
 * Pieces of memory that are entered while a field is loaded are left again
 * by vmload_state_leave().
 */
uint32_t vmload_state_mark(const VmloadStateLoad *load);
void vmload_state_leave(VmloadStateLoad *load, uint32_t mark);

/* The engine has made @memory: it gets a twin. */
bool vmload_state_adopt(VmloadStateLoad *load, void *memory, uint64_t bytes,
                        GError **error);

/* Enters memory that the engine has made. *@twin is where to load it. */
bool vmload_state_enter(VmloadStateLoad *load, void *memory, void **twin,
                        GError **error);

/*
 * Enters what *@memory, the pointer at @slot, points to; *@memory becomes
 * where to load it. @look: what is there now matters.
 */
bool vmload_state_follow(VmloadStateLoad *load, const void *slot,
                         uint64_t bytes, bool look, uint8_t **memory,
                         GError **error);

/* @bytes at @memory are loaded. */
bool vmload_state_wrote(VmloadStateLoad *load, const void *memory,
                        uint64_t bytes, GError **error);

/* What is decoded counts on these bytes: they must be the same later. */
bool vmload_state_expect(VmloadStateLoad *load, const void *memory,
                         uint64_t bytes, GError **error);

/* Only with a shadow: what is to be done at the commit. */
bool vmload_state_shadow_replace(VmloadStateLoad *load,
                                 const VmloadField *field, uint8_t *slot,
                                 void *memory, GError **error);
bool vmload_state_shadow_hook(VmloadStateLoad *load,
                              const VmloadStateDesc *desc, bool post,
                              void *object, uint32_t version,
                              const VmloadStatePlace *place, GError **error);
bool vmload_state_shadow_insert(VmloadStateLoad *load,
                                const VmloadField *field, const void *list,
                                void *element, const VmloadStatePlace *place,
                                GError **error);
bool vmload_state_shadow_insert_pair(VmloadStateLoad *load,
                                     const VmloadField *field,
                                     const void *tree, void *key,
                                     uint64_t direct_key, void *value,
                                     const VmloadStatePlace *place,
                                     GError **error);
/* The temporary is done with. */
bool vmload_state_shadow_drop(VmloadStateLoad *load, const VmloadField *field,
                              void *tmp, GError **error);
/* The live memory behind a piece of the shadow. */
void *vmload_state_shadow_live(const VmloadStateLoad *load,
                               const void *memory);

#endif

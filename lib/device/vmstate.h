/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The declarative engine inside. vmstate.c: a body, its subsections, its
 * hooks. vmstate-field.c: one field: how many elements, where they go.
 * vmstate-scalar.c: numbers and bitmaps. vmstate-list.c: lists, trees,
 * temporaries. vmstate-check.c: is a description good. vmstate-shadow.c:
 * loading in two steps.
 */
#ifndef VMLOAD_VMSTATE_INTERNAL_H
#define VMLOAD_VMSTATE_INTERNAL_H

#include <vmload/vmstate.h>

/* Subsections of one description; vmload_state_desc_check() sees to it. */
#define VMLOAD_STATE_SUBSECTIONS 256

/* Null markers (vmstate format, section 3). */
#define VMLOAD_MARKER_NULL 0x30
#define VMLOAD_MARKER_PRESENT 0x31

/* What a load that must not touch its object yet decodes into. */
typedef struct VmloadStateShadow VmloadStateShadow;

/* Where the load is, a chain up the C stack. For messages only. */
typedef struct VmloadStatePlace VmloadStatePlace;
struct VmloadStatePlace {
    const VmloadStatePlace *up; /* NULL: directly in the loaded object */
    const char *name;           /* NULL: an element of @up */
    uint64_t index;
    bool indexed;
};

/* One vmload_state_load(). */
typedef struct {
    VmloadReader *reader;
    uint64_t elements;   /* limit of one array, list or tree */
    uint64_t bytes_left; /* that may still be allocated */
    uint32_t nesting;    /* limit of depth */
    uint32_t depth;
    char *path; /* owned; of the first failure, NULL before */
    VmloadStateShadow *shadow; /* NULL: straight into the object */
} VmloadStateLoad;

/*
 * A description, field or ops table as the host has it, which may be of a
 * shorter or longer library. @out is complete, what is missing is zero.
 */
void vmload_state_fetch_desc(const VmloadStateDesc *desc,
                             VmloadStateDesc *out);
void vmload_state_fetch_ops(const VmloadFieldOps *ops, VmloadFieldOps *out);

/* Field @index of @desc; false at the end of the table. */
bool vmload_state_fetch_field(const VmloadStateDesc *desc, uint64_t index,
                              VmloadField *out);

/* Bytes that kind's scalar has on the wire and in memory; 0: no scalar. */
uint32_t vmload_state_scalar_width(uint32_t kind);

/* Whether a kind is a number that is taken as it comes. */
bool vmload_state_is_plain(uint32_t kind);

/* Bytes of a field's count member. */
uint64_t vmload_state_count_width(const VmloadField *field);

/* @count times @size, or false if that is too much for memory. */
bool vmload_state_multiply(uint64_t count, uint64_t size, uint64_t *bytes);

/* Bytes of `unsigned long`s that hold @bits bits. */
uint64_t vmload_state_bitmap_bytes(uint64_t bits);

/* "a.b[2]" (transfer full); NULL for a place of NULL. */
char *vmload_state_path(const VmloadStatePlace *place);

/* Keeps the path of the first failure. @place may be NULL. */
void vmload_state_note_place(VmloadStateLoad *load,
                             const VmloadStatePlace *place);

/*
 * @bytes zeroed bytes out of the load's budget, or NULL with
 * VMLOAD_ERROR_LIMIT. @bytes is not 0.
 */
void *vmload_state_alloc(VmloadStateLoad *load, uint64_t bytes,
                         GError **error);

/*
 * Frees memory by the host's element_free, if it has one. With a shadow it
 * stays: no callback before the commit.
 */
void vmload_state_element_free(const VmloadStateLoad *load,
                               const VmloadField *field, void *element);

/*
 * Reports that the host's callback @what of @name refused, keeping what it
 * says in @local (transfer full, nullable). Always false.
 */
bool vmload_state_refused(VmloadStateLoad *load, const char *what,
                          const char *name, GError *local, GError **error);

/*
 * One description's fields and subsections, with its hooks. @place is the
 * field that holds @object, NULL at the top.
 */
bool vmload_state_body(VmloadStateLoad *load, const VmloadStateDesc *desc,
                       void *object, uint32_t version,
                       const VmloadStatePlace *place, GError **error);

/* One field that exists. */
bool vmload_state_field(VmloadStateLoad *load, const VmloadField *field,
                        void *object, const VmloadStatePlace *up,
                        GError **error);

/* @count plain numbers at @memory. */
bool vmload_state_scalars(VmloadStateLoad *load, uint32_t kind, void *memory,
                          uint64_t count, GError **error);

/* One EQUAL or LE number: compared with, and for LE put into, @memory. */
bool vmload_state_compared(VmloadStateLoad *load, uint32_t kind,
                           void *memory, GError **error);

/* @bits bits at @memory. */
bool vmload_state_bitmap(VmloadStateLoad *load, void *memory, uint64_t bits,
                         GError **error);

/* The three fields whose elements are not in the object. */
bool vmload_state_list(VmloadStateLoad *load, const VmloadField *field,
                       void *list, const VmloadStatePlace *place,
                       GError **error);
bool vmload_state_tree(VmloadStateLoad *load, const VmloadField *field,
                       void *tree, const VmloadStatePlace *place,
                       GError **error);
bool vmload_state_tmp(VmloadStateLoad *load, const VmloadField *field,
                      void *object, const VmloadStatePlace *place,
                      GError **error);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vmdescription as the decoder needs it: everything checked, nothing of
 * JSON left. Made by vmdesc-json.c, read by vmdesc-decode.c.
 */
#ifndef VMLOAD_VMDESC_INTERNAL_H
#define VMLOAD_VMDESC_INTERNAL_H

#include <vmload/vmdesc.h>
#include "device/arena.h"

/* How the bytes of one element are read. */
typedef enum {
    VMLOAD_DESC_BYTES, /* opaque: as many as the description says */
    VMLOAD_DESC_BOOL,
    VMLOAD_DESC_INT,
    VMLOAD_DESC_UINT,
    VMLOAD_DESC_DOUBLE,
    VMLOAD_DESC_NULL,       /* null marker of an array of pointers */
    VMLOAD_DESC_MARKER,     /* null or present */
    VMLOAD_DESC_CAPABILITY, /* str8; delimits itself */
    VMLOAD_DESC_STRUCT,     /* body must add up to size */
    VMLOAD_DESC_INLINE,     /* body if there is one that adds up, else bytes */
} VmloadDescKind;

typedef struct VmloadDescBody VmloadDescBody;

typedef struct {
    const char *name;
    const char *type;
    const VmloadDescBody *body; /* STRUCT; INLINE (nullable) */
    uint64_t count;             /* elements that this entry stands for */
    uint64_t size;              /* bytes of the (first) element */
    uint32_t kind;              /* VmloadDescKind */
    uint32_t is_array;          /* has array_len or index */
} VmloadDescField;

/* One vmsd: fields, then subsections, whose names are their own. */
struct VmloadDescBody {
    const char *name; /* vmsd_name; "" for old-style devices */
    VmloadDescField *fields;
    VmloadDescBody *subsections;
    uint64_t n_fields;
    uint64_t n_subsections;
    uint64_t size; /* what fields and subsections add up to */
    uint32_t version;
    uint32_t has_version;
};

typedef struct {
    const char *name;
    VmloadDescBody body;
    uint64_t index; /* among the devices */
    uint32_t instance_id;
    uint32_t reserved;
} VmloadDescDevice;

struct VmloadVmdesc {
    gint refs; /* atomic; all else is immutable */
    uint32_t has_configuration;
    uint64_t page_size;
    uint64_t element_bytes; /* limit for one decoded tree */
    uint64_t n_devices;
    VmloadDescDevice *devices;
    const VmloadDescDevice **sorted; /* by name, instance, index */
    VmloadDescDevice configuration;
    VmloadArena arena;
};

/* A reference, to be dropped with vmload_vmdesc_free(). */
VmloadVmdesc *vmload_vmdesc_ref(const VmloadVmdesc *vmdesc);

/*
 * Fills the zeroed @vmdesc from @json; its arena is initialised. On failure
 * the caller frees it. Without a JSON library: VMLOAD_ERROR_UNSUPPORTED.
 */
bool vmload_vmdesc_parse(VmloadVmdesc *vmdesc, const char *json,
                         uint64_t length, const VmloadLimits *limits,
                         GError **error);

/*
 * Checks, before a JSON library sees the text, what that would recurse and
 * allocate: at most @depth brackets deep, and no more than @memory bytes.
 */
bool vmload_vmdesc_prescan(const char *json, uint64_t length, uint32_t depth,
                           uint64_t memory, GError **error);

/* The device at @index, or the configuration; NULL if there is none. */
const VmloadDescDevice *vmload_vmdesc_lookup(const VmloadVmdesc *vmdesc,
                                             uint64_t index);

#endif

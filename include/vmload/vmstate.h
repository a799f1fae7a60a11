/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file vmstate.h
 * Device state by description: a host that describes its device's struct
 * gets its loading for free. Start with docs/vmstate.md; the macros that
 * make fields are in vmstate-fields.h.
 *
 * What a description means on the wire: the encodings of its fields, one
 * after the other, then its subsections. There are no names, types, counts
 * or lengths of fields in a stream, so a description must be what the source
 * has, field by field.
 *
 * Descriptions, fields, ops and everything they point to are borrowed and
 * read only; they are usually `static const`.
 */
#ifndef VMLOAD_VMSTATE_H
#define VMLOAD_VMSTATE_H

#include <vmload/limits.h>
#include <vmload/reader.h>

G_BEGIN_DECLS

typedef struct VmloadStateDesc VmloadStateDesc;
typedef struct VmloadField VmloadField;

/**
 * VmloadFieldKind:
 * How one element of a field looks on the wire, and in memory. Numbers are
 * big-endian on the wire and in the host's byte order in memory.
 *
 * @VMLOAD_FIELD_KIND_END: ends a table of fields.
 * @VMLOAD_FIELD_KIND_VALIDATE: nothing on the wire; with
 *     VMLOAD_FIELD_MUST_EXIST an assertion about the object.
 * @VMLOAD_FIELD_KIND_BOOL: u8, any non-zero is true; `bool`.
 * @VMLOAD_FIELD_KIND_I8: 1 byte; `int8_t`.
 * @VMLOAD_FIELD_KIND_U8: 1 byte; `uint8_t`.
 * @VMLOAD_FIELD_KIND_I16: be16; `int16_t`.
 * @VMLOAD_FIELD_KIND_U16: be16; `uint16_t`.
 * @VMLOAD_FIELD_KIND_I32: be32; `int32_t`.
 * @VMLOAD_FIELD_KIND_U32: be32; `uint32_t`.
 * @VMLOAD_FIELD_KIND_I64: be64; `int64_t`.
 * @VMLOAD_FIELD_KIND_U64: be64; `uint64_t`.
 * @VMLOAD_FIELD_KIND_U8_EQUAL: "uint8 equal": must be what the member holds.
 * @VMLOAD_FIELD_KIND_U16_EQUAL: "uint16 equal".
 * @VMLOAD_FIELD_KIND_I32_EQUAL: "int32 equal".
 * @VMLOAD_FIELD_KIND_U32_EQUAL: "uint32 equal".
 * @VMLOAD_FIELD_KIND_U64_EQUAL: "int64 equal", the historic name of the uint64
 *     compare.
 * @VMLOAD_FIELD_KIND_I32_LE: "int32 le": a be32; must be 0 to what the member
 *     holds, then it is stored.
 * @VMLOAD_FIELD_KIND_DOUBLE: "CPU_Double_U": be32 upper, be32 lower half of an
 *     IEEE double; `double`.
 * @VMLOAD_FIELD_KIND_TIMER: be64 expiry in nanoseconds of the timer's clock;
 *     `int64_t`, VMLOAD_TIMER_NOT_ARMED if the timer is not armed. An expiry
 *     beyond INT64_MAX, which no clock has, is stored as 0: expired.
 * @VMLOAD_FIELD_KIND_BUFFER: raw bytes, all elements at once.
 * @VMLOAD_FIELD_KIND_UNUSED: bytes that are passed over; no memory.
 * @VMLOAD_FIELD_KIND_BITMAP: be64 words, bit k of word i is bit 64 * i + k;
 *     `unsigned long[]`, bit b is bit b % (bits of long) of its word
 *     b / (bits of long). The element count is the number of bits. Bits of
 *     the last word beyond that number are cleared.
 * @VMLOAD_FIELD_KIND_STRUCT: a nested description at its own `version_id`.
 * @VMLOAD_FIELD_KIND_VSTRUCT: a nested description at the field's
 *     `struct_version`.
 * @VMLOAD_FIELD_KIND_TMP: a nested description of a temporary, which the engine
 *     allocates for the time of the field, zeroed. Its first member is a
 *     pointer to the object and is set; the description's post_load moves
 *     the values.
 * @VMLOAD_FIELD_KIND_LIST: "qtailq" and "qlist": elements of `size` bytes, each
 *     described by `desc` at the field's `version_id`, handed to
 *     `ops->insert` in the list's order.
 * @VMLOAD_FIELD_KIND_TREE: "gtree": keys of `key_size` bytes described by
 *     `key_desc`, or be64 if `key_desc` is NULL; values as list elements;
 *     handed to `ops->insert_pair` in the order of keys.
 * @VMLOAD_FIELD_KIND_CUSTOM: whatever `ops->get` reads.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_FIELD_KIND_END,
    VMLOAD_FIELD_KIND_VALIDATE,
    VMLOAD_FIELD_KIND_BOOL,
    VMLOAD_FIELD_KIND_I8,
    VMLOAD_FIELD_KIND_U8,
    VMLOAD_FIELD_KIND_I16,
    VMLOAD_FIELD_KIND_U16,
    VMLOAD_FIELD_KIND_I32,
    VMLOAD_FIELD_KIND_U32,
    VMLOAD_FIELD_KIND_I64,
    VMLOAD_FIELD_KIND_U64,
    VMLOAD_FIELD_KIND_U8_EQUAL,
    VMLOAD_FIELD_KIND_U16_EQUAL,
    VMLOAD_FIELD_KIND_I32_EQUAL,
    VMLOAD_FIELD_KIND_U32_EQUAL,
    VMLOAD_FIELD_KIND_U64_EQUAL,
    VMLOAD_FIELD_KIND_I32_LE,
    VMLOAD_FIELD_KIND_DOUBLE,
    VMLOAD_FIELD_KIND_TIMER,
    VMLOAD_FIELD_KIND_BUFFER,
    VMLOAD_FIELD_KIND_UNUSED,
    VMLOAD_FIELD_KIND_BITMAP,
    VMLOAD_FIELD_KIND_STRUCT,
    VMLOAD_FIELD_KIND_VSTRUCT,
    VMLOAD_FIELD_KIND_TMP,
    VMLOAD_FIELD_KIND_LIST,
    VMLOAD_FIELD_KIND_TREE,
    VMLOAD_FIELD_KIND_CUSTOM,
} VmloadFieldKind;

/** What a VMLOAD_FIELD_KIND_TIMER member holds if the timer is not armed. */
#define VMLOAD_TIMER_NOT_ARMED ((int64_t)-1)

/**
 * VmloadFieldFlags:
 * @VMLOAD_FIELD_POINTER: the member is a pointer to the elements.
 * @VMLOAD_FIELD_ALLOC: the elements' memory is made by the engine, zeroed,
 *     with g_try_malloc0(). With POINTER: what the pointer held is released
 *     first (VmloadFieldOps.element_free) and the new memory belongs to the
 *     object before the first element is read. With POINTER_ARRAY: see
 *     there.
 * @VMLOAD_FIELD_POINTER_ARRAY: the elements are pointers. Without ALLOC, a
 *     local null pointer expects the null marker 0x30 and any other expects
 *     a plain value. With ALLOC ("auto-allocate", QEMU 11.1), each element
 *     starts with a marker: 0x30 null, the local element is released and
 *     becomes NULL; 0x31 present, the value follows and goes to the local
 *     element, which is allocated if it is NULL.
 * @VMLOAD_FIELD_MUST_EXIST: a field that does not exist is an error.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_FIELD_POINTER = 1 << 0,
    VMLOAD_FIELD_ALLOC = 1 << 1,
    VMLOAD_FIELD_POINTER_ARRAY = 1 << 2,
    VMLOAD_FIELD_MUST_EXIST = 1 << 3,
} VmloadFieldFlags;

/**
 * VmloadCount:
 * Where the number of a field's elements comes from.
 *
 * @VMLOAD_COUNT_CONSTANT: VmloadField.count.
 * @VMLOAD_COUNT_I32: an `int32_t` member times VmloadField.count; a negative
 *     value is an error.
 * @VMLOAD_COUNT_U32: a `uint32_t` member times VmloadField.count.
 * @VMLOAD_COUNT_U16: a `uint16_t` member times VmloadField.count.
 * @VMLOAD_COUNT_U8: a `uint8_t` member times VmloadField.count.
 *
 * Since: 0.1
 */
typedef enum {
    VMLOAD_COUNT_CONSTANT,
    VMLOAD_COUNT_I32,
    VMLOAD_COUNT_U32,
    VMLOAD_COUNT_U16,
    VMLOAD_COUNT_U8,
} VmloadCount;

/**
 * VmloadFieldOps:
 * @struct_size: sizeof (VmloadFieldOps), set by VMLOAD_FIELD_OPS_INIT.
 * @reserved: zero.
 * @opaque: passed to the callbacks.
 * @get: CUSTOM: reads one element of @object. Must report what
 *     vmload_reader_*() reports.
 * @insert: LIST: appends @element to @list (the member's address). It
 *     belongs to the list if the call succeeds.
 * @insert_pair: TREE: puts a pair into @tree (the member's address). @key is
 *     the key's memory, or NULL if the tree has direct keys: then it is
 *     @direct_key. Both belong to the tree if the call succeeds.
 * @element_free: LIST, TREE: frees an element or value that could not be
 *     loaded to its end or was not inserted. ALLOC: frees memory that is to
 *     be replaced. TMP: frees the temporary. What the engine made came from
 *     g_try_malloc0() and is zero where it was not loaded; after a failure
 *     its post_load was not called or has refused. Optional: g_free().
 * @key_free: TREE: the same for a key. Optional: g_free().
 *
 * What the host does for a field. Threads: the one that loads. May use the
 * reader it is given and nothing else of the load. A false return without
 * an error set counts as VMLOAD_ERROR_DEVICE.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t reserved;
    void *opaque;
    bool (*get)(void *opaque, void *object, void *element,
                VmloadReader *reader, GError **error);
    bool (*insert)(void *opaque, void *list, void *element, GError **error);
    bool (*insert_pair)(void *opaque, void *tree, void *key,
                        uint64_t direct_key, void *value, GError **error);
    void (*element_free)(void *opaque, void *element);
    void (*key_free)(void *opaque, void *key);
} VmloadFieldOps;

/** Initialiser for VmloadFieldOps; members follow by name. Since: 0.1 */
#define VMLOAD_FIELD_OPS_INIT .struct_size = (uint32_t)sizeof(VmloadFieldOps)

/**
 * VmloadExistsFunc:
 * @object: the object, as loaded so far.
 * @version: the version its description is loaded at.
 *
 * Return: true if the field is in the stream.
 *
 * Since: 0.1
 */
typedef bool (*VmloadExistsFunc)(const void *object, uint32_t version);

/**
 * VmloadField:
 * @name: for messages; a C expression such as "channels[0].count".
 * @kind: VmloadFieldKind.
 * @flags: VmloadFieldFlags.
 * @offset: bytes from the start of the object to the member.
 * @size: bytes of one element in memory; UNUSED: on the wire; BITMAP: the
 *     bytes of a long.
 * @count: the number of elements, or what the count member is multiplied
 *     with.
 * @count_offset: bytes from the start of the object to the count member.
 * @count_type: VmloadCount.
 * @version_id: the field exists from this version on; also the version that
 *     elements of LIST and TREE, and a TMP, are loaded at.
 * @capacity: elements (BITMAP: bits) that the memory has room for, where the
 *     count is a member and the memory is not allocated by the engine: more
 *     is an error. 0: behind a pointer whose count member is judged by an
 *     EQUAL or LE field, or not loaded at all: then the count member tells
 *     the room.
 * @desc: STRUCT, VSTRUCT, TMP, LIST, TREE: the nested description.
 * @ops: CUSTOM, LIST, TREE: required; ALLOC, TMP: optional.
 * @exists: (nullable): decides alone if the field exists; @version_id is
 *     then no gate.
 * @key_desc: TREE: the description of the keys; NULL: direct keys.
 * @key_size: TREE: bytes of a key in memory.
 * @struct_version: VSTRUCT: the version.
 * @reserved: zero.
 *
 * One field. Tables of fields end with VMLOAD_FIELD_END. The distance
 * between two fields is VmloadStateDesc.field_size, so that a later library
 * may append members. Made by the macros of vmstate-fields.h, or by name.
 *
 * Since: 0.1
 */
struct VmloadField {
    const char *name;
    uint32_t kind;
    uint32_t flags;
    uint64_t offset;
    uint64_t size;
    uint64_t count;
    uint64_t count_offset;
    uint32_t count_type;
    uint32_t version_id;
    uint64_t capacity;
    const VmloadStateDesc *desc;
    const VmloadFieldOps *ops;
    VmloadExistsFunc exists;
    const VmloadStateDesc *key_desc;
    uint64_t key_size;
    uint32_t struct_version;
    uint32_t reserved;
};

/**
 * VmloadStateDesc:
 * @struct_size: sizeof (VmloadStateDesc), set by VMLOAD_STATE_DESC_INIT.
 * @field_size: sizeof (VmloadField), set by VMLOAD_STATE_DESC_INIT.
 * @version_id: the newest version that can be loaded.
 * @minimum_version_id: the oldest.
 * @name: as the source calls it, 1 to 255 bytes. It decides which bytes are
 *     taken for its subsections, so it matters for nested ones too.
 * @fields: (nullable): the fields, ended by VMLOAD_FIELD_END.
 * @subsections: (nullable): descriptions of optional parts of the same
 *     object, ended by NULL, at most 256. Their names begin with @name and
 *     are longer, usually "name/part". A source sends them after the fields,
 *     in any order; one that does not come is no error.
 * @required: (nullable): of a subsection: true if it must have come. Asked
 *     once, after the last subsection, if it has not. For hosts that know
 *     that the source must have sent it.
 * @pre_load: (nullable): before the first field, also to give members their
 *     defaults and to empty lists.
 * @post_load: (nullable): after the last subsection; judges the values and
 *     makes them effective.
 *
 * A description of one struct. Subsections and nested structs run their own
 * hooks. Hooks run on the thread that loads; a false return without an
 * error set counts as VMLOAD_ERROR_DEVICE.
 *
 * Since: 0.1
 */
struct VmloadStateDesc {
    uint32_t struct_size;
    uint32_t field_size;
    uint32_t version_id;
    uint32_t minimum_version_id;
    const char *name;
    const VmloadField *fields;
    const VmloadStateDesc *const *subsections;
    bool (*required)(const void *object, uint32_t version);
    bool (*pre_load)(void *object, uint32_t version, GError **error);
    bool (*post_load)(void *object, uint32_t version, GError **error);
};

/** Initialiser for VmloadStateDesc; members follow by name. Since: 0.1 */
#define VMLOAD_STATE_DESC_INIT                              \
    .struct_size = (uint32_t)sizeof(VmloadStateDesc),       \
    .field_size = (uint32_t)sizeof(VmloadField)

/**
 * VmloadStateOptions:
 * @struct_size: sizeof (VmloadStateOptions), set by VMLOAD_STATE_OPTIONS_INIT.
 * @lock: VMLOAD_LOCK_WHOLE (zero) or VMLOAD_LOCK_APPLY, for all records.
 * @flags: APPLY: zero or VMLOAD_DEVICE_CONCURRENT.
 * @reserved: zero.
 * @object_size: APPLY: bytes of the object. WHOLE: the same, or zero.
 * @after: (array zero-terminated=1) (nullable): CONCURRENT: as in
 *     VmloadDeviceOps.
 *
 * How vmload_loader_add_state_with_options() loads a device.
 *
 * VMLOAD_LOCK_WHOLE: with the big lock held, straight into the object. With
 * @object_size, and a description that APPLY would take, the description says
 * where the section ends in a stream without footers: it is decoded into a
 * shadow first, which is thrown away, in the same hold, and again when more
 * bytes are there. What APPLY asks of the callbacks that decoding calls holds
 * there, but for the lock.
 *
 * VMLOAD_LOCK_APPLY: decoded without the lock into a shadow, which begins as
 * a copy of the object that is taken in a short hold. With the lock, the
 * result is then put into the object: what the description names and nothing
 * else, so that members it does not name stay what they have become
 * meanwhile. Under VMLOAD_COMMIT_ATOMIC, decoding is thereby tried for all
 * such devices before the first device is touched.
 *
 * In that class `exists` and `required` are called without the lock and see
 * the shadow; they look at its members and at nothing else. EQUAL and LE
 * fields are compared with the object as it was copied. `pre_load`,
 * `post_load`, `insert`, `insert_pair`, `element_free` and `key_free` are
 * called last, with the lock, on the object, in the order of WHOLE; what
 * they set is not seen while decoding. Pointers that the description
 * follows, and the room behind them, must stay as they are from start to
 * wait: one that is seen to have changed fails the load with
 * VMLOAD_ERROR_DEVICE. Members that the host changes without the lock must
 * be such that a copy of the object may read them. CUSTOM fields are
 * refused. Memory used beside the object is bounded by the limit
 * `element_bytes`, once more.
 *
 * Since: 0.1
 */
typedef struct {
    uint32_t struct_size;
    uint32_t lock;
    uint32_t flags;
    uint32_t reserved;
    uint64_t object_size;
    const char *const *after;
} VmloadStateOptions;

/** Initialiser for VmloadStateOptions; members follow by name. Since: 0.1 */
#define VMLOAD_STATE_OPTIONS_INIT \
    .struct_size = (uint32_t)sizeof(VmloadStateOptions)

/**
 * vmload_state_desc_check:
 * @desc: the description.
 * @error: (nullable): where to put the error.
 *
 * Checks a description and all that it reaches: sizes, names, kinds,
 * required callbacks, recursion, nesting beyond the default limit, and
 * counts without a bound: the room behind a pointer is the source's to
 * choose neither by a field of the same description nor by one of the
 * description whose subsection it is. With a description that passes, no
 * stream makes vmload_state_load() write outside of the memory that it
 * describes, as long as hooks and `get` callbacks keep counts to the room.
 *
 * Return: true if the description can be used.
 * Errors: VMLOAD_ERROR_FAILED: it cannot; the message names the field.
 *     VMLOAD_ERROR_UNSUPPORTED: a struct is longer than this library knows
 *     and uses the surplus, or a kind or flag is unknown.
 * States: any. Threads: any. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_state_desc_check(const VmloadStateDesc *desc,
                                           GError **error);

/**
 * vmload_state_load:
 * @desc: the description, one that passes vmload_state_desc_check().
 * @object: (inout): the struct that it describes.
 * @version: the version of the bytes: of a section, what its header says.
 * @reader: where the bytes come from.
 * @limits: (nullable): `nesting`, `elements` and `element_bytes` are used;
 *     NULL: the defaults.
 * @error: (nullable): where to put the error.
 *
 * Loads one object: its fields and its subsections. For callbacks that have
 * descriptions; vmload_loader_add_state() does it alone.
 *
 * On failure @object is loaded in part: fields before the one that failed
 * have their new values. All memory that was allocated hangs from @object,
 * as after success, and is freed the same way by its owner; list elements
 * and tree nodes that were not complete are freed.
 *
 * Return: true if the object is loaded and the hooks agreed.
 * Errors: messages begin with "field 'a.b[2]': ", where the failure was in
 *     a field. VMLOAD_ERROR_TRUNCATED and what else the reader reports;
 *     VMLOAD_ERROR_UNSUPPORTED: a version out of range, an unknown
 *     subsection; VMLOAD_ERROR_MISMATCH: a value that must be equal is not,
 *     a required subsection or field is missing; VMLOAD_ERROR_MALFORMED: a
 *     negative count, a wrong marker, more elements than there is room for,
 *     a wrong node count; VMLOAD_ERROR_LIMIT: beyond @limits, or no memory;
 *     VMLOAD_ERROR_DEVICE: a hook refused.
 * States: any. Threads: owner of @object and @reader. Blocks: as @reader.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_state_load(const VmloadStateDesc *desc,
                                     void *object, uint32_t version,
                                     VmloadReader *reader,
                                     const VmloadLimits *limits,
                                     GError **error);

G_END_DECLS

#include <vmload/vmstate-fields.h>

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file vmstate-fields.h
 * Macros that make the fields of a VmloadStateDesc. Included by vmstate.h.
 *
 * A field macro names the member, the struct that has it, and the encoding
 * of one element:
 *
 *     U8 U16 U32 U64 I8 I16 I32 I64 BOOL DOUBLE TIMER
 *     U8_EQUAL U16_EQUAL I32_EQUAL U32_EQUAL U64_EQUAL I32_LE
 *     STRUCT(CType, desc)             a nested description
 *     STRUCT_OPS(CType, desc, ops)    the same, with VmloadFieldOps for
 *                                     element_free
 *     VSTRUCT(CType, desc, version)   the same at a fixed version
 *     CUSTOM(CType, ops)              read by ops->get
 *
 * Members have the type of the encoding, or the compiler says so. Each macro
 * has a second form with _V at its end, which takes @version and @exists
 * (VmloadField.version_id, VmloadField.exists; 0 and NULL: always). The
 * macros work in C11 and C++11.
 *
 * Since: 0.1, all of them.
 */
#ifndef VMLOAD_VMSTATE_FIELDS_H
#define VMLOAD_VMSTATE_FIELDS_H

#include <vmload/vmstate.h>

#ifdef __cplusplus
#include <cstddef>
#include <type_traits>
#else
#include <stddef.h>
#endif

/* What an element is: kind, type in memory, description, ops, version. */
#define VMLOAD_ELEMENT_BOOL VMLOAD_FIELD_KIND_BOOL, bool, NULL, NULL, 0
#define VMLOAD_ELEMENT_I8 VMLOAD_FIELD_KIND_I8, int8_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_U8 VMLOAD_FIELD_KIND_U8, uint8_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_I16 VMLOAD_FIELD_KIND_I16, int16_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_U16 VMLOAD_FIELD_KIND_U16, uint16_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_I32 VMLOAD_FIELD_KIND_I32, int32_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_U32 VMLOAD_FIELD_KIND_U32, uint32_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_I64 VMLOAD_FIELD_KIND_I64, int64_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_U64 VMLOAD_FIELD_KIND_U64, uint64_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_U8_EQUAL \
    VMLOAD_FIELD_KIND_U8_EQUAL, uint8_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_U16_EQUAL \
    VMLOAD_FIELD_KIND_U16_EQUAL, uint16_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_I32_EQUAL \
    VMLOAD_FIELD_KIND_I32_EQUAL, int32_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_U32_EQUAL \
    VMLOAD_FIELD_KIND_U32_EQUAL, uint32_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_U64_EQUAL \
    VMLOAD_FIELD_KIND_U64_EQUAL, uint64_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_I32_LE VMLOAD_FIELD_KIND_I32_LE, int32_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_DOUBLE VMLOAD_FIELD_KIND_DOUBLE, double, NULL, NULL, 0
#define VMLOAD_ELEMENT_TIMER VMLOAD_FIELD_KIND_TIMER, int64_t, NULL, NULL, 0
#define VMLOAD_ELEMENT_STRUCT(CType, desc) \
    VMLOAD_FIELD_KIND_STRUCT, CType, desc, NULL, 0
#define VMLOAD_ELEMENT_STRUCT_OPS(CType, desc, ops) \
    VMLOAD_FIELD_KIND_STRUCT, CType, desc, ops, 0
#define VMLOAD_ELEMENT_VSTRUCT(CType, desc, version) \
    VMLOAD_FIELD_KIND_VSTRUCT, CType, desc, NULL, version
#define VMLOAD_ELEMENT_CUSTOM(CType, ops) \
    VMLOAD_FIELD_KIND_CUSTOM, CType, NULL, ops, 0

/* Types a count member may have. */
#define VMLOAD_COUNTER_I32 VMLOAD_COUNT_I32, int32_t
#define VMLOAD_COUNTER_U32 VMLOAD_COUNT_U32, uint32_t
#define VMLOAD_COUNTER_U16 VMLOAD_COUNT_U16, uint16_t
#define VMLOAD_COUNTER_U8 VMLOAD_COUNT_U8, uint8_t

/* Private: the pieces that the public macros are made of. */
#define VMLOAD_MEMBER_(Type, member) (((Type *)0)->member)
#define VMLOAD_LENGTH_(Type, member)                                    \
    (sizeof(VMLOAD_MEMBER_(Type, member)) /                             \
     sizeof(VMLOAD_MEMBER_(Type, member)[0]))
#define VMLOAD_ASSERT_(condition) \
    (0 * (uint64_t)sizeof(char[(condition) ? 1 : -1]))
#ifdef __cplusplus
/* 0, or a compiler error if @pointer is no @PointerType. */
#define VMLOAD_CHECK_(pointer, PointerType) \
    (0 * (uint64_t)sizeof(static_cast<PointerType>(pointer)))
#define VMLOAD_CHECK_BYTES_(Type, member)                               \
    VMLOAD_ASSERT_(sizeof(VMLOAD_MEMBER_(Type, member)[0]) == 1 &&      \
                   std::is_array<std::remove_reference<decltype(        \
                       VMLOAD_MEMBER_(Type, member))>::type>::value)
#else
#define VMLOAD_CHECK_(pointer, PointerType) \
    ((uint64_t)_Generic((pointer), PointerType: 0))
#define VMLOAD_CHECK_BYTES_(Type, member)                               \
    ((uint64_t)_Generic(                                                \
        &VMLOAD_MEMBER_(Type, member),                                  \
        uint8_t (*)[sizeof(VMLOAD_MEMBER_(Type, member))]: 0,           \
        int8_t (*)[sizeof(VMLOAD_MEMBER_(Type, member))]: 0,            \
        char (*)[sizeof(VMLOAD_MEMBER_(Type, member))]: 0))
#endif
#define VMLOAD_OFFSET_(Type, member, CType)                              \
    ((uint64_t)offsetof(Type, member) +                                  \
     VMLOAD_CHECK_(&VMLOAD_MEMBER_(Type, member), CType *))
#define VMLOAD_ARRAY_OFFSET_(Type, member, CType)                        \
    ((uint64_t)offsetof(Type, member) +                                  \
     VMLOAD_CHECK_(&VMLOAD_MEMBER_(Type, member),                        \
                   CType(*)[VMLOAD_LENGTH_(Type, member)]))
#define VMLOAD_POINTER_OFFSET_(Type, member, CType)                      \
    ((uint64_t)offsetof(Type, member) +                                  \
     VMLOAD_CHECK_(VMLOAD_MEMBER_(Type, member), CType *))
/* Arguments are expanded first, so that an element becomes its parts. */
#define VMLOAD_EXPAND_(macro, ...) macro(__VA_ARGS__)

/* All members of a VmloadField, in their order. */
#define VMLOAD_MAKE_(name, kind, flags, offset, size, count, count_offset, \
                     count_type, capacity, desc, ops, sver, version, exists) \
    {                                                                   \
        name, (uint32_t)(kind), (uint32_t)(flags), offset, size, count, \
            count_offset, (uint32_t)(count_type), version, capacity,    \
            desc, ops, exists, NULL, 0, sver, 0                         \
    }

/** Ends a table of fields. */
#define VMLOAD_FIELD_END \
    VMLOAD_MAKE_(NULL, VMLOAD_FIELD_KIND_END, 0, 0, 0, 0, 0, 0, 0, NULL, \
                 NULL, 0, 0, NULL)

/** One value: a member of the element's type. */
#define VMLOAD_FIELD(member, Type, element)                             \
    VMLOAD_EXPAND_(VMLOAD_FIELD_, #member, member, Type,                \
                   VMLOAD_ELEMENT_##element, 0, NULL)
#define VMLOAD_FIELD_V(member, Type, element, version, exists)          \
    VMLOAD_EXPAND_(VMLOAD_FIELD_, #member, member, Type,                \
                   VMLOAD_ELEMENT_##element, version, exists)
#define VMLOAD_FIELD_(name, member, Type, kind, CType, desc, ops, sver, \
                      version, exists)                                  \
    VMLOAD_MAKE_(name, kind, 0, VMLOAD_OFFSET_(Type, member, CType),    \
                 sizeof(CType), 1, 0, 0, 0, desc, ops, sver, version,   \
                 exists)

/** Short forms for one value. */
#define VMLOAD_FIELD_BOOL(member, Type) VMLOAD_FIELD(member, Type, BOOL)
#define VMLOAD_FIELD_I8(member, Type) VMLOAD_FIELD(member, Type, I8)
#define VMLOAD_FIELD_U8(member, Type) VMLOAD_FIELD(member, Type, U8)
#define VMLOAD_FIELD_I16(member, Type) VMLOAD_FIELD(member, Type, I16)
#define VMLOAD_FIELD_U16(member, Type) VMLOAD_FIELD(member, Type, U16)
#define VMLOAD_FIELD_I32(member, Type) VMLOAD_FIELD(member, Type, I32)
#define VMLOAD_FIELD_U32(member, Type) VMLOAD_FIELD(member, Type, U32)
#define VMLOAD_FIELD_I64(member, Type) VMLOAD_FIELD(member, Type, I64)
#define VMLOAD_FIELD_U64(member, Type) VMLOAD_FIELD(member, Type, U64)
#define VMLOAD_FIELD_DOUBLE(member, Type) VMLOAD_FIELD(member, Type, DOUBLE)
#define VMLOAD_FIELD_TIMER(member, Type) VMLOAD_FIELD(member, Type, TIMER)
#define VMLOAD_FIELD_STRUCT(member, Type, CType, desc) \
    VMLOAD_FIELD(member, Type, STRUCT(CType, desc))

/** All elements of an array member. */
#define VMLOAD_FIELD_ARRAY(member, Type, element)                       \
    VMLOAD_EXPAND_(VMLOAD_FIELD_ARRAY_, #member, member, Type,          \
                   VMLOAD_ELEMENT_##element, 0, NULL)
#define VMLOAD_FIELD_ARRAY_V(member, Type, element, version, exists)    \
    VMLOAD_EXPAND_(VMLOAD_FIELD_ARRAY_, #member, member, Type,          \
                   VMLOAD_ELEMENT_##element, version, exists)
#define VMLOAD_FIELD_ARRAY_(name, member, Type, kind, CType, desc, ops, \
                            sver, version, exists)                      \
    VMLOAD_MAKE_(name, kind, 0,                                         \
                 VMLOAD_ARRAY_OFFSET_(Type, member, CType),             \
                 sizeof(CType), VMLOAD_LENGTH_(Type, member), 0, 0, 0,  \
                 desc, ops, sver, version, exists)

/** All elements of an array of arrays, row by row. */
#define VMLOAD_FIELD_ARRAY_2D(member, Type, element)                    \
    VMLOAD_EXPAND_(VMLOAD_FIELD_ARRAY_2D_, #member, member, Type,       \
                   VMLOAD_ELEMENT_##element, 0, NULL)
#define VMLOAD_FIELD_ARRAY_2D_V(member, Type, element, version, exists) \
    VMLOAD_EXPAND_(VMLOAD_FIELD_ARRAY_2D_, #member, member, Type,       \
                   VMLOAD_ELEMENT_##element, version, exists)
#define VMLOAD_FIELD_ARRAY_2D_(name, member, Type, kind, CType, desc, ops, \
                               sver, version, exists)                   \
    VMLOAD_MAKE_(name, kind, 0,                                         \
                 (uint64_t)offsetof(Type, member) +                     \
                     VMLOAD_CHECK_(&VMLOAD_MEMBER_(Type, member)[0],    \
                         CType(*)[VMLOAD_LENGTH_(Type, member[0])]),    \
                 sizeof(CType),                                         \
                 VMLOAD_LENGTH_(Type, member) *                         \
                     VMLOAD_LENGTH_(Type, member[0]),                   \
                 0, 0, 0, desc, ops, sver, version, exists)

/** @n elements of an array member, from index @start on; both constants. */
#define VMLOAD_FIELD_SUB_ARRAY(member, Type, element, start, n)         \
    VMLOAD_EXPAND_(VMLOAD_FIELD_SUB_ARRAY_, #member, member, Type,      \
                   VMLOAD_ELEMENT_##element, start, n, 0, NULL)
#define VMLOAD_FIELD_SUB_ARRAY_V(member, Type, element, start, n,       \
                                 version, exists)                       \
    VMLOAD_EXPAND_(VMLOAD_FIELD_SUB_ARRAY_, #member, member, Type,      \
                   VMLOAD_ELEMENT_##element, start, n, version, exists)
#define VMLOAD_FIELD_SUB_ARRAY_(name, member, Type, kind, CType, desc, ops, \
                                sver, start, n, version, exists)        \
    VMLOAD_MAKE_(name, kind, 0,                                         \
                 VMLOAD_ARRAY_OFFSET_(Type, member, CType) +            \
                     (start) * sizeof(CType) +                          \
                     VMLOAD_ASSERT_((start) + (n) <=                    \
                                    VMLOAD_LENGTH_(Type, member)),      \
                 sizeof(CType), n, 0, 0, 0, desc, ops, sver, version,   \
                 exists)

/**
 * As many elements of an array member as @count says, a member of the same
 * struct with the type @counter (I32, U32, U16, U8). More than the array has
 * is an error.
 */
#define VMLOAD_FIELD_VARRAY(member, Type, element, count, counter)      \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VARRAY_, #member, member, Type,         \
                   VMLOAD_ELEMENT_##element, count,                     \
                   VMLOAD_COUNTER_##counter, 0, NULL)
#define VMLOAD_FIELD_VARRAY_V(member, Type, element, count, counter,    \
                              version, exists)                          \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VARRAY_, #member, member, Type,         \
                   VMLOAD_ELEMENT_##element, count,                     \
                   VMLOAD_COUNTER_##counter, version, exists)
#define VMLOAD_FIELD_VARRAY_(name, member, Type, kind, CType, desc, ops, \
                             sver, count, counter, CountType, version,  \
                             exists)                                    \
    VMLOAD_MAKE_(name, kind, 0,                                         \
                 VMLOAD_ARRAY_OFFSET_(Type, member, CType),             \
                 sizeof(CType), 1,                                      \
                 VMLOAD_OFFSET_(Type, count, CountType), counter,       \
                 VMLOAD_LENGTH_(Type, member), desc, ops, sver, version, \
                 exists)

/** One value behind a pointer that the host has set. */
#define VMLOAD_FIELD_POINTER_TO(member, Type, element)                  \
    VMLOAD_EXPAND_(VMLOAD_FIELD_POINTER_TO_, #member, member, Type,     \
                   VMLOAD_ELEMENT_##element, VMLOAD_FIELD_POINTER, 1, 0, \
                   NULL)
#define VMLOAD_FIELD_POINTER_TO_V(member, Type, element, version, exists) \
    VMLOAD_EXPAND_(VMLOAD_FIELD_POINTER_TO_, #member, member, Type,     \
                   VMLOAD_ELEMENT_##element, VMLOAD_FIELD_POINTER, 1,   \
                   version, exists)
/** One value behind a pointer that the engine allocates. */
#define VMLOAD_FIELD_POINTER_ALLOC(member, Type, element)               \
    VMLOAD_EXPAND_(VMLOAD_FIELD_POINTER_TO_, #member, member, Type,     \
                   VMLOAD_ELEMENT_##element,                            \
                   VMLOAD_FIELD_POINTER | VMLOAD_FIELD_ALLOC, 1, 0, NULL)
#define VMLOAD_FIELD_POINTER_ALLOC_V(member, Type, element, version, exists) \
    VMLOAD_EXPAND_(VMLOAD_FIELD_POINTER_TO_, #member, member, Type,     \
                   VMLOAD_ELEMENT_##element,                            \
                   VMLOAD_FIELD_POINTER | VMLOAD_FIELD_ALLOC, 1, version, \
                   exists)
/** @n values behind a pointer that the host has set; @n is a constant. */
#define VMLOAD_FIELD_POINTER_TO_N(member, Type, element, n)             \
    VMLOAD_EXPAND_(VMLOAD_FIELD_POINTER_TO_, #member, member, Type,     \
                   VMLOAD_ELEMENT_##element, VMLOAD_FIELD_POINTER, n, 0, \
                   NULL)
#define VMLOAD_FIELD_POINTER_TO_N_V(member, Type, element, n, version,  \
                                    exists)                             \
    VMLOAD_EXPAND_(VMLOAD_FIELD_POINTER_TO_, #member, member, Type,     \
                   VMLOAD_ELEMENT_##element, VMLOAD_FIELD_POINTER, n,   \
                   version, exists)
#define VMLOAD_FIELD_POINTER_TO_(name, member, Type, kind, CType, desc, ops, \
                                 sver, flags, n, version, exists)       \
    VMLOAD_MAKE_(name, kind, flags,                                     \
                 VMLOAD_POINTER_OFFSET_(Type, member, CType),           \
                 sizeof(CType), n, 0, 0, 0, desc, ops, sver, version,   \
                 exists)

/**
 * As many elements as @count says times @factor, behind a pointer that the
 * host has set to room for @max elements; @max 0: see VmloadField.capacity.
 */
#define VMLOAD_FIELD_VARRAY_POINTER(member, Type, element, count, counter, \
                                    factor, max)                        \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VARRAY_PTR_, #member, member, Type,     \
                   VMLOAD_ELEMENT_##element, VMLOAD_FIELD_POINTER,      \
                   count, VMLOAD_COUNTER_##counter, factor, max, 0, NULL)
#define VMLOAD_FIELD_VARRAY_POINTER_V(member, Type, element, count,     \
                                      counter, factor, max, version,    \
                                      exists)                           \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VARRAY_PTR_, #member, member, Type,     \
                   VMLOAD_ELEMENT_##element, VMLOAD_FIELD_POINTER,      \
                   count, VMLOAD_COUNTER_##counter, factor, max,        \
                   version, exists)
/** The same behind a pointer that the engine allocates. */
#define VMLOAD_FIELD_VARRAY_ALLOC(member, Type, element, count, counter, \
                                  factor)                               \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VARRAY_PTR_, #member, member, Type,     \
                   VMLOAD_ELEMENT_##element,                            \
                   VMLOAD_FIELD_POINTER | VMLOAD_FIELD_ALLOC, count,    \
                   VMLOAD_COUNTER_##counter, factor, 0, 0, NULL)
#define VMLOAD_FIELD_VARRAY_ALLOC_V(member, Type, element, count, counter, \
                                    factor, version, exists)            \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VARRAY_PTR_, #member, member, Type,     \
                   VMLOAD_ELEMENT_##element,                            \
                   VMLOAD_FIELD_POINTER | VMLOAD_FIELD_ALLOC, count,    \
                   VMLOAD_COUNTER_##counter, factor, 0, version, exists)
#define VMLOAD_FIELD_VARRAY_PTR_(name, member, Type, kind, CType, desc, ops, \
                                 sver, flags, count, counter, CountType, \
                                 factor, max, version, exists)          \
    VMLOAD_MAKE_(name, kind, flags,                                     \
                 VMLOAD_POINTER_OFFSET_(Type, member, CType),           \
                 sizeof(CType), factor,                                 \
                 VMLOAD_OFFSET_(Type, count, CountType), counter, max,  \
                 desc, ops, sver, version, exists)

/** An array member of pointers; local null pointers expect a null marker. */
#define VMLOAD_FIELD_POINTERS(member, Type, element)                    \
    VMLOAD_EXPAND_(VMLOAD_FIELD_POINTERS_, #member, member, Type,       \
                   VMLOAD_ELEMENT_##element, VMLOAD_FIELD_POINTER_ARRAY, \
                   0, NULL)
#define VMLOAD_FIELD_POINTERS_V(member, Type, element, version, exists) \
    VMLOAD_EXPAND_(VMLOAD_FIELD_POINTERS_, #member, member, Type,       \
                   VMLOAD_ELEMENT_##element, VMLOAD_FIELD_POINTER_ARRAY, \
                   version, exists)
/** An array member of pointers, each with a marker; the engine allocates. */
#define VMLOAD_FIELD_POINTERS_ALLOC(member, Type, element)              \
    VMLOAD_EXPAND_(VMLOAD_FIELD_POINTERS_, #member, member, Type,       \
                   VMLOAD_ELEMENT_##element,                            \
                   VMLOAD_FIELD_POINTER_ARRAY | VMLOAD_FIELD_ALLOC, 0,  \
                   NULL)
#define VMLOAD_FIELD_POINTERS_ALLOC_V(member, Type, element, version,   \
                                      exists)                           \
    VMLOAD_EXPAND_(VMLOAD_FIELD_POINTERS_, #member, member, Type,       \
                   VMLOAD_ELEMENT_##element,                            \
                   VMLOAD_FIELD_POINTER_ARRAY | VMLOAD_FIELD_ALLOC,     \
                   version, exists)
#define VMLOAD_FIELD_POINTERS_(name, member, Type, kind, CType, desc, ops, \
                               sver, flags, version, exists)            \
    VMLOAD_MAKE_(name, kind, flags,                                     \
                 VMLOAD_ARRAY_OFFSET_(Type, member, CType *),           \
                 sizeof(CType), VMLOAD_LENGTH_(Type, member), 0, 0, 0,  \
                 desc, ops, sver, version, exists)

/** Raw bytes: a member that is an array of bytes. */
#define VMLOAD_FIELD_BUFFER(member, Type) \
    VMLOAD_FIELD_BUFFER_V(member, Type, 0, NULL)
#define VMLOAD_FIELD_BUFFER_V(member, Type, version, exists)            \
    VMLOAD_MAKE_(#member, VMLOAD_FIELD_KIND_BUFFER, 0,                  \
                 (uint64_t)offsetof(Type, member) +                     \
                     VMLOAD_CHECK_BYTES_(Type, member),                 \
                 sizeof(VMLOAD_MEMBER_(Type, member)), 1, 0, 0, 0, NULL, \
                 NULL, 0, version, exists)

/** @count times @factor raw bytes into an array of bytes. */
#define VMLOAD_FIELD_VBUFFER(member, Type, count, counter, factor)      \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VBUFFER_, #member, member, Type, count, \
                   VMLOAD_COUNTER_##counter, factor, 0, NULL)
#define VMLOAD_FIELD_VBUFFER_V(member, Type, count, counter, factor,    \
                               version, exists)                         \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VBUFFER_, #member, member, Type, count, \
                   VMLOAD_COUNTER_##counter, factor, version, exists)
#define VMLOAD_FIELD_VBUFFER_(name, member, Type, count, counter, CountType, \
                              factor, version, exists)                  \
    VMLOAD_MAKE_(name, VMLOAD_FIELD_KIND_BUFFER, 0,                     \
                 (uint64_t)offsetof(Type, member) +                     \
                     VMLOAD_CHECK_BYTES_(Type, member),                 \
                 1, factor, VMLOAD_OFFSET_(Type, count, CountType),     \
                 counter, sizeof(VMLOAD_MEMBER_(Type, member)), NULL,   \
                 NULL, 0, version, exists)

/**
 * @count times @factor raw bytes behind a `uint8_t *` with room for @max
 * bytes; @max 0: see VmloadField.capacity.
 */
#define VMLOAD_FIELD_VBUFFER_POINTER(member, Type, count, counter, factor, \
                                     max)                               \
    VMLOAD_FIELD_VBUFFER_POINTER_V(member, Type, count, counter, factor, \
                                   max, 0, NULL)
#define VMLOAD_FIELD_VBUFFER_POINTER_V(member, Type, count, counter,    \
                                       factor, max, version, exists)    \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VARRAY_PTR_, #member, member, Type,     \
                   VMLOAD_FIELD_KIND_BUFFER, uint8_t, NULL, NULL, 0,    \
                   VMLOAD_FIELD_POINTER, count,                         \
                   VMLOAD_COUNTER_##counter, factor, max, version, exists)
/** The same behind a `uint8_t *` that the engine allocates. */
#define VMLOAD_FIELD_VBUFFER_ALLOC(member, Type, count, counter, factor) \
    VMLOAD_FIELD_VBUFFER_ALLOC_V(member, Type, count, counter, factor, 0, \
                                 NULL)
#define VMLOAD_FIELD_VBUFFER_ALLOC_V(member, Type, count, counter, factor, \
                                     version, exists)                   \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VARRAY_PTR_, #member, member, Type,     \
                   VMLOAD_FIELD_KIND_BUFFER, uint8_t, NULL, NULL, 0,    \
                   VMLOAD_FIELD_POINTER | VMLOAD_FIELD_ALLOC, count,    \
                   VMLOAD_COUNTER_##counter, factor, 0, version, exists)

/** @bytes bytes that nobody wants any more. */
#define VMLOAD_FIELD_UNUSED(bytes) VMLOAD_FIELD_UNUSED_V(bytes, 0, NULL)
#define VMLOAD_FIELD_UNUSED_V(bytes, version, exists)                   \
    VMLOAD_MAKE_("unused", VMLOAD_FIELD_KIND_UNUSED, 0, 0, bytes, 1, 0, 0, 0, \
                 NULL, NULL, 0, version, exists)
/** @count times @bytes such bytes. */
#define VMLOAD_FIELD_UNUSED_VARRAY(Type, count, counter, bytes) \
    VMLOAD_FIELD_UNUSED_VARRAY_V(Type, count, counter, bytes, 0, NULL)
#define VMLOAD_FIELD_UNUSED_VARRAY_V(Type, count, counter, bytes, version, \
                                     exists)                            \
    VMLOAD_EXPAND_(VMLOAD_FIELD_UNUSED_VARRAY_, Type, count,            \
                   VMLOAD_COUNTER_##counter, bytes, version, exists)
#define VMLOAD_FIELD_UNUSED_VARRAY_(Type, count, counter, CountType, bytes, \
                                    version, exists)                    \
    VMLOAD_MAKE_("unused", VMLOAD_FIELD_KIND_UNUSED, 0, 0, bytes, 1,    \
                 VMLOAD_OFFSET_(Type, count, CountType), counter, 0,    \
                 NULL, NULL, 0, version, exists)

/** @bits bits, a member, into an array of `unsigned long`. */
#define VMLOAD_FIELD_BITMAP(member, Type, bits, counter) \
    VMLOAD_FIELD_BITMAP_V(member, Type, bits, counter, 0, NULL)
#define VMLOAD_FIELD_BITMAP_V(member, Type, bits, counter, version, exists) \
    VMLOAD_EXPAND_(VMLOAD_FIELD_BITMAP_, #member, member, Type, bits,   \
                   VMLOAD_COUNTER_##counter, version, exists)
#define VMLOAD_FIELD_BITMAP_(name, member, Type, bits, counter, CountType, \
                             version, exists)                           \
    VMLOAD_MAKE_(name, VMLOAD_FIELD_KIND_BITMAP, 0,                     \
                 VMLOAD_ARRAY_OFFSET_(Type, member, unsigned long),     \
                 sizeof(unsigned long), 1,                              \
                 VMLOAD_OFFSET_(Type, bits, CountType), counter,        \
                 8 * sizeof(VMLOAD_MEMBER_(Type, member)), NULL, NULL,  \
                 0, version, exists)
/**
 * @bits bits behind an `unsigned long *` with room for @max bits; @max 0:
 * see VmloadField.capacity.
 */
#define VMLOAD_FIELD_BITMAP_POINTER(member, Type, bits, counter, max) \
    VMLOAD_FIELD_BITMAP_POINTER_V(member, Type, bits, counter, max, 0, NULL)
#define VMLOAD_FIELD_BITMAP_POINTER_V(member, Type, bits, counter, max, \
                                      version, exists)                  \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VARRAY_PTR_, #member, member, Type,     \
                   VMLOAD_FIELD_KIND_BITMAP, unsigned long, NULL, NULL, 0, \
                   VMLOAD_FIELD_POINTER, bits,                          \
                   VMLOAD_COUNTER_##counter, 1, max, version, exists)
/** The same behind an `unsigned long *` that the engine allocates. */
#define VMLOAD_FIELD_BITMAP_ALLOC(member, Type, bits, counter) \
    VMLOAD_FIELD_BITMAP_ALLOC_V(member, Type, bits, counter, 0, NULL)
#define VMLOAD_FIELD_BITMAP_ALLOC_V(member, Type, bits, counter, version, \
                                    exists)                             \
    VMLOAD_EXPAND_(VMLOAD_FIELD_VARRAY_PTR_, #member, member, Type,     \
                   VMLOAD_FIELD_KIND_BITMAP, unsigned long, NULL, NULL, 0, \
                   VMLOAD_FIELD_POINTER | VMLOAD_FIELD_ALLOC, bits,     \
                   VMLOAD_COUNTER_##counter, 1, 0, version, exists)

/** A list: elements are CType, @desc describes one, @ops->insert appends. */
#define VMLOAD_FIELD_LIST(member, Type, CType, desc, ops) \
    VMLOAD_FIELD_LIST_V(member, Type, CType, desc, ops, 0, NULL)
#define VMLOAD_FIELD_LIST_V(member, Type, CType, desc, ops, version, exists) \
    VMLOAD_MAKE_(#member, VMLOAD_FIELD_KIND_LIST, 0,                    \
                 (uint64_t)offsetof(Type, member), sizeof(CType), 1, 0, \
                 0, 0, desc, ops, 0, version, exists)

/** A tree with keys and values of their own descriptions. */
#define VMLOAD_FIELD_TREE(member, Type, KeyType, key_desc, CType, desc, ops) \
    VMLOAD_FIELD_TREE_V(member, Type, KeyType, key_desc, CType, desc, ops, \
                        0, NULL)
#define VMLOAD_FIELD_TREE_V(member, Type, KeyType, key_desc, CType, desc, \
                            ops, version, exists)                       \
    {                                                                   \
        #member, (uint32_t)VMLOAD_FIELD_KIND_TREE, 0,                   \
            (uint64_t)offsetof(Type, member), sizeof(CType), 1, 0, 0,   \
            version, 0, desc, ops, exists, key_desc, sizeof(KeyType),   \
            0, 0                                                        \
    }
/** A tree with direct 64-bit keys. */
#define VMLOAD_FIELD_TREE_DIRECT(member, Type, CType, desc, ops) \
    VMLOAD_FIELD_TREE_DIRECT_V(member, Type, CType, desc, ops, 0, NULL)
#define VMLOAD_FIELD_TREE_DIRECT_V(member, Type, CType, desc, ops, version, \
                                   exists)                              \
    VMLOAD_MAKE_(#member, VMLOAD_FIELD_KIND_TREE, 0,                    \
                 (uint64_t)offsetof(Type, member), sizeof(CType), 1, 0, \
                 0, 0, desc, ops, 0, version, exists)

/**
 * Values that are computed: @desc describes a TmpType, whose first member is
 * called `parent` and points to the object.
 */
#define VMLOAD_FIELD_TMP(TmpType, desc) \
    VMLOAD_FIELD_TMP_V(TmpType, desc, 0, NULL)
#define VMLOAD_FIELD_TMP_V(TmpType, desc, version, exists)              \
    VMLOAD_MAKE_(#TmpType, VMLOAD_FIELD_KIND_TMP, 0,                    \
                 VMLOAD_ASSERT_(                                        \
                     offsetof(TmpType, parent) == 0 &&                  \
                     sizeof(VMLOAD_MEMBER_(TmpType, parent)) ==         \
                         sizeof(void *)),                               \
                 sizeof(TmpType), 1, 0, 0, 0, desc, NULL, 0, version,   \
                 exists)

/** Nothing on the wire: @check(object, version) must be true here. */
#define VMLOAD_FIELD_VALIDATE(name, check)                              \
    VMLOAD_MAKE_(name, VMLOAD_FIELD_KIND_VALIDATE, VMLOAD_FIELD_MUST_EXIST, 0, \
                 0, 0, 0, 0, 0, NULL, NULL, 0, 0, check)

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every field macro, as C and as C++. With -DMISTAKE=n one member that does
 * not have the type or the room that its field says; fields.sh sees to it
 * that no compiler takes it.
 */
#include <vmload/vmstate.h>

typedef struct Part {
    uint8_t byte;
    int32_t numbers[3];
} Part;

typedef struct Object {
    bool flag;
    uint8_t u8;
    uint64_t u64;
    double real;
    int64_t timer;
    uint16_t array[4];
    uint8_t matrix[2][3];
    uint32_t n;
    int32_t in;
    uint16_t *words;
    uint32_t *numbers;
    char buffer[16];
    uint8_t *bytes;
    unsigned long bits[2];
    unsigned long *more_bits;
    Part part;
    Part parts[2];
    Part *one;
    Part *many;
    Part *some[3];
    uint32_t *any[2];
    void *list;
    void *tree;
} Object;

typedef struct Tmp {
    Object *parent;
    uint32_t value;
} Tmp;

extern const VmloadStateDesc part_desc;
extern const VmloadFieldOps ops;
extern const VmloadField fields[];
bool check(const void *object, uint32_t version);

const VmloadField fields[] = {
    VMLOAD_FIELD_BOOL(flag, Object),
    VMLOAD_FIELD_U8(u8, Object),
    VMLOAD_FIELD_V(u64, Object, U64, 3, NULL),
    VMLOAD_FIELD_DOUBLE(real, Object),
    VMLOAD_FIELD_TIMER(timer, Object),
    VMLOAD_FIELD(part.numbers[1], Object, I32_EQUAL),
    VMLOAD_FIELD_STRUCT(part, Object, Part, &part_desc),
    VMLOAD_FIELD(part, Object, CUSTOM(Part, &ops)),
    VMLOAD_FIELD_ARRAY(array, Object, U16),
    VMLOAD_FIELD_ARRAY_V(parts, Object, VSTRUCT(Part, &part_desc, 1), 1,
                         check),
    VMLOAD_FIELD_ARRAY_2D(matrix, Object, U8),
    VMLOAD_FIELD_ARRAY_2D_V(matrix, Object, U8, 1, NULL),
    VMLOAD_FIELD_SUB_ARRAY(array, Object, U16, 1, 3),
    VMLOAD_FIELD_SUB_ARRAY_V(array, Object, U16, 1, 3, 1, NULL),
    VMLOAD_FIELD_VARRAY(array, Object, U16, n, U32),
    VMLOAD_FIELD_VARRAY_V(array, Object, U16, in, I32, 1, NULL),
    VMLOAD_FIELD_POINTER_TO(words, Object, U16),
    VMLOAD_FIELD_POINTER_TO_V(words, Object, U16, 1, NULL),
    VMLOAD_FIELD_POINTER_ALLOC(one, Object, STRUCT(Part, &part_desc)),
    VMLOAD_FIELD_POINTER_ALLOC_V(words, Object, U16, 1, NULL),
    VMLOAD_FIELD_POINTER_TO_N(words, Object, U16, 3),
    VMLOAD_FIELD_POINTER_TO_N_V(words, Object, U16, 3, 1, NULL),
    VMLOAD_FIELD_VARRAY_POINTER(words, Object, U16, in, I32, 2, 10),
    VMLOAD_FIELD_VARRAY_POINTER_V(words, Object, U16, in, I32, 2, 10, 1,
                                  NULL),
    VMLOAD_FIELD_VARRAY_ALLOC(many, Object,
                              STRUCT_OPS(Part, &part_desc, &ops), n, U32, 1),
    VMLOAD_FIELD_VARRAY_ALLOC_V(numbers, Object, U32, in, I32, 1, 1, NULL),
    VMLOAD_FIELD_POINTERS(some, Object, STRUCT(Part, &part_desc)),
    VMLOAD_FIELD_POINTERS_V(any, Object, U32, 0, check),
    VMLOAD_FIELD_POINTERS_ALLOC(some, Object, STRUCT(Part, &part_desc)),
    VMLOAD_FIELD_POINTERS_ALLOC_V(any, Object, U32, 0, check),
    VMLOAD_FIELD_BUFFER(buffer, Object),
    VMLOAD_FIELD_VBUFFER(buffer, Object, n, U32, 2),
    VMLOAD_FIELD_VBUFFER_POINTER(bytes, Object, n, U32, 1, 100),
    VMLOAD_FIELD_VBUFFER_ALLOC(bytes, Object, n, U32, 1),
    VMLOAD_FIELD_UNUSED(3),
    VMLOAD_FIELD_UNUSED_VARRAY(Object, n, U32, 4),
    VMLOAD_FIELD_BITMAP(bits, Object, in, I32),
    VMLOAD_FIELD_BITMAP_ALLOC(more_bits, Object, in, I32),
    VMLOAD_FIELD_BITMAP_POINTER(more_bits, Object, in, I32, 77),
    VMLOAD_FIELD_LIST(list, Object, Part, &part_desc, &ops),
    VMLOAD_FIELD_TREE_DIRECT(tree, Object, Part, &part_desc, &ops),
    VMLOAD_FIELD_TREE(tree, Object, Part, &part_desc, Part, &part_desc, &ops),
    VMLOAD_FIELD_TMP(Tmp, &part_desc),
    VMLOAD_FIELD_VALIDATE("check", check),
#ifndef MISTAKE
#elif MISTAKE == 1 /* another width */
    VMLOAD_FIELD_U32(u8, Object),
#elif MISTAKE == 2 /* another sign */
    VMLOAD_FIELD_I32(n, Object),
#elif MISTAKE == 3 /* a pointer is no buffer */
    VMLOAD_FIELD_BUFFER(bytes, Object),
#elif MISTAKE == 4 /* words are no buffer */
    VMLOAD_FIELD_BUFFER(array, Object),
#elif MISTAKE == 5 /* beyond the array's end */
    VMLOAD_FIELD_SUB_ARRAY(array, Object, U16, 2, 3),
#elif MISTAKE == 6 /* a pointer is no array */
    VMLOAD_FIELD_ARRAY(words, Object, U16),
#elif MISTAKE == 7 /* an array is no pointer to one */
    VMLOAD_FIELD_POINTER_TO(flag, Object, BOOL),
#elif MISTAKE == 8 /* a count of another type */
    VMLOAD_FIELD_VARRAY(array, Object, U16, n, I32),
#elif MISTAKE == 9 /* another struct */
    VMLOAD_FIELD_STRUCT(part, Object, Tmp, &part_desc),
#elif MISTAKE == 10 /* a temporary without a parent in front */
    VMLOAD_FIELD_TMP(Part, &part_desc),
#elif MISTAKE == 11 /* a bitmap of bytes */
    VMLOAD_FIELD_BITMAP_ALLOC(bytes, Object, n, U32),
#elif MISTAKE == 12 /* rows are no elements */
    VMLOAD_FIELD_ARRAY(matrix, Object, U8),
#endif
    VMLOAD_FIELD_END,
};

/* SPDX-License-Identifier: BSD-3-Clause */
/* Encodings of single fields, arrays, buffers, bitmaps and pointers. */
#include "vmstate-fixture.h"

#define FF4 0xff, 0xff, 0xff, 0xff

static void set_current(Device *device)
{
    device->u8 = 7;
    device->u16 = 0x0102;
    device->i32 = -2;
    device->u32 = 5;
    device->u64 = 0x1122334455667788u;
    device->limits[0] = 10;
    device->limits[1] = 0;
}

static void set_pointers(Device *device)
{
    device->p16 = g_new0(uint16_t, 4);
    device->bytes = g_new0(uint8_t, 4);
    device->pbits = g_new0(unsigned long, 2);
    device->n16 = 2;
    device->n8 = 3;
}

/* Memory that an allocating field has to replace. */
static void set_old_memory(Device *device)
{
    set_pointers(device);
    device->p32 = g_new0(uint32_t, 1);
    device->ptrs[0] = g_new0(Part, 1);
    device->ptrs[2] = g_new0(Part, 1);
    device->ints[1] = g_new0(uint32_t, 1);
}

static void see_real(const Device *device)
{
    assert_true(device->real == -2.5);
}

static void see_varrays(const Device *device)
{
    assert_int_equal(device->p32[0], 1);
    assert_int_equal(device->p32[1], 0xffffffff);
    assert_int_equal(device->p32[3], 3);
}

static void see_no_memory(const Device *device)
{
    assert_null(device->p32);
}

static void see_pointer(const Device *device)
{
    assert_int_equal(device->p16[0], 0x0102);
    assert_int_equal(device->p16[1], 0x0304);
    assert_int_equal(device->p16[2], 0);
}

static void see_bytes(const Device *device)
{
    assert_memory_equal(device->bytes, "abc", 3);
}

/* Bit by bit, so that the size of a long does not matter. */
static bool bit(const unsigned long *bits, unsigned n)
{
    return bits[n / (8 * sizeof(long))] >> (n % (8 * sizeof(long))) & 1;
}

static void see_bitmap(const Device *device)
{
    unsigned n;

    for (n = 0; n < 8 * sizeof(device->bits); n++) {
        assert_int_equal(bit(device->bits, n), n == 0 || n == 62 || n == 65);
    }
}

static void see_bitmap_pointer(const Device *device)
{
    assert_true(bit(device->pbits, 3));
    assert_false(bit(device->pbits, 2));
}

static void see_null_markers(const Device *device)
{
    assert_int_equal(device->ptrs[0]->count, 1);
    assert_int_equal(device->ptrs[0]->level, 2);
    assert_null(device->ptrs[1]);
    assert_int_equal(device->ptrs[2]->count, 3);
}

static void see_auto_allocated(const Device *device)
{
    assert_int_equal(device->ptrs[0]->count, 1);
    assert_int_equal(device->ptrs[1]->level, 0x30);
    assert_null(device->ptrs[2]);
}

static void see_ints(const Device *device)
{
    assert_null(device->ints[0]);
    assert_int_equal(*device->ints[1], 9);
}

static bool is_version_3(const void *object, uint32_t version)
{
    (void)object;
    return version == 3;
}

static bool has_flag(const void *object, uint32_t version)
{
    const Device *device = object;

    (void)version;
    return device->flag;
}

static const VmloadField part_fields[] = {
    VMLOAD_FIELD_U8(count, Part),
    VMLOAD_FIELD_U16(level, Part),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc part_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .minimum_version_id = 1,
    .name = "part",
    .fields = part_fields,
};

static const GoodCase scalars[] = {
    {.name = "no fields", .fields = NULL, .data = (const uint8_t *)"",
     .length = 0},
    {.name = "one byte",
     .fields = FIELDS(VMLOAD_FIELD_I8(i8, Device),
                      VMLOAD_FIELD_U8(u8, Device)),
     WIRE(0xfe, 0xfe), .expected = {IS(i8, -2), IS(u8, 0xfe)}},
    {.name = "two bytes",
     .fields = FIELDS(VMLOAD_FIELD_I16(i16, Device),
                      VMLOAD_FIELD_U16(u16, Device)),
     WIRE(0xff, 0xfe, 0x80, 0x01),
     .expected = {IS(i16, -2), IS(u16, 0x8001)}},
    {.name = "four bytes",
     .fields = FIELDS(VMLOAD_FIELD_I32(i32, Device),
                      VMLOAD_FIELD_U32(u32, Device)),
     WIRE(0xff, 0xff, 0xff, 0xfd, 0x81, 0x02, 0x03, 0x04),
     .expected = {IS(i32, -3), IS(u32, 0x81020304)}},
    {.name = "eight bytes",
     .fields = FIELDS(VMLOAD_FIELD_I64(i64, Device),
                      VMLOAD_FIELD_U64(u64, Device)),
     WIRE(FF4, 0xff, 0xff, 0xff, 0xfc, 0x81, 2, 3, 4, 5, 6, 7, 8),
     .expected = {IS(i64, -4), IS(u64, 0x8102030405060708u)}},
    {.name = "bool, any non-zero is true",
     .fields = FIELDS(VMLOAD_FIELD_ARRAY(flags, Device, BOOL)),
     WIRE(0, 1, 2, 0x80),
     .expected = {IS(flags[0], 0), IS(flags[1], 1), IS(flags[2], 1),
                  IS(flags[3], 1)}},
    {.name = "equal",
     .fields = FIELDS(VMLOAD_FIELD(u8, Device, U8_EQUAL),
                      VMLOAD_FIELD(u16, Device, U16_EQUAL),
                      VMLOAD_FIELD(i32, Device, I32_EQUAL),
                      VMLOAD_FIELD(u32, Device, U32_EQUAL),
                      VMLOAD_FIELD(u64, Device, U64_EQUAL)),
     WIRE(7, 1, 2, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 5, 0x11, 0x22, 0x33, 0x44,
          0x55, 0x66, 0x77, 0x88),
     .setup = set_current},
    {.name = "int32 le is big-endian, less or equal, and stored",
     .fields = FIELDS(VMLOAD_FIELD_ARRAY(limits, Device, I32_LE)),
     WIRE(0, 0, 0, 10, 0, 0, 0, 0), .setup = set_current,
     .expected = {IS(limits[0], 10), IS(limits[1], 0)}},
    {.name = "int32 le, less",
     .fields = FIELDS(VMLOAD_FIELD(limits[0], Device, I32_LE)),
     WIRE(0, 0, 0, 9), .setup = set_current, .expected = {IS(limits[0], 9)}},
    {.name = "CPU_Double_U",
     .fields = FIELDS(VMLOAD_FIELD_DOUBLE(real, Device)),
     WIRE(0xc0, 0x04, 0, 0, 0, 0, 0, 0), .verify = see_real},
    {.name = "timer",
     .fields = FIELDS(VMLOAD_FIELD_TIMER(timer, Device),
                      VMLOAD_FIELD_ARRAY(timers, Device, TIMER)),
     WIRE(FF4, FF4, 0x18, 0xea, 0x8d, 0xf1, 0x9b, 0xe1, 0x20, 0x08, 0x80, 0, 0,
          0, 0, 0, 0, 0),
     .expected = {IS(timer, VMLOAD_TIMER_NOT_ARMED),
                  IS(timers[0], 0x18ea8df19be12008), IS(timers[1], 0)}},
};

static const GoodCase arrays[] = {
    {.name = "array",
     .fields = FIELDS(VMLOAD_FIELD_ARRAY(array, Device, U16)),
     WIRE(0, 1, 0, 2, 0x30, 0x39),
     .expected = {IS(array[0], 1), IS(array[1], 2), IS(array[2], 12345)}},
    {.name = "array of arrays, row by row",
     .fields = FIELDS(VMLOAD_FIELD_ARRAY_2D(matrix, Device, U8)),
     WIRE(1, 2, 3, 4, 5, 6),
     .expected = {IS(matrix[0][0], 1), IS(matrix[0][2], 3),
                  IS(matrix[1][0], 4), IS(matrix[1][2], 6)}},
    {.name = "part of an array",
     .fields = FIELDS(VMLOAD_FIELD_SUB_ARRAY(array, Device, U16, 1, 2)),
     WIRE(0, 1, 0, 2),
     .expected = {IS(array[0], 0), IS(array[1], 1), IS(array[2], 2)}},
    {.name = "counts of every type",
     .fields = FIELDS(VMLOAD_FIELD_I32(n32, Device),
                      VMLOAD_FIELD_VARRAY(array, Device, U16, n32, I32),
                      VMLOAD_FIELD_U32(nu32, Device),
                      VMLOAD_FIELD_VARRAY(flags, Device, BOOL, nu32, U32),
                      VMLOAD_FIELD_U16(n16, Device),
                      VMLOAD_FIELD_VARRAY(timers, Device, TIMER, n16, U16),
                      VMLOAD_FIELD_U8(n8, Device),
                      VMLOAD_FIELD_VARRAY(limits, Device, I32, n8, U8)),
     WIRE(0, 0, 0, 2, 0, 1, 0, 2, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 5),
     .expected = {IS(array[1], 2), IS(array[2], 0), IS(flags[0], 1),
                  IS(n16, 0), IS(n8, 1), IS(limits[0], 5)}},
    {.name = "allocated, with a factor",
     .fields = FIELDS(
         VMLOAD_FIELD_U16(n16, Device),
         VMLOAD_FIELD_VARRAY_ALLOC(p32, Device, U32, n16, U16, 2)),
     WIRE(0, 2, 0, 0, 0, 1, FF4, 0, 0, 0, 2, 0, 0, 0, 3),
     .setup = set_old_memory, .verify = see_varrays},
    {.name = "allocated, none",
     .fields = FIELDS(
         VMLOAD_FIELD_U16(n16, Device),
         VMLOAD_FIELD_VARRAY_ALLOC(p32, Device, U32, n16, U16, 2)),
     WIRE(0, 0), .setup = set_old_memory, .verify = see_no_memory},
    {.name = "count of the host's own",
     .fields = FIELDS(
         VMLOAD_FIELD_VARRAY_POINTER(p16, Device, U16, n16, U16, 1, 0)),
     WIRE(1, 2, 3, 4), .setup = set_pointers, .verify = see_pointer},
    {.name = "count that is judged",
     .fields = FIELDS(
         VMLOAD_FIELD(n16, Device, U16_EQUAL),
         VMLOAD_FIELD_VARRAY_POINTER(p16, Device, U16, n16, U16, 1, 0)),
     WIRE(0, 2, 1, 2, 3, 4), .setup = set_pointers, .verify = see_pointer},
    {.name = "n elements behind a pointer",
     .fields = FIELDS(VMLOAD_FIELD_POINTER_TO_N(p16, Device, U16, 2)),
     WIRE(1, 2, 3, 4), .setup = set_pointers, .verify = see_pointer},
    {.name = "pointer to one, allocated",
     .fields = FIELDS(VMLOAD_FIELD_POINTER_ALLOC(p16, Device, U16),
                      VMLOAD_FIELD_POINTER_TO(p16, Device, U16)),
     WIRE(1, 2, 3, 4)},
};

static const GoodCase buffers[] = {
    {.name = "buffer",
     .fields = FIELDS(VMLOAD_FIELD_BUFFER(buffer, Device)),
     WIRE('a', 0, 0xff, 'd'),
     .expected = {IS(buffer[0], 'a'), IS(buffer[1], 0), IS(buffer[2], 0xff),
                  IS(buffer[3], 'd')}},
    {.name = "vbuffer with a factor",
     .fields = FIELDS(VMLOAD_FIELD_U32(nu32, Device),
                      VMLOAD_FIELD_VBUFFER(buffer, Device, nu32, U32, 2)),
     WIRE(0, 0, 0, 1, 'a', 'b'),
     .expected = {IS(buffer[1], 'b'), IS(buffer[2], 0)}},
    {.name = "vbuffer behind a pointer",
     .fields = FIELDS(
         VMLOAD_FIELD_VBUFFER_POINTER(bytes, Device, n8, U8, 1, 4)),
     WIRE('a', 'b', 'c'), .setup = set_pointers, .verify = see_bytes},
    {.name = "vbuffer, allocated",
     .fields = FIELDS(VMLOAD_FIELD_I32(n32, Device),
                      VMLOAD_FIELD_VBUFFER_ALLOC(bytes, Device, n32, I32, 1)),
     WIRE(0, 0, 0, 3, 'a', 'b', 'c'), .setup = set_old_memory,
     .verify = see_bytes},
    {.name = "unused",
     .fields = FIELDS(VMLOAD_FIELD_UNUSED(3), VMLOAD_FIELD_U8(n8, Device),
                      VMLOAD_FIELD_UNUSED_VARRAY(Device, n8, U8, 2),
                      VMLOAD_FIELD_U8(u8, Device)),
     WIRE(9, 9, 9, 2, 9, 9, 9, 9, 1), .expected = {IS(u8, 1)}},
    {.name = "bitmap",
     .fields = FIELDS(VMLOAD_FIELD_I32(n32, Device),
                      VMLOAD_FIELD_BITMAP(bits, Device, n32, I32)),
     WIRE(0, 0, 0, 66, 0x40, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x06),
     .verify = see_bitmap},
    {.name = "bitmap, no bits",
     .fields = FIELDS(VMLOAD_FIELD_I32(n32, Device),
                      VMLOAD_FIELD_BITMAP_ALLOC(pbits, Device, n32, I32)),
     WIRE(0, 0, 0, 0), .setup = set_old_memory},
    {.name = "bitmap behind a pointer",
     .fields = FIELDS(
         VMLOAD_FIELD_U32(nu32, Device),
         VMLOAD_FIELD_BITMAP_POINTER(pbits, Device, nu32, U32, 64)),
     WIRE(0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 8), .setup = set_pointers,
     .verify = see_bitmap_pointer},
    {.name = "bitmap, allocated",
     .fields = FIELDS(VMLOAD_FIELD_U32(nu32, Device),
                      VMLOAD_FIELD_BITMAP_ALLOC(pbits, Device, nu32, U32)),
     WIRE(0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8), .setup = set_old_memory,
     .verify = see_bitmap_pointer},
};

static const GoodCase pointers[] = {
    {.name = "null markers stand for local null pointers only",
     .fields = FIELDS(
         VMLOAD_FIELD_POINTERS(ptrs, Device, STRUCT(Part, &part_desc))),
     WIRE(1, 0, 2, 0x30, 3, 0, 4), .setup = set_old_memory,
     .verify = see_null_markers},
    {.name = "auto-allocate: a marker before every element",
     .fields = FIELDS(
         VMLOAD_FIELD_POINTERS_ALLOC(ptrs, Device, STRUCT(Part, &part_desc))),
     WIRE(0x31, 1, 0, 2, 0x31, 3, 0, 0x30, 0x30), .setup = set_old_memory,
     .verify = see_auto_allocated},
    {.name = "auto-allocated numbers",
     .fields = FIELDS(VMLOAD_FIELD_POINTERS_ALLOC(ints, Device, U32)),
     WIRE(0x30, 0x31, 0, 0, 0, 9), .verify = see_ints},
    {.name = "version gates",
     .fields = FIELDS(VMLOAD_FIELD_V(u8, Device, U8, 3, NULL),
                      VMLOAD_FIELD_V(i8, Device, I8, 4, NULL),
                      VMLOAD_FIELD_V(n8, Device, U8, 4, is_version_3)),
     WIRE(1, 2), .expected = {IS(u8, 1), IS(i8, 0), IS(n8, 2)}},
    {.name = "existence by what was loaded",
     .fields = FIELDS(VMLOAD_FIELD_BOOL(flag, Device),
                      VMLOAD_FIELD_V(u8, Device, U8, 0, has_flag),
                      VMLOAD_FIELD_VALIDATE("flag", has_flag)),
     WIRE(1, 2), .expected = {IS(u8, 2)}},
    {.name = "a field that does not exist is not in the stream",
     .fields = FIELDS(VMLOAD_FIELD_BOOL(flag, Device),
                      VMLOAD_FIELD_V(u8, Device, U8, 0, has_flag),
                      VMLOAD_FIELD_U8(n8, Device)),
     WIRE(0, 2), .expected = {IS(u8, 0), IS(n8, 2)}},
};

static void set_count_only(Device *device)
{
    device->n16 = 1;
}

static const BadCase bad_values[] = {
    {.name = "uint8 equal",
     .fields = FIELDS(VMLOAD_FIELD(u8, Device, U8_EQUAL)), WIRE(8),
     .setup = set_current, .code = VMLOAD_ERROR_MISMATCH,
     .message = "field 'u8': offset 0x101: expected 7, found 8"},
    {.name = "uint16 equal",
     .fields = FIELDS(VMLOAD_FIELD(u16, Device, U16_EQUAL)), WIRE(1, 3),
     .setup = set_current, .code = VMLOAD_ERROR_MISMATCH,
     .message = "expected 258, found 259"},
    {.name = "int32 equal",
     .fields = FIELDS(VMLOAD_FIELD(i32, Device, I32_EQUAL)),
     WIRE(0, 0, 0, 2), .setup = set_current, .code = VMLOAD_ERROR_MISMATCH,
     .message = "expected -2, found 2"},
    {.name = "uint32 equal",
     .fields = FIELDS(VMLOAD_FIELD(u32, Device, U32_EQUAL)), WIRE(FF4),
     .setup = set_current, .code = VMLOAD_ERROR_MISMATCH,
     .message = "expected 5, found 4294967295"},
    {.name = "int64 equal",
     .fields = FIELDS(VMLOAD_FIELD(u64, Device, U64_EQUAL)),
     WIRE(0, 0, 0, 0, 0x55, 0x66, 0x77, 0x88), .setup = set_current,
     .code = VMLOAD_ERROR_MISMATCH, .message = "field 'u64'"},
    {.name = "int32 le, more",
     .fields = FIELDS(VMLOAD_FIELD_ARRAY(limits, Device, I32_LE)),
     WIRE(0, 0, 0, 10, 0, 0, 0, 1), .setup = set_current,
     .code = VMLOAD_ERROR_MISMATCH,
     .message = "field 'limits[1]': offset 0x108: expected 0 to 0, found 1"},
    {.name = "int32 le, negative",
     .fields = FIELDS(VMLOAD_FIELD(limits[0], Device, I32_LE)), WIRE(FF4),
     .setup = set_current, .code = VMLOAD_ERROR_MISMATCH,
     .message = "expected 0 to 10, found -1"},
    {.name = "validate",
     .fields = FIELDS(VMLOAD_FIELD_VALIDATE("has flag", has_flag)), NO_BYTES,
     .code = VMLOAD_ERROR_MISMATCH, .message = "field 'has flag'"},
};

static const BadCase bad_counts[] = {
    {.name = "negative count",
     .fields = FIELDS(VMLOAD_FIELD_I32(n32, Device),
                      VMLOAD_FIELD_VARRAY(array, Device, U16, n32, I32)),
     WIRE(FF4), .code = VMLOAD_ERROR_MALFORMED,
     .message = "field 'array': offset 0x104: expected a count of 0 or more, "
                "found -1"},
    {.name = "more than the array has",
     .fields = FIELDS(VMLOAD_FIELD_U8(n8, Device),
                      VMLOAD_FIELD_VARRAY(array, Device, U16, n8, U8)),
     WIRE(4, 0, 1, 0, 2, 0, 3, 0, 4), .code = VMLOAD_ERROR_MALFORMED,
     .message = "expected at most 3 elements, found 4"},
    {.name = "more than the buffer has",
     .fields = FIELDS(VMLOAD_FIELD_U8(n8, Device),
                      VMLOAD_FIELD_VBUFFER(buffer, Device, n8, U8, 3)),
     WIRE(2, 0, 1, 0, 2, 0, 3), .code = VMLOAD_ERROR_MALFORMED,
     .message = "expected at most 4 elements, found 6"},
    {.name = "more than the bitmap has",
     .fields = FIELDS(VMLOAD_FIELD_U8(n8, Device),
                      VMLOAD_FIELD_BITMAP(bits, Device, n8, U8)),
     WIRE(0xff), .code = VMLOAD_ERROR_MALFORMED,
     .message = "elements, found 255"},
    {.name = "more than is behind the pointer",
     .fields = FIELDS(
         VMLOAD_FIELD_U16(n16, Device),
         VMLOAD_FIELD_VARRAY_POINTER(p16, Device, U16, n16, U16, 1, 4)),
     WIRE(0, 5), .setup = set_pointers, .code = VMLOAD_ERROR_MALFORMED,
     .message = "expected at most 4 elements, found 5"},
    {.name = "more elements than the limit",
     .fields = FIELDS(
         VMLOAD_FIELD_U32(nu32, Device),
         VMLOAD_FIELD_VARRAY_ALLOC(p32, Device, U32, nu32, U32, 1)),
     WIRE(0, 0x10, 0, 1), .setup = set_old_memory,
     .code = VMLOAD_ERROR_LIMIT, .message = "limit elements"},
    {.name = "more bytes than the limit",
     .fields = FIELDS(
         VMLOAD_FIELD_U32(nu32, Device),
         VMLOAD_FIELD_VBUFFER_ALLOC(bytes, Device, nu32, U32, 1)),
     WIRE(0x10, 0, 0, 1), .setup = set_old_memory,
     .code = VMLOAD_ERROR_LIMIT, .message = "limit element_bytes"},
    {.name = "a factor that overflows",
     .fields = FIELDS(
         VMLOAD_FIELD_U32(nu32, Device),
         VMLOAD_FIELD_VBUFFER_ALLOC(bytes, Device, nu32, U32,
                                    (uint64_t)1 << 60)),
     WIRE(0, 0, 0, 16), .code = VMLOAD_ERROR_LIMIT,
     .message = "found 16 times"},
    {.name = "bits beyond the limit",
     .fields = FIELDS(VMLOAD_FIELD_U32(nu32, Device),
                      VMLOAD_FIELD_BITMAP_ALLOC(pbits, Device, nu32, U32)),
     WIRE(FF4), .code = VMLOAD_ERROR_LIMIT, .message = "limit elements"},
};

static const BadCase bad_pointers[] = {
    {.name = "null pointer to a number",
     .fields = FIELDS(VMLOAD_FIELD_POINTER_TO(p16, Device, U16)), WIRE(1, 2),
     .code = VMLOAD_ERROR_DEVICE, .message = "found a null pointer"},
    {.name = "null pointer to an array",
     .fields = FIELDS(
         VMLOAD_FIELD_VARRAY_POINTER(p16, Device, U16, n16, U16, 1, 0)),
     WIRE(1, 2), .setup = set_count_only, .code = VMLOAD_ERROR_DEVICE,
     .message = "expected memory for 1 elements"},
    {.name = "no marker where the local element is null",
     .fields = FIELDS(
         VMLOAD_FIELD_POINTERS(ptrs, Device, STRUCT(Part, &part_desc))),
     WIRE(1, 0, 2, 0x31, 3, 0, 4), .setup = set_old_memory,
     .code = VMLOAD_ERROR_MALFORMED,
     .message = "field 'ptrs[1]': offset 0x103: expected null marker 0x30, "
                "found 0x31"},
    {.name = "no marker of auto-allocate",
     .fields = FIELDS(VMLOAD_FIELD_POINTERS_ALLOC(ints, Device, U32)),
     WIRE(0x30, 0x32, 0, 0, 0, 9), .code = VMLOAD_ERROR_MALFORMED,
     .message = "field 'ints[1]': offset 0x101: expected null marker 0x30 or "
                "0x31, found 0x32"},
};

static void test_scalars(void **state)
{
    (void)state;
    run_good(scalars, G_N_ELEMENTS(scalars));
}

static void test_arrays(void **state)
{
    (void)state;
    run_good(arrays, G_N_ELEMENTS(arrays));
}

static void test_buffers(void **state)
{
    (void)state;
    run_good(buffers, G_N_ELEMENTS(buffers));
}

static void test_pointers_and_gates(void **state)
{
    (void)state;
    run_good(pointers, G_N_ELEMENTS(pointers));
}

static void test_bad_values(void **state)
{
    (void)state;
    run_bad(bad_values, G_N_ELEMENTS(bad_values));
}

static void test_bad_counts(void **state)
{
    (void)state;
    run_bad(bad_counts, G_N_ELEMENTS(bad_counts));
}

static void test_bad_pointers(void **state)
{
    (void)state;
    run_bad(bad_pointers, G_N_ELEMENTS(bad_pointers));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_pointers_and_gates),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_bad_counts),
        cmocka_unit_test(test_bad_pointers),
    };

    return cmocka_run_group_tests_name("vmstate", tests, NULL, NULL);
}

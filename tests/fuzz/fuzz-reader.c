/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reader: the input is a program of calls and the bytes they read. The
 * same program runs over memory and over a channel that gives bytes in small
 * pieces; both must agree in every result.
 */
#include "fuzz.h"

#include "stream/reader.h"

typedef struct {
    bool ok;
    uint64_t value;
    uint64_t offset;
} Outcome;

static Outcome run_call(VmloadReader *reader, uint8_t call)
{
    Outcome outcome = {false, 0, 0};
    GError *error = NULL;
    char name[VMLOAD_STR8_SIZE];
    uint8_t buffer[64];
    const uint8_t *data;
    uint8_t u8 = 0;
    uint16_t u16 = 0;
    uint32_t u32 = 0;

    switch (call & 7) {
    case 0:
        outcome.ok = vmload_reader_get_u8(reader, &u8, &error);
        outcome.value = u8;
        break;
    case 1:
        outcome.ok = vmload_reader_get_be16(reader, &u16, &error);
        outcome.value = u16;
        break;
    case 2:
        outcome.ok = vmload_reader_get_be32(reader, &u32, &error);
        outcome.value = u32;
        break;
    case 3:
        outcome.ok = vmload_reader_get_be64(reader, &outcome.value, &error);
        break;
    case 4:
        outcome.ok = vmload_reader_get_str8(reader, name, &u32, &error);
        outcome.value = outcome.ok ? g_str_hash(name) ^ u32 : 0;
        break;
    case 5:
        outcome.ok = vmload_reader_skip(reader, (uint64_t)call * call, &error);
        break;
    case 6:
        outcome.ok = vmload_reader_peek(reader, call, &data, &outcome.value,
                                        &error);
        break;
    default:
        outcome.ok = vmload_reader_read(reader, buffer, call >> 2, &error);
        outcome.value = outcome.ok && call >> 2 > 0 ? buffer[0] : 0;
        break;
    }
    FUZZ_CHECK(outcome.ok == (error == NULL));
    outcome.offset = vmload_reader_get_offset(reader);
    g_clear_error(&error);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzPieces pieces;
    VmloadChannel *channel;
    VmloadReader *memory;
    VmloadReader *stream;
    VmloadWait wait = {0};
    uint64_t n_calls;
    uint64_t i;

    if (size < 2) {
        return 0;
    }
    n_calls = MIN(data[0], size - 2);
    fuzz_pieces_init(&pieces, data + 2 + n_calls, size - 2 - n_calls, data[1]);
    channel = fuzz_pieces_channel(&pieces);
    memory = vmload_reader_new_memory(pieces.data, pieces.length, 0);
    stream = vmload_reader_new_channel(channel, &wait, NULL);
    for (i = 0; i < n_calls; i++) {
        Outcome a = run_call(memory, data[2 + i]);
        Outcome b = run_call(stream, data[2 + i]);

        FUZZ_CHECK(a.ok == b.ok && a.value == b.value);
        /* Where a failed skip stopped is not promised. */
        FUZZ_CHECK(!a.ok || a.offset == b.offset);
    }
    vmload_reader_free(stream);
    vmload_reader_free(memory);
    vmload_channel_unref(channel);
    return 0;
}

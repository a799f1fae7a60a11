/* SPDX-License-Identifier: BSD-3-Clause */
#include "stream.h"

#include "stream-writer.h"

#include <string.h>
#include <vmload/vmload.h>

#define SYNTHETIC_MACHINE "bench"
#define SYNTHETIC_BLOCK "bench.ram"
#define SYNTHETIC_RAM_ID 2

/*
 * Payload sizes as a q35 machine has them: many small ones, some of a PCI
 * device, few large ones.
 */
static const uint32_t mixed_sizes[] = {
    24,  12,   860, 13,  268, 61,  27,   331, 2219, 46,
    391, 1412, 17,  300, 64,  118, 4610, 85,  333,  4,
};

static void add_payload(GByteArray *out, uint32_t length, uint32_t seed)
{
    uint32_t i;

    /* Half of real device state is zero. */
    for (i = 0; i < length; i++) {
        seed = seed * 1664525u + 1013904223u;
        sw_u8(out, (seed >> 31) != 0 ? (uint8_t)(seed >> 16) : 0);
    }
}

static void add_device(GByteArray *out, uint32_t index, uint32_t bytes)
{
    GByteArray *payload = sw_new();
    char *idstr = g_strdup_printf("0000:00:%02x.%u/bench", index / 8,
                                  index % 8);

    if (bytes == 0) {
        bytes = mixed_sizes[index % G_N_ELEMENTS(mixed_sizes)];
    }
    add_payload(payload, bytes, index);
    sw_device(out, SYNTHETIC_RAM_ID + 1 + index, idstr, 0, 1, payload->data,
              payload->len);
    g_byte_array_unref(payload);
    g_free(idstr);
}

static void add_device_large(GByteArray *out, uint32_t index)
{
    /* A network card with its ROM: the usual largest section. */
    add_device(out, index, 135 * 1024);
}

static GByteArray *write_synthetic(uint64_t ram_bytes, uint32_t devices,
                                   uint32_t bytes)
{
    GByteArray *out = sw_new();
    uint32_t i;

    sw_header(out);
    sw_configuration(out, SYNTHETIC_MACHINE);
    sw_ram_start(out, SYNTHETIC_RAM_ID, ram_bytes);
    sw_ram_block(out, SYNTHETIC_BLOCK, ram_bytes);
    sw_ram_eos(out);
    sw_footer(out, SYNTHETIC_RAM_ID);
    sw_section_end(out, SYNTHETIC_RAM_ID);
    sw_ram_eos(out);
    sw_footer(out, SYNTHETIC_RAM_ID);
    for (i = 0; i < devices; i++) {
        if (bytes == 0 && i == devices / 2) {
            add_device_large(out, i);
        } else {
            add_device(out, i, bytes);
        }
    }
    sw_eof(out);
    sw_vmdesc(out, "{\"devices\": []}");
    return out;
}

static VmloadRamBlock *scan_block(void *opaque, const char *idstr,
                                  uint64_t length, GError **error)
{
    Stream *stream = opaque;

    if (length > stream->block_length) {
        g_free(stream->block);
        stream->block = g_strdup(idstr);
        stream->block_length = length;
    }
    return vmload_ram_block_new(idstr, length, length,
                                vmload_ram_sink_new_null(), error);
}

static void scan_record(void *opaque, const VmloadRecordInfo *info)
{
    Stream *stream = opaque;
    StreamRecord record = {.type = info->type, .offset = info->offset};

    if (info->type == VMLOAD_RECORD_VMDESC) {
        stream->vmdesc_at = info->offset;
    }
    if (info->section != NULL) {
        record.section_id = info->section->section_id;
        record.instance_id = info->section->instance_id;
        record.version_id = info->section->version_id;
        record.payload_offset = info->section->payload_offset;
        record.payload_length = info->section->payload_length;
        record.idstr = g_strdup(info->section->idstr);
        if (info->type == VMLOAD_RECORD_START &&
            strcmp(info->section->idstr, "ram") == 0) {
            stream->ram_id = info->section->section_id;
            stream->ram_at = info->offset + info->length;
        }
    }
    g_array_append_val(stream->records, record);
}

/* Finds the records with the library itself. */
static bool scan(Stream *stream, GError **error)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .record = scan_record,
    };
    VmloadLoader *loader = vmload_loader_new(&ops, stream, NULL, error);
    bool ok;

    if (loader == NULL) {
        return false;
    }
    vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
    vmload_loader_set_ram_announced(loader, scan_block, stream, NULL);
    vmload_loader_set_channel(
        loader, vmload_channel_new_memory(stream->bytes->data,
                                          stream->bytes->len, NULL, NULL));
    ok = vmload_loader_run(loader, 0, error);
    vmload_loader_free(loader);
    return ok;
}

static void clear_record(void *data)
{
    g_free(((StreamRecord *)data)->idstr);
}

static Stream *stream_new(GByteArray *bytes, GError **error)
{
    Stream *stream = g_new0(Stream, 1);

    stream->bytes = bytes;
    stream->vmdesc_at = bytes->len;
    stream->records = g_array_new(FALSE, TRUE, sizeof(StreamRecord));
    g_array_set_clear_func(stream->records, clear_record);
    if (!scan(stream, error)) {
        stream_free(stream);
        return NULL;
    }
    if (stream->block == NULL || stream_largest_device(stream) == NULL) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_FAILED,
                    "expected a stream with RAM and devices");
        stream_free(stream);
        return NULL;
    }
    return stream;
}

Stream *stream_new_synthetic(uint64_t ram_bytes, uint32_t devices,
                             uint32_t bytes, GError **error)
{
    return stream_new(write_synthetic(ram_bytes, devices, bytes), error);
}

Stream *stream_new_file(const char *path, GError **error)
{
    GByteArray *bytes;
    char *data;
    gsize length;

    if (!g_file_get_contents(path, &data, &length, error)) {
        return NULL;
    }
    bytes = g_byte_array_new_take((guint8 *)data, length);
    return stream_new(bytes, error);
}

void stream_free(Stream *stream)
{
    if (stream != NULL) {
        g_byte_array_unref(stream->bytes);
        g_array_unref(stream->records);
        g_free(stream->block);
        g_free(stream);
    }
}

bool stream_record_is_device(const StreamRecord *record)
{
    return record->idstr != NULL && strcmp(record->idstr, "ram") != 0;
}

const StreamRecord *stream_first_device(const Stream *stream)
{
    guint i;

    for (i = 0; i < stream->records->len; i++) {
        const StreamRecord *record =
            &g_array_index(stream->records, StreamRecord, i);

        if (record->type == VMLOAD_RECORD_FULL) {
            return record;
        }
    }
    return NULL;
}

const StreamRecord *stream_largest_device(const Stream *stream)
{
    const StreamRecord *largest = NULL;
    guint i;

    for (i = 0; i < stream->records->len; i++) {
        const StreamRecord *record =
            &g_array_index(stream->records, StreamRecord, i);

        if (record->type == VMLOAD_RECORD_FULL &&
            (largest == NULL ||
             record->payload_length > largest->payload_length)) {
            largest = record;
        }
    }
    return largest;
}

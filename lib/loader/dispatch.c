/* SPDX-License-Identifier: BSD-3-Clause */
/* The element list of a stream, up to its EOF (stream format, section 1). */
#include "internal.h"

#include "error.h"
#include "trace.h"

#include <string.h>

void vmload_loader_note_record(VmloadLoader *loader, uint32_t record,
                               uint64_t offset, const VmloadSection *section)
{
    if (vmload_loader_is_elsewhere(loader)) {
        return;
    }
    loader->position_final = false;
    g_mutex_lock(&loader->mutex);
    loader->position.record = record;
    loader->position.record_offset = offset;
    loader->position.offset = offset;
    loader->position.section_id = section != NULL ? section->section_id : 0;
    loader->position.instance_id = section != NULL ? section->instance_id : 0;
    g_strlcpy(loader->position.idstr, section != NULL ? section->idstr : "",
              sizeof(loader->position.idstr));
    g_mutex_unlock(&loader->mutex);
}

void vmload_loader_note_failure(VmloadLoader *loader, uint64_t offset)
{
    if (vmload_loader_is_elsewhere(loader) || loader->position_final) {
        return;
    }
    loader->position_final = true;
    g_mutex_lock(&loader->mutex);
    loader->position.offset = offset;
    g_mutex_unlock(&loader->mutex);
}

void vmload_loader_report_record(VmloadLoader *loader,
                                 const VmloadReader *reader, uint32_t type,
                                 uint32_t command, uint64_t offset,
                                 uint64_t length,
                                 const VmloadSection *section)
{
    VmloadRecordInfo info = {0};

    if (loader->ops.record == NULL) {
        return;
    }
    info.struct_size = (uint32_t)sizeof(info);
    info.type = type;
    info.depth = vmload_reader_get_depth(reader);
    info.command = command;
    info.offset = offset;
    info.length = length;
    info.section = section;
    loader->ops.record(loader->opaque, &info);
}

static VmloadCommandResult result_of(bool ok)
{
    return ok ? VMLOAD_COMMAND_DEFAULT : VMLOAD_COMMAND_FAILED;
}

/*
 * One record. DEFAULT: go on with the next one; DONE: EOF; else as
 * VmloadCommandResult.
 */
static VmloadCommandResult load_record(VmloadLoader *loader,
                                       VmloadReader *reader, GError **error)
{
    uint64_t offset = vmload_reader_get_offset(reader);
    VmloadCommandResult result;
    uint8_t type;

    vmload_loader_note_record(loader, VMLOAD_RECORD_EOF, offset, NULL);
    if (!vmload_reader_get_u8(reader, &type, error)) {
        g_prefix_error(error, "expected a record or EOF: ");
        return VMLOAD_COMMAND_FAILED;
    }
    vmload_loader_note_record(loader, type, offset, NULL);
    switch (type) {
    case VMLOAD_RECORD_EOF:
        vmload_loader_report_record(loader, reader, type, 0, offset, 1,
                                    NULL);
        return VMLOAD_COMMAND_DONE;
    case VMLOAD_RECORD_START:
    case VMLOAD_RECORD_PART:
    case VMLOAD_RECORD_END:
    case VMLOAD_RECORD_FULL:
        return result_of(vmload_loader_load_section(loader, reader, type,
                                                    offset, error));
    case VMLOAD_RECORD_COMMAND:
        result = vmload_loader_load_command(loader, reader, offset, error);
        /* A command ends nothing by being done. */
        return result == VMLOAD_COMMAND_DONE ? VMLOAD_COMMAND_DEFAULT
                                             : result;
    default:
        vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                            "expected a record type, found 0x%02x", type);
        return VMLOAD_COMMAND_FAILED;
    }
}

/* What callbacks could not write, as they held the big lock, goes out. */
static bool between_records(VmloadLoader *loader, GError **error)
{
    VmloadWait wait;

    return vmload_cancel_check(loader->cancel, error) &&
           vmload_return_path_flush(&loader->return_path,
                                    vmload_loader_write_wait(loader, &wait),
                                    error);
}

VmloadCommandResult vmload_loader_dispatch_records(VmloadLoader *loader,
                                                   VmloadReader *reader,
                                                   GError **error)
{
    VmloadCommandResult result = VMLOAD_COMMAND_DEFAULT;
    bool elsewhere = vmload_loader_is_elsewhere(loader);
    /* The loading thread's: nobody else may even look. */
    const uint32_t depth = elsewhere ? 0 : loader->depth;

    if (vmload_reader_get_depth(reader) >= loader->limits.nesting) {
        vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                            "packages are nested deeper than the limit "
                            "nesting (%u)", loader->limits.nesting);
        return VMLOAD_COMMAND_FAILED;
    }
    if (!elsewhere) {
        loader->depth = vmload_reader_get_depth(reader) + 1;
    }
    while (result == VMLOAD_COMMAND_DEFAULT) {
        result = between_records(loader, error)
                     ? load_record(loader, reader, error)
                     : VMLOAD_COMMAND_FAILED;
    }
    if (!elsewhere) {
        loader->depth = depth;
    }
    if (result == VMLOAD_COMMAND_FAILED) {
        vmload_loader_note_failure(loader, vmload_reader_get_offset(reader));
    }
    return result;
}

static bool is_dispatchable(VmloadLoader *loader)
{
    VmloadState state = vmload_loader_get_state(loader);

    return state >= VMLOAD_STATE_ACTIVE && state <= VMLOAD_STATE_FINISHING;
}

VmloadReader *vmload_loader_new_reader(VmloadLoader *loader,
                                       VmloadChannel *channel, GError **error)
{
    VmloadWaitClock *clock;
    VmloadReader *reader;
    VmloadWait wait = {0};

    g_return_val_if_fail(loader != NULL && channel != NULL, NULL);
    clock = g_new0(VmloadWaitClock, 1);
    vmload_loader_init_wait(loader, &wait, clock);
    wait.timeout_us = (int64_t)loader->stall_ms * 1000;
    reader = vmload_reader_new_channel(channel, &wait, error);
    if (reader == NULL) {
        g_free(clock);
        vmload_channel_unref(channel);
        return NULL;
    }
    vmload_reader_attach(reader, clock);
    vmload_reader_set_counters(reader, &loader->counters.bytes,
                               &loader->counters.last_byte_ns);
    return reader;
}

VmloadCommandResult vmload_loader_dispatch(VmloadLoader *loader,
                                           VmloadReader *reader,
                                           GError **error)
{
    g_return_val_if_fail(loader != NULL && reader != NULL,
                         VMLOAD_COMMAND_FAILED);
    g_return_val_if_fail(is_dispatchable(loader), VMLOAD_COMMAND_FAILED);
    if (reader != loader->reader && !vmload_loader_is_elsewhere(loader)) {
        /* A package of the host's stands in what is dispatched now. */
        vmload_reader_set_depth(reader, loader->depth);
    }
    return vmload_loader_dispatch_records(loader, reader, error);
}

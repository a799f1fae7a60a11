/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands of the main stream (stream format, sections 6 and 7). */
#include "internal.h"

#include "error.h"
#include "stream/command.h"

#include <string.h>

static bool send_message(VmloadLoader *loader, VmloadReturnPathType type,
                         const uint8_t *data, uint32_t length, GError **error)
{
    return vmload_return_path_send(&loader->return_path, type, data, length,
                                   &loader->wait, error);
}

static bool command_open_return_path(VmloadLoader *loader,
                                     VmloadReader *payload, GError **error)
{
    bool first = !vmload_return_path_is_open(&loader->return_path);

    (void)payload;
    vmload_return_path_open(&loader->return_path, loader->channel);
    /* No device wants to wait: the legacy source hears it at once. */
    if (first && loader->switchover_ack &&
        loader->switchover_ack_mode == VMLOAD_SWITCHOVER_ACK_LEGACY &&
        g_atomic_int_get(&loader->switchover_ack_count) == 0) {
        return send_message(loader, VMLOAD_RETURN_PATH_SWITCHOVER_ACK, NULL,
                            0, error);
    }
    return true;
}

static bool command_ping(VmloadLoader *loader, VmloadReader *payload,
                         GError **error)
{
    uint8_t value[4];

    if (!vmload_reader_read(payload, value, sizeof(value), error)) {
        return false;
    }
    if (!vmload_return_path_is_open(&loader->return_path)) {
        return vmload_reader_error(payload, error, VMLOAD_ERROR_MALFORMED,
                                   "expected OPEN_RETURN_PATH before PING, "
                                   "found PING");
    }
    return send_message(loader, VMLOAD_RETURN_PATH_PONG, value, sizeof(value),
                        error);
}

static bool command_switchover_start(VmloadLoader *loader,
                                     VmloadReader *payload, GError **error)
{
    (void)payload;
    (void)error;
    vmload_loader_note_switchover(loader);
    return true;
}

/* What the library does by itself; NULL: refused by name. */
static bool (*const command_handlers[])(VmloadLoader *loader,
                                        VmloadReader *payload,
                                        GError **error) = {
    [VMLOAD_COMMAND_OPEN_RETURN_PATH] = command_open_return_path,
    [VMLOAD_COMMAND_PING] = command_ping,
    [VMLOAD_COMMAND_SWITCHOVER_START] = command_switchover_start,
};

static VmloadCommandResult default_command(VmloadLoader *loader,
                                           VmloadReader *payload,
                                           const VmloadCommand *command,
                                           GError **error)
{
    if (command->command < G_N_ELEMENTS(command_handlers) &&
        command_handlers[command->command] != NULL) {
        return command_handlers[command->command](loader, payload, error)
                   ? VMLOAD_COMMAND_DONE
                   : VMLOAD_COMMAND_FAILED;
    }
    vmload_reader_error(payload, error, VMLOAD_ERROR_UNSUPPORTED,
                        "command %s is not supported",
                        vmload_command_name(command->command));
    return VMLOAD_COMMAND_FAILED;
}

/* Asks the host, with the lock that it wants. */
static VmloadCommandResult host_command(VmloadLoader *loader,
                                        VmloadReader *payload,
                                        const VmloadCommand *command,
                                        GError **error)
{
    VmloadCommandResult result;
    GError *local = NULL;
    VmloadHold hold;
    bool lock;

    if (loader->ops.command == NULL) {
        return VMLOAD_COMMAND_DEFAULT;
    }
    lock = loader->ops.command_lock != NULL &&
           loader->ops.command_lock(loader->opaque, command->command) !=
               VMLOAD_LOCK_NONE;
    if (lock) {
        vmload_guard_lock(&loader->guard, &hold);
    }
    result = loader->ops.command(loader->opaque, payload, command, &local);
    if (lock) {
        vmload_guard_unlock(&loader->guard, &hold);
    }
    if (result == VMLOAD_COMMAND_FAILED) {
        vmload_callback_failed(local, error);
        return VMLOAD_COMMAND_FAILED;
    }
    g_clear_error(&local);
    return result;
}

/*
 * A package: all its bytes are read before its first record is parsed
 * (stream format, section 7).
 */
static VmloadCommandResult load_package(VmloadLoader *loader,
                                        VmloadReader *reader,
                                        VmloadReader *payload, GError **error)
{
    VmloadCommandResult result = VMLOAD_COMMAND_FAILED;
    VmloadReader *package;
    uint64_t offset;
    uint8_t *data;
    uint32_t length;

    if (!vmload_reader_get_be32(payload, &length, error)) {
        return VMLOAD_COMMAND_FAILED;
    }
    if (reader != loader->reader) {
        vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                            "expected no package in a package");
        return VMLOAD_COMMAND_FAILED;
    }
    if (length > loader->limits.package_bytes) {
        vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                            "a package of %u bytes exceeds the limit "
                            "package_bytes (%" G_GUINT64_FORMAT ")", length,
                            loader->limits.package_bytes);
        return VMLOAD_COMMAND_FAILED;
    }
    offset = vmload_reader_get_offset(reader);
    data = g_try_malloc(MAX(length, 1));
    if (data == NULL) {
        vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                            "no memory for a package of %u bytes", length);
        return VMLOAD_COMMAND_FAILED;
    }
    if (vmload_reader_read(reader, data, length, error)) {
        package = vmload_reader_new_memory(data, length, offset);
        result = vmload_loader_dispatch_records(loader, package, error);
        vmload_reader_free(package);
    }
    g_free(data);
    return result;
}

/* Decides who processes the command, and does it. */
static VmloadCommandResult process_command(VmloadLoader *loader,
                                           VmloadReader *reader,
                                           VmloadReader *payload,
                                           const VmloadCommand *command,
                                           GError **error)
{
    VmloadCommandResult result = host_command(loader, payload, command,
                                              error);

    if (result != VMLOAD_COMMAND_DEFAULT) {
        return result;
    }
    if (command->command == VMLOAD_COMMAND_PACKAGED) {
        return load_package(loader, reader, payload, error);
    }
    return default_command(loader, payload, command, error);
}

VmloadCommandResult vmload_loader_load_command(VmloadLoader *loader,
                                               VmloadReader *reader,
                                               uint64_t offset,
                                               GError **error)
{
    VmloadCommandResult result;
    VmloadReader *payload;
    VmloadCommand command;
    uint64_t payload_offset;
    uint8_t *data;

    if (!vmload_command_read(reader, offset, &command, error)) {
        return VMLOAD_COMMAND_FAILED;
    }
    payload_offset = vmload_reader_get_offset(reader);
    /* At most 64 KiB: the length is a be16. */
    data = g_try_malloc(MAX(command.length, 1));
    if (data == NULL) {
        vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                            "no memory for a command of %u bytes",
                            command.length);
        return VMLOAD_COMMAND_FAILED;
    }
    if (!vmload_reader_read(reader, data, command.length, error)) {
        g_free(data);
        return VMLOAD_COMMAND_FAILED;
    }
    payload = vmload_reader_new_memory(data, command.length, payload_offset);
    result = process_command(loader, reader, payload, &command, error);
    vmload_reader_free(payload);
    g_free(data);
    if (result == VMLOAD_COMMAND_FAILED) {
        g_prefix_error(error, "command %s: ",
                       vmload_command_name(command.command));
        return result;
    }
    __atomic_fetch_add(&loader->counters.commands, 1, __ATOMIC_RELAXED);
    vmload_loader_report_record(loader, VMLOAD_RECORD_COMMAND,
                                command.command, offset,
                                vmload_reader_get_offset(reader) - offset,
                                NULL);
    return result;
}

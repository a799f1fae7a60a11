/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands of the main stream (stream format, sections 6 and 7). */
#include "internal.h"

#include "error.h"
#include "stream/command.h"

#include <string.h>

static bool command_open_return_path(VmloadLoader *loader,
                                     VmloadReader *payload, GError **error)
{
    (void)payload;
    vmload_return_path_open(&loader->return_path, loader->channel);
    return vmload_loader_send_switchover_acks(loader, error);
}

static bool command_ping(VmloadLoader *loader, VmloadReader *payload,
                         GError **error)
{
    VmloadWait wait;
    uint8_t value[4];

    if (!vmload_reader_read(payload, value, sizeof(value), error)) {
        return false;
    }
    if (!vmload_return_path_is_open(&loader->return_path)) {
        return vmload_reader_error(payload, error, VMLOAD_ERROR_MALFORMED,
                                   "expected OPEN_RETURN_PATH before PING, "
                                   "found PING");
    }
    return vmload_return_path_send(&loader->return_path,
                                   VMLOAD_RETURN_PATH_PONG, value,
                                   sizeof(value),
                                   vmload_loader_write_wait(loader, &wait),
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
    /*
     * Without page sizes only dirty bitmaps might go on in postcopy; whether
     * they do, LISTEN says.
     */
    if (command->command == VMLOAD_COMMAND_POSTCOPY_ADVISE &&
        command->length == 0) {
        return VMLOAD_COMMAND_DONE;
    }
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
           loader->ops.command_lock(loader->opaque, command->command) <
               VMLOAD_LOCK_NONE;
    if (lock) {
        const char *what = vmload_command_name(command->command);

        vmload_guard_lock(&loader->guard, &hold,
                          what != NULL ? what : "command", NULL, 0);
    }
    result = loader->ops.command(loader->opaque, payload, command, &local);
    if (lock) {
        vmload_guard_unlock(&loader->guard, &hold);
    }
    /* What the host may not answer counts as a failure. */
    return vmload_callback_result((uint32_t)result < VMLOAD_COMMAND_FAILED,
                                  &local, error)
               ? result
               : VMLOAD_COMMAND_FAILED;
}

/*
 * A package: all its bytes are read before its first record is parsed
 * (stream format, section 7). They stand behind the command's own payload.
 */
static VmloadCommandResult load_package(VmloadLoader *loader,
                                        VmloadReader *payload, GError **error)
{
    uint32_t length;

    if (!vmload_reader_get_be32(payload, &length, error)) {
        return VMLOAD_COMMAND_FAILED;
    }
    return vmload_loader_dispatch_records(loader, payload, error);
}

/*
 * A command in a stream that the host buffers: its handlers may read the
 * payload from their own file, where all of it is in memory but not consumed.
 */
static bool buffer_payload(VmloadReader *reader, const VmloadCommand *command,
                           GError **error)
{
    uint64_t available;
    const uint8_t *data;

    if (command->length > VMLOAD_SOURCE_WINDOW) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                   "expected at most %u bytes, as many as a "
                                   "source shows, found %u",
                                   VMLOAD_SOURCE_WINDOW, command->length);
    }
    if (!vmload_reader_peek(reader, command->length, &data, &available,
                            error)) {
        return false;
    }
    if (available < command->length) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_TRUNCATED,
                                   "expected %u bytes, found the end after %"
                                   G_GUINT64_FORMAT, command->length,
                                   available);
    }
    return true;
}

/* Decides who processes the command, and does it. */
static VmloadCommandResult process_command(VmloadLoader *loader,
                                           VmloadReader *payload,
                                           const VmloadCommand *command,
                                           bool asked, GError **error)
{
    VmloadCommandResult result =
        asked ? VMLOAD_COMMAND_DEFAULT
              : host_command(loader, payload, command, error);

    if (result != VMLOAD_COMMAND_DEFAULT) {
        return result;
    }
    if (command->command == VMLOAD_COMMAND_PACKAGED) {
        return load_package(loader, payload, error);
    }
    return default_command(loader, payload, command, error);
}

/* How long is the package behind the command? Its length was read. */
static bool package_length(VmloadLoader *loader, VmloadReader *reader,
                           const uint8_t *payload, uint32_t *length,
                           GError **error)
{
    memcpy(length, payload, sizeof(*length));
    *length = GUINT32_FROM_BE(*length);
    if (reader != loader->reader) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                   "expected no package in a package");
    }
    if (*length > loader->limits.package_bytes) {
        return vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                                   "a package of %u bytes exceeds the limit "
                                   "package_bytes (%" G_GUINT64_FORMAT ")",
                                   *length, loader->limits.package_bytes);
    }
    return vmload_loader_stage_bytes(loader, *length, error);
}

/* The bytes of a command, and of the package behind it. */
static uint8_t *read_payload(VmloadLoader *loader, VmloadReader *reader,
                             const VmloadCommand *command, uint32_t *package,
                             GError **error)
{
    /* At most 64 KiB: the length is a be16. */
    uint8_t *data = g_try_malloc(MAX(command->length, 1));
    uint8_t *longer;

    if (data == NULL) {
        vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                            "no memory for a command of %u bytes",
                            command->length);
        return NULL;
    }
    *package = 0;
    if (!vmload_reader_read(reader, data, command->length, error) ||
        (command->command == VMLOAD_COMMAND_PACKAGED &&
         !package_length(loader, reader, data, package, error))) {
        g_free(data);
        return NULL;
    }
    if (*package == 0) {
        return data;
    }
    longer = g_try_realloc(data, (gsize)command->length + *package);
    if (longer == NULL) {
        g_free(data);
        vmload_reader_error(reader, error, VMLOAD_ERROR_LIMIT,
                            "no memory for a package of %u bytes", *package);
        return NULL;
    }
    if (!vmload_reader_read(reader, longer + command->length, *package,
                            error)) {
        g_free(longer);
        return NULL;
    }
    return longer;
}

/* The command is processed: its result is judged and reported. */
static VmloadCommandResult end_command(VmloadLoader *loader,
                                       VmloadReader *reader,
                                       VmloadReader *payload,
                                       const VmloadCommand *command,
                                       VmloadCommandResult result,
                                       GError **error)
{
    const GError *cause = vmload_reader_get_error(payload);

    if (result != VMLOAD_COMMAND_FAILED && cause != NULL) {
        /* The first error sticks, whatever the host made of it. */
        result = VMLOAD_COMMAND_FAILED;
        if (error != NULL) {
            *error = g_error_copy(cause);
        }
    }
    if (result == VMLOAD_COMMAND_FAILED) {
        g_prefix_error(error, "command %s: ",
                       vmload_command_name(command->command));
        return result;
    }
    __atomic_fetch_add(&loader->counters.commands, 1, __ATOMIC_RELAXED);
    vmload_loader_report_record(loader, reader, VMLOAD_RECORD_COMMAND,
                                command->command, command->offset,
                                vmload_reader_get_offset(reader) -
                                    command->offset,
                                NULL);
    return result;
}

/* Reads the payload into memory and processes it. @asked: the host passed. */
static VmloadCommandResult load_payload(VmloadLoader *loader,
                                        VmloadReader *reader,
                                        const VmloadCommand *command,
                                        bool asked, GError **error)
{
    uint64_t payload_offset = vmload_reader_get_offset(reader);
    VmloadCommandResult result;
    VmloadReader *payload;
    uint32_t package;
    uint8_t *data = read_payload(loader, reader, command, &package, error);

    if (data == NULL) {
        g_prefix_error(error, "command %s: ",
                       vmload_command_name(command->command));
        return VMLOAD_COMMAND_FAILED;
    }
    payload = vmload_reader_new_memory(
        data, (uint64_t)command->length + package, payload_offset);
    vmload_reader_set_depth(payload, vmload_reader_get_depth(reader) + 1);
    result = process_command(loader, payload, command, asked, error);
    result = end_command(loader, reader, payload, command, result, error);
    vmload_reader_free(payload);
    g_free(data);
    vmload_loader_unstage_bytes(loader, package);
    return result;
}

VmloadCommandResult vmload_loader_load_command(VmloadLoader *loader,
                                               VmloadReader *reader,
                                               uint64_t offset,
                                               GError **error)
{
    bool at_source = vmload_reader_is_source(reader) &&
                     loader->ops.command != NULL;
    VmloadCommandResult result = VMLOAD_COMMAND_DEFAULT;
    VmloadCommand command;

    if (!vmload_command_read(reader, offset, &command, error)) {
        return VMLOAD_COMMAND_FAILED;
    }
    if (at_source) {
        result = buffer_payload(reader, &command, error)
                     ? host_command(loader, reader, &command, error)
                     : VMLOAD_COMMAND_FAILED;
    }
    return result != VMLOAD_COMMAND_DEFAULT
               ? end_command(loader, reader, reader, &command, result, error)
               : load_payload(loader, reader, &command, at_source, error);
}

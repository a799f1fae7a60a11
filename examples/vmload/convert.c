/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a plain stream to mapped-ram, and back. The input goes through a
 * loader, and what it hands out is written again: all but RAM byte by byte.
 */
#include "convert.h"

#include <string.h>

#define STREAM_MAGIC 0x5145564du
#define STREAM_VERSION 3

static const char mapped_ram[] = "mapped-ram";

void convert_section(Out *out, uint32_t type, uint32_t section_id,
                     const char *idstr, uint32_t instance_id,
                     uint32_t version_id)
{
    convert_out_u8(out, (uint8_t)type);
    convert_out_be32(out, section_id);
    if (type == VMLOAD_RECORD_START || type == VMLOAD_RECORD_FULL) {
        convert_out_str8(out, idstr);
        convert_out_be32(out, instance_id);
        convert_out_be32(out, version_id);
    }
}

static void convert_footer(Out *out, uint32_t section_id)
{
    convert_out_u8(out, VMLOAD_RECORD_FOOTER);
    convert_out_be32(out, section_id);
}

void convert_ram_end(Convert *convert)
{
    convert_out_be64(&convert->out, CONVERT_RAM_EOS);
    if (convert->ram.has_footer) {
        convert_footer(&convert->out, convert->ram.section_id);
    }
}

/* Behind what was written of the stream itself. */
static Out *convert_stream(Convert *convert)
{
    if (convert->away) {
        convert->away = false;
        convert_out_seek(&convert->out, convert->back);
    }
    return &convert->out;
}

Block *convert_block_new(Convert *convert, const char *idstr, uint64_t length)
{
    Block *block = g_new0(Block, 1);

    block->convert = convert;
    block->idstr = g_strdup(idstr);
    block->length = length;
    return block;
}

void convert_block_free(void *data)
{
    Block *block = data;

    g_free(block->idstr);
    g_free(block->bitmap);
    g_free(block);
}

/* --- configuration -------------------------------------------------------- */

static bool has_capability(const VmloadConfiguration *configuration,
                           const char *name)
{
    uint32_t i;

    for (i = 0; i < configuration->n_capabilities; i++) {
        if (strcmp(configuration->capabilities[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool check_configuration(const Convert *convert,
                                const VmloadConfiguration *configuration,
                                GError **error)
{
    bool mapped = has_capability(configuration, mapped_ram);
    const char *problem = NULL;

    if (mapped && !convert->from_mapped) {
        problem = "expected a plain stream, found mapped-ram; see --plain";
    } else if (!mapped && convert->from_mapped) {
        problem = "expected mapped-ram for --plain, found a plain stream";
    } else if ((configuration->present & VMLOAD_CONFIGURATION_MACHINE) == 0) {
        problem = "expected a configuration section, which announces "
                  "mapped-ram, found none";
    } else if (has_capability(configuration, "x-ignore-shared")) {
        problem = "expected all RAM in the stream, found the capability "
                  "x-ignore-shared";
    }
    if (problem != NULL) {
        g_set_error_literal(error, VMLOAD_ERROR, VMLOAD_ERROR_UNSUPPORTED,
                            problem);
    }
    return problem == NULL;
}

static void subsection(Out *out, const char *name)
{
    convert_out_u8(out, 0x05);
    convert_out_str8(out, name);
    convert_out_be32(out, 1);
}

/* All but mapped-ram as they were, and mapped-ram where it is written. */
static void write_capabilities(Convert *convert,
                               const VmloadConfiguration *configuration)
{
    Out *out = &convert->out;
    uint32_t n = configuration->n_capabilities;
    uint32_t i;

    n = convert->from_mapped ? n - 1 : n + 1;
    if (n == 0) {
        return;
    }
    subsection(out, "configuration/capabilities");
    convert_out_be32(out, n);
    for (i = 0; i < configuration->n_capabilities; i++) {
        if (strcmp(configuration->capabilities[i], mapped_ram) != 0) {
            convert_out_str8(out, configuration->capabilities[i]);
        }
    }
    if (!convert->from_mapped) {
        convert_out_str8(out, mapped_ram);
    }
}

static bool convert_configuration(void *opaque,
                                  const VmloadConfiguration *configuration,
                                  GError **error)
{
    Convert *convert = opaque;
    Out *out = &convert->out;
    uint32_t machine;

    if (!check_configuration(convert, configuration, error)) {
        return false;
    }
    machine = (uint32_t)strlen(configuration->machine);
    convert_out_be32(out, STREAM_MAGIC);
    convert_out_be32(out, STREAM_VERSION);
    convert_out_u8(out, VMLOAD_RECORD_CONFIGURATION);
    convert_out_be32(out, machine);
    convert_out_bytes(out, configuration->machine, machine);
    if ((configuration->present & VMLOAD_CONFIGURATION_PAGE_BITS) != 0) {
        convert->page_size = (uint64_t)1 << configuration->target_page_bits;
        subsection(out, "configuration/target-page-bits");
        convert_out_be32(out, configuration->target_page_bits);
    }
    write_capabilities(convert, configuration);
    if ((configuration->present & VMLOAD_CONFIGURATION_UUID) != 0) {
        subsection(out, "configuration/uuid");
        convert_out_bytes(out, configuration->uuid,
                          sizeof(configuration->uuid));
    }
    return convert_out_check(out, error);
}

/* --- records -------------------------------------------------------------- */

static bool convert_raw_section(void *opaque, const VmloadSection *section,
                                const uint8_t *data, uint64_t length,
                                GError **error)
{
    Convert *convert = opaque;
    Out *out = convert_stream(convert);

    if (convert->error != NULL) {
        g_propagate_error(error, g_steal_pointer(&convert->error));
        return false;
    }
    convert_section(out, section->type, section->section_id, section->idstr,
                    section->instance_id, section->version_id);
    convert_out_bytes(out, data, length);
    return convert_out_check(out, error);
}

static void note_ram(Convert *convert, const VmloadSection *section)
{
    convert->ram.section_id = section->section_id;
    convert->ram.instance_id = section->instance_id;
    convert->ram.version_id = section->version_id;
    convert->ram.has_footer = section->has_footer;
    convert->ram.known = true;
}

/* Pages are written elsewhere: of the sections, the outer two are left. */
static void convert_ram_record(Convert *convert, const VmloadSection *section)
{
    Out *out = convert_stream(convert);

    if (section->type == VMLOAD_RECORD_START) {
        note_ram(convert, section);
        convert->kind->list_end(convert);
    } else if (section->type == VMLOAD_RECORD_END) {
        convert_section(out, VMLOAD_RECORD_END, section->section_id, NULL, 0,
                        0);
        convert_ram_end(convert);
    }
}

/* Whom a command asks for an answer is not there when a file is loaded. */
static void convert_command(Convert *convert, uint32_t command)
{
    Out *out = convert_stream(convert);

    if (command == VMLOAD_COMMAND_SWITCHOVER_START) {
        convert_out_u8(out, VMLOAD_RECORD_COMMAND);
        convert_out_be16(out, (uint16_t)command);
        convert_out_be16(out, 0);
    } else if (command != VMLOAD_COMMAND_OPEN_RETURN_PATH &&
               command != VMLOAD_COMMAND_PING && convert->error == NULL) {
        g_set_error(&convert->error, VMLOAD_ERROR, VMLOAD_ERROR_UNSUPPORTED,
                    "expected a precopy stream, found command %u", command);
    }
}

static void convert_record(void *opaque, const VmloadRecordInfo *record)
{
    Convert *convert = opaque;

    if (record->depth > 0) {
        return; /* its package is refused */
    }
    if (record->type == VMLOAD_RECORD_COMMAND) {
        convert_command(convert, record->command);
    } else if (record->type == VMLOAD_RECORD_EOF) {
        convert_out_u8(convert_stream(convert), VMLOAD_RECORD_EOF);
    } else if (record->section == NULL) {
        return;
    } else if (strcmp(record->section->idstr, "ram") == 0) {
        convert_ram_record(convert, record->section);
    } else if (record->section->has_footer) {
        convert_footer(convert_stream(convert), record->section->section_id);
    }
}

static bool convert_vmdescription(void *opaque, const char *json,
                                  uint64_t length, GError **error)
{
    Out *out = convert_stream(opaque);

    convert_out_u8(out, VMLOAD_RECORD_VMDESC);
    convert_out_be32(out, (uint32_t)length);
    convert_out_bytes(out, json, length);
    return convert_out_check(out, error);
}

static VmloadRamBlock *convert_announced(void *opaque, const char *idstr,
                                         uint64_t used_length, GError **error)
{
    Convert *convert = opaque;
    Block *block = convert_block_new(convert, idstr, used_length);
    VmloadRamBlock *ram;
    VmloadRamSink *sink;

    g_ptr_array_add(convert->blocks, block);
    convert_stream(convert);
    convert->kind->list(convert, block);
    if (convert->error != NULL) {
        g_propagate_error(error, g_steal_pointer(&convert->error));
        return NULL;
    }
    sink = vmload_ram_sink_new_from_ops(&convert->kind->sink, block, NULL,
                                        error);
    ram = sink != NULL ? vmload_ram_block_new(idstr, used_length, used_length,
                                              sink, error)
                       : NULL;
    /* A plain stream names every zero page: there may be firmware there. */
    if (ram != NULL && !convert->from_mapped) {
        vmload_ram_block_set_flags(ram, VMLOAD_RAM_KNOWN_ZERO);
    }
    return ram;
}

/* --- passes --------------------------------------------------------------- */

static void first_record(void *opaque, const VmloadRecordInfo *record)
{
    Convert *convert = opaque;

    if (record->type == VMLOAD_RECORD_START &&
        strcmp(record->section->idstr, "ram") == 0 && !convert->ram.known) {
        note_ram(convert, record->section);
    }
}

static bool first_configuration(void *opaque,
                                const VmloadConfiguration *configuration,
                                GError **error)
{
    return check_configuration(opaque, configuration, error);
}

/*
 * A plain stream begins with the list of all blocks, in mapped-ram pages
 * stand between them: they are passed over once, without reading them.
 */
static bool first_pass(Convert *convert, const char *path, GError **error)
{
    VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .configuration = first_configuration,
        .record = first_record,
    };
    CliRam *ram = cli_ram_new_null();
    VmloadLoader *loader =
        cli_offline_new(path, &ops, convert, &convert->limits, error);
    VmloadRamBlock *block;
    uint64_t i;
    bool ok;

    if (loader != NULL) {
        cli_ram_attach(ram, loader);
    }
    ok = loader != NULL && vmload_loader_run(loader, 0, error);
    for (i = 0;
         ok && (block = vmload_loader_get_ram_block(loader, i)) != NULL;
         i++) {
        g_ptr_array_add(convert->list,
                        convert_block_new(convert,
                                          vmload_ram_block_get_idstr(block),
                                          vmload_ram_block_get_length(block)));
    }
    vmload_loader_free(loader);
    cli_ram_free(ram);
    return ok;
}

static bool second_pass(Convert *convert, const char *path, GError **error)
{
    VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .configuration = convert_configuration,
        .raw_section = convert_raw_section,
        .record = convert_record,
        .vmdescription = convert_vmdescription,
    };
    VmloadLoader *loader =
        cli_offline_new(path, &ops, convert, &convert->limits, error);
    bool ok;

    if (loader == NULL) {
        return false;
    }
    vmload_loader_set_ram_announced(loader, convert_announced, convert, NULL);
    ok = vmload_loader_run(loader, 0, error);
    vmload_loader_free(loader);
    if (ok && convert->error != NULL) {
        g_propagate_error(error, g_steal_pointer(&convert->error));
        ok = false;
    }
    if (ok) {
        convert->kind->finish(convert);
    }
    return ok;
}

static int convert_main(Convert *convert, const char *in, const char *path)
{
    bool is_stdin = strcmp(in, "-") == 0;
    GError *error = NULL;
    bool ok;

    if (is_stdin && convert->from_mapped) {
        cli_error("--plain: expected a file, found standard input");
        return CLI_USAGE;
    }
    convert->kind =
        convert->from_mapped ? &convert_to_plain : &convert_to_mapped;
    if (convert->from_mapped && !first_pass(convert, in, &error)) {
        return cli_fail(error);
    }
    if (!convert_out_open(&convert->out, path, is_stdin ? NULL : in,
                          &error)) {
        return cli_fail(error);
    }
    ok = second_pass(convert, in, &error);
    ok = convert_out_close(&convert->out, ok, ok ? &error : NULL) && ok;
    return ok ? CLI_OK : cli_fail(error);
}

int cli_convert(int argc, char **argv)
{
    Convert convert = {.page_size = 4096};
    gboolean plain = FALSE;
    const GOptionEntry entries[] = {
        {"plain", 0, 0, G_OPTION_ARG_NONE, &plain,
         "From mapped-ram to a plain stream", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    CliCommon common = {NULL};
    char *paths[2];
    int code;

    if (!cli_parse_n(argc, argv, "IN|- OUT",
                     "Writes a stream again with every page of RAM at a fixed "
                     "place (mapped-ram).",
                     entries, &common, 2, paths, &code) ||
        !cli_common_limits(&common, &convert.limits)) {
        code = CLI_USAGE;
    } else {
        convert.from_mapped = plain;
        convert.blocks = g_ptr_array_new_with_free_func(convert_block_free);
        convert.list = g_ptr_array_new_with_free_func(convert_block_free);
        code = convert_main(&convert, paths[0], paths[1]);
        g_ptr_array_unref(convert.blocks);
        g_ptr_array_unref(convert.list);
        g_clear_error(&convert.error);
    }
    cli_common_clear(&common);
    return code;
}

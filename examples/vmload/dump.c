/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <string.h>

typedef struct {
    CliDevices *devices;
    VmloadLimits limits;
} Dump;

static bool dump_raw_section(void *opaque, const VmloadSection *section,
                             const uint8_t *data, uint64_t length,
                             GError **error)
{
    Dump *dump = opaque;

    return cli_devices_add(dump->devices, section, data, length, error);
}

static bool dump_vmdescription(void *opaque, const char *json,
                               uint64_t length, GError **error)
{
    Dump *dump = opaque;

    return cli_devices_describe(dump->devices, json, length, &dump->limits,
                                error);
}

/*
 * Is @section the one that is asked for? A name may have slashes in it, so
 * only a number behind the last one can be an instance, and only if that
 * part is not of the name.
 */
static bool dump_wants(const CliSection *section, const char *device)
{
    const char *slash;
    char *end;
    uint64_t instance;

    if (device == NULL || strcmp(section->name, device) == 0) {
        return true;
    }
    slash = strrchr(device, '/');
    if (slash == NULL || !g_ascii_isdigit(slash[1])) {
        return false;
    }
    instance = g_ascii_strtoull(slash + 1, &end, 0);
    return *end == '\0' && instance == section->instance_id &&
           strlen(section->name) == (size_t)(slash - device) &&
           strncmp(section->name, device, (size_t)(slash - device)) == 0;
}

/* One device after the other: the whole may be large. */
static int dump_print(const CliDevices *devices, const char *device)
{
    uint64_t n = cli_devices_count(devices);
    uint64_t found = 0;
    GError *error = NULL;
    int code = CLI_OK;
    uint64_t i;

    for (i = 0; i < n; i++) {
        const CliSection *section = cli_devices_get(devices, i);
        json_t *json;

        if (!dump_wants(section, device)) {
            continue;
        }
        json = cli_devices_json(devices, section, &error);
        if (json == NULL) {
            code = cli_fail(error);
            error = NULL;
            continue;
        }
        printf("%s", found++ == 0 ? "[\n" : ",\n");
        json_dumpf(json, stdout, JSON_INDENT(2));
        json_decref(json);
    }
    printf("%s", found == 0 ? "[]\n" : "\n]\n");
    if (found == 0 && device != NULL && code == CLI_OK) {
        cli_error("no device is called '%s'", device);
        code = CLI_FAILED;
    }
    return cli_flush() ? code : CLI_FAILED;
}

int cli_dump(int argc, char **argv)
{
    VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .raw_section = dump_raw_section,
        .vmdescription = dump_vmdescription,
    };
    char *device = NULL;
    const GOptionEntry entries[] = {
        {"device", 'd', 0, G_OPTION_ARG_STRING, &device,
         "Only this device; its name is the section's idstr",
         "NAME[/INSTANCE]"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    CliCommon common = {NULL};
    VmloadLoader *loader;
    GError *error = NULL;
    CliRam *ram = NULL;
    Dump dump = {NULL, {0}};
    char *path;
    int code;

    if (!cli_parse(argc, argv, "FILE|-",
                   "Prints the state of devices, decoded by the stream's own "
                   "description, as a JSON array.",
                   entries, &common, &path, &code) ||
        !cli_common_limits(&common, &dump.limits)) {
        cli_common_clear(&common);
        g_free(device);
        return CLI_USAGE;
    }
    dump.devices = cli_devices_new(dump.limits.staged_bytes);
    loader = cli_offline_new(path, &ops, &dump, &dump.limits, &error);
    if (loader != NULL) {
        ram = cli_ram_new_null();
        cli_ram_attach(ram, loader);
    }
    if (loader != NULL && vmload_loader_run(loader, 0, &error)) {
        code = dump_print(dump.devices, device);
    } else {
        code = cli_fail(error);
    }
    vmload_loader_free(loader);
    cli_ram_free(ram);
    cli_devices_free(dump.devices);
    cli_common_clear(&common);
    g_free(device);
    return code;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a stream is made of. Records are printed as they are read, so that
 * memory does not grow with the stream.
 */
#include "cli.h"

#include <inttypes.h>
#include <string.h>

/* Consecutive PART records of one section, printed as one. */
typedef struct {
    uint64_t count; /* 0: none waits */
    uint64_t offset;
    uint64_t length;
    uint64_t payload;
    uint32_t section_id;
    uint32_t instance_id;
    uint32_t version_id;
    uint32_t has_footer;
    uint32_t type;
    uint32_t depth;
    uint32_t command;
    char *name; /* NULL: no section */
} Line;

typedef struct {
    gboolean json;
    gboolean all;
    bool begun;     /* the configuration was printed */
    uint64_t lines; /* printed */
    Line line;
    CliDevices *devices;
    CliBitmaps *bitmaps;
    VmloadLimits limits;
    uint64_t with_footer;
    uint64_t without_footer;
    bool has_vmdesc;
    uint64_t vmdesc_bytes;
    GError *vmdesc_error;
} Inspect;

static void begin_text(const VmloadConfiguration *configuration)
{
    uint32_t i;

    printf("stream:        version 3\n");
    if (configuration->present == 0) {
        printf("configuration: none\n");
        return;
    }
    if ((configuration->present & VMLOAD_CONFIGURATION_MACHINE) != 0) {
        char *name = cli_printable(configuration->machine);

        printf("machine:       %s\n", name);
        g_free(name);
    }
    if ((configuration->present & VMLOAD_CONFIGURATION_PAGE_BITS) != 0) {
        printf("page bits:     %u\n", configuration->target_page_bits);
    }
    if ((configuration->present & VMLOAD_CONFIGURATION_CAPABILITIES) != 0) {
        printf("capabilities: ");
        for (i = 0; i < configuration->n_capabilities; i++) {
            char *name = cli_printable(configuration->capabilities[i]);

            printf(" %s", name);
            g_free(name);
        }
        printf("\n");
    }
    if ((configuration->present & VMLOAD_CONFIGURATION_UUID) != 0) {
        char *uuid = cli_hex(configuration->uuid, 16);

        printf("UUID:          %.8s-%.4s-%.4s-%.4s-%s\n", uuid, uuid + 8,
               uuid + 12, uuid + 16, uuid + 20);
        g_free(uuid);
    }
}

static json_t *configuration_json(const VmloadConfiguration *configuration)
{
    json_t *json;
    uint32_t i;

    if (configuration->present == 0) {
        return json_null();
    }
    json = json_object();
    if ((configuration->present & VMLOAD_CONFIGURATION_MACHINE) != 0) {
        json_object_set_new(json, "machine",
                            cli_json_text(configuration->machine,
                                          strlen(configuration->machine)));
    }
    if ((configuration->present & VMLOAD_CONFIGURATION_PAGE_BITS) != 0) {
        json_object_set_new(json, "target_page_bits",
                            json_integer(configuration->target_page_bits));
    }
    if ((configuration->present & VMLOAD_CONFIGURATION_CAPABILITIES) != 0) {
        json_t *list = json_array();

        for (i = 0; i < configuration->n_capabilities; i++) {
            const char *name = configuration->capabilities[i];

            json_array_append_new(list, cli_json_text(name, strlen(name)));
        }
        json_object_set_new(json, "capabilities", list);
    }
    if ((configuration->present & VMLOAD_CONFIGURATION_UUID) != 0) {
        char *uuid = cli_hex(configuration->uuid, 16);

        json_object_set_new(json, "uuid", json_string(uuid));
        g_free(uuid);
    }
    return json;
}

/* Prints and frees @json as one more member of the outermost object. */
static void print_member(const char *name, json_t *json)
{
    printf(",\n\"%s\": ", name);
    json_dumpf(json, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    json_decref(json);
}

static bool inspect_configuration(void *opaque,
                                  const VmloadConfiguration *configuration,
                                  GError **error)
{
    Inspect *inspect = opaque;

    (void)error;
    inspect->begun = true;
    if (inspect->json) {
        printf("{\"version\": 3");
        print_member("configuration", configuration_json(configuration));
        printf(",\n\"records\": [");
    } else {
        begin_text(configuration);
        printf("\n%12s %12s  %-13s section\n", "offset", "bytes", "record");
    }
    return true;
}

static void line_print_json(const Line *line)
{
    json_t *json = json_object();

    json_object_set_new(json, "offset", cli_json_uint(line->offset));
    json_object_set_new(json, "length", cli_json_uint(line->length));
    json_object_set_new(json, "type",
                        json_string(cli_record_name(line->type)));
    if (line->count > 1) {
        json_object_set_new(json, "count", cli_json_uint(line->count));
    }
    if (line->depth > 0) {
        json_object_set_new(json, "depth", json_integer(line->depth));
    }
    if (line->type == VMLOAD_RECORD_COMMAND) {
        json_object_set_new(json, "command",
                            json_string(cli_command_name(line->command)));
    }
    if (line->name != NULL) {
        json_object_set_new(json, "section_id",
                            json_integer(line->section_id));
        json_object_set_new(json, "name", cli_json_text(line->name,
                                                        strlen(line->name)));
        json_object_set_new(json, "instance_id",
                            json_integer(line->instance_id));
        json_object_set_new(json, "version", json_integer(line->version_id));
        json_object_set_new(json, "payload", cli_json_uint(line->payload));
        json_object_set_new(json, "footer",
                            json_boolean(line->has_footer != 0));
    }
    json_dumpf(json, stdout, JSON_COMPACT);
    json_decref(json);
}

static void line_print_text(const Line *line)
{
    printf("%#12" PRIx64 " %12" PRIu64 "  ", line->offset, line->length);
    if (line->name != NULL) {
        char *name = cli_printable(line->name);

        printf("%-13s %u %s/%u v%u", cli_record_name(line->type),
               line->section_id, name, line->instance_id, line->version_id);
        if (line->count > 1) {
            printf(" (%" PRIu64 " of them)", line->count);
        }
        g_free(name);
    } else if (line->type == VMLOAD_RECORD_COMMAND) {
        printf("%-13s %s", cli_record_name(line->type),
               cli_command_name(line->command));
    } else {
        printf("%s", cli_record_name(line->type));
    }
    if (line->depth > 0) {
        printf(" (in package)");
    }
    printf("\n");
}

static void line_flush(Inspect *inspect)
{
    Line *line = &inspect->line;

    if (line->count == 0) {
        return;
    }
    if (inspect->json) {
        printf("%s\n", inspect->lines > 0 ? "," : "");
        line_print_json(line);
    } else {
        line_print_text(line);
    }
    inspect->lines++;
    g_free(line->name);
    memset(line, 0, sizeof(*line));
}

/* Does @record go on with the line that waits? */
static bool line_joins(const Inspect *inspect, const VmloadRecordInfo *record)
{
    const Line *line = &inspect->line;

    return !inspect->all && line->count > 0 &&
           line->type == VMLOAD_RECORD_PART &&
           record->type == VMLOAD_RECORD_PART &&
           record->depth == line->depth && record->section != NULL &&
           record->section->section_id == line->section_id &&
           record->section->has_footer == line->has_footer;
}

static void count_footer(Inspect *inspect, const VmloadSection *section)
{
    if (section->has_footer) {
        inspect->with_footer++;
    } else {
        inspect->without_footer++;
    }
}

static void inspect_record(void *opaque, const VmloadRecordInfo *record)
{
    Inspect *inspect = opaque;
    const VmloadSection *section = record->section;
    Line *line = &inspect->line;

    if (section != NULL) {
        count_footer(inspect, section);
    }
    if (!line_joins(inspect, record)) {
        line_flush(inspect);
        line->offset = record->offset;
        line->type = record->type;
        line->depth = record->depth;
        line->command = record->command;
        if (section != NULL) {
            line->name = g_strdup(section->idstr);
            line->section_id = section->section_id;
            line->instance_id = section->instance_id;
            line->version_id = section->version_id;
            line->has_footer = section->has_footer;
        }
    }
    line->count++;
    line->length += record->length;
    line->payload += section != NULL ? section->payload_length : 0;
}

static bool inspect_raw_section(void *opaque, const VmloadSection *section,
                                const uint8_t *data, uint64_t length,
                                GError **error)
{
    Inspect *inspect = opaque;

    return section->type != VMLOAD_RECORD_FULL ||
           cli_devices_add(inspect->devices, section, data, length, error);
}

/* A description that is wrong is a finding, and no reason to stop. */
static bool inspect_vmdescription(void *opaque, const char *json,
                                  uint64_t length, GError **error)
{
    Inspect *inspect = opaque;

    (void)error;
    inspect->has_vmdesc = true;
    inspect->vmdesc_bytes = length;
    (void)cli_devices_describe(inspect->devices, json, length,
                               &inspect->limits, &inspect->vmdesc_error);
    return true;
}

/* What the description says of a section; false: it does not know it. */
static bool described_size(const Inspect *inspect, const CliSection *section,
                           uint64_t *size)
{
    const VmloadVmdesc *vmdesc = cli_devices_vmdesc(inspect->devices);
    VmloadVmdescDevice device = {.struct_size = sizeof(device)};

    if (vmdesc == NULL ||
        !vmload_vmdesc_get_device(
            vmdesc, cli_devices_find(inspect->devices, section), &device)) {
        return false;
    }
    *size = device.size;
    return true;
}

static bool vmdesc_agrees(const Inspect *inspect)
{
    const VmloadVmdesc *vmdesc = cli_devices_vmdesc(inspect->devices);
    uint64_t n = cli_devices_count(inspect->devices);
    uint64_t i;

    for (i = 0; i < n; i++) {
        const CliSection *section = cli_devices_get(inspect->devices, i);
        uint64_t size;

        if (!described_size(inspect, section, &size) ||
            size != section->length) {
            return false;
        }
    }
    return vmdesc != NULL && vmload_vmdesc_get_n_devices(vmdesc) == n;
}

static const char *footers_word(const Inspect *inspect)
{
    if (inspect->with_footer == 0) {
        return "none";
    }
    return inspect->without_footer == 0 ? "all" : "mixed";
}

static json_t *mapped_json(const VmloadRamMapped *mapped)
{
    json_t *json = json_object();

    json_object_set_new(json, "version", json_integer(mapped->version));
    json_object_set_new(json, "page_size", cli_json_uint(mapped->page_size));
    json_object_set_new(json, "bitmap_offset",
                        cli_json_uint(mapped->bitmap_offset));
    json_object_set_new(json, "pages_offset",
                        cli_json_uint(mapped->pages_offset));
    json_object_set_new(json, "pages", cli_json_uint(mapped->pages));
    return json;
}

static json_t *ram_json(VmloadLoader *loader)
{
    VmloadRamMapped mapped = {.struct_size = sizeof(mapped)};
    VmloadStats stats = {.struct_size = sizeof(stats)};
    json_t *json = json_object();
    json_t *blocks = json_array();
    VmloadRamBlock *block;
    uint64_t i;

    for (i = 0; (block = vmload_loader_get_ram_block(loader, i)) != NULL;
         i++) {
        const char *name = vmload_ram_block_get_idstr(block);
        json_t *item = json_object();

        json_object_set_new(item, "name", cli_json_text(name, strlen(name)));
        json_object_set_new(
            item, "length", cli_json_uint(vmload_ram_block_get_length(block)));
        if (vmload_ram_block_get_mapped(block, &mapped)) {
            json_object_set_new(item, "mapped", mapped_json(&mapped));
        }
        json_array_append_new(blocks, item);
    }
    vmload_loader_get_stats(loader, &stats);
    json_object_set_new(json, "blocks", blocks);
    json_object_set_new(json, "pages_normal",
                        cli_json_uint(stats.ram_pages_normal));
    json_object_set_new(json, "pages_zero",
                        cli_json_uint(stats.ram_pages_zero));
    json_object_set_new(json, "pages_xbzrle",
                        cli_json_uint(stats.ram_pages_xbzrle));
    return json;
}

static json_t *devices_json(const Inspect *inspect)
{
    json_t *list = json_array();
    uint64_t n = cli_devices_count(inspect->devices);
    uint64_t i;

    for (i = 0; i < n; i++) {
        const CliSection *section = cli_devices_get(inspect->devices, i);
        json_t *json = json_object();
        uint64_t size;

        json_object_set_new(json, "name",
                            cli_json_text(section->name,
                                          strlen(section->name)));
        json_object_set_new(json, "instance_id",
                            json_integer(section->instance_id));
        json_object_set_new(json, "version",
                            json_integer(section->version_id));
        json_object_set_new(json, "offset", cli_json_uint(section->offset));
        json_object_set_new(json, "bytes", cli_json_uint(section->length));
        if (described_size(inspect, section, &size)) {
            json_object_set_new(json, "described_bytes", cli_json_uint(size));
        }
        json_array_append_new(list, json);
    }
    return list;
}

static json_t *vmdesc_json(const Inspect *inspect)
{
    const VmloadVmdesc *vmdesc = cli_devices_vmdesc(inspect->devices);
    json_t *json = json_object();

    json_object_set_new(json, "present", json_boolean(inspect->has_vmdesc));
    if (!inspect->has_vmdesc) {
        return json;
    }
    json_object_set_new(json, "bytes", cli_json_uint(inspect->vmdesc_bytes));
    json_object_set_new(json, "agrees", json_boolean(vmdesc_agrees(inspect)));
    if (vmdesc != NULL) {
        json_object_set_new(
            json, "devices",
            cli_json_uint(vmload_vmdesc_get_n_devices(vmdesc)));
        json_object_set_new(
            json, "page_size",
            cli_json_uint(vmload_vmdesc_get_page_size(vmdesc)));
    } else if (inspect->vmdesc_error != NULL) {
        const char *message = inspect->vmdesc_error->message;

        json_object_set_new(json, "problem",
                            cli_json_text(message, strlen(message)));
    }
    return json;
}

static void end_json(Inspect *inspect, VmloadLoader *loader,
                     const GError *error)
{
    if (inspect->begun) {
        printf("\n]");
    } else {
        printf("{\"version\": null");
    }
    print_member("ram", ram_json(loader));
    print_member("devices", devices_json(inspect));
    print_member("dirty_bitmaps", cli_bitmaps_json(inspect->bitmaps));
    print_member("vmdesc", vmdesc_json(inspect));
    print_member("footers", json_string(footers_word(inspect)));
    print_member("error", error != NULL
                              ? cli_json_text(error->message,
                                              strlen(error->message))
                              : json_null());
    printf("}\n");
}

static void ram_text(VmloadLoader *loader)
{
    VmloadRamMapped mapped = {.struct_size = sizeof(mapped)};
    VmloadStats stats = {.struct_size = sizeof(stats)};
    VmloadRamBlock *block;
    uint64_t i;

    vmload_loader_get_stats(loader, &stats);
    printf("\nRAM:           %" PRIu64 " pages normal, %" PRIu64
           " zero, %" PRIu64 " XBZRLE\n",
           stats.ram_pages_normal, stats.ram_pages_zero,
           stats.ram_pages_xbzrle);
    for (i = 0; (block = vmload_loader_get_ram_block(loader, i)) != NULL;
         i++) {
        char *name = cli_printable(vmload_ram_block_get_idstr(block));
        char *size = cli_size(vmload_ram_block_get_length(block));

        printf("  %-30s %#12" PRIx64 "  %s\n", name,
               vmload_ram_block_get_length(block), size);
        if (vmload_ram_block_get_mapped(block, &mapped)) {
            printf("    mapped-ram v%u: bitmap at %#" PRIx64 ", pages at %#"
                   PRIx64 ", %" PRIu64 " of them set\n",
                   mapped.version, mapped.bitmap_offset, mapped.pages_offset,
                   mapped.pages);
        }
        g_free(name);
        g_free(size);
    }
}

static void devices_text(const Inspect *inspect)
{
    uint64_t n = cli_devices_count(inspect->devices);
    uint64_t i;

    printf("\ndevices:       %" PRIu64 "\n", n);
    for (i = 0; i < n; i++) {
        const CliSection *section = cli_devices_get(inspect->devices, i);
        char *name = cli_printable(section->name);
        uint64_t size;

        printf("  %-30s %4u  v%-3u %8" PRIu64 " bytes", name,
               section->instance_id, section->version_id, section->length);
        if (!inspect->has_vmdesc || inspect->vmdesc_error != NULL) {
            printf("\n");
        } else if (!described_size(inspect, section, &size)) {
            printf(", not described\n");
        } else if (size != section->length) {
            printf(", %" PRIu64 " described\n", size);
        } else {
            printf("\n");
        }
        g_free(name);
    }
}

static void end_text(Inspect *inspect, VmloadLoader *loader)
{
    const VmloadVmdesc *vmdesc = cli_devices_vmdesc(inspect->devices);

    if (!inspect->begun) {
        return;
    }
    ram_text(loader);
    devices_text(inspect);
    cli_bitmaps_print(inspect->bitmaps);
    printf("\nfooters:       %s\n", footers_word(inspect));
    if (!inspect->has_vmdesc) {
        printf("description:   none\n");
    } else if (vmdesc == NULL) {
        char *message = cli_printable(inspect->vmdesc_error->message);

        printf("description:   %" PRIu64 " bytes, bad: %s\n",
               inspect->vmdesc_bytes, message);
        g_free(message);
    } else {
        printf("description:   %" PRIu64 " bytes, %" PRIu64 " devices, %s\n",
               inspect->vmdesc_bytes, vmload_vmdesc_get_n_devices(vmdesc),
               vmdesc_agrees(inspect) ? "agrees" : "does not agree");
    }
}

static int inspect_main(Inspect *inspect, const char *path)
{
    VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .configuration = inspect_configuration,
        .raw_section = inspect_raw_section,
        .record = inspect_record,
        .vmdescription = inspect_vmdescription,
    };
    GError *error = NULL;
    VmloadLoader *loader =
        cli_offline_new(path, &ops, inspect, &inspect->limits, &error);
    CliRam *ram;
    int code;

    if (loader == NULL) {
        return cli_fail(error);
    }
    ram = cli_ram_new_null();
    cli_ram_attach(ram, loader);
    if (cli_bitmaps_attach(inspect->bitmaps, loader, &error)) {
        (void)vmload_loader_run(loader, 0, &error);
    }
    line_flush(inspect);
    if (inspect->json) {
        end_json(inspect, loader, error);
    } else {
        end_text(inspect, loader);
    }
    code = cli_flush() ? CLI_OK : CLI_FAILED;
    if (error != NULL) {
        code = cli_fail(error);
    }
    vmload_loader_free(loader);
    cli_ram_free(ram);
    return code;
}

int cli_inspect(int argc, char **argv)
{
    Inspect inspect = {.json = FALSE};
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &inspect.json,
         "Print JSON, for programs", NULL},
        {"all", 'a', 0, G_OPTION_ARG_NONE, &inspect.all,
         "Print each PART record, not runs of them", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    CliCommon common = {NULL};
    char *path;
    int code;

    if (!cli_parse(argc, argv, "FILE|-", "Shows what a stream is made of.",
                   entries, &common, &path, &code) ||
        !cli_common_limits(&common, &inspect.limits)) {
        code = CLI_USAGE;
    } else {
        inspect.devices = cli_devices_new(0);
        inspect.bitmaps = cli_bitmaps_new();
        code = inspect_main(&inspect, path);
        cli_bitmaps_free(inspect.bitmaps);
        cli_devices_free(inspect.devices);
        g_clear_error(&inspect.vmdesc_error);
    }
    cli_common_clear(&common);
    return code;
}

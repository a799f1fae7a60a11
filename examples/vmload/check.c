/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names everything that is wrong with a stream. A loader stops at its first
 * error; in a file the description at the end leads to the devices behind.
 */
#include "cli.h"

#include <inttypes.h>
#include <string.h>

#define FOOTER_SIZE 5

/* Each one that is missing is a search through the whole file. */
#define MISSING_MAX 16

typedef struct {
    CliDevices *devices;
    VmloadLimits limits;
    uint64_t problems;
    bool has_configuration;
    bool has_vmdesc;
    bool has_globalstate;
    uint64_t footers;
    uint64_t end;       /* of the last record that was loaded */
    GHashTable *open;   /* section id of a START without END -> name */
    GError *load_error; /* the loader's */
} Check;

static void problem(Check *check, const char *format, ...)
    G_GNUC_PRINTF(2, 3);
static void note(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void print_line(const char *kind, const char *format, va_list args)
    G_GNUC_PRINTF(2, 0);

static void print_line(const char *kind, const char *format, va_list args)
    G_GNUC_PRINTF(2, 0);

static void print_line(const char *kind, const char *format, va_list args)
{
    char *message = g_strdup_vprintf(format, args);
    char *line = cli_printable(message);

    printf("%s: %s\n", kind, line);
    g_free(line);
    g_free(message);
}

static void problem(Check *check, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("problem", format, args);
    va_end(args);
    check->problems++;
}

/* Unusual, and allowed. */
static void note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("note", format, args);
    va_end(args);
}

/* Frees @error. */
static void problem_error(Check *check, GError *error)
{
    problem(check, "%s", error->message);
    g_error_free(error);
}

static void check_record(void *opaque, const VmloadRecordInfo *record)
{
    Check *check = opaque;
    const VmloadSection *section = record->section;
    void *key;

    if (record->depth > 0) {
        return;
    }
    check->end = record->offset + record->length;
    check->has_configuration |= record->type == VMLOAD_RECORD_CONFIGURATION;
    if (section == NULL) {
        return;
    }
    check->footers += section->has_footer;
    key = GUINT_TO_POINTER(section->section_id);
    if (record->type == VMLOAD_RECORD_START &&
        g_hash_table_size(check->open) < check->limits.sections) {
        g_hash_table_insert(check->open, key, g_strdup(section->idstr));
    } else if (record->type == VMLOAD_RECORD_END) {
        g_hash_table_remove(check->open, key);
    }
}

static bool check_raw_section(void *opaque, const VmloadSection *section,
                              const uint8_t *data, uint64_t length,
                              GError **error)
{
    Check *check = opaque;

    return section->type != VMLOAD_RECORD_FULL ||
           cli_devices_add(check->devices, section, data, length, error);
}

/* A bad description is one problem among others. */
static bool check_vmdescription(void *opaque, const char *json,
                                uint64_t length, GError **error)
{
    Check *check = opaque;
    GError *local = NULL;

    (void)error;
    check->has_vmdesc = true;
    if (!cli_devices_describe(check->devices, json, length, &check->limits,
                              &local)) {
        problem_error(check, local);
    }
    return true;
}

static bool known_run_state(const char *name)
{
    static const char *const names[] = {
        "debug",      "inmigrate",      "internal-error", "io-error",
        "paused",     "postmigrate",    "prelaunch",      "finish-migrate",
        "restore-vm", "running",        "save-vm",        "shutdown",
        "suspended",  "guest-panicked", "watchdog",       "colo",
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The payload is given in stream format, section 11. */
static void check_globalstate(Check *check, uint64_t offset,
                              const uint8_t *data, uint64_t length)
{
    char name[33];
    uint32_t size;

    check->has_globalstate = true;
    if (length != 104) {
        problem(check, "offset 0x%" PRIx64 ": device 'globalstate'/0: "
                "expected 104 bytes, found %" PRIu64, offset, length);
        return;
    }
    memcpy(name, data + 4, 32);
    name[32] = '\0';
    if (!known_run_state(name)) {
        problem(check, "offset 0x%" PRIx64 ": device 'globalstate'/0: "
                "expected the name of a run state, found '%s'",
                offset + 4, name);
        return;
    }
    memcpy(&size, data, sizeof(size));
    if (GUINT32_FROM_BE(size) != strlen(name) + 1) {
        problem(check, "offset 0x%" PRIx64 ": device 'globalstate'/0: "
                "expected size %zu for '%s', found %u",
                offset, strlen(name) + 1, name, GUINT32_FROM_BE(size));
    }
    if (data[36] > 1 || data[37] > 1) {
        problem(check, "offset 0x%" PRIx64 ": device 'globalstate'/0: "
                "expected flags of 0 or 1, found %u and %u",
                offset + 36, data[36], data[37]);
    }
}

/* The sections that were loaded. */
static void check_loaded(Check *check)
{
    uint64_t n = cli_devices_count(check->devices);
    uint64_t i;

    for (i = 0; i < n; i++) {
        const CliSection *section = cli_devices_get(check->devices, i);
        GError *error = NULL;

        if (strcmp(section->name, "globalstate") == 0) {
            check_globalstate(check, section->offset, section->data,
                              section->length);
        }
        if (cli_devices_vmdesc(check->devices) != NULL) {
            VmloadNode *root =
                cli_devices_decode(check->devices, section, &error);

            if (root == NULL) {
                problem_error(check, error);
            }
            vmload_node_free(root);
        }
    }
}

/* Marks the devices of @vmdesc that have a section. */
static bool *mark_loaded(const Check *check, uint64_t n)
{
    bool *loaded = g_new0(bool, (gsize)n + 1);
    uint64_t i;

    for (i = 0; i < cli_devices_count(check->devices); i++) {
        uint64_t index = cli_devices_find(
            check->devices, cli_devices_get(check->devices, i));

        if (index < n) {
            loaded[index] = true;
        }
    }
    return loaded;
}

static bool footer_is_there(const CliTail *tail, uint64_t at, uint64_t end,
                            uint32_t section_id)
{
    const uint8_t *footer = tail->data + at;
    uint32_t id;

    if (end - at < FOOTER_SIZE || footer[0] != VMLOAD_RECORD_FOOTER) {
        return false;
    }
    memcpy(&id, footer + 1, sizeof(id));
    return GUINT32_FROM_BE(id) == section_id;
}

/*
 * One section that no loader has seen; *@at moves behind it. False: there
 * is none.
 */
static bool check_unseen(Check *check, const CliTail *tail, uint64_t index,
                         const VmloadVmdescDevice *device, uint64_t *at)
{
    GError *error = NULL;
    uint32_t section_id;
    uint32_t version;
    uint64_t start = cli_tail_find(tail, *at, device, &section_id, &version);
    uint64_t end = tail->json - 6; /* the EOF record */
    VmloadNode *root;

    if (start == 0) {
        problem(check, "device '%s'/%u: described, but no section of it "
                "found from offset 0x%" PRIx64 " on",
                device->name, device->instance_id, *at);
        return false;
    }
    if (device->size > end - start) {
        problem(check, "offset 0x%" PRIx64 ": device '%s'/%u: expected %" PRIu64
                " bytes as described, found %" PRIu64,
                start, device->name, device->instance_id, device->size,
                end - start);
        return true;
    }
    if (device->has_version && device->version_id != version) {
        problem(check, "offset 0x%" PRIx64 ": device '%s'/%u: expected "
                "version %u as described, found %u",
                start, device->name, device->instance_id, device->version_id,
                version);
    }
    root = vmload_vmdesc_decode(tail->vmdesc, index, tail->data + start,
                                device->size, start, &error);
    if (root == NULL) {
        problem_error(check, error);
    }
    vmload_node_free(root);
    if (strcmp(device->name, "globalstate") == 0) {
        check_globalstate(check, start, tail->data + start, device->size);
    }
    *at = start + device->size;
    if (footer_is_there(tail, *at, end, section_id)) {
        *at += FOOTER_SIZE;
    } else if (check->footers > 0) {
        problem(check, "offset 0x%" PRIx64 ": device '%s'/%u: expected a "
                "footer with id %u behind %" PRIu64 " bytes of payload",
                *at, device->name, device->instance_id, section_id,
                device->size);
    }
    return true;
}

/* Behind the loader's error, led by the description. */
static void check_behind(Check *check, const CliTail *tail,
                         uint64_t from)
{
    VmloadVmdescDevice device = {.struct_size = sizeof(device)};
    uint64_t n = vmload_vmdesc_get_n_devices(tail->vmdesc);
    bool *loaded = mark_loaded(check, n);
    uint32_t missing = 0;
    uint64_t i;

    for (i = 0; i < n && missing < MISSING_MAX; i++) {
        if (!loaded[i] &&
            vmload_vmdesc_get_device(tail->vmdesc, i, &device) &&
            !check_unseen(check, tail, i, &device, &from)) {
            missing++;
        }
    }
    g_free(loaded);
    if (i < n) {
        note("too many missing sections: the last %" PRIu64
             " described devices were not looked for", n - i);
    }
    if (from != tail->json - 6) {
        note("offset 0x%" PRIx64 ": %" PRIu64 " bytes before EOF belong to "
             "no section that was recognised",
             from, tail->json - 6 - from);
    }
}

/* Devices that are described and have no section, in a stream that loaded. */
static void check_missing(Check *check)
{
    const VmloadVmdesc *vmdesc = cli_devices_vmdesc(check->devices);
    VmloadVmdescDevice device = {.struct_size = sizeof(device)};
    bool *loaded;
    uint64_t n;
    uint64_t i;

    if (vmdesc == NULL) {
        return;
    }
    n = vmload_vmdesc_get_n_devices(vmdesc);
    loaded = mark_loaded(check, n);
    for (i = 0; i < n; i++) {
        if (!loaded[i] && vmload_vmdesc_get_device(vmdesc, i, &device)) {
            problem(check, "device '%s'/%u: described, but no section of it "
                    "found", device.name, device.instance_id);
        }
    }
    g_free(loaded);
}

static void check_after_error(Check *check, const CliTail *tail,
                              VmloadLoader *loader)
{
    VmloadPosition position = {.struct_size = sizeof(position)};
    GError *error = NULL;

    vmload_loader_get_position(loader, &position);
    if (tail->vmdesc == NULL) {
        check_loaded(check);
        note("no description at the end: nothing behind the first error was "
             "looked at");
        return;
    }
    if (!check->has_vmdesc &&
        !cli_devices_describe(check->devices,
                              (const char *)tail->data + tail->json,
                              tail->json_end - tail->json, &check->limits,
                              &error)) {
        problem_error(check, error);
    }
    check->has_vmdesc = true;
    check_loaded(check);
    check_behind(check, tail, MIN(position.record_offset, tail->json - 6));
}

/* Bytes that no record explains, behind the last one. */
static void check_trailing(Check *check, const CliTail *tail)
{
    uint64_t end = check->load_error == NULL ? check->end : tail->json_end;

    if (end != 0 && end < tail->length) {
        problem(check, "offset 0x%" PRIx64 ": %" PRIu64 " bytes behind the "
                "end of the stream", end, tail->length - end);
    }
}

static void check_notes(Check *check)
{
    GHashTableIter iter;
    void *id;
    void *name;

    if (!check->has_configuration) {
        note("no configuration section; machine types up to 2.3 have none");
    }
    if (check->footers == 0) {
        note("no footers; machine types up to 2.3 have none");
    }
    if (!check->has_vmdesc) {
        note("no description of the devices: they were not looked into");
    }
    if (!check->has_globalstate) {
        note("no section 'globalstate'; machine types up to 2.3 have none");
    }
    g_hash_table_iter_init(&iter, check->open);
    while (g_hash_table_iter_next(&iter, &id, &name)) {
        note("section '%s' (id %u): no END, as in a background snapshot",
             (char *)name, GPOINTER_TO_UINT(id));
    }
}

static void check_stream(Check *check, VmloadLoader *loader, const char *path)
{
    GError *error = NULL;
    CliTail tail;
    bool file;

    (void)vmload_loader_run(loader, 0, &check->load_error);
    file = cli_tail_open(&tail, path, &check->limits, &error);
    if (check->load_error == NULL) {
        g_clear_error(&error); /* the loader has seen the same text */
        check_loaded(check);
        check_missing(check);
    } else {
        problem(check, "%s", check->load_error->message);
        if (error != NULL && !check->has_vmdesc) {
            problem_error(check, g_steal_pointer(&error));
        }
        g_clear_error(&error);
        if (file) {
            check_after_error(check, &tail, loader);
        } else {
            check_loaded(check);
            note("not a regular file: nothing behind the first error was "
                 "looked at");
        }
    }
    if (file) {
        check_trailing(check, &tail);
    }
    if (check->load_error == NULL) {
        check_notes(check);
    }
    cli_tail_clear(&tail);
}

static int check_main(Check *check, const char *path)
{
    VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .raw_section = check_raw_section,
        .record = check_record,
        .vmdescription = check_vmdescription,
    };
    GError *error = NULL;
    VmloadLoader *loader =
        cli_offline_new(path, &ops, check, &check->limits, &error);
    CliRam *ram;

    if (loader == NULL) {
        return cli_fail(error);
    }
    ram = cli_ram_new_null();
    cli_ram_attach(ram, loader);
    check_stream(check, loader, path);
    vmload_loader_free(loader);
    cli_ram_free(ram);
    if (check->problems == 0) {
        printf("no problems found\n");
    } else {
        printf("%" PRIu64 " problem%s\n", check->problems,
               check->problems == 1 ? "" : "s");
    }
    return cli_flush() && check->problems == 0 ? CLI_OK : CLI_FAILED;
}

int cli_check(int argc, char **argv)
{
    Check check = {.problems = 0};
    CliCommon common = {NULL};
    char *path;
    int code;

    if (!cli_parse(argc, argv, "FILE|-",
                   "Names everything that is wrong with a stream.", NULL,
                   &common, &path, &code) ||
        !cli_common_limits(&common, &check.limits)) {
        code = CLI_USAGE;
    } else {
        check.devices = cli_devices_new(check.limits.staged_bytes);
        check.open = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        code = check_main(&check, path);
        g_hash_table_destroy(check.open);
        cli_devices_free(check.devices);
        g_clear_error(&check.load_error);
    }
    cli_common_clear(&common);
    return code;
}

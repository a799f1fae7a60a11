/* SPDX-License-Identifier: BSD-3-Clause */
#include "fault.h"

#include "stream-writer.h"

#include <stdlib.h>

#define REFUSED "refused by the test"

/* The declarative device: what its description can make go wrong. */
typedef struct {
    uint32_t model;
    uint32_t n;
    uint16_t values[4];
    uint8_t extra;
    uint32_t n_more;
    uint32_t *more;
} State;

typedef struct {
    FaultRun *run;
    int locked;
    unsigned destroyed; /* destroy notifies of devices */
    unsigned cleanups;
    unsigned setups;
    unsigned finished;
    unsigned parsed; /* that are not freed yet */
    State state;
} Host;

static const VmloadField state_extra_fields[] = {
    VMLOAD_FIELD_U8(extra, State),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc state_extra = {
    VMLOAD_STATE_DESC_INIT,
    .name = "state/extra",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = state_extra_fields,
};

static const VmloadStateDesc *const state_subsections[] = {
    &state_extra,
    NULL,
};

static const VmloadField state_fields[] = {
    VMLOAD_FIELD(model, State, U32_EQUAL),
    VMLOAD_FIELD_U32(n, State),
    VMLOAD_FIELD_VARRAY(values, State, U16, n, U32),
    VMLOAD_FIELD_U32(n_more, State),
    VMLOAD_FIELD_VARRAY_ALLOC(more, State, U32, n_more, U32, 1),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc state_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "state",
    .version_id = 2,
    .minimum_version_id = 2,
    .fields = state_fields,
    .subsections = state_subsections,
};

/* A callback that may fail begins. True if it is the one that shall. */
static bool must_fail(Host *host, const char *name, GError **error)
{
    FaultRun *run = host->run;

    run->callbacks++;
    if (run->callbacks != run->fail_at) {
        return false;
    }
    run->failed = name;
    g_set_error(error, g_quark_from_static_string("fault-test"), 1,
                "%s " REFUSED, name);
    return true;
}

static void host_lock(void *opaque)
{
    Host *host = opaque;

    assert_int_equal(host->locked, 0);
    host->locked = 1;
}

static void host_unlock(void *opaque)
{
    Host *host = opaque;

    assert_int_equal(host->locked, 1);
    host->locked = 0;
}

static bool cpu_pre(void *opaque, GError **error)
{
    assert_int_equal(((Host *)opaque)->locked, 1);
    return !must_fail(opaque, "cpu_sync_pre_load", error);
}

static bool cpu_post(void *opaque, GError **error)
{
    assert_int_equal(((Host *)opaque)->locked, 1);
    return !must_fail(opaque, "cpu_sync_post_load", error);
}

static bool host_configuration(void *opaque, const VmloadConfiguration *found,
                               GError **error)
{
    assert_int_equal(((Host *)opaque)->locked, 0);
    assert_int_equal(found->struct_size, sizeof(*found));
    return !must_fail(opaque, "configuration", error);
}

static VmloadCommandResult host_command(void *opaque, VmloadReader *reader,
                                        const VmloadCommand *command,
                                        GError **error)
{
    (void)reader;
    (void)command;
    return must_fail(opaque, "command", error) ? VMLOAD_COMMAND_FAILED
                                               : VMLOAD_COMMAND_DEFAULT;
}

static bool host_raw(void *opaque, const VmloadSection *section,
                     const uint8_t *data, uint64_t length, GError **error)
{
    uint8_t *copy = g_malloc(length + 1);

    (void)section;
    assert_int_equal(((Host *)opaque)->locked, 0);
    memcpy(copy, data, length);
    g_free(copy);
    return !must_fail(opaque, "raw_section", error);
}

static void host_record(void *opaque, const VmloadRecordInfo *record)
{
    FaultRun *run = ((Host *)opaque)->run;

    g_array_append_val(run->edges, record->offset);
    if (record->type == VMLOAD_RECORD_FULL && run->first_full == 0) {
        run->first_full = record->offset;
    }
    if (record->type == VMLOAD_RECORD_EOF && record->depth == 0) {
        run->eof = record->offset;
    }
}

static bool host_vmdescription(void *opaque, const char *json, uint64_t length,
                               GError **error)
{
    (void)json;
    (void)length;
    return !must_fail(opaque, "vmdescription", error);
}

static void host_finish(void *opaque, VmloadLoader *loader,
                        const VmloadOutcome *outcome)
{
    Host *host = opaque;
    GError *error = NULL;

    assert_int_equal(host->locked, 0);
    assert_int_equal(outcome->loaded, outcome->error == NULL ? 1 : 0);
    host->finished++;
    if (outcome->loaded) {
        must_fail(host, "finish", &error);
    }
    vmload_loader_finished(loader, error);
    g_clear_error(&error);
}

static bool dev_load(void *opaque, VmloadReader *reader,
                     const VmloadSection *section, GError **error)
{
    uint32_t value;

    (void)section;
    assert_int_equal(((Host *)opaque)->locked, 1);
    return !must_fail(opaque, "load", error) &&
           vmload_reader_get_be32(reader, &value, error);
}

static uint8_t *copy_bytes(const void *data, size_t length)
{
    uint8_t *copy = g_malloc(length);

    if (length > 0) {
        memcpy(copy, data, length);
    }
    return copy;
}

static void *dev_parse(void *opaque, VmloadReader *reader,
                       const VmloadSection *section, GError **error)
{
    Host *host = opaque;
    uint32_t value;

    (void)section;
    assert_int_equal(host->locked, 0);
    if (must_fail(host, "parse", error) ||
        !vmload_reader_get_be32(reader, &value, error)) {
        return NULL;
    }
    host->parsed++;
    return copy_bytes(&value, sizeof(value));
}

static bool dev_apply(void *opaque, void *parsed, const VmloadSection *section,
                      GError **error)
{
    (void)parsed;
    (void)section;
    assert_int_equal(((Host *)opaque)->locked, 1);
    return !must_fail(opaque, "apply", error);
}

static void dev_parsed_free(void *opaque, void *parsed)
{
    assert_int_equal(((Host *)opaque)->locked, 0);
    ((Host *)opaque)->parsed--;
    g_free(parsed);
}

static bool dev_setup(void *opaque, GError **error)
{
    assert_int_equal(((Host *)opaque)->locked, 1);
    ((Host *)opaque)->setups++;
    return !must_fail(opaque, "setup", error);
}

static bool dev_all_loaded(void *opaque, GError **error)
{
    assert_int_equal(((Host *)opaque)->locked, 1);
    return !must_fail(opaque, "all_loaded", error);
}

static void dev_cleanup(void *opaque)
{
    assert_int_equal(((Host *)opaque)->locked, 1);
    ((Host *)opaque)->cleanups++;
}

static void dev_destroy(void *opaque)
{
    ((Host *)opaque)->destroyed++;
}

static bool sink_write(void *opaque, uint64_t offset, const uint8_t *data,
                       uint64_t length, GError **error)
{
    assert_true(offset < FAULT_RAM_PAGES * FAULT_PAGE);
    assert_true(length <= FAULT_RAM_PAGES * FAULT_PAGE - offset);
    assert_non_null(data);
    return !must_fail(opaque, "write", error);
}

static bool sink_zero(void *opaque, uint64_t offset, uint64_t length,
                      GError **error)
{
    assert_true(offset < FAULT_RAM_PAGES * FAULT_PAGE);
    assert_true(length <= FAULT_RAM_PAGES * FAULT_PAGE - offset);
    return !must_fail(opaque, "zero", error);
}

static bool sink_read(void *opaque, uint64_t offset, uint8_t *data,
                      uint64_t length, GError **error)
{
    assert_true(offset < FAULT_RAM_PAGES * FAULT_PAGE);
    memset(data, 0, length);
    return !must_fail(opaque, "read", error);
}

static bool sink_finish(void *opaque, GError **error)
{
    return !must_fail(opaque, "sink finish", error);
}

static void add_ram(VmloadLoader *loader, Host *host)
{
    const VmloadRamSinkOps ops = {
        VMLOAD_RAM_SINK_OPS_INIT,
        .write = sink_write,
        .zero = sink_zero,
        .read = sink_read,
        .finish = sink_finish,
    };
    uint64_t length = FAULT_RAM_PAGES * FAULT_PAGE;
    VmloadRamSink *sink =
        vmload_ram_sink_new_from_ops(&ops, host, dev_destroy, NULL);

    assert_non_null(sink);
    assert_true(vmload_loader_add_ram_block(
        loader, vmload_ram_block_new("pc.ram", length, length, sink, NULL),
        NULL));
}

static void add_devices(VmloadLoader *loader, Host *host)
{
    const VmloadDeviceOps whole = {
        VMLOAD_DEVICE_OPS_INIT,
        .load = dev_load,
        .setup = dev_setup,
        .all_loaded = dev_all_loaded,
        .cleanup = dev_cleanup,
    };
    const VmloadDeviceOps apply = {
        VMLOAD_DEVICE_OPS_INIT,
        .parse = dev_parse,
        .apply = dev_apply,
        .parsed_free = dev_parsed_free,
        .setup = dev_setup,
        .cleanup = dev_cleanup,
    };
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;

    plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_APPLY;
    assert_true(vmload_loader_add_device(loader, "dev", 0, 1, 2, NULL, &whole,
                                         host, dev_destroy, NULL));
    assert_true(vmload_loader_add_device(loader, "apply", 0, 1, 2, &plan,
                                         &apply, host, dev_destroy, NULL));
    assert_true(vmload_loader_add_state(loader, "state", 0, &state_desc,
                                        &host->state, NULL));
    add_ram(loader, host);
}

static VmloadRamBlock *take_block(void *opaque, const char *idstr,
                                  uint64_t length, GError **error)
{
    if (must_fail(opaque, "announced", error)) {
        return NULL;
    }
    return vmload_ram_block_new(idstr, length, length,
                                vmload_ram_sink_new_null(), error);
}

static void set_options(VmloadLoader *loader, Host *host, const FaultRun *run)
{
    const VmloadConfiguration expected = {
        .struct_size = (uint32_t)sizeof(expected),
        .present = VMLOAD_CONFIGURATION_MACHINE |
                   VMLOAD_CONFIGURATION_PAGE_BITS |
                   VMLOAD_CONFIGURATION_CAPABILITIES |
                   VMLOAD_CONFIGURATION_UUID,
        .target_page_bits = 12,
        .machine = FAULT_MACHINE,
        .uuid = {1, 2, 3},
    };
    VmloadLimits limits;

    if (run->take_all) {
        vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
        vmload_loader_set_ram_announced(loader, take_block, host, NULL);
    } else {
        add_devices(loader, host);
        vmload_loader_set_expected_configuration(loader, &expected);
    }
    if (run->atomic) {
        vmload_loader_set_commit(loader, VMLOAD_COMMIT_ATOMIC);
    }
    vmload_loader_set_presence(
        loader,
        run->old_machine ? VMLOAD_PRESENCE_AUTO : VMLOAD_PRESENCE_REQUIRED,
        run->old_machine ? VMLOAD_PRESENCE_AUTO : VMLOAD_PRESENCE_REQUIRED,
        run->require_vmdesc ? VMLOAD_PRESENCE_REQUIRED
                            : VMLOAD_PRESENCE_AUTO);
    if (run->limit != NULL) {
        vmload_limits_init(&limits);
        assert_true(vmload_limits_set(&limits, run->limit, run->limit_value,
                                      NULL));
        vmload_loader_set_limits(loader, &limits);
    }
}

static VmloadLoader *make_loader(Host *host, FaultRun *run)
{
    const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .lock = host_lock,
        .unlock = host_unlock,
        .cpu_sync_pre_load = cpu_pre,
        .cpu_sync_post_load = cpu_post,
        .configuration = host_configuration,
        .command = host_command,
        .raw_section = host_raw,
        .record = host_record,
        .vmdescription = host_vmdescription,
        .finish = host_finish,
    };
    VmloadLoader *loader = vmload_loader_new(&ops, host, NULL, NULL);

    assert_non_null(loader);
    set_options(loader, host, run);
    return loader;
}

static void check_promises(VmloadLoader *loader, const Host *host)
{
    const FaultRun *run = host->run;
    VmloadStats stats = {.struct_size = sizeof(stats)};
    bool completed = run->code == FAULT_COMPLETED;

    assert_int_equal(host->locked, 0);
    assert_int_equal(host->finished, 1);
    assert_int_equal(host->parsed, 0);
    assert_int_equal(host->cleanups, run->take_all ? 0 : 2);
    vmload_loader_get_stats(loader, &stats);
    assert_int_equal(stats.lock_io_waits, 0);
    assert_int_equal(stats.lock_io_wait_ns, 0);
    assert_int_equal(vmload_loader_get_state(loader),
                     completed ? VMLOAD_STATE_COMPLETED : VMLOAD_STATE_FAILED);
    /* Completed means to the end, and in all its parts. */
    assert_true(!completed || run->eof > 0);
}

void fault_run(FaultRun *run, const uint8_t *data, size_t length)
{
    /* A copy of the exact size: sanitizers see a read past it. */
    uint8_t *copy = copy_bytes(data, length);
    Host host = {.run = run};
    GError *error = NULL;
    VmloadLoader *loader;

    run->callbacks = 0;
    run->failed = NULL;
    run->edges = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    run->position.struct_size = (uint32_t)sizeof(run->position);
    host.state.model = 7;
    loader = make_loader(&host, run);
    vmload_loader_set_channel(
        loader, vmload_channel_new_memory(copy, length, g_free, copy));
    run->code = FAULT_COMPLETED;
    if (!vmload_loader_run(loader, 0, &error)) {
        assert_non_null(error);
        assert_true(error->domain == VMLOAD_ERROR);
        run->code = error->code;
        run->message = g_strdup(error->message);
        g_error_free(error);
    } else {
        assert_null(error);
    }
    vmload_loader_get_position(loader, &run->position);
    check_promises(loader, &host);
    vmload_loader_free(loader);
    assert_int_equal(host.destroyed, run->take_all ? 0 : 3);
    g_free(host.state.more);
}

void fault_clear(FaultRun *run)
{
    g_clear_pointer(&run->message, g_free);
    g_clear_pointer(&run->edges, g_array_unref);
    run->first_full = 0;
    run->eof = 0;
}

/* The folder of recorded streams. */
static const char *stream_folder(void)
{
    const char *folder = g_getenv("VMLOAD_STREAMS");

    if (folder == NULL) {
        fail_msg("VMLOAD_STREAMS is not set");
    }
    return folder;
}

uint8_t *fault_read_stream(const char *name, size_t *length)
{
    char *path = g_build_filename(stream_folder(), name, NULL);
    char *data = NULL;

    if (!g_file_get_contents(path, &data, length, NULL)) {
        fail_msg("%s cannot be read", path);
    }
    g_free(path);
    return (uint8_t *)data;
}

char **fault_stream_names(void)
{
    GPtrArray *names = g_ptr_array_new();
    GDir *dir = g_dir_open(stream_folder(), 0, NULL);
    const char *name;

    assert_non_null(dir);
    while ((name = g_dir_read_name(dir)) != NULL) {
        if (g_str_has_suffix(name, ".stream")) {
            g_ptr_array_add(names, g_strdup(name));
        }
    }
    g_dir_close(dir);
    assert_true(names->len > 0);
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

GByteArray *fault_good_stream(void)
{
    static const uint8_t delta[] = {0x10, 0x02, 0xaa, 0xbb};
    uint8_t page[FAULT_PAGE];
    GByteArray *out = sw_new();
    const char *none[] = {NULL};

    memset(page, 0x5a, sizeof(page));
    sw_header(out);
    sw_configuration(out, FAULT_MACHINE);
    sw_configuration_page_bits(out, 12);
    sw_configuration_capabilities(out, none);
    sw_command(out, SW_CMD_SWITCHOVER_START, NULL, 0);
    sw_ram_start(out, 2, FAULT_RAM_PAGES * FAULT_PAGE);
    sw_ram_block(out, "pc.ram", FAULT_RAM_PAGES * FAULT_PAGE);
    sw_ram_eos(out);
    sw_footer(out, 2);
    sw_section_part(out, 2);
    sw_ram_zero(out, "pc.ram", 0, 0);
    sw_ram_page(out, NULL, FAULT_PAGE, page, sizeof(page));
    sw_ram_xbzrle(out, NULL, FAULT_PAGE, delta, sizeof(delta));
    sw_ram_eos(out);
    sw_footer(out, 2);
    sw_section_end(out, 2);
    sw_ram_eos(out);
    sw_footer(out, 2);
    sw_device(out, 3, "dev", 0, 2, "abcd", 4);
    sw_device(out, 4, "apply", 0, 1, "abcd", 4);
    sw_section_full(out, 5, "state", 0, 2);
    sw_be32(out, 7);
    sw_be32(out, 2);
    sw_be16(out, 1);
    sw_be16(out, 2);
    sw_be32(out, 1);
    sw_be32(out, 9);
    sw_subsection(out, "state/extra", 1);
    sw_u8(out, 3);
    sw_footer(out, 5);
    sw_eof(out);
    sw_vmdesc(out, "{\"page_size\": 4096, \"devices\": ["
              FAULT_JSON_DEVICE("dev", "4") ", "
              FAULT_JSON_DEVICE("apply", "4") ", "
              FAULT_JSON_DEVICE("state", "38") "]}");
    return out;
}

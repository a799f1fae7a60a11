/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that is loaded by its description (docs/vmstate.md). The chip is
 * made up; its state is in the program, as a source would send it. A
 * hypervisor gives the description to vmload_loader_add_state() and is done.
 *
 *   device-state          loads the state and shows it
 *   device-state FILE     the same with the bytes of FILE
 */
#include <stdio.h>
#include <vmload/vmload.h>

/* --- the device, as its model has it ------------------------------------ */

typedef struct {
    uint8_t divider;
    uint32_t count;
} Channel;

typedef struct Request {
    struct Request *next;
    uint64_t address;
} Request;

typedef struct {
    uint32_t control;
    bool enabled;
    int64_t deadline; /* nanoseconds, VMLOAD_TIMER_NOT_ARMED: none */
    uint8_t n_fifo;
    uint8_t fifo[16];
    Channel channels[2];
    Request *requests;
    uint16_t watermark; /* 8 unless the source says otherwise */
} Chip;

/* --- what of it is in a stream, and in which order ----------------------- */

static const VmloadField channel_fields[] = {
    VMLOAD_FIELD_U8(divider, Channel),
    VMLOAD_FIELD_U32(count, Channel),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc channel_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .minimum_version_id = 1,
    .name = "chip-channel",
    .fields = channel_fields,
};

static const VmloadField request_fields[] = {
    VMLOAD_FIELD_U64(address, Request),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc request_desc = {
    VMLOAD_STATE_DESC_INIT,
    .name = "chip-request",
    .fields = request_fields,
};

/* The list gets its elements in the source's order. */
static bool insert_request(void *opaque, void *list, void *element,
                           GError **error)
{
    Request **link = list;

    (void)opaque;
    (void)error;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = element;
    return true;
}

static const VmloadFieldOps request_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .insert = insert_request,
};

/* Sources send this part only if it is not the default. */
static const VmloadField watermark_fields[] = {
    VMLOAD_FIELD_U16(watermark, Chip),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc watermark_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .minimum_version_id = 1,
    .name = "chip/watermark",
    .fields = watermark_fields,
};

static const VmloadField chip_fields[] = {
    VMLOAD_FIELD_U32(control, Chip),
    VMLOAD_FIELD_BOOL(enabled, Chip),
    VMLOAD_FIELD_V(deadline, Chip, TIMER, 2, NULL), /* since version 2 */
    VMLOAD_FIELD_UNUSED(2),
    VMLOAD_FIELD_U8(n_fifo, Chip),
    VMLOAD_FIELD_VARRAY(fifo, Chip, U8, n_fifo, U8),
    VMLOAD_FIELD_ARRAY(channels, Chip, STRUCT(Channel, &channel_desc)),
    VMLOAD_FIELD_LIST(requests, Chip, Request, &request_desc, &request_ops),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc *const chip_subsections[] = {
    &watermark_desc,
    NULL,
};

static void free_requests(Chip *chip)
{
    while (chip->requests != NULL) {
        Request *request = chip->requests;

        chip->requests = request->next;
        g_free(request);
    }
}

/* Before the first field: defaults for what may not come. */
static bool chip_pre_load(void *object, uint32_t version, GError **error)
{
    Chip *chip = object;

    (void)version;
    (void)error;
    free_requests(chip);
    chip->deadline = VMLOAD_TIMER_NOT_ARMED;
    chip->watermark = 8;
    return true;
}

/* After the last one: does it make sense? */
static bool chip_post_load(void *object, uint32_t version, GError **error)
{
    const Chip *chip = object;

    (void)version;
    if (chip->watermark > sizeof(chip->fifo)) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_MALFORMED,
                    "expected a watermark of 0 to 16, found %u",
                    chip->watermark);
        return false;
    }
    return true;
}

static const VmloadStateDesc chip_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .minimum_version_id = 1,
    .name = "chip",
    .fields = chip_fields,
    .subsections = chip_subsections,
    .pre_load = chip_pre_load,
    .post_load = chip_post_load,
};

/* --- the state of one chip, version 2 ------------------------------------- */

static const uint8_t chip_state[] = {
    0x00, 0x00, 0x00, 0x81,                         /* control */
    0x01,                                           /* enabled */
    0x00, 0x00, 0x00, 0x00, 0x3b, 0x9a, 0xca, 0x00, /* deadline */
    0x00, 0x00,                                     /* unused */
    0x03,                                           /* n_fifo */
    'a',  'b',  'c',                                /* fifo */
    0x02, 0x00, 0x00, 0x00, 0x07,                   /* channels[0] */
    0x10, 0x00, 0x00, 0x01, 0x00,                   /* channels[1] */
    0x01, 0x00, 0x00, 0x00, 0x00, 0xfe, 0xd0, 0x00, 0x00, /* a request */
    0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, /* another */
    0x00,                                           /* no more */
    0x05, 0x0e, 'c',  'h',  'i',  'p',  '/',  'w',  'a',  't',  'e',  'r',
    'm',  'a',  'r',  'k',  0x00, 0x00, 0x00, 0x01, /* a subsection */
    0x00, 0x0c,                                     /* watermark */
};

static void show(const Chip *chip)
{
    const Request *request;
    size_t i;

    printf("control 0x%x, %s, deadline %" G_GINT64_FORMAT
           " ns, watermark %u\n", chip->control,
           chip->enabled ? "enabled" : "disabled", chip->deadline,
           chip->watermark);
    printf("fifo %.*s\n", chip->n_fifo, (const char *)chip->fifo);
    for (i = 0; i < G_N_ELEMENTS(chip->channels); i++) {
        printf("channel %zu: divider %u, count %u\n", i,
               chip->channels[i].divider, chip->channels[i].count);
    }
    for (request = chip->requests; request != NULL; request = request->next) {
        printf("request 0x%" G_GINT64_MODIFIER "x\n", request->address);
    }
}

static bool load(const uint8_t *data, size_t length, GError **error)
{
    VmloadReader *reader = vmload_reader_new_memory(data, length, 0);
    Chip chip = {0};
    bool ok;

    ok = vmload_state_desc_check(&chip_desc, error) &&
         vmload_state_load(&chip_desc, &chip, 2, reader, NULL, error);
    if (ok) {
        show(&chip);
        printf("%" G_GUINT64_FORMAT " of %zu bytes\n",
               vmload_reader_get_offset(reader), length);
    }
    free_requests(&chip);
    vmload_reader_free(reader);
    return ok;
}

int main(int argc, char **argv)
{
    GError *error = NULL;
    char *data = NULL;
    gsize length;
    bool ok;

    if (argc > 2) {
        fprintf(stderr, "usage: %s [FILE]\n", argv[0]);
        return 2;
    }
    if (argc == 2) {
        ok = g_file_get_contents(argv[1], &data, &length, &error) &&
             load((const uint8_t *)data, length, &error);
    } else {
        ok = load(chip_state, sizeof(chip_state), &error);
    }
    if (!ok) {
        fprintf(stderr, "device-state: %s\n", error->message);
        g_error_free(error);
    }
    g_free(data);
    return ok ? 0 : 1;
}

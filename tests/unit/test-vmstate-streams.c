/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices in streams that QEMU has written, by descriptions made after the
 * vmdesc that is in them. Each must end just before its footer.
 */
#include "unit.h"

#include <vmload/vmstate.h>

/* --- hpet: a struct array with a count, timers ------------------------ */

typedef struct {
    uint8_t tn;
    uint64_t config;
    uint64_t cmp;
    uint64_t fsb;
    uint64_t period;
    uint8_t wrap_flag;
    int64_t timer;
} HpetTimer;

typedef struct {
    uint64_t config;
    uint64_t isr;
    uint64_t counter;
    uint8_t num_timers;
    HpetTimer timer[32];
} Hpet;

static const VmloadField hpet_timer_fields[] = {
    VMLOAD_FIELD_U8(tn, HpetTimer),
    VMLOAD_FIELD_U64(config, HpetTimer),
    VMLOAD_FIELD_U64(cmp, HpetTimer),
    VMLOAD_FIELD_U64(fsb, HpetTimer),
    VMLOAD_FIELD_U64(period, HpetTimer),
    VMLOAD_FIELD_U8(wrap_flag, HpetTimer),
    VMLOAD_FIELD_TIMER(timer, HpetTimer),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc hpet_timer_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .minimum_version_id = 1,
    .name = "hpet_timer",
    .fields = hpet_timer_fields,
};

static const VmloadField hpet_fields[] = {
    VMLOAD_FIELD_U64(config, Hpet),
    VMLOAD_FIELD_U64(isr, Hpet),
    VMLOAD_FIELD_U64(counter, Hpet),
    VMLOAD_FIELD_V(num_timers, Hpet, U8, 2, NULL),
    VMLOAD_FIELD_VARRAY(timer, Hpet, STRUCT(HpetTimer, &hpet_timer_desc),
                        num_timers, U8),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc hpet_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .minimum_version_id = 1,
    .name = "hpet",
    .fields = hpet_fields,
};

static void see_hpet(const void *object)
{
    const Hpet *hpet = object;

    assert_int_equal(hpet->num_timers, 3);
    assert_int_equal(hpet->timer[2].tn, 2);
    assert_int_equal(hpet->timer[0].timer, VMLOAD_TIMER_NOT_ARMED);
}

/* --- fdc: two levels, subsections in an array's elements ------------------ */

typedef struct {
    uint8_t head;
    uint8_t track;
    uint8_t sect;
    uint8_t media_rate;
} Drive;

typedef struct {
    uint8_t registers[9];
    uint8_t fifo[512];
    uint32_t data_pos;
    uint32_t data_len;
    uint8_t more[9];
    uint8_t num_floppies;
    Drive drives[2];
} Fdc;

static const VmloadField media_rate_fields[] = {
    VMLOAD_FIELD_U8(media_rate, Drive),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc media_rate_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .minimum_version_id = 1,
    .name = "fdrive/media_rate",
    .fields = media_rate_fields,
};

static const VmloadField drive_fields[] = {
    VMLOAD_FIELD_U8(head, Drive),
    VMLOAD_FIELD_U8(track, Drive),
    VMLOAD_FIELD_U8(sect, Drive),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc drive_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .minimum_version_id = 1,
    .name = "fdrive",
    .fields = drive_fields,
    .subsections = (const VmloadStateDesc *const[]){&media_rate_desc, NULL},
};

static const VmloadField fdc_state_fields[] = {
    VMLOAD_FIELD_ARRAY(registers, Fdc, U8),
    VMLOAD_FIELD_ARRAY(fifo, Fdc, U8),
    VMLOAD_FIELD_U32(data_pos, Fdc),
    VMLOAD_FIELD_U32(data_len, Fdc),
    VMLOAD_FIELD_ARRAY(more, Fdc, U8),
    VMLOAD_FIELD(num_floppies, Fdc, U8_EQUAL),
    VMLOAD_FIELD_ARRAY(drives, Fdc, STRUCT(Drive, &drive_desc)),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc fdc_state_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .minimum_version_id = 2,
    .name = "fdc",
    .fields = fdc_state_fields,
};

/* The ISA device around it: the object is the controller here. */
static const VmloadField fdc_fields[] = {
    {
        .name = "state",
        .kind = VMLOAD_FIELD_KIND_STRUCT,
        .size = sizeof(Fdc),
        .count = 1,
        .desc = &fdc_state_desc,
    },
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc fdc_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .minimum_version_id = 2,
    .name = "fdc",
    .fields = fdc_fields,
};

static void set_fdc(void *object)
{
    Fdc *fdc = object;

    fdc->num_floppies = 2;
    fdc->drives[0].media_rate = 0xff;
    fdc->drives[1].media_rate = 0xff;
}

static void see_fdc(const void *object)
{
    const Fdc *fdc = object;

    assert_int_equal(fdc->registers[1], 0xc0);
    /* The subsections came, for both. */
    assert_int_not_equal(fdc->drives[0].media_rate, 0xff);
    assert_int_not_equal(fdc->drives[1].media_rate, 0xff);
}

/* --- i8254: single members of an array's elements ------------------------- */

typedef struct {
    int32_t count;
    uint16_t latched_count;
    uint8_t bytes[10];
    int64_t count_load_time;
    int64_t next_transition_time;
    uint32_t irq_disabled;
} PitChannel;

typedef struct {
    PitChannel channels[3];
} Pit;

static const VmloadField pit_channel_fields[] = {
    VMLOAD_FIELD_I32(count, PitChannel),
    VMLOAD_FIELD_U16(latched_count, PitChannel),
    VMLOAD_FIELD_ARRAY(bytes, PitChannel, U8),
    VMLOAD_FIELD_I64(count_load_time, PitChannel),
    VMLOAD_FIELD_I64(next_transition_time, PitChannel),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc pit_channel_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .minimum_version_id = 2,
    .name = "pit channel",
    .fields = pit_channel_fields,
};

static const VmloadField pit_fields[] = {
    VMLOAD_FIELD_V(channels[0].irq_disabled, Pit, U32, 3, NULL),
    VMLOAD_FIELD_ARRAY(channels, Pit, STRUCT(PitChannel, &pit_channel_desc)),
    VMLOAD_FIELD_I64(channels[0].next_transition_time, Pit),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc pit_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 3,
    .minimum_version_id = 2,
    .name = "i8254",
    .fields = pit_fields,
};

/* A channel counts at most 65536, and is in one of six modes. */
static void see_pit(const void *object)
{
    const Pit *pit = object;
    size_t i;

    for (i = 0; i < 3; i++) {
        assert_in_range(pit->channels[i].count, 1, 65536);
        assert_in_range(pit->channels[i].bytes[7], 0, 5);
    }
}

/* --- mc146818rtc: buffer, unused bytes, timers ------------------------ */

typedef struct {
    uint8_t cmos[128];
    uint8_t cmos_index;
    int64_t periodic_timer;
    int64_t next_periodic_time;
    uint32_t irq_coalesced;
    uint32_t period;
    uint64_t base_rtc;
    uint64_t last_update;
    int64_t offset;
    int64_t update_timer;
    uint64_t next_alarm_time;
} Rtc;

static const VmloadField rtc_fields[] = {
    VMLOAD_FIELD_BUFFER(cmos, Rtc),
    VMLOAD_FIELD_U8(cmos_index, Rtc),
    VMLOAD_FIELD_UNUSED(28),
    VMLOAD_FIELD_TIMER(periodic_timer, Rtc),
    VMLOAD_FIELD_I64(next_periodic_time, Rtc),
    VMLOAD_FIELD_UNUSED(24),
    VMLOAD_FIELD_V(irq_coalesced, Rtc, U32, 2, NULL),
    VMLOAD_FIELD_V(period, Rtc, U32, 2, NULL),
    VMLOAD_FIELD_V(base_rtc, Rtc, U64, 3, NULL),
    VMLOAD_FIELD_V(last_update, Rtc, U64, 3, NULL),
    VMLOAD_FIELD_V(offset, Rtc, I64, 3, NULL),
    VMLOAD_FIELD_V(update_timer, Rtc, TIMER, 3, NULL),
    VMLOAD_FIELD_V(next_alarm_time, Rtc, U64, 3, NULL),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc rtc_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 3,
    .minimum_version_id = 1,
    .name = "mc146818rtc",
    .fields = rtc_fields,
};

static void see_rtc(const void *object)
{
    const Rtc *rtc = object;

    assert_int_equal(rtc->periodic_timer, VMLOAD_TIMER_NOT_ARMED);
    /* Register D: the battery is good. */
    assert_int_equal(rtc->cmos[13], 0x80);
}

/* --- I440FX: a parent's struct, "int32 le", an encoding of its own -------- */

typedef struct {
    int32_t version_id;
    uint8_t config[256];
    uint32_t irq_state[4];
} PciDevice;

static bool get_irq_state(void *opaque, void *object, void *element,
                          VmloadReader *reader, GError **error)
{
    uint32_t *state = element;
    size_t i;

    (void)opaque;
    (void)object;
    for (i = 0; i < 4; i++) {
        if (!vmload_reader_get_be32(reader, &state[i], error)) {
            return false;
        }
        if (state[i] > 1) {
            return vmload_reader_error(reader, error, VMLOAD_ERROR_MALFORMED,
                                       "expected 0 or 1, found %u", state[i]);
        }
    }
    return true;
}

static const VmloadFieldOps irq_state_ops = {
    VMLOAD_FIELD_OPS_INIT,
    .get = get_irq_state,
};

static const VmloadField pci_fields[] = {
    VMLOAD_FIELD(version_id, PciDevice, I32_LE),
    VMLOAD_FIELD_BUFFER(config, PciDevice),
    VMLOAD_FIELD(irq_state[0], PciDevice, CUSTOM(uint32_t, &irq_state_ops)),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc pci_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 2,
    .minimum_version_id = 1,
    .name = "PCIDevice",
    .fields = pci_fields,
};

typedef struct {
    PciDevice parent;
} I440fx;

static const VmloadField i440fx_fields[] = {
    VMLOAD_FIELD_STRUCT(parent, I440fx, PciDevice, &pci_desc),
    VMLOAD_FIELD_UNUSED(1),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc i440fx_desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 3,
    .minimum_version_id = 3,
    .name = "I440FX",
    .fields = i440fx_fields,
};

static void set_i440fx(void *object)
{
    ((I440fx *)object)->parent.version_id = 2;
}

static void see_i440fx(const void *object)
{
    /* Intel, 82441FX. */
    assert_memory_equal(((const I440fx *)object)->parent.config,
                        "\x86\x80\x37\x12", 4);
}

/* --- finding and loading ------------------------------------------------ */

typedef struct {
    const char *idstr;
    const VmloadStateDesc *desc;
    size_t size;
    void (*setup)(void *object);
    void (*verify)(const void *object);
} StreamDevice;

static const StreamDevice devices[] = {
    {"hpet", &hpet_desc, sizeof(Hpet), NULL, see_hpet},
    {"fdc", &fdc_desc, sizeof(Fdc), set_fdc, see_fdc},
    {"i8254", &pit_desc, sizeof(Pit), NULL, see_pit},
    {"mc146818rtc", &rtc_desc, sizeof(Rtc), NULL, see_rtc},
    {"0000:00:00.0/I440FX", &i440fx_desc, sizeof(I440fx), set_i440fx,
     see_i440fx},
};

/* Behind the header of a FULL section, instance 0; its id is in front. */
static const uint8_t *find_payload(const uint8_t *stream, size_t length,
                                   const char *idstr)
{
    size_t n = strlen(idstr);
    size_t i;

    for (i = 0; i + n + 14 < length; i++) {
        if (stream[i] == 0x04 && stream[i + 5] == n &&
            memcmp(stream + i + 6, idstr, n) == 0) {
            return stream + i + 6 + n + 8;
        }
    }
    return NULL;
}

static bool load(const StreamDevice *device, const uint8_t *data,
                 size_t length, uint32_t version, bool whole,
                 uint64_t *consumed, GError **error)
{
    VmloadReader *reader = vmload_reader_new_memory(data, length, 0);
    void *object = g_malloc0(device->size);
    bool ok;

    if (device->setup != NULL) {
        device->setup(object);
    }
    ok = vmload_state_load(device->desc, object, version, reader, NULL,
                           error);
    *consumed = vmload_reader_get_offset(reader);
    if (ok && whole) {
        device->verify(object);
    }
    g_free(object);
    vmload_reader_free(reader);
    return ok;
}

/*
 * Cut at every byte. A load can only succeed where the cut is in a
 * subsection's header, which is then none; the footer would be missing.
 */
static void load_cut(const StreamDevice *device, const uint8_t *payload,
                     size_t length, uint32_t version)
{
    size_t cut;

    for (cut = 0; cut < length; cut++) {
        uint8_t *copy = g_malloc(cut + 1);
        GError *error = NULL;
        uint64_t consumed;

        memcpy(copy, payload, cut);
        if (load(device, copy, cut, version, false, &consumed, &error)) {
            assert_non_null(memchr(payload, 0x05, cut + 1));
        } else {
            assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED, "offset 0x");
        }
        g_free(copy);
    }
}

static void load_device(const StreamDevice *device, const uint8_t *stream,
                        size_t length)
{
    const uint8_t *payload = find_payload(stream, length, device->idstr);
    const uint8_t *header;
    GError *error = NULL;
    uint64_t consumed;
    uint32_t version;

    assert_non_null(payload);
    header = payload - strlen(device->idstr) - 14;
    version = payload[-1];
    assert_true(vmload_state_desc_check(device->desc, &error));
    if (!load(device, payload, length - (size_t)(payload - stream), version,
              true, &consumed, &error)) {
        fail_msg("%s: %s", device->idstr, error->message);
    }
    assert_int_equal(payload[consumed], 0x7e);
    assert_memory_equal(payload + consumed + 1, header + 1, 4);
    load_cut(device, payload, consumed, version);
}

static void test_pc(void **state)
{
    const char *folder = g_getenv("VMLOAD_STREAMS");
    char *path = g_strdup_printf(
        "%s/pc.stream", folder != NULL ? folder : "tests/streams");
    GError *error = NULL;
    char *stream;
    gsize length;
    size_t i;

    (void)state;
    if (!g_file_get_contents(path, &stream, &length, &error)) {
        fail_msg("%s", error->message);
    }
    for (i = 0; i < G_N_ELEMENTS(devices); i++) {
        load_device(&devices[i], (const uint8_t *)stream, length);
    }
    g_free(stream);
    g_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pc),
    };

    return cmocka_run_group_tests_name("vmstate-streams", tests, NULL, NULL);
}

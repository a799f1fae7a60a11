/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Described devices of class WHOLE in streams like those of pc-2.2: without
 * configuration, footers and description of the stream. Their own description
 * says where they end.
 */
#include "unit.h"

#include <vmload/loader.h>

#include "drip.h"
#include "stream-writer.h"

#define WORDS 40
#define PAYLOAD (4 * WORDS)
#define CHIPS 3

typedef struct {
    uint32_t words[WORDS];
    uint32_t loads;
} Chip;

static bool post_load(void *object, uint32_t version, GError **error)
{
    Chip *chip = object;

    (void)version;
    (void)error;
    chip->loads++;
    return true;
}

static const VmloadField fields[] = {
    VMLOAD_FIELD_ARRAY(words, Chip, U32),
    VMLOAD_FIELD_END,
};

static const VmloadStateDesc desc = {
    VMLOAD_STATE_DESC_INIT,
    .version_id = 1,
    .name = "chip",
    .fields = fields,
    .post_load = post_load,
};

/* A payload with a whole fake section in it, evidence for the scan. */
static GByteArray *make_payload(void)
{
    GByteArray *payload = sw_new();

    sw_fill(payload, 0x11, 8);
    sw_section_full(payload, 7, "chip", 1, 1);
    sw_fill(payload, 0x55, PAYLOAD - payload->len);
    return payload;
}

/*
 * Three chips with a command behind each, which is no evidence.
 * @ends: where each payload ends.
 */
static GByteArray *make_stream(guint *ends)
{
    const uint8_t ping[4] = {0};
    GByteArray *payload = make_payload();
    GByteArray *out = sw_new();
    uint32_t i;

    sw_header(out);
    for (i = 0; i < CHIPS; i++) {
        sw_section_full(out, 3 + i, "chip", i, 1);
        sw_bytes(out, payload->data, payload->len);
        ends[i] = out->len;
        if (i == 0) {
            sw_command(out, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
        }
        sw_command(out, SW_CMD_PING, ping, sizeof(ping));
    }
    sw_eof(out);
    g_byte_array_unref(payload);
    return out;
}

static bool load(const GByteArray *stream, uint64_t step, uint64_t object_size,
                 VmloadLockWait policy, Chip *chips, VmloadStats *stats,
                 GError **error)
{
    const VmloadHostOps host = {VMLOAD_HOST_OPS_INIT};
    const VmloadStateOptions options = {
        VMLOAD_STATE_OPTIONS_INIT,
        .lock = VMLOAD_LOCK_WHOLE,
        .object_size = object_size,
    };
    Drip drip = {stream->data, stream->len, step, 0};
    VmloadLoader *loader = vmload_loader_new(&host, NULL, NULL, NULL);
    uint32_t i;
    bool ok;

    memset(chips, 0, CHIPS * sizeof(*chips));
    for (i = 0; i < CHIPS; i++) {
        assert_true(vmload_loader_add_state_with_options(
            loader, "chip", i, &desc, &chips[i], &options, NULL));
    }
    vmload_loader_set_presence(loader, VMLOAD_PRESENCE_AUTO,
                               VMLOAD_PRESENCE_AUTO, VMLOAD_PRESENCE_AUTO);
    vmload_loader_set_lock_wait(loader, policy);
    vmload_loader_set_channel(loader, drip_channel(&drip));
    ok = vmload_loader_run(loader, 0, error);
    memset(stats, 0, sizeof(*stats));
    stats->struct_size = (uint32_t)sizeof(*stats);
    vmload_loader_get_stats(loader, stats);
    vmload_loader_free(loader);
    return ok;
}

static const uint64_t steps[] = {1, 3, 50, 1 << 20};

/* However the bytes come; and nobody waits for them with the lock. */
static void test_loads(void **state)
{
    const VmloadLockWait policies[] = {VMLOAD_LOCK_WAIT_FAIL,
                                       VMLOAD_LOCK_WAIT_ALLOW};
    guint ends[CHIPS];
    GByteArray *stream = make_stream(ends);
    GByteArray *payload = make_payload();
    size_t i;

    (void)state;
    for (i = 0; i < 2 * G_N_ELEMENTS(steps); i++) {
        VmloadStats stats;
        GError *error = NULL;
        Chip chips[CHIPS];
        size_t j;
        size_t k;

        if (!load(stream, steps[i / 2], sizeof(Chip), policies[i % 2], chips,
                  &stats, &error)) {
            fail_msg("%u at a time: %s", (unsigned)steps[i / 2],
                     error->message);
        }
        assert_int_equal(stats.lock_io_waits, 0);
        for (j = 0; j < CHIPS; j++) {
            assert_int_equal(chips[j].loads, 1);
            for (k = 0; k < WORDS; k++) {
                uint32_t word;

                memcpy(&word, payload->data + 4 * k, sizeof(word));
                assert_int_equal(chips[j].words[k], GUINT32_FROM_BE(word));
            }
        }
    }
    g_byte_array_unref(payload);
    g_byte_array_unref(stream);
}

/* Cut in its payload: that chip is not touched, those before it are loaded. */
static void test_cut(void **state)
{
    guint ends[CHIPS];
    GByteArray *stream = make_stream(ends);
    size_t i;
    guint cut;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(steps); i++) {
        for (cut = ends[1] - PAYLOAD; cut < ends[1]; cut++) {
            VmloadStats stats;
            GError *error = NULL;
            Chip chips[CHIPS];

            stream->len = cut;
            assert_false(load(stream, steps[i], sizeof(Chip),
                              VMLOAD_LOCK_WAIT_FAIL, chips, &stats, &error));
            assert_unit_error(&error, VMLOAD_ERROR_TRUNCATED,
                              "section 'chip' instance 1");
            assert_int_equal(chips[0].loads, 1);
            assert_int_equal(chips[1].loads, 0);
            assert_int_equal(chips[1].words[0], 0);
        }
    }
    g_byte_array_unref(stream);
}

/* Without the object's size all there is is evidence, and it is false here. */
static void test_unmeasured(void **state)
{
    guint ends[CHIPS];
    GByteArray *stream = make_stream(ends);
    VmloadStats stats;
    GError *error = NULL;
    Chip chips[CHIPS];

    (void)state;
    assert_false(load(stream, 1, 0, VMLOAD_LOCK_WAIT_FAIL, chips, &stats,
                      &error));
    assert_unit_error(&error, VMLOAD_ERROR_MALFORMED,
                      "expected the section to end after 8 bytes, its device "
                      "wants more");
    /* Allowed, the device reads on by itself. */
    if (!load(stream, 1, 0, VMLOAD_LOCK_WAIT_ALLOW, chips, &stats, &error)) {
        fail_msg("%s", error->message);
    }
    assert_int_equal(chips[2].loads, 1);
    g_byte_array_unref(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loads),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_unmeasured),
    };

    return cmocka_run_group_tests_name("loader-measured", tests, NULL, NULL);
}

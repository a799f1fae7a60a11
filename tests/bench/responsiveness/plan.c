/* SPDX-License-Identifier: BSD-3-Clause */
/* Who sends what when. */
#include "stream.h"

#include "samples.h"
#include "stream-writer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Pages of one page section. */
#define RAM_PAGES 1024u
/* What trickles at once. */
#define TRICKLE_CHUNK 16u

static void add_step(Plan *plan, StepKind kind, uint64_t offset,
                     uint64_t length, uint64_t us, uint64_t rate)
{
    const Step step = {kind, offset, length, us, rate};

    if (kind == STEP_PAUSE || length > 0) {
        g_array_append_val(plan->steps, step);
    }
}

static void add_bytes(Plan *plan, uint64_t from, uint64_t to)
{
    add_step(plan, STEP_BYTES, from, to - from, 0, 0);
}

static void plan_ram(Plan *plan, const PlanOptions *options)
{
    const Stream *stream = plan->stream;
    uint64_t length = MIN(options->ram_bytes, stream->block_length);

    add_bytes(plan, 0, stream->ram_at);
    add_step(plan, STEP_RAM, 0, length / STREAM_PAGE * STREAM_PAGE, 0, 0);
    add_bytes(plan, stream->ram_at, stream->bytes->len);
}

static void plan_stall(Plan *plan, const PlanOptions *options, uint64_t at)
{
    add_bytes(plan, 0, at);
    add_step(plan, STEP_PAUSE, 0, 0, options->pause_us, 0);
    add_bytes(plan, at, plan->stream->bytes->len);
}

static void plan_trickle(Plan *plan, const PlanOptions *options)
{
    const Stream *stream = plan->stream;
    uint64_t from = stream_first_device(stream)->offset;
    uint64_t length = MIN(options->trickle_bytes, stream->bytes->len - from);

    add_bytes(plan, 0, from);
    add_step(plan, STEP_TRICKLE, from, length, 0, options->trickle_rate);
    add_bytes(plan, from + length, stream->bytes->len);
}

Plan *plan_new(const Stream *stream, const PlanOptions *options)
{
    const StreamRecord *largest = stream_largest_device(stream);
    Plan *plan = g_new0(Plan, 1);

    plan->stream = stream;
    plan->steps = g_array_new(FALSE, FALSE, sizeof(Step));
    switch (options->name) {
    case 'a':
        plan_ram(plan, options);
        break;
    case 'b':
        plan_stall(plan, options,
                   largest->payload_offset + largest->payload_length / 2);
        break;
    case 'c':
        plan_trickle(plan, options);
        break;
    case 'e':
        plan_stall(plan, options, 0);
        break;
    case 'f':
        plan_stall(plan, options, 1);
        break;
    default:
        add_bytes(plan, 0, stream->bytes->len);
        break;
    }
    return plan;
}

void plan_free(Plan *plan)
{
    if (plan != NULL) {
        g_array_unref(plan->steps);
        g_free(plan);
    }
}

static bool send_all(int fd, const uint8_t *data, uint64_t length)
{
    while (length > 0) {
        ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        data += n;
        length -= (uint64_t)n;
    }
    return true;
}

/* Size of a page record that goes on with the block before. */
#define RAM_RECORD (8u + STREAM_PAGE)

/* Where the first page record without a name starts. */
static guint ram_second(const Stream *stream)
{
    return (guint)(5 + 8 + 1 + strlen(stream->block) + STREAM_PAGE);
}

static void ram_move(const Stream *stream, GByteArray *out, uint64_t page,
                     uint32_t pages)
{
    guint at = ram_second(stream);
    uint32_t i;

    sw_patch_be64(out, 5, page | SW_RAM_PAGE);
    for (i = 1; i < pages; i++) {
        sw_patch_be64(out, at, (page + (uint64_t)i * STREAM_PAGE) |
                                   SW_RAM_PAGE | SW_RAM_CONTINUE);
        at += RAM_RECORD;
    }
}

void plan_make_ram(const Stream *stream, GByteArray *out, uint64_t page,
                   uint32_t pages)
{
    uint8_t content[STREAM_PAGE];
    uint32_t seed = 1;
    uint32_t i;
    guint at;

    sw_section_part(out, stream->ram_id);
    for (i = 0; i < pages; i++) {
        for (at = 0; at < STREAM_PAGE; at++) {
            seed = seed * 1664525u + 1013904223u;
            content[at] = (uint8_t)(seed >> 24);
        }
        sw_ram_page(out, i == 0 ? stream->block : NULL,
                    page + (uint64_t)i * STREAM_PAGE, content, STREAM_PAGE);
    }
    sw_ram_eos(out);
    sw_footer(out, stream->ram_id);
}

/* From one prepared buffer, of which only the addresses change. */
static bool send_ram(const Stream *stream, int fd, uint64_t length)
{
    GByteArray *whole = sw_new();
    uint64_t page = 0;
    bool ok = true;

    plan_make_ram(stream, whole, 0, RAM_PAGES);
    while (ok && length - page >= RAM_PAGES * STREAM_PAGE) {
        ram_move(stream, whole, page, RAM_PAGES);
        ok = send_all(fd, whole->data, whole->len);
        page += RAM_PAGES * STREAM_PAGE;
    }
    g_byte_array_set_size(whole, 0);
    if (ok && page < length) {
        plan_make_ram(stream, whole, page,
                      (uint32_t)((length - page) / STREAM_PAGE));
        ok = send_all(fd, whole->data, whole->len);
    }
    g_byte_array_unref(whole);
    return ok;
}

static bool send_slowly(int fd, const uint8_t *data, const Step *step)
{
    uint64_t begin = now_ns();
    uint64_t done = 0;

    while (done < step->length) {
        uint64_t n = MIN(step->length - done, TRICKLE_CHUNK);

        sleep_until_ns(begin + done * 1000000000u / step->rate);
        if (!send_all(fd, data + done, n)) {
            return false;
        }
        done += n;
    }
    sleep_until_ns(begin + done * 1000000000u / step->rate);
    return true;
}

static bool send_step(const Plan *plan, const Step *step, int fd)
{
    const uint8_t *data = plan->stream->bytes->data + step->offset;

    switch (step->kind) {
    case STEP_BYTES:
        return send_all(fd, data, step->length);
    case STEP_RAM:
        return send_ram(plan->stream, fd, step->length);
    case STEP_PAUSE:
        sleep_until_ns(now_ns() + step->us * 1000);
        return true;
    case STEP_TRICKLE:
        return send_slowly(fd, data, step);
    }
    return false;
}

bool plan_send(const Plan *plan, int fd)
{
    uint8_t byte;
    ssize_t n;
    guint i;

    for (i = 0; i < plan->steps->len; i++) {
        if (!send_step(plan, &g_array_index(plan->steps, Step, i), fd)) {
            return false;
        }
    }
    shutdown(fd, SHUT_WR);
    do {
        n = read(fd, &byte, 1);
    } while (n > 0 || (n < 0 && errno == EINTR));
    return true;
}

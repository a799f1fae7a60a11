/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a main loop notices of a load. See docs/benchmarks.md.
 *
 *   responsiveness [OPTION...] cases|cancel|staging|records
 *   responsiveness [OPTION...] --connect=SOCKET --cases=X send
 */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_TRIES 500
#define CONNECT_STEP_US 10000
/* Payload of each device of case d. */
#define SHORT_DEVICE 500
#define SYNTHETIC_DEVICES 100

int unix_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int tries;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof(address.sun_path)) {
        return -1;
    }
    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    for (tries = 0; tries < CONNECT_TRIES; tries++) {
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
            return fd;
        }
        g_usleep(CONNECT_STEP_US);
    }
    close(fd);
    return -1;
}

void print_json_string(FILE *out, const char *text)
{
    if (text == NULL) {
        fprintf(out, "null");
        return;
    }
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', out);
        }
        if ((unsigned char)*text < 0x20) {
            fprintf(out, "\\u%04x", (unsigned)*text);
        } else {
            fputc(*text, out);
        }
    }
    fputc('"', out);
}

Stream *options_stream(const Options *options, char name, GError **error)
{
    if (name == 'd') {
        return stream_new_synthetic(options->ram_bytes,
                                    (uint32_t)options->devices, SHORT_DEVICE,
                                    error);
    }
    if (options->stream != NULL) {
        return stream_new_file(options->stream, error);
    }
    return stream_new_synthetic(options->ram_bytes, SYNTHETIC_DEVICES, 0,
                                error);
}

Plan *options_plan(const Options *options, char name, const Stream *stream)
{
    const PlanOptions plan = {
        .name = name,
        .ram_bytes = options->ram_bytes,
        .pause_us = (uint64_t)options->pause_ms * 1000,
        .trickle_bytes = (uint64_t)options->trickle_bytes,
        .trickle_rate = (uint64_t)options->trickle_rate,
    };

    return plan_new(stream, &plan);
}

bool bench_send(const Options *options)
{
    GError *error = NULL;
    char name = options->cases[0];
    Stream *stream = options_stream(options, name, &error);
    Plan *plan;
    bool ok;
    int fd;

    if (stream == NULL) {
        fprintf(stderr, "send: %s\n", error->message);
        g_error_free(error);
        return false;
    }
    plan = options_plan(options, name, stream);
    fd = unix_connect(options->connect);
    /* Who starts the clock waits for this line. */
    puts("connected");
    fflush(stdout);
    ok = fd >= 0 && plan_send(plan, fd);
    if (!ok) {
        fprintf(stderr, "send: %s\n", g_strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    plan_free(plan);
    stream_free(stream);
    return ok;
}

/* Where everything is in a stream, for people and scripts. */
static bool print_records(const Options *options)
{
    GError *error = NULL;
    Stream *stream = options_stream(options, 'a', &error);
    guint i;

    if (stream == NULL) {
        fprintf(stderr, "records: %s\n", error->message);
        g_error_free(error);
        return false;
    }
    printf("# block %s %" G_GUINT64_FORMAT "\n", stream->block,
           stream->block_length);
    printf("# offset payload length type id instance version name\n");
    for (i = 0; i < stream->records->len; i++) {
        const StreamRecord *record =
            &g_array_index(stream->records, StreamRecord, i);

        printf("%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT
               " %" G_GUINT64_FORMAT " %u %u %u %u %s\n",
               record->offset, record->payload_offset, record->payload_length,
               record->type, record->section_id, record->instance_id,
               record->version_id,
               record->idstr != NULL ? record->idstr : "-");
    }
    stream_free(stream);
    return true;
}

static bool parse(Options *options, int *argc, char ***argv, GError **error)
{
    const GOptionEntry entries[] = {
        {"stream", 0, 0, G_OPTION_ARG_FILENAME, &options->stream,
         "a recorded stream (default: a synthetic one)", "FILE"},
        {"cases", 0, 0, G_OPTION_ARG_STRING, &options->cases,
         "letters of the cases (abcdef)", "LETTERS"},
        {"connect", 0, 0, G_OPTION_ARG_FILENAME, &options->connect,
         "send: the unix socket", "PATH"},
        {"ram", 0, 0, G_OPTION_ARG_INT, &options->ram_mib,
         "a: guest RAM that is sent (2048)", "MIB"},
        {"pause", 0, 0, G_OPTION_ARG_INT, &options->pause_ms,
         "b, e, f: how long the sender stalls (2000)", "MS"},
        {"trickle", 0, 0, G_OPTION_ARG_INT, &options->trickle_bytes,
         "c: how much of the device phase trickles (4096)", "BYTES"},
        {"rate", 0, 0, G_OPTION_ARG_INT, &options->trickle_rate,
         "c: bytes a second (1024)", "BYTES"},
        {"devices", 0, 0, G_OPTION_ARG_INT, &options->devices,
         "d: how many devices (200)", "N"},
        {"callback", 0, 0, G_OPTION_ARG_INT, &options->callback_us,
         "d: how long each callback takes (100)", "US"},
        {"repeat", 0, 0, G_OPTION_ARG_INT, &options->repeat,
         "loads of each case (1)", "N"},
        {"repeat-short", 0, 0, G_OPTION_ARG_INT, &options->repeat_short,
         "loads of case d (50)", "N"},
        {"cancels", 0, 0, G_OPTION_ARG_INT, &options->cancels,
         "cancels of each kind of wait (1000)", "N"},
        {"rounds", 0, 0, G_OPTION_ARG_INT, &options->rounds,
         "staging: loads of each kind (501)", "N"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    GOptionContext *context =
        g_option_context_new("cases|cancel|staging|records|send");
    bool ok;

    g_option_context_add_main_entries(context, entries, NULL);
    ok = g_option_context_parse(context, argc, argv, error);
    g_option_context_free(context);
    options->ram_bytes = (uint64_t)options->ram_mib << 20;
    return ok;
}

static bool run(const Options *options, const char *what)
{
    if (strcmp(what, "cases") == 0) {
        return bench_cases(options, stdout);
    }
    if (strcmp(what, "cancel") == 0) {
        return bench_cancel(options, stdout);
    }
    if (strcmp(what, "staging") == 0) {
        return bench_staging(options, stdout);
    }
    if (strcmp(what, "records") == 0) {
        return print_records(options);
    }
    if (strcmp(what, "send") == 0 && options->connect != NULL) {
        return bench_send(options);
    }
    fprintf(stderr, "responsiveness: no such part: %s\n", what);
    return false;
}

int main(int argc, char **argv)
{
    Options options = {
        .ram_mib = 2048,
        .pause_ms = 2000,
        .trickle_bytes = 4096,
        .trickle_rate = 1024,
        .devices = 200,
        .callback_us = 100,
        .repeat = 1,
        .repeat_short = 50,
        .cancels = 1000,
        .rounds = 501,
    };
    GError *error = NULL;
    bool ok;

    if (!parse(&options, &argc, &argv, &error) || argc != 2) {
        fprintf(stderr, "responsiveness: %s\n",
                error != NULL ? error->message
                              : "expected one part; see --help");
        g_clear_error(&error);
        return 2;
    }
    if (options.cases == NULL) {
        options.cases = g_strdup("abcdef");
    }
    ok = run(&options, argv[1]);
    g_free(options.stream);
    g_free(options.cases);
    g_free(options.connect);
    return ok ? 0 : 1;
}

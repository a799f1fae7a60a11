/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a load that waits takes to end: from vmload_loader_cancel() until
 * vmload_loader_wait() has returned, for each kind of wait.
 */
#include "bench.h"
#include "host.h"
#include "samples.h"
#include "stream-writer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RAM_BYTES (64u << 20)
#define READY_TIMEOUT_NS UINT64_C(10000000000)
/* From the last sign that it is about to wait until it surely does. */
#define SETTLE_US 500
/* A load that is never idle is cancelled somewhere within this time. */
#define BUSY_MAX_US 2000
/* PONG: type, length, value. */
#define ANSWER_SIZE 8

/* What all kinds share. */
typedef struct {
    const Stream *stream;
    BigLock *lock;
    char *folder;
    char *file; /* a whole stream with RAM */
} Bench;

/*
 * One load that is going to wait. @wanted: bytes it has read by then.
 * @busy: it never waits.
 * @decided: the host has agreed already: a cancel only ends the wait.
 */
typedef struct {
    const Bench *bench;
    Host host;
    VmloadLoader *loader;
    int peer;
    uint64_t wanted;
    bool wants_finish;
    bool busy;
    bool decided;
} Scene;

static bool write_all(int fd, const uint8_t *data, uint64_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);

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

static bool scene_errno(const char *what, GError **error)
{
    g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_IO, "%s: %s", what,
                g_strerror(errno));
    return false;
}

static bool scene_take(Scene *scene, int fd, GError **error)
{
    VmloadChannel *channel = vmload_channel_take_fd(fd, error);

    if (channel == NULL) {
        return false;
    }
    vmload_loader_set_channel(scene->loader, channel);
    return true;
}

/* What the loader sends waits in its own end's buffer: a small one. */
static bool make_pair(int fds[2], GError **error)
{
    const int size = 1;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        return scene_errno("socketpair", error);
    }
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    return true;
}

static bool scene_connect(Scene *scene, GError **error)
{
    int fds[2];

    if (!make_pair(fds, error)) {
        return false;
    }
    scene->peer = fds[0];
    return scene_take(scene, fds[1], error);
}

/* Sends before the load runs: what is sent fits into a socket's buffer. */
static bool scene_send(Scene *scene, const void *data, uint64_t length,
                       GError **error)
{
    scene->wanted += length;
    return write_all(scene->peer, data, length) ||
           scene_errno("write", error);
}

static bool scene_send_stream(Scene *scene, uint64_t length, GError **error)
{
    return scene_send(scene, scene->bench->stream->bytes->data, length,
                      error);
}

/* A place in the middle of a device's state that is small enough. */
static uint64_t middle_of_device(const Stream *stream)
{
    const StreamRecord *record = stream_first_device(stream);

    return record->payload_offset + record->payload_length / 2;
}

static bool scene_listen(Scene *scene, const void *greeting, uint64_t length,
                         bool connect, GError **error)
{
    char *path = g_build_filename(scene->bench->folder, "socket", NULL);
    char *uri = g_strdup_printf("unix:%s", path);
    VmloadListener *listener = vmload_listener_new(uri, error);
    bool ok = listener != NULL;

    if (ok) {
        vmload_loader_set_listener(scene->loader, listener);
    }
    if (ok && connect) {
        scene->peer = unix_connect(path);
        ok = (scene->peer >= 0 &&
              write_all(scene->peer, greeting, length)) ||
             scene_errno("connect", error);
    }
    g_free(uri);
    g_free(path);
    return ok;
}

static bool wait_listening(Scene *scene, GError **error)
{
    return scene_listen(scene, NULL, 0, false, error);
}

static bool wait_silent_peer(Scene *scene, GError **error)
{
    return scene_listen(scene, "", 0, true, error);
}

static bool wait_identification(Scene *scene, GError **error)
{
    return scene_listen(scene, "Q", 1, true, error);
}

static bool wait_header(Scene *scene, GError **error)
{
    return scene_connect(scene, error) && scene_send_stream(scene, 6, error);
}

static bool wait_record(Scene *scene, GError **error)
{
    return scene_connect(scene, error) &&
           scene_send_stream(scene, scene->bench->stream->ram_at, error);
}

static bool wait_staging(Scene *scene, GError **error)
{
    return scene_connect(scene, error) &&
           scene_send_stream(scene, middle_of_device(scene->bench->stream),
                             error);
}

static bool wait_streaming(Scene *scene, GError **error)
{
    /* The rule is set before: see kinds[]. */
    return wait_staging(scene, error);
}

static bool wait_page(Scene *scene, GError **error)
{
    const Stream *stream = scene->bench->stream;
    GByteArray *ram = sw_new();
    bool ok;

    plan_make_ram(stream, ram, 0, 1);
    ok = scene_connect(scene, error) &&
         scene_send_stream(scene, stream->ram_at, error) &&
         scene_send(scene, ram->data, ram->len - STREAM_PAGE / 2, error);
    g_byte_array_unref(ram);
    return ok;
}

static bool wait_description(Scene *scene, GError **error)
{
    return scene_connect(scene, error) &&
           scene_send_stream(scene, scene->bench->stream->vmdesc_at, error);
}

static bool wait_finished(Scene *scene, GError **error)
{
    scene->host.hold_finish = true;
    scene->wants_finish = true;
    return scene_connect(scene, error) &&
           scene_send_stream(scene, scene->bench->stream->bytes->len, error);
}

static bool wait_pipe(Scene *scene, GError **error)
{
    int fds[2];

    if (pipe(fds) < 0) {
        return scene_errno("pipe", error);
    }
    scene->peer = fds[1];
    return scene_take(scene, fds[0], error) &&
           scene_send_stream(scene, middle_of_device(scene->bench->stream),
                             error);
}

static bool busy_file(Scene *scene, GError **error)
{
    VmloadChannel *channel =
        vmload_channel_new_file(scene->bench->file, 0, error);

    if (channel == NULL) {
        return false;
    }
    scene->busy = true;
    vmload_loader_set_channel(scene->loader, channel);
    return true;
}

/* A source that never ends and never makes anybody wait. */
typedef struct {
    GByteArray *bytes;
    uint64_t loop;
    uint64_t position;
} Endless;

static int64_t endless_readv(void *opaque, const struct iovec *iov,
                             uint32_t n, GError **error)
{
    Endless *endless = opaque;
    uint64_t length = MIN(endless->bytes->len - endless->position,
                          iov[0].iov_len);

    (void)n;
    (void)error;
    memcpy(iov[0].iov_base, endless->bytes->data + endless->position, length);
    endless->position += length;
    if (endless->position == endless->bytes->len) {
        endless->position = endless->loop;
    }
    return (int64_t)length;
}

static void endless_free(void *opaque)
{
    Endless *endless = opaque;

    g_byte_array_unref(endless->bytes);
    g_free(endless);
}

static bool busy_endless(Scene *scene, GError **error)
{
    const VmloadChannelOps ops = {
        VMLOAD_CHANNEL_OPS_INIT,
        .readv = endless_readv,
    };
    const Stream *stream = scene->bench->stream;
    Endless *endless = g_new0(Endless, 1);
    VmloadChannel *channel;

    endless->bytes = sw_new();
    sw_bytes(endless->bytes, stream->bytes->data, stream->ram_at);
    endless->loop = stream->ram_at;
    plan_make_ram(stream, endless->bytes, 0, 1024);
    channel = vmload_channel_new_from_ops(&ops, endless, endless_free, error);
    if (channel == NULL) {
        return false;
    }
    scene->busy = true;
    vmload_loader_set_channel(scene->loader, channel);
    return true;
}

/* How many answers such a buffer takes. */
static uint32_t count_answers(void)
{
    const uint8_t answer[ANSWER_SIZE] = {0};
    uint32_t n = 0;
    int fds[2];

    if (!make_pair(fds, NULL)) {
        return 0;
    }
    while (send(fds[1], answer, sizeof(answer), MSG_DONTWAIT) > 0) {
        n++;
    }
    close(fds[0]);
    close(fds[1]);
    return n;
}

/* The peer asks @n times, and does not listen to the answers. */
static bool send_questions(Scene *scene, uint32_t n, GError **error)
{
    GByteArray *out = sw_new();
    uint32_t i;
    bool ok;

    sw_bytes(out, scene->bench->stream->bytes->data,
             scene->bench->stream->ram_at);
    sw_command(out, SW_CMD_OPEN_RETURN_PATH, NULL, 0);
    for (i = 0; i < n; i++) {
        sw_ping(out, i);
    }
    ok = scene_connect(scene, error) &&
         scene_send(scene, out->data, out->len, error);
    g_byte_array_unref(out);
    return ok;
}

static bool wait_return_path(Scene *scene, GError **error)
{
    return send_questions(scene, count_answers() + 1, error);
}

static bool wait_last_word(Scene *scene, GError **error)
{
    const Stream *stream = scene->bench->stream;

    scene->wants_finish = true;
    scene->decided = true;
    return send_questions(scene, count_answers(), error) &&
           scene_send(scene, stream->bytes->data + stream->ram_at,
                      stream->bytes->len - stream->ram_at, error);
}

/* The order is the table's in the report. */
static const struct {
    const char *name;
    bool (*prepare)(Scene *scene, GError **error);
    HostRule rule;
} kinds[] = {
    {"listening", wait_listening, HOST_LIBRARY},
    {"silent peer", wait_silent_peer, HOST_LIBRARY},
    {"identification", wait_identification, HOST_LIBRARY},
    {"header", wait_header, HOST_LIBRARY},
    {"next record", wait_record, HOST_LIBRARY},
    {"staging", wait_staging, HOST_LIBRARY},
    {"streaming callback", wait_streaming, HOST_STREAMED},
    {"RAM page", wait_page, HOST_LIBRARY},
    {"silence after EOF", wait_description, HOST_LIBRARY},
    {"host's finish", wait_finished, HOST_LIBRARY},
    {"pipe", wait_pipe, HOST_LIBRARY},
    {"return path", wait_return_path, HOST_LIBRARY},
    {"last word", wait_last_word, HOST_LIBRARY},
    {"busy: file", busy_file, HOST_LIBRARY},
    {"busy: endless", busy_endless, HOST_LIBRARY},
};

static bool is_ready(Scene *scene)
{
    VmloadStats stats = {.struct_size = (uint32_t)sizeof(stats)};

    vmload_loader_get_stats(scene->loader, &stats);
    return stats.bytes_total >= scene->wanted &&
           (!scene->wants_finish ||
            __atomic_load_n(&scene->host.finish_seen, __ATOMIC_ACQUIRE));
}

static bool await_ready(Scene *scene, GError **error)
{
    uint64_t deadline = now_ns() + READY_TIMEOUT_NS;

    while (!is_ready(scene)) {
        if (now_ns() > deadline) {
            g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_FAILED,
                        "the load does not get to its wait");
            return false;
        }
        g_usleep(50);
    }
    g_usleep(scene->busy ? (gulong)g_random_int_range(0, BUSY_MAX_US)
                         : SETTLE_US);
    return true;
}

/* Cancels once. *@took is 0 if the load was faster. */
static bool cancel_running(Scene *scene, uint64_t *took, GError **error)
{
    GError *local = NULL;
    uint64_t begin;
    uint64_t end;
    bool waits;

    if (!vmload_loader_start(scene->loader, error) ||
        !await_ready(scene, error)) {
        return false;
    }
    waits = vmload_loader_get_state(scene->loader) <= VMLOAD_STATE_FINISHING;
    begin = now_ns();
    vmload_loader_cancel(scene->loader);
    vmload_loader_wait(scene->loader, &local);
    end = now_ns();
    *took = 0;
    if (local == NULL && scene->busy) {
        return true;
    }
    if (local == NULL && scene->decided && waits) {
        *took = end - begin;
        return true;
    }
    if (!g_error_matches(local, VMLOAD_ERROR, VMLOAD_ERROR_CANCELLED)) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_FAILED,
                    "expected a cancelled load, found: %s",
                    local != NULL ? local->message : "a complete one");
        g_clear_error(&local);
        return false;
    }
    g_error_free(local);
    *took = end - begin;
    return true;
}

static bool cancel_once(const Bench *bench, guint kind, uint64_t *took,
                        GError **error)
{
    Scene scene = {.bench = bench, .peer = -1};
    bool ok;

    host_init(&scene.host, kinds[kind].rule, bench->lock, bench->stream);
    scene.loader = host_new_loader(&scene.host, error);
    ok = scene.loader != NULL && kinds[kind].prepare(&scene, error) &&
         cancel_running(&scene, took, error);
    vmload_loader_free(scene.loader);
    if (scene.peer >= 0) {
        close(scene.peer);
    }
    host_clear(&scene.host);
    return ok;
}

static bool cancel_kind(const Bench *bench, guint kind, int count, FILE *out)
{
    GArray *samples = samples_new();
    GError *error = NULL;
    uint64_t took;
    uint32_t missed = 0;
    bool ok = true;

    while (ok && samples->len < (guint)count && missed <= (guint)count) {
        ok = cancel_once(bench, kind, &took, &error);
        if (ok && took == 0) {
            missed++;
        } else if (ok) {
            samples_add(samples, took);
        }
    }
    fprintf(out, "{\"wait\":\"%s\",\"missed\":%u,\"error\":",
            kinds[kind].name, missed);
    print_json_string(out, ok ? NULL : error->message);
    fprintf(out, ",\"took\":");
    samples_print(samples, out);
    fprintf(out, "}");
    if (!ok) {
        fprintf(stderr, "cancel, %s: %s\n", kinds[kind].name, error->message);
        g_error_free(error);
    }
    g_array_unref(samples);
    return ok;
}

/* A file with a load that takes longer than what it is cancelled after. */
static bool write_file(Bench *bench, GError **error)
{
    const Stream *stream = bench->stream;
    GByteArray *out = sw_new();
    uint64_t page = 0;
    bool ok;

    sw_bytes(out, stream->bytes->data, stream->ram_at);
    for (page = 0; page < RAM_BYTES; page += 1024 * STREAM_PAGE) {
        plan_make_ram(stream, out, page, 1024);
    }
    sw_bytes(out, stream->bytes->data + stream->ram_at,
             stream->bytes->len - stream->ram_at);
    bench->file = g_build_filename(bench->folder, "stream", NULL);
    ok = g_file_set_contents(bench->file, (const char *)out->data,
                             (gssize)out->len, error);
    g_byte_array_unref(out);
    return ok;
}

static bool run_kinds(const Bench *bench, int count, FILE *out)
{
    bool ok = true;
    guint i;

    fprintf(out, "[");
    for (i = 0; i < G_N_ELEMENTS(kinds); i++) {
        fprintf(out, "%s\n", i > 0 ? "," : "");
        ok = cancel_kind(bench, i, count, out) && ok;
    }
    fprintf(out, "]");
    return ok;
}

bool bench_cancel(const Options *options, FILE *out)
{
    GError *error = NULL;
    Bench bench = {0};
    Stream *stream = stream_new_synthetic(RAM_BYTES, 8, 500, &error);
    bool ok = false;

    bench.stream = stream;
    bench.lock = big_lock_new();
    if (stream != NULL) {
        bench.folder = g_dir_make_tmp("vmload-bench-XXXXXX", &error);
    }
    if (bench.folder != NULL && write_file(&bench, &error)) {
        ok = run_kinds(&bench, options->cancels, out);
        unlink(bench.file);
    }
    if (bench.folder != NULL) {
        rmdir(bench.folder);
    }
    if (error != NULL) {
        fprintf(stderr, "cancel: %s\n", error->message);
        g_error_free(error);
    }
    big_lock_free(bench.lock);
    stream_free(stream);
    g_free(bench.file);
    g_free(bench.folder);
    return ok;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The cases: one load each, and a main loop beside it. */
#include "bench.h"
#include "host.h"
#include "samples.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PERIOD_NS 1000000u

/* All loads of one case under one rule. */
typedef struct {
    char name;
    HostRule rule;
    GArray *late;
    GArray *sched;
    GArray *by_lock;
    uint64_t overtaken;
    uint64_t window_ns;
    uint64_t loads;
    VmloadStats total;
    uint64_t held_max;
    char *error;
} Result;

static void result_init(Result *result, char name, HostRule rule)
{
    memset(result, 0, sizeof(*result));
    result->name = name;
    result->rule = rule;
    result->late = samples_new();
    result->sched = samples_new();
    result->by_lock = samples_new();
}

static void result_clear(Result *result)
{
    g_array_unref(result->late);
    g_array_unref(result->sched);
    g_array_unref(result->by_lock);
    g_free(result->error);
}

/*
 * The turns that were due while the load ran. by_lock is how late they would
 * have been on a machine that runs the main loop as soon as it can: what the
 * lock alone made of it, with the turns that were missed meanwhile.
 */
static void result_add_turns(Result *result, const GArray *turns,
                             uint64_t begin, uint64_t end)
{
    uint64_t free = 0;
    guint i;

    for (i = 0; i < turns->len; i++) {
        const Turn *turn = &g_array_index(turns, Turn, i);

        free = MAX(turn->tick, free) + turn->wait;
        if (turn->tick >= begin && turn->tick < end) {
            samples_add(result->late, turn->late);
            samples_add(result->sched, turn->sched);
            samples_add(result->by_lock, free - turn->tick);
            result->overtaken = MAX(result->overtaken, turn->overtaken);
        }
    }
    result->window_ns += end - begin;
}

static void result_add_stats(Result *result, VmloadLoader *loader)
{
    VmloadStats stats = {.struct_size = (uint32_t)sizeof(stats)};

    vmload_loader_get_stats(loader, &stats);
    result->total.bytes_total += stats.bytes_total;
    result->total.sections += stats.sections;
    result->total.lock_holds += stats.lock_holds;
    result->total.lock_wait_ns += stats.lock_wait_ns;
    result->total.lock_held_total_ns += stats.lock_held_total_ns;
    result->total.lock_io_wait_ns += stats.lock_io_wait_ns;
    result->total.lock_io_waits += stats.lock_io_waits;
    result->total.io_wait_ns += stats.io_wait_ns;
}

static void print_number(FILE *out, const char *name, uint64_t value)
{
    fprintf(out, ",\"%s\":%" G_GUINT64_FORMAT, name, value);
}

static void result_print(Result *result, FILE *out)
{
    fprintf(out, "{\"case\":\"%c\",\"rule\":\"%s\",\"error\":", result->name,
            host_rule_name(result->rule));
    print_json_string(out, result->error);
    print_number(out, "loads", result->loads);
    print_number(out, "window_ns", result->window_ns);
    print_number(out, "bytes", result->total.bytes_total);
    print_number(out, "sections", result->total.sections);
    print_number(out, "lock_holds", result->total.lock_holds);
    print_number(out, "lock_wait_ns", result->total.lock_wait_ns);
    print_number(out, "lock_held_total_ns", result->total.lock_held_total_ns);
    print_number(out, "lock_held_max_ns", result->held_max);
    print_number(out, "lock_io_wait_ns", result->total.lock_io_wait_ns);
    print_number(out, "io_wait_ns", result->total.io_wait_ns);
    print_number(out, "overtaken_max", result->overtaken);
    fprintf(out, ",\"late\":");
    samples_print(result->late, out);
    fprintf(out, ",\"sched\":");
    samples_print(result->sched, out);
    fprintf(out, ",\"by_lock\":");
    samples_print(result->by_lock, out);
    fprintf(out, ",\"histogram\":");
    samples_print_histogram(result->late, out);
    fprintf(out, "}");
}

/*
 * The sender is a process of its own. It is made before any thread is, and
 * connects as soon as it can.
 */
static pid_t start_sender(const Plan *plan, const char *path)
{
    pid_t pid = fork();
    int fd;

    if (pid != 0) {
        return pid;
    }
    fd = unix_connect(path);
    _exit(fd >= 0 && plan_send(plan, fd) ? 0 : 1);
}

static void reap_sender(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        continue;
    }
}

/* Cases in which the peer says nothing count from the connection. */
static bool counts_from_start(char name)
{
    return name == 'e' || name == 'f';
}

static bool run_load(Host *host, VmloadLoader *loader, Result *result,
                     GError **error)
{
    Probe *probe = probe_start(host->lock, PERIOD_NS);
    uint64_t begin;
    uint64_t end;
    GArray *turns;
    bool ok;

    /* The main loop runs by itself for a moment first. */
    sleep_until_ns(now_ns() + 20 * PERIOD_NS);
    begin = now_ns();
    ok = vmload_loader_start(loader, error) &&
         vmload_loader_wait(loader, error);
    end = now_ns();
    turns = probe_stop(probe);
    if (!counts_from_start(result->name) && host->active_ns > 0) {
        begin = host->active_ns;
    }
    result_add_turns(result, turns, begin, end);
    g_array_unref(turns);
    result_add_stats(result, loader);
    result->held_max =
        MAX(result->held_max, big_lock_get_longest(host->lock));
    result->loads++;
    return ok;
}

static bool run_once(const Options *options, const Stream *stream,
                     const Plan *plan, Result *result, GError **error)
{
    char *folder = g_dir_make_tmp("vmload-bench-XXXXXX", error);
    BigLock *lock = big_lock_new();
    VmloadListener *listener = NULL;
    VmloadLoader *loader = NULL;
    char *path = NULL;
    char *uri = NULL;
    bool ok = false;
    pid_t pid;
    Host host;

    host_init(&host, result->rule, lock, stream);
    if (result->name == 'd') {
        host.callback_ns = (uint64_t)options->callback_us * 1000;
    }
    if (folder != NULL) {
        path = g_build_filename(folder, "socket", NULL);
        uri = g_strdup_printf("unix:%s", path);
        listener = vmload_listener_new(uri, error);
    }
    if (listener != NULL) {
        loader = host_new_loader(&host, error);
    }
    if (loader != NULL) {
        vmload_loader_set_listener(loader, g_steal_pointer(&listener));
        pid = start_sender(plan, path);
        ok = run_load(&host, loader, result, error);
        vmload_loader_free(loader);
        reap_sender(pid);
    }
    vmload_listener_free(listener);
    if (folder != NULL) {
        rmdir(folder);
    }
    g_free(uri);
    g_free(path);
    g_free(folder);
    host_clear(&host);
    big_lock_free(lock);
    return ok;
}

/* Short loads are repeated until there are turns enough to speak of. */
static int case_repeats(const Options *options, char name)
{
    return name == 'd' ? options->repeat_short : options->repeat;
}

static bool run_case(const Options *options, char name, HostRule rule,
                     FILE *out)
{
    GError *error = NULL;
    Result result;
    Stream *stream;
    Plan *plan;
    bool ok;
    int i;

    result_init(&result, name, rule);
    stream = options_stream(options, name, &error);
    ok = stream != NULL;
    if (ok) {
        plan = options_plan(options, name, stream);
        for (i = 0; ok && i < case_repeats(options, name); i++) {
            ok = run_once(options, stream, plan, &result, &error);
        }
        plan_free(plan);
    }
    if (!ok) {
        result.error = g_strdup(error->message);
        fprintf(stderr, "case %c, %s: %s\n", name, host_rule_name(rule),
                error->message);
        g_error_free(error);
    }
    if ((rule == HOST_LIBRARY || rule == HOST_FAIR) &&
        result.total.lock_io_waits != 0) {
        fprintf(stderr,
                "case %c: waited %" G_GUINT64_FORMAT
                " ns for bytes with the lock held\n",
                name, result.total.lock_io_wait_ns);
        ok = false;
    }
    result_print(&result, out);
    result_clear(&result);
    stream_free(stream);
    return ok;
}

bool bench_cases(const Options *options, FILE *out)
{
    static const HostRule rules[] = {HOST_CONTROL, HOST_LIBRARY, HOST_FAIR,
                                     HOST_SERIES};
    const char *name;
    const char *comma = "";
    bool ok = true;
    guint i;

    fprintf(out, "[");
    for (name = options->cases; *name != '\0'; name++) {
        for (i = 0; i < G_N_ELEMENTS(rules); i++) {
            /* Only hold after hold makes a difference. */
            if (rules[i] == HOST_FAIR && *name != 'd') {
                continue;
            }
            fprintf(out, "%s\n", comma);
            ok = run_case(options, *name, rules[i], out) && ok;
            comma = ",";
        }
    }
    fprintf(out, "]");
    return ok;
}

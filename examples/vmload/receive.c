/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* How long a connection may say nothing at its beginning. */
#define HANDSHAKE_MS 30000u
/* Connections of strangers that are worth a line each. */
#define REFUSED_MAX 8u

typedef struct {
    char *ram_dir;
    char *devices;
    char *stats;
    char *commit;
    char *channels;
    double stall_timeout;
    gboolean switchover_ack;
    int threads;
    char *prefault;
    gboolean direct_io;
    gboolean retry;
    gboolean quiet;
    gboolean progress;
} Options;

typedef struct {
    Options options;
    VmloadLimits limits;
    GMutex big_lock; /* stands in for a hypervisor's */
    CliDevices *devices;
    CliRam *ram;
    VmloadListener *listener; /* --retry: what goes on to listen */
    GPid child;
    uint32_t refused; /* connections, in all loads */
} Receive;

/* What the signal handler cancels. Set before the handlers, cleared after. */
static VmloadLoader *volatile signal_loader;
/* A signal has come, perhaps between two loads. */
static volatile sig_atomic_t signal_seen;

static void on_signal(int number)
{
    VmloadLoader *loader = signal_loader;

    (void)number;
    signal_seen = 1;
    if (loader != NULL) {
        vmload_loader_cancel(loader);
    }
}

/* The second signal of a kind ends the program: SA_RESETHAND. */
static void handle_signals(VmloadLoader *loader)
{
    struct sigaction action;

    signal_loader = loader;
    memset(&action, 0, sizeof(action));
    action.sa_handler = loader != NULL ? on_signal : SIG_DFL;
    action.sa_flags = loader != NULL ? (int)SA_RESETHAND : 0;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void receive_lock(void *opaque)
{
    g_mutex_lock(&((Receive *)opaque)->big_lock);
}

static void receive_unlock(void *opaque)
{
    g_mutex_unlock(&((Receive *)opaque)->big_lock);
}

/*
 * No device is known here: every one is taken raw, and read by its
 * description.
 */
static bool receive_find(void *opaque, const VmloadSection *section,
                         VmloadDevice *device, GError **error)
{
    (void)opaque;
    (void)section;
    (void)device;
    (void)error;
    return false;
}

static bool receive_raw_section(void *opaque, const VmloadSection *section,
                                const uint8_t *data, uint64_t length,
                                GError **error)
{
    Receive *receive = opaque;

    return cli_devices_add(receive->devices, section, data, length, error);
}

static bool receive_vmdescription(void *opaque, const char *json,
                                  uint64_t length, GError **error)
{
    Receive *receive = opaque;

    return cli_devices_describe(receive->devices, json, length,
                                &receive->limits, error);
}

/* A stranger, of whom there may be any number: a bound on what is said. */
static void receive_refused(void *opaque, const char *connection,
                            const GError *reason)
{
    Receive *receive = opaque;

    if (receive->options.quiet || receive->refused >= REFUSED_MAX) {
        return;
    }
    receive->refused++;
    fprintf(stderr, "refused %s: %s%s\n", connection, reason->message,
            receive->refused == REFUSED_MAX ? " (no more of these)" : "");
}

/* The source is not told of success before all agrees with what it says. */
static void receive_finish(void *opaque, VmloadLoader *loader,
                           const VmloadOutcome *outcome)
{
    Receive *receive = opaque;
    GError *error = NULL;

    if (outcome->loaded) {
        (void)cli_devices_check(receive->devices, &error);
    }
    vmload_loader_finished(loader, error);
    g_clear_error(&error);
}

static bool receive_prefault(const char *text, uint64_t *bytes)
{
    if (strcmp(text, "auto") == 0) {
        *bytes = VMLOAD_PREFAULT_AUTO;
        return true;
    }
    if (strcmp(text, "off") == 0) {
        *bytes = 0;
        return true;
    }
    return cli_parse_number(text, bytes) && *bytes > 0 &&
           *bytes <= VMLOAD_PREFAULT_MAX;
}

/* VMLOAD_MULTIFD_AUTO also for what is not a number of channels. */
static uint32_t receive_channels(const char *text)
{
    guint64 value;

    return g_ascii_string_to_unsigned(text, 10, 1, 255, &value, NULL)
               ? (uint32_t)value
               : VMLOAD_MULTIFD_AUTO;
}

static VmloadLoader *receive_loader(Receive *receive, GError **error)
{
    static const VmloadHostOps ops = {
        VMLOAD_HOST_OPS_INIT,
        .lock = receive_lock,
        .unlock = receive_unlock,
        .find = receive_find,
        .raw_section = receive_raw_section,
        .vmdescription = receive_vmdescription,
        .finish = receive_finish,
        .refused = receive_refused,
    };
    const Options *options = &receive->options;
    VmloadLoader *loader = vmload_loader_new(&ops, receive, NULL, error);
    uint64_t prefault;
    uint32_t stall_ms;

    if (loader == NULL) {
        return NULL;
    }
    vmload_loader_set_limits(loader, &receive->limits);
    vmload_loader_set_presence(loader, VMLOAD_PRESENCE_AUTO,
                               VMLOAD_PRESENCE_AUTO, VMLOAD_PRESENCE_AUTO);
    vmload_loader_set_unknown_sections(loader, VMLOAD_UNKNOWN_KEEP);
    /* A peer that connects and says nothing stalls as well. */
    stall_ms = (uint32_t)(options->stall_timeout * 1000.0);
    if (stall_ms == 0 && options->stall_timeout > 0.0) {
        stall_ms = 1; /* 0 is no bound */
    }
    vmload_loader_set_timeouts(
        loader, stall_ms != 0 ? MIN(stall_ms, HANDSHAKE_MS) : HANDSHAKE_MS,
        stall_ms);
    vmload_loader_set_switchover_ack(loader, options->switchover_ack,
                                     VMLOAD_SWITCHOVER_ACK_LEGACY);
    if (options->retry ||
        (options->commit != NULL && strcmp(options->commit, "atomic") == 0)) {
        vmload_loader_set_commit(loader, VMLOAD_COMMIT_ATOMIC);
    }
    if (options->channels != NULL) {
        vmload_loader_set_multifd(loader, receive_channels(options->channels),
                                  VMLOAD_MULTIFD_SYNC_AUTO);
    }
    vmload_loader_set_ram_threads(loader, (uint32_t)options->threads);
    if (options->prefault != NULL) {
        (void)receive_prefault(options->prefault, &prefault);
        vmload_loader_set_prefault(loader, prefault);
    }
    vmload_loader_set_direct_io(loader, options->direct_io != FALSE);
    cli_ram_attach(receive->ram, loader);
    return loader;
}

/* Addresses are told, for port 0 above all. */
static void tell_addresses(const Receive *receive, VmloadListener *listener)
{
    char **addresses = vmload_listener_get_addresses(listener);
    char **address;

    for (address = addresses; *address != NULL; address++) {
        if (!receive->options.quiet &&
            !g_str_has_prefix(*address, "file:") &&
            !g_str_has_prefix(*address, "fd:")) {
            fprintf(stderr, "listening on %s\n", *address);
        }
    }
    fflush(stderr);
    g_strfreev(addresses);
}

/* The loader gets a duplicate of what listens over all attempts. */
static bool receive_open_again(Receive *receive, VmloadLoader *loader,
                               const char *uri, GError **error)
{
    bool first = receive->listener == NULL;
    VmloadListener *listener;

    if (g_str_has_prefix(uri, "exec:") || g_str_has_prefix(uri, "file:") ||
        g_str_has_prefix(uri, "fd:")) {
        g_set_error(error, VMLOAD_ERROR, VMLOAD_ERROR_FAILED,
                    "--retry: expected an address to listen on (tcp, unix, "
                    "vsock, rdma), found '%s'", uri);
        return false;
    }
    if (first) {
        receive->listener = vmload_listener_new(uri, error);
    }
    if (receive->listener == NULL) {
        return false;
    }
    listener = vmload_listener_dup(receive->listener, error);
    if (listener == NULL) {
        return false;
    }
    if (first) {
        tell_addresses(receive, listener);
    }
    vmload_loader_set_listener(loader, listener);
    return true;
}

/* Where the stream comes from. */
static bool receive_open(Receive *receive, VmloadLoader *loader,
                         const char *uri, GError **error)
{
    VmloadListener *listener;
    VmloadChannel *channel;

    if (receive->options.retry) {
        return receive_open_again(receive, loader, uri, error);
    }
    if (g_str_has_prefix(uri, "exec:")) {
        channel = cli_exec(uri + strlen("exec:"), &receive->child, error);
        if (channel != NULL) {
            vmload_loader_set_channel(loader, channel);
        }
        return channel != NULL;
    }
    listener = vmload_listener_new(uri, error);
    if (listener == NULL) {
        return false;
    }
    tell_addresses(receive, listener);
    vmload_loader_set_listener(loader, listener);
    return true;
}

static void receive_run(Receive *receive, VmloadLoader *loader,
                        GError **error)
{
    CliProgress *progress = NULL;

    if (!vmload_loader_start(loader, error)) {
        return;
    }
    if (!receive->options.quiet) {
        progress = cli_progress_new(loader, isatty(STDERR_FILENO) == 1);
    }
    (void)vmload_loader_wait(loader, error);
    cli_progress_free(progress);
}

static bool write_devices(const Receive *receive, GError **error)
{
    uint64_t n = cli_devices_count(receive->devices);
    json_t *list = json_array();
    uint64_t i;

    for (i = 0; i < n; i++) {
        json_t *json = cli_devices_json(
            receive->devices, cli_devices_get(receive->devices, i), error);

        if (json == NULL) {
            json_decref(list);
            return false;
        }
        json_array_append_new(list, json);
    }
    return cli_json_write(list, receive->options.devices, error);
}

/* Files and words that say how it went. @error is taken. */
static int receive_report(Receive *receive, VmloadLoader *loader,
                          GError *error)
{
    const Options *options = &receive->options;
    GError *local = NULL;
    int code = CLI_OK;

    if (error == NULL && options->devices != NULL &&
        !write_devices(receive, &local)) {
        code = cli_fail(local);
        local = NULL;
    }
    if (options->stats != NULL &&
        !cli_json_write(cli_stats_json(loader, error), options->stats,
                        &local)) {
        code = cli_fail(local);
    }
    if (error != NULL) {
        cli_ram_discard(receive->ram);
        return cli_fail(error);
    }
    if (!cli_ram_save(receive->ram, &local)) {
        code = cli_fail(local);
    }
    if (!options->quiet) {
        cli_stats_print(loader);
    }
    return cli_flush() ? code : CLI_FAILED;
}

/*
 * May the next source try? Not after a device was loaded (VMLOAD_COMMIT_ATOMIC:
 * nothing before is), nor after a signal.
 */
static bool may_retry(const Receive *receive, const GError *error)
{
    return receive->options.retry && error != NULL && !signal_seen &&
           cli_devices_count(receive->devices) == 0;
}

/* One load. *@again: it failed, and another may follow. */
static int receive_once(Receive *receive, const char *uri, bool *again)
{
    GError *error = NULL;
    VmloadLoader *loader = receive_loader(receive, &error);
    int code;

    *again = false;
    /* Before anybody is told that we listen. */
    handle_signals(loader);
    if (signal_seen && loader != NULL) {
        vmload_loader_cancel(loader);
    }
    if (loader == NULL || !receive_open(receive, loader, uri, &error)) {
        /* An address that nobody can listen on is a matter of the user's. */
        bool usage = loader != NULL && !g_error_matches(error, VMLOAD_ERROR,
                                                        VMLOAD_ERROR_IO);

        code = cli_fail(error);
        code = usage ? CLI_USAGE : code;
    } else {
        receive_run(receive, loader, &error);
        *again = may_retry(receive, error);
        code = receive_report(receive, loader, error);
    }
    signal_loader = NULL;
    if (!*again) {
        handle_signals(NULL);
    }
    vmload_loader_free(loader);
    return code;
}

/* All loads; each begins with nothing of the one before. */
static int receive_main(Receive *receive, const char *uri)
{
    const Options *options = &receive->options;
    /* It writes to memory, and a file's is not good enough for it. */
    bool rdma = g_str_has_prefix(uri, "rdma:");
    GError *error = NULL;
    bool again;
    int code;

    receive->ram = options->ram_dir != NULL
                       ? cli_ram_new(options->ram_dir, rdma, &error)
                       : cli_ram_new_memory();
    if (receive->ram == NULL) {
        return cli_fail(error);
    }
    do {
        cli_devices_free(receive->devices);
        receive->devices = cli_devices_new(receive->limits.staged_bytes);
        code = receive_once(receive, uri, &again);
    } while (again);
    vmload_listener_free(receive->listener);
    cli_exec_finish(receive->child);
    return code;
}

static bool receive_check_options(const Options *options)
{
    uint64_t prefault;

    if (options->commit != NULL && strcmp(options->commit, "atomic") != 0 &&
        strcmp(options->commit, "streaming") != 0) {
        cli_error("--commit: expected atomic or streaming, found '%s'",
                  options->commit);
        return false;
    }
    if (options->retry && options->commit != NULL &&
        strcmp(options->commit, "streaming") == 0) {
        cli_error("--retry needs --commit atomic");
        return false;
    }
    /* Also false for what is not a number. */
    if (!(options->stall_timeout >= 0 && options->stall_timeout < 4e6)) {
        cli_error("--stall-timeout: expected 0 to 4000000 seconds");
        return false;
    }
    if (options->channels != NULL && strcmp(options->channels, "auto") != 0 &&
        receive_channels(options->channels) == VMLOAD_MULTIFD_AUTO) {
        cli_error("--channels: expected 1 to 255 or auto, found '%s'",
                  options->channels);
        return false;
    }
    if (options->threads < 0 || options->threads > VMLOAD_RAM_THREADS_MAX) {
        cli_error("--threads: expected 0 to %d, found %d",
                  VMLOAD_RAM_THREADS_MAX, options->threads);
        return false;
    }
    if (options->prefault != NULL &&
        !receive_prefault(options->prefault, &prefault)) {
        cli_error("--prefault: expected auto, off or 1 to 1G bytes, found "
                  "'%s'", options->prefault);
        return false;
    }
    if (options->quiet && options->progress) {
        cli_error("--quiet and --progress exclude each other");
        return false;
    }
    return true;
}

static void options_clear(Options *options)
{
    g_free(options->ram_dir);
    g_free(options->devices);
    g_free(options->stats);
    g_free(options->commit);
    g_free(options->channels);
    g_free(options->prefault);
}

int cli_receive(int argc, char **argv)
{
    Receive receive = {.child = 0};
    Options *options = &receive.options;
    const GOptionEntry entries[] = {
        {"ram-dir", 0, 0, G_OPTION_ARG_FILENAME, &options->ram_dir,
         "Write RAM blocks as sparse files there", "DIR"},
        {"devices", 0, 0, G_OPTION_ARG_FILENAME, &options->devices,
         "Write the state of all devices as JSON", "FILE"},
        {"stats", 0, 0, G_OPTION_ARG_FILENAME, &options->stats,
         "Write counters as JSON, also after a failure", "FILE"},
        {"commit", 0, 0, G_OPTION_ARG_STRING, &options->commit,
         "When device state is applied (default: streaming)",
         "atomic|streaming"},
        {"channels", 0, 0, G_OPTION_ARG_STRING, &options->channels,
         "The source has the capability multifd (default: it has not)",
         "N|auto"},
        {"stall-timeout", 0, 0, G_OPTION_ARG_DOUBLE, &options->stall_timeout,
         "Fail after so long without a byte (default: never)", "SEC"},
        {"retry", 0, 0, G_OPTION_ARG_NONE, &options->retry,
         "After a failure wait for another; implies --commit atomic", NULL},
        {"switchover-ack", 0, 0, G_OPTION_ARG_NONE, &options->switchover_ack,
         "The source has the capability switchover-ack", NULL},
        {"threads", 0, 0, G_OPTION_ARG_INT, &options->threads,
         "Threads that read RAM from a file (default: processors, at most 4)",
         "N"},
        {"prefault", 0, 0, G_OPTION_ARG_STRING, &options->prefault,
         "Make memory ready so far ahead of the stream (default: auto)",
         "auto|off|N[KMG]"},
        {"direct-io", 0, 0, G_OPTION_ARG_NONE, &options->direct_io,
         "Read the RAM of a mapped-ram file past the page cache", NULL},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &options->quiet,
         "Print errors only", NULL},
        {"progress", 0, 0, G_OPTION_ARG_NONE, &options->progress,
         "Show progress (the default)", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    CliCommon common = {NULL};
    char *uri;
    int code;

    if (!cli_parse(argc, argv, "URI",
                   "Receives one migration. URI: tcp:[HOST]:PORT, unix:PATH, "
                   "vsock:CID:PORT, rdma:HOST:PORT, fd:NUMBER, "
                   "file:PATH[,offset=N], exec:COMMAND.",
                   entries, &common, &uri, &code) ||
        !cli_common_limits(&common, &receive.limits) ||
        !receive_check_options(options)) {
        code = CLI_USAGE;
    } else {
        g_mutex_init(&receive.big_lock);
        code = receive_main(&receive, uri);
        cli_devices_free(receive.devices);
        cli_ram_free(receive.ram);
        g_mutex_clear(&receive.big_lock);
    }
    cli_common_clear(&common);
    options_clear(options);
    return code;
}

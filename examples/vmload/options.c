/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <errno.h>
#include <string.h>

/* "Limits" for --help: all names, so that nobody has to look them up. */
#define LIMITS_HELP                                                        \
    "Limits: nesting, section-bytes, staged-bytes, vmdesc-bytes,\n"        \
    "package-bytes, sections, ram-blocks, ram-bytes, elements,\n"          \
    "element-bytes, configuration-names, multifd-window,\n"               \
    "rdma-pinned-bytes. Values may end in K, M, G or T.\n"

bool cli_parse(int argc, char **argv, const char *what, const char *summary,
               const GOptionEntry *entries, CliCommon *common,
               char **argument, int *code)
{
    return cli_parse_n(argc, argv, what, summary, entries, common, 1,
                       argument, code);
}

bool cli_parse_n(int argc, char **argv, const char *what, const char *summary,
                 const GOptionEntry *entries, CliCommon *common, int n,
                 char **arguments, int *code)
{
    const GOptionEntry common_entries[] = {
        {"limit", 0, 0, G_OPTION_ARG_STRING_ARRAY, &common->limits,
         "Change a bound for what a stream may ask for", "NAME=VALUE"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    GOptionContext *context = g_option_context_new(what);
    char *name = g_strdup_printf("vmload %s", argv[0]);
    GError *error = NULL;
    bool ok;

    g_set_prgname(name);
    g_option_context_set_summary(context, summary);
    g_option_context_set_description(context, LIMITS_HELP);
    if (entries != NULL) {
        g_option_context_add_main_entries(context, entries, NULL);
    }
    g_option_context_add_main_entries(context, common_entries, NULL);
    *code = CLI_USAGE;
    ok = g_option_context_parse(context, &argc, &argv, &error);
    if (!ok) {
        cli_error("%s", error->message);
        g_error_free(error);
    } else {
        /* What stands behind "--" is an argument, whatever it looks like. */
        if (argc > 1 && strcmp(argv[1], "--") == 0) {
            argc--;
            argv++;
        }
        ok = argc == 1 + n;
        if (!ok) {
            cli_error("expected %s %s, found %d; see '%s --help'",
                      n == 1 ? "one argument" : "two arguments", what,
                      argc - 1, name);
        } else {
            memcpy(arguments, argv + 1, (size_t)n * sizeof(*arguments));
        }
    }
    g_option_context_free(context);
    g_free(name);
    return ok;
}

void cli_common_clear(CliCommon *common)
{
    g_strfreev(common->limits);
}

bool cli_parse_number(const char *text, uint64_t *value)
{
    static const char units[] = "KMGT";
    char *end;
    const char *unit;
    uint32_t shift = 0;
    uint64_t number;

    if (!g_ascii_isdigit(text[0])) {
        return false;
    }
    errno = 0;
    number = g_ascii_strtoull(text, &end, 0);
    if (errno != 0) {
        return false;
    }
    if (*end != '\0') {
        unit = strchr(units, *end);
        if (unit == NULL || end[1] != '\0') {
            return false;
        }
        shift = 10 * (uint32_t)(unit - units + 1);
    }
    if (number > UINT64_MAX >> shift) {
        return false;
    }
    *value = number << shift;
    return true;
}

bool cli_common_limits(const CliCommon *common, VmloadLimits *limits)
{
    char **item;

    vmload_limits_init(limits);
    for (item = common->limits; item != NULL && *item != NULL; item++) {
        char *equals = strchr(*item, '=');
        GError *error = NULL;
        uint64_t value;

        if (equals == NULL) {
            cli_error("--limit: expected NAME=VALUE, found '%s'", *item);
            return false;
        }
        if (!cli_parse_number(equals + 1, &value)) {
            cli_error("--limit: expected a number that may end in K, M, G or "
                      "T, found '%s'", equals + 1);
            return false;
        }
        *equals = '\0';
        if (!vmload_limits_set(limits, *item, value, &error)) {
            cli_error("--limit: %s", error->message);
            g_error_free(error);
            return false;
        }
    }
    return true;
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <locale.h>
#include <signal.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"receive", cli_receive, "Receive a live migration"},
    {"inspect", cli_inspect, "Show what a stream is made of"},
    {"dump", cli_dump, "Print the state of devices as JSON"},
    {"ram", cli_ram, "Write the guest's RAM to files"},
    {"convert", cli_convert, "Write a stream again as mapped-ram, or back"},
    {"check", cli_check, "Name everything that is wrong with a stream"},
};

static void usage(FILE *out)
{
    size_t i;

    fprintf(out, "Usage: vmload COMMAND [OPTION...] ARGUMENT\n\n");
    for (i = 0; i < G_N_ELEMENTS(commands); i++) {
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
    }
    fprintf(out, "\n'vmload COMMAND --help' tells more.\n");
}

int main(int argc, char **argv)
{
    size_t i;

    setlocale(LC_CTYPE, "");
    /* A peer that goes away is an error, not a signal. */
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        usage(stderr);
        return CLI_USAGE;
    }
    for (i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return cli_flush() ? CLI_OK : CLI_FAILED;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("vmload %s\n", vmload_version());
        return cli_flush() ? CLI_OK : CLI_FAILED;
    }
    cli_error("no command is called '%s'; see 'vmload --help'", argv[1]);
    return CLI_USAGE;
}

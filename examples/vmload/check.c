/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

int cli_check(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    cli_error("check: not there yet");
    return CLI_FAILED;
}

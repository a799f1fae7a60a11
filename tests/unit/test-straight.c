/* SPDX-License-Identifier: BSD-3-Clause */
/* Guesses in a file, by several threads. */
#include "guesses.h"

int main(void)
{
    return run_guesses(LOAD_FILE);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Guesses where bytes come once, in pieces of any length. */
#include "guesses.h"

int main(void)
{
    return run_guesses(LOAD_STREAM);
}

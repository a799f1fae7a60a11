/* SPDX-License-Identifier: BSD-3-Clause */
#include <vmload/version.h>

const char *vmload_version(void)
{
    return G_STRINGIFY(VMLOAD_MAJOR_VERSION) "." G_STRINGIFY(
        VMLOAD_MINOR_VERSION) "." G_STRINGIFY(VMLOAD_MICRO_VERSION);
}

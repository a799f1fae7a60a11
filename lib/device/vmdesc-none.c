/* SPDX-License-Identifier: BSD-3-Clause */
/* Stands in for vmdesc-json.c in builds without a JSON library. */
#include "vmdesc.h"

#include "error.h"

bool vmload_vmdesc_parse(VmloadVmdesc *vmdesc, const char *json,
                         uint64_t length, const VmloadLimits *limits,
                         GError **error)
{
    (void)vmdesc;
    (void)json;
    (void)length;
    (void)limits;
    return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                       "vmdesc: built without the feature 'vmdesc' (Jansson)");
}

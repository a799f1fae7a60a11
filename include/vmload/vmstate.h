/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file vmstate.h
 * Device state by description: a host that describes its device's struct
 * gets its loading for free.
 */
#ifndef VMLOAD_VMSTATE_H
#define VMLOAD_VMSTATE_H

#include <vmload/limits.h>
#include <vmload/reader.h>

G_BEGIN_DECLS

/*
 * Loads one vmsd-body into @object as of @version. Recognises subsections
 * innermost first. Used by vmload_loader_add_state(), and by callbacks for
 * nested descriptions of their own.
 */
typedef struct VmloadStateDesc VmloadStateDesc;
typedef struct VmloadField VmloadField;

VMLOAD_EXPORT bool vmload_state_load(const VmloadStateDesc *desc,
                                     void *object, uint32_t version,
                                     VmloadReader *reader,
                                     const VmloadLimits *limits,
                                     GError **error);

G_END_DECLS

#endif

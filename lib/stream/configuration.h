/* SPDX-License-Identifier: BSD-3-Clause */
/* File header and configuration section (stream format, sections 1 and 3). */
#ifndef VMLOAD_STREAM_CONFIGURATION_H
#define VMLOAD_STREAM_CONFIGURATION_H

#include <vmload/host.h>
#include <vmload/limits.h>
#include <vmload/reader.h>

/* A configuration that owns its strings. */
typedef struct {
    VmloadConfiguration view; /* what callbacks are shown */
    char *machine;
    GPtrArray *capabilities; /* of char *, NULL-terminated */
} VmloadConfigurationData;

void vmload_configuration_init(VmloadConfigurationData *data);
void vmload_configuration_clear(VmloadConfigurationData *data);
void vmload_configuration_copy(VmloadConfigurationData *data,
                               const VmloadConfiguration *from);

bool vmload_configuration_has_capability(const VmloadConfiguration *view,
                                         const char *name);

/* Reads magic and version. */
bool vmload_stream_header_read(VmloadReader *reader, GError **error);

/*
 * Reads the section with all its subsections; the type byte is read already.
 * @data must be initialised.
 */
bool vmload_configuration_read(VmloadReader *reader,
                               const VmloadLimits *limits,
                               VmloadConfigurationData *data, GError **error);

/* Compares what came with what the host expects; MISMATCH tells what. */
bool vmload_configuration_match(const VmloadConfiguration *expected,
                                const VmloadConfiguration *found,
                                GError **error);

#endif

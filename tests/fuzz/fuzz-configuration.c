/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File header and configuration section. Whatever was read must obey the
 * limits, compare equal to a copy of itself, and be read the same in pieces.
 *
 * Input: step of the pieces, limit, then the stream.
 */
#include "fuzz.h"

#include "stream/configuration.h"
#include "stream/reader.h"

static bool read_all(VmloadReader *reader, const VmloadLimits *limits,
                     VmloadConfigurationData *data)
{
    GError *error = NULL;
    uint8_t type = 0;
    bool ok = vmload_stream_header_read(reader, &error) &&
              vmload_reader_get_u8(reader, &type, &error) &&
              vmload_configuration_read(reader, limits, data, &error);

    FUZZ_CHECK(ok == (error == NULL));
    FUZZ_CHECK(ok || error->domain == VMLOAD_ERROR);
    g_clear_error(&error);
    return ok;
}

static void check_limits(const VmloadConfiguration *view,
                         const VmloadLimits *limits)
{
    uint32_t i;

    if (view->present & VMLOAD_CONFIGURATION_MACHINE) {
        FUZZ_CHECK(strlen(view->machine) <= limits->configuration_names);
    }
    FUZZ_CHECK(view->n_capabilities <= limits->configuration_names);
    for (i = 0; i < view->n_capabilities; i++) {
        FUZZ_CHECK(view->capabilities[i][0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VmloadConfigurationData whole;
    VmloadConfigurationData parts;
    VmloadConfigurationData copy;
    VmloadWait wait = {0};
    VmloadLimits limits;
    FuzzPieces pieces;
    VmloadChannel *channel;
    VmloadReader *memory;
    VmloadReader *stream;
    bool ok;

    if (size < 2) {
        return 0;
    }
    vmload_limits_init(&limits);
    limits.configuration_names = 1 + (uint64_t)data[1];
    fuzz_pieces_init(&pieces, data + 2, size - 2, data[0]);
    channel = fuzz_pieces_channel(&pieces);
    stream = vmload_reader_new_channel(channel, &wait, NULL);
    memory = vmload_reader_new_memory(data + 2, size - 2, 0);
    vmload_configuration_init(&whole);
    vmload_configuration_init(&parts);
    vmload_configuration_init(&copy);

    ok = read_all(memory, &limits, &whole);
    FUZZ_CHECK(ok == read_all(stream, &limits, &parts));
    if (ok) {
        check_limits(&whole.view, &limits);
        vmload_configuration_copy(&copy, &whole.view);
        FUZZ_CHECK(vmload_configuration_match(&copy.view, &parts.view, NULL));
        FUZZ_CHECK(vmload_reader_get_offset(memory) ==
                   vmload_reader_get_offset(stream));
    }

    vmload_configuration_clear(&copy);
    vmload_configuration_clear(&parts);
    vmload_configuration_clear(&whole);
    vmload_reader_free(memory);
    vmload_reader_free(stream);
    vmload_channel_unref(channel);
    return 0;
}

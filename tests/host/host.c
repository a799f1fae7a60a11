/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The smallest host: one device, one stream in memory. What it shows is that
 * the library can be found, linked and used from outside its tree.
 */
#include <vmload/vmload.h>

static const uint8_t stream[] = {
    'Q', 'E', 'V', 'M', 0, 0, 0, 3,           /* header */
    7, 0, 0, 0, 4, 'h', 'o', 's', 't',        /* configuration */
    4, 0, 0, 0, 9, 3, 'd', 'e', 'v',          /* FULL, section id 9, "dev" */
    0, 0, 0, 0, 0, 0, 0, 1,                   /* instance 0, version 1 */
    0xca, 0xfe, 0xf0, 0x0d,                   /* payload */
    0x7e, 0, 0, 0, 9,                         /* footer */
    0,                                        /* EOF */
};

static bool dev_load(void *opaque, VmloadReader *reader,
                     const VmloadSection *section, GError **error)
{
    (void)section;
    return vmload_reader_get_be32(reader, opaque, error);
}

int main(void)
{
    const VmloadHostOps host = {VMLOAD_HOST_OPS_INIT};
    const VmloadDeviceOps dev = {VMLOAD_DEVICE_OPS_INIT, .load = dev_load};
    GError *error = NULL;
    uint32_t value = 0;
    VmloadLoader *loader = vmload_loader_new(&host, NULL, NULL, &error);
    bool ok = loader != NULL &&
              vmload_loader_add_device(loader, "dev", 0, 1, 1, NULL, &dev,
                                       &value, NULL, &error);

    if (ok) {
        vmload_loader_set_channel(
            loader,
            vmload_channel_new_memory(stream, sizeof(stream), NULL, NULL));
        ok = vmload_loader_start(loader, &error) &&
             vmload_loader_wait(loader, &error);
    }
    if (!ok) {
        g_printerr("host: %s\n", error->message);
        return 1;
    }
    vmload_loader_free(loader);
    g_print("libvmload %s loaded 0x%x\n", vmload_version(), value);
    return value == 0xcafef00d ? 0 : 1;
}

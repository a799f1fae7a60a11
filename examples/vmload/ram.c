/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

static void ram_print(VmloadLoader *loader)
{
    VmloadRamBlock *block;
    uint64_t i;

    for (i = 0; (block = vmload_loader_get_ram_block(loader, i)) != NULL;
         i++) {
        char *name = cli_percent_name(vmload_ram_block_get_idstr(block));

        printf("%s %" G_GUINT64_FORMAT "\n", name,
               vmload_ram_block_get_length(block));
        g_free(name);
    }
}

static int ram_run(const char *path, const char *folder,
                   const VmloadLimits *limits)
{
    VmloadHostOps ops = {VMLOAD_HOST_OPS_INIT};
    GError *error = NULL;
    CliRam *ram = cli_ram_new(folder, false, &error);
    VmloadLoader *loader = NULL;
    int code;

    if (ram != NULL) {
        loader = cli_offline_new(path, &ops, NULL, limits, &error);
    }
    if (loader != NULL) {
        cli_ram_attach(ram, loader);
    }
    if (loader != NULL && vmload_loader_run(loader, 0, &error)) {
        ram_print(loader);
        code = cli_flush() ? CLI_OK : CLI_FAILED;
    } else {
        code = cli_fail(error);
        if (ram != NULL) {
            cli_ram_discard(ram);
        }
    }
    vmload_loader_free(loader);
    cli_ram_free(ram);
    return code;
}

int cli_ram(int argc, char **argv)
{
    char *folder = NULL;
    const GOptionEntry entries[] = {
        {"out", 'o', 0, G_OPTION_ARG_FILENAME, &folder,
         "Where the files go; made if needed", "DIR"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    CliCommon common = {NULL};
    VmloadLimits limits;
    char *path;
    int code;

    if (!cli_parse(argc, argv, "FILE|- --out DIR",
                   "Writes each block of the guest's RAM as a sparse file.",
                   entries, &common, &path, &code) ||
        !cli_common_limits(&common, &limits)) {
        code = CLI_USAGE;
    } else if (folder == NULL) {
        cli_error("--out DIR is missing");
        code = CLI_USAGE;
    } else {
        code = ram_run(path, folder, &limits);
    }
    cli_common_clear(&common);
    g_free(folder);
    return code;
}

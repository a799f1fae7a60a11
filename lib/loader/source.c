/* SPDX-License-Identifier: BSD-3-Clause */
/* State changes for a host's main loop. */
#include "internal.h"

#include <unistd.h>

typedef struct {
    GSource source;
    VmloadLoader *loader; /* reference */
} StateSource;

static gboolean source_dispatch(GSource *source, GSourceFunc callback,
                                gpointer opaque)
{
    VmloadLoader *loader = ((StateSource *)source)->loader;
    VmloadSourceFunc func = (VmloadSourceFunc)(void (*)(void))callback;
    uint64_t count;
    ssize_t got;

    /* Reset first: a change from now on makes it readable again. */
    got = read(loader->event_fd, &count, sizeof(count));
    (void)got;
    return func == NULL ||
           func(loader, vmload_loader_get_state(loader), opaque);
}

static void source_finalize(GSource *source)
{
    vmload_loader_unref(((StateSource *)source)->loader);
}

/* GLib keeps the pointer and does not write to it, const or not. */
static GSourceFuncs source_funcs = {
    .dispatch = source_dispatch,
    .finalize = source_finalize,
};

int32_t vmload_loader_get_event_fd(VmloadLoader *loader)
{
    g_return_val_if_fail(loader != NULL, -1);
    return loader->event_fd;
}

GSource *vmload_loader_create_source(VmloadLoader *loader)
{
    GSource *source;

    g_return_val_if_fail(loader != NULL, NULL);
    source = g_source_new(&source_funcs, sizeof(StateSource));
    ((StateSource *)source)->loader = vmload_loader_ref(loader);
    g_source_set_name(source, "vmload state");
    g_source_add_unix_fd(source, loader->event_fd, G_IO_IN);
    return source;
}

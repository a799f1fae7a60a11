/* SPDX-License-Identifier: BSD-3-Clause */
#include "error.h"

#include <sys/stat.h>

/* Not G_DEFINE_QUARK(): threads would race for its static variable. */
GQuark vmload_error_quark(void)
{
    return g_quark_from_static_string("vmload-error-quark");
}

bool vmload_fail(GError **error, VmloadError code, const char *format, ...)
{
    va_list args;

    if (error != NULL) {
        va_start(args, format);
        *error = g_error_new_valist(VMLOAD_ERROR, (int)code, format, args);
        va_end(args);
    }
    return false;
}

bool vmload_fail_errno(GError **error, int errnum, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    vmload_fail(error, VMLOAD_ERROR_IO, "%s: %s", text, g_strerror(errnum));
    g_free(text);
    return false;
}

const char *vmload_file_type(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "a regular file";
    case S_IFDIR:
        return "a directory";
    case S_IFCHR:
        return "a character device";
    case S_IFBLK:
        return "a block device";
    case S_IFIFO:
        return "a pipe";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a file of another type";
    }
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <string.h>

static void append_escaped(GString *out, char byte)
{
    g_string_append_printf(out, "%%%02X", (uint8_t)byte);
}

char *cli_percent_name(const char *name)
{
    GString *out = g_string_new(NULL);
    bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;

    for (; *name != '\0'; name++) {
        if (!dots && (g_ascii_isalnum(*name) || strchr("._:-", *name))) {
            g_string_append_c(out, *name);
        } else {
            append_escaped(out, *name);
        }
    }
    return g_string_free(out, FALSE);
}

char *cli_printable(const char *name)
{
    GString *out = g_string_new(NULL);
    bool utf8 = g_utf8_validate(name, -1, NULL);

    for (; *name != '\0'; name++) {
        if (g_ascii_isprint(*name) || (utf8 && (*name & 0x80) != 0)) {
            g_string_append_c(out, *name);
        } else {
            append_escaped(out, *name);
        }
    }
    return g_string_free(out, FALSE);
}

void cli_error(const char *format, ...)
{
    va_list args;
    char *message;
    char *line;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    line = cli_printable(message);
    fprintf(stderr, "vmload: %s\n", line);
    g_free(line);
    g_free(message);
}

int cli_fail(GError *error)
{
    int code = CLI_FAILED;

    if (g_error_matches(error, VMLOAD_ERROR, VMLOAD_ERROR_CANCELLED)) {
        code = CLI_CANCELLED;
    }
    cli_error("%s", error->message);
    g_error_free(error);
    return code;
}

char *cli_size(uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB",
                                        "EiB"};
    double value = (double)bytes;
    size_t i = 0;

    if (bytes < 1024) {
        return g_strdup_printf("%" G_GUINT64_FORMAT " B", bytes);
    }
    for (value /= 1024; value >= 1024 && i < G_N_ELEMENTS(units) - 1; i++) {
        value /= 1024;
    }
    return g_strdup_printf("%.1f %s", value, units[i]);
}

char *cli_hex(const uint8_t *data, uint64_t length)
{
    static const char digits[] = "0123456789abcdef";
    char *text;
    uint64_t i;

    if (length > (G_MAXSIZE - 1) / 2) {
        return NULL;
    }
    text = g_try_malloc((gsize)length * 2 + 1);
    if (text == NULL) {
        return NULL;
    }
    for (i = 0; i < length; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    text[2 * length] = '\0';
    return text;
}

bool cli_flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_error("standard output: could not be written");
        return false;
    }
    return true;
}

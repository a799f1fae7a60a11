/* SPDX-License-Identifier: BSD-3-Clause */
#include "uri.h"

#include "error.h"

#include <string.h>
#include <sys/socket.h>

/* Not strtoull: that takes spaces, signs and "0x" in a decimal place. */
static bool uri_digits(const char *text, size_t length, unsigned base,
                       uint64_t max, uint64_t *value)
{
    uint64_t result = 0;
    size_t i;

    if (length == 0) {
        return false;
    }
    for (i = 0; i < length; i++) {
        int digit = g_ascii_xdigit_value(text[i]);

        if (digit < 0 || (unsigned)digit >= base || (unsigned)digit > max ||
            result > (max - (unsigned)digit) / base) {
            return false;
        }
        result = result * base + (unsigned)digit;
    }
    *value = result;
    return true;
}

/* The first @length bytes of @text. */
static char *uri_part(const char *text, size_t length)
{
    char *part = g_strdup(text);

    part[length] = '\0';
    return part;
}

static bool uri_number(const char *text, uint64_t max, uint64_t *value)
{
    return uri_digits(text, strlen(text), 10, max, value);
}

/* "=on" and "=off" may follow a flag; nothing means on. */
static bool uri_flag(const char *option, const char *name, int *flag)
{
    size_t length = strlen(name);

    if (strncmp(option, name, length) != 0) {
        return false;
    }
    option += length;
    if (*option == '\0' || strcmp(option, "=on") == 0) {
        *flag = 1;
        return true;
    }
    if (strcmp(option, "=off") == 0) {
        *flag = 0;
        return true;
    }
    return false;
}

/* One family only, if a flag says so; -1 is a flag that was not given. */
static bool uri_family(int ipv4, int ipv6, VmloadUri *uri, GError **error)
{
    if (ipv4 == 0 && ipv6 == 0) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "address: expected ipv4 or ipv6, found both off");
    }
    uri->family = AF_UNSPEC;
    if (ipv4 != ipv6) {
        uri->family = ipv4 == 1 || ipv6 == 0 ? AF_INET : AF_INET6;
    }
    return true;
}

/* @options begins with its comma, so that list[0] is empty. */
static bool uri_tcp_options(const char *options, VmloadUri *uri,
                            GError **error)
{
    char **list = g_strsplit(options, ",", -1);
    int ipv4 = -1;
    int ipv6 = -1;
    bool ok = true;
    size_t i;

    for (i = 1; ok && list[i] != NULL; i++) {
        if (!uri_flag(list[i], "ipv4", &ipv4) &&
            !uri_flag(list[i], "ipv6", &ipv6)) {
            ok = vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                             "address: expected ipv4[=on|off] or "
                             "ipv6[=on|off], found option '%s'", list[i]);
        }
    }
    g_strfreev(list);
    return ok && uri_family(ipv4, ipv6, uri, error);
}

/* HOST:PORT[,options]; @rest stands behind the host. */
static bool uri_inet_port(const char *kind, const char *text, const char *rest,
                          VmloadUri *uri, GError **error)
{
    size_t length;
    uint64_t number;

    if (*rest != ':') {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "address %s:%s: expected HOST:PORT", kind, text);
    }
    rest++;
    length = strcspn(rest, ",");
    uri->port = uri_part(rest, length);
    if (length == 0 || strchr(uri->port, ':') != NULL ||
        (g_ascii_isdigit(rest[0]) && !uri_number(uri->port, 65535, &number))) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "address %s:%s: expected a port, found '%s'",
                           kind, text, uri->port);
    }
    rest += length;
    return *rest == '\0' || uri_tcp_options(rest, uri, error);
}

static bool uri_inet(const char *kind, const char *text, VmloadUri *uri,
                     GError **error)
{
    size_t length;

    if (*text != '[') {
        length = strcspn(text, ":,");
        uri->host = length > 0 ? uri_part(text, length) : NULL;
        return uri_inet_port(kind, text, text + length, uri, error);
    }
    length = strcspn(text + 1, "]");
    if (length == 0 || text[1 + length] != ']') {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "address %s:%s: expected [IPV6]:PORT", kind, text);
    }
    uri->host = uri_part(text + 1, length);
    return uri_inet_port(kind, text, text + length + 2, uri, error);
}

static bool uri_tcp(const char *text, VmloadUri *uri, GError **error)
{
    return uri_inet("tcp", text, uri, error);
}

static bool uri_rdma(const char *text, VmloadUri *uri, GError **error)
{
    return uri_inet("rdma", text, uri, error);
}

static bool uri_unix(const char *text, VmloadUri *uri, GError **error)
{
    if (*text == '\0') {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "address unix: expected a path");
    }
    uri->path = g_strdup(text);
    return true;
}

static bool uri_vsock(const char *text, VmloadUri *uri, GError **error)
{
    size_t length = strcspn(text, ":");
    uint64_t cid;
    uint64_t port;

    if (text[length] != ':' ||
        !uri_digits(text, length, 10, UINT32_MAX, &cid) ||
        !uri_number(text + length + 1, UINT32_MAX, &port)) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "address vsock:%s: expected CID:PORT, two numbers "
                           "below 2^32", text);
    }
    uri->cid = (uint32_t)cid;
    uri->vsock_port = (uint32_t)port;
    return true;
}

static bool uri_fd(const char *text, VmloadUri *uri, GError **error)
{
    uint64_t fd;

    if (!uri_number(text, G_MAXINT32, &fd)) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "address fd:%s: expected the number of a "
                           "descriptor", text);
    }
    uri->fd = (int32_t)fd;
    return true;
}

/* Hexadecimal, or decimal with a binary suffix: 0x1000, 4096, 4k, 1G. */
static bool uri_offset(const char *text, uint64_t *offset)
{
    static const char suffixes[] = "BKMGTPE";
    size_t length = strlen(text);
    const char *suffix;
    unsigned shift = 0;
    uint64_t value;

    if (length > 2 && text[0] == '0' && (text[1] | 0x20) == 'x') {
        return uri_digits(text + 2, length - 2, 16, G_MAXINT64, offset);
    }
    if (length > 1 && g_ascii_isalpha(text[length - 1])) {
        suffix = strchr(suffixes, g_ascii_toupper(text[length - 1]));
        if (suffix == NULL) {
            return false;
        }
        shift = 10 * (unsigned)(suffix - suffixes);
        length--;
    }
    if (!uri_digits(text, length, 10, (uint64_t)G_MAXINT64 >> shift, &value)) {
        return false;
    }
    *offset = value << shift;
    return true;
}

static bool uri_file(const char *text, VmloadUri *uri, GError **error)
{
    static const char option[] = ",offset=";
    const char *found = strstr(text, option);
    size_t length = found != NULL ? (size_t)(found - text) : strlen(text);

    if (length == 0) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "address file:%s: expected a path", text);
    }
    uri->path = uri_part(text, length);
    if (found != NULL &&
        !uri_offset(found + strlen(option), &uri->offset)) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "address file:%s: expected an offset below 2^63 "
                           "such as 4096, 0x1000 or 4k, found '%s'",
                           text, found + strlen(option));
    }
    return true;
}

static const struct {
    const char *prefix;
    VmloadUriKind kind;
    bool (*parse)(const char *text, VmloadUri *uri, GError **error);
} uri_table[] = {
    {"tcp:", VMLOAD_URI_TCP, uri_tcp},
    {"unix:", VMLOAD_URI_UNIX, uri_unix},
    {"vsock:", VMLOAD_URI_VSOCK, uri_vsock},
    {"fd:", VMLOAD_URI_FD, uri_fd},
    {"file:", VMLOAD_URI_FILE, uri_file},
    {"rdma:", VMLOAD_URI_RDMA, uri_rdma},
};

/* What QEMU knows and we do not serve. */
static const struct {
    const char *prefix;
    const char *reason;
} uri_refused[] = {
    {"exec:", "a library does not start programs; start it and hand over "
              "its descriptor"},
};

static bool uri_unknown(const char *text, GError **error)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(uri_refused); i++) {
        if (g_str_has_prefix(text, uri_refused[i].prefix)) {
            return vmload_fail(error, VMLOAD_ERROR_UNSUPPORTED,
                               "address '%s': %s", text,
                               uri_refused[i].reason);
        }
    }
    return vmload_fail(error, VMLOAD_ERROR_FAILED,
                       "address '%s': expected tcp:, unix:, vsock:, fd:, "
                       "file: or rdma:", text);
}

bool vmload_uri_parse(const char *text, VmloadUri *uri, GError **error)
{
    VmloadUri parsed = {.family = AF_UNSPEC};
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(uri_table); i++) {
        if (!g_str_has_prefix(text, uri_table[i].prefix)) {
            continue;
        }
        parsed.kind = uri_table[i].kind;
        if (!uri_table[i].parse(text + strlen(uri_table[i].prefix), &parsed,
                                error)) {
            vmload_uri_clear(&parsed);
            return false;
        }
        *uri = parsed;
        return true;
    }
    return uri_unknown(text, error);
}

void vmload_uri_clear(VmloadUri *uri)
{
    g_free(uri->host);
    g_free(uri->port);
    g_free(uri->path);
    memset(uri, 0, sizeof(*uri));
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "channel/uri.h"

#include <sys/socket.h>

static const struct {
    const char *text;
    const char *host;
    const char *port;
    int family;
} tcp_cases[] = {
    {"tcp:1.2.3.4:5", "1.2.3.4", "5", AF_UNSPEC},
    {"tcp:host.name:65535", "host.name", "65535", AF_UNSPEC},
    {"tcp::4444", NULL, "4444", AF_UNSPEC},
    {"tcp:0:4444", "0", "4444", AF_UNSPEC},
    {"tcp:[::1]:0", "::1", "0", AF_UNSPEC},
    {"tcp:[fe80::1%eth0]:7", "fe80::1%eth0", "7", AF_UNSPEC},
    {"tcp:h:http", "h", "http", AF_UNSPEC},
    {"tcp:h:1,ipv4", "h", "1", AF_INET},
    {"tcp:h:1,ipv6", "h", "1", AF_INET6},
    {"tcp:h:1,ipv4=on", "h", "1", AF_INET},
    {"tcp:h:1,ipv4=off", "h", "1", AF_INET6},
    {"tcp:h:1,ipv6=off", "h", "1", AF_INET},
    {"tcp:h:1,ipv4=on,ipv6=off", "h", "1", AF_INET},
    {"tcp:h:1,ipv6,ipv4", "h", "1", AF_UNSPEC},
};

static void test_tcp(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(tcp_cases); i++) {
        GError *error = NULL;
        VmloadUri uri;

        assert_true(vmload_uri_parse(tcp_cases[i].text, &uri, &error));
        assert_int_equal(uri.kind, VMLOAD_URI_TCP);
        if (tcp_cases[i].host != NULL) {
            assert_string_equal(uri.host, tcp_cases[i].host);
        } else {
            assert_null(uri.host);
        }
        assert_string_equal(uri.port, tcp_cases[i].port);
        assert_int_equal(uri.family, tcp_cases[i].family);
        vmload_uri_clear(&uri);
    }
}

static const struct {
    const char *text;
    const char *path;
    uint64_t offset;
} file_cases[] = {
    {"file:/a/b", "/a/b", 0},
    {"file:/a/b,c", "/a/b,c", 0},
    {"file:x,offset=0", "x", 0},
    {"file:x,offset=4096", "x", 4096},
    {"file:x,offset=0x1f0", "x", 0x1f0},
    {"file:x,offset=0X1F0", "x", 0x1f0},
    {"file:x,offset=4k", "x", 4096},
    {"file:x,offset=3M", "x", 3u << 20},
    {"file:x,offset=1b", "x", 1},
    {"file:x,offset=7E", "x", (uint64_t)7 << 60},
    {"file:x,offset=9223372036854775807", "x", G_MAXINT64},
    {"file:x,offset=0x7fffffffffffffff", "x", G_MAXINT64},
};

static void test_file(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(file_cases); i++) {
        GError *error = NULL;
        VmloadUri uri;

        assert_true(vmload_uri_parse(file_cases[i].text, &uri, &error));
        assert_int_equal(uri.kind, VMLOAD_URI_FILE);
        assert_string_equal(uri.path, file_cases[i].path);
        assert_int_equal(uri.offset, file_cases[i].offset);
        vmload_uri_clear(&uri);
    }
}

static void test_others(void **state)
{
    GError *error = NULL;
    VmloadUri uri;

    (void)state;
    assert_true(vmload_uri_parse("unix:/run/a:b,c", &uri, &error));
    assert_int_equal(uri.kind, VMLOAD_URI_UNIX);
    assert_string_equal(uri.path, "/run/a:b,c");
    vmload_uri_clear(&uri);

    assert_true(vmload_uri_parse("vsock:4294967295:1024", &uri, &error));
    assert_int_equal(uri.kind, VMLOAD_URI_VSOCK);
    assert_int_equal(uri.cid, UINT32_MAX);
    assert_int_equal(uri.vsock_port, 1024);
    vmload_uri_clear(&uri);

    assert_true(vmload_uri_parse("fd:17", &uri, &error));
    assert_int_equal(uri.kind, VMLOAD_URI_FD);
    assert_int_equal(uri.fd, 17);
    vmload_uri_clear(&uri);
}

static const struct {
    const char *text;
    VmloadError code;
    const char *part;
} bad_cases[] = {
    {"", VMLOAD_ERROR_FAILED, "expected tcp:"},
    {"defer", VMLOAD_ERROR_FAILED, "expected tcp:"},
    {"TCP:h:1", VMLOAD_ERROR_FAILED, "expected tcp:"},
    {"/path", VMLOAD_ERROR_FAILED, "expected tcp:"},
    {"exec:cat x", VMLOAD_ERROR_UNSUPPORTED, "does not start programs"},
    {"rdma:h", VMLOAD_ERROR_FAILED, "rdma:h: expected HOST:PORT"},
    {"rdma:[::1:1", VMLOAD_ERROR_FAILED, "rdma:[::1:1: expected [IPV6]:PORT"},
    {"tcp:", VMLOAD_ERROR_FAILED, "HOST:PORT"},
    {"tcp:h", VMLOAD_ERROR_FAILED, "HOST:PORT"},
    {"tcp:h,ipv4", VMLOAD_ERROR_FAILED, "HOST:PORT"},
    {"tcp:h:", VMLOAD_ERROR_FAILED, "port"},
    {"tcp::", VMLOAD_ERROR_FAILED, "port"},
    {"tcp:h:65536", VMLOAD_ERROR_FAILED, "port"},
    {"tcp:h:99999999999999999999", VMLOAD_ERROR_FAILED, "port"},
    {"tcp:h:1x", VMLOAD_ERROR_FAILED, "port"},
    {"tcp:::1:5", VMLOAD_ERROR_FAILED, "port"},
    {"tcp:[::1:5", VMLOAD_ERROR_FAILED, "[IPV6]:PORT"},
    {"tcp:[]:5", VMLOAD_ERROR_FAILED, "[IPV6]:PORT"},
    {"tcp:[::1]5", VMLOAD_ERROR_FAILED, "HOST:PORT"},
    {"tcp:[::1]", VMLOAD_ERROR_FAILED, "HOST:PORT"},
    {"tcp:h:1,", VMLOAD_ERROR_UNSUPPORTED, "option ''"},
    {"tcp:h:1,ipv4x", VMLOAD_ERROR_UNSUPPORTED, "option 'ipv4x'"},
    {"tcp:h:1,ipv4=maybe", VMLOAD_ERROR_UNSUPPORTED, "option 'ipv4=maybe'"},
    {"tcp:h:1,to=5", VMLOAD_ERROR_UNSUPPORTED, "option 'to=5'"},
    {"tcp:h:1,ipv4=off,ipv6=off", VMLOAD_ERROR_FAILED, "both off"},
    {"unix:", VMLOAD_ERROR_FAILED, "path"},
    {"vsock:1", VMLOAD_ERROR_FAILED, "CID:PORT"},
    {"vsock::1", VMLOAD_ERROR_FAILED, "CID:PORT"},
    {"vsock:1:", VMLOAD_ERROR_FAILED, "CID:PORT"},
    {"vsock:1:4294967296", VMLOAD_ERROR_FAILED, "CID:PORT"},
    {"vsock:-1:2", VMLOAD_ERROR_FAILED, "CID:PORT"},
    {"vsock:1:2,x", VMLOAD_ERROR_FAILED, "CID:PORT"},
    {"fd:", VMLOAD_ERROR_FAILED, "number"},
    {"fd:mon", VMLOAD_ERROR_FAILED, "number"},
    {"fd:-1", VMLOAD_ERROR_FAILED, "number"},
    {"fd:2147483648", VMLOAD_ERROR_FAILED, "number"},
    {"file:", VMLOAD_ERROR_FAILED, "path"},
    {"file:,offset=1", VMLOAD_ERROR_FAILED, "path"},
    {"file:x,offset=", VMLOAD_ERROR_FAILED, "found ''"},
    {"file:x,offset=k", VMLOAD_ERROR_FAILED, "found 'k'"},
    {"file:x,offset=-1", VMLOAD_ERROR_FAILED, "found '-1'"},
    {"file:x,offset= 1", VMLOAD_ERROR_FAILED, "found ' 1'"},
    {"file:x,offset=1z", VMLOAD_ERROR_FAILED, "found '1z'"},
    {"file:x,offset=1kk", VMLOAD_ERROR_FAILED, "found '1kk'"},
    {"file:x,offset=0x", VMLOAD_ERROR_FAILED, "found '0x'"},
    {"file:x,offset=0xg", VMLOAD_ERROR_FAILED, "found '0xg'"},
    {"file:x,offset=8E", VMLOAD_ERROR_FAILED, "found '8E'"},
    {"file:x,offset=9E", VMLOAD_ERROR_FAILED, "found '9E'"},
    {"file:x,offset=9223372036854775808", VMLOAD_ERROR_FAILED, "below 2^63"},
    {"file:x,offset=0x8000000000000000", VMLOAD_ERROR_FAILED, "below 2^63"},
    {"file:x,offset=1,offset=2", VMLOAD_ERROR_FAILED, "found '1,offset=2'"},
};

static void test_bad(void **state)
{
    const VmloadUri untouched = {.kind = VMLOAD_URI_VSOCK, .fd = 5};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(bad_cases); i++) {
        VmloadUri uri = untouched;
        GError *error = NULL;

        if (vmload_uri_parse(bad_cases[i].text, &uri, &error)) {
            fail_msg("'%s' was accepted", bad_cases[i].text);
        }
        assert_unit_error(&error, bad_cases[i].code, bad_cases[i].part);
        assert_memory_equal(&uri, &untouched, sizeof(uri));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_bad),
    };

    return cmocka_run_group_tests_name("uri", tests, NULL, NULL);
}

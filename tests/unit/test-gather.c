/* SPDX-License-Identifier: BSD-3-Clause */
/* The connections of one load: any order of arrival, some that never come. */
#include "unit.h"

#include "channel/gather.h"
#include "packet-writer.h"

#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Never over: the test fails if it is ever needed. */
#define LONG_US (60 * G_USEC_PER_SEC)
/* Over soon. */
#define SHORT_US 1000

#define PEERS_MAX 4

static const uint8_t uuid[16] = {1, 2, 3};

typedef struct {
    char *folder;
    char *path;
    VmloadListener *listener;
    VmloadGathering *gathering;
    int peers[PEERS_MAX];
    guint n;
} Scene;

static void scene_begin(Scene *scene, const VmloadWanted *wanted)
{
    char *uri;

    memset(scene, 0, sizeof(*scene));
    scene->folder = g_dir_make_tmp("vmload-XXXXXX", NULL);
    assert_non_null(scene->folder);
    scene->path = g_build_filename(scene->folder, "s", NULL);
    uri = g_strconcat("unix:", scene->path, NULL);
    scene->listener = vmload_listener_new(uri, NULL);
    assert_non_null(scene->listener);
    scene->gathering = vmload_gathering_new(scene->listener, wanted);
    g_free(uri);
}

/* Who was not taken is closed: no peer is left in the dark. */
static void scene_end(Scene *scene)
{
    char byte;
    guint i;

    vmload_gathering_free(scene->gathering);
    for (i = 0; i < scene->n; i++) {
        /* The end, or a reset if there were bytes nobody had read. */
        assert_true(recv(scene->peers[i], &byte, 1, 0) <= 0);
        close(scene->peers[i]);
    }
    vmload_listener_free(scene->listener);
    g_rmdir(scene->folder);
    g_free(scene->path);
    g_free(scene->folder);
}

/*
 * 'm': the main channel; '0' to '3': a multifd channel; '-': says nothing; 'x':
 * garbage.
 */
static void scene_connect(Scene *scene, const char *who)
{
    for (; *who != '\0'; who++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        GByteArray *out = sw_new();

        g_strlcpy(address.sun_path, scene->path, sizeof(address.sun_path));
        assert_int_equal(
            connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        if (*who == 'm') {
            sw_header(out);
        } else if (*who == 'x') {
            sw_bytes(out, "GET / HTTP", 10);
        } else if (*who != '-') {
            pw_handshake(out, uuid, (uint8_t)(*who - '0'));
        }
        assert_int_equal(send(fd, out->data, out->len, MSG_NOSIGNAL),
                         out->len);
        assert_true(scene->n < PEERS_MAX);
        scene->peers[scene->n++] = fd;
        g_byte_array_unref(out);
    }
}

static void assert_main(Scene *scene)
{
    GError *error = NULL;
    VmloadChannel *channel =
        vmload_gathering_get_main(scene->gathering, NULL, &error);

    if (channel == NULL) {
        fail_msg("%s", error->message);
    }
    assert_string_equal(vmload_channel_get_name(channel), "main");
    vmload_channel_unref(channel);
}

/* Exactly these channels are there, the lowest first, each once. */
static void assert_taken(Scene *scene, const char *ids)
{
    VmloadChannel *channel;
    uint32_t id = 99;

    for (; *ids != '\0'; ids++) {
        char name[] = {'m', 'u', 'l', 't', 'i', 'f', 'd', ' ', *ids, '\0'};

        channel = vmload_gathering_take(scene->gathering, &id);
        assert_non_null(channel);
        assert_int_equal(id, *ids - '0');
        assert_string_equal(vmload_channel_get_name(channel), name);
        vmload_channel_unref(channel);
    }
    assert_null(vmload_gathering_take(scene->gathering, &id));
}

static void test_all(void **state)
{
    static const char *const orders[] = {
        "m012", "012m", "21m0", "1m02", "2m10",
    };
    const VmloadWanted wanted = {.multifd = 3, .all = true, .uuid = uuid,
                                 .handshake_us = LONG_US};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(orders); i++) {
        Scene scene;

        scene_begin(&scene, &wanted);
        assert_null(vmload_gathering_get_uuid(scene.gathering));
        scene_connect(&scene, orders[i]);
        assert_main(&scene);
        /* Nobody else is wanted: the address is gone. */
        assert_false(g_file_test(scene.path, G_FILE_TEST_EXISTS));
        assert_memory_equal(vmload_gathering_get_uuid(scene.gathering), uuid,
                            16);
        assert_taken(&scene, "012");
        scene_end(&scene);
    }
}

/* Those that come later, as a source of another age connects them. */
static void test_some(void **state)
{
    const VmloadWanted wanted = {.multifd = 3, .handshake_us = LONG_US};
    const VmloadWait wait = {0};
    GError *error = NULL;
    Scene scene;

    (void)state;
    scene_begin(&scene, &wanted);
    scene_connect(&scene, "m");
    assert_main(&scene);
    assert_true(vmload_gathering_update(scene.gathering, &wait, &error));
    assert_taken(&scene, "");
    scene_connect(&scene, "10");
    assert_true(vmload_gathering_update(scene.gathering, &wait, &error));
    assert_taken(&scene, "01");
    /* Who says nothing holds up nothing. */
    scene_connect(&scene, "-");
    assert_true(vmload_gathering_update(scene.gathering, &wait, &error));
    assert_taken(&scene, "");
    scene_end(&scene);
}

static void test_failures(void **state)
{
    static const uint8_t other[16] = {9};
    static const struct {
        uint32_t multifd;
        bool all;
        const uint8_t *uuid;
        int64_t handshake_us;
        const char *who;
        VmloadError code;
        const char *part;
    } cases[] = {
        {2, true, NULL, SHORT_US, "1", VMLOAD_ERROR_TIMEOUT,
         "found no main channel, 1 multifd channels (missing: 0) and 0"},
        {2, true, NULL, SHORT_US, "m-", VMLOAD_ERROR_TIMEOUT,
         "found the main channel, 0 multifd channels (missing: 0, 1)"},
        {3, false, NULL, SHORT_US, "1", VMLOAD_ERROR_TIMEOUT,
         "expected multifd channel 0 within 1 ms, found 1 channels"},
        {1, true, other, LONG_US, "0m", VMLOAD_ERROR_MISMATCH, "uuid"},
        {2, true, NULL, LONG_US, "00", VMLOAD_ERROR_MALFORMED, "0 again"},
        {2, true, NULL, LONG_US, "2", VMLOAD_ERROR_MALFORMED, "field id"},
        {0, true, NULL, LONG_US, "0", VMLOAD_ERROR_UNSUPPORTED, ""},
    };
    const VmloadWait wait = {0};
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        const VmloadWanted wanted = {
            .multifd = cases[i].multifd,
            .all = cases[i].all,
            .uuid = cases[i].uuid,
            .handshake_us = cases[i].handshake_us,
        };
        GError *error = NULL;
        Scene scene;

        scene_begin(&scene, &wanted);
        scene_connect(&scene, cases[i].who);
        if (!wanted.all) {
            assert_false(
                vmload_gathering_update(scene.gathering, &wait, &error));
        } else {
            assert_null(
                vmload_gathering_get_main(scene.gathering, &wait, &error));
        }
        assert_unit_error(&error, cases[i].code, cases[i].part);
        scene_end(&scene);
    }
}

typedef struct {
    Scene *scene;
    guint n;
    VmloadError code;
} Strangers;

/* The source comes only when the strangers are gone. */
static void stranger_refused(void *opaque, const char *connection,
                             const GError *reason)
{
    Strangers *strangers = opaque;

    /* Counted from 1; a unix socket's peer has no address. */
    assert_true(strcmp(connection, "connection 1") == 0 ||
                strcmp(connection, "connection 2") == 0);
    assert_int_equal(reason->code, strangers->code);
    if (++strangers->n == 2) {
        scene_connect(strangers->scene, "m");
    }
}

/* The silent ones have their own deadline; nobody else is held to it. */
static void test_strangers_first(void **state)
{
    static const struct {
        const char *who;
        int64_t handshake_us;
        VmloadError code;
    } cases[] = {
        {"--", SHORT_US, VMLOAD_ERROR_TIMEOUT},
        {"xx", LONG_US, VMLOAD_ERROR_MALFORMED},
    };
    size_t i;

    (void)state;
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        Scene scene;
        Strangers strangers = {.scene = &scene, .code = cases[i].code};
        const VmloadWanted wanted = {
            .all = true,
            .handshake_us = cases[i].handshake_us,
            .refused = stranger_refused,
            .opaque = &strangers,
        };

        scene_begin(&scene, &wanted);
        scene_connect(&scene, cases[i].who);
        assert_main(&scene);
        assert_int_equal(strangers.n, 2);
        scene_end(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_some),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_strangers_first),
    };

    return cmocka_run_group_tests_name("gather", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* A callback that waits for a guest page which has not arrived. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vmload/loader.h>

#include "stream-writer.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* What is told; the clock is not asked, so that it can be compared. */
#define TOLD_NS 12345

typedef struct {
    VmloadLoader *loader;
    uint8_t *page;   /* missing until somebody brings it */
    uint64_t size;
    int uffd;
    int served;      /* faults */
    bool touch_held; /* in `apply`, else in `parse` */
    uint8_t seen;
} Guest;

/* Brings the page to whoever faults, and tells. */
static void *serve(void *opaque)
{
    Guest *guest = opaque;
    struct pollfd fd = {.fd = guest->uffd, .events = POLLIN};
    struct uffd_msg message;
    struct uffdio_copy copy = {0};
    uint8_t *content = g_malloc0(guest->size);

    assert_int_equal(poll(&fd, 1, 10000), 1);
    assert_int_equal(read(guest->uffd, &message, sizeof(message)),
                     sizeof(message));
    assert_int_equal(message.event, UFFD_EVENT_PAGEFAULT);
    guest->served++;
    content[0] = 0x77;
    vmload_loader_note_fault(guest->loader,
                             message.arg.pagefault.feat.ptid, TOLD_NS);
    copy.dst = (uint64_t)(uintptr_t)guest->page;
    copy.src = (uint64_t)(uintptr_t)content;
    copy.len = guest->size;
    assert_int_equal(ioctl(guest->uffd, UFFDIO_COPY, &copy), 0);
    g_free(content);
    return NULL;
}

static void *device_parse(void *opaque, VmloadReader *reader,
                          const VmloadSection *section, GError **error)
{
    Guest *guest = opaque;

    (void)section;
    if (!guest->touch_held) {
        guest->seen = *(volatile uint8_t *)guest->page;
    }
    return vmload_reader_skip(reader, 4, error) ? guest : NULL;
}

static bool device_apply(void *opaque, void *parsed,
                         const VmloadSection *section, GError **error)
{
    Guest *guest = opaque;

    (void)parsed;
    (void)section;
    (void)error;
    if (guest->touch_held) {
        guest->seen = *(volatile uint8_t *)guest->page;
    }
    return true;
}

static void nothing(void *opaque)
{
    (void)opaque;
}

static VmloadLoader *make_loader(Guest *guest, const GByteArray *stream)
{
    const VmloadHostOps host = {
        VMLOAD_HOST_OPS_INIT,
        .lock = nothing,
        .unlock = nothing,
    };
    const VmloadDeviceOps ops = {
        VMLOAD_DEVICE_OPS_INIT,
        .parse = device_parse,
        .apply = device_apply,
    };
    VmloadLockPlan plan = VMLOAD_LOCK_PLAN_INIT;
    VmloadLoader *loader = vmload_loader_new(&host, NULL, NULL, NULL);

    plan.start = plan.part = plan.end = plan.full = VMLOAD_LOCK_APPLY;
    assert_true(vmload_loader_add_device(loader, "dev", 0, 1, 1, &plan, &ops,
                                         guest, NULL, NULL));
    vmload_loader_set_channel(
        loader,
        vmload_channel_new_memory(stream->data, stream->len, NULL, NULL));
    return loader;
}

static GByteArray *make_stream(void)
{
    const uint8_t state[4] = {1, 2, 3, 4};
    GByteArray *out = sw_new();

    sw_header(out);
    sw_configuration(out, "none");
    sw_device(out, 1, "dev", 0, 1, state, sizeof(state));
    sw_eof(out);
    return out;
}

/* valgrind runs one thread at a time: who waits in a fault stops them all. */
static bool on_valgrind(void)
{
    const char *preloaded = g_getenv("LD_PRELOAD");

    return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL;
}

/* Registers one missing page. False: this machine does not let us. */
static bool guest_init(Guest *guest)
{
    struct uffdio_api api = {.api = UFFD_API,
                             .features = UFFD_FEATURE_THREAD_ID};
    struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};

    memset(guest, 0, sizeof(*guest));
    if (on_valgrind()) {
        return false;
    }
    guest->size = (uint64_t)sysconf(_SC_PAGESIZE);
    guest->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (guest->uffd < 0 && errno != ENOSYS) {
        guest->uffd = (int)syscall(SYS_userfaultfd,
                                   O_CLOEXEC | UFFD_USER_MODE_ONLY);
    }
    if (guest->uffd < 0) {
        return false;
    }
    guest->page = mmap(NULL, guest->size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(guest->page != MAP_FAILED);
    range.range.start = (uint64_t)(uintptr_t)guest->page;
    range.range.len = guest->size;
    if (ioctl(guest->uffd, UFFDIO_API, &api) != 0 ||
        ioctl(guest->uffd, UFFDIO_REGISTER, &range) != 0) {
        munmap(guest->page, guest->size);
        close(guest->uffd);
        return false;
    }
    return true;
}

static uint64_t fault_wait(VmloadLoader *loader)
{
    VmloadStats stats = {.struct_size = (uint32_t)sizeof(stats)};

    vmload_loader_get_stats(loader, &stats);
    assert_int_equal(stats.lock_io_wait_ns, 0);
    return stats.lock_fault_wait_ns;
}

/* With the lock it is counted, apart; without, it is nobody's business. */
static void test_page(void **state)
{
    GByteArray *stream = make_stream();
    GError *error = NULL;
    GThread *server;
    Guest guest;
    int held;

    (void)state;
    for (held = 0; held <= 1; held++) {
        if (!guest_init(&guest)) {
            g_byte_array_unref(stream);
            skip();
        }
        guest.touch_held = held != 0;
        guest.loader = make_loader(&guest, stream);
        server = g_thread_new("serve", serve, &guest);
        if (!vmload_loader_run(guest.loader, 0, &error)) {
            fail_msg("%s", error->message);
        }
        g_thread_join(server);
        assert_int_equal(guest.served, 1);
        assert_int_equal(guest.seen, 0x77);
        assert_int_equal(fault_wait(guest.loader), held ? TOLD_NS : 0);
        vmload_loader_free(guest.loader);
        munmap(guest.page, guest.size);
        close(guest.uffd);
    }
    g_byte_array_unref(stream);
}

/* A fault of anybody else's, and one when nothing is held. */
static void test_others(void **state)
{
    const VmloadHostOps host = {VMLOAD_HOST_OPS_INIT};
    VmloadLoader *loader = vmload_loader_new(&host, NULL, NULL, NULL);

    (void)state;
    vmload_loader_note_fault(loader, 0, 1);
    vmload_loader_note_fault(loader, (uint32_t)syscall(SYS_gettid), 1);
    assert_int_equal(fault_wait(loader), 0);
    vmload_loader_free(loader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_others),
    };

    return cmocka_run_group_tests_name("loader-fault", tests, NULL, NULL);
}

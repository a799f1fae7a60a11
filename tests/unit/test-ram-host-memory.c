/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that the host has mapped: shared, of a memfd, of huge pages. What
 * was in it before is replaced where pages come, and by zero pages too.
 */
#include "ram-fixture.h"

#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define P FIXTURE_PAGE
#define LENGTH ((uint64_t)4 << 20)

static void write_stream(GByteArray *out)
{
    sw_ram_mem_size(out, LENGTH);
    sw_ram_block(out, "r", LENGTH);
    sw_ram_zero(out, "r", 0, 0);
    fixture_page(out, NULL, 1, 0x11);
    /* In the other half, the second page of 2 MiB. */
    fixture_page(out, NULL, 700, 0x77);
    sw_ram_zero(out, NULL, 701 * P, 0);
    sw_ram_eos(out);
}

static void assert_filled(const uint8_t *memory, uint64_t page, uint8_t value)
{
    uint64_t i;

    for (i = 0; i < P; i++) {
        assert_int_equal(memory[page * P + i], value);
    }
}

/* FD is mapped as a host does; what comes is seen through FD, too. */
static void load_mapped(int fd, uint64_t page_size)
{
    uint8_t *memory = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
                           fd, 0);
    uint8_t *other = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, fd, 0);
    VmloadRamBlock *block;
    VmloadRam *ram = vmload_ram_new(NULL);
    GByteArray *out = sw_new();
    GError *error = NULL;

    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_ptr_not_equal(other, MAP_FAILED);
    memset(memory, 0xee, LENGTH);
    block = vmload_ram_block_new("r", LENGTH, LENGTH,
                                 vmload_ram_sink_new_memory(memory), NULL);
    assert_non_null(block);
    assert_true(vmload_ram_block_set_page_size(block, page_size, NULL));
    assert_true(vmload_ram_add_block(ram, block, NULL));
    write_stream(out);
    if (!fixture_load_ram(ram, out, NULL, &error) ||
        !vmload_ram_finish(ram, &error)) {
        fail_msg("%s", error->message);
    }
    assert_filled(other, 0, 0);
    assert_filled(other, 1, 0x11);
    assert_filled(other, 2, 0xee);
    assert_filled(other, 699, 0xee);
    assert_filled(other, 700, 0x77);
    assert_filled(other, 701, 0);
    /* Received is told by target page, whatever the host's pages are. */
    assert_true(vmload_ram_block_test_received(block, 0));
    assert_true(vmload_ram_block_test_received(block, P));
    assert_false(vmload_ram_block_test_received(block, 2 * P));
    assert_true(vmload_ram_block_test_received(block, 701 * P));
    assert_false(vmload_ram_block_test_received(block, 702 * P));
    vmload_ram_free(ram);
    munmap(other, LENGTH);
    munmap(memory, LENGTH);
    g_byte_array_unref(out);
}

static void test_shared(void **state)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)LENGTH), 0);
    load_mapped(fd, (uint64_t)sysconf(_SC_PAGESIZE));
    close(fd);
}

/* How many huge pages the kernel has set aside; -1: cannot be known or set. */
static int huge_pages(int wanted)
{
    FILE *file = fopen("/proc/sys/vm/nr_hugepages", wanted < 0 ? "r" : "w");
    int n = -1;

    if (file != NULL && wanted >= 0) {
        n = fprintf(file, "%d\n", wanted) > 0 ? wanted : -1;
    } else if (file != NULL && fscanf(file, "%d", &n) != 1) {
        n = -1;
    }
    return file == NULL || fclose(file) != 0 ? -1 : n;
}

static int before = -1; /* what is to be put back; -1: nothing */

/*
 * A setting of the machine's: touched only where the environment allows it,
 * as the project's own runs do.
 */
static int reserve(void **state)
{
    (void)state;
    if (getenv("VMLOAD_TEST_HUGE_PAGES") != NULL) {
        before = huge_pages(-1);
        if (before >= 0 && huge_pages(before + 4) < 0) {
            before = -1;
        }
    }
    return 0;
}

static int unreserve(void **state)
{
    (void)state;
    if (before >= 0) {
        huge_pages(before);
    }
    return 0;
}

/* Needs huge pages that are set aside: vm.nr_hugepages. */
static void test_huge(void **state)
{
    int fd = memfd_create("guest", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    void *probe;

    (void)state;
    if (fd < 0 || ftruncate(fd, (off_t)LENGTH) != 0) {
        skip();
    }
    probe = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (probe == MAP_FAILED) {
        close(fd);
        skip();
    }
    munmap(probe, LENGTH);
    load_mapped(fd, (uint64_t)2 << 20);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared),
        cmocka_unit_test_setup_teardown(test_huge, reserve, unreserve),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

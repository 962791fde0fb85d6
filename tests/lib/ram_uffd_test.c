/* SPDX-License-Identifier: BSD-3-Clause */
/* Post-copy with a real userfaultfd: pages are brought when they are missed. */
#define _GNU_SOURCE
#include <memplane.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/huge.h"
#include "tests/support/said.h"

#define HUGE (2 * MPL_MIB)

static int setup(void **state)
{
	return said_plane_new((struct mpl_plane **)state);
}

static int teardown(void **state)
{
	int err = mpl_plane_free(*state);

	huge_give();
	return err;
}

static int uffd_open(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd < 0) {
		printf("no userfaultfd: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(ioctl(uffd, UFFDIO_API, &api), 0);
	return uffd;
}

struct source {
	int uffd;
	uint64_t page;
	unsigned int brought;
};

/* The other end of a migration: every page it is asked for is full of 7. */
static void *bring(void *arg)
{
	struct source *source = arg;
	uint8_t *page = aligned_alloc(source->page, source->page);
	struct uffd_msg message;

	memset(page, 7, source->page);
	while (read(source->uffd, &message, sizeof(message)) ==
	       sizeof(message)) {
		struct uffdio_copy copy = {
			.dst = message.arg.pagefault.address &
			       ~(source->page - 1),
			.src = (uintptr_t)page,
			.len = source->page,
		};

		if (message.event != UFFD_EVENT_PAGEFAULT)
			break;
		assert_int_equal(ioctl(source->uffd, UFFDIO_COPY, &copy), 0);
		if (++source->brought == 2)
			break;
	}
	free(page);
	return NULL;
}

static void check(struct mpl_plane *plane, const struct mpl_ram_config *config,
		  uint64_t page)
{
	struct mpl_attrs attrs = { 0 };
	struct mpl_address_space *as;
	struct mpl_region *ram;
	struct source source = { .page = page };
	pthread_t thread;
	uint8_t byte = 0;

	assert_int_equal(
		mpl_region_new_ram(plane, "ram", 4 * page, config, &ram), 0);
	assert_int_equal(mpl_address_space_new(plane, "memory", ram, &as), 0);
	/* There before: it is not asked for. */
	assert_int_equal(mpl_plane_write(plane, as, 3 * page, attrs, &byte, 1),
			 MPL_OK);
	source.uffd = uffd_open();
	assert_int_equal(mpl_ram_userfaultfd_register(ram, source.uffd), 0);
	assert_int_equal(pthread_create(&thread, NULL, bring, &source), 0);
	assert_int_equal(mpl_plane_read(plane, as, 9, attrs, &byte, 1), MPL_OK);
	assert_int_equal(byte, 7);
	assert_int_equal(mpl_plane_read(plane, as, page - 1, attrs, &byte, 1),
			 MPL_OK);
	assert_int_equal(byte, 7);
	assert_int_equal(mpl_plane_read(plane, as, 3 * page, attrs, &byte, 1),
			 MPL_OK);
	assert_int_equal(byte, 0);
	assert_int_equal(mpl_plane_read(plane, as, 2 * page, attrs, &byte, 1),
			 MPL_OK);
	assert_int_equal(byte, 7);
	pthread_join(thread, NULL);
	assert_int_equal(source.brought, 2);
	assert_int_equal(mpl_ram_userfaultfd_unregister(ram, source.uffd), 0);
	/* Now the kernel makes pages again. */
	assert_int_equal(mpl_plane_read(plane, as, page, attrs, &byte, 1),
			 MPL_OK);
	assert_int_equal(byte, 0);
	close(source.uffd);
	assert_int_equal(mpl_address_space_free(as), 0);
	mpl_region_unref(ram);
}

static void test_base_pages(void **state)
{
	static const struct mpl_ram_config configs[] = {
		{ .flags = MPL_RAM_NO_THP },
		{ .backing = MPL_RAM_MEMFD, .flags = MPL_RAM_NO_THP },
	};

	check(*state, &configs[0], 4096);
	check(*state, &configs[1], 4096);
}

static void test_huge_pages(void **state)
{
	struct mpl_ram_config config = { .page_sizes = { HUGE } };

	if (!huge_take(HUGE, 4))
		skip();
	check(*state, &config, HUGE);
}

static void test_refusals(void **state)
{
	static char memory[4096] __attribute__((aligned(4096)));
	struct mpl_ram_config config = { .host = memory };
	struct mpl_ram_config later = { .max_size = 4096 };
	struct mpl_region *ram, *mine, *empty, *io;
	int uffd = uffd_open();
	int other = uffd_open();

	assert_int_equal(mpl_region_new_ram(*state, "ram", 4096, NULL, &ram),
			 0);
	assert_int_equal(
		mpl_region_new_ram(*state, "mine", 4096, &config, &mine), 0);
	assert_int_equal(mpl_region_new_ram(*state, "empty", 0, &later, &empty),
			 0);
	assert_int_equal(mpl_region_new_container(*state, "io", 1, &io), 0);
	assert_int_equal(mpl_ram_userfaultfd_register(ram, -1), -EINVAL);
	assert_int_equal(mpl_ram_userfaultfd_register(ram, 0), -EINVAL);
	assert_true(said("UFFDIO_API"));
	assert_int_equal(mpl_ram_userfaultfd_register(mine, uffd), -EINVAL);
	assert_int_equal(mpl_ram_userfaultfd_register(empty, uffd), -EINVAL);
	assert_int_equal(mpl_ram_userfaultfd_register(io, uffd), -EINVAL);
	assert_int_equal(mpl_ram_userfaultfd_register(ram, uffd), 0);
	assert_int_equal(mpl_ram_userfaultfd_register(ram, other), -EBUSY);
	mpl_region_unref(io);
	mpl_region_unref(empty);
	mpl_region_unref(mine);
	mpl_region_unref(ram);
	close(other);
	close(uffd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_base_pages),
		TEST(test_huge_pages),
		TEST(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks of real huge pages: wishes, reports, and what happens without. */
#define _GNU_SOURCE
#include <memplane.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/hugepage.h"
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

/* The kernel's word for the pages of a region's memory. */
static void assert_pages(struct mpl_region *ram, uint64_t page)
{
	struct mpl_ram_info info;
	uint64_t size;

	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_int_equal(info.page_size, page);
	assert_int_equal(mpl_region_page_size(ram), page);
	assert_int_equal((uintptr_t)info.host % page, 0);
	assert_int_equal(
		mpl_hugepage_by_smaps(info.host, info.accessible, &size), 0);
	assert_int_equal(size, page);
}

static void test_got_what_was_wished(void **state)
{
	static const enum mpl_ram_backing backings[] = { MPL_RAM_ANONYMOUS,
							 MPL_RAM_MEMFD };
	struct mpl_ram_info info;
	struct mpl_region *ram;

	if (!huge_take(HUGE, 4))
		skip();
	for (unsigned int i = 0; i < 2; i++) {
		struct mpl_ram_config config = { .backing = backings[i],
						 .page_sizes = { HUGE, 4096 } };
		uint64_t before = huge_free(HUGE);

		said_forget();
		assert_int_equal(mpl_region_new_ram(*state, "ram", 3 * HUGE + 1,
						    &config, &ram),
				 0);
		assert_pages(ram, HUGE);
		assert_int_equal(mpl_ram_query(ram, &info), 0);
		assert_string_equal(info.refused, "");
		assert_int_equal(info.backing, MPL_RAM_MEMFD);
		assert_int_equal(info.page_wished, HUGE);
		assert_int_equal(info.accessible, 4 * HUGE);
		assert_int_equal(info.ram_address % HUGE, 0);
		assert_true(info.fd >= 0);
		assert_false(said("ram"));
		/* Set aside before they are touched: never a SIGBUS. */
		assert_int_equal(huge_free(HUGE), before - 4);
		memset(info.host, 1, 4 * HUGE);
		mpl_region_unref(ram);
		assert_int_equal(huge_free(HUGE), before);
	}
}

static void test_next_best(void **state)
{
	struct mpl_ram_config config = { .page_sizes = { HUGE, 4096 } };
	struct mpl_region *ram;
	struct mpl_ram_info info;
	uint64_t pages;

	if (!huge_take(HUGE, 2))
		skip();
	pages = huge_free(HUGE) + 1;
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", pages * HUGE, &config, &ram),
		0);
	assert_pages(ram, 4096);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_int_equal(info.page_wished, HUGE);
	assert_non_null(strstr(info.refused, "2 MiB pages: "));
	assert_non_null(strstr(info.refused, "needed"));
	assert_true(said("got 4 KiB pages"));
	mpl_region_unref(ram);
	/* Not a page is lost in the attempt. */
	assert_int_equal(huge_free(HUGE), pages - 1);
	config.page_sizes[1] = 0;
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", pages * HUGE, &config, &ram),
		-ENOMEM);
	assert_true(said("tools/mpl-hugepages"));
	assert_int_equal(huge_free(HUGE), pages - 1);
}

static void test_growing(void **state)
{
	struct mpl_ram_config config = { .page_sizes = { HUGE } };
	struct mpl_region *ram;
	struct mpl_ram_info info;
	struct mpl_txn *tx;
	uint64_t pages;

	if (!huge_take(HUGE, 4))
		skip();
	pages = huge_free(HUGE);
	config.max_size = (pages + 1) * HUGE;
	assert_int_equal(mpl_region_new_ram(*state, "ram", HUGE, &config, &ram),
			 0);
	assert_int_equal(huge_free(HUGE), pages - 1);
	tx = mpl_begin(*state);
	mpl_region_resize(tx, ram, pages * HUGE);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(huge_free(HUGE), 0);
	assert_pages(ram, HUGE);
	/* One more than there are: an error of the commit. */
	tx = mpl_begin(*state);
	mpl_region_resize(tx, ram, (pages + 1) * HUGE);
	assert_int_equal(mpl_commit(tx), -ENOMEM);
	assert_true(said("1 huge pages of 2048 KiB needed, 0 of"));
	assert_int_equal(mpl_region_size(ram), pages * HUGE);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_int_equal(info.accessible, pages * HUGE);
	/* The last one: there may be many, and sanitizers remember each byte.
	 */
	memset((char *)info.host + (pages - 1) * HUGE, 1, HUGE);
	mpl_region_unref(ram);
	assert_int_equal(huge_free(HUGE), pages);
}

/* Without being set aside: preallocation must notice, and kill nobody. */
static void test_running_out(void **state)
{
	struct mpl_ram_config config = {
		.page_sizes = { HUGE },
		.flags = MPL_RAM_NORESERVE,
	};
	struct mpl_region *ram;
	uint64_t pages;

	if (!huge_take(HUGE, 3))
		skip();
	pages = huge_free(HUGE);
	assert_int_equal(mpl_region_new_ram(*state, "ram", (pages + 1) * HUGE,
					    &config, &ram),
			 0);
	assert_int_equal(huge_free(HUGE), pages);
	assert_int_equal(mpl_ram_preallocate(ram, 0, (pages + 1) * HUGE, NULL),
			 -ENOMEM);
	assert_true(said("ran out"));
	mpl_region_unref(ram);
	config.prealloc.threads = 2;
	assert_int_equal(mpl_region_new_ram(*state, "ram", (pages + 1) * HUGE,
					    &config, &ram),
			 -ENOMEM);
	assert_int_equal(huge_free(HUGE), pages);
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", pages * HUGE, &config, &ram),
		0);
	assert_int_equal(huge_free(HUGE), 0);
	mpl_region_unref(ram);
}

static void test_mount_point(void **state)
{
	char path[] = "/tmp/mpl-mount-XXXXXX", file[64];
	struct mpl_ram_config config = { .backing = MPL_RAM_PATH,
					 .path = path,
					 .page_sizes = { HUGE } };
	struct mpl_region *ram;
	struct mpl_ram_info info;

	if (!huge_take(HUGE, 2))
		skip();
	assert_non_null(mkdtemp(path));
	if (mount("hugetlbfs", path, "hugetlbfs", 0, "pagesize=2M")) {
		printf("cannot mount: %s\n", strerror(errno));
		rmdir(path);
		skip();
	}
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", 2 * HUGE, &config, &ram), 0);
	assert_pages(ram, HUGE);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_int_equal(info.backing, MPL_RAM_PATH);
	memset(info.host, 1, 2 * HUGE);
	mpl_region_unref(ram);
	/* A file with a name stays, with what it holds. */
	snprintf(file, sizeof(file), "%s/vm", path);
	config.path = file;
	assert_int_equal(mpl_region_new_ram(*state, "ram", HUGE, &config, &ram),
			 -ENOENT);
	config.flags = MPL_RAM_CREATE;
	assert_int_equal(mpl_region_new_ram(*state, "ram", HUGE, &config, &ram),
			 0);
	memset(mpl_region_host(ram), 5, HUGE);
	mpl_region_unref(ram);
	assert_int_equal(mpl_region_new_ram(*state, "ram", HUGE, &config, &ram),
			 0);
	assert_int_equal(((char *)mpl_region_host(ram))[HUGE - 1], 5);
	mpl_region_unref(ram);
	/* Wishes that the mount cannot fulfil. */
	config.page_sizes[0] = MPL_GIB;
	assert_int_equal(mpl_region_new_ram(*state, "ram", HUGE, &config, &ram),
			 -EINVAL);
	assert_true(said("the file system has 2 MiB pages, not 1 GiB"));
	config.page_sizes[1] = HUGE;
	assert_int_equal(mpl_region_new_ram(*state, "ram", HUGE, &config, &ram),
			 0);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_string_equal(info.refused,
			    "the file system has 2 MiB pages, not 1 GiB");
	mpl_region_unref(ram);
	config.fd_offset = 4096;
	assert_int_equal(mpl_region_new_ram(*state, "ram", HUGE, &config, &ram),
			 -EINVAL);
	config.fd_offset = 0;
	config.flags = MPL_RAM_PRIVATE;
	assert_int_equal(mpl_region_new_ram(*state, "ram", HUGE, &config, &ram),
			 -EINVAL);
	assert_int_equal(umount(path), 0);
	rmdir(path);
}

static void test_one_gib(void **state)
{
	struct mpl_ram_config config = { .backing = MPL_RAM_MEMFD,
					 .page_sizes = { MPL_GIB, HUGE } };
	struct mpl_region *ram;

	if (!huge_take(MPL_GIB, 1))
		skip();
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", MPL_MIB, &config, &ram), 0);
	assert_pages(ram, MPL_GIB);
	mpl_region_unref(ram);
}

/* The caller's memory is of huge pages, too: found out by asking. */
static void test_callers_huge_pages(void **state)
{
	struct mpl_ram_config config = { 0 };
	struct mpl_region *ram;

	if (!huge_take(HUGE, 2))
		skip();
	config.host = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	assert_ptr_not_equal(config.host, MAP_FAILED);
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", 2 * HUGE, &config, &ram), 0);
	assert_int_equal(mpl_region_page_size(ram), HUGE);
	mpl_region_unref(ram);
	munmap(config.host, 2 * HUGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_got_what_was_wished),
		TEST(test_next_best),
		TEST(test_growing),
		TEST(test_running_out),
		TEST(test_mount_point),
		TEST(test_one_gib),
		TEST(test_callers_huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

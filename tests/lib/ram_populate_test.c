/* SPDX-License-Identifier: BSD-3-Clause */
/* Preallocation: all pages, by any number of threads, without a signal. */
#define _GNU_SOURCE
#include <memplane.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/ram_populate.h"
#include "tests/support/said.h"

#define SIZE (100 * MPL_MIB + 4096)

static int setup(void **state)
{
	return said_plane_new((struct mpl_plane **)state);
}

static int teardown(void **state)
{
	return mpl_plane_free(*state);
}

/* Pages that are there. */
static uint64_t resident(void *host, uint64_t len)
{
	uint64_t pages = len / 4096, count = 0;
	unsigned char *map = malloc(pages);

	assert_int_equal(mincore(host, len, map), 0);
	for (uint64_t i = 0; i < pages; i++)
		count += map[i] & 1;
	free(map);
	return count;
}

struct seen {
	unsigned int calls;
	uint64_t last;
	uint64_t cancel_at; /* bytes */
};

static bool progress(void *opaque, uint64_t done, uint64_t total)
{
	struct seen *seen = opaque;

	assert_int_equal(total, SIZE);
	assert_true(done >= seen->last);
	seen->last = done;
	seen->calls++;
	return done < seen->cancel_at;
}

static void test_threads(void **state)
{
	static const unsigned int threads[] = { 0, 1, 2, 7 };

	for (unsigned int i = 0; i < 4; i++) {
		struct seen seen = { .cancel_at = UINT64_MAX };
		struct mpl_ram_prealloc how = {
			.threads = threads[i],
			.progress = progress,
			.opaque = &seen,
		};
		struct mpl_region *ram;
		struct mpl_ram_info info;
		uint8_t *host;

		assert_int_equal(
			mpl_region_new_ram(*state, "ram", SIZE, NULL, &ram), 0);
		host = mpl_region_host(ram);
		host[4096] = 7;
		assert_int_equal(mpl_ram_preallocate(ram, 0, SIZE, &how), 0);
		assert_int_equal(resident(host, SIZE), SIZE / 4096);
		assert_int_equal(host[4096], 7);
		assert_int_equal(seen.last, SIZE);
		assert_true(seen.calls >= 1);
		assert_int_equal(mpl_ram_query(ram, &info), 0);
		assert_true(info.preallocated);
		mpl_region_unref(ram);
	}
}

static void test_cancel(void **state)
{
	struct seen seen = { .cancel_at = 1 };
	struct mpl_ram_config config = {
		.prealloc = { .threads = 1,
			      .progress = progress,
			      .opaque = &seen },
	};
	struct mpl_region *ram = NULL;

	assert_int_equal(mpl_region_new_ram(*state, "ram", SIZE, &config, &ram),
			 -ECANCELED);
	assert_null(ram);
	assert_int_equal(seen.calls, 1);
	/* It is too late when all is done. */
	seen = (struct seen){ .cancel_at = SIZE };
	assert_int_equal(mpl_region_new_ram(*state, "ram", SIZE, &config, &ram),
			 0);
	mpl_region_unref(ram);
}

static void test_growth(void **state)
{
	struct mpl_ram_config config = { .max_size = 2 * SIZE,
					 .prealloc.threads = 2 };
	struct mpl_ram_info info;
	struct mpl_region *ram;
	struct mpl_txn *tx;

	assert_int_equal(mpl_region_new_ram(*state, "ram", 4096, &config, &ram),
			 0);
	assert_int_equal(resident(mpl_region_host(ram), 4096), 1);
	tx = mpl_begin(*state);
	mpl_region_resize(tx, ram, SIZE);
	assert_int_equal(mpl_commit(tx), 0);
	assert_int_equal(resident(mpl_region_host(ram), SIZE), SIZE / 4096);
	assert_int_equal(mpl_ram_query(ram, &info), 0);
	assert_true(info.preallocated);
	mpl_region_unref(ram);
}

static void test_ranges(void **state)
{
	struct mpl_ram_config mine = { 0 };
	static char memory[8192];
	struct mpl_region *ram, *callers;
	void *host;

	assert_int_equal(mpl_region_new_ram(*state, "ram", 0x10000,
					    &(struct mpl_ram_config){
						    .flags = MPL_RAM_NO_THP },
					    &ram),
			 0);
	host = mpl_region_host(ram);
	/* Whole pages, and no others. */
	assert_int_equal(mpl_ram_preallocate(ram, 0x1fff, 2, NULL), 0);
	assert_int_equal(resident(host, 0x10000), 2);
	assert_int_equal(mpl_ram_preallocate(ram, 0, 0, NULL), -EINVAL);
	assert_int_equal(mpl_ram_preallocate(ram, 0, 0x10001, NULL), -EINVAL);
	assert_int_equal(mpl_ram_preallocate(ram, 0x1000, UINT64_MAX, NULL),
			 -EINVAL);
	assert_int_equal(mpl_ram_preallocate(
				 ram, 0, 0x10000,
				 &(struct mpl_ram_prealloc){ .threads = 257 }),
			 -EINVAL);
	mine.host = memory;
	assert_int_equal(
		mpl_region_new_ram(*state, "callers", 8192, &mine, &callers),
		0);
	assert_int_equal(mpl_ram_preallocate(callers, 0, 4096, NULL), -EINVAL);
	mpl_region_unref(callers);
	mpl_region_unref(ram);
}

/* A page that a touch would die of: behind the end of its file. */
static void test_no_signal(void **state)
{
	int fd = memfd_create("short", MFD_CLOEXEC);
	char *host;

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	host = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(host, MAP_FAILED);
	host[0] = 3;
	assert_int_equal(mpl_populate(host, 4096, 4096), 0);
	assert_int_equal(mpl_populate(host, 8192, 4096), -ENOMEM);
	/* The way of old kernels, too; contents stay. */
	assert_int_equal(mpl_touch_page(host), 0);
	assert_int_equal(host[0], 3);
	assert_int_equal(mpl_touch_page(host + 4096), -EFAULT);
	munmap(host, 8192);
	close(fd);
	host = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(resident(host, 8192), 0);
	assert_int_equal(mpl_touch_page(host + 4096), 0);
	assert_int_equal(resident(host, 8192), 1);
	munmap(host, 8192);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_threads), TEST(test_cancel),    TEST(test_growth),
		TEST(test_ranges),  TEST(test_no_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

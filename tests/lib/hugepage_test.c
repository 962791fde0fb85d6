/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel says about pages, asked in two ways. */
#define _GNU_SOURCE
#include "lib/hugepage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <linux/memfd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/huge.h"

#define HUGE (UINT64_C(2) << 20)

static void test_arithmetic(void **state)
{
	(void)state;
	assert_int_equal(mpl_whole_pages(0, 4096), 0);
	assert_int_equal(mpl_whole_pages(1, 4096), 4096);
	assert_int_equal(mpl_whole_pages(4096, 4096), 4096);
	assert_true(mpl_is_page_size(4096));
	assert_true(mpl_is_page_size(HUGE));
	assert_false(mpl_is_page_size(2048));
	assert_false(mpl_is_page_size(12288));
	assert_false(mpl_is_page_size(0));
}

static void test_base_pages(void **state)
{
	struct mpl_hugepage_pool pool;
	uint64_t size = 0;
	char *three;
	int fd;

	(void)state;
	three = mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	assert_ptr_not_equal(three, MAP_FAILED);
	assert_int_equal(mpl_hugepage_of_mapping(three, 3 * 4096, &size), 0);
	assert_int_equal(size, 4096);
	size = 0;
	assert_int_equal(mpl_hugepage_by_smaps(three, 3 * 4096, &size), 0);
	assert_int_equal(size, 4096);
	munmap(three, 3 * 4096);
	/* Nothing is mapped at the first page. */
	assert_int_equal(mpl_hugepage_of_mapping((void *)16, 16, &size),
			 -EFAULT);
	fd = open("/proc/self/exe", O_RDONLY);
	assert_int_equal(mpl_hugepage_of_file(fd, &size), 0);
	assert_int_equal(size, 4096);
	close(fd);
	assert_int_equal(mpl_hugepage_of_file(-1, &size), -EBADF);
	assert_int_equal(mpl_hugepage_pool(4096, &pool), -ENOENT);
	assert_int_equal(mpl_hugepage_pool(3 * HUGE, &pool), -ENOENT);
}

static void test_huge_pages(void **state)
{
	struct mpl_hugepage_pool pool;
	uint64_t size = 0;
	char *host;
	int fd;

	(void)state;
	if (!huge_take(HUGE, 2))
		skip();
	assert_int_equal(mpl_hugepage_pool(HUGE, &pool), 0);
	assert_true(pool.free - pool.reserved >= 2);
	fd = memfd_create("test", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	assert_true(fd >= 0);
	assert_int_equal(mpl_hugepage_of_file(fd, &size), 0);
	assert_int_equal(size, HUGE);
	assert_int_equal(ftruncate(fd, 2 * HUGE), 0);
	host = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(host, MAP_FAILED);
	size = 0;
	assert_int_equal(mpl_hugepage_by_smaps(host, 2 * HUGE, &size), 0);
	assert_int_equal(size, HUGE);
	/* Linux 6.11 has the ioctl. */
	size = 0;
	if (mpl_hugepage_by_query(host, 2 * HUGE, &size) != -ENOTTY)
		assert_int_equal(size, HUGE);
	munmap(host, 2 * HUGE);
	close(fd);
	huge_give();
}

/* Two mappings side by side: the smaller pages count. */
static void test_mixed_pages(void **state)
{
	uint64_t size = 0;
	char *all, *host;

	(void)state;
	if (!huge_take(HUGE, 1))
		skip();
	all = mmap(NULL, 3 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	assert_ptr_not_equal(all, MAP_FAILED);
	host = (char *)(((uintptr_t)all + HUGE - 1) & ~(HUGE - 1));
	assert_ptr_equal(mmap(host, HUGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
				      MAP_HUGE_2MB | MAP_FIXED,
			      -1, 0),
			 host);
	assert_int_equal(mpl_hugepage_of_mapping(host, HUGE, &size), 0);
	assert_int_equal(size, HUGE);
	assert_int_equal(mpl_hugepage_of_mapping(host, HUGE + 1, &size), 0);
	assert_int_equal(size, 4096);
	assert_int_equal(mpl_hugepage_by_smaps(host, HUGE + 1, &size), 0);
	assert_int_equal(size, 4096);
	munmap(all, 3 * HUGE);
	huge_give();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arithmetic),
		cmocka_unit_test(test_base_pages),
		cmocka_unit_test(test_huge_pages),
		cmocka_unit_test(test_mixed_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

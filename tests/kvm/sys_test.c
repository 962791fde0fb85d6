/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* memfd_create */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/sys.h"

static void errors_are_returned(void **state)
{
	void *host = NULL;

	(void)state;
	errno = 0;
	assert_int_equal(mpl_kvm_sys_real.ioctl(NULL, -1, FIONREAD, 0), -EBADF);
	assert_int_equal(mpl_kvm_sys_real.map(NULL, -1, 0, 4096, &host),
			 -EBADF);
	assert_null(host);
}

static void ioctl_reaches_the_file(void **state)
{
	int fds[2], waiting = 0;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	assert_int_equal(mpl_kvm_sys_real.ioctl(NULL, fds[0], FIONREAD,
						(uintptr_t)&waiting),
			 0);
	assert_int_equal(waiting, 3);
	close(fds[0]);
	close(fds[1]);
}

static void mappings_are_shared(void **state)
{
	void *one = NULL, *other = NULL;
	int fd = memfd_create("sys_test", 0);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 8192), 0);
	assert_int_equal(mpl_kvm_sys_real.map(NULL, fd, 4096, 4096, &one), 0);
	assert_int_equal(mpl_kvm_sys_real.map(NULL, fd, 0, 8192, &other), 0);
	*(char *)one = 42;
	assert_int_equal(((char *)other)[4096], 42);
	mpl_kvm_sys_real.unmap(NULL, one, 4096);
	mpl_kvm_sys_real.unmap(NULL, other, 8192);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_are_returned),
		cmocka_unit_test(ioctl_reaches_the_file),
		cmocka_unit_test(mappings_are_shared),
	};

	return cmocka_run_group_tests_name("kvm sys", tests, NULL, NULL);
}

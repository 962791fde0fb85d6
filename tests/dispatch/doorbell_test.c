/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/doorbell.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/bed.h"

static const struct mpl_attrs none;

static unsigned int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Every test leaves as many descriptors open as it found. */
static unsigned int fds_before;

/* The running test's; its doorbells are the bed's data plane's. */
static struct bed *the_bed;

static int setup(void **state)
{
	int err;

	fds_before = open_fds();
	err = bed_setup(state);
	the_bed = *state;
	return err;
}

static int teardown(void **state)
{
	bed_teardown(state);
	assert_int_equal(open_fds(), fds_before);
	return 0;
}

static int new_fd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

/* How often it was signalled since the last call. */
static uint64_t signals(int fd)
{
	uint64_t value;
	ssize_t n = read(fd, &value, sizeof(value));

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return 0;
	}
	assert_int_equal(n, sizeof(value));
	return value;
}

/* Add to a table that the caller owns. */
static int add(struct mpl_doorbells **table, uint64_t offset,
	       unsigned int size, bool match, uint64_t data, int fd)
{
	struct mpl_doorbell item = {
		.offset = offset,
		.size = size,
		.match = match,
		.data = data,
	};
	struct mpl_doorbells *more;
	int err;

	assert_int_equal(mpl_eventfd_new(fd, &item.event), 0);
	err = mpl_doorbells_with(&the_bed->dp, *table, &item, &more);
	mpl_eventfd_unref(item.event);
	if (err)
		return err;
	mpl_doorbells_unref(*table);
	*table = more;
	return 0;
}

static int del(struct mpl_doorbells **table, uint64_t offset,
	       unsigned int size, bool match, uint64_t data, int fd)
{
	const struct mpl_ioeventfd item = {
		.offset = offset,
		.size = size,
		.match = match,
		.data = data,
		.fd = fd,
	};
	struct mpl_doorbells *less;
	int err = mpl_doorbells_without(&the_bed->dp, *table, &item, &less);

	if (err)
		return err;
	mpl_doorbells_unref(*table);
	*table = less;
	return 0;
}

static bool rings(const struct mpl_doorbells *table, uint64_t offset,
		  unsigned int size, uint64_t value, int fd)
{
	const struct mpl_doorbell *found =
		mpl_doorbell_find(table, offset, size, value);

	return found && found->event->caller_fd == fd;
}

static void test_match(void **state)
{
	struct mpl_doorbells *table = NULL;

	(void)state;
	assert_int_equal(add(&table, 0x10, 2, true, 7, 0), 0);
	assert_true(rings(table, 0x10, 2, 7, 0));
	assert_null(mpl_doorbell_find(table, 0x10, 2, 8));
	assert_null(mpl_doorbell_find(table, 0x10, 4, 7));
	assert_null(mpl_doorbell_find(table, 0x10, 1, 7));
	assert_null(mpl_doorbell_find(table, 0x11, 2, 7));
	assert_null(mpl_doorbell_find(table, 0xf, 2, 7));
	/* Of any size, of any value. */
	assert_int_equal(add(&table, 0x20, 0, true, 7, 1), 0);
	assert_int_equal(add(&table, 0x30, 4, false, 0, 2), 0);
	assert_int_equal(add(&table, 0x40, 0, false, 0, 0), 0);
	for (unsigned int size = 1; size <= 8; size *= 2) {
		assert_true(rings(table, 0x20, size, 7, 1));
		assert_null(mpl_doorbell_find(table, 0x20, size, 6));
		assert_true(rings(table, 0x40, size, size, 0));
		assert_true(!mpl_doorbell_find(table, 0x30, size, size) ==
			    (size != 4));
	}
	mpl_doorbells_unref(table);
}

/* Several at one offset, told apart by value: a virtio device's queues. */
static void test_many_at_one_offset(void **state)
{
	struct mpl_doorbells *table = NULL;

	(void)state;
	for (uint64_t i = 0; i < 300; i++)
		assert_int_equal(add(&table, 8, 2, true, i * 37 % 300,
				     (int)(i * 37 % 300 % 3)), 0);
	for (uint64_t i = 0; i < 300; i++)
		assert_true(rings(table, 8, 2, i, (int)(i % 3)));
	assert_null(mpl_doorbell_find(table, 8, 2, 300));
	for (uint64_t i = 0; i < 300; i += 2)
		assert_int_equal(del(&table, 8, 2, true, i, (int)(i % 3)), 0);
	for (uint64_t i = 0; i < 300; i++)
		assert_int_equal(mpl_doorbell_find(table, 8, 2, i) != NULL,
				 i % 2);
	mpl_doorbells_unref(table);
}

static void test_errors(void **state)
{
	struct mpl_doorbells *table = NULL;
	struct mpl_eventfd *event = NULL;

	(void)state;
	assert_int_equal(mpl_eventfd_new(-1, &event), -EBADF);
	assert_null(event);
	assert_int_equal(del(&table, 0, 0, false, 0, 0), -ENOENT);
	assert_int_equal(add(&table, 4, 4, true, 1, 0), 0);
	assert_int_equal(add(&table, 4, 4, true, 1, 0), -EEXIST);
	assert_int_equal(table->count, 1);
	/* All values must be named to delete. */
	assert_int_equal(del(&table, 5, 4, true, 1, 0), -ENOENT);
	assert_int_equal(del(&table, 4, 2, true, 1, 0), -ENOENT);
	assert_int_equal(del(&table, 4, 4, false, 1, 0), -ENOENT);
	assert_int_equal(del(&table, 4, 4, true, 2, 0), -ENOENT);
	assert_int_equal(del(&table, 4, 4, true, 1, 1), -ENOENT);
	assert_int_equal(del(&table, 4, 4, true, 1, 0), 0);
	assert_null(table); /* an empty table is NULL */
	mpl_doorbells_unref(NULL);
	assert_null(mpl_doorbells_ref(NULL));
}

/* A change makes a new table; whoever has the old one keeps using it. */
static void test_immutable(void **state)
{
	struct mpl_doorbells *table = NULL, *old;
	int fds[2] = { new_fd(), new_fd() };

	(void)state;
	assert_int_equal(add(&table, 0, 4, false, 0, fds[0]), 0);
	old = mpl_doorbells_ref(table);
	assert_int_equal(add(&table, 8, 4, false, 0, fds[1]), 0);
	assert_ptr_not_equal(table, old);
	assert_int_equal(old->count, 1);
	assert_null(mpl_doorbell_find(old, 8, 4, 0));
	assert_int_equal(del(&table, 0, 4, false, 0, fds[0]), 0);
	mpl_doorbell_ring(mpl_doorbell_find(old, 0, 4, 0));
	assert_int_equal(signals(fds[0]), 1);
	mpl_doorbells_unref(table);
	mpl_doorbell_ring(mpl_doorbell_find(old, 0, 4, 0));
	assert_int_equal(signals(fds[0]), 1);
	assert_int_equal(signals(fds[1]), 0);
	mpl_doorbells_unref(old);
	close(fds[0]);
	close(fds[1]);
}

/* The caller may close its own descriptor at once. */
static void test_duplicates(void **state)
{
	int fd = new_fd(), keep = dup(fd), flags;
	struct mpl_eventfd *event;
	unsigned int n = open_fds();

	(void)state;
	assert_int_equal(mpl_eventfd_new(fd, &event), 0);
	assert_int_equal(open_fds(), n + 1);
	assert_int_equal(event->caller_fd, fd);
	assert_int_not_equal(event->fd, fd);
	flags = fcntl(event->fd, F_GETFD);
	assert_true(flags & FD_CLOEXEC);
	close(fd);
	mpl_doorbell_ring(&(struct mpl_doorbell){ .event = event });
	assert_int_equal(signals(keep), 1);
	mpl_eventfd_unref(event);
	assert_int_equal(open_fds(), n - 1);
	close(keep);
}

/*
 * A counter that is full is signalled anyway: ringing neither blocks nor
 * fails, whether the caller made its eventfd blocking or not.
 */
static void full_counter(int flags)
{
	const uint64_t most = UINT64_MAX - 1;
	int fd = eventfd(0, flags);
	struct mpl_eventfd *event;
	uint64_t value;
	pid_t child;
	int status;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, &most, sizeof(most)), sizeof(most));
	assert_int_equal(mpl_eventfd_new(fd, &event), 0);
	/* In a process of its own, which a hang ends. */
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		alarm(5);
		for (int i = 0; i < 3; i++)
			mpl_doorbell_ring(
				&(struct mpl_doorbell){ .event = event });
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
	assert_true(value == most);
	mpl_eventfd_unref(event);
	close(fd);
	if (WIFSIGNALED(status))
		fail_msg("ringing was ended by signal %d", WTERMSIG(status));
}

static void test_full_counter(void **state)
{
	(void)state;
	full_counter(EFD_NONBLOCK);
}

static void test_full_blocking_counter(void **state)
{
	(void)state;
	full_counter(0);
}

struct device {
	unsigned int writes;
	uint64_t last;
};

static mpl_result_t count_write(void *opaque, uint64_t offset,
				unsigned int size, struct mpl_attrs attrs,
				uint64_t value)
{
	struct device *device = opaque;

	(void)offset;
	(void)size;
	(void)attrs;
	device->writes++;
	device->last = value;
	return MPL_OK;
}

static void put_table(struct bed *bed, struct mpl_doorbells *table,
		      struct mpl_device *device)
{
	bed_put(bed, 0, &(struct mpl_section){
		.start = 0x1000, .span = 0xfff, .offset = 0x400,
		.device = device, .doorbells = table });
	bed_commit(bed);
	mpl_doorbells_unref(table);
}

static mpl_result_t store(struct bed *bed, uint64_t gpa, unsigned int size,
			  uint64_t value)
{
	return mpl_store(bed->reader, &bed->as[0], gpa, none, size,
			 MPL_LITTLE_ENDIAN, value);
}

/* Through the access path: the eventfd instead of the callback. */
static void test_access(void **state)
{
	struct bed *bed = *state;
	static const struct mpl_io_ops ops = {
		.write = count_write,
		.endian = MPL_LITTLE_ENDIAN,
		.impl = { .max = 8 },
	};
	struct device device = { 0 };
	struct mpl_doorbells *table = NULL;
	struct mpl_reader_stats stats;
	int fds[3] = { new_fd(), new_fd(), new_fd() };

	/* Offsets are the region's, of which 0x400 is at 0x1000. */
	assert_int_equal(add(&table, 0x410, 2, true, 5, fds[0]), 0);
	assert_int_equal(add(&table, 0x420, 0, false, 0, fds[1]), 0);
	assert_int_equal(add(&table, 0x430, 4, true, 0xfedcba98, fds[2]), 0);
	put_table(bed, table, bed_device(bed, &ops, &device));

	assert_int_equal(store(bed, 0x1010, 2, 5), MPL_OK);
	assert_int_equal(signals(fds[0]), 1);
	assert_int_equal(device.writes, 0);
	assert_int_equal(store(bed, 0x1010, 2, 6), MPL_OK);
	assert_int_equal(store(bed, 0x1010, 4, 5), MPL_OK);
	assert_int_equal(store(bed, 0x1012, 2, 5), MPL_OK);
	assert_int_equal(device.writes, 3);
	assert_int_equal(signals(fds[0]), 0);
	for (unsigned int size = 1; size <= 8; size *= 2)
		assert_int_equal(store(bed, 0x1020, size, size), MPL_OK);
	assert_int_equal(signals(fds[1]), 4);
	assert_int_equal(device.writes, 3);
	/* Only the access's own bits count. */
	assert_int_equal(store(bed, 0x1030, 4,
			       UINT64_C(0x1234fedcba98)), MPL_OK);
	assert_int_equal(signals(fds[2]), 1);
	mpl_reader_stats(bed->reader, &stats);
	assert_int_equal(stats.doorbells, 6);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

/* `data` is in the device's byte order, as its callback would get it. */
static void test_byte_order(void **state)
{
	struct bed *bed = *state;
	static const struct mpl_io_ops ops = {
		.write = count_write,
		.endian = MPL_BIG_ENDIAN,
	};
	struct device device = { 0 };
	struct mpl_doorbells *table = NULL;
	int fd = new_fd();

	assert_int_equal(add(&table, 0x400, 4, true, 0x11223344, fd), 0);
	put_table(bed, table, bed_device(bed, &ops, &device));
	assert_int_equal(store(bed, 0x1000, 4, 0x11223344), MPL_OK);
	assert_int_equal(signals(fd), 0);
	assert_int_equal(device.writes, 1);
	assert_int_equal(device.last, 0x44332211);
	assert_int_equal(store(bed, 0x1000, 4, 0x44332211), MPL_OK);
	assert_int_equal(signals(fd), 1);
	assert_int_equal(device.writes, 1);
	close(fd);
}

/*
 * A doorbell is rung by the write that the guest makes, as KVM sees it, not by
 * the pieces that the device's sizes make of it.
 */
static void test_whole_writes(void **state)
{
	struct bed *bed = *state;
	static const struct mpl_io_ops ops = {
		.write = count_write,
		.endian = MPL_LITTLE_ENDIAN,
		.valid = { 1, 4, false },
	};
	struct device device = { 0 };
	struct mpl_doorbells *table = NULL;
	int fds[3] = { new_fd(), new_fd(), new_fd() };

	assert_int_equal(add(&table, 0x400, 8, false, 0, fds[0]), 0);
	assert_int_equal(add(&table, 0x414, 4, false, 0, fds[1]), 0);
	assert_int_equal(add(&table, 0x420, 4, false, 0, fds[2]), 0);
	put_table(bed, table, bed_device(bed, &ops, &device));
	/* Larger than the device may be written: the whole of it rings. */
	assert_int_equal(store(bed, 0x1000, 8, 1), MPL_OK);
	assert_int_equal(signals(fds[0]), 1);
	assert_int_equal(device.writes, 0);
	/* Its second half would match; so would the first half below. */
	assert_int_equal(store(bed, 0x1010, 8, 1), MPL_OK);
	assert_int_equal(signals(fds[1]), 0);
	assert_int_equal(device.writes, 2);
	assert_int_equal(store(bed, 0x1020, 8, 1), MPL_OK);
	assert_int_equal(signals(fds[2]), 0);
	assert_int_equal(device.writes, 4);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

/* A device without a write callback has doorbells all the same. */
static void test_without_callback(void **state)
{
	struct bed *bed = *state;
	static const struct mpl_io_ops ops = { .endian = MPL_LITTLE_ENDIAN };
	struct mpl_doorbells *table = NULL;
	int fd = new_fd();

	assert_int_equal(add(&table, 0x400, 4, false, 0, fd), 0);
	put_table(bed, table, bed_device(bed, &ops, NULL));
	assert_int_equal(store(bed, 0x1000, 4, 1), MPL_OK);
	assert_int_equal(signals(fd), 1);
	assert_int_equal(store(bed, 0x1004, 4, 1), MPL_ACCESS_ERROR);
	close(fd);
}

/* A table lives until the last reader of its section is quiescent. */
static void test_lifetime(void **state)
{
	struct bed *bed = *state;
	static const struct mpl_io_ops ops = { .write = count_write };
	struct device device = { 0 };
	struct mpl_doorbells *table = NULL;
	const struct mpl_section *section;
	int fd = new_fd();
	unsigned int n = open_fds();

	assert_int_equal(add(&table, 0x400, 4, false, 0, fd), 0);
	assert_int_equal(open_fds(), n + 1);
	put_table(bed, table, bed_device(bed, &ops, &device));
	section = mpl_lookup(bed->reader, &bed->as[0], 0x1000);
	bed_take(bed, 0, 0x1000);
	bed_commit(bed);
	assert_int_equal(open_fds(), n + 1);
	mpl_doorbell_ring(mpl_doorbell_find(section->doorbells, 0x400, 4, 0));
	assert_int_equal(signals(fd), 1);
	bed_settle(bed);
	assert_int_equal(open_fds(), n);
	close(fd);
}

#define DOORBELL_TEST(name) \
	cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DOORBELL_TEST(test_match),
		DOORBELL_TEST(test_many_at_one_offset),
		DOORBELL_TEST(test_errors),
		DOORBELL_TEST(test_immutable),
		DOORBELL_TEST(test_duplicates),
		DOORBELL_TEST(test_access),
		DOORBELL_TEST(test_byte_order),
		DOORBELL_TEST(test_whole_writes),
		DOORBELL_TEST(test_without_callback),
		DOORBELL_TEST(test_lifetime),
		DOORBELL_TEST(test_full_counter),
		DOORBELL_TEST(test_full_blocking_counter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Host addresses and ram addresses back to regions, while blocks come and go;
 * and real SIGBUSes. */
#define _GNU_SOURCE
#include <memplane.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/said.h"

enum { BLOCKS = 100 };

static int setup(void **state)
{
	return said_plane_new((struct mpl_plane **)state);
}

static int teardown(void **state)
{
	return mpl_plane_free(*state);
}

/* Which of the regions has the address, asked one by one. */
static struct mpl_region *slow(struct mpl_region *const *regions, uint64_t at,
			       bool by_host, uint64_t *offset)
{
	for (unsigned int i = 0; i < BLOCKS; i++) {
		struct mpl_ram_info info;
		uint64_t start;

		if (!regions[i])
			continue;
		assert_int_equal(mpl_ram_query(regions[i], &info), 0);
		start = by_host ? (uintptr_t)info.host : info.ram_address;
		if (at - start >= info.max_size)
			continue;
		*offset = at - start;
		return regions[i];
	}
	return NULL;
}

static void compare(struct mpl_plane *plane, struct mpl_region *const *regions,
		    uint64_t at, bool by_host)
{
	struct mpl_region *wanted, *got = NULL;
	uint64_t offset = 0, wanted_offset = 0;
	int err;

	wanted = slow(regions, at, by_host, &wanted_offset);
	err = by_host ? mpl_ram_at_host(plane, (void *)at, &got, &offset) :
			mpl_ram_at_address(plane, at, &got, &offset);
	assert_int_equal(err, wanted ? 0 : -ENOENT);
	assert_ptr_equal(got, wanted);
	assert_int_equal(offset, wanted_offset);
	mpl_region_unref(got);
}

static void test_random(void **state)
{
	struct mpl_region *regions[BLOCKS] = { NULL };

	srand(3);
	for (unsigned int round = 0; round < 3000; round++) {
		struct mpl_region **region = &regions[rand() % BLOCKS];
		struct mpl_region *other = regions[rand() % BLOCKS];
		uint64_t pages = (uint64_t)rand() % 8 + 1;

		if (*region) {
			mpl_region_unref(*region);
			*region = NULL;
		} else {
			struct mpl_ram_config config = { .max_size =
								 pages * 8192 };

			assert_int_equal(mpl_region_new_ram(*state, "ram",
							    pages * 4096,
							    &config, region),
					 0);
		}
		if (other && other != *region && *region) {
			struct mpl_ram_info info;

			assert_int_equal(mpl_ram_query(other, &info), 0);
			for (int by_host = 0; by_host < 2; by_host++) {
				uint64_t start = by_host ?
							 (uintptr_t)info.host :
							 info.ram_address;

				compare(*state, regions, start - 1, by_host);
				compare(*state, regions, start, by_host);
				compare(*state, regions,
					start + info.max_size - 1, by_host);
				compare(*state, regions, start + info.max_size,
					by_host);
			}
		}
	}
	for (unsigned int i = 0; i < BLOCKS; i++)
		mpl_region_unref(regions[i]);
}

struct seeker {
	struct mpl_plane *plane;
	void *host;
	bool end;
	uint64_t found;
};

static void *seek(void *arg)
{
	struct seeker *seeker = arg;

	while (!__atomic_load_n(&seeker->end, __ATOMIC_RELAXED)) {
		struct mpl_ram_fault fault;
		struct mpl_region *region;
		uint64_t offset;

		if (!mpl_ram_at_host(seeker->plane, seeker->host, &region,
				     &offset)) {
			assert_string_equal(mpl_region_name(region), "ram");
			mpl_region_unref(region);
			seeker->found++;
		}
		if (!mpl_ram_fault(seeker->plane, seeker->host, &fault))
			assert_true(fault.len == 4096);
	}
	return NULL;
}

/* Looked for while it comes and goes: found alive, or not at all. */
static void test_threads(void **state)
{
	static char memory[4096] __attribute__((aligned(4096)));
	struct mpl_ram_config config = { .host = memory };
	struct seeker seeker[2];
	pthread_t thread[2];

	for (unsigned int i = 0; i < 2; i++) {
		seeker[i] = (struct seeker){ .plane = *state, .host = memory };
		assert_int_equal(
			pthread_create(&thread[i], NULL, seek, &seeker[i]), 0);
	}
	for (unsigned int round = 0; round < 3000; round++) {
		struct mpl_region *ram;
		int err =
			mpl_region_new_ram(*state, "ram", 4096, &config, &ram);

		/* A seeker may hold the one before. */
		assert_true(!err || err == -EEXIST);
		if (!err)
			mpl_region_unref(ram);
	}
	for (unsigned int i = 0; i < 2; i++) {
		__atomic_store_n(&seeker[i].end, true, __ATOMIC_RELAXED);
		pthread_join(thread[i], NULL);
	}
}

static struct mpl_plane *bus_plane;
static struct mpl_ram_fault bus_fault;
static int bus_err;
static sigjmp_buf bus_exit;

static void on_bus(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	bus_err = mpl_ram_fault(bus_plane, info->si_addr, &bus_fault);
	siglongjmp(bus_exit, 1);
}

struct told {
	struct mpl_region *region;
	uint64_t offset;
	uint64_t len;
	unsigned int calls;
};

static void tell(void *arg, struct mpl_region *region, uint64_t offset,
		 uint64_t len)
{
	struct told *told = arg;

	told->region = region;
	told->offset = offset;
	told->len = len;
	told->calls++;
}

/* A file that somebody makes shorter: touching it is a real SIGBUS. */
static void test_fault(void **state)
{
	struct sigaction action = { .sa_sigaction = on_bus,
				    .sa_flags = SA_SIGINFO };
	struct sigaction before;
	int fd = memfd_create("shrinks", MFD_CLOEXEC);
	struct mpl_ram_config config = { .backing = MPL_RAM_FD, .fd = fd };
	struct mpl_address_space *as;
	struct mpl_reader *reader;
	struct mpl_region *ram;
	struct told told = { NULL };
	struct mpl_attrs attrs = { 0 };
	char byte = 1;

	bus_plane = *state;
	assert_int_equal(ftruncate(fd, 0x4000), 0);
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", 0x4000, &config, &ram), 0);
	assert_int_equal(mpl_address_space_new(*state, "memory", ram, &as), 0);
	assert_int_equal(mpl_reader_register(*state, &reader), 0);
	mpl_reader_online(reader);
	assert_int_equal(ftruncate(fd, 0x2000), 0);
	assert_int_equal(sigaction(SIGBUS, &action, &before), 0);
	for (unsigned int i = 0; i < 2; i++) {
		bus_err = 1;
		if (!sigsetjmp(bus_exit, 1))
			mpl_read(reader, as, 0x3008, attrs, &byte, 1);
		assert_int_equal(bus_err, 0);
		assert_ptr_equal(bus_fault.region, ram);
		assert_int_equal(bus_fault.offset, 0x3000);
		assert_int_equal(bus_fault.len, 0x1000);
		assert_true(bus_fault.noted);
	}
	sigaction(SIGBUS, &before, NULL);
	/* From now on it is an error, and no signal. */
	assert_int_equal(mpl_ram_fault_commit(*state, tell, &told), 0);
	assert_int_equal(told.calls, 1);
	assert_ptr_equal(told.region, ram);
	assert_int_equal(told.offset, 0x3000);
	assert_int_equal(told.len, 0x1000);
	assert_int_equal(mpl_read(reader, as, 0x3008, attrs, &byte, 1),
			 MPL_ACCESS_ERROR);
	assert_int_equal(mpl_read(reader, as, 0x1008, attrs, &byte, 1), MPL_OK);
	assert_int_equal(mpl_ram_fault_commit(*state, tell, &told), 0);
	assert_int_equal(told.calls, 1);
	mpl_reader_unregister(reader);
	mpl_address_space_free(as);
	mpl_region_unref(ram);
	close(fd);
}

static void test_fault_elsewhere(void **state)
{
	struct told told = { .calls = 0 };
	struct mpl_ram_fault fault;
	struct mpl_region *ram;
	char *host;

	assert_int_equal(mpl_ram_fault(*state, state, &fault), -ENOENT);
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", 100 * 4096, NULL, &ram), 0);
	host = mpl_region_host(ram);
	assert_int_equal(mpl_ram_fault(*state, host - 1, &fault), -ENOENT);
	assert_int_equal(mpl_ram_fault(*state, host + 100 * 4096, &fault),
			 -ENOENT);
	/* Room for 64, then it says so; those noted are noted once. */
	for (unsigned int i = 0; i < 70; i++) {
		assert_int_equal(
			mpl_ram_fault(*state, host + 4096 * i + 5, &fault), 0);
		assert_int_equal(fault.offset, 4096 * i);
		assert_int_equal(fault.noted, i < 64);
		assert_int_equal(mpl_ram_fault(*state, host, &fault), 0);
		assert_true(fault.noted);
	}
	/* The notes go with the block, wherever the next one is. */
	mpl_region_unref(ram);
	assert_int_equal(
		mpl_region_new_ram(*state, "ram", 100 * 4096, NULL, &ram), 0);
	assert_int_equal(mpl_ram_fault_commit(*state, tell, &told), 0);
	assert_int_equal(told.calls, 0);
	assert_int_equal(mpl_ram_fault(*state, mpl_region_host(ram), &fault),
			 0);
	assert_true(fault.noted);
	mpl_region_unref(ram);
}

/* Also when a slot before the page's has become free meanwhile. */
static void test_fault_noted_once(void **state)
{
	struct told told = { .calls = 0 };
	struct mpl_region *gone, *ram;
	struct mpl_ram_fault fault;

	assert_int_equal(mpl_region_new_ram(*state, "gone", 4096, NULL, &gone),
			 0);
	assert_int_equal(mpl_region_new_ram(*state, "ram", 4096, NULL, &ram),
			 0);
	assert_int_equal(mpl_ram_fault(*state, mpl_region_host(gone), &fault),
			 0);
	assert_int_equal(mpl_ram_fault(*state, mpl_region_host(ram), &fault),
			 0);
	mpl_region_unref(gone);
	assert_int_equal(mpl_ram_fault(*state, mpl_region_host(ram), &fault),
			 0);
	assert_int_equal(mpl_ram_fault_commit(*state, tell, &told), 0);
	assert_int_equal(told.calls, 1);
	mpl_region_unref(ram);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_random),
		TEST(test_threads),
		TEST(test_fault),
		TEST(test_fault_elsewhere),
		TEST(test_fault_noted_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

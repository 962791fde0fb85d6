/* SPDX-License-Identifier: BSD-3-Clause */
/* Host addresses and ram addresses back to regions, while blocks come and go;
 * and real SIGBUSes. */
#define _GNU_SOURCE
#include <memplane.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/plane.h"
#include "tests/support/said.h"

/* What the library locks, and when it waits, comes here (--wrap). */
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_sched_yield(void);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_sched_yield(void);

/* What another thread does just then, once. */
static struct {
	const pthread_mutex_t *before_lock; /* NULL: nothing */
	bool at_yield;
	void (*act)(void);
} elsewhere;

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	if (mutex == elsewhere.before_lock) {
		elsewhere.before_lock = NULL;
		elsewhere.act();
	}
	return __real_pthread_mutex_lock(mutex);
}

int __wrap_sched_yield(void)
{
	if (elsewhere.at_yield) {
		elsewhere.at_yield = false;
		elsewhere.act();
	}
	return __real_sched_yield();
}

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

/* A block goes, and another has its host addresses. */
static struct {
	struct mpl_plane *plane;
	struct mpl_ram_config config;
	struct mpl_region *old, *new;
	int err;
} turn;

static void begin_turn(struct mpl_plane *plane)
{
	static char memory[4096] __attribute__((aligned(4096)));
	struct mpl_ram_fault fault;

	turn.plane = plane;
	turn.config.host = memory;
	turn.new = NULL;
	assert_int_equal(
		mpl_region_new_ram(plane, "old", 4096, &turn.config, &turn.old),
		0);
	assert_int_equal(mpl_ram_fault(plane, memory, &fault), 0);
	assert_true(fault.noted);
}

static void new_block(void)
{
	turn.err = mpl_region_new_ram(turn.plane, "new", 4096, &turn.config,
				      &turn.new);
}

static void take_turns(void)
{
	mpl_region_unref(turn.old);
	new_block();
	assert_int_equal(turn.err, 0);
}

/* That the old block had a broken page says nothing of the new one's. */
static void test_fault_of_an_earlier_block(void **state)
{
	struct mpl_plane *plane = *state;
	struct told told = { .calls = 0 };

	begin_turn(plane);
	elsewhere.act = take_turns;
	elsewhere.before_lock = &plane->ram.mutex;
	assert_int_equal(mpl_ram_fault_commit(plane, tell, &told), 0);
	assert_null(elsewhere.before_lock);
	assert_int_equal(told.calls, 0);
	assert_int_equal(mpl_ram_unpoison(turn.new, 0, 4096), -ENOENT);
	mpl_region_unref(turn.new);
}

static void new_block_with_a_fault(void)
{
	struct mpl_ram_fault fault;

	new_block();
	if (!turn.err)
		assert_int_equal(
			mpl_ram_fault(turn.plane, turn.config.host, &fault), 0);
	/* The handler that was looking is done. */
	__atomic_sub_fetch(&turn.plane->ram.looking, 1, __ATOMIC_SEQ_CST);
}

/* As long as a block has notes, nobody else's page is taken for its own. */
static void test_fault_while_a_block_goes(void **state)
{
	struct mpl_plane *plane = *state;
	struct told told = { .calls = 0 };

	begin_turn(plane);
	elsewhere.act = new_block_with_a_fault;
	elsewhere.at_yield = true;
	__atomic_add_fetch(&plane->ram.looking, 1, __ATOMIC_SEQ_CST);
	mpl_region_unref(turn.old);
	assert_false(elsewhere.at_yield);
	assert_int_equal(mpl_ram_fault_commit(plane, tell, &told), 0);
	assert_int_equal(told.calls, turn.err ? 0 : 1);
	assert_int_equal(turn.err, -EEXIST);
	assert_true(said("another region has this host memory"));
}

static struct told by_another;

static void commit_and_note(void)
{
	char *host = mpl_region_host(turn.new);
	struct mpl_ram_fault fault;

	assert_int_equal(mpl_ram_fault_commit(turn.plane, tell, &by_another),
			 0);
	/* In the place of the note that is gone now. */
	assert_int_equal(mpl_ram_fault(turn.plane, host + 4096, &fault), 0);
}

/* Two threads at once: each page is told of once, and none is forgotten. */
static void test_fault_commits_at_once(void **state)
{
	struct mpl_plane *plane = *state;
	struct told told = { .calls = 0 };
	struct mpl_ram_fault fault;

	turn.plane = plane;
	by_another.calls = 0;
	assert_int_equal(
		mpl_region_new_ram(plane, "ram", 2 * 4096, NULL, &turn.new), 0);
	assert_int_equal(
		mpl_ram_fault(plane, mpl_region_host(turn.new), &fault), 0);
	elsewhere.act = commit_and_note;
	elsewhere.before_lock = &plane->control; /* that of the first commit */
	assert_int_equal(mpl_ram_fault_commit(plane, tell, &told), 0);
	assert_null(elsewhere.before_lock);
	assert_int_equal(by_another.calls, 1);
	assert_int_equal(by_another.offset, 0);
	assert_int_equal(mpl_ram_fault_commit(plane, tell, &told), 0);
	assert_int_equal(told.calls, 1);
	assert_int_equal(told.offset, 4096);
	assert_int_equal(mpl_ram_unpoison(turn.new, 4096, 4096), 0);
	mpl_region_unref(turn.new);
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
		TEST(test_fault_of_an_earlier_block),
		TEST(test_fault_while_a_block_goes),
		TEST(test_fault_commits_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

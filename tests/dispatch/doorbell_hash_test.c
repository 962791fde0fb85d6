/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables with an index by hash: what it finds is what the table's own tree has,
 * in every table that is still in use, whatever came after.
 *
 * Starts an EAL in the middle; the tests before do without.
 */
#include "dispatch/doorbell_hash.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "dispatch/doorbell_tree.h"
#include "dispatch/retire.h"
#include "tests/support/bed.h"

/* DPDK's headers are for few files. */
int rte_eal_init(int argc, char **argv);

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define TURNS 2000
#else
#define TURNS 20000
#endif

/* What the library allocates comes here (--wrap): the n-th one may fail. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
static int fail_at; /* 1: the next one; 0: none */

static bool fails(void)
{
	return fail_at && !--fail_at;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails() ? NULL : __real_aligned_alloc(align, size);
}

enum { EVENTS = 3, OLD = 6, HASHED = 16 };

static struct mpl_eventfd *events[EVENTS];

static int setup(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	int err = bed_setup(state);
	struct bed *bed = *state;

	assert_true(fd >= 0);
	for (int i = 0; i < EVENTS; i++) {
		assert_int_equal(mpl_eventfd_new(fd, &events[i]), 0);
		events[i]->caller_fd = i;
	}
	close(fd);
	bed->dp.hash_doorbells = HASHED;
	return err;
}

static int teardown(void **state)
{
	struct bed *bed = *state;

	bed_settle(bed);
	assert_int_equal(bed->dp.hashes, 0);
	assert_int_equal(bed->dp.retired_bytes, 0);
	for (int i = 0; i < EVENTS; i++) {
		assert_int_equal(events[i]->refs, 1);
		mpl_eventfd_unref(events[i]);
	}
	return bed_teardown(state);
}

static struct mpl_doorbells *with(struct bed *bed, struct mpl_doorbells *from,
				  struct mpl_doorbell item)
{
	struct mpl_doorbells *table;

	assert_int_equal(mpl_doorbells_with(&bed->dp, from, &item, &table), 0);
	return table;
}

static struct mpl_doorbells *without(struct bed *bed,
				     struct mpl_doorbells *from,
				     const struct mpl_doorbell *item)
{
	const struct mpl_ioeventfd named = {
		.offset = item->offset,
		.data = item->data,
		.size = item->size,
		.match = item->match,
		.fd = item->event->caller_fd,
	};
	struct mpl_doorbells *table;

	assert_int_equal(mpl_doorbells_without(&bed->dp, from, &named, &table),
			 0);
	return table;
}

static struct mpl_doorbell plain(uint64_t offset)
{
	return (struct mpl_doorbell){ .offset = offset, .size = 4,
				      .event = events[0] };
}

/* A table of `count` doorbells at 0, 8, 16 ... */
static struct mpl_doorbells *row(struct bed *bed, uint64_t count)
{
	struct mpl_doorbells *table = NULL;

	for (uint64_t i = 0; i < count; i++) {
		struct mpl_doorbells *more = with(bed, table, plain(8 * i));

		mpl_doorbells_unref(table);
		table = more;
	}
	return table;
}

static void assert_finds(const struct mpl_doorbells *table,
			 const struct mpl_doorbell *key)
{
	const struct mpl_doorbell *expected = mpl_bells_find(table->root, key);
	const struct mpl_doorbell *found = mpl_doorbell_hash_find(table, key);

	if (!expected) {
		assert_null(found);
		return;
	}
	assert_non_null(found);
	assert_ptr_equal(found->event, expected->event);
	assert_true(found->offset == key->offset);
}

/* Reported once, counted, and the sorted arrays do. */
static void test_without_eal(void **state)
{
	struct bed *bed = *state;
	struct mpl_doorbells *table = row(bed, 8 * HASHED);

	assert_false(mpl_doorbell_hash_possible());
	assert_null(table->hash);
	assert_int_equal(bed->dp.hashes, 0);
	/* At 16, 32, 64 and 128. */
	assert_int_equal(bed->dp.hashes_refused, 4);
	assert_int_equal(bed->lines, 1);
	assert_non_null(strstr(bed->log, "mpl_eal_start()"));
	for (uint64_t i = 0; i < 8 * HASHED; i++)
		assert_non_null(mpl_doorbell_find(table, 8 * i, 4, 0));
	assert_null(mpl_doorbell_find(table, 4, 4, 0));
	mpl_doorbells_unref(table);
}

static void test_start_eal(void **state)
{
	char *argv[] = { "test", "--no-huge", "--no-shconf", "--no-pci",
			 "--no-telemetry", "-m", "4", "-l", "0",
			 "--log-level=*:error", NULL };

	(void)state;
	assert_true(rte_eal_init(10, argv) >= 0);
	assert_true(mpl_doorbell_hash_possible());
}

static void test_threshold(void **state)
{
	struct bed *bed = *state;
	struct mpl_doorbells *table = row(bed, HASHED - 1), *more;
	struct mpl_doorbell first;

	assert_null(table->hash);
	more = with(bed, table, plain(8 * (HASHED - 1)));
	assert_non_null(more->hash);
	assert_int_equal(bed->dp.hashes, 1);
	assert_int_equal(bed->dp.hashes_refused, 0);
	mpl_doorbells_unref(table);
	/* It has one down to the half. */
	for (uint64_t i = HASHED; i > HASHED / 2; i--) {
		struct mpl_doorbell item = plain(8 * (i - 1));

		assert_non_null(more->hash);
		table = without(bed, more, &item);
		mpl_doorbells_unref(more);
		more = table;
	}
	assert_int_equal(more->count, HASHED / 2);
	assert_non_null(more->hash);
	first = plain(0);
	table = without(bed, more, &first);
	assert_null(table->hash);
	mpl_doorbells_unref(more);
	mpl_doorbells_unref(table);
	/* Not wanted: none. */
	bed->dp.hash_doorbells = 0;
	table = row(bed, 4 * HASHED);
	assert_null(table->hash);
	mpl_doorbells_unref(table);
}

static uint64_t seed;

static struct mpl_doorbell random_item(void)
{
	static const unsigned int sizes[] = { 0, 1, 2, 4, 8 };
	uint64_t r = bed_random(&seed);

	return (struct mpl_doorbell){
		.offset = (r >> 8) % 24,
		.size = sizes[(r >> 16) % 5],
		.match = r >> 24 & 1,
		.data = (r >> 25) % 3,
		.event = events[(r >> 32) % EVENTS],
	};
}

/* Any item of a table. */
struct choice {
	uint64_t skip;
	struct mpl_doorbell item;
};

static int choose(void *arg, const struct mpl_doorbell *item)
{
	struct choice *choice = arg;

	choice->item = *item;
	return choice->skip-- == 0;
}

/*
 * Random changes, at times of a table that is not the newest (as after a
 * transaction that was undone), while older tables are in use.
 */
static void test_random(void **state)
{
	struct bed *bed = *state;
	struct mpl_doorbells *kept[OLD] = { NULL };
	unsigned int hashed = 0;

	seed = 5;
	for (unsigned int turn = 0; turn < TURNS; turn++) {
		unsigned int from = bed_random(&seed) % 32 ?
					    turn % OLD :
					    (unsigned int)(bed_random(&seed) %
							   OLD);
		unsigned int to = (turn + 1) % OLD;
		struct mpl_doorbell item = random_item();
		struct mpl_doorbells *table = kept[from], *next;
		struct choice choice = { .skip = bed_random(&seed) % 512 };
		bool grow = bed_random(&seed) % 8 > turn / 512 % 8;

		if (grow || !table) {
			if (mpl_doorbells_with(&bed->dp, table, &item, &next))
				next = mpl_doorbells_ref(table);
		} else {
			(void)mpl_doorbells_each(table, choose, &choice);
			next = without(bed, table, &choice.item);
		}
		mpl_doorbells_unref(kept[to]);
		kept[to] = next;
		hashed += next && next->hash;
		for (unsigned int i = 0; i < OLD; i++) {
			struct mpl_doorbell key = random_item();

			if (!kept[i] || !kept[i]->hash)
				continue;
			assert_finds(kept[i], &key);
			assert_finds(kept[i], &item);
		}
		if (bed_random(&seed) % 16 == 0)
			bed_settle(bed);
	}
	assert_true(hashed > TURNS / 4);
	assert_int_equal(bed->dp.hashes_refused, 0);
	for (unsigned int i = 0; i < OLD; i++)
		mpl_doorbells_unref(kept[i]);
}

/* A table that was undone leaves nothing behind in the one before. */
static void test_undone(void **state)
{
	struct bed *bed = *state;
	struct mpl_doorbells *table = row(bed, 2 * HASHED);
	struct mpl_doorbell first = plain(0), new = plain(4);
	struct mpl_doorbells *failed = without(bed, table, &first);
	struct mpl_doorbells *worse = with(bed, failed, new), *next;

	assert_ptr_equal(worse->hash, table->hash);
	assert_non_null(mpl_doorbell_find(worse, 4, 4, 0));
	mpl_doorbells_unref(worse);
	mpl_doorbells_unref(failed);
	assert_non_null(mpl_doorbell_find(table, 0, 4, 0));
	assert_null(mpl_doorbell_find(table, 4, 4, 0));
	next = with(bed, table, plain(12));
	assert_ptr_not_equal(next->hash, table->hash);
	assert_non_null(mpl_doorbell_find(next, 0, 4, 0));
	assert_non_null(mpl_doorbell_find(next, 12, 4, 0));
	assert_null(mpl_doorbell_find(next, 4, 4, 0));
	mpl_doorbells_unref(table);
	mpl_doorbells_unref(next);
}

/* The same few slots do for any number of changes, once readers moved on. */
static void test_slots_come_back(void **state)
{
	struct bed *bed = *state;
	struct mpl_doorbells *table = row(bed, HASHED);
	const struct mpl_doorbell_hash *hash = table->hash;

	for (uint64_t i = 0; i < 5000; i++) {
		struct mpl_doorbell item = plain(0x1000 + 8 * i);
		struct mpl_doorbells *more = with(bed, table, item);

		mpl_doorbells_unref(table);
		table = without(bed, more, &item);
		mpl_doorbells_unref(more);
		bed_settle(bed);
		assert_ptr_equal(table->hash, hash);
		assert_int_equal(bed->dp.retired_bytes, 0);
	}
	mpl_doorbells_unref(table);
}

/* While a reader is not quiescent nothing is freed; then the hash grows. */
static void test_waits_for_readers(void **state)
{
	struct bed *bed = *state;
	struct mpl_doorbells *table = row(bed, HASHED);
	const struct mpl_doorbell_hash *hash = table->hash;

	for (uint64_t i = 0; i < 500; i++) {
		struct mpl_doorbell item = plain(0x1000 + 8 * i);
		struct mpl_doorbells *more = with(bed, table, item);

		mpl_doorbells_unref(table);
		table = without(bed, more, &item);
		mpl_doorbells_unref(more);
		assert_non_null(table->hash);
	}
	mpl_retire_poll(&bed->dp);
	assert_true(bed->dp.retired_bytes > 0);
	assert_ptr_not_equal(table->hash, hash);
	bed_settle(bed);
	assert_int_equal(bed->dp.retired_bytes, 0);
	assert_int_equal(bed->dp.hashes, 1);
	mpl_doorbells_unref(table);
}

/* More than the EAL has memory for: arrays, reported. */
static void test_no_room(void **state)
{
	struct bed *bed = *state;
	struct mpl_doorbells *table;

	bed->dp.hash_doorbells = 40000;
	table = row(bed, 40000);
	assert_null(table->hash);
	assert_int_equal(bed->dp.hashes_refused, 1);
	assert_non_null(strstr(bed->log, "memory"));
	assert_non_null(mpl_doorbell_find(table, 8 * 39999, 4, 0));
	mpl_doorbells_unref(table);
}

/*
 * Each allocation fails once: the change is refused, or its table has no hash,
 * or what is to be freed waits; what is found stays right.
 */
static void test_out_of_memory(void **state)
{
	struct bed *bed = *state;
	struct mpl_doorbells *table = row(bed, HASHED - 1);
	unsigned int refused = 0, without_hash = 0;

	seed = 13;
	for (int round = 0; round < 400; round++) {
		struct mpl_doorbell item =
			plain(8 * (bed_random(&seed) % (2 * HASHED)));
		const struct mpl_ioeventfd named = { .offset = item.offset,
						     .size = 4 };
		bool there = mpl_bells_find(table->root, &item);
		struct mpl_doorbells *next = NULL;
		int err;

		fail_at = 1 + round % 8;
		if (there && table->count > HASHED / 2)
			err = mpl_doorbells_without(&bed->dp, table, &named,
						    &next);
		else
			err = mpl_doorbells_with(&bed->dp, table, &item, &next);
		if (!err) {
			mpl_doorbells_unref(table); /* may fail, too */
			table = next;
		}
		fail_at = 0;
		refused += err == -ENOMEM;
		without_hash += table->count >= HASHED && !table->hash;
		for (uint64_t i = 0; table->hash && i < 2 * HASHED; i++) {
			struct mpl_doorbell key = plain(8 * i);

			assert_finds(table, &key);
		}
		if (round % 3 == 0)
			bed_settle(bed);
	}
	assert_true(refused > 20);
	assert_true(without_hash > 0);
	mpl_doorbells_unref(table);
}

/* Readers look while the table changes; each sees what its own one has. */
struct race {
	struct bed *bed;
	struct mpl_doorbells *current;
	unsigned int looks;
	int bad;
	bool over;
};

static void *look(void *arg)
{
	struct race *race = arg;
	struct mpl_reader_state *reader;
	uint64_t random = 11;

	if (mpl_reader_add(&race->bed->dp, false, &reader)) {
		__atomic_store_n(&race->bad, 1, __ATOMIC_RELAXED);
		return NULL;
	}
	mpl_reader_adopt(reader);
	(void)mpl_reader_online(&reader->pub);
	while (!__atomic_load_n(&race->over, __ATOMIC_ACQUIRE)) {
		const struct mpl_doorbells *table =
			__atomic_load_n(&race->current, __ATOMIC_ACQUIRE);

		for (int i = 0; i < 64; i++) {
			struct mpl_doorbell key =
				plain(8 * (bed_random(&random) % 512));
			const struct mpl_doorbell *expected =
				mpl_bells_find(table->root, &key);
			const struct mpl_doorbell *found =
				mpl_doorbell_hash_find(table, &key);

			if (!found != !expected ||
			    (found && found->event != expected->event))
				__atomic_store_n(&race->bad, 1,
						 __ATOMIC_RELAXED);
		}
		__atomic_add_fetch(&race->looks, 1, __ATOMIC_RELAXED);
		(void)mpl_reader_quiescent(&reader->pub);
	}
	(void)mpl_reader_offline(&reader->pub);
	mpl_reader_unregister(&reader->pub);
	return NULL;
}

static void drop_table(void *arg)
{
	mpl_doorbells_unref(arg);
}

static void publish(struct race *race, struct mpl_doorbells *table)
{
	struct mpl_retired *batch = mpl_retired_new();

	assert_non_null(batch);
	assert_int_equal(mpl_retire_object(batch, drop_table, race->current,
					   sizeof(*table)), 0);
	__atomic_store_n(&race->current, table, __ATOMIC_RELEASE);
	mpl_retire(&race->bed->dp, batch);
	bed_settle(race->bed);
}

static void test_race(void **state)
{
	struct bed *bed = *state;
	struct race race = { .bed = bed, .current = row(bed, 256) };
	unsigned int changes = 0;
	pthread_t thread;

	seed = 9;
	assert_int_equal(pthread_create(&thread, NULL, look, &race), 0);
	while (changes < TURNS / 2 ||
	       __atomic_load_n(&race.looks, __ATOMIC_RELAXED) < 100) {
		uint64_t r = bed_random(&seed);
		struct mpl_doorbell item = plain(8 * (r >> 8 & 511));
		bool there = mpl_bells_find(race.current->root, &item);

		/* Slots and versions change hands while they look. */
		item.event = there ? mpl_bells_find(race.current->root, &item)
					     ->event :
				     events[(r >> 32) % EVENTS];
		publish(&race, there ? without(bed, race.current, &item) :
				       with(bed, race.current, item));
		assert_non_null(race.current->hash);
		changes++;
	}
	__atomic_store_n(&race.over, true, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(race.bad, 0);
	bed_settle(bed);
	mpl_doorbells_unref(race.current);
}

#define HASH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HASH_TEST(test_without_eal),
		cmocka_unit_test(test_start_eal),
		HASH_TEST(test_threshold),
		HASH_TEST(test_random),
		HASH_TEST(test_undone),
		HASH_TEST(test_slots_come_back),
		HASH_TEST(test_waits_for_readers),
		HASH_TEST(test_no_room),
		HASH_TEST(test_out_of_memory),
		HASH_TEST(test_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

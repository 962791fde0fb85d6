/* SPDX-License-Identifier: BSD-3-Clause */
#include "dispatch/publish.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <memplane/access.h>

#include "dispatch/compile.h"
#include "dispatch/retire.h"
#include "tests/support/bed.h"

/*
 * What publish.c stores is seen by other threads one by one: here it is built
 * with a look after each of its atomic stores.
 */
static void (*after_store)(void *arg);
static void *after_store_arg;

static void store_done(void)
{
	if (after_store)
		after_store(after_store_arg);
}

#define __atomic_store_n(to, value, order) \
	(__atomic_store_n(to, value, order), store_done())
#include "dispatch/publish.c"
#undef __atomic_store_n

static void test_copy(void **state)
{
	struct bed *bed = *state;
	const struct mpl_snapshot *old;
	struct mpl_snapshot *copy;

	bed_io(bed, 0, 0, 0xfff, bed->plain);
	old = bed->dp.published;
	copy = mpl_snapshot_new(&bed->dp, old->generation + 5, 0);
	assert_non_null(copy);
	assert_true(copy->generation == old->generation + 5);
	assert_int_equal(copy->slots, old->slots);
	assert_int_equal(copy->views, old->views);
	assert_ptr_equal(copy->view_of, old->view_of);
	assert_memory_equal(copy->root, old->root,
			    old->views * sizeof(old->root[0]));
	mpl_snapshot_drop(copy);
	mpl_snapshot_drop(NULL);
}

/* Roots that are new are empty, with stamps that nothing else has. */
static void test_more_views(void **state)
{
	struct bed *bed = *state;
	struct mpl_snapshot *copy = mpl_snapshot_new(&bed->dp, 9, 20);

	assert_non_null(copy);
	assert_int_equal(copy->views, 20);
	for (uint32_t i = 0; i < 20; i++) {
		assert_int_equal(copy->root[i].entry, MPL_ENTRY_EMPTY);
		assert_int_not_equal(copy->root[i].stamp, UINT64_MAX);
		for (uint32_t j = 0; j < i; j++)
			assert_true(copy->root[i].stamp != copy->root[j].stamp);
	}
	mpl_snapshot_drop(copy);
	assert_true(mpl_snapshot_bytes(20) >=
		    sizeof(*copy) + 20 * sizeof(copy->root[0]));
}

static void test_view_table(void **state)
{
	struct bed *bed = *state;
	const struct mpl_snapshot *old = bed->dp.published;
	uint32_t *table = mpl_view_table_new(old, BED_SPACES + 3);

	assert_non_null(table);
	assert_memory_equal(table, old->view_of, BED_SPACES * sizeof(*table));
	for (uint32_t i = BED_SPACES; i < BED_SPACES + 3; i++)
		assert_int_equal(table[i], 0);
	free(table);
	table = mpl_view_table_new(old, 1); /* fewer */
	assert_non_null(table);
	assert_int_equal(table[0], old->view_of[0]);
	free(table);
}

/* The first spaces' roots once more, the others' by the table. */
static void test_first(void **state)
{
	struct bed *bed = *state;
	const struct mpl_snapshot *now;
	struct mpl_address_space beyond = { .slot = MPL_FIRST_SLOTS };
	uint32_t table[MPL_FIRST_SLOTS + 1] = { 0, 2, 0, 1 };
	struct mpl_snapshot *copy;

	bed_io(bed, 0, 0, 0xfff, bed->plain);
	bed_io(bed, 1, 0x1000, 0x1fff, bed->plain);
	now = bed->dp.published;
	for (uint32_t i = 0; i < BED_SPACES; i++) {
		assert_ptr_equal(mpl_root_of(now, &bed->as[i]), &now->first[i]);
		assert_memory_equal(&now->first[i], &now->root[now->view_of[i]],
				    sizeof(now->first[i]));
	}
	for (uint32_t i = BED_SPACES; i < MPL_FIRST_SLOTS; i++)
		assert_int_equal(now->first[i].entry, MPL_ENTRY_EMPTY);
	/* Spaces that change their views. */
	copy = mpl_snapshot_new(&bed->dp, now->generation + 1, 0);
	assert_non_null(copy);
	table[MPL_FIRST_SLOTS] = 2;
	copy->view_of = table;
	copy->slots = MPL_FIRST_SLOTS + 1;
	mpl_publish(&bed->dp, copy);
	for (uint32_t i = 0; i < MPL_FIRST_SLOTS; i++)
		assert_memory_equal(&copy->first[i], &copy->root[table[i]],
				    sizeof(copy->first[i]));
	assert_ptr_equal(mpl_root_of(copy, &beyond), &copy->root[2]);
	mpl_publish(&bed->dp, (struct mpl_snapshot *)now);
	mpl_snapshot_drop(copy);
}

static void test_stamps(void **state)
{
	struct bed *bed = *state;
	uint64_t last = bed->dp.stamp;

	for (int i = 0; i < 1000; i++) {
		uint64_t stamp = mpl_stamp_new(&bed->dp);

		assert_true(stamp > last);
		last = stamp;
	}
	for (uint32_t i = 0; i < bed->dp.published->views; i++)
		assert_true(bed->dp.published->root[i].stamp < last);
}

static void test_publish(void **state)
{
	struct bed *bed = *state;
	const struct mpl_snapshot *before = bed->dp.published;
	struct mpl_snapshot *snapshot, *old;

	snapshot = mpl_snapshot_new(&bed->dp, before->generation + 1, 0);
	assert_non_null(snapshot);
	assert_ptr_equal(mpl_reader_snapshot(bed->reader), before);
	old = mpl_publish(&bed->dp, snapshot);
	assert_ptr_equal(old, before);
	assert_ptr_equal(bed->dp.published, snapshot);
	assert_ptr_equal(mpl_reader_snapshot(bed->reader), snapshot);
	assert_true(bed->dp.generation == snapshot->generation);
	mpl_snapshot_drop(old);
}

/*
 * Two maps of one page: `before` and `after` say where it is in the host.
 * Ways to ask for it, each of which keeps something of what it found.
 */
#define PAGE 0x1000

static uint8_t before[PAGE], after[PAGE];
static const struct mpl_attrs no_attrs;

static void *by_lookup(struct bed *bed)
{
	return mpl_lookup(bed->reader, &bed->as[0], PAGE)->host;
}

static void *by_lookup_burst(struct bed *bed)
{
	const uint64_t gpa[] = { PAGE };
	const struct mpl_section *section;

	mpl_lookup_burst(bed->reader, &bed->as[0], gpa, 1, &section);
	return section->host;
}

static void *by_translate(struct bed *bed)
{
	size_t len;
	void *host;

	assert_int_equal(mpl_translate(bed->reader, &bed->as[0], PAGE, 8,
				       MPL_FOR_READ, &host, &len), MPL_OK);
	return host;
}

static void *by_translate_burst(struct bed *bed)
{
	uint64_t gpa[8];
	void *host[8];

	for (unsigned int i = 0; i < 8; i++)
		gpa[i] = PAGE + 8 * i;
	assert_int_equal(mpl_translate_burst(bed->reader, &bed->as[0], gpa, 8,
					     8, MPL_FOR_READ, host), 8);
	for (unsigned int i = 1; i < 8; i++)
		assert_ptr_equal(host[i], (uint8_t *)host[0] + 8 * i);
	return host[0];
}

static void *by_read(struct bed *bed)
{
	uint8_t byte;

	assert_int_equal(mpl_read(bed->reader, &bed->as[0], PAGE, no_attrs,
				  &byte, 1), MPL_OK);
	return byte == 'b' ? before : after;
}

static void *(*const ways[])(struct bed *bed) = {
	by_lookup, by_lookup_burst, by_translate, by_translate_burst, by_read,
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* The first map, and whatever a way keeps of it: kept when found twice. */
static void begin_with_before(struct bed *bed, unsigned int way)
{
	memset(before, 'b', sizeof(before));
	memset(after, 'a', sizeof(after));
	if (bed_find(bed, 0, PAGE))
		bed_take(bed, 0, PAGE);
	bed_memory(bed, 0, PAGE, 2 * PAGE - 1, before, BED_RAM);
	bed_settle(bed);
	for (unsigned int i = 0; i < 3; i++)
		assert_ptr_equal(ways[way](bed), before);
}

/* Record the second map; the commit is left to the caller. */
static void put_after(struct bed *bed)
{
	bed_take(bed, 0, PAGE);
	bed_put(bed, 0, &(struct mpl_section){
		.start = PAGE,
		.span = PAGE - 1,
		.host = after,
		.flags = BED_RAM,
	});
}

/* Where it is in the snapshot that the reader finds now. */
static void *in_snapshot(const struct bed *bed)
{
	return mpl_lookup_uncached(bed->reader, &bed->as[0], PAGE)->host;
}

struct moments {
	struct bed *bed;
	unsigned int way;
	unsigned int seen;
	unsigned int in_before; /* of these, with the old snapshot */
	unsigned int wrong;
};

static void same_as_snapshot(void *arg)
{
	struct moments *moments = arg;

	after_store = NULL; /* an assert may leave for the teardown */
	moments->seen++;
	moments->in_before += in_snapshot(moments->bed) == before;
	moments->wrong += ways[moments->way](moments->bed) !=
			  in_snapshot(moments->bed);
	after_store = same_as_snapshot;
}

/*
 * Whichever store of mpl_publish() is the last that a reader sees: what it
 * kept is used with the snapshot that it was kept of, and with no other.
 */
static void test_each_moment(void **state)
{
	struct bed *bed = *state;

	for (unsigned int way = 0; way < WAYS; way++) {
		struct moments moments = { .bed = bed, .way = way };

		begin_with_before(bed, way);
		put_after(bed);
		after_store = same_as_snapshot;
		after_store_arg = &moments;
		bed_commit(bed);
		after_store = NULL;
		assert_int_equal(moments.wrong, 0);
		assert_true(moments.in_before);
		assert_true(moments.seen > moments.in_before);
		assert_ptr_equal(ways[way](bed), after);
	}
}

/*
 * The two halves by hand.  The number alone makes a reader look again, and
 * find what is still published; the snapshot alone would leave it with what it
 * kept, while others of its calls are in the new map already.
 */
static void test_halves(void **state)
{
	struct bed *bed = *state;

	for (unsigned int way = 0; way < WAYS; way++) {
		const struct mpl_snapshot *old, *new;

		begin_with_before(bed, way);
		old = bed->dp.published;
		put_after(bed);
		bed_commit(bed);
		new = bed->dp.published;

		bed->dp.published = old;
		for (unsigned int i = 0; i < 3; i++)
			assert_ptr_equal(ways[way](bed), before);
		bed->dp.published = new;
		assert_ptr_equal(ways[way](bed), after);

		begin_with_before(bed, way);
		put_after(bed);
		bed_commit(bed);
		bed->dp.announced--;
		assert_ptr_equal(in_snapshot(bed), after);
		assert_ptr_equal(ways[way](bed), before);
		bed->dp.announced++;
		assert_ptr_equal(ways[way](bed), after);
	}
}

/*
 * Writer: publishes snapshots in which generation, stamps and the map agree.
 * Reader: whatever snapshot it gets is one of these, whole.
 */
enum { ROUNDS = 3000 };

struct watcher {
	struct bed *bed;
	bool ready;
	bool done;
	unsigned int wrong;
	uint64_t seen;
};

static void *watch(void *arg)
{
	struct watcher *watcher = arg;
	struct mpl_reader_state *reader;
	uint64_t last = 0;

	if (mpl_reader_add(&watcher->bed->dp, false, &reader)) {
		watcher->wrong++;
		__atomic_store_n(&watcher->ready, true, __ATOMIC_RELAXED);
		return NULL;
	}
	mpl_reader_online(&reader->pub);
	while (!__atomic_load_n(&watcher->done, __ATOMIC_ACQUIRE)) {
		const struct mpl_snapshot *snapshot =
			mpl_reader_snapshot(&reader->pub);
		uint64_t generation = snapshot->generation;
		const struct mpl_section *section = mpl_walk(
			&reader->pub, snapshot->root[1].entry, 0x1000);

		if (generation < last)
			watcher->wrong++;
		/* Each round's section carries its round in `offset`. */
		if (section->offset && section->offset != generation)
			watcher->wrong++;
		watcher->seen += generation != last;
		last = generation;
		mpl_reader_quiescent(&reader->pub);
		__atomic_store_n(&watcher->ready, true, __ATOMIC_RELAXED);
	}
	mpl_reader_unregister(&reader->pub);
	return NULL;
}

static void test_readers_see_whole_snapshots(void **state)
{
	struct bed *bed = *state;
	struct watcher watcher = { .bed = bed };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);
	while (!__atomic_load_n(&watcher.ready, __ATOMIC_RELAXED))
		sched_yield();
	for (int i = 0; i < ROUNDS; i++) {
		if (bed_find(bed, 0, 0x1000))
			bed_take(bed, 0, 0x1000);
		bed_put(bed, 0, &(struct mpl_section){
			.start = 0x1000,
			.span = 0xfff,
			.offset = bed->dp.published->generation + 1,
		});
		if (i % 2)
			bed_put(bed, 0, &(struct mpl_section){
				.start = 0x100000 + (uint64_t)i * 16,
				.span = 15,
			});
		bed_commit(bed);
		bed_settle(bed);
	}
	__atomic_store_n(&watcher.done, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	assert_int_equal(watcher.wrong, 0);
	assert_true(watcher.seen > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_copy),
		BED_TEST(test_more_views),
		BED_TEST(test_view_table),
		BED_TEST(test_first),
		BED_TEST(test_stamps),
		BED_TEST(test_publish),
		BED_TEST(test_each_moment),
		BED_TEST(test_halves),
		BED_TEST(test_readers_see_whole_snapshots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

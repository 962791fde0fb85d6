/* SPDX-License-Identifier: BSD-3-Clause */
/* The look-up and its caches: never an answer from an old map. */
#include <memplane/access.h>

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/bed.h"

static void assert_found(struct bed *bed, unsigned int space, uint64_t gpa)
{
	uint32_t expected = bed_find(bed, space, gpa);

	assert_int_equal(mpl_lookup_uncached(bed->reader, &bed->as[space],
					     gpa)->id, expected);
	assert_int_equal(mpl_lookup(bed->reader, &bed->as[space], gpa)->id,
			 expected);
}

static void test_empty(void **state)
{
	struct bed *bed = *state;

	for (unsigned int space = 0; space < BED_SPACES; space++) {
		assert_found(bed, space, 0);
		assert_found(bed, space, UINT64_MAX);
	}
	assert_ptr_equal(mpl_lookup(bed->reader, &bed->as[0], 0),
			 mpl_section_at(&bed->dp, 0));
}

/* A hole between must not be remembered as everything. */
static void test_unassigned_is_not_cached(void **state)
{
	struct bed *bed = *state;

	bed_io(bed, 0, 0x1000, 0x1fff, bed->plain);
	bed_io(bed, 0, 0x3000, 0x3fff, bed->plain);
	for (int i = 0; i < 3; i++) {
		assert_found(bed, 0, 0x2000);
		assert_found(bed, 0, 0x1000);
		assert_found(bed, 0, 0xfff);
		assert_found(bed, 0, 0x3fff);
		assert_found(bed, 0, 0x4000);
		assert_found(bed, 0, UINT64_MAX);
		assert_found(bed, 0, 0x1fff);
	}
}

static void test_hits_do_not_walk(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *reader = bed->reader;
	uint64_t misses;

	bed_io(bed, 0, 0x1000, 0x1fff, bed->plain);
	bed_io(bed, 0, 0x2000, 0x2fff, bed->plain);
	misses = reader->misses;
	assert_found(bed, 0, 0x1000);
	assert_int_equal(reader->misses, misses + 1);
	assert_found(bed, 0, 0x1ff8); /* the same section again */
	assert_int_equal(reader->misses, misses + 2);
	assert_found(bed, 0, 0x1230); /* so that it is the last one */
	assert_int_equal(reader->misses, misses + 2);
	assert_found(bed, 0, 0x2000);
	assert_int_equal(reader->misses, misses + 3);
	assert_found(bed, 0, 0x1000); /* the table */
	assert_found(bed, 0, 0x2000);
	assert_int_equal(reader->misses, misses + 3);
	/* An unrelated commit to another space leaves this one's alone. */
	bed_io(bed, 1, 0, 0xfff, bed->plain);
	assert_found(bed, 0, 0x2000);
	assert_int_equal(reader->misses, misses + 3);
	mpl_reader_drop_caches(reader);
	assert_found(bed, 0, 0x2000);
	assert_int_equal(reader->misses, misses + 4);
}

/* A section of 2^64 bytes can be the last one, too. */
static void test_all_addresses(void **state)
{
	struct bed *bed = *state;
	uint64_t misses;

	bed_io(bed, 0, 0, UINT64_MAX, bed->plain);
	assert_found(bed, 0, 0);
	assert_found(bed, 0, 0x123456789);
	misses = bed->reader->misses;
	for (uint64_t i = 0; i < 64; i++)
		assert_found(bed, 0, UINT64_C(1) << i);
	assert_int_equal(bed->reader->misses, misses);
	assert_found(bed, 0, UINT64_MAX - 1);
	assert_int_equal(bed->reader->misses, misses);
	assert_found(bed, 0, UINT64_MAX);
}

/* Two sections in turn, an address never twice: no cache helps. */
static void look_in_vain(struct bed *bed)
{
	struct mpl_reader *reader = bed->reader;
	uint64_t hits = reader->hits, misses = reader->misses;

	bed_io(bed, 0, 0x1000, 0x1fff, bed->plain);
	bed_io(bed, 0, 0x2000, 0x2fff, bed->plain);
	for (uint64_t i = 0; i < 300; i++)
		assert_found(bed, 0, 0x1000 + (i & 1) * 0x1000 + i * 8);
	assert_int_equal(reader->hits, hits);
	assert_int_equal(reader->misses, misses + 300);
	assert_true(reader->idle_until > misses);
	assert_int_equal(reader->last_size, 0);
}

/* Slots that never hit are given up, and found useful again later. */
static void test_slots_are_given_up(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *reader = bed->reader;
	uint64_t hits = reader->hits;
	uint64_t misses, rounds = 0;

	look_in_vain(bed);
	/* Filled in spite of that, two would hit from the second round on. */
	for (; rounds < 300 && reader->hits == hits; rounds++) {
		assert_found(bed, 0, 0x1000);
		assert_found(bed, 0, 0x2000);
	}
	assert_in_range(rounds, 3,
			MPL_IDLE_WALKS + MPL_SAMPLE_WALKS + 2);
	misses = reader->misses;
	for (int i = 0; i < 100; i++) {
		assert_found(bed, 0, 0x1000);
		assert_found(bed, 0, 0x2000);
	}
	assert_true(reader->misses <= misses + 1);
}

/* Without credit, a section that is found again and again is still noticed. */
static void test_last_is_found_again(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *reader = bed->reader;
	uint64_t misses;

	look_in_vain(bed);
	misses = reader->misses;
	for (uint64_t i = 0; i < 500; i++)
		assert_found(bed, 0, 0x1000 + i * 8);
	assert_in_range(reader->misses - misses, 2,
			MPL_IDLE_WALKS + MPL_SAMPLE_WALKS);
	/* Holes are nothing to be kept, however often. */
	misses = reader->misses;
	for (uint64_t i = 0; i < 100; i++)
		assert_found(bed, 0, 0x9000 + i * 8);
	assert_int_equal(reader->misses, misses + 100);
	assert_int_equal(reader->hits, 0);
}

/*
 * Large sections have no slots, so that walks are all that is ever counted
 * between the runs in each of them: that must not make the reader give up.
 */
static void test_runs_keep_the_last(void **state)
{
	struct bed *bed = *state;
	struct mpl_reader *reader = bed->reader;
	uint64_t misses = reader->misses;

	bed_io(bed, 0, 0, 0xfffff, bed->plain);
	bed_io(bed, 0, 0x100000, 0x1fffff, bed->plain);
	for (uint64_t run = 0; run < 1000; run++)
		for (uint64_t i = 0; i < 10; i++)
			assert_found(bed, 0, (run & 1) * 0x100000 + i * 8);
	/* One walk to find it, one to find it twice running. */
	assert_int_equal(reader->misses, misses + 2000);
	assert_int_equal(reader->idle_until, 0);
	/* Runs of one are what they are. */
	for (uint64_t i = 0; i < 2 * MPL_CACHE_PATIENCE; i++)
		assert_found(bed, 0, (i & 1) * 0x100000);
	assert_true(reader->idle_until > misses);
}

/* The same addresses show different things in different spaces. */
static void test_spaces_do_not_mix(void **state)
{
	struct bed *bed = *state;

	bed_io(bed, 0, 0x1000, 0x1fff, bed->plain);
	bed_io(bed, 1, 0x1000, 0x17ff, bed->plain);
	for (int i = 0; i < 10; i++)
		for (uint64_t gpa = 0xf80; gpa < 0x2080; gpa += 8)
			assert_found(bed, (gpa / 8 + (uint64_t)i) % 2, gpa);
	for (uint64_t gpa = 0xf80; gpa < 0x2080; gpa += 8)
		for (unsigned int space = 0; space < BED_SPACES; space++)
			assert_found(bed, space, gpa);
}

/* A section that is replaced by another with the same bounds, or index. */
static void test_replaced(void **state)
{
	struct bed *bed = *state;
	uint32_t first = bed_io(bed, 0, 0x1000, 0x1fff, bed->plain), second;

	assert_found(bed, 0, 0x1800);
	bed_take(bed, 0, 0x1000);
	second = bed_io(bed, 0, 0x1000, 0x1fff, bed->plain);
	assert_int_not_equal(first, second);
	assert_found(bed, 0, 0x1800);
	bed_take(bed, 0, 0x1000);
	bed_commit(bed);
	bed_settle(bed);
	/* Its memory is used again, for other addresses. */
	bed_io(bed, 0, 0x5000, 0x5fff, bed->plain);
	assert_found(bed, 0, 0x1800);
	assert_found(bed, 0, 0x5800);
}

/* Back to the very content of before: the stamp is another one all the same. */
static void test_content_returns(void **state)
{
	struct bed *bed = *state;
	uint64_t stamps[20];

	bed_io(bed, 0, 0x1000, 0x1fff, bed->plain);
	for (int i = 0; i < 20; i++) {
		if (i % 2)
			bed_take(bed, 0, 0x3000);
		else
			bed_put(bed, 0, &(struct mpl_section){
				.start = 0x3000, .span = 0xfff });
		bed_commit(bed);
		bed_settle(bed);
		stamps[i] = mpl_root_of(mpl_reader_snapshot(bed->reader),
					&bed->as[0])->stamp;
		for (int j = 0; j < i; j++)
			assert_true(stamps[i] != stamps[j]);
		assert_found(bed, 0, 0x3000);
		assert_found(bed, 0, 0x1000);
	}
}

static uint64_t random_gpa(uint64_t *seed)
{
	uint64_t value = bed_random(seed);

	switch (bed_random(seed) % 6) {
	case 0:
		return UINT64_MAX - value % 0x2000;
	case 1:
		return value % 0x400;
	case 2:
		/* Far apart, in the same cache slot. */
		return value % 64 << 18;
	default:
		return value % 64 << 12 | value >> 52;
	}
}

static void random_commit(struct bed *bed, unsigned int space, uint64_t *seed)
{
	uint64_t gpa = random_gpa(seed);
	uint64_t last;

	if (bed_find(bed, space, gpa)) {
		bed_take(bed, space, gpa);
	} else {
		static const uint64_t spans[] = { 0, 7, 0xff, 0xfff };

		last = gpa + spans[bed_random(seed) % 4];
		if (last < gpa)
			last = UINT64_MAX;
		for (size_t i = 0; i < bed->sections[space].count; i++) {
			const struct mpl_section *section = mpl_section_at(
				&bed->dp, bed->sections[space].items[i]);

			if (section->start > gpa && section->start <= last)
				last = section->start - 1;
		}
		bed_put(bed, space, &(struct mpl_section){
			.start = gpa, .span = last - gpa });
	}
	bed_commit(bed);
}

static void test_random(void **state)
{
	struct bed *bed = *state;
	uint64_t seed = 2024;

	for (int commit = 0; commit < 4000; commit++) {
		random_commit(bed, bed_random(&seed) % BED_SPACES, &seed);
		for (int i = 0; i < 24; i++) {
			unsigned int space = bed_random(&seed) % BED_SPACES;

			assert_found(bed, space, random_gpa(&seed));
		}
		if (commit % 3 == 0)
			bed_settle(bed);
	}
}

/* Bursts leave no old answer behind either, nor one of another space. */
static void test_bursts_and_commits(void **state)
{
	struct bed *bed = *state;
	const struct mpl_section *section;
	const uint64_t gpa = 0x1000;

	for (int i = 0; i < 50; i++) {
		uint32_t id = bed_io(bed, 0, 0x1000, 0x1fff, bed->plain);

		mpl_lookup_burst(bed->reader, &bed->as[0], &gpa, 1, &section);
		assert_int_equal(section->id, id);
		assert_int_equal(mpl_lookup(bed->reader, &bed->as[1],
					    gpa)->id, 0);
		mpl_lookup_burst(bed->reader, &bed->as[1], &gpa, 1, &section);
		assert_int_equal(section->id, 0);
		assert_int_equal(mpl_lookup(bed->reader, &bed->as[0],
					    gpa)->id, id);
		bed_take(bed, 0, 0x1000);
		bed_commit(bed);
		mpl_lookup_burst(bed->reader, &bed->as[0], &gpa, 1, &section);
		assert_int_equal(section->id, 0);
		if (i % 2)
			bed_settle(bed);
	}
}

static void test_symbols(void **state)
{
	struct bed *bed = *state;
	uint32_t id = bed_io(bed, 0, 0x1000, 0x1fff, bed->plain);

	assert_int_equal(mpl_lookup_sym(bed->reader, &bed->as[0], 0x1fff)->id,
			 id);
	assert_int_equal(mpl_lookup_uncached_sym(bed->reader, &bed->as[0],
						 0x1000)->id, id);
	assert_int_equal(mpl_lookup_sym(bed->reader, &bed->as[0], 0x2000)->id,
			 0);
	assert_int_equal(mpl_lookup_uncached_sym(bed->reader, &bed->as[0],
						 0xfff)->id, 0);

	for (uint64_t gpa = 0xff8; gpa < 0x2010; gpa += 8) {
		const struct mpl_snapshot *snapshot =
			mpl_reader_snapshot(bed->reader);
		const struct mpl_root *root = mpl_root_of(snapshot, &bed->as[0]);
		const struct mpl_section *section =
			mpl_walk(bed->reader, root->entry, gpa);

		assert_ptr_equal(mpl_reader_snapshot_sym(bed->reader),
				 snapshot);
		assert_ptr_equal(mpl_root_of_sym(snapshot, &bed->as[0]), root);
		assert_ptr_equal(mpl_walk_sym(bed->reader, root->entry, gpa),
				 section);
		assert_int_equal(mpl_section_covers_sym(section, gpa),
				 mpl_section_covers(section, gpa));
		assert_int_equal(mpl_section_is_unassigned_sym(section),
				 mpl_section_is_unassigned(section));
		assert_int_equal(mpl_section_offset_sym(section, gpa),
				 mpl_section_offset(section, gpa));
	}
}

static void test_offsets(void **state)
{
	struct bed *bed = *state;
	const struct mpl_section *section;

	bed_put(bed, 0, &(struct mpl_section){ .start = 0x1000, .span = 0xfff,
					       .offset = 0x70000 });
	bed_commit(bed);
	section = mpl_lookup(bed->reader, &bed->as[0], 0x1234);
	assert_int_equal(mpl_section_offset(section, 0x1234), 0x70234);
	assert_false(mpl_section_is_unassigned(section));
	assert_true(mpl_section_covers(section, 0x1000));
	assert_true(mpl_section_covers(section, 0x1fff));
	assert_false(mpl_section_covers(section, 0x2000));
	assert_false(mpl_section_covers(section, 0xfff));
}

/*
 * A reader on another thread: whatever it finds at an address is what one of
 * the maps had there, and covers the address.  Sections carry the number of
 * their commit, which never goes back.
 */
struct looker {
	struct bed *bed;
	bool ready;
	bool done;
	unsigned int wrong;
	uint64_t found;
};

static void *look_around(void *arg)
{
	struct looker *looker = arg;
	struct bed *bed = looker->bed;
	struct mpl_reader_state *reader;
	uint64_t seed = 77, last = 0;

	if (mpl_reader_add(&bed->dp, false, &reader)) {
		looker->wrong++;
		__atomic_store_n(&looker->ready, true, __ATOMIC_RELAXED);
		return NULL;
	}
	mpl_reader_online(&reader->pub);
	while (!__atomic_load_n(&looker->done, __ATOMIC_RELAXED)) {
		uint64_t gpa = 0x1000 + bed_random(&seed) % 0x3000;
		const struct mpl_section *section =
			mpl_lookup(&reader->pub, &bed->as[0], gpa);

		if (!mpl_section_covers(section, gpa))
			looker->wrong++;
		if (!mpl_section_is_unassigned(section)) {
			if (section->offset < last)
				looker->wrong++;
			last = section->offset;
			looker->found++;
		}
		if (bed_random(&seed) % 8 == 0)
			mpl_reader_quiescent(&reader->pub);
		__atomic_store_n(&looker->ready, true, __ATOMIC_RELAXED);
	}
	mpl_reader_unregister(&reader->pub);
	return NULL;
}

static void test_another_thread(void **state)
{
	struct bed *bed = *state;
	struct looker looker = { .bed = bed };
	pthread_t thread;
	uint64_t seed = 5;

	assert_int_equal(pthread_create(&thread, NULL, look_around, &looker),
			 0);
	while (!__atomic_load_n(&looker.ready, __ATOMIC_RELAXED))
		sched_yield();
	for (uint64_t commit = 1; commit <= 3000; commit++) {
		/* All anew with every commit, cut at another place. */
		uint64_t cut = 0x1000 + bed_random(&seed) % 0x2000;

		while (bed->sections[0].count)
			bed_take(bed, 0, mpl_section_at(&bed->dp,
				bed->sections[0].items[0])->start);
		bed_put(bed, 0, &(struct mpl_section){
			.start = 0x1000, .span = cut - 0x1000,
			.offset = commit });
		bed_put(bed, 0, &(struct mpl_section){
			.start = cut + 0x10, .span = 0x3f00 - cut,
			.offset = commit });
		bed_commit(bed);
		bed_settle(bed);
	}
	__atomic_store_n(&looker.done, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(looker.wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_empty),
		BED_TEST(test_unassigned_is_not_cached),
		BED_TEST(test_hits_do_not_walk),
		BED_TEST(test_all_addresses),
		BED_TEST(test_slots_are_given_up),
		BED_TEST(test_last_is_found_again),
		BED_TEST(test_runs_keep_the_last),
		BED_TEST(test_spaces_do_not_mix),
		BED_TEST(test_replaced),
		BED_TEST(test_content_returns),
		BED_TEST(test_random),
		BED_TEST(test_bursts_and_commits),
		BED_TEST(test_symbols),
		BED_TEST(test_offsets),
		BED_TEST(test_another_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
